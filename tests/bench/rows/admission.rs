//! What the admission policies add to creating an object.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use enclave_operator::api::Enclave;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::PostParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Measuring;
use crate::figures::{milliseconds, percentile};
use crate::measure::{SERVER, wait_until_quiet};
use crate::stage::Stage;
use crate::support::wait_until;

const NAMESPACE: &str = "elsewhere";
const LIMIT: Duration = Duration::from_secs(60);
const POLICIES: &str = "mutatingadmissionpolicybindings,validatingadmissionpolicybindings,\
                        mutatingadmissionpolicies,validatingadmissionpolicies";

/// Two clusters that take turns, one of them without our policies. The operator runs in neither.
pub async fn measure(measuring: &mut Measuring<'_>) {
    let with = Stage::set(measuring.settings).await;
    measuring.report.machine().ask(with.plane.administrator_user());
    let without = Stage::set(measuring.settings).await;
    let administrator = without.plane.administrator_user();
    administrator
        .kubectl(&["delete", POLICIES, "--selector=app.kubernetes.io/part-of=enclave-operator"])
        .expect_success();
    for stage in [&with, &without] {
        prepare(stage).await;
        wait_until_quiet(stage.plane.api_server_id(), SERVER, LIMIT).await;
    }
    let our = json!({"spec": {}});
    kind::<Enclave>(measuring, &with, &without, "Enclave", &our).await;
    let pod = json!({"spec": {"containers": [{"name": "main", "image": "nothing"}]}});
    kind::<Pod>(measuring, &with, &without, "Pod", &pod).await;
    let policy = json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}});
    kind::<NetworkPolicy>(measuring, &with, &without, "NetworkPolicy", &policy).await;
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    });
    kind::<RoleBinding>(measuring, &with, &without, "RoleBinding", &binding).await;
}

async fn prepare(stage: &Stage) {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    stage.everywhere().create(&PostParams::default(), &namespace).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(stage.administrator.clone(), NAMESPACE);
    wait_until(accounts, "default", LIMIT, "pods can be made", |_| true).await;
}

async fn kind<K>(measuring: &mut Measuring<'_>, with: &Stage, without: &Stage, name: &str, body: &Value)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let count = measuring.settings.creations;
    let turns: Vec<bool> = (0..measuring.settings.pairs)
        .flat_map(|pair| if pair.is_multiple_of(2) { [true, false] } else { [false, true] })
        .collect();
    let mut latencies = [Vec::new(), Vec::new()];
    // What is asked for the first time takes longer.
    for stage in [with, without] {
        create::<K>(stage.administrator.clone(), "warm", count, body).await;
    }
    for (turn, is_with) in turns.into_iter().enumerate() {
        let stage = if is_with { with } else { without };
        let client = stage.administrator.clone();
        let taken = create::<K>(client, &format!("t{turn}"), count, body).await;
        latencies[usize::from(!is_with)].extend(taken);
    }
    let [with, without] = latencies;
    for (what, share) in [("p50", 0.5), ("p99", 0.99)] {
        let pair = (percentile(&with, share), percentile(&without, share));
        let what = format!("CREATE of one {name}, {what}; bare: without our policies");
        let figure = measuring.paired(&what, "ms", &[pair]).raw(json!({ "with": with, "without": without }));
        measuring.add(figure.ratio_at_most(1.5));
    }
}

async fn create<K>(client: Client, prefix: &str, count: usize, body: &Value) -> Vec<f64>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client, NAMESPACE);
    let mut latencies = Vec::new();
    for number in 0..count {
        let mut object = body.clone();
        object["metadata"] = json!({"name": format!("{prefix}-{number:03}")});
        let object: K = from(object);
        let began = Instant::now();
        api.create(&PostParams::default(), &object).await.unwrap();
        latencies.push(milliseconds(began.elapsed()));
    }
    latencies
}

fn from<K: Resource<DynamicType = ()> + DeserializeOwned>(mut object: Value) -> K {
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    serde_json::from_value(object).expect("the JSON is an object of this kind")
}
