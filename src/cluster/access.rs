//! Gathers who has which rights, and who should have them.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::runtime::reflector::{self, ObjectRef, Store};

use super::caches::Caches;
use super::observe::{home_of, namespace_of, observe_declared};
use super::triggers::Guard;
use crate::api::community::ConflictingDuties;
use crate::api::enclave_workload::AccessMode;
use crate::api::names::{access, annotation, child, label};
use crate::api::{
    ActivationState, Community, Kind, RoleActivation, RoleActivationStatus, RoleAssignment, RoleEligibility,
};
use crate::model::activation::NotEligible;
use crate::model::gated::Gated;
use crate::model::grants::{Duty, Grant, Managed, Scope};
use crate::model::life::{JudgeError, applied_spec};
use crate::model::naming;
use crate::plan::activation::{ObservedActivation, grant_of_activation};
use crate::plan::assignment::{ObservedAssignment, grant_of_assignment};
use crate::plan::declared::Home;
use crate::plan::eligibility::{ObservedEligibility, effective, grant_of_eligibility};
use crate::plan::given::Area;
use crate::plan::grants::{Objects, Surroundings};

/// Everything that somebody should have now, and everything that there is.
#[must_use]
pub fn observe_access(caches: &Caches) -> (Vec<Grant>, Surroundings) {
    let managed = observe_managed(caches);
    let mut around = Surroundings {
        live: observe_objects(caches, naming::is_of_grant),
        unknown: BTreeSet::new(),
        bare: observe_bare(caches),
    };
    // Somebody may have left a role with such a name under Advanced maintenance.
    around.live.roles.extend(caches.roles.state_filter(|role| {
        let name = role.name_any();
        name.starts_with(naming::ROLE_BINDING)
            && !naming::is_of_grant(&name)
            && role.namespace().is_some_and(|namespace| is_managed(caches, &namespace))
    }));
    let mut grants = Vec::new();
    let mut add = |kind, namespace: &str, name: &str, grant: Result<Option<Grant>, JudgeError>| {
        if let Ok(grant) = grant {
            grants.extend(grant);
        } else {
            around.unknown.insert(naming::grant(kind, namespace, name));
        }
    };
    for assignment in caches.assignments.state() {
        let namespace = assignment.namespace().unwrap_or_default();
        let grant = grant_of_assignment(&assignment, &observe_area(caches, &managed, &namespace));
        add(Kind::RoleAssignment, &namespace, &assignment.name_any(), grant);
    }
    for eligibility in caches.eligibilities.state() {
        let namespace = eligibility.namespace().unwrap_or_default();
        let grant = grant_of_eligibility(&eligibility, &observe_area(caches, &managed, &namespace));
        add(Kind::RoleEligibility, &namespace, &eligibility.name_any(), grant);
    }
    for activation in caches.activations.state() {
        let namespace = activation.namespace().unwrap_or_default();
        // What another version calls it is not known, and what was made for it stays until its end.
        if activation.spec.unreadable.as_ref().is_some_and(|unreadable| unreadable.is_only_newer())
            && activation.metadata.deletion_timestamp.is_none()
        {
            around.unknown.insert(naming::grant(Kind::RoleActivation, &namespace, &activation.name_any()));
            continue;
        }
        let area = observe_area(caches, &managed, &namespace);
        let eligible = find_eligibility(caches, &activation).and_then(|one| effective(&one).ok().flatten());
        grants.extend(grant_of_activation(&activation, eligible.as_ref(), &area));
    }
    (grants, around)
}

/// Gathers what is known of an assignment.
#[must_use]
pub fn observe_assignment(
    caches: &Caches,
    assignment: Arc<RoleAssignment>,
    guard: Guard,
) -> ObservedAssignment {
    let namespace = assignment.namespace().unwrap_or_default();
    ObservedAssignment {
        area: observe_area(caches, &observe_managed(caches), &namespace),
        around: observe_around(caches, Kind::RoleAssignment, &namespace, &assignment.name_any()),
        others: observe_duties(caches, assignment.metadata.uid.as_deref()),
        declared: observe_declared(caches, assignment, guard),
    }
}

