//! What the admission policies add to a request.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use enclave_operator::api::names::{OPERATOR, label, purpose};
use enclave_operator::api::{ApprovalRequest, Enclave, EnclaveConnection, RoleAssignment};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Measuring, Turn, turns};
use crate::create::each;
use crate::figures::{milliseconds, percentile};
use crate::measure::{SERVER, wait_until_quiet};
use crate::stage::Stage;
use crate::support::wait_until;

/// A namespace of others.
const ELSEWHERE: &str = "elsewhere";
/// Namespaces that the policies take for those of a Community and of an Enclave in it.
const COMMUNITY: &str = "managed";
const CONTROL: &str = "managed-control";
const LIMIT: Duration = Duration::from_secs(60);
/// The 99th percentile of fewer values is the largest.
const ENOUGH: usize = 100;
/// How many times as long a request may take with our policies.
const MOST: f64 = 1.5;
const POLICIES: &str = "mutatingadmissionpolicybindings,validatingadmissionpolicybindings,\
                        mutatingadmissionpolicies,validatingadmissionpolicies";

/// Two clusters that take turns: one as it is, and one without our policies. The operator runs in neither.
struct Clusters {
    with: Stage,
    without: Stage,
}

/// What is created, and by whom.
struct Creation {
    body: Value,
    namespace: &'static str,
    client: fn(&Stage) -> Client,
}

pub async fn measure(measuring: &mut Measuring<'_>) {
    let with = Stage::set(measuring.settings).await;
    measuring.report.machine().kubernetes = with.kubernetes();
    let without = Stage::set(measuring.settings).await;
    let administrator = without.plane.administrator_user();
    administrator
        .kubectl(&["delete", POLICIES, "--selector=app.kubernetes.io/part-of=enclave-operator"])
        .expect_success();
    for stage in [&with, &without] {
        prepare(stage).await;
        wait_until_quiet(stage.plane.api_server_id(), SERVER, LIMIT).await;
    }
    let clusters = Clusters { with, without };

    let owner = |stage: &Stage| stage.owner.client.clone();
    let ours = |namespace, spec| Creation { body: json!({ "spec": spec }), namespace, client: owner };
    kind::<Enclave>(measuring, &clusters, &ours(COMMUNITY, json!({}))).await;
    let connection = json!({
        "source": {"workloads": ["app"]},
        "destination": {"enclaveEndpoint": {"enclave": "other", "name": "api"}},
    });
    kind::<EnclaveConnection>(measuring, &clusters, &ours(CONTROL, connection)).await;
    let role = json!({"role": "enclave-reader", "principals": [{"kind": "User", "name": "carol"}]});
    kind::<RoleAssignment>(measuring, &clusters, &ours(CONTROL, role)).await;
    let count = measuring.settings.creations;
    let what = "vote (PATCH of the status of one ApprovalRequest)";
    compare(measuring, &clusters, what, async |stage, prefix| vote(stage, prefix, count).await).await;

    let administrator = |stage: &Stage| stage.administrator.clone();
    let others = |body| Creation { body, namespace: ELSEWHERE, client: administrator };
    let pod = json!({"spec": {"containers": [{"name": "main", "image": "nothing"}]}});
    kind::<Pod>(measuring, &clusters, &others(pod)).await;
    let policy = json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}});
    kind::<NetworkPolicy>(measuring, &clusters, &others(policy)).await;
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    });
    kind::<RoleBinding>(measuring, &clusters, &others(binding)).await;
}

async fn prepare(stage: &Stage) {
    let namespace: Namespace = from(json!({"metadata": {"name": ELSEWHERE}}));
    stage.everywhere().create(&PostParams::default(), &namespace).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(stage.administrator.clone(), ELSEWHERE);
    wait_until(accounts, "default", LIMIT, "pods can be made", |_| true).await;
    // Only the operator's account may make these.
    for (name, purpose) in [(COMMUNITY, purpose::COMMUNITY), (CONTROL, purpose::CONTROL)] {
        let labels = json!({
            label::MANAGED_BY: OPERATOR,
            label::OWNER_UID: "00000000-0000-4000-8000-000000000000",
            label::PURPOSE: purpose,
        });
        let namespace: Namespace = from(json!({"metadata": {"name": name, "labels": labels}}));
        stage.bare.create_in(&Api::all(stage.bare.client.clone()), &namespace).await;
    }
}

async fn kind<K>(measuring: &mut Measuring<'_>, clusters: &Clusters, creation: &Creation)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let count = measuring.settings.creations;
    let what = format!("CREATE of one {}", K::kind(&()));
    compare(measuring, clusters, &what, async |stage, prefix| {
        create::<K>(stage, prefix, count, creation).await
    })
    .await;
}

