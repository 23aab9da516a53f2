//! Maintenance: for whom the lock opens, how far, and how it shuts again.

use enclave_operator::api::approval_request::Verdict;
use enclave_operator::api::{CommunityEndpoint, EnclaveConnection};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicyIngressRule;
use kube::api::DeleteParams;

use super::*;
use crate::network::{make, required};
use crate::support::wait_gone;
use crate::world::{assert_refused, communities, vote, wait_for_hold};

const MANAGED: &str = "and nobody else changes them";
const ADDITIONAL: &str = "additional ones need maintenance";

#[tokio::test]
async fn general_maintenance_is_approved_lets_the_named_add_and_ends_at_once() {
    let place = Place::make("general", &required(&["EnclaveMaintenance", "EnclaveUpdate"])).await;
    let (tina, theo) = (place.tina(), place.theo());
    let policies = place.policies(&tina);
    place.maintain(maintenance("General", &user("tina"), 3600)).await;
    let request = wait_for_hold(&place.enclaves(), "payments").await;
    assert_refused(policies.create(&PostParams::default(), &open_policy("debug")).await, ADDITIONAL);
    vote(&place.world.bob(), &place.community, &request, Verdict::Approved, None).await.unwrap();
    place.wait_for_exceptions(&place.pods(), Some("User:tina"), None).await;
    place.wait_for_exceptions(&place.control(), Some("User:tina"), None).await;
    place.wait_for_exceptions(&place.community, None, None).await;

    // She may add, and change what she added; nobody else may.
    until_admitted(async || policies.create(&PostParams::default(), &open_policy("debug")).await).await;
    patch(&policies, "debug", json!({"spec": {"egress": null}})).await.unwrap();
    for other in [&theo, place.world.plane.administrator_user()] {
        let theirs = place.policies(other);
        assert_refused(theirs.create(&PostParams::default(), &open_policy("other")).await, ADDITIONAL);
        assert_refused(patch(&theirs, "debug", json!({"spec": {"ingress": null}})).await, ADDITIONAL);
        assert_refused(theirs.delete("debug", &DeleteParams::default()).await, ADDITIONAL);
    }
    assert_refused(patch(&policies, DENY, json!({"spec": {"ingress": [{}]}})).await, MANAGED);
    assert_refused(policies.delete(DENY, &DeleteParams::default()).await, MANAGED);
    assert_refused(policies.create(&PostParams::default(), &open_policy("connection.x")).await, MANAGED);
    let debug = format!("NetworkPolicy {}/debug", place.pods());
    let enclave = place.wait_for_lock("MaintenanceGeneral", &[&debug]).await;
    let message = condition(&enclave.status.unwrap().gate, condition_type::LOCKED).message.clone();
    assert!(message.contains("user tina may manage additional objects"), "{message}");

    // Turning it off does not wait for what is held with it.
    let off = json!({"mode": "Disabled", "justification": null, "principals": null, "expiresAt": null});
    let edit = json!({"spec": {"maintenance": off, "description": "held"}});
    patch(&place.enclaves(), "payments", edit).await.unwrap();
    place.wait_for_exceptions(&place.pods(), None, None).await;
    wait_for_enclave(&place.enclaves(), "payments", State::Pending).await;
    until_refused(ADDITIONAL, async || patch(&policies, "debug", json!({"spec": {"egress": [{}]}})).await)
        .await;

    // What was left behind is told, and whoever may write policies can take it away.
    place.wait_for_lock("UnmanagedResources", &[&debug]).await;
    place.policies(&theo).delete("debug", &DeleteParams::default()).await.unwrap();
    place.wait_for_lock("Locked", &[]).await;
}

/// A connection to somewhere outside.
async fn connect(place: &Place, name: &str) {
    let connections: Api<EnclaveConnection> = namespaced(place.world.erin().client(), &place.control());
    let spec = json!({
        "source": {"workloads": ["api"]}, "destination": {"communityEndpoint": {"name": "outside"}},
    });
    make(&connections, "EnclaveConnection", name, spec).await;
    wait_for_state(&connections, name, State::Connected).await;
}

fn is_open(policy: &NetworkPolicy) -> bool {
    policy.spec.as_ref().is_some_and(|spec| spec.ingress.is_some())
}

