//! A change that is proposed, and the request that asks for it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::api::approval_request::{ApprovalRequestSpec, Change, EffectivePolicy, Impact, Summary, Target};
use crate::api::approvals::Operation;
use crate::api::common::ChangeReason;
use crate::api::gate::Reference;
use crate::api::{ApprovalRequest, Content, Kind, names};
use crate::model::approval::gated::Gated;
use crate::model::approval::request::{describe_requesters, expires_at};
use crate::model::naming;

/// A content that is proposed.
pub(in crate::model) struct Proposal {
    pub generation: i64,
    pub digest: String,
    pub operations: BTreeSet<Operation>,
    pub before: Option<Content>,
    pub after: Content,
    pub references: Vec<Reference>,
}

/// The content that a change is compared with for people: the one in force, or for something new what an
/// empty spec means, so that defaults which nobody wrote are not shown.
pub(in crate::model) fn baseline<K: Gated>(proposal: &Proposal) -> Content {
    let empty = || {
        let spec: K::Spec = serde_json::from_value(serde_json::json!({})).ok()?;
        Content::of_spec(&K::without_change_reason(&spec)).ok()
    };
    proposal.before.clone().or_else(empty).unwrap_or_else(Content::empty)
}

/// Words in one line: with line breaks they could look like other fields of the request.
fn flatten(words: &str) -> String {
    words.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The object that a request is about.
pub(in crate::model) struct About {
    pub kind: Kind,
    pub namespace: Option<String>,
    pub name: String,
    pub uid: String,
    /// The namespace of the requests about it.
    pub request_namespace: String,
}

pub(in crate::model) fn build_request(
    about: &About,
    proposal: &Proposal,
    requesters: Vec<String>,
    reason: ChangeReason,
    policy: EffectivePolicy,
    changes: Vec<String>,
    now: Timestamp,
) -> ApprovalRequest {
    let About { kind, namespace, name, uid, request_namespace } = about;
    let operations: Vec<Operation> = proposal.operations.iter().copied().collect();
    let spec = ApprovalRequestSpec {
        summary: Summary {
            operation: operations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            target: format!("{kind} {name}"),
            requester: describe_requesters(&requesters),
        },
        target: Target {
            kind: *kind,
            namespace: namespace.clone(),
            name: name.clone(),
            uid: uid.clone(),
            generation: proposal.generation,
        },
        operations,
        requesters,
        justification: reason.justification.map(|words| flatten(&words)),
        ticket: reason.ticket.map(|words| flatten(&words)),
        change: Change {
            before: proposal.before.clone(),
            after: proposal.after.clone(),
            digest: proposal.digest.clone(),
            references: proposal.references.clone(),
        },
        impact: Impact { changes, ..Impact::default() },
        expires_at: expires_at(policy.expire_after_seconds, now),
        policy,
        unreadable: None,
    };
    let request_name = naming::approval_request(*kind, name, uid, proposal.generation);
    let mut request = ApprovalRequest::new(&request_name, spec);
    request.metadata.namespace = Some(request_namespace.clone());
    // There is a record about the request as soon as the operator looks at it.
    request.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()]);
    request
}
