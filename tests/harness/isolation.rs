//! What the analyser says of NetworkPolicies that were written by hand. Tests of the operator
//! believe it, so this shows what it can tell apart.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

use enclave_operator_testing::policies::{
    delete_policy, deny_all, egress, egress_to_addresses, ingress, make_namespace, make_policy,
};
use enclave_operator_testing::{Analyser, ParseError, PretendedPod, Protocol, Reachability};
use serde_json::json;

use crate::{PLANE, administrator};

/// Tests share the cluster, and every Pod needs an address of its own.
static ADDRESSES: AtomicU8 = AtomicU8::new(2);

fn reachability() -> Reachability {
    Analyser::of(&PLANE).unwrap_or_else(|error| panic!("{error}")).reachability()
}

/// A Pod with the label `app` and these named TCP ports.
async fn make_pod(namespace: &str, app: &str, ports: &[(&str, u16)]) {
    let address = Ipv4Addr::new(10, 244, 0, ADDRESSES.fetch_add(1, Ordering::Relaxed));
    let labels = &[("app", app)];
    let node_address = Ipv4Addr::new(192, 0, 2, 1);
    PretendedPod { namespace, name: app, labels, ports, address, node_address }.create(administrator()).await;
}

#[tokio::test]
async fn only_a_pair_of_policies_opens_what_default_deny_closes() {
    for namespace in ["pair-shop", "pair-ledger", "pair-stranger"] {
        make_namespace(administrator(), namespace).await;
    }
    for (namespace, app) in [
        ("pair-shop", "api"),
        ("pair-shop", "batch"),
        ("pair-ledger", "db"),
        ("pair-ledger", "cache"),
        ("pair-stranger", "api"),
    ] {
        make_pod(namespace, app, &[("main", 5432)]).await;
    }
    let open = reachability();
    assert!(open.allows("pair-shop/api", "pair-ledger/db", Protocol::Tcp, 5432));
    assert!(open.allows("pair-stranger/api", "pair-ledger/db", Protocol::Udp, 53));
    assert!(open.allows("198.51.100.7", "pair-ledger/db", Protocol::Tcp, 22));
    assert!(!open.allows("pair-shop/nobody", "pair-ledger/db", Protocol::Tcp, 5432));

    for namespace in ["pair-shop", "pair-ledger"] {
        make_policy(administrator(), namespace, "default-deny", deny_all()).await;
    }
    let closed = reachability();
    assert_eq!(closed.touching("pair-shop"), [""; 0]);
    assert_eq!(closed.touching("pair-ledger"), [""; 0]);
    assert!(!closed.allows("198.51.100.7", "pair-ledger/db", Protocol::Tcp, 22));

    let port = json!(5432);
    make_policy(administrator(), "pair-ledger", "in", ingress("db", "pair-shop", "api", &port)).await;
    assert_eq!(reachability().touching("pair-ledger"), [""; 0], "half a pair opens nothing");

    make_policy(administrator(), "pair-shop", "out", egress("api", "pair-ledger", "db", &port)).await;
    let paired = reachability();
    assert_eq!(paired.touching("pair-ledger"), ["pair-shop/api → pair-ledger/db TCP 5432"]);
    assert_eq!(paired.touching("pair-shop"), paired.touching("pair-ledger"));
    assert!(paired.allows("pair-shop/api", "pair-ledger/db", Protocol::Tcp, 5432));
    assert!(!paired.allows("pair-shop/api", "pair-ledger/db", Protocol::Tcp, 5433));
    assert!(!paired.allows("pair-shop/api", "pair-ledger/db", Protocol::Udp, 5432));
    assert!(!paired.allows("pair-ledger/db", "pair-shop/api", Protocol::Tcp, 5432));

    delete_policy(administrator(), "pair-ledger", "in").await;
    assert_eq!(reachability().touching("pair-shop"), [""; 0]);
}

#[tokio::test]
async fn a_named_port_means_the_number_that_each_pod_gives_it() {
    for namespace in ["named-shop", "named-ledger"] {
        make_namespace(administrator(), namespace).await;
        make_policy(administrator(), namespace, "default-deny", deny_all()).await;
    }
    make_pod("named-shop", "api", &[]).await;
    make_pod("named-ledger", "old", &[("sql", 5432), ("metrics", 9090)]).await;
    make_pod("named-ledger", "new", &[("sql", 6432)]).await;
    make_pod("named-ledger", "none", &[("http", 8080)]).await;

    let port = json!("sql");
    for app in ["old", "new", "none"] {
        let (to, from) = ("named-ledger", "named-shop");
        make_policy(administrator(), to, app, ingress(app, from, "api", &port)).await;
        make_policy(administrator(), from, app, egress("api", to, app, &port)).await;
    }
    assert_eq!(
        reachability().touching("named-ledger"),
        ["named-shop/api → named-ledger/new TCP 6432", "named-shop/api → named-ledger/old TCP 5432"]
    );
}

#[tokio::test]
async fn addresses_outside_are_reached_as_far_as_the_block_goes() {
    make_namespace(administrator(), "outside").await;
    make_policy(administrator(), "outside", "default-deny", deny_all()).await;
    make_pod("outside", "api", &[]).await;
    make_pod("outside", "batch", &[]).await;
    let spec = egress_to_addresses("api", "203.0.113.0/24", &["203.0.113.128/25"], &json!(443));
    make_policy(administrator(), "outside", "out", spec).await;

    let reachability = reachability();
    assert_eq!(reachability.touching("outside"), ["outside/api → 203.0.113.0-203.0.113.127 TCP 443"]);
    assert!(reachability.allows("outside/api", "203.0.113.127", Protocol::Tcp, 443));
    assert!(!reachability.allows("outside/api", "203.0.113.128", Protocol::Tcp, 443));
    assert!(!reachability.allows("outside/api", "203.0.113.127", Protocol::Tcp, 80));
    assert!(!reachability.allows("203.0.113.127", "outside/api", Protocol::Tcp, 443));
}

#[test]
fn an_answer_that_is_not_understood_is_an_error() {
    let flow = |from: &str, traffic: &str| {
        Reachability::parse(&json!([{"src": from, "dst": "a/b[Pod]", "conn": traffic}]).to_string())
    };
    let read = flow("10.0.0.0-10.0.0.255", "TCP 80,8000-8080,UDP 53").unwrap();
    assert_eq!(read.touching("a"), ["10.0.0.0-10.0.0.255 → a/b TCP 80,8000-8080 UDP 53"]);
    assert!(read.allows("10.0.0.9", "a/b", Protocol::Tcp, 8001));
    assert!(!read.allows("10.0.0.9", "a/b", Protocol::Udp, 8001));

    assert_eq!(flow("somewhere", "TCP 80"), Err(ParseError::Peer("somewhere".to_owned())));
    for traffic in ["No Connections", "80", "TCP", "TCP http", "QUIC 443", "TCP 80-", ""] {
        assert_eq!(flow("a/c[Pod]", traffic), Err(ParseError::Traffic(traffic.to_owned())));
    }
    assert!(matches!(Reachability::parse("{}"), Err(ParseError::Json(_))));
}
