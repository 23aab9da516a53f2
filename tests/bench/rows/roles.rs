//! What roles cost: one more while many are there, one that is taken away, and what they make others cost.

use std::time::{Duration, Instant};

use enclave_operator::api::{RoleAssignment, RoleEligibility, State};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use super::edit::role_binding;
use super::memory::hold_everything;
use super::provisioning::provision;
use super::{Measuring, Turn, limit, turns};
use crate::figures::{milliseconds, percentile};
use crate::load::{Load, assignment, eligibility, person};
use crate::measure::{CLIENT, processor_time, wait_until_quiet};
use crate::sightings::Sightings;
use crate::stage::Stage;
use crate::support::Process;

const ENCLAVES: usize = 4;
const LIMIT: Duration = Duration::from_secs(300);
/// Assignments that are made to see what one costs.
const MORE: usize = 20;

pub async fn measure(measuring: &mut Measuring<'_>, stage: &mut Stage) {
    let (assignments, eligibilities) = (measuring.settings.assignments, measuring.settings.eligibilities);
    let bindings = Sightings::of(stage.everywhere::<RoleBinding>(), |_| true).await;
    namespaces(measuring, stage, "empty", "without roles").await;
    let load = Load { community: "roles", enclaves: ENCLAVES, connections: 0 };
    provision(stage, &load, &json!({})).await;
    let control = |number: usize| load.control(number % ENCLAVES);

    // Others gave roles too, in rows before.
    let made = Sightings::of(stage.everywhere::<RoleAssignment>(), |made| {
        is_active(made.status.as_ref().map(|status| &status.gate.state))
    })
    .await;
    let (before, cpu) = (made.count(), stage.operator_cpu());
    stage.owner.create_all((0..assignments).map(|number| assignment(&control(number), number))).await;
    made.wait_for_count(before + assignments, limit(assignments), "the roles are given").await;
    stage.wait_until_settled(LIMIT).await;
    let each = (stage.operator_cpu() - cpu) * 1000.0 / assignments as f64;
    let what = format!("processor time of the operator for one assignment while {assignments} are made");
    let figure = measuring.figure(what, "ms", each);
    measuring.add(figure.at_most(2.0));
    more(measuring, stage, &load, &bindings, assignments, "").await;

    let eligible = Sightings::of(stage.everywhere::<RoleEligibility>(), |made| {
        is_active(made.status.as_ref().map(|status| &status.gate.state))
    })
    .await;
    stage.owner.create_all((0..eligibilities).map(|number| eligibility(&control(number), number))).await;
    eligible.wait_for_count(eligibilities, limit(eligibilities), "the eligibilities are in force").await;
    stage.wait_until_settled(LIMIT).await;
    let with = format!("with {assignments} assignments and {eligibilities} eligibilities");
    namespaces(measuring, stage, "many", &with).await;
    more(
        measuring,
        stage,
        &load,
        &bindings,
        assignments + MORE,
        &format!(" and {eligibilities} eligibilities"),
    )
    .await;

    let mut denied = Vec::new();
    for number in 0..measuring.settings.revocations {
        denied.push(revoke(stage, &load, &control(number), number).await);
    }
    let objects = assignments + eligibilities;
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let what = format!("revoked → denied with {objects} role objects, {name}");
        let figure = measuring.figure(what, "ms", percentile(&denied, share)).raw(json!(denied));
        measuring.add(figure.at_most(500.0));
    }
}

fn is_active(state: Option<&Option<State>>) -> bool {
    state.copied().flatten() == Some(State::Active)
}

/// What a namespace of others costs the operator, and B3 in its place.
async fn namespaces(measuring: &mut Measuring<'_>, stage: &mut Stage, prefix: &str, with: &str) {
    let alone = one_namespace(stage, stage.operator_id(), &format!("{prefix}-alone"), &BY_THEMSELVES).await;
    let what = format!("processor time of the operator for one namespace of others by itself, {with}");
    measuring.add(measuring.figure(what, "ms", alone));
    let (mut operator, mut bare) = (Vec::new(), Vec::new());
    let mut watcher: Option<Process> = None;
    for (number, turn) in turns(measuring.settings.pairs).enumerate() {
        let (values, process) = match turn {
            Turn::Operator => {
                drop(watcher.take());
                stage.resume_operator().await;
                (&mut operator, stage.operator_id())
            }
            Turn::Baseline => {
                stage.stop_operator();
                if watcher.is_none() {
                    watcher = Some(hold_everything(stage).await);
                }
                (&mut bare, watcher.as_ref().map(Process::id).expect("the watcher was started"))
            }
        };
        values.push(one_namespace(stage, process, &format!("{prefix}-{number}"), &IN_A_ROW).await);
    }
    drop(watcher);
    stage.resume_operator().await;
    let pairs: Vec<(f64, f64)> = operator.into_iter().zip(bare).collect();
    let what = format!("processor time of the operator for one namespace of others, {with}");
    measuring.add(measuring.paired(&what, "ms", &pairs).at_most(0.05));
}

