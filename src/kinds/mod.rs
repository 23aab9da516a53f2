//! What the operator knows of each kind: where its objects are cached and under what they are found, what is
//! observed for a plan, and which changes enqueue which objects.

/// Calls a macro with all kinds that have a controller: the name of their cache, and their type. The first
/// two are those in which everything else is declared.
macro_rules! with_controlled_kinds {
    ($use:ident) => {
        $use! {
            communities: Community,
            enclaves: Enclave,
            community_endpoints: CommunityEndpoint,
            transit_hubs: TransitHub,
            workloads: EnclaveWorkload,
            endpoints: EnclaveEndpoint,
            connections: EnclaveConnection,
            requests: ApprovalRequest,
            assignments: RoleAssignment,
            eligibilities: RoleEligibility,
            activations: RoleActivation,
        }
    };
}
pub(crate) use with_controlled_kinds;

pub mod approval_request;
mod backfill;
pub mod caches;
pub mod community;
pub mod connection;
pub mod controller;
pub mod enclave;
pub mod endpoint;
pub mod enqueue;
pub mod foreign;
mod gated;
pub mod index;
mod labels;
pub mod leftovers;
pub mod letters;
pub mod observe;
pub mod queues;
pub mod rbac;
pub mod role_activation;
pub mod role_assignment;
pub mod role_eligibility;
pub mod sentry;
pub mod untold;
pub mod workload;
