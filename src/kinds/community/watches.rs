//! A Community is looked at again when its namespace changes, or what is in it, and when an Enclave comes or
//! goes.

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

/// Its status counts its Enclaves, and it waits for them before it goes.
pub fn on_enclave(enqueuer: &Enqueuer, change: &Change<Enclave>) {
    if change.differs(Enclave::is_record)
        && let Some(enclave) = change.latest()
    {
        on_namespace_name(enqueuer, enclave.metadata.namespace.as_deref().unwrap_or_default());
    }
}

/// The namespace is its own, or has the name that it wants.
pub fn on_namespace(enqueuer: &Enqueuer, change: &Change<Namespace>) {
    if let Some(namespace) = change.latest() {
        on_namespace_name(enqueuer, &namespace.name_any());
        on_child(enqueuer, namespace);
    }
}

/// Something in its namespace changed.
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
