//! The controllers of the gated kinds: how each is observed and planned.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{Known, Reconciled};
use crate::api::audit::{Audit, Fact};
use crate::api::gate::Applied;
use crate::api::{
    Community, CommunityEndpoint, CommunityEndpointStatus, CommunityStatus, Enclave, EnclaveConnection,
    EnclaveConnectionStatus, EnclaveEndpoint, EnclaveEndpointStatus, EnclaveStatus, EnclaveWorkload,
    EnclaveWorkloadStatus, GateStatus, Kind, RoleAssignment, RoleAssignmentStatus, RoleEligibility,
    RoleEligibilityStatus, TransitHub, TransitHubStatus,
};
use crate::kinds::access::{observe_assignment, observe_eligibility};
use crate::kinds::links::{
    links_of_community_endpoint, links_of_endpoint, links_of_hub, with_community_endpoint, with_endpoint,
    with_hub,
};
use crate::kinds::observe::{
    observe_community, observe_connection, observe_enclave, observe_endpoint, observe_workload,
};
use crate::model::approval::life::requesters;
use crate::model::audit::facts::{facts_of_gated, facts_of_maintenance};
use crate::plan::Plan;
use crate::plan::assignment::plan_assignment;
use crate::plan::community::plan_community;
use crate::plan::connection::plan_connection;
use crate::plan::eligibility::plan_eligibility;
use crate::plan::enclave::plan_enclave;
use crate::plan::endpoint::plan_endpoint;
use crate::plan::status::build_degraded_status;
use crate::plan::workload::plan_workload;

/// A controller: the kind and its status, and from an object and what is known to a plan.
macro_rules! controller {
    ($kind:ident, $status:ident, |$object:ident, $known:ident| $plan:expr) => {
        controller!($kind, $status, |$object, $known| $plan, |_, _, _| None);
    };
    ($kind:ident, $status:ident, |$object:ident, $known:ident| $plan:expr, $maintenance:expr) => {
        impl Reconciled for $kind {
            type Status = $status;

            const KIND: Kind = Kind::$kind;

            fn plan($object: Arc<Self>, $known: Known<'_>) -> Plan<$status> {
                $plan
            }

            fn status(&self) -> Option<&$status> {
                self.status.as_ref()
            }

            fn with_status(&self, status: $status) -> Self {
                Self { status: Some(status), ..self.clone() }
            }

            fn audit_mut(status: &mut $status) -> &mut Audit {
                &mut status.gate.audit
            }

            fn conditions_mut(status: &mut $status) -> &mut Vec<Condition> {
                &mut status.gate.conditions
            }

            fn applied(status: &$status) -> Option<&Applied> {
                status.gate.applied.as_ref()
            }

            fn only_shows(before: &$status, after: &$status) -> bool {
                let mut shown = before.clone();
                shown.gate = GateStatus {
                    state: after.gate.state,
                    observed_generation: after.gate.observed_generation,
                    deletion_protected: after.gate.deletion_protected,
                    conditions: after.gate.conditions.clone(),
                    ..shown.gate
                };
                shown == *after
            }

            fn facts(&self, after: &$status, now: Timestamp) -> Vec<Fact> {
                let mut facts = facts_of_gated(self, &after.gate, now);
                facts.extend($maintenance(self, after, now));
                facts
            }

            fn degraded_status(
                &self,
                planned: Option<$status>,
                message: &str,
                now: Timestamp,
            ) -> Option<$status> {
                let mut status = planned.or_else(|| self.status.clone()).unwrap_or_default();
                status.gate = build_degraded_status(self, Some(status.gate), message, now);
                Some(status)
            }
        }
    };
}

controller!(
    Community,
    CommunityStatus,
    |object, known| plan_community(&observe_community(known.caches, object, known.guard), known.now),
    |community: &Community, after: &CommunityStatus, now| {
        let before = community.status.as_ref().and_then(|status| status.maintenance.as_ref());
        facts_of_maintenance(before, after.maintenance.as_ref(), requesters(community), now)
    }
);
controller!(
    Enclave,
    EnclaveStatus,
    |object, known| plan_enclave(&observe_enclave(known.caches, object, known.guard), known.now),
    |enclave: &Enclave, after: &EnclaveStatus, now| {
        let before = enclave.status.as_ref().and_then(|status| status.maintenance.as_ref());
        facts_of_maintenance(before, after.maintenance.as_ref(), requesters(enclave), now)
    }
);
controller!(CommunityEndpoint, CommunityEndpointStatus, |object, known| {
    let observed = observe_endpoint(
        known.caches,
        object,
        known.guard,
        links_of_community_endpoint,
        with_community_endpoint,
    );
    plan_endpoint(&observed, known.now).with_status(|gate| CommunityEndpointStatus { gate })
});
controller!(TransitHub, TransitHubStatus, |object, known| {
    let observed = observe_endpoint(known.caches, object, known.guard, links_of_hub, with_hub);
    plan_endpoint(&observed, known.now).with_status(|gate| TransitHubStatus { gate })
});
controller!(EnclaveEndpoint, EnclaveEndpointStatus, |object, known| {
    let observed = observe_endpoint(known.caches, object, known.guard, links_of_endpoint, with_endpoint);
    plan_endpoint(&observed, known.now).with_status(|gate| EnclaveEndpointStatus { gate })
});
controller!(EnclaveWorkload, EnclaveWorkloadStatus, |object, known| {
    plan_workload(&observe_workload(known.caches, object, known.guard), known.now)
});
controller!(EnclaveConnection, EnclaveConnectionStatus, |object, known| {
    plan_connection(&observe_connection(known.caches, object, known.guard), known.now)
});
controller!(RoleAssignment, RoleAssignmentStatus, |object, known| {
    plan_assignment(&observe_assignment(known.caches, object, known.guard), known.now)
});
controller!(RoleEligibility, RoleEligibilityStatus, |object, known| {
    plan_eligibility(&observe_eligibility(known.caches, object, known.guard), known.now)
});
