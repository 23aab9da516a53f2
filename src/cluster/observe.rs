//! Gathers what a plan needs, from caches only.

use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::caches::Caches;
use super::triggers::Guard;
use crate::api::names::{child, label, purpose};
use crate::api::{ApprovalRequest, Community, Enclave, Kind};
use crate::model::gated::Gated;
use crate::model::life::applied_spec;
use crate::model::naming::{community_namespace, enclave_namespace};
use crate::model::request::TargetView;
use crate::plan::community::ObservedCommunity;
use crate::plan::enclave::ObservedEnclave;
use crate::plan::place::{ObservedPlace, is_owned};

/// Namespace that a Community owns, or wants to.
#[must_use]
pub fn namespace_of(community: &Community) -> String {
    community_namespace(&community.name_any(), community.spec.namespace.as_deref())
}

/// Control namespace that an Enclave owns, or wants to.
#[must_use]
pub fn control_namespace_of(community: &Community, enclave: &Enclave) -> String {
    enclave_namespace(&community.name_any(), &enclave.name_any())
}

/// The Community whose namespace an Enclave lives in: the namespace must be owned by it, a name
/// is not enough.
#[must_use]
pub fn community_around(caches: &Caches, enclave: &Enclave) -> Option<Arc<Community>> {
    let namespace = caches.namespaces.get(&ObjectRef::new(&enclave.namespace()?))?;
    if namespace.labels().get(label::PURPOSE).is_none_or(|value| value != purpose::COMMUNITY) {
        return None;
    }
    let community = caches.communities.get(&ObjectRef::new(namespace.labels().get(label::COMMUNITY)?))?;
    is_owned(&namespace, &community.uid()?).then_some(community)
}

/// Gathers what is known of a Community.
#[must_use]
pub fn observe_community(caches: &Caches, community: Arc<Community>, guard: Guard) -> ObservedCommunity {
    let namespace = namespace_of(&community);
    let enclaves = caches.enclaves.state_filter(|enclave| enclave.namespace().as_ref() == Some(&namespace));
    ObservedCommunity {
        requests: requests_about(caches, community.as_ref()),
        place: observe_place(caches, &namespace),
        enclaves: if owns_namespace(caches, &community, &namespace) { enclaves.len() } else { 0 },
        community,
        integrity: guard.integrity,
        witness: guard.witness,
    }
}

/// Gathers what is known of an Enclave.
#[must_use]
pub fn observe_enclave(caches: &Caches, enclave: Arc<Enclave>, guard: Guard) -> ObservedEnclave {
    let community = community_around(caches, &enclave);
    // Without the Community the name cannot be derived; what was made is found by its owner then.
    let place = if let Some(community) = &community {
        observe_place(caches, &control_namespace_of(community, &enclave))
    } else {
        let uid = enclave.uid().unwrap_or_default();
        let owned = caches.namespaces.find(|namespace| is_owned(namespace, &uid));
        owned.map_or_else(ObservedPlace::default, |namespace| observe_place(caches, &namespace.name_any()))
    };
    let workloads = place.namespace.as_deref().map(ResourceExt::name_any).map_or(0, |namespace| {
        caches.workloads.state_filter(|workload| workload.namespace().as_ref() == Some(&namespace)).len()
    });
    ObservedEnclave {
        workloads,
        requests: requests_about(caches, enclave.as_ref()),
        community,
        place,
        enclave,
        integrity: guard.integrity,
        witness: guard.witness,
    }
}

/// How a request's target stands to the request.
#[must_use]
pub fn observe_target(caches: &Caches, request: &ApprovalRequest) -> TargetView {
    let target = &request.spec.target;
    match target.kind {
        Kind::Community => {
            view_target(request, caches.communities.get(&ObjectRef::new(&target.name)).as_deref())
        }
        Kind::Enclave => {
            let namespace = target.namespace.as_deref().unwrap_or_default();
            let key = ObjectRef::new(&target.name).within(namespace);
            view_target(request, caches.enclaves.get(&key).as_deref())
        }
        _ => TargetView::Gone,
    }
}

fn view_target<K: Gated>(request: &ApprovalRequest, target: Option<&K>) -> TargetView {
    let Some(target) = target.filter(|target| target.uid().as_ref() == Some(&request.spec.target.uid)) else {
        return TargetView::Gone;
    };
    if target.meta().deletion_timestamp.is_some() {
        return TargetView::Gone;
    }
    let applied = target.gate().and_then(|gate| gate.applied.as_ref());
    if applied.and_then(|applied| applied.approval_request.as_ref()) == Some(&request.name_any()) {
        return TargetView::PutIntoForce;
    }
    let generation = target.meta().generation.unwrap_or_default();
    if generation < request.spec.target.generation {
        return TargetView::Behind;
    }
    // What cannot be read is not what is proposed; the target itself says what is wrong.
    if applied_spec(target).ok().flatten().as_ref() == Some(&K::without_change_reason(target.spec())) {
        return TargetView::EditedBack;
    }
    if generation == request.spec.target.generation { TargetView::Proposed } else { TargetView::EditedAgain }
}

fn requests_about<K: Gated>(caches: &Caches, object: &K) -> Vec<Arc<ApprovalRequest>> {
    let uid = object.uid().unwrap_or_default();
    caches.requests.state_filter(|request| request.spec.target.uid == uid)
}

fn observe_place(caches: &Caches, namespace: &str) -> ObservedPlace {
    ObservedPlace {
        namespace: caches.namespaces.get(&ObjectRef::new(namespace)),
        default_deny: caches.network_policies.get(&ObjectRef::new(child::DEFAULT_DENY).within(namespace)),
        no_pods: caches.resource_quotas.get(&ObjectRef::new(child::NO_PODS).within(namespace)),
    }
}

fn owns_namespace(caches: &Caches, community: &Community, namespace: &str) -> bool {
    caches
        .namespaces
        .get(&ObjectRef::new(namespace))
        .is_some_and(|namespace| community.uid().is_some_and(|uid| is_owned(&namespace, &uid)))
}
