//! The outcome of a set of votes.

use std::collections::BTreeMap;

use crate::api::ApprovalRequest;
use crate::api::approval_request::{ApprovalRequestSpec, Decision, Verdict};
use crate::api::common::{Principal, PrincipalKind};
use crate::api::community::ServiceAccountVotes;
use crate::api::entry::Entry;
use crate::api::text::shorten;
use crate::model::digest::sha256;

/// Identifies the votes of a request by a short text: the same for the same votes of the same request.
#[must_use]
pub fn describe_votes(request: &ApprovalRequest) -> String {
    let decisions = request.status.iter().flat_map(|status| &status.decisions);
    // `observed_at` does not count: the time when a vote was seen first is noted when the votes are counted.
    let unseen = |vote: &Entry<Decision>| Decision { observed_at: None, ..vote.clone().into_known() };
    let votes: Vec<Decision> = decisions.map(unseen).collect();
    let votes = serde_json::to_vec(&votes).unwrap_or_default();
    format!("{} {}", request.metadata.uid.as_deref().unwrap_or_default(), sha256(&votes))
}

/// The outcome of the votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Somebody entitled rejected it.
    Rejected { by: String, comment: Option<String> },
    /// All approvals that the policy asks for are there.
    Approved,
    /// Votes are missing; in words, which.
    Undecided { missing: String },
}

/// Counts the votes of a request under its own policy.
///
/// The admission policies refuse votes that must not count; this counts as if they had not, so
/// that two independent checks have to fail before a vote is believed wrongly.
#[must_use]
pub fn tally(request: &ApprovalRequestSpec, decisions: &[Entry<Decision>]) -> Tally {
    let votes: BTreeMap<&str, &Decision> = decisions
        .iter()
        .map(|decision| &**decision)
        .filter(|decision| counts(request, decision))
        .map(|decision| (decision.approver.as_str(), decision))
        .collect();
    if let Some(rejection) = votes.values().find(|vote| vote.verdict == Verdict::Rejected) {
        return Tally::Rejected { by: rejection.approver.clone(), comment: rejection.comment.clone() };
    }
    let unsatisfied: Vec<&Principal> = request
        .policy
        .mandatory_approvers
        .iter()
        .filter(|principal| !votes.values().any(|vote| satisfies(vote, principal)))
        .collect();
    let minimum = usize::try_from(request.policy.minimum_approvers).unwrap_or(1).max(1);
    let more = minimum.saturating_sub(votes.len());
    if more == 0 && unsatisfied.is_empty() {
        return Tally::Approved;
    }
    Tally::Undecided { missing: describe_missing(more, &unsatisfied) }
}

fn counts(request: &ApprovalRequestSpec, decision: &Decision) -> bool {
    let policy = &request.policy;
    let is_service_account = decision.approver.starts_with("system:serviceaccount:");
    !request.requesters.contains(&decision.approver)
        && decision.digest == request.change.digest
        && (!is_service_account || policy.service_account_votes == ServiceAccountVotes::Allowed)
        && (!policy.require_mfa || decision.mfa.is_some())
        && (!policy.require_credential_id || decision.credential_id.is_some())
}

fn satisfies(vote: &Decision, principal: &Principal) -> bool {
    match principal.kind {
        PrincipalKind::Group => vote.groups.contains(&principal.name),
        PrincipalKind::User | PrincipalKind::ServiceAccount => {
            principal.username().is_some_and(|name| name == vote.approver)
        }
    }
}

