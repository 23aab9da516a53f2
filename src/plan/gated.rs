//! The plan of every gated object: from the gate over what is enforced to the writes. A kind adds
//! which rules count, what is to be enforced, and what stands in the way of its deletion.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::status::{describe_error, describe_gate};
use super::{Plan, Write};

use crate::api::approval_request::RequestState;
use crate::api::gate::{Applied, Reference};
use crate::api::names::reason;
use crate::api::reading::Unreadable;
use crate::api::{ApprovalRequest, GateStatus, Kind};
use crate::model::approval::applied::{EvaluationError, applied_spec};
use crate::model::approval::change::{Basis, Evaluation, EvaluationInput, Hold, evaluate};
use crate::model::approval::gated::{Gated, has_finalizer};
use crate::model::approval::policy_status::PolicyStatus;
use crate::model::approval::scope::{InheritedPolicy, NotReady};
use crate::plan::ConfirmBy;
use crate::plan::enforcement::{Enforcement, Gate, Standing, WasEnforced, was_enforced};
use crate::plan::parent::Parent;

/// A gated object and its surroundings, as they were observed.
#[derive(Clone, Debug)]
pub struct ObservedGated<K> {
    /// The object.
    pub object: Arc<K>,
    /// The Community or Enclave that it is declared in.
    pub parent: Parent,
    /// Requests about this very object.
    pub requests: Vec<Arc<ApprovalRequest>>,
    /// Whether these are all requests about it.
    pub knows_all_requests: bool,
    /// The admission policies that the API server runs.
    pub policies: PolicyStatus,
}

impl<K: Gated> ObservedGated<K> {
    /// The UID of the object, which is on the namespace that is made for it.
    #[must_use]
    pub fn uid(&self) -> String {
        self.object.meta().uid.clone().unwrap_or_default()
    }
}

/// The inputs that a kind adds to the plan that all gated kinds share.
pub struct GatedInputs<E> {
    /// The rules around the object, or the reason why they are not known.
    pub inherited_policy: Result<InheritedPolicy, NotReady>,
    /// The objects that it names by UID.
    pub references: Option<Vec<Reference>>,
    /// A function that enforces the applied spec or, when none is applied, checks whether the spec could be
    /// enforced.
    pub enforce: E,
}

/// The inputs for the deletion of an object, whatever can be read of it or of its surroundings.
pub struct Finalization<R> {
    /// The obstacle to its deletion, in words.
    pub in_use: Option<String>,
    /// A function that returns, as an error, what has to go before the object can, in words and with the writes
    /// for that; when all is gone, the writes that confirm that.
    pub remove: R,
}

/// Plans a gated object. When a stored content cannot be read, nothing new is evaluated and what exists is kept
/// as it is; `keep` returns the writes for that.
pub fn plan_gated<K, E, R>(
    declared: &ObservedGated<K>,
    finalization: Finalization<R>,
    inputs: Result<GatedInputs<E>, EvaluationError>,
    keep: impl FnOnce() -> Vec<Write>,
    now: Timestamp,
) -> Plan<GateStatus>
where
    K: Gated,
    E: Fn(Option<&K::Spec>) -> (Enforcement, Vec<Write>),
    R: FnOnce() -> Result<Vec<Write>, (String, Vec<Write>)>,
{
    let object = declared.object.as_ref();
    if object.meta().deletion_timestamp.is_some() {
        let repair = || match (inputs, applied_spec(object)) {
            (Ok(inputs), Ok(applied)) => {
                applied.map(|applied| (inputs.enforce)(Some(&applied)).1).unwrap_or_default()
            }
            (Err(_), _) | (_, Err(_)) => keep(),
        };
        return plan_finalization(declared, finalization, repair, now);
    }
    inputs.and_then(|inputs| try_plan(declared, finalization.in_use, inputs, now)).unwrap_or_else(|error| {
        let why = NotReady { reason: reason::APPLIED_UNREADABLE, message: describe_error(&error) };
        let is_applied = object.gate().is_some_and(|gate| gate.applied.is_some());
        let repairs = if is_applied { keep() } else { Vec::new() };
        Plan { repairs, ..blocked(declared, why, now) }
    })
}

