//! Gathers who has which rights, and who should have them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Resource, ResourceExt};

use crate::api::common::{Principal, PrincipalKind};
use crate::api::community::ConflictingDuties;
use crate::api::enclave_workload::AccessMode;
use crate::api::names::{access, child, label};
use crate::api::reading::{Cause, Unreadable};
use crate::api::{
    ActivationState, Kind, Role, RoleActivation, RoleActivationStatus, RoleAssignment, RoleAssignmentSpec,
    RoleEligibility, RoleEligibilitySpec,
};
use crate::cluster::cache::{Cache, Indexed, Key};
use crate::kinds::approval_request::index::RequestBy;
use crate::kinds::caches::Caches;
use crate::kinds::community::index::{CommunityBy, REFUSED, UNKNOWN};
use crate::kinds::foreign::is_managed;
use crate::kinds::index::{NamespaceBy, NamespacePrefix, RbacBy, pair};
use crate::kinds::observe::{observe_gated, whole};
use crate::kinds::parent::parent_of;
use crate::kinds::rbac::index::{ActivationBy, GrantBy};
use crate::kinds::role_activation::plan::{ObservedActivation, grant_of_activation};
use crate::kinds::role_assignment::plan::{ObservedAssignment, grant_of_assignment};
use crate::kinds::role_eligibility::plan::{ObservedEligibility, effective, grant_of_eligibility};
use crate::kinds::workload::index::WorkloadBy;
use crate::model::approval::applied::{EvaluationError, view_applied};
use crate::model::approval::gated::Gated;
use crate::model::approval::policy_status::PolicyStatus;
use crate::model::digest::fingerprint;
use crate::model::naming::{self, namespace_of};
use crate::model::rbac::activation::{Eligible, NotEligible, find_requester, keeps_what_it_has};
use crate::model::rbac::grants::{Grant, Managed, RoleHolding, Scope};
use crate::plan::parent::Parent;
use crate::plan::rbac::grants::{Objects, RbacState};
use crate::plan::rbac::role_scope::RoleScope;

/// Observes one grant: the rights that somebody should have by it now, and its RBAC objects. `name` is that of
/// everything that is made for it.
#[must_use]
pub fn observe_one_grant(caches: &Caches, name: &str) -> (Option<Grant>, RbacState) {
    observe_live_grant(caches, name, None, observe_objects(caches, name))
}

/// Observes a grant in one namespace only, whatever others it reaches.
#[must_use]
pub fn observe_grant_in(caches: &Caches, namespace: &str, name: &str) -> (Option<Grant>, RbacState) {
    let live = Objects {
        roles: caches.roles.get(namespace, name).into_iter().collect(),
        role_bindings: caches.role_bindings.get(namespace, name).into_iter().collect(),
        ..Objects::default()
    };
    observe_live_grant(caches, name, Some(namespace), live)
}

fn observe_live_grant(
    caches: &Caches,
    name: &str,
    within: Option<&str>,
    live: Objects,
) -> (Option<Grant>, RbacState) {
    let (grant, unknown) = match observe_grant(caches, name, within) {
        Ok(grant) => (grant, BTreeMap::new()),
        Err(Unknown) => (None, [(name.to_owned(), named_principals(caches, name))].into()),
    };
    (grant, RbacState { live, unknown, ..RbacState::default() })
}

/// Observes a role that somebody left under Advanced maintenance, with a name that only the operator's may have and
/// that no grant has.
#[must_use]
pub fn observe_orphaned_role(caches: &Caches, namespace: &str, name: &str) -> RbacState {
    let is_orphaned = name.starts_with(naming::ROLE_BINDING) && !naming::is_of_grant(name);
    let is_here = caches.namespaces.get("", namespace).is_some_and(|namespace| is_managed(&namespace));
    let roles = caches.roles.get(namespace, name).filter(|_| is_orphaned && is_here).into_iter().collect();
    RbacState { live: Objects { roles, ..Objects::default() }, ..RbacState::default() }
}

/// The error that the rights of a grant are not known now; what was made for it stays.
struct Unknown;

impl From<EvaluationError> for Unknown {
    fn from(_: EvaluationError) -> Self {
        Self
    }
}