fn describe_missing(more: usize, unsatisfied: &[&Principal]) -> String {
    let mut parts = Vec::new();
    match more {
        0 => {}
        1 => parts.push("1 more approval".to_owned()),
        _ => parts.push(format!("{more} more approvals")),
    }
    for principal in unsatisfied {
        parts.push(match principal.kind {
            PrincipalKind::Group => format!("one by group {}", principal.name),
            PrincipalKind::User | PrincipalKind::ServiceAccount => format!("one by {principal}"),
        });
    }
    let text = parts.join(", ");
    shorten(&text, 4096).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ApprovalRequestStatus, Time};
    use crate::model::approval::request::tests::a_request;

    #[test]
    fn the_same_votes_are_described_the_same_and_others_are_not() {
        let described = |uid: &str, decisions: Vec<Entry<Decision>>| {
            let mut request = ApprovalRequest::new("r", a_request());
            request.metadata.uid = Some(uid.into());
            request.status = Some(ApprovalRequestStatus { decisions, ..ApprovalRequestStatus::default() });
            describe_votes(&request)
        };
        let bob = || vote("bob", Verdict::Approved);
        let mut seen = bob();
        seen.observed_at = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(described("u", vec![bob()]), described("u", vec![seen]));
        let different = [
            described("u", vec![bob()]),
            described("v", vec![bob()]),
            described("u", vec![vote("bob", Verdict::Rejected)]),
            described("u", vec![bob(), vote("carol", Verdict::Approved)]),
            described("u", Vec::new()),
        ];
        assert_eq!(different.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
    }

    fn vote(approver: &str, verdict: Verdict) -> Entry<Decision> {
        Decision {
            approver: approver.into(),
            verdict,
            digest: "sha256:d".into(),
            comment: None,
            groups: vec![],
            mfa: None,
            credential_id: None,
            observed_at: None,
        }
        .into()
    }

    fn approval(approver: &str) -> Entry<Decision> {
        vote(approver, Verdict::Approved)
    }

    fn undecided(missing: &str) -> Tally {
        Tally::Undecided { missing: missing.into() }
    }

    #[test]
    fn distinct_people_are_counted() {
        let mut request = a_request();
        request.policy.minimum_approvers = 2;
        assert_eq!(tally(&request, &[]), undecided("2 more approvals"));
        assert_eq!(tally(&request, &[approval("bob"), approval("bob")]), undecided("1 more approval"));
        assert_eq!(tally(&request, &[approval("bob"), approval("carol")]), Tally::Approved);
    }

    #[test]
    fn every_mandatory_approver_must_be_satisfied_and_one_vote_may_satisfy_several() {
        let mut request = a_request();
        let group = |name: &str| Principal { kind: PrincipalKind::Group, name: name.into(), namespace: None };
        let dave = Principal { kind: PrincipalKind::User, name: "dave".into(), namespace: None };
        request.policy.mandatory_approvers = vec![group("cyber-team"), group("legal"), dave];
        let mut bob = approval("bob");
        assert_eq!(
            tally(&request, &[bob.clone()]),
            undecided("one by group cyber-team, one by group legal, one by user dave")
        );
        bob.groups = vec!["cyber-team".into(), "legal".into()];
        assert_eq!(tally(&request, &[bob.clone()]), undecided("one by user dave"));
        assert_eq!(tally(&request, &[bob, approval("dave")]), Tally::Approved);
    }

    #[test]
    fn one_rejection_decides() {
        let request = a_request();
        let mut no = vote("carol", Verdict::Rejected);
        no.comment = Some("not now".into());
        assert_eq!(
            tally(&request, &[approval("bob"), no]),
            Tally::Rejected { by: "carol".into(), comment: Some("not now".into()) }
        );
    }

    #[test]
    fn votes_that_must_not_count_do_not() {
        let mut request = a_request();
        let one_more = undecided("1 more approval");
        assert_eq!(tally(&request, &[approval("alice")]), one_more, "a requester");
        let mut old = approval("bob");
        old.digest = "sha256:old".into();
        assert_eq!(tally(&request, &[old]), one_more, "another content");
        let robot = approval("system:serviceaccount:ci:robot");
        assert_eq!(tally(&request, std::slice::from_ref(&robot)), one_more, "a service account");
        request.policy.service_account_votes = ServiceAccountVotes::Allowed;
        assert_eq!(tally(&request, &[robot]), Tally::Approved);
        request.policy.require_mfa = true;
        assert_eq!(tally(&request, &[approval("bob")]), one_more, "no multi-factor authentication");
        request.policy.require_mfa = false;
        request.policy.require_credential_id = true;
        assert_eq!(tally(&request, &[approval("bob")]), one_more, "no credential id");
        request.policy.require_credential_id = false;
        request.policy.minimum_approvers = 0;
        assert_eq!(tally(&request, &[]), one_more, "a minimum of zero is one");
    }
}
