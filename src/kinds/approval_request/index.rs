//! The indexes of ApprovalRequests.

use jiff::Timestamp;

use crate::api::approval_request::RequestState;
use crate::api::{ApprovalRequest, Kind};
use crate::cluster::cache::Indexed;
use crate::kinds::index::pair;
use crate::model::approval::request::is_settled;

/// Indexes of ApprovalRequests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestBy {
    /// UID of the target, of requests that are undecided, or approved and not marked as enacted.
    LiveTarget,
    /// UID of the target, of all requests.
    Target,
    /// Namespace and name of the Enclave that it is about, as a [`pair`], of undecided requests.
    AboutEnclave,
    /// Kind of the target, of requests that are Pending.
    PendingKind,
    /// The hour in which it was decided, as [`hour`], of requests that are not being deleted.
    DecidedIn,
}

/// The hour of a point in time, counted from 1970.
#[must_use]
pub fn hour(at: Timestamp) -> i64 {
    at.as_second().div_euclid(3600)
}

impl Indexed for ApprovalRequest {
    type By = RequestBy;

    fn index(&self, add: &mut dyn FnMut(RequestBy, &str)) {
        let (target, status) = (&self.spec.target, self.status.as_ref());
        add(RequestBy::Target, &target.uid);
        if is_live(self) {
            add(RequestBy::LiveTarget, &target.uid);
        }
        if status.and_then(|status| status.state) == Some(RequestState::Pending) {
            add(RequestBy::PendingKind, target.kind.name());
        }
        let is_undecided = status.is_none_or(|status| status.decided_at.is_none());
        let decided_at = status.and_then(|status| status.decided_at.as_ref());
        if let Some(at) = decided_at.filter(|_| self.metadata.deletion_timestamp.is_none()) {
            add(RequestBy::DecidedIn, &hour(at.0).to_string());
        }
        if target.kind == Kind::Enclave && is_undecided {
            add(
                RequestBy::AboutEnclave,
                &pair(target.namespace.as_deref().unwrap_or_default(), &target.name),
            );
        }
    }

    /// Whether a request is settled and was read as a whole: the mark of what could not be read is not in its JSON, and
    /// it matters.
    fn is_packed(&self) -> bool {
        is_settled(self) && self.spec.unreadable.is_none()
    }

    fn is_backfilled(&self) -> bool {
        !is_live(self)
    }
}

/// Selects the requests that are [`is_live`], in the API server.
pub(in crate::kinds) const LIVE_REQUESTS: &str = "status.enactedAt=,status.state!=Rejected,status.state!=Expired,status.state!=Superseded,status.state!=Withdrawn";

/// Whether a request is undecided, or approved and not marked as enacted.
fn is_live(request: &ApprovalRequest) -> bool {
    let status = request.status.as_ref();
    match status.and_then(|status| status.state) {
        None | Some(RequestState::Pending) => true,
        Some(RequestState::Approved) => status.is_some_and(|status| status.enacted_at.is_none()),
        Some(_) => false,
    }
}
