//! Installing, upgrading, and what stays after uninstalling, on a real API server.

use std::time::Duration;

use enclave_operator::admission::{Installation, WildcardApprovers, build_policies};
use enclave_operator::model::approval::policy_status::Integrity;
use serde_json::{Value, json};

use super::support::helm::{CHART, NAMESPACE, RELEASE, copy_chart};
use super::support::{ControlPlane, User, poll};
use super::{PLANE, objects, policies, render, render_with, the_only, values_file};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn the_pods_are_admitted_where_pod_security_is_restricted() {
    let administrator = PLANE.administrator_user();
    // The namespace enforces it, so it is the controllers who show it.
    let pods = wait_for_pods(administrator);
    assert_eq!(pods[0]["spec"]["priority"], 2_000_000_000);

    // With everything switched on too; and what is less strict is refused here.
    let everything = objects(&render("everything"));
    let mut pod = the_only(&everything, "Deployment")["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("everything");
    pod["spec"]["serviceAccountName"] = json!(RELEASE);
    let create = |pod: &Value| {
        let arguments = ["create", "--dry-run=server", "-n", NAMESPACE, "-f", "-"];
        administrator.kubectl_with_input(&arguments, &pod.to_string())
    };
    create(&pod).expect_success();
    for (pointer, wrong) in [
        ("/spec/securityContext/runAsNonRoot", json!(false)),
        ("/spec/securityContext/seccompProfile/type", json!("Unconfined")),
        ("/spec/containers/0/securityContext/allowPrivilegeEscalation", json!(true)),
        ("/spec/containers/0/securityContext/capabilities/drop", json!([])),
    ] {
        let mut looser = pod.clone();
        *looser.pointer_mut(pointer).unwrap() = wrong;
        let refusal = create(&looser).expect_failure();
        assert!(refusal.contains("violates PodSecurity \"restricted"), "{pointer}: {refusal}");
    }
    let container = &pod["spec"]["containers"][0]["securityContext"];
    assert_eq!(container["readOnlyRootFilesystem"], true);
}

#[test]
fn it_can_be_upgraded_rolled_back_uninstalled_and_installed_again() {
    let plane = ControlPlane::start().unwrap();
    let administrator = plane.administrator_user();
    let install = ["install", RELEASE, CHART, "--create-namespace", "--set", "replicas=0"];
    let notes = administrator.helm(&install).expect_success();
    assert!(notes.contains("What stays when you uninstall"), "{notes}");
    assert_eq!(live(administrator, &Installation::default()), Integrity::Intact);
    let another = ["install", "another", CHART, "--set", "replicas=0"];
    let refusal = administrator.helm(&another).expect_failure();
    assert!(refusal.contains("cannot be imported into the current release"), "{refusal}");

    // Other values, and a newer version of a CRD.
    let newer = tempfile::tempdir().unwrap();
    copy_chart(newer.path());
    let crd = newer.path().join("templates/crds/enclaves.yaml");
    let text = std::fs::read_to_string(&crd).unwrap().replace("    - enc\n", "    - enc\n    - encl\n");
    std::fs::write(&crd, text).unwrap();
    let values = ["--set", "replicas=0,mfa.claim=example.com/amr,mfa.values={otp},wildcardApprovers=Allowed"];
    let upgrade = [&["upgrade", RELEASE, newer.path().to_str().unwrap()], &values[..]].concat();
    administrator.helm(&upgrade).expect_success();
    let other = Installation {
        mfa_claim: "example.com/amr".into(),
        mfa_values: vec!["otp".into()],
        wildcard_approvers: WildcardApprovers::Allowed,
        ..Installation::default()
    };
    assert_eq!(live(administrator, &other), Integrity::Intact);
    assert!(matches!(live(administrator, &Installation::default()), Integrity::Broken(_)));
    assert_eq!(short_names(administrator), r#"["enc","encl"]"#);

    administrator.helm(&["rollback", RELEASE, "1"]).expect_success();
    assert_eq!(live(administrator, &Installation::default()), Integrity::Intact);
    assert_eq!(short_names(administrator), r#"["enc"]"#);

    // What was declared is still there after uninstalling, and so is what guards it.
    administrator.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).expect_success();
    let community = r#"{"apiVersion": "enclave-operator.io/v1alpha1", "kind": "Community", "metadata": {"name": "acme"}, "spec": {}}"#;
    administrator.kubectl_with_input(&["create", "-f", "-"], community).expect_success();
    let uid = ["get", "community", "acme", "-o", "jsonpath={.metadata.uid}"];
    let community = administrator.kubectl(&uid).expect_success();
    let everything = objects(&render_with(&["--set", "replicas=0"]));
    let (kept, removed): (Vec<Value>, Vec<Value>) = everything
        .into_iter()
        .partition(|object| object["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep");
    assert_eq!(existing(administrator, &removed), removed.len());
    administrator.helm(&["uninstall", RELEASE]).expect_success();
    let gone = poll(SOON, || (existing(administrator, &removed) == 0).then_some(()));
    gone.expect("what gives rights goes");
    assert_eq!(existing(administrator, &kept), kept.len());
    assert_eq!(live(administrator, &Installation::default()), Integrity::Intact);
    assert_eq!(administrator.kubectl(&uid).expect_success(), community);
    for kind in ["clusterrole", "clusterrolebinding", "role", "rolebinding", "serviceaccount"] {
        let names = administrator.kubectl(&["get", kind, "-A", "-o", "name"]).expect_success();
        assert!(!names.contains("enclave-operator"), "{names}");
    }

    // What is new carries no finalizer then, so that it waits for no operator when it is deleted.
    let finalizers = "jsonpath={.metadata.finalizers}";
    let first = administrator.kubectl(&["get", "community", "acme", "-o", finalizers]).expect_success();
    assert_eq!(first, r#"["enclave-operator.io/teardown"]"#);
    let new = r#"{"apiVersion": "enclave-operator.io/v1alpha1", "kind": "Community", "metadata": {"name": "new"}, "spec": {}}"#;
    let is_without = poll(SOON, || {
        let dry = ["create", "--dry-run=server", "-o", finalizers, "-f", "-"];
        administrator.kubectl_with_input(&dry, new).expect_success().is_empty().then_some(())
    });
    is_without.expect("the API server does not run the policy any more");
    administrator.kubectl_with_input(&["create", "-f", "-"], new).expect_success();
    administrator.kubectl(&["delete", "community", "new", "--timeout=30s"]).expect_success();

    // Under its name it takes over what was kept.
    administrator.helm(&install).expect_success();
    assert_eq!(existing(administrator, &removed), removed.len());
    assert_eq!(live(administrator, &Installation::default()), Integrity::Intact);
    assert_eq!(administrator.kubectl(&uid).expect_success(), community);
}

#[test]
fn the_plain_install_works_and_helm_can_take_it_over() {
    let plane = ControlPlane::start().unwrap();
    let administrator = plane.administrator_user();
    let plain = super::repository("install.yaml");
    administrator.kubectl(&["apply", "--server-side", "-f", plain.to_str().unwrap()]).expect_success();
    assert_eq!(live(administrator, &Installation::default()), Integrity::Intact);
    wait_for_pods(administrator);
    let install = ["install", RELEASE, CHART, "--set", "retainRequestsFor=1h"];
    administrator.helm(&install).expect_failure();
    administrator.helm(&[&install[..], &["--take-ownership", "--force-conflicts"]].concat()).expect_success();
    assert_eq!(live(administrator, &Installation::default()), Integrity::Intact);
}

/// What was changed by hand is put back only by force, since somebody else owns it then.
#[test]
fn a_policy_that_was_changed_is_put_back_by_force() {
    let plane = ControlPlane::start().unwrap();
    let administrator = plane.administrator_user();
    administrator
        .helm(&["install", RELEASE, CHART, "--create-namespace", "--set", "replicas=0"])
        .expect_success();
    let name = "enclave-operator-verify-vote";
    let weaker = r#"{"spec":{"failurePolicy":"Ignore"}}"#;
    administrator
        .kubectl(&["patch", "validatingadmissionpolicy", name, "--type=merge", "-p", weaker])
        .expect_success();
    let expected = format!("ValidatingAdmissionPolicy {name} differs from what was installed");
    assert_eq!(live(administrator, &Installation::default()), Integrity::Broken(expected));
    let again = ["upgrade", RELEASE, CHART, "--set", "replicas=0"];
    let refusal = administrator.helm(&again).expect_failure();
    assert!(refusal.contains("conflict"), "{refusal}");
    administrator.helm(&[&again[..], &["--force-conflicts"]].concat()).expect_success();
    assert_eq!(live(administrator, &Installation::default()), Integrity::Intact);
}

#[test]
fn everything_is_accepted_and_so_is_the_plain_install() {
    let administrator = PLANE.administrator_user();
    for file in ["everything", "minimal"] {
        let monitoring = "serviceMonitor.enabled=false,prometheusRule.enabled=false";
        let arguments = [
            "upgrade",
            RELEASE,
            CHART,
            "--dry-run=server",
            "--values",
            &values_file(file),
            "--set",
            monitoring,
        ];
        administrator.helm(&arguments).expect_success();
    }
    let plain = super::repository("install.yaml");
    let arguments =
        ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", plain.to_str().unwrap()];
    administrator.kubectl(&arguments).expect_success();
}

/// Waits for the Pods of the Deployment. No node runs them.
fn wait_for_pods(administrator: &User) -> Vec<Value> {
    let pods = poll(SOON, || {
        let pods = administrator.kubectl(&["get", "pods", "-n", NAMESPACE, "-o", "json"]).expect_success();
        let pods: Value = serde_json::from_str(&pods).unwrap();
        let items = pods["items"].as_array().unwrap().clone();
        (items.len() == 2).then_some(items)
    });
    pods.expect("the Deployment has two Pods")
}

/// Whether the policies on the API server are those of an installation.
fn live(administrator: &User, installation: &Installation) -> Integrity {
    let kinds = "mutatingadmissionpolicies,mutatingadmissionpolicybindings,\
                 validatingadmissionpolicies,validatingadmissionpolicybindings";
    let found = administrator.kubectl(&["get", kinds, "-o", "json"]).expect_success();
    let found: Value = serde_json::from_str(&found).unwrap();
    let found = policies::parse(found["items"].as_array().unwrap());
    build_policies(installation).unwrap().compare_with_live(&found)
}

fn short_names(administrator: &User) -> String {
    let path = "jsonpath={.spec.names.shortNames}";
    administrator.kubectl(&["get", "crd", "enclaves.enclave-operator.io", "-o", path]).expect_success()
}

/// How many of these objects are there.
fn existing(administrator: &User, objects: &[Value]) -> usize {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let arguments = ["get", "-f", "-", "--ignore-not-found", "-o", "name"];
    administrator.kubectl_with_input(&arguments, &list).expect_success().lines().count()
}
