//! The RoleEligibility: lets principals activate a role for a while.
//!
//! Its observation, indexes and watches stand in [`crate::kinds::rbac`], with those of the other kinds of roles.

pub mod plan;

use std::collections::BTreeSet;

use self::plan::plan_eligibility;

use crate::api::approvals::Operation;
use crate::api::role_eligibility::ActivationConditions;
use crate::api::{RoleEligibility, RoleEligibilitySpec, RoleEligibilityStatus};
use crate::kinds::controller::controller;
use crate::kinds::gated::{role_change, shared_parts};
use crate::kinds::rbac::observe::observe_eligibility;
use crate::model::approval::gated::Gated;
use crate::model::lists::in_both;

impl Gated for RoleEligibility {
    shared_parts!(RoleEligibility, RoleEligibilitySpec);

    fn operations(before: Option<&RoleEligibilitySpec>, after: &RoleEligibilitySpec) -> BTreeSet<Operation> {
        role_change::<Self>(before, after)
    }

    /// Taking somebody out closes, and so do an earlier end and a shorter time.
    fn restrict(applied: &RoleEligibilitySpec, wanted: &RoleEligibilitySpec) -> RoleEligibilitySpec {
        let ends_at = match (&applied.ends_at, &wanted.ends_at) {
            (Some(applied), Some(wanted)) if applied.0 < wanted.0 => Some(applied),
            (applied, wanted) => wanted.as_ref().or(applied.as_ref()),
        };
        let shorter = wanted.activation.max_duration.length() < applied.activation.max_duration.length();
        let max_duration =
            if shorter { &wanted.activation } else { &applied.activation }.max_duration.clone();
        RoleEligibilitySpec {
            principals: in_both(&wanted.principals, &applied.principals),
            ends_at: ends_at.cloned(),
            activation: ActivationConditions { max_duration, ..applied.activation.clone() },
            ..applied.clone()
        }
    }
}

controller!(RoleEligibility, RoleEligibilityStatus, |object, known| {
    plan_eligibility(&observe_eligibility(known.caches, object, known.policy_status), known.now)
});
