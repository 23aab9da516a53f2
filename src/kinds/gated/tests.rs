use crate::api::common::Maintenance;
use crate::api::{
    ChangeReason, Enclave, EnclaveConnection, EnclaveConnectionSpec, EnclaveSpec, EnclaveWorkload,
    EnclaveWorkloadSpec, Kind, Time,
};

use super::*;
use crate::api::common::{MaintenanceMode, Principal, PrincipalKind};
use crate::api::enclave::{EnclaveNetwork, WorkloadCommunication};
use crate::api::enclave_connection::{ConnectionDestination, ConnectionSource};
use crate::api::reading::{Item, Readable};
use proptest::prelude::*;
use serde_json::{Value, json};

fn open() -> EnclaveSpec {
    EnclaveSpec {
        network: EnclaveNetwork { workload_communication: WorkloadCommunication::Allowed },
        ..EnclaveSpec::default()
    }
}

fn maintained() -> EnclaveSpec {
    EnclaveSpec {
        maintenance: Maintenance { mode: MaintenanceMode::General, ..Maintenance::default() },
        ..EnclaveSpec::default()
    }
}

#[test]
fn a_new_enclave_is_a_creation() {
    assert_eq!(Enclave::operations(None, &open()), [Operation::EnclaveCreation].into());
}

#[test]
fn one_edit_can_be_several_operations() {
    let after = EnclaveSpec { retire: true, maintenance: maintained().maintenance, ..open() };
    assert_eq!(
        Enclave::operations(Some(&EnclaveSpec::default()), &after),
        [Operation::EnclaveUpdate, Operation::EnclaveMaintenance, Operation::EnclaveDeletion].into()
    );
}

#[test]
fn turning_maintenance_off_asks_for_nothing() {
    assert_eq!(Enclave::operations(Some(&maintained()), &EnclaveSpec::default()), BTreeSet::new());
}

#[test]
fn narrowing_maintenance_asks_for_nothing_and_widening_it_does() {
    let user = |name: &str| Principal { kind: PrincipalKind::User, name: name.into(), namespace: None };
    let until = |second| Some(Time(jiff::Timestamp::from_second(second).unwrap()));
    let on = |mode, users: &[&str], second| EnclaveSpec {
        maintenance: Maintenance {
            mode,
            justification: None,
            principals: users.iter().map(|name| user(name)).collect(),
            expires_at: until(second),
        },
        ..EnclaveSpec::default()
    };
    let before = on(MaintenanceMode::Advanced, &["ann", "bob"], 100);
    for closing in [
        on(MaintenanceMode::General, &["ann", "bob"], 100),
        on(MaintenanceMode::Advanced, &["ann"], 100),
        on(MaintenanceMode::Advanced, &["ann", "bob"], 99),
    ] {
        assert_eq!(Enclave::operations(Some(&before), &closing), BTreeSet::new());
        assert_eq!(
            Enclave::operations(Some(&closing), &before),
            [Operation::EnclaveMaintenance].into(),
            "the way back opens"
        );
    }
}

#[test]
fn keeping_a_retired_enclave_is_an_update() {
    let retired = EnclaveSpec { retire: true, ..open() };
    assert_eq!(Enclave::operations(Some(&retired), &open()), [Operation::EnclaveUpdate].into());
}

#[test]
fn the_requesters_words_are_no_change() {
    let with_words = EnclaveSpec {
        change: Some(ChangeReason { justification: Some("why".into()), ticket: None }),
        ..open()
    };
    assert_eq!(Enclave::operations(Some(&open()), &with_words), BTreeSet::new());
    assert!(Enclave::without_change_reason(&with_words) == open());
}

fn connection() -> impl Strategy<Value = EnclaveConnectionSpec> {
    let second = |second: i64| Time(jiff::Timestamp::from_second(second).unwrap());
    (
        any::<bool>(),
        prop::option::of(0..4_i64),
        prop::option::of(1..4_i64),
        prop::option::of("[ab]"),
        any::<bool>(),
    )
        .prop_map(move |(enabled, expires_at, duration, description, retire)| {
            EnclaveConnectionSpec {
                description,
                source: ConnectionSource::default(),
                destination: ConnectionDestination::default(),
                enabled,
                expires_at: expires_at.map(second),
                // One or the other, as the schema has it.
                duration: duration
                    .filter(|_| expires_at.is_none())
                    .map(|hours| format!("{hours}h").parse().unwrap()),
                retire,
                change: None,
                unreadable: None,
            }
        })
}

proptest! {
    /// The closing part of a change asks for nothing, closes only once, and leaves the rest waiting.
    #[test]
    fn the_closing_part_of_a_connection_is_free_and_the_rest_is_not(
        applied in connection(),
        wanted in connection(),
    ) {
        let closed = EnclaveConnection::restrict(&applied, &wanted);
        prop_assert_eq!(EnclaveConnection::operations(Some(&applied), &closed), BTreeSet::new());
        prop_assert_eq!(&EnclaveConnection::restrict(&closed, &wanted), &closed);
        prop_assert!(!closed.enabled || (applied.enabled && wanted.enabled));
        let end = |spec: &EnclaveConnectionSpec| spec.expires_at.as_ref().map(|time| time.0);
        prop_assert!(end(&applied).is_none_or(|applied| end(&closed).is_some_and(|closed| closed <= applied)));
        let asks = EnclaveConnection::operations(Some(&applied), &wanted);
        prop_assert_eq!(asks.is_empty(), closed == wanted);
    }
}

