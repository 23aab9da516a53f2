//! The seven roles, and what each may do with each kind: one matrix for everything.

use crate::api::Kind;

/// A role that people hold in a Community or an Enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    CommunityOwner,
    CommunityContributor,
    CommunityReader,
    EnclaveOwner,
    EnclaveContributor,
    EnclaveApprover,
    EnclaveReader,
}

/// What a role may do with objects of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Read, create and update.
    Write,
    /// Read, create, update and delete.
    Manage,
    /// Read and vote.
    Decide,
}

/// The kinds that the matrix speaks of, in its order.
pub const MATRIX_KINDS: [Kind; 8] = [
    Kind::Community,
    Kind::CommunityEndpoint,
    Kind::TransitHub,
    Kind::Enclave,
    Kind::EnclaveWorkload,
    Kind::EnclaveEndpoint,
    Kind::EnclaveConnection,
    Kind::ApprovalRequest,
];

impl Role {
    /// All roles, in the order of the matrix.
    pub const ALL: [Self; 7] = [
        Self::CommunityOwner,
        Self::CommunityContributor,
        Self::CommunityReader,
        Self::EnclaveOwner,
        Self::EnclaveContributor,
        Self::EnclaveApprover,
        Self::EnclaveReader,
    ];

    /// The role's name; its ClusterRole is `enclave-operator:<name>`.
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

    /// Name of the ClusterRole.
    #[must_use]
    pub fn cluster_role(self) -> String {
        format!("enclave-operator:{}", self.name())
    }

    /// The row of the matrix, in the order of [`MATRIX_KINDS`].
    #[must_use]
    pub const fn row(self) -> [Access; 8] {
        use Access::{Decide, Manage, None, Read, Write};
        match self {
            // Community, CommunityEndpoint, TransitHub, Enclave, EnclaveWorkload, EnclaveEndpoint,
            // EnclaveConnection, ApprovalRequest
            Self::CommunityOwner => [Manage, Manage, Manage, Manage, Manage, Read, Manage, Read],
            Self::CommunityContributor => [Write, Write, Write, Write, Write, Read, Write, Read],
            Self::CommunityReader => [Read, Read, Read, Read, Read, Read, Read, Read],
            Self::EnclaveOwner => [Read, Read, Read, Manage, Manage, Manage, Manage, Read],
            Self::EnclaveContributor => [Read, Read, Read, Write, Write, Write, Write, Read],
            Self::EnclaveApprover => [Read, Read, Read, Read, Read, Read, Read, Decide],
            Self::EnclaveReader => [None, None, Read, Read, Read, Read, Read, Read],
        }
    }
}

impl Access {
    /// The RBAC verbs on the resource.
    #[must_use]
    pub const fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Read => &["get", "list", "watch"],
            Self::Write => &["get", "list", "watch", "create", "update", "patch"],
            Self::Manage => &["get", "list", "watch", "create", "update", "patch", "delete"],
            Self::Decide => &["get", "list", "watch", "approve"],
        }
    }

    /// The RBAC verbs on the resource's `status`.
    #[must_use]
    pub const fn status_verbs(self) -> &'static [&'static str] {
        match self {
            Self::Decide => &["get", "update", "patch"],
            Self::None | Self::Read | Self::Write | Self::Manage => &[],
        }
    }
}
