//! Attacks by names: to reach what is somebody else's.

use enclave_operator::api::names::{condition as conditions, reason};
use enclave_operator::api::{EnclaveConnection, EnclaveWorkload, State};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use super::play;
use crate::network::{Story, make, to_the_ledger};
use crate::support::wait_gone;
use crate::world::{
    SOON, active_community, condition, enclave, enclaves, namespaced, wait_for_enclave, wait_for_state,
};

fn ready_reason<K: crate::world::Watched>(object: &K) -> String {
    condition(object.gate().unwrap(), conditions::READY).reason.clone()
}

#[tokio::test]
async fn b17_connect_to_an_enclave_of_another_community() {
    play(async |world| {
        // Both have an Enclave "payments"; only the other one has "ledger".
        let other = Story::begin_in(world, "b17-other", json!({})).await;
        active_community(world, "b17", &json!({})).await;
        let api = enclaves(&world.alice(), "b17");
        api.create(&PostParams::default(), &enclave("payments", &json!({}))).await.unwrap();
        wait_for_enclave(&api, "payments", State::Active).await;
        let erin = world.erin().client();
        let workloads: Api<EnclaveWorkload> = namespaced(erin.clone(), "b17-payments");
        make(&workloads, "EnclaveWorkload", "api", json!({})).await;
        wait_for_state(&workloads, "api", State::Active).await;

        let connections: Api<EnclaveConnection> = namespaced(erin, "b17-payments");
        make(&connections, "EnclaveConnection", "to-ledger", to_the_ledger()).await;
        let lost = wait_for_state(&connections, "to-ledger", State::Pending).await;
        assert_eq!(ready_reason(&lost), reason::ENDPOINT_NOT_FOUND);
        other.wait_for_policies(&other.pods_of("ledger", "db"), &[]).await;

        // The same words where "ledger" is.
        make(&other.connections(), "EnclaveConnection", "to-ledger", to_the_ledger()).await;
        wait_for_state(&other.connections(), "to-ledger", State::Connected).await;
    })
    .await;
}

#[tokio::test]
async fn b18_names_that_join_to_the_namespace_of_somebody_else() {
    play(async |world| {
        active_community(world, "b18", &json!({})).await;
        let (api, erin) = (enclaves(&world.alice(), "b18"), world.erin().client());
        for name in ["e", "e-w"] {
            api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
            wait_for_enclave(&api, name, State::Active).await;
        }
        // b18-e-w-x by the one, and by the other.
        let ours: Api<EnclaveWorkload> = namespaced(erin.clone(), "b18-e");
        make(&ours, "EnclaveWorkload", "w-x", json!({})).await;
        wait_for_state(&ours, "w-x", State::Active).await;
        let theirs: Api<EnclaveWorkload> = namespaced(erin.clone(), "b18-e-w");
        make(&theirs, "EnclaveWorkload", "x", json!({})).await;
        let conflict = wait_for_state(&theirs, "x", State::Inactive).await;
        assert_eq!(ready_reason(&conflict), reason::NAMESPACE_CONFLICT);
        // As a source it is nothing either.
        let connections: Api<EnclaveConnection> = namespaced(erin, "b18-e-w");
        let endpoints = namespaced(world.erin().client(), "b18-e");
        let offered = json!({"workload": "w-x", "ports": [{"port": 80}]});
        make::<enclave_operator::api::EnclaveEndpoint>(&endpoints, "EnclaveEndpoint", "web", offered).await;
        wait_for_state(&endpoints, "web", State::Active).await;
        let spec = json!({
            "source": {"workloads": ["x"]},
            "destination": {"enclaveEndpoint": {"enclave": "e", "name": "web"}},
        });
        make(&connections, "EnclaveConnection", "to-web", spec).await;
        let shut = wait_for_state(&connections, "to-web", State::Disconnected).await;
        assert_eq!(ready_reason(&shut), reason::WORKLOAD_NOT_ACTIVE);

        // Once the name is free, it is had.
        ours.delete("w-x", &DeleteParams::default()).await.unwrap();
        wait_gone(ours, "w-x", SOON, "it is gone").await;
        wait_for_state(&theirs, "x", State::Active).await;
    })
    .await;
}

#[tokio::test]
async fn b19_a_connection_from_somebody_elses_workload() {
    play(async |world| {
        let story = Story::begin_in(world, "b19", json!({})).await;
        let mut spec = to_the_ledger();
        // The workload "db" is in the Enclave ledger, not in payments.
        spec["source"] = json!({"workloads": ["db"]});
        make(&story.connections(), "EnclaveConnection", "stolen", spec).await;
        let shut = wait_for_state(&story.connections(), "stolen", State::Disconnected).await;
        assert_eq!(ready_reason(&shut), reason::WORKLOAD_NOT_FOUND);
        story.wait_for_policies(&story.pods_of("ledger", "db"), &[]).await;

        // With a workload of its own it opens.
        make(&story.connections(), "EnclaveConnection", "own", to_the_ledger()).await;
        wait_for_state(&story.connections(), "own", State::Connected).await;
    })
    .await;
}
