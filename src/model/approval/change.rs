//! The lifecycle of a change: what becomes of a spec that differs from what is applied.

use crate::model::approval::policy_status::PolicyStatus;
use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::approval_request::{EffectivePolicy, RequestState};
use crate::api::approvals::Operation;
use crate::api::common::ChangeReason;
use crate::api::gate::{Applied, Pending, Reference};
use crate::api::names::reason;
use crate::api::reading::Unreadable;
use crate::api::{ApprovalRequest, Content, Time, names};
use crate::model::approval::applied::{EvaluationError, applied_spec, describe_cause};
use crate::model::approval::approval_policy::Requirement;
use crate::model::approval::diff::describe_changes;
use crate::model::approval::gated::{Gated, has_finalizer};
use crate::model::approval::policy_status::Integrity;
use crate::model::approval::proposal::{About, Proposal, baseline, build_request};
use crate::model::approval::request::{is_under_policies, is_validly_approved};
use crate::model::approval::scope::{InheritedPolicy, NotReady, RulesOrigin};
use crate::model::approval::votes::{Tally, describe_votes, tally};
use crate::model::digest::digest;

/// The result of the evaluation of a spec.
#[derive(Clone, Debug, PartialEq)]
pub enum Evaluation {
    /// The spec is what is applied.
    InForce,
    /// This is to be recorded as applied.
    Enact(Applied, Basis),
    /// The spec waits, and what is applied stays in force.
    Hold(Hold),
    /// The outcome of the request that the spec may wait for is not known yet; nothing changes until then.
    Unknown,
    /// The spec, or a content that was approved, cannot be read, so nothing is asked for or put into force.
    Blocked(NotReady),
}

/// The reason why a content may be recorded as applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Basis {
    /// The content is approved, by these votes of a request ([`describe_votes`]).
    Approved { votes: String },
    /// These rules, as they were read, ask for no approval.
    NoRule(Vec<RulesOrigin>),
    /// The content only takes access away, which never waits.
    OnlyCloses,
}

/// A spec that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// The pending content, as recorded in status.
    pub pending: Pending,
    /// The reason why it waits.
    pub cause: HoldCause,
    /// The request to be made for it, when there is none yet.
    pub new_request: Option<Box<ApprovalRequest>>,
}

/// The reason why a spec waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldCause {
    /// Votes are missing; in words, which.
    AwaitingApproval { missing: String },
    /// The request was rejected; in words, by whom and why.
    Rejected { message: String },
    /// The request was not decided in time.
    Expired,
    /// The admission policies are not what they must be; in words, what differs.
    PoliciesNotIntact { what: String },
    /// The admission policies were changed a moment ago.
    PoliciesPropagating,
    /// The API server did not stamp who made this change.
    RequesterUnknown,
    /// The rules ask for a justification and there is none.
    JustificationMissing,
    /// The rules that count are not known yet.
    RulesUnknown(NotReady),
    /// The content names an object that was deleted and made again, or changed after it was asked for; in words, which.
    ReferenceReplaced { what: String },
}

/// The input of the evaluation of a spec.
pub struct EvaluationInput<'a> {
    /// All requests about this very object (same UID).
    pub requests: Vec<&'a ApprovalRequest>,
    /// Whether there are no other requests.
    pub knows_all_requests: bool,
    /// The applied approval rules of the scopes around the object, or why they are not known; its
    /// own are added by the evaluation.
    pub inherited_policy: Result<InheritedPolicy, NotReady>,
    /// The objects that the spec names, as they are now; `None` when one of them does not exist, or
    /// when the kind refers to nothing by UID.
    pub references: Option<Vec<Reference>>,
    /// The admission policies that the API server runs.
    pub policies: &'a PolicyStatus,
    /// The time.
    pub now: Timestamp,
}

