//! The lifecycle of an `ApprovalRequest`: the decision about it, and whether an approval counts.

use crate::model::approval::policy_status::PolicyStatus;
use jiff::{SignedDuration, Timestamp};

use crate::api::approval_request::RequestState;
use crate::api::{ApprovalRequest, ApprovalRequestStatus, Time};
use crate::model::approval::policy_status::Integrity;
use crate::model::approval::target::TargetView;
use crate::model::approval::votes::{Tally, tally};

/// The verdict on a request, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The request stays as it is: decided, or nothing can be said yet.
    Unchanged,
    /// The request is open; in words, what is missing.
    Pending { missing: String, votes: Votes },
    /// The request is decided.
    Decided { state: RequestState, message: String },
}

/// Whether the votes of an open request stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Votes {
    /// The votes stay.
    Kept,
    /// The votes were cast under other admission policies than those that the API server runs now, so nobody
    /// knows whether they are what they seem. They are taken off, and cast again.
    Void,
}

/// Decides about a request from its votes, its target and the time. Pure, and computed anew each
/// time: what is stored counts only as far as the votes support it.
///
/// The order matters. An edit voids all votes, so it comes first. A rejection ends a request
/// whatever else there is. A quorum must be observed before the expiry. While the admission
/// policies are not intact no vote is believed, but closing (rejecting, expiring, withdrawing)
/// goes on. `fingerprint` is that of the policies that the API server runs.
#[must_use]
pub fn decide(
    request: &ApprovalRequest,
    target: TargetView,
    PolicyStatus { integrity, fingerprint }: &PolicyStatus,
    now: Timestamp,
) -> RequestOutcome {
    let status = request.status.as_ref();
    let is_deleted = request.metadata.deletion_timestamp.is_some();
    match status.and_then(|status| status.state) {
        None | Some(RequestState::Pending) => {}
        // Approved, not put into force, and the policies are other ones now or are not intact: its votes are as
        // doubtful as those of an open request, and so is the word Approved. A request that is deleted while its
        // target still waits for it is not put into force any more.
        Some(RequestState::Approved)
            if status.is_some_and(|status| status.enacted_at.is_none())
                && match target {
                    TargetView::Gone | TargetView::Ended | TargetView::PutIntoForce => false,
                    TargetView::Overtaken => true,
                    TargetView::Behind
                    | TargetView::Proposed
                    | TargetView::EditedAgain
                    | TargetView::ReferenceChanged
                    | TargetView::EditedBack => {
                        is_deleted
                            || *integrity != Integrity::Intact
                            || !is_under_policies(request, fingerprint)
                    }
                } => {}
        Some(_) => return RequestOutcome::Unchanged,
    }
    let decided = |state, message: &str| RequestOutcome::Decided { state, message: message.to_owned() };
    // The policies changed after the votes were confirmed and before that was recorded as applied. What is in force
    // was approved, and nobody can vote on it any more.
    if target == TargetView::PutIntoForce {
        return decided(
            RequestState::Approved,
            "the change was put into force before the admission policies changed",
        );
    }
    // Nobody knows what a request that cannot be read asks for, or who said what. It goes with its
    // namespace, and is left alone until then.
    if request.spec.unreadable.is_some() && !is_deleted {
        return RequestOutcome::Unchanged;
    }
    match target {
        TargetView::Gone => return decided(RequestState::Withdrawn, "the target was deleted"),
        _ if is_deleted => {
            return decided(RequestState::Withdrawn, "the request was deleted, with its namespace");
        }
        TargetView::EditedBack => {
            return decided(RequestState::Withdrawn, "the target was edited back to what is in force");
        }
        TargetView::Ended => return decided(RequestState::Withdrawn, "the activation is over"),
        TargetView::EditedAgain => {
            return decided(RequestState::Superseded, "the target was edited again; its votes are void");
        }
        TargetView::Overtaken => {
            return decided(
                RequestState::Superseded,
                "a later change of the target came into force before it",
            );
        }
        TargetView::ReferenceChanged => {
            return decided(
                RequestState::Superseded,
                "what the target leads to was changed; the votes were for what it was",
            );
        }
        TargetView::Behind | TargetView::PutIntoForce => return RequestOutcome::Unchanged,
        TargetView::Proposed => {}
    }
    let cast = status.map_or(&[][..], |status| &status.decisions);
    let is_under_these = is_under_policies(request, fingerprint);
    let (votes, counted) = match integrity {
        Integrity::Intact if !is_under_these && !cast.is_empty() => (Votes::Void, &[][..]),
        Integrity::Intact | Integrity::Propagating | Integrity::Broken(_) => (Votes::Kept, cast),
    };
    match tally(&request.spec, counted) {
        Tally::Rejected { by, comment } => decided(
            RequestState::Rejected,
            &match comment {
                Some(comment) => format!("rejected by {by}: {comment}"),
                None => format!("rejected by {by}"),
            },
        ),
        _ if now >= request.spec.expires_at.0 => {
            decided(RequestState::Expired, "not decided before spec.expiresAt")
        }
        Tally::Approved => match integrity.obstacle() {
            None => decided(RequestState::Approved, "all approvals are there"),
            Some(what) => {
                let missing =
                    format!("no vote is believed while the admission policies are not intact: {what}");
                RequestOutcome::Pending { missing, votes }
            }
        },
        Tally::Undecided { missing } => RequestOutcome::Pending { missing, votes },
    }
}

