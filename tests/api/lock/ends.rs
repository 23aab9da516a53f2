//! Where the lock begins and ends: namespaces that are being made or are going, what others call like the
//! operator's, and Enclaves that hold maintenance themselves.

use enclave_operator::api::{CommunityEndpoint, EnclaveConnection};
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Resource;
use kube::api::DeleteParams;

use super::*;
use crate::network::{make, required};
use crate::support::wait_gone;
use crate::world::{assert_refused, communities, wait_for_hold};

const MANAGED: &str = "and nobody else changes them";

fn off() -> Value {
    json!({"mode": "Disabled", "justification": null, "principals": null, "expiresAt": null})
}

fn pod(name: &str) -> Pod {
    let restricted = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"}});
    object(json!({
        "metadata": {"name": name, "finalizers": ["example.test/slow"]},
        "spec": {"containers": [{"name": "c", "image": "example.test/c", "securityContext": restricted,
            "resources": {"limits": {"cpu": "1"}}}]},
    }))
}

#[tokio::test]
async fn what_closes_closes_where_a_pod_keeps_a_namespace_from_going() {
    let place = Place::make("slow", &json!({})).await;
    let administrator = place.world.administrator();
    let offered: Api<CommunityEndpoint> = namespaced(administrator.clone(), &place.community);
    let outside = json!({"destination": {"cidrs": [{"cidr": "198.51.100.0/24"}]}, "ports": [{"port": 443}]});
    make(&offered, "CommunityEndpoint", "outside", outside).await;
    let connections: Api<EnclaveConnection> = namespaced(administrator.clone(), &place.control());
    let to_outside = json!({"communityEndpoint": {"name": "outside"}});
    let spec = json!({"source": {"workloads": ["api"]}, "destination": to_outside});
    make(&connections, "EnclaveConnection", "out", spec).await;
    wait_for_state(&connections, "out", State::Connected).await;
    let pods: Api<Pod> = namespaced(administrator.clone(), &place.pods());
    eventually("there is a pod", SOON, async || pods.create(&PostParams::default(), &pod("slow")).await.ok())
        .await;
    place.maintain(maintenance("Advanced", &user("theo"), 3600)).await;
    place.wait_for_exceptions(&place.pods(), None, Some("User:theo")).await;

    place.workloads().delete("api", &DeleteParams::default()).await.unwrap();
    let policies = place.policies(&place.theo());
    let name = format!("connection.{}.out.egress", place.control());
    wait_gone(policies.clone(), &name, SOON, "the way out is shut while the pod is there").await;
    let namespaces: Api<Namespace> = Api::all(administrator.clone());
    wait_until(namespaces, &place.pods(), SOON, "it is going", |namespace: &Namespace| {
        namespace.metadata.deletion_timestamp.is_some()
    })
    .await;

    // Maintenance ends there as well, and what shuts everything stays.
    place.maintain(off()).await;
    place.wait_for_exceptions(&place.pods(), None, None).await;
    until_refused(MANAGED, async || policies.delete(DENY, &DeleteParams::default()).await).await;
    pods.get("slow").await.unwrap();
    patch(&pods, "slow", json!({"metadata": {"finalizers": null}})).await.unwrap();
    wait_gone(place.workloads(), "api", SOON, "the workload goes").await;
}

#[tokio::test]
async fn what_is_called_like_the_operators_is_told_and_can_be_cleared_up() {
    let place = Place::make("called", &json!({})).await;
    let administrator = place.world.administrator();
    let masters = json!({"kind": "Group", "name": "system:masters"});
    place.maintain(maintenance("Advanced", &masters, 3600)).await;
    place.wait_for_exceptions(&place.pods(), None, Some("Group:system:masters")).await;
    let (policies, quotas, ranges) = (
        place.policies(place.world.plane.administrator_user()),
        namespaced::<ResourceQuota>(administrator.clone(), &place.pods()),
        namespaced::<LimitRange>(administrator.clone(), &place.pods()),
    );
    let post = PostParams::default();
    let mut labelled = open_policy("evil");
    labelled.metadata.labels =
        Some([("app.kubernetes.io/managed-by".to_owned(), "enclave-operator".to_owned())].into());
    until_admitted(async || policies.create(&post, &labelled).await).await;
    let none = json!({"metadata": {"name": "connection.hidden"},
        "spec": {"hard": {"count/networkpolicies.networking.k8s.io": "9"}}});
    quotas.create(&post, &object(none)).await.unwrap();
    let range = json!({"metadata": {"name": "enclave-operator-dns"}, "spec": {"limits": []}});
    ranges.create(&post, &object(range)).await.unwrap();
    place.maintain(off()).await;
    let pods = place.pods();
    let left = [
        format!("LimitRange {pods}/enclave-operator-dns"),
        format!("NetworkPolicy {pods}/evil"),
        format!("ResourceQuota {pods}/connection.hidden"),
    ];
    place.wait_for_lock("UnmanagedResources", &left.each_ref().map(String::as_str)).await;
    let now = DeleteParams::default();
    until_admitted(async || policies.delete("evil", &now).await).await;
    quotas.delete("connection.hidden", &now).await.unwrap();
    ranges.delete("enclave-operator-dns", &now).await.unwrap();
    place.wait_for_lock("Locked", &[]).await;

    // A binding may be called as it likes, but as the operator's bindings are.
    let binding = |name: &str| -> RoleBinding {
        object(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        }))
    };
    let bindings: Api<RoleBinding> = namespaced(administrator.clone(), &place.pods());
    for name in ["connection.team", "enclave-operator-dns"] {
        bindings.create(&post, &binding(name)).await.unwrap();
    }
    assert_refused(bindings.create(&post, &binding("enclave-operator:x")).await, MANAGED);
    patch(&place.workloads(), "api", json!({"spec": {"quota": {"pods": 7}}})).await.unwrap();
    wait_until(quotas, "enclave-operator-quota", SOON, "the operator was there", |quota: &ResourceQuota| {
        quota.spec.as_ref().and_then(|spec| spec.hard.as_ref()).is_some_and(|hard| hard.contains_key("pods"))
    })
    .await;
    for name in ["connection.team", "enclave-operator-dns"] {
        bindings.get(name).await.unwrap();
    }
}

