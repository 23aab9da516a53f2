//! The facts that a new status makes true. [`crate::model::audit::cloud_event`] writes them as CloudEvents.
//!
//! A fact is recorded by the write that makes it true, so it is neither lost nor invented when the
//! operator dies, and stays on its object until it was delivered.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Serialize;

use crate::api::approval_request::RequestState;
use crate::api::audit::{Audit, Fact, FactType, MOST_BYTES, MOST_WAITING};
use crate::api::common::Maintenance;
use crate::api::names::{condition, reason};
use crate::api::role_activation::ActivationState;
use crate::api::text::shorten;
use crate::api::{
    ApprovalRequest, ApprovalRequestStatus, GateStatus, RoleActivation, RoleActivationStatus, Time,
};
use crate::model::approval::change::requesters;
use crate::model::approval::gated::Gated;

/// The most characters of a message that a fact has.
const LONGEST_MESSAGE: usize = 4000;
/// The most requesters that a fact names.
const MOST_REQUESTERS: usize = 256;

/// A fact that has no number yet.
fn fact(type_: FactType, at: Timestamp) -> Fact {
    Fact {
        number: 0,
        type_,
        at: Time(at),
        generation: None,
        digest: None,
        requesters: Vec::new(),
        change: None,
        maintenance: None,
        message: None,
        taken_by: Vec::new(),
    }
}

fn message(conditions: &[Condition], type_: &str) -> Option<String> {
    let found = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some(shorten(&found.message, LONGEST_MESSAGE).into_owned())
}

/// Puts facts on their object. When they get too large, further ones leave out words; when there are too
/// many, they are only counted, so that the numbers show the gap.
pub fn record(audit: &mut Audit, facts: impl IntoIterator<Item = Fact>) {
    for fact in facts {
        audit.recorded = audit.recorded.saturating_add(1);
        let fact = Fact { number: audit.recorded, ..fact };
        let waiting: usize = audit.waiting.iter().map(size).sum();
        let fact = if waiting.saturating_add(size(&fact)) <= MOST_BYTES { fact } else { abridged(fact) };
        if audit.waiting.len() < MOST_WAITING && waiting.saturating_add(size(&fact)) <= 2 * MOST_BYTES {
            audit.waiting.push(fact.into());
        }
    }
}

/// The number of bytes that something takes as JSON on its object.
fn size(part: &impl Serialize) -> usize {
    serde_json::to_vec(part).map_or(MOST_BYTES, |json| json.len())
}

/// A fact without words, and with as many of its requesters as fit.
fn abridged(fact: Fact) -> Fact {
    const NAMES: usize = 256;
    let mut taken: usize = 0;
    let fits = |name: &String| {
        taken = taken.saturating_add(size(name));
        taken <= NAMES
    };
    let requesters = fact.requesters.into_iter().take_while(fits).collect();
    Fact { requesters, change: None, message: None, ..fact }
}

/// The facts about a request that become true with this status.
#[must_use]
pub fn facts_of_request(
    request: &ApprovalRequest,
    after: &ApprovalRequestStatus,
    now: Timestamp,
) -> Vec<Fact> {
    let nothing = ApprovalRequestStatus::default();
    let before = request.status.as_ref().unwrap_or(&nothing);
    let mut facts = Vec::new();
    if before.state.is_none() && after.state.is_some() {
        let made = request.creation_timestamp().map_or(now, |at| at.0);
        facts.push(fact(FactType::Requested, made));
    }
    if before.reminded_at.is_none() && after.reminded_at.is_some() {
        facts.push(Fact { message: after.missing.clone(), ..fact(FactType::Expiring, now) });
    }
    if before.decided_at != after.decided_at {
        let type_ = match after.state {
            Some(RequestState::Approved | RequestState::Rejected) => FactType::Decided,
            Some(RequestState::Expired) => FactType::Expired,
            Some(RequestState::Superseded) => FactType::Superseded,
            Some(RequestState::Withdrawn) => FactType::Withdrawn,
            Some(RequestState::Pending) | None => FactType::Reopened,
        };
        let at = after.decided_at.as_ref().map_or(now, |at| at.0);
        facts.push(Fact { message: message(&after.conditions, condition::DECIDED), ..fact(type_, at) });
    }
    if let Some(at) = after.enacted_at.as_ref().filter(|_| before.enacted_at.is_none()) {
        facts.push(fact(FactType::Enacted, at.0));
    }
    facts
}

