//! The status of a gated object: its state in one word, its conditions and its Events.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{Status, Wanted, build_conditions, conditions_before};
use super::enforcement::{Gate, Standing};
use super::{PlannedEvent, Severity};

use crate::api::names::{condition, reason};
use crate::api::{GateStatus, Kind, State};
use crate::model::approval::change::HoldCause;
use crate::model::approval::gated::Gated;
use crate::model::approval::policy_status::PROPAGATING;
use crate::model::approval::scope::NotReady;
use crate::plan::enforcement::Enforcement;

/// Returns the shared part of status, from the standing of the spec and its enforcement, and the Events to publish with
/// it.
#[must_use]
pub fn describe_gate<K: Gated>(
    object: &K,
    gate: &Gate,
    enforcement: &Enforcement,
    now: Timestamp,
) -> (GateStatus, Vec<PlannedEvent>) {
    let status = build_gate_status(object, gate, enforcement, now);
    let events = plan_events(object, &status);
    (status, events)
}

fn build_gate_status<K: Gated>(
    object: &K,
    gate: &Gate,
    enforcement: &Enforcement,
    now: Timestamp,
) -> GateStatus {
    let observed = conditions_before(object);
    let generation = object.meta().generation;
    GateStatus {
        observed_generation: generation,
        state: Some(state::<K>(&gate.standing, enforcement)),
        applied: gate.applied.clone(),
        pending: gate.pending.clone(),
        deletion_protected: Some(gate.deletion_protected),
        audit: object.gate().map(|gate| gate.audit.clone()).unwrap_or_default(),
        conditions: build_conditions(observed, describe(gate, enforcement), generation, now),
    }
}

fn state<K: Gated>(standing: &Standing, enforcement: &Enforcement) -> State {
    let (open, shut) = match K::KIND {
        Kind::EnclaveConnection => (State::Connected, State::Disconnected),
        _ => (State::Active, State::Inactive),
    };
    match (standing, enforcement) {
        (Standing::Held(HoldCause::Rejected { .. }), _) => State::Rejected,
        (Standing::Held(HoldCause::Expired), _) => State::Expired,
        (Standing::Held(HoldCause::ReferenceReplaced { .. }), _) => shut,
        (
            Standing::Blocked(NotReady {
                reason: reason::TERMINATING | reason::AUDIT_PENDING | reason::CHILDREN_EXIST,
                ..
            }),
            _,
        )
        | (Standing::InForce, Enforcement::Closed(_)) => State::Inactive,
        (Standing::Blocked(NotReady { reason: reason::SPEC_UNREADABLE, .. }), _) => State::Blocked,
        (Standing::Blocked(NotReady { reason: reason::APPLIED_UNREADABLE, .. }), _)
        | (
            Standing::InForce,
            Enforcement::Partial(_)
            | Enforcement::Blocked(NotReady { reason: reason::NAMESPACE_TERMINATING, .. }),
        ) => State::Degraded,
        (Standing::Held(_) | Standing::Blocked(_) | Standing::Unknown, _) => State::Pending,
        (Standing::Enacting | Standing::InForce, Enforcement::Complete | Enforcement::Paused) => open,
        (Standing::Enacting, _) | (Standing::InForce, Enforcement::InProgress | Enforcement::Nothing) => {
            State::Approved
        }
        (Standing::InForce, Enforcement::Blocked(_)) => shut,
    }
}

fn describe(gate: &Gate, enforcement: &Enforcement) -> Vec<Wanted> {
    let approved = describe_standing(gate);
    let enforced = describe_enforcement(enforcement);
    let ready = match (approved.status, enforced.status) {
        (Status::True, Status::True) => match enforcement {
            Enforcement::Closed(_) => Wanted { type_: condition::READY, ..enforced.clone() },
            _ => Wanted {
                type_: condition::READY,
                status: Status::True,
                reason: reason::ACTIVE,
                message: "the latest spec is in force".into(),
            },
        },
        (Status::True, _) => Wanted { type_: condition::READY, ..enforced.clone() },
        _ => Wanted { type_: condition::READY, status: Status::False, ..approved.clone() },
    };
    let progress = progress(&gate.standing, enforcement).map(|type_| Wanted {
        type_,
        status: Status::True,
        reason: ready.reason,
        message: ready.message.clone(),
    });
    [Some(ready), Some(approved), Some(enforced), progress].into_iter().flatten().collect()
}

