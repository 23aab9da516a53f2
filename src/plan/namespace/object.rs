//! The namespaces that the operator makes, with the labels and annotations that policies read.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use crate::api::common::Principal;
use crate::api::names::{self, annotation, label, purpose};
use crate::model::rbac::maintenance::Exceptions;
use crate::plan::Write;
use crate::plan::metadata::{has_metadata, merge_metadata};
use crate::plan::namespace::desired::{DesiredNamespace, NamespacePurpose};

/// Returns the write that creates a namespace. No maintenance begins before everything that guards it is there.
#[must_use]
pub fn plan_creation(desired: &DesiredNamespace) -> Write {
    let desired = DesiredNamespace { exceptions: Exceptions::default(), ..desired.clone() };
    Write::CreateNamespace(Box::new(build_namespace(&desired, Contents::InProgress)))
}

/// The order of the write of the namespace itself among the writes of what is in it.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteOrder {
    /// The namespace is written first: maintenance ends, or changes.
    First(Write),
    /// The namespace is written last: its contents are in shape before anybody may do more.
    Last(Write),
}

/// The objects that guard a namespace, as they were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// All of it is there.
    Complete,
    /// Some of it is not there yet, or not as it should be.
    InProgress,
}

/// Returns the write that an existing namespace needs, and its order.
#[must_use]
pub fn plan_namespace(
    desired: &DesiredNamespace,
    live: &Namespace,
    contents: Contents,
) -> Option<WriteOrder> {
    // Once pods run, keeping new ones out while something is put back would help nobody.
    let was_guarded = live.labels().contains_key(label::GUARDED);
    let wanted = build_namespace(desired, if was_guarded { Contents::Complete } else { contents });
    if has_metadata(&live.metadata, &wanted.metadata) {
        return None;
    }
    let changes = |key: &str| {
        live.annotations().get(key).is_some_and(|live| Some(live) != wanted.annotations().get(key))
    };
    let ends = changes(annotation::MAINTENANCE_GENERAL) || changes(annotation::MAINTENANCE_ADVANCED);
    let write = Write::ReplaceNamespace(Box::new(Namespace {
        metadata: merge_metadata(&live.metadata, wanted.metadata),
        spec: live.spec.clone(),
        status: None,
    }));
    Some(if ends { WriteOrder::First(write) } else { WriteOrder::Last(write) })
}

/// Whether the lock is open for somebody to change what the operator manages.
#[must_use]
pub fn is_open(namespace: &Namespace) -> bool {
    namespace.annotations().contains_key(annotation::MAINTENANCE_ADVANCED)
}

/// Labels of a workload's namespace that stay as they are while nobody knows what they should be.
#[must_use]
pub fn kept_labels(namespace: &Namespace) -> BTreeMap<String, String> {
    let is_kept = |key: &str| {
        [label::WORKLOAD, label::ACCESS_MODE, label::GUARDED].contains(&key)
            || key.starts_with(label::POD_SECURITY)
    };
    let labels = namespace.labels().iter().filter(|(key, _)| is_kept(key));
    labels.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns a namespace as it should be.
#[must_use]
pub fn build_namespace(desired: &DesiredNamespace, contents: Contents) -> Namespace {
    let DesiredNamespace {
        namespace,
        owner_uid,
        community,
        enclave,
        held_operations,
        exceptions,
        bindings: _,
        purpose,
    } = desired;
    let purpose_label = match purpose {
        NamespacePurpose::Community => purpose::COMMUNITY,
        NamespacePurpose::Control => purpose::CONTROL,
        NamespacePurpose::Workload(_) | NamespacePurpose::SomeWorkload(_) => purpose::WORKLOAD,
    };
    let labels = [
        (label::MANAGED_BY, Some(names::OPERATOR)),
        (label::OWNER_UID, Some(owner_uid)),
        (label::PURPOSE, Some(purpose_label)),
        (label::COMMUNITY, Some(community)),
        (label::ENCLAVE, enclave.as_deref()),
    ];
    let mut labels: BTreeMap<String, String> =
        labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect();
    let mut label = |key: &str, value: &str| labels.insert(key.to_owned(), value.to_owned());
    match purpose {
        NamespacePurpose::Community | NamespacePurpose::Control => {
            label(label::POD_SECURITY_ENFORCE, "restricted");
        }
        NamespacePurpose::Workload(workload) => {
            label(label::WORKLOAD, &workload.workload);
            label(label::POD_SECURITY_ENFORCE, workload.pod_security);
            label(label::ACCESS_MODE, workload.access_mode);
            if contents == Contents::Complete {
                label(label::GUARDED, "true");
            }
        }
        NamespacePurpose::SomeWorkload(known) => labels.extend(known.clone()),
    }
    let annotations = [
        (annotation::HELD_OPERATIONS, Some(held_operations.join(" "))),
        (annotation::MAINTENANCE_GENERAL, lines(exceptions.general())),
        (annotation::MAINTENANCE_ADVANCED, lines(exceptions.advanced())),
    ];
    let annotations = annotations.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Namespace {
        metadata: ObjectMeta {
            name: Some(namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations.collect()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

/// Principals as admission policies read them; `None` for nobody.
fn lines(principals: &BTreeSet<Principal>) -> Option<String> {
    let lines: BTreeSet<String> = principals.iter().map(Principal::line).collect();
    (!lines.is_empty()).then(|| lines.into_iter().collect::<Vec<_>>().join("\n"))
}
