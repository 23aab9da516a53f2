//! An owned namespace compared with the desired one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::api::rbac::v1::{RoleBinding, Subject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Resource;
use serde::Serialize;

use crate::api::CiliumNetworkPolicy;
use crate::api::cilium::CiliumNetworkPolicySpec;
use crate::api::names::child;
use crate::plan::child::{Child, Healing, Made, Verb, due, free_metadata, is_kept_by_finalizer};
use crate::plan::metadata::child_metadata;
use crate::plan::namespace::desired::{
    DesiredNamespace, NamespacePurpose, ObservedNamespace, WorkloadContents, is_owned,
};
use crate::plan::namespace::limits::{plan_container_defaults, plan_quota};
use crate::plan::namespace::object::{Contents, WriteOrder, plan_creation, plan_namespace};
use crate::plan::{Write, write_due};

/// The result of comparing a namespace with the desired one.
#[derive(Clone, Debug, PartialEq)]
pub enum NamespaceDiff {
    /// The namespace is exactly as it should be.
    AsPlanned,
    /// These writes are missing.
    Differs(Vec<Write>),
    /// A namespace of that name exists and is not ours.
    Foreign,
    /// The namespace is being deleted; it can be made again when it is gone. Until then pods may run in it, so
    /// the objects that are there are put right. Nothing can be made in it any more.
    Terminating(Vec<Write>),
}

/// Compares a namespace with the desired one. The order of the writes keeps it shut: the writes that close come
/// first, and nothing opens before the policy that denies everything is there.
#[must_use]
pub fn diff_namespace(
    desired: &DesiredNamespace,
    observed: &ObservedNamespace,
    healing: Healing,
) -> NamespaceDiff {
    let Some(namespace) = observed.namespace.as_deref() else {
        return NamespaceDiff::Differs(vec![plan_creation(desired)]);
    };
    if !is_owned(namespace, &desired.owner_uid) {
        return NamespaceDiff::Foreign;
    }
    let mut writes = plan_contents(desired, observed, healing);
    let contents = if writes.is_empty() { Contents::Complete } else { Contents::InProgress };
    match plan_namespace(desired, namespace, contents) {
        None => {}
        Some(WriteOrder::First(write)) => writes.insert(0, write),
        Some(WriteOrder::Last(write)) => writes.push(write),
    }
    if namespace.metadata.deletion_timestamp.is_some() {
        writes.retain(|write| !matches!(write, Write::Child(Verb::Create, _)));
        return NamespaceDiff::Terminating(writes);
    }
    if writes.is_empty() { NamespaceDiff::AsPlanned } else { NamespaceDiff::Differs(writes) }
}

/// The writes that bring what is in a namespace to what it should be.
fn plan_contents(desired: &DesiredNamespace, observed: &ObservedNamespace, healing: Healing) -> Vec<Write> {
    let nothing = WorkloadContents::default();
    let contents = match &desired.purpose {
        NamespacePurpose::Workload(contents) => contents,
        NamespacePurpose::Community | NamespacePurpose::Control | NamespacePurpose::SomeWorkload(_) => {
            &nothing
        }
    };
    let deny = build_default_deny(desired);
    let policies: Vec<&NetworkPolicy> = std::iter::once(&deny).chain(&contents.policies).collect();
    let cilium: Vec<&CiliumNetworkPolicy> = contents.cilium_policies.iter().collect();
    let others = other_bindings(desired, observed);
    let mut writes = Vec::new();
    if !matches!(desired.purpose, NamespacePurpose::SomeWorkload(_)) {
        writes.extend(plan_surplus(&policies, &observed.policies));
        writes.extend(plan_surplus(&cilium, &observed.cilium_policies));
        // Nobody but those whom it lists gets into an isolated workload, whoever bound others and when.
        let is_over = |name: &str| desired.is_isolated() || RoleBinding::is_ours(name);
        writes.extend(plan_pruning(&others, is_over));
    }
    let healing_of = |name: &str| if contents.unmade.contains(name) { Healing::Active } else { healing };
    writes.extend(plan_permits(&policies, &observed.policies, healing_of));
    writes.extend(plan_permits(&cilium, &observed.cilium_policies, healing_of));
    let (quota, limits) = (observed.quota.as_deref(), observed.container_defaults.as_deref());
    match &desired.purpose {
        NamespacePurpose::Community | NamespacePurpose::Control => {
            let no_pods = [("pods".to_owned(), Quantity("0".to_owned()))].into();
            writes.extend(plan_quota(&desired.namespace, &no_pods, quota, healing));
        }
        NamespacePurpose::Workload(contents) => {
            let wanted = contents.container_defaults.as_ref();
            writes.extend(plan_quota(&desired.namespace, &contents.quota, quota, healing));
            writes.extend(plan_container_defaults(&desired.namespace, wanted, limits, healing));
        }
        NamespacePurpose::SomeWorkload(_) => {}
    }
    let is_free = |name: &Option<String>| others.iter().all(|other| other.metadata.name != *name);
    let bindings: Vec<&RoleBinding> =
        desired.bindings.iter().filter(|wanted| is_free(&wanted.metadata.name)).collect();
    writes.extend(plan_permits(&bindings, &observed.bindings, |_| healing));
    writes
}

