use crate::api::reading::{Cause, Unread, Unreadable};
use crate::model::approval::policy_status::Integrity;

use super::*;
use crate::api::role_assignment::Role;
use crate::api::role_eligibility::ActivationConditions;
use crate::api::{ApprovalRequestStatus, RoleActivationSpec, RoleActivationStatus, Time};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).unwrap()
}

fn spec(change: impl FnOnce(&mut RoleEligibilitySpec)) -> Eligible {
    let principal = |kind, name: &str| Principal { kind, name: name.into(), namespace: None };
    let conditions = json_conditions();
    let mut spec = RoleEligibilitySpec {
        description: None,
        principals: vec![principal(PrincipalKind::User, "nina"), principal(PrincipalKind::Group, "on-call")],
        role: Role::EnclaveOwner,
        workload: None,
        starts_at: None,
        ends_at: None,
        activation: conditions,
        change: None,
        unreadable: None,
    };
    change(&mut spec);
    Eligible { uid: "uid".into(), spec }
}

fn json_conditions() -> ActivationConditions {
    serde_json::from_value(serde_json::json!({"maxDuration": "60m"})).unwrap()
}

/// An activation for half an hour, for which this user in these groups asks.
fn asked(user: &str, groups: &str) -> RoleActivation {
    let mut activation = RoleActivation::new(
        "a",
        RoleActivationSpec {
            eligibility: "e".into(),
            duration: "30m".parse().unwrap(),
            justification: None,
            ticket: None,
            starts_at: None,
            deactivate: false,
            unreadable: None,
        },
    );
    activation.metadata.uid = Some("abcde".into());
    let stamps = [(names::REQUESTED_BY, user), (names::REQUESTED_GROUPS, groups)];
    activation.metadata.annotations =
        Some(stamps.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    activation
}

/// An activation of Nina that is active since minute 0, for half an hour.
fn active() -> RoleActivation {
    let mut activation = asked("nina", "");
    activation.status = Some(RoleActivationStatus {
        state: Some(ActivationState::Active),
        role: Some(Role::EnclaveOwner),
        eligibility_uid: Some("uid".into()),
        stamps: asker(&activation).map(|asker| asker.digest()),
        starts_at: Some(Time(at(0))),
        ends_at: Some(Time(at(30))),
        ..RoleActivationStatus::default()
    });
    activation
}

fn judge(
    activation: &RoleActivation,
    eligible: &Eligible,
    request: Option<&ApprovalRequest>,
    now: i64,
) -> Evaluation {
    evaluate_activation(
        activation,
        &EvaluationInput {
            eligibility: Ok(eligible),
            conflict: None,
            request,
            knows_all_requests: true,
            inherited_policy: Ok(&InheritedPolicy::none()),
            policies: &PolicyStatus { integrity: Integrity::Intact, fingerprint: "guard".into() },
            now: at(now),
        },
    )
    .unwrap()
}

fn told(evaluation: &Evaluation) -> String {
    let minute =
        |time: Option<Timestamp>| time.map_or("-".to_owned(), |at| (at.as_second() / 60).to_string());
    let state = evaluation.state.map_or_else(|| "waits".to_owned(), |state| state.to_string());
    let step = match evaluation.step {
        Step::Nothing => "",
        Step::Ask(_) => " ask",
        Step::Begin(_) => " begin",
        Step::Unknown => " unknown",
    };
    format!(
        "{state} {} {}..{}{step}",
        evaluation.reason,
        minute(evaluation.starts_at),
        minute(evaluation.ends_at)
    )
}

#[test]
fn what_cannot_be_read_ends_and_what_another_version_knows_ends_in_its_time() {
    let eligible = spec(|_| {});
    let marked = |mut activation: RoleActivation, cause| {
        let unread = Unread { path: "status.state".into(), why: "odd".into(), cause };
        activation.spec.unreadable = Unreadable::of(vec![unread]);
        activation
    };
    let paused = || {
        let mut paused = active();
        paused.status.as_mut().unwrap().state = None;
        paused
    };
    for (activation, minute, expected) in [
        (marked(active(), Cause::Wrong), 10, "Revoked SpecUnreadable 0..10"),
        (marked(paused(), Cause::Wrong), 10, "Refused SpecUnreadable -..-"),
        (marked(asked("nina", ""), Cause::Wrong), 10, "Refused SpecUnreadable -..-"),
        (marked(paused(), Cause::Newer), 10, "waits SpecUnreadable 0..30"),
        (marked(paused(), Cause::Newer), 30, "Refused SpecUnreadable -..-"),
    ] {
        assert_eq!(told(&judge(&activation, &eligible, None, minute)), expected);
    }
}

/// After a rollback: what can be read takes the role away, whatever another version knows of the rest.
#[test]
fn what_another_version_knows_ends_by_what_can_be_read() {
    let unread = |path: &str| Unread { path: path.into(), why: "odd".into(), cause: Cause::Newer };
    let newer = |path: &str| {
        let mut activation = active();
        activation.spec.unreadable = Unreadable::of(vec![unread(path)]);
        activation
    };
    let role = || {
        let mut activation = newer("status.role");
        activation.status.as_mut().unwrap().role = None;
        activation
    };
    let open = spec(|_| {});
    let judge_with = |activation: &RoleActivation, eligibility: Result<&Eligible, &NotEligible>| {
        let input = EvaluationInput {
            eligibility,
            conflict: None,
            request: None,
            knows_all_requests: true,
            inherited_policy: Ok(&InheritedPolicy::none()),
            policies: &PolicyStatus {
                integrity: Integrity::Broken("a policy is missing".into()),
                fingerprint: "guard".into(),
            },
            now: at(10),
        };
        told(&evaluate_activation(activation, &input).unwrap())
    };
    let mut back = role();
    back.spec.deactivate = true;
    assert_eq!(judge_with(&back, Ok(&open)), "Deactivated Deactivated 0..10");
    assert!(!keeps_what_it_has(&back, Some(&open)));
    let mut other = role();
    let stamps = other.metadata.annotations.as_mut().unwrap();
    stamps.insert(names::REQUESTED_BY.into(), "karl".into());
    assert_eq!(judge_with(&other, Ok(&open)), "Revoked RequesterUnknown 0..10");
    assert!(!keeps_what_it_has(&other, Some(&open)));
    for (eligible, expected, keeps) in [
        (open.clone(), "waits SpecUnreadable 0..30", true),
        (spec(|it| it.activation.max_duration = "20m".parse().unwrap()), "waits SpecUnreadable 0..20", true),
        (spec(|it| it.ends_at = Some(Time(at(5)))), "Revoked NotEligible 0..10", true),
        (spec(|it| it.principals.clear()), "Revoked NotEligible 0..10", false),
        (Eligible { uid: "another".into(), ..open.clone() }, "Revoked NotEligible 0..10", false),
    ] {
        assert_eq!(judge_with(&role(), Ok(&eligible)), expected, "{eligible:?}");
        assert_eq!(keeps_what_it_has(&role(), Some(&eligible)), keeps, "{eligible:?}");
    }
    for gone in [NotEligible::For("gone".into()), NotEligible::Yet("going".into())] {
        assert_eq!(judge_with(&role(), Err(&gone)), "Revoked NotEligible 0..10");
        let mut paused = newer("status.state");
        paused.status.as_mut().unwrap().state = None;
        paused.metadata.creation_timestamp = None;
        assert_eq!(judge_with(&paused, Err(&gone)), "Refused NotEligible -..-");
    }
    assert!(!keeps_what_it_has(&role(), None));
    let mut over = role();
    over.status.as_mut().unwrap().state = Some(ActivationState::Deactivated);
    assert!(!keeps_what_it_has(&over, Some(&open)));
    assert!(!keeps_what_it_has(&active(), Some(&open)), "all of it is known");
}

#[test]
fn whoever_is_eligible_begins_at_once_when_nothing_is_asked_for() {
    let open = spec(|_| {});
    for (user, groups, expected) in [
        ("nina", "", "Active Active 0..30 begin"),
        ("karl", "staff\non-call", "Active Active 0..30 begin"),
        ("karl", "staff\non-callers", "Refused NotEligible -..-"),
        ("on-call", "nina", "Refused NotEligible -..-"),
    ] {
        assert_eq!(told(&judge(&asked(user, groups), &open, None, 0)), expected, "{user} {groups}");
    }
    let nobody = judge(&asked("", "on-call"), &open, None, 0);
    assert_eq!(told(&nobody), "waits RequesterUnknown -..-");
}

#[test]
fn what_does_not_meet_the_conditions_is_refused_at_once() {
    let with = |change: fn(&mut ActivationConditions)| spec(|spec| change(&mut spec.activation));
    let mut wordy = asked("nina", "");
    wordy.spec.justification = Some(" ".into());
    for (eligible, reason) in [
        (with(|it| it.max_duration = "29m".parse().unwrap()), "TooLong"),
        (with(|it| it.require_justification = true), "JustificationMissing"),
        (with(|it| it.require_ticket = true), "TicketMissing"),
        (with(|it| it.require_mfa = true), "MfaMissing"),
        (spec(|it| it.ends_at = Some(Time(at(0)))), "NotEligible"),
    ] {
        let evaluation = judge(&wordy, &eligible, None, 0);
        assert_eq!((evaluation.state, evaluation.reason), (Some(ActivationState::Refused), reason));
    }
    let mut later = asked("nina", "");
    later.spec.starts_at = Some(Time(at(10)));
    let ends = spec(|it| it.ends_at = Some(Time(at(10))));
    assert_eq!(told(&judge(&later, &ends, None, 0)), "Refused NotEligible -..-");
    assert_eq!(told(&judge(&later, &spec(|_| {}), None, 0)), "Scheduled Scheduled 10..-");
    assert_eq!(told(&judge(&later, &spec(|_| {}), None, 10)), "Active Active 10..40 begin");
    let opens = spec(|it| it.starts_at = Some(Time(at(20))));
    assert_eq!(told(&judge(&later, &opens, None, 10)), "Scheduled Scheduled 20..-");
}

#[test]
fn who_asked_is_believed_only_from_policies_that_stand_guard() {
    let open = spec(|_| {});
    let judge = |activation: &RoleActivation, integrity: &Integrity| {
        let input = EvaluationInput {
            eligibility: Ok(&open),
            conflict: None,
            request: None,
            knows_all_requests: true,
            inherited_policy: Ok(&InheritedPolicy::none()),
            policies: &PolicyStatus { integrity: integrity.clone(), fingerprint: "guard".into() },
            now: at(1),
        };
        told(&evaluate_activation(activation, &input).unwrap())
    };
    let broken = Integrity::Broken("a policy is missing".into());
    for integrity in [&broken, &Integrity::Propagating] {
        let refused = "Refused AdmissionPoliciesNotIntact -..-";
        assert_eq!(judge(&asked("nina", ""), integrity), refused);
        assert_eq!(judge(&active(), integrity), "Active Active 0..30", "what is active stays");
    }
    // The activation was seen while the policies were intact.
    let mut seen = asked("nina", "");
    let stamps = asker(&seen).map(|asker| asker.digest());
    seen.status = Some(RoleActivationStatus { stamps, ..RoleActivationStatus::default() });
    assert_eq!(judge(&seen, &broken), "waits AdmissionPoliciesNotIntact -..-");
    // The stamps were changed while the policies were not intact.
    for mut changed in [seen, active()] {
        let stamps = changed.metadata.annotations.as_mut().unwrap();
        stamps.insert(names::REQUESTED_GROUPS.into(), "on-call".into());
        let told = judge(&changed, &Integrity::Intact);
        assert!(told.contains("RequesterUnknown") && !told.contains("begin"), "{told}");
    }
}

#[test]
fn every_way_an_active_role_ends() {
    let open = spec(|_| {});
    let short = spec(|it| it.activation.max_duration = "10m".parse().unwrap());
    let until = spec(|it| it.ends_at = Some(Time(at(20))));
    let nobody = spec(|it| it.principals.clear());
    let other = Eligible { uid: "another".into(), ..spec(|_| {}) };
    let role = spec(|it| it.role = Role::EnclaveReader);
    for (eligible, now, expected) in [
        (&open, 29, "Active Active 0..30"),
        (&open, 30, "Expired Ended 0..30"),
        (&open, 99, "Expired Ended 0..30"),
        (&short, 5, "Active Active 0..10"),
        (&until, 5, "Active Active 0..20"),
        (&nobody, 5, "Revoked NotEligible 0..5"),
        (&other, 5, "Revoked NotEligible 0..5"),
        (&role, 5, "Revoked NotEligible 0..5"),
    ] {
        assert_eq!(told(&judge(&active(), eligible, None, now)), expected, "{eligible:?}");
    }
    let mut back = active();
    back.spec.deactivate = true;
    assert_eq!(told(&judge(&back, &open, None, 5)), "Deactivated Deactivated 0..5");
    assert_eq!(told(&judge(&back, &open, None, 31)), "Expired Ended 0..30");
    let mut never = asked("nina", "");
    never.spec.deactivate = true;
    assert_eq!(told(&judge(&never, &open, None, 5)), "Deactivated Deactivated -..-");
}

#[test]
fn somebody_else_has_to_decide_where_that_is_asked_for() {
    let held = spec(|it| {
        it.activation = serde_json::from_value(serde_json::json!({
            "maxDuration": "60m", "approval": {"policy": "Required", "expireAfter": "4h"}}))
        .unwrap();
    });
    let evaluation = judge(&asked("nina", "on-call"), &held, None, 0);
    assert_eq!(told(&evaluation), "PendingApproval ApprovalPending -..- ask");
    let Step::Ask(mut request) = evaluation.step else { panic!("nothing is asked") };
    assert_eq!(request.spec.requesters, ["nina"]);
    assert_eq!(request.spec.expires_at.0, at(240));
    assert_eq!(request.metadata.name.as_deref(), Some(request_name(&asked("nina", "")).as_str()));

    let mut status =
        ApprovalRequestStatus { state: Some(RequestState::Approved), ..ApprovalRequestStatus::default() };
    status.decided_at = Some(Time(at(1)));
    status.policy_fingerprint = Some("guard".into());
    request.status = Some(status.clone());
    let unfounded = judge(&asked("nina", ""), &held, Some(&request), 2);
    assert_eq!(told(&unfounded), "PendingApproval ApprovalPending -..-", "the word alone does not count");
    let vote =
        serde_json::json!({"approver": "bob", "verdict": "Approved", "digest": request.spec.change.digest});
    status.decisions = vec![serde_json::from_value(vote).unwrap()];
    for (fingerprint, state, expected) in [
        ("guard", RequestState::Approved, "Active Active 2..32 begin"),
        ("another", RequestState::Approved, "PendingApproval ApprovalPending -..-"),
        ("guard", RequestState::Rejected, "Rejected Rejected -..-"),
        ("guard", RequestState::Expired, "Lapsed Expired -..-"),
        ("guard", RequestState::Withdrawn, "Revoked Withdrawn -..-"),
    ] {
        let status = ApprovalRequestStatus {
            state: Some(state),
            policy_fingerprint: Some(fingerprint.into()),
            ..status.clone()
        };
        request.status = Some(status);
        assert_eq!(told(&judge(&asked("nina", ""), &held, Some(&request), 2)), expected);
    }
}

/// The request may have been rejected. Nothing begins, and nobody is asked again, before that is known; and whoever
/// gives the activation back is heard.
#[test]
fn an_activation_whose_request_is_not_known_yet_stays_as_it_is() {
    let open = spec(|_| {});
    let mut activation = asked("nina", "");
    activation.status = Some(RoleActivationStatus {
        state: Some(ActivationState::PendingApproval),
        role: Some(Role::EnclaveOwner),
        eligibility_uid: Some("uid".into()),
        stamps: asker(&activation).map(|asker| asker.digest()),
        approval_request: Some("asked".into()),
        ..RoleActivationStatus::default()
    });
    let judge = |activation: &RoleActivation, knows_all_requests| {
        let input = EvaluationInput {
            eligibility: Ok(&open),
            conflict: None,
            request: None,
            knows_all_requests,
            inherited_policy: Ok(&InheritedPolicy::none()),
            policies: &PolicyStatus { integrity: Integrity::Intact, fingerprint: "guard".into() },
            now: at(1),
        };
        told(&evaluate_activation(activation, &input).unwrap())
    };
    assert_eq!(judge(&activation, false), "waits ApprovalPending -..- unknown");
    assert_eq!(judge(&activation, true), "Active Active 1..31 begin");
    activation.spec.deactivate = true;
    assert_eq!(judge(&activation, false), "Deactivated Deactivated -..-");
}
