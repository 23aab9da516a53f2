//! The admission policies: one source, in `policies/`, for the chart, the installation and the
//! comparison with what the API server really runs.
//!
//! Stamping and checking happen inside the API server, whether the operator is up or not. The
//! operator only makes sure that the policies are the ones it was built with (invariant 8). Policies that
//! only save it work are not compared: without them nothing is less safe. Imported are `model` and `api`.

pub mod propagation;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use kube::ResourceExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::{Kind, names};
use crate::model::approval::policy_status::Integrity;
use crate::model::digest::sha256;
use crate::model::naming::{CONNECTION_POLICY, ROLE_BINDING};
use crate::model::rbac::access::CLUSTER_ROLES;

/// The settings that differ between installations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Namespace of the operator, the cluster-wide scope.
    pub namespace: String,
    /// Name of the operator's service account.
    pub service_account: String,
    /// Key in `userInfo.extra` that carries the multi-factor claim of a login.
    pub mfa_claim: String,
    /// Values of that claim which stand for multi-factor authentication.
    pub mfa_values: Vec<String>,
    /// Whether a right to approve that comes from a wildcard counts.
    pub wildcard_approvers: WildcardApprovers,
}

/// Whether cluster administrators, who may do everything, may decide requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WildcardApprovers {
    Allowed,
    #[default]
    Refused,
}

impl Default for Installation {
    fn default() -> Self {
        Self {
            namespace: "enclave-system".into(),
            service_account: names::OPERATOR.into(),
            mfa_claim: "enclave-operator.io/acr".into(),
            mfa_values: vec!["mfa".into()],
            wildcard_approvers: WildcardApprovers::Refused,
        }
    }
}

impl Installation {
    /// The user name that the API server knows the operator by.
    #[must_use]
    pub fn operator_username(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.service_account)
    }
}

/// The admission policies and their bindings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policies {
    pub mutating: Vec<MutatingAdmissionPolicy>,
    pub mutating_bindings: Vec<MutatingAdmissionPolicyBinding>,
    pub validating: Vec<ValidatingAdmissionPolicy>,
    pub validating_bindings: Vec<ValidatingAdmissionPolicyBinding>,
}

/// A policy in the source is not what its kind says. A test reads them all.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the built-in admission policy {file}")]
pub struct PolicyError {
    file: &'static str,
    #[source]
    source: serde_yaml_ng::Error,
}

const SOURCES: [(&str, &str); 14] = [
    ("deletion-guard.yaml", include_str!("policies/deletion-guard.yaml")),
    ("lock.yaml", include_str!("policies/lock.yaml")),
    ("namespace-labels.yaml", include_str!("policies/namespace-labels.yaml")),
    ("no-pods.yaml", include_str!("policies/no-pods.yaml")),
    ("operator-only.yaml", include_str!("policies/operator-only.yaml")),
    ("stamp-activation.yaml", include_str!("policies/stamp-activation.yaml")),
    ("stamp-maker.yaml", include_str!("policies/stamp-maker.yaml")),
    ("stamp-requester.yaml", include_str!("policies/stamp-requester.yaml")),
    ("stamp-vote.yaml", include_str!("policies/stamp-vote.yaml")),
    ("verify-activation.yaml", include_str!("policies/verify-activation.yaml")),
    ("verify-grants.yaml", include_str!("policies/verify-grants.yaml")),
    ("verify-requester.yaml", include_str!("policies/verify-requester.yaml")),
    ("verify-vote.yaml", include_str!("policies/verify-vote.yaml")),
    ("warn-held.yaml", include_str!("policies/warn-held.yaml")),
];

/// The sources of policies that protect nothing. These policies go when the chart is uninstalled, and the operator does
/// without.
const OPTIONAL_SOURCES: [(&str, &str); 1] =
    [("stamp-finalizer.yaml", include_str!("policies/stamp-finalizer.yaml"))];

/// Names of the policies in [`OPTIONAL_SOURCES`] and of their bindings.
const OPTIONAL: [&str; 1] = ["enclave-operator-stamp-finalizer"];

/// Names of the policies, and of their bindings, that say who asked and who decided and where, and that keep
/// everybody else from saying it. Without one of them a vote proves nothing.
const VOTE_POLICIES: [&str; 7] = [
    "enclave-operator-namespace-labels",
    "enclave-operator-operator-only",
    "enclave-operator-stamp-requester",
    "enclave-operator-stamp-vote",
    "enclave-operator-verify-grants",
    "enclave-operator-verify-requester",
    "enclave-operator-verify-vote",
];

