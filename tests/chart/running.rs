//! The operator as the chart starts it, and the cluster after it has gone.

use std::time::Duration;

use serde_json::json;

use super::support::helm::{CHART, NAMESPACE, RELEASE};
use super::support::world::{World, on_a_runtime};
use super::support::{Process, User, poll};
use super::values_file;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn the_settings_of_the_process_are_those_of_the_policies() {
    let world = World::without_operator();
    let administrator = world.plane.administrator_user();
    // Without what only a Pod has, or another API.
    let less = "replicas=0,audit.http.url=,trustedCa.configMap.name=,serviceMonitor.enabled=false,\
                prometheusRule.enabled=false";
    let arguments = ["install", RELEASE, CHART, "--create-namespace", "--values", &values_file("everything")];
    administrator.helm(&[&arguments[..], &["--set", less]].concat()).expect_success();
    let operator = start(&world, "approver-of-changes");
    make_community(administrator, &operator);
}

#[test]
fn nothing_opens_without_the_operator_and_everything_can_be_removed() {
    let world = World::without_operator();
    let administrator = world.plane.administrator_user();
    let install = ["install", RELEASE, CHART, "--create-namespace", "--set", "replicas=0"];
    administrator.helm(&install).expect_success();
    let operator = start(&world, RELEASE);
    make_community(administrator, &operator);

    administrator.helm(&["uninstall", RELEASE]).expect_success();
    operator.kill();
    // Not even by an administrator, and not when the API server has noticed what went, within a second.
    let open = ["delete", "networkpolicy", "--all", "--namespace", "acme", "--dry-run=server"];
    let opened = poll(Duration::from_secs(4), || administrator.kubectl(&open).status.success().then_some(()));
    assert!(opened.is_none(), "the lock is gone");
    let refusal = administrator.kubectl(&open).expect_failure();
    assert!(refusal.contains("the operator manages these networkpolicies"), "{refusal}");
    let namespace = administrator.kubectl(&["delete", "namespace", "acme"]).expect_failure();
    assert!(namespace.contains("enclave-operator"), "{namespace}");

    let notes = administrator.helm(&install).expect_success();
    let _operator = start(&world, RELEASE);
    for object in [
        json!({"kind": "Enclave", "metadata": {"name": "payments", "namespace": "acme"}, "spec": {}}),
        json!({"kind": "RoleAssignment", "metadata": {"name": "readers", "namespace": NAMESPACE},
            "spec": {"role": "community-reader", "principals": [{"kind": "Group", "name": "readers"}]}}),
        json!({"kind": "RoleEligibility", "metadata": {"name": "readers", "namespace": NAMESPACE},
            "spec": {"role": "community-reader", "activation": {"maxDuration": "1h", "approval": {"policy": "Required"}},
                "principals": [{"kind": "User", "name": administrator.name()}]}}),
        json!({"kind": "RoleActivation", "metadata": {"name": "reader", "namespace": NAMESPACE},
            "spec": {"eligibility": "readers", "duration": "1h"}}),
    ] {
        let mut object = object;
        object["apiVersion"] = json!("enclave-operator.io/v1alpha1");
        administrator.kubectl_with_input(&["create", "-f", "-"], &object.to_string()).expect_success();
    }
    let ready = ["wait", "enclave/payments", "-n", "acme", "--for=condition=Ready", "--timeout=30s"];
    administrator.kubectl(&ready).expect_success();
    // A request that outlives what it is about, in a namespace that stays.
    let asked =
        ["wait", "roleactivation/reader", "-n", NAMESPACE, "--for=jsonpath={.status.approvalRequest}"];
    administrator.kubectl(&[&asked[..], &["--timeout=30s"]].concat()).expect_success();

    // As the notes say, word for word.
    let (_, removal) = notes.split_once("To remove everything for good").unwrap();
    let commands: Vec<&str> = removal.lines().filter_map(|line| line.strip_prefix("     ")).collect();
    assert_eq!(commands.len(), 8, "{removal}");
    for command in commands {
        match command.split(' ').collect::<Vec<_>>().as_slice() {
            ["kubectl", arguments @ ..] => {
                administrator.kubectl(&[arguments, &["--timeout=60s"]].concat()).expect_success();
            }
            ["helm", arguments @ ..] => {
                administrator.helm(arguments).expect_success();
            }
            _ => panic!("what is {command}?"),
        }
    }
    let kinds = "crd,mutatingadmissionpolicies,mutatingadmissionpolicybindings,\
                 validatingadmissionpolicies,validatingadmissionpolicybindings";
    let everything = format!(
        "{kinds},clusterroles,clusterrolebindings,flowschemas,prioritylevelconfigurations,\
         deployments,services,configmaps,roles,rolebindings,networkpolicies,serviceaccounts"
    );
    let left = administrator.kubectl(&["get", &everything, "-A", "-o", "name"]).expect_success();
    let left: Vec<&str> = left.lines().filter(|name| name.contains("enclave")).collect();
    assert!(left.is_empty(), "{left:?}");
    let namespaces = administrator.kubectl(&["get", "namespaces", "-o", "name"]).expect_success();
    assert!(!namespaces.contains("acme"), "{namespaces}");
}

/// The operator's process, as its Deployment describes it.
fn start(world: &World, account: &str) -> Process {
    let account = on_a_runtime(async || world.plane.service_account(NAMESPACE, account).await.unwrap());
    world.spawn_operator_as(&account, "operator")
}

/// A Community that says that the policies are those which the operator expects, and is in force.
fn make_community(administrator: &User, operator: &Process) {
    let community = r#"{"apiVersion": "enclave-operator.io/v1alpha1", "kind": "Community",
        "metadata": {"name": "acme"}, "spec": {}}"#;
    // The API server takes a moment to know a new kind everywhere.
    let mut refusal = String::new();
    let created = poll(SOON, || {
        let output = administrator.kubectl_with_input(&["create", "-f", "-"], community);
        refusal = output.stderr;
        output.status.success().then_some(())
    });
    assert!(created.is_some(), "{refusal}");
    for condition in ["--for=condition=Protected", "--for=condition=Ready"] {
        let output = administrator.kubectl(&["wait", "community/acme", condition, "--timeout=30s"]);
        assert!(output.status.success(), "{}\n{}", output.stderr, operator.log());
    }
}
