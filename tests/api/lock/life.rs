//! What Kubernetes itself does in locked namespaces goes on: counting, collecting garbage, deleting.

use enclave_operator::api::TransitHub;
use enclave_operator::api::approval_request::Verdict;
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::Resource;
use kube::api::DeleteParams;

use super::*;
use crate::network::{make, required};
use crate::support::wait_gone;
use crate::world::{assert_refused, communities, vote, wait_for_hold};

fn config_map(name: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name}}))
}

#[tokio::test]
async fn quotas_are_counted_and_garbage_is_collected() {
    let place = Place::make("counted", &json!({})).await;
    let tina = place.tina();
    let maps: Api<ConfigMap> = namespaced(tina.client(), &place.pods());
    // The root certificate of the cluster is one as well.
    eventually("everything is used up", SOON, async || {
        let name = format!("map-{}", Timestamp::now().as_nanosecond());
        let refused = maps.create(&PostParams::default(), &config_map(&name)).await.err()?;
        refused.to_string().contains("exceeded quota").then_some(())
    })
    .await;
    let quotas: Api<ResourceQuota> = namespaced(tina.client(), &place.pods());
    wait_until(quotas, "enclave-operator-quota", SOON, "it is counted", |quota: &ResourceQuota| {
        let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
        used.is_some_and(|used| used["count/configmaps"].0 == "4")
    })
    .await;
    let all = maps.list(&ListParams::default()).await.unwrap().items;
    let owner = all.iter().find(|map| map.name_any().starts_with("map-")).unwrap();

    place.maintain(maintenance("General", &user("tina"), 3600)).await;
    place.wait_for_exceptions(&place.pods(), Some("User:tina"), None).await;
    let policies = place.policies(&tina);
    let mut theirs = open_policy("owned");
    theirs.metadata.owner_references = owner.owner_ref(&()).map(|reference| vec![reference]);
    until_admitted(async || policies.create(&PostParams::default(), &theirs).await).await;
    policies.create(&PostParams::default(), &open_policy("waits")).await.unwrap();
    place
        .maintain(json!({"mode": "Disabled", "justification": null, "principals": null, "expiresAt": null}))
        .await;
    place.wait_for_exceptions(&place.pods(), None, None).await;

    maps.delete(&owner.name_any(), &DeleteParams::default()).await.unwrap();
    wait_gone(policies.clone(), "owned", SOON, "it goes with its owner").await;
    // The garbage collector takes the finalizer away that this puts on it.
    until_admitted(async || policies.delete("waits", &DeleteParams::foreground()).await).await;
    wait_gone(policies, "waits", SOON, "it goes when nothing depends on it").await;
    eventually("there is room again", SOON, async || {
        maps.create(&PostParams::default(), &config_map("again")).await.ok()
    })
    .await;
}

#[tokio::test]
async fn namespaces_go_with_everything_in_them() {
    let place = Place::make("leaving", &required(&["TransitHubDeletion"])).await;
    let tina = place.tina();
    place.maintain(maintenance("General", &user("tina"), 3600)).await;
    place.wait_for_exceptions(&place.pods(), Some("User:tina"), None).await;
    let policies = place.policies(&tina);
    let mut kept = open_policy("left");
    kept.metadata.finalizers = Some(vec!["example.test/keep".into()]);
    until_admitted(async || policies.create(&PostParams::default(), &kept).await).await;
    let quotas: Api<ResourceQuota> = namespaced(tina.client(), &place.pods());
    let quota = object(json!({"metadata": {"name": "left"}, "spec": {"hard": {"pods": "1"}}}));
    quotas.create(&PostParams::default(), &quota).await.unwrap();
    let left = ["NetworkPolicy leaving-payments-api/left", "ResourceQuota leaving-payments-api/left"];
    place.wait_for_lock("MaintenanceGeneral", &left).await;

    patch(&place.workloads(), "api", json!({"spec": {"retire": true}})).await.unwrap();
    // Whoever may write policies can let go what is being deleted, and nothing more.
    let administrator = place.policies(place.world.plane.administrator_user());
    wait_until(administrator.clone(), "left", SOON, "it is being deleted", |policy: &NetworkPolicy| {
        policy.metadata.deletion_timestamp.is_some()
    })
    .await;
    let let_go = json!({"metadata": {"finalizers": null}});
    let changed = json!({"metadata": {"finalizers": null}, "spec": {"ingress": null}});
    assert_refused(patch(&administrator, "left", changed).await, "additional ones need maintenance");
    patch(&administrator, "left", let_go).await.unwrap();
    wait_gone(place.workloads(), "api", SOON, "the workload goes").await;
    place.wait_for_lock("MaintenanceGeneral", &[]).await;
    patch(&place.enclaves(), "payments", json!({"spec": {"retire": true}})).await.unwrap();
    wait_gone(place.enclaves(), "payments", SOON, "the Enclave goes").await;
    // What is left in the namespace of a Community goes with it, whatever else protects it.
    let hubs: Api<TransitHub> = namespaced(place.world.alice().client(), &place.community);
    make(&hubs, "TransitHub", "site", json!({"cidrs": [{"cidr": "10.20.0.0/16"}]})).await;
    wait_for_state(&hubs, "site", State::Active).await;
    let all = communities(&place.world.alice());
    patch(&all, "leaving", json!({"spec": {"retire": true}})).await.unwrap();
    let request = wait_for_hold(&all, "leaving").await;
    vote(&place.world.bob(), "leaving", &request, Verdict::Approved, None).await.unwrap();
    wait_gone(all, "leaving", SOON, "the Community goes").await;
    let namespaces: Api<Namespace> = Api::all(place.world.administrator());
    for namespace in [place.pods(), place.control(), place.community.clone()] {
        assert!(namespaces.get_opt(&namespace).await.unwrap().is_none(), "{namespace} is left");
    }
}
