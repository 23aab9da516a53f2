//! What a RoleAssignment gives: the rights of its role, in every namespace of its scope.

use jiff::Timestamp;
use kube::ResourceExt;

use super::conditions::{Status, Wanted, build_conditions, conditions_before};
use super::declared::{Declared, Ways, plan_declared, tell_impact};
use super::gate::Enforcement;
use super::grants::{AccessPlan, Surroundings, plan_access};
use super::{Plan, Write};
use crate::api::community::ConflictingDuties;
use crate::api::names::{condition, reason};
use crate::api::{GateStatus, Kind, RoleAssignment, RoleAssignmentSpec, RoleAssignmentStatus};
use crate::model::gated::Gated;
use crate::model::grants::{Duty, Grant, Managed, Scope, compare_rights, rights_of_role};
use crate::model::life::{JudgeError, applied_spec, as_if_applied};
use crate::model::naming;
use crate::model::scope::{Missing, OuterRules};

const KINDS: &str = "RoleAssignments and RoleEligibilities";

/// Where roles count that are given in one namespace.
#[derive(Clone, Debug)]
pub struct Ground {
    /// What the namespace is the scope of; `None` when it is none.
    pub scope: Option<Scope>,
    /// The namespaces of the scope that exist.
    pub namespaces: Vec<Managed>,
    /// Names of the open requests about the Enclave, when it is the scope.
    pub about_enclave: Vec<String>,
    /// Whether a Community that they reach refuses conflicting duties, when they count everywhere.
    pub conflicts: ConflictingDuties,
}

/// What was seen of an assignment.
#[derive(Clone, Debug)]
pub struct ObservedAssignment {
    /// The assignment and what it is declared in.
    pub declared: Declared<RoleAssignment>,
    /// Where it counts.
    pub ground: Ground,
    /// What there is of its rights.
    pub around: Surroundings,
    /// What else is given in scopes that overlap with its own.
    pub others: Vec<Duty>,
}

/// Plans an assignment. What takes rights away is not among its writes: that never waits for it.
#[must_use]
pub fn plan_assignment(observed: &ObservedAssignment, now: Timestamp) -> Plan<RoleAssignmentStatus> {
    let assignment = observed.declared.object.as_ref();
    let own = Duty::of_spec(assignment, &assignment.spec, observed.ground.scope.as_ref());
    let conflict = own.and_then(|own| own.conflict(&observed.others));
    let ways = || -> Result<_, JudgeError> {
        Ok(Ways {
            outer_rules: find_rules(&observed.declared, &observed.ground, conflict.as_deref())?,
            references: None,
            in_use: None,
            enforce: |applied: Option<&RoleAssignmentSpec>| enforce(observed, applied, now),
            remove: || match plan_access(&[], &observed.around, now) {
                AccessPlan { closes, .. } if closes.is_empty() => Ok(Vec::new()),
                AccessPlan { .. } => Err(("being deleted: its rights go first".to_owned(), Vec::new())),
            },
        })
    };
    let mut plan = plan_declared(&observed.declared, ways(), Vec::new, now);
    tell_impact(&mut plan, || {
        let grant = |assignment| grant_of_assignment(assignment, &observed.ground).ok().flatten();
        let imagined = as_if_applied(assignment, &[]);
        compare_rights(grant(assignment).as_ref(), imagined.as_ref().and_then(grant).as_ref())
    });
    plan.with_status(|mut gate| {
        show_conflict(&mut gate, assignment, conflict, now);
        let bound = observed.around.live.role_bindings.iter();
        let bound = bound.filter(|binding| binding.metadata.deletion_timestamp.is_none()).count();
        RoleAssignmentStatus { gate, namespaces: i32::try_from(bound).ok() }
    })
}

/// What an assignment gives now: what is applied, without what its spec closes. `None` when that is
/// nothing.
///
/// # Errors
/// When what is applied cannot be read.
pub fn grant_of_assignment(
    assignment: &RoleAssignment,
    ground: &Ground,
) -> Result<Option<Grant>, JudgeError> {
    let Some(applied) = applied_spec(assignment)? else { return Ok(None) };
    let Some(scope) = ground.scope.as_ref().filter(|scope| scope.allows(applied.role)) else {
        return Ok(None);
    };
    if assignment.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let RoleAssignmentSpec { principals, role, .. } = RoleAssignment::restrict(&applied, &assignment.spec);
    Ok(Some(Grant {
        name: naming::grant(Kind::RoleAssignment, scope.namespace(), &assignment.name_any()),
        rights: rights_of_role(role, scope, &ground.namespaces, &ground.about_enclave),
        principals: principals.into_iter().collect(),
        ends_at: None,
    }))
}

/// The rules that count for roles that are given in a namespace. In the operator's own there are none:
/// who may write there is trusted.
///
/// # Errors
/// When what is applied of the scopes cannot be read.
pub fn find_rules<K>(
    declared: &Declared<K>,
    ground: &Ground,
    conflict: Option<&str>,
) -> Result<Result<OuterRules, Missing>, JudgeError> {
    let outer = match &ground.scope {
        Some(Scope::System { .. }) => Ok(OuterRules {
            refuses_conflicts: ground.conflicts == ConflictingDuties::Refuse,
            ..OuterRules::none()
        }),
        Some(Scope::Community { .. }) => declared.home.rules_in_community(KINDS)?,
        Some(Scope::Enclave { .. }) => declared.home.rules_in_enclave(KINDS)?,
        None => Err(Missing {
            reason: reason::SCOPE_NOT_FOUND,
            message: format!(
                "{KINDS} are declared in the namespace of a Community, in the control namespace of an Enclave, or in the operator's own"
            ),
        }),
    };
    Ok(match (outer, conflict) {
        (Ok(outer), Some(conflict)) if outer.refuses_conflicts => {
            Err(Missing { reason: reason::CONFLICTING_DUTIES, message: conflict.to_owned() })
        }
        (outer, _) => outer,
    })
}

fn enforce(
    observed: &ObservedAssignment,
    applied: Option<&RoleAssignmentSpec>,
    now: Timestamp,
) -> (Enforcement, Vec<Write>) {
    if applied.is_none() {
        return (Enforcement::Nothing, Vec::new());
    }
    let Ok(grant) = grant_of_assignment(&observed.declared.object, &observed.ground) else {
        return (Enforcement::Underway, Vec::new());
    };
    let grants: Vec<Grant> = grant.into_iter().collect();
    let AccessPlan { closes, opens } = plan_access(&grants, &observed.around, now);
    if closes.is_empty() && opens.is_empty() {
        (Enforcement::Complete, opens)
    } else {
        (Enforcement::Underway, opens)
    }
}

/// Says that one principal both changes things and approves them.
pub fn show_conflict<K: Gated>(gate: &mut GateStatus, object: &K, conflict: Option<String>, now: Timestamp) {
    let wanted = conflict.map(|message| Wanted {
        type_: condition::CONFLICTING_DUTIES,
        status: Status::True,
        reason: reason::CONFLICTING_DUTIES,
        message,
    });
    let generation = gate.observed_generation;
    let shown = build_conditions(conditions_before(object), wanted.into_iter().collect(), generation, now);
    gate.conditions.extend(shown);
}
