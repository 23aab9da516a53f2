//! Plans an Enclave: a control namespace where no pod runs and nothing is reachable.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::enclave::WorkloadCommunication;
use crate::api::{Approvals, Community, Enclave, EnclaveSpec, EnclaveStatus};
use crate::model::approval::applied::{EvaluationError, applied_spec};
use crate::model::approval::approval_policy::held_operations;
use crate::model::approval::gated::Gated;
use crate::model::approval::scope::InheritedPolicy;
use crate::model::naming::enclave_namespace;
use crate::model::network::intra_enclave::compare_intra_enclave;
use crate::model::rbac::maintenance::{Exceptions, own_maintenance};
use crate::plan::conditions::conditions_before;
use crate::plan::enforcement::{Enforcement, was_enforced};
use crate::plan::gated::{Finalization, GatedInputs, ObservedGated, plan_gated};
use crate::plan::lock::{Lock, OfOthers, list_some, show_lock};
use crate::plan::namespace::desired::{DesiredNamespace, NamespacePurpose, ObservedNamespace};
use crate::plan::namespace::enforce::{
    enforce, owned_namespace, plan_repair_from_labels, plan_teardown, preview,
};
use crate::plan::parent::Parent;
use crate::plan::{Plan, Write};

const KINDS: &str = "Enclaves";

/// The observed state of an Enclave and of what is around it.
#[derive(Clone, Debug)]
pub struct ObservedEnclave {
    /// The Enclave and the Community around it.
    pub declared: ObservedGated<Enclave>,
    /// The observed control namespace of the Enclave.
    pub live_namespace: ObservedNamespace,
    /// The namespaces of all its workloads that exist, in order.
    pub workloads: Vec<String>,
    /// The number of objects that are declared in it, by kind; counted only while it is on its way out.
    pub children: Children,
    /// Objects and bindings of others in its namespaces.
    pub of_others: OfOthers,
}

/// The number of objects that are declared in an Enclave, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Children {
    pub workloads: usize,
    pub endpoints: usize,
    pub connections: usize,
}

/// Plans an Enclave.
#[must_use]
pub fn plan_enclave(observed: &ObservedEnclave, now: Timestamp) -> Plan<EnclaveStatus> {
    let exceptions = exceptions(observed, now);
    let inputs = || -> Result<_, EvaluationError> {
        Ok(GatedInputs {
            inherited_policy: observed.declared.parent.rules_in_community(KINDS)?,
            references: None,
            enforce: |applied: Option<&EnclaveSpec>| enforce_enclave(observed, applied, &exceptions),
        })
    };
    let keep = || plan_repair(observed, &exceptions);
    let namespace = owned_namespace(&observed.live_namespace, &observed.declared.uid());
    let mut event = None;
    let finalization = Finalization {
        in_use: waits_for_children(observed),
        remove: || plan_teardown(&observed.live_namespace, &observed.declared.uid(), namespace_of(observed)),
    };
    let mut plan = plan_gated(&observed.declared, finalization, inputs(), keep, now);
    plan.add_impact(|| compare_workloads(observed));
    let plan = plan.with_status(|mut gate| {
        let before = conditions_before(observed.declared.object.as_ref());
        let lock = Lock {
            exceptions: &exceptions,
            unmanaged: &observed.of_others.unmanaged,
            integrity: &observed.declared.policies.integrity,
        };
        event = namespace.as_ref().and_then(|_| show_lock(&mut gate, before, &lock, now));
        EnclaveStatus {
            gate,
            namespace,
            maintenance: own_maintenance(observed.declared.object.as_ref(), now),
            unmanaged_resources: list_some(&observed.of_others.unmanaged),
            standing_grants: list_some(&observed.of_others.standing_grants),
        }
    });
    Plan {
        events: plan.events.into_iter().chain(event).collect(),
        requeue_at: plan.requeue_at.into_iter().chain(exceptions.ends_at()).min(),
        ..plan
    }
}

/// Returns the intra-Enclave traffic that the latest spec would open, and that it would close.
fn compare_workloads(observed: &ObservedEnclave) -> (Vec<String>, Vec<String>) {
    let enclave = observed.declared.object.as_ref();
    let communicating = |spec: Option<&EnclaveSpec>| -> BTreeSet<String> {
        let network = spec.filter(|spec| !Enclave::retires(spec)).map(|spec| &spec.network);
        match network.map(|network| network.workload_communication) {
            Some(WorkloadCommunication::Allowed) => observed.workloads.iter().cloned().collect(),
            Some(WorkloadCommunication::Isolated) | None => BTreeSet::new(),
        }
    };
    let before = applied_spec(enclave).ok().flatten();
    compare_intra_enclave(&communicating(before.as_ref()), &communicating(Some(&enclave.spec)))
}

