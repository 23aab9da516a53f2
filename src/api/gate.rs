//! Status that every gated kind has: the applied and the pending content, the state, and the conditions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;
use super::approvals::{MOST_OPERATIONS, Operation};
use super::audit::Audit;
use super::common::ChangeReason;
use super::content::Content;
use super::kind::Kind;

/// State of an object, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// The latest spec cannot be read, so it is not evaluated; the conditions say which field. What was
    /// applied before stays in force, except that an EnclaveConnection, RoleAssignment or RoleEligibility
    /// gives no access then, unless only another version of the operator can read its spec.
    Blocked,
    /// The latest spec waits for an approval or for something that it needs; what was applied before stays in
    /// force.
    Pending,
    /// The latest spec is approved, or needs no approval, and is being put into force.
    Approved,
    /// The latest spec is in force.
    Active,
    /// The latest spec is in force and traffic can pass.
    Connected,
    /// The latest spec was rejected; what was applied before stays in force.
    Rejected,
    /// The latest spec was not decided in time; what was applied before stays in force.
    Expired,
    /// The object is not in force: it is disabled, has ended or is being deleted, or something that it needs
    /// is missing.
    Inactive,
    /// The connection is not in force: no traffic can pass.
    Disconnected,
    /// The latest spec is in force as far as possible; the conditions say what is wrong.
    Degraded,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// Applied content, which the operator enforces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// Generation (`metadata.generation`) of the spec that this content comes from. When only the part of a
    /// change that takes access away was applied, the generation stays that of the content before.
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// UID of the object, when `spec` is the whole spec of this generation of the object. Absent when only
    /// the part of a change that takes access away was applied, and in a status that an older version wrote.
    /// Admission policies read this field: while it is absent or the UID of another object, everybody who
    /// changed the spec stays a requester.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub complete_for: Option<String>,
    /// SHA-256 of the canonical JSON (RFC 8785) of `spec`.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// Content that is enforced.
    pub spec: Content,
    /// Justification and ticket of the applied change. They are used up: where rules require a justification,
    /// a later change needs one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeReason>,
    /// Name of the `ApprovalRequest` that approved the content; absent when no approval was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub approval_request: Option<String>,
    /// Time at which the content was recorded as applied.
    #[schemars(schema_with = "super::schemas::time")]
    pub at: Time,
    /// Objects that the content names, as they were when the change was requested. The content does not apply
    /// to another object that has the same name by now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub references: Vec<Reference>,
}

/// Object that a content names, identified by its UID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// Kind of the object.
    pub kind: Kind,
    /// Namespace of the object.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the object.
    #[schemars(length(max = 253))]
    pub name: String,
    /// UID of the object.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Digest of the content of the object that was applied when the change was requested; empty when none
    /// was.
    #[schemars(length(max = 71))]
    pub digest: String,
}

impl Reference {
    /// Returns the reference among others to the object of this kind, namespace and name.
    fn find<'a>(&self, among: &'a [Self]) -> Option<&'a Self> {
        among.iter().find(|other| {
            (other.kind, &other.namespace, &other.name) == (self.kind, &self.namespace, &self.name)
        })
    }

    /// Returns the first of these objects that was replaced by another object of the same name.
    #[must_use]
    pub fn find_replaced<'a>(meant: &'a [Self], now: &[Self]) -> Option<&'a Self> {
        meant.iter().find(|meant| meant.find(now).is_some_and(|now| now.uid != meant.uid))
    }

    /// Returns the first of these objects that was replaced, or of which another content is applied by now.
    #[must_use]
    pub fn find_changed<'a>(meant: &'a [Self], now: &[Self]) -> Option<&'a Self> {
        meant.iter().find(|meant| {
            meant.find(now).is_some_and(|now| (&now.uid, &now.digest) != (&meant.uid, &meant.digest))
        })
    }

    /// Whether both lists name the same objects, whatever is applied of them.
    #[must_use]
    pub fn are_same(one: &[Self], other: &[Self]) -> bool {
        one.len() == other.len()
            && one.iter().all(|one| one.find(other).is_some_and(|other| other.uid == one.uid))
    }
}

/// Content that is proposed and not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Generation (`metadata.generation`) of the proposed content.
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// SHA-256 of the canonical JSON (RFC 8785) of the proposed content.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// Operations that the change consists of.
    #[schemars(length(max = MOST_OPERATIONS), inner(length(max = 32)))]
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// Name of the `ApprovalRequest` that the change waits for; absent while none could be made, and the
    /// conditions say why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub approval_request: Option<String>,
    /// Time since which the change has been held.
    #[schemars(schema_with = "super::schemas::time")]
    pub since: Time,
}

/// Status that all gated kinds share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// Generation (`metadata.generation`) that this status was computed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// State of the object, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Content that is enforced; absent while nothing has been applied yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// Content that is proposed and not in force; absent when the latest spec is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// Whether the rules hold the deletion of this object. A deletion is then refused, and `spec.retire` asks
    /// for it instead. Admission policies read this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_protected: Option<bool>,
    /// Audit records about the object, which stay here until every sink has accepted them.
    #[serde(default, skip_serializing_if = "Audit::is_empty")]
    pub audit: Audit,
    /// Conditions in a fixed order: Ready, Approved, Enforced, and Reconciling or Stalled while true. Some
    /// kinds add Protected (Community), Locked (Community and Enclave), or ConflictingDuties while true
    /// (RoleAssignment and RoleEligibility).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schemas::conditions")]
    pub conditions: Vec<Condition>,
}
