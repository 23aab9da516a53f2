//! Kinds of this API group: one table, and the properties of kinds that do not depend on a schema.

use kube::core::ApiResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::approvals::Operation;
use super::names::{GROUP, VERSION};

/// Calls a macro with the table of kinds, in the order in which documents list them. A row has the name in
/// manifests, the name that code has for all objects of the kind, the resource name in URLs and RBAC rules,
/// the short name for kubectl, and the operations that a change of such an object can consist of. Further
/// arguments are passed to the macro before the table.
macro_rules! with_kinds {
    ($use:ident $($first:tt)*) => {
        $use! {
            $($first)*
            Community: communities, "communities", "com", [CommunityUpdate, CommunityMaintenance, EnclaveMaintenance];
            CommunityEndpoint: community_endpoints, "communityendpoints", "cep",
                [CommunityEndpointUpdate, CommunityEndpointDeletion];
            TransitHub: transit_hubs, "transithubs", "thub", [TransitHubUpdate, TransitHubDeletion];
            Enclave: enclaves, "enclaves", "enc", [EnclaveCreation, EnclaveUpdate, EnclaveDeletion, EnclaveMaintenance];
            EnclaveWorkload: workloads, "enclaveworkloads", "encw", [WorkloadUpdate, WorkloadDeletion];
            EnclaveEndpoint: endpoints, "enclaveendpoints", "eep", [EnclaveEndpointUpdate, EnclaveEndpointDeletion];
            EnclaveConnection: connections, "enclaveconnections", "econ",
                [ConnectionCreation, ConnectionUpdate, ConnectionDeletion];
            ApprovalRequest: requests, "approvalrequests", "apr", [];
            RoleAssignment: assignments, "roleassignments", "rasg", [RoleChange];
            RoleEligibility: eligibilities, "roleeligibilities", "relig", [RoleChange];
            RoleActivation: activations, "roleactivations", "ract", [RoleActivation];
        }
    };
}
pub(crate) use with_kinds;

macro_rules! define_kinds {
    ($($kind:ident: $all:ident, $plural:literal, $short:literal, [$($operation:ident),*];)*) => {
        /// A kind of this API group.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Kind {
            $($kind,)*
        }

        impl Kind {
            /// All kinds, in the order in which documents list them.
            pub const ALL: [Self; [$($short),*].len()] = [$(Self::$kind,)*];

            /// Returns the name of the kind as in manifests.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)*
                }
            }

            /// Returns the resource name as in URLs and RBAC rules.
            #[must_use]
            pub const fn plural(self) -> &'static str {
                match self {
                    $(Self::$kind => $plural,)*
                }
            }

            /// Returns the short name for kubectl, which is also the first part of the names of the
            /// ApprovalRequests about the kind.
            #[must_use]
            pub const fn short(self) -> &'static str {
                match self {
                    $(Self::$kind => $short,)*
                }
            }

            /// Returns the operations that a change of such an object can consist of.
            #[must_use]
            pub const fn operations(self) -> &'static [Operation] {
                match self {
                    $(Self::$kind => &[$(Operation::$operation),*],)*
                }
            }
        }
    };
}
with_kinds!(define_kinds);

impl Kind {
    /// Whether a change of such an object can be held until somebody approves it. The admission policy
    /// `stamp-requester` applies to exactly these kinds.
    #[must_use]
    pub const fn is_gated(self) -> bool {
        !matches!(self, Self::ApprovalRequest | Self::RoleActivation)
    }

    /// Whether such an object carries approval rules.
    #[must_use]
    pub const fn carries_rules(self) -> bool {
        matches!(self, Self::Community | Self::Enclave | Self::EnclaveEndpoint)
    }

    /// Returns the resource by which objects of the kind are read without their type.
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

    /// Whether `spec.retire` asks for the deletion of such an object, so that the operator deletes it.
    /// Objects of kinds that only give access are deleted directly.
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
