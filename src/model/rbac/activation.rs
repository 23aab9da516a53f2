//! The lifecycle of a RoleActivation: from what was asked for, and what is known now, to what becomes of it.

use crate::model::approval::policy_status::PolicyStatus;
use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::approval_request::{EffectivePolicy, RequestState};
use crate::api::approvals::{Approvals, Operation};
use crate::api::common::{ChangeReason, Principal, PrincipalKind};
use crate::api::names::{self, reason};
use crate::api::role_activation::ActivationState;
use crate::api::{ApprovalRequest, Content, Kind, RoleActivation, RoleEligibilitySpec};
use crate::model::approval::applied::EvaluationError;
use crate::model::approval::approval_policy::Requirement;
use crate::model::approval::change::Basis;
use crate::model::approval::proposal::{About, Proposal, build_request};
use crate::model::approval::request::{is_rightly_approved, is_under_policies};
use crate::model::approval::scope::{InheritedPolicy, NotReady};
use crate::model::approval::votes::describe_votes;
use crate::model::digest::{digest, sha256};
use crate::model::naming;

/// The time after which an activation lapses that nobody decides about, whatever the rules allow.
const LAPSES_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// The person who asks, as the API server stamped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    pub user: String,
    pub groups: BTreeSet<String>,
    /// The claim that says that the person logged in with more than a password.
    pub mfa: Option<String>,
}

impl Asker {
    /// Digest of all stamps, which must not change after they were believed once.
    #[must_use]
    pub fn digest(&self) -> String {
        let Self { user, groups, mfa } = self;
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        // No name has a line break in it.
        sha256(format!("{user}\n{}\n{}", mfa.as_deref().unwrap_or_default(), groups.join("\n")).as_bytes())
    }
}

/// An eligibility that is in force.
#[derive(Clone, Debug)]
pub struct Eligible {
    pub uid: String,
    /// The applied spec, without what the latest spec closes.
    pub spec: RoleEligibilitySpec,
}

/// The reason why no eligibility is in force, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotEligible {
    /// There is none.
    For(String),
    /// There is one, and it may be in force later.
    Yet(String),
}

/// The input of the evaluation of an activation.
pub struct EvaluationInput<'a> {
    /// The eligibility, or why there is none in force.
    pub eligibility: Result<&'a Eligible, &'a NotEligible>,
    /// The reason why the person must not have the role beside another, where that is refused; in words.
    pub conflict: Option<String>,
    /// The request about this activation.
    pub request: Option<&'a ApprovalRequest>,
    /// Whether there is no request if none is given.
    pub knows_all_requests: bool,
    /// The rules of the scopes around the activation.
    pub inherited_policy: Result<&'a InheritedPolicy, &'a NotReady>,
    /// The admission policies that the API server runs.
    pub policies: &'a PolicyStatus,
    pub now: Timestamp,
}

/// The result of the evaluation of an activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The state; `None` while nothing can be said, and the former one stays.
    pub state: Option<ActivationState>,
    /// One of [`crate::api::names::reason`].
    pub reason: &'static str,
    pub message: String,
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
    pub step: Step,
}

/// The step that has to be taken first.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Nothing,
    /// The request to make: somebody has to decide.
    Ask(Box<ApprovalRequest>),
    /// The start of the activation now, on this basis.
    Begin(Basis),
    /// Nothing, and the status stays as it is: somebody was asked, and the outcome is not known yet.
    Unknown,
}

impl Evaluation {
    fn new(state: ActivationState, reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { state: Some(state), reason, message, starts_at: None, ends_at: None, step: Step::Nothing }
    }

    fn wait(reason: &'static str, message: impl Into<String>) -> Self {
        Self { state: None, ..Self::new(ActivationState::Refused, reason, message) }
    }
}

/// The person who asked for an activation; `None` when the API server did not stamp it.
#[must_use]
pub fn asker(activation: &RoleActivation) -> Option<Asker> {
    let annotation = |key: &str| activation.annotations().get(key).filter(|value| !value.is_empty());
    let user = annotation(names::REQUESTED_BY)?.clone();
    let groups = annotation(names::REQUESTED_GROUPS).map_or("", String::as_str);
    Some(Asker {
        user,
        groups: groups.split('\n').filter(|group| !group.is_empty()).map(ToOwned::to_owned).collect(),
        mfa: annotation(names::REQUESTED_MFA).cloned(),
    })
}

