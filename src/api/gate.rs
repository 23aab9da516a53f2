//! The part of status that every gated kind has: what is enforced, what is held, and how it is.

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

/// Where an object is in its life, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// The latest spec cannot be asked for as it is, because it cannot be read; the conditions say which
    /// field. What was applied before stays in force, of what only gives access nothing.
    Blocked,
    /// The latest spec waits; what was applied before stays in force.
    Pending,
    /// The latest spec is approved and being put into force.
    Approved,
    /// The latest spec is in force.
    Active,
    /// The latest spec is in force and traffic can pass.
    Connected,
    /// The latest spec was rejected; what was applied before stays in force.
    Rejected,
    /// The latest spec was not decided in time; what was applied before stays in force.
    Expired,
    /// Not in force: disabled, being deleted, or something it needs is missing.
    Inactive,
    /// Not in force: no traffic can pass.
    Disconnected,
    /// In force as far as possible; the conditions say what is wrong.
    Degraded,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// What is enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// The `metadata.generation` that this content had.
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// UID of the object, when `spec` is all of the spec that this generation of it had. Absent when only
    /// the closing part of a change was applied, and in what older versions wrote. Admission reads it:
    /// while it is absent, or of another object, everybody who changed the spec stays a requester.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub complete_for: Option<String>,
    /// SHA-256 of the canonical JSON (RFC 8785) of `spec`.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// The content that is enforced.
    pub spec: Content,
    /// The requester's words for it. They are used up: a later change needs words of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeReason>,
    /// The `ApprovalRequest` that released it; absent when no approval was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub approval_request: Option<String>,
    /// When it was recorded as applied.
    #[schemars(schema_with = "super::schemas::time")]
    pub at: Time,
    /// Objects that the content names, as they were when it was asked for. Another object that has
    /// taken the name of one of them is not meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub references: Vec<Reference>,
}

/// An object that a content names, by its UID.
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
    /// Digest of what was applied of the object when the change was asked for.
    #[schemars(length(max = 71))]
    pub digest: String,
}

impl Reference {
    /// The object of this name among others.
    fn find<'a>(&self, among: &'a [Self]) -> Option<&'a Self> {
        among.iter().find(|other| {
            (other.kind, &other.namespace, &other.name) == (self.kind, &self.namespace, &self.name)
        })
    }

    /// The first of these that is another object under the same name by now.
    #[must_use]
    pub fn find_replaced<'a>(meant: &'a [Self], now: &[Self]) -> Option<&'a Self> {
        meant.iter().find(|meant| meant.find(now).is_some_and(|now| now.uid != meant.uid))
    }

    /// The first of these of which something else is applied by now.
    #[must_use]
    pub fn find_changed<'a>(meant: &'a [Self], now: &[Self]) -> Option<&'a Self> {
        meant.iter().find(|meant| {
            meant.find(now).is_some_and(|now| (&now.uid, &now.digest) != (&meant.uid, &meant.digest))
        })
    }

    /// Whether both name the same objects, whatever is applied of them.
    #[must_use]
    pub fn are_same(one: &[Self], other: &[Self]) -> bool {
        one.len() == other.len()
            && one.iter().all(|one| one.find(other).is_some_and(|other| other.uid == one.uid))
    }
}

/// What is proposed and not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// The `metadata.generation` of the proposed content.
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// SHA-256 of the canonical JSON (RFC 8785) of the proposed content.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// What the change amounts to.
    #[schemars(length(max = MOST_OPERATIONS), inner(length(max = 32)))]
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// The `ApprovalRequest` that it waits for; absent while none could be made (the conditions
    /// say why).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub approval_request: Option<String>,
    /// Since when it has been held.
    #[schemars(schema_with = "super::schemas::time")]
    pub since: Time,
}

/// Status that all gated kinds share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// The `metadata.generation` that this status was computed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Where the object is in its life, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// What is enforced; absent while nothing has been applied yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// What is proposed and not in force; absent when the latest spec is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// Whether the rules hold the deletion of this object; it is then retired (`spec.retire`) and
    /// not deleted. Admission reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_protected: Option<bool>,
    /// Audit records of it that not every sink has accepted yet.
    #[serde(default, skip_serializing_if = "Audit::is_empty")]
    pub audit: Audit,
    /// Details, in a fixed order: Ready, Approved, Enforced, and Reconciling or Stalled while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schemas::conditions")]
    pub conditions: Vec<Condition>,
}