fn describe_standing(gate: &Gate) -> Wanted {
    let wanted = |status, reason, message| Wanted { type_: condition::APPROVED, status, reason, message };
    let request = gate.pending.as_ref().and_then(|pending| pending.approval_request.as_deref());
    let in_force = if gate.applied.is_some() { "; what was applied before stays in force" } else { "" };
    match &gate.standing {
        Standing::InForce | Standing::Enacting => {
            match gate.applied.as_ref().and_then(|applied| applied.approval_request.as_ref()) {
                Some(request) => {
                    wanted(Status::True, reason::APPROVED, format!("approved by ApprovalRequest {request}"))
                }
                None => {
                    wanted(Status::True, reason::NO_APPROVAL_NEEDED, "no rule asks for an approval".into())
                }
            }
        }
        Standing::Held(HoldCause::AwaitingApproval { missing }) => wanted(
            Status::False,
            reason::APPROVAL_PENDING,
            format!(
                "held until ApprovalRequest {} is approved ({missing}){in_force}",
                request.unwrap_or_default()
            ),
        ),
        Standing::Held(HoldCause::Rejected { message }) => wanted(
            Status::False,
            reason::REJECTED,
            format!("{message}{in_force}; edit the spec, or spec.change to propose the same again"),
        ),
        Standing::Held(HoldCause::Expired) => wanted(
            Status::False,
            reason::EXPIRED,
            format!("not decided in time{in_force}; edit the spec, or spec.change to propose the same again"),
        ),
        Standing::Held(HoldCause::PoliciesNotIntact { what }) => wanted(
            Status::False,
            reason::POLICIES_NOT_INTACT,
            format!(
                "nothing new is enacted until the operator's admission policies are as installed: {what}{in_force}"
            ),
        ),
        Standing::Held(HoldCause::PoliciesPropagating) => wanted(
            Status::False,
            reason::POLICIES_NOT_INTACT,
            format!("nothing new is enacted: {PROPAGATING}{in_force}"),
        ),
        Standing::Held(HoldCause::RequesterUnknown) => wanted(
            Status::False,
            reason::REQUESTER_UNKNOWN,
            format!(
                "the API server did not record who made this change, because an admission policy was missing at that time{in_force}; edit the spec (spec.change is enough) to propose it again"
            ),
        ),
        Standing::Held(HoldCause::JustificationMissing) => wanted(
            Status::False,
            reason::JUSTIFICATION_MISSING,
            format!(
                "the approval rules ask for a justification of this change{in_force}; set spec.change.justification (the words for what is applied already do not count again)"
            ),
        ),
        Standing::Held(HoldCause::RulesUnknown(NotReady { reason, message })) => {
            wanted(Status::False, reason, format!("{message}{in_force}"))
        }
        Standing::Held(HoldCause::ReferenceReplaced { what }) => wanted(
            Status::False,
            reason::REFERENCE_REPLACED,
            format!("{what}, and nobody approved that; edit the spec (spec.change is enough) to ask for it"),
        ),
        Standing::Blocked(NotReady { reason, message }) => wanted(Status::False, reason, message.clone()),
        Standing::Unknown => wanted(
            Status::False,
            reason::APPROVAL_PENDING,
            format!("whether it was approved is not known yet{in_force}"),
        ),
    }
}

fn describe_enforcement(enforcement: &Enforcement) -> Wanted {
    let wanted = |status, reason, message| Wanted { type_: condition::ENFORCED, status, reason, message };
    match enforcement {
        Enforcement::Nothing => {
            wanted(Status::False, reason::NOTHING_APPLIED, "nothing has been applied yet".into())
        }
        Enforcement::Complete => {
            wanted(Status::True, reason::ENFORCED, "everything that is applied exists as planned".into())
        }
        Enforcement::Paused => wanted(
            Status::True,
            reason::ENFORCED,
            "everything that is applied was made; Advanced maintenance is on, so what others change in its namespace is not put back".into(),
        ),
        Enforcement::InProgress => wanted(Status::False, reason::PROVISIONING, "being put into force".into()),
        Enforcement::Closed(NotReady { reason, message }) => wanted(Status::True, reason, message.clone()),
        Enforcement::Partial(NotReady { reason, message })
        | Enforcement::Blocked(NotReady { reason, message }) => wanted(Status::False, reason, message.clone()),
    }
}

