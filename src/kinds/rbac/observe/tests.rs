use serde_json::{Value, json};

use super::*;
use crate::api::names;
use crate::api::reading::{Item, Readable};
use crate::kinds::role_activation::plan::plan_activation;
use crate::model::approval::policy_status::Integrity;
use crate::plan::Write;
use crate::plan::child::{Child, Verb};
use crate::plan::rbac::grants::plan_access;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn read<K: Readable>(object: &Value) -> Arc<K> {
    Arc::new(serde_json::from_str::<Item<K>>(&object.to_string()).unwrap().read().0)
}

/// An object with one spec applied and another one declared.
fn given<K: Readable>(applied: &Value, spec: &Value) -> Arc<K> {
    read(&json!({
        "metadata": {"name": "staff", "namespace": "acme", "uid": "uid", "generation": 2},
        "spec": spec,
        "status": {"state": "Active", "applied": {
            "generation": 1, "digest": "d", "spec": applied, "at": "2026-01-01T00:00:00Z",
        }},
    }))
}

fn users(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "User", "name": name})).collect()
}

/// A Community that is known, and a binding that was made for a grant in its namespace.
fn bound(kind: Kind, names: &[&str]) -> Caches {
    let caches = Caches::detached("enclave-system");
    caches.communities.apply(read(&json!({"metadata": {"name": "acme", "uid": "acme"}, "spec": {}})));
    let labels = json!({label::COMMUNITY: "acme", label::PURPOSE: "community", label::OWNER_UID: "acme"});
    caches.namespaces.apply(read(&json!({"metadata": {"name": "acme", "uid": "ns", "labels": labels}})));
    let api_group = "rbac.authorization.k8s.io";
    let subjects = names.iter().map(|name| json!({"kind": "User", "name": name, "apiGroup": api_group}));
    caches.role_bindings.apply(read(&json!({
        "metadata": {"name": naming::grant(kind, "acme", "staff"), "namespace": "acme", "uid": "binding"},
        "roleRef": {"apiGroup": api_group, "kind": "ClusterRole", "name": "enclave-operator:enclave-owner"},
        "subjects": subjects.collect::<Vec<_>>(),
    })));
    caches
}

/// Returns who is left in the binding after the plan took away what has to go.
fn left(caches: &Caches, kind: Kind) -> Vec<String> {
    let name = naming::grant(kind, "acme", "staff");
    let (grant, around) = observe_one_grant(caches, &name);
    let names = |binding: &k8s_openapi::api::rbac::v1::RoleBinding| -> Vec<String> {
        binding.subjects.iter().flatten().map(|subject| subject.name.clone()).collect()
    };
    match plan_access(grant.as_slice(), &around, now()).closes.as_slice() {
        [] => names(around.live.role_bindings[0].as_ref()),
        [Write::Child(Verb::Replace, Child::RoleBinding(binding))] => names(binding),
        [Write::Child(Verb::Delete, _)] => Vec::new(),
        other => panic!("{other:?}"),
    }
}

/// After a rollback: whoever was taken out of what can be read loses the role, and who is named keeps it.
#[test]
fn who_is_taken_out_beside_what_a_newer_version_knows_loses_the_role() {
    let robot = |names: &[&str]| [users(names), vec![json!({"kind": "Robot", "name": "r2"})]].concat();
    let auditor = |names: &[&str]| json!({"role": "enclave-auditor", "principals": users(names)});
    let robots = |names: &[&str]| json!({"role": "enclave-owner", "principals": robot(names)});
    let both = |names: &[&str]| json!({"role": "enclave-auditor", "principals": robot(names)});
    let caches = bound(Kind::RoleAssignment, &["ann", "eve"]);
    let left_of = |applied: &Value, spec: &Value| {
        caches.assignments.apply(given(applied, spec));
        left(&caches, Kind::RoleAssignment)
    };
    for spec in [&auditor as &dyn Fn(&[&str]) -> Value, &robots, &both] {
        let applied = spec(&["ann", "eve"]);
        assert_eq!(left_of(&applied, &applied), ["ann", "eve"], "nobody took it back: {applied}");
        assert_eq!(left_of(&applied, &spec(&["ann"])), ["ann"], "{applied}");
        assert_eq!(left_of(&applied, &spec(&["bob"])), [""; 0], "{applied}");
    }
    let applied = robots(&["ann", "eve"]);
    assert_eq!(left_of(&applied, &json!({"role": "enclave-owner", "principals": "all"})), [""; 0]);
    let many = vec![json!({"kind": "Robot", "name": "r2"}); 1_000];
    let crowd = json!({"role": "enclave-auditor", "principals": many});
    assert_eq!(left_of(&applied, &crowd), ["ann", "eve"], "nobody can tell");
}

