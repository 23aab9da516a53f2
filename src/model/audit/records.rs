//! Audit records that a new status makes true. [`crate::model::audit::cloud_event`] writes them as CloudEvents.
//!
//! A record is recorded by the write that makes it true, so it is neither lost nor invented when the
//! operator dies, and stays on its object until it was delivered.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Serialize;

use crate::api::approval_request::RequestState;
use crate::api::audit::{Audit, AuditRecord, MOST_BYTES, MOST_WAITING, RecordType};
use crate::api::common::Maintenance;
use crate::api::names::{condition, reason};
use crate::api::role_activation::ActivationState;
use crate::api::text::shorten;
use crate::api::{
    ApprovalRequest, ApprovalRequestStatus, GateStatus, RoleActivation, RoleActivationStatus, Time,
};
use crate::model::approval::change::requesters;
use crate::model::approval::gated::Gated;

/// The most characters of a message that a record has.
const LONGEST_MESSAGE: usize = 4000;
/// The most requesters that a record names.
const MOST_REQUESTERS: usize = 256;

/// A record that has no number yet.
fn new_record(type_: RecordType, at: Timestamp) -> AuditRecord {
    AuditRecord {
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

/// Puts records on their object. When they get too large, further ones leave out words; when there are too
/// many, they are only counted, so that the numbers show the gap.
pub fn append(audit: &mut Audit, records: impl IntoIterator<Item = AuditRecord>) {
    for record in records {
        audit.recorded = audit.recorded.saturating_add(1);
        let record = AuditRecord { number: audit.recorded, ..record };
        let waiting: usize = audit.waiting.iter().map(size).sum();
        let record =
            if waiting.saturating_add(size(&record)) <= MOST_BYTES { record } else { abridged(record) };
        if audit.waiting.len() < MOST_WAITING && waiting.saturating_add(size(&record)) <= 2 * MOST_BYTES {
            audit.waiting.push(record.into());
        }
    }
}

/// The number of bytes that something takes as JSON on its object.
fn size(part: &impl Serialize) -> usize {
    serde_json::to_vec(part).map_or(MOST_BYTES, |json| json.len())
}

/// A record without words, and with as many of its requesters as fit.
fn abridged(record: AuditRecord) -> AuditRecord {
    const NAMES: usize = 256;
    let mut taken: usize = 0;
    let fits = |name: &String| {
        taken = taken.saturating_add(size(name));
        taken <= NAMES
    };
    let requesters = record.requesters.into_iter().take_while(fits).collect();
    AuditRecord { requesters, change: None, message: None, ..record }
}

/// The records about a request that become true with this status.
#[must_use]
pub fn records_of_request(
    request: &ApprovalRequest,
    after: &ApprovalRequestStatus,
    now: Timestamp,
) -> Vec<AuditRecord> {
    let nothing = ApprovalRequestStatus::default();
    let before = request.status.as_ref().unwrap_or(&nothing);
    let mut records = Vec::new();
    if before.state.is_none() && after.state.is_some() {
        let made = request.creation_timestamp().map_or(now, |at| at.0);
        records.push(new_record(RecordType::Requested, made));
    }
    if before.reminded_at.is_none() && after.reminded_at.is_some() {
        records.push(AuditRecord { message: after.missing.clone(), ..new_record(RecordType::Expiring, now) });
    }
    if before.decided_at != after.decided_at {
        let type_ = match after.state {
            Some(RequestState::Approved | RequestState::Rejected) => RecordType::Decided,
            Some(RequestState::Expired) => RecordType::Expired,
            Some(RequestState::Superseded) => RecordType::Superseded,
            Some(RequestState::Withdrawn) => RecordType::Withdrawn,
            Some(RequestState::Pending) | None => RecordType::Reopened,
        };
        let at = after.decided_at.as_ref().map_or(now, |at| at.0);
        records.push(AuditRecord {
            message: message(&after.conditions, condition::DECIDED),
            ..new_record(type_, at)
        });
    }
    if let Some(at) = after.enacted_at.as_ref().filter(|_| before.enacted_at.is_none()) {
        records.push(new_record(RecordType::Enacted, at.0));
    }
    records
}

/// The status of a request whose change is recorded as applied.
#[must_use]
pub fn enacted_status(request: &ApprovalRequest, at: Timestamp) -> ApprovalRequestStatus {
    let mut after = request.status.clone().unwrap_or_default();
    after.enacted_at = Some(Time(at));
    let records = records_of_request(request, &after, at);
    append(&mut after.audit, records);
    after
}

/// The records about an activation that become true with this status.
#[must_use]
pub fn records_of_activation(
    activation: &RoleActivation,
    after: &RoleActivationStatus,
    now: Timestamp,
) -> Vec<AuditRecord> {
    use ActivationState::{
        Active, Deactivated, Expired, Lapsed, PendingApproval, Refused, Rejected, Revoked, Scheduled,
    };
    let before = activation.status.as_ref().and_then(|status| status.state);
    if before == after.state {
        return Vec::new();
    }
    let (type_, at) = match after.state {
        Some(Active) => (RecordType::Activated, after.starts_at.as_ref()),
        Some(Expired | Deactivated | Revoked) if before == Some(Active) => {
            (RecordType::Ended, after.ends_at.as_ref())
        }
        Some(Refused) => (RecordType::Refused, None),
        // The activation was never active, or the records of its request say this.
        Some(Expired | Deactivated | Revoked | Rejected | Lapsed | PendingApproval | Scheduled) | None => {
            return Vec::new();
        }
    };
    let at = at.map_or(now, |at| at.0);
    vec![AuditRecord { message: message(&after.conditions, condition::READY), ..new_record(type_, at) }]
}

/// The records about a gated object that become true with this status. A change that a request released is a record
/// about the request.
#[must_use]
pub fn records_of_gated<K: Gated>(object: &K, after: &GateStatus, now: Timestamp) -> Vec<AuditRecord> {
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
        AuditRecord {
            generation: Some(applied.generation),
            digest: Some(applied.digest.clone()),
            requesters,
            change: applied.change.clone().filter(|_| is_new),
            ..new_record(RecordType::Enacted, applied.at.0)
        }
    });
    let is_broken = |conditions: &[Condition]| {
        conditions
            .iter()
            .any(|one| one.type_ == condition::PROTECTED && one.reason == reason::POLICIES_NOT_INTACT)
    };
    let was_broken = before.is_some_and(|gate| is_broken(&gate.conditions));
    let protection = match (was_broken, is_broken(&after.conditions)) {
        (false, true) => Some(RecordType::PoliciesTampered),
        (true, false) => Some(RecordType::PoliciesRestored),
        (false, false) | (true, true) => None,
    };
    let protection = protection.map(|type_| AuditRecord {
        message: message(&after.conditions, condition::PROTECTED),
        ..new_record(type_, now)
    });
    enacted.into_iter().chain(protection).collect()
}

/// The record that becomes true when the maintenance `after` is in force instead of `before`.
#[must_use]
pub fn records_of_maintenance(
    before: Option<&Maintenance>,
    after: Option<&Maintenance>,
    requesters: Option<Vec<String>>,
    now: Timestamp,
) -> Option<AuditRecord> {
    if before == after {
        return None;
    }
    let type_ = if after.is_some() { RecordType::MaintenanceOn } else { RecordType::MaintenanceOff };
    let mut requesters = requesters.unwrap_or_default();
    requesters.truncate(MOST_REQUESTERS);
    Some(AuditRecord { maintenance: after.or(before).cloned(), requesters, ..new_record(type_, now) })
}

#[cfg(test)]
pub(crate) mod tests;
