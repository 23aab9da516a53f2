//! What becomes of an `ApprovalRequest`: its status follows from its votes, its target and time.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{Status, Wanted, build_conditions};
use super::{Notice, Plan, Severity, Write};
use crate::api::approval_request::RequestState;
use crate::api::names::{condition, reason};
use crate::api::{ApprovalRequest, ApprovalRequestStatus};
use crate::model::life::Integrity;
use crate::model::request::{TargetView, Verdict, decide};

/// What was seen of a request and its target.
#[derive(Clone, Debug)]
pub struct ObservedRequest {
    /// The request.
    pub request: Arc<ApprovalRequest>,
    /// Its target.
    pub target: TargetView,
    /// Whether the admission policies are intact.
    pub integrity: Integrity,
}

/// Plans a request.
#[must_use]
pub fn plan_approval_request(observed: &ObservedRequest, now: Timestamp) -> Plan<ApprovalRequestStatus> {
    let request = observed.request.as_ref();
    let before = request.status.clone().unwrap_or_default();
    let build = |state, decided_at, missing: Option<String>, wanted: Wanted| {
        let mut status = ApprovalRequestStatus {
            state: Some(state),
            missing,
            decided_at,
            conditions: build_conditions(&before.conditions, vec![wanted], request.metadata.generation, now),
            ..before.clone()
        };
        for decision in &mut status.decisions {
            decision.observed_at.get_or_insert(Time(now));
        }
        status
    };
    match decide(request, observed.target, &observed.integrity, now) {
        Verdict::Unchanged => Plan::nothing(),
        Verdict::Pending { missing } => {
            let wanted = Wanted {
                type_: condition::DECIDED,
                status: Status::False,
                reason: reason::APPROVAL_PENDING,
                message: format!("waits for {missing}"),
            };
            let is_new = before.state.is_none();
            Plan {
                status: Some(build(RequestState::Pending, None, Some(missing), wanted.clone())),
                notices: is_new
                    .then_some(Notice {
                        severity: Severity::Normal,
                        reason: reason::APPROVAL_PENDING,
                        message: wanted.message,
                    })
                    .into_iter()
                    .collect(),
                wake_at: Some(request.spec.expires_at.0),
                ..Plan::nothing()
            }
        }
        Verdict::Decided { state, message } => {
            let (reason, severity) = match state {
                RequestState::Approved => (reason::APPROVED, Severity::Normal),
                RequestState::Rejected => (reason::REJECTED, Severity::Warning),
                RequestState::Expired => (reason::EXPIRED, Severity::Warning),
                RequestState::Superseded => (reason::SUPERSEDED, Severity::Normal),
                RequestState::Withdrawn => (reason::WITHDRAWN, Severity::Normal),
                RequestState::Pending => (reason::APPROVAL_PENDING, Severity::Normal),
            };
            let wanted =
                Wanted { type_: condition::DECIDED, status: Status::True, reason, message: message.clone() };
            let confirm = (observed.target == TargetView::Gone)
                .then(|| Write::ConfirmTargetGone(request.spec.target.clone()));
            Plan {
                writes: confirm.into_iter().collect(),
                status: Some(build(state, Some(Time(now)), None, wanted)),
                notices: vec![Notice { severity, reason, message }],
                ..Plan::nothing()
            }
        }
    }
}