/// Takes turns with what answers the latencies of one turn, whose objects have names with this prefix.
async fn compare(
    measuring: &mut Measuring<'_>,
    Clusters { with, without }: &Clusters,
    what: &str,
    turn: impl AsyncFn(&Stage, &str) -> Vec<f64>,
) {
    // What is asked for the first time takes longer.
    for stage in [with, without] {
        turn(stage, "warm").await;
    }
    let mut latencies: [Vec<Vec<f64>>; 2] = Default::default();
    for (number, whose) in turns(measuring.settings.pairs).enumerate() {
        let stage = if whose == Turn::Operator { with } else { without };
        let taken = turn(stage, &format!("t{number}")).await;
        latencies[usize::from(whose == Turn::Baseline)].push(taken);
    }
    let [with, without] = latencies;
    let p50 =
        measuring.percentiles(&format!("{what}, p50; bare: without our policies"), 0.5, &with, &without);
    measuring.add(p50.raw(json!({ "with": with, "without": without })).ratio_at_most(MOST));
    let p99 =
        measuring.percentiles(&format!("{what}, p99; bare: without our policies"), 0.99, &with, &without);
    measuring.add(p99.ratio_at_most(MOST));
    if measuring.settings.creations < ENOUGH {
        let all = [with, without].map(|turns| percentile(&turns.concat(), 0.99));
        let what = format!("{what}, p99 of all turns together; bare: without our policies");
        measuring.add(measuring.paired(&what, "ms", &[all.into()]).ratio_at_most(MOST));
    }
}

async fn create<K>(stage: &Stage, prefix: &str, count: usize, creation: &Creation) -> Vec<f64>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced((creation.client)(stage), creation.namespace);
    let mut latencies = Vec::new();
    for name in names(prefix, count) {
        let mut object = creation.body.clone();
        object["metadata"] = json!({ "name": name });
        let object: K = from(object);
        let began = Instant::now();
        api.create(&PostParams::default(), &object).await.unwrap();
        latencies.push(milliseconds(began.elapsed()));
    }
    latencies
}

/// Votes on requests that are made for it first.
async fn vote(stage: &Stage, prefix: &str, count: usize) -> Vec<f64> {
    let requests: Api<ApprovalRequest> = Api::namespaced(stage.bare.client.clone(), CONTROL);
    let pending: Patch<Value> = Patch::Merge(json!({"status": {"state": "Pending"}}));
    each(names(prefix, count), async |name| {
        stage.bare.create_in(&requests, &request(&name)).await;
        requests.patch_status(&name, &PatchParams::default(), &pending).await.unwrap();
    })
    .await;
    wait_until_quiet(stage.plane.api_server_id(), SERVER, LIMIT).await;
    let requests: Api<ApprovalRequest> = Api::namespaced(stage.approver.clone(), CONTROL);
    let vote: Patch<Value> = Patch::Merge(json!({"status": {"decision": "Approved"}}));
    let mut latencies = Vec::new();
    for name in names(prefix, count) {
        let began = Instant::now();
        requests.patch_status(&name, &PatchParams::default(), &vote).await.unwrap();
        latencies.push(milliseconds(began.elapsed()));
    }
    latencies
}

/// A request as the operator makes it.
fn request(name: &str) -> ApprovalRequest {
    from(json!({
        "metadata": {"name": name},
        "spec": {
            "summary": {
                "operation": "ConnectionCreation", "target": "EnclaveConnection c0", "requester": "olivia",
            },
            "target": {
                "kind": "EnclaveConnection", "namespace": CONTROL, "name": "c0",
                "uid": "00000000-0000-4000-8000-000000000001", "generation": 1,
            },
            "operations": ["ConnectionCreation"],
            "requesters": ["olivia"],
            "change": {
                "after": {"source": {"workloads": ["app"]}},
                "digest": format!("sha256:{}", "0".repeat(64)),
            },
            "policy": {
                "minimumApprovers": 1, "expireAfterSeconds": 604_800, "requireJustification": false,
                "requireRejectionComment": false, "requireMfa": false, "requireCredentialId": false,
                "serviceAccountVotes": "Forbidden",
            },
            "expiresAt": "2100-01-01T00:00:00Z",
        },
    }))
}

fn names(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{prefix}-{number:03}"))
}

fn from<K: Resource<DynamicType = ()> + DeserializeOwned>(mut object: Value) -> K {
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    serde_json::from_value(object).expect("the JSON is an object of this kind")
}
