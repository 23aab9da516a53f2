//! Nothing but the API server holds truth: the operator can die at any moment, and what is
//! converged is left alone.

use std::time::Duration;

use enclave_operator::api::approval_request::{RequestState, Verdict};
use enclave_operator::api::names::{annotation, child};
use enclave_operator::api::{Enclave, EnclaveWorkload, State};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::mortal::run_mortal_operator;
use crate::network::{Story, make, to_the_ledger};
use crate::roles::{Place, user};
use crate::support::{Write, eventually, wait_gone, wait_until, writes_by};
use crate::world::{
    SOON, World, active_community, communities, enclave, enclaves, hold_everything, namespaced, on_a_runtime,
    operator_settings, patch, requests, vote, wait_for_access, wait_for_enclave, wait_for_request,
    wait_for_request_state, wait_for_state, wait_until_applied, wait_until_told,
};

const OPERATOR: &str = "system:serviceaccount:enclave-system:enclave-operator";

#[test]
fn an_operator_that_dies_after_every_write_ends_in_the_same_state() {
    let world = World::without_operator();
    world.install();

    world.start_operator("steady");
    let steady = on_a_runtime(async || play_all(&world, "steady").await);
    world.kill_operator();

    let account = on_a_runtime(async || {
        world.plane.service_account("enclave-system", "enclave-operator").await.unwrap()
    });
    // The same identity as the one that was killed: it need not wait for its own lease.
    let settings = operator_settings("steady");
    let (mortal, lives) =
        run_mortal_operator(&account, &settings, async { play_all(&world, "mortal").await });
    println!("the flow took {lives} lives");
    assert!(lives > 20, "the operator died only {lives} times");
    for (mortal, steady) in mortal.iter().zip(&steady) {
        assert_eq!(mortal, steady);
    }
}

/// Cases R6, R7 and R8 with the restart that is in them: maintenance that ends at the end of the calendar, large
/// numbers as amounts, and maintenance that ends while nobody leads.
#[test]
fn what_was_asked_for_before_a_restart_is_the_same_after_it() {
    let world = World::without_operator();
    world.install();
    let operator = world.spawn_operator("verbatim-1");
    let olga = world.plane.user("olga-verbatim", &[]);
    let (control, pods) = ("verbatim-payments", "verbatim-payments-api");
    let numbers = json!({"spec": {"quota": {"limits.memory": 8_589_934_592_i64}}});
    let mut ends = Timestamp::MIN;
    on_a_runtime(async || {
        let rules = json!({"rules": [{"operation": "CommunityUpdate", "policy": "Required"}]});
        let place = Place::make_in(&world, "verbatim", &json!({ "approvals": rules })).await;
        place.assign(control, "owners", "enclave-owner", &[user(&olga)]).await;
        wait_for_access(&olga, "create", "pods", pods, true).await;
        let alice = world.alice();
        let off = json!({"spec": {"maintenance": {"mode": "Disabled", "expiresAt": "9999-12-31T23:59:59Z"}}});
        // An edit that only closes needs no approval.
        patch(&communities(&alice), "verbatim", off).await.unwrap();
        wait_until_applied(&communities(&alice), "verbatim").await;
        wait_for_state(&communities(&alice), "verbatim", State::Active).await;

        ends = Timestamp::now() + SignedDuration::from_secs(25);
        let soon = json!({
            "mode": "Advanced", "justification": "Networking", "expiresAt": ends.to_string(),
            "principals": [{"kind": "User", "name": "tina"}],
        });
        patch(&enclaves(&alice, "verbatim"), "payments", json!({"spec": {"maintenance": soon}}))
            .await
            .unwrap();
        wait_until(namespaces(&world), pods, SOON, "maintenance begins", is_open).await;
        let workloads: Api<EnclaveWorkload> = namespaced(alice.client(), control);
        patch(&workloads, "api", numbers.clone()).await.unwrap();
        wait_until_applied(&workloads, "api").await;
    });
    operator.kill();
    on_a_runtime(async || {
        eventually("its time is over", SOON, async || (Timestamp::now() > ends).then_some(())).await;
        let pods = namespaces(&world).get(pods).await.unwrap();
        assert!(is_open(&pods), "nobody leads who could end it");
    });
    let _operator = world.spawn_operator("verbatim-2");
    on_a_runtime(async || {
        let alice = world.alice();
        for namespace in [control, pods] {
            wait_until(namespaces(&world), namespace, SOON, "maintenance ends", |namespace: &Namespace| {
                !is_open(namespace)
            })
            .await;
        }
        let quotas: Api<ResourceQuota> = namespaced(world.administrator(), pods);
        wait_until(quotas, child::QUOTA, SOON, "the quota is there", |quota: &ResourceQuota| {
            let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
            hard.is_some_and(|hard| ["8589934592", "8Gi"].contains(&hard["limits.memory"].0.as_str()))
        })
        .await;
        // Roles are in force, and drift is healed.
        wait_for_access(&olga, "create", "pods", pods, true).await;
        let policies: Api<NetworkPolicy> = namespaced(world.operator().await.client(), pods);
        policies.delete("enclave-operator-default-deny", &DeleteParams::default()).await.unwrap();
        let all: Api<NetworkPolicy> = namespaced(world.administrator(), pods);
        eventually("it is put back", SOON, async || {
            all.get_opt("enclave-operator-default-deny").await.unwrap()
        })
        .await;
        wait_for_state(&communities(&alice), "verbatim", State::Active).await;
        wait_for_enclave(&enclaves(&alice, "verbatim"), "payments", State::Active).await;
        // Everything closes and goes.
        let workloads: Api<EnclaveWorkload> = namespaced(alice.client(), control);
        workloads.delete("api", &DeleteParams::default()).await.unwrap();
        wait_gone(workloads, "api", SOON * 2, "the workload goes").await;
        let enclaves = enclaves(&alice, "verbatim");
        enclaves.delete("payments", &DeleteParams::default()).await.unwrap();
        wait_gone(enclaves, "payments", SOON * 2, "the Enclave goes").await;
    });
}