/// The person who gets the role: never one of their groups.
#[must_use]
pub fn person(user: &str) -> Principal {
    Principal { kind: PrincipalKind::User, name: user.to_owned(), namespace: None }
}

/// Whether a person may activate the role.
#[must_use]
pub fn is_eligible(spec: &RoleEligibilitySpec, asker: &Asker) -> bool {
    spec.principals.iter().any(|principal| match principal.username() {
        Some(name) => name == asker.user,
        None => asker.groups.contains(&principal.name),
    })
}

/// The time at which an activation ends: after the duration that was asked for, no later than the eligibility allows.
#[must_use]
pub fn end_of(activation: &RoleActivation, spec: &RoleEligibilitySpec, start: Timestamp) -> Timestamp {
    let (asked, longest) = (activation.spec.duration.length(), spec.activation.max_duration.length());
    let end = start.saturating_add(asked.min(longest)).unwrap_or(Timestamp::MAX);
    spec.ends_at.as_ref().map_or(end, |last| end.min(last.0))
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Evaluates an activation. Reasons to end it come first, so that nothing keeps it.
///
/// # Errors
/// When its content cannot be written as data or has no digest.
pub fn evaluate_activation(
    activation: &RoleActivation,
    input: &EvaluationInput<'_>,
) -> Result<Evaluation, EvaluationError> {
    use ActivationState::{Active, Deactivated, Expired, Refused, Revoked};
    let now = input.now;
    let status = activation.status.clone().unwrap_or_default();
    let known = status.state;
    let starts_at = status.starts_at.as_ref().map(|at| at.0);
    let ends_at = status.ends_at.as_ref().map(|at| at.0);
    let ended = |state, reason, message: String| {
        // An activation that was never active has no end.
        let ends_at = (known == Some(Active)).then(|| ends_at.map_or(now, |end| end.min(now)));
        let starts_at = starts_at.filter(|_| known == Some(Active));
        Ok(Evaluation { starts_at, ends_at, ..Evaluation::new(state, reason, message) })
    };
    if known == Some(Active) && ends_at.is_none_or(|end| end <= now) {
        return ended(Expired, reason::ENDED, "its time is over".into());
    }
    let is_deleted = activation.metadata.deletion_timestamp.is_some();
    let unreadable = activation.spec.unreadable.as_deref().filter(|_| !is_deleted);
    let is_over = ends_at.is_some_and(|end| end <= now);
    if let Some(unreadable) = unreadable.filter(|unreadable| !unreadable.is_only_newer() || is_over) {
        let state = if known.is_some() { Revoked } else { Refused };
        let message = format!("it cannot be read ({unreadable}); create another activation");
        return ended(state, reason::SPEC_UNREADABLE, message);
    }
    if is_deleted || activation.spec.deactivate {
        let message = if is_deleted { "it was deleted" } else { "it was given back" };
        return ended(Deactivated, reason::DEACTIVATED, message.into());
    }
    // Lost means that there was something to lose.
    let lost = if known.is_some() { Revoked } else { Refused };
    let Some(asker) = asker(activation) else {
        let message = "the API server did not stamp who asked; create another activation";
        return match known {
            None => {
                Ok(Evaluation { starts_at, ends_at, ..Evaluation::wait(reason::REQUESTER_UNKNOWN, message) })
            }
            Some(_) => ended(Revoked, reason::REQUESTER_UNKNOWN, message.into()),
        };
    };
    let believed = status.stamps.as_ref();
    if believed.is_some_and(|believed| *believed != asker.digest()) {
        let message = "who asked was changed afterwards, so it is not believed; create another activation";
        return ended(lost, reason::REQUESTER_UNKNOWN, message.into());
    }
    // The stamps may be written by hand while the policies are away. Nobody could tell later.
    if let (None, None, None, Some(what)) = (unreadable, known, believed, input.policies.integrity.obstacle())
    {
        let message = format!(
            "it was asked for while the admission policies were not intact, so who asked is not believed ({what}); create another activation when they are"
        );
        return ended(Refused, reason::POLICIES_NOT_INTACT, message);
    }
    let eligible = match &input.eligibility {
        Ok(eligible) => *eligible,
        // Applied together, the eligibility is in force a moment later.
        Err(NotEligible::Yet(why))
            if known.is_none() && unreadable.is_none() && is_fresh(activation, now) =>
        {
            let message = format!("{why}; this goes on when it is");
            return Ok(Evaluation::wait(reason::NOT_ELIGIBLE, message));
        }
        Err(NotEligible::For(why) | NotEligible::Yet(why)) => {
            return ended(lost, reason::NOT_ELIGIBLE, why.clone());
        }
    };
    let spec = &eligible.spec;
    if let Some(why) = find_loss(activation, eligible, &asker, now) {
        return ended(lost, reason::NOT_ELIGIBLE, why);
    }
    if let Some(unreadable) = unreadable {
        // Only another version knows a part of it: it gets nothing new, and keeps what it has until its end.
        let message = format!("this version of the operator does not know what it is ({unreadable})");
        let planned = starts_at.map_or(Timestamp::MAX, |start| end_of(activation, spec, start));
        let ends_at = ends_at.map(|end| end.min(planned));
        return Ok(Evaluation { starts_at, ends_at, ..Evaluation::wait(reason::SPEC_UNREADABLE, message) });
    }
    if known == Some(Active) {
        let start = starts_at.unwrap_or(now);
        let end = end_of(activation, spec, start).min(ends_at.unwrap_or(Timestamp::MAX));
        let evaluation = Evaluation::new(Active, reason::ACTIVE, format!("the role is held until {end}"));
        return Ok(Evaluation { starts_at: Some(start), ends_at: Some(end), ..evaluation });
    }
    if let Some((reason, why)) = find_unmet(activation, spec, &asker) {
        return ended(lost, reason, why);
    }
    if let Some(why) = &input.conflict {
        return ended(lost, reason::CONFLICTING_DUTIES, why.clone());
    }
    begin(activation, input, spec, &asker)
}

/// Whether an activation was asked for so recently that it can wait for what it needs.
fn is_fresh(activation: &RoleActivation, now: Timestamp) -> bool {
    let made_at = activation.metadata.creation_timestamp.as_ref().map_or(now, |at| at.0);
    now.duration_since(made_at) < LAPSES_AFTER
}

/// Whether an activation of which only another version knows a part keeps what was made for it: nothing that can be
/// read takes that away. Time is not looked at.
#[must_use]
pub fn keeps_what_it_has(activation: &RoleActivation, eligible: Option<&Eligible>) -> bool {
    let is_newer = activation.spec.unreadable.as_ref().is_some_and(|unreadable| unreadable.is_only_newer());
    let Some(status) = activation.status.as_ref().filter(|_| is_newer) else { return false };
    let (Some(asker), Some(eligible)) = (asker(activation), eligible) else { return false };
    activation.metadata.deletion_timestamp.is_none()
        && !activation.spec.deactivate
        && status.state.is_none_or(|state| state == ActivationState::Active)
        && status.stamps.as_ref().is_none_or(|believed| *believed == asker.digest())
        && find_other(activation, eligible, &asker).is_none()
}

/// Returns why the person is not eligible any more, or never was.
fn find_loss(
    activation: &RoleActivation,
    eligible: &Eligible,
    asker: &Asker,
    now: Timestamp,
) -> Option<String> {
    let has_ended = eligible.spec.ends_at.as_ref().is_some_and(|end| end.0 <= now);
    let ended = || format!("RoleEligibility {} has ended", activation.spec.eligibility);
    find_other(activation, eligible, asker).or_else(|| has_ended.then(ended))
}

/// Returns why an eligibility is not one for this activation, at any time.
fn find_other(activation: &RoleActivation, eligible: &Eligible, asker: &Asker) -> Option<String> {
    let name = &activation.spec.eligibility;
    let Eligible { uid, spec } = eligible;
    if !is_eligible(spec, asker) {
        return Some(format!("RoleEligibility {name} does not name {} or one of their groups", asker.user));
    }
    let status = activation.status.as_ref();
    let other_uid =
        status.and_then(|status| status.eligibility_uid.as_ref()).is_some_and(|known| known != uid);
    let other_role = status.and_then(|status| status.role).is_some_and(|known| known != spec.role);
    (other_uid || other_role)
        .then(|| format!("RoleEligibility {name} is another one than the one that was asked for"))
}

/// The first condition of the eligibility that the activation does not meet.
fn find_unmet(
    activation: &RoleActivation,
    spec: &RoleEligibilitySpec,
    asker: &Asker,
) -> Option<(&'static str, String)> {
    let conditions = &spec.activation;
    let name = &activation.spec.eligibility;
    let said = |words: &Option<String>| words.as_ref().is_some_and(|words| !words.trim().is_empty());
    if activation.spec.duration.length() > conditions.max_duration.length() {
        let (wanted, longest) = (&activation.spec.duration, &conditions.max_duration);
        return Some((
            reason::TOO_LONG,
            format!("{wanted} is longer than RoleEligibility {name} allows, which is {longest}"),
        ));
    }
    if conditions.require_justification && !said(&activation.spec.justification) {
        let message = format!("RoleEligibility {name} asks for a justification; set spec.justification");
        return Some((reason::JUSTIFICATION_MISSING, message));
    }
    if conditions.require_ticket && !said(&activation.spec.ticket) {
        let message = format!("RoleEligibility {name} asks for a ticket; set spec.ticket");
        return Some((reason::TICKET_MISSING, message));
    }
    if conditions.require_mfa && asker.mfa.is_none() {
        let message = format!(
            "RoleEligibility {name} asks for multi-factor authentication; log in with it and create another activation"
        );
        return Some((reason::MFA_MISSING, message));
    }
    let start = activation.spec.starts_at.as_ref().map(|start| start.0);
    if start.zip(spec.ends_at.as_ref()).is_some_and(|(start, end)| start >= end.0) {
        let message = format!("RoleEligibility {name} ends before spec.startsAt");
        return Some((reason::NOT_ELIGIBLE, message));
    }
    None
}

/// Evaluates an activation whose conditions are met: it waits for a decision, for its time, or begins.
fn begin(
    activation: &RoleActivation,
    input: &EvaluationInput<'_>,
    spec: &RoleEligibilitySpec,
    asker: &Asker,
) -> Result<Evaluation, EvaluationError> {
    use ActivationState::{Active, Scheduled};
    let now = input.now;
    let basis = if let Some(request) = input.request {
        if let Some(evaluation) = judge_request(request, &input.policies.fingerprint) {
            return Ok(evaluation);
        }
        Basis::Approved { votes: describe_votes(request) }
    } else {
        let is_asked_for = activation.status.as_ref().is_some_and(|status| status.approval_request.is_some());
        if is_asked_for && !input.knows_all_requests {
            let evaluation =
                Evaluation::wait(reason::APPROVAL_PENDING, "whether it was approved is not known yet");
            return Ok(Evaluation { step: Step::Unknown, ..evaluation });
        }
        let outer = match input.inherited_policy {
            Ok(outer) => outer,
            Err(NotReady { reason, message }) => return Ok(Evaluation::wait(reason, message.clone())),
        };
        if let Some(what) = input.policies.integrity.obstacle() {
            return Ok(Evaluation::wait(reason::POLICIES_NOT_INTACT, what));
        }
        match requirement(spec, outer).to_policy() {
            Some(policy) => return ask(activation, asker, policy, now),
            None => Basis::NoRule(outer.scopes.iter().map(|scope| scope.origin.clone()).collect()),
        }
    };
    let wanted = [&activation.spec.starts_at, &spec.starts_at].into_iter().flatten().map(|start| start.0);
    if let Some(start) = wanted.max().filter(|start| *start > now) {
        let evaluation = Evaluation::new(Scheduled, reason::SCHEDULED, format!("it begins at {start}"));
        return Ok(Evaluation { starts_at: Some(start), ..evaluation });
    }
    if let Some(what) = input.policies.integrity.obstacle() {
        return Ok(Evaluation::wait(reason::POLICIES_NOT_INTACT, what));
    }
    // Times are stored in whole seconds.
    let now = whole_second(now);
    let end = end_of(activation, spec, now);
    Ok(Evaluation {
        starts_at: Some(now),
        ends_at: Some(end),
        step: Step::Begin(basis),
        ..Evaluation::new(Active, reason::ACTIVE, format!("the role is held until {end}"))
    })
}

/// Evaluates an activation by its request; `None` when the request releases it.
fn judge_request(request: &ApprovalRequest, fingerprint: &str) -> Option<Evaluation> {
    use ActivationState::{Lapsed, PendingApproval, Rejected};
    let status = request.status.as_ref();
    let decided = || {
        let condition = status.and_then(|status| status.conditions.first());
        condition.map(|condition| condition.message.clone()).unwrap_or_default()
    };
    let pending = || {
        let missing = status.and_then(|status| status.missing.clone());
        let message = format!("waits for {}", missing.unwrap_or_else(|| "approval".to_owned()));
        Evaluation::new(PendingApproval, reason::APPROVAL_PENDING, message)
    };
    Some(match status.and_then(|status| status.state) {
        Some(RequestState::Approved)
            if is_rightly_approved(request)
                && is_under_policies(request, fingerprint)
                && request.metadata.deletion_timestamp.is_none() =>
        {
            return None;
        }
        Some(RequestState::Rejected) => Evaluation::new(Rejected, reason::REJECTED, decided()),
        Some(RequestState::Expired) => {
            Evaluation::new(Lapsed, reason::EXPIRED, "nobody decided in time; create another activation")
        }
        Some(RequestState::Superseded | RequestState::Withdrawn) => {
            Evaluation::new(ActivationState::Revoked, reason::WITHDRAWN, decided())
        }
        Some(RequestState::Approved | RequestState::Pending) | None => pending(),
    })
}

/// The requirement of the scopes and the eligibility together.
fn requirement(spec: &RoleEligibilitySpec, outer: &InheritedPolicy) -> Requirement {
    let operations = BTreeSet::from([Operation::RoleActivation]);
    let own = Approvals::from(&spec.activation);
    let votes = Requirement::none().with_service_account_votes(outer.service_account_votes);
    let scopes = outer.scopes.iter().map(|scope| &scope.approvals).chain([&own]);
    scopes.fold(votes, |merged, rules| merged.merge(Requirement::of_scope(rules, &operations)))
}

fn ask(
    activation: &RoleActivation,
    asker: &Asker,
    policy: EffectivePolicy,
    now: Timestamp,
) -> Result<Evaluation, EvaluationError> {
    let content = Content::of_spec(&activation.spec).map_err(EvaluationError::SpecUnwritable)?;
    let proposal = Proposal {
        generation: 1,
        digest: digest(&content).map_err(EvaluationError::Digest)?,
        operations: BTreeSet::from([Operation::RoleActivation]),
        before: None,
        after: content,
        references: Vec::new(),
    };
    let policy = EffectivePolicy {
        expire_after_seconds: policy.expire_after_seconds.min(LAPSES_AFTER.as_secs()),
        ..policy
    };
    if policy.require_justification
        && activation.spec.justification.as_ref().is_none_or(|words| words.trim().is_empty())
    {
        let message = "the rules ask for a justification; create another activation with spec.justification";
        return Ok(Evaluation::new(ActivationState::Refused, reason::JUSTIFICATION_MISSING, message));
    }
    let about = About {
        kind: Kind::RoleActivation,
        namespace: activation.namespace(),
        name: activation.name_any(),
        uid: activation.uid().unwrap_or_default(),
        request_namespace: activation.namespace().unwrap_or_default(),
    };
    let words = ChangeReason {
        justification: activation.spec.justification.clone(),
        ticket: activation.spec.ticket.clone(),
    };
    let request = build_request(&about, &proposal, vec![asker.user.clone()], words, policy, Vec::new(), now);
    let evaluation = judge_request(&request, "")
        .unwrap_or_else(|| Evaluation::wait(reason::APPROVAL_PENDING, "waits for approval"));
    Ok(Evaluation { step: Step::Ask(Box::new(request)), ..evaluation })
}

/// Name of the request about an activation. Its spec never changes, so there is only one.
#[must_use]
pub fn request_name(activation: &RoleActivation) -> String {
    let uid = activation.uid().unwrap_or_default();
    naming::approval_request(Kind::RoleActivation, &activation.name_any(), &uid, 1)
}

#[cfg(test)]
mod tests;