/// Evaluates the latest spec of an object. Returns the evaluation, and whether the rules hold the deletion of the object.
///
/// Rules are taken from what is applied, never from the spec that is being evaluated: a change of
/// the rules is evaluated under the old ones. A request, once made, is evaluated by its own copy.
///
/// # Errors
/// When stored contents cannot be read or compared; what is applied then stays in force.
pub fn evaluate<K: Gated>(
    object: &K,
    input: &EvaluationInput<'_>,
) -> Result<(Evaluation, bool), EvaluationError> {
    let evaluation = evaluate_spec(object, input)?;
    // A new content counts for the protection of the object from the moment on in which it is recorded, for which the
    // object needs its finalizer.
    let applied = match &evaluation {
        Evaluation::Enact(next, _) if has_finalizer(object) => Some(next),
        _ => object.gate().and_then(|gate| gate.applied.as_ref()),
    };
    let deletion_protected = is_deletion_protected(object, applied, input)?;
    Ok((evaluation, deletion_protected))
}

fn evaluate_spec<K: Gated>(object: &K, input: &EvaluationInput<'_>) -> Result<Evaluation, EvaluationError> {
    let gate = object.gate();
    let applied = gate.and_then(|gate| gate.applied.as_ref());
    let before = applied_spec(object)?;

    if let Some(approved) = oldest_approved(applied, &input.requests, &input.policies.fingerprint) {
        // Another version asked for it. This one does not put into force what it cannot read.
        if let Err(error) = approved.spec.change.after.to_spec::<K::Spec>() {
            let what = format!(
                "what ApprovalRequest {} asks for cannot be read by this version of the operator ({}); it is put into force by a version that can",
                approved.name_any(),
                describe_cause(&error),
            );
            return Ok(Evaluation::Blocked(spec_unreadable(&what, applied)));
        }
        return match hold_for_policies(&input.policies.integrity) {
            None => Ok(Evaluation::Enact(
                applied_from(approved, input.now),
                Basis::Approved { votes: describe_votes(approved) },
            )),
            Some(cause) => Ok(Evaluation::Hold(Hold {
                pending: Pending {
                    generation: approved.spec.target.generation,
                    digest: approved.spec.change.digest.clone(),
                    operations: approved.spec.operations.clone(),
                    approval_request: Some(approved.name_any()),
                    since: since(object, approved.spec.target.generation, input.now),
                },
                cause,
                new_request: None,
            })),
        };
    }

    let after = K::without_change_reason(object.spec());
    let closed = before.as_ref().map(|before| K::restrict(before, &after));
    if let (Some(applied), Some(closed)) = (applied, closed.filter(|closed| Some(closed) != before.as_ref()))
    {
        return Ok(Evaluation::Enact(close(object, applied, &closed, &after, input.now)?, Basis::OnlyCloses));
    }
    if let Some(unreadable) = K::unreadable(object.spec()) {
        return Ok(Evaluation::Blocked(spec_unreadable(&describe_unreadable(unreadable), applied)));
    }
    let replaced = applied.and_then(|applied| {
        let now = input.references.as_deref().unwrap_or_default();
        Reference::find_replaced(&applied.references, now)
    });
    if before.as_ref() == Some(&after) && replaced.is_none() {
        return Ok(Evaluation::InForce);
    }

    let content = Content::of_spec(&after).map_err(EvaluationError::SpecUnwritable)?;
    let mut operations = K::operations(before.as_ref(), &after);
    if replaced.is_some() {
        // A content that leads to another object than the one that was meant is new.
        operations.extend(K::operations(None, &after));
    }
    let proposal = Proposal {
        generation: object.meta().generation.unwrap_or_default(),
        digest: digest(&content).map_err(EvaluationError::Digest)?,
        operations,
        before: applied.map(|applied| applied.spec.clone()),
        after: content,
        references: input.references.clone().unwrap_or_default(),
    };
    let requirement = |outer: &InheritedPolicy| {
        requirement::<K>(before.as_ref(), &after, &proposal.operations, outer).to_policy()
    };
    if !input.knows_all_requests && may_be_asked_for(object, &proposal, &input.requests) {
        return Ok(Evaluation::Unknown);
    }
    // Whoever made the other object did not ask for this.
    let nobody_asked = replaced.filter(|_| before.as_ref() == Some(&after) && !is_edited(object, applied));
    Ok(match check_approval(object, &proposal, nobody_asked, requirement, input) {
        Ok((applied, origins)) => Evaluation::Enact(applied, Basis::NoRule(origins)),
        Err(Waiting { cause, approval_request, new_request }) => Evaluation::Hold(Hold {
            pending: Pending {
                generation: proposal.generation,
                digest: proposal.digest,
                operations: proposal.operations.into_iter().collect(),
                approval_request,
                since: since(object, proposal.generation, input.now),
            },
            cause,
            new_request,
        }),
    })
}