/// Gathers what is known of an eligibility.
#[must_use]
pub fn observe_eligibility(
    caches: &Caches,
    eligibility: Arc<RoleEligibility>,
    guard: Guard,
) -> ObservedEligibility {
    let (namespace, name) = (eligibility.namespace().unwrap_or_default(), eligibility.name_any());
    ObservedEligibility {
        area: observe_area(caches, &observe_managed(caches), &namespace),
        around: observe_around(caches, Kind::RoleEligibility, &namespace, &name),
        others: observe_duties(caches, eligibility.metadata.uid.as_deref()),
        activations: caches.activations.state_filter(|activation| {
            activation.spec.eligibility == name && activation.namespace().as_ref() == Some(&namespace)
        }),
        declared: observe_declared(caches, eligibility, guard),
    }
}

/// Gathers what is known of an activation.
#[must_use]
pub fn observe_activation(
    caches: &Caches,
    activation: Arc<RoleActivation>,
    guard: Guard,
    retain_for: SignedDuration,
) -> ObservedActivation {
    let namespace = activation.namespace().unwrap_or_default();
    let uid = activation.uid().unwrap_or_default();
    let name = &activation.spec.eligibility;
    let eligibility = find_eligibility(caches, &activation);
    let eligibility = match eligibility.map(|one| effective(&one)) {
        None => Err(NotEligible::For(format!("there is no RoleEligibility {name} in namespace {namespace}"))),
        Some(Ok(None)) => Err(NotEligible::Yet(format!("RoleEligibility {name} is not in force"))),
        Some(Ok(Some(eligible))) => Ok(eligible),
        Some(Err(_)) => Err(NotEligible::Yet(format!(
            "what is applied of RoleEligibility {name} cannot be read by this version"
        ))),
    };
    ObservedActivation {
        eligibility,
        area: observe_area(caches, &observe_managed(caches), &namespace),
        home: home_of(caches, &namespace),
        requests: caches.requests.state_filter(|request| request.spec.target.uid == uid),
        others: observe_held(caches, &uid),
        around: observe_around(caches, Kind::RoleActivation, &namespace, &activation.name_any()),
        integrity: guard.integrity,
        witness: guard.witness,
        left_behind: find_left_behind(caches, &activation),
        retain_for,
        activation,
    }
}

/// What a person made in managed namespaces while a role was held, once it is over.
fn find_left_behind(caches: &Caches, activation: &RoleActivation) -> Vec<String> {
    let Some((user, start, end)) = activation.status.as_ref().and_then(when_held) else { return Vec::new() };
    [
        made_by(&caches.service_accounts, user, start, end),
        made_by(&caches.roles, user, start, end),
        made_by(&caches.role_bindings, user, start, end),
        made_by(&caches.assignments, user, start, end),
        made_by(&caches.eligibilities, user, start, end),
        made_by(&caches.workloads, user, start, end),
    ]
    .concat()
}

fn when_held(status: &RoleActivationStatus) -> Option<(&str, Timestamp, Timestamp)> {
    status.state.filter(|state| state.is_final())?;
    Some((status.user.as_deref()?, status.starts_at.as_ref()?.0, status.ends_at.as_ref()?.0))
}

/// Creation is known to the second.
fn made_by<K>(store: &Store<K>, user: &str, start: Timestamp, end: Timestamp) -> Vec<String>
where
    K: kube::Resource<DynamicType = ()> + reflector::Lookup<DynamicType = ()> + Clone + 'static,
{
    let seconds = start.as_second()..=end.as_second();
    let is_hers = |object: &K| {
        let meta = object.meta();
        let maker = meta.annotations.as_ref().and_then(|all| all.get(annotation::CREATED_BY));
        let made_at = meta.creation_timestamp.as_ref().map(|at| at.0.as_second());
        maker.is_some_and(|maker| maker == user) && made_at.is_some_and(|at| seconds.contains(&at))
    };
    let kind = <K as kube::Resource>::kind(&());
    let describe = |object: &Arc<K>| {
        let (namespace, name) = (object.meta().namespace.as_deref(), object.meta().name.as_deref());
        format!("{kind} {}/{}", namespace.unwrap_or_default(), name.unwrap_or_default())
    };
    store.state_filter(is_hers).iter().map(describe).collect()
}

