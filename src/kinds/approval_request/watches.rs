//! Enqueues an ApprovalRequest when the request or an activation that it is about changes, and the target when its
//! request changes. That a change of a gated object enqueues the requests about it stands in [`crate::kinds::enqueue`].

use kube::ResourceExt;

use crate::api::audit::Audit;
use crate::api::{ApprovalRequest, ApprovalRequestStatus, Kind, RoleActivation};
use crate::cluster::cache::Change;
use crate::cluster::workqueue::Priority;
use crate::kinds::approval_request::index::RequestBy;
use crate::kinds::changes::Watches;
use crate::kinds::enqueue::Enqueuer;

impl Watches for ApprovalRequest {
    /// Enqueues the request that changed, and its target. A target reads the state and the votes of a request, not its
    /// audit records.
    fn requests(enqueuer: &Enqueuer, change: &Change<Self>) {
        if let Some(request) = &change.after {
            enqueuer.enqueue_object(Kind::ApprovalRequest, request.as_ref(), Priority::Normal);
        }
        let view = |request: &Self| {
            let status = request
                .status
                .clone()
                .map(|status| ApprovalRequestStatus { audit: Audit::default(), ..status });
            (request.uid(), request.metadata.deletion_timestamp.is_some(), status)
        };
        if let Some(request) = change.latest().filter(|_| change.differs(view)) {
            let target = &request.spec.target;
            let namespace = target.namespace.as_deref().unwrap_or_default();
            enqueuer.queues.add(target.kind, namespace, &target.name, Priority::Normal);
        }
    }

    /// Enqueues all requests about an activation.
    fn activations(enqueuer: &Enqueuer, change: &Change<RoleActivation>) {
        if let Some(uid) = change.latest().and_then(|activation| activation.uid()) {
            let all = enqueuer.caches.requests.by(RequestBy::Target, &uid);
            enqueuer.enqueue_objects(Kind::ApprovalRequest, &all, Priority::Normal);
        }
    }
}
