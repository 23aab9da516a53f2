//! Enqueues an EnclaveWorkload when the Community or the Enclave around it changes, its namespace or what is in it,
//! another workload that may reach it, an EnclaveEndpoint that offers it, or a connection that comes from it or leads
//! to it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt;

use crate::api::enclave::WorkloadCommunication;
use crate::api::names::purpose;
use crate::api::{Community, Enclave, EnclaveConnection, EnclaveEndpoint, EnclaveWorkload, Kind};
use crate::cluster::cache::{Change, Indexed, Key};
use crate::cluster::workqueue::Priority;
use crate::kinds::changes::Watches;
use crate::kinds::connection::lookup::connections_with;
use crate::kinds::connection::observe::resolve_connection;
use crate::kinds::enclave::watches::{namespace_in_enclave, namespaces_in_community};
use crate::kinds::enqueue::{Enqueuer, concerns_others, priority_of};
use crate::kinds::index::{PolicyBy, pair};
use crate::kinds::labels::{is_there, labels_of};
use crate::kinds::parent::parent_of;
use crate::kinds::workload::observe::is_isolated;
use crate::model::approval::applied::{applied_spec, view_applied};
use crate::model::naming::{enclave_namespace, splits};
use crate::model::network::connectivity::{DestinationEnd, ResolvedConnection, SourceEnd, WorkloadEnd};
use crate::plan::child::Made;
use crate::plan::enforcement::{WasEnforced, was_enforced};
use crate::plan::parent::Parent;

impl Watches for EnclaveWorkload {
    /// Enqueues the workloads in all Enclaves of a Community, in which its DNS, rules and maintenance count.
    fn communities(enqueuer: &Enqueuer, change: &Change<Community>) {
        for namespace in namespaces_in_community(enqueuer, change) {
            enqueue_in(enqueuer, &namespace, Priority::Normal);
        }
    }

    /// Enqueues the workloads in an Enclave, in which its rules, maintenance and network count.
    fn enclaves(enqueuer: &Enqueuer, change: &Change<Enclave>) {
        if let Some((namespace, _)) = namespace_in_enclave(enqueuer, change) {
            enqueue_in(enqueuer, &namespace, priority_of(change));
        }
    }

    /// Enqueues the workloads of an Enclave when one of them changes, because they may reach each other.
    fn workloads(enqueuer: &Enqueuer, change: &Change<EnclaveWorkload>) {
        if let Some(workload) = change.latest().filter(|_| concerns_others(change)) {
            enqueue_siblings(enqueuer, workload.metadata.namespace.as_deref().unwrap_or_default());
        }
    }

    /// Enqueues the workload that an endpoint offers, or did, and the workloads at the ends of its connections.
    fn endpoints(enqueuer: &Enqueuer, change: &Change<EnclaveEndpoint>) {
        if !concerns_others(change) {
            return;
        }
        for endpoint in change.versions() {
            let namespace = endpoint.metadata.namespace.as_deref().unwrap_or_default();
            let applied = applied_spec(endpoint.as_ref()).ok().flatten();
            for workload in applied.iter().map(|spec| &spec.workload).chain([&endpoint.spec.workload]) {
                enqueuer.queues.add(Kind::EnclaveWorkload, namespace, workload, priority_of(change));
            }
        }
        if let Some(endpoint) = change.latest() {
            let connections = crate::kinds::connection::lookup::connections_to(&enqueuer.caches, endpoint);
            enqueue_ends(enqueuer, connections, priority_of(change));
        }
    }

    /// Enqueues the workloads at both ends of a connection, in whose namespaces its policies stand. A connection that was
    /// never applied has none, and one whose policies were just seen in force needs nothing more.
    fn connections(enqueuer: &Enqueuer, change: &Change<EnclaveConnection>) {
        let opens = |connection: &EnclaveConnection| {
            let status = connection.status.as_ref()?;
            let applied = status.gate.applied.clone()?;
            let is_being_deleted = connection.metadata.deletion_timestamp.is_some();
            Some((
                connection.uid(),
                is_being_deleted,
                applied,
                connection.spec.clone(),
                status.expires_at.clone(),
            ))
        };
        // Policies that were not seen in force yet are made while healing is paused, too.
        let was_enforced = |version: &Option<Arc<EnclaveConnection>>| {
            version.as_deref().is_some_and(|connection| was_enforced(connection) == WasEnforced::Yes)
        };
        let ended = was_enforced(&change.before) && !was_enforced(&change.after);
        let before = change.before.as_deref().and_then(opens);
        if ended || before != change.after.as_deref().and_then(opens) {
            enqueue_ends(enqueuer, change.versions().cloned(), priority_of(change));
            // An end of the connection may be something that only a newer version knows.
            for connection in
                change.versions().filter(|connection| applied_spec(connection.as_ref()).is_err())
            {
                enqueue_where_policies_are(enqueuer, connection, priority_of(change));
            }
        }
    }

