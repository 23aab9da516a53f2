//! What an Enclave needs: a control namespace where no pod runs and nothing is reachable.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::gate::{
    Enforcement, Gate, Standing, build_gate_status, describe_error, gate_of_blocked, notices, plan_gate,
    was_enforced,
};
use super::place::{
    ObservedPlace, Place, enforce, owned_namespace, plan_removal, plan_repair_of_the_known, preview,
};
use super::{Plan, Write};
use crate::api::names::{FINALIZER, purpose, reason};
use crate::api::{ApprovalRequest, Approvals, Community, Enclave, EnclaveSpec, EnclaveStatus};
use crate::model::life::{Circumstances, Integrity, JudgeError, applied_spec};
use crate::model::naming::enclave_namespace;
use crate::model::rules::held_operations;

/// What was seen of an Enclave and around it.
#[derive(Clone, Debug)]
pub struct ObservedEnclave {
    /// The Enclave.
    pub enclave: Arc<Enclave>,
    /// The Community whose namespace it lives in.
    pub community: Option<Arc<Community>>,
    /// Requests about this very Enclave.
    pub requests: Vec<Arc<ApprovalRequest>>,
    /// Its control namespace.
    pub place: ObservedPlace,
    /// How many EnclaveWorkloads are declared in it.
    pub workloads: usize,
    /// Whether the admission policies are intact.
    pub integrity: Integrity,
    /// Fingerprint of the admission policies that stand guard.
    pub witness: String,
}

/// Plans an Enclave. When a stored content cannot be read, nothing new is judged and what exists is
/// kept as it is.
#[must_use]
pub fn plan_enclave(observed: &ObservedEnclave, now: Timestamp) -> Plan<EnclaveStatus> {
    try_plan(observed, now)
        .unwrap_or_else(|error| blocked(observed, reason::APPLIED_UNREADABLE, describe_error(&error), now))
}

fn try_plan(observed: &ObservedEnclave, now: Timestamp) -> Result<Plan<EnclaveStatus>, JudgeError> {
    if observed.enclave.metadata.deletion_timestamp.is_some() {
        return Ok(plan_teardown(observed, now));
    }
    let Some(community) = &observed.community else {
        let message =
            "this namespace does not belong to a Community; Enclaves are declared in a Community's namespace";
        return Ok(blocked(observed, reason::COMMUNITY_NOT_FOUND, message.to_owned(), now));
    };
    let Some(community_spec) = applied_spec(community.as_ref())? else {
        let message =
            format!("Community {} is not in force yet; this goes on when it is", community.name_any());
        return Ok(blocked(observed, reason::COMMUNITY_NOT_ACTIVE, message, now));
    };

    let mut gate = plan_gate(
        observed.enclave.as_ref(),
        &observed.requests,
        &Circumstances {
            requests: observed.requests.iter().map(AsRef::as_ref).collect(),
            outer_rules: vec![&community_spec.approvals],
            service_account_votes: community_spec.service_account_votes,
            integrity: &observed.integrity,
            witness: &observed.witness,
            now,
        },
    )?;
    let unapproved = gate.applied.as_ref().is_some_and(|applied| applied.approval_request.is_none());
    if gate.standing == Standing::Enacting && unapproved {
        let rules = community.status.as_ref().and_then(|status| status.gate.applied.as_ref());
        gate.writes.push(Write::ConfirmRules {
            community: community.name_any(),
            digest: rules.map(|applied| applied.digest.clone()).unwrap_or_default(),
        });
    }
    let applied = gate.applied.as_ref().map(|applied| applied.spec.to_spec::<EnclaveSpec>());
    let applied = applied.transpose().map_err(JudgeError::AppliedUnreadable)?;
    if gate.standing != Standing::Enacting && applied.as_ref().is_some_and(|spec| spec.retire) {
        return Ok(plan_retirement(observed, gate, now));
    }
    let was_enforced = was_enforced(observed.enclave.as_ref());
    let (enforcement, repairs) = match (&gate.standing, &applied) {
        // Enforcing starts with the next observation, when what is applied is stored.
        (Standing::Enacting, _) => (Enforcement::Underway, Vec::new()),
        (_, None) => (preview(&place(observed, community, &[]), &observed.place), Vec::new()),
        (_, Some(spec)) => {
            let place = place(observed, community, &[&community_spec.approvals, &spec.approvals]);
            enforce(&place, &observed.place, was_enforced)
        }
    };
    Ok(conclude(observed, gate, &enforcement, repairs, now))
}

