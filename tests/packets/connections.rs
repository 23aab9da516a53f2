//! What people decide about a connection is what happens to packets.

use std::net::Ipv4Addr;

use enclave_operator::api::approval_request::Verdict;
use enclave_operator::api::{CommunityEndpoint, EnclaveConnection, EnclaveEndpoint, EnclaveWorkload, State};
use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::lab;
use crate::lab::{Host, Lab};
use crate::support::Analyser;
use crate::world::{
    WORLD, Watched, active_community, enclave, enclaves, namespaced, object, patch, vote, wait_for_hold,
    wait_for_state,
};

/// A Community with the Enclave "shop" with the workloads "web" and "batch", and the Enclave "ledger" with
/// the workload "main" and the endpoint "db". Connections wait for approval.
struct Story {
    community: String,
    lab: &'static Lab<'static>,
    connections: Api<EnclaveConnection>,
    endpoints: Api<EnclaveEndpoint>,
    /// In web.
    api: Host,
    /// In batch, the neighbour.
    batch: Host,
    /// In main, behind the endpoint.
    db: Host,
    /// In main too, and not behind it.
    cache: Host,
}

async fn make<K: Watched>(api: &Api<K>, name: &str, spec: Value) {
    let wanted: K = object(json!({
        "apiVersion": "enclave-operator.io/v1alpha1", "kind": K::KIND.to_string(),
        "metadata": {"name": name}, "spec": spec,
    }));
    api.create(&PostParams::default(), &wanted).await.unwrap();
}

impl Story {
    async fn begin(community: &str) -> Self {
        let lab = lab().await;
        let (alice, erin) = (WORLD.alice(), WORLD.erin());
        let rules =
            ["ConnectionCreation"].map(|operation| json!({"operation": operation, "policy": "Required"}));
        active_community(&WORLD, community, &json!({"approvals": {"rules": rules}})).await;
        let declared = enclaves(&alice, community);
        for (name, inside) in [("shop", &["web", "batch"][..]), ("ledger", &["main"])] {
            declared.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
            wait_for_state(&declared, name, State::Active).await;
            let workloads: Api<EnclaveWorkload> = namespaced(erin.client(), &format!("{community}-{name}"));
            for workload in inside {
                make(&workloads, workload, json!({})).await;
                wait_for_state(&workloads, workload, State::Active).await;
            }
        }
        let (web, batch, main) = ("shop-web", "shop-batch", "ledger-main");
        let [web, batch, main] = [web, batch, main].map(|name| format!("{community}-{name}"));
        let story = Self {
            connections: namespaced(erin.client(), &format!("{community}-shop")),
            endpoints: namespaced(erin.client(), &format!("{community}-ledger")),
            api: lab.pod(&web, "api", &[("app", "api")], &[("http", 8080)]).await,
            batch: lab.pod(&batch, "batch", &[("app", "api")], &[("http", 8080)]).await,
            db: lab.pod(&main, "db", &[("app", "db")], &[("sql", 5432), ("metrics", 9090)]).await,
            cache: lab.pod(&main, "cache", &[("app", "cache")], &[("sql", 5432)]).await,
            community: community.to_owned(),
            lab,
        };
        story.offer_db().await;
        story
    }

    async fn offer_db(&self) {
        let ports = json!([{"protocol": "TCP", "port": 5432}]);
        let selector = json!({"matchLabels": {"app": "db"}});
        let spec = json!({"workload": "main", "podSelector": selector, "ports": ports});
        make(&self.endpoints, "db", spec).await;
        wait_for_state(&self.endpoints, "db", State::Active).await;
    }

    /// Asks for a connection to the endpoint, and returns the name of the request.
    async fn ask(&self, name: &str, mut spec: Value) -> String {
        spec["source"] = json!({"workloads": ["web"]});
        if spec.get("destination").is_none() {
            spec["destination"] = json!({"enclaveEndpoint": {"enclave": "ledger", "name": "db"}});
        }
        make(&self.connections, name, spec).await;
        wait_for_hold(&self.connections, name).await
    }

    async fn approve(&self, request: &str) {
        let control = format!("{}-shop", self.community);
        vote(&WORLD.bob(), &control, request, Verdict::Approved, None).await.unwrap();
    }

    /// Nothing that nobody approved passes, whatever else does.
    fn assert_the_rest_is_shut(&self) {
        let Self { lab, api, batch, db, cache, .. } = self;
        assert!(!lab.can_connect(batch, db, 5432), "the neighbour that nobody approved");
        assert!(!lab.can_connect(batch, api, 8080), "the other workload of the same Enclave");
        assert!(!lab.can_connect(api, batch, 8080), "the other workload of the same Enclave");
        assert!(!lab.can_connect(api, db, 9090), "another port");
        assert!(!lab.can_connect(api, cache, 5432), "another pod");
        assert!(!lab.can_connect(db, api, 8080), "the way back");
    }
}

