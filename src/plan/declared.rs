//! The plan of every gated object: from the gate over what is enforced to the writes. A kind adds
//! which rules count, what is to be enforced, and what stands in the way of its deletion.

use crate::model::approval::policy_status::PolicyStatus;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::gate::Gate;
use super::gate::Standing;
use super::gate::gate_of_blocked;
use super::gate::plan_enacted_requests;
use super::gate::plan_gate;
use super::status::{build_gate_status, describe_error, plan_events};
use super::{Plan, Write};
use crate::api::gate::Reference;
use crate::api::names::reason;
use crate::api::{ApprovalRequest, Community, Enclave, GateStatus};
use crate::model::approval::applied::EvaluationError;
use crate::model::approval::applied::applied_spec;
use crate::model::approval::change::EvaluationInput;
use crate::model::approval::gated::{Gated, has_finalizer};
use crate::model::approval::scope::{InheritedPolicy, NotReady, ScopeRules};
use crate::plan::enforcement::Enforcement;

/// A gated object and its surroundings, as they were observed.
#[derive(Clone, Debug)]
pub struct ObservedGated<K> {
    /// The object.
    pub object: Arc<K>,
    /// The Community or Enclave that it is declared in.
    pub parent: Parent,
    /// Requests about this very object.
    pub requests: Vec<Arc<ApprovalRequest>>,
    /// Whether these are all requests about it.
    pub knows_all_requests: bool,
    /// The admission policies that the API server runs.
    pub policies: PolicyStatus,
}

impl<K: Gated> ObservedGated<K> {
    /// The UID of the object, which is on the namespace that is made for it.
    #[must_use]
    pub fn uid(&self) -> String {
        self.object.meta().uid.clone().unwrap_or_default()
    }
}

/// The Community or Enclave that an object is declared in, by its namespace. A namespace counts only when the
/// operator made it for that very Community or Enclave.
#[derive(Clone, Debug)]
pub enum Parent {
    /// No namespace of the operator, or no namespace at all.
    Unmanaged,
    /// The namespace of a Community.
    Community(Arc<Community>),
    /// The control namespace of an Enclave.
    Enclave(Arc<Community>, Arc<Enclave>),
}

/// The inputs that a kind adds to the plan that all gated kinds share.
pub struct GatedInputs<E> {
    /// The rules around the object, or the reason why they are not known.
    pub inherited_policy: Result<InheritedPolicy, NotReady>,
    /// The objects that it names by UID.
    pub references: Option<Vec<Reference>>,
    /// A function that enforces the applied spec or, when none is applied, checks whether the spec could be
    /// enforced.
    pub enforce: E,
}

/// The inputs for the deletion of an object, whatever can be read of it or of its surroundings.
pub struct Finalization<R> {
    /// The obstacle to its deletion, in words.
    pub in_use: Option<String>,
    /// A function that returns, as an error, what has to go before the object can, in words and with the writes
    /// for that; when all is gone, the writes that confirm that.
    pub remove: R,
}

/// Plans a gated object. When a stored content cannot be read, nothing new is evaluated and what exists is kept
/// as it is; `keep` returns the writes for that.
pub fn plan_gated<K, E, R>(
    declared: &ObservedGated<K>,
    finalization: Finalization<R>,
    inputs: Result<GatedInputs<E>, EvaluationError>,
    keep: impl FnOnce() -> Vec<Write>,
    now: Timestamp,
) -> Plan<GateStatus>
where
    K: Gated,
    E: Fn(Option<&K::Spec>) -> (Enforcement, Vec<Write>),
    R: FnOnce() -> Result<Vec<Write>, (String, Vec<Write>)>,
{
    let object = declared.object.as_ref();
    if object.meta().deletion_timestamp.is_some() {
        let repair = || match (inputs, applied_spec(object)) {
            (Ok(inputs), Ok(applied)) => {
                applied.map(|applied| (inputs.enforce)(Some(&applied)).1).unwrap_or_default()
            }
            (Err(_), _) | (_, Err(_)) => keep(),
        };
        return plan_finalization(declared, finalization, repair, now);
    }
    inputs.and_then(|inputs| try_plan(declared, finalization.in_use, inputs, now)).unwrap_or_else(|error| {
        let why = NotReady { reason: reason::APPLIED_UNREADABLE, message: describe_error(&error) };
        let is_applied = object.gate().is_some_and(|gate| gate.applied.is_some());
        let repairs = if is_applied { keep() } else { Vec::new() };
        Plan { repairs, ..blocked(declared, why, now) }
    })
}

