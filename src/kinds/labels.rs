//! The labels of a namespace, and what they say of it.

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;

use crate::api::names::label;

/// The purpose of a namespace of the operator, as its labels say. One of others has none.
pub(in crate::kinds) struct Labels<'a> {
    pub purpose: &'a str,
    pub community: &'a str,
    pub enclave: Option<&'a str>,
    pub workload: Option<&'a str>,
}

pub(in crate::kinds) fn labels_of(namespace: &Namespace) -> Option<Labels<'_>> {
    let labels = namespace.labels();
    labels.get(label::OWNER_UID)?;
    let text = |key: &str| labels.get(key).map(String::as_str);
    Some(Labels {
        purpose: text(label::PURPOSE).unwrap_or_default(),
        community: text(label::COMMUNITY)?,
        enclave: text(label::ENCLAVE),
        workload: text(label::WORKLOAD),
    })
}

/// Which namespace it is, whether it stays, and what it is for, as its labels say.
pub(super) fn is_there(namespace: &Namespace) -> (Option<String>, bool, [Option<String>; 5]) {
    let labels = [label::OWNER_UID, label::PURPOSE, label::COMMUNITY, label::ENCLAVE, label::WORKLOAD];
    let labels = labels.map(|label| namespace.labels().get(label).cloned());
    (namespace.uid(), namespace.metadata.deletion_timestamp.is_some(), labels)
}
