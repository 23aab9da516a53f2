//! The part of a plan that all gated kinds share: hold, request, enact, and how that is shown.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::{ConfirmBy, Write};

use crate::api::approval_request::RequestState;
use crate::api::gate::{Applied, Pending};
use crate::api::names::reason;
use crate::api::reading::Unreadable;
use crate::api::{ApprovalRequest, Kind};
use crate::model::approval::applied::EvaluationError;
use crate::model::approval::change::{Basis, Evaluation, EvaluationInput, Hold, HoldCause, evaluate};
use crate::model::approval::gated::{Gated, has_finalizer};
use crate::model::approval::scope::NotReady;
use crate::plan::enforcement::{Enforcement, WasEnforced, was_enforced};

/// The result of evaluating the latest spec, before anything is enforced.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// The content that is to be enforced from now on.
    pub applied: Option<Applied>,
    /// The content that waits.
    pub pending: Option<Pending>,
    /// The standing of the latest spec.
    pub standing: Standing,
    /// Whether the rules hold the deletion of the object.
    pub deletion_protected: bool,
    /// Writes that the gate needs.
    pub writes: Vec<Write>,
}

/// The standing of the latest spec.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// The latest spec is applied.
    InForce,
    /// The latest spec is being recorded as applied. Enforcing starts when that is stored.
    Enacting,
    /// The latest spec waits, for this cause.
    Held(HoldCause),
    /// The latest spec is not evaluated: it cannot be read, something around it is missing, or the object is
    /// being deleted.
    Blocked(NotReady),
    /// The latest spec is not evaluated before all requests are known. The status stays as it is.
    Unknown,
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