fn try_plan<K, E>(
    declared: &ObservedGated<K>,
    in_use: Option<String>,
    inputs: GatedInputs<E>,
    now: Timestamp,
) -> Result<Plan<GateStatus>, EvaluationError>
where
    K: Gated,
    E: Fn(Option<&K::Spec>) -> (Enforcement, Vec<Write>),
{
    let GatedInputs { inherited_policy, references, enforce } = inputs;
    let object = declared.object.as_ref();
    let repair = |spec: Option<&K::Spec>| spec.map(|spec| enforce(Some(spec)).1).unwrap_or_default();
    let gate = plan_gate(
        object,
        &declared.requests,
        &EvaluationInput {
            requests: declared.requests.iter().map(AsRef::as_ref).collect(),
            knows_all_requests: declared.knows_all_requests,
            inherited_policy,
            references,
            policies: &declared.policies,
            now,
        },
    )?;
    let applied = gate.applied.as_ref().map(|applied| applied.spec.to_spec::<K::Spec>());
    let applied = applied.transpose().map_err(EvaluationError::AppliedUnreadable)?;
    if gate.standing != Standing::Enacting && applied.as_ref().is_some_and(K::retires) {
        return Ok(plan_retirement(declared, gate, in_use, repair(applied.as_ref()), now));
    }
    // An approved content is put into force even when the spec was edited again since.
    let is_not_all = gate.applied.as_ref().map(|applied| applied.generation) != object.meta().generation;
    let (enforcement, repairs) = match gate.standing {
        // Enforcing starts with the next observation, when what is applied is stored. Until then the content that
        // was applied before is kept in shape, and closed as far as it has to be.
        Standing::Enacting if K::IS_MADE || is_not_all || applied.as_ref().is_some_and(K::retires) => {
            (Enforcement::InProgress, repair(applied_spec(object)?.as_ref()))
        }
        _ => enforce(applied.as_ref()),
    };
    if gate.standing == Standing::Unknown {
        return Ok(Plan { repairs, writes: gate.writes, waits_for_requests: true, ..Plan::nothing() });
    }
    Ok(conclude(declared, gate, &enforcement, repairs, now))
}

/// Plans an object that is being deleted. It takes along what it owns, and goes itself when all that happened to
/// it is delivered.
fn plan_finalization<K: Gated, R>(
    declared: &ObservedGated<K>,
    finalization: Finalization<R>,
    repair: impl FnOnce() -> Vec<Write>,
    now: Timestamp,
) -> Plan<GateStatus>
where
    R: FnOnce() -> Result<Vec<Write>, (String, Vec<Write>)>,
{
    let object = declared.object.as_ref();
    if !has_finalizer(object) {
        return Plan::nothing();
    }
    let applied = object.gate().and_then(|gate| gate.applied.as_ref());
    // The request of a change that came into force is marked as enacted even when the object goes at once: those
    // who decided it learn so.
    let enacted = plan_enacted_requests(applied, &declared.requests, now);
    let blocked_by = |reason, message| blocked(declared, NotReady { reason, message }, now);
    if let Some(message) = finalization.in_use {
        return Plan { repairs: repair(), writes: enacted, ..blocked_by(reason::CHILDREN_EXIST, message) };
    }
    match (finalization.remove)() {
        // From now on nothing waits for this object, so it has to be true that nothing of it is left.
        Ok(confirm) if !object.gate().is_none_or(|gate| gate.audit.is_delivered()) => {
            let message = "being deleted: all that it owned is gone, and it goes when the audit stream has taken what happened to it (status.audit)";
            let writes = enacted.into_iter().chain(confirm).collect();
            Plan { writes, ..blocked_by(reason::AUDIT_PENDING, message.to_owned()) }
        }
        Ok(confirm) => {
            let message = "being deleted: all that it owned is gone".to_owned();
            let writes = enacted.into_iter().chain(confirm).chain([Write::RemoveFinalizer]).collect();
            Plan { writes, ..blocked_by(reason::TERMINATING, message) }
        }
        // Repairs close access while the object goes, too.
        Err((message, writes)) => {
            let writes = writes.into_iter().chain(enacted).collect();
            Plan { repairs: repair(), writes, ..blocked_by(reason::TERMINATING, message) }
        }
    }
}

