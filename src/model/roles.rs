//! The seven roles, and what each may do with each kind: one matrix for everything.

use crate::api::Kind;
use crate::api::role_assignment::Role;

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

/// Name of the ClusterRole of a role.
#[must_use]
pub fn cluster_role(role: Role) -> String {
    format!("enclave-operator:{role}")
}

/// The row of a role in the matrix, in the order of [`MATRIX_KINDS`].
#[must_use]
pub const fn row(role: Role) -> [Access; 8] {
    use Access::{Decide, Manage, None, Read, Write};
    match role {
        // Community, CommunityEndpoint, TransitHub, Enclave, EnclaveWorkload, EnclaveEndpoint,
        // EnclaveConnection, ApprovalRequest
        Role::CommunityOwner => [Manage, Manage, Manage, Manage, Manage, Read, Manage, Read],
        Role::CommunityContributor => [Write, Write, Write, Write, Write, Read, Write, Read],
        Role::CommunityReader => [Read, Read, Read, Read, Read, Read, Read, Read],
        Role::EnclaveOwner => [Read, Read, Read, Manage, Manage, Manage, Manage, Read],
        Role::EnclaveContributor => [Read, Read, Read, Write, Write, Write, Write, Read],
        Role::EnclaveApprover => [Read, Read, Read, Read, Read, Read, Read, Decide],
        Role::EnclaveReader => [None, None, Read, Read, Read, Read, Read, Read],
    }
}

/// Those of Kubernetes' own ClusterRoles that a role may give to others in its scope, as what it may do
/// itself in the namespaces of workloads.
#[must_use]
pub const fn bindable(role: Role) -> Option<&'static [&'static str]> {
    match role {
        Role::CommunityOwner | Role::EnclaveOwner => Some(&["admin", "edit", "view"]),
        Role::CommunityContributor | Role::EnclaveContributor => Some(&["edit", "view"]),
        Role::CommunityReader | Role::EnclaveApprover | Role::EnclaveReader => None,
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