fn namespaces(world: &World) -> Api<Namespace> {
    Api::all(world.administrator())
}

/// Whether Advanced maintenance opens a namespace.
fn is_open(namespace: &Namespace) -> bool {
    namespace.annotations().contains_key(annotation::MAINTENANCE_ADVANCED)
}

async fn play_all(world: &World, name: &str) -> [Value; 3] {
    let flow = play_the_flow(world, name).await;
    let connection = play_a_connection(world, &format!("{name}-net")).await;
    [flow, connection, crate::roles::life::play(world, &format!("{name}-roles")).await]
}

/// A connection: approved, widened at its endpoint, closed, opened again with an approval, and one
/// that is deleted. Returns the network policies that are left.
async fn play_a_connection(world: &World, name: &str) -> Value {
    let rules = json!({"rules": [{"operation": "ConnectionUpdate", "policy": "Required"}]});
    let story = Story::begin_in(world, name, rules).await;
    let connections = story.connections();
    for connection in ["kept", "deleted"] {
        make(&connections, "EnclaveConnection", connection, to_the_ledger()).await;
        wait_for_state(&connections, connection, State::Connected).await;
    }
    patch(&story.endpoints(), "db", json!({"spec": {"ports": [{"port": 5432}, {"port": 5433}]}}))
        .await
        .unwrap();
    // What it leads to must not change any more while the connection is asked for.
    wait_until_applied(&story.endpoints(), "db").await;
    patch(&connections, "kept", json!({"spec": {"enabled": false}})).await.unwrap();
    wait_for_state(&connections, "kept", State::Inactive).await;
    patch(&connections, "kept", json!({"spec": {"enabled": true}})).await.unwrap();
    story.approve(&connections, &story.control("payments"), "kept").await;
    wait_for_state(&connections, "kept", State::Connected).await;
    connections.delete("deleted", &DeleteParams::default()).await.unwrap();
    wait_gone(connections, "deleted", SOON, "the deleted connection goes").await;
    let mut left = Vec::new();
    for namespace in [story.pods_of("payments", "api"), story.pods_of("ledger", "db")] {
        let policies: Api<NetworkPolicy> = Api::namespaced(world.administrator(), &namespace);
        let all = eventually("the second port is open", SOON, async || {
            let all = policies.list(&ListParams::default()).await.unwrap().items;
            let opened = all.iter().any(|policy| json!(policy.spec).to_string().contains("5433"));
            opened.then_some(all)
        })
        .await;
        left.extend(all.iter().map(|policy| {
            format!("{namespace} {} {}", policy.name_any(), json!(policy.spec)).replace(name, "NAME")
        }));
    }
    json!(left)
}

