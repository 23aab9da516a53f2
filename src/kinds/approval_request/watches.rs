//! Enqueues an ApprovalRequest when the request or its target changes, and the target when its request changes.

use kube::ResourceExt;

use crate::api::audit::Audit;
use crate::api::{ApprovalRequest, ApprovalRequestStatus, Kind, RoleActivation};
use crate::cluster::cache::Change;
use crate::cluster::workqueue::Priority;
use crate::kinds::enqueue::{Enqueuer, concerns_others};
use crate::kinds::index::RequestBy;
use crate::model::approval::gated::Gated;
use crate::model::naming;

/// Enqueues the request that changed.
pub fn on_self(enqueuer: &Enqueuer, change: &Change<ApprovalRequest>) {
    if let Some(request) = &change.after {
        enqueuer.enqueue_object(Kind::ApprovalRequest, request.as_ref(), Priority::Normal);
    }
}

/// Enqueues the target of a request. A target reads the state and the votes of a request, not its audit records.
pub fn enqueue_target(enqueuer: &Enqueuer, change: &Change<ApprovalRequest>) {
    let view = |request: &ApprovalRequest| {
        let status =
            request.status.clone().map(|status| ApprovalRequestStatus { audit: Audit::default(), ..status });
        (request.uid(), request.metadata.deletion_timestamp.is_some(), status)
    };
    if let Some(request) = change.latest().filter(|_| change.differs(view)) {
        let target = &request.spec.target;
        let namespace = target.namespace.as_deref().unwrap_or_default();
        enqueuer.queues.add(target.kind, namespace, &target.name, Priority::Normal);
    }
}

/// Enqueues the requests about an object that was edited again, edited back, put into force or deleted. A decided
/// request says what becomes of a generation until there is another one.
pub fn on_target<K: Gated>(enqueuer: &Enqueuer, change: &Change<K>) {
    let Some(object) = change.latest().filter(|_| concerns_others(change)) else { return };
    let uid = object.meta().uid.as_deref().unwrap_or_default();
    if change.after.is_none() {
        let all = enqueuer.caches.requests.by(RequestBy::Target, uid);
        enqueuer.enqueue_objects(Kind::ApprovalRequest, &all, Priority::Normal);
        return;
    }
    enqueue_live(enqueuer, uid);
    let namespace = object.request_namespace();
    let name = object.meta().name.as_deref().unwrap_or_default();
    for generation in change.versions().filter_map(|object| object.meta().generation) {
        let request = naming::approval_request(K::KIND, name, uid, generation);
        enqueuer.queues.add(Kind::ApprovalRequest, &namespace, &request, Priority::Normal);
    }
}

/// Enqueues all requests about an activation.
pub fn on_activation(enqueuer: &Enqueuer, change: &Change<RoleActivation>) {
    if let Some(uid) = change.latest().and_then(|activation| activation.uid()) {
        let all = enqueuer.caches.requests.by(RequestBy::Target, &uid);
        enqueuer.enqueue_objects(Kind::ApprovalRequest, &all, Priority::Normal);
    }
}

/// Enqueues the requests about an object that are undecided, or approved and not enacted yet.
pub(in crate::kinds) fn enqueue_live(enqueuer: &Enqueuer, uid: &str) {
    let live = enqueuer.caches.requests.by(RequestBy::LiveTarget, uid);
    enqueuer.enqueue_objects(Kind::ApprovalRequest, &live, Priority::Normal);
}
