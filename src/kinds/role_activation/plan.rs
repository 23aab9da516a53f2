//! Plans a RoleActivation: what it gives, and for how long.

use crate::model::approval::policy_status::PolicyStatus;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::names::{condition, reason};
use crate::api::role_activation::ActivationState;
use crate::api::{ApprovalRequest, Kind, RoleActivation, RoleActivationStatus, Time};
use crate::kinds::role_eligibility::plan::role_of;
use crate::model::approval::gated::has_finalizer;
use crate::model::approval::policy_status::Integrity;
use crate::model::approval::scope::NotReady;
use crate::model::naming;
use crate::model::rbac::activation::{
    Eligible, Evaluation, EvaluationInput, NotEligible, Requester, Step, end_of, evaluate_activation,
    find_requester, is_eligible, person, request_name,
};
use crate::model::rbac::grants::{Grant, RoleHolding, Scope, compare_rights, find_conflict};
use crate::plan::conditions::{Status, Wanted, build_conditions};
use crate::plan::gated::{is_unmarked, plan_confirmation};
use crate::plan::lock::list_some;
use crate::plan::parent::Parent;
use crate::plan::rbac::grants::{AccessPlan, Objects, RbacState, plan_access};
use crate::plan::rbac::role_scope::RoleScope;
use crate::plan::status::describe_error;
use crate::plan::{ConfirmBy, Plan, PlannedEvent, Severity, Write};

/// The observed state of an activation.
#[derive(Clone, Debug)]
pub struct ObservedActivation {
    pub activation: Arc<RoleActivation>,
    /// The eligibility that it names, or why there is none in force.
    pub eligibility: Result<Eligible, NotEligible>,
    /// Other roles of the person who activates, with which the role may be in conflict.
    pub others: Vec<RoleHolding>,
    /// The scope in which its role counts.
    pub role_scope: RoleScope,
    /// The parent in which it is declared.
    pub parent: Parent,
    /// The requests about it.
    pub requests: Vec<Arc<ApprovalRequest>>,
    /// Whether there are no other requests about it.
    pub knows_all_requests: bool,
    /// The observed RBAC objects of its rights.
    pub rbac_state: RbacState,
    /// The admission policies that the API server runs.
    pub policies: PolicyStatus,
    /// The objects that the person made while the role was held; in words.
    pub created_during_activation: Vec<String>,
    /// The time for which an activation that is over is kept.
    pub retain_for: SignedDuration,
}

/// Plans an activation. Its writes take no rights away: revocation never waits for them.
#[must_use]
pub fn plan_activation(observed: &ObservedActivation, now: Timestamp) -> Plan<RoleActivationStatus> {
    let activation = observed.activation.as_ref();
    let known = activation.status.as_ref().and_then(|status| status.state);
    let name = request_name(activation);
    let request = observed.requests.iter().find(|request| request.name_any() == name);
    if known.is_some_and(ActivationState::is_final) {
        // The activation may have ended before its request said that it began.
        let began = activation.status.as_ref().is_some_and(|status| status.ends_at.is_some());
        let mark = plan_mark(request.filter(|_| began), now);
        let plan = plan_retention(observed, now);
        return Plan { writes: mark.into_iter().chain(plan.writes).collect(), ..plan };
    }
    let inherited_policy = observed.role_scope.rules(&observed.parent, "RoleActivations");
    let inherited_policy = inherited_policy.unwrap_or_else(|error| {
        Err(NotReady { reason: reason::APPLIED_UNREADABLE, message: describe_error(&error) })
    });
    let conflict = inherited_policy.as_ref().ok().filter(|outer| outer.refuses_conflicts).and_then(|_| {
        let role = observed.eligibility.as_ref().ok()?.spec.role;
        find_conflict(role, observed.role_scope.scope.as_ref()?, &observed.others)
    });
    // An activation ends when the conflict is refused, and waits while nobody can tell whether it is.
    let (inherited_policy, conflict) = match (conflict, observed.role_scope.conflicts) {
        (Some(conflict), None) => {
            let message = format!(
                "{conflict}; while what is applied of a Community cannot be read nobody can tell whether that is refused"
            );
            (Err(NotReady { reason: reason::APPLIED_UNREADABLE, message }), None)
        }
        (conflict, _) => (inherited_policy, conflict),
    };
    let input = EvaluationInput {
        eligibility: observed.eligibility.as_ref(),
        conflict,
        request: request.map(AsRef::as_ref),
        knows_all_requests: observed.knows_all_requests,
        inherited_policy: inherited_policy.as_ref(),
        policies: &observed.policies,
        now,
    };
    let evaluation = evaluate_activation(activation, &input).unwrap_or_else(|error| Evaluation {
        state: known,
        reason: reason::APPLIED_UNREADABLE,
        message: error.to_string(),
        starts_at: None,
        ends_at: None,
        step: Step::Nothing,
    });
    if evaluation.step == Step::Unknown {
        return Plan { waits_for_requests: true, ..Plan::nothing() };
    }
    let wakes = [evaluation.starts_at, evaluation.ends_at].into_iter().flatten().filter(|at| *at > now);
    let requeue_at = wakes.min();
    let (mut writes, opens) = plan_step(observed, &evaluation, request, now);
    let is_new = activation.status.as_ref().is_none_or(|status| status.stamps.is_none());
    if is_new
        && observed.policies.integrity == Integrity::Intact
        && !matches!(evaluation.step, Step::Begin(_))
    {
        // From now on the stamps are believed, so the API server is asked whether it really runs the admission
        // policies.
        let by = ConfirmBy::Get(Kind::RoleActivation);
        writes.insert(0, Write::ConfirmPolicies { fingerprint: observed.policies.fingerprint.clone(), by });
    }
    let is_bound = opens.is_empty();
    let status =
        build_status(observed, &evaluation, request.map(|request| request.name_any()), is_bound, now);
    // An activation that begins without anybody's decision is no news.
    let is_usual = evaluation.state == Some(ActivationState::Active) && request.is_none();
    let is_shown = evaluation.state.is_some() && evaluation.state != known && !is_usual;
    let events = is_shown.then(|| event(&evaluation));
    let mut plan = Plan {
        repairs: opens,
        writes,
        beside: Vec::new(),
        status: Some(status),
        events: events.into_iter().collect(),
        requeue_at,
        waits_for_requests: false,
    };
    plan.add_impact(|| {
        let Ok(Eligible { spec, .. }) = &observed.eligibility else { return Default::default() };
        let user = find_requester(activation).map(|requester| person(&requester.user));
        let role = role_of(spec, &observed.role_scope, String::new(), None);
        compare_rights(None, Some(&Grant { principals: user.into_iter().collect(), ..role }), "")
    });
    plan
}

