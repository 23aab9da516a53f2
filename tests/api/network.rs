//! Traffic that opens by approved connections and by nothing else, seen in the network policies.

use std::collections::BTreeSet;
use std::fmt::Debug;

use enclave_operator::api::approval_request::{RequestState, Verdict};
use enclave_operator::api::names::{condition as condition_type, reason};
use enclave_operator::api::{
    CiliumNetworkPolicy, CommunityEndpoint, EnclaveConnection, EnclaveEndpoint, EnclaveWorkload, State,
    TransitHub,
};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyIngressRule};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::lock::matrix::{Guarded, assert_locked};
use crate::reachability::assert_reachability;
use crate::support::{eventually, wait_gone};
use crate::world::{
    SOON, WORLD, World, active_community, assert_refused, change_as_operator, communities, condition,
    enclave, enclaves, namespaced, object, patch, requests, vote, wait_for_enclave, wait_for_hold,
    wait_for_request_state, wait_for_state,
};

/// A Community with an Enclave "payments" with the workload "api", and an Enclave "ledger" with the
/// workload "db" and the endpoint "db".
pub struct Story<'a> {
    pub world: &'a World,
    pub community: String,
}

impl<'a> Story<'a> {
    pub async fn begin(community: &str, rules: Value) -> Self {
        Self::begin_in(&WORLD, community, rules).await
    }

    pub async fn begin_in(world: &'a World, community: &str, rules: Value) -> Self {
        let story = Self::begin_declared(world, community, rules).await;
        wait_for_state(&story.endpoints(), "db", State::Active).await;
        story
    }

    /// The same where the endpoint needs an approval, which it gets.
    pub async fn begin_in_approved(world: &'a World, community: &str, rules: Value) -> Self {
        let story = Self::begin_declared(world, community, rules).await;
        story.approve(&story.endpoints(), &story.control("ledger"), "db").await;
        wait_for_state(&story.endpoints(), "db", State::Active).await;
        story
    }

    async fn begin_declared(world: &'a World, community: &str, rules: Value) -> Self {
        let story = Self { world, community: community.to_owned() };
        active_community(story.world, community, &json!({ "approvals": rules })).await;
        let (alice, erin) = (story.world.alice(), story.world.erin());
        for (name, workload) in [("payments", "api"), ("ledger", "db")] {
            let api = enclaves(&alice, community);
            api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
            wait_for_enclave(&api, name, State::Active).await;
            let workloads: Api<EnclaveWorkload> = namespaced(erin.client(), &story.control(name));
            make(&workloads, "EnclaveWorkload", workload, json!({})).await;
            wait_for_state(&workloads, workload, State::Active).await;
        }
        make(&story.endpoints(), "EnclaveEndpoint", "db", endpoint(5432)).await;
        story
    }

    pub fn control(&self, enclave: &str) -> String {
        format!("{}-{enclave}", self.community)
    }

    pub fn pods_of(&self, enclave: &str, workload: &str) -> String {
        format!("{}-{enclave}-{workload}", self.community)
    }

    fn erin(&self) -> Client {
        self.world.erin().client()
    }

    pub fn endpoints(&self) -> Api<EnclaveEndpoint> {
        namespaced(self.erin(), &self.control("ledger"))
    }

    pub fn connections(&self) -> Api<EnclaveConnection> {
        namespaced(self.erin(), &self.control("payments"))
    }

    pub async fn approve<K: crate::world::Watched>(&self, api: &Api<K>, namespace: &str, name: &str) {
        let request = wait_for_hold(api, name).await;
        let bob = self.world.bob();
        wait_for_request_state(&bob, namespace, &request, RequestState::Pending).await;
        vote(&bob, namespace, &request, Verdict::Approved, None).await.unwrap();
    }

    /// The names of the policies in a workload's namespace.
    pub async fn policies(&self, namespace: &str) -> BTreeSet<String> {
        let api: Api<NetworkPolicy> = namespaced(self.world.administrator(), namespace);
        let all = api.list(&ListParams::default()).await.unwrap();
        all.items.iter().map(ResourceExt::name_any).collect()
    }

