//! What people decide about a connection is what happens to packets.

use enclave_operator::api::approval_request::Verdict;
use enclave_operator::api::{EnclaveConnection, EnclaveEndpoint, EnclaveWorkload, State};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::lab;
use crate::support::Analyser;
use crate::world::{
    WORLD, Watched, active_community, enclave, enclaves, namespaced, object, patch, vote, wait_for_hold,
    wait_for_state,
};

async fn make<K: Watched>(api: &Api<K>, name: &str, spec: Value) {
    let wanted: K = object(json!({
        "apiVersion": "enclave-operator.io/v1alpha1", "kind": K::KIND.to_string(),
        "metadata": {"name": name}, "spec": spec,
    }));
    api.create(&PostParams::default(), &wanted).await.unwrap();
}

#[tokio::test]
async fn packets_pass_while_a_connection_is_approved_and_enabled() {
    let lab = lab().await;
    let (alice, erin, bob) = (WORLD.alice(), WORLD.erin(), WORLD.bob());
    let rules = ["ConnectionCreation"].map(|operation| json!({"operation": operation, "policy": "Required"}));
    active_community(&WORLD, "pk", &json!({"approvals": {"rules": rules}})).await;
    let declared = enclaves(&alice, "pk");
    for (name, workload) in [("shop", "web"), ("ledger", "main")] {
        declared.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
        wait_for_state(&declared, name, State::Active).await;
        let workloads: Api<EnclaveWorkload> = namespaced(erin.client(), &format!("pk-{name}"));
        make(&workloads, workload, json!({})).await;
        wait_for_state(&workloads, workload, State::Active).await;
    }
    let endpoints: Api<EnclaveEndpoint> = namespaced(erin.client(), "pk-ledger");
    let ports = json!([{"protocol": "TCP", "port": 5432}]);
    let selector = json!({"matchLabels": {"app": "db"}});
    make(&endpoints, "db", json!({"workload": "main", "podSelector": selector, "ports": ports})).await;
    wait_for_state(&endpoints, "db", State::Active).await;

    let api = lab.pod("pk-shop-web", "api", &[("app", "api")], &[("http", 8080)]).await;
    let db = lab.pod("pk-ledger-main", "db", &[("app", "db")], &[("sql", 5432), ("metrics", 9090)]).await;
    let cache = lab.pod("pk-ledger-main", "cache", &[("app", "cache")], &[("sql", 5432)]).await;
    assert!(lab.can_connect(&db, &cache, 5432), "a workload's own pods reach each other");

    let connections: Api<EnclaveConnection> = namespaced(erin.client(), "pk-shop");
    let destination = json!({"enclaveEndpoint": {"enclave": "ledger", "name": "db"}});
    let spec = json!({"source": {"workloads": ["web"]}, "destination": destination});
    make(&connections, "to-ledger", spec).await;
    let request = wait_for_hold(&connections, "to-ledger").await;
    lab.settle().await;
    assert!(!lab.can_connect(&api, &db, 5432), "it waits for approval");

    vote(&bob, "pk-shop", &request, Verdict::Approved, None).await.unwrap();
    let opened = lab.eventually_open(&api, &db, 5432).await;
    lab.settle().await;
    assert!(!lab.can_connect(&api, &db, 9090), "another port");
    assert!(!lab.can_connect(&api, &cache, 5432), "another pod");
    assert!(!lab.can_connect(&db, &api, 8080), "the way back");
    let reachability = Analyser::of(&WORLD.plane).unwrap().reachability();
    assert_eq!(reachability.touching("pk-shop-web"), ["pk-shop-web/api → pk-ledger-main/db TCP 5432"]);

    patch(&connections, "to-ledger", json!({"spec": {"enabled": false}})).await.unwrap();
    let closed = lab.eventually_closed(&api, &db, 5432).await;
    println!("opened {opened:?} after the vote, closed {closed:?} after the edit");
}
