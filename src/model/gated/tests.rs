use crate::api::Time;

use super::*;
use crate::api::common::{MaintenanceMode, PrincipalKind};
use crate::api::enclave::{EnclaveNetwork, WorkloadCommunication};
use crate::api::enclave_connection::{ConnectionDestination, ConnectionSource};
use proptest::prelude::*;

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
    let worded = EnclaveSpec {
        change: Some(ChangeReason { justification: Some("why".into()), ticket: None }),
        ..open()
    };
    assert_eq!(Enclave::operations(Some(&open()), &worded), BTreeSet::new());
    assert!(Enclave::without_change_reason(&worded) == open());
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
                duration: duration.filter(|_| expires_at.is_none()).map(|hours| format!("{hours}h")),
                retire,
                change: None,
                unreadable: None,
            }
        })
}

proptest! {
    /// What closes by itself asks for nothing, closes only once, and leaves the rest waiting.
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