    /// Waits until these, besides those that are always there, are the policies of a namespace.
    pub async fn wait_for_policies(&self, namespace: &str, connections: &[&str]) {
        let always = ["enclave-operator-default-deny", "enclave-operator-dns", "enclave-operator-inside"];
        let wanted: BTreeSet<String> =
            always.iter().chain(connections).map(|name| (*name).to_owned()).collect();
        eventually(&format!("the policies of {namespace} are {wanted:?}"), SOON, async || {
            (self.policies(namespace).await == wanted).then_some(())
        })
        .await;
    }

    async fn policy(&self, namespace: &str, name: &str) -> Value {
        let api: Api<NetworkPolicy> = namespaced(self.world.administrator(), namespace);
        serde_json::to_value(api.get(name).await.unwrap().spec).unwrap()
    }
}

pub async fn make<K>(api: &Api<K>, kind: &str, name: &str, spec: Value) -> K
where
    K: Clone + Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let wanted = object(json!({
        "apiVersion": "enclave-operator.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
    }));
    api.create(&PostParams::default(), &wanted).await.unwrap()
}

pub fn endpoint(port: u16) -> Value {
    json!({
        "workload": "db",
        "podSelector": {"matchLabels": {"app": "db"}},
        "ports": [{"protocol": "TCP", "port": port}],
    })
}

pub fn to_the_ledger() -> Value {
    json!({
        "source": {"workloads": ["api"]},
        "destination": {"enclaveEndpoint": {"enclave": "ledger", "name": "db"}},
    })
}

pub fn required(operations: &[&str]) -> Value {
    let rules: Vec<Value> =
        operations.iter().map(|operation| json!({"operation": operation, "policy": "Required"})).collect();
    json!({ "rules": rules })
}

/// As much of Cilium as the operator needs to write policies for it.
pub async fn install_cilium_definition(administrator: Client) {
    let definition: CustomResourceDefinition = object(json!({
        "metadata": {"name": "ciliumnetworkpolicies.cilium.io"},
        "spec": {
            "group": "cilium.io", "scope": "Namespaced",
            "names": {"kind": "CiliumNetworkPolicy", "plural": "ciliumnetworkpolicies"},
            "versions": [{
                "name": "v2", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    }));
    Api::all(administrator).create(&PostParams::default(), &definition).await.unwrap();
}

fn selects(namespace: &str) -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}})
}

