//! Lets the operator work on a scene, and the analyser judge what comes of it.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::AddAssign;

use enclave_operator_testing::sim::Server;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::json;

use super::operator::{converge, empty_cluster};
use super::population::populate;
use super::reach::{Books, Objects, Snapshots, View, compare, disagreements, labels_of};
use super::scene::{Drift, Moment, Scene};
use super::words::explain;

pub struct Judge {
    snapshots: Snapshots,
}

/// What was seen in all scenes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub communities: usize,
    /// Connections that let something through, and that do not.
    pub open: usize,
    pub shut: usize,
    /// Of those, how many did a day before.
    pub closed_meanwhile: usize,
    pub policies: usize,
    /// Pairs of peers, how often both sides were asked about one, and how many a connection joins.
    pub pairs: usize,
    pub questions: usize,
    pub connected: usize,
}

impl Judge {
    pub fn new() -> Self {
        Self { snapshots: Snapshots::new() }
    }

    /// What the operator makes of a scene is what should be; if not, what differs in words.
    pub fn judge(&self, scene: &Scene) -> Result<Tally, String> {
        let mut cluster = empty_cluster();
        let before = converge(&mut cluster, &scene.objects(Moment::Before), Moment::Before.time());
        let earlier = Books::of(&before, Moment::Before.time());
        drift(&mut cluster, &scene.drift);
        let mut objects = converge(&mut cluster, &scene.objects(Moment::Now), Moment::Now.time());
        populate(&mut objects);
        let mut tally = self.compare(&objects)?;
        let books = Books::of(&objects, Moment::Now.time());
        let open = names_of_open(&books);
        tally.closed_meanwhile = names_of_open(&earlier).difference(&open).count();
        Ok(tally)
    }

    /// The books, the model and the analyser say the same of these objects.
    pub fn compare(&self, objects: &Objects) -> Result<Tally, String> {
        let books = Books::of(objects, Moment::Now.time());
        let unlike = disagreements(objects, &books, Moment::Now.time());
        if !unlike.is_empty() {
            return Err(explain(&unlike, objects));
        }
        let mut tally = Tally {
            communities: objects.communities.len(),
            open: books.openings.len(),
            shut: objects.connections.len() - books.openings.len(),
            policies: objects.network_policies.len(),
            ..Tally::default()
        };
        for view in [View::Both, View::OnlyEgress, View::OnlyIngress] {
            let policies = seen(&objects.network_policies, view);
            let found = self.snapshots.analyse(&objects.namespaces, &objects.pods, &policies)?;
            let comparison = compare(&books, &labels_of(&objects.pods), &found, view, |_| true);
            if !comparison.differences.is_empty() {
                let differences: Vec<String> =
                    comparison.differences.iter().map(|one| format!("{view:?}: {one}")).collect();
                return Err(explain(&differences, objects));
            }
            tally.questions += comparison.questions;
            if view == View::Both {
                (tally.pairs, tally.connected) = (comparison.pairs, comparison.connected);
            }
        }
        Ok(tally)
    }
}

fn names_of_open(books: &Books) -> BTreeSet<String> {
    books.openings.iter().map(|opening| opening.connection.clone()).collect()
}

/// What is left of the policies in a view.
fn seen(policies: &[NetworkPolicy], view: View) -> Vec<NetworkPolicy> {
    let direction = match view {
        View::Both => return policies.to_vec(),
        View::OnlyEgress => "Egress",
        View::OnlyIngress => "Ingress",
    };
    let cut = |policy: &NetworkPolicy| {
        let mut policy = policy.clone();
        let spec = policy.spec.as_mut()?;
        spec.policy_types.as_mut()?.retain(|one| one == direction);
        if view == View::OnlyEgress {
            spec.ingress = None;
        } else {
            spec.egress = None;
        }
        (spec.policy_types != Some(Vec::new())).then_some(policy)
    };
    policies.iter().filter_map(cut).collect()
}

fn drift(cluster: &mut Server, drift: &[Drift]) {
    for one in drift {
        let (Drift::Delete(position) | Drift::Open(position) | Drift::Leave(position)) = one;
        let policies = &cluster.network_policies;
        let Some((key, policy)) = policies.iter().nth(position % policies.len().max(1)) else { return };
        let (key, mut open) = (key.clone(), policy.clone());
        let everything = json!({
            "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}],
        });
        open.spec = Some(serde_json::from_value(everything).unwrap());
        match one {
            Drift::Delete(_) => cluster.remove::<NetworkPolicy>(&key),
            Drift::Open(_) => cluster.put(open),
            // In the namespace of a workload; elsewhere there are no policies of connections.
            Drift::Leave(_) if policies.contains_key(&(key.0, DNS.to_owned())) => {
                open.metadata.name = Some("connection.nobody.knows.egress".to_owned());
                cluster.put(open);
            }
            Drift::Leave(_) => {}
        }
    }
}

const DNS: &str = enclave_operator::api::names::child::DNS;

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        let Self { communities, open, shut, closed_meanwhile, policies, pairs, questions, connected } = other;
        self.communities += communities;
        self.open += open;
        self.shut += shut;
        self.closed_meanwhile += closed_meanwhile;
        self.policies += policies;
        self.pairs += pairs;
        self.questions += questions;
        self.connected += connected;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { communities, open, shut, closed_meanwhile, policies, pairs, questions, connected } = self;
        write!(
            formatter,
            "{communities} communities, {policies} policies, {} connections ({open} open, {closed_meanwhile} \
             closed in the last day); {pairs} pairs of peers compared by {questions} questions, {connected} \
             pairs opened by connections",
            open + shut
        )
    }
}