/// kstatus: what goes on by itself is reconciling, what needs somebody is stalled.
fn progress(standing: &Standing, enforcement: &Enforcement) -> Option<&'static str> {
    match (standing, enforcement) {
        (_, Enforcement::Blocked(NotReady { reason: reason::NAMESPACE_CONFLICT, .. }))
        | (
            Standing::Blocked(NotReady { reason: reason::SPEC_UNREADABLE, .. })
            | Standing::Held(
                HoldCause::Rejected { .. }
                | HoldCause::Expired
                | HoldCause::PoliciesNotIntact { .. }
                | HoldCause::RequesterUnknown
                | HoldCause::ReferenceReplaced { .. }
                | HoldCause::JustificationMissing,
            ),
            _,
        ) => Some(condition::STALLED),
        (Standing::Enacting | Standing::InForce, Enforcement::Complete | Enforcement::Paused)
        | (Standing::InForce, Enforcement::Closed(_)) => None,
        _ => Some(condition::RECONCILING),
    }
}

/// Returns an Event for each change of state, with the reason and the words of the Ready condition. There is none
/// for a content that came into force without anybody's decision, nor for one that waits on the way there for
/// something that was declared after it: when everything goes well there is nothing to read.
fn plan_events<K: Gated>(object: &K, after: &GateStatus) -> Vec<PlannedEvent> {
    let ready = |status: &GateStatus| {
        status.conditions.iter().find(|condition| condition.type_ == condition::READY).cloned()
    };
    let Some(now) = ready(after) else { return Vec::new() };
    let unchanged = object.gate().is_some_and(|before| {
        before.state == after.state
            && ready(before).is_some_and(|was| was.reason == now.reason)
            && before.pending.as_ref().map(|pending| pending.generation)
                == after.pending.as_ref().map(|pending| pending.generation)
    });
    if unchanged {
        return Vec::new();
    }
    let (Some(state), Some(reason)) = (after.state, event_reason(&now.reason)) else { return Vec::new() };
    let is_decided = after.applied.as_ref().is_some_and(|applied| applied.approval_request.is_some());
    if (reason == reason::ACTIVE && !is_decided) || (WAITING.contains(&reason) && after.applied.is_none()) {
        return Vec::new();
    }
    let severity = match state {
        State::Blocked
        | State::Rejected
        | State::Expired
        | State::Inactive
        | State::Disconnected
        | State::Degraded => Severity::Warning,
        State::Pending | State::Approved | State::Active | State::Connected => Severity::Normal,
    };
    vec![PlannedEvent { severity, reason, message: format!("{state}: {}", now.message) }]
}

/// Reasons for which a new object waits until something else is there. For an object that was in force they mean
/// that access is closed.
const WAITING: [&str; 8] = [
    reason::COMMUNITY_NOT_ACTIVE,
    reason::ENCLAVE_NOT_ACTIVE,
    reason::ENDPOINT_NOT_FOUND,
    reason::ENDPOINT_NOT_ACTIVE,
    reason::WORKLOAD_NOT_FOUND,
    reason::WORKLOAD_NOT_ACTIVE,
    reason::TRANSIT_HUB_NOT_FOUND,
    reason::TRANSIT_HUB_NOT_ACTIVE,
];

/// The reasons of Ready that are worth an Event.
fn event_reason(ready: &str) -> Option<&'static str> {
    [
        reason::ACTIVE,
        reason::APPROVAL_PENDING,
        reason::REJECTED,
        reason::EXPIRED,
        reason::POLICIES_NOT_INTACT,
        reason::REQUESTER_UNKNOWN,
        reason::JUSTIFICATION_MISSING,
        reason::REFERENCE_REPLACED,
        reason::NAMESPACE_CONFLICT,
        reason::NAMESPACE_TERMINATING,
        reason::COMMUNITY_NOT_FOUND,
        reason::ENCLAVE_NOT_FOUND,
        reason::DESTINATION_NOT_ALLOWED,
        reason::FQDN_BACKEND_MISSING,
        reason::LIMIT_REACHED,
        reason::DISABLED,
        reason::ENDED,
        reason::CHILDREN_EXIST,
        reason::CONFLICTING_DUTIES,
        reason::SCOPE_NOT_FOUND,
        reason::APPLIED_UNREADABLE,
        reason::SPEC_UNREADABLE,
    ]
    .into_iter()
    .chain(WAITING)
    .find(|reason| *reason == ready)
}