/// The right to ask for a role is one that can be taken away too.
#[test]
fn who_is_taken_out_of_an_eligibility_beside_what_a_newer_version_knows_cannot_ask_any_more() {
    let spec = |names: &[&str]| {
        let activation = json!({"maxDuration": "1h", "approval": {"policy": "Sometimes"}});
        json!({"role": "enclave-auditor", "principals": users(names), "activation": activation})
    };
    let caches = bound(Kind::RoleEligibility, &["ann", "eve"]);
    for (names, expected) in [(["ann", "eve"].as_slice(), ["ann", "eve"].as_slice()), (&["ann"], &["ann"])] {
        caches.eligibilities.apply(given(&spec(&["ann", "eve"]), &spec(names)));
        assert_eq!(left(&caches, Kind::RoleEligibility), expected);
    }
}

/// A role that is held and only another version knows stays until what can be read takes it away.
#[test]
fn a_role_of_a_newer_version_goes_with_what_gives_it() {
    let eligibility = |names: &[&str]| {
        let activation = json!({"maxDuration": "8h"});
        let spec = |names: &[&str]| json!({"role": "enclave-auditor", "principals": users(names), "activation": activation});
        given::<RoleEligibility>(&spec(&["ann", "eve"]), &spec(names))
    };
    let activation = |deactivate: bool, state: &str| {
        let mut activation = json!({
            "metadata": {
                "name": "staff", "namespace": "acme", "uid": "activation", "generation": 1,
                "annotations": {names::REQUESTED_BY: "eve"},
            },
            "spec": {"eligibility": "staff", "duration": "1h", "deactivate": deactivate},
            "status": {
                "state": state, "role": "enclave-auditor", "user": "eve", "eligibilityUid": "uid",
                "startsAt": "2026-01-01T00:30:00Z", "endsAt": "2026-01-01T01:30:00Z",
            },
        });
        let stamps = asker(&read::<RoleActivation>(&activation)).unwrap().digest();
        activation["status"]["stamps"] = json!(stamps);
        read::<RoleActivation>(&activation)
    };
    let caches = bound(Kind::RoleActivation, &["eve"]);
    let left_of = |deactivate: bool, state: &str, eligible: &[&str]| {
        caches.activations.apply(activation(deactivate, state));
        caches.eligibilities.apply(eligibility(eligible));
        left(&caches, Kind::RoleActivation)
    };
    for state in ["Active", "Paused"] {
        assert_eq!(left_of(false, state, &["ann", "eve"]), ["eve"], "nobody took it back");
        assert_eq!(left_of(true, state, &["ann", "eve"]), [""; 0], "given back");
        assert_eq!(left_of(false, state, &["ann"]), [""; 0], "not eligible any more");
    }
    let crowd = [users(&["eve"]), vec![json!({"kind": "Robot", "name": "r2"}); 1_000]].concat();
    let crowd = json!({"role": "enclave-auditor", "principals": crowd, "activation": {"maxDuration": "8h"}});
    caches.eligibilities.apply(given(&crowd, &crowd));
    assert_eq!(left(&caches, Kind::RoleActivation), ["eve"], "nobody can tell whom it names");
    assert_eq!(left_of(false, "Revoked", &["ann", "eve"]), [""; 0], "over");
    assert_eq!(left_of(false, "Active", &["ann", "eve"]), ["eve"]);
    caches.eligibilities.remove(&eligibility(&["ann", "eve"]));
    assert_eq!(left(&caches, Kind::RoleActivation), [""; 0], "there is no eligibility");
}

