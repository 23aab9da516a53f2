//! Plans a RoleEligibility, which gives the right to ask for its role, and nothing else.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::role_eligibility::LastActivation;
use crate::api::{Kind, RoleActivation, RoleEligibility, RoleEligibilitySpec, RoleEligibilityStatus, Time};
use crate::model::approval::applied::{EvaluationError, applied_spec, as_if_applied};
use crate::model::approval::gated::Gated;
use crate::model::naming;
use crate::model::rbac::activation::Eligible;
use crate::model::rbac::grants::{
    Grant, Right, RoleHolding, compare_rights, find_conflict, rights_in_workload, rights_of_role,
};
use crate::model::rbac::roles::ELIGIBLE;
use crate::plan::Plan;
use crate::plan::gated::ObservedGated;
use crate::plan::rbac::grants::RbacState;
use crate::plan::rbac::role_scope::{RoleScope, plan_grant, show_conflict};

const KINDS: &str = "RoleEligibilities";

/// The observed state of an eligibility.
#[derive(Clone, Debug)]
pub struct ObservedEligibility {
    /// The eligibility and what it is declared in.
    pub declared: ObservedGated<RoleEligibility>,
    /// The scope in which its role counts.
    pub role_scope: RoleScope,
    /// The observed RBAC objects of the right to ask.
    pub rbac_state: RbacState,
    /// Other roles of its principals, with which its role may be in conflict.
    pub others: Vec<RoleHolding>,
    /// The activations that name it.
    pub activations: Vec<Arc<RoleActivation>>,
}

/// Plans an eligibility. Its writes take no rights away: revocation never waits for them.
#[must_use]
pub fn plan_eligibility(observed: &ObservedEligibility, now: Timestamp) -> Plan<RoleEligibilityStatus> {
    let eligibility = observed.declared.object.as_ref();
    let scope = observed.role_scope.scope.as_ref();
    let conflict = scope.and_then(|scope| find_conflict(eligibility.spec.role, scope, &observed.others));
    let grant = || grant_of_eligibility(eligibility, &observed.role_scope);
    let (role_scope, rbac_state) = (&observed.role_scope, &observed.rbac_state);
    let mut plan =
        plan_grant(&observed.declared, role_scope, rbac_state, conflict.as_deref(), grant, KINDS, now);
    plan.add_impact(|| {
        let offered = |eligibility: &RoleEligibility| {
            let spec = effective(eligibility).ok().flatten()?.spec;
            Some(Grant {
                principals: spec.principals.iter().cloned().collect(),
                ..role_of(&spec, &observed.role_scope, String::new(), None)
            })
        };
        let (before, after) = (offered(eligibility), as_if_applied(eligibility, &[]));
        compare_rights(before.as_ref(), after.as_ref().and_then(offered).as_ref(), "when activated, ")
    });
    let ends_at = eligibility.spec.ends_at.as_ref().map(|end| end.0).filter(|end| *end > now);
    let mut plan = plan.with_status(|mut gate| {
        show_conflict(&mut gate, eligibility, conflict, now);
        review(observed, RoleEligibilityStatus { gate, ..RoleEligibilityStatus::default() })
    });
    plan.requeue_at = plan.requeue_at.into_iter().chain(ends_at).min();
    plan
}

/// Adds to a status how the eligibility was used, from the activations that are kept. The last activation is remembered
/// longer than it is kept.
fn review(observed: &ObservedEligibility, status: RoleEligibilityStatus) -> RoleEligibilityStatus {
    let began = |activation: &Arc<RoleActivation>| {
        let status = activation.status.as_ref()?;
        status.ends_at.as_ref()?;
        Some(LastActivation {
            name: activation.name_any(),
            user: status.user.clone()?,
            at: status.starts_at.clone()?,
        })
    };
    let used: Vec<LastActivation> = observed.activations.iter().filter_map(began).collect();
    let known = observed.declared.object.status.as_ref().and_then(|status| status.last_activation.clone());
    RoleEligibilityStatus {
        activations: i32::try_from(used.len()).ok(),
        last_activation: used.into_iter().chain(known).max_by_key(|one| (one.at.0, one.name.clone())),
        ..status
    }
}

/// Returns what is in force of an eligibility: its applied content, without what its spec closes. `None` when nothing
/// is.
///
/// # Errors
/// When what is applied cannot be read.
pub fn effective(eligibility: &RoleEligibility) -> Result<Option<Eligible>, EvaluationError> {
    // A deleted eligibility gives nothing, whether or not it can be read.
    if eligibility.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    Ok(applied_spec(eligibility)?.map(|applied| Eligible {
        uid: eligibility.uid().unwrap_or_default(),
        spec: RoleEligibility::restrict(&applied, &eligibility.spec),
    }))
}

/// The role of an eligibility as a grant to nobody yet.
#[must_use]
pub fn role_of(
    spec: &RoleEligibilitySpec,
    role_scope: &RoleScope,
    name: String,
    ends_at: Option<Timestamp>,
) -> Grant {
    let rights = match (&role_scope.scope, &spec.workload) {
        (Some(scope), _) if !scope.allows(spec.role) => Vec::new(),
        (Some(scope), Some(workload)) => {
            rights_in_workload(spec.role, scope, workload, &role_scope.namespaces)
        }
        (Some(scope), None) => {
            rights_of_role(spec.role, scope, &role_scope.namespaces, &role_scope.about_enclave)
        }
        (None, _) => Vec::new(),
    };
    Grant { name, rights, principals: std::collections::BTreeSet::new(), ends_at }
}

/// The right to ask for an activation. `None` when nobody has it.
///
/// # Errors
/// When what is applied cannot be read.
pub fn grant_of_eligibility(
    eligibility: &RoleEligibility,
    role_scope: &RoleScope,
) -> Result<Option<Grant>, EvaluationError> {
    let Some(Eligible { spec, .. }) = effective(eligibility)? else { return Ok(None) };
    let Some(scope) = role_scope.scope.as_ref().filter(|scope| scope.allows(spec.role)) else {
        return Ok(None);
    };
    let namespace = scope.namespace().to_owned();
    Ok(Some(Grant {
        name: naming::grant(Kind::RoleEligibility, &namespace, &eligibility.name_any()),
        rights: vec![Right::In { namespace, cluster_role: ELIGIBLE.to_owned() }],
        principals: spec.principals.into_iter().collect(),
        ends_at: spec.ends_at.map(|Time(end)| end),
    }))
}
