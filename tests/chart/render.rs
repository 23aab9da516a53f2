//! What the chart renders and what it refuses, without any cluster.

use std::process::Command;

use super::support::helm::{CHART, NAMESPACE, RELEASE, helm};
use super::{VALUE_SETS, render, repository, values_file};

/// Set to write the snapshots anew: `ENCLAVE_OPERATOR_UPDATE=1 cargo test --test chart snapshots`.
const UPDATE: &str = "ENCLAVE_OPERATOR_UPDATE";

#[test]
fn every_set_of_values_is_tested_and_has_nothing_that_lint_finds() {
    let mut files: Vec<String> = std::fs::read_dir(repository("charts/enclave-operator/ci"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, VALUE_SETS.map(|set| format!("{set}-values.yaml")));
    for set in VALUE_SETS {
        let lint = helm(&["lint", "--strict", CHART, "--values", &values_file(set)]).unwrap();
        lint.expect_success();
    }
}

#[test]
fn wrong_values_are_refused_with_what_is_wrong() {
    for (value, message) in [
        ("replicas=two", "at '/replicas': got string, want integer"),
        ("replicas=11", "at '/replicas': maximum: got 11, want 10"),
        ("replica=3", "at '': additional properties 'replica' not allowed"),
        ("networkPolicy.dns=any", "at '/networkPolicy': additional properties 'dns' not allowed"),
        ("wildcardApprovers=true", "at '/wildcardApprovers': value must be one of 'Refused', 'Allowed'"),
        // What would end a literal in a policy.
        ("mfa.claim=a' || true || 'b", "at '/mfa/claim'"),
        ("mfa.values={mfa,a'b}", "at '/mfa/values/1'"),
        ("mfa.values=null", "at '/mfa'"),
        ("serviceAccount.name=A", "at '/serviceAccount/name'"),
        ("retainRequestsFor=90d", "at '/retainRequestsFor'"),
        ("audit.http.url=ftp://example.com", "at '/audit/http/url'"),
        // It would be in the environment of the process, and in logs of others.
        ("audit.http.url=https://user:password@example.com/records", "at '/audit/http/url'"),
        ("image.digest=latest", "at '/image/digest'"),
        ("audit=null", "at '': missing property 'audit'"),
        ("networkPolicy.apiServer=null", "at '/networkPolicy': missing property 'apiServer'"),
        ("podLabels.app\\.kubernetes\\.io/name=other", "invalid propertyName 'app.kubernetes.io/name'"),
        ("networkPolicy.apiServer.ports={70000}", "at '/networkPolicy/apiServer/ports/0'"),
        ("trustedCa.configMap.name=a,trustedCa.secret.name=b", "name a ConfigMap or a Secret, not both"),
    ] {
        let output = helm(&["template", RELEASE, CHART, "--set", value]).unwrap();
        let refusal = output.expect_failure();
        assert!(refusal.contains(message), "{value}: expected {message:?} in:\n{refusal}");
    }
}

#[test]
fn an_older_kubernetes_is_refused() {
    for (version, served) in [("1.35.9", false), ("1.36.0", true), ("1.37.1-vendor.3", true)] {
        let output = helm(&["template", RELEASE, CHART, "--kube-version", version]).unwrap();
        assert_eq!(output.status.success(), served, "{version}\n{}", output.stderr);
    }
}

/// Apart from CRDs, policies and rights, which other tests look at.
#[test]
fn snapshots() {
    for set in VALUE_SETS {
        let rendered = written_by_hand(&render(set));
        let file = repository(&format!("tests/chart/snapshots/{set}.yaml"));
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&file, &rendered).unwrap();
            continue;
        }
        if std::fs::read_to_string(&file).unwrap_or_default() == rendered {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let now = folder.path().join("rendered-now.yaml");
        std::fs::write(&now, &rendered).unwrap();
        let mut diff = Command::new("git");
        diff.args(["--no-pager", "diff", "--no-index", "--"]).arg(&file).arg(&now);
        let diff = String::from_utf8(diff.output().unwrap().stdout).unwrap();
        panic!(
            "{set} renders differently; if that is meant: {UPDATE}=1 cargo test --test chart snapshots\n{diff}"
        );
    }
}

fn written_by_hand(rendered: &str) -> String {
    let generated = |document: &str| {
        ["crds/", "policies/", "rbac/"]
            .iter()
            .any(|folder| document.contains(&format!("# Source: {RELEASE}/templates/{folder}")))
    };
    rendered
        .split_inclusive("\n---\n")
        .filter(|document| !generated(document))
        .map(|document| document.trim_end().to_owned() + "\n")
        .collect()
}

#[test]
fn the_plain_install_is_the_chart_with_default_values() {
    let namespace = std::fs::read_to_string(repository("charts/namespace.yaml")).unwrap();
    let plain = std::fs::read_to_string(repository("install.yaml")).unwrap();
    assert!(plain == namespace + &render("default"), "install.yaml is not current: run make generate");
    assert!(plain.contains(&format!("\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n")));
}
