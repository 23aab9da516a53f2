//! Finds in the caches the ends of connections.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use kube::ResourceExt;

use crate::api::community::FqdnBackend;
use crate::api::names::label;
use crate::api::{
    Community, CommunityEndpoint, CommunitySpec, EnclaveConnection, EnclaveEndpoint, EnclaveWorkload,
    TransitHub,
};
use crate::cluster::cache::Key;
use crate::kinds::caches::Caches;
use crate::kinds::community::index::CommunityBy;
use crate::kinds::connection::index::ConnectionBy;
use crate::kinds::endpoint::index::{CommunityEndpointBy, EndpointBy};
use crate::kinds::index::{connection_of_policy, pair};
use crate::kinds::parent::{control_namespace_of, find_enclave, namespace_of_workload, parent_of};
use crate::model::approval::applied::applied_spec;
use crate::model::approval::applied::view_applied;
use crate::model::naming::namespace_of;
use crate::model::network::connectivity::{
    DestinationEnd, NamesBackend, ResolvedConnection, SourceEnd, WorkloadEnd,
};
use crate::plan::declared::Parent;
use crate::plan::namespace::desired::ObservedNamespace;

/// Resolves a connection to its two ends. The source is looked up where the connection is declared, the destination in
/// the Community around that, and nowhere else.
#[must_use]
pub fn resolve_connection(caches: &Caches, connection: Arc<EnclaveConnection>) -> ResolvedConnection {
    Resolver::of(caches).resolve_connection(connection)
}

/// Finds the ends of connections. A lookup that several connections share is made once, so one resolver is for one pass
/// over the caches.
struct Resolver<'a> {
    caches: &'a Caches,
    /// Parents, by namespace.
    parents: HashMap<Box<str>, Parent>,
    /// Ends, by the namespace in which the connection is declared and the name of the workload.
    workloads: HashMap<(Box<str>, Box<str>), WorkloadEnd>,
    /// Destinations, by the Community, the name of the Enclave (none for an endpoint of the Community), and that of the
    /// endpoint.
    destinations: HashMap<[Box<str>; 3], DestinationEnd>,
}

impl<'a> Resolver<'a> {
    fn of(caches: &'a Caches) -> Self {
        Self { caches, parents: HashMap::new(), workloads: HashMap::new(), destinations: HashMap::new() }
    }

    fn parent_of(&mut self, namespace: &str) -> Parent {
        if let Some(parent) = self.parents.get(namespace) {
            return parent.clone();
        }
        let parent = parent_of(self.caches, namespace);
        self.parents.insert(namespace.into(), parent.clone());
        parent
    }

    fn resolve_connection(&mut self, connection: Arc<EnclaveConnection>) -> ResolvedConnection {
        let declared_in = connection.metadata.namespace.as_deref().unwrap_or_default();
        let parent = self.parent_of(declared_in);
        let source = if let Some(hub) = &connection.spec.source.transit_hub {
            let found = self.caches.transit_hubs.get(declared_in, &hub.name);
            // A hub belongs to the Community, and so does a connection that comes from it.
            let hub_is_here = matches!(parent, Parent::Community(_));
            let hub_found = found.filter(|_| hub_is_here);
            SourceEnd::TransitHub {
                name: hub.name.clone(),
                managed: hub_found.as_deref().and_then(|hub| owner_of_gateway(self.caches, hub)),
                hub: hub_found,
            }
        } else {
            let names = &connection.spec.source.workloads;
            let ends = names.iter().map(|name| self.workload_end(declared_in, &parent, name));
            SourceEnd::Workloads(ends.collect())
        };
        let destination = self.destination_of(parent.community(), &connection);
        ResolvedConnection { connection, source, destination }
    }

    /// Returns the end at the workload of this name in `parent`, whose namespace is `declared_in`.
    fn workload_end(&mut self, declared_in: &str, parent: &Parent, name: &str) -> WorkloadEnd {
        let key = (declared_in.into(), name.into());
        let caches = self.caches;
        self.workloads.entry(key).or_insert_with(|| workload_end(caches, parent, name)).clone()
    }

    fn destination_of(
        &mut self,
        community: Option<&Arc<Community>>,
        connection: &EnclaveConnection,
    ) -> DestinationEnd {
        let (enclave, endpoint) = names_of_destination(connection);
        let parent = community.and_then(|community| community.metadata.name.as_deref()).unwrap_or_default();
        let key = [parent, enclave, endpoint].map(Box::from);
        let caches = self.caches;
        let find = || destination_of(caches, community, connection);
        self.destinations.entry(key).or_insert_with(find).clone()
    }
}

/// Returns the name of the Enclave that a connection leads to (empty when it leads to an endpoint of the Community),
/// and that of the endpoint.
fn names_of_destination(connection: &EnclaveConnection) -> (&str, &str) {
    let destination = &connection.spec.destination;
    match (&destination.enclave_endpoint, &destination.community_endpoint) {
        (Some(endpoint), _) => (&endpoint.enclave, &endpoint.name),
        (None, Some(endpoint)) => ("", &endpoint.name),
        (None, None) => ("", ""),
    }
}

