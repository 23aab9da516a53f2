//! Plans an `ApprovalRequest`: its status follows from its votes, its target and the time.

use crate::model::approval::policy_status::PolicyStatus;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::api::approval_request::RequestState;
use crate::api::names::{condition, reason};
use crate::api::{ApprovalRequest, ApprovalRequestStatus, Time};
use crate::model::approval::gated::has_finalizer;
use crate::model::approval::policy_status::Integrity;
use crate::model::approval::request::{RequestOutcome, Votes, decide};
use crate::model::approval::target::TargetView;
use crate::model::approval::votes::describe_votes;
use crate::plan::conditions::{Status, Wanted, build_conditions};
use crate::plan::gated::is_unmarked;
use crate::plan::{ConfirmBy, Plan, PlannedEvent, Severity, Write};

/// The observed state of a request and its target.
#[derive(Clone, Debug)]
pub struct ObservedRequest {
    /// The request.
    pub request: Arc<ApprovalRequest>,
    /// The relation of the target to the request.
    pub target: TargetView,
    /// The admission policies that the API server runs.
    pub policies: PolicyStatus,
    /// The time for which a decided request is kept.
    pub retain_for: SignedDuration,
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
    match decide(request, observed.target, &observed.policies, now) {
        RequestOutcome::Unchanged => plan_retention(observed, now),
        RequestOutcome::Pending { missing, votes } => {
            let wanted = Wanted {
                type_: condition::DECIDED,
                status: Status::False,
                reason: reason::APPROVAL_PENDING,
                message: format!("waits for {missing}"),
            };
            let mut status = build(RequestState::Pending, None, Some(missing), wanted.clone());
            if votes == Votes::Void {
                status.decisions.clear();
            }
            // A person who can write votes in a gap can write a fingerprint too. So no fingerprint is recorded while
            // the admission policies are not intact, and what was cast or written until they are intact again is void
            // then.
            status.policy_fingerprint = (observed.policies.integrity == Integrity::Intact)
                .then(|| observed.policies.fingerprint.clone());
            let remind_at = remind_at(request);
            if before.state.is_some() && now >= remind_at {
                status.reminded_at.get_or_insert(Time(now));
            }
            let wakes = [status.reminded_at.is_none().then_some(remind_at), Some(request.spec.expires_at.0)];
            let event = match votes {
                Votes::Void => Some((
                    Severity::Warning,
                    "the admission policies changed, so the votes cast before are void; vote again"
                        .to_owned(),
                )),
                Votes::Kept => before.state.is_none().then_some((Severity::Normal, wanted.message)),
            };
            Plan {
                status: Some(status),
                events: event
                    .map(|(severity, message)| PlannedEvent {
                        severity,
                        reason: reason::APPROVAL_PENDING,
                        message,
                    })
                    .into_iter()
                    .collect(),
                requeue_at: wakes.into_iter().flatten().min(),
                ..Plan::nothing()
            }
        }
        RequestOutcome::Decided { state, message } => {
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
            // Approved ends the voting, on the version of the votes that were counted. The approval takes effect only
            // for a reader who confirms, after the votes were seen, that they were cast under these policies.
            let kind = request.spec.target.kind;
            let by = || ConfirmBy::CountingVotes(kind, describe_votes(request));
            let beside =
                (state == RequestState::Approved && observed.target != TargetView::PutIntoForce).then(|| {
                    Write::ConfirmPolicies { fingerprint: observed.policies.fingerprint.clone(), by: by() }
                });
            let confirm = match (state, observed.target) {
                // A target without a name does not exist, so there is nothing to confirm.
                (_, TargetView::Gone) if request.spec.target.name.is_empty() => None,
                (_, TargetView::Gone) => Some(Write::ConfirmTargetGone(request.spec.target.clone())),
                _ => None,
            };
            Plan {
                writes: confirm.into_iter().collect(),
                beside: beside.into_iter().collect(),
                status: Some(build(state, Some(Time(now)), None, wanted)),
                events: vec![PlannedEvent { severity, reason, message }],
                ..Plan::nothing()
            }
        }
    }
}

/// Returns when the approvers are reminded: a day before the request expires, or when a quarter of its time is left if
/// that is later.
fn remind_at(request: &ApprovalRequest) -> Timestamp {
    let expires_at = request.spec.expires_at.0;
    let quarter = SignedDuration::from_secs(request.spec.policy.expire_after_seconds / 4);
    expires_at.saturating_sub(quarter.min(SignedDuration::from_hours(24))).unwrap_or(expires_at)
}

/// The time before its deletion within which a request has a timer of its own. Other requests are enqueued by the hour,
/// which may be an hour off when clocks differ.
const SOON: SignedDuration = SignedDuration::from_hours(2);