/// Whether the votes of a request were cast under the policies with this fingerprint.
#[must_use]
pub fn is_under_policies(request: &ApprovalRequest, fingerprint: &str) -> bool {
    request.status.as_ref().and_then(|status| status.policy_fingerprint.as_deref()) == Some(fingerprint)
}

/// Whether a request is Approved, and rightly so: recorded as Approved before it expired, with
/// votes that support it.
#[must_use]
pub fn is_rightly_approved(request: &ApprovalRequest) -> bool {
    if request.spec.unreadable.is_some() {
        return false;
    }
    let Some(ApprovalRequestStatus { state: Some(RequestState::Approved), decided_at, decisions, .. }) =
        &request.status
    else {
        return false;
    };
    decided_at.as_ref().is_some_and(|at| at.0 < request.spec.expires_at.0)
        && tally(&request.spec, decisions) == Tally::Approved
}

/// The point in time at which a request made `now` expires.
#[must_use]
pub fn expires_at(spec_seconds: i64, now: Timestamp) -> Time {
    Time(now.saturating_add(SignedDuration::from_secs(spec_seconds)).unwrap_or(Timestamp::MAX))
}

/// The requesters for one line: the first and how many more.
#[must_use]
pub fn describe_requesters(requesters: &[String]) -> String {
    match requesters {
        [] => String::new(),
        [one] => one.clone(),
        [first, more @ ..] => format!("{first} (+{})", more.len()),
    }
}