fn destination_of(
    caches: &Caches,
    community: Option<&Arc<Community>>,
    connection: &EnclaveConnection,
) -> DestinationEnd {
    let destination = &connection.spec.destination;
    let Some(reference) = &destination.enclave_endpoint else {
        let name = destination
            .community_endpoint
            .as_ref()
            .map(|reference| reference.name.clone())
            .unwrap_or_default();
        return community_end(caches, community, name);
    };
    let name = format!("{}/{}", reference.enclave, reference.name);
    let enclave = community.and_then(|community| find_enclave(caches, community, &reference.enclave));
    let Some((community, enclave)) = community.zip(enclave) else {
        return DestinationEnd::Enclave { name, enclave: None, endpoint: None, workload: None };
    };
    let control = control_namespace_of(community, &enclave);
    let endpoint = caches.endpoints.get(&control, &reference.name);
    enclave_end(caches, &Parent::Enclave(Arc::clone(community), enclave), name, endpoint)
}

/// Returns the end at an endpoint of an Enclave, with the workload that the endpoint offers.
fn enclave_end(
    caches: &Caches,
    parent: &Parent,
    name: String,
    endpoint: Option<Arc<EnclaveEndpoint>>,
) -> DestinationEnd {
    let workload = endpoint.as_deref().and_then(offered_workload);
    let workload = workload.map(|workload| workload_end(caches, parent, &workload));
    let enclave = match parent {
        Parent::Enclave(_, enclave) => Some(Arc::clone(enclave)),
        Parent::Community(_) | Parent::Unmanaged => None,
    };
    DestinationEnd::Enclave { name, enclave, endpoint, workload }
}

fn community_end(caches: &Caches, community: Option<&Arc<Community>>, name: String) -> DestinationEnd {
    let namespace = community.map(|community| namespace_of(community)).unwrap_or_default();
    let endpoint = caches.community_endpoints.get(&namespace, &name);
    outside_end(caches, community, name, endpoint, None)
}

/// Returns the end at an endpoint of a Community, with what it leads to; `proposed` stands for the hub of its name.
fn outside_end(
    caches: &Caches,
    community: Option<&Arc<Community>>,
    name: String,
    endpoint: Option<Arc<CommunityEndpoint>>,
    proposed: Option<&Arc<TransitHub>>,
) -> DestinationEnd {
    let namespace = community.map(|community| namespace_of(community)).unwrap_or_default();
    let applied = endpoint.as_deref().and_then(|endpoint| applied_spec(endpoint).ok().flatten());
    let destination = applied.map(|spec| spec.destination).unwrap_or_default();
    let hub = destination.transit_hub.and_then(|hub| {
        let proposed = proposed.filter(|proposed| proposed.name_any() == hub.name).cloned();
        proposed.or_else(|| caches.transit_hubs.get(&namespace, &hub.name))
    });
    DestinationEnd::Community {
        name,
        endpoint,
        managed: match (&destination.service, &hub) {
            (Some(service), _) => owner_of(caches, &service.namespace),
            (None, Some(hub)) => owner_of_gateway(caches, hub),
            (None, None) => None,
        },
        hub,
        names: names_backend(caches, community),
    }
}

/// Returns the backend that allows destinations by DNS name in a Community.
fn names_backend(caches: &Caches, community: Option<&Arc<Community>>) -> NamesBackend {
    let backend = |spec: &CommunitySpec| match spec.fqdn_backend {
        FqdnBackend::Cilium if caches.has_cilium() => NamesBackend::Cilium(spec.dns.clone()),
        FqdnBackend::Cilium => NamesBackend::CiliumMissing,
        FqdnBackend::None => NamesBackend::None,
    };
    match community.map(|community| view_applied(community.as_ref(), backend)) {
        Some(Err(_)) => NamesBackend::Unknown,
        Some(Ok(Some(backend))) => backend,
        Some(Ok(None)) | None => NamesBackend::None,
    }
}

fn owner_of_gateway(caches: &Caches, hub: &TransitHub) -> Option<String> {
    let gateway = view_applied(hub, |spec| spec.gateway.clone()).ok().flatten()??;
    owner_of(caches, &gateway.namespace)
}

/// Describes the owner of a namespace; `None` for a namespace that the operator did not make.
fn owner_of(caches: &Caches, namespace: &str) -> Option<String> {
    let namespace = caches.namespaces.get("", namespace)?;
    let labels = namespace.labels();
    labels.get(label::OWNER_UID)?;
    let community = labels.get(label::COMMUNITY).map(String::as_str).unwrap_or_default();
    Some(match labels.get(label::ENCLAVE) {
        Some(enclave) => format!("Enclave {enclave} of Community {community}"),
        None => format!("Community {community}"),
    })
}

fn workload_end(caches: &Caches, parent: &Parent, name: &str) -> WorkloadEnd {
    let Parent::Enclave(community, enclave) = parent else {
        return WorkloadEnd { name: name.to_owned(), workload: None, namespace: None };
    };
    let control = control_namespace_of(community, enclave);
    let workload = caches.workloads.get(&control, name);
    let namespace = workload.as_deref().and_then(|workload| namespace_of_workload(caches, parent, workload));
    WorkloadEnd { name: name.to_owned(), workload, namespace }
}

/// The workload whose pods an endpoint offers, as applied.
fn offered_workload(endpoint: &EnclaveEndpoint) -> Option<String> {
    view_applied(endpoint, |spec| spec.workload.clone()).ok().flatten()
}

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