/// Returns the grant of this name; of the namespaces of its scope only in `within`, if that is given.
fn observe_grant(caches: &Caches, name: &str, within: Option<&str>) -> Result<Option<Grant>, Unknown> {
    let Some((kind, namespace, declared)) = naming::parse_grant(name) else { return Ok(None) };
    let role_scope = || observe_role_scope_within(caches, namespace, within);
    match kind {
        Kind::RoleAssignment => match caches.assignments.get(namespace, declared) {
            Some(assignment) => Ok(grant_of_assignment(&assignment, &role_scope())?),
            None => Ok(None),
        },
        Kind::RoleEligibility => match caches.eligibilities.get(namespace, declared) {
            Some(eligibility) => Ok(grant_of_eligibility(&eligibility, &role_scope())?),
            None => Ok(None),
        },
        _ => {
            let Some(activation) = caches.activations.get(namespace, declared) else { return Ok(None) };
            let eligible = find_eligibility(caches, &activation);
            let eligible = eligible.and_then(|one| effective_for(&one, &activation).ok().flatten());
            // Only another version knows a part of the activation; what was made for it stays until its end.
            if keeps_what_it_has(&activation, eligible.as_ref()) {
                return Err(Unknown);
            }
            Ok(grant_of_activation(&activation, eligible.as_ref(), &role_scope()))
        }
    }
}

/// Returns the readable principals of an assignment or an eligibility; `None` where nobody can tell them. The applied
/// content may be unreadable, and a principal who was taken out of the spec loses the rights all the same. This version
/// has bound no principal whom only a newer version knows.
fn named_principals(caches: &Caches, name: &str) -> Option<BTreeSet<Principal>> {
    let named = |principals: &[Principal], unreadable: Option<&Unreadable>| {
        // An entry that no version can read names nobody.
        let is_readable = unreadable.is_none_or(|one| !one.is_only_newer() || !one.is_unclear("principals"));
        is_readable.then(|| principals.iter().cloned().collect())
    };
    match naming::parse_grant(name)? {
        (Kind::RoleAssignment, namespace, declared) => {
            let spec = &caches.assignments.get(namespace, declared)?.spec;
            named(&spec.principals, spec.unreadable.as_deref())
        }
        (Kind::RoleEligibility, namespace, declared) => {
            let spec = &caches.eligibilities.get(namespace, declared)?.spec;
            named(&spec.principals, spec.unreadable.as_deref())
        }
        _ => None,
    }
}

/// Gathers what is known of an assignment.
#[must_use]
pub fn observe_assignment(
    caches: &Caches,
    assignment: Arc<RoleAssignment>,
    policy_status: PolicyStatus,
) -> ObservedAssignment {
    let namespace = assignment.namespace().unwrap_or_default();
    ObservedAssignment {
        role_scope: observe_role_scope(caches, &namespace),
        rbac_state: observe_rbac_state(caches, Kind::RoleAssignment, &namespace, &assignment.name_any()),
        others: observe_duties(
            caches,
            &namespace,
            (assignment.spec.role, &assignment.spec.principals),
            assignment.metadata.uid.as_deref(),
        ),
        declared: observe_gated(caches, assignment, policy_status),
    }
}

/// Gathers what is known of an eligibility.
#[must_use]
pub fn observe_eligibility(
    caches: &Caches,
    eligibility: Arc<RoleEligibility>,
    policy_status: PolicyStatus,
) -> ObservedEligibility {
    let (namespace, name) = (eligibility.namespace().unwrap_or_default(), eligibility.name_any());
    ObservedEligibility {
        role_scope: observe_role_scope(caches, &namespace),
        rbac_state: observe_rbac_state(caches, Kind::RoleEligibility, &namespace, &name),
        others: observe_duties(
            caches,
            &namespace,
            (eligibility.spec.role, &eligibility.spec.principals),
            eligibility.metadata.uid.as_deref(),
        ),
        activations: caches.activations.by(ActivationBy::Eligibility, &pair(&namespace, &name)),
        declared: observe_gated(caches, eligibility, policy_status),
    }
}

