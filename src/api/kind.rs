//! The eleven kinds and the facts about them that do not depend on a schema.

use kube::core::ApiResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::approvals::Operation;
use super::names::{GROUP, VERSION};

/// A kind of this API group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    Community,
    CommunityEndpoint,
    TransitHub,
    Enclave,
    EnclaveWorkload,
    EnclaveEndpoint,
    EnclaveConnection,
    ApprovalRequest,
    RoleAssignment,
    RoleEligibility,
    RoleActivation,
}

impl Kind {
    /// All kinds, in the order in which documents list them.
    pub const ALL: [Self; 11] = [
        Self::Community,
        Self::CommunityEndpoint,
        Self::TransitHub,
        Self::Enclave,
        Self::EnclaveWorkload,
        Self::EnclaveEndpoint,
        Self::EnclaveConnection,
        Self::ApprovalRequest,
        Self::RoleAssignment,
        Self::RoleEligibility,
        Self::RoleActivation,
    ];

    /// The kind's name as in manifests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Community => "Community",
            Self::CommunityEndpoint => "CommunityEndpoint",
            Self::TransitHub => "TransitHub",
            Self::Enclave => "Enclave",
            Self::EnclaveWorkload => "EnclaveWorkload",
            Self::EnclaveEndpoint => "EnclaveEndpoint",
            Self::EnclaveConnection => "EnclaveConnection",
            Self::ApprovalRequest => "ApprovalRequest",
            Self::RoleAssignment => "RoleAssignment",
            Self::RoleEligibility => "RoleEligibility",
            Self::RoleActivation => "RoleActivation",
        }
    }

    /// The resource name as in URLs and RBAC rules.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Community => "communities",
            Self::CommunityEndpoint => "communityendpoints",
            Self::TransitHub => "transithubs",
            Self::Enclave => "enclaves",
            Self::EnclaveWorkload => "enclaveworkloads",
            Self::EnclaveEndpoint => "enclaveendpoints",
            Self::EnclaveConnection => "enclaveconnections",
            Self::ApprovalRequest => "approvalrequests",
            Self::RoleAssignment => "roleassignments",
            Self::RoleEligibility => "roleeligibilities",
            Self::RoleActivation => "roleactivations",
        }
    }

    /// The short name for kubectl; also the first part of the names of its ApprovalRequests.
    #[must_use]
    pub const fn short(self) -> &'static str {
        match self {
            Self::Community => "com",
            Self::CommunityEndpoint => "cep",
            Self::TransitHub => "thub",
            Self::Enclave => "enc",
            Self::EnclaveWorkload => "encw",
            Self::EnclaveEndpoint => "eep",
            Self::EnclaveConnection => "econ",
            Self::ApprovalRequest => "apr",
            Self::RoleAssignment => "rasg",
            Self::RoleEligibility => "relig",
            Self::RoleActivation => "ract",
        }
    }

    /// What a change of such an object can amount to.
    #[must_use]
    pub const fn operations(self) -> &'static [Operation] {
        use Operation as O;
        match self {
            Self::Community => &[O::CommunityUpdate, O::CommunityMaintenance, O::EnclaveMaintenance],
            Self::CommunityEndpoint => &[O::CommunityEndpointUpdate, O::CommunityEndpointDeletion],
            Self::TransitHub => &[O::TransitHubUpdate, O::TransitHubDeletion],
            Self::Enclave => {
                &[O::EnclaveCreation, O::EnclaveUpdate, O::EnclaveDeletion, O::EnclaveMaintenance]
            }
            Self::EnclaveWorkload => &[O::WorkloadUpdate, O::WorkloadDeletion],
            Self::EnclaveEndpoint => &[O::EnclaveEndpointUpdate, O::EnclaveEndpointDeletion],
            Self::EnclaveConnection => &[O::ConnectionCreation, O::ConnectionUpdate, O::ConnectionDeletion],
            Self::RoleAssignment | Self::RoleEligibility => &[O::RoleChange],
            Self::RoleActivation => &[O::RoleActivation],
            Self::ApprovalRequest => &[],
        }
    }

    /// Whether a change of such an object can be held until somebody approves it. The admission
    /// policies stamp the requester on exactly these kinds.
    #[must_use]
    pub const fn is_gated(self) -> bool {
        !matches!(self, Self::ApprovalRequest | Self::RoleActivation)
    }

    /// How to reach its objects without their type.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        ApiResource {
            group: GROUP.into(),
            version: VERSION.into(),
            api_version: format!("{GROUP}/{VERSION}"),
            kind: self.name().into(),
            plural: self.plural().into(),
        }
    }

    /// Whether `spec.retire` asks for the deletion of such an object, so that the operator deletes it. What
    /// only gives access is just deleted.
    #[must_use]
    pub const fn is_retired(self) -> bool {
        self.is_gated() && !matches!(self, Self::RoleAssignment | Self::RoleEligibility)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
