//! Every example is applied to a real API server, and every file in `examples/invalid/` is refused
//! with the words that its first line names.

use std::path::{Path, PathBuf};

use enclave_operator::api::Kind;
use enclave_operator::api::names::{label, purpose};
use kube::api::{Patch, PatchParams, ValidationDirective};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::Value;

use crate::support::User;
use crate::world::{World, kind_api, on_a_runtime};

#[test]
fn valid_examples_are_accepted_and_invalid_ones_refused_with_their_words() {
    let world = World::without_operator();
    world.install();
    let administrator = world.plane.administrator_user();
    let operator = on_a_runtime(async || {
        world.plane.service_account("enclave-system", "enclave-operator").await.unwrap()
    });
    // As the operator makes them: what they are for says which roles can be given in them.
    for (namespace, purpose) in
        [("acme", purpose::COMMUNITY), ("acme-payments", purpose::CONTROL), ("acme-ledger", purpose::CONTROL)]
    {
        let labels = serde_json::json!({label::PURPOSE: purpose});
        let made = serde_json::json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": labels}});
        operator.kubectl_with_input(&["create", "-f", "-"], &made.to_string()).expect_success();
    }
    on_a_runtime(async || {
        let client = administrator.client();
        let files = yaml_files("kinds");
        assert!(files.len() >= Kind::ALL.len(), "one file per kind at least");
        for file in files {
            // ApprovalRequests are the operator's; it creates them, and never applies.
            let result = if file.ends_with("19-approval-request.yaml") {
                create_as(&operator, &file).await
            } else {
                apply(&client, &file, Saving::Saved).await
            };
            result.unwrap_or_else(|error| panic!("{} was refused: {error}", file.display()));
        }
        for file in yaml_files("community") {
            let result = apply(&client, &file, Saving::DryRun).await;
            result.unwrap_or_else(|error| panic!("{} was refused: {error}", file.display()));
        }

        let invalid = yaml_files("invalid");
        assert!(invalid.len() > 100, "only {} invalid examples were found", invalid.len());
        let wrong: Vec<String> = futures::future::join_all(invalid.iter().map(async |file| {
            let expected = expectation(file);
            match apply(&client, file, Saving::DryRun).await {
                Ok(_) => Some(format!("{} was accepted", file.display())),
                Err(kube::Error::Api(status)) if status.message.contains(&expected) => None,
                Err(error) => Some(format!("{}: not {expected:?} but {error}", file.display())),
            }
        }))
        .await
        .into_iter()
        .flatten()
        .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

enum Saving {
    Saved,
    DryRun,
}

async fn apply(client: &Client, file: &Path, saving: Saving) -> Result<DynamicObject, kube::Error> {
    let (object, api) = read(client, file);
    let parameters = PatchParams {
        dry_run: matches!(saving, Saving::DryRun),
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("examples")
    };
    api.patch(&name_of(&object), &parameters, &Patch::Apply(&object)).await
}

async fn create_as(user: &User, file: &Path) -> Result<DynamicObject, kube::Error> {
    let (object, api) = read(&user.client(), file);
    api.create(&kube::api::PostParams::default(), &serde_json::from_value(object).unwrap()).await
}

/// The manifest as it is written, defects and all.
fn read(client: &Client, file: &Path) -> (Value, Api<DynamicObject>) {
    let text = std::fs::read_to_string(file).unwrap();
    let object: Value = serde_yaml_ng::from_str(&text).unwrap();
    let kind = object["kind"].as_str().unwrap();
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).expect("a kind of ours");
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let api = kind_api(client, kind, &namespace);
    (object, api)
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

fn expectation(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let first = text.lines().next().unwrap_or_default();
    let expected = first.strip_prefix("# expect: ");
    expected.unwrap_or_else(|| panic!("{} does not begin with `# expect: `", file.display())).to_owned()
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}