fn try_plan<K, E>(
    declared: &ObservedGated<K>,
    in_use: Option<String>,
    inputs: GatedInputs<E>,
    now: Timestamp,
) -> Result<Plan<GateStatus>, EvaluationError>
where
    K: Gated,
    E: Fn(Option<&K::Spec>) -> (Enforcement, Vec<Write>),
{
    let GatedInputs { inherited_policy, references, enforce } = inputs;
    let object = declared.object.as_ref();
    let repair = |spec: Option<&K::Spec>| spec.map(|spec| enforce(Some(spec)).1).unwrap_or_default();
    let gate = plan_gate(
        object,
        &declared.requests,
        &EvaluationInput {
            requests: declared.requests.iter().map(AsRef::as_ref).collect(),
            knows_all_requests: declared.knows_all_requests,
            inherited_policy,
            references,
            policies: &declared.policies,
            now,
        },
    )?;
    let applied = gate.applied.as_ref().map(|applied| applied.spec.to_spec::<K::Spec>());
    let applied = applied.transpose().map_err(EvaluationError::AppliedUnreadable)?;
    if gate.standing != Standing::Enacting && applied.as_ref().is_some_and(K::retires) {
        return Ok(plan_retirement(declared, gate, in_use, repair(applied.as_ref()), now));
    }
    // An approved content is put into force even when the spec was edited again since.
    let is_not_all = gate.applied.as_ref().map(|applied| applied.generation) != object.meta().generation;
    let (enforcement, repairs) = match gate.standing {
        // Enforcing starts with the next observation, when what is applied is stored. Until then the content that
        // was applied before is kept in shape, and closed as far as it has to be.
        Standing::Enacting if K::IS_MADE || is_not_all || applied.as_ref().is_some_and(K::retires) => {
            (Enforcement::InProgress, repair(applied_spec(object)?.as_ref()))
        }
        _ => enforce(applied.as_ref()),
    };
    if gate.standing == Standing::Unknown {
        return Ok(Plan { repairs, writes: gate.writes, waits_for_requests: true, ..Plan::nothing() });
    }
    Ok(conclude(declared, gate, &enforcement, repairs, now))
}

/// Plans an object that is being deleted. It takes along what it owns, and goes itself when all that happened to
/// it is delivered.
fn plan_finalization<K: Gated, R>(
    declared: &ObservedGated<K>,
    finalization: Finalization<R>,
    repair: impl FnOnce() -> Vec<Write>,
    now: Timestamp,
) -> Plan<GateStatus>
where
    R: FnOnce() -> Result<Vec<Write>, (String, Vec<Write>)>,
{
    let object = declared.object.as_ref();
    if !has_finalizer(object) {
        return Plan::nothing();
    }
    let applied = object.gate().and_then(|gate| gate.applied.as_ref());
    // The request of a change that came into force is marked as enacted even when the object goes at once: those
    // who decided it learn so.
    let enacted = plan_enacted_requests(applied, &declared.requests, now);
    let blocked_by = |reason, message| blocked(declared, NotReady { reason, message }, now);
    if let Some(message) = finalization.in_use {
        return Plan { repairs: repair(), writes: enacted, ..blocked_by(reason::CHILDREN_EXIST, message) };
    }
    match (finalization.remove)() {
        // From now on nothing waits for this object, so it has to be true that nothing of it is left.
        Ok(confirm) if !object.gate().is_none_or(|gate| gate.audit.is_delivered()) => {
            let message = "being deleted: all that it owned is gone, and it goes when the audit stream has taken what happened to it (status.audit)";
            let writes = enacted.into_iter().chain(confirm).collect();
            Plan { writes, ..blocked_by(reason::AUDIT_PENDING, message.to_owned()) }
        }
        Ok(confirm) => {
            let message = "being deleted: all that it owned is gone".to_owned();
            let writes = enacted.into_iter().chain(confirm).chain([Write::RemoveFinalizer]).collect();
            Plan { writes, ..blocked_by(reason::TERMINATING, message) }
        }
        // Repairs close access while the object goes, too.
        Err((message, writes)) => {
            let writes = writes.into_iter().chain(enacted).collect();
            Plan { repairs: repair(), writes, ..blocked_by(reason::TERMINATING, message) }
        }
    }
}

