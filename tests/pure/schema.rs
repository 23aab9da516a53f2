//! A lint of the API: what every schema of every kind has to have. Each lint is a plain function
//! from a CRD to findings; the second half of this file shows of each one that it can fail.

use enclave_operator::api::{Kind, crds};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
};

type Lint = fn(&CustomResourceDefinition) -> Vec<String>;

/// Every lint, by the name that a failure shows.
const LINTS: [(&str, Lint); 16] = [
    ("described", described),
    ("strings bounded", strings_bounded),
    ("integers bounded", integers_bounded),
    ("lists bounded", lists_bounded),
    ("maps bounded", maps_bounded),
    ("list types set", list_types_set),
    ("list map keys usable", list_map_keys_usable),
    ("formats known", formats_known),
    ("no nulls", no_nulls),
    ("nothing open but contents", nothing_open_but_contents),
    ("no YAML booleans", no_yaml_booleans),
    ("rules have messages", rules_have_messages),
    ("columns", columns),
    ("names and categories", names_and_categories),
    ("status subresource", status_subresource),
    ("YAML survives old parsers", yaml_survives_old_parsers),
];

#[test]
fn the_api_has_no_findings() {
    let crds = crds::all();
    assert_eq!(crds.len(), Kind::ALL.len());
    let findings: Vec<String> = LINTS
        .iter()
        .flat_map(|(name, lint)| crds.iter().flat_map(lint).map(move |finding| format!("{finding} [{name}]")))
        .collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

// ---- The lints

/// Descriptions are what `kubectl explain` shows: sentences, for every field.
fn described(crd: &CustomResourceDefinition) -> Vec<String> {
    findings(crd, |node| {
        let text = node.schema.description.as_deref().unwrap_or_default();
        if node.place == Place::Item && !is(node.schema, "object") {
            None
        } else if text.is_empty() {
            Some("has no description".into())
        } else if !text.ends_with('.') {
            Some(format!("has a description that does not end like a sentence: {text:?}"))
        } else if text.starts_with(char::is_lowercase) || text.contains("  ") || text.contains("[`") {
            Some(format!("has a description that does not read well: {text:?}"))
        } else {
            None
        }
    })
}

/// Unbounded strings make CEL rules too expensive, and objects too large for etcd.
fn strings_bounded(crd: &CustomResourceDefinition) -> Vec<String> {
    findings(crd, |node| {
        let schema = node.schema;
        let text = is(schema, "string") || schema.x_kubernetes_int_or_string == Some(true);
        let bounded = schema.max_length.is_some()
            || schema.enum_.as_ref().is_some_and(|values| !values.is_empty())
            || schema.format.as_deref() == Some("date-time");
        (text && !bounded).then(|| "is a string without maxLength".into())
    })
}

/// What users write has both bounds; elsewhere the format is the upper one.
fn integers_bounded(crd: &CustomResourceDefinition) -> Vec<String> {
    let written_by_users = crd.spec.names.kind != Kind::ApprovalRequest.name();
    findings(crd, |node| {
        let schema = node.schema;
        if is(schema, "number") {
            return Some("is a floating-point number".into());
        }
        if !is(schema, "integer") {
            return None;
        }
        let needs_maximum = written_by_users && node.path.starts_with(".spec");
        match (schema.minimum, schema.maximum, &schema.format) {
            (None, _, _) => Some("is an integer without minimum".into()),
            (_, None, _) if needs_maximum => Some("is an integer without maximum".into()),
            (_, None, None) => Some("is an integer without maximum or format".into()),
            _ => None,
        }
    })
}

fn lists_bounded(crd: &CustomResourceDefinition) -> Vec<String> {
    findings(crd, |node| {
        (is(node.schema, "array") && node.schema.max_items.is_none())
            .then(|| "is a list without maxItems".into())
    })
}

fn maps_bounded(crd: &CustomResourceDefinition) -> Vec<String> {
    findings(crd, |node| {
        (node.schema.additional_properties.is_some() && node.schema.max_properties.is_none())
            .then(|| "is a map without maxProperties".into())
    })
}

/// Without a list type, server-side apply replaces a list as a whole without anybody having said
/// so. Plain values in status have one writer, for them it does not matter.
fn list_types_set(crd: &CustomResourceDefinition) -> Vec<String> {
    findings(crd, |node| {
        let schema = node.schema;
        if !is(schema, "array") {
            return None;
        }
        let objects = item_of(schema).is_some_and(|item| is(item, "object"));
        match schema.x_kubernetes_list_type.as_deref() {
            Some("set") if objects => Some("is a set of objects; such a list is atomic or a map".into()),
            Some("atomic" | "map" | "set") => None,
            Some(other) => Some(format!("has the unknown list type {other}")),
            None if node.path.starts_with(".spec") || objects => {
                Some("is a list without x-kubernetes-list-type".into())
            }
            None => None,
        }
    })
}

/// An entry without its key could not be told from another one.
fn list_map_keys_usable(crd: &CustomResourceDefinition) -> Vec<String> {
    findings(crd, |node| {
        let schema = node.schema;
        if schema.x_kubernetes_list_type.as_deref() != Some("map") {
            return None;
        }
        let keys = schema.x_kubernetes_list_map_keys.as_deref().unwrap_or_default();
        if keys.is_empty() {
            return Some("is a list map without keys".into());
        }
        keys.iter().find_map(|key| {
            let item = item_of(schema)?;
            match item.properties.as_ref().and_then(|properties| properties.get(key)) {
                None => Some(format!("has the list map key {key}, which is not a field of its entries")),
                Some(field) => {
                    let required = item.required.as_ref().is_some_and(|required| required.contains(key));
                    (!required && field.default.is_none()).then(|| {
                        format!("has the list map key {key}, which is neither required nor defaulted")
                    })
                }
            }
        })
    })
}

/// The API server ignores formats that it does not know, and warns.
fn formats_known(crd: &CustomResourceDefinition) -> Vec<String> {
    findings(crd, |node| match node.schema.format.as_deref() {
        None | Some("int32" | "int64" | "date-time") => None,
        Some(other) => Some(format!("has the unknown format {other}")),
    })
}

/// A `null` in a nullable field satisfies `has()`: rules that ask for a field would be passed by
/// writing nothing. Fields that are not nullable lose their nulls before they are validated.
fn no_nulls(crd: &CustomResourceDefinition) -> Vec<String> {
    findings(crd, |node| (node.schema.nullable == Some(true)).then(|| "is nullable".into()))
}

/// Only the contents of specs, kept as they were proposed, are open objects.
fn nothing_open_but_contents(crd: &CustomResourceDefinition) -> Vec<String> {
    const CONTENTS: [(&str, &str); 2] =
        [("ApprovalRequest", ".spec.change.before"), ("ApprovalRequest", ".spec.change.after")];
    findings(crd, |node| {
        let schema = node.schema;
        let gated = Kind::ALL.iter().any(|kind| kind.is_gated() && kind.name() == node.kind);
        let content = CONTENTS.contains(&(node.kind, node.path.as_str()))
            || (gated && node.path == ".status.applied.spec");
        if content {
            return None;
        }
        let open = schema.x_kubernetes_preserve_unknown_fields == Some(true)
            || matches!(schema.additional_properties, Some(JSONSchemaPropsOrBool::Bool(true)));
        let empty =
            is(schema, "object") && schema.properties.is_none() && schema.additional_properties.is_none();
        let untyped = schema.type_.is_none() && schema.x_kubernetes_int_or_string != Some(true);
        if open {
            Some("is an open object".into())
        } else if empty {
            Some("is an object of which nothing is known".into())
        } else {
            untyped.then(|| "has no type".into())
        }
    })
}

/// A YAML 1.1 parser reads `Off` or `y` as a boolean, as a value and as the name of a field.
fn no_yaml_booleans(crd: &CustomResourceDefinition) -> Vec<String> {
    findings(crd, |node| {
        // The values of metav1.Condition are given, and nobody writes them by hand.
        if node.path == ".status.conditions[].status" {
            return None;
        }
        let values = node.schema.enum_.iter().flatten().filter_map(|value| value.0.as_str());
        let fields = node.schema.properties.iter().flatten().map(|(name, _)| name.as_str());
        values
            .chain(fields)
            .find(|word| is_yaml_1_1_boolean(word))
            .map(|word| format!("uses the word {word}, which is a boolean in YAML 1.1"))
    })
}

/// Without a message users see the rule.
fn rules_have_messages(crd: &CustomResourceDefinition) -> Vec<String> {
    findings(crd, |node| {
        let rules = node.schema.x_kubernetes_validations.as_deref().unwrap_or_default();
        rules
            .iter()
            .find(|rule| {
                rule.message.as_deref().is_none_or(str::is_empty) && rule.message_expression.is_none()
            })
            .map(|rule| format!("has a rule without a message: {}", rule.rule))
    })
}

/// `kubectl get` shows the state first and the age last, and no column that stays empty for ever.
fn columns(crd: &CustomResourceDefinition) -> Vec<String> {
    let gated = Kind::ALL.iter().any(|kind| kind.is_gated() && kind.name() == crd.spec.names.kind);
    let first: &[&str] = if gated { &["State", "Ready", "Request"] } else { &["State"] };
    let mut findings = Vec::new();
    for version in &crd.spec.versions {
        let columns = version.additional_printer_columns.as_deref().unwrap_or_default();
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        if !names.starts_with(first) {
            findings.push(format!("{}: the first columns are {names:?}, not {first:?}", crd.spec.names.kind));
        }
        if names.last() != Some(&"Age") {
            findings.push(format!("{}: the last column is not Age", crd.spec.names.kind));
        }
        let root = schema_of(version);
        for column in columns.iter().filter(|column| !column.json_path.starts_with(".metadata.")) {
            if root.is_none_or(|root| !has_path(root, &column.json_path)) {
                findings.push(format!(
                    "{}: column {} shows {}, which is not in the schema",
                    crd.spec.names.kind, column.name, column.json_path
                ));
            }
        }
    }
    findings
}

fn names_and_categories(crd: &CustomResourceDefinition) -> Vec<String> {
    let names = &crd.spec.names;
    let mut findings = Vec::new();
    if names.short_names.as_ref().is_none_or(|names| names.len() != 1) {
        findings.push(format!("{}: has not exactly one short name", names.kind));
    }
    if names.categories.as_deref() != Some(["enclave-operator".to_owned()].as_slice()) {
        findings.push(format!("{}: is not in the category enclave-operator alone", names.kind));
    }
    findings
}

fn status_subresource(crd: &CustomResourceDefinition) -> Vec<String> {
    let missing = |version: &&CustomResourceDefinitionVersion| {
        version.subresources.as_ref().is_none_or(|subresources| subresources.status.is_none())
    };
    let without = crd.spec.versions.iter().filter(missing);
    without
        .map(|version| format!("{}: {} has no status subresource", crd.spec.names.kind, version.name))
        .collect()
}

/// The YAML of a CRD says the same to its own parser, and holds no word that an older parser takes
/// for a boolean.
fn yaml_survives_old_parsers(crd: &CustomResourceDefinition) -> Vec<String> {
    let kind = &crd.spec.names.kind;
    let Ok(text) = serde_yaml_ng::to_string(crd) else {
        return vec![format!("{kind}: cannot be written as YAML")];
    };
    let mut findings = bare_booleans(&text);
    match serde_yaml_ng::from_str::<CustomResourceDefinition>(&text) {
        Ok(read) if read == *crd => {}
        Ok(_) => findings.push("changes when it is written as YAML and read again".into()),
        Err(error) => findings.push(format!("cannot be read again: {error}")),
    }
    findings.into_iter().map(|finding| format!("{kind}: {finding}")).collect()
}

/// Scalars and keys that stand unquoted and mean a boolean in YAML 1.1 but not in 1.2.
fn bare_booleans(yaml: &str) -> Vec<String> {
    yaml.lines()
        .flat_map(|line| {
            let line = line.trim_start_matches([' ', '-']).trim_end();
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            [key, value.trim_start()]
        })
        .filter(|word| is_yaml_1_1_boolean(word) && !matches!(*word, "true" | "false"))
        .map(|word| format!("has the bare word {word} in its YAML"))
        .collect()
}

fn is_yaml_1_1_boolean(word: &str) -> bool {
    const WORDS: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "true", "false"];
    WORDS.iter().any(|boolean| word.eq_ignore_ascii_case(boolean))
}

