//! The CustomResourceDefinitions of all kinds, as they are installed and written to `crds/`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::Kind;
use super::kind::with_kinds;

/// Returns all CRDs, in the order in which documents list the kinds.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    macro_rules! all_crds {
        ($($kind:ident: $all:ident, $plural:literal, $short:literal, [$($operation:ident),*];)*) => {
            vec![$(super::$kind::crd()),*]
        };
    }
    let mut crds = with_kinds!(all_crds);
    for crd in &mut crds {
        let is_request = crd.spec.names.kind == Kind::ApprovalRequest.name();
        let schemas = crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
        for schema in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
            polish(schema);
            own_as_a_whole(schema, "status");
            if is_request {
                own_as_a_whole(schema, "spec");
            }
        }
    }
    crds
}

/// Marks the objects in a part of the schema as owned as a whole (`atomic`), because only the operator writes
/// them. The API server then keeps one owner for each of them and not for every field below, which saves a
/// quarter of the processor time of a status write. Conditions stay a list with an owner per entry, as people
/// expect.
fn own_as_a_whole(schema: &mut JSONSchemaProps, part: &str) {
    let part = schema.properties.as_mut().and_then(|properties| properties.get_mut(part));
    for field in part.and_then(|part| part.properties.as_mut()).into_iter().flat_map(|p| p.values_mut()) {
        if field.type_.as_deref() == Some("object") {
            field.x_kubernetes_map_type = Some("atomic".into());
        }
    }
}

/// Corrects a derived schema. Line breaks of doc comments are removed, because `kubectl explain` wraps texts
/// itself. Formats that the API server does not know and warns about, such as `uint16`, are removed; bounds
/// say the same. `nullable`, which the derive sets on every optional field, is removed: with it a `null` in a
/// manifest would be stored, and would satisfy `has()` in a rule that asks for the field. Without it the API
/// server drops nulls before it validates.
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
    use crate::api::names;

    /// Objects that only the operator writes are owned as a whole; those that people write are owned field by
    /// field.
    #[test]
    fn objects_that_the_operator_writes_are_atomic() {
        for (kind, crd) in Kind::ALL.into_iter().zip(all()) {
            let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
            let part = |name| schema.properties.as_ref().unwrap()[name].properties.as_ref().unwrap();
            let is_atomic =
                |field: &JSONSchemaProps| field.x_kubernetes_map_type.as_deref() == Some("atomic");
            let objects = |name| part(name).values().filter(|field| field.type_.as_deref() == Some("object"));
            assert!(objects("status").all(is_atomic), "{kind}");
            assert!(objects("status").next().is_some(), "{kind}");
            let is_written_by_people = kind != Kind::ApprovalRequest;
            assert!(objects("spec").all(|field| is_atomic(field) != is_written_by_people), "{kind}");
        }
    }

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
