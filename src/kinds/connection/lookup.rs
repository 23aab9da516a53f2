//! Finds the connections that come from an object or lead to it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use kube::ResourceExt;

use crate::api::{
    Community, CommunityEndpoint, EnclaveConnection, EnclaveEndpoint, EnclaveWorkload, TransitHub,
};
use crate::cluster::cache::Key;
use crate::kinds::caches::Caches;
use crate::kinds::community::index::CommunityBy;
use crate::kinds::connection::index::ConnectionBy;
use crate::kinds::connection::observe::{Resolver, enclave_end, outside_end, owner_of_gateway};
use crate::kinds::endpoint::index::{CommunityEndpointBy, EndpointBy};
use crate::kinds::index::{connection_of_policy, pair};
use crate::kinds::parent::parent_of;
use crate::model::naming::namespace_of;
use crate::model::network::connectivity::{DestinationEnd, ResolvedConnection, SourceEnd};
use crate::plan::namespace::desired::ObservedNamespace;
use crate::plan::parent::Parent;

/// Returns the connections that come from a workload or lead to it.
#[must_use]
pub fn resolve_connections_of_workload(
    caches: &Caches,
    workload: &EnclaveWorkload,
) -> Vec<ResolvedConnection> {
    let (control, name) = (workload.namespace().unwrap_or_default(), workload.name_any());
    resolve_all(caches, connections_with(caches, &control, &name))
}

/// Returns the connections of a Community for which the policies in one of its namespaces are made, beside those that
/// are known already. The ends of such a connection may be something that only a newer version knows.
#[must_use]
pub fn resolve_connections_of_policies(
    caches: &Caches,
    parent: &Parent,
    live_namespace: &ObservedNamespace,
    known: &[ResolvedConnection],
) -> Vec<ResolvedConnection> {
    let name_of = |parent: &Parent| parent.community().and_then(|community| community.metadata.name.clone());
    let known: HashSet<Key> = known.iter().map(|resolved| Key::of(resolved.connection.as_ref())).collect();
    let policies = live_namespace.policies.iter().filter_map(|policy| policy.metadata.name.as_deref());
    let of_cilium =
        live_namespace.cilium_policies.iter().filter_map(|policy| policy.metadata.name.as_deref());
    let named = policies.chain(of_cilium).filter_map(connection_of_policy);
    let others: BTreeSet<_> =
        named.filter(|(declared_in, name)| !known.contains(&Key::new(declared_in, name))).collect();
    let own = others.into_iter().filter_map(|(declared_in, name)| {
        let connection = caches.connections.get(declared_in, name)?;
        (name_of(&parent_of(caches, declared_in)) == name_of(parent)).then_some(connection)
    });
    resolve_all(caches, own.collect())
}

/// The connections that lead to an endpoint.
#[must_use]
pub fn resolve_connections_of_endpoint(
    caches: &Caches,
    endpoint: &EnclaveEndpoint,
) -> Vec<ResolvedConnection> {
    resolve_all(caches, connections_to(caches, endpoint))
}

/// The connections that lead to an endpoint of a Community.
#[must_use]
pub fn resolve_connections_of_community_endpoint(
    caches: &Caches,
    endpoint: &CommunityEndpoint,
) -> Vec<ResolvedConnection> {
    resolve_all(caches, connections_to_community(caches, endpoint))
}

/// The connections that come from a hub or lead through it.
#[must_use]
pub fn resolve_connections_of_hub(caches: &Caches, hub: &TransitHub) -> Vec<ResolvedConnection> {
    resolve_all(caches, connections_through(caches, hub))
}

fn resolve_all(caches: &Caches, connections: Vec<Arc<EnclaveConnection>>) -> Vec<ResolvedConnection> {
    let mut resolver = Resolver::of(caches);
    connections.into_iter().map(|connection| resolver.resolve_connection(connection)).collect()
}

/// Returns the connections that come from a workload or lead to it.
#[must_use]
pub fn connections_with(caches: &Caches, control: &str, workload: &str) -> Vec<Arc<EnclaveConnection>> {
    let own = pair(control, workload);
    let outgoing = caches.connections.by(ConnectionBy::SourceWorkload, &own);
    let endpoints = caches.endpoints.by(EndpointBy::Workload, &own);
    let incoming = endpoints.iter().flat_map(|endpoint| connections_to(caches, endpoint));
    distinct(outgoing.into_iter().chain(incoming))
}

/// The connections that lead to an endpoint.
#[must_use]
pub fn connections_to(caches: &Caches, endpoint: &EnclaveEndpoint) -> Vec<Arc<EnclaveConnection>> {
    let parent = parent_of(caches, endpoint.metadata.namespace.as_deref().unwrap_or_default());
    let Parent::Enclave(community, enclave) = &parent else { return Vec::new() };
    let named = pair(&enclave.name_any(), &endpoint.name_any());
    let named = connections_by_name(caches, ConnectionBy::Endpoint, community, &named);
    let mut resolver = Resolver::of(caches);
    // Enclaves of other Communities may have the same name.
    let leads_to = |connection: &Arc<EnclaveConnection>| {
        let parent = resolver.parent_of(connection.metadata.namespace.as_deref().unwrap_or_default());
        parent.community().is_some_and(|parent| parent.metadata.name == community.metadata.name)
    };
    named.into_iter().filter(leads_to).collect()
}

