//! Wire types of the API: one file per kind, and the types that several kinds share. This module imports
//! nothing of the crate but itself.
//!
//! [`kind`] has the table of kinds, [`names`] the names on objects in the cluster, [`gate`] the status that
//! all gated kinds share, [`content`] a spec as data, [`reading`] reads objects as they are stored, and
//! [`crds`] builds the CustomResourceDefinitions.
//!
//! The schemas and their CEL rules check everything that can be checked within one object, so that the API
//! server refuses a mistake when it is written. The doc comments of fields are the texts of `kubectl
//! explain`.

pub mod approval_request;
pub mod approvals;
pub mod audit;
pub mod cilium;
pub mod common;
pub mod community;
pub mod community_endpoint;
pub mod content;
pub mod crds;
pub mod duration;
pub mod enclave;
pub mod enclave_connection;
pub mod enclave_endpoint;
pub mod enclave_workload;
pub mod entry;
pub mod gate;
pub mod kind;
pub mod names;
pub mod quantity;
pub mod reading;
pub mod role_activation;
pub mod role_assignment;
pub mod role_eligibility;
mod schemas;
mod strict;
pub mod text;
pub mod time;
pub mod transit_hub;
mod unknown;

pub use approval_request::{ApprovalRequest, ApprovalRequestSpec, ApprovalRequestStatus};
pub use approvals::{Approvals, Operation};
pub use audit::{Audit, AuditRecord, RecordType};
pub use cilium::CiliumNetworkPolicy;
pub use common::{ChangeReason, Principal};
pub use community::{Community, CommunitySpec, CommunityStatus};
pub use community_endpoint::{CommunityEndpoint, CommunityEndpointSpec, CommunityEndpointStatus};
pub use content::Content;
pub use enclave::{Enclave, EnclaveSpec, EnclaveStatus};
pub use enclave_connection::{EnclaveConnection, EnclaveConnectionSpec, EnclaveConnectionStatus};
pub use enclave_endpoint::{EnclaveEndpoint, EnclaveEndpointSpec, EnclaveEndpointStatus};
pub use enclave_workload::{EnclaveWorkload, EnclaveWorkloadSpec, EnclaveWorkloadStatus};
pub use gate::{GateStatus, State};
pub use kind::Kind;
pub use quantity::Quantity;
pub use role_activation::{ActivationState, RoleActivation, RoleActivationSpec, RoleActivationStatus};
pub use role_assignment::{Role, RoleAssignment, RoleAssignmentSpec, RoleAssignmentStatus};
pub use role_eligibility::{RoleEligibility, RoleEligibilitySpec, RoleEligibilityStatus};
pub use time::Time;
pub use transit_hub::{TransitHub, TransitHubSpec, TransitHubStatus};
