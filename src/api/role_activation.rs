//! `RoleActivation`: the request of one person to hold a role for a limited time.

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

/// Desired state of a `RoleActivation`. The person who asks is recorded in annotations that the API server
/// stamps, never in the spec.
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
    doc = "A RoleActivation is the request of the person who creates it to hold a role for a while, under the conditions of a RoleEligibility in the same namespace. Set spec.deactivate to end it early. To hold the role for longer, create another one while it is active.",
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
    /// Time for which the role is needed, for example `2h`, counted from the activation. Hours, minutes and
    /// seconds, between one minute and 24 hours, and at most what the eligibility allows.
    #[schemars(length(min = 2, max = 32), regex(pattern = DURATION_PATTERN))]
    #[x_kube(validation = Rule::new(duration_rule("1m", "24h"))
        .message("duration must be between 1m and 24h, for example 2h"))]
    pub duration: Duration,
    /// Reason for the activation, for those who decide about it and for the audit stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub justification: Option<String>,
    /// The ticket or incident that this activation belongs to, for example `INC0012345`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub ticket: Option<String>,
    /// Time from which the role is needed; as soon as possible when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::wanted_time")]
    pub starts_at: Option<Time>,
    /// Set to true to give the role back at once. A deactivation cannot be taken back.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self || !oldSelf")
        .message("a deactivation cannot be taken back; create another activation"))]
    pub deactivate: bool,
    /// Fields of the spec that could not be read; `None` when all could. A field that could not be read holds
    /// a substitute here, not what somebody asked for.
    #[serde(skip)]
    #[schemars(skip)]
    pub unreadable: Option<Box<Unreadable>>,
}

/// State of an activation, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ActivationState {
    /// The activation waits for an approval.
    PendingApproval,
    /// The activation waits for `spec.startsAt`, or for that of the eligibility if it is later.
    Scheduled,
    /// The person holds the role.
    Active,
    /// The time of the activation is over.
    Expired,
    /// The role was given back before its time was over, or the activation was deleted.
    Deactivated,
    /// The activation ended because the person lost the eligibility, or for another reason that the
    /// conditions name.
    Revoked,
    /// Somebody rejected the activation.
    Rejected,
    /// The activation was not decided about in time.
    Lapsed,
    /// The activation was refused from the start, for example because it does not meet the conditions of the
    /// eligibility; the conditions say why.
    Refused,
}

impl std::fmt::Display for ActivationState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl ActivationState {
    /// Whether no other state follows this one.
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

/// Observed state of a `RoleActivation`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleActivationStatus {
    /// Generation (`metadata.generation`) that this status was computed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// State of the activation, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ActivationState>,
    /// User name of the person who activates the role, as the API server stamped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub user: Option<String>,
    /// SHA-256 of the user name, the groups and the multi-factor claim of the person who asks, as the API
    /// server stamped them and the operator read them first. When the stamps differ later, the activation
    /// ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub stamps: Option<String>,
    /// Role that the activation gives, as the eligibility says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// UID of the eligibility that the activation refers to. Another eligibility of the same name does not
    /// count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub eligibility_uid: Option<String>,
    /// Name of the `ApprovalRequest` that decides about the activation; absent when no approval is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub approval_request: Option<String>,
    /// Addresses or channels to notify, as the eligibility names them. They are part of the audit records
    /// about the activation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub notify: Vec<String>,
    /// Time at which the activation begins, or began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub starts_at: Option<Time>,
    /// Time at which the activation ends, or ended; absent before it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub ends_at: Option<Time>,
    /// Objects that the person created while the role was held and that still exist: service accounts, whose
    /// tokens may outlive the role, roles and bindings, and RoleAssignments, RoleEligibilities and
    /// EnclaveWorkloads, which may give access; each as `Kind namespace/name`. The operator lists them after
    /// the end of the activation: the first 50 in alphabetical order, and a last line with the number of
    /// further ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 51), inner(length(max = 384)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub created_during_activation: Vec<String>,
    /// Audit records about the activation, which stay here until every sink has accepted them.
    #[serde(default, skip_serializing_if = "Audit::is_empty")]
    pub audit: Audit,
    /// Conditions in a fixed order: Ready, and Reconciling while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schemas::conditions")]
    pub conditions: Vec<Condition>,
}
