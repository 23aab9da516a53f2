//! A namespace that the operator owns, with what must be in it: a Community's namespace or an
//! Enclave's control namespace, where no pod may run, or the namespace of a workload.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::{Resource, ResourceExt};

use super::Write;
use super::gate::Enforcement;
use super::limits::{ContainerLimits, plan_container_defaults, plan_quota};
use super::metadata::{child_metadata, has_metadata, merge_metadata};
use crate::api::CiliumNetworkPolicy;
use crate::api::names::{self, annotation, child, label, purpose, reason};
use crate::model::naming::CONNECTION_POLICY;
use crate::model::scope::Missing;

/// What a place should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Name of the namespace.
    pub namespace: String,
    /// UID of the object that the namespace belongs to.
    pub owner_uid: String,
    /// Name of the Community.
    pub community: String,
    /// Name of the Enclave, when the place belongs to one.
    pub enclave: Option<String>,
    /// Operations that may be held in it, for the policy that warns.
    pub held_operations: Vec<String>,
    /// What it is for.
    pub inside: Inside,
}

/// What a place is for, and with that what must be in it besides the policy that denies everything.
#[derive(Clone, Debug, PartialEq)]
pub enum Inside {
    /// A Community's own objects; no pods.
    Community,
    /// An Enclave's own objects; no pods.
    Control,
    /// The pods of a workload.
    Workload(Box<Furniture>),
    /// The pods of a workload, of which is not known now what must be in it. What is there stays.
    SomeWorkload(String),
}

/// What must be in the namespace of a workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Furniture {
    /// Name of the workload.
    pub workload: String,
    /// The pod security standard that it enforces.
    pub pod_security: &'static str,
    /// The network policies that open something.
    pub policies: Vec<NetworkPolicy>,
    /// The same, of Cilium.
    pub cilium_policies: Vec<CiliumNetworkPolicy>,
    /// How much it may use; empty for no limit.
    pub quota: BTreeMap<String, Quantity>,
    /// What containers get that do not say it themselves.
    pub container_defaults: Option<ContainerLimits>,
}

/// What was seen of a place.
#[derive(Clone, Debug, Default)]
pub struct ObservedPlace {
    /// The namespace.
    pub namespace: Option<Arc<Namespace>>,
    /// All network policies in it, those of others too.
    pub policies: Vec<Arc<NetworkPolicy>>,
    /// The same, of Cilium.
    pub cilium_policies: Vec<Arc<CiliumNetworkPolicy>>,
    /// The operator's quota.
    pub quota: Option<Arc<ResourceQuota>>,
    /// The operator's defaults for containers.
    pub container_defaults: Option<Arc<LimitRange>>,
}

/// How a place is.
#[derive(Clone, Debug, PartialEq)]
pub enum Survey {
    /// Exactly as it should be.
    AsPlanned,
    /// These writes are missing.
    Differs(Vec<Write>),
    /// A namespace of that name exists and is not ours.
    Foreign,
    /// The namespace is being deleted; it can be made again when it is gone.
    Terminating,
}

