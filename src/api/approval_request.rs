//! `ApprovalRequest`: one proposed change, who asked, the rules that applied, and the votes.

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

/// A proposed change, complete and immutable. Only the operator writes it.
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
    /// The request in three short texts, for tables.
    pub summary: Summary,
    /// The object that would change.
    pub target: Target,
    /// What the change amounts to.
    #[schemars(length(min = 1, max = MOST_OPERATIONS))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub operations: Vec<Operation>,
    /// Everybody who touched the target's spec since it was last applied. None of them may vote.
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub requesters: Vec<String>,
    /// The requester's words: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub justification: Option<String>,
    /// The ticket or incident that the requester named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub ticket: Option<String>,
    /// The content before and after the change.
    pub change: Change,
    /// What the change means, for those who decide.
    #[serde(default)]
    pub impact: Impact,
    /// The rules that apply to this request: all scopes merged, as they were when it was made.
    pub policy: EffectivePolicy,
    /// When the request expires unless it is decided before.
    #[schemars(schema_with = "super::schemas::time")]
    pub expires_at: Time,
    /// What of it could not be read. What stands in its fields is then not what somebody asked for.
    #[serde(skip)]
    #[schemars(skip)]
    pub unreadable: Option<Box<Unreadable>>,
}

/// A request in three short texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The operations, comma separated.
    #[schemars(length(max = 512))]
    pub operation: String,
    /// Kind and name of the target.
    #[schemars(length(max = 320))]
    pub target: String,
    /// The first requester, and how many more there are.
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
    /// UID of the target: another object under the same name is not meant.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The `metadata.generation` that proposed this change.
    #[schemars(range(min = 0))]
    pub generation: i64,
}

/// The content before and after the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What is in force; absent when the target is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Content>,
    /// What is proposed. Exactly this is enacted when the request is approved.
    pub after: Content,
    /// SHA-256 of the canonical JSON (RFC 8785) of `after`.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// Objects that `after` names, as they were when this was asked for. The change is approved for
    /// exactly these: another object under the same name is not meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub references: Vec<Reference>,
}

/// What a change means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Impact {
    /// The differences, field by field, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), inner(length(max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub changes: Vec<String>,
    /// Traffic that becomes possible: from where, to where, on which ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 201), inner(length(max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub opens: Vec<String>,
    /// Traffic that stops being possible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 201), inner(length(max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub closes: Vec<String>,
}

/// The merged rules that one request is judged by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectivePolicy {
    /// How many distinct people must approve.
    #[schemars(range(min = 1, max = 20))]
    pub minimum_approvers: i32,
    /// Each of these must be satisfied by at least one approval.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1200))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub mandatory_approvers: Vec<Principal>,
    /// How long the request may stay undecided, in seconds.
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

/// Where a request is in its life. All but Pending and Approved are final, and Approved is too:
/// it only waits to be enacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequestState {
    /// Undecided.
    Pending,
    /// The votes that the policy asks for are there.
    Approved,
    /// Somebody rejected it.
    Rejected,
    /// It was not decided in time.
    Expired,
    /// The target was edited again; another request took its place.
    Superseded,
    /// The target was edited back or deleted.
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

/// What a voter writes to vote.
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
    /// Approved or Rejected.
    pub verdict: Verdict,
    /// Digest of the content that was voted on.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// The voter's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub comment: Option<String>,
    /// Those groups of the voter that the policy names as mandatory approvers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1200), inner(length(max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub groups: Vec<String>,
    /// The accepted multi-factor claim that the vote carried; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub mfa: Option<String>,
    /// Which credential was used to vote (`authentication.kubernetes.io/credential-id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub credential_id: Option<String>,
    /// When the operator saw the vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub observed_at: Option<Time>,
}

/// The votes, and what follows from them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequestStatus {
    /// Where the request is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RequestState>,
    /// What is missing for an approval, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub missing: Option<String>,
    /// The votes, one per person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["approver".into()]))]
    pub decisions: Vec<Entry<Decision>>,
    /// Fingerprint of the admission policies under which the votes were cast. When the policies
    /// change while the request is open, its votes are void and are cast again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub policy_fingerprint: Option<String>,
    /// When those who decide were told that the request expires soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub reminded_at: Option<Time>,
    /// When the request left Pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub decided_at: Option<Time>,
    /// When the change was recorded as applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub enacted_at: Option<Time>,
    /// Audit records of it that not every sink has accepted yet.
    #[serde(default, skip_serializing_if = "Audit::is_empty")]
    pub audit: Audit,
    /// Details.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schemas::conditions")]
    pub conditions: Vec<Condition>,
    /// Write this to vote: `Approved`, `Rejected`, or `Withdrawn` to take your vote back. The API
    /// server turns it into your own entry in `decisions` and removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Ballot>,
    /// Write this with `decision`: your words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub comment: Option<String>,
    /// Write this with `decision` to be sure what you vote on: must equal `spec.change.digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub digest: Option<String>,
}