/// Describes what cannot be read of a spec, and what to do.
#[must_use]
pub fn describe_unreadable(unreadable: &Unreadable) -> String {
    let what_to_do = if unreadable.is_only_newer() {
        "another version of the operator knows it; use that version, or correct the field"
    } else {
        "correct the field"
    };
    format!("the spec cannot be read, so nobody can be asked for it: {unreadable}; {what_to_do}")
}

fn spec_unreadable(what: &str, applied: Option<&Applied>) -> NotReady {
    let in_force = if applied.is_some() { "; what was applied before stays in force" } else { "" };
    NotReady { reason: reason::SPEC_UNREADABLE, message: format!("{what}{in_force}") }
}

/// The reason why a proposal waits, and the request that it waits for.
struct Waiting {
    cause: HoldCause,
    approval_request: Option<String>,
    new_request: Option<Box<ApprovalRequest>>,
}

impl From<HoldCause> for Waiting {
    fn from(cause: HoldCause) -> Self {
        Self { cause, approval_request: None, new_request: None }
    }
}

/// Whether there may be a request for a proposal that is not among `requests`: its generation was looked at before.
fn may_be_asked_for<K: Gated>(object: &K, proposal: &Proposal, requests: &[&ApprovalRequest]) -> bool {
    let was_seen = object.gate().is_some_and(|gate| {
        let pending = gate.pending.as_ref().map(|pending| pending.generation);
        let applied = gate.applied.as_ref().map(|applied| applied.generation);
        [pending, applied, gate.observed_generation].contains(&Some(proposal.generation))
    });
    was_seen && requests.iter().all(|request| request.spec.target.generation != proposal.generation)
}

