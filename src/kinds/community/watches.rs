//! Enqueues a Community when its namespace or something in it changes, and when an Enclave comes or goes.

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;

use crate::api::names::purpose;
use crate::api::{Community, Enclave, Kind};
use crate::cluster::cache::{Change, Indexed};
use crate::cluster::workqueue::Priority;
use crate::kinds::changes::Watches;
use crate::kinds::community::index::CommunityBy;
use crate::kinds::enqueue::Enqueuer;
use crate::kinds::labels::labels_of;
use crate::kinds::outbox::channels_of;
use crate::model::approval::gated::Gated;
use crate::plan::child::Made;

impl Watches for Community {
    /// Lets the exporters look at all records again when the recipients of its notifications change.
    fn communities(enqueuer: &Enqueuer, change: &Change<Self>) {
        if change.differs(channels_of) {
            enqueuer.outbox.requeue_all();
        }
    }

    /// Enqueues the Community of an Enclave that comes or goes. A Community counts its Enclaves in its status, and waits
    /// for them before it goes.
    fn enclaves(enqueuer: &Enqueuer, change: &Change<Enclave>) {
        if change.differs(Enclave::is_record)
            && let Some(enclave) = change.latest()
        {
            enqueue_wanting(enqueuer, enclave.metadata.namespace.as_deref().unwrap_or_default());
        }
    }

    /// Enqueues the Communities that own a namespace or want its name.
    fn namespaces(enqueuer: &Enqueuer, change: &Change<Namespace>) {
        if let Some(namespace) = change.latest() {
            enqueue_wanting(enqueuer, &namespace.name_any());
            enqueue_owner(enqueuer, namespace);
        }
    }

    /// Enqueues the Community in whose namespace something changed.
    fn children<K: Indexed + Made>(enqueuer: &Enqueuer, namespace: &Namespace, _: &K) {
        enqueue_owner(enqueuer, namespace);
    }
}

fn enqueue_owner(enqueuer: &Enqueuer, namespace: &Namespace) {
    if let Some(labels) = labels_of(namespace)
        && labels.purpose == purpose::COMMUNITY
    {
        enqueuer.queues.add(Kind::Community, "", labels.community, Priority::Normal);
    }
}

fn enqueue_wanting(enqueuer: &Enqueuer, name: &str) {
    let communities = enqueuer.caches.communities.by(CommunityBy::Namespace, name);
    enqueuer.enqueue_objects(Kind::Community, &communities, Priority::Normal);
}
