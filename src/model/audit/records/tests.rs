use super::*;
use crate::api::common::{MaintenanceMode, Principal, PrincipalKind};
use crate::model::approval::request::tests::a_request;

pub fn a_record(type_: RecordType) -> AuditRecord {
    new_record(type_, Timestamp::UNIX_EPOCH)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn types<'a>(records: impl IntoIterator<Item = &'a AuditRecord>) -> Vec<RecordType> {
    records.into_iter().map(|record| record.type_).collect()
}

#[test]
fn each_step_of_a_request_is_one_record_and_no_step_is_none() {
    use RecordType::{Decided, Enacted, Expired, Expiring, Reopened, Requested, Superseded, Withdrawn};
    let open =
        ApprovalRequestStatus { state: Some(RequestState::Pending), ..ApprovalRequestStatus::default() };
    let decided =
        |state| ApprovalRequestStatus { state: Some(state), decided_at: Some(Time(at(10))), ..open.clone() };
    let approved = decided(RequestState::Approved);
    for (before, after, expected) in [
        (None, open.clone(), vec![Requested]),
        (
            Some(open.clone()),
            ApprovalRequestStatus { reminded_at: Some(Time(at(5))), ..open.clone() },
            vec![Expiring],
        ),
        (Some(open.clone()), approved.clone(), vec![Decided]),
        (Some(open.clone()), decided(RequestState::Rejected), vec![Decided]),
        (Some(open.clone()), decided(RequestState::Expired), vec![Expired]),
        (Some(open.clone()), decided(RequestState::Superseded), vec![Superseded]),
        (Some(open.clone()), decided(RequestState::Withdrawn), vec![Withdrawn]),
        (Some(approved.clone()), open.clone(), vec![Reopened]),
        (
            Some(approved.clone()),
            ApprovalRequestStatus { enacted_at: Some(Time(at(11))), ..approved.clone() },
            vec![Enacted],
        ),
        // Made, and its target was edited before anybody saw it.
        (None, decided(RequestState::Superseded), vec![Requested, Superseded]),
        (Some(open.clone()), ApprovalRequestStatus { missing: Some("one".into()), ..open }, vec![]),
        (Some(approved.clone()), approved, vec![]),
    ] {
        let mut request = ApprovalRequest::new("r", a_request());
        request.status = before;
        assert_eq!(types(&records_of_request(&request, &after, at(20))), expected, "{after:?}");
    }
}

#[test]
fn what_is_enacted_is_recorded_with_it() {
    let mut request = ApprovalRequest::new("r", a_request());
    request.status = Some(ApprovalRequestStatus::default());
    request.status = Some(enacted_status(&request, at(30)));
    let status = request.status.as_ref().unwrap();
    assert_eq!(
        (status.audit.recorded, types(status.audit.waiting.iter().map(|record| &**record))),
        (1, vec![RecordType::Enacted])
    );
    assert_eq!(status.audit.waiting[0].at, Time(at(30)));
    assert_eq!(enacted_status(&request, at(30)), *status, "not twice");
}

#[test]
fn only_so_many_records_wait_and_the_numbers_go_on() {
    let mut audit = Audit::default();
    append(&mut audit, (0..=MOST_WAITING).map(|_| a_record(RecordType::Enacted)));
    let numbers: Vec<i64> = audit.waiting.iter().map(|record| record.number).collect();
    assert_eq!(numbers, (1..=500).collect::<Vec<_>>());
    assert_eq!(audit.recorded, 501);
    audit.waiting.clear();
    append(&mut audit, [a_record(RecordType::Enacted)]);
    assert_eq!(audit.waiting[0].number, 502);

    // An object that is too large could not be written at all, so further ones have no words.
    let large = || AuditRecord {
        message: Some("x".repeat(LONGEST_MESSAGE)),
        requesters: vec!["ann".into(), "\u{1}".repeat(1000)],
        ..a_record(RecordType::Enacted)
    };
    let mut audit = Audit::default();
    append(&mut audit, (0..MOST_WAITING).map(|_| large()));
    assert_eq!(audit.waiting.len(), MOST_WAITING);
    let told = audit.waiting.iter().filter(|record| record.message.is_some()).count();
    assert!((10..30).contains(&told), "{told}");
    let bytes = serde_json::to_vec(&audit.waiting).unwrap().len();
    assert!(bytes <= 2 * MOST_BYTES + 1000, "{bytes}");
    let one = AuditRecord { message: Some("x".repeat(2 * MOST_BYTES)), ..a_record(RecordType::Enacted) };
    let mut audit = Audit::default();
    append(&mut audit, [one]);
    assert_eq!(audit.waiting.len(), 1, "none is too large");
}