/// Plans an approved retirement, which is carried out whatever is edited in the meantime. The request has to say
/// that it was enacted before the object is gone.
fn plan_retirement<K: Gated>(
    declared: &ObservedGated<K>,
    gate: Gate,
    in_use: Option<String>,
    repairs: Vec<Write>,
    now: Timestamp,
) -> Plan<GateStatus> {
    let writes = gate.writes.into_iter().filter(|write| !matches!(write, Write::CreateRequest(_)));
    match in_use {
        Some(message) => {
            let why = NotReady { reason: reason::CHILDREN_EXIST, message };
            Plan { writes: writes.collect(), repairs, ..blocked(declared, why, now) }
        }
        None => Plan { writes: writes.chain([Write::DeleteSelf]).collect(), ..Plan::nothing() },
    }
}

/// The plan of an object that is not evaluated: what is applied and what is pending stay as they are.
pub(crate) fn blocked<K: Gated>(
    declared: &ObservedGated<K>,
    why: NotReady,
    now: Timestamp,
) -> Plan<GateStatus> {
    let (gate, enforcement) = gate_of_blocked(declared.object.as_ref(), why);
    conclude(declared, gate, &enforcement, Vec::new(), now)
}

fn conclude<K: Gated>(
    declared: &ObservedGated<K>,
    gate: Gate,
    enforcement: &Enforcement,
    repairs: Vec<Write>,
    now: Timestamp,
) -> Plan<GateStatus> {
    let (status, events) = describe_gate(declared.object.as_ref(), &gate, enforcement, now);
    Plan {
        events,
        status: Some(status),
        repairs,
        writes: gate.writes,
        beside: Vec::new(),
        requeue_at: None,
        waits_for_requests: false,
    }
}

/// Evaluates the latest spec and turns the evaluation into writes and status.
///
/// # Errors
/// See [`evaluate`].
pub fn plan_gate<K: Gated>(
    object: &K,
    requests: &[Arc<ApprovalRequest>],
    input: &EvaluationInput<'_>,
) -> Result<Gate, EvaluationError> {
    let applied = object.gate().and_then(|gate| gate.applied.clone());
    let (evaluation, deletion_protected) = evaluate(object, input)?;
    match evaluation {
        Evaluation::InForce => {
            let writes = plan_post_enactment(object, applied.as_ref(), requests, input);
            Ok(Gate { applied, pending: None, standing: Standing::InForce, deletion_protected, writes })
        }
        // The objects that this one owns must not outlive it, so the finalizer comes before anything is recorded
        // as applied.
        Evaluation::Enact(..) if !has_finalizer(object) => Ok(Gate {
            applied,
            pending: object.gate().and_then(|gate| gate.pending.clone()),
            standing: Standing::Enacting,
            deletion_protected,
            writes: vec![Write::AddFinalizer],
        }),
        // The request of the content before it is marked as enacted first, because later nobody could tell that it was.
        // A change that only closes access does not wait for that.
        Evaluation::Enact(next, basis) => {
            let mut writes = match basis {
                Basis::OnlyCloses => Vec::new(),
                Basis::Approved { .. } | Basis::NoRule(_) => {
                    plan_enacted_requests(applied.as_ref(), requests, input.now)
                }
            };
            writes.extend(plan_confirmation(K::KIND, basis, &input.policies.fingerprint));
            Ok(Gate {
                applied: Some(next),
                pending: None,
                standing: Standing::Enacting,
                deletion_protected,
                writes,
            })
        }
        Evaluation::Blocked(why) => {
            let writes = plan_post_enactment(object, applied.as_ref(), requests, input);
            // A pending content that another version proposed goes on to wait.
            let is_newer = K::unreadable(object.spec()).is_none_or(Unreadable::is_only_newer);
            let pending = object.gate().and_then(|gate| gate.pending.clone()).filter(|_| is_newer);
            Ok(Gate { applied, pending, standing: Standing::Blocked(why), deletion_protected, writes })
        }
        Evaluation::Unknown => {
            let writes = plan_post_enactment(object, applied.as_ref(), requests, input);
            let pending = object.gate().and_then(|gate| gate.pending.clone());
            Ok(Gate { applied, pending, standing: Standing::Unknown, deletion_protected, writes })
        }
        Evaluation::Hold(Hold { pending, cause, new_request }) => {
            let mut writes = plan_post_enactment(object, applied.as_ref(), requests, input);
            writes.extend(new_request.map(Write::CreateRequest));
            Ok(Gate {
                applied,
                pending: Some(pending),
                standing: Standing::Held(cause),
                deletion_protected,
                writes,
            })
        }
    }
}

