//! The seven roles, and what each may do with each kind: one matrix for everything.

use crate::api::Kind;
use crate::api::role_assignment::Role;
use crate::model::rbac::access::CLUSTER_ROLES;

/// The access of a role to objects of one kind.
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

/// Name of the ClusterRole of a role.
#[must_use]
pub fn cluster_role(role: Role) -> String {
    format!("enclave-operator:{role}")
}

/// The access of each role to each kind: a row for a kind, in the order of [`Role::ALL`].
const MATRIX: &[(Kind, [Access; Role::ALL.len()])] = {
    use Access::{Decide, Manage, None, Read, Write};
    &[
        // CommunityOwner, CommunityContributor, CommunityReader, EnclaveOwner, EnclaveContributor, EnclaveApprover,
        // EnclaveReader
        (Kind::Community, [Manage, Write, Read, Read, Read, Read, None]),
        (Kind::CommunityEndpoint, [Manage, Write, Read, Read, Read, Read, None]),
        (Kind::TransitHub, [Manage, Write, Read, Read, Read, Read, Read]),
        (Kind::Enclave, [Manage, Write, Read, Manage, Write, Read, Read]),
        (Kind::EnclaveWorkload, [Manage, Write, Read, Manage, Write, Read, Read]),
        (Kind::EnclaveEndpoint, [Read, Read, Read, Manage, Write, Read, Read]),
        (Kind::EnclaveConnection, [Manage, Write, Read, Manage, Write, Read, Read]),
        (Kind::ApprovalRequest, [Read, Read, Read, Read, Read, Decide, Read]),
    ]
};

/// Returns the row of a role in the matrix: each kind and the access to it.
pub fn accesses(role: Role) -> impl Iterator<Item = (Kind, Access)> {
    MATRIX.iter().filter_map(move |(kind, row)| {
        let cell = Role::ALL.into_iter().zip(row).find(|(of, _)| *of == role);
        cell.map(|(_, access)| (*kind, *access))
    })
}

/// The kinds by which roles are given. The matrix does not speak of them: owners give, everybody reads.
pub const ROLE_KINDS: [Kind; 3] = [Kind::RoleAssignment, Kind::RoleEligibility, Kind::RoleActivation];

/// The verbs of a role on objects of one of [`ROLE_KINDS`]. None of the roles allows to create a
/// RoleActivation: whoever is eligible may.
#[must_use]
pub const fn may_grant(role: Role, kind: Kind) -> &'static [&'static str] {
    match (role, kind) {
        (Role::CommunityOwner | Role::EnclaveOwner, Kind::RoleActivation) => {
            &["get", "list", "watch", "update", "patch", "delete"]
        }
        (Role::CommunityOwner | Role::EnclaveOwner, _) => Access::Manage.verbs(),
        _ => Access::Read.verbs(),
    }
}

/// The ClusterRole of those who may ask for an activation.
pub const ELIGIBLE: &str = "enclave-operator:eligible";

/// The one of Kubernetes' own ClusterRoles that a role has in the namespace of a workload; `None` for approvers.
#[must_use]
pub const fn workload_role(role: Role) -> Option<&'static str> {
    match role {
        Role::CommunityOwner | Role::EnclaveOwner => Some("admin"),
        Role::CommunityContributor | Role::EnclaveContributor => Some("edit"),
        Role::CommunityReader | Role::EnclaveReader => Some("view"),
        Role::EnclaveApprover => None,
    }
}

/// The ClusterRoles that a role may give to others in its scope. Owners give every role that can be given there,
/// that of approvers too; contributors give nothing that they do not have themselves.
#[must_use]
pub fn bindable(role: Role) -> Vec<String> {
    let own = |roles: &[&str]| -> Vec<String> { roles.iter().map(|role| (*role).to_owned()).collect() };
    match role {
        Role::CommunityOwner => Role::ALL.into_iter().map(cluster_role).chain(own(&CLUSTER_ROLES)).collect(),
        Role::EnclaveOwner => Role::ALL
            .into_iter()
            .filter(|role| role.is_of_enclave())
            .map(cluster_role)
            .chain(own(&CLUSTER_ROLES))
            .collect(),
        Role::CommunityContributor | Role::EnclaveContributor => own(&["edit", "view"]),
        Role::CommunityReader | Role::EnclaveApprover | Role::EnclaveReader => Vec::new(),
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
