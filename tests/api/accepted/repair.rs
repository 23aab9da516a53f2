//! Makes a random value keep the rules between its fields, so that most values are accepted.

use enclave_operator::api::Kind;
use serde_json::{Map, Value, json};

use super::dice::Dice;

type Fields = Map<String, Value>;

fn has(fields: &Fields, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !value.is_null())
}

fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Keeps one of these, or takes the last one anew.
fn keep_one(fields: &mut Fields, names: &[&str], otherwise: Value, dice: &mut Dice) {
    let there: Vec<&str> = names.iter().copied().filter(|name| has(fields, name)).collect();
    let kept = if there.is_empty() { names[names.len() - 1] } else { *dice.pick(&there) };
    if there.is_empty() {
        fields.insert(kept.to_owned(), otherwise);
    }
    fields.retain(|name, _| !names.contains(&name.as_str()) || name == kept);
}

pub fn repair(kind: Kind, spec: &mut Value, dice: &mut Dice) {
    everywhere(spec, dice);
    let fields = spec.as_object_mut().unwrap();
    match kind {
        Kind::Community | Kind::ApprovalRequest | Kind::RoleActivation | Kind::RoleAssignment => {}
        Kind::CommunityEndpoint => {
            let destination = fields["destination"].as_object_mut().unwrap();
            keep_one(destination, &["cidrs", "service", "fqdns", "transitHub"], json!({"name": "hub"}), dice);
        }
        Kind::TransitHub => {
            if !has(fields, "cidrs") && !has(fields, "gateway") {
                fields.insert("cidrs".into(), json!([{"cidr": "10.0.0.0/8"}]));
            }
        }
        Kind::Enclave => keep_operations(fields, |operation| {
            let of_the_community = operation.starts_with("Community") || operation.starts_with("TransitHub");
            !of_the_community && operation != "EnclaveCreation"
        }),
        Kind::EnclaveEndpoint => keep_operations(fields, |operation| {
            operation.starts_with("Connection") || operation.starts_with("EnclaveEndpoint")
        }),
        Kind::EnclaveWorkload => repair_workload(fields, dice),
        Kind::EnclaveConnection => {
            let source = fields["source"].as_object_mut().unwrap();
            keep_one(source, &["workloads", "transitHub"], json!({"name": "hub"}), dice);
            let from_hub = has(source, "transitHub");
            let destination = fields["destination"].as_object_mut().unwrap();
            if from_hub {
                destination.remove("communityEndpoint");
            }
            let endpoint = json!({"enclave": "ledger", "name": "db"});
            keep_one(destination, &["communityEndpoint", "enclaveEndpoint"], endpoint, dice);
            if has(fields, "expiresAt") && has(fields, "duration") {
                keep_one(fields, &["expiresAt", "duration"], Value::Null, dice);
            }
        }
        Kind::RoleEligibility => {
            if !["enclave-owner", "enclave-contributor", "enclave-reader"].contains(&text(fields, "role")) {
                fields.remove("workload");
            }
            if has(fields, "startsAt") && has(fields, "endsAt") {
                fields.insert("startsAt".into(), json!("2000-01-01T00:00:00.9Z"));
                fields.insert("endsAt".into(), json!("9999-12-31T23:59:59Z"));
            }
        }
    }
}

fn keep_operations(fields: &mut Fields, is_allowed: impl Fn(&str) -> bool) {
    if let Some(rules) = fields.get_mut("approvals").and_then(|all| all.get_mut("rules")?.as_array_mut()) {
        rules.retain(|rule| rule["operation"].as_str().is_none_or(&is_allowed));
    }
}