/// Deletes a decided request when it is old, unless it still says what becomes of the latest spec: without it the same
/// content would be proposed again.
fn plan_retention(observed: &ObservedRequest, now: Timestamp) -> Plan<ApprovalRequestStatus> {
    let request = observed.request.as_ref();
    let status = request.status.as_ref();
    if request.metadata.deletion_timestamp.is_some() {
        return plan_finalization(observed);
    }
    let decided_at = status.and_then(|status| status.decided_at.as_ref()).map(|at| at.0);
    let unfinished = status
        .is_some_and(|status| status.state == Some(RequestState::Approved) && status.enacted_at.is_none())
        && observed.target != TargetView::Gone;
    // A request without a finalizer would be gone at once.
    let undelivered = status.is_some_and(|status| !status.audit.is_delivered());
    // The request may be about something that only a newer version knows.
    let is_unknown = request.spec.unreadable.is_some();
    let in_use = unfinished
        || undelivered
        || is_unknown
        || matches!(observed.target, TargetView::Proposed | TargetView::Behind);
    let Some(decided_at) = decided_at.filter(|_| !in_use) else { return Plan::nothing() };
    let until = decided_at.saturating_add(observed.retain_for).unwrap_or(Timestamp::MAX);
    if now < until {
        // A hundred thousand requests may wait for months.
        let is_soon = until.duration_since(now) <= SOON;
        return Plan { requeue_at: is_soon.then_some(until), ..Plan::nothing() };
    }
    let gone = (observed.target == TargetView::Gone)
        .then(|| Write::ConfirmTargetGone(observed.request.spec.target.clone()));
    Plan { writes: gone.into_iter().chain([Write::DeleteSelf]).collect(), ..Plan::nothing() }
}

