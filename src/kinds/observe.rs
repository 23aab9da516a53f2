//! Observes what the kinds have in common, from caches only: where an object is declared, what there is of the
//! namespace that is made for it, and which requests are about it.

use std::sync::Arc;

use kube::ResourceExt;

use super::caches::Caches;
use crate::kinds::approval_request::index::RequestBy;
use crate::kinds::index::{NamespaceBy, RbacBy};
use crate::model::approval::policy_status::PolicyStatus;

use crate::api::ApprovalRequest;
use crate::api::names::child;
use crate::kinds::parent::{namespace_of_workload, parent_of};
use crate::model::approval::gated::Gated;
use crate::model::naming::approval_request;
use crate::plan::gated::ObservedGated;
use crate::plan::namespace::desired::ObservedNamespace;
use crate::plan::parent::Parent;

/// Namespaces of all workloads of an Enclave that exist, in order.
pub(in crate::kinds) fn namespaces_of_workloads(
    caches: &Caches,
    parent: &Parent,
    control: &str,
) -> Vec<String> {
    let workloads = caches.workloads.in_namespace(control);
    let mut namespaces: Vec<String> =
        workloads.iter().filter_map(|workload| namespace_of_workload(caches, parent, workload)).collect();
    namespaces.sort();
    namespaces
}

pub(in crate::kinds) fn observe_gated<K: Gated>(
    caches: &Caches,
    object: Arc<K>,
    policy_status: PolicyStatus,
) -> ObservedGated<K> {
    let parent = object.meta().namespace.as_deref().map_or(Parent::Unmanaged, |name| parent_of(caches, name));
    let uid = object.uid().unwrap_or_default();
    let (requests, knows_all_requests) = whole(caches, || observe_requests(caches, object.as_ref(), &uid));
    ObservedGated { parent, requests, knows_all_requests, object, policies: policy_status }
}

/// Returns what `look` finds among the requests, and whether all of them were known all the time while it looked: they
/// may become known, or be dropped, meanwhile.
pub(in crate::kinds) fn whole<T>(caches: &Caches, look: impl FnOnce() -> T) -> (T, bool) {
    let was_complete = caches.requests.is_complete();
    let found = look();
    (found, was_complete && caches.requests.is_complete())
}

/// The requests about an object that still say something about it: those that are undecided or not enacted
/// yet, and the one for its latest generation.
fn observe_requests<K: Gated>(caches: &Caches, object: &K, uid: &str) -> Vec<Arc<ApprovalRequest>> {
    let mut requests = caches.requests.by(RequestBy::LiveTarget, uid);
    let generation = object.meta().generation.unwrap_or_default();
    let name = approval_request(K::KIND, &object.name_any(), uid, generation);
    let latest = caches.requests.get(&object.request_namespace(), &name);
    let is_new = |latest: &Arc<ApprovalRequest>| {
        latest.spec.target.uid == uid
            && requests.iter().all(|other| other.metadata.name != latest.metadata.name)
    };
    if let Some(latest) = latest.filter(is_new) {
        requests.push(latest);
    }
    requests
}

/// Which bindings of roles in a namespace concern it.
#[derive(Clone, Copy)]
pub(in crate::kinds) enum Bindings {
    /// All: nobody gets in but those whom it lists.
    All,
    /// Those that are made with it. There may be a thousand others, of grants.
    Own,
}

pub(in crate::kinds) fn observe_namespace(
    caches: &Caches,
    namespace: &str,
    bindings: Bindings,
) -> ObservedNamespace {
    ObservedNamespace {
        namespace: caches.namespaces.get("", namespace),
        policies: caches.network_policies.in_namespace(namespace),
        // While not all of them are known, none is surplus.
        cilium_policies: if caches.has_cilium() {
            caches.cilium_policies.in_namespace(namespace)
        } else {
            Vec::new()
        },
        bindings: match bindings {
            Bindings::All => caches.role_bindings.in_namespace(namespace),
            Bindings::Own => caches.role_bindings.by(RbacBy::OwnIn, namespace),
        },
        quota: caches.quotas.get(namespace, child::QUOTA),
        container_defaults: caches.container_defaults.get(namespace, child::CONTAINER_DEFAULTS),
    }
}

/// When the name cannot be derived, what was made is found by its owner.
pub(in crate::kinds) fn observe_namespace_owned_by<K: Gated>(
    caches: &Caches,
    owner: &K,
) -> ObservedNamespace {
    let uid = owner.uid().unwrap_or_default();
    let found = caches.namespaces.by(NamespaceBy::OwnerUid, &uid).into_iter().next();
    found.map_or_else(ObservedNamespace::default, |namespace| {
        observe_namespace(caches, &namespace.name_any(), Bindings::Own)
    })
}
