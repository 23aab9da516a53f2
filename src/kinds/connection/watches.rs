//! Enqueues an EnclaveConnection when the rules around it, its source, its destination or its network policies change.
//! A connection that waits because its namespace has as many as it may is enqueued when another one goes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;

use crate::api::{
    Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint, EnclaveWorkload, Kind,
    TransitHub,
};
use crate::cluster::cache::{Change, Indexed};
use crate::cluster::workqueue::Priority;
use crate::kinds::changes::Watches;
use crate::kinds::connection::index::ConnectionBy;
use crate::kinds::connection::lookup::{
    connections_into, connections_through, connections_to, connections_to_community, connections_with,
};
use crate::kinds::connection::plan::MOST_CONNECTIONS;
use crate::kinds::enclave::watches::{namespace_in_enclave, namespaces_in_community};
use crate::kinds::endpoint::index::{CommunityEndpointBy, HubBy};
use crate::kinds::enqueue::{Enqueuer, concerns_others, priority_of};
use crate::kinds::index::connection_of_policy;
use crate::kinds::labels::{is_there, labels_of};
use crate::kinds::workload::watches::enqueue_ends;
use crate::model::approval::gated::Gated;
use crate::model::naming::enclave_namespace;
use crate::plan::child::Made;

impl Watches for EnclaveConnection {
    /// Enqueues the connections in a Community, for which its rules and its name resolution count.
    fn communities(enqueuer: &Enqueuer, change: &Change<Community>) {
        for namespace in namespaces_in_community(enqueuer, change) {
            enqueue_in(enqueuer, &namespace);
        }
    }

    /// Enqueues the connections in an Enclave and those that lead into it, for which its rules count.
    fn enclaves(enqueuer: &Enqueuer, change: &Change<Enclave>) {
        if let Some((namespace, community)) = namespace_in_enclave(enqueuer, change)
            && let Some(enclave) = change.latest()
        {
            enqueue_in(enqueuer, &namespace);
            let leading = connections_into(&enqueuer.caches, &community.name_any(), &enclave.name_any());
            enqueue(enqueuer, &leading, priority_of(change));
        }
    }

    /// Enqueues the connections that lead to an endpoint, and the requests about them: what a request asks for may have
    /// changed with the endpoint.
    fn endpoints(enqueuer: &Enqueuer, change: &Change<EnclaveEndpoint>) {
        if let Some(endpoint) = change.latest().filter(|_| concerns_others(change)) {
            enqueue_with_requests(enqueuer, &connections_to(&enqueuer.caches, endpoint), priority_of(change));
        }
    }

    /// Enqueues the connections that lead to an endpoint of a Community, the requests about them, and their workloads.
    fn community_endpoints(enqueuer: &Enqueuer, change: &Change<CommunityEndpoint>) {
        if let Some(endpoint) = change.latest().filter(|_| concerns_others(change)) {
            let connections = connections_to_community(&enqueuer.caches, endpoint);
            enqueue_with_ends(enqueuer, connections, priority_of(change));
        }
    }

    /// Enqueues the connections that come from a hub or lead through it, the requests about them, and their workloads.
    fn transit_hubs(enqueuer: &Enqueuer, change: &Change<TransitHub>) {
        if let Some(hub) = change.latest().filter(|_| concerns_others(change)) {
            enqueue_with_ends(enqueuer, connections_through(&enqueuer.caches, hub), priority_of(change));
        }
    }

    /// Enqueues the connections that come from a workload or lead to it, and the workloads at their ends.
    fn workloads(enqueuer: &Enqueuer, change: &Change<EnclaveWorkload>) {
        if let Some(workload) = change.latest().filter(|_| concerns_others(change)) {
            let (control, name) = (workload.namespace().unwrap_or_default(), workload.name_any());
            let connections = connections_of(enqueuer, &control, &name);
            enqueue(enqueuer, &connections, priority_of(change));
            enqueue_ends(enqueuer, connections, priority_of(change));
        }
    }

