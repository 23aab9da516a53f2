//! Plans an EnclaveWorkload: a namespace for its pods, which is closed but for DNS, intra-Enclave traffic and
//! connections.

mod keeping;
mod observed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

pub use self::observed::ObservedWorkload;

use self::keeping::plan_repair_without_inputs;
use self::observed::{cilium_policy_of, policies_of, unmade_policies};

use crate::api::enclave::WorkloadCommunication;
use crate::api::enclave_workload::{AccessMode, ContainerDefaults, PodSecurity};
use crate::api::names::access;
use crate::api::{
    Community, CommunitySpec, Enclave, EnclaveSpec, EnclaveWorkload, EnclaveWorkloadSpec,
    EnclaveWorkloadStatus,
};
use crate::model::approval::applied::{EvaluationError, applied_spec, as_if_applied};
use crate::model::approval::gated::Gated;
use crate::model::approval::impact::add;
use crate::model::approval::scope::NotReady;
use crate::model::naming::workload_namespace;
use crate::model::network::connectivity::{
    DestinationEnd, ResolvedConnection, SourceEnd, WorkloadEnd, ends_at,
};
use crate::model::network::intra_enclave::compare_intra_enclave;
use crate::model::network::traffic_summary::compare;
use crate::model::rbac::access::compare_access;
use crate::model::rbac::maintenance::Exceptions;
use crate::plan::enforcement::{Enforcement, was_enforced};
use crate::plan::gated::{Finalization, GatedInputs, plan_gated};
use crate::plan::namespace::desired::{DesiredNamespace, NamespacePurpose, WorkloadContents};
use crate::plan::namespace::enforce::{enforce, owned_namespace, plan_teardown, preview};
use crate::plan::namespace::limits::ContainerLimits;
use crate::plan::parent::Parent;
use crate::plan::policies::{build_dns, build_intra_enclave};
use crate::plan::rbac::bindings::build_listed;
use crate::plan::{Plan, Write};

const KINDS: &str = "EnclaveWorkloads";

/// Plans a workload.
#[must_use]
pub fn plan_workload(observed: &ObservedWorkload, now: Timestamp) -> Plan<EnclaveWorkloadStatus> {
    let exceptions = &exceptions(observed, now);
    let inputs = || -> Result<_, EvaluationError> {
        let parents = observe_parents(observed, exceptions)?;
        Ok(GatedInputs {
            inherited_policy: observed.declared.parent.rules_in_enclave(KINDS)?,
            references: None,
            enforce: move |applied: Option<&EnclaveWorkloadSpec>| match (&parents, applied) {
                (Some(parents), Some(spec)) => enforce_workload(observed, parents, spec, now),
                (Some(_), None) => preview_workload(observed),
                (None, None) => (Enforcement::Nothing, Vec::new()),
                (None, Some(_)) => {
                    (describe_absence(observed), plan_repair_without_inputs(observed, exceptions, now))
                }
            },
        })
    };
    let keep = || plan_repair_without_inputs(observed, exceptions, now);
    let finalization = Finalization {
        in_use: None,
        remove: || plan_teardown(&observed.live_namespace, &observed.declared.uid(), namespace_of(observed)),
    };
    let mut plan = plan_gated(&observed.declared, finalization, inputs(), keep, now);
    if let Some(workload) = as_if_applied(observed.declared.object.as_ref(), &[]) {
        let (workload, namespace) = (Arc::new(workload), namespace_of(observed));
        let proposed = observed.connections.iter().cloned();
        let proposed: Vec<ResolvedConnection> =
            proposed.map(|resolved| put_into(&workload, namespace.as_ref(), resolved)).collect();
        plan.add_impact(|| {
            let traffic = compare(&observed.connections, &proposed, now).unwrap_or_default();
            add(traffic, describe_rest(observed, &workload))
        });
    }
    let ends = observed
        .connections
        .iter()
        .filter_map(|resolved| ends_at(&resolved.connection, &resolved.connection.spec));
    let requeue_at = ends.filter(|end| *end > now).chain(exceptions.ends_at()).min();
    let plan = plan.with_status(|gate| EnclaveWorkloadStatus {
        gate,
        namespace: owned_namespace(&observed.live_namespace, &observed.declared.uid()),
    });
    Plan { requeue_at, ..plan }
}