fn place(observed: &ObservedEnclave, community: &Community, rules: &[&Approvals]) -> Place {
    let enclave = observed.enclave.name_any();
    Place {
        namespace: enclave_namespace(&community.name_any(), &enclave),
        owner_uid: observed.enclave.uid().unwrap_or_default(),
        purpose: purpose::CONTROL,
        community: community.name_any(),
        enclave: Some(enclave),
        held_operations: held_operations(rules),
    }
}

fn blocked(
    observed: &ObservedEnclave,
    reason: &'static str,
    message: String,
    now: Timestamp,
) -> Plan<EnclaveStatus> {
    let (gate, enforcement) = gate_of_blocked(observed.enclave.as_ref(), reason, message);
    let repairs = match &gate.applied {
        Some(_) => plan_repair_of_the_known(&observed.place, &observed.enclave.uid().unwrap_or_default()),
        None => Vec::new(),
    };
    conclude(observed, gate, &enforcement, repairs, now)
}

fn conclude(
    observed: &ObservedEnclave,
    gate: Gate,
    enforcement: &Enforcement,
    repairs: Vec<Write>,
    now: Timestamp,
) -> Plan<EnclaveStatus> {
    let enclave = observed.enclave.as_ref();
    let status = EnclaveStatus {
        gate: build_gate_status(enclave, &gate, enforcement, now),
        namespace: owned_namespace(&observed.place, &enclave.uid().unwrap_or_default()),
    };
    Plan {
        notices: notices(enclave, &status.gate),
        status: Some(status),
        repairs,
        writes: gate.writes,
        wake_at: None,
    }
}

/// The cache may not have heard of the namespace yet.
fn plan_release(observed: &ObservedEnclave) -> Vec<Write> {
    let confirm = observed.community.as_ref().map(|community| Write::ConfirmNamespaceGone {
        name: enclave_namespace(&community.name_any(), &observed.enclave.name_any()),
        owner_uid: observed.enclave.uid().unwrap_or_default(),
    });
    confirm.into_iter().chain([Write::RemoveFinalizer]).collect()
}

/// An approved retirement is carried out whatever is edited in the meantime. The request has to say
/// that it was enacted before the Enclave is gone.
fn plan_retirement(observed: &ObservedEnclave, gate: Gate, now: Timestamp) -> Plan<EnclaveStatus> {
    let books = gate.writes.into_iter().filter(|write| !matches!(write, Write::CreateRequest(_)));
    match waits_for_workloads(observed) {
        Some(message) => {
            Plan { writes: books.collect(), ..blocked(observed, reason::CHILDREN_EXIST, message, now) }
        }
        None => Plan { writes: books.chain([Write::DeleteSelf]).collect(), ..Plan::nothing() },
    }
}

fn waits_for_workloads(observed: &ObservedEnclave) -> Option<String> {
    let workloads = observed.workloads;
    (workloads > 0).then(|| {
        let namespace = observed.place.namespace.as_deref().map(ResourceExt::name_any).unwrap_or_default();
        format!(
            "being deleted: waits for its {workloads} EnclaveWorkload(s); delete or retire them first (kubectl get enclaveworkloads -n {namespace})"
        )
    })
}

/// The control namespace goes first, the Enclave after it.
fn plan_teardown(observed: &ObservedEnclave, now: Timestamp) -> Plan<EnclaveStatus> {
    let enclave = &observed.enclave;
    if !enclave.finalizers().iter().any(|name| name == FINALIZER) {
        return Plan::nothing();
    }
    if let Some(message) = waits_for_workloads(observed) {
        return blocked(observed, reason::CHILDREN_EXIST, message, now);
    }
    match plan_removal(&observed.place, &enclave.uid().unwrap_or_default()) {
        None => Plan { writes: plan_release(observed), ..Plan::nothing() },
        Some(writes) => {
            let message = "being deleted: its control namespace goes first".to_owned();
            Plan { writes, ..blocked(observed, reason::TERMINATING, message, now) }
        }
    }
}