    /// Enqueues the workloads that own a namespace or want its name, those that may reach the workload in it, and those at
    /// the other ends of its connections.
    fn namespaces(enqueuer: &Enqueuer, change: &Change<Namespace>) {
        let Some(namespace) = change.latest() else { return };
        let name = namespace.name_any();
        for workload in
            splits(&name).filter_map(|(control, name)| enqueuer.caches.workloads.get(control, name))
        {
            enqueuer.enqueue_object(Kind::EnclaveWorkload, workload.as_ref(), Priority::Normal);
        }
        if let Some(labels) = labels_of(namespace)
            && let (Some(enclave), Some(workload)) = (labels.enclave, labels.workload)
            && change.differs(is_there)
        {
            let control = enclave_namespace(labels.community, enclave);
            enqueue_siblings(enqueuer, &control);
            enqueue_ends(enqueuer, connections_with(&enqueuer.caches, &control, workload), Priority::Normal);
        }
    }

    /// Enqueues the workload in whose namespace something changed.
    fn children<K: Indexed + Made>(enqueuer: &Enqueuer, namespace: &Namespace, _: &K) {
        enqueue_of(enqueuer, namespace, Priority::Normal);
    }

    /// Enqueues the isolated workload in whose namespace a binding of a grant changed: it lets nobody in but those whom its
    /// spec lists. Such a binding concerns no other workload.
    fn grants(enqueuer: &Enqueuer, change: &Change<RoleBinding>) {
        let namespace = change.latest().and_then(|binding| binding.metadata.namespace.as_deref());
        let namespace = namespace.and_then(|namespace| enqueuer.caches.namespaces.get("", namespace));
        let Some(labels) = namespace.as_deref().and_then(labels_of) else { return };
        if let (Some(enclave), Some(workload)) = (labels.enclave, labels.workload) {
            let control = enclave_namespace(labels.community, enclave);
            let workload = enqueuer.caches.workloads.get(&control, workload);
            if let Some(workload) = workload.filter(|workload| is_isolated(workload)) {
                enqueuer.enqueue_object(Kind::EnclaveWorkload, workload.as_ref(), Priority::Normal);
            }
        }
    }
}

/// Enqueues the workloads in whose namespaces policies of a connection are.
fn enqueue_where_policies_are(enqueuer: &Enqueuer, connection: &EnclaveConnection, priority: Priority) {
    let Key { namespace, name } = Key::of(connection);
    let (caches, named) = (&enqueuer.caches, pair(&namespace, &name));
    let policies = caches.network_policies.by(PolicyBy::Connection, &named);
    let of_cilium = caches.cilium_policies.by(PolicyBy::Connection, &named);
    let namespaces = policies.iter().filter_map(|policy| policy.metadata.namespace.as_deref());
    for namespace in
        namespaces.chain(of_cilium.iter().filter_map(|policy| policy.metadata.namespace.as_deref()))
    {
        if let Some(namespace) = caches.namespaces.get("", namespace) {
            enqueue_of(enqueuer, &namespace, priority);
        }
    }
}

/// Enqueues the workloads at both ends of connections.
pub(in crate::kinds) fn enqueue_ends(
    enqueuer: &Enqueuer,
    connections: impl IntoIterator<Item = Arc<EnclaveConnection>>,
    priority: Priority,
) {
    let workload = |end: &WorkloadEnd| {
        if let Some(workload) = &end.workload {
            enqueuer.enqueue_object(Kind::EnclaveWorkload, workload.as_ref(), priority);
        }
    };
    for connection in connections {
        let ResolvedConnection { source, destination, .. } = resolve_connection(&enqueuer.caches, connection);
        if let SourceEnd::Workloads(ends) = &source {
            ends.iter().for_each(workload);
        }
        if let DestinationEnd::Enclave { workload: Some(end), .. } = &destination {
            workload(end);
        }
    }
}

/// Enqueues the workload whose pods run in a namespace.
fn enqueue_of(enqueuer: &Enqueuer, namespace: &Namespace, priority: Priority) {
    if let Some(labels) = labels_of(namespace)
        && labels.purpose == purpose::WORKLOAD
        && let (Some(enclave), Some(workload)) = (labels.enclave, labels.workload)
    {
        let control = enclave_namespace(labels.community, enclave);
        enqueuer.queues.add(Kind::EnclaveWorkload, &control, workload, priority);
    }
}

fn enqueue_siblings(enqueuer: &Enqueuer, control: &str) {
    let Parent::Enclave(_, enclave) = parent_of(&enqueuer.caches, control) else { return };
    let is_open = |spec: &crate::api::EnclaveSpec| {
        spec.network.workload_communication == WorkloadCommunication::Allowed
    };
    // An applied content that cannot be read may allow anything.
    if view_applied(enclave.as_ref(), is_open).map_or(true, Option::unwrap_or_default) {
        enqueue_in(enqueuer, control, Priority::Normal);
    }
}

fn enqueue_in(enqueuer: &Enqueuer, control: &str, priority: Priority) {
    let workloads = enqueuer.caches.workloads.in_namespace(control);
    enqueuer.enqueue_objects(Kind::EnclaveWorkload, &workloads, priority);
}
