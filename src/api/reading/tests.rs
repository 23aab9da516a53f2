use crate::api::reading::spec::Markable;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt;
use kube::core::{ObjectList, WatchEvent};
use serde_json::{Value, json};

use super::*;
use crate::api::audit::RecordType;
use crate::api::common::MaintenanceMode;
use crate::api::enclave_workload::AccessMode;
use crate::api::*;
use crate::model::network::intra_enclave::is_kept_apart;

const NO_TIME: &str = "when it is over";

fn read<K: Readable>(object: &Value) -> (K, Vec<String>) {
    read_text(&object.to_string())
}

/// Reads an object as a watch delivers it and as a list delivers it, which must give the same.
fn read_text<K: Readable>(text: &str) -> (K, Vec<String>) {
    let event = format!(r#"{{"type":"MODIFIED","object":{text}}}"#);
    let WatchEvent::Modified(item) = serde_json::from_str::<WatchEvent<Item<K>>>(&event).unwrap() else {
        panic!("another event")
    };
    let list = format!(
        r#"{{"kind":"List","apiVersion":"v1","metadata":{{"resourceVersion":"7"}},"items":[{text}]}}"#
    );
    let list: ObjectList<Item<K>> = serde_json::from_str(&list).unwrap();
    assert_eq!(format!("{:?}", list.items[0]), format!("{item:?}"));
    let (object, unread) = item.read();
    (object, unread.iter().map(|unread| format!("{} {:?}", unread.path, unread.cause)).collect())
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

fn applied(spec: &Value) -> Value {
    json!({"generation": 1, "digest": "sha256:a", "spec": spec, "at": "2026-01-01T00:00:00Z"})
}

/// Returns an object with an applied spec and another latest one.
fn edited(before: &Value, after: &Value) -> Value {
    json!({
        "metadata": {"name": "x", "namespace": "n", "uid": "u", "resourceVersion": "1", "generation": 2},
        "spec": after,
        "status": {"state": "Active", "applied": applied(before)},
    })
}

#[test]
fn metadata_that_cannot_be_held_is_left_out_and_the_object_is_not() {
    let managed = json!([{"manager": "x", "operation": "Update", "time": NO_TIME, "fieldsV1": {"f:a": {}}}]);
    let (namespace, unread) = read::<Namespace>(&json!({
        "metadata": {"name": "a", "uid": "u", "resourceVersion": "7", "managedFields": managed},
        "status": {"phase": "Active"},
    }));
    assert_eq!((namespace.name_any().as_str(), unread), ("a", vec![]));
    assert_eq!(namespace.metadata.managed_fields, None);
    assert_eq!(namespace.status.unwrap().phase.as_deref(), Some("Active"));

    let (namespace, unread) = read::<Namespace>(&json!({"metadata": {
        "name": "a", "uid": "u", "resourceVersion": "7",
        "creationTimestamp": NO_TIME, "deletionTimestamp": NO_TIME, "generation": "two",
        "labels": {"good": "1", "bad": 5}, "annotations": [], "finalizers": ["a", {}],
        "ownerReferences": [5, {"apiVersion": "v1", "kind": "K", "name": "o", "uid": "1"}],
    }}));
    let metadata = &namespace.metadata;
    assert_eq!(namespace.labels().keys().collect::<Vec<_>>(), ["good"]);
    assert!(metadata.deletion_timestamp.is_some(), "it is being deleted, whenever that began");
    assert_eq!(metadata.finalizers.as_deref(), Some(&["a".to_owned()][..]));
    assert_eq!(metadata.owner_references.as_ref().map(Vec::len), Some(1));
    assert_eq!(
        unread,
        [
            "metadata.annotations Wrong",
            "metadata.creationTimestamp Wrong",
            "metadata.deletionTimestamp Wrong",
            "metadata.finalizers[1] Wrong",
            "metadata.generation Wrong",
            "metadata.labels.bad Wrong",
            "metadata.ownerReferences[0] Wrong",
        ]
    );
    for odd in ["null", "5", "true", "\"x\"", "[1,[2]]", "1.5", "-1"] {
        let (namespace, _) = read_text::<Namespace>(&format!(r#"{{"metadata":{odd},"status":{odd}}}"#));
        assert_eq!(namespace.metadata.name, None);
    }
}

/// An admission policy is not believed at once when it was changed a moment ago, whatever else its managed
/// fields say.
#[test]
fn of_an_admission_policy_is_kept_when_it_was_changed_last() {
    let changed = |managed: Value| {
        let policy = json!({"metadata": {"name": "p", "managedFields": managed}, "spec": {}});
        let (policy, unread) = read::<ValidatingAdmissionPolicy>(&policy);
        assert_eq!(unread, [""; 0]);
        let entries = policy.metadata.managed_fields.unwrap_or_default();
        entries.first().and_then(|entry| entry.time.as_ref()).map(|time| time.0)
    };
    let at = |time: &str| json!({"manager": "m", "time": time, "fieldsV1": {"f:spec": {}}});
    let (early, late) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
    assert_eq!(changed(json!([at(early), at(late), {"manager": "m"}])), Some(late.parse().unwrap()));
    assert_eq!(changed(json!([])), Some(Timestamp::MAX));
    assert_eq!(changed(json!([{"manager": "m"}])), Some(Timestamp::MAX));
    assert_eq!(changed(json!([at("tomorrow"), at(late)])), Some(Timestamp::MAX));
    assert_eq!(changed(json!("all")), Some(Timestamp::MAX));
}

#[test]
fn nesting_neither_overflows_nor_hides_anything() {
    for depth in [100, 127, 128, 129, 1_000, 100_000] {
        let deep = nested(depth);
        let text = format!(
            r#"{{"extra":{deep},"metadata":{{"extra":{deep},"name":"a","uid":"u","resourceVersion":"1","managedFields":[{{"fieldsV1":{deep}}}],"labels":{{"deep":{deep},"team":"x"}}}},"spec":{{"unknown":{deep},"description":"d"}},"status":{{"unknown":{deep},"state":"Active","applied":{{"generation":4,"digest":"d","spec":{{}},"at":"2026-01-01T00:00:00Z","unknown":{deep}}}}}}}"#
        );
        let (enclave, _) = read_text::<Enclave>(&text);
        assert_eq!((enclave.name_any().as_str(), enclave.uid().as_deref()), ("a", Some("u")), "{depth}");
        assert_eq!(enclave.labels()["team"], "x");
        assert_eq!(enclave.spec.description.as_deref(), Some("d"));
        assert_eq!(enclave.spec.unreadable, None, "what nobody knows is skipped, however deep it is");
        let gate = enclave.status.unwrap().gate;
        assert_eq!((gate.state, gate.applied.unwrap().generation), (Some(State::Active), 4), "{depth}");
    }
    for depth in [129, 100_000] {
        let deep = nested(depth);
        let text = format!(
            r#"{{"metadata":{{"name":"a"}},"spec":{{"description":{deep},"maintenance":{{"mode":"General"}}}},"status":{{"conditions":{deep},"namespace":"n","applied":{{"generation":4,"digest":"d","spec":{{"x":{deep}}},"at":"2026-01-01T00:00:00Z"}}}}}}"#
        );
        let (enclave, unread) = read_text::<Enclave>(&text);
        let starts = ["status.applied.spec.x[0]", "status.conditions Wrong", "spec.description Wrong"];
        assert!(
            unread.len() == 3 && starts.iter().zip(&unread).all(|(start, unread)| unread.starts_with(start))
        );
        assert_eq!(enclave.spec.maintenance.mode, MaintenanceMode::General);
        let status = enclave.status.unwrap();
        assert_eq!(status.namespace.as_deref(), Some("n"));
        assert!(status.gate.applied.unwrap().spec.to_spec::<EnclaveSpec>().is_err());
    }
}

/// A binding that lost a subject would look like another one, and a binding that is left out gives rights
/// that nobody sees.
#[test]
fn what_is_compared_is_read_as_a_whole_or_as_different() {
    let metadata = json!({"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1"});
    let role = json!({"apiGroup": "g", "kind": "ClusterRole", "name": "edit"});
    let eve = json!({"kind": "User", "name": "eve"});
    let (binding, unread) = read::<RoleBinding>(&json!({
        "metadata": metadata, "roleRef": role, "subjects": [eve, {"kind": "User", "name": 5}],
    }));
    assert_eq!(unread, ["subjects[1].name Wrong"]);
    assert_eq!(binding.role_ref.name, "edit");
    let subjects = binding.subjects.unwrap();
    assert_eq!((subjects.len(), subjects[0].name.as_str()), (1, "unreadable"));
    let (binding, unread) =
        read::<RoleBinding>(&json!({"metadata": metadata, "roleRef": 5, "subjects": [eve]}));
    assert_eq!((unread.len(), binding.role_ref.name.as_str(), binding.subjects.unwrap().len()), (1, "", 1));
    let (policy, unread) = read::<NetworkPolicy>(&json!({
        "metadata": metadata,
        "spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}, 5]}]},
    }));
    assert_eq!((policy.spec, unread.len()), (None, 1));
}

#[test]
fn what_can_be_read_is_read_as_before() {
    let spec = json!({"description": "d", "network": {"workloadCommunication": "Allowed"}});
    let object = edited(&spec, &spec);
    let (enclave, unread) = read::<Enclave>(&object);
    assert_eq!(unread, Vec::<String>::new());
    assert_eq!(enclave, serde_json::from_value(object).unwrap());
}

#[test]
fn an_unreadable_spec_is_marked_and_the_rest_of_it_is_what_it_says_or_what_is_applied() {
    let on = json!({
        "mode": "Advanced", "justification": "Networking", "expiresAt": "2026-06-01T00:00:00Z",
        "principals": [{"kind": "User", "name": "ann"}, {"kind": "User", "name": "bob"}],
    });
    let before = json!({"namespace": "ns", "maintenance": on});
    let wanted = |after: &Value| {
        let (community, unread) = read::<Community>(&edited(&before, after));
        let mark = community.spec.unreadable.as_ref().expect("a mark");
        let paths: Vec<String> = mark.fields().iter().map(|one| one.path.clone()).collect();
        assert_eq!(unread.len(), paths.len());
        (community.spec, paths)
    };
    let (spec, paths) = wanted(&json!({"dns": {"port": "x"}, "maintenance": {"mode": "Disabled"}}));
    assert_eq!(paths, ["spec.dns.port"]);
    assert_eq!(spec.namespace, None, "what was taken out stays out");
    assert_eq!(spec.maintenance.mode, MaintenanceMode::Disabled, "closing is read");

    let (spec, paths) =
        wanted(&json!({"namespace": "ns", "maintenance": {"mode": "Disabled", "expiresAt": NO_TIME}}));
    assert_eq!(paths, ["spec.maintenance.expiresAt"]);
    assert_eq!(spec.maintenance.mode, MaintenanceMode::Disabled);

    let (spec, paths) = wanted(&json!({"maintenance": {
        "mode": 7, "expiresAt": NO_TIME, "principals": [{"kind": "User", "name": 5}, {"kind": "User", "name": "bob"}, {}],
    }}));
    assert_eq!(
        paths,
        [
            "spec.maintenance.expiresAt",
            "spec.maintenance.mode",
            "spec.maintenance.principals[0].name",
            "spec.maintenance.principals[0]",
            "spec.maintenance.principals[2]",
        ]
    );
    assert_eq!(spec.maintenance.mode, MaintenanceMode::Advanced, "as it is applied");
    let names: Vec<&str> = spec.maintenance.principals.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["bob"], "those who can be read");
    let end = spec.maintenance.expires_at.unwrap().0.to_string();
    assert_eq!(end, "2026-06-01T00:00:00Z");

    for nobody in [json!("all"), json!(5), json!({"kind": "User"})] {
        let (spec, _) = wanted(&json!({"maintenance": {"mode": "Advanced", "principals": nobody}}));
        assert_eq!(spec.maintenance.principals, []);
    }
    for odd in [json!("on"), json!(7), json!(true)] {
        let (spec, paths) = wanted(&json!({"maintenance": odd, "retire": "yes"}));
        assert_eq!(paths, ["spec.maintenance", "spec.retire"]);
        assert_eq!(serde_json::to_value(&spec.maintenance).unwrap(), on);
        assert!(!spec.retire);
    }
    for odd in [json!("on"), json!([1]), json!([])] {
        let (spec, paths) = wanted(&odd);
        assert_eq!((paths, spec.namespace.as_deref()), (vec!["spec".to_owned()], Some("ns")));
        assert_eq!(serde_json::to_value(&spec.maintenance).unwrap(), on, "nothing of it says anything else");
    }
}

#[test]
fn a_field_that_is_nested_too_deeply_is_as_it_is_applied() {
    let applied = applied(&json!({"namespace": "ns"}));
    let deep = nested(1_000);
    let text = format!(
        r#"{{"metadata":{{"name":"a"}},"spec":{{"namespace":{deep}}},"status":{{"applied":{applied}}}}}"#
    );
    let (community, unread) = read_text::<Community>(&text);
    assert_eq!((community.spec.namespace.as_deref(), unread.len()), (Some("ns"), 1), "{unread:?}");
}

#[test]
fn what_gives_access_and_nothing_else_is_closed_when_it_cannot_be_read() {
    let ann = json!({"kind": "User", "name": "ann"});
    let assignment = json!({"role": "enclave-owner", "principals": [ann]});
    let with = |mut spec: Value, field: &str, value: Value| {
        spec[field] = value;
        spec
    };
    let odd = with(assignment.clone(), "description", json!(5));
    let (read_one, _) = read::<RoleAssignment>(&edited(&assignment, &odd));
    assert_eq!(read_one.spec.principals, []);
    let (read_one, unread) = read::<RoleAssignment>(&edited(
        &assignment,
        &with(assignment.clone(), "role", json!("enclave-auditor")),
    ));
    assert_eq!(unread, ["spec.role Newer"]);
    assert_eq!(read_one.spec.principals.len(), 1, "nobody took it back");
    assert!(read_one.spec.unreadable.is_some());
    // A word that only a newer version knows, in a list, or in what a struct needs.
    let robot = json!([ann, {"kind": "Robot", "name": "x"}]);
    let (read_one, unread) =
        read::<RoleAssignment>(&edited(&assignment, &with(assignment.clone(), "principals", robot)));
    assert_eq!(unread, ["spec.principals[1].kind Newer", "spec.principals[1] Newer"]);
    assert_eq!(read_one.spec.principals.len(), 1, "nobody took it back");
    assert!(read_one.spec.unreadable.is_some_and(|mark| mark.is_only_newer()));
    let broken = json!([ann, {"kind": "Robot", "name": "x"}, {"kind": "User"}]);
    let (read_one, unread) =
        read::<RoleAssignment>(&edited(&assignment, &with(assignment.clone(), "principals", broken)));
    assert_eq!(unread[2], "spec.principals[2] Wrong");
    assert_eq!(read_one.spec.principals, [], "one that no version can read");
    let (read_one, unread) = read::<RoleAssignment>(&edited(&assignment, &json!({})));
    assert_eq!((unread, read_one.spec.principals.len()), (vec!["spec Wrong".to_owned()], 0));

    let eligibility =
        json!({"role": "enclave-owner", "principals": [ann], "activation": {"maxDuration": "1h"}});
    let odd = with(eligibility.clone(), "endsAt", json!(5));
    let (read_one, _) = read::<RoleEligibility>(&edited(&eligibility, &odd));
    assert_eq!(read_one.spec.principals, []);

    let connection =
        json!({"source": {"workloads": ["a"]}, "destination": {"communityEndpoint": {"name": "b"}}});
    let odd = with(connection.clone(), "expiresAt", json!(NO_TIME));
    let (read_one, _) = read::<EnclaveConnection>(&edited(&connection, &odd));
    assert!(!read_one.spec.enabled);
    assert_eq!(read_one.spec.source.workloads, ["a"]);
    let odd = with(connection.clone(), "enabled", json!("no"));
    let (read_one, unread) = read::<EnclaveConnection>(&edited(&connection, &odd));
    assert_eq!((unread, read_one.spec.enabled), (vec!["spec.enabled Wrong".to_owned()], false));

    let activation = json!({"eligibility": "e", "duration": "1h"});
    let object =
        |spec: &Value, status: &Value| json!({"metadata": {"name": "a"}, "spec": spec, "status": status});
    let (read_one, _) =
        read::<RoleActivation>(&object(&with(activation.clone(), "ticket", json!(5)), &json!({})));
    assert!(read_one.spec.deactivate);
    for status in [
        json!({"state": 5}),
        json!({"state": "Active", "endsAt": NO_TIME}),
        json!({"state": "Paused"}),
        json!([]),
    ] {
        let (read_one, unread) = read::<RoleActivation>(&object(&activation, &status));
        assert!(read_one.spec.unreadable.is_some(), "{unread:?}");
    }
    let (read_one, unread) = read::<RoleActivation>(&object(
        &activation,
        &json!({"state": "Active", "createdDuringActivation": 5}),
    ));
    assert_eq!(unread, ["status.createdDuringActivation Wrong"]);
    assert_eq!((read_one.spec.unreadable, read_one.spec.deactivate), (None, false));
}

/// Other fields are read however much of one field is unreadable: nobody keeps access by it.
#[test]
fn what_closes_is_read_beside_a_field_with_any_number_of_faults() {
    let people = |names: &[&str]| {
        json!(names.iter().map(|name| json!({"kind": "User", "name": name})).collect::<Vec<_>>())
    };
    let before = json!({"accessMode": "Standard", "principals": {"edit": people(&["bob", "eve"])}});
    let faults: serde_json::Map<String, Value> = (0..1000).map(|n| (format!("a{n}"), json!({}))).collect();
    for quota in [json!(faults), json!({"pods": {"long": "x".repeat(5 << 20)}})] {
        let after =
            json!({"accessMode": "Isolated", "principals": {"edit": people(&["bob"])}, "quota": quota});
        let (workload, _) = read::<EnclaveWorkload>(&edited(&before, &after));
        assert!(workload.spec.unreadable.is_some());
        assert_eq!(workload.spec.access_mode, AccessMode::Isolated);
        assert_eq!(json!(workload.spec.principals), json!({"edit": people(&["bob"])}));
    }
    let rules: Vec<Value> = (0..1000).map(|_| json!({"operation": 5})).collect();
    let on = json!({
        "mode": "Advanced", "justification": "Networking", "expiresAt": "2026-06-01T00:00:00Z",
        "principals": people(&["ann"]),
    });
    let after = json!({"approvals": {"rules": rules}, "maintenance": {"mode": "Disabled"}});
    let (enclave, _) = read::<Enclave>(&edited(&json!({"maintenance": on}), &after));
    assert_eq!(enclave.spec.maintenance.mode, MaintenanceMode::Disabled);
}

/// Kubernetes limits the number of neither finalizers nor owners.
#[test]
fn finalizers_and_owners_are_kept_as_far_as_they_count() {
    let owner = json!({"apiVersion": "v1", "kind": "K", "name": "n", "uid": "u".repeat(1 << 20)});
    let mut finalizers: Vec<String> = (0..5000).map(|number| format!("x.io/{number}")).collect();
    finalizers.push(names::FINALIZER.to_owned());
    let object = json!({"metadata": {
        "name": "a", "finalizers": finalizers, "ownerReferences": vec![owner; 100],
    }, "spec": {}});
    let (enclave, unread) = read::<Enclave>(&object);
    assert_eq!(unread, Vec::<String>::new());
    assert!(crate::model::approval::gated::has_finalizer(&enclave));
    let metadata = serde_json::to_string(&enclave.metadata).unwrap();
    assert!(metadata.len() < 10_000, "{}", metadata.len());
    let one = json!({"metadata": {"name": "a", "finalizers": ["x.io/1"]}});
    let (account, _) = read::<ServiceAccount>(&one);
    assert_eq!(account.metadata.finalizers, Some(vec!["x.io/1".to_owned()]));
}

#[test]
fn of_a_lease_is_read_who_holds_it() {
    let lease = json!({"metadata": {"name": "a", "managedFields": [{"time": NO_TIME}]}, "spec": {
        "holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": "9999-12-31T23:59:59.000000Z",
        "leaseTransitions": 3,
    }});
    let (lease, unread) = read::<Lease>(&lease);
    let spec = lease.spec.unwrap();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("one"), Some(3)));
    assert_eq!((spec.renew_time, unread), (None, vec!["spec.renewTime Wrong".to_owned()]));
}

#[test]
fn nothing_of_a_kind_can_be_so_odd_that_there_is_no_object() {
    fn all<K: Readable>(spec_of: fn(&mut K) -> &mut Option<Box<Unreadable>>) {
        let odd =
            [json!(null), json!(5), json!("x"), json!([]), json!({}), json!({"a": [{}]}), json!([[[]]])];
        for spec in &odd {
            for status in &odd {
                let object = json!({"metadata": {"name": "a"}, "spec": spec, "status": status});
                let (mut object, _) = read::<K>(&object);
                assert_eq!(object.meta().name.as_deref(), Some("a"));
                assert!(!spec.is_number() || spec_of(&mut object).is_some());
            }
        }
        let (mut object, _) = read::<K>(&json!({"metadata": {"name": "a"}}));
        assert!(spec_of(&mut object).is_some(), "a spec that is not there is not an empty one");
    }
    all::<Community>(|one| one.spec.mark());
    all::<Enclave>(|one| one.spec.mark());
    all::<CommunityEndpoint>(|one| one.spec.mark());
    all::<TransitHub>(|one| one.spec.mark());
    all::<EnclaveWorkload>(|one| one.spec.mark());
    all::<EnclaveEndpoint>(|one| one.spec.mark());
    all::<EnclaveConnection>(|one| one.spec.mark());
    all::<RoleAssignment>(|one| one.spec.mark());
    all::<RoleEligibility>(|one| one.spec.mark());
    all::<RoleActivation>(|one| one.spec.mark());
    all::<ApprovalRequest>(|one| one.spec.mark());
}

#[test]
fn a_status_is_read_field_by_field_and_what_is_applied_is_never_lost() {
    let (enclave, unread) = read::<Enclave>(&json!({
        "metadata": {"name": "a"}, "spec": {},
        "status": {
            "state": "Frozen", "observedGeneration": "x", "deletionProtected": true, "namespace": "ns",
            "maintenance": {"mode": "Advanced", "expiresAt": NO_TIME}, "unmanagedResources": ["a", 5],
            "pending": {"generation": 2, "digest": "d", "operations": ["EnclaveUpdate", "EnclaveFreeze"], "since": NO_TIME},
            "applied": applied(&json!({"description": "d"})),
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "Active", "message": "", "lastTransitionTime": NO_TIME},
                {"type": "Enforced", "status": "True", "reason": "Enforced", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ],
        },
    }));
    let status = enclave.status.unwrap();
    assert_eq!((status.gate.state, status.gate.deletion_protected), (None, Some(true)));
    assert_eq!((status.namespace.as_deref(), status.unmanaged_resources.len()), (Some("ns"), 1));
    assert_eq!(status.gate.conditions.len(), 1);
    let spec: EnclaveSpec = status.gate.applied.unwrap().spec.to_spec().unwrap();
    assert_eq!(spec.description.as_deref(), Some("d"));
    assert!(unread.contains(&"status.state Newer".to_owned()), "{unread:?}");
    assert_eq!(enclave.spec.unreadable, None);

    let whole = applied(&json!({"description": "d"}));
    for (field, odd) in [
        ("generation", json!("1")),
        ("digest", json!(5)),
        ("spec", json!(null)),
        ("at", json!(NO_TIME)),
        ("references", json!([{"kind": "Moon", "namespace": "n", "name": "a", "uid": "u", "digest": "d"}])),
        ("approvalRequest", json!({})),
        ("change", json!("why")),
    ] {
        let mut applied = whole.clone();
        applied[field] = odd;
        let (enclave, unread) = read::<Enclave>(&json!({
            "metadata": {"name": "a"}, "spec": {}, "status": {"applied": applied, "namespace": "ns"},
        }));
        let status = enclave.status.unwrap();
        assert!(status.gate.applied.unwrap().spec.to_spec::<EnclaveSpec>().is_err(), "{field}");
        assert_eq!(unread.len(), 1, "{unread:?}");
        assert!(unread[0].starts_with("status.applied"), "{unread:?}");
    }
    for odd in [json!(5), json!([]), json!("x")] {
        let (enclave, _) =
            read::<Enclave>(&json!({"metadata": {"name": "a"}, "spec": {}, "status": {"applied": odd}}));
        assert!(enclave.status.unwrap().gate.applied.unwrap().spec.to_spec::<EnclaveSpec>().is_err());
    }
}