// ---- Walking a schema

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The object itself, or a field with a name.
    Field,
    /// An entry of a list or a map.
    Item,
}

struct Node<'a> {
    kind: &'a str,
    path: String,
    place: Place,
    schema: &'a JSONSchemaProps,
}

/// Asks about every part of every schema of a CRD; answers become findings that say where.
fn findings(crd: &CustomResourceDefinition, ask: impl Fn(&Node) -> Option<String>) -> Vec<String> {
    let mut findings = Vec::new();
    for schema in crd.spec.versions.iter().filter_map(schema_of) {
        let kind = crd.spec.names.kind.as_str();
        let mut open = vec![Node { kind, path: String::new(), place: Place::Field, schema }];
        while let Some(node) = open.pop() {
            if let Some(finding) = ask(&node) {
                findings.push(format!("{kind}{}: {finding}", node.path));
            }
            open.extend(parts_of(&node));
        }
    }
    findings.sort();
    findings
}

fn parts_of<'a>(node: &Node<'a>) -> Vec<Node<'a>> {
    let part = |path: String, place, schema| Node { kind: node.kind, path, place, schema };
    let fields = node.schema.properties.iter().flatten();
    let mut parts: Vec<_> =
        fields.map(|(name, schema)| part(format!("{}.{name}", node.path), Place::Field, schema)).collect();
    if let Some(item) = item_of(node.schema) {
        parts.push(part(format!("{}[]", node.path), Place::Item, item));
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &node.schema.additional_properties {
        parts.push(part(format!("{}.*", node.path), Place::Item, value));
    }
    parts
}