/// The status of a request whose change is recorded as applied.
#[must_use]
pub fn enacted_status(request: &ApprovalRequest, at: Timestamp) -> ApprovalRequestStatus {
    let mut after = request.status.clone().unwrap_or_default();
    after.enacted_at = Some(Time(at));
    let facts = facts_of_request(request, &after, at);
    record(&mut after.audit, facts);
    after
}

/// The facts about an activation that become true with this status.
#[must_use]
pub fn facts_of_activation(
    activation: &RoleActivation,
    after: &RoleActivationStatus,
    now: Timestamp,
) -> Vec<Fact> {
    use ActivationState::{
        Active, Deactivated, Expired, Lapsed, PendingApproval, Refused, Rejected, Revoked, Scheduled,
    };
    let before = activation.status.as_ref().and_then(|status| status.state);
    if before == after.state {
        return Vec::new();
    }
    let (type_, at) = match after.state {
        Some(Active) => (FactType::Activated, after.starts_at.as_ref()),
        Some(Expired | Deactivated | Revoked) if before == Some(Active) => {
            (FactType::Ended, after.ends_at.as_ref())
        }
        Some(Refused) => (FactType::Refused, None),
        // The activation was never active, or the facts of its request say this.
        Some(Expired | Deactivated | Revoked | Rejected | Lapsed | PendingApproval | Scheduled) | None => {
            return Vec::new();
        }
    };
    let at = at.map_or(now, |at| at.0);
    vec![Fact { message: message(&after.conditions, condition::READY), ..fact(type_, at) }]
}

/// The facts about a gated object that become true with this status. A change that a request released is a fact
/// about the request.
#[must_use]
pub fn facts_of_gated<K: Gated>(object: &K, after: &GateStatus, now: Timestamp) -> Vec<Fact> {
    let before = object.gate();
    let applied_before = before.and_then(|gate| gate.applied.as_ref());
    // A change that only closes is applied without a request, and keeps the request that released the rest.
    let released_before = applied_before.and_then(|applied| applied.approval_request.as_ref());
    let enacted = after.applied.as_ref().filter(|applied| {
        let request = applied.approval_request.as_ref();
        Some(*applied) != applied_before && (request.is_none() || request == released_before)
    });
    let enacted = enacted.map(|applied| {
        let mut requesters = requesters(object).unwrap_or_default();
        requesters.truncate(MOST_REQUESTERS);
        // The words for what was applied before are not those for this.
        let is_new = applied_before.is_none_or(|before| before.generation != applied.generation);
        Fact {
            generation: Some(applied.generation),
            digest: Some(applied.digest.clone()),
            requesters,
            change: applied.change.clone().filter(|_| is_new),
            ..fact(FactType::Enacted, applied.at.0)
        }
    });
    let is_broken = |conditions: &[Condition]| {
        conditions
            .iter()
            .any(|one| one.type_ == condition::PROTECTED && one.reason == reason::POLICIES_NOT_INTACT)
    };
    let was_broken = before.is_some_and(|gate| is_broken(&gate.conditions));
    let protection = match (was_broken, is_broken(&after.conditions)) {
        (false, true) => Some(FactType::PoliciesTampered),
        (true, false) => Some(FactType::PoliciesRestored),
        (false, false) | (true, true) => None,
    };
    let protection = protection
        .map(|type_| Fact { message: message(&after.conditions, condition::PROTECTED), ..fact(type_, now) });
    enacted.into_iter().chain(protection).collect()
}

/// The fact that becomes true when the maintenance `after` is in force instead of `before`.
#[must_use]
pub fn facts_of_maintenance(
    before: Option<&Maintenance>,
    after: Option<&Maintenance>,
    requesters: Option<Vec<String>>,
    now: Timestamp,
) -> Option<Fact> {
    if before == after {
        return None;
    }
    let type_ = if after.is_some() { FactType::MaintenanceOn } else { FactType::MaintenanceOff };
    let mut requesters = requesters.unwrap_or_default();
    requesters.truncate(MOST_REQUESTERS);
    Some(Fact { maintenance: after.or(before).cloned(), requesters, ..fact(type_, now) })
}

#[cfg(test)]
pub(crate) mod tests;