/// Gathers what is known of an activation.
#[must_use]
pub fn observe_activation(
    caches: &Caches,
    activation: Arc<RoleActivation>,
    policy_status: PolicyStatus,
    retain_for: SignedDuration,
) -> ObservedActivation {
    let namespace = activation.namespace().unwrap_or_default();
    let uid = activation.uid().unwrap_or_default();
    let name = &activation.spec.eligibility;
    let eligibility = find_eligibility(caches, &activation);
    let eligibility = match eligibility.map(|one| effective_for(&one, &activation)) {
        None => Err(NotEligible::For(format!("there is no RoleEligibility {name} in namespace {namespace}"))),
        Some(Ok(None)) => Err(NotEligible::Yet(format!("RoleEligibility {name} is not in force"))),
        Some(Ok(Some(eligible))) => Ok(eligible),
        Some(Err(_)) => Err(NotEligible::Yet(format!(
            "what is applied of RoleEligibility {name} cannot be read by this version"
        ))),
    };
    let (requests, knows_all_requests) = whole(caches, || caches.requests.by(RequestBy::Target, &uid));
    let role = eligibility.as_ref().ok().map(|eligible| eligible.spec.role);
    ObservedActivation {
        others: role.map(|role| observe_held(caches, &activation, role)).unwrap_or_default(),
        eligibility,
        role_scope: observe_role_scope(caches, &namespace),
        parent: parent_of(caches, &namespace),
        requests,
        knows_all_requests,
        rbac_state: observe_rbac_state(caches, Kind::RoleActivation, &namespace, &activation.name_any()),
        policies: policy_status,
        created_during_activation: find_created_during_activation(caches, &activation),
        retain_for,
        activation,
    }
}

/// Finds what a person made in managed namespaces while holding a role, once the role is over.
fn find_created_during_activation(caches: &Caches, activation: &RoleActivation) -> Vec<String> {
    let Some((user, start, end)) = activation.status.as_ref().and_then(when_held) else { return Vec::new() };
    [
        made_between(&caches.service_accounts.by(RbacBy::Maker, user), start, end),
        made_between(&caches.roles.by(RbacBy::Maker, user), start, end),
        made_between(&caches.role_bindings.by(RbacBy::Maker, user), start, end),
        made_between(&caches.assignments.by(GrantBy::Maker, user), start, end),
        made_between(&caches.eligibilities.by(GrantBy::Maker, user), start, end),
        made_between(&caches.workloads.by(WorkloadBy::Maker, user), start, end),
    ]
    .concat()
}

fn when_held(status: &RoleActivationStatus) -> Option<(&str, Timestamp, Timestamp)> {
    status.state.filter(|state| state.is_final())?;
    Some((status.user.as_deref()?, status.starts_at.as_ref()?.0, status.ends_at.as_ref()?.0))
}

/// Describes the objects that were made between two points in time. Creation is known to the second. The order is that
/// of names, so that nothing is written twice.
fn made_between<K: Resource<DynamicType = ()>>(
    made: &[Arc<K>],
    start: Timestamp,
    end: Timestamp,
) -> Vec<String> {
    let seconds = start.as_second()..=end.as_second();
    let made_at = |object: &K| object.meta().creation_timestamp.as_ref().map(|at| at.0.as_second());
    let kind = K::kind(&());
    let describe = |object: &Arc<K>| describe(&kind, object.as_ref());
    let then = made.iter().filter(|object| made_at(object).is_some_and(|at| seconds.contains(&at)));
    let mut described: Vec<String> = then.map(describe).collect();
    described.sort();
    described
}

/// Returns what an eligibility gives to the person who activates it. When its applied content cannot be read, as after
/// a rollback, a person who holds the role keeps what can be read of the wanted spec: whoever is taken out of that, or
/// whose time is over by it, loses the role, and nobody else gets anything.
fn effective_for(
    eligibility: &RoleEligibility,
    activation: &RoleActivation,
) -> Result<Option<Eligible>, EvaluationError> {
    let is_newer = activation.spec.unreadable.as_ref().is_some_and(|unreadable| unreadable.is_only_newer());
    let is_held = |status: &&RoleActivationStatus| {
        is_newer && status.state.is_none() || status.state == Some(ActivationState::Active)
    };
    let held = activation.status.as_ref().filter(is_held);
    match (effective(eligibility), held) {
        (Err(_), Some(held)) => {
            let mut spec = eligibility.spec.clone();
            // The role of an eligibility never changes, so this is still the one that is held.
            if let (Some(unreadable), Some(role)) = (&spec.unreadable, held.role)
                && unreadable.is_only_newer()
            {
                spec.role = role;
            }
            let names =
                spec.unreadable.as_ref().and_then(|unreadable| unreadable.cause_of("spec.principals"));
            // Nobody can tell any more whom it names.
            if let (Some(Cause::Newer), Some(user)) = (names, &held.user) {
                let holder = Principal { kind: PrincipalKind::User, name: user.clone(), namespace: None };
                spec.principals.push(holder);
            }
            Ok(Some(Eligible { uid: eligibility.uid().unwrap_or_default(), spec }))
        }
        (found, _) => found,
    }
}