#[test]
fn records_that_another_version_tells_stay() {
    let ours = json!({"number": 3, "type": "Enacted", "at": "2026-01-01T00:00:00Z"});
    let foreign = json!({"number": 4, "type": "Teleported", "at": "2026-01-01T00:00:00Z", "where": "moon"});
    let (enclave, unread) = read::<Enclave>(&json!({
        "metadata": {"name": "a"}, "spec": {},
        "status": {"audit": {"recorded": 4, "waiting": [foreign, ours]}},
    }));
    assert_eq!(unread, ["status.audit.waiting[0].type Newer"]);
    let audit = enclave.status.unwrap().gate.audit;
    assert_eq!((audit.recorded, audit.waiting.len(), audit.waiting[0].type_), (4, 1, RecordType::Enacted));
    assert_eq!(serde_json::to_value(&audit).unwrap(), json!({"recorded": 4, "waiting": [ours, foreign]}));
}

#[test]
fn a_vote_that_cannot_be_read_marks_its_request() {
    let (mut request, _) = read::<ApprovalRequest>(&json!({"metadata": {"name": "r"}}));
    request.spec.unreadable = None;
    let spec = serde_json::to_value(&request.spec).unwrap();
    let vote = |verdict: Value| json!({"approver": "bob", "verdict": verdict, "digest": "d"});
    for (status, is_readable) in [
        (json!({"decisions": [vote(json!("Approved"))], "missing": "x"}), true),
        (json!({"decisions": [vote(json!("Abstained"))]}), false),
        (json!({"decisions": [vote(json!("Approved")), 5]}), false),
        (json!({"decisions": [vote(json!("Approved"))], "state": "Escalated"}), false),
        (json!({"decisions": [vote(json!("Approved"))], "decidedAt": NO_TIME}), false),
        (json!({"decisions": [vote(json!("Approved"))], "conditions": [5]}), true),
    ] {
        let object = json!({"metadata": {"name": "r"}, "spec": spec, "status": status});
        let (request, unread) = read::<ApprovalRequest>(&object);
        assert_eq!(request.spec.unreadable.is_none(), is_readable, "{unread:?}");
    }
    let mut odd = spec.clone();
    odd["target"] = json!({"kind": "Moon", "name": "x", "uid": "u", "generation": 3});
    let (request, _) = read::<ApprovalRequest>(&json!({"metadata": {"name": "r"}, "spec": odd}));
    assert_eq!((request.spec.target.uid.as_str(), request.spec.target.generation), ("u", 3));
}