/// Describes what the latest spec would open and close beside connections: who gets in, and the intra-Enclave traffic.
fn describe_rest(observed: &ObservedWorkload, proposed: &EnclaveWorkload) -> (Vec<String>, Vec<String>) {
    let Some(namespace) = namespace_of(observed) else { return Default::default() };
    let spec = |workload| applied_spec(workload).ok().flatten();
    let (before, after) = (spec(observed.declared.object.as_ref()), spec(proposed));
    let after = after.filter(|after| !EnclaveWorkload::retires(after));
    let people = compare_access(&namespace, before.as_ref(), after.as_ref());
    let Parent::Enclave(_, enclave) = &observed.declared.parent else { return people };
    let network = applied_spec(enclave.as_ref()).ok().flatten().map(|spec| spec.network);
    if network.is_none_or(|network| network.workload_communication == WorkloadCommunication::Isolated) {
        return people;
    }
    let enclave_namespaces: BTreeSet<String> = observed.enclave_namespaces.iter().cloned().collect();
    let mut afterwards = enclave_namespaces.clone();
    if after.is_some() {
        afterwards.insert(namespace);
    } else {
        afterwards.remove(&namespace);
    }
    add(people, compare_intra_enclave(&enclave_namespaces, &afterwards))
}

/// The applied contents around a workload, as far as the workload needs them.
struct ParentSpecs<'a> {
    community: &'a Community,
    enclave: &'a Enclave,
    community_spec: CommunitySpec,
    enclave_spec: EnclaveSpec,
    exceptions: &'a Exceptions,
}

/// Returns who may do more in the namespace, whatever else can be read of what is around.
fn exceptions(observed: &ObservedWorkload, now: Timestamp) -> Exceptions {
    match &observed.declared.parent {
        Parent::Enclave(community, enclave) => Exceptions::in_enclave(community, enclave, now),
        Parent::Unmanaged | Parent::Community(_) => Exceptions::default(),
    }
}

/// Returns what is applied around a workload. The Enclave may be on its way out: what is in it stays in shape until it
/// goes.
fn observe_parents<'a>(
    observed: &'a ObservedWorkload,
    exceptions: &'a Exceptions,
) -> Result<Option<ParentSpecs<'a>>, EvaluationError> {
    let Parent::Enclave(community, enclave) = &observed.declared.parent else { return Ok(None) };
    let specs = applied_spec(community.as_ref())?.zip(applied_spec(enclave.as_ref())?);
    Ok(specs.map(|(community_spec, enclave_spec)| ParentSpecs {
        community,
        enclave,
        community_spec,
        enclave_spec,
        exceptions,
    }))
}

fn namespace_of(observed: &ObservedWorkload) -> Option<String> {
    let Parent::Enclave(community, enclave) = &observed.declared.parent else { return None };
    let name = observed.declared.object.name_any();
    Some(workload_namespace(&community.name_any(), &enclave.name_any(), &name))
}