#[tokio::test]
async fn under_advanced_maintenance_nothing_is_put_back_until_it_ends() {
    let place = Place::make("advanced", &json!({})).await;
    let alice = place.world.alice();
    let endpoints: Api<CommunityEndpoint> = namespaced(alice.client(), &place.community);
    let outside = json!({"destination": {"cidrs": [{"cidr": "198.51.100.0/24"}]}, "ports": [{"port": 443}]});
    make(&endpoints, "CommunityEndpoint", "outside", outside).await;
    wait_for_state(&endpoints, "outside", State::Active).await;
    connect(&place, "before").await;

    // That of the Community and that of the Enclave add up.
    let group = maintenance("Advanced", &json!({"kind": "Group", "name": "theos"}), 3600);
    patch(&communities(&alice), &place.community, json!({"spec": {"maintenance": group}})).await.unwrap();
    place.maintain(maintenance("General", &user("tina"), 3600)).await;
    place.wait_for_exceptions(&place.pods(), Some("User:tina"), Some("Group:theos")).await;
    place.wait_for_exceptions(&place.control(), Some("User:tina"), Some("Group:theos")).await;
    place.wait_for_exceptions(&place.community, None, Some("Group:theos")).await;
    place.wait_for_lock("MaintenanceAdvanced", &[]).await;
    assert_refused(place.policies(&place.tina()).delete(DENY, &DeleteParams::default()).await, MANAGED);

    let policies = place.policies(&place.theo());
    let none = DeleteParams::default();
    until_admitted(async || policies.delete(DENY, &none).await).await;
    patch(&policies, "enclave-operator-dns", json!({"spec": {"ingress": [{}]}})).await.unwrap();
    let name = |connection: &str| format!("connection.{}.{connection}.egress", place.control());
    let keep = json!({"metadata": {"finalizers": ["example.test/keep"]}, "spec": {"ingress": [{}]}});
    patch(&policies, &name("before"), keep).await.unwrap();

    // What is approved now is made, and what is wanted differently by now is written.
    connect(&place, "during").await;
    policies.get(&name("during")).await.unwrap();
    patch(&endpoints, "outside", json!({"spec": {"ports": [{"port": 8443}]}})).await.unwrap();
    wait_until(policies.clone(), &name("during"), SOON, "the new port", |policy: &NetworkPolicy| {
        serde_json::to_string(&policy.spec).unwrap().contains("8443")
    })
    .await;
    // Closing does not wait, and nobody keeps it from going.
    let connections: Api<EnclaveConnection> = namespaced(place.world.erin().client(), &place.control());
    patch(&connections, "before", json!({"spec": {"enabled": false}})).await.unwrap();
    wait_gone(policies.clone(), &name("before"), SOON, "it is closed").await;
    // So the operator has been here, more than once, and left the rest alone.
    assert!(policies.get_opt(DENY).await.unwrap().is_none());
    assert!(is_open(&policies.get("enclave-operator-dns").await.unwrap()));

    // It ends by itself. An earlier end asks for nothing.
    let earlier = json!({"spec": {"maintenance": {"expiresAt": in_seconds(2)}}});
    patch(&communities(&alice), &place.community, earlier).await.unwrap();
    place.wait_for_exceptions(&place.pods(), Some("User:tina"), None).await;
    place.wait_for_exceptions(&place.community, None, None).await;
    wait_until(policies.clone(), DENY, SOON, "it denies everything again", |policy: &NetworkPolicy| {
        !is_open(policy)
    })
    .await;
    wait_until(
        policies.clone(),
        "enclave-operator-dns",
        SOON,
        "it is as it was",
        |policy: &NetworkPolicy| !is_open(policy),
    )
    .await;
    until_refused(MANAGED, async || policies.delete(DENY, &none).await).await;
    place.wait_for_lock("MaintenanceGeneral", &[]).await;

    let told: Api<Event> = namespaced(place.world.administrator(), &place.community);
    let fields = ListParams::default().fields("involvedObject.name=payments,reason=MaintenanceAdvanced");
    eventually("it is told", SOON, async || {
        let events = told.list(&fields).await.unwrap().items;
        events
            .iter()
            .any(|event| event.message.as_deref().unwrap_or_default().contains("group theos"))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn maintenance_of_something_that_was_never_applied_or_is_over_opens_nothing() {
    let place = Place::make("over", &json!({})).await;
    let policies = place.policies(&place.tina());
    place.maintain(maintenance("Advanced", &user("tina"), 2)).await;
    place.wait_for_exceptions(&place.pods(), None, Some("User:tina")).await;
    place.wait_for_exceptions(&place.pods(), None, None).await;
    place.wait_for_lock("Locked", &[]).await;
    until_refused(MANAGED, async || policies.delete(DENY, &DeleteParams::default()).await).await;
    // Another edit does not wake it up again.
    patch(&place.enclaves(), "payments", json!({"spec": {"description": "edited"}})).await.unwrap();
    let edited = wait_for_enclave(&place.enclaves(), "payments", State::Active).await.status.unwrap().gate;
    assert_eq!(condition(&edited, condition_type::LOCKED).reason, "Locked");
    place.wait_for_exceptions(&place.pods(), None, None).await;
    let open = |policy: &mut NetworkPolicy| {
        policy.spec.as_mut().unwrap().ingress = Some(vec![NetworkPolicyIngressRule::default()]);
    };
    crate::world::change_as_operator(place.world, &place.pods(), DENY, open).await;
    wait_until(policies, DENY, SOON, "it is put back", |policy: &NetworkPolicy| !is_open(policy)).await;
}
