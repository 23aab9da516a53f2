//! Enqueues an Enclave when the Community around it changes, its control namespace or what is in it, a namespace of its
//! workloads or what others have there, and when an object that is declared in it goes or a workload comes.

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
use crate::model::approval::applied::applied_spec;
use crate::model::approval::gated::Gated;
use crate::model::approval::kept::keeps_apart;
use crate::model::naming::{namespace_of, splits};
use crate::plan::child::Made;

/// Whether a change of a Community concerns its Enclaves and all that is declared in them. They do not read where the
/// Community sends notifications.
pub(in crate::kinds) fn concerns_members(change: &Change<Community>) -> bool {
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
        enqueue_around(enqueuer, namespace);
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
            enqueue_around(enqueuer, namespace);
        }
    }
}

/// Enqueues the Enclave of an object that goes, or of a workload that comes. An Enclave waits for what is declared in
/// it before it goes.
fn enqueue_parent<K: Gated>(enqueuer: &Enqueuer, change: &Change<K>) {
    let Some(object) = change.latest() else { return };
    let is_leaving = change.after.is_none() || object.meta().deletion_timestamp.is_some();
    let comes = K::KIND == Kind::EnclaveWorkload && change.before.is_none();
    if (is_leaving || comes)
        && let Some(namespace) =
            enqueuer.caches.namespaces.get("", object.meta().namespace.as_deref().unwrap_or_default())
    {
        enqueue_around(enqueuer, &namespace);
    }
}

/// Enqueues the Enclave that a namespace belongs to.
fn enqueue_around(enqueuer: &Enqueuer, namespace: &Namespace) {
    let Some(labels) = labels_of(namespace) else { return };
    let Some(enclave) = labels.enclave else { return };
    if let Some(community) = enqueuer.caches.communities.get("", labels.community) {
        enqueuer.queues.add(Kind::Enclave, &namespace_of(&community), enclave, Priority::Normal);
    }
}

/// Whether a change of an Enclave concerns what is declared in it.
pub(in crate::kinds) fn concerns_declared(change: &Change<Enclave>) -> bool {
    let view = |enclave: &Enclave| {
        let applied = applied_spec(enclave)
            .map(|spec| spec.map(|spec| EnclaveSpec { description: None, change: None, ..spec }));
        (
            enclave.metadata.uid.clone(),
            enclave.metadata.deletion_timestamp.is_some(),
            enclave.spec.maintenance.clone(),
            keeps_apart(enclave),
            applied.map_err(|error| error.to_string()),
        )
    };
    change.differs(view)
}
