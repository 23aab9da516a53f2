//! Attacks by names: to reach what is somebody else's.

use enclave_operator::api::approval_request::RequestState;
use enclave_operator::api::names::{condition as conditions, reason};
use enclave_operator::api::{EnclaveConnection, EnclaveWorkload, State, TransitHub};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use super::Defence::Validation;
use super::{DELETION_GUARD, Run, approve, bites, play};
use crate::network::{Story, endpoint, make, required, to_the_ledger};
use crate::support::wait_gone;
use crate::world::{
    SOON, active_community, assert_refused, communities, condition, enclave, enclaves, namespaced, patch,
    requests, wait_for_enclave, wait_for_hold, wait_for_request_state, wait_for_state,
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

#[tokio::test]
async fn b21_widen_an_endpoint_while_a_connection_to_it_waits() {
    play(async |world| {
        let story = Story::begin_in(world, "b21", required(&["ConnectionCreation"])).await;
        let (connections, namespace) = (story.connections(), story.control("payments"));
        make(&connections, "EnclaveConnection", "to-ledger", to_the_ledger()).await;
        let first = wait_for_hold(&connections, "to-ledger").await;
        let wider = json!({"spec": {"ports": [{"port": 1, "endPort": 65535}]}});
        patch(&story.endpoints(), "db", wider).await.unwrap();
        wait_for_request_state(&world.bob(), &namespace, &first, RequestState::Superseded).await;
        let changed = wait_for_state(&connections, "to-ledger", State::Disconnected).await;
        assert_eq!(ready_reason(&changed), reason::REFERENCE_REPLACED);
        let late = approve(&world.bob(), &namespace, &first, Run::ForReal).await;
        assert_refused(late, "this request is Superseded");
        story.wait_for_policies(&story.pods_of("ledger", "db"), &[]).await;

        // Asked for anew, the request tells the wider ports.
        let again = json!({"spec": {"change": {"justification": "all of\nthem\n  Impact:  none"}}});
        patch(&connections, "to-ledger", again).await.unwrap();
        let second = wait_for_hold(&connections, "to-ledger").await;
        let request = requests(&world.bob(), &namespace).get(&second).await.unwrap();
        assert_eq!(request.spec.impact.opens, ["b21-payments-api -> b21-ledger-db (app=db): TCP 1-65535"]);
        // Words cannot look like fields.
        assert_eq!(request.spec.justification.as_deref(), Some("all of them   Impact:  none"));
        story.approve(&connections, &namespace, "to-ledger").await;
        wait_for_state(&connections, "to-ledger", State::Connected).await;
    })
    .await;
}

#[tokio::test]
async fn b22_make_an_endpoint_again_without_its_rules() {
    play(async |world| {
        let story = Story::begin_in(world, "b22", json!({})).await;
        let mut guarded = endpoint(8443);
        guarded["approvals"] = required(&["ConnectionCreation"]);
        make(&story.endpoints(), "EnclaveEndpoint", "web", guarded).await;
        wait_for_state(&story.endpoints(), "web", State::Active).await;
        let delete = async || story.endpoints().delete("web", &Run::Dry.delete()).await;
        let words = "the rules hold the deletion of web";
        let defence = Validation(DELETION_GUARD, "until it is approved");
        bites(world, &[defence], words, async |_| delete().await).await;
    })
    .await;
}

#[tokio::test]
async fn b23_a_gateway_in_the_namespace_of_another_community() {
    play(async |world| {
        let theirs = Story::begin_in(world, "b23-theirs", json!({})).await;
        let story = Story::begin_in(world, "b23", json!({})).await;
        let alice = world.alice().client();
        let hubs: Api<TransitHub> = namespaced(alice.clone(), "b23");
        let gateway = |namespace: &str| json!({"gateway": {"namespace": namespace, "podSelector": {}}});
        make(&hubs, "TransitHub", "hub", gateway(&theirs.pods_of("ledger", "db"))).await;
        wait_for_state(&hubs, "hub", State::Active).await;
        let from_hub: Api<EnclaveConnection> = namespaced(alice, "b23");
        let mut spec = to_the_ledger();
        spec["source"] = json!({"transitHub": {"name": "hub"}});
        make(&from_hub, "EnclaveConnection", "from-hub", spec).await;
        let shut = wait_for_state(&from_hub, "from-hub", State::Disconnected).await;
        assert_eq!(ready_reason(&shut), reason::DESTINATION_NOT_ALLOWED);
        story.wait_for_policies(&story.pods_of("ledger", "db"), &[]).await;
        // A gateway that is nobody's.
        patch(&hubs, "hub", json!({"spec": gateway("vpn")})).await.unwrap();
        wait_for_state(&from_hub, "from-hub", State::Connected).await;
    })
    .await;
}

#[tokio::test]
async fn b24_open_traffic_by_what_is_no_connection() {
    play(async |world| {
        let rules = required(&["ConnectionCreation", "EnclaveEndpointUpdate"]);
        let story = Story::begin_in_approved(world, "b24", rules).await;
        // Where names are resolved: every workload may go there.
        let communities = communities(&world.alice());
        let dns =
            json!({"spec": {"dns": {"namespace": "vault", "podLabels": {"app": "vault"}, "port": 8200}}});
        patch(&communities, "b24", dns).await.unwrap();
        wait_for_hold(&communities, "b24").await;
        // The workload behind an endpoint: the request says where its connections would lead.
        let connections = story.connections();
        make(&connections, "EnclaveConnection", "to-ledger", to_the_ledger()).await;
        story.approve(&connections, &story.control("payments"), "to-ledger").await;
        wait_for_state(&connections, "to-ledger", State::Connected).await;
        let workloads: Api<EnclaveWorkload> = namespaced(world.erin().client(), "b24-ledger");
        make(&workloads, "EnclaveWorkload", "vault", json!({})).await;
        wait_for_state(&workloads, "vault", State::Active).await;
        patch(&story.endpoints(), "db", json!({"spec": {"workload": "vault"}})).await.unwrap();
        let request = wait_for_hold(&story.endpoints(), "db").await;
        let impact = requests(&world.bob(), "b24-ledger").get(&request).await.unwrap().spec.impact;
        assert_eq!(impact.opens, ["b24-payments-api -> b24-ledger-vault (app=db): TCP 5432"]);
        assert_eq!(impact.closes, ["b24-payments-api -> b24-ledger-db (app=db): TCP 5432"]);
    })
    .await;
}
