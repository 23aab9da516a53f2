//! What a Community needs: a namespace in which its enclaves are declared.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::conditions::{Status, Wanted, build_conditions};
use super::gate::{
    Enforcement, Gate, Standing, build_gate_status, describe_error, gate_of_blocked, notices, plan_gate,
    was_enforced,
};
use super::place::{
    ObservedPlace, Place, enforce, is_owned, owned_namespace, plan_removal, plan_repair_of_the_known, preview,
};
use super::{Plan, Write};
use crate::api::names::{FINALIZER, condition, purpose, reason};
use crate::api::{ApprovalRequest, Approvals, Community, CommunitySpec, CommunityStatus};
use crate::model::life::{Circumstances, Integrity, JudgeError, applied_spec};
use crate::model::naming::community_namespace;
use crate::model::rules::held_operations;

/// What was seen of a Community and in it.
#[derive(Clone, Debug)]
pub struct ObservedCommunity {
    /// The Community.
    pub community: Arc<Community>,
    /// Requests about this very Community.
    pub requests: Vec<Arc<ApprovalRequest>>,
    /// Its namespace.
    pub place: ObservedPlace,
    /// How many Enclaves are declared in its namespace.
    pub enclaves: usize,
    /// Whether the admission policies are intact.
    pub integrity: Integrity,
    /// Fingerprint of the admission policies that stand guard.
    pub witness: String,
}

/// Plans a Community. When a stored content cannot be read, nothing new is judged and what exists
/// is kept as it is.
#[must_use]
pub fn plan_community(observed: &ObservedCommunity, now: Timestamp) -> Plan<CommunityStatus> {
    try_plan(observed, now)
        .unwrap_or_else(|error| blocked(observed, reason::APPLIED_UNREADABLE, describe_error(&error), now))
}

fn try_plan(observed: &ObservedCommunity, now: Timestamp) -> Result<Plan<CommunityStatus>, JudgeError> {
    let community = observed.community.as_ref();
    if community.metadata.deletion_timestamp.is_some() {
        return Ok(plan_teardown(observed, now));
    }
    let before = applied_spec(community)?;
    let mut gate = plan_gate(
        community,
        &observed.requests,
        &Circumstances {
            requests: observed.requests.iter().map(AsRef::as_ref).collect(),
            outer_rules: Vec::new(),
            service_account_votes: before.map(|spec| spec.service_account_votes).unwrap_or_default(),
            integrity: &observed.integrity,
            witness: &observed.witness,
            now,
        },
    )?;
    if !can_take_requests(observed) {
        gate.writes.retain(|write| !matches!(write, Write::CreateRequest(_)));
    }
    let applied = gate.applied.as_ref().map(|applied| applied.spec.to_spec::<CommunitySpec>());
    let applied = applied.transpose().map_err(JudgeError::AppliedUnreadable)?;
    let was_enforced = was_enforced(community);
    let (enforcement, repairs) = match (&gate.standing, &applied) {
        // Enforcing starts with the next observation, when what is applied is stored.
        (Standing::Enacting, _) => (Enforcement::Underway, Vec::new()),
        (_, None) => (preview(&place(community, &[]), &observed.place), Vec::new()),
        (_, Some(spec)) => enforce(&place(community, &[&spec.approvals]), &observed.place, was_enforced),
    };
    Ok(conclude(observed, gate, &enforcement, repairs, now))
}

/// Requests about a Community live in the namespace that it owns, never in one of somebody else.
fn can_take_requests(observed: &ObservedCommunity) -> bool {
    let uid = observed.community.uid().unwrap_or_default();
    observed
        .place
        .namespace
        .as_deref()
        .is_some_and(|namespace| is_owned(namespace, &uid) && namespace.metadata.deletion_timestamp.is_none())
}

fn place(community: &Community, rules: &[&Approvals]) -> Place {
    let name = community.name_any();
    Place {
        namespace: community_namespace(&name, community.spec.namespace.as_deref()),
        owner_uid: community.uid().unwrap_or_default(),
        purpose: purpose::COMMUNITY,
        community: name,
        enclave: None,
        held_operations: held_operations(rules),
    }
}

fn blocked(
    observed: &ObservedCommunity,
    reason: &'static str,
    message: String,
    now: Timestamp,
) -> Plan<CommunityStatus> {
    let (gate, enforcement) = gate_of_blocked(observed.community.as_ref(), reason, message);
    let repairs = match &gate.applied {
        Some(_) => plan_repair_of_the_known(&observed.place, &observed.community.uid().unwrap_or_default()),
        None => Vec::new(),
    };
    conclude(observed, gate, &enforcement, repairs, now)
}

fn conclude(
    observed: &ObservedCommunity,
    gate: Gate,
    enforcement: &Enforcement,
    repairs: Vec<Write>,
    now: Timestamp,
) -> Plan<CommunityStatus> {
    let community = observed.community.as_ref();
    let mut gate_status = build_gate_status(community, &gate, enforcement, now);
    let before = community.status.as_ref().map_or(&[][..], |status| &status.gate.conditions);
    let protected = vec![describe_protection(&observed.integrity)];
    gate_status.conditions.extend(build_conditions(before, protected, community.metadata.generation, now));
    let status = CommunityStatus {
        gate: gate_status,
        namespace: owned_namespace(&observed.place, &community.uid().unwrap_or_default()),
        enclaves: i32::try_from(observed.enclaves).ok(),
    };
    Plan {
        notices: notices(community, &status.gate),
        status: Some(status),
        repairs,
        writes: gate.writes,
        wake_at: None,
    }
}

fn describe_protection(integrity: &Integrity) -> Wanted {
    let type_ = condition::PROTECTED;
    match integrity {
        Integrity::Intact => Wanted {
            type_,
            status: Status::True,
            reason: reason::POLICIES_INTACT,
            message: "the API server runs the operator's admission policies".into(),
        },
        Integrity::Broken(what) => Wanted {
            type_,
            status: Status::False,
            reason: reason::POLICIES_NOT_INTACT,
            message: format!("nothing new is enacted; install the manifests of this version again: {what}"),
        },
    }
}

/// A Community goes when its Enclaves are gone; its namespace first, the Community after it.
fn plan_teardown(observed: &ObservedCommunity, now: Timestamp) -> Plan<CommunityStatus> {
    let community = observed.community.as_ref();
    if !community.finalizers().iter().any(|name| name == FINALIZER) {
        return Plan::nothing();
    }
    let Some(writes) = plan_removal(&observed.place, &community.uid().unwrap_or_default()) else {
        let confirm = Write::ConfirmNamespaceGone {
            name: community_namespace(&community.name_any(), community.spec.namespace.as_deref()),
            owner_uid: community.uid().unwrap_or_default(),
        };
        return Plan { writes: vec![confirm, Write::RemoveFinalizer], ..Plan::nothing() };
    };
    if observed.enclaves > 0 {
        let message = format!(
            "being deleted: waits for its {} Enclave(s); delete them first (kubectl get enclaves -n {})",
            observed.enclaves,
            community_namespace(&community.name_any(), community.spec.namespace.as_deref()),
        );
        return blocked(observed, reason::CHILDREN_EXIST, message, now);
    }
    let message = "being deleted: its namespace goes first".to_owned();
    Plan { writes, ..blocked(observed, reason::TERMINATING, message, now) }
}
