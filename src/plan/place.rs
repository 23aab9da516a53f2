//! A place where no pod may run: a Community's namespace or an Enclave's control namespace, with
//! the objects that keep it shut.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, ResourceQuota, ResourceQuotaSpec};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::ResourceExt;

use super::Write;
use super::gate::Enforcement;
use crate::api::names::{self, annotation, child, label, purpose, reason};

/// What a place should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the namespace.
    pub namespace: String,
    /// UID of the object that the namespace belongs to.
    pub owner_uid: String,
    /// One of [`names::purpose`].
    pub purpose: &'static str,
    /// Name of the Community.
    pub community: String,
    /// Name of the Enclave, when the place belongs to one.
    pub enclave: Option<String>,
    /// Operations that may be held in it, for the policy that warns.
    pub held_operations: Vec<String>,
}

/// What was seen of a place.
#[derive(Clone, Debug, Default)]
pub struct ObservedPlace {
    /// The namespace.
    pub namespace: Option<Arc<Namespace>>,
    /// The policy that denies everything.
    pub default_deny: Option<Arc<NetworkPolicy>>,
    /// The quota that admits no pod.
    pub no_pods: Option<Arc<ResourceQuota>>,
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

/// Compares a place with what it should be. The order of the writes keeps it shut: the policy that
/// denies everything comes right after the namespace.
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
    let mut writes = Vec::new();
    match observed.default_deny.as_deref() {
        None => writes.push(Write::CreateNetworkPolicy(Box::new(build_default_deny(place)))),
        Some(live) => {
            let wanted = build_default_deny(place);
            if !has_metadata(&live.metadata, &wanted.metadata) || !denies_everything(live) {
                writes.push(Write::ReplaceNetworkPolicy(Box::new(NetworkPolicy {
                    metadata: merge_metadata(&live.metadata, wanted.metadata),
                    ..wanted
                })));
            }
        }
    }
    match observed.no_pods.as_deref() {
        None => writes.push(Write::CreateResourceQuota(Box::new(build_no_pods(place)))),
        Some(live) => {
            let wanted = build_no_pods(place);
            if !has_metadata(&live.metadata, &wanted.metadata) || live.spec != wanted.spec {
                writes.push(Write::ReplaceResourceQuota(Box::new(ResourceQuota {
                    metadata: merge_metadata(&live.metadata, wanted.metadata),
                    ..wanted
                })));
            }
        }
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
            Enforcement::Blocked {
                reason: reason::NAMESPACE_TERMINATING,
                message: format!(
                    "namespace {} is being deleted; it is made again when it is gone",
                    place.namespace
                ),
            },
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
        purpose: match label(label::PURPOSE).as_deref() {
            Some(purpose::COMMUNITY) => purpose::COMMUNITY,
            _ => purpose::CONTROL,
        },
        community: label(label::COMMUNITY).unwrap_or_default(),
        enclave: label(label::ENCLAVE),
        held_operations: held
            .map(|held| held.split(' ').map(ToOwned::to_owned).collect())
            .unwrap_or_default(),
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
    Enforcement::Blocked {
        reason: reason::NAMESPACE_CONFLICT,
        message: format!(
            "namespace {namespace} exists and was not made for this object, so it is never taken over; use another name, or free this one if nobody needs it"
        ),
    }
}

/// The writes that take a place away; `None` when there is nothing of it left.
#[must_use]
pub fn plan_removal(observed: &ObservedPlace, owner_uid: &str) -> Option<Vec<Write>> {
    let namespace = observed.namespace.as_deref().filter(|namespace| is_owned(namespace, owner_uid))?;
    let delete =
        Write::DeleteNamespace { name: namespace.name_any(), uid: namespace.uid().unwrap_or_default() };
    Some(if namespace.metadata.deletion_timestamp.is_none() { vec![delete] } else { Vec::new() })
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
    let Place { namespace, owner_uid, purpose, community, enclave, held_operations } = place;
    let mut labels = BTreeMap::from([
        (label::MANAGED_BY.to_owned(), names::OPERATOR.to_owned()),
        (label::OWNER_UID.to_owned(), owner_uid.clone()),
        (label::PURPOSE.to_owned(), (*purpose).to_owned()),
        (label::COMMUNITY.to_owned(), community.clone()),
        (label::POD_SECURITY_ENFORCE.to_owned(), "restricted".to_owned()),
    ]);
    if let Some(enclave) = enclave {
        labels.insert(label::ENCLAVE.to_owned(), enclave.clone());
    }
    let annotations = BTreeMap::from([(annotation::HELD_OPERATIONS.to_owned(), held_operations.join(" "))]);
    Namespace {
        metadata: ObjectMeta {
            name: Some(namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

fn build_default_deny(place: &Place) -> NetworkPolicy {
    NetworkPolicy {
        metadata: child_metadata(place, child::DEFAULT_DENY),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ..NetworkPolicySpec::default()
        }),
    }
}

fn denies_everything(policy: &NetworkPolicy) -> bool {
    let Some(NetworkPolicySpec { egress, ingress, pod_selector, policy_types }) = &policy.spec else {
        return false;
    };
    egress.as_ref().is_none_or(Vec::is_empty)
        && ingress.as_ref().is_none_or(Vec::is_empty)
        && pod_selector.as_ref().is_none_or(|selector| *selector == LabelSelector::default())
        && policy_types.as_deref() == Some(&["Ingress".to_owned(), "Egress".to_owned()])
}

fn build_no_pods(place: &Place) -> ResourceQuota {
    ResourceQuota {
        metadata: child_metadata(place, child::NO_PODS),
        spec: Some(ResourceQuotaSpec {
            hard: Some(BTreeMap::from([("pods".to_owned(), Quantity("0".to_owned()))])),
            ..ResourceQuotaSpec::default()
        }),
        status: None,
    }
}

fn child_metadata(place: &Place, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(place.namespace.clone()),
        labels: Some(BTreeMap::from([(label::MANAGED_BY.to_owned(), names::OPERATOR.to_owned())])),
        ..ObjectMeta::default()
    }
}

/// Labels and annotations that others added are theirs and stay.
fn has_metadata(live: &ObjectMeta, wanted: &ObjectMeta) -> bool {
    let contains = |live: &Option<BTreeMap<String, String>>, wanted: &Option<BTreeMap<String, String>>| {
        wanted.iter().flatten().all(|(key, value)| live.as_ref().and_then(|map| map.get(key)) == Some(value))
    };
    contains(&live.labels, &wanted.labels) && contains(&live.annotations, &wanted.annotations)
}

fn merge_metadata(live: &ObjectMeta, wanted: ObjectMeta) -> ObjectMeta {
    let merge = |live: &Option<BTreeMap<String, String>>, wanted: Option<BTreeMap<String, String>>| {
        live.clone().into_iter().chain(wanted).reduce(|mut merged, more| {
            merged.extend(more);
            merged
        })
    };
    ObjectMeta {
        labels: merge(&live.labels, wanted.labels),
        annotations: merge(&live.annotations, wanted.annotations),
        managed_fields: None,
        ..live.clone()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::NetworkPolicyIngressRule;

    use super::*;

    fn place() -> Place {
        Place {
            namespace: "acme".into(),
            owner_uid: "uid".into(),
            purpose: purpose::COMMUNITY,
            community: "acme".into(),
            enclave: None,
            held_operations: vec!["EnclaveCreation".into()],
        }
    }

    fn as_planned() -> ObservedPlace {
        let place = place();
        ObservedPlace {
            namespace: Some(Arc::new(build_namespace(&place))),
            default_deny: Some(Arc::new(build_default_deny(&place))),
            no_pods: Some(Arc::new(build_no_pods(&place))),
        }
    }

    fn change<T: Clone>(object: &mut Option<Arc<T>>, change: impl FnOnce(&mut T)) {
        change(Arc::make_mut(object.as_mut().unwrap()));
    }

    #[test]
    fn what_is_as_planned_is_left_alone() {
        assert_eq!(survey(&place(), &as_planned()), Survey::AsPlanned);
    }

    #[test]
    fn foreign_labels_are_left_alone() {
        let mut observed = as_planned();
        change(&mut observed.namespace, |namespace| {
            namespace.labels_mut().insert("team".into(), "blue".into());
        });
        assert_eq!(survey(&place(), &observed), Survey::AsPlanned);
    }

    #[test]
    fn a_namespace_of_somebody_else_is_never_touched() {
        let mut observed = as_planned();
        change(&mut observed.namespace, |namespace| {
            namespace.labels_mut().insert(label::OWNER_UID.into(), "other".into());
        });
        assert_eq!(survey(&place(), &observed), Survey::Foreign);
    }

    #[test]
    fn every_drift_is_put_back() {
        type Drift = fn(&mut ObservedPlace);
        let drifts: [(&str, Drift); 5] = [
            ("opened policy", |observed| {
                change(&mut observed.default_deny, |policy| {
                    policy.spec.as_mut().unwrap().ingress = Some(vec![NetworkPolicyIngressRule::default()]);
                });
            }),
            ("narrowed policy", |observed| {
                change(&mut observed.default_deny, |policy| {
                    policy.spec.as_mut().unwrap().policy_types = Some(vec!["Ingress".into()]);
                });
            }),
            ("removed policy", |observed| observed.default_deny = None),
            ("raised quota", |observed| {
                change(&mut observed.no_pods, |quota| {
                    quota.spec.as_mut().unwrap().hard = Some(BTreeMap::new());
                });
            }),
            ("pod security", |observed| {
                change(&mut observed.namespace, |namespace| {
                    namespace.labels_mut().insert(label::POD_SECURITY_ENFORCE.into(), "privileged".into());
                });
            }),
        ];
        for (name, drift) in drifts {
            let mut observed = as_planned();
            drift(&mut observed);
            let Survey::Differs(writes) = survey(&place(), &observed) else { panic!("{name} not seen") };
            assert_eq!(writes.len(), 1, "{name}");
        }
    }
}