    /// Enqueues the connections that wait for room in a namespace when another one goes: at most [`MOST_CONNECTIONS`] are
    /// in force there.
    fn connections(enqueuer: &Enqueuer, change: &Change<EnclaveConnection>) {
        let Some(connection) = change.latest() else { return };
        if change.after.is_none() || connection.is_record() {
            let namespace = connection.metadata.namespace.as_deref().unwrap_or_default();
            let connections = &enqueuer.caches.connections;
            let count = |by| connections.count(by, namespace);
            // There may have been no room for all of them with this connection, or with others that went at the same time.
            if count(ConnectionBy::InForceIn) + count(ConnectionBy::NewIn) >= MOST_CONNECTIONS / 2 {
                enqueue(enqueuer, &connections.by(ConnectionBy::NewIn, namespace), Priority::Normal);
            }
        }
    }

    /// Enqueues the connections of the workload whose namespace changed, those that lead into its Enclave, and those that
    /// lead to the namespace by its name.
    fn namespaces(enqueuer: &Enqueuer, change: &Change<Namespace>) {
        let Some(namespace) = change.latest().filter(|_| change.differs(is_there)) else { return };
        let caches = &enqueuer.caches;
        let name = namespace.name_any();
        if let Some(labels) = labels_of(namespace) {
            if let (Some(enclave), Some(workload)) = (labels.enclave, labels.workload) {
                let control = enclave_namespace(labels.community, enclave);
                enqueue(enqueuer, &connections_of(enqueuer, &control, workload), Priority::Normal);
            }
            // Until it is known the connections that lead into it wait.
            if let (Some(enclave), None) = (labels.enclave, labels.workload) {
                let leading = connections_into(caches, labels.community, enclave);
                enqueue(enqueuer, &leading, Priority::Normal);
            }
        }
        for endpoint in caches.community_endpoints.by(CommunityEndpointBy::ServiceNamespace, &name) {
            enqueue_with_ends(enqueuer, connections_to_community(caches, &endpoint), Priority::Normal);
        }
        for hub in caches.transit_hubs.by(HubBy::GatewayNamespace, &name) {
            enqueue_with_ends(enqueuer, connections_through(caches, &hub), Priority::Normal);
        }
    }

    /// Enqueues the connection after which a policy is named.
    fn network_policies<K: Indexed + Made>(enqueuer: &Enqueuer, change: &Change<K>) {
        let name = change.latest().and_then(|policy| policy.meta().name.as_deref());
        if let Some((namespace, connection)) = name.and_then(connection_of_policy) {
            enqueuer.queues.add(Kind::EnclaveConnection, namespace, connection, Priority::Normal);
        }
    }
}

/// The connections that come from a workload or lead to it.
pub(in crate::kinds) fn connections_of(
    enqueuer: &Enqueuer,
    control: &str,
    workload: &str,
) -> Vec<Arc<EnclaveConnection>> {
    connections_with(&enqueuer.caches, control, workload)
}

fn enqueue_in(enqueuer: &Enqueuer, namespace: &str) {
    enqueue(enqueuer, &enqueuer.caches.connections.in_namespace(namespace), Priority::Normal);
}

fn enqueue(enqueuer: &Enqueuer, connections: &[Arc<EnclaveConnection>], priority: Priority) {
    enqueuer.enqueue_objects(Kind::EnclaveConnection, connections, priority);
}

fn enqueue_with_requests(enqueuer: &Enqueuer, connections: &[Arc<EnclaveConnection>], priority: Priority) {
    enqueue(enqueuer, connections, priority);
    for uid in connections.iter().filter_map(|connection| connection.metadata.uid.as_deref()) {
        enqueuer.enqueue_live_requests(uid);
    }
}

fn enqueue_with_ends(enqueuer: &Enqueuer, connections: Vec<Arc<EnclaveConnection>>, priority: Priority) {
    enqueue_with_requests(enqueuer, &connections, priority);
    enqueue_ends(enqueuer, connections, priority);
}
