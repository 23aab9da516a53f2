//! The common part of RoleAssignments, RoleEligibilities and RoleActivations: where a role counts that is given
//! in a namespace, whose rules hold it, and how its rights come and go.

use jiff::Timestamp;

use crate::api::GateStatus;
use crate::api::community::ConflictingDuties;
use crate::api::names::{condition, reason};
use crate::model::approval::applied::EvaluationError;
use crate::model::approval::gated::Gated;
use crate::model::approval::scope::{InheritedPolicy, NotReady};
use crate::model::rbac::grants::{Grant, Managed, Scope};
use crate::plan::conditions::{Status, Wanted, build_conditions, conditions_before};
use crate::plan::enforcement::Enforcement;
use crate::plan::gated::{Finalization, GatedInputs, ObservedGated, plan_gated};
use crate::plan::parent::Parent;
use crate::plan::rbac::grants::{AccessPlan, RbacState, plan_access};
use crate::plan::{Plan, Write};

/// The scope in which the roles count that are given in one namespace.
#[derive(Clone, Debug)]
pub struct RoleScope {
    /// The scope that the namespace stands for; `None` when it is none.
    pub scope: Option<Scope>,
    /// The namespaces of the scope that exist.
    pub namespaces: Vec<Managed>,
    /// Names of the open requests about the Enclave, when it is the scope.
    pub about_enclave: Vec<String>,
    /// Whether a Community that they reach refuses conflicting duties, when they count everywhere; `None` when nobody
    /// can tell, because what is applied of one cannot be read.
    pub conflicts: Option<ConflictingDuties>,
}

impl RoleScope {
    /// The rules that count for roles that are given in it. In the operator's own namespace there are none:
    /// whoever may write there is trusted.
    ///
    /// # Errors
    /// When what is applied of the scopes cannot be read.
    pub fn rules(
        &self,
        parent: &Parent,
        kinds: &str,
    ) -> Result<Result<InheritedPolicy, NotReady>, EvaluationError> {
        Ok(match &self.scope {
            Some(Scope::System { .. }) => Ok(InheritedPolicy {
                refuses_conflicts: self.conflicts != Some(ConflictingDuties::Warn),
                ..InheritedPolicy::none()
            }),
            Some(Scope::Community { .. }) => parent.rules_in_community(kinds)?,
            Some(Scope::Enclave { .. }) => parent.rules_in_enclave(kinds)?,
            None => Err(NotReady {
                reason: reason::SCOPE_NOT_FOUND,
                message: format!(
                    "{kinds} are declared in the namespace of a Community, in the control namespace of an Enclave, or in the operator's own"
                ),
            }),
        })
    }
}

/// Plans a gated object that gives rights by this grant. Its writes take no rights away: revocation never waits for them.
pub fn plan_grant<K: Gated>(
    declared: &ObservedGated<K>,
    role_scope: &RoleScope,
    rbac_state: &RbacState,
    conflict: Option<&str>,
    grant: impl Fn() -> Result<Option<Grant>, EvaluationError>,
    kinds: &str,
    now: Timestamp,
) -> Plan<GateStatus> {
    let inputs = role_scope.rules(&declared.parent, kinds).map(|outer| GatedInputs {
        inherited_policy: refuse_conflict(outer, conflict),
        references: None,
        enforce: |applied: Option<&K::Spec>| match applied {
            Some(_) => enforce_grant(grant(), rbac_state, now),
            None => (Enforcement::Nothing, Vec::new()),
        },
    });
    let finalization = Finalization { in_use: None, remove: || plan_finalization(rbac_state, now) };
    plan_gated(declared, finalization, inputs, Vec::new, now)
}

/// The rules around, unless a conflict of duties is refused there.
///
/// # Errors
/// The reason why `outer` is not known, or the conflict that is refused.
fn refuse_conflict(
    outer: Result<InheritedPolicy, NotReady>,
    conflict: Option<&str>,
) -> Result<InheritedPolicy, NotReady> {
    match (outer, conflict) {
        (Ok(outer), Some(conflict)) if outer.refuses_conflicts => {
            Err(NotReady { reason: reason::CONFLICTING_DUTIES, message: conflict.to_owned() })
        }
        (outer, _) => outer,
    }
}

/// Returns the enforcement of a grant, and the writes that give more of it. Writes that take rights away are not
/// among them, because they never wait for these.
fn enforce_grant(
    grant: Result<Option<Grant>, EvaluationError>,
    rbac_state: &RbacState,
    now: Timestamp,
) -> (Enforcement, Vec<Write>) {
    let Ok(grant) = grant else { return (Enforcement::InProgress, Vec::new()) };
    let grants: Vec<Grant> = grant.into_iter().collect();
    let AccessPlan { closes, opens } = plan_access(&grants, rbac_state, now);
    let has_ended = grants.iter().any(|grant| grant.ends_at.is_some_and(|end| end <= now));
    let enforcement = match (closes.is_empty() && opens.is_empty(), has_ended) {
        (false, _) => Enforcement::InProgress,
        (true, false) => Enforcement::Complete,
        (true, true) => {
            let message = "it has ended, at spec.endsAt".to_owned();
            Enforcement::Closed(NotReady { reason: reason::ENDED, message })
        }
    };
    (enforcement, opens)
}

/// Plans the deletion of an object that gives rights. The rights go before it does, by the worker that takes
/// rights away.
///
/// # Errors
/// While the rights are there: the text for the status.
fn plan_finalization(rbac_state: &RbacState, now: Timestamp) -> Result<Vec<Write>, (String, Vec<Write>)> {
    let AccessPlan { closes, .. } = plan_access(&[], rbac_state, now);
    if closes.is_empty() {
        Ok(Vec::new())
    } else {
        Err(("being deleted: its rights go first".to_owned(), Vec::new()))
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
