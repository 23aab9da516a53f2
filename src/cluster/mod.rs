//! The only code that talks to the API server: caches that watches keep up to date, guarded
//! writes, and Events.

/// Calls a macro with all kinds that have a controller: the name of their cache and queue, and their
/// type. The first two are those in which everything else is declared.
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

pub mod access;
pub mod caches;
pub mod clock;
pub mod events;
pub mod fence;
pub mod leftovers;
pub mod letters;
pub mod links;
pub mod observe;
pub mod queues;
pub mod sentry;
pub mod triggers;
pub mod unreadable;
pub mod untold;
pub mod watch;
pub mod writes;