/// Names of the policies, and of their bindings, that say who activates a role.
const VOTE_POLICIES_OF_ACTIVATIONS: [&str; 2] =
    ["enclave-operator-stamp-activation", "enclave-operator-verify-activation"];

/// The users as which Kubernetes empties a namespace that is being deleted.
const NAMESPACE_CONTROLLERS: [&str; 2] =
    ["system:serviceaccount:kube-system:namespace-controller", "system:kube-controller-manager"];

/// The users as which Kubernetes deletes objects that lost their owner.
const GARBAGE_COLLECTORS: [&str; 2] =
    ["system:serviceaccount:kube-system:generic-garbage-collector", "system:kube-controller-manager"];

/// The users as which Kubernetes counts what a quota bounds: the API server when it admits something,
/// and a controller.
const QUOTA_CONTROLLERS: [&str; 3] = [
    "system:apiserver",
    "system:serviceaccount:kube-system:resourcequota-controller",
    "system:kube-controller-manager",
];

/// The policies for an installation without which nothing new is enacted.
///
/// # Errors
/// When a source file is not what it should be, which a test excludes.
pub fn build_policies(installation: &Installation) -> Result<Policies, PolicyError> {
    build(&SOURCES, installation)
}

/// The policies for an installation that only save the operator work.
///
/// # Errors
/// As [`build_policies`].
pub fn build_optional_policies(installation: &Installation) -> Result<Policies, PolicyError> {
    build(&OPTIONAL_SOURCES, installation)
}

