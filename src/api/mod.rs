//! The wire types: what users write and read, one file per kind.
//!
//! Everything one object can tell about itself is checked here, by the schema and its CEL rules,
//! so that a mistake is refused by the API server while the user still looks at it. The doc
//! comments of fields become `kubectl explain`.

pub mod approval_request;
pub mod approvals;
pub mod common;
pub mod community;
pub mod content;
pub mod crds;
pub mod enclave;
pub mod gate;
pub mod kind;
pub mod names;
mod schemas;

pub use approval_request::{ApprovalRequest, ApprovalRequestSpec, ApprovalRequestStatus};
pub use approvals::{Approvals, Operation};
pub use common::{ChangeReason, Principal};
pub use community::{Community, CommunitySpec, CommunityStatus};
pub use content::Content;
pub use enclave::{Enclave, EnclaveSpec, EnclaveStatus};
pub use gate::{GateStatus, State};
pub use kind::Kind;