/// The whole life of an Enclave: created and approved, edited and rejected, edited and superseded
/// and approved, healed, and a sibling that is retired. Returns what is left at the end, without
/// what differs from run to run.
async fn play_the_flow(world: &World, name: &str) -> Value {
    let (alice, bob) = (world.alice(), world.bob());
    active_community(world, name, &json!({ "approvals": hold_everything() })).await;
    let api = enclaves(&alice, name);
    api.create(&PostParams::default(), &enclave("kept", &json!({}))).await.unwrap();
    api.create(&PostParams::default(), &enclave("retired", &json!({}))).await.unwrap();
    for enclave in ["kept", "retired"] {
        let request = wait_for_request(&alice, name, enclave).await;
        vote(&bob, name, &request, Verdict::Approved, None).await.unwrap();
        wait_for_enclave(&api, enclave, State::Active).await;
    }

    patch(&api, "kept", json!({"spec": {"description": "rejected"}})).await.unwrap();
    let request = wait_for_request(&alice, name, "kept").await;
    vote(&bob, name, &request, Verdict::Rejected, Some("no")).await.unwrap();
    wait_for_enclave(&api, "kept", State::Rejected).await;

    patch(&api, "kept", json!({"spec": {"description": "superseded"}})).await.unwrap();
    let superseded = wait_for_request(&alice, name, "kept").await;
    patch(&api, "kept", json!({"spec": {"description": "approved"}})).await.unwrap();
    let request = wait_for_request(&alice, name, "kept").await;
    wait_for_request_state(&alice, name, &superseded, RequestState::Superseded).await;
    vote(&bob, name, &request, Verdict::Approved, None).await.unwrap();
    wait_for_enclave(&api, "kept", State::Active).await;

    patch(&api, "retired", json!({"spec": {"retire": true}})).await.unwrap();
    let request = wait_for_request(&alice, name, "retired").await;
    vote(&bob, name, &request, Verdict::Approved, None).await.unwrap();
    wait_gone(api.clone(), "retired", SOON, "the retired Enclave goes").await;

    // Everything that follows from the last change has happened.
    eventually("every request is decided, and marked when it is enacted", SOON, async || {
        let open =
            requests(&alice, name).list(&ListParams::default()).await.unwrap().items.into_iter().any(|r| {
                let status = r.status.unwrap_or_default();
                status.state == Some(RequestState::Pending)
                    || (status.state == Some(RequestState::Approved) && status.enacted_at.is_none())
            });
        (!open).then_some(())
    })
    .await;
    summary(world, name).await
}

async fn summary(world: &World, name: &str) -> Value {
    let administrator = world.administrator();
    let kept: Enclave = enclaves(&world.alice(), name).get("kept").await.unwrap();
    let gate = kept.status.unwrap().gate;
    let applied = gate.applied.unwrap();
    let conditions: Vec<Value> = gate
        .conditions
        .iter()
        .map(|condition| json!([condition.type_, condition.status, condition.reason]))
        .collect();
    let mut requests: Vec<Value> = requests(&world.alice(), name)
        .list(&ListParams::default())
        .await
        .unwrap()
        .into_iter()
        .map(|request| {
            let status = request.status.unwrap();
            let votes: Vec<_> = status.decisions.iter().map(|d| (d.approver.clone(), d.verdict)).collect();
            json!({
                "target": request.spec.target.name, "generation": request.spec.target.generation,
                "operations": request.spec.operations, "requesters": request.spec.requesters,
                "digest": request.spec.change.digest, "state": status.state, "votes": votes,
                "enacted": status.enacted_at.is_some(),
            })
        })
        .collect();
    requests.sort_by_key(ToString::to_string);
    let namespaces: Api<Namespace> = Api::all(administrator);
    let mut left: Vec<String> = namespaces
        .list(&ListParams::default().labels(&format!("enclave-operator.io/community={name}")))
        .await
        .unwrap()
        .into_iter()
        .map(|namespace| namespace.name_any().replace(name, "NAME"))
        .collect();
    left.sort();
    json!({
        "state": gate.state, "generation": kept.metadata.generation, "conditions": conditions,
        "pending": gate.pending, "applied": applied.spec, "digest": applied.digest,
        "requests": requests, "namespaces": left,
    })
}

