//! Decided requests are read when everything else is known. Until then the operator works, and concludes nothing
//! from the absence of one.

use std::sync::Arc;

use enclave_operator::api::State;
use enclave_operator::api::approval_request::Verdict;
use http::Request;
use kube::api::PostParams;
use kube::client::Body;
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::{Notify, Semaphore};

use crate::in_process::InProcess;
use crate::world::{
    World, active_community, communities, enclave, enclaves, hold_everything, on_a_runtime,
    operator_settings, patch, vote, wait_for_enclave, wait_for_hold, wait_for_request, wait_until_applied,
};

#[test]
fn what_was_rejected_stays_so_while_the_rejection_is_not_read_yet() {
    let world = World::without_operator();
    world.install();
    world.start_operator("decided");
    let version = on_a_runtime(async || {
        let (alice, bob) = (world.alice(), world.bob());
        active_community(&world, "kept", &json!({ "approvals": hold_everything() })).await;
        let api = enclaves(&alice, "kept");
        for name in ["refused", "open"] {
            api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
        }
        let request = wait_for_request(&alice, "kept", "refused").await;
        vote(&bob, "kept", &request, Verdict::Rejected, Some("no")).await.unwrap();
        wait_for_enclave(&api, "refused", State::Rejected).await;
        wait_for_request(&alice, "kept", "open").await;
        // From now on nobody has to be asked: if nothing were known of the request, it would be put into force.
        patch(&communities(&alice), "kept", json!({"spec": {"approvals": null}})).await.unwrap();
        let request = wait_for_hold(&communities(&alice), "kept").await;
        vote(&bob, "kept", &request, Verdict::Approved, None).await.unwrap();
        wait_until_applied(&communities(&alice), "kept").await;
        make_active(&world, "without-asking").await;
        api.get("refused").await.unwrap().resource_version()
    });
    world.kill_operator();

    let account = on_a_runtime(async || world.operator().await);
    let (released, answered) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let meddle = {
        let (released, answered) = (Arc::clone(&released), Arc::clone(&answered));
        move |request: Request<Body>, client: Client| {
            let (released, answered) = (Arc::clone(&released), Arc::clone(&answered));
            async move {
                if !is_backfill(&request) {
                    return client.send(request).await;
                }
                released.acquire().await.unwrap().forget();
                let answer = client.send(request).await;
                answered.notify_one();
                answer
            }
        }
    };
    // The same identity as the one that was killed: it need not wait for its own lease.
    let operator = InProcess::start(&account, &operator_settings("decided"), meddle);
    on_a_runtime(async || {
        let (alice, bob) = (world.alice(), world.bob());
        let api = enclaves(&alice, "kept");
        // The operator works: what was asked for is decided and put into force, and so is what needs no approval.
        let request = wait_for_request(&alice, "kept", "open").await;
        vote(&bob, "kept", &request, Verdict::Approved, None).await.unwrap();
        wait_for_enclave(&api, "open", State::Active).await;
        make_active(&world, "new").await;
        assert_eq!(api.get("refused").await.unwrap().resource_version(), version, "nothing is known of it");
        released.add_permits(1);
        answered.notified().await;
        make_active(&world, "later").await;
        assert_eq!(api.get("refused").await.unwrap().resource_version(), version, "it is as it was");
        // And what is proposed anew is judged.
        patch(&api, "refused", json!({"spec": {"description": "again"}})).await.unwrap();
        wait_for_enclave(&api, "refused", State::Active).await;
    });
    drop(operator);
}

async fn make_active(world: &World, name: &str) {
    let api = enclaves(&world.alice(), "kept");
    api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
    wait_for_enclave(&api, name, State::Active).await;
}

/// The first list of all requests, which has decided ones too.
fn is_backfill(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.uri().path().ends_with("/approvalrequests")
        && !query.contains("watch=true")
        && !query.contains("fieldSelector")
}