/// Returns the grant of an activation; `None` when it is not active, or should not be. The time is not checked.
#[must_use]
pub fn grant_of_activation(
    activation: &RoleActivation,
    eligibility: Option<&Eligible>,
    role_scope: &RoleScope,
) -> Option<Grant> {
    let status = activation.status.as_ref()?;
    let Eligible { uid, spec } = eligibility?;
    let is_meant = status.eligibility_uid.as_ref() == Some(uid) && status.role == Some(spec.role);
    let is_active = status.state == Some(ActivationState::Active)
        && !activation.spec.deactivate
        && activation.metadata.deletion_timestamp.is_none();
    let requester = find_requester(activation).filter(|requester| is_eligible(spec, requester))?;
    if !is_meant || !is_active || status.stamps != Some(requester.digest()) {
        return None;
    }
    let (start, end) = (status.starts_at.as_ref()?.0, status.ends_at.as_ref()?.0);
    let end = end.min(end_of(activation, spec, start));
    let namespace = role_scope.scope.as_ref().map(Scope::namespace)?;
    let name = naming::grant(Kind::RoleActivation, namespace, &activation.name_any());
    let principals = [person(&requester.user)].into();
    Some(Grant { principals, ..role_of(spec, role_scope, name, Some(end)) })
}

/// Returns the writes that come before the status, and the writes that give the rights of an active role.
fn plan_step(
    observed: &ObservedActivation,
    evaluation: &Evaluation,
    request: Option<&Arc<ApprovalRequest>>,
    now: Timestamp,
) -> (Vec<Write>, Vec<Write>) {
    match &evaluation.step {
        Step::CreateRequest(request) => (vec![Write::CreateRequest(request.clone())], Vec::new()),
        Step::Begin(basis) => (
            plan_confirmation(Kind::RoleActivation, basis.clone(), &observed.policies.fingerprint),
            Vec::new(),
        ),
        Step::Nothing if evaluation.state == Some(ActivationState::Active) => {
            let mark = plan_mark(request, now);
            let eligible = observed.eligibility.as_ref().ok();
            let grant = grant_of_activation(&observed.activation, eligible, &observed.role_scope);
            let grants: Vec<Grant> = grant.into_iter().collect();
            let AccessPlan { opens, .. } = plan_access(&grants, &observed.rbac_state, now);
            (mark.into_iter().collect(), opens)
        }
        Step::Nothing | Step::Unknown => (Vec::new(), Vec::new()),
    }
}

/// Says on the request that its activation began.
fn plan_mark(request: Option<&Arc<ApprovalRequest>>, now: Timestamp) -> Option<Write> {
    let request = request.filter(|request| is_unmarked(request))?;
    Some(Write::MarkEnacted { request: Arc::clone(request), at: now })
}

