//! `RoleActivation`: one person's request to hold a role now, for a while.

// KubeSchema copies the structs, and nothing reads in the copy what serde skips.
#![allow(dead_code)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;
use super::audit::Audit;
use super::common::{DURATION_PATTERN, LABEL_PATTERN, NAME_MESSAGE, NAME_RULE, duration_rule};
use super::duration::Duration;
use super::reading::Unreadable;
use super::role_assignment::Role;

/// What is asked for. Who asks stands in annotations that the API server stamps, never here.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "enclave-operator.io",
    version = "v1alpha1",
    kind = "RoleActivation",
    plural = "roleactivations",
    namespaced,
    shortname = "ract",
    category = "enclave-operator",
    status = "RoleActivationStatus",
    derive = "PartialEq",
    doc = "A RoleActivation is the request of the person who creates it to hold a role for a while, under the conditions of a RoleEligibility in the same namespace. Set spec.deactivate to end it before its time; create another one while it is active to go on longer.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Request", type_ = "string", json_path = ".status.approvalRequest"),
    printcolumn(name = "User", type_ = "string", json_path = ".status.user"),
    printcolumn(name = "Role", type_ = "string", json_path = ".status.role"),
    printcolumn(name = "Ends", type_ = "string", json_path = ".status.endsAt"),
    printcolumn(name = "Eligibility", type_ = "string", json_path = ".spec.eligibility", priority = 1),
    printcolumn(name = "Ticket", type_ = "string", json_path = ".spec.ticket", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(NAME_RULE).message(NAME_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.eligibility == oldSelf.eligibility && self.duration == oldSelf.duration && has(self.justification) == has(oldSelf.justification) && (!has(self.justification) || self.justification == oldSelf.justification) && has(self.ticket) == has(oldSelf.ticket) && (!has(self.ticket) || self.ticket == oldSelf.ticket) && has(self.startsAt) == has(oldSelf.startsAt) && (!has(self.startsAt) || self.startsAt == oldSelf.startsAt)")
    .message("an activation cannot be changed, only deactivated; create another activation"))]
pub struct RoleActivationSpec {
    /// Name of the `RoleEligibility` in the same namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_PATTERN))]
    pub eligibility: String,
    /// How long the role is needed, for example `2h`, counted from the activation. At most what the
    /// eligibility allows; hours, minutes and seconds.
    #[schemars(length(min = 2, max = 32), regex(pattern = DURATION_PATTERN))]
    #[x_kube(validation = Rule::new(duration_rule("1m", "24h"))
        .message("duration must be between 1m and 24h, for example 2h"))]
    pub duration: Duration,
    /// Why the role is needed, for those who decide about it and for the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub justification: Option<String>,
    /// The ticket or incident that this activation belongs to, for example `INC0012345`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub ticket: Option<String>,
    /// When the role is needed; as soon as possible when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::wanted_time")]
    pub starts_at: Option<Time>,
    /// Set to true to give the role back at once. Cannot be taken back.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self || !oldSelf")
        .message("a deactivation cannot be taken back; create another activation"))]
    pub deactivate: bool,
    /// What of it could not be read. What stands in its fields is then not what somebody asked for.
    #[serde(skip)]
    #[schemars(skip)]
    pub unreadable: Option<Box<Unreadable>>,
}

/// Where an activation is in its life, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ActivationState {
    /// It waits for an approval.
    PendingApproval,
    /// It waits for its `startsAt`.
    Scheduled,
    /// The role is held.
    Active,
    /// Its time is over.
    Expired,
    /// It was given back before its time.
    Deactivated,
    /// The eligibility was lost.
    Revoked,
    /// Somebody rejected it.
    Rejected,
    /// It was not decided in time.
    Lapsed,
    /// It does not meet the conditions of the eligibility; the conditions say why.
    Refused,
}

impl std::fmt::Display for ActivationState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl ActivationState {
    /// Whether nothing follows this state any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::PendingApproval | Self::Scheduled | Self::Active => false,
            Self::Expired
            | Self::Deactivated
            | Self::Revoked
            | Self::Rejected
            | Self::Lapsed
            | Self::Refused => true,
        }
    }
}

/// What is known of a `RoleActivation`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleActivationStatus {
    /// The `metadata.generation` that this status was computed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Where the activation is in its life, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ActivationState>,
    /// Who activates: the user name that the API server stamped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub user: Option<String>,
    /// SHA-256 of who asks, with which groups and how they logged in, as the API server stamped it and the
    /// operator read it first. When the stamps are others later, the activation ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub stamps: Option<String>,
    /// The role, as the eligibility says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// UID of the eligibility that was meant: another one of the same name does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub eligibility_uid: Option<String>,
    /// The `ApprovalRequest` that decides about it; absent when no approval is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub approval_request: Option<String>,
    /// Who should hear of it, as the eligibility says; it stands in the audit stream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub notify: Vec<String>,
    /// When the role was bound, or will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub starts_at: Option<Time>,
    /// When the role ends, or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub ends_at: Option<Time>,
    /// What the person made while the role was held and what is still there: service accounts, whose
    /// tokens may live on, roles and bindings, and RoleAssignments, RoleEligibilities and EnclaveWorkloads,
    /// which may give access; each as `Kind namespace/name`. Audited after the end; the first
    /// 50 in order of their names, and how many more there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 51), inner(length(max = 384)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub created_during_activation: Vec<String>,
    /// Audit records of it that not every sink has accepted yet.
    #[serde(default, skip_serializing_if = "Audit::is_empty")]
    pub audit: Audit,
    /// Details, in a fixed order: Ready, and Reconciling while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schemas::conditions")]
    pub conditions: Vec<Condition>,
}
