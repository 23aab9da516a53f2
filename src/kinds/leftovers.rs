//! What others have in the operator's namespaces: objects of the kinds that the lock guards, and bindings.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::{Resource, ResourceExt};

use super::caches::Caches;
use super::observe::namespace_of;
use super::enqueue::Triggers;
use crate::api::names::label;
use crate::api::{Community, Enclave};
use crate::model::naming::ROLE_BINDING;
use crate::plan::child::Made;
use crate::plan::lock::OfOthers;
use crate::plan::place::is_owned;

/// What others have in the namespace of a Community.
#[must_use]
pub fn of_community(caches: &Caches, community: &Community) -> OfOthers {
    let uid = community.uid().unwrap_or_default();
    find_of_others(caches, &caches.namespaces.state_filter(|namespace| is_owned(namespace, &uid)))
}

/// What others have in the control namespace of an Enclave and in those of its workloads.
#[must_use]
pub fn of_enclave(caches: &Caches, community: &Community, enclave: &Enclave) -> OfOthers {
    let (community, enclave) = (community.name_any(), enclave.name_any());
    let belongs = |namespace: &Namespace| {
        let labels = namespace.labels();
        labels.contains_key(label::OWNER_UID)
            && labels.get(label::COMMUNITY) == Some(&community)
            && labels.get(label::ENCLAVE) == Some(&enclave)
    };
    find_of_others(caches, &caches.namespaces.state_filter(belongs))
}

impl Triggers {
    /// The Enclave that tells what others left in a workload's namespace.
    pub(super) fn look_at_enclave_around(&self, namespace: &Namespace) {
        // The receiver is gone only at shutdown.
        let _ = enclave_around(&self.caches, namespace)
            .map(|enclave| self.queues.enclaves.unbounded_send(enclave));
    }
}

fn enclave_around(caches: &Caches, namespace: &Namespace) -> Option<ObjectRef<Enclave>> {
    let labels = namespace.labels();
    let is_ours = labels.contains_key(label::WORKLOAD) && labels.contains_key(label::OWNER_UID);
    let (community, enclave) = (labels.get(label::COMMUNITY)?, labels.get(label::ENCLAVE)?);
    let community = caches.communities.get(&ObjectRef::new(community)).filter(|_| is_ours)?;
    Some(ObjectRef::new(enclave).within(&namespace_of(&community)))
}

fn find_of_others(caches: &Caches, namespaces: &[Arc<Namespace>]) -> OfOthers {
    let there = namespaces.iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
    let all: BTreeSet<String> = there.map(|namespace| namespace.name_any()).collect();
    // What was known of Cilium's policies when it went.
    let cilium = if caches.has_cilium() { &all } else { &BTreeSet::new() };
    let leftovers = [
        find(&caches.cilium_policies, cilium),
        find(&caches.network_policies, &all),
        find(&caches.quotas, &all),
        find(&caches.container_defaults, &all),
    ];
    let bindings = caches.role_bindings.state_filter(|binding| {
        binding.namespace().is_some_and(|name| all.contains(&name))
            && !binding.name_any().starts_with(ROLE_BINDING)
    });
    OfOthers {
        leftovers: leftovers.concat(),
        standing_grants: bindings.iter().map(|binding| describe_binding(binding)).collect(),
    }
}

fn describe_binding(binding: &RoleBinding) -> String {
    let subjects = binding.subjects.iter().flatten().map(|subject| {
        let namespace = subject.namespace.as_ref().map(|namespace| format!("{namespace}/"));
        format!("{} {}{}", subject.kind, namespace.unwrap_or_default(), subject.name)
    });
    let whom: Vec<String> = subjects.collect();
    let RoleRef { kind, name, .. } = &binding.role_ref;
    let namespace = binding.namespace().unwrap_or_default();
    let text = format!("{namespace}/{}: {kind} {name} for {}", binding.name_any(), whom.join(", "));
    if text.chars().count() > 1024 { text.chars().take(1023).chain(['…']).collect() } else { text }
}

fn find<K>(store: &Store<K>, namespaces: &BTreeSet<String>) -> Vec<String>
where
    K: Resource<DynamicType = ()> + reflector::Lookup<DynamicType = ()> + Made + Clone + 'static,
{
    if namespaces.is_empty() {
        return Vec::new();
    }
    let is_there =
        |object: &K| object.meta().namespace.as_ref().is_some_and(|name| namespaces.contains(name));
    let found = store.state_filter(|object| is_there(object) && !K::is_ours(&object.name_any()));
    let kind = <K as Resource>::kind(&());
    let describe =
        |object: &K| format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any());
    found.iter().map(|object| describe(object)).collect()
}
