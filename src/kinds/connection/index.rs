//! The indexes of EnclaveConnections.

use crate::api::EnclaveConnection;
use crate::cluster::cache::Indexed;
use crate::kinds::index::{may_surround, namespace_of_object, pair};

/// Indexes of EnclaveConnections. What one leads to is named in its spec, by names that are unique in a Community.
/// Which that is does not stand there, so it is found under each that [`may_surround`] it, and the caller keeps his
/// own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionBy {
    /// Namespace and name of a workload that it comes from, as a [`pair`].
    SourceWorkload,
    /// Namespace and name of the hub that it comes from, as a [`pair`].
    SourceHub,
    /// A Community that may surround it, and the names of the Enclave and the EnclaveEndpoint that it leads to, as a
    /// [`pair`] with a pair.
    Endpoint,
    /// A Community that may surround it, and the name of the Enclave that it leads into, as a [`pair`].
    DestinationEnclave,
    /// A Community that may surround it, and the name of the CommunityEndpoint that it leads to, as a [`pair`].
    CommunityEndpoint,
    /// The namespace of a connection of which something is applied.
    InForceIn,
    /// The namespace of a connection of which nothing is applied yet.
    NewIn,
}

impl Indexed for EnclaveConnection {
    type By = ConnectionBy;

    fn index(&self, add: &mut dyn FnMut(ConnectionBy, &str)) {
        let namespace = namespace_of_object(self);
        let source = &self.spec.source;
        for workload in &source.workloads {
            add(ConnectionBy::SourceWorkload, &pair(namespace, workload));
        }
        if let Some(hub) = &source.transit_hub {
            add(ConnectionBy::SourceHub, &pair(namespace, &hub.name));
        }
        let destination = &self.spec.destination;
        for community in may_surround(namespace) {
            if let Some(endpoint) = &destination.enclave_endpoint {
                let named = pair(&endpoint.enclave, &endpoint.name);
                add(ConnectionBy::Endpoint, &pair(community, &named));
                add(ConnectionBy::DestinationEnclave, &pair(community, &endpoint.enclave));
            }
            if let Some(endpoint) = &destination.community_endpoint {
                add(ConnectionBy::CommunityEndpoint, &pair(community, &endpoint.name));
            }
        }
        let is_applied = self.status.as_ref().is_some_and(|status| status.gate.applied.is_some());
        add(if is_applied { ConnectionBy::InForceIn } else { ConnectionBy::NewIn }, namespace);
    }
}