/// Plans an approved retirement, which is carried out whatever is edited in the meantime. The request has to say
/// that it was enacted before the object is gone.
fn plan_retirement<K: Gated>(
    declared: &ObservedGated<K>,
    gate: Gate,
    in_use: Option<String>,
    repairs: Vec<Write>,
    now: Timestamp,
) -> Plan<GateStatus> {
    let writes = gate.writes.into_iter().filter(|write| !matches!(write, Write::CreateRequest(_)));
    match in_use {
        Some(message) => {
            let why = NotReady { reason: reason::CHILDREN_EXIST, message };
            Plan { writes: writes.collect(), repairs, ..blocked(declared, why, now) }
        }
        None => Plan { writes: writes.chain([Write::DeleteSelf]).collect(), ..Plan::nothing() },
    }
}

/// The plan of an object that is not evaluated: what is applied and what is pending stay as they are.
pub(crate) fn blocked<K: Gated>(
    declared: &ObservedGated<K>,
    why: NotReady,
    now: Timestamp,
) -> Plan<GateStatus> {
    let (gate, enforcement) = gate_of_blocked(declared.object.as_ref(), why);
    conclude(declared, gate, &enforcement, Vec::new(), now)
}

fn conclude<K: Gated>(
    declared: &ObservedGated<K>,
    gate: Gate,
    enforcement: &Enforcement,
    repairs: Vec<Write>,
    now: Timestamp,
) -> Plan<GateStatus> {
    let status = build_gate_status(declared.object.as_ref(), &gate, enforcement, now);
    Plan {
        events: plan_events(declared.object.as_ref(), &status),
        status: Some(status),
        repairs,
        writes: gate.writes,
        beside: Vec::new(),
        requeue_at: None,
        waits_for_requests: false,
    }
}

impl Parent {
    /// The Community around the object.
    #[must_use]
    pub const fn community(&self) -> Option<&Arc<Community>> {
        match self {
            Self::Unmanaged => None,
            Self::Community(community) | Self::Enclave(community, _) => Some(community),
        }
    }

    /// The rules that count for what is declared in a Community's namespace.
    ///
    /// # Errors
    /// When what is applied of the Community cannot be read.
    pub fn rules_in_community(
        &self,
        kinds: &str,
    ) -> Result<Result<InheritedPolicy, NotReady>, EvaluationError> {
        let Self::Community(community) = self else {
            let what = match self {
                Self::Enclave(..) => "is the control namespace of an Enclave",
                Self::Unmanaged | Self::Community(_) => "does not belong to a Community",
            };
            let message = format!("this namespace {what}; {kinds} are declared in a Community's namespace");
            return Ok(Err(NotReady { reason: reason::COMMUNITY_NOT_FOUND, message }));
        };
        rules_of_community(community)
    }

    /// The rules that count for what is declared in an Enclave's control namespace.
    ///
    /// # Errors
    /// When what is applied of the Community or the Enclave cannot be read.
    pub fn rules_in_enclave(
        &self,
        kinds: &str,
    ) -> Result<Result<InheritedPolicy, NotReady>, EvaluationError> {
        let Self::Enclave(community, enclave) = self else {
            let message = format!(
                "this namespace is not the control namespace of an Enclave; {kinds} are declared in the control namespace of their Enclave (<community>-<enclave>)"
            );
            return Ok(Err(NotReady { reason: reason::ENCLAVE_NOT_FOUND, message }));
        };
        let mut outer = match rules_of_community(community)? {
            Ok(outer) => outer,
            missing => return Ok(missing),
        };
        Ok(match ScopeRules::of(enclave.as_ref())? {
            Some(rules) => {
                outer.scopes.push(rules);
                let terminating = NotReady::terminating(enclave.as_ref(), reason::ENCLAVE_NOT_ACTIVE);
                Ok(InheritedPolicy { terminating: terminating.or(outer.terminating), ..outer })
            }
            None => Err(NotReady {
                reason: reason::ENCLAVE_NOT_ACTIVE,
                message: format!(
                    "Enclave {} is not in force yet; this goes on when it is",
                    enclave.name_any()
                ),
            }),
        })
    }
}

fn rules_of_community(community: &Community) -> Result<Result<InheritedPolicy, NotReady>, EvaluationError> {
    Ok(InheritedPolicy::of_community(community)?.ok_or_else(|| NotReady {
        reason: reason::COMMUNITY_NOT_ACTIVE,
        message: format!("Community {} is not in force yet; this goes on when it is", community.name_any()),
    }))
}