/// Somebody who may make pods everywhere tries all the time while a namespace is being made.
#[tokio::test]
async fn no_pod_is_there_before_what_shuts_its_namespace() {
    let place = Place::make("early", &json!({})).await;
    let administrator = place.world.administrator();
    let workload = format!("{}-first", place.control());
    let pods: Api<Pod> = namespaced(administrator.clone(), &workload);
    let accounts: Api<ServiceAccount> = namespaced(administrator.clone(), &workload);
    let policies: Api<NetworkPolicy> = namespaced(administrator.clone(), &workload);
    let quick = async {
        // Whoever is in a hurry does not wait for Kubernetes to make this.
        eventually("there is an account", SOON, async || {
            let account = object(json!({"metadata": {"name": "default"}}));
            accounts
                .create(&PostParams::default(), &account)
                .await
                .err()
                .filter(|error| matches!(error, kube::Error::Api(status) if status.code == 409))
        })
        .await;
        eventually("there is a pod", SOON, async || {
            pods.create(&PostParams::default(), &pod("first")).await.ok()
        })
        .await
    };
    let limits = json!({"quota": {"pods": 3}});
    let (first, ()) = futures::join!(quick, place.make_workload("first", &limits));
    let version = |metadata: &kube::core::ObjectMeta| -> u64 {
        metadata.resource_version.as_ref().unwrap().parse().unwrap()
    };
    for name in [DENY, "enclave-operator-dns", "enclave-operator-inside"] {
        let policy = policies.get(name).await.unwrap();
        assert!(version(policy.meta()) < version(first.meta()), "{name} came after the pod");
    }
    patch(&pods, "first", json!({"metadata": {"finalizers": null}})).await.unwrap();

    for namespace in [place.control(), place.community.clone()] {
        let pods: Api<Pod> = namespaced(administrator.clone(), &namespace);
        let refused = format!("no pod runs in namespace {namespace}");
        assert_refused(pods.create(&PostParams::default(), &pod("never")).await, &refused);
    }
}

#[tokio::test]
async fn an_enclave_that_holds_maintenance_is_not_opened_by_its_community() {
    let place = Place::make("strict", &json!({})).await;
    let all = communities(&place.world.alice());
    place.make_workload("db", &json!({})).await;
    let rules = required(&["EnclaveMaintenance"]);
    patch(&place.enclaves(), "payments", json!({"spec": {"approvals": rules}})).await.unwrap();
    eventually("its rules are in force", SOON, async || {
        let enclave = place.enclaves().get("payments").await.unwrap();
        let applied = enclave.status.and_then(|status| status.gate.applied)?;
        (Some(applied.generation) == enclave.metadata.generation).then_some(())
    })
    .await;
    let on = json!({"spec": {"maintenance": maintenance("Advanced", &user("theo"), 3600)}});
    patch(&all, &place.community, on.clone()).await.unwrap();
    place.wait_for_exceptions(&place.community, None, Some("User:theo")).await;
    place.wait_for_lock("Locked", &[]).await;
    for namespace in [place.control(), place.pods()] {
        place.wait_for_exceptions(&namespace, None, None).await;
    }

    // Where the Community itself holds maintenance of its Enclaves, its own waits too.
    let other = Place::make("stricter", &rules).await;
    patch(&all, "stricter", on).await.unwrap();
    wait_for_hold(&all, "stricter").await;
    other.wait_for_exceptions("stricter", None, None).await;
}
