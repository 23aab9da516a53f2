//! What objects cost that are in no namespace of the operator's.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Measuring, limit};
use crate::create::Creator;
use crate::stage::{Stage, Started};

const NAMESPACES: usize = 10;
/// Bytes of an annotation that people put on large objects. Annotations of one object have 256 KiB at most.
const LARGE: usize = 250_000;

pub async fn measure(measuring: &mut Measuring<'_>, stage: &mut Stage) {
    let (many, large) = (measuring.settings.foreign, measuring.settings.large);
    stage.wait_until_quiet(limit(measuring.size)).await;
    // The second start finds the API server as warm as the later ones do.
    restart(stage).await;
    let before = restart(stage).await;
    let others = Creator::new(stage.administrator.clone());
    for number in 0..NAMESPACES {
        let namespace: Namespace = from(json!({"metadata": {"name": foreign(number)}}));
        others.create_in(&stage.everywhere(), &namespace).await;
    }
    measuring.say(&format!("making {many} objects of three kinds elsewhere"));
    let object = |kind: &'static str, number: usize| json!({"metadata": {"name": format!("{kind}{number:05}"), "namespace": foreign(number % NAMESPACES)}});
    others.create_all((0..many).map(|number| from::<ServiceAccount>(object("sa", number)))).await;
    let bindings = (0..many).map(|number| {
        let mut binding = object("rb", number);
        binding["roleRef"] =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
        binding["subjects"] =
            json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("u{number}")}]);
        from::<RoleBinding>(binding)
    });
    others.create_all(bindings).await;
    others.create_all((0..many).map(|number| policy(object("np", number)))).await;
    let with_many = restart(stage).await;
    report(
        measuring,
        &format!("{many} RoleBindings, ServiceAccounts and NetworkPolicies"),
        &before,
        &with_many,
    );

    measuring.say(&format!("making {large} objects with annotations of 250 kB elsewhere"));
    let annotation = "x".repeat(LARGE);
    let policies = (0..large).map(|number| {
        let mut large = object("large", number);
        large["metadata"]["annotations"] = json!({ "example.com/large": annotation });
        policy(large)
    });
    others.create_all(policies).await;
    let with_large = restart(stage).await;
    report(
        measuring,
        &format!("{large} NetworkPolicies with annotations of 250 kB"),
        &with_many,
        &with_large,
    );
}

async fn restart(stage: &mut Stage) -> Started {
    stage.stop_operator();
    stage.start_operator().await
}

fn report(measuring: &mut Measuring<'_>, of: &str, before: &Started, after: &Started) {
    let figures = [
        ("resident memory", after.resident - before.resident, [before.resident, after.resident]),
        ("peak of memory in a restart", after.peak - before.peak, [before.peak, after.peak]),
    ];
    for (what, more, raw) in figures {
        let figure = measuring.figure(format!("{what} more with {of} elsewhere"), "MiB", more);
        measuring.add(figure.raw(json!(raw)).at_most(2.0));
    }
    let more = (after.cpu - before.cpu) * 1000.0;
    measuring.add(measuring.figure(
        format!("processor time of a start more with {of} elsewhere"),
        "ms",
        more,
    ));
}

fn foreign(number: usize) -> String {
    format!("foreign-{number}")
}

fn policy(mut object: Value) -> NetworkPolicy {
    object["spec"] = json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]});
    from(object)
}

fn from<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("the JSON is an object of this kind")
}