/// A kind that lets something through: a network policy, of Kubernetes or of Cilium, or a binding of a role.
pub trait Permit: Resource<DynamicType = ()> + Clone + Into<Child> + Made {
    /// The part of an object that says what it lets through.
    type Rules: Clone + PartialEq + Serialize;

    fn rules(&self) -> &Self::Rules;
}

impl Permit for NetworkPolicy {
    type Rules = Option<NetworkPolicySpec>;

    fn rules(&self) -> &Self::Rules {
        &self.spec
    }
}

impl Permit for CiliumNetworkPolicy {
    type Rules = CiliumNetworkPolicySpec;

    fn rules(&self) -> &Self::Rules {
        &self.spec
    }
}

/// The role of a binding never changes; see [`other_bindings`].
impl Permit for RoleBinding {
    type Rules = Option<Vec<Subject>>;

    fn rules(&self) -> &Self::Rules {
        &self.subjects
    }
}

/// Returns the writes that close: they take away what the operator made and nothing wants any more.
fn plan_surplus<'a, K: Permit>(wanted: &'a [&K], live: &'a [Arc<K>]) -> impl Iterator<Item = Write> + 'a {
    let wanted: BTreeSet<&str> = wanted.iter().filter_map(|wanted| wanted.meta().name.as_deref()).collect();
    plan_pruning(live, move |name| K::is_ours(name) && !wanted.contains(name))
}

/// Returns the writes that take away the permits whose names `is_over` selects. A finalizer that somebody put on
/// one does not keep it.
pub fn plan_pruning<'a, K: Permit>(
    live: &'a [Arc<K>],
    is_over: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = Write> + 'a {
    let over = live.iter().filter(move |live| live.meta().name.as_deref().is_some_and(&is_over));
    over.filter_map(|live| {
        if is_kept_by_finalizer(live.as_ref()) {
            let mut freed = K::clone(live);
            *freed.meta_mut() = free_metadata(live.meta(), live.meta().clone());
            return Some(Write::child(Verb::Replace, freed));
        }
        let is_there = live.meta().deletion_timestamp.is_none();
        is_there.then(|| Write::child(Verb::Delete, K::clone(live)))
    })
}

fn plan_permits<'a, K: Permit>(
    wanted: &'a [&K],
    live: &'a [Arc<K>],
    healing: impl Fn(&str) -> Healing + 'a,
) -> impl Iterator<Item = Write> + 'a {
    let live: BTreeMap<_, _> = live.iter().map(|live| (live.meta().name.as_deref(), live.as_ref())).collect();
    wanted.iter().filter_map(move |wanted| {
        let name = wanted.meta().name.as_deref();
        plan_permit(live.get(&name).copied(), *wanted, healing(name.unwrap_or_default()))
    })
}

/// Returns the write that is due for a wanted permit.
pub(crate) fn plan_permit<K: Permit>(live: Option<&K>, wanted: &K, healing: Healing) -> Option<Write> {
    let rules = wanted.rules();
    let with = |metadata| {
        let mut wanted = wanted.clone();
        *wanted.meta_mut() = metadata;
        wanted
    };
    write_due(due(live, wanted.meta(), rules, |live| live.rules() == rules, healing), with)
}

/// The bindings that are not wanted by name and role. The role of a binding never changes.
pub(crate) fn other_bindings(
    desired: &DesiredNamespace,
    observed: &ObservedNamespace,
) -> Vec<Arc<RoleBinding>> {
    let is_wanted = |live: &RoleBinding| {
        let same_name = |wanted: &&RoleBinding| wanted.metadata.name == live.metadata.name;
        desired.bindings.iter().find(same_name).is_some_and(|wanted| wanted.role_ref == live.role_ref)
    };
    observed.bindings.iter().filter(|live| !is_wanted(live)).cloned().collect()
}

fn build_default_deny(desired: &DesiredNamespace) -> NetworkPolicy {
    NetworkPolicy {
        metadata: child_metadata(&desired.namespace, child::DEFAULT_DENY),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ..NetworkPolicySpec::default()
        }),
    }
}

#[cfg(test)]
mod tests;
