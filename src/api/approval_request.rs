//! `ApprovalRequest`: one proposed change, its requesters, the rules that apply to it, and its votes.

// KubeSchema copies the structs, and nothing reads in the copy what serde skips.
#![allow(dead_code)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;
use super::approvals::{MOST_OPERATIONS, Operation};
use super::audit::Audit;
use super::common::Principal;
use super::community::ServiceAccountVotes;
use super::content::Content;
use super::entry::Entry;
use super::gate::Reference;
use super::kind::Kind;
use super::reading::Unreadable;

/// Proposed change, complete and immutable. Only the operator writes it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "enclave-operator.io",
    version = "v1alpha1",
    kind = "ApprovalRequest",
    plural = "approvalrequests",
    namespaced,
    shortname = "apr",
    category = "enclave-operator",
    status = "ApprovalRequestStatus",
    derive = "PartialEq",
    doc = "An ApprovalRequest is one proposed change that waits for people with the approver role. Decide with: kubectl patch apr NAME -n NAMESPACE --subresource=status --type=merge -p '{\"status\":{\"decision\":\"Approved\",\"comment\":\"...\"}}', or with Rejected instead of Approved.",
    selectable = ".status.state",
    selectable = ".status.enactedAt",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Operation", type_ = "string", json_path = ".spec.summary.operation"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.summary.target"),
    printcolumn(name = "Requester", type_ = "string", json_path = ".spec.summary.requester"),
    printcolumn(name = "Missing", type_ = "string", json_path = ".status.missing"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequestSpec {
    /// Summary of the request in three short texts, for table columns.
    pub summary: Summary,
    /// The object that would change.
    pub target: Target,
    /// Operations that the change consists of.
    #[schemars(length(min = 1, max = MOST_OPERATIONS))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub operations: Vec<Operation>,
    /// User names of everybody who changed the spec of the target since all of it was last applied, as the
    /// API server stamped them; for a RoleActivation, the user who created it. None of them may vote.
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub requesters: Vec<String>,
    /// Reason for the change, in the requester's words; absent when none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub justification: Option<String>,
    /// Ticket or incident that the requester named; absent when none was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub ticket: Option<String>,
    /// Content before and after the change.
    pub change: Change,
    /// Effects of the change, for those who decide about it.
    #[serde(default)]
    pub impact: Impact,
    /// Approval rules that apply to this request: those of all scopes merged, as they were when the request
    /// was made. Later changes of the rules do not affect the request.
    pub policy: EffectivePolicy,
    /// Time at which the request expires unless it is decided before.
    #[schemars(schema_with = "super::schemas::time")]
    pub expires_at: Time,
    /// Fields of the spec that could not be read; `None` when all could. A field that could not be read holds
    /// a substitute here, not what somebody asked for.
    #[serde(skip)]
    #[schemars(skip)]
    pub unreadable: Option<Box<Unreadable>>,
}

/// Summary of a request in three short texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Operations, separated by commas.
    #[schemars(length(max = 512))]
    pub operation: String,
    /// Kind and name of the target.
    #[schemars(length(max = 320))]
    pub target: String,
    /// First requester, and the number of further ones, for example `alice (+2)`.
    #[schemars(length(max = 1100))]
    pub requester: String,
}

/// The object that would change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Kind of the target.
    pub kind: Kind,
    /// Namespace of the target; absent for a Community.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Name of the target.
    #[schemars(length(max = 253))]
    pub name: String,
    /// UID of the target. The request is not about another object that has the same name.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Generation (`metadata.generation`) of the target with the proposed spec.
    #[schemars(range(min = 0))]
    pub generation: i64,
}

/// Content before and after the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Content that was applied when the request was made; absent when nothing was applied yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Content>,
    /// Proposed content. Exactly this content is enacted when the request is approved.
    pub after: Content,
    /// SHA-256 of the canonical JSON (RFC 8785) of `after`.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// Objects that `after` names, as they were when the request was made. The approval counts for exactly
    /// these objects, not for another object that has the same name. While the request is undecided, it
    /// becomes Superseded when one of them is replaced or changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub references: Vec<Reference>,
}

/// Effects of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Impact {
    /// Differences between the content before and after the change, field by field, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), inner(length(max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub changes: Vec<String>,
    /// Access that the change gives, in words: traffic by source, destination and ports, and rights of
    /// principals. At most 200 lines, and a last one with the number of further lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 201), inner(length(max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub opens: Vec<String>,
    /// Access that the change takes away, in the same form as `opens`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 201), inner(length(max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub closes: Vec<String>,
}

