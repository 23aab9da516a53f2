//! Compares an owned namespace with the objects that there are, and plans its writes and its end.

use kube::ResourceExt;

use crate::api::names::{annotation, label, purpose, reason};
use crate::model::approval::scope::NotReady;
use crate::model::rbac::maintenance::Exceptions;
use crate::plan::Write;
use crate::plan::child::Healing;
use crate::plan::enforcement::{Enforcement, WasEnforced};
use crate::plan::namespace::desired::{DesiredNamespace, NamespacePurpose, ObservedNamespace, is_owned};
use crate::plan::namespace::diff::{NamespaceDiff, diff_namespace};
use crate::plan::namespace::object::{is_open, kept_labels};

/// Compares a namespace with the desired one. Returns the enforcement for the status, and the writes that are
/// due. `was_enforced` distinguishes a drift that is put back from something that is still being made.
#[must_use]
pub fn enforce(
    desired: &DesiredNamespace,
    observed: &ObservedNamespace,
    was_enforced: WasEnforced,
) -> (Enforcement, Vec<Write>) {
    let healing = healing(desired, observed, was_enforced);
    match (diff_namespace(desired, observed, healing), was_enforced) {
        // This holds whether it was seen so before or not.
        (NamespaceDiff::AsPlanned, _) if is_left_alone(desired, observed) => {
            (Enforcement::Paused, Vec::new())
        }
        (NamespaceDiff::Differs(writes), _) if healing == Healing::Paused => (Enforcement::Paused, writes),
        (NamespaceDiff::AsPlanned, _) => (Enforcement::Complete, Vec::new()),
        (NamespaceDiff::Differs(writes), WasEnforced::Yes) => (Enforcement::Complete, writes),
        (NamespaceDiff::Differs(writes), WasEnforced::No) => (Enforcement::InProgress, writes),
        (NamespaceDiff::Foreign, _) => (conflict(&desired.namespace), Vec::new()),
        (NamespaceDiff::Terminating(writes), _) => (
            Enforcement::Blocked(NotReady {
                reason: reason::NAMESPACE_TERMINATING,
                message: format!(
                    "namespace {} is being deleted; it is made again when it is gone",
                    desired.namespace
                ),
            }),
            writes,
        ),
    }
}

/// Returns whether changes of others are put back. The lock opens on a namespace that is as it should be; from
/// then on others may change it.
pub(crate) fn healing(
    desired: &DesiredNamespace,
    observed: &ObservedNamespace,
    was_enforced: WasEnforced,
) -> Healing {
    match was_enforced {
        WasEnforced::Yes if is_left_alone(desired, observed) => Healing::Paused,
        WasEnforced::Yes | WasEnforced::No => Healing::Active,
    }
}

/// Whether others may change what is in a namespace.
pub(crate) fn is_left_alone(desired: &DesiredNamespace, observed: &ObservedNamespace) -> bool {
    observed.namespace.as_deref().is_some_and(is_open) && !desired.exceptions.advanced().is_empty()
}

/// Plans the repair of a namespace of which only its own labels and annotations are known: its purpose stays as
/// it is written there. The namespace is not made anew, and maintenance lasts as long as these exceptions do.
#[must_use]
pub fn plan_repair_from_labels(
    observed: &ObservedNamespace,
    owner_uid: &str,
    exceptions: &Exceptions,
    was_enforced: WasEnforced,
) -> Vec<Write> {
    let known = desired_from_labels(observed, owner_uid, exceptions);
    known.map(|desired| plan_repair(&desired, observed, was_enforced)).unwrap_or_default()
}

/// Returns the desired namespace as the existing one says; `None` when that is not there, or not of this owner.
#[must_use]
pub fn desired_from_labels(
    observed: &ObservedNamespace,
    owner_uid: &str,
    exceptions: &Exceptions,
) -> Option<DesiredNamespace> {
    let namespace = observed.namespace.as_deref().filter(|namespace| is_owned(namespace, owner_uid))?;
    let label = |key: &str| namespace.labels().get(key).cloned();
    let held = namespace.annotations().get(annotation::HELD_OPERATIONS);
    Some(DesiredNamespace {
        namespace: namespace.name_any(),
        owner_uid: owner_uid.to_owned(),
        community: label(label::COMMUNITY).unwrap_or_default(),
        enclave: label(label::ENCLAVE),
        held_operations: held
            .map(|held| held.split(' ').map(ToOwned::to_owned).collect())
            .unwrap_or_default(),
        exceptions: exceptions.clone(),
        bindings: Vec::new(),
        purpose: match label(label::PURPOSE).as_deref() {
            Some(purpose::COMMUNITY) => NamespacePurpose::Community,
            Some(purpose::WORKLOAD) => NamespacePurpose::SomeWorkload(kept_labels(namespace)),
            _ => NamespacePurpose::Control,
        },
    })
}

