//! `RoleAssignment`: a standing role for principals in one scope, and the seven roles.

// KubeSchema copies the structs, and nothing reads in the copy what serde skips.
#![allow(dead_code)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{ChangeReason, NAME_MESSAGE, NAME_RULE, Principal};
use super::gate::GateStatus;
use super::reading::Unreadable;

/// One of the seven roles; each is a ClusterRole `enclave-operator:<role>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    CommunityOwner,
    CommunityContributor,
    CommunityReader,
    EnclaveOwner,
    EnclaveContributor,
    EnclaveApprover,
    EnclaveReader,
}

impl Role {
    /// All roles, in the order in which documents list them.
    pub const ALL: [Self; 7] = [
        Self::CommunityOwner,
        Self::CommunityContributor,
        Self::CommunityReader,
        Self::EnclaveOwner,
        Self::EnclaveContributor,
        Self::EnclaveApprover,
        Self::EnclaveReader,
    ];

    /// Whether the role can be given in an Enclave.
    #[must_use]
    pub const fn is_of_enclave(self) -> bool {
        match self {
            Self::CommunityOwner | Self::CommunityContributor | Self::CommunityReader => false,
            Self::EnclaveOwner | Self::EnclaveContributor | Self::EnclaveApprover | Self::EnclaveReader => {
                true
            }
        }
    }

    /// Whether the role decides about requests.
    #[must_use]
    pub const fn approves(self) -> bool {
        matches!(self, Self::EnclaveApprover)
    }

    /// Whether the role changes the objects that requests are about.
    #[must_use]
    pub const fn changes(self) -> bool {
        match self {
            Self::CommunityOwner
            | Self::CommunityContributor
            | Self::EnclaveOwner
            | Self::EnclaveContributor => true,
            Self::CommunityReader | Self::EnclaveReader | Self::EnclaveApprover => false,
        }
    }

    /// Whether a principal that holds both roles would approve what it may change itself.
    #[must_use]
    pub const fn conflicts_with(self, other: Self) -> bool {
        self.approves() != other.approves() && (self.changes() || other.changes())
    }

    /// Returns the role as it is written in manifests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CommunityOwner => "community-owner",
            Self::CommunityContributor => "community-contributor",
            Self::CommunityReader => "community-reader",
            Self::EnclaveOwner => "enclave-owner",
            Self::EnclaveContributor => "enclave-contributor",
            Self::EnclaveApprover => "enclave-approver",
            Self::EnclaveReader => "enclave-reader",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// CEL rule for lists of principals that get a role.
pub(super) const PRINCIPALS_RULE: &str =
    "self.all(p, !(p.name in ['system:anonymous', 'system:unauthenticated']))";
/// Message of [`PRINCIPALS_RULE`].
pub(super) const PRINCIPALS_MESSAGE: &str =
    "a role cannot be given to requests that nobody is known to have made";

/// Desired state of a `RoleAssignment`.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "enclave-operator.io",
    version = "v1alpha1",
    kind = "RoleAssignment",
    plural = "roleassignments",
    namespaced,
    shortname = "rasg",
    category = "enclave-operator",
    status = "RoleAssignmentStatus",
    derive = "PartialEq",
    doc = "A RoleAssignment gives principals a standing role in the scope of its namespace: an Enclave (in the Enclave's control namespace), a Community with all its enclaves (in the Community's namespace), or everything (in the operator's namespace). Deleting it takes the role away at once. For a role that ends by itself, see RoleEligibility.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Request", type_ = "string", json_path = ".status.pending.approvalRequest"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.role"),
    printcolumn(name = "Namespaces", type_ = "integer", json_path = ".status.namespaces", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(NAME_RULE).message(NAME_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
pub struct RoleAssignmentSpec {
    /// Description of this assignment, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[^[:cntrl:]]+$"))]
    pub description: Option<String>,
    /// Role that the principals hold. The role cannot be changed, as the `roleRef` of a RoleBinding cannot.
    /// In the namespace of an Enclave only the enclave roles are allowed.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("the role of an assignment cannot be changed; create another assignment"))]
    pub role: Role,
    /// Principals that hold the role. Removing one of them never waits for an approval.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[x_kube(validation = Rule::new(PRINCIPALS_RULE).message(PRINCIPALS_MESSAGE))]
    pub principals: Vec<Principal>,
    /// Justification and ticket of the latest change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeReason>,
    /// Fields of the spec that could not be read; `None` when all could. A field that could not be read holds
    /// a substitute here, not what somebody asked for.
    #[serde(skip)]
    #[schemars(skip)]
    pub unreadable: Option<Box<Unreadable>>,
}

/// Observed state of a `RoleAssignment`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleAssignmentStatus {
    #[serde(flatten)]
    pub gate: GateStatus,
    /// Number of namespaces in which the role is bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub namespaces: Option<i32>,
}

super::reading::gated! {
    RoleAssignment, RoleAssignmentSpec, RoleAssignmentStatus,
    required: {"role": "enclave-reader", "principals": []}, closes: |spec| spec.principals.clear()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_written_by_its_name() {
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
    }
}