fn find_eligibility(caches: &Caches, activation: &RoleActivation) -> Option<Arc<RoleEligibility>> {
    caches.eligibilities.get(activation.metadata.namespace.as_deref()?, &activation.spec.eligibility)
}

/// Observes the objects of a grant where the operator gives rights. An object with its name elsewhere is only taken
/// away ([`observe_one_grant`]): whoever makes it there again and again keeps nobody waiting.
fn observe_rbac_state(caches: &Caches, kind: Kind, namespace: &str, name: &str) -> RbacState {
    let mut live = observe_objects(caches, &naming::grant(kind, namespace, name));
    live.roles.retain(|role| counts(caches, role.as_ref()));
    live.role_bindings.retain(|binding| counts(caches, binding.as_ref()));
    RbacState {
        live,
        unknown: BTreeMap::new(),
        without_default_deny: observe_namespaces_without_default_deny(caches, namespace),
    }
}

/// Whether an object is where the operator gives rights.
fn counts<K: Resource>(caches: &Caches, object: &K) -> bool {
    object.meta().namespace.as_deref().is_none_or(|namespace| {
        *namespace == *caches.system
            || caches.namespaces.get("", namespace).is_some_and(|namespace| is_managed(&namespace))
    })
}

/// Returns the roles that the person who activates a role holds now, by assignments and by other activations, and with
/// which that role may be in conflict.
fn observe_held(caches: &Caches, activation: &RoleActivation, role: Role) -> Vec<RoleHolding> {
    let Some(user) = find_requester(activation).map(|requester| requester.user) else { return Vec::new() };
    let prefixes = overlapping(caches, activation.metadata.namespace.as_deref().unwrap_or_default());
    let lines = [format!("User:{user}")].into();
    let assigned = find_in_namespaces(&caches.assignments, GrantBy::Principal, &prefixes, &lines);
    let others = find_in_namespaces(&caches.activations, ActivationBy::ActiveUser, &prefixes, &[user].into())
        .into_iter();
    let others = others.filter(|other| other.metadata.uid != activation.metadata.uid);
    let active = others.filter_map(|other| {
        let status = other.status.as_ref()?;
        Some(RoleHolding {
            source: describe(Kind::RoleActivation, other.as_ref()),
            role: status.role?,
            principal: format!("User:{}", status.user.as_ref()?),
            scope: scope_of(caches, other.metadata.namespace.as_deref()?)?,
        })
    });
    let granted = |spec: &RoleAssignmentSpec| first_granted(spec.role, &spec.principals, (role, &lines));
    duties(caches, &assigned, granted).chain(active).collect()
}

/// Returns the roles that other assignments and eligibilities give to these principals where the roles of both count,
/// and with which this role may be in conflict.
fn observe_duties(
    caches: &Caches,
    namespace: &str,
    (role, principals): (Role, &[Principal]),
    but: Option<&str>,
) -> Vec<RoleHolding> {
    let prefixes = overlapping(caches, namespace);
    let lines: BTreeSet<String> = principals.iter().map(Principal::line).collect();
    let mut assignments = find_in_namespaces(&caches.assignments, GrantBy::Principal, &prefixes, &lines);
    assignments.retain(|other| other.metadata.uid.as_deref() != but);
    let mut eligibilities = find_in_namespaces(&caches.eligibilities, GrantBy::Principal, &prefixes, &lines);
    eligibilities.retain(|other| other.metadata.uid.as_deref() != but);
    let assigned = |spec: &RoleAssignmentSpec| first_granted(spec.role, &spec.principals, (role, &lines));
    let eligible = |spec: &RoleEligibilitySpec| first_granted(spec.role, &spec.principals, (role, &lines));
    duties(caches, &assignments, assigned).chain(duties(caches, &eligibilities, eligible)).collect()
}

