//! The trait that a controller needs of a kind: how its objects are observed and planned, and which records become true
//! with their status.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::audit::{Audit, AuditRecord};
use crate::api::gate::{Applied, Reference};
use crate::api::{ApprovalRequest, Kind};
use crate::cluster::cache::Change;
use crate::cluster::workqueue::Priority;
use crate::cluster::writes::ApiObject;
use crate::kinds::caches::Caches;
use crate::kinds::enqueue::{Enqueued, Enqueuer};
use crate::model::approval::policy_status::PolicyStatus;
use crate::model::approval::target::TargetView;
use crate::plan::Plan;

/// The input of a reconciliation: what is known when an object is planned.
pub struct ReconcileInput<'a> {
    pub caches: &'a Caches,
    /// The admission policies.
    pub policy_status: PolicyStatus,
    /// The time for which decided requests are kept.
    pub retain_requests_for: SignedDuration,
    /// The time, by the API server's clock.
    pub now: Timestamp,
}

/// A kind with a controller.
pub trait Controller: ApiObject + Enqueued {
    /// The status of an object.
    type Status: Clone + PartialEq + Send;

    /// The kind, as a value.
    const KIND: Kind;

    /// The priority with which an object is requeued at [`Plan::requeue_at`]: an end that comes by itself closes
    /// something as often as not.
    const REQUEUE_PRIORITY: Priority = Priority::Closing;

    /// Enqueues a gated object that changed, and the requests about it. Of other kinds [`super::changes::Watches`] does.
    fn enqueue_changed(_enqueuer: &Enqueuer, _change: &Change<Self>) {}

    /// Returns the objects that an object refers to, as they are now.
    fn references(_caches: &Caches, _object: &Arc<Self>) -> Vec<Reference> {
        Vec::new()
    }

    /// Returns how an object, if there is one of that name, relates to the request about it.
    fn view_as_target(_: &Caches, _: &ApprovalRequest, target: Option<&Arc<Self>>) -> TargetView;

    /// Observes from caches, and plans.
    fn plan(object: Arc<Self>, known: ReconcileInput<'_>) -> Plan<Self::Status>;

    /// The status it has.
    fn status(&self) -> Option<&Self::Status>;

    /// The same object with another status.
    #[must_use]
    fn with_status(&self, status: Self::Status) -> Self;

    /// The records in a status.
    fn audit_mut(status: &mut Self::Status) -> &mut Audit;

    /// The conditions in a status.
    fn conditions(status: &Self::Status) -> &[Condition];

    /// The conditions in a status, to be changed.
    fn conditions_mut(status: &mut Self::Status) -> &mut Vec<Condition>;

    /// Returns what is applied; always `None` for a kind that is not gated.
    fn applied(_status: &Self::Status) -> Option<&Applied> {
        None
    }

    /// Whether a status only shows what was found, so that the object need not be reconciled again because of it.
    fn only_shows(_before: &Self::Status, _after: &Self::Status) -> bool {
        false
    }

    /// Returns the records that become true with a new status.
    fn records(&self, after: &Self::Status, now: Timestamp) -> Vec<AuditRecord>;

    /// The status that shows that reconciling fails again and again, on top of what was planned;
    /// `None` when the kind has no way to show it.
    fn degraded_status(
        &self,
        planned: Option<Self::Status>,
        message: &str,
        now: Timestamp,
    ) -> Option<Self::Status>;
}

/// A gated kind: the kind and its status, and from an object and what is known to a plan.
macro_rules! controller {
    ($kind:ident, $status:ident, |$object:ident, $known:ident| $plan:expr) => {
        controller!($kind, $status, |$object, $known| $plan, |_, _, _| None, {});
    };
    (
        $kind:ident, $status:ident, |$object:ident, $known:ident| $plan:expr, $maintenance:expr,
        {$($own:item)*}
    ) => {
        impl $crate::kinds::foreign::Relevant for $kind {
            fn kept(mut self, _: &$crate::kinds::caches::Caches) -> Self {
                $crate::kinds::foreign::keep_declared(&mut self.metadata);
                self
            }
        }

        impl $crate::kinds::controller::Controller for $kind {
            type Status = $status;

            const KIND: $crate::api::Kind = $crate::api::Kind::$kind;

            $($own)*

            fn enqueue_changed(
                enqueuer: &$crate::kinds::enqueue::Enqueuer,
                change: &$crate::cluster::cache::Change<Self>,
            ) {
                enqueuer.enqueue_gated(change);
            }

            fn view_as_target(
                caches: &$crate::kinds::caches::Caches,
                request: &$crate::api::ApprovalRequest,
                target: Option<&::std::sync::Arc<Self>>,
            ) -> $crate::model::approval::target::TargetView {
                let references =
                    || target.map(|target| Self::references(caches, target)).unwrap_or_default();
                $crate::model::approval::target::view_target(request, target.map(AsRef::as_ref), references)
            }

            fn plan(
                $object: ::std::sync::Arc<Self>,
                $known: $crate::kinds::controller::ReconcileInput<'_>,
            ) -> $crate::plan::Plan<$status> {
                $plan
            }

            fn status(&self) -> Option<&$status> {
                self.status.as_ref()
            }

            fn with_status(&self, status: $status) -> Self {
                Self { status: Some(status), ..self.clone() }
            }

            fn audit_mut(status: &mut $status) -> &mut $crate::api::audit::Audit {
                &mut status.gate.audit
            }

            fn conditions(
                status: &$status,
            ) -> &[::k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
                &status.gate.conditions
            }

            fn conditions_mut(
                status: &mut $status,
            ) -> &mut Vec<::k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
                &mut status.gate.conditions
            }

            fn applied(status: &$status) -> Option<&$crate::api::gate::Applied> {
                status.gate.applied.as_ref()
            }

            fn only_shows(before: &$status, after: &$status) -> bool {
                let mut shown = before.clone();
                shown.gate = $crate::api::GateStatus {
                    state: after.gate.state,
                    observed_generation: after.gate.observed_generation,
                    deletion_protected: after.gate.deletion_protected,
                    conditions: after.gate.conditions.clone(),
                    ..shown.gate
                };
                shown == *after
            }

            fn records(
                &self,
                after: &$status,
                now: ::jiff::Timestamp,
            ) -> Vec<$crate::api::audit::AuditRecord> {
                let mut records = $crate::model::audit::records::records_of_gated(self, &after.gate, now);
                records.extend($maintenance(self, after, now));
                records
            }

            fn degraded_status(
                &self,
                planned: Option<$status>,
                message: &str,
                now: ::jiff::Timestamp,
            ) -> Option<$status> {
                let mut status = planned.or_else(|| self.status.clone()).unwrap_or_default();
                status.gate =
                    $crate::plan::status::build_degraded_status(self, Some(status.gate), message, now);
                Some(status)
            }
        }
    };
}

pub(super) use controller;
