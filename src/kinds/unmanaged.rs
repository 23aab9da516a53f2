//! Objects of others in the operator's namespaces: those of the kinds that the lock guards, and bindings.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef};
use kube::{Resource, ResourceExt};

use super::caches::Caches;
use crate::api::text::shorten;
use crate::api::{Community, Enclave};
use crate::cluster::cache::Key;
use crate::kinds::index::{NamespaceBy, PolicyBy, RbacBy, pair};
use crate::plan::child::Made;
use crate::plan::lock::OfOthers;

/// Returns what others have in the namespace of a Community.
#[must_use]
pub fn of_community(caches: &Caches, community: &Community) -> OfOthers {
    let uid = community.uid().unwrap_or_default();
    find_of_others(caches, &caches.namespaces.by(NamespaceBy::OwnerUid, &uid))
}

/// Returns what others have in the control namespace of an Enclave and in those of its workloads.
#[must_use]
pub fn of_enclave(caches: &Caches, community: &Community, enclave: &Enclave) -> OfOthers {
    let (community, enclave) = (community.name_any(), enclave.name_any());
    find_of_others(caches, &caches.namespaces.by(NamespaceBy::Enclave, &pair(&community, &enclave)))
}

fn find_of_others(caches: &Caches, namespaces: &[Arc<Namespace>]) -> OfOthers {
    let there = namespaces.iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
    let all: BTreeSet<String> = there.map(|namespace| namespace.name_any()).collect();
    // When Cilium went, the cache still has the policies that were known then.
    let cilium = if caches.has_cilium() { &all } else { &BTreeSet::new() };
    let unmanaged = [
        find(cilium, |namespace| caches.cilium_policies.by(PolicyBy::OfOthersIn, namespace)),
        find(&all, |namespace| caches.network_policies.by(PolicyBy::OfOthersIn, namespace)),
        find(&all, |namespace| caches.quotas.in_namespace(namespace)),
        find(&all, |namespace| caches.container_defaults.in_namespace(namespace)),
    ];
    let bindings = all.iter().flat_map(|namespace| caches.role_bindings.by(RbacBy::OfOthersIn, namespace));
    OfOthers {
        unmanaged: unmanaged.concat(),
        standing_grants: bindings.map(|binding| describe_binding(&binding)).collect(),
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
    shorten(&text, 1024).into_owned()
}

fn find<K: Resource<DynamicType = ()> + Made>(
    namespaces: &BTreeSet<String>,
    there: impl Fn(&str) -> Vec<Arc<K>>,
) -> Vec<String> {
    let kind = K::kind(&());
    let of_others = |object: Arc<K>| {
        let Key { namespace, name } = Key::of(object.as_ref());
        (!K::is_ours(&name)).then(|| format!("{kind} {namespace}/{name}"))
    };
    namespaces.iter().flat_map(|namespace| there(namespace)).filter_map(of_others).collect()
}
