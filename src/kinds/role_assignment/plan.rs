//! Plans a RoleAssignment, which gives the rights of its role in every namespace of its scope.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::{Kind, RoleAssignment, RoleAssignmentSpec, RoleAssignmentStatus};
use crate::model::approval::applied::{EvaluationError, applied_spec, as_if_applied};
use crate::model::approval::gated::Gated;
use crate::model::naming;
use crate::model::rbac::grants::{Grant, RoleHolding, compare_rights, find_conflict, rights_of_role};
use crate::plan::Plan;
use crate::plan::gated::ObservedGated;
use crate::plan::rbac::grants::RbacState;
use crate::plan::rbac::role_scope::{RoleScope, plan_grant, show_conflict};

const KINDS: &str = "RoleAssignments";

/// The observed state of an assignment.
#[derive(Clone, Debug)]
pub struct ObservedAssignment {
    /// The assignment and what it is declared in.
    pub declared: ObservedGated<RoleAssignment>,
    /// The scope in which its role counts.
    pub role_scope: RoleScope,
    /// The observed RBAC objects of its rights.
    pub rbac_state: RbacState,
    /// Other roles of its principals, with which its role may be in conflict.
    pub others: Vec<RoleHolding>,
}

/// Plans an assignment. Its writes take no rights away: revocation never waits for them.
#[must_use]
pub fn plan_assignment(observed: &ObservedAssignment, now: Timestamp) -> Plan<RoleAssignmentStatus> {
    let assignment = observed.declared.object.as_ref();
    let scope = observed.role_scope.scope.as_ref();
    let conflict = scope.and_then(|scope| find_conflict(assignment.spec.role, scope, &observed.others));
    let grant = || grant_of_assignment(assignment, &observed.role_scope);
    let (role_scope, rbac_state) = (&observed.role_scope, &observed.rbac_state);
    let mut plan =
        plan_grant(&observed.declared, role_scope, rbac_state, conflict.as_deref(), grant, KINDS, now);
    plan.add_impact(|| {
        let grant = |assignment| grant_of_assignment(assignment, &observed.role_scope).ok().flatten();
        let proposed = as_if_applied(assignment, &[]);
        compare_rights(grant(assignment).as_ref(), proposed.as_ref().and_then(grant).as_ref(), "")
    });
    plan.with_status(|mut gate| {
        show_conflict(&mut gate, assignment, conflict, now);
        let bound = observed.rbac_state.live.role_bindings.iter();
        let bound = bound.filter(|binding| binding.metadata.deletion_timestamp.is_none()).count();
        RoleAssignmentStatus { gate, namespaces: i32::try_from(bound).ok() }
    })
}

/// Returns the grant of an assignment: its applied content, without what its spec closes. `None` when that is nothing.
///
/// # Errors
/// When what is applied cannot be read.
pub fn grant_of_assignment(
    assignment: &RoleAssignment,
    role_scope: &RoleScope,
) -> Result<Option<Grant>, EvaluationError> {
    // A deleted assignment gives nothing, whether or not it can be read.
    if assignment.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let Some(applied) = applied_spec(assignment)? else { return Ok(None) };
    let Some(scope) = role_scope.scope.as_ref().filter(|scope| scope.allows(applied.role)) else {
        return Ok(None);
    };
    let RoleAssignmentSpec { principals, role, .. } = RoleAssignment::restrict(&applied, &assignment.spec);
    Ok(Some(Grant {
        name: naming::grant(Kind::RoleAssignment, scope.namespace(), &assignment.name_any()),
        rights: rights_of_role(role, scope, &role_scope.namespaces, &role_scope.about_enclave),
        principals: principals.into_iter().collect(),
        ends_at: None,
    }))
}
