//! Observes an EnclaveWorkload, from caches only.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::EnclaveWorkload;
use crate::api::enclave_workload::AccessMode;
use crate::kinds::caches::Caches;
use crate::kinds::connection::lookup::{resolve_connections_of_policies, resolve_connections_of_workload};
use crate::kinds::observe::{
    Bindings, namespaces_of_workloads, observe_gated, observe_namespace, observe_namespace_owned_by,
};
use crate::kinds::workload::plan::ObservedWorkload;
use crate::model::approval::applied::view_applied;
use crate::model::approval::policy_status::PolicyStatus;
use crate::model::naming::workload_namespace;
use crate::plan::parent::Parent;

/// Gathers what is known of a workload.
#[must_use]
pub fn observe_workload(
    caches: &Caches,
    workload: Arc<EnclaveWorkload>,
    policy_status: PolicyStatus,
) -> ObservedWorkload {
    let mut connections = resolve_connections_of_workload(caches, &workload);
    let declared = observe_gated(caches, workload, policy_status);
    let live_namespace = match &declared.parent {
        Parent::Enclave(community, enclave) => observe_namespace(
            caches,
            &workload_namespace(&community.name_any(), &enclave.name_any(), &declared.object.name_any()),
            if is_isolated(&declared.object) { Bindings::All } else { Bindings::Own },
        ),
        Parent::Unmanaged | Parent::Community(_) => {
            observe_namespace_owned_by(caches, declared.object.as_ref())
        }
    };
    connections.extend(resolve_connections_of_policies(
        caches,
        &declared.parent,
        &live_namespace,
        &connections,
    ));
    let control = declared.object.namespace().unwrap_or_default();
    let enclave_namespaces = namespaces_of_workloads(caches, &declared.parent, &control);
    ObservedWorkload { declared, live_namespace, enclave_namespaces, connections }
}

/// Whether a workload is isolated, or is to be.
pub(in crate::kinds) fn is_isolated(workload: &EnclaveWorkload) -> bool {
    workload.spec.access_mode == AccessMode::Isolated
        || view_applied(workload, |spec| spec.access_mode).ok().flatten() == Some(AccessMode::Isolated)
}