/// Compares a place with what it should be. The order of the writes keeps it shut: what closes comes
/// first, and nothing opens before the policy that denies everything is there.
#[must_use]
pub fn survey(place: &Place, observed: &ObservedPlace) -> Survey {
    let Some(namespace) = observed.namespace.as_deref() else {
        return Survey::Differs(vec![Write::CreateNamespace(Box::new(build_namespace(place)))]);
    };
    if !is_owned(namespace, &place.owner_uid) {
        return Survey::Foreign;
    }
    if namespace.metadata.deletion_timestamp.is_some() {
        return Survey::Terminating;
    }
    let furniture = match &place.inside {
        Inside::Workload(furniture) => Some(furniture.as_ref()),
        Inside::Community | Inside::Control | Inside::SomeWorkload(_) => None,
    };
    let opening = furniture.map_or(&[][..], |furniture| &furniture.policies);
    let mut writes = Vec::new();
    let opening_names = furniture.map_or(&[][..], |furniture| &furniture.cilium_policies);
    if !matches!(place.inside, Inside::SomeWorkload(_)) {
        let surplus = find_surplus(opening, &observed.policies);
        writes.extend(surplus.map(|(namespace, name, uid)| Write::DeleteNetworkPolicy {
            namespace,
            name,
            uid,
        }));
        let surplus = find_surplus(opening_names, &observed.cilium_policies);
        writes.extend(surplus.map(|(namespace, name, uid)| Write::DeleteCiliumPolicy {
            namespace,
            name,
            uid,
        }));
    }
    let deny = build_default_deny(place);
    let live: BTreeMap<_, _> =
        observed.policies.iter().map(|live| (live.metadata.name.as_ref(), live.as_ref())).collect();
    let policies = std::iter::once(&deny).chain(opening);
    writes.extend(
        policies.filter_map(|wanted| plan_policy(live.get(&wanted.metadata.name.as_ref()).copied(), wanted)),
    );
    writes.extend(opening_names.iter().filter_map(|wanted| {
        let live = observed.cilium_policies.iter().find(|live| live.metadata.name == wanted.metadata.name);
        plan_cilium_policy(live.map(AsRef::as_ref), wanted)
    }));
    match &place.inside {
        Inside::Community | Inside::Control => {
            let no_pods = [("pods".to_owned(), Quantity("0".to_owned()))].into();
            writes.extend(plan_quota(&place.namespace, &no_pods, observed.quota.as_deref()));
        }
        Inside::Workload(furniture) => {
            writes.extend(plan_quota(&place.namespace, &furniture.quota, observed.quota.as_deref()));
            let wanted = furniture.container_defaults.as_ref();
            writes.extend(plan_container_defaults(
                &place.namespace,
                wanted,
                observed.container_defaults.as_deref(),
            ));
        }
        Inside::SomeWorkload(_) => {}
    }
    let wanted = build_namespace(place);
    if !has_metadata(&namespace.metadata, &wanted.metadata) {
        writes.push(Write::ReplaceNamespace(Box::new(Namespace {
            metadata: merge_metadata(&namespace.metadata, wanted.metadata),
            spec: namespace.spec.clone(),
            status: None,
        })));
    }
    if writes.is_empty() { Survey::AsPlanned } else { Survey::Differs(writes) }
}

/// Policies of the operator that nothing wants any more: namespace, name and UID.
fn find_surplus<'a, K: Resource<DynamicType = ()>>(
    wanted: &'a [K],
    live: &'a [Arc<K>],
) -> impl Iterator<Item = (String, String, String)> + 'a {
    let wanted: BTreeSet<_> = wanted.iter().map(|wanted| wanted.meta().name.as_ref()).collect();
    live.iter()
        .filter(|live| live.meta().deletion_timestamp.is_none())
        .filter(|live| live.meta().name.as_deref().is_some_and(opens))
        .filter(move |live| !wanted.contains(&live.meta().name.as_ref()))
        .map(|live| (live.namespace().unwrap_or_default(), live.name_any(), live.uid().unwrap_or_default()))
}

/// Whether a policy of this name is the operator's and opens something.
fn opens(name: &str) -> bool {
    name == child::DNS || name == child::INSIDE || name.starts_with(CONNECTION_POLICY)
}

fn plan_cilium_policy(live: Option<&CiliumNetworkPolicy>, wanted: &CiliumNetworkPolicy) -> Option<Write> {
    let Some(live) = live else { return Some(Write::CreateCiliumPolicy(Box::new(wanted.clone()))) };
    if has_metadata(&live.metadata, &wanted.metadata) && live.spec == wanted.spec {
        return None;
    }
    Some(Write::ReplaceCiliumPolicy(Box::new(CiliumNetworkPolicy {
        metadata: merge_metadata(&live.metadata, wanted.metadata.clone()),
        spec: wanted.spec.clone(),
    })))
}

fn plan_policy(live: Option<&NetworkPolicy>, wanted: &NetworkPolicy) -> Option<Write> {
    let Some(live) = live else { return Some(Write::CreateNetworkPolicy(Box::new(wanted.clone()))) };
    if has_metadata(&live.metadata, &wanted.metadata) && live.spec == wanted.spec {
        return None;
    }
    Some(Write::ReplaceNetworkPolicy(Box::new(NetworkPolicy {
        metadata: merge_metadata(&live.metadata, wanted.metadata.clone()),
        ..wanted.clone()
    })))
}