fn schema_of(version: &CustomResourceDefinitionVersion) -> Option<&JSONSchemaProps> {
    version.schema.as_ref()?.open_api_v3_schema.as_ref()
}

fn item_of(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(item) => Some(item),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

fn is(schema: &JSONSchemaProps, type_: &str) -> bool {
    schema.type_.as_deref() == Some(type_)
}

/// Whether a simple JSON path, with at most a filter on a list, leads to a field.
fn has_path(root: &JSONSchemaProps, path: &str) -> bool {
    let without_filter = match (path.find("[?"), path.find(")]")) {
        (Some(start), Some(end)) => format!("{}{}", &path[..start], &path[end + 2..]),
        _ => path.to_owned(),
    };
    let mut schema = Some(root);
    for name in without_filter.split('.').skip(1) {
        schema = schema
            .map(|schema| item_of(schema).unwrap_or(schema))
            .and_then(|schema| schema.properties.as_ref().and_then(|properties| properties.get(name)));
    }
    schema.is_some()
}

// ---- Each lint can fail

mod each_lint_can_fail {
    use super::*;
    use serde_json::{Value, json};

    /// A CRD without findings, except those that `spec.part` brings.
    fn crd_with(part: &Value) -> CustomResourceDefinition {
        crd_of(&json!({
            "type": "object",
            "description": "A thing.",
            "properties": {
                "spec": {
                    "type": "object",
                    "description": "What the thing is.",
                    "properties": {"part": part},
                },
                "status": {
                    "type": "object",
                    "description": "How the thing is.",
                    "properties": {"state": {"type": "string", "description": "In one word.", "maxLength": 9}},
                },
            },
        }))
    }

    fn crd_of(schema: &Value) -> CustomResourceDefinition {
        let crd = json!({
            "metadata": {"name": "things.example.com"},
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": {
                    "kind": "Thing", "plural": "things", "shortNames": ["th"], "categories": ["enclave-operator"],
                },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": "State", "type": "string", "jsonPath": ".status.state"},
                        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                    ],
                    "schema": {"openAPIV3Schema": schema},
                }],
            },
        });
        serde_json::from_value(crd).unwrap()
    }

    /// The lint accepts the sound part and finds the defect in the broken one, at the right place;
    /// no other lint minds the sound part.
    #[track_caller]
    fn tells_apart(lint: Lint, sound: &Value, broken: &Value, finding: &str) {
        for (name, lint) in LINTS {
            assert_eq!(lint(&crd_with(sound)), Vec::<String>::new(), "{name}");
        }
        let findings = lint(&crd_with(broken));
        let expected = |found: &String| found.starts_with("Thing.spec.part") && found.contains(finding);
        assert!(findings.iter().any(expected), "expected {finding:?} in {findings:?}");
    }

    fn sound_list() -> Value {
        json!({
            "type": "array", "description": "Parts.", "maxItems": 3,
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object", "description": "A part.", "required": ["name"],
                "properties": {
                    "name": {"type": "string", "description": "Its name.", "maxLength": 9},
                    "size": {
                        "type": "integer", "format": "int32", "description": "Its size.",
                        "minimum": 1, "maximum": 9,
                    },
                },
            },
        })
    }

    /// The sound list with one thing changed; `null` takes something away.
    fn list_but(pointer: &str, value: Value) -> Value {
        let mut list = sound_list();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = list.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(key)
        } else {
            parent.insert(key.into(), value)
        };
        list
    }

    #[track_caller]
    fn finds_in_list(lint: Lint, pointer: &str, value: Value, finding: &str) {
        tells_apart(lint, &sound_list(), &list_but(pointer, value), finding);
    }

    #[test]
    fn described_can_fail() {
        finds_in_list(described, "/description", Value::Null, "no description");
        finds_in_list(described, "/items/description", Value::Null, "[]: has no description");
        finds_in_list(described, "/items/properties/name/description", json!("Its name"), "like a sentence");
        finds_in_list(described, "/items/properties/name/description", json!("its name."), "read well");
        finds_in_list(described, "/items/properties/name/description", json!("See [`Part`]."), "read well");
    }

    #[test]
    fn strings_bounded_can_fail() {
        let missing = "without maxLength";
        finds_in_list(strings_bounded, "/items/properties/name/maxLength", Value::Null, missing);
        let pattern_alone = json!({"type": "string", "description": "Its name.", "pattern": "^a*$"});
        finds_in_list(strings_bounded, "/items/properties/name", pattern_alone, missing);
        let amount = json!({"x-kubernetes-int-or-string": true, "description": "How much."});
        finds_in_list(strings_bounded, "/items/properties/size", amount, missing);
        let time = json!({"type": "string", "format": "date-time", "description": "When."});
        let choice = json!({"type": "string", "enum": ["A", "B"], "description": "Which."});
        assert!(strings_bounded(&crd_with(&time)).is_empty());
        assert!(strings_bounded(&crd_with(&choice)).is_empty());
    }

    #[test]
    fn integers_bounded_can_fail() {
        let size = "/items/properties/size";
        finds_in_list(integers_bounded, &format!("{size}/minimum"), Value::Null, "without minimum");
        finds_in_list(integers_bounded, &format!("{size}/maximum"), Value::Null, "without maximum");
        finds_in_list(integers_bounded, &format!("{size}/type"), json!("number"), "floating-point");
    }

    #[test]
    fn lists_bounded_can_fail() {
        finds_in_list(lists_bounded, "/maxItems", Value::Null, "without maxItems");
    }

    #[test]
    fn maps_bounded_can_fail() {
        let values = json!({"type": "string", "description": "A value.", "maxLength": 9});
        let map = json!({
            "type": "object", "description": "A map.", "maxProperties": 3, "additionalProperties": values,
        });
        let unbounded = json!({"type": "object", "description": "A map.", "additionalProperties": values});
        tells_apart(maps_bounded, &map, &unbounded, "without maxProperties");
    }

    #[test]
    fn list_types_set_can_fail() {
        let missing = "without x-kubernetes-list-type";
        finds_in_list(list_types_set, "/x-kubernetes-list-type", Value::Null, missing);
        finds_in_list(list_types_set, "/x-kubernetes-list-type", json!("set"), "a set of objects");
        finds_in_list(list_types_set, "/x-kubernetes-list-type", json!("bag"), "unknown list type");
        let status = json!({
            "type": "object",
            "properties": {"status": {
                "type": "object",
                "properties": {"parts": list_but("/x-kubernetes-list-type", Value::Null)},
            }},
        });
        assert_eq!(list_types_set(&crd_of(&status)), [format!("Thing.status.parts: is a list {missing}")]);
    }

    #[test]
    fn list_map_keys_usable_can_fail() {
        let lint = list_map_keys_usable;
        finds_in_list(lint, "/x-kubernetes-list-map-keys", Value::Null, "without keys");
        finds_in_list(lint, "/x-kubernetes-list-map-keys", json!(["color"]), "not a field");
        finds_in_list(lint, "/x-kubernetes-list-map-keys", json!(["name", "size"]), "size, which is neither");
        let defaulted = list_but("/items/required", Value::Null);
        assert_eq!(lint(&crd_with(&defaulted)).len(), 1);
    }

    #[test]
    fn formats_known_can_fail() {
        finds_in_list(
            formats_known,
            "/items/properties/size/format",
            json!("uint16"),
            "unknown format uint16",
        );
    }

    #[test]
    fn no_nulls_can_fail() {
        finds_in_list(no_nulls, "/items/properties/size/nullable", json!(true), "is nullable");
    }

    #[test]
    fn nothing_open_but_contents_can_fail() {
        let lint = nothing_open_but_contents;
        finds_in_list(lint, "/items/x-kubernetes-preserve-unknown-fields", json!(true), "an open object");
        finds_in_list(lint, "/items/properties", Value::Null, "nothing is known");
        finds_in_list(lint, "/items/properties/size/type", Value::Null, "has no type");
        let mut crds = crds::all();
        let community = &mut crds[0];
        let root = community.spec.versions[0].schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap();
        assert!(lint(&crd_with(&sound_list())).is_empty());
        root.properties.as_mut().unwrap().get_mut("spec").unwrap().x_kubernetes_preserve_unknown_fields =
            Some(true);
        assert_eq!(lint(community), ["Community.spec: is an open object"]);
    }

    #[test]
    fn no_yaml_booleans_can_fail() {
        let lint = no_yaml_booleans;
        finds_in_list(lint, "/items/properties/name/enum", json!(["General", "Off"]), "the word Off");
        finds_in_list(lint, "/items/properties/name/enum", json!(["NO", "SE"]), "the word NO");
        let field = json!({"type": "string", "description": "When.", "maxLength": 9});
        finds_in_list(lint, "/items/properties/on", field, "the word on");
    }

    #[test]
    fn rules_have_messages_can_fail() {
        let lint = rules_have_messages;
        let rules = "/items/x-kubernetes-validations";
        finds_in_list(lint, rules, json!([{"rule": "true"}]), "without a message: true");
        finds_in_list(lint, rules, json!([{"rule": "true", "message": ""}]), "without a message");
        assert!(lint(&crd_with(&list_but(rules, json!([{"rule": "true", "message": "no"}])))).is_empty());
    }

    #[test]
    fn columns_can_fail() {
        let break_columns = |change: fn(&mut CustomResourceDefinition)| {
            let mut crd = crd_with(&sound_list());
            assert!(columns(&crd).is_empty());
            change(&mut crd);
            columns(&crd).join("; ")
        };
        let no_columns = break_columns(|crd| crd.spec.versions[0].additional_printer_columns = None);
        assert!(no_columns.contains("first columns are") && no_columns.contains("not Age"), "{no_columns}");
        let wrong_path = break_columns(|crd| {
            crd.spec.versions[0].additional_printer_columns.as_mut().unwrap()[0].json_path =
                ".status.stat".into();
        });
        assert!(wrong_path.contains("shows .status.stat, which is not in the schema"), "{wrong_path}");
        let gated = break_columns(|crd| crd.spec.names.kind = "Enclave".into());
        assert!(gated.contains(r#"not ["State", "Ready", "Request"]"#), "{gated}");
    }

    #[test]
    fn names_and_categories_can_fail() {
        let mut crd = crd_with(&sound_list());
        assert!(names_and_categories(&crd).is_empty());
        crd.spec.names.short_names = None;
        crd.spec.names.categories = Some(vec!["all".into()]);
        assert_eq!(names_and_categories(&crd).len(), 2);
    }

    #[test]
    fn status_subresource_can_fail() {
        let mut crd = crd_with(&sound_list());
        assert!(status_subresource(&crd).is_empty());
        crd.spec.versions[0].subresources = None;
        assert_eq!(status_subresource(&crd), ["Thing: v1 has no status subresource"]);
    }

    #[test]
    fn yaml_survives_old_parsers_can_fail() {
        assert!(yaml_survives_old_parsers(&crd_with(&sound_list())).is_empty());
        let yaml = "enum:\n- General\n- Off\n- 'No'\nmode: yes\non: push\nserved: true\nready: True\n";
        let words = ["Off", "yes", "on", "True"];
        assert_eq!(bare_booleans(yaml), words.map(|word| format!("has the bare word {word} in its YAML")));
        let mut changing = crd_with(&sound_list());
        let schema = changing.spec.versions[0].schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap();
        schema.maximum = Some(f64::NAN);
        let changes = "Thing: changes when it is written as YAML and read again";
        assert_eq!(yaml_survives_old_parsers(&changing), [changes]);
    }
}
