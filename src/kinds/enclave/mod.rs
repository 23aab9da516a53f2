//! The Enclave: a control namespace in a Community, in which workloads, endpoints and connections are declared.

pub mod index;
pub mod observe;
pub mod plan;
pub mod watches;

use std::collections::BTreeSet;

use self::observe::observe_enclave;
use self::plan::plan_enclave;

use crate::api::approvals::{Approvals, Operation};
use crate::api::common::Maintenance;
use crate::api::{Enclave, EnclaveSpec, EnclaveStatus};
use crate::kinds::controller::controller;
use crate::kinds::gated::{collect, operations_of, retired_parts, shared_parts};
use crate::model::approval::change::requesters;
use crate::model::approval::gated::Gated;
use crate::model::audit::records::records_of_maintenance;
use crate::model::network::intra_enclave::is_kept_apart;
use crate::model::rbac::maintenance;

impl Gated for Enclave {
    shared_parts!(Enclave, EnclaveSpec);
    retired_parts!(EnclaveSpec);

    fn operations(before: Option<&EnclaveSpec>, after: &EnclaveSpec) -> BTreeSet<Operation> {
        let rest = |spec: &EnclaveSpec| EnclaveSpec {
            maintenance: Maintenance::default(),
            retire: false,
            change: None,
            ..spec.clone()
        };
        let maintenance = maintenance::opens(before.map(|spec| &spec.maintenance), &after.maintenance);
        let mut operations = collect([(maintenance, Operation::EnclaveMaintenance)]);
        operations.extend(operations_of(
            before.map(|spec| (rest(spec), spec.retire)).as_ref(),
            &(rest(after), after.retire),
            [Operation::EnclaveCreation, Operation::EnclaveUpdate, Operation::EnclaveDeletion],
        ));
        operations
    }

    /// Closes also by the readable part of a spec that cannot be read as a whole: nobody keeps access because of
    /// another field.
    fn restrict(applied: &EnclaveSpec, wanted: &EnclaveSpec) -> EnclaveSpec {
        let closes = wanted.unreadable.is_some() && is_kept_apart(wanted);
        EnclaveSpec {
            network: if closes { &wanted.network } else { &applied.network }.clone(),
            maintenance: maintenance::restrict(&applied.maintenance, &wanted.maintenance),
            ..applied.clone()
        }
    }

    fn approvals(spec: &EnclaveSpec) -> Option<&Approvals> {
        Some(&spec.approvals)
    }

    fn maintenance(spec: &EnclaveSpec) -> Option<&Maintenance> {
        Some(&spec.maintenance)
    }
}

controller!(
    Enclave,
    EnclaveStatus,
    |object, known| plan_enclave(&observe_enclave(known.caches, object, known.policy_status), known.now),
    |enclave: &Enclave, after: &EnclaveStatus, now| {
        let before = enclave.status.as_ref().and_then(|status| status.maintenance.as_ref());
        records_of_maintenance(before, after.maintenance.as_ref(), requesters(enclave), now)
    },
    {}
);
