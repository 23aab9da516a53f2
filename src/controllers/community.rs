//! The controller of Communities.

use std::sync::Arc;

use jiff::Timestamp;
use kube::runtime::reflector::Store;

use super::{Known, Reconciled};
use crate::api::{Community, CommunityStatus};
use crate::cluster::caches::Caches;
use crate::cluster::observe::observe_community;
use crate::plan::Plan;
use crate::plan::community::plan_community;
use crate::plan::gate::build_degraded_status;

impl Reconciled for Community {
    type Status = CommunityStatus;

    fn cache(caches: &Caches) -> Store<Self> {
        caches.communities.clone()
    }

    fn plan(object: Arc<Self>, known: Known<'_>) -> Plan<CommunityStatus> {
        plan_community(&observe_community(known.caches, object, known.guard), known.now)
    }

    fn status(&self) -> Option<&CommunityStatus> {
        self.status.as_ref()
    }

    fn with_status(&self, status: CommunityStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }

    fn degraded_status(
        &self,
        planned: Option<CommunityStatus>,
        message: &str,
        now: Timestamp,
    ) -> Option<CommunityStatus> {
        let status = planned.or_else(|| self.status.clone()).unwrap_or_default();
        let gate = build_degraded_status(self, Some(status.gate.clone()), message, now);
        Some(CommunityStatus { gate, ..status })
    }
}
