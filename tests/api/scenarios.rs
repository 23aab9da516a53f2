//! What people set approvals up for, told as they would tell it.

use enclave_operator::api::State;
use enclave_operator::api::approval_request::Verdict;
use kube::api::PostParams;
use serde_json::json;

use crate::world::{
    WORLD, active_community, enclave, enclaves, vote, wait_for_enclave, wait_for_missing, wait_for_request,
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