fn build_status(
    observed: &ObservedActivation,
    evaluation: &Evaluation,
    request: Option<String>,
    is_bound: bool,
    now: Timestamp,
) -> RoleActivationStatus {
    let activation = observed.activation.as_ref();
    let before = activation.status.clone().unwrap_or_default();
    let asked = match &evaluation.step {
        Step::CreateRequest(request) => Some(request.name_any()),
        Step::Nothing | Step::Begin(_) | Step::Unknown => request,
    };
    let is_active = evaluation.state == Some(ActivationState::Active);
    let is_over = evaluation.state.is_some_and(ActivationState::is_final);
    let ready =
        if is_active && is_bound && evaluation.step == Step::Nothing { Status::True } else { Status::False };
    let message = evaluation.message.clone();
    let mut wanted = vec![Wanted {
        type_: condition::READY,
        status: ready,
        reason: evaluation.reason,
        message: message.clone(),
    }];
    if !is_over && ready == Status::False {
        let (type_, status) = (condition::RECONCILING, Status::True);
        wanted.push(Wanted { type_, status, reason: evaluation.reason, message });
    }
    let asked_by = find_requester(activation);
    let generation = activation.metadata.generation;
    let role = observed.eligibility.as_ref().ok().map(|eligible| eligible.spec.role);
    let uid = observed.eligibility.as_ref().ok().map(|eligible| eligible.uid.clone());
    // The eligibility that was meant when the role was asked for is remembered; another one of its name changes
    // nothing.
    let eligible = observed.eligibility.as_ref().ok();
    let notify = eligible.map(|eligible| eligible.spec.activation.notify.clone()).unwrap_or_default();
    let (role, uid, notify) = match evaluation.state.or(before.state) {
        Some(_) if before.state.is_some() => (before.role, before.eligibility_uid, before.notify),
        Some(_) => (role, uid, notify),
        None => (None, None, Vec::new()),
    };
    RoleActivationStatus {
        observed_generation: generation,
        state: evaluation.state.or(before.state),
        stamps: before.stamps.or_else(|| asked_by.as_ref().map(Requester::digest)),
        user: before.user.or_else(|| asked_by.map(|requester| requester.user)),
        role,
        notify,
        eligibility_uid: uid,
        approval_request: asked.or(before.approval_request),
        starts_at: evaluation.starts_at.map(Time),
        ends_at: evaluation.ends_at.map(Time),
        created_during_activation: before.created_during_activation,
        audit: before.audit,
        conditions: build_conditions(&before.conditions, wanted, generation, now),
    }
}

fn event(evaluation: &Evaluation) -> PlannedEvent {
    use ActivationState::{Active, Deactivated, Expired, PendingApproval, Scheduled};
    let is_usual =
        matches!(evaluation.state, Some(Active | Deactivated | Expired | PendingApproval | Scheduled));
    let severity = if is_usual { Severity::Normal } else { Severity::Warning };
    PlannedEvent { severity, reason: evaluation.reason, message: evaluation.message.clone() }
}

/// Removes the finalizer of an activation that is being deleted when nothing of its rights is left, and when its end
/// was delivered.
fn plan_finalization(observed: &ObservedActivation) -> Plan<RoleActivationStatus> {
    let activation = observed.activation.as_ref();
    let is_delivered = activation.status.as_ref().is_none_or(|status| status.audit.is_delivered());
    let is_finalized =
        has_finalizer(activation) && is_delivered && observed.rbac_state.live == Objects::default();
    Plan { writes: is_finalized.then_some(Write::RemoveFinalizer).into_iter().collect(), ..Plan::nothing() }
}

/// Plans an activation that is over: it lists what was left behind, and is deleted when it is old.
fn plan_retention(observed: &ObservedActivation, now: Timestamp) -> Plan<RoleActivationStatus> {
    let activation = observed.activation.as_ref();
    let status = activation.status.as_ref();
    let ended = status.and_then(|status| status.conditions.first()).map(|ready| ready.last_transition_time.0);
    if activation.metadata.deletion_timestamp.is_some() {
        return plan_finalization(observed);
    }
    let Some(ended) = ended.or_else(|| activation.creation_timestamp().map(|at| at.0)) else {
        return Plan::nothing();
    };
    let until = ended.saturating_add(observed.retain_for).unwrap_or(Timestamp::MAX);
    if now >= until && status.is_none_or(|status| status.audit.is_delivered()) {
        return Plan { writes: vec![Write::DeleteSelf], ..Plan::nothing() };
    }
    let created_during_activation = list_some(&observed.created_during_activation);
    let status = status.map(|status| RoleActivationStatus { created_during_activation, ..status.clone() });
    Plan { status, requeue_at: Some(until), ..Plan::nothing() }
}
