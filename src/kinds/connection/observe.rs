//! Observes an EnclaveConnection, from caches only.

use std::collections::HashMap;
use std::sync::Arc;

use kube::ResourceExt;

use crate::api::community::FqdnBackend;
use crate::api::names::label;
use crate::api::{
    Community, CommunityEndpoint, CommunitySpec, EnclaveConnection, EnclaveEndpoint, TransitHub,
};
use crate::cluster::cache::{Cache, Indexed};
use crate::kinds::caches::Caches;
use crate::kinds::connection::index::ConnectionBy;
use crate::kinds::connection::plan::{MOST_CONNECTIONS, ObservedConnection};
use crate::kinds::foreign::is_managed;
use crate::kinds::index::{PolicyBy, pair};
use crate::kinds::observe::observe_gated;
use crate::kinds::parent::{control_namespace_of, find_enclave, namespace_of_workload, parent_of};
use crate::model::approval::applied::{applied_spec, view_applied};
use crate::model::approval::gated::Gated;
use crate::model::approval::policy_status::PolicyStatus;
use crate::model::naming::namespace_of;
use crate::model::network::connectivity::{
    DestinationEnd, NamesBackend, ResolvedConnection, SourceEnd, WorkloadEnd,
};
use crate::plan::parent::Parent;

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

/// Resolves a connection to its two ends. The source is looked up where the connection is declared, the destination in
/// the Community around that, and nowhere else.
#[must_use]
pub fn resolve_connection(caches: &Caches, connection: Arc<EnclaveConnection>) -> ResolvedConnection {
    Resolver::of(caches).resolve_connection(connection)
}

/// Finds the ends of connections. A lookup that several connections share is made once, so one resolver is for one pass
/// over the caches.
pub(super) struct Resolver<'a> {
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
    pub(super) fn of(caches: &'a Caches) -> Self {
        Self { caches, parents: HashMap::new(), workloads: HashMap::new(), destinations: HashMap::new() }
    }

    pub(super) fn parent_of(&mut self, namespace: &str) -> Parent {
        if let Some(parent) = self.parents.get(namespace) {
            return parent.clone();
        }
        let parent = parent_of(self.caches, namespace);
        self.parents.insert(namespace.into(), parent.clone());
        parent
    }

    pub(super) fn resolve_connection(&mut self, connection: Arc<EnclaveConnection>) -> ResolvedConnection {
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
pub(super) fn enclave_end(
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
pub(super) fn outside_end(
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

pub(super) fn owner_of_gateway(caches: &Caches, hub: &TransitHub) -> Option<String> {
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
