//! `RoleEligibility`: the principals that may activate a role, and the conditions for an activation.

// KubeSchema copies the structs, and nothing reads in the copy what serde skips.
#![allow(dead_code)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;
use super::approvals::{ApprovalRule, Approvals, Operation, RulePolicy};
use super::common::{ChangeReason, DURATION_PATTERN, NAME_MESSAGE, NAME_RULE, Principal, duration_rule};
use super::duration::Duration;
use super::gate::GateStatus;
use super::reading::Unreadable;
use super::role_assignment::{PRINCIPALS_MESSAGE, PRINCIPALS_RULE, Role};

/// Desired state of a `RoleEligibility`.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "enclave-operator.io",
    version = "v1alpha1",
    kind = "RoleEligibility",
    plural = "roleeligibilities",
    namespaced,
    shortname = "relig",
    category = "enclave-operator",
    status = "RoleEligibilityStatus",
    derive = "PartialEq",
    doc = "A RoleEligibility names the principals that may activate a role for a limited time, in the scope of its namespace: an Enclave, a Community with all its enclaves, or everything (in the operator's namespace). It gives no access by itself; a RoleActivation does. Deleting it ends all activations with it at once.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Request", type_ = "string", json_path = ".status.pending.approvalRequest"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.role"),
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workload", priority = 1),
    printcolumn(name = "Max", type_ = "string", json_path = ".spec.activation.maxDuration"),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.activations"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastActivation.at"),
    printcolumn(name = "Ends", type_ = "string", json_path = ".spec.endsAt", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(NAME_RULE).message(NAME_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.startsAt) || !has(self.endsAt) || int(self.startsAt) < int(self.endsAt)")
    .message("startsAt must be before endsAt"))]
#[x_kube(validation = Rule::new("has(self.workload) == has(oldSelf.workload) && (!has(self.workload) || self.workload == oldSelf.workload)")
    .message("the workload of an eligibility cannot be changed; create another eligibility"))]
#[x_kube(validation = Rule::new("!has(self.workload) || self.role in ['enclave-owner', 'enclave-contributor', 'enclave-reader']")
    .message("only enclave-owner, enclave-contributor and enclave-reader can be limited to a workload"))]
pub struct RoleEligibilitySpec {
    /// Description of this eligibility, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[^[:cntrl:]]+$"))]
    pub description: Option<String>,
    /// Principals that may activate the role. An activation ends at once when its person loses the
    /// eligibility.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[x_kube(validation = Rule::new(PRINCIPALS_RULE).message(PRINCIPALS_MESSAGE))]
    pub principals: Vec<Principal>,
    /// Role that can be activated. The role cannot be changed. In the namespace of an Enclave only the
    /// enclave roles are allowed.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("the role of an eligibility cannot be changed; create another eligibility"))]
    pub role: Role,
    /// Name of the `EnclaveWorkload` of this Enclave to whose namespace the role is limited; the role is not
    /// limited when absent. The name cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = "^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$"))]
    pub workload: Option<String>,
    /// Time from which the role can be active; at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::wanted_time")]
    pub starts_at: Option<Time>,
    /// Time at which the eligibility ends, and with it every activation; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::wanted_time")]
    pub ends_at: Option<Time>,
    /// Conditions for an activation.
    pub activation: ActivationConditions,
    /// Justification and ticket of the latest change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeReason>,
    /// Fields of the spec that could not be read; `None` when all could. A field that could not be read holds
    /// a substitute here, not what somebody asked for.
    #[serde(skip)]
    #[schemars(skip)]
    pub unreadable: Option<Box<Unreadable>>,
}