fn build(sources: &[(&'static str, &str)], installation: &Installation) -> Result<Policies, PolicyError> {
    let mut policies = Policies::default();
    for &(file, source) in sources {
        let text = fill_in_installation(&fill_in(source), installation);
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let value =
                serde_yaml_ng::Value::deserialize(document).map_err(|source| PolicyError { file, source })?;
            let kind =
                value.get("kind").and_then(serde_yaml_ng::Value::as_str).unwrap_or_default().to_owned();
            match kind.as_str() {
                "MutatingAdmissionPolicy" => policies.mutating.push(read(value, file)?),
                "MutatingAdmissionPolicyBinding" => policies.mutating_bindings.push(read(value, file)?),
                "ValidatingAdmissionPolicy" => policies.validating.push(read(value, file)?),
                _ => policies.validating_bindings.push(read(value, file)?),
            }
        }
    }
    Ok(policies)
}

fn read<T: DeserializeOwned>(value: serde_yaml_ng::Value, file: &'static str) -> Result<T, PolicyError> {
    serde_yaml_ng::from_value(value).map_err(|source| PolicyError { file, source })
}

/// The sources of the policies that are compared, file by file, with everything filled in that is the
/// same in every installation. The rest stays a [`placeholder`].
#[must_use]
pub fn policy_sources() -> Vec<(&'static str, String)> {
    SOURCES.into_iter().map(|(file, source)| (file, fill_in(source))).collect()
}

/// The sources of the policies that only save the operator work, filled in like [`policy_sources`].
#[must_use]
pub fn optional_policy_sources() -> Vec<(&'static str, String)> {
    OPTIONAL_SOURCES.into_iter().map(|(file, source)| (file, fill_in(source))).collect()
}

/// The placeholders in [`policy_sources`] for settings that differ between installations.
pub mod placeholder {
    /// The user name that the API server knows the operator by.
    pub const OPERATOR: &str = "${OPERATOR}";
    /// Namespace of the operator.
    pub const NAMESPACE: &str = "${SYSTEM}";
    /// Key of the multi-factor claim.
    pub const MFA_CLAIM: &str = "${MFA_CLAIM}";
    /// Values of the claim, as a list in CEL.
    pub const MFA_VALUES: &str = "${MFA_VALUES}";
    /// `true` or `false`.
    pub const WILDCARD_APPROVERS_ALLOWED: &str = "${WILDCARD_APPROVERS_ALLOWED}";
}

fn fill_in_installation(source: &str, installation: &Installation) -> String {
    let wildcard_allowed = match installation.wildcard_approvers {
        WildcardApprovers::Allowed => "true",
        WildcardApprovers::Refused => "false",
    };
    [
        (placeholder::OPERATOR, installation.operator_username().as_str()),
        (placeholder::NAMESPACE, &installation.namespace),
        (placeholder::MFA_CLAIM, &installation.mfa_claim),
        (placeholder::MFA_VALUES, &cel_list(&installation.mfa_values)),
        (placeholder::WILDCARD_APPROVERS_ALLOWED, wildcard_allowed),
    ]
    .into_iter()
    .fold(source.to_owned(), |text, (placeholder, value)| text.replace(placeholder, value))
}

fn fill_in(source: &str) -> String {
    let plurals = |is_meant: fn(Kind) -> bool| -> Vec<&str> {
        Kind::ALL.into_iter().filter(|kind| is_meant(*kind)).map(Kind::plural).collect()
    };
    let gated = plurals(Kind::is_gated);
    // Requests are made by the operator, with its finalizer.
    let declared = plurals(|kind| kind != Kind::ApprovalRequest);
    let roles =
        plurals(|kind| matches!(kind, Kind::RoleAssignment | Kind::RoleEligibility | Kind::RoleActivation));
    [
        ("${OPERATIONS}", operations().as_str()),
        ("${GATED_RESOURCES}", &format!("[{}]", gated.join(", "))),
        ("${DECLARED_RESOURCES}", &format!("[{}]", declared.join(", "))),
        ("${ROLE_RESOURCES}", &cel_list(&roles)),
        ("${REQUESTED_BY}", names::REQUESTED_BY),
        ("${REQUESTED_GENERATION}", names::REQUESTED_GENERATION),
        ("${REQUESTED_GROUPS}", names::REQUESTED_GROUPS),
        ("${REQUESTED_MFA}", names::REQUESTED_MFA),
        ("${REQUESTED_CREDENTIAL_ID}", names::REQUESTED_CREDENTIAL_ID),
        ("${CREATED_BY}", names::annotation::CREATED_BY),
        ("${PURPOSE}", names::label::PURPOSE),
        ("${COMMUNITY_PURPOSE}", names::purpose::COMMUNITY),
        ("${CONTROL_PURPOSE}", names::purpose::CONTROL),
        ("${ON_BEHALF_OF}", names::ON_BEHALF_OF),
        ("${REQUEST_ON_BEHALF_VERB}", names::REQUEST_ON_BEHALF_VERB),
        ("${OWNER_UID}", names::label::OWNER_UID),
        ("${FINALIZER}", names::FINALIZER),
        ("${PREFIX}", names::PREFIX),
        ("${POD_SECURITY}", names::label::POD_SECURITY),
        ("${POLICIES}", &cel_list(&names::child::POLICIES)),
        ("${QUOTA}", names::child::QUOTA),
        ("${CONTAINER_DEFAULTS}", names::child::CONTAINER_DEFAULTS),
        ("${GUARDED}", names::label::GUARDED),
        ("${PURPOSE}", names::label::PURPOSE),
        ("${WORKLOAD_PURPOSE}", names::purpose::WORKLOAD),
        ("${CONNECTION_POLICY}", CONNECTION_POLICY),
        ("${ROLE_BINDING}", ROLE_BINDING),
        ("${CLUSTER_ROLES}", &cel_list(&CLUSTER_ROLES)),
        ("${MAINTENANCE_GENERAL}", names::annotation::MAINTENANCE_GENERAL),
        ("${MAINTENANCE_ADVANCED}", names::annotation::MAINTENANCE_ADVANCED),
        ("${ACCESS_MODE}", names::label::ACCESS_MODE),
        ("${ISOLATED}", names::access::ISOLATED),
        ("${GARBAGE_COLLECTORS}", &cel_list(&GARBAGE_COLLECTORS)),
        ("${QUOTA_CONTROLLERS}", &cel_list(&QUOTA_CONTROLLERS)),
        ("${HELD_OPERATIONS}", names::annotation::HELD_OPERATIONS),
        ("${APPROVE_VERB}", names::APPROVE_VERB),
        ("${NEVER_GRANTED_VERB}", names::NEVER_GRANTED_VERB),
        ("${NAMESPACE_CONTROLLERS}", &cel_list(&NAMESPACE_CONTROLLERS)),
    ]
    .into_iter()
    .fold(source.to_owned(), |text, (placeholder, value)| text.replace(placeholder, value))
}

/// The operations that a change of an object can be, by resource, as a map in CEL.
fn operations() -> String {
    let of = |kind: Kind| cel_list(&kind.operations().iter().map(ToString::to_string).collect::<Vec<_>>());
    let gated = Kind::ALL.into_iter().filter(|kind| kind.is_gated());
    let entries: Vec<String> = gated.map(|kind| format!("'{}': {}", kind.plural(), of(kind))).collect();
    format!("{{{}}}", entries.join(", "))
}

fn cel_list<S: AsRef<str>>(items: &[S]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("'{}'", item.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}

impl Policies {
    /// The fingerprint of these policies and bindings: the same one means the very same objects
    /// (UID), unchanged (generation). A policy that was taken away and put back, or weakened and
    /// restored, has another one. Policies that protect nothing do not count: votes stay what they are without them.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fn identities<K: ResourceExt>(objects: &[K]) -> impl Iterator<Item = PolicyIdentity> {
            objects.iter().filter_map(PolicyIdentity::of)
        }
        let all = identities(&self.mutating)
            .chain(identities(&self.mutating_bindings))
            .chain(identities(&self.validating))
            .chain(identities(&self.validating_bindings));
        PolicyIdentity::fingerprint(all.collect())
    }

    /// Compares the policies that the API server runs with these.
    #[must_use]
    pub fn compare_with_live(&self, live: &Self) -> Integrity {
        let differences: Vec<String> = [
            compare(&self.mutating, &live.mutating, "MutatingAdmissionPolicy", |policy| &policy.spec),
            compare(
                &self.mutating_bindings,
                &live.mutating_bindings,
                "MutatingAdmissionPolicyBinding",
                |b| &b.spec,
            ),
            compare(&self.validating, &live.validating, "ValidatingAdmissionPolicy", |policy| &policy.spec),
            compare(
                &self.validating_bindings,
                &live.validating_bindings,
                "ValidatingAdmissionPolicyBinding",
                |binding| &binding.spec,
            ),
        ]
        .concat();
        if differences.is_empty() { Integrity::Intact } else { Integrity::Broken(differences.join(", ")) }
    }
}

