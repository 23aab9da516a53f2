//! Everything that is particular to a kind, one folder for each: `mod.rs` (what the kind is, `impl Gated`, its
//! controller), `index.rs` (by what its objects are found), `observe.rs` (from caches to an owned struct), `plan.rs`
//! (pure: from that struct to a plan), `watches.rs` (which changes of others enqueue it).
//!
//! Beside the folders stands what all kinds share, from the bottom to the top: [`caches`] and [`index`], [`parent`] and
//! [`observe`], [`enqueue`], [`controller`] and [`changes`] (what a kind implements, and who calls it), [`intake`],
//! [`watch`]. Imported are `cluster`, `plan`, `admission`, `model` and `api`; never `controllers` or `runtime`.

/// Calls a macro with everything that is watched: the name of its cache, its kind, and what of it is watched. The kinds
/// of this API group are those of [`crate::api::kind::with_kinds`].
macro_rules! with_watched_kinds {
    ($use:ident) => {
        crate::api::kind::with_kinds! { with_own_and_other_kinds $use }
    };
}

macro_rules! with_own_and_other_kinds {
    ($use:ident $($kind:ident: $cache:ident, $plural:literal, $short:literal, [$($operation:ident),*];)*) => {
        $use! {
            $(pub $cache: crate::api::$kind = all();)*
            pub namespaces: Namespace = all();
            pub network_policies: NetworkPolicy = all();
            pub quotas: ResourceQuota = all();
            pub container_defaults: LimitRange = all();
            pub role_bindings: RoleBinding = all();
            pub roles: Role = all();
            pub service_accounts: ServiceAccount = but_the_default();
            pub cluster_roles: ClusterRole = all();
            pub cluster_role_bindings: ClusterRoleBinding = all();
            pub(super) definitions: CustomResourceDefinition = named(cilium::DEFINITION);
            mutating: MutatingAdmissionPolicy = policies();
            mutating_bindings: MutatingAdmissionPolicyBinding = policies();
            validating: ValidatingAdmissionPolicy = policies();
            validating_bindings: ValidatingAdmissionPolicyBinding = policies();
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
