use kube::{CustomResourceExt, Resource};
use serde_json::{Map, Value, json};

use super::{MOST, read_known, without_nulls};
use crate::api::reading::{Cause, Item, Readable, Unread};
use crate::api::*;

/// Returns a value with every field that a schema has.
fn sample(schema: &Value) -> Value {
    if let Some(words) = schema["enum"].as_array() {
        return words[0].clone();
    }
    if let Some(fields) = schema["properties"].as_object() {
        return fields.iter().map(|(name, schema)| (name.clone(), sample(schema))).collect();
    }
    if schema["additionalProperties"].is_object() {
        return json!({"a.b/c": sample(&schema["additionalProperties"])});
    }
    match schema["type"].as_str() {
        Some("array") => json!([sample(&schema["items"])]),
        Some("object") => json!({}),
        Some("boolean") => json!(false),
        Some("string") if schema["format"] == "date-time" => json!("2026-01-01T00:00:00Z"),
        Some("string") if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("h)?(")) => {
            json!("1h")
        }
        Some("string") => json!("x"),
        _ => json!(1),
    }
}

/// Puts a field into one object after the other for which the schema allows only its own fields.
fn spread(value: &Value, schema: &Value, path: &str, put: &Value, seen: &mut dyn FnMut(Value, String)) {
    match value {
        Value::Object(fields) => {
            let own = schema["properties"].as_object();
            if own.is_some() {
                let mut more = fields.clone();
                more.insert("later".to_owned(), put.clone());
                seen(Value::Object(more), format!("{path}.later"));
            }
            for (name, field) in fields {
                let below = own.map_or(&schema["additionalProperties"], |own| &own[name]);
                spread(field, below, &format!("{path}.{name}"), put, &mut |changed, way| {
                    let mut all = fields.clone();
                    all.insert(name.clone(), changed);
                    seen(Value::Object(all), way);
                });
            }
        }
        Value::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                let way = format!("{path}[{index}]");
                spread(entry, &schema["items"], &way, put, &mut |changed, way| {
                    let mut all = entries.clone();
                    all[index] = changed;
                    seen(Value::Array(all), way);
                });
            }
        }
        _ => {}
    }
}

fn faults_of<K: Readable>(spec: &Value) -> Vec<Unread> {
    let object = json!({"metadata": {"name": "x"}, "spec": spec});
    serde_json::from_str::<Item<K>>(&object.to_string()).unwrap().read().1
}

/// Returns the number of places where a newer version may have more fields. `expected` is the reason why an
/// unknown field there cannot be read; `None` where it is skipped.
fn check<K: Readable + CustomResourceExt + Resource<DynamicType = ()>>(expected: Option<Cause>) -> usize {
    let definition = serde_json::to_value(K::crd()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let spec = sample(schema);
    let kind = K::kind(&());
    assert_eq!(faults_of::<K>(&spec), [], "{kind}: {spec}");
    let mut places = 0;
    for put in [json!({}), json!([]), json!(false), json!({"deep": [1]})] {
        spread(&spec, schema, "spec", &put, &mut |changed, way| {
            let faults = faults_of::<K>(&changed);
            let found: Vec<_> = faults.iter().map(|fault| (fault.path.clone(), fault.cause)).collect();
            let wanted: Vec<_> = expected.iter().map(|cause| (way.clone(), *cause)).collect();
            assert_eq!(found, wanted, "{kind}: {changed}");
            places += 1;
        });
    }
    spread(&spec, schema, "spec", &Value::Null, &mut |changed, way| {
        assert_eq!(faults_of::<K>(&changed), [], "{kind}: {way}");
    });
    places
}

/// Every field of the schema of this version is known. An unknown field of a newer version makes only a
/// request unreadable: the API server fills defaults into what people wrote, as soon as the schema has them.
#[test]
fn every_field_of_the_schemas_is_known_and_of_a_request_no_other() {
    let places = [
        check::<Community>(None),
        check::<Enclave>(None),
        check::<CommunityEndpoint>(None),
        check::<TransitHub>(None),
        check::<EnclaveWorkload>(None),
        check::<EnclaveEndpoint>(None),
        check::<EnclaveConnection>(None),
        check::<RoleAssignment>(None),
        check::<RoleEligibility>(None),
        check::<RoleActivation>(None),
        check::<ApprovalRequest>(Some(Cause::Newer)),
    ];
    assert!(places.iter().all(|places| *places >= 4), "{places:?}");
}

#[test]
fn so_many_unknown_fields_are_reported_and_no_more() {
    let reported = |spec: &Value| {
        let (read, unknown) = read_known::<_, EnclaveSpec>(spec);
        assert!(read.is_ok());
        without_nulls(unknown, || Some(spec.clone())).len()
    };
    let spec: Map<String, Value> = (0..10_000).map(|number| (format!("f{number:05}"), json!(1))).collect();
    assert_eq!(reported(&json!(spec)), MOST);
    // Nobody hides one behind as many that are nothing.
    let mut nulls: Map<String, Value> = spec.keys().map(|name| (name.clone(), Value::Null)).collect();
    assert_eq!(reported(&json!({"a": null, "b": 1})), 1);
    nulls.insert("g".to_owned(), json!(1));
    assert_eq!(reported(&json!(nulls)), MOST);
}
