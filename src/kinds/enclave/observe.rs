//! Observes an Enclave, from caches only.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::Enclave;
use crate::cluster::cache::{Cache, Indexed};
use crate::kinds::caches::Caches;
use crate::kinds::enclave::plan::{Children, ObservedEnclave};
use crate::kinds::observe::{
    Bindings, namespaces_of_workloads, observe_gated, observe_namespace, observe_namespace_owned_by,
};
use crate::kinds::parent::control_namespace_of;
use crate::kinds::unmanaged::of_enclave;
use crate::model::approval::gated::Gated;
use crate::model::approval::policy_status::PolicyStatus;
use crate::plan::parent::Parent;

/// Gathers what is known of an Enclave.
#[must_use]
pub fn observe_enclave(
    caches: &Caches,
    enclave: Arc<Enclave>,
    policy_status: PolicyStatus,
) -> ObservedEnclave {
    let declared = observe_gated(caches, enclave, policy_status);
    let live_namespace = match &declared.parent {
        Parent::Community(community) => {
            observe_namespace(caches, &control_namespace_of(community, &declared.object), Bindings::Own)
        }
        Parent::Unmanaged | Parent::Enclave(..) => {
            observe_namespace_owned_by(caches, declared.object.as_ref())
        }
    };
    // The children matter to an Enclave that is on its way out.
    let applied = declared.object.gate().and_then(|gate| gate.applied.as_ref());
    let is_finalizing = declared.object.metadata.deletion_timestamp.is_some()
        || applied.is_some_and(|applied| applied.spec.retires());
    let control = live_namespace.namespace.as_deref().filter(|_| is_finalizing).map(ResourceExt::name_any);
    let children = control.map(|namespace| Children {
        workloads: count_in(&caches.workloads, &namespace),
        endpoints: count_in(&caches.endpoints, &namespace),
        connections: count_in(&caches.connections, &namespace),
    });
    let community = declared.parent.community();
    let parent =
        community.map(|community| Parent::Enclave(Arc::clone(community), Arc::clone(&declared.object)));
    let control = live_namespace.namespace.as_deref().map(ResourceExt::name_any);
    let workloads =
        parent.zip(control).map(|(parent, control)| namespaces_of_workloads(caches, &parent, &control));
    let of_others = community.map(|community| of_enclave(caches, community, &declared.object));
    ObservedEnclave {
        of_others: of_others.unwrap_or_default(),
        workloads: workloads.unwrap_or_default(),
        children: children.unwrap_or_default(),
        declared,
        live_namespace,
    }
}

fn count_in<K: Gated + Indexed>(cache: &Cache<K>, namespace: &str) -> usize {
    cache.in_namespace(namespace).iter().filter(|object| !object.is_record()).count()
}