#[tokio::test]
async fn traffic_opens_only_by_an_approved_connection_and_closes_at_once() {
    let story = Story::begin("net", required(&["ConnectionCreation", "ConnectionUpdate"])).await;
    let (api, db) = (story.pods_of("payments", "api"), story.pods_of("ledger", "db"));
    let connections = story.connections();
    make(&connections, "EnclaveConnection", "to-ledger", to_the_ledger()).await;
    let request = wait_for_hold(&connections, "to-ledger").await;
    let held = requests(&story.world.bob(), &story.control("payments")).get(&request).await.unwrap();
    assert_eq!(held.spec.impact.opens, [format!("{api} -> {db} (app=db): TCP 5432")]);
    story.wait_for_policies(&api, &[]).await;
    story.wait_for_policies(&db, &[]).await;

    vote(&story.world.bob(), &story.control("payments"), &request, Verdict::Approved, None).await.unwrap();
    let open = wait_for_state(&connections, "to-ledger", State::Connected).await;
    assert_eq!(open.status.as_ref().unwrap().to.as_deref(), Some("ledger/db"));
    let [egress, ingress] =
        ["egress", "ingress"].map(|way| format!("connection.{}.to-ledger.{way}", story.control("payments")));
    story.wait_for_policies(&api, &[&egress]).await;
    story.wait_for_policies(&db, &[&ingress]).await;
    let ports = json!([{"protocol": "TCP", "port": 5432}]);
    let pods = json!({"matchLabels": {"app": "db"}});
    assert_eq!(
        story.policy(&api, &egress).await,
        json!({
            "podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{"to": [{"namespaceSelector": selects(&db), "podSelector": pods}], "ports": ports}],
        })
    );
    assert_eq!(
        story.policy(&db, &ingress).await,
        json!({
            "podSelector": pods, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"namespaceSelector": selects(&api)}], "ports": ports}],
        })
    );

    assert!(assert_reachability(story.world, "net").await > 0);

    // A policy that is away, or open, is put back. (Nobody but the operator's account gets that far.)
    let policies: Api<NetworkPolicy> = namespaced(story.world.operator().await.client(), &db);
    policies.delete(&ingress, &DeleteParams::default()).await.unwrap();
    change_as_operator(story.world, &db, "enclave-operator-default-deny", |policy: &mut NetworkPolicy| {
        policy.spec.as_mut().unwrap().ingress = Some(vec![NetworkPolicyIngressRule::default()]);
    })
    .await;
    eventually("both are put back", SOON, async || {
        let closed = story.policy(&db, "enclave-operator-default-deny").await.get("ingress").is_none();
        (closed && story.policies(&db).await.contains(&ingress)).then_some(())
    })
    .await;

    // Closing needs nobody, and opening again does.
    patch(&connections, "to-ledger", json!({"spec": {"enabled": false}})).await.unwrap();
    let off = wait_for_state(&connections, "to-ledger", State::Inactive).await;
    let gate = &off.status.as_ref().unwrap().gate;
    assert!(gate.pending.is_none());
    assert_eq!(condition(gate, condition_type::READY).reason, reason::DISABLED);
    story.wait_for_policies(&api, &[]).await;
    story.wait_for_policies(&db, &[]).await;
    assert_eq!(assert_reachability(story.world, "net").await, 0);
    patch(&connections, "to-ledger", json!({"spec": {"enabled": true}})).await.unwrap();
    story.approve(&connections, &story.control("payments"), "to-ledger").await;
    wait_for_state(&connections, "to-ledger", State::Connected).await;
    story.wait_for_policies(&db, &[&ingress]).await;

    connections.delete("to-ledger", &DeleteParams::default()).await.unwrap();
    wait_gone(connections, "to-ledger", SOON, "it is gone").await;
    story.wait_for_policies(&api, &[]).await;
    story.wait_for_policies(&db, &[]).await;
}

#[tokio::test]
async fn a_closing_part_of_an_edit_does_not_wait_for_the_rest() {
    let story = Story::begin("halves", required(&["ConnectionUpdate"])).await;
    let connections = story.connections();
    make(&connections, "EnclaveConnection", "to-ledger", to_the_ledger()).await;
    wait_for_state(&connections, "to-ledger", State::Connected).await;
    let edit = json!({"spec": {"enabled": false, "description": "not needed this week"}});
    patch(&connections, "to-ledger", edit).await.unwrap();
    let request = wait_for_hold(&connections, "to-ledger").await;
    story.wait_for_policies(&story.pods_of("ledger", "db"), &[]).await;
    let held = requests(&story.world.bob(), &story.control("payments")).get(&request).await.unwrap();
    assert_eq!(
        serde_json::to_value(held.spec.change.before).unwrap().pointer("/enabled"),
        Some(&json!(false))
    );
}

#[tokio::test]
async fn a_connection_ends_by_itself() {
    let story = Story::begin("ends", json!({})).await;
    let connections = story.connections();
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let mut spec = to_the_ledger();
    spec["expiresAt"] = json!(end.round(jiff::Unit::Second).unwrap().to_string());
    make(&connections, "EnclaveConnection", "to-ledger", spec).await;
    wait_for_state(&connections, "to-ledger", State::Connected).await;
    let ended = wait_for_state(&connections, "to-ledger", State::Inactive).await;
    assert_eq!(condition(&ended.status.unwrap().gate, condition_type::READY).reason, reason::ENDED);
    story.wait_for_policies(&story.pods_of("payments", "api"), &[]).await;
    story.wait_for_policies(&story.pods_of("ledger", "db"), &[]).await;
}