/// Removes the finalizer of a request that is being deleted, with its namespace or because it is old, when its outcome
/// is delivered.
fn plan_finalization(observed: &ObservedRequest) -> Plan<ApprovalRequestStatus> {
    let request = observed.request.as_ref();
    // The plan of the target marks the request as enacted.
    let is_due = observed.target == TargetView::PutIntoForce && is_unmarked(request);
    let is_delivered = request.status.as_ref().is_none_or(|status| status.audit.is_delivered());
    let is_finalized = has_finalizer(request) && is_delivered && !is_due;
    Plan { writes: is_finalized.then_some(Write::RemoveFinalizer).into_iter().collect(), ..Plan::nothing() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::approval_request::Verdict as Vote;
    use crate::model::approval::request::tests::{a_request, with_votes};

    #[test]
    fn only_intact_policies_leave_their_fingerprint() {
        let written = |integrity: &Integrity, before: Option<&str>| {
            let mut request = ApprovalRequest::new("r", a_request());
            request.status = Some(ApprovalRequestStatus {
                state: Some(RequestState::Pending),
                policy_fingerprint: before.map(ToOwned::to_owned),
                ..ApprovalRequestStatus::default()
            });
            let observed = ObservedRequest {
                request: Arc::new(request),
                target: TargetView::Proposed,
                policies: PolicyStatus { integrity: integrity.clone(), fingerprint: "guard".into() },
                retain_for: SignedDuration::MAX,
            };
            plan_approval_request(&observed, Timestamp::UNIX_EPOCH).status.unwrap().policy_fingerprint
        };
        for before in [None, Some("guard"), Some("other")] {
            assert_eq!(written(&Integrity::Intact, before).as_deref(), Some("guard"));
            assert_eq!(written(&Integrity::Propagating, before), None);
            assert_eq!(written(&Integrity::Broken("a policy is missing".into()), before), None);
        }
    }

    #[test]
    fn a_decided_request_is_kept_while_it_is_young_or_says_why_something_waits() {
        use crate::api::reading::{Cause, Unread, Unreadable};
        use RequestState::{Approved, Rejected, Superseded};
        use TargetView::{EditedAgain, EditedBack, Gone, Proposed};
        let at = |second| Timestamp::from_second(second).unwrap();
        let observed = |state, enacted: Option<i64>, target| {
            let mut request = ApprovalRequest::new("r", a_request());
            request.status = Some(ApprovalRequestStatus {
                state: Some(state),
                policy_fingerprint: Some("guard".into()),
                decided_at: Some(Time(at(1000))),
                enacted_at: enacted.map(|second| Time(at(second))),
                ..ApprovalRequestStatus::default()
            });
            ObservedRequest {
                request: Arc::new(request),
                target,
                policies: PolicyStatus { integrity: Integrity::Intact, fingerprint: "guard".into() },
                retain_for: SignedDuration::from_secs(100),
            }
        };
        let planned = |state, enacted: Option<i64>, target, now| {
            plan_approval_request(&observed(state, enacted, target), at(now))
        };
        for (state, enacted, target, deleted) in [
            (Rejected, None, Proposed, false),
            (Rejected, None, EditedAgain, true),
            (Superseded, None, EditedBack, true),
            (Approved, None, EditedAgain, false),
            (Approved, Some(1000), EditedBack, true),
        ] {
            assert_eq!(planned(state, enacted, target, 1099).writes, [], "{state} is young");
            let writes = planned(state, enacted, target, 1100).writes;
            assert_eq!(writes == [Write::DeleteSelf], deleted, "{state} {target:?}");
        }
        let unread = Unread { path: "spec.target.kind".into(), why: "odd".into(), cause: Cause::Newer };
        let mut request = ApprovalRequest::clone(&observed(Rejected, None, Gone).request);
        request.spec.unreadable = Unreadable::of(vec![unread]);
        let unknown = ObservedRequest { request: Arc::new(request), ..observed(Rejected, None, Gone) };
        assert_eq!(plan_approval_request(&unknown, at(1100)).writes, [], "what it is about is not known");
        assert_eq!(planned(Rejected, None, EditedAgain, 1000).requeue_at, Some(at(1100)));
        let writes = planned(Approved, None, Gone, 1100).writes;
        assert!(matches!(writes.as_slice(), [Write::ConfirmTargetGone(_), Write::DeleteSelf]));
    }

    /// A request whose target only another version can read can be deleted: there is nothing to ask the API server for.
    #[test]
    fn a_request_with_a_target_that_cannot_be_read_stays_and_can_be_deleted() {
        use crate::api::reading::{Cause, Unread, Unreadable};
        let planned = |is_deleted: bool, name: &str| {
            let mut request = with_votes(&[]);
            request.metadata.deletion_timestamp = is_deleted.then(|| Time(Timestamp::UNIX_EPOCH).into());
            request.spec.target.name = name.into();
            let unread = Unread { path: "spec.target".into(), why: "odd".into(), cause: Cause::Newer };
            request.spec.unreadable = Unreadable::of(vec![unread]);
            let observed = ObservedRequest {
                request: Arc::new(request),
                target: TargetView::Gone,
                policies: PolicyStatus { integrity: Integrity::Intact, fingerprint: "guard".into() },
                retain_for: SignedDuration::MAX,
            };
            let plan = plan_approval_request(&observed, Timestamp::UNIX_EPOCH);
            (plan.writes.len(), plan.status.and_then(|status| status.state))
        };
        assert_eq!(planned(true, ""), (0, Some(RequestState::Withdrawn)), "nothing can be asked for");
        assert_eq!(planned(true, "e"), (1, Some(RequestState::Withdrawn)), "what has a name is looked for");
        assert_eq!(planned(false, "").1, None, "it is left alone until then");
    }

    #[test]
    fn votes_are_confirmed_for_what_is_to_come_into_force_and_not_for_what_is() {
        let beside = |target| {
            let observed = ObservedRequest {
                request: Arc::new(with_votes(&[("bob", Vote::Approved)])),
                target,
                policies: PolicyStatus { integrity: Integrity::Intact, fingerprint: "guard".into() },
                retain_for: SignedDuration::ZERO,
            };
            let plan = plan_approval_request(&observed, Timestamp::UNIX_EPOCH);
            assert_eq!(plan.status.unwrap().state, Some(RequestState::Approved));
            plan.beside.len()
        };
        assert_eq!([TargetView::Proposed, TargetView::PutIntoForce].map(beside), [1, 0]);
    }

    #[test]
    fn a_request_that_is_deleted_goes_when_its_end_was_told() {
        use crate::api::RecordType;
        use crate::model::audit::records::append;
        use crate::model::audit::records::tests::a_record;
        use RequestState::{Approved, Pending, Rejected, Withdrawn};
        use TargetView::{Gone, Proposed, PutIntoForce};
        let planned = |state, target, is_enacted: bool, is_delivered: bool| {
            let mut request = with_votes(&[("bob", Vote::Approved)]);
            request.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH).into());
            request.metadata.finalizers = Some(vec![crate::api::names::FINALIZER.to_owned()]);
            let status = request.status.as_mut().unwrap();
            status.state = Some(state);
            status.decided_at = (state != Pending).then_some(Time(Timestamp::UNIX_EPOCH));
            status.enacted_at = is_enacted.then_some(Time(Timestamp::UNIX_EPOCH));
            if !is_delivered {
                append(&mut status.audit, [a_record(RecordType::Decided)]);
            }
            let observed = ObservedRequest {
                request: Arc::new(request),
                target,
                policies: PolicyStatus { integrity: Integrity::Intact, fingerprint: "guard".into() },
                retain_for: SignedDuration::ZERO,
            };
            let plan = plan_approval_request(&observed, Timestamp::UNIX_EPOCH);
            let is_finalized = plan.writes.contains(&Write::RemoveFinalizer);
            (plan.status.and_then(|status| status.state), is_finalized)
        };
        for (state, target, is_enacted, is_delivered, expected) in [
            // Nobody can decide the request any more, or put its change into force.
            (Pending, Proposed, false, true, (Some(Withdrawn), false)),
            (Pending, Gone, false, true, (Some(Withdrawn), false)),
            (Approved, Proposed, false, true, (Some(Withdrawn), false)),
            // The request was approved, and its target went: the request ends as Approved.
            (Approved, Gone, false, true, (None, true)),
            (Approved, Gone, false, false, (None, false)),
            (Rejected, Proposed, false, false, (None, false)),
            (Rejected, Proposed, false, true, (None, true)),
            // The request has to say first that its change is in force.
            (Approved, PutIntoForce, false, true, (None, false)),
            (Approved, PutIntoForce, true, true, (None, true)),
        ] {
            assert_eq!(planned(state, target, is_enacted, is_delivered), expected, "{state} {target:?}");
        }
    }
}