/// Returns who may do more in the Enclave. A Community that is not in force allows nobody anything.
fn exceptions(observed: &ObservedEnclave, now: Timestamp) -> Exceptions {
    let Parent::Community(community) = &observed.declared.parent else { return Exceptions::default() };
    if community.gate().is_none_or(|gate| gate.applied.is_none()) {
        return Exceptions::default();
    }
    Exceptions::in_enclave(community, &observed.declared.object, now)
}

fn plan_repair(observed: &ObservedEnclave, exceptions: &Exceptions) -> Vec<Write> {
    let was_enforced = was_enforced(observed.declared.object.as_ref());
    plan_repair_from_labels(&observed.live_namespace, &observed.declared.uid(), exceptions, was_enforced)
}

fn namespace_of(observed: &ObservedEnclave) -> Option<String> {
    let community = observed.declared.parent.community()?;
    Some(enclave_namespace(&community.name_any(), &observed.declared.object.name_any()))
}

fn enforce_enclave(
    observed: &ObservedEnclave,
    applied: Option<&EnclaveSpec>,
    exceptions: &Exceptions,
) -> (Enforcement, Vec<Write>) {
    let (Parent::Community(community), Some(spec)) = (&observed.declared.parent, applied) else {
        return match (&observed.declared.parent, applied) {
            (Parent::Community(community), _) => (
                preview(&desired_namespace(observed, community, &[], exceptions), &observed.live_namespace),
                Vec::new(),
            ),
            (_, None) => (Enforcement::Nothing, Vec::new()),
            (_, Some(_)) => enforce_without_community(observed, exceptions),
        };
    };
    match InheritedPolicy::of_community(community) {
        Ok(Some(outer)) => {
            let rules: Vec<&Approvals> =
                outer.scopes.iter().map(|scope| &scope.approvals).chain([&spec.approvals]).collect();
            let was_enforced = was_enforced(observed.declared.object.as_ref());
            enforce(
                &desired_namespace(observed, community, &rules, exceptions),
                &observed.live_namespace,
                was_enforced,
            )
        }
        Ok(None) | Err(_) => enforce_without_community(observed, exceptions),
    }
}

/// Keeps what exists in shape while the Community is missing, not in force or unreadable.
fn enforce_without_community(
    observed: &ObservedEnclave,
    exceptions: &Exceptions,
) -> (Enforcement, Vec<Write>) {
    let missing = observed.declared.parent.rules_in_community(KINDS).ok().and_then(Result::err);
    let repairs = plan_repair(observed, exceptions);
    (missing.map_or(Enforcement::Nothing, Enforcement::Blocked), repairs)
}

fn desired_namespace(
    observed: &ObservedEnclave,
    community: &Community,
    rules: &[&Approvals],
    exceptions: &Exceptions,
) -> DesiredNamespace {
    let enclave = observed.declared.object.name_any();
    DesiredNamespace {
        namespace: enclave_namespace(&community.name_any(), &enclave),
        owner_uid: observed.declared.uid(),
        community: community.name_any(),
        enclave: Some(enclave),
        held_operations: held_operations(rules),
        exceptions: exceptions.clone(),
        bindings: Vec::new(),
        purpose: NamespacePurpose::Control,
    }
}

fn waits_for_children(observed: &ObservedEnclave) -> Option<String> {
    let Children { workloads, endpoints, connections } = observed.children;
    let namespace =
        observed.live_namespace.namespace.as_deref().map(ResourceExt::name_any).unwrap_or_default();
    let waits: Vec<String> = [
        (workloads, "EnclaveWorkload(s)"),
        (endpoints, "EnclaveEndpoint(s)"),
        (connections, "EnclaveConnection(s)"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, kinds)| format!("{count} {kinds}"))
    .collect();
    (!waits.is_empty()).then(|| {
        format!(
            "being deleted: waits for its {}; delete or retire them first (kubectl get encw,eep,econ -n {namespace})",
            waits.join(", ")
        )
    })
}