/// Checks whether a proposal needs an approval. Returns what to apply and the rules that ask for none, or why
/// the proposal waits.
fn check_approval<K: Gated>(
    object: &K,
    proposal: &Proposal,
    nobody_asked: Option<&Reference>,
    requirement: impl FnOnce(&InheritedPolicy) -> Option<EffectivePolicy>,
    input: &EvaluationInput<'_>,
) -> Result<(Applied, Vec<RulesOrigin>), Waiting> {
    let existing =
        input.requests.iter().find(|request| request.spec.target.generation == proposal.generation);
    if let Some(request) = existing {
        let meant = &request.spec.change.references;
        return Err(match Reference::find_changed(meant, &proposal.references) {
            Some(reference) => reference_replaced(reference, CHANGED).into(),
            None => {
                Waiting { approval_request: Some(request.name_any()), ..Waiting::from(cause_of(request)) }
            }
        });
    }
    if let Some(cause) = hold_for_policies(&input.policies.integrity) {
        return Err(cause.into());
    }
    let outer = input.inherited_policy.as_ref();
    let outer = outer.map_err(|missing| HoldCause::RulesUnknown(missing.clone()))?;
    if let (Some(terminating), None) = (&outer.terminating, &proposal.before) {
        return Err(HoldCause::RulesUnknown(terminating.clone()).into());
    }
    let Some(policy) = requirement(outer) else {
        let origins = outer.scopes.iter().map(|scope| scope.origin.clone()).collect();
        let applied = Applied {
            generation: proposal.generation,
            complete_for: object.uid(),
            digest: proposal.digest.clone(),
            spec: proposal.after.clone(),
            change: K::change_reason(object.spec()).cloned(),
            approval_request: None,
            at: Time(input.now),
            references: proposal.references.clone(),
        };
        return Ok((applied, origins));
    };
    if let Some(reference) = nobody_asked {
        return Err(reference_replaced(reference, MADE_AGAIN).into());
    }
    let requesters = requesters(object).ok_or(HoldCause::RequesterUnknown)?;
    let words = K::change_reason(object.spec()).cloned().unwrap_or_default();
    // The words for what is applied already are no words for another change.
    let applied = object.gate().and_then(|gate| gate.applied.as_ref());
    let used_up = applied.and_then(|applied| applied.change.as_ref()) == Some(&words);
    let is_filled = words.justification.as_ref().is_some_and(|text| !text.trim().is_empty());
    if policy.require_justification && (used_up || !is_filled) {
        return Err(HoldCause::JustificationMissing.into());
    }
    let about = About {
        kind: K::KIND,
        namespace: object.namespace(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        request_namespace: object.request_namespace(),
    };
    let changes = describe_changes(&baseline::<K>(proposal), &proposal.after);
    let request = build_request(&about, proposal, requesters, words, policy, changes, input.now);
    Err(Waiting {
        cause: cause_of(&request),
        approval_request: Some(request.name_any()),
        new_request: Some(Box::new(request)),
    })
}

/// Whether the rules hold the deletion of an object of which this is applied. An object that was never applied can
/// go: there is nothing in force to protect.
fn is_deletion_protected<K: Gated>(
    object: &K,
    applied: Option<&Applied>,
    input: &EvaluationInput<'_>,
) -> Result<bool, EvaluationError> {
    let applied = applied.map(|applied| applied.spec.to_spec::<K::Spec>()).transpose();
    Ok(match applied.map_err(EvaluationError::AppliedUnreadable)? {
        Some(spec) => match &input.inherited_policy {
            Ok(outer) => {
                let retired = K::retired(&spec);
                let operations = K::operations(Some(&spec), &retired);
                requirement::<K>(Some(&spec), &retired, &operations, outer).to_policy().is_some()
            }
            Err(_) => object.gate().and_then(|gate| gate.deletion_protected).unwrap_or_default(),
        },
        None => false,
    })
}

/// Everybody who changed the spec since it was last applied, as the API server stamped it;
/// `None` when it did not stamp the latest change.
#[must_use]
pub fn requesters<K: Gated>(object: &K) -> Option<Vec<String>> {
    let annotations = object.annotations();
    let stamped: i64 = annotations.get(names::REQUESTED_GENERATION)?.parse().ok()?;
    if object.meta().generation != Some(stamped) {
        return None;
    }
    let names: Vec<String> = annotations
        .get(names::REQUESTED_BY)?
        .split('\n')
        .filter(|name| !name.is_empty())
        .map(ToOwned::to_owned)
        .collect();
    (!names.is_empty()).then_some(names)
}

/// The closing part of a change, as the content that is applied from now on. When it is the whole change, it
/// takes the generation of the spec. Otherwise the rest of that generation is still to be evaluated: the part
/// keeps the applied generation then, since approved requests are enacted in their order, but is complete for
/// none. The rest of the change waits, and whoever contributed to it must stay a requester.
fn close<K: Gated>(
    object: &K,
    applied: &Applied,
    closed: &K::Spec,
    after: &K::Spec,
    now: Timestamp,
) -> Result<Applied, EvaluationError> {
    let spec = Content::of_spec(closed).map_err(EvaluationError::SpecUnwritable)?;
    let whole = (closed == after).then(|| object.meta().generation.unwrap_or_default());
    let words = K::change_reason(object.spec()).filter(|_| whole.is_some());
    Ok(Applied {
        generation: whole.unwrap_or(applied.generation),
        complete_for: whole.and_then(|_| object.uid()),
        digest: digest(&spec).map_err(EvaluationError::Digest)?,
        spec,
        change: words.or(applied.change.as_ref()).cloned(),
        at: Time(now),
        ..applied.clone()
    })
}

fn reference_replaced(reference: &Reference, what_happened: &str) -> HoldCause {
    let Reference { kind, namespace, name, .. } = reference;
    HoldCause::ReferenceReplaced { what: format!("{kind} {namespace}/{name} {what_happened}") }
}

const MADE_AGAIN: &str = "was deleted and made again";

const CHANGED: &str = "was changed after this was asked for";

fn is_edited<K: Gated>(object: &K, applied: Option<&Applied>) -> bool {
    applied.map(|applied| applied.generation) != object.meta().generation
}

fn hold_for_policies(integrity: &Integrity) -> Option<HoldCause> {
    match integrity {
        Integrity::Intact => None,
        Integrity::Propagating => Some(HoldCause::PoliciesPropagating),
        Integrity::Broken(what) => Some(HoldCause::PoliciesNotIntact { what: what.clone() }),
    }
}

/// The approved request to enact next. Requests are enacted in the order of their generations, and never one
/// that is older than what is applied. One that was approved under other admission policies is not believed:
/// it may have been written while one of them was away.
fn oldest_approved<'a>(
    applied: Option<&Applied>,
    requests: &[&'a ApprovalRequest],
    fingerprint: &str,
) -> Option<&'a ApprovalRequest> {
    requests
        .iter()
        .copied()
        .filter(|request| applied.is_none_or(|applied| request.spec.target.generation > applied.generation))
        .filter(|request| request.metadata.deletion_timestamp.is_none())
        .filter(|request| is_validly_approved(request))
        .filter(|request| is_under_policies(request, fingerprint))
        .min_by_key(|request| request.spec.target.generation)
}