/// A survey in the terms of a status, and the writes that it asks for. `was_enforced` tells a drift
/// that is put back from something that is still being made.
#[must_use]
pub fn enforce(
    place: &Place,
    observed: &ObservedPlace,
    was_enforced: WasEnforced,
) -> (Enforcement, Vec<Write>) {
    match (survey(place, observed), was_enforced) {
        (Survey::AsPlanned, _) => (Enforcement::Complete, Vec::new()),
        (Survey::Differs(writes), WasEnforced::Yes) => (Enforcement::Complete, writes),
        (Survey::Differs(writes), WasEnforced::No) => (Enforcement::Underway, writes),
        (Survey::Foreign, _) => (conflict(&place.namespace), Vec::new()),
        (Survey::Terminating, _) => (
            Enforcement::Blocked(Missing {
                reason: reason::NAMESPACE_TERMINATING,
                message: format!(
                    "namespace {} is being deleted; it is made again when it is gone",
                    place.namespace
                ),
            }),
            Vec::new(),
        ),
    }
}

/// Repairs a place of which is known only what its namespace says: what it is for stays as it is
/// written there. Nothing is made anew.
#[must_use]
pub fn plan_repair_of_the_known(observed: &ObservedPlace, owner_uid: &str) -> Vec<Write> {
    let Some(namespace) = observed.namespace.as_deref().filter(|namespace| is_owned(namespace, owner_uid))
    else {
        return Vec::new();
    };
    let label = |key: &str| namespace.labels().get(key).cloned();
    let held = namespace.annotations().get(annotation::HELD_OPERATIONS);
    let place = Place {
        namespace: namespace.name_any(),
        owner_uid: owner_uid.to_owned(),
        community: label(label::COMMUNITY).unwrap_or_default(),
        enclave: label(label::ENCLAVE),
        held_operations: held
            .map(|held| held.split(' ').map(ToOwned::to_owned).collect())
            .unwrap_or_default(),
        inside: match label(label::PURPOSE).as_deref() {
            Some(purpose::COMMUNITY) => Inside::Community,
            Some(purpose::WORKLOAD) => Inside::SomeWorkload(label(label::WORKLOAD).unwrap_or_default()),
            _ => Inside::Control,
        },
    };
    match survey(&place, observed) {
        Survey::Differs(writes) => writes,
        Survey::AsPlanned | Survey::Foreign | Survey::Terminating => Vec::new(),
    }
}

/// What can be said of a place that is not to be made yet: a conflict is told while the change is
/// still held, not after somebody approved it.
#[must_use]
pub fn preview(place: &Place, observed: &ObservedPlace) -> Enforcement {
    match survey(place, observed) {
        Survey::Foreign => conflict(&place.namespace),
        Survey::AsPlanned | Survey::Differs(_) | Survey::Terminating => Enforcement::Nothing,
    }
}

fn conflict(namespace: &str) -> Enforcement {
    Enforcement::Blocked(Missing {
        reason: reason::NAMESPACE_CONFLICT,
        message: format!(
            "namespace {namespace} exists and was not made for this object, so it is never taken over; use another name, or free this one if nobody needs it"
        ),
    })
}

/// The writes that take a place away; `None` when there is nothing of it left.
fn plan_removal(observed: &ObservedPlace, owner_uid: &str) -> Option<Vec<Write>> {
    let namespace = observed.namespace.as_deref().filter(|namespace| is_owned(namespace, owner_uid))?;
    let delete =
        Write::DeleteNamespace { name: namespace.name_any(), uid: namespace.uid().unwrap_or_default() };
    Some(if namespace.metadata.deletion_timestamp.is_none() { vec![delete] } else { Vec::new() })
}

/// How a place goes, before its owner does. `name` is what it is called: the cache may not have heard
/// of the namespace yet, so the API server is asked before the owner goes.
///
/// # Errors
/// While the place is still there: what is said of it, and the writes.
pub fn plan_teardown(
    observed: &ObservedPlace,
    owner_uid: &str,
    name: Option<String>,
) -> Result<Vec<Write>, (String, Vec<Write>)> {
    if let Some(writes) = plan_removal(observed, owner_uid) {
        return Err(("being deleted: its namespace goes first".to_owned(), writes));
    }
    let owner_uid = owner_uid.to_owned();
    Ok(name.map(|name| Write::ConfirmNamespaceGone { name, owner_uid }).into_iter().collect())
}

/// The name of the namespace, when it exists and is ours.
#[must_use]
pub fn owned_namespace(observed: &ObservedPlace, owner_uid: &str) -> Option<String> {
    observed
        .namespace
        .as_deref()
        .filter(|namespace| is_owned(namespace, owner_uid))
        .map(ResourceExt::name_any)
}

/// Whether everything applied had been seen in force before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WasEnforced {
    Yes,
    No,
}

