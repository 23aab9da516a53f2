//! Alerts and dashboard, judged by promtool.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::support::{METRICS, find_tool};
use super::{objects, render, render_with, repository, the_only};

#[test]
fn the_alerts_are_sound_and_each_says_what_to_do() {
    let rendered = objects(&render("everything"));
    let rule = the_only(&rendered, "PrometheusRule");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yaml"), rule["spec"].to_string()).unwrap();
    promtool(folder.path(), &["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"]).unwrap();

    for alert in alerts(rule) {
        let name = alert["alert"].as_str().unwrap();
        assert!(name.starts_with("EnclaveOperator"), "{name}");
        assert!(["critical", "warning"].iter().any(|it| alert["labels"]["severity"] == **it), "{name}");
        for annotation in ["summary", "description"] {
            let text = alert["annotations"][annotation].as_str().unwrap_or_default();
            assert!(text.ends_with('.'), "{name}: {annotation} {text:?}");
        }
        let runbook = format!("https://runbooks.example.com/{name}");
        assert_eq!(alert["annotations"]["runbook_url"], runbook);
        assert_known(alert["expr"].as_str().unwrap());
    }
    let without = objects(&render_with(&["--set", "prometheusRule.enabled=true"]));
    for alert in alerts(the_only(&without, "PrometheusRule")) {
        assert!(alert["annotations"].get("runbook_url").is_none(), "{alert}");
    }
}

/// The cases are in `alerts-test.yaml`.
#[test]
fn each_alert_fires_when_it_should_and_not_otherwise() {
    let rendered =
        objects(&render_with(&["--set", "prometheusRule.enabled=true,prometheusRule.pendingRequestHours=1"]));
    let rule = the_only(&rendered, "PrometheusRule");
    let cases = std::fs::read_to_string(repository("tests/chart/alerts-test.yaml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("alerts-test.yaml"), &cases).unwrap();
    let test = |rule: &Value| {
        std::fs::write(folder.path().join("rules.yaml"), rule["spec"].to_string()).unwrap();
        promtool(folder.path(), &["test", "rules", "alerts-test.yaml"])
    };
    test(rule).unwrap();

    // Every alert is tested: without it, or if it fired always, the cases fail.
    let count = alerts(rule).len();
    for index in 0..count {
        let mut missing = rule.clone();
        let removed = missing["spec"]["groups"][0]["rules"].as_array_mut().unwrap().remove(index);
        assert!(test(&missing).is_err(), "no case fires {}", removed["alert"]);
        let mut eager = rule.clone();
        eager["spec"]["groups"][0]["rules"][index]["expr"] = json!("vector(1)");
        assert!(test(&eager).is_err(), "no case keeps {} quiet", removed["alert"]);
        let mut hasty = rule.clone();
        hasty["spec"]["groups"][0]["rules"][index]["for"] = json!("0s");
        assert!(test(&hasty).is_err(), "no case shows that {} waits", removed["alert"]);
    }
}

#[test]
fn the_dashboard_asks_for_what_is_measured() {
    let rendered = objects(&render("everything"));
    let dashboard = the_only(&rendered, "ConfigMap")["data"]["enclave-operator.json"].as_str().unwrap();
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let expressions: Vec<String> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "5m"))
        .collect();
    assert!(expressions.len() > 10, "{expressions:?}");
    // As recording rules, promtool reads them.
    let rules: Vec<Value> = (0..)
        .zip(&expressions)
        .map(|(number, expression)| json!({"record": format!("panel:{number}"), "expr": expression}))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(folder.path().join("rules.yaml"), file.to_string()).unwrap();
    promtool(folder.path(), &["check", "rules", "rules.yaml"]).unwrap();
    for expression in &expressions {
        assert_known(expression);
    }
}

fn alerts(rule: &Value) -> &[Value] {
    rule["spec"]["groups"][0]["rules"].as_array().unwrap()
}

fn assert_known(expression: &str) {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names: Vec<&str> = words.filter_map(|word| word.strip_prefix("enclave_operator_")).collect();
    assert!(!names.is_empty(), "{expression} asks for nothing of the operator's");
    for name in names {
        assert!(METRICS.contains(&name), "{expression}: nobody measures {name}");
    }
}

fn promtool(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(find_tool("promtool").unwrap());
    let output = command.args(arguments).current_dir(folder).output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(format!("promtool {arguments:?}:\n{}", String::from_utf8_lossy(&text)))
}
