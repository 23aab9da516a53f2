//! What people set approvals up for, told as they would tell it.

use enclave_operator::api::State;
use enclave_operator::api::approval_request::Verdict;
use kube::api::PostParams;
use serde_json::json;

use crate::network::{Story, endpoint, make, to_the_ledger};
use crate::world::{
    WORLD, active_community, enclave, enclaves, patch, vote, wait_for_enclave, wait_for_hold,
    wait_for_missing, wait_for_request, wait_for_state,
};

/// "No new enclave without an expert of our cyber security team, whoever else approves."
#[tokio::test]
async fn a_cyber_expert_is_a_required_approver_for_new_enclaves() {
    let world = &*WORLD;
    let (alice, carol, bob) = (world.alice(), world.carol(), world.bob());
    let rules = json!({"rules": [{
        "operation": "EnclaveCreation",
        "policy": "Required",
        "minimumApprovers": 2,
        "mandatoryApprovers": [{"kind": "Group", "name": "cyber-team"}]
    }]});
    active_community(world, "experts", &json!({ "approvals": rules })).await;
    let api = enclaves(&alice, "experts");
    api.create(&PostParams::default(), &enclave("research", &json!({}))).await.unwrap();
    let request = wait_for_request(&alice, "experts", "research").await;
    wait_for_missing(&alice, "experts", &request, "2 more approvals, one by group cyber-team").await;

    // Two people without the expert are not enough.
    let dora = world.plane.user("dora", &["approvers"]);
    for colleague in [&carol, &dora] {
        vote(colleague, "experts", &request, Verdict::Approved, None).await.unwrap();
    }
    wait_for_missing(&alice, "experts", &request, "one by group cyber-team").await;
    wait_for_enclave(&api, "research", State::Pending).await;

    vote(&bob, "experts", &request, Verdict::Approved, Some("threat model is fine")).await.unwrap();
    wait_for_enclave(&api, "research", State::Active).await;
}

/// "Whatever connection is made or changed in this community, our security group has seen it."
#[tokio::test]
async fn a_security_group_is_a_required_approver_for_connection_creation_and_updates() {
    let rules: Vec<_> = ["ConnectionCreation", "ConnectionUpdate"]
        .map(|operation| {
            json!({
                "operation": operation,
                "policy": "Required",
                "mandatoryApprovers": [{"kind": "Group", "name": "cyber-team"}]
            })
        })
        .into();
    let story = Story::begin("watched", json!({ "rules": rules })).await;
    let (erin, carol, bob) = (story.world.erin(), story.world.carol(), story.world.bob());
    let (connections, namespace) = (story.connections(), story.control("payments"));
    make(&connections, "EnclaveConnection", "to-ledger", to_the_ledger()).await;
    let request = wait_for_hold(&connections, "to-ledger").await;
    wait_for_missing(&erin, &namespace, &request, "1 more approval, one by group cyber-team").await;
    vote(&carol, &namespace, &request, Verdict::Approved, None).await.unwrap();
    wait_for_missing(&erin, &namespace, &request, "one by group cyber-team").await;
    vote(&bob, &namespace, &request, Verdict::Approved, Some("as agreed")).await.unwrap();
    wait_for_state(&connections, "to-ledger", State::Connected).await;

    // A change asks the group again, and what was approved goes on in the meantime.
    patch(&connections, "to-ledger", json!({"spec": {"description": "for the nightly report"}}))
        .await
        .unwrap();
    let request = wait_for_hold(&connections, "to-ledger").await;
    wait_for_missing(&erin, &namespace, &request, "1 more approval, one by group cyber-team").await;
    let ingress = format!("connection.{namespace}.to-ledger.ingress");
    story.wait_for_policies(&story.pods_of("ledger", "db"), &[&ingress]).await;
    vote(&bob, &namespace, &request, Verdict::Rejected, Some("which report?")).await.unwrap();
    let rejected = wait_for_state(&connections, "to-ledger", State::Rejected).await;
    assert!(rejected.status.unwrap().gate.applied.is_some());
    story.wait_for_policies(&story.pods_of("ledger", "db"), &[&ingress]).await;
}

/// "Our web app is shared by everybody. Three people whom we trust approve who connects to it."
#[tokio::test]
async fn three_trusted_people_approve_connections_to_a_shared_web_apps_endpoint() {
    let story = Story::begin("shared-app", json!({})).await;
    let trusted = ["tom", "tina", "tara"];
    let mut web = endpoint(8443);
    web["approvals"] = json!({"rules": [{
        "operation": "ConnectionCreation",
        "policy": "Required",
        "minimumApprovers": 3,
        "mandatoryApprovers": trusted.map(|name| json!({"kind": "User", "name": name})),
    }]});
    make(&story.endpoints(), "EnclaveEndpoint", "web", web).await;
    wait_for_state(&story.endpoints(), "web", State::Active).await;
    let (connections, namespace) = (story.connections(), story.control("payments"));
    // The rules are those of the endpoint, not of the Community: the other endpoint has none.
    make(&connections, "EnclaveConnection", "to-ledger", to_the_ledger()).await;
    wait_for_state(&connections, "to-ledger", State::Connected).await;
    let mut to_web = to_the_ledger();
    to_web["destination"]["enclaveEndpoint"]["name"] = json!("web");
    make(&connections, "EnclaveConnection", "to-web", to_web).await;
    let request = wait_for_hold(&connections, "to-web").await;

    // Three others are not enough.
    for colleague in [story.world.bob(), story.world.carol(), story.world.plane.user("dora", &["approvers"])]
    {
        vote(&colleague, &namespace, &request, Verdict::Approved, None).await.unwrap();
    }
    let erin = story.world.erin();
    wait_for_missing(&erin, &namespace, &request, "one by user tara, one by user tina, one by user tom")
        .await;
    for name in trusted {
        wait_for_state(&connections, "to-web", State::Pending).await;
        let person = story.world.plane.user(name, &["approvers"]);
        vote(&person, &namespace, &request, Verdict::Approved, None).await.unwrap();
    }
    wait_for_state(&connections, "to-web", State::Connected).await;

    // Whoever owns the endpoint cannot relax its rules alone.
    let relaxed = json!({"spec": {"approvals": {"rules": []}}});
    patch(&story.endpoints(), "web", relaxed).await.unwrap();
    let request = wait_for_hold(&story.endpoints(), "web").await;
    wait_for_missing(
        &erin,
        &story.control("ledger"),
        &request,
        "3 more approvals, one by user tara, one by user tina, one by user tom",
    )
    .await;
}
