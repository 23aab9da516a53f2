//! Enqueues a Community when its namespace or something in it changes, and when an Enclave comes or goes.

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;

use crate::api::names::purpose;
use crate::api::{Enclave, Kind};
use crate::cluster::cache::Change;
use crate::cluster::workqueue::Priority;
use crate::kinds::enqueue::Enqueuer;
use crate::kinds::index::CommunityBy;
use crate::kinds::labels::labels_of;
use crate::model::approval::gated::Gated;

/// Enqueues the Community of an Enclave that comes or goes. A Community counts its Enclaves in its status, and waits
/// for them before it goes.
pub fn on_enclave(enqueuer: &Enqueuer, change: &Change<Enclave>) {
    if change.differs(Enclave::is_record)
        && let Some(enclave) = change.latest()
    {
        on_namespace_name(enqueuer, enclave.metadata.namespace.as_deref().unwrap_or_default());
    }
}

/// Enqueues the Communities that own a namespace or want its name.
pub fn on_namespace(enqueuer: &Enqueuer, change: &Change<Namespace>) {
    if let Some(namespace) = change.latest() {
        on_namespace_name(enqueuer, &namespace.name_any());
        on_child(enqueuer, namespace);
    }
}

/// Enqueues the Community in whose namespace something changed.
pub fn on_child(enqueuer: &Enqueuer, namespace: &Namespace) {
    if let Some(labels) = labels_of(namespace)
        && labels.purpose == purpose::COMMUNITY
    {
        enqueuer.queues.add(Kind::Community, "", labels.community, Priority::Normal);
    }
}

fn on_namespace_name(enqueuer: &Enqueuer, name: &str) {
    let communities = enqueuer.caches.communities.by(CommunityBy::Namespace, name);
    enqueuer.enqueue_objects(Kind::Community, &communities, Priority::Normal);
}