/// The identity of a policy or binding: name, UID and generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyIdentity(String);

impl PolicyIdentity {
    /// The identity of a policy or binding; `None` for one that protects nothing.
    #[must_use]
    pub fn of<K: ResourceExt>(object: &K) -> Option<Self> {
        let generation = object.meta().generation.unwrap_or_default();
        let identity =
            || format!("{} {} {generation}\n", object.name_any(), object.uid().unwrap_or_default());
        is_guard(object).then(|| Self(identity()))
    }

    /// The fingerprint of all of these, in whichever order.
    #[must_use]
    pub fn fingerprint(mut all: Vec<Self>) -> String {
        all.sort_unstable();
        let texts: Vec<String> = all.into_iter().map(|Self(text)| text).collect();
        sha256(texts.concat().as_bytes())
    }
}

/// Whether a vote on a change of this kind proves nothing without this policy or binding.
#[must_use]
pub fn protects_votes<K: ResourceExt>(object: &K, kind: Kind) -> bool {
    let name = object.meta().name.as_deref().unwrap_or_default();
    VOTE_POLICIES.contains(&name)
        || (kind == Kind::RoleActivation && VOTE_POLICIES_OF_ACTIVATIONS.contains(&name))
}

/// Whether a policy or binding of the operator's has to be as it was built.
fn is_guard<K: ResourceExt>(object: &K) -> bool {
    !object.meta().name.as_deref().is_some_and(|name| OPTIONAL.contains(&name))
}