/// Roles that count everywhere reach a Community whatever can be read of it.
#[test]
fn nobody_can_tell_whether_conflicting_duties_are_refused_while_a_community_cannot_be_read() {
    let caches = Caches::detached("enclave-system");
    let conflicts = || observe_role_scope(&caches, "enclave-system").conflicts;
    assert_eq!(conflicts(), Some(ConflictingDuties::Warn));
    let newer = json!({"rules": [{"operation": "JobRun", "policy": "Required"}]});
    for (applied, expected) in [
        (json!({}), Some(ConflictingDuties::Warn)),
        (json!({"conflictingDuties": "Refuse"}), Some(ConflictingDuties::Refuse)),
        (json!({"conflictingDuties": "Warn"}), Some(ConflictingDuties::Warn)),
        (json!({"conflictingDuties": "Warn", "approvals": newer}), None),
    ] {
        caches.communities.apply(given(&applied, &json!({})));
        assert_eq!(conflicts(), expected, "{applied}");
    }
    caches
        .communities
        .apply(read(&json!({"metadata": {"name": "staff", "namespace": "acme", "uid": "uid"}, "spec": {}})));
    assert_eq!(conflicts(), Some(ConflictingDuties::Warn), "nothing of it is in force");
}

/// An activation ends for good, and another version may know that nobody refuses the conflict.
#[test]
fn an_activation_with_conflicting_duties_ends_where_they_are_refused_and_waits_while_nobody_can_tell() {
    const SYSTEM: &str = "enclave-system";
    let caches = Caches::detached(SYSTEM);
    let in_force = |name: &str, spec: &Value| {
        json!({
            "metadata": {"name": name, "namespace": SYSTEM, "uid": name, "generation": 1},
            "spec": spec,
            "status": {"state": "Active", "applied": {
                "generation": 1, "digest": "d", "spec": spec, "at": "2026-01-01T00:00:00Z",
            }},
        })
    };
    let approver = json!({"role": "enclave-approver", "principals": users(&["ann"])});
    caches.assignments.apply(read(&in_force("approvers", &approver)));
    let owner = json!({
        "role": "enclave-owner", "principals": users(&["ann"]), "activation": {"maxDuration": "8h"},
    });
    caches.eligibilities.apply(read(&in_force("owners", &owner)));
    let mut tonight = json!({
        "metadata": {
            "name": "tonight", "namespace": SYSTEM, "uid": "tonight", "generation": 1,
            "creationTimestamp": "2026-01-01T00:30:00Z",
            "finalizers": [names::FINALIZER], "annotations": {names::REQUESTED_BY: "ann"},
        },
        "spec": {"eligibility": "owners", "duration": "1h", "startsAt": "2026-01-01T20:00:00Z"},
    });
    let stamps = asker(&read::<RoleActivation>(&tonight)).unwrap().digest();
    tonight["status"] = json!({
        "state": "Scheduled", "role": "enclave-owner", "user": "ann", "eligibilityUid": "owners", "stamps": stamps,
    });
    let planned = |rules: Value| {
        let spec = json!({"conflictingDuties": rules["duties"], "approvals": rules["approvals"]});
        caches.communities.apply(given(&spec, &json!({})));
        let policy_status = PolicyStatus { integrity: Integrity::Intact, fingerprint: "guard".into() };
        let observed = observe_activation(&caches, read(&tonight), policy_status, SignedDuration::MAX);
        let status = plan_activation(&observed, now()).status.unwrap();
        (status.state.unwrap(), status.conditions[0].reason.clone())
    };
    let newer = json!({"rules": [{"operation": "JobRun", "policy": "Required"}]});
    let (state, _) = planned(json!({"duties": "Warn", "approvals": {}}));
    assert_eq!(state, ActivationState::Scheduled);
    let (state, reason) = planned(json!({"duties": "Warn", "approvals": newer}));
    assert!(!state.is_final(), "{state:?}");
    assert_eq!(reason, names::reason::APPLIED_UNREADABLE);
    let (state, reason) = planned(json!({"duties": "Refuse", "approvals": {}}));
    assert!(state.is_final(), "{state:?}");
    assert_eq!(reason, names::reason::CONFLICTING_DUTIES);
}