/// Texts for people are exact, short, and on one line.
#[test]
fn a_message_names_the_field_and_is_cut() {
    let long = "x\u{7}\n".repeat(5_000);
    let (enclave, _) = read::<Enclave>(
        &json!({"metadata": {"name": "a"}, "spec": {"description": {(long.clone()): 1}, "retire": long}}),
    );
    let text = enclave.spec.unreadable.unwrap().to_string();
    assert!(
        text.starts_with(
            "spec.description: invalid type: map, expected a string; spec.retire: invalid type: string \"x"
        ),
        "{text}"
    );
    assert!(text.len() < 1_000 && !text.contains(['\n', '\u{7}']) && !text.contains(" at line "), "{text}");
}

/// Cilium also allows the traffic of `specs`.
#[test]
fn a_cilium_policy_with_more_rules_is_not_what_was_written() {
    let policy = |more: Value| {
        let mut policy = json!({
            "apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "p", "namespace": "n"},
            "spec": {"endpointSelector": {}, "egress": []},
        });
        policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<Item<CiliumNetworkPolicy>>(policy).unwrap().read().0.spec
    };
    let written = policy(json!({}));
    assert_eq!(written, policy(json!({"specs": null})));
    for specs in [json!([]), json!([{"endpointSelector": {}, "egress": [{"toEntities": ["all"]}]}]), json!(5)]
    {
        assert_ne!(written, policy(json!({ "specs": specs })));
    }
}

