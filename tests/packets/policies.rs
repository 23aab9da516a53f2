//! What passes under NetworkPolicies that were written by hand. Tests of the operator believe the
//! lab, so this shows what it can tell apart.

use std::net::Ipv4Addr;

use kube::Client;
use serde_json::json;

use crate::lab;
use crate::support::policies::{
    delete_policy, deny_all, egress, egress_to_addresses, ingress, make_namespace, make_policy,
};
use crate::support::{Analyser, Protocol};
use crate::world::WORLD;

fn administrator() -> Client {
    WORLD.administrator()
}

async fn make_closed_namespaces(names: &[&str]) {
    for name in names {
        make_namespace(administrator(), name).await;
        make_policy(administrator(), name, "default-deny", deny_all()).await;
    }
}

#[tokio::test]
async fn only_a_pair_of_policies_opens_what_default_deny_closes() {
    let lab = lab().await;
    for namespace in ["pair-shop", "pair-ledger"] {
        make_namespace(administrator(), namespace).await;
    }
    let api = lab.pod("pair-shop", "api", &[("app", "api")], &[("http", 8080)]).await;
    let batch = lab.pod("pair-shop", "batch", &[("app", "batch")], &[]).await;
    let db = lab.pod("pair-ledger", "db", &[("app", "db")], &[("sql", 5432), ("metrics", 9090)]).await;
    assert!(lab.can_connect(&api, &db, 5432), "without policies everything is open");
    assert!(lab.can_connect(&batch, &db, 9090), "without policies everything is open");

    for namespace in ["pair-shop", "pair-ledger"] {
        make_policy(administrator(), namespace, "default-deny", deny_all()).await;
    }
    let closed = lab.eventually_closed(&api, &db, 5432).await;
    lab.settle().await;
    assert!(!lab.can_connect(&batch, &db, 9090));
    assert!(!lab.can_connect(&batch, &api, 8080), "inside a namespace too");

    let port = json!(5432);
    make_policy(administrator(), "pair-ledger", "in", ingress("db", "pair-shop", "api", &port)).await;
    lab.settle().await;
    assert!(!lab.can_connect(&api, &db, 5432), "half a pair opens nothing");

    make_policy(administrator(), "pair-shop", "out", egress("api", "pair-ledger", "db", &port)).await;
    let opened = lab.eventually_open(&api, &db, 5432).await;
    lab.settle().await;
    assert!(!lab.can_connect(&api, &db, 9090), "another port");
    assert!(!lab.can_connect(&batch, &db, 5432), "a neighbour");
    assert!(!lab.can_connect(&db, &api, 8080), "the way back");

    delete_policy(administrator(), "pair-ledger", "in").await;
    let closed_again = lab.eventually_closed(&api, &db, 5432).await;
    println!("closed after {closed:?}, opened after {opened:?}, closed again after {closed_again:?}");
}

#[tokio::test]
async fn what_is_settled_is_in_force() {
    let lab = lab().await;
    make_closed_namespaces(&["settle-shop", "settle-ledger"]).await;
    let api = lab.pod("settle-shop", "api", &[("app", "api")], &[]).await;
    let db = lab.pod("settle-ledger", "db", &[("app", "db")], &[("sql", 5432)]).await;
    let port = json!("sql");
    make_policy(administrator(), "settle-shop", "out", egress("api", "settle-ledger", "db", &port)).await;
    for _ in 0..5 {
        let spec = ingress("db", "settle-shop", "api", &port);
        make_policy(administrator(), "settle-ledger", "in", spec).await;
        lab.settle().await;
        assert!(lab.can_connect(&api, &db, 5432));
        delete_policy(administrator(), "settle-ledger", "in").await;
        lab.settle().await;
        assert!(!lab.can_connect(&api, &db, 5432));
    }
    // A Pod that comes later finds the policies in force.
    let spec = ingress("db", "settle-shop", "api", &port);
    make_policy(administrator(), "settle-ledger", "in", spec).await;
    let second = lab.pod("settle-ledger", "db-2", &[("app", "db")], &[("sql", 6432), ("http", 80)]).await;
    assert!(lab.can_connect(&api, &second, 6432));
    assert!(!lab.can_connect(&api, &second, 80));
}

#[tokio::test]
async fn addresses_outside_are_reached_as_far_as_the_block_goes() {
    let lab = lab().await;
    make_closed_namespaces(&["outside"]).await;
    let api = lab.pod("outside", "api", &[("app", "api")], &[("http", 8080)]).await;
    let partner = lab.outsider(Ipv4Addr::new(203, 0, 113, 7), &[443, 80]);
    let excepted = lab.outsider(Ipv4Addr::new(203, 0, 113, 200), &[443]);
    let stranger = lab.outsider(Ipv4Addr::new(198, 51, 100, 7), &[443]);
    assert!(lab.can_connect(&partner, &stranger, 443), "outside nobody is hindered");
    assert!(!lab.can_connect(&api, &partner, 443));

    let spec = egress_to_addresses("api", "203.0.113.0/24", &["203.0.113.128/25"], &json!(443));
    make_policy(administrator(), "outside", "out", spec).await;
    lab.eventually_open(&api, &partner, 443).await;
    assert!(!lab.can_connect(&api, &partner, 80));
    assert!(!lab.can_connect(&api, &excepted, 443));
    assert!(!lab.can_connect(&api, &stranger, 443));
    assert!(!lab.can_connect(&partner, &api, 8080));
}

#[tokio::test]
async fn packets_pass_where_the_analyser_says() {
    let lab = lab().await;
    make_closed_namespaces(&["both-a", "both-b"]).await;
    make_namespace(administrator(), "both-open").await;
    let ports = [("first", 1111), ("second", 2222)];
    let mut pods = Vec::new();
    for namespace in ["both-a", "both-b", "both-open"] {
        for app in ["x", "y"] {
            pods.push(lab.pod(namespace, app, &[("app", app)], &ports).await);
        }
    }
    let (first, second) = (json!("first"), json!(2222));
    make_policy(administrator(), "both-a", "out", egress("x", "both-b", "y", &first)).await;
    make_policy(administrator(), "both-b", "in", ingress("y", "both-a", "x", &first)).await;
    make_policy(administrator(), "both-b", "from-open", ingress("x", "both-open", "y", &second)).await;
    make_policy(administrator(), "both-b", "to-open", egress("x", "both-open", "x", &second)).await;
    lab.settle().await;

    let reachability = Analyser::of(&WORLD.plane).unwrap().reachability();
    assert_eq!(
        reachability.touching("both-b"),
        [
            "both-a/x → both-b/y TCP 1111",
            "both-b/x → both-open/x TCP 2222",
            "both-open/y → both-b/x TCP 2222",
        ]
    );
    // To itself a Pod needs nobody's leave, and the analyser lists no such flow.
    let pairs = pods.iter().flat_map(|from| pods.iter().map(move |to| (from, to)));
    for (from, to) in pairs.filter(|(from, to)| from.name() != to.name()) {
        for (_, port) in ports {
            let expected = reachability.allows(from.name(), to.name(), Protocol::Tcp, port);
            assert_eq!(lab.can_connect(from, to, port), expected, "{from} to {to} at port {port}");
        }
    }
}
