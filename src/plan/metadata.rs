//! Labels and annotations of what the operator makes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::names::{self, label};

/// The metadata of something in a managed namespace.
#[must_use]
pub fn child_metadata(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(BTreeMap::from([(label::MANAGED_BY.to_owned(), names::OPERATOR.to_owned())])),
        ..ObjectMeta::default()
    }
}

/// Labels and annotations that others added are theirs and stay.
#[must_use]
pub fn has_metadata(live: &ObjectMeta, wanted: &ObjectMeta) -> bool {
    let contains = |live: &Option<BTreeMap<String, String>>, wanted: &Option<BTreeMap<String, String>>| {
        wanted.iter().flatten().all(|(key, value)| live.as_ref().and_then(|map| map.get(key)) == Some(value))
    };
    contains(&live.labels, &wanted.labels) && contains(&live.annotations, &wanted.annotations)
}

/// The live metadata with what is wanted of labels and annotations.
#[must_use]
pub fn merge_metadata(live: &ObjectMeta, wanted: ObjectMeta) -> ObjectMeta {
    let merge = |live: &Option<BTreeMap<String, String>>, wanted: Option<BTreeMap<String, String>>| {
        live.clone().into_iter().chain(wanted).reduce(|mut merged, more| {
            merged.extend(more);
            merged
        })
    };
    ObjectMeta {
        labels: merge(&live.labels, wanted.labels),
        annotations: merge(&live.annotations, wanted.annotations),
        managed_fields: None,
        ..live.clone()
    }
}