fn enforce_workload(
    observed: &ObservedWorkload,
    parents: &ParentSpecs<'_>,
    spec: &EnclaveWorkloadSpec,
    now: Timestamp,
) -> (Enforcement, Vec<Write>) {
    let workload = observed.declared.object.as_ref();
    let namespace =
        workload_namespace(&parents.community.name_any(), &parents.enclave.name_any(), &workload.name_any());
    let alone = [namespace.clone()];
    let enclave_namespaces = match parents.enclave_spec.network.workload_communication {
        WorkloadCommunication::Isolated => &alone[..],
        WorkloadCommunication::Allowed if observed.enclave_namespaces.is_empty() => &alone[..],
        WorkloadCommunication::Allowed => &observed.enclave_namespaces,
    };
    let base = [
        build_dns(&namespace, &parents.community_spec.dns),
        build_intra_enclave(&namespace, enclave_namespaces),
    ];
    let connections =
        observed.connections.iter().flat_map(|resolved| policies_of(resolved, &namespace, observed, now));
    let to_names = observed
        .connections
        .iter()
        .filter_map(|resolved| cilium_policy_of(resolved, &namespace, observed, now));
    let desired = DesiredNamespace {
        owner_uid: observed.declared.uid(),
        community: parents.community.name_any(),
        enclave: Some(parents.enclave.name_any()),
        held_operations: Vec::new(),
        exceptions: parents.exceptions.clone(),
        bindings: build_listed(&namespace, spec),
        purpose: NamespacePurpose::Workload(Box::new(WorkloadContents {
            workload: workload.name_any(),
            pod_security: match spec.pod_security {
                PodSecurity::Restricted => "restricted",
                PodSecurity::Baseline => "baseline",
            },
            access_mode: match spec.access_mode {
                AccessMode::Standard => access::STANDARD,
                AccessMode::Isolated => access::ISOLATED,
            },
            policies: base.into_iter().chain(connections).collect(),
            cilium_policies: to_names.collect(),
            unmade: unmade_policies(observed),
            quota: amounts(&spec.quota),
            container_defaults: spec.container_defaults.as_ref().map(container_limits),
        })),
        namespace,
    };
    enforce(&desired, &observed.live_namespace, was_enforced(workload))
}

fn preview_workload(observed: &ObservedWorkload) -> (Enforcement, Vec<Write>) {
    let desired = DesiredNamespace {
        namespace: namespace_of(observed).unwrap_or_default(),
        owner_uid: observed.declared.uid(),
        community: String::new(),
        enclave: None,
        held_operations: Vec::new(),
        exceptions: Exceptions::default(),
        bindings: Vec::new(),
        purpose: NamespacePurpose::SomeWorkload(BTreeMap::new()),
    };
    (preview(&desired, &observed.live_namespace), Vec::new())
}

fn describe_absence(observed: &ObservedWorkload) -> Enforcement {
    let missing: Option<NotReady> =
        observed.declared.parent.rules_in_enclave(KINDS).ok().and_then(Result::err);
    missing.map_or(Enforcement::Nothing, Enforcement::Blocked)
}

fn amounts(amounts: &BTreeMap<String, crate::api::Quantity>) -> BTreeMap<String, Quantity> {
    amounts.iter().map(|(resource, amount)| (resource.clone(), amount.into())).collect()
}

/// Returns the defaults for containers. A resource without a request is requested up to its limit, as the API server
/// would fill it in.
fn container_limits(defaults: &ContainerDefaults) -> ContainerLimits {
    let ContainerDefaults { limits, requests } = defaults;
    let limits = amounts(limits);
    let requests = limits.clone().into_iter().chain(amounts(requests)).collect();
    ContainerLimits { limits, requests }
}

/// The connection with this workload at its ends.
fn put_into(
    workload: &Arc<EnclaveWorkload>,
    namespace: Option<&String>,
    mut resolved: ResolvedConnection,
) -> ResolvedConnection {
    let is_it = |end: &WorkloadEnd, declared_in: Option<String>| {
        end.name == workload.name_any() && declared_in == workload.namespace()
    };
    let fill = |end: &mut WorkloadEnd| {
        end.workload = Some(Arc::clone(workload));
        end.namespace = namespace.cloned();
    };
    if let SourceEnd::Workloads(ends) = &mut resolved.source {
        let declared_in = resolved.connection.namespace();
        ends.iter_mut().filter(|end| is_it(end, declared_in.clone())).for_each(fill);
    }
    if let DestinationEnd::Enclave { endpoint, workload: Some(end), .. } = &mut resolved.destination
        && is_it(end, endpoint.as_deref().and_then(ResourceExt::namespace))
    {
        fill(end);
    }
    resolved
}

#[cfg(test)]
mod tests;