/// Conditions under which a role may be activated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivationConditions {
    /// Maximum time that one activation may last, for example `8h`. Hours, minutes and seconds, between one
    /// minute and 24 hours.
    #[schemars(length(min = 2, max = 32), regex(pattern = DURATION_PATTERN))]
    #[x_kube(validation = Rule::new(duration_rule("1m", "24h"))
        .message("maxDuration must be between 1m and 24h, for example 8h"))]
    pub max_duration: Duration,
    /// Whether an activation must have a justification. An activation without one is refused. False when
    /// absent.
    #[serde(default)]
    pub require_justification: bool,
    /// Whether an activation must name a ticket. An activation without one is refused. False when absent.
    #[serde(default)]
    pub require_ticket: bool,
    /// Whether the person who activates must have logged in with multi-factor authentication. Other
    /// activations are refused. False when absent.
    #[serde(default)]
    pub require_mfa: bool,
    /// Approval that each activation needs, in addition to what the rules of the Enclave and the Community
    /// say about the operation `RoleActivation`. When absent, only those rules count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ActivationApproval>,
    /// Addresses or channels to notify of activations. They are put into the audit stream with each record
    /// about an activation, for a program there that delivers messages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub notify: Vec<String>,
}

/// Approval that an activation needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivationApproval {
    /// Whether an activation needs an approval: Required or NotRequired.
    pub policy: RulePolicy,
    /// Number of distinct people who must approve. 1 when absent; 0 counts as 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20))]
    pub minimum_approvers: Option<i32>,
    /// Mandatory approvers. Each of them needs at least one approval: by that user or service account, or by
    /// a member of that group. One person can satisfy several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub mandatory_approvers: Vec<Principal>,
    /// Time for which an activation may stay undecided before it is Lapsed, for example `4h`. Hours, minutes
    /// and seconds, between one minute and 24 hours, which is the default. A shorter time in the rules of a
    /// scope counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), regex(pattern = DURATION_PATTERN))]
    #[x_kube(validation = Rule::new(duration_rule("1m", "24h"))
        .message("expireAfter of an activation must be between 1m and 24h, for example 4h"))]
    pub expire_after: Option<Duration>,
    /// Whether a rejection must have a comment. A rejection without one is refused. False when absent.
    #[serde(default)]
    pub require_rejection_comment: bool,
    /// Whether voters must have logged in with multi-factor authentication. Other votes are refused. False
    /// when absent.
    #[serde(default)]
    pub require_mfa: bool,
    /// Whether votes must carry an `authentication.kubernetes.io/credential-id`, which for example those of
    /// impersonated users do not. Other votes are refused. False when absent.
    #[serde(default)]
    pub require_credential_id: bool,
}

impl From<&ActivationConditions> for Approvals {
    /// Returns the conditions as approval rules, which are merged with those of the scopes.
    fn from(conditions: &ActivationConditions) -> Self {
        let require_justification = conditions.require_justification;
        let Some(approval) = conditions.approval.clone() else {
            return Self { require_justification, ..Self::default() };
        };
        let ActivationApproval {
            policy,
            minimum_approvers,
            mandatory_approvers,
            expire_after,
            require_rejection_comment,
            require_mfa,
            require_credential_id,
        } = approval;
        let operation = Operation::RoleActivation;
        Self {
            rules: vec![ApprovalRule { operation, policy, minimum_approvers, mandatory_approvers }],
            expire_after,
            require_justification,
            require_rejection_comment,
            require_mfa,
            require_credential_id,
        }
    }
}

/// Observed state of a `RoleEligibility`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleEligibilityStatus {
    #[serde(flatten)]
    pub gate: GateStatus,
    /// Number of activations with this eligibility that began, of those that are kept (for 90 days, unless
    /// the operator has another setting). Nobody needs an eligibility that stays at 0 for long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub activations: Option<i32>,
    /// Last activation with this eligibility; absent when it was never used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activation: Option<LastActivation>,
}

super::reading::gated! {
    RoleEligibility, RoleEligibilitySpec, RoleEligibilityStatus,
    required: {"role": "enclave-reader", "principals": [], "activation": {"maxDuration": "0s"}},
    closes: |spec| spec.principals.clear()
}

/// Last use of an eligibility.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastActivation {
    /// Name of the `RoleActivation`.
    #[schemars(length(max = 63))]
    pub name: String,
    /// User name of the person who activated the role.
    #[schemars(length(max = 1024))]
    pub user: String,
    /// Time at which the activation began.
    #[schemars(schema_with = "super::schemas::time")]
    pub at: Time,
}