/// Merged approval rules under which one request is evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectivePolicy {
    /// Number of distinct people who must approve.
    #[schemars(range(min = 1, max = 20))]
    pub minimum_approvers: i32,
    /// Mandatory approvers. Each of them needs at least one approval: by that user or service account, or by
    /// a member of that group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1200))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub mandatory_approvers: Vec<Principal>,
    /// Time for which the request may stay undecided, in seconds.
    #[schemars(range(min = 1))]
    pub expire_after_seconds: i64,
    /// Whether the requester had to give a justification.
    pub require_justification: bool,
    /// Whether a rejection needs a comment.
    pub require_rejection_comment: bool,
    /// Whether votes need multi-factor authentication.
    pub require_mfa: bool,
    /// Whether votes need a credential id.
    pub require_credential_id: bool,
    /// Whether service accounts may vote.
    pub service_account_votes: ServiceAccountVotes,
}

/// State of a request. Rejected, Expired, Superseded and Withdrawn are final. Approved is final once the
/// change is enacted; before that, the request is decided anew when the admission policies change or are not
/// intact, when the request is deleted, or when a later change of the target comes into force first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequestState {
    /// The request is undecided.
    Pending,
    /// The request has all approvals that its policy asks for.
    Approved,
    /// Somebody rejected the request.
    Rejected,
    /// The request was not decided before `spec.expiresAt`.
    Expired,
    /// The change does not count any more: the target was edited again, an object that the content names was
    /// changed, or a later change came into force first.
    Superseded,
    /// Nothing is left to decide: the target was edited back or deleted, the activation is over, or the
    /// request is being deleted.
    Withdrawn,
}

impl std::fmt::Display for RequestState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// One person's vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    Approved,
    Rejected,
}

/// Value that a voter writes to vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ballot {
    /// Vote for the change.
    Approved,
    /// Vote against the change, which ends the request.
    Rejected,
    /// Take your vote back, as long as the request is undecided.
    Withdrawn,
}

/// One person's vote, stamped by the API server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The voter's user name, as the API server authenticated it.
    #[schemars(length(min = 1, max = 1024))]
    pub approver: String,
    /// Verdict of the voter: Approved or Rejected.
    pub verdict: Verdict,
    /// Digest of the content that was voted on.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// Comment of the voter; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub comment: Option<String>,
    /// Groups of the voter that the policy names as mandatory approvers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1200), inner(length(max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub groups: Vec<String>,
    /// Accepted multi-factor claim of the voter's login; absent when the login had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub mfa: Option<String>,
    /// Id of the credential that the voter used (`authentication.kubernetes.io/credential-id`); absent when
    /// the vote carried none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub credential_id: Option<String>,
    /// Time at which the operator first saw the vote; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub observed_at: Option<Time>,
}

/// Observed state of an `ApprovalRequest`: its votes and their outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequestStatus {
    /// State of the request; absent until the operator has seen the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RequestState>,
    /// Description of what is missing for an approval; absent once the request is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub missing: Option<String>,
    /// Votes, one per person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["approver".into()]))]
    pub decisions: Vec<Entry<Decision>>,
    /// Fingerprint of the admission policies under which the votes were cast; absent while the admission
    /// policies are not intact. When the policies change while the request is open, its votes are void and
    /// people vote again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub policy_fingerprint: Option<String>,
    /// Time at which the approvers were reminded that the request expires soon; absent before. The reminder
    /// comes a day before the request expires, or when a quarter of its time is left if that is later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub reminded_at: Option<Time>,
    /// Time at which the request left Pending; absent while it is Pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub decided_at: Option<Time>,
    /// Time at which the change was recorded as applied; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub enacted_at: Option<Time>,
    /// Audit records about the request, which stay here until every sink has accepted them.
    #[serde(default, skip_serializing_if = "Audit::is_empty")]
    pub audit: Audit,
    /// Conditions of the request. There is one, Decided, whose message says what is missing or how the
    /// request was decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schemas::conditions")]
    pub conditions: Vec<Condition>,
    /// Vote to cast: `Approved`, `Rejected`, or `Withdrawn` to take your vote back. The API server turns it
    /// into your own entry in `decisions` and removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Ballot>,
    /// Comment on your vote, written together with `decision`. A rejection needs one where the policy
    /// requires it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub comment: Option<String>,
    /// Digest of the content that you vote on, written together with `decision`. The vote is refused unless
    /// it equals `spec.change.digest`. When absent, the vote is for the content of this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub digest: Option<String>,
}
