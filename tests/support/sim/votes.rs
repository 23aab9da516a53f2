//! Votes, as they stand in a request.

use enclave_operator::api::ApprovalRequest;
use enclave_operator::api::approval_request::{Decision, RequestState, Verdict};
use enclave_operator::api::entry::Entry;

/// Whether a request can be decided.
pub fn is_open(request: &ApprovalRequest) -> bool {
    request.status.as_ref().is_some_and(|status| status.state == Some(RequestState::Pending))
}

/// Puts somebody's vote on what has this digest in the place of his earlier one.
pub fn cast(request: &mut ApprovalRequest, by: &str, verdict: Verdict, digest: String, groups: &[&str]) {
    let decisions = &mut request.status.get_or_insert_default().decisions;
    decisions.retain(|decision| decision.approver != by);
    decisions.push(Entry::from(Decision {
        approver: by.into(),
        verdict,
        digest,
        comment: None,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        mfa: None,
        credential_id: None,
        observed_at: None,
    }));
}
