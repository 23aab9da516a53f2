//! The RoleActivation: a role for a while, asked for by a person who is eligible.
//!
//! Its observation, indexes and watches stand in [`crate::kinds::rbac`], with those of the other kinds of roles.
//!
//! `model::rbac::activation::evaluate_activation` is its lifecycle, from its stamps, its eligibility, its request and
//! the time; a reason that ends an activation counts before one that keeps it. The kind is not `Gated`: what an
//! activation asks for never changes, so there is nothing to compare, but its request is made and decided like every
//! other.

pub mod plan;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::audit::{Audit, AuditRecord};
use crate::api::{ApprovalRequest, Kind, RoleActivation, RoleActivationStatus};
use crate::kinds::caches::Caches;
use crate::kinds::controller::{Controller, ReconcileInput};
use crate::kinds::rbac::observe::observe_activation;
use crate::kinds::role_activation::plan::plan_activation;
use crate::model::approval::target::{TargetView, view_activation};
use crate::model::audit::records::records_of_activation;
use crate::plan::Plan;

impl Controller for RoleActivation {
    const KIND: Kind = Kind::RoleActivation;

    type Status = RoleActivationStatus;

    fn view_as_target(_: &Caches, request: &ApprovalRequest, target: Option<&Arc<Self>>) -> TargetView {
        view_activation(request, target.map(AsRef::as_ref))
    }

    fn plan(object: Arc<Self>, known: ReconcileInput<'_>) -> Plan<RoleActivationStatus> {
        let observed =
            observe_activation(known.caches, object, known.policy_status, known.retain_requests_for);
        plan_activation(&observed, known.now)
    }

    fn status(&self) -> Option<&RoleActivationStatus> {
        self.status.as_ref()
    }

    fn with_status(&self, status: RoleActivationStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }

    fn audit_mut(status: &mut RoleActivationStatus) -> &mut Audit {
        &mut status.audit
    }

    fn conditions(status: &RoleActivationStatus) -> &[Condition] {
        &status.conditions
    }

    fn conditions_mut(status: &mut RoleActivationStatus) -> &mut Vec<Condition> {
        &mut status.conditions
    }

    fn records(&self, after: &RoleActivationStatus, now: Timestamp) -> Vec<AuditRecord> {
        records_of_activation(self, after, now)
    }

    fn degraded_status(
        &self,
        _: Option<RoleActivationStatus>,
        _: &str,
        _: Timestamp,
    ) -> Option<RoleActivationStatus> {
        None
    }
}
