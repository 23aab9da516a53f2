//! The controller of Enclaves.

use std::sync::Arc;

use jiff::Timestamp;
use kube::runtime::reflector::Store;

use super::{Known, Reconciled};
use crate::api::{Enclave, EnclaveStatus};
use crate::cluster::caches::Caches;
use crate::cluster::observe::observe_enclave;
use crate::plan::Plan;
use crate::plan::enclave::plan_enclave;
use crate::plan::gate::build_degraded_status;

impl Reconciled for Enclave {
    type Status = EnclaveStatus;

    fn cache(caches: &Caches) -> Store<Self> {
        caches.enclaves.clone()
    }

    fn plan(object: Arc<Self>, known: Known<'_>) -> Plan<EnclaveStatus> {
        plan_enclave(&observe_enclave(known.caches, object, known.guard), known.now)
    }

    fn status(&self) -> Option<&EnclaveStatus> {
        self.status.as_ref()
    }

    fn with_status(&self, status: EnclaveStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }

    fn degraded_status(
        &self,
        planned: Option<EnclaveStatus>,
        message: &str,
        now: Timestamp,
    ) -> Option<EnclaveStatus> {
        let status = planned.or_else(|| self.status.clone()).unwrap_or_default();
        let gate = build_degraded_status(self, Some(status.gate.clone()), message, now);
        Some(EnclaveStatus { gate, ..status })
    }
}
