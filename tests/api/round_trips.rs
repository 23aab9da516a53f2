//! How many requests in a row there are between the last vote and what it puts into force.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use enclave_operator::api::State;
use enclave_operator::api::approval_request::{RequestState, Verdict};
use http::{Method, Request};
use kube::Client;
use kube::api::DeleteParams;
use kube::client::Body;
use serde_json::json;

use crate::in_process::{Answer, InProcess};
use crate::network::{Story, make, required, to_the_ledger};
use crate::roles::Place;
use crate::support::wait_gone;
use crate::world::{
    SOON, World, on_a_runtime, operator_settings, vote, wait_for_hold, wait_for_request_state,
    wait_for_state, wait_until_told,
};

/// Every request takes so much longer: those that are sent side by side overlap then.
const LATENCY: Duration = Duration::from_millis(200);

/// A request of the operator's.
#[derive(Clone, Debug)]
struct Trip {
    what: String,
    began: Instant,
    ended: Instant,
}

/// The requests that the operator made, in the order of their ends.
#[derive(Clone, Default)]
struct Trips(Arc<Mutex<Vec<Trip>>>);

impl Trips {
    async fn pass(self, request: Request<Body>, client: Client) -> Answer {
        let uri = request.uri();
        let (path, is_watch) = (uri.path(), uri.query().is_some_and(|query| query.contains("watch=true")));
        // The lease is about the process, and nobody waits for Events.
        if is_watch || path.contains("/leases") || path.ends_with("/events") {
            return client.send(request).await;
        }
        let what = format!("{} {path}", request.method());
        let began = Instant::now();
        tokio::time::sleep(LATENCY / 2).await;
        let answer = client.send(request).await;
        tokio::time::sleep(LATENCY / 2).await;
        self.0.lock().unwrap().push(Trip { what, began, ended: Instant::now() });
        answer
    }

    /// The longest chain of requests since then, each of which began when the one before had ended, to the last one
    /// that is like this.
    fn longest_chain(&self, since: Instant, last: impl Fn(&Trip) -> bool) -> Vec<Trip> {
        let all = self.0.lock().unwrap();
        let mut chains: Vec<Vec<Trip>> = Vec::new();
        for trip in all.iter().filter(|trip| trip.began >= since) {
            let before =
                chains.iter().filter(|chain| chain.last().is_some_and(|one| one.ended <= trip.began));
            let mut chain = before.max_by_key(|chain| chain.len()).cloned().unwrap_or_default();
            chain.push(trip.clone());
            chains.push(chain);
        }
        let to_the_last = chains.into_iter().filter(|chain| chain.last().is_some_and(&last));
        to_the_last.max_by_key(Vec::len).expect("there is such a request")
    }
}

impl Trips {
    /// The first request of each sort since then that is like this: what is gone may be deleted once more.
    fn firsts(&self, since: Instant, is_one: impl Fn(&Trip) -> bool) -> Vec<Trip> {
        let mut firsts: BTreeMap<String, Trip> = BTreeMap::new();
        for trip in self.0.lock().unwrap().iter().filter(|trip| trip.began >= since && is_one(trip)) {
            firsts.entry(trip.what.clone()).or_insert_with(|| trip.clone());
        }
        firsts.into_values().collect()
    }
}

#[test]
fn from_the_last_vote_to_what_it_opens_there_are_three_round_trips() {
    let world = World::without_operator();
    world.install();
    world.start_operator("trips");
    let (story, place) = on_a_runtime(async || {
        let rules = required(&["ConnectionCreation", "RoleChange"]);
        (
            Story::begin_in(&world, "trips", rules.clone()).await,
            Place::make_in(&world, "triproles", &json!({ "approvals": rules })).await,
        )
    });
    world.kill_operator();

    let account = on_a_runtime(async || world.operator().await);
    let trips = Trips::default();
    let meddle = {
        let trips = trips.clone();
        move |request, client| trips.clone().pass(request, client)
    };
    let operator = InProcess::start(&account, &operator_settings("trips"), meddle);
    let alice = world.alice();
    on_a_runtime(async || {
        let connections = story.connections();
        make(&connections, "EnclaveConnection", "out", to_the_ledger()).await;
        let voted =
            vote_on(&world, &story.control("payments"), &wait_for_hold(&connections, "out").await).await;
        wait_for_state(&connections, "out", State::Connected).await;
        let is_policy = |trip: &Trip| made(trip, "networkpolicies");
        assert_at_most_three(&trips.longest_chain(voted, is_policy));

        let assignments = Place::assignments(&alice, &place.control("payments"));
        let spec = json!({"role": "enclave-reader", "principals": [{"kind": "User", "name": "frank"}]});
        crate::roles::make(&assignments, "RoleAssignment", "readers", &spec).await.unwrap();
        let request = wait_for_hold(&assignments, "readers").await;
        let voted = vote_on(&world, &place.control("payments"), &request).await;
        wait_for_state(&assignments, "readers", State::Active).await;
        let control = format!("{}/rolebindings", place.control("payments"));
        assert_at_most_three(&trips.longest_chain(voted, |trip| made(trip, &control)));

        // And what it gives in many namespaces is taken away side by side.
        let assignments = Place::assignments(&alice, "triproles");
        let spec = json!({"role": "community-reader", "principals": [{"kind": "User", "name": "grace"}]});
        crate::roles::make(&assignments, "RoleAssignment", "everywhere", &spec).await.unwrap();
        let request = wait_for_hold(&assignments, "everywhere").await;
        vote_on(&world, "triproles", &request).await;
        wait_for_state(&assignments, "everywhere", State::Active).await;
        let now = Instant::now();
        assignments.delete("everywhere", &DeleteParams::default()).await.unwrap();
        wait_gone(assignments, "everywhere", SOON, "it goes with its rights").await;
        let is_taken = |trip: &Trip| trip.what.starts_with("DELETE") && trip.what.contains("/rolebindings/");
        let taken = trips.firsts(now, is_taken);
        assert!(taken.len() >= 5, "{taken:#?}");
        let (last_began, first_ended) =
            (taken.iter().map(|trip| trip.began).max(), taken.iter().map(|trip| trip.ended).min());
        assert!(last_began < first_ended, "one after the other: {taken:#?}");
    });
    drop(operator);
}

fn made(trip: &Trip, resource: &str) -> bool {
    trip.what.starts_with(Method::POST.as_str()) && trip.what.ends_with(resource)
}

/// The last vote, when nothing else is to do. Returns when it was cast.
async fn vote_on(world: &World, namespace: &str, request: &str) -> Instant {
    wait_for_request_state(&world.bob(), namespace, request, RequestState::Pending).await;
    wait_until_told(world).await;
    let now = Instant::now();
    vote(&world.bob(), namespace, request, Verdict::Approved, None).await.unwrap();
    now
}

fn assert_at_most_three(chain: &[Trip]) {
    let names: Vec<&str> = chain.iter().map(|trip| trip.what.as_str()).collect();
    assert!(names.len() <= 3, "{} requests in a row: {names:#?}", names.len());
    println!("{names:#?}");
}