/// The status of an object whose reconciliation fails again and again: what is applied and pending
/// stays as it is or was planned, and Ready and Enforced say what is wrong. Their times come from
/// what is stored, so that the same trouble is not written twice.
#[must_use]
pub fn build_degraded_status<K: Gated>(
    object: &K,
    planned: Option<GateStatus>,
    message: &str,
    now: Timestamp,
) -> GateStatus {
    let stored = object.gate().cloned().unwrap_or_default();
    let planned = planned.unwrap_or_else(|| stored.clone());
    let generation = object.meta().generation;
    let wanted = [condition::READY, condition::ENFORCED].map(|type_| Wanted {
        type_,
        status: Status::False,
        reason: reason::DEGRADED,
        message: format!("reconciling fails and is tried again: {message}"),
    });
    let mut failing = build_conditions(&stored.conditions, wanted.into(), generation, now).into_iter();
    let ready = failing.next();
    let rest = planned.conditions.iter().filter(|condition| condition.type_ != condition::READY);
    let mut rest: Vec<Condition> =
        rest.filter(|condition| condition.type_ != condition::ENFORCED).cloned().collect();
    // After Approved, where Enforced stands.
    rest.splice(rest.len().min(1)..rest.len().min(1), failing);
    let conditions = ready.into_iter().chain(rest).collect();
    GateStatus { observed_generation: generation, state: Some(State::Degraded), conditions, ..planned }
}

