//! A thousand connections in one Community.

use std::time::{Duration, Instant};

use enclave_operator::api::{EnclaveConnection, EnclaveWorkload, State};
use futures::StreamExt;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::network::{Story, make, to_the_ledger};
use crate::support::eventually;
use crate::world::{World, enclave, enclaves, namespaced, on_a_runtime, patch, wait_for_state};

const ENCLAVES: usize = 4;
const CONNECTIONS: usize = 250;

#[test]
fn a_thousand_connections_open_and_close() {
    let world = World::start();
    on_a_runtime(async || {
        let story = Story::begin_in(&world, "scale", json!({})).await;
        let (alice, erin) = (world.alice(), world.erin());
        let mut sources = Vec::new();
        for number in 0..ENCLAVES {
            let name = format!("team{number}");
            let api = enclaves(&alice, "scale");
            api.create(&PostParams::default(), &enclave(&name, &json!({}))).await.unwrap();
            wait_for_state(&api, &name, State::Active).await;
            let control = story.control(&name);
            let workloads: Api<EnclaveWorkload> = namespaced(erin.client(), &control);
            make(&workloads, "EnclaveWorkload", "api", json!({})).await;
            wait_for_state(&workloads, "api", State::Active).await;
            sources.push(namespaced::<EnclaveConnection>(erin.client(), &control));
        }

        let started = Instant::now();
        let wanted = sources.iter().flat_map(|api| (0..CONNECTIONS).map(move |number| (api, number)));
        futures::stream::iter(wanted)
            .for_each_concurrent(8, async |(api, number)| {
                make(api, "EnclaveConnection", &format!("c{number}"), to_the_ledger()).await;
            })
            .await;
        println!("{} connections declared in {:.1?}", ENCLAVES * CONNECTIONS, started.elapsed());
        let all: Api<EnclaveConnection> = Api::all(world.administrator());
        eventually("all are Connected", Duration::from_secs(900), async || {
            let live = all.list(&ListParams::default()).await.unwrap();
            let is_connected = |connection: &&EnclaveConnection| {
                connection.status.as_ref().and_then(|status| status.gate.state) == Some(State::Connected)
            };
            (live.iter().filter(is_connected).count() == ENCLAVES * CONNECTIONS).then_some(())
        })
        .await;
        println!("all Connected {:.1?} after the first was declared", started.elapsed());

        // One of them closes as fast as if it were alone.
        let db: Api<NetworkPolicy> = namespaced(world.administrator(), &story.pods_of("ledger", "db"));
        let ingress = format!("connection.{}.c0.ingress", story.control("team0"));
        let started = Instant::now();
        patch(&sources[0], "c0", json!({"spec": {"enabled": false}})).await.unwrap();
        crate::support::wait_gone(db.clone(), &ingress, Duration::from_secs(30), "its policy goes").await;
        println!("one of them closed in {:.1?}", started.elapsed());

        // The endpoint goes: everything is shut.
        let started = Instant::now();
        story.endpoints().delete("db", &kube::api::DeleteParams::default()).await.unwrap();
        eventually("everything is shut", Duration::from_secs(300), async || {
            let live = db.list(&ListParams::default()).await.unwrap();
            (!live.iter().any(|policy| policy.name_any().starts_with("connection."))).then_some(())
        })
        .await;
        println!("all ingress closed in {:.1?}", started.elapsed());
    });
}
