//! The RoleAssignment: gives a role to principals for good.
//!
//! Its observation, indexes and watches stand in [`crate::kinds::rbac`], with those of the other kinds of roles.

pub mod plan;

use std::collections::BTreeSet;

use self::plan::plan_assignment;

use crate::api::approvals::Operation;
use crate::api::{RoleAssignment, RoleAssignmentSpec, RoleAssignmentStatus};
use crate::kinds::controller::controller;
use crate::kinds::gated::{role_change, shared_parts};
use crate::kinds::rbac::observe::observe_assignment;
use crate::model::approval::gated::Gated;
use crate::model::lists::in_both;

impl Gated for RoleAssignment {
    shared_parts!(RoleAssignment, RoleAssignmentSpec);

    fn operations(before: Option<&RoleAssignmentSpec>, after: &RoleAssignmentSpec) -> BTreeSet<Operation> {
        role_change::<Self>(before, after)
    }

    /// Taking somebody out closes.
    fn restrict(applied: &RoleAssignmentSpec, wanted: &RoleAssignmentSpec) -> RoleAssignmentSpec {
        RoleAssignmentSpec { principals: in_both(&wanted.principals, &applied.principals), ..applied.clone() }
    }
}

controller!(RoleAssignment, RoleAssignmentStatus, |object, known| {
    plan_assignment(&observe_assignment(known.caches, object, known.policy_status), known.now)
});
