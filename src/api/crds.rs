//! The CustomResourceDefinitions of all kinds, as they are installed and written to `crds/`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{
    ApprovalRequest, Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint,
    EnclaveWorkload, RoleActivation, RoleAssignment, RoleEligibility, TransitHub,
};

/// All CRDs, in the order in which documents list the kinds.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        Community::crd(),
        CommunityEndpoint::crd(),
        TransitHub::crd(),
        Enclave::crd(),
        EnclaveWorkload::crd(),
        EnclaveEndpoint::crd(),
        EnclaveConnection::crd(),
        ApprovalRequest::crd(),
        RoleAssignment::crd(),
        RoleEligibility::crd(),
        RoleActivation::crd(),
    ];
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        if let Some(schema) = version.schema.as_mut().and_then(|v| v.open_api_v3_schema.as_mut()) {
            polish(schema);
        }
    }
    crds
}

/// Doc comments are wrapped for the source; `kubectl explain` wraps them itself. The derive writes
/// formats that the API server does not know (and warns about), such as `uint16`; bounds say the
/// same. And it makes every optional field nullable: then a `null` in a manifest would be stored,
/// and would satisfy `has()` in a rule that asks for the field. Without it the API server drops
/// nulls before it validates.
fn polish(schema: &mut JSONSchemaProps) {
    const KNOWN_FORMATS: [&str; 5] = ["int32", "int64", "date-time", "byte", "double"];
    schema.nullable = None;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Kind, names};

    #[test]
    fn every_kind_has_exactly_one_crd_and_their_names_agree() {
        let crds = all();
        assert_eq!(crds.len(), Kind::ALL.len());
        for (kind, crd) in Kind::ALL.into_iter().zip(&crds) {
            let scope = if kind == Kind::Community { "Cluster" } else { "Namespaced" };
            assert_eq!(crd.spec.names.kind, kind.name(), "the order is that of Kind::ALL");
            assert_eq!(crd.metadata.name, Some(format!("{}.{}", kind.plural(), names::GROUP)));
            assert_eq!(crd.spec.names.plural, kind.plural(), "{kind}");
            assert_eq!(
                crd.spec.names.short_names.as_deref(),
                Some([kind.short().to_owned()].as_slice()),
                "{kind}"
            );
            assert_eq!(crd.spec.group, names::GROUP, "{kind}");
            assert_eq!(crd.spec.scope, scope, "{kind}");
            let versions: Vec<_> = crd.spec.versions.iter().map(|version| version.name.as_str()).collect();
            assert_eq!(versions, [names::VERSION], "{kind}");
        }
    }
}
