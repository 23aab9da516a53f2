//! Approval rules: the operations that are held until they are approved, and the approvals that they need.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::Principal;
use super::duration::Duration;

/// Number of [`Operation`]s.
pub const MOST_OPERATIONS: usize = 19;

/// Operation that approval rules can hold. An `…Update` covers the creation too where there is no
/// `…Creation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Operation {
    EnclaveCreation,
    EnclaveUpdate,
    EnclaveDeletion,
    EnclaveMaintenance,
    WorkloadUpdate,
    WorkloadDeletion,
    EnclaveEndpointUpdate,
    EnclaveEndpointDeletion,
    ConnectionCreation,
    ConnectionUpdate,
    ConnectionDeletion,
    CommunityUpdate,
    CommunityMaintenance,
    CommunityEndpointUpdate,
    CommunityEndpointDeletion,
    TransitHubUpdate,
    TransitHubDeletion,
    RoleChange,
    RoleActivation,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// Whether an operation is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum RulePolicy {
    /// The operation is held until it is approved.
    Required,
    /// The operation takes effect at once, unless another scope requires an approval.
    NotRequired,
}

/// Approval rule for one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRule {
    /// Operation that this rule is about.
    pub operation: Operation,
    /// Whether the operation needs an approval: Required or NotRequired.
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
}

/// Approval rules of a scope: the operations that are held, and the approvals that they need. An operation
/// without a rule is not held by this scope. The rules of all scopes that count for a change are merged, and
/// the strictest ones win. A change of this block needs an approval itself under the applied rules, as soon
/// as one of them is Required.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approvals {
    /// Rules, one per operation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_OPERATIONS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["operation".into()]))]
    pub rules: Vec<ApprovalRule>,
    /// Time for which a request may stay undecided before it is Expired, for example `168h`. Hours, minutes
    /// and seconds, between one minute and one year (`8784h`). The shortest time of all scopes counts; when
    /// no scope sets one, it is `168h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,8}s)?$') && self != '' && duration(self) >= duration('1m') && duration(self) <= duration('8784h')")
        .message("expireAfter must be a duration between 1m and 8784h, for example 168h"))]
    pub expire_after: Option<Duration>,
    /// Whether a change that needs an approval must have `spec.change.justification`, in words that are not
    /// those of the applied change. Without one the change waits with the reason JustificationMissing, and no
    /// ApprovalRequest is made. False when absent.
    #[serde(default)]
    pub require_justification: bool,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn there_can_be_a_rule_for_each_operation() {
        let schema = json!(schemars::schema_for!(Operation));
        assert_eq!(schema["enum"].as_array().unwrap().len(), MOST_OPERATIONS, "{schema}");
    }
}
