//! How long it takes from a vote until the connection is open.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use enclave_operator::api::ApprovalRequest;
use enclave_operator::api::approval_request::RequestState;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::provisioning::{declare, declare_community};
use super::{Measuring, Turn, limit, turns};
use crate::bare_watchers::{PolicyWriter, connection_numbers};
use crate::figures::milliseconds;
use crate::load::{Load, hold_connections};
use crate::settings::Extent;
use crate::sightings::{Key, Sightings};
use crate::stage::{Stage, Started};

const ENCLAVES: usize = 10;
const LIMIT: Duration = Duration::from_secs(300);
/// Of the operator's writes in percent.
const MOST_CONFLICTS: f64 = 1.0;
/// An unoptimised one is late more often.
const MOST_CONFLICTS_UNOPTIMISED: f64 = 3.0;
/// 20 votes per second
const PACE: Duration = Duration::from_millis(50);

/// Connections that wait for a vote.
pub struct Held {
    load: Load,
    waiting: VecDeque<Ballot>,
    policies: std::sync::Arc<Sightings>,
}

struct Ballot {
    request: Key,
    opens: Vec<Key>,
}

pub async fn measure(measuring: &mut Measuring<'_>, stage: &mut Stage) {
    let (single, rated) = (measuring.settings.votes, measuring.settings.rated_votes);
    let pairs = measuring.settings.pairs;
    let mut held = Held::declare(stage, "votes", 2 * pairs * (single + rated)).await;
    let mut latencies: [[Vec<Vec<f64>>; 2]; 2] = Default::default();
    let (mut writes, mut conflicts) = (0, 0);
    let mut bare_watcher: Option<PolicyWriter> = None;
    for turn in turns(pairs) {
        match (turn, bare_watcher.is_some()) {
            (Turn::Operator, true) => {
                bare_watcher = None;
                stage.start_operator().await;
                stage.wait_until_settled(LIMIT).await;
            }
            (Turn::Baseline, false) => {
                stage.stop_operator();
                bare_watcher = Some(PolicyWriter::start(stage.bare.clone(), held.load.clone()).await);
            }
            _ => {}
        }
        let at = usize::from(turn == Turn::Baseline);
        latencies[at][0].push(held.vote_one_by_one(stage, single).await);
        let since = stage.count_requests();
        latencies[at][1].push(held.vote_at_a_rate(stage, rated).await);
        if turn == Turn::Operator {
            stage.wait_until_settled(LIMIT).await;
            let counts = since.count();
            writes += counts.writes();
            conflicts += counts.conflicts;
        }
    }
    drop(bare_watcher);
    stage.resume_operator().await;
    let [operator, bare] = latencies;
    let ways = [("one at a time", 4.0), ("at 20 votes/s", 5.0)];
    for ((way, goal), (operator, bare)) in ways.into_iter().zip(operator.iter().zip(&bare)) {
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let what = format!("vote → both policies {way}, {name}");
            let figure = measuring.percentiles(&what, share, operator, bare);
            let raw = json!({ "operator": operator, "bare": bare });
            measuring.add(figure.raw(raw).ratio_at_most(goal));
        }
    }
    let share = conflicts as f64 * 100.0 / (writes.max(1)) as f64;
    let figure = measuring.figure("writes answered with 409 at 20 votes/s", "%", share);
    let raw = json!({ "writes": writes, "conflicts": conflicts });
    let bound = match measuring.settings.extent {
        Extent::Quick => MOST_CONFLICTS_UNOPTIMISED,
        Extent::Full => MOST_CONFLICTS,
    };
    measuring.add(figure.raw(raw).at_most(MOST_CONFLICTS).bound(bound));
}