#[test]
fn an_activation_is_told_when_it_begins_when_it_ends_and_when_it_is_refused() {
    use ActivationState::{
        Active, Deactivated, Expired, Lapsed, PendingApproval, Refused, Rejected, Revoked, Scheduled,
    };
    for (before, after, expected) in [
        (None, PendingApproval, None),
        (None, Active, Some(RecordType::Activated)),
        (Some(Scheduled), Active, Some(RecordType::Activated)),
        (Some(Active), Active, None),
        (Some(Active), Expired, Some(RecordType::Ended)),
        (Some(Active), Revoked, Some(RecordType::Ended)),
        (Some(Active), Deactivated, Some(RecordType::Ended)),
        (Some(Scheduled), Deactivated, None),
        (Some(PendingApproval), Rejected, None),
        (Some(PendingApproval), Lapsed, None),
        (None, Refused, Some(RecordType::Refused)),
        (Some(PendingApproval), Refused, Some(RecordType::Refused)),
    ] {
        let spec = serde_json::json!({"eligibility": "e", "duration": "1h"});
        let mut activation = RoleActivation::new("a", serde_json::from_value(spec).unwrap());
        let status = |state| RoleActivationStatus { state: Some(state), ..RoleActivationStatus::default() };
        activation.status = before.map(status);
        let records = records_of_activation(&activation, &status(after), at(0));
        assert_eq!(types(&records), expected.into_iter().collect::<Vec<_>>(), "{before:?} -> {after:?}");
    }
}

#[test]
fn what_needs_no_request_is_told_of_the_object_and_so_is_what_only_closes() {
    use crate::api::gate::Applied;
    use crate::api::{ChangeReason, Content, Enclave, EnclaveSpec, EnclaveStatus};
    let applied = |generation, digest: &str, request: Option<&str>| Applied {
        generation,
        complete_for: None,
        digest: digest.into(),
        spec: Content::of_spec(&EnclaveSpec::default()).unwrap(),
        change: Some(ChangeReason { justification: Some("why".into()), ticket: None }),
        approval_request: request.map(ToOwned::to_owned),
        at: Time(at(generation)),
        references: Vec::new(),
    };
    let told = |before: Option<Applied>, after: Applied| -> Vec<(i64, bool)> {
        let mut enclave = Enclave::new("e", EnclaveSpec::default());
        let gate = GateStatus { applied: before, ..GateStatus::default() };
        enclave.status = Some(EnclaveStatus { gate, ..EnclaveStatus::default() });
        let gate = GateStatus { applied: Some(after), ..GateStatus::default() };
        let records = records_of_gated(&enclave, &gate, at(0));
        records.into_iter().map(|record| (record.generation.unwrap(), record.change.is_some())).collect()
    };
    let (one, other) = (applied(1, "a", Some("r1")), applied(2, "b", Some("r2")));
    assert_eq!(told(None, applied(1, "a", None)), [(1, true)]);
    assert_eq!(told(None, one.clone()), [], "the request tells it");
    assert_eq!(told(Some(one.clone()), other), []);
    assert_eq!(told(Some(one.clone()), one.clone()), []);
    assert_eq!(told(Some(one.clone()), applied(2, "b", None)), [(2, true)]);
    // The closing part of an edit of what a request had released; and a whole edit that closes.
    assert_eq!(told(Some(one.clone()), applied(1, "c", Some("r1"))), [(1, false)]);
    assert_eq!(told(Some(one), applied(2, "c", Some("r1"))), [(2, true)]);
}

#[test]
fn maintenance_is_told_when_it_is_another_one() {
    let maintenance = |name: &str| Maintenance {
        mode: MaintenanceMode::General,
        principals: vec![Principal { kind: PrincipalKind::User, name: name.into(), namespace: None }],
        ..Maintenance::default()
    };
    let (ann, bob) = (maintenance("ann"), maintenance("bob"));
    let told = |before, after| {
        records_of_maintenance(before, after, None, at(0))
            .map(|record| (record.type_, record.maintenance.unwrap()))
    };
    assert_eq!(told(None, Some(&ann)), Some((RecordType::MaintenanceOn, ann.clone())));
    assert_eq!(told(Some(&ann), Some(&bob)), Some((RecordType::MaintenanceOn, bob.clone())));
    assert_eq!(told(Some(&bob), None), Some((RecordType::MaintenanceOff, bob.clone())));
    assert_eq!(told(Some(&ann), Some(&ann)), None);
    assert_eq!(told(None, None), None);
}
