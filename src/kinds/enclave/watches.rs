//! Enqueues an Enclave when the Community around it changes, its control namespace or what is in it, a namespace of its
//! workloads or what others have there, and when an object that is declared in it goes or a workload comes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;

use crate::api::community::Notifications;
use crate::api::names::purpose;
use crate::api::{
    Community, CommunitySpec, Enclave, EnclaveConnection, EnclaveEndpoint, EnclaveSpec, EnclaveWorkload, Kind,
};
use crate::cluster::cache::{Change, Indexed};
use crate::cluster::workqueue::Priority;
use crate::kinds::changes::Watches;
use crate::kinds::enqueue::Enqueuer;
use crate::kinds::labels::labels_of;
use crate::kinds::parent::{control_namespace_of, parent_of};
use crate::model::approval::applied::applied_spec;
use crate::model::approval::gated::Gated;
use crate::model::approval::kept::enclave_isolates_workloads;
use crate::model::naming::{namespace_of, splits};
use crate::plan::child::Made;

/// Whether a change of a Community concerns its Enclaves and all that is declared in them. They do not read where the
/// Community sends notifications.
fn concerns_members(change: &Change<Community>) -> bool {
    let view = |community: &Community| {
        let applied = applied_spec(community).map(|spec| {
            spec.map(|spec| CommunitySpec { notifications: Notifications::default(), change: None, ..spec })
        });
        (
            community.metadata.uid.clone(),
            community.metadata.deletion_timestamp.is_some(),
            community.spec.maintenance.clone(),
            namespace_of(community),
            applied.map_err(|error| error.to_string()),
        )
    };
    change.differs(view)
}

/// The namespaces in which a change of a Community concerns what is declared: its own, and the control namespaces of its
/// Enclaves.
pub(in crate::kinds) fn namespaces_in_community(
    enqueuer: &Enqueuer,
    change: &Change<Community>,
) -> Vec<String> {
    let mut namespaces = Vec::new();
    for community in change.versions().filter(|_| concerns_members(change)) {
        let namespace = namespace_of(community);
        let enclaves = enqueuer.caches.enclaves.in_namespace(&namespace);
        namespaces.extend(enclaves.iter().map(|enclave| control_namespace_of(community, enclave)));
        namespaces.push(namespace);
    }
    namespaces
}

/// The control namespace in which a change of an Enclave concerns what is declared, and the Community around it.
pub(in crate::kinds) fn namespace_in_enclave(
    enqueuer: &Enqueuer,
    change: &Change<Enclave>,
) -> Option<(String, Arc<Community>)> {
    let enclave = change.latest().filter(|_| concerns_declared(change))?;
    let parent = parent_of(&enqueuer.caches, enclave.metadata.namespace.as_deref().unwrap_or_default());
    let community = parent.community()?;
    Some((control_namespace_of(community, enclave), Arc::clone(community)))
}

impl Watches for Enclave {
    /// Enqueues the Enclaves of a Community: its rules and its maintenance count for them and for what is declared in them.
    fn communities(enqueuer: &Enqueuer, change: &Change<Community>) {
        if !concerns_members(change) {
            return;
        }
        for community in change.versions() {
            let enclaves = enqueuer.caches.enclaves.in_namespace(&namespace_of(community));
            enqueuer.enqueue_objects(Kind::Enclave, &enclaves, Priority::Normal);
        }
    }

    fn workloads(enqueuer: &Enqueuer, change: &Change<EnclaveWorkload>) {
        enqueue_parent(enqueuer, change);
    }

    fn endpoints(enqueuer: &Enqueuer, change: &Change<EnclaveEndpoint>) {
        enqueue_parent(enqueuer, change);
    }

    fn connections(enqueuer: &Enqueuer, change: &Change<EnclaveConnection>) {
        enqueue_parent(enqueuer, change);
    }

    /// Enqueues the Enclave that a namespace belongs to, as its own or as one of its workloads', and the Enclaves that want
    /// its name.
    fn namespaces(enqueuer: &Enqueuer, change: &Change<Namespace>) {
        let Some(namespace) = change.latest() else { return };
        enqueue_enclave_of(enqueuer, namespace);
        let name = namespace.name_any();
        for (community, enclave) in splits(&name) {
            if let Some(community) = enqueuer.caches.communities.get("", community) {
                enqueuer.queues.add(Kind::Enclave, &namespace_of(&community), enclave, Priority::Normal);
            }
        }
    }

    /// Enqueues an Enclave when something in its control namespace changed, or something of others in that of a workload.
    fn children<K: Indexed + Made>(enqueuer: &Enqueuer, namespace: &Namespace, object: &K) {
        let is_control = labels_of(namespace).is_some_and(|labels| labels.purpose == purpose::CONTROL);
        if is_control || !K::is_ours(object.meta().name.as_deref().unwrap_or_default()) {
            enqueue_enclave_of(enqueuer, namespace);
        }
    }
}

/// Enqueues the Enclave of an object that goes, or of a workload that comes. An Enclave waits for what is declared in
/// it before it goes.
fn enqueue_parent<K: Gated>(enqueuer: &Enqueuer, change: &Change<K>) {
    let Some(object) = change.latest() else { return };
    let is_finalizing = change.after.is_none() || object.meta().deletion_timestamp.is_some();
    let is_new = K::KIND == Kind::EnclaveWorkload && change.before.is_none();
    if (is_finalizing || is_new)
        && let Some(namespace) =
            enqueuer.caches.namespaces.get("", object.meta().namespace.as_deref().unwrap_or_default())
    {
        enqueue_enclave_of(enqueuer, &namespace);
    }
}

/// Enqueues the Enclave that a namespace belongs to.
fn enqueue_enclave_of(enqueuer: &Enqueuer, namespace: &Namespace) {
    let Some(labels) = labels_of(namespace) else { return };
    let Some(enclave) = labels.enclave else { return };
    if let Some(community) = enqueuer.caches.communities.get("", labels.community) {
        enqueuer.queues.add(Kind::Enclave, &namespace_of(&community), enclave, Priority::Normal);
    }
}

/// Whether a change of an Enclave concerns what is declared in it.
fn concerns_declared(change: &Change<Enclave>) -> bool {
    let view = |enclave: &Enclave| {
        let applied = applied_spec(enclave)
            .map(|spec| spec.map(|spec| EnclaveSpec { description: None, change: None, ..spec }));
        (
            enclave.metadata.uid.clone(),
            enclave.metadata.deletion_timestamp.is_some(),
            enclave.spec.maintenance.clone(),
            enclave_isolates_workloads(enclave),
            applied.map_err(|error| error.to_string()),
        )
    };
    change.differs(view)
}