impl Held {
    /// Declares so many connections that wait for an approval.
    pub async fn declare(stage: &Stage, community: &'static str, count: usize) -> Self {
        let load = Load { community, enclaves: ENCLAVES, connections: count.div_ceil(ENCLAVES) };
        let within = limit(count / 5);
        let is_pending = |request: &ApprovalRequest| {
            request.status.as_ref().and_then(|status| status.state) == Some(RequestState::Pending)
        };
        let pending = Sightings::of(stage.everywhere::<ApprovalRequest>(), is_pending).await;
        let policies = Sightings::of(stage.everywhere::<NetworkPolicy>(), |_| true).await;
        declare_community(stage, &load, &hold_connections()).await;
        declare(stage, &load).await;
        let all = load.enclaves * load.connections;
        pending.wait_for_count(all, within, "all connections wait for a vote").await;
        stage.wait_until_quiet(within).await;
        let waiting = ballots(stage, &load).await;
        assert_eq!(waiting.len(), all, "each connection has a request");
        Self { load, waiting, policies: std::sync::Arc::new(policies) }
    }

    /// Waits for each connection before the next vote.
    pub async fn vote_one_by_one(&mut self, stage: &Stage, count: usize) -> Vec<f64> {
        let mut latencies = Vec::new();
        for ballot in self.take(count) {
            latencies.push(vote(&stage.approver, &self.policies, &ballot).await);
        }
        latencies
    }

    /// Votes whether or not what was approved before is open.
    pub async fn vote_at_a_rate(&mut self, stage: &Stage, count: usize) -> Vec<f64> {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut votes = Vec::new();
        for ballot in self.take(count) {
            pace.tick().await;
            let (approver, policies) = (stage.approver.clone(), std::sync::Arc::clone(&self.policies));
            votes.push(tokio::spawn(async move { vote(&approver, &policies, &ballot).await }));
        }
        futures::future::try_join_all(votes).await.unwrap()
    }

    /// Starts the operator, and votes at the same time. Returns the seconds until what was approved is open, too.
    pub async fn vote_meanwhile(&mut self, stage: &mut Stage) -> (f64, Started) {
        let ballots = self.take(1);
        let (approver, policies) = (stage.approver.clone(), std::sync::Arc::clone(&self.policies));
        let (open, started) = futures::join!(vote(&approver, &policies, &ballots[0]), stage.start_operator());
        (open / 1000.0, started)
    }

    fn take(&mut self, count: usize) -> Vec<Ballot> {
        assert!(self.waiting.len() >= count, "there are connections to vote on");
        self.waiting.drain(..count).collect()
    }
}

/// The requests, an Enclave after the other in turn, so that no namespace has all votes at once.
async fn ballots(stage: &Stage, load: &Load) -> VecDeque<Ballot> {
    let numbers = connection_numbers(load);
    let all = stage.everywhere::<ApprovalRequest>().list(&kube::api::ListParams::default()).await.unwrap();
    let mut ballots: Vec<((usize, usize), Ballot)> = all
        .into_iter()
        .filter_map(|request| {
            let target = &request.spec.target;
            let key = (target.namespace.clone()?, target.name.clone());
            let &(number, which) = numbers.get(&key)?;
            let opens = load.policies(number, which).iter().map(key_of).collect();
            let request = (request.namespace().unwrap_or_default(), request.name_any());
            Some(((which, number), Ballot { request, opens }))
        })
        .collect();
    ballots.sort_by_key(|(order, _)| *order);
    ballots.into_iter().map(|(_, ballot)| ballot).collect()
}

fn key_of(policy: &NetworkPolicy) -> Key {
    (policy.namespace().unwrap_or_default(), policy.name_any())
}

/// Votes, and waits until both policies are seen.
async fn vote(approver: &Client, policies: &Sightings, ballot: &Ballot) -> f64 {
    let (namespace, name) = &ballot.request;
    let requests: Api<ApprovalRequest> = Api::namespaced(approver.clone(), namespace);
    let patch: Patch<Value> = Patch::Merge(json!({"status": {"decision": "Approved"}}));
    let began = Instant::now();
    requests.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    let open = policies.wait_for_all(&ballot.opens, true, LIMIT, "the connection is open").await;
    milliseconds(open.saturating_duration_since(began))
}