/// A list with too many unknown values could take anybody out, so nobody is taken out, and nobody gets in.
#[test]
fn of_a_list_with_too_many_newer_words_what_is_applied_stays() {
    let user = |name: &str| json!({"kind": "User", "name": name});
    let crowd = |mut first: Vec<Value>| {
        first.extend(vec![json!({"kind": "Robot", "name": "r"}); 1_000]);
        json!(first)
    };
    let assignment = |principals: Value| json!({"role": "enclave-owner", "principals": principals});
    let before = assignment(json!([user("ann"), user("eve")]));
    let names = |before: &Value, principals: Value| -> Vec<String> {
        let (one, _) = read::<RoleAssignment>(&edited(before, &assignment(principals)));
        assert!(one.spec.unreadable.is_some());
        one.spec.principals.into_iter().map(|one| one.name).collect()
    };
    assert_eq!(names(&before, crowd(vec![user("bob")])), ["ann", "eve"]);
    assert_eq!(names(&before, crowd(vec![json!({"kind": "User"})])), [""; 0], "one that no version can read");
    assert_eq!(names(&json!({}), crowd(vec![user("bob")])), [""; 0], "nothing of it is applied");
    let newer = assignment(json!([user("ann"), {"kind": "Robot", "name": "r"}]));
    assert_eq!(names(&newer, crowd(vec![user("bob")])), ["ann"], "what can be read of what is applied");
    assert_eq!(names(&assignment(crowd(vec![])), crowd(vec![user("bob")])), [""; 0], "nothing can be");

    let workload = |edit: Value| json!({"accessMode": "Isolated", "principals": {"edit": edit}});
    let before = workload(json!([user("ann")]));
    let (one, _) = read::<EnclaveWorkload>(&edited(&before, &workload(crowd(vec![user("bob")]))));
    assert_eq!(json!(one.spec.principals), json!({"edit": [user("ann")]}));
    assert!(one.spec.unreadable.is_some_and(|mark| mark.is_only_newer()));
}

