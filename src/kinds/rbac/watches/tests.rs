use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::rbac::v1::RoleBinding;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::cluster::workqueue::Outcome;

fn object<K: DeserializeOwned>(mut object: Value) -> K {
    object["metadata"]["uid"] = json!("u");
    object["metadata"]["resourceVersion"] = json!("7");
    serde_json::from_value(object).unwrap()
}

/// The deletion of a namespace may be reported before that of the objects in it.
#[test]
fn what_ends_is_looked_at_when_its_binding_is_gone_and_the_namespace_was_gone_before() {
    let enqueuer = Enqueuer::detached();
    enqueuer.queues.open();
    let caches = &enqueuer.caches;
    let namespace = |name: &str, labels: Value| -> Namespace {
        object(json!({"metadata": {"name": name, "labels": labels}}))
    };
    let is_woken = |namespace: &str| {
        let binding: RoleBinding = object(json!({
            "metadata": {
                "name": crate::model::naming::grant(Kind::RoleActivation, "acme", "night"),
                "namespace": namespace,
            },
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        }));
        caches.role_bindings.apply(Arc::new(binding.clone()));
        RoleAssignment::rbac(&enqueuer, &caches.role_bindings.remove(&binding).unwrap());
        let queue = enqueuer.queues.of(Kind::RoleActivation);
        let taken = queue.take(Priority::Normal, Instant::now());
        taken.is_some_and(|key| {
            queue.finish(&key, Outcome::Done, Instant::now());
            key == Key::new("acme", "night")
        })
    };
    caches.namespaces.apply(Arc::new(namespace("pods", json!({label::OWNER_UID: "w"}))));
    caches.namespaces.apply(Arc::new(namespace("others", json!({}))));
    assert!(is_woken("pods"));
    assert!(!is_woken("others"), "nobody is kept busy from elsewhere");
    caches.namespaces.remove(&namespace("pods", json!({})));
    assert!(is_woken("pods"));
}
