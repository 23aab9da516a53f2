//! What decided requests cost that are kept.

use std::time::Duration;

use enclave_operator::api::ApprovalRequest;
use enclave_operator::api::approval_request::RequestState;
use kube::Api;
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};

use super::votes::Held;
use super::{Measuring, limit, restart};
use crate::create::each;
use crate::figures::{Goal, percentile};
use crate::measure::{SERVER, wait_until_quiet};
use crate::stage::Stage;

const LIMIT: Duration = Duration::from_secs(300);
/// A kept request has so much JSON, without `managedFields`.
const SIZE: usize = 22 * 1024;
/// Votes take as long as they do where none are kept; percentiles of a hundred votes differ by so much from run to run.
const MOST_SLOWER: f64 = 1.25;
/// A line of an impact takes so many bytes of it. One has 201 lines at most.
const LINE: usize = 128;

pub async fn measure(measuring: &mut Measuring<'_>, stage: &mut Stage) {
    let count = measuring.settings.rated_votes;
    let turns = measuring.settings.decided.len() + 1;
    let mut held = Held::declare(stage, "kept", turns * (count + 1) + 1).await;
    // One that was decided is the pattern for the others.
    held.vote_one_by_one(stage, 1).await;
    let mut all = vec![0];
    all.extend(&measuring.settings.decided);
    let (mut kept, mut without, mut request) = (0, 0.0, json!(null));
    let mut latencies_without = Vec::new();
    for number in all {
        if number > kept {
            if kept == 0 {
                // The pattern is as it stays.
                stage.wait_until_settled(limit(measuring.size)).await;
            } else {
                stage.wait_until_quiet(limit(measuring.size)).await;
            }
            stage.stop_operator();
            measuring.say(&format!("making {} decided requests", number - kept));
            request = make(stage, kept..number).await;
            kept = number;
        } else {
            stage.stop_operator();
        }
        let (open, started) = held.vote_meanwhile(stage).await;
        let with = format!(" with {kept} decided requests kept");
        let what = format!("start until a change that is approved meanwhile is in force{with}");
        measuring.add(measuring.figure(what, "s", open).at_most(if kept > 0 { 5.0 } else { 2.0 }));
        // Beside everything else it reads those that are decided.
        restart::report(measuring, &with, &[started], "everything is read", Goal::None);
        if kept == 0 {
            without = started.resident;
        } else {
            let more =
                measuring.figure(format!("resident memory more{with}"), "MiB", started.resident - without);
            let raw = json!({ "resident": started.resident, "without": without, "request": request });
            measuring.add(more.raw(raw).at_most(40.0));
        }
        let latencies = held.vote_at_a_rate(stage, count).await;
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let what = format!("vote → both policies at 20 votes/s{with}, {name}");
            let figure = if kept == 0 {
                measuring.figure(what, "ms", percentile(&latencies, share)).raw(json!(latencies))
            } else {
                let [with, without] = [&latencies, &latencies_without].map(std::slice::from_ref);
                let raw = json!({ "with": latencies, "without": latencies_without });
                measuring.percentiles(&what, share, with, without).raw(raw).ratio_at_most(MOST_SLOWER)
            };
            measuring.add(figure);
        }
        if kept == 0 {
            latencies_without = latencies;
        }
        stage.wait_until_quiet(limit(measuring.size)).await;
    }
}

/// Requests as they are kept: enacted, about something that is gone by now. Returns how much JSON one is.
async fn make(stage: &Stage, numbers: std::ops::Range<usize>) -> Value {
    let namespace = "kept-e00000";
    let requests: Api<ApprovalRequest> = Api::namespaced(stage.bare.client.clone(), namespace);
    // Those that were made here come after it.
    let live = requests.list(&ListParams::default().limit(500)).await.unwrap();
    let is_enacted = |request: &&ApprovalRequest| {
        let status = request.status.as_ref();
        status
            .is_some_and(|status| status.state == Some(RequestState::Approved) && status.enacted_at.is_some())
    };
    let pattern = live.iter().find(is_enacted).expect("one was enacted");
    let name = |number: usize| format!("econ-gone{number:06}-00000-g1");
    let last = name(numbers.end - 1);
    each(numbers, async |number| {
        let mut request = pattern.clone();
        request.metadata.name = Some(name(number));
        request.metadata.managed_fields = None;
        request.spec.target.name = format!("gone{number:06}");
        request.spec.target.uid = format!("00000000-0000-4000-8000-{number:012}");
        // As with a request that says in many words what it opens.
        request.spec.impact.opens = Vec::new();
        let lines = SIZE.saturating_sub(bytes(&request)).div_ceil(LINE);
        // With quotes and a comma.
        request.spec.impact.opens =
            (0..lines).map(|line| format!("{line:0width$}", width = LINE - 3)).collect();
        let status = request.status.take();
        request.metadata.resource_version = None;
        request.metadata.uid = None;
        request.metadata.creation_timestamp = None;
        request.metadata.generation = None;
        let mut made = stage.bare.create_in(&requests, &request).await;
        made.status = status;
        requests.replace_status(&made.name_any(), &PostParams::default(), &made).await.unwrap();
    })
    .await;
    // After so many writes its watch cache is behind, and one that stays so for three seconds has a list read from etcd,
    // where everything has to be decoded for those that are selected.
    wait_until_quiet(stage.plane.api_server_id(), SERVER, LIMIT).await;
    let mut stored = requests.get(&last).await.unwrap();
    let with = kib(&stored);
    stored.metadata.managed_fields = None;
    json!({ "kib": kib(&stored), "kibWithManagedFields": with })
}

fn kib(request: &ApprovalRequest) -> f64 {
    bytes(request) as f64 / 1024.0
}

/// How much JSON it is.
fn bytes(request: &ApprovalRequest) -> usize {
    serde_json::to_vec(request).expect("a request is JSON").len()
}
