//! The ApprovalRequest: who decides about a change, and what was decided.

pub mod index;
pub mod observe;
pub mod plan;
pub mod watches;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::audit::{Audit, AuditRecord};
use crate::api::{ApprovalRequest, ApprovalRequestStatus, Kind};
use crate::cluster::workqueue::Priority;
use crate::kinds::approval_request::observe::observe_target;
use crate::kinds::approval_request::plan::{ObservedRequest, plan_approval_request};
use crate::kinds::caches::Caches;
use crate::kinds::controller::{Controller, ReconcileInput};
use crate::model::approval::target::TargetView;
use crate::model::audit::records::records_of_request;
use crate::plan::Plan;

impl Controller for ApprovalRequest {
    const KIND: Kind = Kind::ApprovalRequest;
    /// Expiry, reminders and retention close no access.
    const REQUEUE_PRIORITY: Priority = Priority::Normal;

    type Status = ApprovalRequestStatus;

    fn view_as_target(_: &Caches, _: &ApprovalRequest, _: Option<&Arc<Self>>) -> TargetView {
        TargetView::Gone
    }

    fn plan(object: Arc<Self>, known: ReconcileInput<'_>) -> Plan<ApprovalRequestStatus> {
        let target = observe_target(known.caches, &object);
        let retain_for = known.retain_requests_for;
        let observed = ObservedRequest { request: object, target, policies: known.policy_status, retain_for };
        plan_approval_request(&observed, known.now)
    }

    fn status(&self) -> Option<&ApprovalRequestStatus> {
        self.status.as_ref()
    }

    fn with_status(&self, status: ApprovalRequestStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }

    fn audit_mut(status: &mut ApprovalRequestStatus) -> &mut Audit {
        &mut status.audit
    }

    fn conditions(status: &ApprovalRequestStatus) -> &[Condition] {
        &status.conditions
    }

    fn conditions_mut(status: &mut ApprovalRequestStatus) -> &mut Vec<Condition> {
        &mut status.conditions
    }

    fn records(&self, after: &ApprovalRequestStatus, now: Timestamp) -> Vec<AuditRecord> {
        records_of_request(self, after, now)
    }

    fn degraded_status(
        &self,
        _: Option<ApprovalRequestStatus>,
        _: &str,
        _: Timestamp,
    ) -> Option<ApprovalRequestStatus> {
        None
    }
}