#[tokio::test]
async fn packets_pass_while_a_connection_is_approved_and_enabled() {
    let story = Story::begin("pk").await;
    let Story { lab, api, db, cache, connections, .. } = &story;
    assert!(lab.can_connect(db, cache, 5432), "a workload's own pods reach each other");

    let request = story.ask("to-ledger", json!({})).await;
    lab.settle().await;
    assert!(!lab.can_connect(api, db, 5432), "it waits for approval");
    story.assert_the_rest_is_shut();

    story.approve(&request).await;
    let opened = lab.eventually_open(api, db, 5432).await;
    lab.settle().await;
    story.assert_the_rest_is_shut();
    let reachability = Analyser::of(&WORLD.plane).unwrap().reachability();
    assert_eq!(reachability.touching("pk-shop-web"), ["pk-shop-web/api → pk-ledger-main/db TCP 5432"]);

    patch(connections, "to-ledger", json!({"spec": {"enabled": false}})).await.unwrap();
    let closed = lab.eventually_closed(api, db, 5432).await;
    println!("opened {opened:?} after the vote, closed {closed:?} after the edit");
}

#[tokio::test]
async fn packets_stop_when_a_connection_goes_ends_or_loses_its_endpoint() {
    let story = Story::begin("pe").await;
    let Story { lab, api, db, connections, endpoints, .. } = &story;

    let request = story.ask("goes", json!({})).await;
    story.approve(&request).await;
    lab.eventually_open(api, db, 5432).await;
    connections.delete("goes", &DeleteParams::default()).await.unwrap();
    let gone = lab.eventually_closed(api, db, 5432).await;

    // It ends by itself, at the moment that it says.
    let end = Timestamp::now() + SignedDuration::from_secs(6);
    let request = story.ask("ends", json!({"expiresAt": end.to_string()})).await;
    story.approve(&request).await;
    lab.eventually_open(api, db, 5432).await;
    lab.eventually_closed(api, db, 5432).await;
    // The API server tells its time in whole seconds.
    let late = Timestamp::now().duration_since(end).as_secs_f64();
    assert!((-1.0..2.0).contains(&late), "it ended {late:.2} s after its end");

    // Without its endpoint nothing passes; one that is made again needs a new approval.
    let request = story.ask("loses", json!({})).await;
    story.approve(&request).await;
    lab.eventually_open(api, db, 5432).await;
    endpoints.delete("db", &DeleteParams::default()).await.unwrap();
    let lost = lab.eventually_closed(api, db, 5432).await;
    lab.settle().await;
    story.assert_the_rest_is_shut();
    println!("closed {gone:?} after the deletion, {late:.2} s after its end, {lost:?} without its endpoint");
}

#[tokio::test]
async fn packets_leave_the_cluster_by_an_approved_connection_only() {
    let story = Story::begin("po").await;
    let Story { lab, api, batch, .. } = &story;
    let partner = lab.outsider(Ipv4Addr::new(192, 0, 2, 7), &[443, 80]);
    let stranger = lab.outsider(Ipv4Addr::new(192, 0, 2, 200), &[443]);
    let offered: Api<CommunityEndpoint> = namespaced(WORLD.alice().client(), "po");
    let destination = json!({"cidrs": [{"cidr": "192.0.2.0/25"}]});
    make(&offered, "partner", json!({"destination": destination, "ports": [{"port": 443}]})).await;
    wait_for_state(&offered, "partner", State::Active).await;

    let to_partner = json!({"destination": {"communityEndpoint": {"name": "partner"}}});
    let request = story.ask("to-partner", to_partner).await;
    lab.settle().await;
    assert!(!lab.can_connect(api, &partner, 443), "it waits for approval");

    story.approve(&request).await;
    lab.eventually_open(api, &partner, 443).await;
    lab.settle().await;
    assert!(!lab.can_connect(api, &partner, 80), "another port");
    assert!(!lab.can_connect(api, &stranger, 443), "another address");
    assert!(!lab.can_connect(batch, &partner, 443), "the neighbour that nobody approved");
    story.assert_the_rest_is_shut();

    let live = story.connections.get("to-partner").await.unwrap();
    story.connections.delete(&live.name_any(), &DeleteParams::default()).await.unwrap();
    lab.eventually_closed(api, &partner, 443).await;
}