/// Namespaces of others, and how long after one the next is made.
struct Made {
    count: usize,
    interval: Duration,
}

const IN_A_ROW: Made = Made { count: 300, interval: Duration::ZERO };
/// Further apart than the operator waits for the next one.
const BY_THEMSELVES: Made = Made { count: 100, interval: Duration::from_millis(50) };

/// Processor time of a process for one namespace, in milliseconds.
async fn one_namespace(stage: &Stage, process: u32, prefix: &str, made: &Made) -> f64 {
    let cpu = || processor_time(process).as_secs_f64();
    wait_until_quiet(process, CLIENT, LIMIT).await;
    let all: Api<Namespace> = stage.everywhere();
    let (began, before) = (Instant::now(), cpu());
    for number in 0..made.count {
        tokio::time::sleep(made.interval).await;
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": format!("{prefix}-{number:04}")}})).unwrap();
        all.create(&PostParams::default(), &namespace).await.unwrap();
    }
    wait_until_quiet(process, CLIENT, LIMIT).await;
    let (took, used) = (began.elapsed(), cpu() - before);
    // What it uses in as much time anyway, with leases to renew.
    let before = cpu();
    tokio::time::sleep(took).await;
    let idle = cpu() - before;
    (used - idle).max(0.0) * 1000.0 / made.count as f64
}

/// What one more assignment costs, and how long it takes.
async fn more(
    measuring: &mut Measuring<'_>,
    stage: &Stage,
    load: &Load,
    bindings: &Sightings,
    from: usize,
    with: &str,
) {
    stage.wait_until_settled(LIMIT).await;
    let (mut latencies, cpu) = (Vec::new(), stage.operator_cpu());
    for number in from..from + MORE {
        let control = load.control(number % ENCLAVES);
        let began = Instant::now();
        stage.owner.create(&assignment(&control, number)).await;
        let binding = (control.clone(), role_binding(&control, number));
        let bound = bindings.wait_for_all(&[binding], true, LIMIT, "the role is bound").await;
        latencies.push(milliseconds(bound.saturating_duration_since(began)));
    }
    stage.wait_until_settled(LIMIT).await;
    let each = (stage.operator_cpu() - cpu) * 1000.0 / MORE as f64;
    let what = format!("processor time of the operator for one assignment more than {from}{with}, by itself");
    measuring.add(measuring.figure(what, "ms", each));
    let what = format!("role asked → bound with {from} assignments{with}");
    let figure = measuring.median(&what, "ms", &latencies);
    measuring.add(figure.at_most(60.0));
}

/// How long somebody still may do what a role let him after it was taken away.
async fn revoke(stage: &Stage, load: &Load, control: &str, number: usize) -> f64 {
    let reviews: Api<SubjectAccessReview> = stage.everywhere();
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(person(number)),
            resource_attributes: Some(ResourceAttributes {
                group: Some("enclave-operator.io".into()),
                resource: Some("enclaveworkloads".into()),
                verb: Some("list".into()),
                namespace: Some(control.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let may = async || {
        let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
        answer.status.is_some_and(|status| status.allowed)
    };
    assert!(may().await, "{} has the role in {} of {}", person(number), control, load.community);
    let client = stage.owner.client.clone();
    let assignments: Api<RoleAssignment> = Api::namespaced(client, control);
    let began = Instant::now();
    assignments.delete(&format!("a{number:05}"), &DeleteParams::default()).await.unwrap();
    // Each question takes about a millisecond.
    while may().await {
        assert!(began.elapsed() < LIMIT, "{} still has the role", person(number));
    }
    milliseconds(began.elapsed())
}