/// Returns a given role and the first of the sought principals who gets it, if the role may be in conflict with theirs.
fn first_granted(
    granted: Role,
    to: &[Principal],
    (role, lines): (Role, &BTreeSet<String>),
) -> Option<(Role, String)> {
    let to = to.iter().filter(|_| role.conflicts_with(granted));
    Some((granted, to.map(Principal::line).filter(|line| lines.contains(line)).min()?))
}

/// Returns what each of these objects gives by its applied content. An object may name many principals, of whom no copy
/// is made.
fn duties<K: Gated>(
    caches: &Caches,
    found: &[Arc<K>],
    granted: impl Fn(&K::Spec) -> Option<(Role, String)>,
) -> impl Iterator<Item = RoleHolding> {
    found.iter().filter(|object| !object.is_record()).filter_map(move |object| {
        let (role, principal) = view_applied(object.as_ref(), &granted).ok().flatten().flatten()?;
        let scope = scope_of(caches, object.meta().namespace.as_deref()?)?;
        Some(RoleHolding { source: describe(K::KIND, object.as_ref()), role, principal, scope })
    })
}

fn describe<K: Resource>(kind: impl Display, object: &K) -> String {
    let Key { namespace, name } = Key::of(object);
    format!("{kind} {namespace}/{name}")
}

/// Observes the scope of the roles that are given in a namespace.
#[must_use]
pub fn observe_role_scope(caches: &Caches, namespace: &str) -> RoleScope {
    observe_role_scope_within(caches, namespace, None)
}

/// Observes the scope of the roles that are given in a namespace; of its namespaces only `within`, if that is given.
fn observe_role_scope_within(caches: &Caches, namespace: &str, within: Option<&str>) -> RoleScope {
    let scope = scope_of(caches, namespace);
    let namespaces = match (&scope, within) {
        (None, _) => Vec::new(),
        // The rules of roles decide whether roles of this scope count there.
        (Some(_), Some(within)) => caches.namespaces.get("", within).into_iter().collect(),
        (Some(Scope::System { .. }), None) => caches.namespaces.by(NamespaceBy::Managed, "true"),
        (Some(Scope::Community { community, .. }), None) => {
            caches.namespaces.by(NamespaceBy::Community, community)
        }
        (Some(Scope::Enclave { community, enclave, .. }), None) => {
            caches.namespaces.by(NamespaceBy::Enclave, &pair(community, enclave))
        }
    };
    let mut namespaces: Vec<Managed> =
        namespaces.iter().filter_map(|namespace| managed(caches, namespace)).collect();
    namespaces.sort_by(|one, other| one.name.cmp(&other.name));
    let about_enclave = match &scope {
        Some(Scope::Enclave { community_namespace, enclave, .. }) => {
            open_requests_about_enclave(caches, community_namespace, enclave)
        }
        Some(Scope::System { .. } | Scope::Community { .. }) | None => Vec::new(),
    };
    let is_any = |value| caches.communities.count(CommunityBy::RefusesConflicts, value) > 0;
    let conflicts = match &scope {
        Some(Scope::System { .. }) if is_any(REFUSED) => Some(ConflictingDuties::Refuse),
        Some(Scope::System { .. }) if is_any(UNKNOWN) => None,
        _ => Some(ConflictingDuties::Warn),
    };
    RoleScope { scope, namespaces, about_enclave, conflicts }
}

/// Returns the scope of the roles that are given in a namespace.
fn scope_of(caches: &Caches, namespace: &str) -> Option<Scope> {
    if *namespace == *caches.system {
        return Some(Scope::System { namespace: namespace.to_owned() });
    }
    match parent_of(caches, namespace) {
        Parent::Unmanaged => None,
        Parent::Community(community) => {
            Some(Scope::Community { community: community.name_any(), namespace: namespace.to_owned() })
        }
        Parent::Enclave(community, enclave) => Some(Scope::Enclave {
            community: community.name_any(),
            community_namespace: namespace_of(&community),
            enclave: enclave.name_any(),
            namespace: namespace.to_owned(),
        }),
    }
}

