//! Finds what a namespace or a name belongs to, in the caches.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::names::{label, purpose};
use crate::api::{Community, Enclave, EnclaveWorkload};
use crate::kinds::caches::Caches;
use crate::model::naming::{enclave_namespace, namespace_of, workload_namespace};
use crate::plan::namespace::desired::is_owned;
use crate::plan::parent::Parent;

/// Control namespace that an Enclave owns, or wants to.
#[must_use]
pub fn control_namespace_of(community: &Community, enclave: &Enclave) -> String {
    enclave_namespace(&community.name_any(), &enclave.name_any())
}

/// Finds the Community or the Enclave that a namespace belongs to. The labels of the namespace say where to look, and
/// the UID on it whether the object that is found there is the one that it was made for.
#[must_use]
pub fn parent_of(caches: &Caches, namespace: &str) -> Parent {
    find_parent(caches, namespace).unwrap_or(Parent::Unmanaged)
}

fn find_parent(caches: &Caches, namespace: &str) -> Option<Parent> {
    let namespace = caches.namespaces.get("", namespace)?;
    let labels = namespace.labels();
    let community = caches.communities.get("", labels.get(label::COMMUNITY)?)?;
    match labels.get(label::PURPOSE).map(String::as_str) {
        Some(purpose::COMMUNITY) => {
            is_owned(&namespace, &community.uid()?).then_some(Parent::Community(community))
        }
        Some(purpose::CONTROL) => {
            let enclave = caches.enclaves.get(&namespace_of(&community), labels.get(label::ENCLAVE)?)?;
            is_owned(&namespace, &enclave.uid()?).then_some(Parent::Enclave(community, enclave))
        }
        _ => None,
    }
}

/// The namespace of a workload, when it exists and was made for it.
#[must_use]
pub fn namespace_of_workload(caches: &Caches, parent: &Parent, workload: &EnclaveWorkload) -> Option<String> {
    let Parent::Enclave(community, enclave) = parent else { return None };
    let name = workload_namespace(&community.name_any(), &enclave.name_any(), &workload.name_any());
    let namespace = caches.namespaces.get("", &name)?;
    let is_there = is_owned(&namespace, &workload.uid()?) && namespace.metadata.deletion_timestamp.is_none();
    is_there.then_some(name)
}

/// The Enclave of this name in a Community.
#[must_use]
pub fn find_enclave(caches: &Caches, community: &Community, name: &str) -> Option<Arc<Enclave>> {
    let enclave = caches.enclaves.get(&namespace_of(community), name)?;
    let control = caches.namespaces.get("", &control_namespace_of(community, &enclave))?;
    is_owned(&control, &enclave.uid()?).then_some(enclave)
}
