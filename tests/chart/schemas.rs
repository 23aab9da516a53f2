//! Every rendered object against the schemas of the API server itself, by kubeconform.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{User, find_tool, poll};
use super::{PLANE, VALUE_SETS, objects, render};

const DEFINITIONS: &str = "_definitions.json";

#[test]
fn every_object_has_the_schema_of_the_api_server() {
    let administrator = PLANE.administrator_user();
    let crds = find_tool("prometheus-crds").unwrap();
    administrator.kubectl(&["apply", "--server-side", "-f", crds.to_str().unwrap()]).expect_success();
    administrator.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).expect_success();
    let folder = tempfile::tempdir().unwrap();
    write_schemas(administrator, folder.path());

    for set in VALUE_SETS {
        let rendered = render(set);
        let summary =
            conform(folder.path(), &rendered).unwrap_or_else(|findings| panic!("{set}:\n{findings}"));
        assert_eq!(summary["valid"], objects(&rendered).len(), "{set}: {summary}");
        assert_eq!(summary["skipped"], 0, "{set}: {summary}");
    }
    // It can tell.
    let everything = render("everything");
    for (right, wrong) in [
        ("maxUnavailable: 0", "maxUnavailableness: 0"),
        ("interval: 15s", "interval: [15s]"),
        ("containerPort: 8080", "containerPort: http"),
    ] {
        assert!(everything.contains(right), "{right}");
        assert!(conform(folder.path(), &everything.replace(right, wrong)).is_err(), "{wrong}");
    }
}

/// The summary, or what is wrong.
fn conform(schemas: &Path, rendered: &str) -> Result<Value, String> {
    // Other names are passed over.
    let manifest = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(manifest.path(), rendered).unwrap();
    let location = schemas.join("{{.ResourceKind}}_{{.Group}}_{{.ResourceAPIVersion}}.json");
    let output = Command::new(find_tool("kubeconform").unwrap())
        .args(["-strict", "-summary", "-output", "json", "-schema-location"])
        .arg(location)
        .arg(manifest.path())
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(answer + &String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_str::<Value>(&answer).unwrap()["summary"].clone())
}

/// A JSON schema for every kind that the API server serves, made from its OpenAPI document.
fn write_schemas(administrator: &User, folder: &Path) {
    // New kinds take a moment to be published.
    let document = poll(Duration::from_secs(30), || {
        let document = administrator.kubectl(&["get", "--raw", "/openapi/v2"]).expect_success();
        ["com.coreos.monitoring.v1.ServiceMonitor", "com.coreos.monitoring.v1.PrometheusRule"]
            .iter()
            .all(|kind| document.contains(kind))
            .then_some(document)
    });
    let mut document: Value = serde_json::from_str(&document.expect("all kinds are published")).unwrap();
    let mut definitions = document["definitions"].take();
    for (name, definition) in definitions.as_object_mut().unwrap() {
        make_strict(definition);
        if name.ends_with(".Quantity") {
            definition["type"] = json!(["string", "number"]);
        }
    }
    for (name, definition) in definitions.as_object().unwrap() {
        let schema = json!({"$ref": format!("{DEFINITIONS}#/definitions/{name}")}).to_string();
        for kind in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
            let [group, version, kind] =
                ["group", "version", "kind"].map(|field| kind[field].as_str().unwrap());
            // As kubeconform reads an API version.
            let group = if group.is_empty() { version } else { group };
            let name = format!("{}_{group}_{version}.json", kind.to_lowercase());
            std::fs::write(folder.join(name), &schema).unwrap();
        }
    }
    std::fs::write(folder.join(DEFINITIONS), json!({ "definitions": definitions }).to_string()).unwrap();
}

/// What OpenAPI leaves to words: that other fields are unknown, and what a number or a text may be.
fn make_strict(schema: &mut Value) {
    if schema["format"] == "int-or-string" {
        schema["type"] = json!(["string", "integer"]);
    }
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let is_closed =
        schema.get("properties").is_some() && schema.get("additionalProperties").is_none() && !open;
    if is_closed {
        schema["additionalProperties"] = json!(false);
    }
    for property in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        make_strict(property.1);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(inner).filter(|it| it.is_object()) {
            make_strict(inner);
        }
    }
}