/// Returns the writes that confirm what has to be true at the API server, not only in caches, before something
/// takes effect.
pub(crate) fn plan_confirmation(kind: Kind, basis: Basis, fingerprint: &str) -> Vec<Write> {
    let policies = |by| Write::ConfirmPolicies { fingerprint: fingerprint.to_owned(), by };
    match basis {
        Basis::Approved { votes } => vec![policies(ConfirmBy::VotesCounted(kind, votes))],
        Basis::NoRule(origins) => std::iter::once(policies(ConfirmBy::List))
            .chain(origins.into_iter().map(Write::ConfirmRules))
            .collect(),
        Basis::OnlyCloses => Vec::new(),
    }
}

/// Returns the writes that are due once something is recorded as applied: its request is marked as enacted. The
/// requesters stay in the annotations: admission starts a new list with the next change.
fn plan_post_enactment<K: Gated>(
    object: &K,
    applied: Option<&Applied>,
    requests: &[Arc<ApprovalRequest>],
    input: &EvaluationInput<'_>,
) -> Vec<Write> {
    let Some(applied) = applied else { return Vec::new() };
    // Somebody may have taken the finalizer off while no admission policy was watching.
    if !has_finalizer(object) {
        return vec![Write::AddFinalizer];
    }
    plan_enacted_requests(Some(applied), requests, input.now)
}

/// Returns the writes that mark the request of what is applied as enacted. A change that replaces it makes them
/// first.
pub(crate) fn plan_enacted_requests(
    applied: Option<&Applied>,
    requests: &[Arc<ApprovalRequest>],
    now: Timestamp,
) -> Vec<Write> {
    let Some(applied) = applied else { return Vec::new() };
    let came_from = |request: &&Arc<ApprovalRequest>| {
        applied.approval_request.as_ref() == Some(&request.name_any()) && is_unmarked(request)
    };
    // The mark may be written a while later.
    let at = applied.at.0.min(now);
    let enacted = requests.iter().filter(came_from);
    enacted.map(|request| Write::MarkEnacted { request: Arc::clone(request), at }).collect()
}

/// Whether a request is Approved and not marked as enacted. Only the record of what is applied can tell that it
/// was enacted: votes and times that differ by now are no reason to doubt that.
pub(crate) fn is_unmarked(request: &ApprovalRequest) -> bool {
    request.spec.unreadable.is_none()
        && request
            .status
            .as_ref()
            .is_some_and(|status| status.state == Some(RequestState::Approved) && status.enacted_at.is_none())
}

/// Returns the gate and the enforcement of an object that cannot be evaluated: what is applied and what is
/// pending stay as they are, and the conditions say what is missing.
#[must_use]
pub fn gate_of_blocked<K: Gated>(object: &K, why: NotReady) -> (Gate, Enforcement) {
    let terminating = matches!(why.reason, reason::TERMINATING | reason::AUDIT_PENDING).then(|| why.clone());
    let gate = Gate {
        applied: object.gate().and_then(|gate| gate.applied.clone()),
        pending: object.gate().and_then(|gate| gate.pending.clone()),
        standing: Standing::Blocked(why),
        deletion_protected: object.gate().and_then(|gate| gate.deletion_protected).unwrap_or_default(),
        writes: Vec::new(),
    };
    let enforcement = match (terminating, was_enforced(object)) {
        (Some(why), _) => Enforcement::Blocked(why),
        (None, WasEnforced::Yes) => Enforcement::Complete,
        (None, WasEnforced::No) => Enforcement::Nothing,
    };
    (gate, enforcement)
}