/// The connections that lead into an Enclave of a Community. Enclaves of others may have the same name.
#[must_use]
pub fn connections_into(caches: &Caches, community: &str, enclave: &str) -> Vec<Arc<EnclaveConnection>> {
    let mut resolver = Resolver::of(caches);
    let mut leading = match caches.communities.get("", community) {
        Some(community) => connections_by_name(caches, ConnectionBy::DestinationEnclave, &community, enclave),
        None => caches.connections.by(ConnectionBy::DestinationEnclave, &pair(community, enclave)),
    };
    leading.retain(|connection| {
        let parent = resolver.parent_of(connection.metadata.namespace.as_deref().unwrap_or_default());
        parent.community().is_none_or(|parent| parent.metadata.name.as_deref() == Some(community))
    });
    leading
}

/// The connections that lead to an endpoint of a Community.
#[must_use]
pub fn connections_to_community(
    caches: &Caches,
    endpoint: &CommunityEndpoint,
) -> Vec<Arc<EnclaveConnection>> {
    let namespace = endpoint.metadata.namespace.as_deref().unwrap_or_default();
    let communities = caches.communities.by(CommunityBy::Namespace, namespace);
    let named = communities.iter().flat_map(|community| {
        connections_by_name(caches, ConnectionBy::CommunityEndpoint, community, &endpoint.name_any())
    });
    distinct(named.filter(|connection| leads_to_community(caches, connection, endpoint)))
}

/// Returns the connections in a Community that lead to the object with this name, and some of other Communities whose
/// names begin as its own.
fn connections_by_name(
    caches: &Caches,
    by: ConnectionBy,
    community: &Community,
    named: &str,
) -> Vec<Arc<EnclaveConnection>> {
    let prefixes = [community.name_any(), namespace_of(community)];
    distinct(prefixes.iter().flat_map(|prefix| caches.connections.by(by, &pair(prefix, named))))
}

/// The connections that come from a hub or lead through it.
#[must_use]
pub fn connections_through(caches: &Caches, hub: &TransitHub) -> Vec<Arc<EnclaveConnection>> {
    let own = pair(&hub.namespace().unwrap_or_default(), &hub.name_any());
    let outgoing = caches.connections.by(ConnectionBy::SourceHub, &own);
    let behind = caches.community_endpoints.by(CommunityEndpointBy::Hub, &own);
    let incoming = behind.iter().flat_map(|endpoint| connections_to_community(caches, endpoint));
    distinct(outgoing.into_iter().chain(incoming))
}

fn distinct(connections: impl Iterator<Item = Arc<EnclaveConnection>>) -> Vec<Arc<EnclaveConnection>> {
    let by_key = connections.map(|connection| (Key::of(connection.as_ref()), connection));
    by_key.collect::<BTreeMap<Key, Arc<EnclaveConnection>>>().into_values().collect()
}

fn leads_to_community(caches: &Caches, connection: &EnclaveConnection, endpoint: &CommunityEndpoint) -> bool {
    let Some(reference) = &connection.spec.destination.community_endpoint else { return false };
    reference.name == endpoint.name_any()
        && parent_of(caches, &connection.namespace().unwrap_or_default())
            .community()
            .is_some_and(|community| Some(namespace_of(community)) == endpoint.namespace())
}

/// A connection as it would be with this endpoint in it.
#[must_use]
pub fn with_endpoint(
    caches: &Caches,
    resolved: ResolvedConnection,
    endpoint: &Arc<EnclaveEndpoint>,
) -> ResolvedConnection {
    let DestinationEnd::Enclave { name, .. } = resolved.destination else { return resolved };
    let parent = parent_of(caches, endpoint.metadata.namespace.as_deref().unwrap_or_default());
    ResolvedConnection {
        destination: enclave_end(caches, &parent, name, Some(Arc::clone(endpoint))),
        ..resolved
    }
}

/// A connection as it would be with this endpoint in it.
#[must_use]
pub fn with_community_endpoint(
    caches: &Caches,
    resolved: ResolvedConnection,
    endpoint: &Arc<CommunityEndpoint>,
) -> ResolvedConnection {
    let DestinationEnd::Community { name, .. } = resolved.destination else { return resolved };
    let parent = parent_of(caches, endpoint.metadata.namespace.as_deref().unwrap_or_default());
    let destination = outside_end(caches, parent.community(), name, Some(Arc::clone(endpoint)), None);
    ResolvedConnection { destination, ..resolved }
}

/// A connection as it would be with this hub in it.
#[must_use]
pub fn with_hub(
    caches: &Caches,
    resolved: ResolvedConnection,
    proposed: &Arc<TransitHub>,
) -> ResolvedConnection {
    let parent = parent_of(caches, proposed.metadata.namespace.as_deref().unwrap_or_default());
    let source = match resolved.source {
        SourceEnd::TransitHub { name, .. } if name == proposed.name_any() => SourceEnd::TransitHub {
            name,
            managed: owner_of_gateway(caches, proposed),
            hub: Some(Arc::clone(proposed)),
        },
        source => source,
    };
    let destination = match resolved.destination {
        DestinationEnd::Community { name, endpoint, .. } => {
            outside_end(caches, parent.community(), name, endpoint, Some(proposed))
        }
        destination @ DestinationEnd::Enclave { .. } => destination,
    };
    ResolvedConnection { source, destination, ..resolved }
}

#[cfg(test)]
mod tests;