#[tokio::test]
async fn a_connection_says_what_it_waits_for_and_follows_its_ends() {
    let story = Story::begin("follows", json!({})).await;
    let connections = story.connections();
    let mut spec = to_the_ledger();
    spec["source"] = json!({"workloads": ["api", "batch"]});
    spec["destination"] = json!({"enclaveEndpoint": {"enclave": "ledger", "name": "reports"}});
    make(&connections, "EnclaveConnection", "reports", spec).await;
    let waits = wait_for_state(&connections, "reports", State::Pending).await;
    let ready = condition(&waits.status.as_ref().unwrap().gate, condition_type::READY).clone();
    assert_eq!(
        (ready.reason.as_str(), ready.message.as_str()),
        (reason::ENDPOINT_NOT_FOUND, "EnclaveEndpoint ledger/reports does not exist")
    );

    make(&story.endpoints(), "EnclaveEndpoint", "reports", endpoint(9000)).await;
    // One of its two sources is there.
    let half = wait_for_state(&connections, "reports", State::Degraded).await;
    let ready = condition(&half.status.as_ref().unwrap().gate, condition_type::READY).clone();
    assert_eq!(ready.message, "EnclaveWorkload batch does not exist");
    let workloads: Api<EnclaveWorkload> = namespaced(story.erin(), &story.control("payments"));
    make(&workloads, "EnclaveWorkload", "batch", json!({})).await;
    wait_for_state(&connections, "reports", State::Connected).await;
    let egress = format!("connection.{}.reports.egress", story.control("payments"));
    let ingress = format!("connection.{}.reports.ingress", story.control("payments"));
    story.wait_for_policies(&story.pods_of("payments", "batch"), &[&egress]).await;

    // An approved change of the endpoint flows to its connections.
    patch(&story.endpoints(), "reports", json!({"spec": {"ports": [{"protocol": "TCP", "port": 9001}]}}))
        .await
        .unwrap();
    let db = story.pods_of("ledger", "db");
    eventually("the new port", SOON, async || {
        let port = story.policy(&db, &ingress).await.pointer("/ingress/0/ports/0/port").cloned();
        (port == Some(json!(9001))).then_some(())
    })
    .await;
    assert!(assert_reachability(story.world, "follows").await > 0);

    // A workload that goes is no source any more, and whoever takes its name is no source either.
    workloads.delete("batch", &DeleteParams::default()).await.unwrap();
    wait_for_state(&connections, "reports", State::Degraded).await;
    eventually("batch may not enter", SOON, async || {
        let from = story.policy(&db, &ingress).await.pointer("/ingress/0/from").cloned().unwrap();
        (from == json!([{"namespaceSelector": selects(&story.pods_of("payments", "api"))}])).then_some(())
    })
    .await;

    // An endpoint in use closes at once and stays until its connections are gone.
    story.endpoints().delete("reports", &DeleteParams::default()).await.unwrap();
    story.wait_for_policies(&db, &[]).await;
    let in_use = wait_for_state(&story.endpoints(), "reports", State::Inactive).await;
    let ready = condition(&in_use.status.as_ref().unwrap().gate, condition_type::READY).clone();
    assert_eq!(ready.reason, reason::CHILDREN_EXIST);
    assert!(ready.message.ends_with("are gone: follows-payments/reports"), "{}", ready.message);
    let shut = wait_for_state(&connections, "reports", State::Disconnected).await;
    let ready = condition(&shut.status.as_ref().unwrap().gate, condition_type::READY).clone();
    assert_eq!(ready.message, "EnclaveEndpoint ledger/reports is being deleted");
    connections.delete("reports", &DeleteParams::default()).await.unwrap();
    wait_gone(story.endpoints(), "reports", SOON, "it is gone").await;
}