/// Whether a request is decided, in force if it was approved, has no record left to deliver, and stays for now.
#[must_use]
pub fn is_settled(request: &ApprovalRequest) -> bool {
    let status = request.status.as_ref().filter(|_| request.metadata.deletion_timestamp.is_none());
    status.is_some_and(|status| match status.state {
        None | Some(RequestState::Pending) => false,
        Some(RequestState::Approved) => status.enacted_at.is_some() && status.audit.is_delivered(),
        Some(_) => status.audit.is_delivered(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::api::approval_request::{
        ApprovalRequestSpec, Change, Decision, EffectivePolicy, Impact, Summary, Target, Verdict as Vote,
    };
    use crate::api::approvals::Operation;
    use crate::api::community::ServiceAccountVotes;
    use crate::api::reading::{Cause, Unread, Unreadable};
    use crate::api::{Content, Kind};

    /// Alice asks for a new Enclave; one approval is enough.
    pub(crate) fn a_request() -> ApprovalRequestSpec {
        ApprovalRequestSpec {
            summary: Summary {
                operation: "EnclaveCreation".into(),
                target: "Enclave payments".into(),
                requester: "alice".into(),
            },
            target: Target {
                kind: Kind::Enclave,
                namespace: Some("acme".into()),
                name: "payments".into(),
                uid: "uid".into(),
                generation: 1,
            },
            operations: vec![Operation::EnclaveCreation],
            requesters: vec!["alice".into()],
            justification: None,
            ticket: None,
            change: Change {
                before: None,
                after: serde_json::from_str::<Content>("{}").unwrap(),
                digest: "sha256:d".into(),
                references: Vec::new(),
            },
            impact: Impact::default(),
            policy: EffectivePolicy {
                minimum_approvers: 1,
                mandatory_approvers: vec![],
                expire_after_seconds: 3600,
                require_justification: false,
                require_rejection_comment: false,
                require_mfa: false,
                require_credential_id: false,
                service_account_votes: ServiceAccountVotes::Forbidden,
            },
            expires_at: Time(at(3600)),
            unreadable: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    pub fn with_votes(votes: &[(&str, Vote)]) -> ApprovalRequest {
        let mut request = ApprovalRequest::new("r", a_request());
        request.status = Some(ApprovalRequestStatus {
            state: Some(RequestState::Pending),
            policy_fingerprint: Some("guard".into()),
            decisions: votes
                .iter()
                .map(|(approver, verdict)| Decision {
                    approver: (*approver).into(),
                    verdict: *verdict,
                    digest: "sha256:d".into(),
                    comment: None,
                    groups: vec![],
                    mfa: None,
                    credential_id: None,
                    observed_at: None,
                })
                .map(Into::into)
                .collect(),
            ..ApprovalRequestStatus::default()
        });
        request
    }

    fn policies(integrity: &Integrity, fingerprint: &str) -> PolicyStatus {
        PolicyStatus { integrity: integrity.clone(), fingerprint: fingerprint.into() }
    }

    fn state_of(request: &ApprovalRequest, target: TargetView, integrity: &Integrity, now: i64) -> String {
        match decide(request, target, &policies(integrity, "guard"), at(now)) {
            RequestOutcome::Decided { state, .. } => state.to_string(),
            RequestOutcome::Pending { .. } => "Pending".into(),
            RequestOutcome::Unchanged => "Unchanged".into(),
        }
    }

    #[test]
    fn every_way_a_request_can_go() {
        use Integrity::{Intact, Propagating};
        use TargetView::{Behind, EditedAgain, EditedBack, Gone, Proposed};
        let none = with_votes(&[]);
        let yes = with_votes(&[("bob", Vote::Approved)]);
        let no = with_votes(&[("bob", Vote::Approved), ("carol", Vote::Rejected)]);
        let broken = Integrity::Broken("a policy is missing".into());
        for (request, target, integrity, now, expected) in [
            (&none, Proposed, &Intact, 0, "Pending"),
            (&none, Proposed, &Intact, 3600, "Expired"),
            (&none, Gone, &Intact, 0, "Withdrawn"),
            (&none, EditedBack, &Intact, 0, "Withdrawn"),
            (&none, EditedAgain, &Intact, 0, "Superseded"),
            (&yes, Proposed, &Intact, 3599, "Approved"),
            (&yes, Proposed, &Intact, 3600, "Expired"),
            (&yes, EditedAgain, &Intact, 0, "Superseded"),
            (&yes, EditedBack, &Intact, 0, "Withdrawn"),
            (&yes, Behind, &Intact, 0, "Unchanged"),
            (&yes, Proposed, &broken, 0, "Pending"),
            (&no, Proposed, &Intact, 0, "Rejected"),
            (&yes, Proposed, &Propagating, 0, "Pending"),
            (&no, Proposed, &broken, 0, "Rejected"),
            (&no, Proposed, &Intact, 4000, "Rejected"),
        ] {
            assert_eq!(state_of(request, target, integrity, now), expected, "{target:?} at {now}");
        }
    }

    /// One of the votes may be a rejection.
    #[test]
    fn with_a_vote_that_cannot_be_read_nothing_is_approved_rejected_or_withdrawn() {
        let unread = Unread { path: "status.decisions[1]".into(), why: "odd".into(), cause: Cause::Newer };
        for votes in [&[("bob", Vote::Approved)][..], &[("bob", Vote::Rejected)], &[]] {
            let mut request = with_votes(votes);
            request.spec.unreadable = Unreadable::of(vec![unread.clone()]);
            for target in [TargetView::Proposed, TargetView::Gone, TargetView::EditedBack] {
                for now in [0, 9999] {
                    assert_eq!(state_of(&request, target, &Integrity::Intact, now), "Unchanged");
                }
            }
            let status = request.status.as_mut().unwrap();
            status.state = Some(RequestState::Approved);
            status.decided_at = Some(Time(at(1)));
            assert!(!is_rightly_approved(&request));
        }
    }

    #[test]
    fn votes_cast_under_other_policies_are_void() {
        let missing = "1 more approval".to_owned();
        for (votes, fingerprint) in [
            (&[("bob", Vote::Approved)][..], Some("other")),
            (&[("bob", Vote::Rejected)], Some("other")),
            (&[("bob", Vote::Approved)], None),
        ] {
            let mut request = with_votes(votes);
            request.status.as_mut().unwrap().policy_fingerprint = fingerprint.map(ToOwned::to_owned);
            let verdict =
                decide(&request, TargetView::Proposed, &policies(&Integrity::Intact, "guard"), at(0));
            assert_eq!(verdict, RequestOutcome::Pending { missing: missing.clone(), votes: Votes::Void });
        }
    }

    #[test]
    fn an_approval_recorded_under_other_policies_is_undone_unless_it_is_in_force() {
        let mut request = with_votes(&[("bob", Vote::Approved)]);
        let status = request.status.as_mut().unwrap();
        status.state = Some(RequestState::Approved);
        status.decided_at = Some(Time(at(1)));
        let decide = |request: &ApprovalRequest, target, fingerprint| {
            decide(request, target, &policies(&Integrity::Intact, fingerprint), at(2))
        };
        assert_eq!(decide(&request, TargetView::Proposed, "guard"), RequestOutcome::Unchanged);
        assert_eq!(
            decide(&request, TargetView::Proposed, "other"),
            RequestOutcome::Pending { missing: "1 more approval".into(), votes: Votes::Void }
        );
        assert_eq!(decide(&request, TargetView::PutIntoForce, "other"), RequestOutcome::Unchanged);
        // Whatever fingerprint it names: in a gap somebody else may have written it.
        for absent in [Integrity::Propagating, Integrity::Broken("a policy is missing".into())] {
            assert_eq!(state_of(&request, TargetView::Proposed, &absent, 2), "Pending");
            assert_eq!(state_of(&request, TargetView::PutIntoForce, &absent, 2), "Unchanged");
        }
        request.status.as_mut().unwrap().enacted_at = Some(Time(at(2)));
        assert_eq!(decide(&request, TargetView::Proposed, "other"), RequestOutcome::Unchanged);
    }

    /// The policies may change between the confirmation of the votes and the word that their change is applied.
    #[test]
    fn what_is_in_force_is_not_open() {
        let broken = Integrity::Broken("a policy is missing".into());
        for (votes, fingerprint) in [(&[("bob", Vote::Approved)][..], None), (&[], Some("guard"))] {
            let mut request = with_votes(votes);
            request.status.as_mut().unwrap().policy_fingerprint = fingerprint.map(ToOwned::to_owned);
            for integrity in [&Integrity::Intact, &Integrity::Propagating, &broken] {
                assert_eq!(state_of(&request, TargetView::PutIntoForce, integrity, 9999), "Approved");
            }
            request.metadata.deletion_timestamp = Some(Time(at(1)).into());
            assert_eq!(state_of(&request, TargetView::PutIntoForce, &Integrity::Intact, 2), "Approved");
        }
    }

    /// Nothing can be put into force for such a request any more, so no policy makes its votes worth more or less.
    #[test]
    fn an_approved_request_whose_target_is_gone_stays_as_it_is() {
        let mut request = with_votes(&[("bob", Vote::Approved)]);
        request.status.as_mut().unwrap().state = Some(RequestState::Approved);
        let broken = Integrity::Broken("a policy is missing".into());
        for deleted in [None, Some(Time(at(1)).into())] {
            request.metadata.deletion_timestamp = deleted;
            for target in [TargetView::Gone, TargetView::Ended] {
                for integrity in [&Integrity::Intact, &Integrity::Propagating, &broken] {
                    for fingerprint in ["guard", "other"] {
                        assert_eq!(
                            decide(&request, target, &policies(integrity, fingerprint), at(2)),
                            RequestOutcome::Unchanged
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn an_approved_request_that_was_overtaken_is_superseded() {
        let mut request = with_votes(&[("bob", Vote::Approved)]);
        request.status.as_mut().unwrap().state = Some(RequestState::Approved);
        for integrity in [Integrity::Intact, Integrity::Propagating] {
            assert_eq!(state_of(&request, TargetView::Overtaken, &integrity, 2), "Superseded");
        }
        request.status.as_mut().unwrap().enacted_at = Some(Time(at(1)));
        assert_eq!(state_of(&request, TargetView::Overtaken, &Integrity::Intact, 2), "Unchanged");
    }

    #[test]
    fn a_decided_request_never_changes() {
        for state in [
            RequestState::Approved,
            RequestState::Rejected,
            RequestState::Expired,
            RequestState::Superseded,
            RequestState::Withdrawn,
        ] {
            let mut request = with_votes(&[("bob", Vote::Rejected)]);
            request.status.as_mut().unwrap().state = Some(state);
            for target in [TargetView::Gone, TargetView::EditedAgain, TargetView::Proposed] {
                assert_eq!(
                    decide(&request, target, &policies(&Integrity::Intact, "guard"), at(9999)),
                    RequestOutcome::Unchanged
                );
            }
        }
    }

    #[test]
    fn a_stored_approval_counts_only_with_votes_and_in_time() {
        let approve = |mut request: ApprovalRequest, decided_at: Option<i64>| {
            let status = request.status.as_mut().unwrap();
            status.state = Some(RequestState::Approved);
            status.decided_at = decided_at.map(|second| Time(at(second)));
            is_rightly_approved(&request)
        };
        assert!(approve(with_votes(&[("bob", Vote::Approved)]), Some(10)));
        assert!(!approve(with_votes(&[("bob", Vote::Approved)]), None));
        assert!(!approve(with_votes(&[("bob", Vote::Approved)]), Some(3600)));
        assert!(!approve(with_votes(&[]), Some(10)));
        assert!(!approve(with_votes(&[("alice", Vote::Approved)]), Some(10)));
        assert!(!is_rightly_approved(&with_votes(&[("bob", Vote::Approved)])));
    }
}
