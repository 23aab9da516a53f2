//! The notifications about requests: to those who may decide when they are asked and before the request expires, to
//! those who asked when it is decided or has expired.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kube::ResourceExt;

use crate::api::ApprovalRequest;
use crate::api::audit::{AuditRecord, RecordType};
use crate::api::common::{Principal, PrincipalKind};

/// The most lines of each part of the impact that are written out.
const MOST_LINES: usize = 20;

/// A message to people, before anything is known of their addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The recipients, sorted.
    pub to: BTreeSet<Principal>,
    /// The subject, in one line.
    pub subject: String,
    /// The text, in lines.
    pub text: String,
}

/// Whether people get a notification about a record of this type.
#[must_use]
pub const fn is_for_people(type_: RecordType) -> bool {
    matches!(type_, RecordType::Requested | RecordType::Expiring | RecordType::Decided | RecordType::Expired)
}

/// The notification about a record of a request. `approvers` may decide it.
#[must_use]
pub fn write_notification(
    request: &ApprovalRequest,
    record: &AuditRecord,
    approvers: &BTreeSet<Principal>,
) -> Option<Notification> {
    let spec = &request.spec;
    let (name, namespace) = (request.name_any(), request.namespace().unwrap_or_default());
    let what = format!("{} of {} in {namespace}", spec.summary.operation, spec.summary.target);
    let is_requester =
        |principal: &Principal| principal.username().is_some_and(|user| spec.requesters.contains(&user));
    let deciding = || -> BTreeSet<Principal> {
        let named = approvers.iter().chain(&spec.policy.mandatory_approvers);
        named.filter(|principal| !is_requester(principal)).cloned().collect()
    };
    let asking = || -> BTreeSet<Principal> { spec.requesters.iter().map(|user| user_of(user)).collect() };
    let (to, subject) = match record.type_ {
        RecordType::Requested => (deciding(), format!("Approval needed: {what}")),
        RecordType::Expiring => (deciding(), format!("Expires soon: {what}")),
        RecordType::Decided => {
            let state = request.status.as_ref().and_then(|status| status.state);
            let state = state.map_or_else(|| "Decided".to_owned(), |state| state.to_string());
            (asking(), format!("{state}: {what}"))
        }
        RecordType::Expired => (asking(), format!("Expired: {what}")),
        _ => return None,
    };
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "{label:<10} {}", indent(value));
    };
    line("What:", &what);
    line("Asked by:", &spec.requesters.join(", "));
    if let Some(justification) = &spec.justification {
        line("Why:", justification);
    }
    if let Some(ticket) = &spec.ticket {
        line("Ticket:", ticket);
    }
    let status = request.status.as_ref();
    let is_open = matches!(record.type_, RecordType::Requested | RecordType::Expiring);
    if is_open {
        if let Some(missing) = status.and_then(|status| status.missing.as_ref()) {
            line("Missing:", missing);
        }
        line("Expires:", &spec.expires_at.0.to_string());
    } else {
        for decision in status.into_iter().flat_map(|status| &status.decisions) {
            let comment =
                decision.comment.as_deref().map_or_else(String::new, |comment| format!(": {comment}"));
            line("Vote:", &format!("{:?} by {}{comment}", decision.verdict, decision.approver));
        }
        if let Some(message) = &record.message {
            line("Outcome:", message);
        }
    }
    for (title, lines) in
        [("Changes", &spec.impact.changes), ("Opens", &spec.impact.opens), ("Closes", &spec.impact.closes)]
    {
        if lines.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{title}:");
        for one in lines.iter().take(MOST_LINES) {
            let _ = writeln!(text, "- {}", indent(one));
        }
        if lines.len() > MOST_LINES {
            let _ = writeln!(text, "- and {} more", lines.len() - MOST_LINES);
        }
    }
    let _ = writeln!(text, "\nLook at it:\n  kubectl describe apr {name} -n {namespace}");
    if is_open {
        let digest = &spec.change.digest;
        let _ = writeln!(
            text,
            "Approve exactly this content:\n  kubectl patch apr {name} -n {namespace} --subresource=status --type=merge -p '{{\"status\":{{\"decision\":\"Approved\",\"digest\":\"{digest}\"}}}}'"
        );
    }
    Some(Notification { to, subject, text })
}