fn compare<K: ResourceExt, S: PartialEq>(
    wanted: &[K],
    live: &[K],
    kind: &str,
    spec: impl Fn(&K) -> &S,
) -> Vec<String> {
    wanted
        .iter()
        .filter_map(|wanted| {
            let name = wanted.name_any();
            match live.iter().find(|live| live.name_any() == name) {
                None => Some(format!("{kind} {name} is missing")),
                Some(live) if live.meta().deletion_timestamp.is_some() => {
                    Some(format!("{kind} {name} is being deleted"))
                }
                Some(live) if spec(live) != spec(wanted) => {
                    Some(format!("{kind} {name} differs from what was installed"))
                }
                Some(_) => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies() -> Policies {
        build_policies(&Installation::default()).unwrap()
    }

    /// Whoever adds a policy says here whether it is read again before a vote counts, and why it need not be.
    #[test]
    fn what_a_vote_proves_nothing_without_is_read_again_before_it_counts() {
        const READ_AGAIN: [&str; 7] = [
            // Stamped and verified: who asked, and so must not vote.
            "stamp-requester",
            "verify-requester",
            // Stamped and verified: who voted, with which right, and on what.
            "stamp-vote",
            "verify-vote",
            // Nobody else writes a request, what is applied, or a decision.
            "operator-only",
            // Protects the scope, and so whose rules count: people could make a namespace one of another Community.
            "namespace-labels",
            // Protects who may vote: people could give themselves the role of an approver.
            "verify-grants",
        ];
        // Stamped and verified: who asked for a role, by which groups and with which login.
        const READ_AGAIN_FOR_ACTIVATIONS: [&str; 2] = ["stamp-activation", "verify-activation"];
        const WATCHED: [&str; 6] = [
            // A deletion that it would refuse is done at once when it is not there, so reading it later prevents
            // nothing; and a request is about one UID, so nothing is approved for an object that is made again.
            "deletion-guard",
            // A change that gets past it is put back as soon as it is seen, and gives nobody a vote: whoever may add
            // people to a binding of the operator may make one of another name, which the lock lets pass.
            "lock",
            // Holds up Pods, which have no part in a vote.
            "no-pods",
            // Says what somebody left behind after an activation, which is only shown.
            "stamp-maker",
            // Refuses nothing, and warns.
            "warn-held",
            // Protects nothing: the operator puts the finalizer on itself. Whether it is there is not even compared.
            "stamp-finalizer",
        ];
        fn look<K: ResourceExt>(objects: &[K], kind: Kind) -> Vec<(String, bool)> {
            objects.iter().map(|object| (object.name_any(), protects_votes(object, kind))).collect()
        }
        for kind in Kind::ALL {
            let mut found = Vec::new();
            for policies in [policies(), build_optional_policies(&Installation::default()).unwrap()] {
                let Policies { mutating, mutating_bindings, validating, validating_bindings } = policies;
                found.extend(look(&mutating, kind));
                found.extend(look(&mutating_bindings, kind));
                found.extend(look(&validating, kind));
                found.extend(look(&validating_bindings, kind));
            }
            found.sort();
            let groups: [(&[&str], bool); 3] = [
                (&READ_AGAIN, true),
                (&READ_AGAIN_FOR_ACTIVATIONS, kind == Kind::RoleActivation),
                (&WATCHED, false),
            ];
            let mut expected = Vec::new();
            for (names, is_read) in groups {
                for name in names {
                    // The policy, and its binding.
                    let policy = (format!("enclave-operator-{name}"), is_read);
                    expected.extend([policy.clone(), policy]);
                }
            }
            expected.sort();
            assert_eq!(found, expected, "{kind}");
        }
    }

    #[test]
    fn every_source_is_a_policy_with_its_binding_and_nothing_is_left_to_fill_in() {
        let policies = policies();
        assert_eq!(policies.mutating.len() + policies.validating.len(), SOURCES.len());
        assert_eq!(policies.mutating_bindings.len(), policies.mutating.len());
        assert_eq!(policies.validating_bindings.len(), policies.validating.len());
        for (file, source) in SOURCES.into_iter().chain(OPTIONAL_SOURCES) {
            let filled_in = fill_in_installation(&fill_in(source), &Installation::default());
            assert!(!filled_in.contains("${"), "{file}");
        }
    }

    #[test]
    fn what_only_saves_work_may_come_and_go() {
        let optional = build_optional_policies(&Installation::default()).unwrap();
        let names: Vec<String> = optional.mutating.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, OPTIONAL);
        assert_eq!(optional.mutating_bindings.len(), names.len());
        assert!(optional.validating.is_empty() && optional.validating_bindings.is_empty());
        let guards = policies();
        let mut live = policies();
        live.mutating.extend(optional.mutating);
        live.mutating_bindings.extend(optional.mutating_bindings);
        assert_eq!(guards.compare_with_live(&live), Integrity::Intact);
        assert_eq!(live.fingerprint(), guards.fingerprint());
        live.mutating[0].metadata.generation = Some(2);
        assert_ne!(live.fingerprint(), guards.fingerprint(), "the others do count");
    }

    #[test]
    fn a_missing_changed_or_unbound_policy_is_seen() {
        let wanted = policies();
        assert_eq!(wanted.compare_with_live(&policies()), Integrity::Intact);

        let mut live = policies();
        live.validating.retain(|policy| policy.name_any() != "enclave-operator-verify-vote");
        assert_eq!(
            wanted.compare_with_live(&live),
            Integrity::Broken("ValidatingAdmissionPolicy enclave-operator-verify-vote is missing".into())
        );

        let mut live = policies();
        live.mutating[0].spec.as_mut().unwrap().failure_policy = Some("Ignore".into());
        assert!(
            matches!(wanted.compare_with_live(&live), Integrity::Broken(what) if what.contains("differs"))
        );

        let mut live = policies();
        live.validating_bindings[0].spec.validation_actions = vec!["Warn".into()];
        assert!(
            matches!(wanted.compare_with_live(&live), Integrity::Broken(what) if what.contains("Binding"))
        );
    }
}
