//! Observes a Community, from caches only.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::Community;
use crate::kinds::caches::Caches;
use crate::kinds::community::plan::ObservedCommunity;
use crate::kinds::enclave::index::EnclaveBy;
use crate::kinds::observe::{Bindings, observe_gated, observe_namespace};
use crate::kinds::unmanaged::of_community;
use crate::model::approval::policy_status::PolicyStatus;
use crate::model::naming::namespace_of;
use crate::plan::namespace::desired::is_owned;

/// Gathers what is known of a Community.
#[must_use]
pub fn observe_community(
    caches: &Caches,
    community: Arc<Community>,
    policy_status: PolicyStatus,
) -> ObservedCommunity {
    let namespace = namespace_of(&community);
    let owns = owns_namespace(caches, &community, &namespace);
    ObservedCommunity {
        place: observe_namespace(caches, &namespace, Bindings::OfThePlace),
        of_others: of_community(caches, &community),
        enclaves: if owns { caches.enclaves.count(EnclaveBy::CountedIn, &namespace) } else { 0 },
        declared: observe_gated(caches, community, policy_status),
    }
}

fn owns_namespace(caches: &Caches, community: &Community, namespace: &str) -> bool {
    caches
        .namespaces
        .get("", namespace)
        .is_some_and(|namespace| community.uid().is_some_and(|uid| is_owned(&namespace, &uid)))
}