#[test]
fn a_converged_cluster_sees_no_writes() {
    let world = World::without_operator();
    world.install();
    world.start_operator("quiet");
    on_a_runtime(async || {
        play_the_flow(&world, "quiet").await;
        play_a_connection(&world, "quiet-net").await;
        crate::roles::life::play(&world, "quiet-roles").await;
        // One of each that stays as it is: held, rejected, in conflict.
        let api = enclaves(&world.alice(), "quiet");
        for name in ["held", "rejected"] {
            api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
        }
        wait_for_request(&world.alice(), "quiet", "held").await;
        let request = wait_for_request(&world.alice(), "quiet", "rejected").await;
        vote(&world.bob(), "quiet", &request, Verdict::Rejected, None).await.unwrap();
        wait_for_enclave(&api, "rejected", State::Rejected).await;
        // Under maintenance, with something that was left behind.
        let administrator = world.plane.administrator_user();
        let on = crate::lock::maintenance("Advanced", &crate::lock::user(administrator.name()), 3600);
        let maintained = enclave("maintained", &json!({"maintenance": on}));
        api.create(&PostParams::default(), &maintained).await.unwrap();
        let request = wait_for_request(&world.alice(), "quiet", "maintained").await;
        vote(&world.bob(), "quiet", &request, Verdict::Approved, None).await.unwrap();
        wait_for_enclave(&api, "maintained", State::Active).await;
        let policies: Api<NetworkPolicy> = namespaced(administrator.client(), "quiet-maintained");
        crate::lock::until_admitted(async || {
            policies.create(&PostParams::default(), &crate::lock::open_policy("left")).await
        })
        .await;
        wait_until(api, "maintained", SOON, "it is told", |enclave: &Enclave| {
            enclave.status.as_ref().is_some_and(|status| !status.unmanaged_resources.is_empty())
        })
        .await;
        let conflict = crate::world::community("default", &json!({}));
        let communities = communities(&world.alice());
        communities.create(&PostParams::default(), &conflict).await.unwrap();
        crate::world::wait_for_community(&communities, "default", State::Inactive).await;
        wait_for_event(&world, "default", "NamespaceConflict").await;
        // The last writes of all take off what was told.
        wait_until_told(&world).await;
    });

    assert_no_writes_for(&world, Duration::from_secs(60));
    // Every object is seen anew after a restart, and still there is nothing to write.
    world.kill_operator();
    let started = Timestamp::now();
    world.start_operator("quiet");
    on_a_runtime(async || wait_for_lease_renewal(&world, started).await);
    assert_no_writes_for(&world, Duration::from_secs(10));

    // The same counting does see a write.
    on_a_runtime(async || {
        let since = Timestamp::now();
        let api = enclaves(&world.alice(), "quiet");
        api.delete("held", &DeleteParams::default()).await.unwrap();
        eventually("the write is seen", SOON, async || (!writes(&world, since).is_empty()).then_some(()))
            .await;
    });
}

fn assert_no_writes_for(world: &World, time: Duration) {
    let since = Timestamp::now();
    // Not a wait for something to happen: nothing must happen in this time.
    std::thread::sleep(time);
    let writes = writes(world, since);
    assert!(writes.is_empty(), "the operator wrote: {writes:#?}");
}

/// The lease is renewed all the time, which is how another replica knows that this one lives; it
/// is no write about anything that users have.
fn writes(world: &World, since: Timestamp) -> Vec<Write> {
    let mut writes = writes_by(&world.plane.audit_log(), OPERATOR, Some(since));
    writes.retain(|write| write.resource != "leases");
    writes
}

async fn wait_for_event(world: &World, about: &str, reason: &str) {
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::all(world.administrator());
    let fields = format!("involvedObject.name={about},reason={reason}");
    eventually("the Event is there", SOON, async || {
        let found = events.list(&ListParams::default().fields(&fields)).await.unwrap();
        (!found.items.is_empty()).then_some(())
    })
    .await;
}

async fn wait_for_lease_renewal(world: &World, since: Timestamp) {
    eventually("the new process leads", SOON, async || {
        let writes = writes_by(&world.plane.audit_log(), OPERATOR, Some(since));
        writes.iter().any(|write| write.resource == "leases").then_some(())
    })
    .await;
}
