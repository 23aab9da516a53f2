//! Observes EnclaveEndpoints, CommunityEndpoints and TransitHubs, from caches only.

use std::sync::Arc;

use crate::kinds::caches::Caches;
use crate::kinds::endpoint::plan::ObservedEndpoint;
use crate::kinds::observe::observe_gated;
use crate::model::approval::applied::as_if_applied;
use crate::model::approval::gated::Gated;
use crate::model::approval::policy_status::PolicyStatus;
use crate::model::network::connectivity::ResolvedConnection;

/// Gathers what is known of an endpoint or a hub. `connections` finds the connections to it, of which there may be a
/// thousand, and `put_into` returns one of them as it would be with the changed object.
#[must_use]
pub fn observe_endpoint<K: Gated + Clone>(
    caches: &Caches,
    endpoint: Arc<K>,
    policy_status: PolicyStatus,
    connections: impl FnOnce(&Caches, &K) -> Vec<ResolvedConnection>,
    put_into: impl Fn(&Caches, ResolvedConnection, &Arc<K>) -> ResolvedConnection,
) -> ObservedEndpoint<K> {
    // The connections matter to a deletion, and to those who decide about a change.
    let applied = endpoint.gate().and_then(|gate| gate.applied.as_ref());
    let is_settled = endpoint.meta().deletion_timestamp.is_none()
        && applied.is_some_and(|applied| {
            !applied.spec.retires() && Some(applied.generation) == endpoint.meta().generation
        });
    let connections = if is_settled { Vec::new() } else { connections(caches, &endpoint) };
    let proposed = as_if_applied(endpoint.as_ref(), &[]).map(Arc::new);
    let proposed = proposed.map(|proposed| {
        connections.iter().map(|resolved| put_into(caches, resolved.clone(), &proposed)).collect()
    });
    ObservedEndpoint {
        connections,
        proposed: proposed.unwrap_or_default(),
        declared: observe_gated(caches, endpoint, policy_status),
    }
}