/// An object with one spec applied and another one declared.
fn read<K: Readable>(before: &Value, after: &Value) -> K {
    let applied = json!({"generation": 1, "digest": "d", "spec": before, "at": "2026-01-01T00:00:00Z"});
    let object = json!({
        "metadata": {"name": "x", "namespace": "n", "uid": "u", "resourceVersion": "1", "generation": 2},
        "spec": after,
        "status": {"state": "Active", "applied": applied},
    });
    serde_json::from_str::<Item<K>>(&object.to_string()).unwrap().read().0
}

/// Nobody keeps access because another part is unreadable. A part that opens waits, and a part that is not read stays.
#[test]
fn what_closes_a_workload_or_an_enclave_is_read_beside_what_cannot_be() {
    let people = |names: &[&str]| {
        let people: Vec<Value> = names.iter().map(|name| json!({"kind": "User", "name": name})).collect();
        json!({"edit": people, "view": [{"kind": "User", "name": "vic"}]})
    };
    let closed = |before: &Value, after: &Value| {
        let workload = read::<EnclaveWorkload>(before, after);
        let applied: EnclaveWorkloadSpec = serde_json::from_value(before.clone()).unwrap();
        serde_json::to_value(EnclaveWorkload::restrict(&applied, &workload.spec)).unwrap()
    };
    let isolated = |names: &[&str]| json!({"accessMode": "Isolated", "principals": people(names)});
    let malformed = |mut spec: Value| {
        spec["quota"] = json!("much");
        spec
    };
    let (standard, both) = (json!({"accessMode": "Standard"}), isolated(&["ann", "bob"]));
    assert_eq!(closed(&standard, &malformed(isolated(&["ann"])))["accessMode"], "Isolated");
    assert_eq!(closed(&standard, &malformed(isolated(&["ann"])))["principals"], Value::Null, "nobody new");
    assert_eq!(closed(&both, &malformed(isolated(&["bob", "eve"])))["principals"], people(&["bob"]));
    assert_eq!(
        closed(&both, &malformed(standard.clone()))["principals"],
        people(&["ann", "bob"]),
        "that opens"
    );
    let mut unreadable = both.clone();
    unreadable["principals"]["edit"] = json!("all");
    let vic_only = json!({"view": [{"kind": "User", "name": "vic"}]});
    assert_eq!(closed(&both, &unreadable)["principals"], vic_only);
    unreadable["principals"] = json!(7);
    assert_eq!(closed(&both, &unreadable)["principals"], json!({}));
    let mut unreadable = both.clone();
    unreadable["accessMode"] = json!(7);
    assert_eq!(closed(&both, &unreadable)["accessMode"], "Isolated");
    assert_eq!(closed(&both, &json!("odd"))["principals"], people(&["ann", "bob"]), "nothing of it is read");
    assert_eq!(
        closed(&standard, &isolated(&["ann"]))["accessMode"],
        "Standard",
        "what can be read is judged"
    );

    let mut newer = both.clone();
    newer["accessMode"] = json!("Shared");
    newer.as_object_mut().unwrap().remove("principals");
    assert_eq!(closed(&both, &newer)["principals"], people(&["ann", "bob"]), "only a newer version knows it");

    newer["principals"] = people(&["bob", "eve"]);
    assert_eq!(closed(&both, &newer)["principals"], people(&["bob"]), "whoever is taken out plainly");
    newer["accessMode"] = json!("Isolated");
    assert_eq!(closed(&standard, &newer)["accessMode"], "Standard", "what can be read is judged");
    newer["podSecurity"] = json!("Sealed");
    assert_eq!(
        closed(&both, &newer)["principals"],
        people(&["bob"]),
        "beside what only a newer version knows"
    );
    assert_eq!(closed(&standard, &newer)["accessMode"], "Isolated");

    let closed = |after: &Value| {
        let before = json!({"network": {"workloadCommunication": "Allowed"}});
        let enclave = read::<Enclave>(&before, after);
        let applied: EnclaveSpec = serde_json::from_value(before).unwrap();
        Enclave::restrict(&applied, &enclave.spec).network.workload_communication
    };
    let network = |value: Value| json!({"description": 7, "network": value});
    assert_eq!(
        closed(&network(json!({"workloadCommunication": "Isolated"}))),
        WorkloadCommunication::Isolated
    );
    assert_eq!(closed(&network(json!({"workloadCommunication": "Allowed"}))), WorkloadCommunication::Allowed);
    let rule = json!([{"operation": "JobRun", "policy": "Required"}]);
    let newer = |network: Value| json!({"approvals": {"rules": rule}, "network": network});
    assert_eq!(closed(&newer(json!({}))), WorkloadCommunication::Isolated);
    assert_eq!(closed(&newer(json!({"workloadCommunication": "Some"}))), WorkloadCommunication::Allowed);
    for malformed in [json!(7), json!({"workloadCommunication": 7}), json!({"workloadCommunication": "Some"})]
    {
        assert_eq!(closed(&network(malformed)), WorkloadCommunication::Allowed, "as it is applied");
    }
}

/// The table of kinds says whether a kind carries rules where no object is at hand.
#[test]
fn kinds_that_carry_rules_are_known_as_such() {
    for crd in crate::api::crds::all() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let has_rules = !schema["openAPIV3Schema"]["properties"]["spec"]["properties"]["approvals"].is_null();
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == crd.spec.names.kind).unwrap();
        assert_eq!(kind.carries_rules(), has_rules, "{kind}");
    }
}
