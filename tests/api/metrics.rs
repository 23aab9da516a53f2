//! What a running operator tells a monitoring system.

use std::io::Write;
use std::process::{Command, Stdio};

use enclave_operator::api::State;
use enclave_operator::api::approval_request::Verdict;
use kube::api::PostParams;
use serde_json::json;

use crate::roles::{self, Place, wait_for_activation};
use crate::support::{METRICS, eventually, find_tool};
use crate::trouble::{ask, wait_for_log};
use crate::world::{
    SOON, World, active_community, enclave, enclaves, hold_everything, on_a_runtime, vote, wait_for_access,
    wait_for_enclave, wait_for_request,
};

/// What is true at the end of the story.
const LINES: [&str; 7] = [
    "leader 1",
    "admission_policies_intact 1",
    "overdue_revocations 0",
    "pending_requests{kind=\"Enclave\"} 1",
    "active_activations{role=\"enclave-reader\"} 1",
    "request_decision_seconds_count{outcome=\"Decided\"} 1",
    "enactments_total{kind=\"RoleActivation\"} 1",
];

#[test]
fn everything_that_alerts_and_the_dashboard_read_is_measured_and_promtool_accepts_it() {
    let world = World::without_operator();
    world.install();
    let operator = world.spawn_operator("measured");
    on_a_runtime(async || {
        wait_for_log(&operator, "leading, reconciling").await;
        let (alice, bob) = (world.alice(), world.bob());
        active_community(&world, "measured", &json!({ "approvals": hold_everything() })).await;
        let api = enclaves(&alice, "measured");
        for name in ["approved", "waits"] {
            api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
        }
        let request = wait_for_request(&alice, "measured", "approved").await;
        vote(&bob, "measured", &request, Verdict::Approved, None).await.unwrap();
        wait_for_enclave(&api, "approved", State::Active).await;
        wait_for_request(&alice, "measured", "waits").await;
        let place = Place::make_in(&world, "jitted", &json!({})).await;
        let (nina, control) = (place.user("nina", &[]), place.control("payments"));
        let spec = json!({"role": "enclave-reader", "principals": [roles::user(&nina)],
            "activation": {"maxDuration": "2h"}});
        let eligibilities = Place::eligibilities(&alice, &control);
        roles::make(&eligibilities, "RoleEligibility", "ninas", &spec).await.unwrap();
        wait_for_access(&nina, "create", "roleactivations", &control, true).await;
        let activations = Place::activations(&nina, &control);
        let spec = json!({"eligibility": "ninas", "duration": "1h"});
        roles::make(&activations, "RoleActivation", "held", &spec).await.unwrap();
        wait_for_activation(&activations, "held", "Active").await;
        let names = METRICS.map(|name| format!("\nenclave_operator_{name}"));
        let lines = LINES.map(|line| format!("\nenclave_operator_{line}\n"));
        eventually("all of it is measured", SOON, async || {
            let text = ask(&operator, "/metrics")?;
            let missing = names.iter().chain(&lines).find(|wanted| !text.contains(wanted.as_str()));
            missing.is_none().then_some(())
        })
        .await;
    });
    let answer = ask(&operator, "/metrics").unwrap();
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    let mut promtool = Command::new(find_tool("promtool").unwrap())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(in_the_older_format(text).as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&told));
    assert!(ask(&operator, "/healthz").unwrap().starts_with("HTTP/1.1 200"));
    assert!(ask(&operator, "/readyz").unwrap().starts_with("HTTP/1.1 200"));
}

/// promtool reads the format before OpenMetrics, in which a counter is described under its name with the
/// suffix.
fn in_the_older_format(text: &str) -> String {
    let counters: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut older = Vec::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let (hash, what, name) = (words.next(), words.next(), words.next());
        match (hash, what, name) {
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name)) if counters.contains(&name) => {
                older.push(format!("# {what} {name}_total {}", words.next().unwrap_or_default()));
            }
            (Some("#"), Some("UNIT" | "EOF"), _) => {}
            _ => older.push(line.to_owned()),
        }
    }
    older.join("\n") + "\n"
}

#[test]
fn a_replica_is_not_ready_before_its_caches_are_filled() {
    let world = World::without_operator();
    world.install();
    // One of its kinds is not served yet.
    let administrator = world.plane.administrator_user();
    administrator
        .kubectl(&["delete", "crd", "transithubs.enclave-operator.io", "--wait=true"])
        .expect_success();
    let operator = world.spawn_operator("early");
    on_a_runtime(async || wait_for_log(&operator, "is not installed; install the chart").await);
    assert!(ask(&operator, "/readyz").unwrap().starts_with("HTTP/1.1 503"));
    assert!(ask(&operator, "/healthz").unwrap().starts_with("HTTP/1.1 200"));
    let crd = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/crds/transithubs.enclave-operator.io.yaml"
    ));
    administrator.kubectl_with_input(&["apply", "--server-side", "-f", "-"], &crd.unwrap()).expect_success();
    on_a_runtime(async || {
        eventually("it is ready", SOON, async || {
            ask(&operator, "/readyz")?.starts_with("HTTP/1.1 200").then_some(())
        })
        .await;
    });
}