fn applied_from(request: &ApprovalRequest, now: Timestamp) -> Applied {
    Applied {
        generation: request.spec.target.generation,
        complete_for: Some(request.spec.target.uid.clone()),
        digest: request.spec.change.digest.clone(),
        spec: request.spec.change.after.clone(),
        change: Some(ChangeReason {
            justification: request.spec.justification.clone(),
            ticket: request.spec.ticket.clone(),
        }),
        approval_request: Some(request.name_any()),
        at: Time(now),
        references: request.spec.change.references.clone(),
    }
}

fn requirement<K: Gated>(
    before: Option<&K::Spec>,
    after: &K::Spec,
    operations: &BTreeSet<Operation>,
    outer: &InheritedPolicy,
) -> Requirement {
    let own = before.and_then(K::approvals);
    let scopes = outer.scopes.iter().map(|scope| &scope.approvals).chain(own);
    let votes = Requirement::none().with_service_account_votes(outer.service_account_votes);
    let merged = scopes.fold(votes, |merged, rules| merged.merge(Requirement::of_scope(rules, operations)));
    match (own, before) {
        // Weakening the rules is gated by the rules.
        (Some(rules), Some(before)) if K::changes_rules(before, after) => {
            merged.merge(Requirement::of_changing_rules(rules))
        }
        _ => merged,
    }
}

fn since<K: Gated>(object: &K, generation: i64, now: Timestamp) -> Time {
    object
        .gate()
        .and_then(|gate| gate.pending.as_ref())
        .filter(|pending| pending.generation == generation)
        .map_or(Time(now), |pending| pending.since.clone())
}

fn cause_of(request: &ApprovalRequest) -> HoldCause {
    let status = request.status.as_ref();
    let message = || {
        status
            .and_then(|status| status.conditions.first())
            .map_or_else(|| "rejected".to_owned(), |condition| condition.message.clone())
    };
    match status.and_then(|status| status.state) {
        Some(RequestState::Rejected) => HoldCause::Rejected { message: message() },
        Some(RequestState::Expired) => HoldCause::Expired,
        _ => HoldCause::AwaitingApproval {
            missing: status.and_then(|status| status.missing.clone()).unwrap_or_else(|| {
                match tally(&request.spec, &[]) {
                    Tally::Undecided { missing } => missing,
                    Tally::Approved | Tally::Rejected { .. } => String::new(),
                }
            }),
        },
    }
}