#[tokio::test]
async fn an_endpoint_that_was_made_again_needs_a_new_approval() {
    let story = Story::begin("made-again", required(&["ConnectionCreation"])).await;
    let connections = story.connections();
    make(&connections, "EnclaveConnection", "to-ledger", to_the_ledger()).await;
    story.approve(&connections, &story.control("payments"), "to-ledger").await;
    wait_for_state(&connections, "to-ledger", State::Connected).await;

    // An endpoint in use stays. Should it be lost all the same, a wider one may take its name.
    story.endpoints().delete("db", &DeleteParams::default()).await.unwrap();
    let operator = story.world.operator().await;
    let as_operator: Api<EnclaveEndpoint> = namespaced(operator.client(), &story.control("ledger"));
    patch(&as_operator, "db", json!({"metadata": {"finalizers": null}})).await.unwrap();
    wait_gone(story.endpoints(), "db", SOON, "it is gone").await;
    let mut wider = endpoint(1);
    wider["ports"][0]["endPort"] = json!(65535);
    make(&story.endpoints(), "EnclaveEndpoint", "db", wider).await;
    wait_for_state(&story.endpoints(), "db", State::Active).await;
    let shut = wait_for_state(&connections, "to-ledger", State::Disconnected).await;
    let gate = shut.status.unwrap().gate;
    assert_eq!(condition(&gate, condition_type::READY).reason, reason::REFERENCE_REPLACED);
    story.wait_for_policies(&story.pods_of("ledger", "db"), &[]).await;

    let again = json!({"spec": {"change": {"justification": "the new endpoint is fine"}}});
    patch(&connections, "to-ledger", again).await.unwrap();
    let request = wait_for_hold(&connections, "to-ledger").await;
    let asked = wait_for_request_state(
        &story.world.bob(),
        &story.control("payments"),
        &request,
        RequestState::Pending,
    )
    .await;
    let ports = asked.spec.impact.opens[0].rsplit(": ").next().unwrap().to_owned();
    assert_eq!(ports, "TCP 1-65535");
    story.approve(&connections, &story.control("payments"), "to-ledger").await;
    wait_for_state(&connections, "to-ledger", State::Connected).await;
}

