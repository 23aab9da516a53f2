//! The chart: what it renders, and what becomes of that on a real API server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod alerts;
mod flow;
mod install;
mod network;
mod policies;
mod render;
mod rights;
mod running;
mod schemas;

use std::sync::LazyLock;

use enclave_operator_testing::{self as support, repository};
use serde::Deserialize;
use serde_json::Value;

use self::support::ControlPlane;
use self::support::helm::{CHART, NAMESPACE, RELEASE, helm};

/// Sets of values that the chart is tested with: `ci/NAME-values.yaml`.
const VALUE_SETS: [&str; 3] = ["default", "everything", "minimal"];

/// A cluster where the chart is installed with its default values. Tests that change that use their own.
static PLANE: LazyLock<ControlPlane> = LazyLock::new(|| {
    let plane = ControlPlane::start().unwrap();
    let administrator = plane.administrator_user();
    let namespace = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/namespace.yaml");
    administrator.kubectl(&["create", "-f", namespace]).expect_success();
    administrator.helm(&["install", RELEASE, CHART]).expect_success();
    plane
});

fn values_file(set: &str) -> String {
    format!("{CHART}/ci/{set}-values.yaml")
}

/// What the chart renders with a set of values, as Helm prints it.
fn render(set: &str) -> String {
    render_with(&["--values", &values_file(set)])
}

fn render_with(arguments: &[&str]) -> String {
    helm(&[&["template", RELEASE, CHART, "--namespace", NAMESPACE], arguments].concat())
        .unwrap()
        .expect_success()
}

/// The objects in a text of YAML documents.
fn objects(yaml: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(yaml)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

/// All objects of a kind.
fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The only object of a kind.
fn the_only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = of_kind(objects, kind);
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}