/// The writes that put a namespace into shape that was made before.
#[must_use]
pub fn plan_repair(
    desired: &DesiredNamespace,
    observed: &ObservedNamespace,
    was_enforced: WasEnforced,
) -> Vec<Write> {
    match diff_namespace(desired, observed, healing(desired, observed, was_enforced)) {
        NamespaceDiff::Differs(writes) | NamespaceDiff::Terminating(writes) => writes,
        NamespaceDiff::AsPlanned | NamespaceDiff::Foreign => Vec::new(),
    }
}

/// Returns the enforcement to show for a namespace that is not to be made yet: a conflict is shown while the
/// change is still held, not after somebody approved it.
#[must_use]
pub fn preview(desired: &DesiredNamespace, observed: &ObservedNamespace) -> Enforcement {
    match diff_namespace(desired, observed, Healing::Active) {
        NamespaceDiff::Foreign => conflict(&desired.namespace),
        NamespaceDiff::AsPlanned | NamespaceDiff::Differs(_) | NamespaceDiff::Terminating(_) => {
            Enforcement::Nothing
        }
    }
}

pub(crate) fn conflict(namespace: &str) -> Enforcement {
    Enforcement::Blocked(NotReady {
        reason: reason::NAMESPACE_CONFLICT,
        message: format!(
            "namespace {namespace} exists and was not made for this object, so it is never taken over; use another name, or free this one if nobody needs it"
        ),
    })
}

/// The writes that take a namespace away; `None` when it is gone.
pub(crate) fn plan_removal(observed: &ObservedNamespace, owner_uid: &str) -> Option<Vec<Write>> {
    let namespace = observed.namespace.as_deref().filter(|namespace| is_owned(namespace, owner_uid))?;
    let delete =
        Write::DeleteNamespace { name: namespace.name_any(), uid: namespace.uid().unwrap_or_default() };
    Some(if namespace.metadata.deletion_timestamp.is_none() { vec![delete] } else { Vec::new() })
}

/// Plans the deletion of a namespace, which goes before its owner does. `name` is the name of the namespace: the
/// cache may not have heard of it yet, so the API server is asked before the owner goes.
///
/// # Errors
/// While the namespace is still there: the text for the status, and the writes.
pub fn plan_teardown(
    observed: &ObservedNamespace,
    owner_uid: &str,
    name: Option<String>,
) -> Result<Vec<Write>, (String, Vec<Write>)> {
    if let Some(writes) = plan_removal(observed, owner_uid) {
        let remaining = what_remains(observed).map(|what| format!(" ({what})")).unwrap_or_default();
        return Err((format!("being deleted: its namespace goes first{remaining}"), writes));
    }
    let owner_uid = owner_uid.to_owned();
    Ok(name.map(|name| Write::ConfirmNamespaceGone { name, owner_uid }).into_iter().collect())
}

/// Returns what keeps a namespace that is being deleted, in the words of Kubernetes.
pub(crate) fn what_remains(observed: &ObservedNamespace) -> Option<String> {
    let conditions = observed.namespace.as_deref()?.status.as_ref()?.conditions.as_ref()?;
    let true_ones = conditions.iter().filter(|condition| condition.status == "True");
    let messages: Vec<&str> = true_ones.filter_map(|condition| condition.message.as_deref()).collect();
    (!messages.is_empty()).then(|| messages.join("; "))
}

/// The name of the namespace, when it exists and is ours.
#[must_use]
pub fn owned_namespace(observed: &ObservedNamespace, owner_uid: &str) -> Option<String> {
    observed
        .namespace
        .as_deref()
        .filter(|namespace| is_owned(namespace, owner_uid))
        .map(ResourceExt::name_any)
}
