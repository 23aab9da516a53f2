//! Enqueues EnclaveEndpoints, CommunityEndpoints and TransitHubs when the rules around them change. One that is on its
//! way out waits for the connections that lead to it, and is enqueued when these change.

use std::sync::Arc;

use crate::api::{
    Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint, Kind, TransitHub,
};
use crate::cluster::cache::{Change, Key};
use crate::cluster::workqueue::Priority;
use crate::kinds::changes::Watches;
use crate::kinds::connection::observe::resolve_connection;
use crate::kinds::enclave::watches::{namespace_in_enclave, namespaces_in_community};
use crate::kinds::enqueue::{Enqueuer, concerns_others};
use crate::model::approval::applied::applied_spec;
use crate::model::approval::gated::Gated;
use crate::model::network::connectivity::{DestinationEnd, ResolvedConnection, SourceEnd};

/// Speaks for the three kinds.
impl Watches for EnclaveEndpoint {
    /// Enqueues the endpoints and hubs in a Community, in which its rules count.
    fn communities(enqueuer: &Enqueuer, change: &Change<Community>) {
        let caches = &enqueuer.caches;
        for namespace in namespaces_in_community(enqueuer, change) {
            let endpoints = caches.community_endpoints.in_namespace(&namespace);
            enqueuer.enqueue_objects(Kind::CommunityEndpoint, &endpoints, Priority::Normal);
            let hubs = caches.transit_hubs.in_namespace(&namespace);
            enqueuer.enqueue_objects(Kind::TransitHub, &hubs, Priority::Normal);
            enqueue_in(enqueuer, &namespace);
        }
    }

    /// Enqueues the endpoints in an Enclave, in which its rules count.
    fn enclaves(enqueuer: &Enqueuer, change: &Change<Enclave>) {
        if let Some((namespace, _)) = namespace_in_enclave(enqueuer, change) {
            enqueue_in(enqueuer, &namespace);
        }
    }

    /// Enqueues the endpoints and hubs on their way out at the ends of a connection: they may wait for it.
    fn connections(enqueuer: &Enqueuer, change: &Change<EnclaveConnection>) {
        if !concerns_others(change) {
            return;
        }
        for connection in change.versions() {
            let ResolvedConnection { source, destination, .. } =
                resolve_connection(&enqueuer.caches, Arc::clone(connection));
            if let SourceEnd::TransitHub { hub: Some(hub), .. } = &source {
                enqueue_if_finalizing(enqueuer, hub.as_ref());
            }
            match &destination {
                DestinationEnd::Enclave { endpoint: Some(endpoint), .. } => {
                    enqueue_if_finalizing(enqueuer, endpoint.as_ref());
                }
                DestinationEnd::Community { endpoint, hub, .. } => {
                    if let Some(endpoint) = endpoint {
                        enqueue_if_finalizing(enqueuer, endpoint.as_ref());
                    }
                    if let Some(hub) = hub {
                        enqueue_if_finalizing(enqueuer, hub.as_ref());
                    }
                }
                DestinationEnd::Enclave { endpoint: None, .. } => {}
            }
        }
    }

    /// Enqueues the hubs on their way out that an endpoint leads through, or did: they may wait for it.
    fn community_endpoints(enqueuer: &Enqueuer, change: &Change<CommunityEndpoint>) {
        if !concerns_others(change) {
            return;
        }
        let hubs = &enqueuer.caches.transit_hubs;
        for endpoint in change.versions() {
            let namespace = endpoint.metadata.namespace.as_deref().unwrap_or_default();
            let applied = applied_spec(endpoint.as_ref()).ok().flatten().map(|spec| spec.destination);
            let destinations = applied.iter().chain([&endpoint.spec.destination]);
            for name in destinations.filter_map(|destination| Some(&destination.transit_hub.as_ref()?.name)) {
                if let Some(hub) = hubs.get(namespace, name) {
                    enqueue_if_finalizing(enqueuer, hub.as_ref());
                }
            }
        }
    }
}

impl Watches for CommunityEndpoint {}

impl Watches for TransitHub {}

fn enqueue_if_finalizing<K: Gated>(enqueuer: &Enqueuer, object: &K) {
    let applied = object.gate().and_then(|gate| gate.applied.as_ref());
    if object.meta().deletion_timestamp.is_some() || applied.is_some_and(|applied| applied.spec.retires()) {
        let Key { namespace, name } = Key::of(object);
        enqueuer.queues.add(K::KIND, &namespace, &name, Priority::Normal);
    }
}

fn enqueue_in(enqueuer: &Enqueuer, control: &str) {
    let endpoints = enqueuer.caches.endpoints.in_namespace(control);
    enqueuer.enqueue_objects(Kind::EnclaveEndpoint, &endpoints, Priority::Normal);
}