/// A user by name; service accounts are users too, and have no address.
fn user_of(name: &str) -> Principal {
    Principal { kind: PrincipalKind::User, name: name.to_owned(), namespace: None }
}

/// Indents all lines but the first, so that words of users never begin a line of their own.
fn indent(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("\n           ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ApprovalRequestStatus;
    use crate::api::approval_request::{Decision, RequestState, Verdict};
    use crate::model::approval::request::tests::a_request;

    fn request() -> ApprovalRequest {
        let mut request = ApprovalRequest::new("enc-e-12345-g1", a_request());
        request.metadata.namespace = Some("acme".into());
        request
    }

    fn record(type_: RecordType) -> AuditRecord {
        let mut audit = crate::api::Audit::default();
        let record = crate::model::audit::records::tests::a_record(type_);
        crate::model::audit::records::append(&mut audit, [record]);
        audit.waiting.remove(0).into_known()
    }

    fn principal(kind: PrincipalKind, name: &str) -> Principal {
        Principal { kind, name: name.into(), namespace: None }
    }

    #[test]
    fn those_who_may_decide_are_asked_and_never_those_who_asked() {
        let mut request = request();
        request.spec.requesters = vec!["alice".into()];
        let status = ApprovalRequestStatus { missing: Some("1 of 2 approvals".into()), ..Default::default() };
        request.status = Some(status);
        request.spec.policy.mandatory_approvers = vec![principal(PrincipalKind::Group, "cyber-team")];
        let approvers =
            [principal(PrincipalKind::User, "alice"), principal(PrincipalKind::User, "bob")].into();
        for type_ in [RecordType::Requested, RecordType::Expiring] {
            let notification = write_notification(&request, &record(type_), &approvers).unwrap();
            let to: Vec<String> = notification.to.iter().map(ToString::to_string).collect();
            assert_eq!(to, ["user bob", "group cyber-team"]);
            assert!(notification.text.contains(&request.spec.change.digest), "{}", notification.text);
            assert!(notification.text.contains("\nMissing:   1 of 2 approvals\n"), "{}", notification.text);
            assert!(
                notification.text.contains("kubectl patch apr enc-e-12345-g1 -n acme"),
                "{}",
                notification.text
            );
        }
    }

    #[test]
    fn those_who_asked_hear_the_outcome_and_in_whose_words() {
        let mut request = request();
        request.spec.requesters = vec!["alice".into(), "anna".into()];
        request.status = Some(ApprovalRequestStatus {
            state: Some(RequestState::Rejected),
            decisions: vec![
                Decision {
                    approver: "bob".into(),
                    verdict: Verdict::Rejected,
                    digest: String::new(),
                    comment: Some("not\nthis week".into()),
                    groups: Vec::new(),
                    mfa: None,
                    credential_id: None,
                    observed_at: None,
                }
                .into(),
            ],
            ..ApprovalRequestStatus::default()
        });
        let notification =
            write_notification(&request, &record(RecordType::Decided), &BTreeSet::new()).unwrap();
        let to: Vec<String> = notification.to.iter().map(ToString::to_string).collect();
        assert_eq!(to, ["user alice", "user anna"]);
        assert!(notification.subject.starts_with("Rejected: "), "{}", notification.subject);
        assert!(
            notification.text.contains("Rejected by bob: not\n           this week"),
            "{}",
            notification.text
        );
        assert!(!notification.text.contains("kubectl patch"), "there is nothing to decide any more");
    }

    #[test]
    fn other_records_are_for_programs() {
        for type_ in RecordType::ALL {
            let notification = write_notification(&request(), &record(type_), &BTreeSet::new());
            assert_eq!(notification.is_some(), is_for_people(type_), "{type_:?}");
        }
    }
}
