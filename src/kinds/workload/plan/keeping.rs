//! Plans the namespace of a workload while it is not known what must be in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{RoleBinding, Subject};
use kube::ResourceExt;

use crate::api::enclave_workload::{AccessMode, WorkloadPrincipals};
use crate::api::names::{access, child, label};
use crate::kinds::workload::plan::observed::{
    ObservedWorkload, cilium_policy_of, policies_of, unmade_policies,
};
use crate::model::approval::kept::{Access, access_kept, enclave_isolates_workloads};
use crate::model::naming::{CONNECTION_POLICY, listed_binding};
use crate::model::rbac::access::{Admitted, CLUSTER_ROLES};
use crate::model::rbac::maintenance::Exceptions;
use crate::plan::Write;
use crate::plan::child::{Healing, Made};
use crate::plan::enforcement::{WasEnforced, was_enforced};
use crate::plan::metadata::child_metadata;
use crate::plan::namespace::desired::{DesiredNamespace, NamespacePurpose, ObservedNamespace};
use crate::plan::namespace::diff::{Permit, other_bindings, plan_permit, plan_pruning};
use crate::plan::namespace::enforce::{desired_from_labels, healing, plan_repair};
use crate::plan::parent::Parent;
use crate::plan::policies::build_intra_enclave;
use crate::plan::rbac::bindings::{build_listed, cluster_role_ref, subject};

/// Keeps a workload in shape without the Enclave, or while something that is applied cannot be read. Nothing opens that
/// was not in force. A change that closes is carried out all the same, and what can be read of the applied content is
/// put back.
pub(in crate::kinds) fn plan_repair_without_inputs(
    observed: &ObservedWorkload,
    exceptions: &Exceptions,
    now: Timestamp,
) -> Vec<Write> {
    let Some(mut desired) =
        desired_from_labels(&observed.live_namespace, &observed.declared.uid(), exceptions)
    else {
        return Vec::new();
    };
    let was_enforced = was_enforced(observed.declared.object.as_ref());
    let healing = healing(&desired, &observed.live_namespace, was_enforced);
    let removals = match access_kept(&observed.declared.object) {
        Access::Of(spec) => {
            desired.bindings = build_listed(&desired.namespace, &spec);
            let is_there = |wanted: &RoleBinding| {
                observed.live_namespace.bindings.iter().any(|live| live.metadata.name == wanted.metadata.name)
            };
            // A principal whom nobody has let in yet waits.
            desired.bindings.retain(|wanted| was_enforced == WasEnforced::Yes || is_there(wanted));
            let is_isolated = spec.access_mode == AccessMode::Isolated;
            if is_isolated {
                isolate(&mut desired);
            }
            let others = other_bindings(&desired, &observed.live_namespace);
            plan_pruning(&others, |name| is_isolated || RoleBinding::is_ours(name)).collect()
        }
        Access::Still(admitted) => {
            if let Admitted::Only(_) = admitted {
                isolate(&mut desired);
            }
            plan_access_removal(admitted, &desired.namespace, &observed.live_namespace.bindings)
        }
    };
    plan_connections(observed, &desired.namespace, healing, now)
        .into_iter()
        .chain(removals)
        .chain(plan_traffic_removal(observed, &desired.namespace, healing))
        .chain(plan_repair(&desired, &observed.live_namespace, was_enforced))
        .collect()
}

fn isolate(desired: &mut DesiredNamespace) {
    if let NamespacePurpose::SomeWorkload(labels) = &mut desired.purpose {
        labels.insert(label::ACCESS_MODE.to_owned(), access::ISOLATED.to_owned());
    }
}

/// Plans the policies of connections: leftovers go, and the others let through what they should and no more.
fn plan_connections(
    observed: &ObservedWorkload,
    namespace: &str,
    healing: Healing,
    now: Timestamp,
) -> Vec<Write> {
    let connections = || observed.connections.iter();
    let policies: Vec<_> =
        connections().flat_map(|resolved| policies_of(resolved, namespace, observed, now)).collect();
    let to_names: Vec<_> =
        connections().filter_map(|resolved| cilium_policy_of(resolved, namespace, observed, now)).collect();
    let unmade = unmade_policies(observed);
    let healing_of = |name: &str| if unmade.contains(name) { Healing::Active } else { healing };
    let ObservedNamespace { policies: live, cilium_policies: live_to_names, .. } = &observed.live_namespace;
    [plan_those_there(&policies, live, healing_of), plan_those_there(&to_names, live_to_names, healing_of)]
        .concat()
}

/// Plans the policies of connections that are there: surplus ones go, the others are put back, and none is made anew.
fn plan_those_there<K: Permit>(
    wanted: &[K],
    live: &[Arc<K>],
    healing_of: impl Fn(&str) -> Healing,
) -> Vec<Write> {
    let named = wanted.iter().filter_map(|wanted| Some((wanted.meta().name.as_deref()?, wanted)));
    let wanted: BTreeMap<&str, &K> = named.collect();
    let is_over = |name: &str| name.starts_with(CONNECTION_POLICY) && !wanted.contains_key(name);
    let there = live.iter().filter_map(|live| {
        let name = live.meta().name.as_deref()?;
        plan_permit(Some(live.as_ref()), *wanted.get(name)?, healing_of(name))
    });
    plan_pruning(live, is_over).chain(there).collect()
}

/// Takes bindings away from principals whom the readable part of the latest spec does not admit any more, when the
/// applied content cannot be read.
fn plan_access_removal(admitted: Admitted<'_>, namespace: &str, bindings: &[Arc<RoleBinding>]) -> Vec<Write> {
    let (WorkloadPrincipals { admin, edit, view }, keeps_others) = match admitted {
        Admitted::All => return Vec::new(),
        Admitted::Listed(named) => (named, true),
        Admitted::Only(named) => (named, false),
    };
    let mut over = BTreeSet::new();
    let mut writes = Vec::new();
    for live in bindings {
        let listed = CLUSTER_ROLES.into_iter().zip([admin, edit, view]);
        let mut of_role = listed.filter(|(role, _)| {
            live.name_any() == listed_binding(role) && live.role_ref == cluster_role_ref(role)
        });
        let Some((_, named)) = of_role.next() else {
            over.extend((!keeps_others).then(|| live.name_any()));
            continue;
        };
        let named: Vec<Subject> = named.iter().map(subject).collect();
        let mut narrowed =
            RoleBinding { metadata: child_metadata(namespace, &live.name_any()), ..RoleBinding::clone(live) };
        narrowed.subjects.iter_mut().for_each(|subjects| subjects.retain(|one| named.contains(one)));
        if narrowed.subjects.as_ref().is_none_or(Vec::is_empty) {
            over.insert(live.name_any());
        } else {
            writes.extend(plan_permit(Some(live.as_ref()), &narrowed, Healing::Active));
        }
    }
    writes.extend(plan_pruning(bindings, |name| over.contains(name)));
    writes
}

/// Ends the traffic of a workload with others of the Enclave when the Enclave keeps its workloads apart.
fn plan_traffic_removal(observed: &ObservedWorkload, namespace: &str, healing: Healing) -> Option<Write> {
    let Parent::Enclave(_, enclave) = &observed.declared.parent else { return None };
    let mut policies =
        observed.live_namespace.policies.iter().filter(|_| enclave_isolates_workloads(enclave));
    let live = policies.find(|live| live.name_any() == child::INTRA_ENCLAVE)?;
    let alone = build_intra_enclave(namespace, &[namespace.to_owned()]);
    plan_permit(Some(live.as_ref()), &alone, healing)
}
