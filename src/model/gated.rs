//! What the approval machine needs to know of a kind. A new gated kind implements [`Gated`] and
//! gets holding, requesting, deciding and enacting from [`super::life`].

use std::collections::BTreeSet;

use kube::ResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::naming::community_namespace;
use crate::api::approvals::{Approvals, Operation};
use crate::api::common::{ChangeReason, Maintenance, MaintenanceMode};
use crate::api::{Community, CommunitySpec, Enclave, EnclaveSpec, GateStatus, Kind};

/// A kind whose changes can be held.
pub trait Gated: kube::Resource<DynamicType = ()> {
    /// Its spec.
    type Spec: Clone + PartialEq + Serialize + DeserializeOwned;

    /// Its kind.
    const KIND: Kind;

    /// The operation that deleting an object is; `None` when no rule can hold it.
    const DELETION: Option<Operation>;

    /// The spec that the user wants.
    fn spec(&self) -> &Self::Spec;

    /// The shared part of its status; `None` before the operator saw it for the first time.
    fn gate(&self) -> Option<&GateStatus>;

    /// The requester's words.
    fn change_reason(spec: &Self::Spec) -> Option<&ChangeReason>;

    /// The spec without the requester's words: the content that is compared.
    #[must_use]
    fn without_change_reason(spec: &Self::Spec) -> Self::Spec;

    /// What a change from the applied spec (`None`: nothing applied yet) amounts to. Empty when
    /// the change only takes access away.
    fn operations(before: Option<&Self::Spec>, after: &Self::Spec) -> BTreeSet<Operation>;

    /// The approval rules that the spec itself carries; `None` for kinds that carry none.
    fn approvals(spec: &Self::Spec) -> Option<&Approvals>;

    /// Whether a change touches the rules by which changes are judged.
    fn changes_rules(before: &Self::Spec, after: &Self::Spec) -> bool;

    /// The namespace in which requests about the object live: its own, but for a Community the one
    /// that it owns.
    fn request_namespace(&self) -> String {
        self.meta().namespace.clone().unwrap_or_default()
    }
}

impl Gated for Community {
    type Spec = CommunitySpec;

    const KIND: Kind = Kind::Community;

    const DELETION: Option<Operation> = None;

    fn spec(&self) -> &CommunitySpec {
        &self.spec
    }

    fn gate(&self) -> Option<&GateStatus> {
        self.status.as_ref().map(|status| &status.gate)
    }

    fn change_reason(spec: &CommunitySpec) -> Option<&ChangeReason> {
        spec.change.as_ref()
    }

    fn without_change_reason(spec: &CommunitySpec) -> CommunitySpec {
        CommunitySpec { change: None, ..spec.clone() }
    }

    fn operations(before: Option<&CommunitySpec>, after: &CommunitySpec) -> BTreeSet<Operation> {
        let mut operations = BTreeSet::new();
        if opens_maintenance(before.map(|spec| &spec.maintenance), &after.maintenance) {
            operations.insert(Operation::CommunityMaintenance);
        }
        let apart_from_maintenance = |spec: &CommunitySpec| CommunitySpec {
            maintenance: Maintenance::default(),
            change: None,
            ..spec.clone()
        };
        if before.map(apart_from_maintenance) != Some(apart_from_maintenance(after)) {
            operations.insert(Operation::CommunityUpdate);
        }
        operations
    }

    fn approvals(spec: &CommunitySpec) -> Option<&Approvals> {
        Some(&spec.approvals)
    }

    fn changes_rules(before: &CommunitySpec, after: &CommunitySpec) -> bool {
        before.approvals != after.approvals
            || before.service_account_votes != after.service_account_votes
            || before.conflicting_duties != after.conflicting_duties
    }

    fn request_namespace(&self) -> String {
        community_namespace(&self.name_any(), self.spec.namespace.as_deref())
    }
}

impl Gated for Enclave {
    type Spec = EnclaveSpec;

    const KIND: Kind = Kind::Enclave;

    const DELETION: Option<Operation> = Some(Operation::EnclaveDeletion);

    fn spec(&self) -> &EnclaveSpec {
        &self.spec
    }

    fn gate(&self) -> Option<&GateStatus> {
        self.status.as_ref().map(|status| &status.gate)
    }

    fn change_reason(spec: &EnclaveSpec) -> Option<&ChangeReason> {
        spec.change.as_ref()
    }

    fn without_change_reason(spec: &EnclaveSpec) -> EnclaveSpec {
        EnclaveSpec { change: None, ..spec.clone() }
    }

    fn operations(before: Option<&EnclaveSpec>, after: &EnclaveSpec) -> BTreeSet<Operation> {
        let mut operations = BTreeSet::new();
        if opens_maintenance(before.map(|spec| &spec.maintenance), &after.maintenance) {
            operations.insert(Operation::EnclaveMaintenance);
        }
        match (before.is_some_and(|spec| spec.retire), after.retire) {
            (false, true) => {
                operations.insert(Operation::EnclaveDeletion);
            }
            // Keeping what was to go is a change like any other.
            (true, false) => {
                operations.insert(Operation::EnclaveUpdate);
            }
            (false, false) | (true, true) => {}
        }
        let rest = |spec: &EnclaveSpec| EnclaveSpec {
            maintenance: Maintenance::default(),
            retire: false,
            change: None,
            ..spec.clone()
        };
        match before.map(rest) {
            None => {
                operations.insert(Operation::EnclaveCreation);
            }
            Some(before) if before != rest(after) => {
                operations.insert(Operation::EnclaveUpdate);
            }
            Some(_) => {}
        }
        operations
    }

    fn approvals(spec: &EnclaveSpec) -> Option<&Approvals> {
        Some(&spec.approvals)
    }

    fn changes_rules(before: &EnclaveSpec, after: &EnclaveSpec) -> bool {
        before.approvals != after.approvals
    }
}

/// Whether maintenance is turned on, widened, prolonged or justified anew. Turning it off, naming
/// fewer principals or an earlier end only closes.
fn opens_maintenance(before: Option<&Maintenance>, after: &Maintenance) -> bool {
    let Maintenance { mode, justification, principals, expires_at } = after;
    if *mode == MaintenanceMode::Disabled {
        return false;
    }
    let Some(before) = before else { return true };
    let mode_stays = before.mode == *mode
        || (before.mode == MaintenanceMode::Advanced && *mode == MaintenanceMode::General);
    let ends_no_later = match (&before.expires_at, expires_at) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(before), Some(after)) => after.0 <= before.0,
    };
    let closes = mode_stays
        && before.justification == *justification
        && principals.iter().all(|principal| before.principals.contains(principal))
        && ends_no_later;
    !closes
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::common::{Principal, PrincipalKind};
    use crate::api::enclave::{EnclaveNetwork, WorkloadCommunication};

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
}
