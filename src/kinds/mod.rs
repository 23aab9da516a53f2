//! Everything that is particular to a kind, one folder for each: `mod.rs` (what the kind is, `impl Gated`, its
//! controller), `observe.rs` (from caches to an owned struct), `plan.rs` (pure: from that struct to a plan),
//! `watches.rs` (which changes of others enqueue it).
//!
//! Beside the folders stands what all kinds share, from the bottom to the top: [`caches`] and [`index`], [`parent`] and
//! [`observe`], [`enqueue`], [`intake`], [`changes`] (the table of changes), [`watch`]. Imported are `cluster`, `plan`,
//! `admission`, `model` and `api`; never `controllers` or `runtime`.

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

/// Calls a macro with everything that is watched: the name of its cache, its kind, what of it is watched, and what a
/// change of it enqueues.
macro_rules! with_watched_kinds {
    ($use:ident) => {
        $use! {
            pub communities: Community = all() => Enqueuer::on_community;
            pub enclaves: Enclave = all() => Enqueuer::on_enclave;
            pub community_endpoints: CommunityEndpoint = all() => Enqueuer::on_community_endpoint;
            pub transit_hubs: TransitHub = all() => Enqueuer::on_transit_hub;
            pub workloads: EnclaveWorkload = all() => Enqueuer::on_workload;
            pub endpoints: EnclaveEndpoint = all() => Enqueuer::on_endpoint;
            pub connections: EnclaveConnection = all() => Enqueuer::on_connection;
            pub requests: ApprovalRequest = all() => Enqueuer::on_request;
            pub assignments: RoleAssignment = all() => Enqueuer::on_assignment;
            pub eligibilities: RoleEligibility = all() => Enqueuer::on_eligibility;
            pub activations: RoleActivation = all() => Enqueuer::on_activation;
            pub namespaces: Namespace = all() => Enqueuer::on_namespace;
            pub network_policies: NetworkPolicy = all() => Enqueuer::on_network_policy;
            pub quotas: ResourceQuota = all() => Enqueuer::on_quota;
            pub container_defaults: LimitRange = all() => Enqueuer::on_child;
            pub role_bindings: RoleBinding = all() => Enqueuer::on_role_binding;
            pub roles: Role = all() => Enqueuer::on_rbac;
            pub service_accounts: ServiceAccount = but_the_default() => Enqueuer::on_rbac;
            pub cluster_roles: ClusterRole = all() => Enqueuer::on_rbac;
            pub cluster_role_bindings: ClusterRoleBinding = all() => Enqueuer::on_rbac;
            pub(super) definitions: CustomResourceDefinition = named(cilium::DEFINITION) => Enqueuer::on_definition;
            mutating: MutatingAdmissionPolicy = policies() => Enqueuer::on_policy;
            mutating_bindings: MutatingAdmissionPolicyBinding = policies() => Enqueuer::on_policy;
            validating: ValidatingAdmissionPolicy = policies() => Enqueuer::on_policy;
            validating_bindings: ValidatingAdmissionPolicyBinding = policies() => Enqueuer::on_policy;
        }
    };
}

pub mod approval_request;
mod backfill;
pub mod caches;
pub mod changes;
pub mod community;
pub mod connection;
pub mod controller;
pub mod enclave;
pub mod endpoint;
pub mod enqueue;
pub mod foreign;
mod gated;
pub mod index;
pub mod intake;
mod labels;
mod listing;
pub mod observe;
pub mod outbox;
pub mod parent;
pub mod policy_verifier;
pub mod queues;
pub mod rbac;
pub mod role_activation;
pub mod role_assignment;
pub mod role_eligibility;
pub mod unmanaged;
pub mod watch;
pub mod workload;
