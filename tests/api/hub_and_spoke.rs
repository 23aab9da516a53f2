//! The story of examples/hub-and-spoke, played as its README tells it.

use std::collections::{BTreeMap, BTreeSet};

use enclave_operator::api::approval_request::{RequestState, Verdict};
use enclave_operator::api::{ApprovalRequest, EnclaveConnection};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::reachability::assert_reachability;
use crate::support::{User, eventually};
use crate::world::{SOON, WORLD, World, vote};

/// Applies a file as soon as the namespaces for it are there.
async fn apply(user: &User, file: &str) {
    let path = format!("{}/examples/hub-and-spoke/{file}", env!("CARGO_MANIFEST_DIR"));
    eventually(&format!("{file} can be applied"), SOON, async || {
        user.kubectl(&["apply", "--server-side", "-f", &path]).status.success().then_some(())
    })
    .await;
}

/// The open requests of the Community: what each is about, and what it would open.
async fn open_requests(world: &World) -> BTreeMap<String, ApprovalRequest> {
    let all: Api<ApprovalRequest> = Api::all(world.administrator());
    let requests = all.list(&ListParams::default()).await.unwrap().items.into_iter();
    requests
        .filter(|request| request.namespace().is_some_and(|namespace| namespace.starts_with("globex")))
        .filter(|request| {
            request.status.as_ref().and_then(|status| status.state) == Some(RequestState::Pending)
        })
        .map(|request| (request.spec.summary.target.clone(), request))
        .collect()
}

async fn wait_for_open_requests(world: &World, targets: &[&str]) -> BTreeMap<String, ApprovalRequest> {
    let wanted: BTreeSet<&str> = targets.iter().copied().collect();
    eventually(&format!("requests about {wanted:?}"), SOON, async || {
        let open = open_requests(world).await;
        (open.keys().map(String::as_str).collect::<BTreeSet<_>>() == wanted).then_some(open)
    })
    .await
}

async fn approve(user: &User, request: &ApprovalRequest) {
    let namespace = request.namespace().unwrap();
    vote(user, &namespace, &request.name_any(), Verdict::Approved, None).await.unwrap();
}

async fn wait_for_states(world: &World, states: &[(&str, &str)]) {
    let wanted: BTreeMap<String, String> =
        states.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect();
    let all: Api<EnclaveConnection> = Api::all(world.administrator());
    eventually(&format!("connections are {wanted:?}"), SOON, async || {
        let connections = all.list(&ListParams::default()).await.unwrap().items.into_iter();
        let seen: BTreeMap<String, String> = connections
            .filter(|connection| connection.namespace().is_some_and(|name| name.starts_with("globex")))
            .map(|connection| {
                let state = connection.status.as_ref().and_then(|status| status.gate.state);
                (connection.name_any(), state.map(|state| state.to_string()).unwrap_or_default())
            })
            .collect();
        (seen == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn hub_and_spoke_opens_what_was_agreed_and_nothing_else() {
    let world = &*WORLD;
    let hugo = world.plane.user("hugo", &["owners", "enclave-owners"]);
    let sara = world.plane.user("sara", &["approvers", "security"]);
    for file in ["01-community.yaml", "02-enclaves.yaml", "03-workloads.yaml", "04-endpoints.yaml"] {
        apply(&hugo, file).await;
    }
    apply(&hugo, "05-ways-out.yaml").await;
    let ways_out = ["TransitHub datacenter", "CommunityEndpoint card-network", "CommunityEndpoint archive"];
    for request in wait_for_open_requests(world, &ways_out).await.values() {
        approve(&world.bob(), request).await;
    }
    wait_for_open_requests(world, &[]).await;

    apply(&hugo, "06-connections.yaml").await;
    apply(&hugo, "07-connections-of-the-ledger.yaml").await;
    let connections = ["to-ledger", "to-portal", "to-card-network", "to-archive", "auditors"];
    let targets = connections.map(|name| format!("EnclaveConnection {name}"));
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let requests = wait_for_open_requests(world, &targets).await;
    let opens = |name: &str| requests[&format!("EnclaveConnection {name}")].spec.impact.opens.clone();
    assert_eq!(opens("to-ledger"), ["globex-payments-api -> globex-ledger-db (app=postgres): TCP 5432"]);
    assert_eq!(opens("to-card-network"), ["globex-payments-api -> 198.51.100.0/24: TCP 443"]);
    assert_eq!(
        opens("auditors"),
        [
            "10.20.0.0/16 -> globex-ledger-db (app=postgres): TCP 5432",
            "vpn (app=gateway) -> globex-ledger-db (app=postgres): TCP 5432",
        ]
    );
    for request in requests.values() {
        approve(&sara, request).await;
    }
    // Who connects to the web app needs the three people that it trusts.
    wait_for_states(
        world,
        &[
            ("to-ledger", "Connected"),
            ("to-portal", "Pending"),
            ("to-card-network", "Connected"),
            ("to-archive", "Connected"),
            ("auditors", "Connected"),
        ],
    )
    .await;
    for name in ["tara", "tina", "tom"] {
        let person = world.plane.user(name, &["approvers"]);
        approve(&person, &requests["EnclaveConnection to-portal"]).await;
    }
    wait_for_states(world, &connections.map(|name| (name, "Connected"))).await;

    let policies: Api<NetworkPolicy> = Api::all(world.administrator());
    let live = policies.list(&ListParams::default()).await.unwrap();
    let opened: BTreeSet<(String, String)> = live
        .iter()
        .filter(|policy| policy.name_any().starts_with("connection.globex"))
        .map(|policy| (policy.namespace().unwrap(), policy.name_any()))
        .collect();
    let expected: BTreeSet<(String, String)> = [
        ("globex-payments-api", "connection.globex-payments.to-ledger.egress"),
        ("globex-ledger-db", "connection.globex-payments.to-ledger.ingress"),
        ("globex-payments-api", "connection.globex-payments.to-portal.egress"),
        ("globex-portal-web", "connection.globex-payments.to-portal.ingress"),
        ("globex-payments-api", "connection.globex-payments.to-card-network.egress"),
        ("globex-ledger-db", "connection.globex-ledger.to-archive.egress"),
        ("globex-ledger-db", "connection.globex.auditors.ingress"),
    ]
    .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
    .into();
    assert_eq!(opened, expected);
    assert!(assert_reachability(world, "globex").await > 0);
}
