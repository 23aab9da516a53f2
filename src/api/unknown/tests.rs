use kube::{CustomResourceExt, Resource};
use serde_json::{Map, Value, json};

use crate::api::reading::{Cause, Item, Readable, Unread};
use crate::api::*;

/// A value with every field that a schema has.
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
        Some("string") => json!("x"),
        _ => json!(1),
    }
}

/// Puts a field into one object after the other where the schema allows only its own.
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

/// Returns the number of places where a newer version may have more.
fn check<K: Readable + CustomResourceExt + Resource<DynamicType = ()>>() -> usize {
    let definition = serde_json::to_value(K::crd()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let spec = sample(schema);
    let kind = K::kind(&());
    assert_eq!(faults_of::<K>(&spec), [], "{kind}: {spec}");
    let mut places = 0;
    for put in [json!({}), json!([]), json!(false), json!({"deep": [1]})] {
        spread(&spec, schema, "spec", &put, &mut |changed, way| {
            let faults = faults_of::<K>(&changed);
            let told: Vec<_> = faults.iter().map(|fault| (fault.path.clone(), fault.cause)).collect();
            assert_eq!(told, [(way, Cause::Newer)], "{kind}: {changed}");
            places += 1;
        });
    }
    spread(&spec, schema, "spec", &Value::Null, &mut |changed, way| {
        assert_eq!(faults_of::<K>(&changed), [], "{kind}: {way}");
    });
    places
}

/// Whatever the schema of this version has is known, and whatever else is there is not: the API server stores nothing
/// else before the schema is a newer one.
#[test]
fn every_field_of_the_schemas_is_known_and_no_other() {
    let places = [
        check::<Community>(),
        check::<Enclave>(),
        check::<CommunityEndpoint>(),
        check::<TransitHub>(),
        check::<EnclaveWorkload>(),
        check::<EnclaveEndpoint>(),
        check::<EnclaveConnection>(),
        check::<RoleAssignment>(),
        check::<RoleEligibility>(),
        check::<RoleActivation>(),
        check::<ApprovalRequest>(),
    ];
    assert!(places.iter().all(|places| *places >= 4), "{places:?}");
}

#[test]
fn so_many_unknown_fields_are_told_and_no_more() {
    let spec: Map<String, Value> = (0..10_000).map(|number| (format!("f{number:05}"), json!(1))).collect();
    let faults = faults_of::<Enclave>(&json!(spec));
    assert_eq!(faults.len(), super::MOST);
    // Nobody hides one behind as many that are nothing.
    let mut nulls: Map<String, Value> = spec.keys().map(|name| (name.clone(), Value::Null)).collect();
    nulls.insert("g".to_owned(), json!(1));
    assert_eq!(faults_of::<Enclave>(&json!(nulls)).len(), super::MOST);
}