fn find_eligibility(caches: &Caches, activation: &RoleActivation) -> Option<Arc<RoleEligibility>> {
    let key = ObjectRef::new(&activation.spec.eligibility).within(&activation.namespace()?);
    caches.eligibilities.get(&key)
}

fn observe_around(caches: &Caches, kind: Kind, namespace: &str, name: &str) -> Surroundings {
    let own = naming::grant(kind, namespace, name);
    Surroundings {
        live: observe_objects(caches, |name| name == own),
        unknown: BTreeSet::new(),
        bare: observe_bare(caches),
    }
}

fn duty_of_assignment(caches: &Caches, assignment: &RoleAssignment) -> Option<Duty> {
    let applied = applied_spec(assignment).ok().flatten().filter(|_| !assignment.is_record())?;
    Duty::of_spec(assignment, &applied, scope_of(caches, &assignment.namespace()?).as_ref())
}

/// What is held now: by assignments, and by other activations.
fn observe_held(caches: &Caches, but: &str) -> Vec<Duty> {
    let assigned = |other: &Arc<RoleAssignment>| duty_of_assignment(caches, other);
    let active = |other: &Arc<RoleActivation>| {
        let status = other.status.as_ref().filter(|status| status.state == Some(ActivationState::Active))?;
        let scope = scope_of(caches, &other.namespace()?)?;
        Some(Duty::of_activation(other, status.user.as_ref()?, status.role?, &scope))
    };
    let activations = caches.activations.state_filter(|other| other.metadata.uid.as_deref() != Some(but));
    caches
        .assignments
        .state()
        .iter()
        .filter_map(assigned)
        .chain(activations.iter().filter_map(active))
        .collect()
}

/// What other assignments and eligibilities give.
fn observe_duties(caches: &Caches, but: Option<&str>) -> Vec<Duty> {
    let assigned = |other: &Arc<RoleAssignment>| duty_of_assignment(caches, other);
    let eligible = |other: &Arc<RoleEligibility>| {
        let applied = applied_spec(other.as_ref()).ok().flatten().filter(|_| !other.is_record())?;
        Duty::of_eligibility(other, &applied, scope_of(caches, &other.namespace()?).as_ref())
    };
    let assignments = caches.assignments.state_filter(|other| other.metadata.uid.as_deref() != but);
    let eligibilities = caches.eligibilities.state_filter(|other| other.metadata.uid.as_deref() != but);
    assignments.iter().filter_map(assigned).chain(eligibilities.iter().filter_map(eligible)).collect()
}

/// Where roles count that are given in a namespace.
#[must_use]
pub fn observe_area(caches: &Caches, managed: &[Managed], namespace: &str) -> Area {
    let scope = scope_of(caches, namespace);
    let namespaces = scope.iter().flat_map(|scope| managed.iter().filter(|managed| scope.covers(managed)));
    let about_enclave = match &scope {
        Some(Scope::Enclave { community_namespace, enclave, .. }) => {
            open_requests_about_enclave(caches, community_namespace, enclave)
        }
        Some(Scope::System { .. } | Scope::Community { .. }) | None => Vec::new(),
    };
    let refuses = |community: &Community| {
        let applied = applied_spec(community).ok().flatten();
        applied.is_some_and(|spec| spec.conflicting_duties == ConflictingDuties::Refuse)
    };
    let conflicts = match &scope {
        Some(Scope::System { .. }) if caches.communities.state().iter().any(|one| refuses(one)) => {
            ConflictingDuties::Refuse
        }
        _ => ConflictingDuties::Warn,
    };
    Area { namespaces: namespaces.cloned().collect(), about_enclave, conflicts, scope }
}