fn repair_workload(fields: &mut Fields, dice: &mut Dice) {
    if text(fields, "accessMode") == "Isolated" {
        if !has(fields, "principals") {
            fields.insert("principals".into(), json!({}));
        }
        let principals = fields["principals"].as_object_mut().unwrap();
        if !["admin", "edit", "view"].iter().any(|role| has(principals, role)) {
            principals.insert("view".into(), json!([{"kind": "User", "name": "bob"}]));
        }
    } else {
        fields.remove("principals");
    }
    if let Some(quota) = fields.get_mut("quota").and_then(Value::as_object_mut) {
        quota.remove("resourcequotas");
        for (name, amount) in quota.iter_mut() {
            let is_measured =
                ["cpu", "memory", "storage", "hugepages"].iter().any(|word| name.contains(word));
            if !is_measured || name.contains("persistentvolumeclaims") {
                let few = dice.between(0, 50);
                *amount = dice
                    .pick(&[json!(few), json!(few.to_string()), json!("1e3"), json!("2k"), json!("1Ki")])
                    .clone();
            }
        }
        if quota.is_empty() {
            quota.insert("limits.memory".into(), json!(8_589_934_592_i64));
        }
    }
    if let Some(defaults) = fields.get_mut("containerDefaults").and_then(Value::as_object_mut) {
        if !has(defaults, "limits") && !has(defaults, "requests") {
            defaults.insert("limits".into(), json!({"memory": 8_589_934_592_i64}));
        }
        // The larger one first, so that the rest can be anything.
        if let Some(Value::Object(requests)) = defaults.get("requests").cloned()
            && let Some(limits) = defaults.get_mut("limits").and_then(Value::as_object_mut)
        {
            for name in requests.keys().filter(|name| limits.contains_key(*name)).cloned().collect::<Vec<_>>()
            {
                limits.insert(name, json!(i64::MAX));
            }
        }
    }
}

fn everywhere(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| everywhere(item, dice)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|field| everywhere(field, dice));
            repair_object(fields, dice);
        }
        _ => {}
    }
}

fn repair_object(fields: &mut Fields, dice: &mut Dice) {
    match text(fields, "kind") {
        "ServiceAccount" => {
            if !has(fields, "namespace") {
                fields.insert("namespace".into(), json!("default"));
            }
            let name = *dice.pick(&["bot", "a.b", "0", "bot-1.x"]);
            fields.insert("name".into(), json!(name));
        }
        "User" | "Group" => {
            fields.remove("namespace");
        }
        _ => {}
    }
    match text(fields, "operator") {
        "In" | "NotIn" if fields.get("values").and_then(Value::as_array).is_none_or(Vec::is_empty) => {
            fields.insert("values".into(), json!(["", "a"]));
        }
        "Exists" | "DoesNotExist" => {
            fields.remove("values");
        }
        _ => {}
    }
    let port = |name: &str| fields.get(name).and_then(Value::as_f64);
    if let (Some(first), Some(last)) = (port("port"), port("endPort"))
        && last < first
    {
        fields.insert("endPort".into(), json!(65535));
    }
    if has(fields, "except") {
        let excepted = match text(fields, "cidr") {
            "0.0.0.0/0" => json!(["10.0.0.0/8", "0.0.0.0/1"]),
            "10.0.0.0/8" => json!(["10.255.255.255/32"]),
            "198.51.100.0/24" => json!(["198.51.100.128/25"]),
            "::/0" => json!(["2001:db8::/32", "::/1"]),
            "2001:db8::/32" => json!(["2001:db8:1::/48"]),
            _ => json!([]),
        };
        fields.insert("except".into(), excepted);
    }
    if matches!(text(fields, "mode"), "General" | "Advanced") {
        for (name, value) in [
            ("justification", json!("Governance")),
            ("expiresAt", json!("9999-12-31T23:59:59Z")),
            ("principals", json!([{"kind": "Group", "name": "cyber-team"}])),
        ] {
            let is_there = has(fields, name) && fields[name].as_array().is_none_or(|list| !list.is_empty());
            if !is_there {
                fields.insert(name.into(), value);
            }
        }
    }
}

/// Takes out what makes something happen by itself in the next hour: then one can see that nothing happens.
pub fn settle(kind: Kind, spec: &mut Value) {
    let fields = spec.as_object_mut().unwrap();
    fields.remove("retire");
    let is_long = text(fields, "duration")
        .split_once('h')
        .is_some_and(|(hours, _)| hours.trim_start_matches('0').parse::<u32>().is_ok_and(|hours| hours >= 1));
    if has(fields, "duration") && !is_long {
        fields.insert(
            "duration".into(),
            json!(if kind == Kind::RoleActivation { "86400s" } else { "525600m" }),
        );
    }
}