/// Whether a namespace was made by the operator for the object with this UID. The label can be
/// believed because an admission policy lets only the operator write it.
#[must_use]
pub fn is_owned(namespace: &Namespace, owner_uid: &str) -> bool {
    namespace.labels().get(label::OWNER_UID).is_some_and(|uid| uid == owner_uid)
}

fn build_namespace(place: &Place) -> Namespace {
    let Place { namespace, owner_uid, community, enclave, held_operations, inside } = place;
    let (purpose, workload, pod_security) = match inside {
        Inside::Community => (purpose::COMMUNITY, None, Some("restricted")),
        Inside::Control => (purpose::CONTROL, None, Some("restricted")),
        Inside::Workload(furniture) => {
            (purpose::WORKLOAD, Some(&furniture.workload), Some(furniture.pod_security))
        }
        Inside::SomeWorkload(workload) => (purpose::WORKLOAD, Some(workload), None),
    };
    let labels = [
        (label::MANAGED_BY, Some(names::OPERATOR)),
        (label::OWNER_UID, Some(owner_uid)),
        (label::PURPOSE, Some(purpose)),
        (label::COMMUNITY, Some(community)),
        (label::ENCLAVE, enclave.as_deref()),
        (label::WORKLOAD, workload.map(String::as_str)),
        (label::POD_SECURITY_ENFORCE, pod_security),
    ];
    let labels = labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
    let annotations = BTreeMap::from([(annotation::HELD_OPERATIONS.to_owned(), held_operations.join(" "))]);
    Namespace {
        metadata: ObjectMeta {
            name: Some(namespace.clone()),
            labels: Some(labels.collect()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

fn build_default_deny(place: &Place) -> NetworkPolicy {
    NetworkPolicy {
        metadata: child_metadata(&place.namespace, child::DEFAULT_DENY),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ..NetworkPolicySpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::NetworkPolicyIngressRule;

    use super::*;

    fn place(inside: Inside) -> Place {
        Place {
            namespace: "acme".into(),
            owner_uid: "uid".into(),
            community: "acme".into(),
            enclave: None,
            held_operations: vec!["EnclaveCreation".into()],
            inside,
        }
    }

    fn furnished() -> Inside {
        let amount = |text: &str| BTreeMap::from([("cpu".to_owned(), Quantity(text.into()))]);
        let opening =
            NetworkPolicy { metadata: child_metadata("acme", child::DNS), ..NetworkPolicy::default() };
        Inside::Workload(Box::new(Furniture {
            workload: "api".into(),
            pod_security: "restricted",
            policies: vec![opening],
            cilium_policies: Vec::new(),
            quota: amount("1000m"),
            container_defaults: Some(ContainerLimits { limits: amount("1"), requests: amount("0.5") }),
        }))
    }

    /// Does what a plan asks for, as the API server would.
    fn carry_out(place: &Place, observed: &mut ObservedPlace) {
        while let Survey::Differs(writes) = survey(place, observed) {
            for write in writes {
                match write {
                    Write::CreateNamespace(namespace) | Write::ReplaceNamespace(namespace) => {
                        observed.namespace = Some(Arc::new(*namespace));
                    }
                    Write::CreateNetworkPolicy(policy) => observed.policies.push(Arc::new(*policy)),
                    Write::DeleteNetworkPolicy { name, .. } => {
                        observed.policies.retain(|policy| policy.name_any() != name);
                    }
                    Write::CreateResourceQuota(quota) | Write::ReplaceResourceQuota(quota) => {
                        observed.quota = Some(Arc::new(*quota));
                    }
                    Write::DeleteResourceQuota { .. } => observed.quota = None,
                    Write::CreateLimitRange(limits) => observed.container_defaults = Some(Arc::new(*limits)),
                    Write::DeleteLimitRange { .. } => observed.container_defaults = None,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(survey(place, observed), Survey::AsPlanned);
    }

    fn made(inside: Inside) -> (Place, ObservedPlace) {
        let (place, mut observed) = (place(inside), ObservedPlace::default());
        carry_out(&place, &mut observed);
        (place, observed)
    }

    fn change<T: Clone>(object: &mut Option<Arc<T>>, change: impl FnOnce(&mut T)) {
        change(Arc::make_mut(object.as_mut().unwrap()));
    }

    fn change_policy(observed: &mut ObservedPlace, change: impl FnOnce(&mut NetworkPolicySpec)) {
        let policy = observed.policies.iter_mut().find(|policy| policy.name_any() == child::DEFAULT_DENY);
        change(Arc::make_mut(policy.unwrap()).spec.as_mut().unwrap());
    }

    #[test]
    fn the_policy_that_denies_everything_is_the_first_thing_in_a_namespace() {
        for inside in [Inside::Community, Inside::Control, furnished()] {
            let place = place(inside);
            let namespace = Some(Arc::new(build_namespace(&place)));
            let observed = ObservedPlace { namespace, ..ObservedPlace::default() };
            let Survey::Differs(writes) = survey(&place, &observed) else { panic!("nothing to do") };
            let first = Write::CreateNetworkPolicy(Box::new(build_default_deny(&place)));
            assert_eq!(writes[0], first);
        }
    }

    #[test]
    fn foreign_labels_and_policies_are_left_alone() {
        for inside in [Inside::Community, furnished()] {
            let (place, mut observed) = made(inside);
            change(&mut observed.namespace, |namespace| {
                namespace.labels_mut().insert("team".into(), "blue".into());
            });
            let theirs =
                NetworkPolicy { metadata: child_metadata("acme", "theirs"), ..NetworkPolicy::default() };
            observed.policies.push(Arc::new(theirs));
            assert_eq!(survey(&place, &observed), Survey::AsPlanned);
        }
    }

    #[test]
    fn a_namespace_of_somebody_else_is_never_touched() {
        let (place, mut observed) = made(Inside::Community);
        change(&mut observed.namespace, |namespace| {
            namespace.labels_mut().insert(label::OWNER_UID.into(), "other".into());
        });
        assert_eq!(survey(&place, &observed), Survey::Foreign);
    }

    #[test]
    fn every_drift_is_put_back() {
        type Drift = fn(&mut ObservedPlace);
        let drifts: [(&str, Drift); 5] = [
            ("opened policy", |observed| {
                change_policy(observed, |spec| {
                    spec.ingress = Some(vec![NetworkPolicyIngressRule::default()]);
                });
            }),
            ("narrowed policy", |observed| {
                change_policy(observed, |spec| spec.policy_types = Some(vec!["Ingress".into()]));
            }),
            ("removed policy", |observed| {
                observed.policies.retain(|policy| policy.name_any() != child::DEFAULT_DENY);
            }),
            ("raised quota", |observed| {
                change(&mut observed.quota, |quota| {
                    quota.spec.as_mut().unwrap().hard = Some(BTreeMap::new());
                });
            }),
            ("pod security", |observed| {
                change(&mut observed.namespace, |namespace| {
                    namespace.labels_mut().insert(label::POD_SECURITY_ENFORCE.into(), "privileged".into());
                });
            }),
        ];
        for inside in [Inside::Control, furnished()] {
            for (name, drift) in drifts {
                let (place, mut observed) = made(inside.clone());
                drift(&mut observed);
                let Survey::Differs(writes) = survey(&place, &observed) else { panic!("{name} not seen") };
                assert_eq!(writes.len(), 1, "{name}");
            }
        }
    }

    #[test]
    fn what_nothing_wants_any_more_is_taken_away_first() {
        let (mut place, mut observed) = made(furnished());
        place.inside = Inside::Workload(Box::new(Furniture {
            workload: "api".into(),
            pod_security: "baseline",
            ..Furniture::default()
        }));
        let Survey::Differs(writes) = survey(&place, &observed) else { panic!("nothing to do") };
        assert!(matches!(&writes[0], Write::DeleteNetworkPolicy { name, .. } if name == child::DNS));
        assert_eq!(writes.len(), 4);
        carry_out(&place, &mut observed);
        assert!(observed.quota.is_none() && observed.container_defaults.is_none());
    }

    #[test]
    fn the_same_amounts_in_other_words_are_no_drift() {
        let (place, mut observed) = made(furnished());
        change(&mut observed.quota, |quota| {
            let amount = BTreeMap::from([("cpu".to_owned(), Quantity("1".into()))]);
            quota.spec.as_mut().unwrap().hard = Some(amount);
        });
        change(&mut observed.container_defaults, |limits| {
            let amount = BTreeMap::from([("cpu".to_owned(), Quantity("500m".into()))]);
            limits.spec.as_mut().unwrap().limits[0].default_request = Some(amount);
        });
        assert_eq!(survey(&place, &observed), Survey::AsPlanned);
    }
}
