//! NetworkPolicies as somebody without the operator writes them. Pods are selected by their
//! label `app`, namespaces by their name.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// No traffic from or to any Pod of the namespace.
pub fn deny_all() -> Value {
    json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
}

/// Lets Pods of another namespace reach `app` at one port, by number or by name.
pub fn ingress(app: &str, from_namespace: &str, from_app: &str, port: &Value) -> Value {
    json!({
        "podSelector": {"matchLabels": {"app": app}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [peer(from_namespace, from_app)], "ports": [{"protocol": "TCP", "port": port}]}],
    })
}

/// Lets `app` reach Pods of another namespace at one port, by number or by name.
pub fn egress(app: &str, to_namespace: &str, to_app: &str, port: &Value) -> Value {
    json!({
        "podSelector": {"matchLabels": {"app": app}},
        "policyTypes": ["Egress"],
        "egress": [{"to": [peer(to_namespace, to_app)], "ports": [{"protocol": "TCP", "port": port}]}],
    })
}

/// Lets `app` reach addresses outside, except some of them, at one port.
pub fn egress_to_addresses(app: &str, cidr: &str, except: &[&str], port: &Value) -> Value {
    json!({
        "podSelector": {"matchLabels": {"app": app}},
        "policyTypes": ["Egress"],
        "egress": [{
            "to": [{"ipBlock": {"cidr": cidr, "except": except}}],
            "ports": [{"protocol": "TCP", "port": port}],
        }],
    })
}

fn peer(namespace: &str, app: &str) -> Value {
    json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": {"app": app}},
    })
}

/// # Panics
/// If the API server refuses.
pub async fn make_namespace(client: Client, name: &str) {
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": name}})).expect("the JSON is a Namespace");
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap_or_else(|error| panic!("failed to make the namespace {name}: {error}"));
}

/// # Panics
/// If the API server refuses.
pub async fn make_policy(client: Client, namespace: &str, name: &str, spec: Value) {
    let policy: NetworkPolicy = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))
        .expect("the specification is one of a NetworkPolicy");
    let policies: Api<NetworkPolicy> = Api::namespaced(client, namespace);
    policies
        .create(&PostParams::default(), &policy)
        .await
        .unwrap_or_else(|error| panic!("failed to make the policy {namespace}/{name}: {error}"));
}

/// # Panics
/// If the API server refuses.
pub async fn delete_policy(client: Client, namespace: &str, name: &str) {
    let policies: Api<NetworkPolicy> = Api::namespaced(client, namespace);
    policies
        .delete(name, &DeleteParams::default())
        .await
        .unwrap_or_else(|error| panic!("failed to delete the policy {namespace}/{name}: {error}"));
}
