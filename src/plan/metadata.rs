//! Labels, annotations and other metadata of the objects that the operator makes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::names::{self, label};

type Entries = Option<BTreeMap<String, String>>;

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

/// Whether labels and annotations are as wanted. Those that others added are theirs and stay, but those that only
/// the operator may write must be there exactly when they are wanted.
#[must_use]
pub fn has_metadata(live: &ObjectMeta, wanted: &ObjectMeta) -> bool {
    let same = |live: &Entries, wanted: &Entries| {
        let wanted_of = |key: &str| wanted.as_ref().and_then(|wanted| wanted.get(key));
        let live_of = |key: &str| live.as_ref().and_then(|live| live.get(key));
        wanted.iter().flatten().all(|(key, value)| live_of(key) == Some(value))
            && live.iter().flatten().all(|(key, _)| !is_own(key) || wanted_of(key).is_some())
    };
    same(&live.labels, &wanted.labels) && same(&live.annotations, &wanted.annotations)
}

/// The number of bytes that the API server accepts as names and values of annotations
/// (`TotalAnnotationSizeLimitB`).
const MOST_OF_ANNOTATIONS: usize = 256 * 1024;

/// The number of bytes of labels on a child up to which those of others stay. The API server has a limit for
/// objects as a whole only.
const MOST_OF_LABELS: usize = 64 * 1024;

/// Returns the live metadata with the wanted labels and annotations. Where both do not fit, those of others give
/// way, so that nobody prevents a write by filling them.
#[must_use]
pub fn merge_metadata(live: &ObjectMeta, wanted: ObjectMeta) -> ObjectMeta {
    let merge = |live, wanted: Entries, most| {
        let merged = merge(live, wanted.clone());
        let size: usize = merged.iter().flatten().map(|(key, value)| key.len() + value.len()).sum();
        if size > most { wanted } else { merged }
    };
    ObjectMeta {
        labels: merge(&live.labels, wanted.labels, MOST_OF_LABELS),
        annotations: merge(&live.annotations, wanted.annotations, MOST_OF_ANNOTATIONS),
        managed_fields: None,
        ..live.clone()
    }
}

fn merge(live: &Entries, wanted: Entries) -> Entries {
    let others = live.iter().flatten().filter(|(key, _)| !is_own(key));
    let others = others.map(|(key, value)| (key.clone(), value.clone()));
    let merged: BTreeMap<String, String> = others.chain(wanted.into_iter().flatten()).collect();
    (live.is_some() || !merged.is_empty()).then_some(merged)
}

/// Whether only the operator writes a label or annotation of this name.
fn is_own(key: &str) -> bool {
    key.starts_with(names::PREFIX) || key.starts_with(label::POD_SECURITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(entries: &[(&str, &str)]) -> ObjectMeta {
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ObjectMeta { annotations: Some(entries.collect()), ..ObjectMeta::default() }
    }

    #[test]
    fn what_is_wanted_fits_whatever_others_wrote() {
        let wanted = annotated(&[("enclave-operator.io/content", "sha256:1")]);
        let filled = |bytes: usize| annotated(&[("team", &"x".repeat(bytes))]);
        let merged = |bytes| merge_metadata(&filled(bytes), wanted.clone()).annotations.unwrap();
        let own: usize =
            wanted.annotations.iter().flatten().map(|(key, value)| key.len() + value.len()).sum();
        let room = MOST_OF_ANNOTATIONS - own - "team".len();
        assert_eq!(merged(room).len(), 2);
        assert_eq!(Some(merged(room + 1)), wanted.annotations);
        let labels = ObjectMeta { labels: filled(MOST_OF_LABELS).annotations, ..ObjectMeta::default() };
        let wanted = child_metadata("acme", "child");
        assert_eq!(merge_metadata(&labels, wanted.clone()).labels, wanted.labels);
    }

    #[test]
    fn what_is_the_operators_is_removed_when_it_is_not_wanted_and_what_is_not_stays() {
        let wanted = annotated(&[("enclave-operator.io/a", "1")]);
        for (live, same) in [
            (annotated(&[("enclave-operator.io/a", "1")]), true),
            (annotated(&[("enclave-operator.io/a", "1"), ("team", "blue")]), true),
            (annotated(&[("enclave-operator.io/a", "2")]), false),
            (annotated(&[("enclave-operator.io/a", "1"), ("enclave-operator.io/b", "")]), false),
            (annotated(&[("enclave-operator.io/a", "1"), ("pod-security.kubernetes.io/warn", "x")]), false),
            (ObjectMeta::default(), false),
        ] {
            assert_eq!(has_metadata(&live, &wanted), same, "{live:?}");
            let merged = merge_metadata(&live, wanted.clone());
            assert!(has_metadata(&merged, &wanted));
            let team = |metadata: &ObjectMeta| metadata.annotations.as_ref()?.get("team").cloned();
            assert_eq!(team(&merged), team(&live));
        }
        assert!(has_metadata(&ObjectMeta::default(), &ObjectMeta::default()));
    }
}