/// An error with its causes, for people.
#[must_use]
pub fn describe_error(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::gate::Applied;
    use crate::api::{Content, Enclave, EnclaveSpec, Time};

    fn gate(standing: Standing) -> Gate {
        Gate { applied: None, pending: None, standing, deletion_protected: false, writes: Vec::new() }
    }

    fn missing(reason: &'static str) -> NotReady {
        NotReady { reason, message: String::new() }
    }

    fn held(cause: HoldCause) -> Standing {
        Standing::Held(cause)
    }

    #[test]
    fn every_situation_has_its_state_and_says_whether_it_goes_on_by_itself() {
        use condition::{RECONCILING, STALLED};
        let waiting = HoldCause::AwaitingApproval { missing: "1 more approval".into() };
        let conflict = Enforcement::Blocked(missing(reason::NAMESPACE_CONFLICT));
        let terminating = Enforcement::Blocked(missing(reason::NAMESPACE_TERMINATING));
        let blocked = |reason| Standing::Blocked(missing(reason));
        for (standing, enforcement, expected, progress) in [
            (Standing::InForce, Enforcement::Complete, State::Active, None),
            (Standing::InForce, Enforcement::InProgress, State::Approved, Some(RECONCILING)),
            (Standing::Enacting, Enforcement::InProgress, State::Approved, Some(RECONCILING)),
            (Standing::InForce, conflict.clone(), State::Inactive, Some(STALLED)),
            (Standing::InForce, terminating, State::Degraded, Some(RECONCILING)),
            (held(waiting.clone()), Enforcement::Nothing, State::Pending, Some(RECONCILING)),
            (held(waiting.clone()), Enforcement::Complete, State::Pending, Some(RECONCILING)),
            (held(waiting), conflict, State::Pending, Some(STALLED)),
            (
                held(HoldCause::Rejected { message: String::new() }),
                Enforcement::Complete,
                State::Rejected,
                Some(STALLED),
            ),
            (held(HoldCause::Expired), Enforcement::Nothing, State::Expired, Some(STALLED)),
            (held(HoldCause::RequesterUnknown), Enforcement::Complete, State::Pending, Some(STALLED)),
            (held(HoldCause::JustificationMissing), Enforcement::Nothing, State::Pending, Some(STALLED)),
            (
                held(HoldCause::PoliciesNotIntact { what: String::new() }),
                Enforcement::Complete,
                State::Pending,
                Some(STALLED),
            ),
            (held(HoldCause::PoliciesPropagating), Enforcement::Nothing, State::Pending, Some(RECONCILING)),
            (blocked(reason::COMMUNITY_NOT_ACTIVE), Enforcement::Nothing, State::Pending, Some(RECONCILING)),
            (blocked(reason::SPEC_UNREADABLE), Enforcement::Nothing, State::Blocked, Some(STALLED)),
            (blocked(reason::SPEC_UNREADABLE), Enforcement::Complete, State::Blocked, Some(STALLED)),
            (blocked(reason::CHILDREN_EXIST), Enforcement::Complete, State::Inactive, Some(RECONCILING)),
            (blocked(reason::TERMINATING), Enforcement::Complete, State::Inactive, Some(RECONCILING)),
        ] {
            let enclave = Enclave::new("e", EnclaveSpec::default());
            let status =
                build_gate_status(&enclave, &gate(standing.clone()), &enforcement, Timestamp::UNIX_EPOCH);
            assert_eq!(status.state, Some(expected), "{standing:?} {enforcement:?}");
            let types: Vec<&str> =
                status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
            let first = [condition::READY, condition::APPROVED, condition::ENFORCED];
            let wanted: Vec<&str> = first.into_iter().chain(progress).collect();
            assert_eq!(types, wanted, "{standing:?} {enforcement:?}");
            let ready = status.conditions[0].status == "True";
            assert_eq!(ready, expected == State::Active, "Ready only when Active");
        }
    }

    #[test]
    fn repeated_failure_is_shown_and_keeps_what_is_known() {
        let mut enclave = Enclave::new("e", EnclaveSpec::default());
        let before = build_gate_status(
            &enclave,
            &gate(Standing::InForce),
            &Enforcement::Complete,
            Timestamp::UNIX_EPOCH,
        );
        enclave.status =
            Some(crate::api::EnclaveStatus { gate: before, ..crate::api::EnclaveStatus::default() });
        let degraded = build_degraded_status(&enclave, None, "no answer", Timestamp::UNIX_EPOCH);
        assert_eq!(degraded.state, Some(State::Degraded));
        assert_eq!(degraded.conditions.len(), 3);
        assert_eq!(degraded.conditions[0].reason, reason::DEGRADED);
        assert!(degraded.conditions[0].message.contains("no answer"));
        let types: Vec<&str> = degraded.conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(types, [condition::READY, condition::APPROVED, condition::ENFORCED]);
        // The same trouble is the same status, whatever was planned and however late it is.
        let planned = enclave.status.clone().map(|status| status.gate);
        enclave.status = Some(crate::api::EnclaveStatus {
            gate: degraded.clone(),
            ..crate::api::EnclaveStatus::default()
        });
        let later = Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(60);
        assert_eq!(build_degraded_status(&enclave, planned, "no answer", later), degraded);
    }

    #[test]
    fn an_event_is_told_on_a_transition_and_not_again() {
        let mut enclave = Enclave::new("e", EnclaveSpec::default());
        let status = |approval_request: Option<&str>, enforcement| {
            let applied = Applied {
                generation: 1,
                complete_for: None,
                digest: String::new(),
                spec: Content::empty(),
                change: None,
                approval_request: approval_request.map(ToOwned::to_owned),
                at: Time(Timestamp::UNIX_EPOCH),
                references: Vec::new(),
            };
            let gate = Gate { applied: Some(applied), ..gate(Standing::InForce) };
            build_gate_status(&enclave, &gate, &enforcement, Timestamp::UNIX_EPOCH)
        };
        assert_eq!(plan_events(&enclave, &status(None, Enforcement::Complete)), [], "nobody decided");
        let closed = Enforcement::Closed(missing(reason::DISABLED));
        assert_eq!(plan_events(&enclave, &status(None, closed)).len(), 1, "it closed");
        let status = status(Some("request"), Enforcement::Complete);
        assert_eq!(plan_events(&enclave, &status).len(), 1);
        enclave.status =
            Some(crate::api::EnclaveStatus { gate: status.clone(), ..crate::api::EnclaveStatus::default() });
        assert_eq!(plan_events(&enclave, &status), []);
    }
}