/// A duration that cannot be read is no duration: neither one of zero nor one without an end.
#[test]
fn what_is_no_duration_is_unreadable() {
    let eligibility = |longest: &str| {
        json!({"role": "enclave-owner", "principals": [{"kind": "User", "name": "ann"}],
               "activation": {"maxDuration": longest}})
    };
    for (text, is_newer) in [("1h-1h", false), ("-1h", false), ("soon", false), ("", false), ("3d", true)] {
        let (one, unread) = read::<RoleEligibility>(&edited(&eligibility("1h"), &eligibility(text)));
        let cause = if is_newer { "Newer" } else { "Wrong" };
        assert_eq!(unread, [format!("spec.activation.maxDuration {cause}")], "{text:?}");
        assert_eq!(
            one.spec.principals.len(),
            usize::from(is_newer),
            "{text:?}: only another word closes nothing"
        );
        assert_eq!(one.spec.activation.max_duration.to_string(), "1h", "as it is applied");
    }
    let connection = |lasts: &str| json!({"source": {"workloads": ["a"]}, "destination": {"communityEndpoint": {"name": "b"}}, "duration": lasts});
    let (one, _) = read::<EnclaveConnection>(&edited(&connection("72h"), &connection("1h-1h")));
    assert!(!one.spec.enabled);
    let (one, _) = read::<EnclaveConnection>(&edited(&connection("72h"), &connection("3d")));
    assert_eq!((one.spec.enabled, one.spec.duration.unwrap().to_string()), (true, "72h".to_owned()));
    assert!(one.spec.unreadable.is_some());
}

