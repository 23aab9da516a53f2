//! The CustomResourceDefinitions of all kinds, as they are installed and written to `crds/`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{ApprovalRequest, Community, Enclave};

/// All CRDs, in the order in which documents list the kinds.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![Community::crd(), Enclave::crd(), ApprovalRequest::crd()];
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        if let Some(schema) = version.schema.as_mut().and_then(|v| v.open_api_v3_schema.as_mut()) {
            polish(schema);
        }
    }
    crds
}

/// Doc comments are wrapped for the source; `kubectl explain` wraps them itself. And the derive
/// writes formats that the API server does not know (and warns about), such as `uint16`; bounds
/// say the same.
fn polish(schema: &mut JSONSchemaProps) {
    const KNOWN_FORMATS: [&str; 5] = ["int32", "int64", "date-time", "byte", "double"];
    if schema.format.as_deref().is_some_and(|format| !KNOWN_FORMATS.contains(&format)) {
        schema.format = None;
    }
    if let Some(description) = &mut schema.description {
        let paragraphs = description.split("\n\n").map(|p| p.replace('\n', " "));
        *description = paragraphs.collect::<Vec<_>>().join("\n\n");
    }
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        polish(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => polish(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => {
            items.iter_mut().for_each(polish);
        }
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &mut schema.additional_properties {
        polish(value);
    }
}