#[tokio::test]
async fn destinations_outside_the_enclaves_and_traffic_from_a_hub() {
    let story = Story::begin("outside", json!({})).await;
    let alice = story.world.alice().client();
    let community = story.community.as_str();
    let hubs: Api<TransitHub> = namespaced(alice.clone(), community);
    let gateway = json!({"namespace": "vpn", "podSelector": {"matchLabels": {"app": "gateway"}}});
    make(&hubs, "TransitHub", "site", json!({"cidrs": [{"cidr": "10.20.0.0/16"}], "gateway": gateway})).await;
    let endpoints: Api<CommunityEndpoint> = namespaced(alice.clone(), community);
    let ports = json!([{"protocol": "TCP", "port": 443}]);
    let service = json!({"namespace": "shared", "podSelector": {"matchLabels": {"app": "web"}}});
    for (name, destination) in [
        ("internet", json!({"cidrs": [{"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}]})),
        ("web", json!({"service": service})),
        ("site", json!({"transitHub": {"name": "site"}})),
        ("names", json!({"fqdns": ["api.example.com"]})),
        ("inside", json!({"service": {"namespace": story.pods_of("ledger", "db"), "podSelector": {}}})),
    ] {
        make(&endpoints, "CommunityEndpoint", name, json!({"destination": destination, "ports": ports}))
            .await;
    }
    let connections = story.connections();
    let api = story.pods_of("payments", "api");
    let hub_peers = json!([
        {"ipBlock": {"cidr": "10.20.0.0/16"}},
        {"namespaceSelector": selects("vpn"), "podSelector": {"matchLabels": {"app": "gateway"}}},
    ]);
    for (name, peers) in [
        ("internet", json!([{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}])),
        (
            "web",
            json!([{"namespaceSelector": selects("shared"), "podSelector": {"matchLabels": {"app": "web"}}}]),
        ),
        ("site", hub_peers.clone()),
    ] {
        let spec =
            json!({"source": {"workloads": ["api"]}, "destination": {"communityEndpoint": {"name": name}}});
        make(&connections, "EnclaveConnection", name, spec).await;
        wait_for_state(&connections, name, State::Connected).await;
        let policy = format!("connection.{}.{name}.egress", story.control("payments"));
        assert_eq!(
            story.policy(&api, &policy).await,
            json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": peers, "ports": ports}]})
        );
    }
    for (name, why) in [("names", reason::FQDN_BACKEND_MISSING), ("inside", reason::DESTINATION_NOT_ALLOWED)]
    {
        let spec =
            json!({"source": {"workloads": ["api"]}, "destination": {"communityEndpoint": {"name": name}}});
        make(&connections, "EnclaveConnection", name, spec).await;
        let shut = wait_for_state(&connections, name, State::Disconnected).await;
        assert_eq!(condition(&shut.status.unwrap().gate, condition_type::READY).reason, why);
    }

    // From the hub to an endpoint; declared where the hub is.
    let from_hub: Api<EnclaveConnection> = namespaced(alice, community);
    let spec = json!({
        "source": {"transitHub": {"name": "site"}},
        "destination": {"enclaveEndpoint": {"enclave": "ledger", "name": "db"}},
    });
    make(&from_hub, "EnclaveConnection", "site-to-db", spec.clone()).await;
    wait_for_state(&from_hub, "site-to-db", State::Connected).await;
    let db = story.pods_of("ledger", "db");
    let ingress = story.policy(&db, "connection.outside.site-to-db.ingress").await;
    assert_eq!(ingress.pointer("/ingress/0/from"), Some(&hub_peers));
    // In an Enclave the same words mean nothing.
    make(&connections, "EnclaveConnection", "site-to-db", spec).await;
    let lost = wait_for_state(&connections, "site-to-db", State::Pending).await;
    assert_eq!(
        condition(&lost.status.unwrap().gate, condition_type::READY).reason,
        reason::COMMUNITY_NOT_FOUND
    );

    assert!(assert_reachability(story.world, community).await > 0);

    // The hub is in use, and says by what.
    hubs.delete("site", &DeleteParams::default()).await.unwrap();
    let in_use = wait_for_state(&hubs, "site", State::Inactive).await;
    let message = condition(&in_use.status.unwrap().gate, condition_type::READY).message.clone();
    assert!(message.ends_with("are gone: outside-payments/site, outside/site-to-db"), "{message}");
    wait_for_state(&from_hub, "site-to-db", State::Disconnected).await;
}

#[tokio::test]
async fn destinations_by_dns_name_wait_for_cilium_and_use_it() {
    let story = Story::begin("by-name", json!({})).await;
    let (alice, administrator) = (story.world.alice(), story.world.administrator());
    let backend = json!({"spec": {"fqdnBackend": "Cilium"}});
    patch(&communities(&alice), "by-name", backend).await.unwrap();
    let endpoints: Api<CommunityEndpoint> = namespaced(alice.client(), "by-name");
    let spec = json!({
        "destination": {"fqdns": ["api.example.com", "*.cdn.example.com"]},
        "ports": [{"port": 443}, {"port": 8000, "endPort": 8100}],
    });
    make(&endpoints, "CommunityEndpoint", "names", spec).await;
    let connections = story.connections();
    let spec =
        json!({"source": {"workloads": ["api"]}, "destination": {"communityEndpoint": {"name": "names"}}});
    make(&connections, "EnclaveConnection", "names", spec).await;
    let shut = wait_for_state(&connections, "names", State::Disconnected).await;
    let ready = condition(&shut.status.unwrap().gate, condition_type::READY).message.clone();
    assert!(ready.contains("CiliumNetworkPolicies are not installed"), "{ready}");

    install_cilium_definition(administrator.clone()).await;
    wait_for_state(&connections, "names", State::Connected).await;
    let policies: Api<CiliumNetworkPolicy> = namespaced(administrator, &story.pods_of("payments", "api"));
    let name = format!("connection.{}.names.egress", story.control("payments"));
    let egress = json!(policies.get(&name).await.unwrap().spec.rules["egress"]);
    assert_eq!(
        egress,
        json!([
            {
                "toFQDNs": [{"matchName": "api.example.com"}, {"matchPattern": "*.cdn.example.com"}],
                "toPorts": [{"ports": [
                    {"port": "443", "protocol": "TCP"},
                    {"port": "8000", "endPort": 8100, "protocol": "TCP"},
                ]}],
            },
            {
                "toEndpoints": [{"matchLabels": {
                    "k8s:io.kubernetes.pod.namespace": "kube-system", "k8s:k8s-app": "kube-dns"}}],
                "toPorts": [{
                    "ports": [{"port": "53", "protocol": "ANY"}],
                    "rules": {"dns": [{"matchPattern": "*"}]},
                }],
            },
        ])
    );
    // Locked, healed and closed like any other.
    let (person, pods) = (story.world.plane.administrator_user(), story.pods_of("payments", "api"));
    assert_locked(person, &pods, &name, &Guarded::cilium()).await;
    let more: CiliumNetworkPolicy = object(json!({"metadata": {"name": "more"}, "spec": {}}));
    let refused = policies.create(&PostParams::default(), &more).await;
    assert_refused(refused, "additional ones need maintenance");
    change_as_operator(story.world, &pods, &name, |policy: &mut CiliumNetworkPolicy| {
        policy.spec.rules.insert("egress".into(), json!([{"toEntities": ["world"]}]));
    })
    .await;
    eventually("it is put back", SOON, async || {
        (json!(policies.get(&name).await.unwrap().spec.rules["egress"]) == egress).then_some(())
    })
    .await;
    patch(&connections, "names", json!({"spec": {"enabled": false}})).await.unwrap();
    wait_gone(policies, &name, SOON, "it is gone").await;
    wait_for_state(&connections, "names", State::Inactive).await;
}

#[tokio::test]
async fn a_workload_gets_what_it_asks_for_and_no_more() {
    let story = Story::begin("rooms", json!({})).await;
    let workloads: Api<EnclaveWorkload> = namespaced(story.erin(), &story.control("payments"));
    let spec = json!({
        "podSecurity": "Baseline",
        "quota": {"requests.cpu": "4000m", "limits.memory": "1024Mi", "pods": 20},
        "containerDefaults": {"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "0.1"}},
    });
    make(&workloads, "EnclaveWorkload", "batch", spec).await;
    wait_for_state(&workloads, "batch", State::Active).await;
    let administrator = story.world.administrator();
    let batch = story.pods_of("payments", "batch");
    let namespaces: Api<Namespace> = Api::all(administrator.clone());
    let live = namespaces.get(&batch).await.unwrap();
    assert_eq!(live.labels()["pod-security.kubernetes.io/enforce"], "baseline");
    let quotas: Api<ResourceQuota> = namespaced(administrator.clone(), &batch);
    let hard = quotas.get("enclave-operator-quota").await.unwrap().spec.unwrap().hard.unwrap();
    assert_eq!(hard["requests.cpu"].0, "4");
    let limits: Api<LimitRange> = namespaced(administrator.clone(), &batch);
    let item =
        limits.get("enclave-operator-container-defaults").await.unwrap().spec.unwrap().limits.remove(0);
    assert_eq!(item.default_request.unwrap()["cpu"].0, "100m");

    // What is taken out of the spec goes.
    patch(&workloads, "batch", json!({"spec": {"quota": null, "containerDefaults": null}})).await.unwrap();
    wait_gone(quotas, "enclave-operator-quota", SOON, "it is gone").await;
    wait_gone(limits, "enclave-operator-container-defaults", SOON, "it is gone").await;

    // Workloads of one Enclave reach each other when the Enclave says so, and both ways.
    let both = [story.pods_of("payments", "api"), batch.clone()];
    let enclave_api = enclaves(&story.world.alice(), &story.community);
    for (mode, expected) in [("Allowed", &both[..]), ("Isolated", &both[..1])] {
        let edit = json!({"spec": {"network": {"workloadCommunication": mode}}});
        patch(&enclave_api, "payments", edit).await.unwrap();
        let selector = match expected {
            [one] => selects(one),
            more => json!({"matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "In", "values": more}]}),
        };
        eventually(mode, SOON, async || {
            let policy = story.policy(&both[0], "enclave-operator-inside").await;
            let peers = json!([{"namespaceSelector": selector}]);
            (policy.pointer("/ingress/0/from") == Some(&peers)
                && policy.pointer("/egress/0/to") == Some(&peers))
            .then_some(())
        })
        .await;
    }

    // A workload is never put into a namespace that somebody else has.
    let taken: Namespace = object(json!({"metadata": {"name": story.pods_of("payments", "taken")}}));
    namespaces.create(&PostParams::default(), &taken).await.unwrap();
    make(&workloads, "EnclaveWorkload", "taken", json!({})).await;
    let conflict = wait_for_state(&workloads, "taken", State::Inactive).await;
    assert_eq!(
        condition(&conflict.status.unwrap().gate, condition_type::READY).reason,
        reason::NAMESPACE_CONFLICT
    );

    // The Enclave stays until what is declared in it is gone.
    enclave_api.delete("payments", &DeleteParams::default()).await.unwrap();
    let leaving = wait_for_state(&enclave_api, "payments", State::Inactive).await;
    let message = condition(&leaving.status.unwrap().gate, condition_type::READY).message.clone();
    assert!(message.contains("waits for its 3 EnclaveWorkload(s)"), "{message}");
    for name in ["api", "batch", "taken"] {
        workloads.delete(name, &DeleteParams::default()).await.unwrap();
    }
    wait_gone(enclave_api, "payments", SOON, "it is gone").await;
}

#[tokio::test]
async fn what_the_rules_protect_is_retired_and_not_deleted() {
    let operations = [
        "WorkloadDeletion",
        "EnclaveEndpointDeletion",
        "ConnectionDeletion",
        "CommunityEndpointDeletion",
        "TransitHubDeletion",
    ];
    let story = Story::begin("retired", required(&operations)).await;
    let alice = story.world.alice().client();
    let connections = story.connections();
    make(&connections, "EnclaveConnection", "to-ledger", to_the_ledger()).await;
    wait_for_state(&connections, "to-ledger", State::Connected).await;
    let hubs: Api<TransitHub> = namespaced(alice.clone(), &story.community);
    make(&hubs, "TransitHub", "site", json!({"cidrs": [{"cidr": "10.20.0.0/16"}]})).await;
    wait_for_state(&hubs, "site", State::Active).await;
    let outside: Api<CommunityEndpoint> = namespaced(alice.clone(), &story.community);
    let spec = json!({"destination": {"transitHub": {"name": "site"}}, "ports": [{"port": 443}]});
    make(&outside, "CommunityEndpoint", "site", spec).await;
    wait_for_state(&outside, "site", State::Active).await;
    let workloads: Api<EnclaveWorkload> = namespaced(alice.clone(), &story.control("ledger"));

    // In the order in which they use each other.
    retire(&story, &connections, &story.control("payments"), "to-ledger").await;
    retire(&story, &story.endpoints(), &story.control("ledger"), "db").await;
    retire(&story, &workloads, &story.control("ledger"), "db").await;
    retire(&story, &outside, &story.community, "site").await;
    retire(&story, &hubs, &story.community, "site").await;
}

async fn retire<K>(story: &Story<'_>, api: &Api<K>, namespace: &str, name: &str)
where
    K: crate::world::Watched,
{
    eventually("its deletion is protected", SOON, async || {
        let live = api.get(name).await.unwrap();
        live.gate().and_then(|gate| gate.deletion_protected)?.then_some(())
    })
    .await;
    assert_refused(api.delete(name, &DeleteParams::default()).await, "the rules hold the deletion");
    patch(api, name, json!({"spec": {"retire": true}})).await.unwrap();
    story.approve(api, namespace, name).await;
    wait_gone(api.clone(), name, SOON, "it is gone").await;
}