/// serde would read a struct from a list, by the order of its fields, and an enum variant from an object.
#[test]
fn a_list_is_no_object_and_an_object_is_no_word() {
    let on = json!({
        "mode": "Advanced", "justification": "Networking", "expiresAt": "2026-06-01T00:00:00Z",
        "principals": [{"kind": "User", "name": "ann"}],
    });
    let off = json!({"mode": "Disabled"});
    let positional = json!(["Advanced", "Networking", [["User", "eve"]], "2027-01-01T00:00:00Z"]);
    for (applied, wanted) in [
        (&on, json!([1])),
        (&on, json!([])),
        (&on, json!([{"mode": "Advanced"}])),
        (&on, json!({"mode": {"Disabled": null}, "principals": on["principals"]})),
        (&off, positional),
        (&off, json!({"mode": {"Advanced": null}})),
    ] {
        let before = json!({"maintenance": applied});
        let (one, _) = read::<Enclave>(&edited(&before, &json!({"maintenance": wanted})));
        assert!(one.spec.unreadable.is_some(), "{wanted}");
        let read: Enclave = read::<Enclave>(&edited(&before, &before)).0;
        assert_eq!(one.spec.maintenance.mode, read.spec.maintenance.mode, "{wanted}: as it is applied");
    }
    let before = json!({"network": {"workloadCommunication": "Allowed"}});
    for wanted in [json!([7]), json!(["Isolated"]), json!([])] {
        let (one, _) = read::<Enclave>(&edited(&before, &json!({ "network": wanted })));
        assert!(!is_kept_apart(&one.spec), "{wanted} closes nothing");
    }
    for field in ["approvals", "network", "maintenance"] {
        let (one, _) = read::<Enclave>(&edited(&json!({}), &json!({field: []})));
        assert!(one.spec.unreadable.is_some(), "{field}");
    }
}

/// Other fields are read when nobody can tell which access one field takes away.
#[test]
fn what_closes_is_read_beside_a_field_with_any_number_of_newer_words() {
    let before = json!({"network": {"workloadCommunication": "Allowed"}});
    let rules = vec![json!({"operation": "Teleport", "policy": "Required"}); 1_000];
    let after = json!({"network": {"workloadCommunication": "Isolated"}, "approvals": {"rules": rules}});
    let (one, _) = read::<Enclave>(&edited(&before, &after));
    let mark = one.spec.unreadable.as_ref().unwrap();
    assert!(mark.is_only_newer() && mark.is_unclear("approvals") && !mark.is_unclear("network"));
    assert!(is_kept_apart(&one.spec));
}
