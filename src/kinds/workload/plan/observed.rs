//! The observed state of a workload, and the policies of its connections that follow from that.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;

use crate::api::{CiliumNetworkPolicy, EnclaveWorkload};
use crate::model::naming::connection_policy;
use crate::model::network::connectivity::{Connectivity, ResolvedConnection, resolve};
use crate::plan::enforcement::{WasEnforced, was_enforced};
use crate::plan::gated::ObservedGated;
use crate::plan::namespace::desired::ObservedNamespace;
use crate::plan::policies::{build_connection, build_names};

/// The observed state of a workload.
#[derive(Clone, Debug)]
pub struct ObservedWorkload {
    /// The workload and what it is declared in.
    pub declared: ObservedGated<EnclaveWorkload>,
    /// The observed namespace of the workload.
    pub live_namespace: ObservedNamespace,
    /// Namespaces of all workloads of the Enclave that exist, in order; with its own.
    pub enclave_namespaces: Vec<String>,
    /// The connections that come from it or lead to it.
    pub connections: Vec<ResolvedConnection>,
}

/// Builds the policies of one connection in this namespace. Policies of a connection that cannot be read stay as they
/// are.
pub(super) fn policies_of(
    resolved: &ResolvedConnection,
    namespace: &str,
    observed: &ObservedWorkload,
    now: Timestamp,
) -> Vec<NetworkPolicy> {
    let (declared_in, name) =
        (resolved.connection.namespace().unwrap_or_default(), resolved.connection.name_any());
    match resolve(resolved, now) {
        Ok(Connectivity::Open { flow, .. }) => build_connection(namespace, (&declared_in, &name), &flow),
        Ok(Connectivity::Unavailable(_) | Connectivity::Disabled(_) | Connectivity::NotApplied) => Vec::new(),
        Err(_) => {
            let names = names_of_policies(resolved);
            let live =
                observed.live_namespace.policies.iter().filter(|live| names.contains(&live.name_any()));
            live.map(|live| NetworkPolicy::clone(live)).collect()
        }
    }
}

/// Builds the Cilium policy of one connection, as [`policies_of`] does.
pub(super) fn cilium_policy_of(
    resolved: &ResolvedConnection,
    namespace: &str,
    observed: &ObservedWorkload,
    now: Timestamp,
) -> Option<CiliumNetworkPolicy> {
    let (declared_in, name) =
        (resolved.connection.namespace().unwrap_or_default(), resolved.connection.name_any());
    match resolve(resolved, now) {
        Ok(Connectivity::Open { flow, .. }) => build_names(namespace, (&declared_in, &name), &flow),
        Ok(Connectivity::Unavailable(_) | Connectivity::Disabled(_) | Connectivity::NotApplied) => None,
        Err(_) => {
            let name = connection_policy(&declared_in, &name, "egress");
            let live = observed.live_namespace.cilium_policies.iter().find(|live| live.name_any() == name);
            live.map(|live| CiliumNetworkPolicy::clone(live))
        }
    }
}

fn names_of_policies(resolved: &ResolvedConnection) -> [String; 2] {
    let (declared_in, name) =
        (resolved.connection.namespace().unwrap_or_default(), resolved.connection.name_any());
    ["egress", "ingress"].map(|direction| connection_policy(&declared_in, &name, direction))
}

/// Returns the names of the policies of connections that have not been seen in force yet.
pub(super) fn unmade_policies(observed: &ObservedWorkload) -> BTreeSet<String> {
    let connections = observed.connections.iter();
    let unmade = connections.filter(|resolved| was_enforced(resolved.connection.as_ref()) == WasEnforced::No);
    unmade.flat_map(names_of_policies).collect()
}
