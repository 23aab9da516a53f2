//! Observes an EnclaveConnection, from caches only.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::EnclaveConnection;
use crate::cluster::cache::{Cache, Indexed};
use crate::kinds::caches::Caches;
use crate::kinds::connection::index::ConnectionBy;
use crate::kinds::connection::plan::{MOST_CONNECTIONS, ObservedConnection};
use crate::kinds::connection::resolver::resolve_connection;
use crate::kinds::foreign::is_managed;
use crate::kinds::index::{PolicyBy, pair};
use crate::kinds::observe::observe_gated;
use crate::model::approval::gated::Gated;
use crate::model::approval::policy_status::PolicyStatus;

/// Gathers what is known of a connection.
#[must_use]
pub fn observe_connection(
    caches: &Caches,
    connection: Arc<EnclaveConnection>,
    policy_status: PolicyStatus,
) -> ObservedConnection {
    let (policies, cilium_policies) = (
        policies_of_connection(caches, &caches.network_policies, &connection),
        policies_of_connection(caches, &caches.cilium_policies, &connection),
    );
    let resolved = resolve_connection(caches, Arc::clone(&connection));
    let declared = observe_gated(caches, connection, policy_status);
    let siblings = count_siblings(caches, &declared.object);
    ObservedConnection { declared, resolved, policies, cilium_policies, siblings }
}

/// Counts the other connections in the namespace of a connection that are in force, and those that wait and were there
/// before it. The count matters only to a connection that is not in force yet.
fn count_siblings(caches: &Caches, connection: &EnclaveConnection) -> usize {
    if connection.gate().is_some_and(|gate| gate.applied.is_some()) {
        return 0;
    }
    let namespace = connection.metadata.namespace.as_deref().unwrap_or_default();
    let in_force = caches.connections.count(ConnectionBy::InForceIn, namespace);
    if in_force >= MOST_CONNECTIONS {
        // Connections that are only kept as records do not count any more.
        let in_force = caches.connections.by(ConnectionBy::InForceIn, namespace);
        return in_force.iter().filter(|other| !other.is_record()).count();
    }
    // As a rule there is room for all connections that wait, whichever was there first.
    if in_force + caches.connections.count(ConnectionBy::NewIn, namespace) <= MOST_CONNECTIONS {
        return in_force;
    }
    let waiting = caches.connections.by(ConnectionBy::NewIn, namespace);
    let before = waiting.iter().filter(|other| !other.is_record() && is_older(other, connection));
    in_force + before.count()
}

/// Whether one connection was there before another. Of two that come at once one is the first, so that a limit lets
/// neither both nor none in.
fn is_older(one: &EnclaveConnection, other: &EnclaveConnection) -> bool {
    let key = |connection: &EnclaveConnection| {
        (connection.creation_timestamp().map(|at| at.0), connection.name_any())
    };
    key(one) < key(other)
}

/// The policies that are named after a connection. A namespace that is not ours can have a policy of
/// any name.
fn policies_of_connection<K>(caches: &Caches, cache: &Cache<K>, connection: &EnclaveConnection) -> Vec<Arc<K>>
where
    K: Indexed<By = PolicyBy>,
{
    let metadata = &connection.metadata;
    let (Some(declared_in), Some(name)) = (&metadata.namespace, &metadata.name) else { return Vec::new() };
    let mut found = cache.by(PolicyBy::Connection, &pair(declared_in, name));
    found.retain(|policy| {
        let namespace = policy.meta().namespace.as_deref().unwrap_or_default();
        caches.namespaces.get("", namespace).is_some_and(|namespace| is_managed(&namespace))
    });
    found
}