/// Returns the namespaces whose roles may count where those of a namespace do, and some more. An unknown scope may be
/// anywhere.
#[must_use]
pub fn overlapping(caches: &Caches, namespace: &str) -> Vec<NamespacePrefix> {
    let everywhere = NamespacePrefix::In(caches.system.to_string());
    match scope_of(caches, namespace) {
        None | Some(Scope::System { .. }) => vec![NamespacePrefix::Anywhere],
        Some(Scope::Community { community, namespace }) => {
            vec![NamespacePrefix::In(namespace), NamespacePrefix::EnclavesOf(community), everywhere]
        }
        Some(Scope::Enclave { community_namespace, namespace, .. }) => {
            vec![NamespacePrefix::In(namespace), NamespacePrefix::In(community_namespace), everywhere]
        }
    }
}

/// Finds the objects in these namespaces for any of these people, each object once.
#[must_use]
pub fn find_in_namespaces<K: Indexed>(
    cache: &Cache<K>,
    by: K::By,
    prefixes: &[NamespacePrefix],
    people: &BTreeSet<String>,
) -> Vec<Arc<K>> {
    let values_of = |principal: &String| {
        let fingerprint = fingerprint(principal);
        prefixes.iter().map(move |prefix| prefix.prefix(&fingerprint))
    };
    cache.with_prefix(by, people.iter().flat_map(values_of))
}

fn open_requests_about_enclave(caches: &Caches, namespace: &str, enclave: &str) -> Vec<String> {
    let requests = caches.requests.by(RequestBy::AboutEnclave, &pair(namespace, enclave));
    let mut names: Vec<String> = requests.iter().map(|request| request.name_any()).collect();
    names.sort();
    names
}

/// Returns a namespace that belongs to a Community and stays. Its labels can be believed: only the operator writes
/// them.
fn managed(caches: &Caches, namespace: &Namespace) -> Option<Managed> {
    let labels = namespace.labels();
    if !labels.contains_key(label::OWNER_UID) || namespace.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let workload = labels.get(label::WORKLOAD);
    let community = labels.get(label::COMMUNITY)?;
    let enclave = labels.get(label::ENCLAVE);
    // The label comes last when a workload becomes isolated.
    let applied = enclave.zip(workload).and_then(|(enclave, workload)| {
        let control = naming::enclave_namespace(community, enclave);
        let workload = caches.workloads.get(&control, workload)?;
        view_applied(workload.as_ref(), |spec| spec.access_mode).ok().flatten()
    });
    let is_isolated = labels.get(label::ACCESS_MODE).is_some_and(|mode| mode == access::ISOLATED)
        || applied == Some(AccessMode::Isolated);
    Some(Managed {
        name: namespace.name_any(),
        community: community.clone(),
        enclave: enclave.cloned(),
        workload: workload.cloned(),
        access_mode: if is_isolated { AccessMode::Isolated } else { AccessMode::Standard },
    })
}

/// Returns the namespaces in which the roles of a namespace count and that have no default-deny policy: nobody gets in
/// before that policy is there.
fn observe_namespaces_without_default_deny(caches: &Caches, namespace: &str) -> BTreeSet<String> {
    let scope = scope_of(caches, namespace);
    let rbac_state = match &scope {
        Some(Scope::Enclave { community_namespace, .. }) => Some(community_namespace.clone()),
        _ => None,
    };
    let namespaces = match &scope {
        None => Vec::new(),
        Some(Scope::System { .. }) => caches.namespaces.by(NamespaceBy::Managed, "true"),
        Some(Scope::Community { community, .. }) => caches.namespaces.by(NamespaceBy::Community, community),
        Some(Scope::Enclave { community, enclave, .. }) => {
            caches.namespaces.by(NamespaceBy::Enclave, &pair(community, enclave))
        }
    };
    let names = namespaces.iter().map(|namespace| namespace.name_any()).chain(rbac_state);
    names.filter(|name| !caches.network_policies.has(name, child::DEFAULT_DENY)).collect()
}

fn observe_objects(caches: &Caches, grant: &str) -> Objects {
    Objects {
        roles: caches.roles.by(RbacBy::Grant, grant),
        role_bindings: caches.role_bindings.by(RbacBy::Grant, grant),
        cluster_roles: caches.cluster_roles.get("", grant).into_iter().collect(),
        cluster_role_bindings: caches.cluster_role_bindings.get("", grant).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests;
