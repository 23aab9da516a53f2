//! Approval rules: which operations are held, and whose votes release them.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::Principal;
use super::duration::Duration;

/// The number of [`Operation`]s.
pub const MOST_OPERATIONS: usize = 19;

/// Something that can be asked for and held. `…Update` covers creation where there is no
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
    /// Held until approved.
    Required,
    /// Takes effect at once, unless another scope requires an approval.
    NotRequired,
}

/// What one operation needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRule {
    /// The operation that this rule is about.
    pub operation: Operation,
    /// Required or `NotRequired`.
    pub policy: RulePolicy,
    /// How many distinct people must approve; 1 when absent, and 0 counts as 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20))]
    pub minimum_approvers: Option<i32>,
    /// Each of these must be satisfied by at least one approval: by that user or service account,
    /// or by a member of that group. One person can satisfy several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub mandatory_approvers: Vec<Principal>,
}

/// Which operations in this scope are held, and what releases them. An operation without a rule
/// is not held by this scope. The rules of all scopes that count for a change are merged, the
/// strictest wins. Changing this block is itself held under the rules in force as soon as any of
/// them requires an approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approvals {
    /// One rule per operation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_OPERATIONS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["operation".into()]))]
    pub rules: Vec<ApprovalRule>,
    /// How long a request may stay undecided before it is Expired, for example `168h` (the
    /// default). Between one minute and one year; hours, minutes and seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,8}s)?$') && self != '' && duration(self) >= duration('1m') && duration(self) <= duration('8784h')")
        .message("expireAfter must be a duration between 1m and 8784h, for example 168h"))]
    pub expire_after: Option<Duration>,
    /// Refuse to propose a change that has no `spec.change.justification`.
    #[serde(default)]
    pub require_justification: bool,
    /// Refuse a rejection that has no comment.
    #[serde(default)]
    pub require_rejection_comment: bool,
    /// Count only votes of people who logged in with multi-factor authentication.
    #[serde(default)]
    pub require_mfa: bool,
    /// Refuse votes that carry no `authentication.kubernetes.io/credential-id`, such as those of
    /// impersonated users.
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
