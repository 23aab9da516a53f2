//! Plans a Community: a namespace in which its Enclaves are declared.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::names::{condition, reason};
use crate::api::{Approvals, Community, CommunitySpec, CommunityStatus};
use crate::model::approval::applied::{EvaluationError, applied_spec};
use crate::model::approval::approval_policy::held_operations;
use crate::model::approval::policy_status::{Integrity, PROPAGATING};
use crate::model::approval::scope::InheritedPolicy;
use crate::model::naming::namespace_of;
use crate::model::rbac::maintenance::{Exceptions, own_maintenance};
use crate::plan::conditions::{Status, Wanted, build_conditions, conditions_before};
use crate::plan::enforcement::{Enforcement, was_enforced};
use crate::plan::gated::{Finalization, GatedInputs, ObservedGated, plan_gated};
use crate::plan::lock::{Lock, OfOthers, list_some, show_lock};
use crate::plan::namespace::desired::{DesiredNamespace, NamespacePurpose, ObservedNamespace, is_owned};
use crate::plan::namespace::enforce::{
    enforce, owned_namespace, plan_repair_from_labels, plan_teardown, preview,
};
use crate::plan::{Plan, Write};

/// The observed state of a Community and of what is in it.
#[derive(Clone, Debug)]
pub struct ObservedCommunity {
    /// The Community, which has no parent.
    pub declared: ObservedGated<Community>,
    /// The observed namespace of the Community.
    pub live_namespace: ObservedNamespace,
    /// The number of Enclaves that are declared in its namespace.
    pub enclaves: usize,
    /// Objects and bindings of others in its namespace.
    pub of_others: OfOthers,
}

/// Plans a Community.
#[must_use]
pub fn plan_community(observed: &ObservedCommunity, now: Timestamp) -> Plan<CommunityStatus> {
    let community = observed.declared.object.as_ref();
    let exceptions = Exceptions::of(community, now);
    let inputs = || -> Result<_, EvaluationError> {
        let votes = applied_spec(community)?.map(|spec| spec.service_account_votes).unwrap_or_default();
        Ok(GatedInputs {
            inherited_policy: Ok(InheritedPolicy { service_account_votes: votes, ..InheritedPolicy::none() }),
            references: None,
            enforce: |applied: Option<&CommunitySpec>| enforce_community(observed, applied, &exceptions),
        })
    };
    let was_enforced = was_enforced(community);
    let keep = || {
        plan_repair_from_labels(&observed.live_namespace, &observed.declared.uid(), &exceptions, was_enforced)
    };
    let namespace = owned_namespace(&observed.live_namespace, &observed.declared.uid());
    let mut event = None;
    let finalization = Finalization {
        in_use: waits_for_enclaves(observed),
        remove: || {
            plan_teardown(&observed.live_namespace, &observed.declared.uid(), Some(namespace_of(community)))
        },
    };
    let mut plan =
        plan_gated(&observed.declared, finalization, inputs(), keep, now).with_status(|mut gate| {
            let before = conditions_before(community);
            let protected = vec![describe_protection(&observed.declared.policies.integrity)];
            let generation = community.metadata.generation;
            gate.conditions.extend(build_conditions(before, protected, generation, now));
            let lock = Lock {
                exceptions: &exceptions,
                unmanaged: &observed.of_others.unmanaged,
                integrity: &observed.declared.policies.integrity,
            };
            event = namespace.as_ref().and_then(|_| show_lock(&mut gate, before, &lock, now));
            CommunityStatus {
                gate,
                namespace,
                enclaves: i32::try_from(observed.enclaves).ok(),
                maintenance: own_maintenance(community, now),
                unmanaged_resources: list_some(&observed.of_others.unmanaged),
                standing_grants: list_some(&observed.of_others.standing_grants),
            }
        });
    plan.events.extend(event);
    plan.requeue_at = plan.requeue_at.into_iter().chain(exceptions.ends_at()).min();
    if !can_take_requests(observed) {
        plan.writes.retain(|write| !matches!(write, Write::CreateRequest(_)));
    }
    plan
}

fn enforce_community(
    observed: &ObservedCommunity,
    applied: Option<&CommunitySpec>,
    exceptions: &Exceptions,
) -> (Enforcement, Vec<Write>) {
    let community = observed.declared.object.as_ref();
    match applied {
        None => {
            (preview(&desired_namespace(community, &[], exceptions), &observed.live_namespace), Vec::new())
        }
        Some(spec) => {
            let desired = desired_namespace(community, &[&spec.approvals], exceptions);
            enforce(&desired, &observed.live_namespace, was_enforced(community))
        }
    }
}

/// Whether requests about a Community can be made. They live in the namespace that it owns, never in one of somebody
/// else.
fn can_take_requests(observed: &ObservedCommunity) -> bool {
    let uid = observed.declared.uid();
    observed
        .live_namespace
        .namespace
        .as_deref()
        .is_some_and(|namespace| is_owned(namespace, &uid) && namespace.metadata.deletion_timestamp.is_none())
}

fn desired_namespace(
    community: &Community,
    rules: &[&Approvals],
    exceptions: &Exceptions,
) -> DesiredNamespace {
    let name = community.name_any();
    DesiredNamespace {
        namespace: namespace_of(community),
        owner_uid: community.uid().unwrap_or_default(),
        community: name,
        enclave: None,
        held_operations: held_operations(rules),
        exceptions: exceptions.clone(),
        bindings: Vec::new(),
        purpose: NamespacePurpose::Community,
    }
}

fn describe_protection(integrity: &Integrity) -> Wanted {
    let type_ = condition::PROTECTED;
    match integrity {
        Integrity::Intact => Wanted {
            type_,
            status: Status::True,
            reason: reason::POLICIES_INTACT,
            message: "the API server runs the operator's admission policies".into(),
        },
        Integrity::Propagating => Wanted {
            type_,
            status: Status::False,
            reason: reason::POLICIES_PROPAGATING,
            message: format!("nothing new is enacted: {PROPAGATING}"),
        },
        Integrity::Broken(what) => Wanted {
            type_,
            status: Status::False,
            reason: reason::POLICIES_NOT_INTACT,
            message: format!("nothing new is enacted; install the chart of this version again: {what}"),
        },
    }
}

fn waits_for_enclaves(observed: &ObservedCommunity) -> Option<String> {
    let community = observed.declared.object.as_ref();
    (observed.enclaves > 0).then(|| {
        format!(
            "being deleted: waits for its {} Enclave(s); delete them first (kubectl get enclaves -n {})",
            observed.enclaves,
            namespace_of(community),
        )
    })
}
