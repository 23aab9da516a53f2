//! Who talks with the operator's Pods, as the analyser of NetworkPolicies reads what the chart renders.

use serde_json::{Value, json};

use super::support::{Analyser, Protocol, Reachability};
use super::{objects, render, the_only};

const OPERATOR: &str = "enclave-system/operator";
const PROMETHEUS: &str = "monitoring/prometheus";
const DNS: &str = "kube-system/dns";
const STRANGER: &str = "shop/stranger";

#[test]
fn only_what_the_operator_needs_reaches_it_or_is_reached() {
    let default = reachability("default");
    for peer in [PROMETHEUS, STRANGER] {
        assert!(default.allows(peer, OPERATOR, Protocol::Tcp, 8080), "{peer}");
        assert!(!default.allows(peer, OPERATOR, Protocol::Tcp, 8081), "{peer}");
        assert!(!default.allows(peer, OPERATOR, Protocol::Udp, 8080), "{peer}");
    }
    assert!(default.allows(OPERATOR, DNS, Protocol::Udp, 53));
    assert!(!default.allows(OPERATOR, STRANGER, Protocol::Udp, 53));
    for (port, open) in [(443, true), (6443, true), (80, false), (25, false)] {
        assert_eq!(default.allows(OPERATOR, "10.0.0.1", Protocol::Tcp, port), open, "{port}");
    }

    // Guarded: metrics for Prometheus only, one API server, one server for the audit stream.
    let guarded = reachability("everything");
    assert!(guarded.allows(PROMETHEUS, OPERATOR, Protocol::Tcp, 8080));
    assert!(!guarded.allows(STRANGER, OPERATOR, Protocol::Tcp, 8080));
    assert!(!guarded.allows(OPERATOR, STRANGER, Protocol::Tcp, 443));
    for (address, port, open) in [
        ("10.0.0.1", 443, true),
        ("10.0.0.1", 6443, false),
        ("10.0.0.2", 443, false),
        ("192.0.2.7", 443, true),
        ("198.51.100.1", 443, false),
    ] {
        assert_eq!(guarded.allows(OPERATOR, address, Protocol::Tcp, port), open, "{address} {port}");
    }

    // It is the policy that does it.
    let open = reachability("minimal");
    assert!(open.allows(STRANGER, OPERATOR, Protocol::Tcp, 8081));
    assert!(open.allows(OPERATOR, "198.51.100.1", Protocol::Tcp, 25));
}

/// What passes between a Pod of the Deployment and some others.
fn reachability(set: &str) -> Reachability {
    let rendered = objects(&render(set));
    let template = &the_only(&rendered, "Deployment")["spec"]["template"];
    let mut items =
        vec![pod(OPERATOR, &template["metadata"]["labels"], &template["spec"]["containers"][0], 1)];
    let container = json!({"name": "main", "image": "none"});
    for (number, peer, app) in [(2, PROMETHEUS, "prometheus"), (3, DNS, "dns"), (4, STRANGER, "stranger")] {
        items.push(pod(peer, &json!({"app.kubernetes.io/name": app}), &container, number));
    }
    for name in ["enclave-system", "monitoring", "kube-system", "shop"] {
        let labels = json!({"kubernetes.io/metadata.name": name});
        items.push(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
        );
    }
    items.extend(rendered.iter().filter(|object| object["kind"] == "NetworkPolicy").map(without_ipv6));
    let folder = tempfile::tempdir().unwrap();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    std::fs::write(folder.path().join("cluster.json"), list.to_string()).unwrap();
    Analyser::of_folder(folder.path()).unwrap().list().unwrap()
}

fn pod(name: &str, labels: &Value, container: &Value, number: u8) -> Value {
    let (namespace, name) = name.split_once('/').unwrap();
    let address = format!("10.244.0.{number}");
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"containers": [{"name": container["name"], "image": container["image"], "ports": container["ports"]}]},
        "status": {"hostIP": "192.0.2.1", "podIP": address, "podIPs": [{"ip": address}]},
    })
}

/// The analyser knows no IPv6.
fn without_ipv6(policy: &Value) -> Value {
    let mut policy = policy.clone();
    for rule in policy["spec"]["egress"].as_array_mut().unwrap() {
        if let Some(peers) = rule["to"].as_array_mut() {
            peers.retain(|peer| !peer["ipBlock"]["cidr"].as_str().unwrap_or_default().contains(':'));
        }
    }
    policy
}