/// What a namespace is the scope of.
fn scope_of(caches: &Caches, namespace: &str) -> Option<Scope> {
    if *namespace == *caches.system {
        return Some(Scope::System { namespace: namespace.to_owned() });
    }
    match home_of(caches, namespace) {
        Home::Nowhere => None,
        Home::Community(community) => {
            Some(Scope::Community { community: community.name_any(), namespace: namespace.to_owned() })
        }
        Home::Enclave(community, enclave) => Some(Scope::Enclave {
            community: community.name_any(),
            community_namespace: namespace_of(&community),
            enclave: enclave.name_any(),
            namespace: namespace.to_owned(),
        }),
    }
}

fn open_requests_about_enclave(caches: &Caches, namespace: &str, enclave: &str) -> Vec<String> {
    let requests = caches.requests.state_filter(|request| {
        let target = &request.spec.target;
        target.kind == Kind::Enclave
            && target.name == enclave
            && target.namespace.as_deref() == Some(namespace)
            && request.status.as_ref().is_none_or(|status| status.decided_at.is_none())
    });
    let mut names: Vec<String> = requests.iter().map(|request| request.name_any()).collect();
    names.sort();
    names
}

/// The namespaces that belong to Communities and stay. Their labels can be believed: only the operator
/// writes them.
#[must_use]
pub fn observe_managed(caches: &Caches) -> Vec<Managed> {
    caches.namespaces.state().iter().filter_map(|namespace| managed(caches, namespace)).collect()
}

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
        let key = ObjectRef::new(workload).within(&naming::enclave_namespace(community, enclave));
        applied_spec(caches.workloads.get(&key)?.as_ref()).ok().flatten()
    });
    let is_isolated = labels.get(label::ACCESS_MODE).is_some_and(|mode| mode == access::ISOLATED)
        || applied.is_some_and(|spec| spec.access_mode == AccessMode::Isolated);
    Some(Managed {
        name: namespace.name_any(),
        community: community.clone(),
        enclave: enclave.cloned(),
        workload: workload.cloned(),
        access_mode: if is_isolated { AccessMode::Isolated } else { AccessMode::Standard },
    })
}

/// Managed namespaces without the policy that denies everything: nobody gets in before it is there.
fn observe_bare(caches: &Caches) -> BTreeSet<String> {
    let ours = caches.namespaces.state_filter(|namespace| namespace.labels().contains_key(label::OWNER_UID));
    let is_guarded = |namespace: &str| {
        caches.network_policies.get(&ObjectRef::new(child::DEFAULT_DENY).within(namespace)).is_some()
    };
    let names = ours.iter().map(|namespace| namespace.name_any());
    names.filter(|namespace| !is_guarded(namespace)).collect()
}

fn is_managed(caches: &Caches, namespace: &str) -> bool {
    let namespace = caches.namespaces.get(&ObjectRef::new(namespace));
    namespace.is_some_and(|namespace| namespace.labels().contains_key(label::OWNER_UID))
}

fn observe_objects(caches: &Caches, is_concerned: impl Fn(&str) -> bool) -> Objects {
    Objects {
        roles: named(&caches.roles, &is_concerned),
        role_bindings: named(&caches.role_bindings, &is_concerned),
        cluster_roles: named(&caches.cluster_roles, &is_concerned),
        cluster_role_bindings: named(&caches.cluster_role_bindings, &is_concerned),
    }
}

fn named<K>(store: &Store<K>, is_concerned: impl Fn(&str) -> bool) -> Vec<Arc<K>>
where
    K: kube::Resource<DynamicType = ()> + reflector::Lookup<DynamicType = ()> + Clone + 'static,
{
    store.state_filter(|object| object.meta().name.as_deref().is_some_and(&is_concerned))
}
