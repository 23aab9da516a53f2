//! What the API server stores and a typed client cannot hold: it stops nothing, delays nobody, hides nothing.
//! Objects are written and read with kubectl here, since a typed client cannot.

use std::time::{Duration, Instant};

use enclave_operator::api::approval_request::Verdict;
use enclave_operator::api::names::label;
use enclave_operator::api::{
    CommunityEndpoint, EnclaveConnection, EnclaveEndpoint, Kind, RoleActivation, RoleEligibility, State,
    TransitHub,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::lock::maintenance;
use crate::network::{self, Story, to_the_ledger};
use crate::roles::{Place, make, user};
use crate::support::{Mood, Process, Sink, User, eventually};
use crate::trouble::{wait_for_log, wait_for_metric};
use crate::world::{
    SOON, WORLD, World, active_community, enclave, enclaves, kind_api, may, namespaced, on_a_runtime, patch,
    patch_status, right, vote, wait_for_access, wait_for_enclave, wait_for_request, wait_for_state,
};

const DENY: &str = "enclave-operator-default-deny";
const RBAC: &str = "rbac.authorization.k8s.io/v1";
pub const OURS: &str = "enclave-operator.io/v1alpha1";
/// How fast something closes that queues behind nothing, on a slow machine.
const AT_ONCE: Duration = Duration::from_secs(8);

/// An entry that anybody may write on an object that he may patch, with a time that a typed client cannot hold.
pub fn odd_metadata(api_version: &str, label: &str) -> Value {
    json!({"metadata": {"managedFields": [{
        "manager": "x", "operation": "Update", "apiVersion": api_version, "time": "9999-12-31T23:59:59Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {(format!("f:{label}")): {}}}},
    }]}})
}

/// One that is nested more deeply than a typed client reads.
fn deep_metadata() -> Value {
    let deep = (0..200).fold(json!({}), |inner, _| json!({"f:a": inner}));
    json!({"metadata": {"managedFields": [{
        "manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": deep,
    }]}})
}

/// Makes something in whose managed fields stand bytes that are no text, and sees that they are stored.
fn make_without_text(world: &World, kind: &str, path: &str) {
    let fields = json!([{
        "manager": "x", "operation": "Update", "apiVersion": version_in(path),
        "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {"f:BYTE": {}}}},
    }]);
    let metadata = json!({"name": "bytes", "managedFields": fields});
    let object = json!({"apiVersion": version_in(path), "kind": kind, "metadata": metadata}).to_string();
    let (before, after) = object.split_once("BYTE").unwrap();
    let body = [before.as_bytes(), b"\xff", after.as_bytes()].concat();
    on_a_runtime(async || {
        let client = Client::try_from(world.plane.administrator()).unwrap();
        let create = http::Request::post(path).header("Content-Type", "application/json").body(body).unwrap();
        // The answer is no text either.
        let _ = client.request_text(create).await;
        let get = http::Request::get(format!("{path}/bytes")).body(Vec::new()).unwrap();
        let stored = client.request_text(get).await;
        assert!(matches!(stored, Err(kube::Error::FromUtf8(_))), "{kind}: it is text: {stored:?}");
    });
}

fn version_in(path: &str) -> &str {
    if path.starts_with("/api/") { "v1" } else { RBAC }
}

pub fn change(who: &User, object: &[&str], change: &Value) {
    let change = change.to_string();
    who.kubectl(&[&["patch"], object, &["--type=merge", "-p", &change]].concat()).expect_success();
}

fn look(who: &User, object: &[&str], path: &str) -> String {
    let path = format!("-o=jsonpath={path}");
    who.kubectl(&[&["get"], object, &[path.as_str()]].concat()).expect_success()
}

pub async fn wait_to_see(who: &User, object: &[&str], path: &str, wanted: &str) {
    eventually(&format!("{object:?} {path} has {wanted:?}"), SOON, async || {
        look(who, object, path).contains(wanted).then_some(())
    })
    .await;
}

#[test]
fn odd_objects_of_strangers_do_not_keep_the_operator_from_starting() {
    let world = World::without_operator();
    world.install();
    let admin = world.plane.administrator_user();
    admin.kubectl(&["create", "namespace", "elsewhere"]).expect_success();
    let within = |arguments: &[&str]| {
        admin.kubectl(&[arguments, &["-n", "elsewhere"]].concat()).expect_success();
    };
    within(&["create", "role", "any", "--verb=get", "--resource=pods"]);
    within(&["create", "rolebinding", "any", "--role=any", "--user=any"]);
    within(&["create", "quota", "any", "--hard=pods=1"]);
    within(&["create", "serviceaccount", "any"]);
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "any", "namespace": "elsewhere"}, "spec": {"podSelector": {}},
    });
    admin.kubectl_with_input(&["create", "-f", "-"], &policy.to_string()).expect_success();
    for (kind, api_version) in [
        ("serviceaccount", "v1"),
        ("role", RBAC),
        ("rolebinding", RBAC),
        ("quota", "v1"),
        ("networkpolicy", "networking.k8s.io/v1"),
    ] {
        let object = [kind, "any", "-n", "elsewhere"];
        change(admin, &object, &odd_metadata(api_version, "x"));
        let managed = look(admin, &object, "{.metadata.managedFields}");
        assert!(managed.contains("9999-12-31"), "{kind}: it is not stored: {managed}");
    }
    for (kind, path) in [
        ("ServiceAccount", "/api/v1/namespaces/elsewhere/serviceaccounts"),
        ("Role", "/apis/rbac.authorization.k8s.io/v1/namespaces/elsewhere/roles"),
    ] {
        make_without_text(&world, kind, path);
    }
    within(&["create", "serviceaccount", "deep"]);
    change(admin, &["serviceaccount", "deep", "-n", "elsewhere"], &deep_metadata());
    let operator = world.spawn_operator("undisturbed");
    on_a_runtime(async || {
        wait_for_log(&operator, "leading, reconciling").await;
        active_community(&world, "undisturbed", &json!({})).await;
    });
    // The API server alone is restarted: everything is listed anew.
    world.plane.stop_api_server();
    world.plane.start_api_server().unwrap();
    on_a_runtime(async || {
        active_community(&world, "still", &json!({})).await;
        let log = operator.log();
        let said: Vec<&str> = log.lines().filter(|line| line.contains("cannot read")).collect();
        assert_eq!(said, [""; 0], "nothing that the operator needs is unreadable");
    });
}

#[tokio::test]
async fn odd_objects_delay_no_closing() {
    let story = Story::begin("oddone", json!({})).await;
    let other = Story::begin("oddtwo", json!({})).await;
    for story in [&story, &other] {
        network::make(&story.connections(), "EnclaveConnection", "to-ledger", to_the_ledger()).await;
        wait_for_state(&story.connections(), "to-ledger", State::Connected).await;
    }
    let (admin, namespace) = (WORLD.plane.administrator_user(), story.control("payments"));
    let object = ["econ", "to-ledger", "-n", namespace.as_str()];
    for number in 0..20 {
        change(admin, &object, &odd_metadata(OURS, &format!("x{number}")));
    }
    assert!(look(admin, &object, "{.metadata.managedFields}").contains("9999-12-31"));
    let (connections, pods) = (other.connections(), other.pods_of("payments", "api"));
    let open = other.policies(&pods).await;
    let mut waits = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        patch(&connections, "to-ledger", json!({"spec": {"enabled": false}})).await.unwrap();
        other.wait_for_policies(&pods, &[]).await;
        waits.push(start.elapsed());
        patch(&connections, "to-ledger", json!({"spec": {"enabled": true}})).await.unwrap();
        eventually("it is open again", SOON, async || (other.policies(&pods).await == open).then_some(()))
            .await;
    }
    waits.sort_unstable();
    assert!(
        waits[1] < Duration::from_secs(1),
        "other tests run beside it, but not all of the time: {waits:?}"
    );
    // Nor that of the odd one.
    let start = Instant::now();
    change(admin, &object, &json!({"spec": {"enabled": false}}));
    story.wait_for_policies(&story.pods_of("payments", "api"), &[]).await;
    assert!(start.elapsed() < AT_ONCE, "it took {:?}", start.elapsed());
    wait_to_see(admin, &object, "{.status.state}", "Inactive").await;
}

#[tokio::test]
async fn an_odd_binding_is_found_and_taken_away() {
    let place = Place::make("oddbound", &json!({})).await;
    let admin = place.world.plane.administrator_user();
    let (pods, eve) = (place.pods("payments"), place.user("eve", &[]));
    let mut binding = odd_metadata(RBAC, "x");
    binding["metadata"]["name"] = json!("sneaky");
    binding["roleRef"] =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"});
    binding["subjects"] =
        json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": eve.name()}]);
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{pods}/rolebindings");
    admin.kubectl_with_input(&["create", "--raw", &path, "-f", "-"], &binding.to_string()).expect_success();
    let object = ["rolebinding", "sneaky", "-n", pods.as_str()];
    assert!(look(admin, &object, "{.metadata.managedFields}").contains("9999-12-31"));
    wait_for_access(&eve, "create", "pods", &pods, true).await;
    let enclave = ["enc", "payments", "-n", place.community.as_str()];
    wait_to_see(admin, &enclave, "{.status.standingGrants}", "sneaky").await;
    let isolated = json!({"accessMode": "Isolated", "principals": {"view": [user(&place.world.rita())]}});
    change(admin, &["encw", "api", "-n", &place.control("payments")], &json!({ "spec": isolated }));
    wait_for_access(&eve, "create", "pods", &pods, false).await;
}

#[tokio::test]
async fn an_odd_assignment_goes_with_its_rights() {
    let place = Place::make("oddrole", &json!({})).await;
    let admin = place.world.plane.administrator_user();
    let (control, olga) = (place.control("payments"), place.user("olga", &[]));
    place.assign(&control, "owners", "enclave-owner", &[user(&olga)]).await;
    wait_for_access(&olga, "create", "enclaveconnections", &control, true).await;
    let object = ["rasg", "owners", "-n", control.as_str()];
    change(admin, &object, &odd_metadata(OURS, "x"));
    change(admin, &object, &json!({"metadata": {"labels": {"touched": "yes"}}}));
    let start = Instant::now();
    admin.kubectl(&["delete", "rasg", "owners", "-n", &control, "--wait=false"]).expect_success();
    wait_for_access(&olga, "create", "enclaveconnections", &control, false).await;
    assert!(start.elapsed() < AT_ONCE, "it took {:?}", start.elapsed());
    eventually("it is gone", SOON, async || {
        let left = admin.kubectl(&["get", "rasg", "-n", &control, "-o=name"]).expect_success();
        left.trim().is_empty().then_some(())
    })
    .await;
}

/// A Community "odd" in a cluster where somebody took the schema off what tenants write.
struct Loose {
    world: World,
    olga: User,
}

impl Loose {
    fn make() -> (Self, Process) {
        let world = World::without_operator();
        world.install();
        let operator = world.spawn_operator("loose-1");
        let olga = world.plane.user("olga-odd", &[]);
        let loose = Self { world, olga };
        on_a_runtime(async || loose.declare().await);
        (loose, operator)
    }

    async fn declare(&self) {
        let rules = json!({"rules": [{"operation": "CommunityUpdate", "policy": "Required"}]});
        let place = Place::make_in(&self.world, "odd", &json!({ "approvals": rules })).await;
        place.assign("odd-payments", "owners", "enclave-owner", &[user(&self.olga)]).await;
        place.assign("odd-payments", "readers", "enclave-reader", &[user(&self.world.bob())]).await;
        let alice = self.world.alice();
        let endpoints: Api<CommunityEndpoint> = namespaced(alice.client(), "odd");
        let outside =
            json!({"destination": {"cidrs": [{"cidr": "198.51.100.0/24"}]}, "ports": [{"port": 443}]});
        network::make(&endpoints, "CommunityEndpoint", "outside", outside).await;
        wait_for_state(&endpoints, "outside", State::Active).await;
        let connections: Api<EnclaveConnection> = namespaced(self.world.erin().client(), "odd-payments");
        let spec = json!({
            "source": {"workloads": ["api"]}, "destination": {"communityEndpoint": {"name": "outside"}},
        });
        network::make(&connections, "EnclaveConnection", "out", spec).await;
        wait_for_state(&connections, "out", State::Connected).await;
        for plural in ["communities", "roleassignments", "enclaveconnections", "enclaveworkloads"] {
            self.loosen(plural);
        }
    }

    /// One of each other kind, a connection to one of them, and a role that somebody activated.
    async fn declare_the_rest(&self) {
        let (alice, erin) = (self.world.alice(), self.world.erin());
        let hubs: Api<TransitHub> = namespaced(alice.client(), "odd");
        network::make(&hubs, "TransitHub", "hub", json!({"cidrs": [{"cidr": "198.51.100.0/24"}]})).await;
        wait_for_state(&hubs, "hub", State::Active).await;
        let endpoints: Api<EnclaveEndpoint> = namespaced(erin.client(), "odd-payments");
        let offered = json!({"workload": "api", "ports": [{"port": 443}]});
        network::make(&endpoints, "EnclaveEndpoint", "api", offered).await;
        wait_for_state(&endpoints, "api", State::Active).await;
        let connections: Api<EnclaveConnection> = namespaced(erin.client(), "odd-ledger");
        let spec = json!({
            "source": {"workloads": ["api"]},
            "destination": {"enclaveEndpoint": {"enclave": "payments", "name": "api"}},
        });
        network::make(&connections, "EnclaveConnection", "in", spec).await;
        wait_for_state(&connections, "in", State::Connected).await;

        let eligibilities: Api<RoleEligibility> = namespaced(alice.client(), "odd-ledger");
        let eligible = json!({
            "role": "enclave-owner", "principals": [user(&self.olga)], "activation": {"maxDuration": "8h"},
        });
        make(&eligibilities, "RoleEligibility", "operators", &eligible).await.unwrap();
        wait_for_state(&eligibilities, "operators", State::Active).await;
        self.activate("now").await;
        for plural in [
            "enclaves",
            "communityendpoints",
            "transithubs",
            "enclaveendpoints",
            "roleeligibilities",
            "roleactivations",
        ] {
            self.loosen(plural);
        }
    }

    /// Olga activates what she is eligible for.
    async fn activate(&self, name: &str) {
        let activations: Api<RoleActivation> = namespaced(self.olga.client(), "odd-ledger");
        let activation = json!({"eligibility": "operators", "duration": "1h"});
        make(&activations, "RoleActivation", name, &activation).await.unwrap();
        wait_for_access(&self.olga, "create", "pods", "odd-ledger-api", true).await;
    }

    /// Both connections have their policies, at both ends, and the role that was activated is in force.
    async fn assert_open(&self) {
        for (namespace, policy) in [
            ("odd-payments-api", "connection.odd-payments.out.egress"),
            ("odd-payments-api", "connection.odd-ledger.in.ingress"),
            ("odd-ledger-api", "connection.odd-ledger.in.egress"),
        ] {
            look(self.admin(), &["netpol", policy, "-n", namespace], "{.metadata.name}");
        }
        wait_for_access(&self.olga, "create", "pods", "odd-ledger-api", true).await;
    }

    fn admin(&self) -> &User {
        self.world.plane.administrator_user()
    }

    fn loosen(&self, plural: &str) {
        let schema = "/spec/versions/0/schema/openAPIV3Schema";
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let loosen = json!([
            {"op": "replace", "path": format!("{schema}/properties/spec"), "value": anything},
            {"op": "remove", "path": format!("{schema}/x-kubernetes-validations")},
        ]);
        let name = format!("{plural}.enclave-operator.io");
        let loosen = loosen.to_string();
        self.admin().kubectl(&["patch", "crd", &name, "--type=json", "-p", &loosen]).expect_success();
    }

    /// Somebody writes what the schema would have refused.
    async fn spoil(&self, object: &[&str], spec: &Value) {
        let spec = json!({ "spec": spec }).to_string();
        eventually("the schema lets it through", SOON, async || {
            let arguments = [&["patch"], object, &["--type=merge", "-p", &spec]].concat();
            self.admin().kubectl(&arguments).status.success().then_some(())
        })
        .await;
    }

    async fn wait_until_blocked(&self, object: &[&str], field: &str) {
        wait_to_see(self.admin(), object, "{.status.state}", "Blocked").await;
        let ready = "{.status.conditions[?(@.type==\"Ready\")]}";
        wait_to_see(self.admin(), object, ready, "SpecUnreadable").await;
        wait_to_see(self.admin(), object, ready, field).await;
    }

    /// What denies everything is put back when it is away.
    async fn assert_healed(&self) {
        let policies: Api<NetworkPolicy> =
            namespaced(self.world.operator().await.client(), "odd-payments-api");
        policies.delete(DENY, &DeleteParams::default()).await.unwrap();
        let all: Api<NetworkPolicy> = namespaced(self.world.administrator(), "odd-payments-api");
        eventually("it is put back", SOON, async || all.get_opt(DENY).await.unwrap()).await;
    }
}

/// Nobody decides about it, and nothing else changes, after a restart too.
#[test]
fn an_unreadable_community_is_a_proposal_that_cannot_be_asked_for() {
    let (loose, operator) = Loose::make();
    let community = ["com", "odd"];
    on_a_runtime(async || {
        let spoilt = json!({"maintenance": {"mode": "Disabled", "expiresAt": 5}});
        loose.spoil(&community, &spoilt).await;
        loose.wait_until_blocked(&community, "spec.maintenance.expiresAt").await;
        wait_for_metric(&operator, "enclave_operator_unreadable_objects{kind=\"Community\"} 1").await;
        wait_for_log(&operator, "spec.maintenance.expiresAt").await;
        let events = ["events", "-A", "--field-selector=reason=SpecUnreadable"];
        wait_to_see(loose.admin(), &events, "{.items}", "spec.maintenance.expiresAt").await;
        loose.assert_healed().await;
    });
    operator.kill();
    let operator = loose.world.spawn_operator("loose-2");
    on_a_runtime(async || {
        wait_for_log(&operator, "leading, reconciling").await;
        loose.assert_healed().await;
        wait_for_access(&loose.olga, "create", "pods", "odd-payments-api", true).await;
        wait_to_see(loose.admin(), &["enc", "payments", "-n", "odd"], "{.status.state}", "Active").await;
        wait_to_see(loose.admin(), &["econ", "out", "-n", "odd-payments"], "{.status.state}", "Connected")
            .await;
        let requests = look(loose.admin(), &["apr", "-A"], "{.items}");
        assert_eq!(requests, "[]", "nobody is asked for what nobody can read");
        // A value that only a newer version knows takes nobody's role back, and gives nobody another.
        let owners = ["rasg", "owners", "-n", "odd-payments"];
        loose.spoil(&owners, &json!({"role": "enclave-auditor"})).await;
        loose.wait_until_blocked(&owners, "spec.role").await;
        assert!(may(&loose.olga, &right("create", "pods", "odd-payments-api")).await, "she lost her role");
        change(loose.admin(), &owners, &json!({"spec": {"role": "enclave-owner"}}));
        wait_to_see(loose.admin(), &owners, "{.status.state}", "Active").await;
        // It is mended as any edit.
        change(loose.admin(), &community, &json!({"spec": {"maintenance": null}}));
        wait_to_see(loose.admin(), &community, "{.status.state}", "Active").await;
        wait_for_metric(&operator, "enclave_operator_unreadable_objects{kind=\"Community\"} 0").await;
    });
}

#[test]
fn what_only_gives_access_is_closed_and_what_runs_stays_and_maintenance_ends() {
    let (loose, operator) = Loose::make();
    let admin = loose.admin();
    on_a_runtime(async || {
        let bob = loose.world.bob();
        wait_for_access(&bob, "get", "pods", "odd-payments-api", true).await;
        let readers = ["rasg", "readers", "-n", "odd-payments"];
        loose.spoil(&readers, &json!({"description": 5})).await;
        wait_for_access(&bob, "get", "pods", "odd-payments-api", false).await;
        loose.wait_until_blocked(&readers, "spec.description").await;

        let connection = ["econ", "out", "-n", "odd-payments"];
        loose.spoil(&connection, &json!({"expiresAt": "never"})).await;
        let policies = ["netpol", "-n", "odd-payments-api"];
        eventually("it is closed", SOON, async || {
            (!look(admin, &policies, "{.items[*].metadata.name}").contains("connection.")).then_some(())
        })
        .await;
        loose.wait_until_blocked(&connection, "spec.expiresAt").await;

        // Maintenance of the Enclave ends in a workload that cannot be read too.
        let enclaves = enclaves(&loose.world.alice(), "odd");
        let soon = maintenance("Advanced", &json!({"kind": "User", "name": "tina"}), 20);
        patch(&enclaves, "payments", json!({"spec": {"maintenance": soon}})).await.unwrap();
        let namespace = ["ns", "odd-payments-api"];
        wait_to_see(admin, &namespace, "{.metadata.annotations}", "maintenance-advanced").await;
        let workload = ["encw", "api", "-n", "odd-payments"];
        wait_for_access(&loose.olga, "create", "pods", "odd-payments-api", true).await;
        let isolated = json!({"quota": {"pods": {"a": 1}}, "containerDefaults": 7, "accessMode": "Isolated"});
        loose.spoil(&workload, &isolated).await;
        // What it takes away is read beside what cannot be.
        wait_for_access(&loose.olga, "create", "pods", "odd-payments-api", false).await;
        loose.wait_until_blocked(&workload, "spec.quota.pods").await;
    });
    operator.kill();
    let operator = loose.world.spawn_operator("loose-2");
    on_a_runtime(async || {
        wait_for_log(&operator, "leading, reconciling").await;
        let namespace = ["ns", "odd-payments-api"];
        eventually("it ends", SOON, async || {
            let annotations = look(admin, &namespace, "{.metadata.annotations}");
            (!annotations.contains("maintenance-advanced")).then_some(())
        })
        .await;
        let lock = "{.status.conditions[?(@.type==\"Locked\")].reason}";
        wait_to_see(admin, &["enc", "payments", "-n", "odd"], lock, "Locked").await;
        loose.assert_healed().await;
        for object in [["econ", "out"], ["rasg", "readers"], ["encw", "api"]] {
            let [kind, name] = object;
            let arguments = ["delete", kind, name, "-n", "odd-payments", "--timeout=60s"];
            admin.kubectl(&arguments).expect_success();
        }
    });
}

/// Nobody's unreadable object closes what is somebody else's: what is applied of it goes on, after a restart too.
/// What only gives access is closed, and all of it can be deleted, but for the Community, whose rules hold that.
#[test]
fn what_others_rely_on_stays_as_it_is_applied_and_everything_can_be_deleted() {
    let (loose, operator) = Loose::make();
    let admin = loose.admin();
    on_a_runtime(async || {
        loose.declare_the_rest().await;
        for (kind, name, namespace, spec, field) in [
            ("cep", "outside", "odd", json!({"ports": 7}), "spec.ports"),
            ("thub", "hub", "odd", json!({"cidrs": {"a": 1}}), "spec.cidrs"),
            ("eep", "api", "odd-payments", json!({"workload": ["api"]}), "spec.workload"),
            ("encw", "api", "odd-payments", json!({"podSecurity": 5}), "spec.podSecurity"),
            ("encw", "api", "odd-ledger", json!({"description": 5}), "spec.description"),
            ("enc", "payments", "odd", json!({"approvals": "none"}), "spec.approvals"),
            ("com", "odd", "", json!({"dns": 5}), "spec.dns"),
        ] {
            let object = [kind, name, "-n", namespace];
            loose.spoil(&object, &spec).await;
            loose.wait_until_blocked(&object, field).await;
        }
        loose.assert_open().await;
    });
    operator.kill();
    let operator = loose.world.spawn_operator("loose-2");
    on_a_runtime(async || {
        wait_for_log(&operator, "leading, reconciling").await;
        loose.assert_healed().await;
        loose.assert_open().await;

        loose.spoil(&["ract", "now", "-n", "odd-ledger"], &json!({"ticket": 5})).await;
        wait_for_access(&loose.olga, "create", "pods", "odd-ledger-api", false).await;
        loose.activate("again").await;
        loose
            .spoil(&["relig", "operators", "-n", "odd-ledger"], &json!({"activation": {"maxDuration": 5}}))
            .await;
        loose
            .wait_until_blocked(&["relig", "operators", "-n", "odd-ledger"], "spec.activation.maxDuration")
            .await;
        wait_for_access(&loose.olga, "create", "pods", "odd-ledger-api", false).await;
        for (kind, name, namespace) in [
            ("ract", "now", "odd-ledger"),
            ("ract", "again", "odd-ledger"),
            ("relig", "operators", "odd-ledger"),
            ("rasg", "owners", "odd-payments"),
            ("econ", "out", "odd-payments"),
            ("econ", "in", "odd-ledger"),
            ("eep", "api", "odd-payments"),
            ("encw", "api", "odd-payments"),
            ("encw", "api", "odd-ledger"),
            ("cep", "outside", "odd"),
            ("thub", "hub", "odd"),
            ("enc", "payments", "odd"),
            ("enc", "ledger", "odd"),
        ] {
            admin.kubectl(&["delete", kind, name, "-n", namespace, "--timeout=60s"]).expect_success();
        }
        eventually("their namespaces are gone", SOON, async || {
            let namespaces = look(admin, &["ns"], "{.items[*].metadata.name}");
            (!namespaces.split(' ').any(|name| name.starts_with("odd-"))).then_some(())
        })
        .await;
    });
}

/// What somebody made in a namespace while it was not the operator's is not missed, though it was not kept.
#[test]
fn a_namespace_that_becomes_the_operators_is_read() {
    let world = World::without_operator();
    world.install();
    let operator = world.spawn_operator("regained");
    let admin = world.plane.administrator_user();
    on_a_runtime(async || {
        Place::make_in(&world, "regained", &json!({})).await;
        let pods = "regained-payments-api";
        let namespace = ["ns", pods];
        let owner = look(admin, &namespace, r"{.metadata.labels.enclave-operator\.io/owner-uid}");
        assert!(!owner.is_empty(), "the namespace says whose it is");
        let label = |value: Value| json!({"metadata": {"labels": {label::OWNER_UID: value}}}).to_string();
        let binding = "enclave-operator-namespace-labels";
        admin.kubectl(&["delete", "validatingadmissionpolicybinding", binding]).expect_success();
        let taken_off = label(Value::Null);
        eventually("nobody refuses it any more", SOON, async || {
            let patched = admin.kubectl(&["patch", "ns", pods, "--type=merge", "-p", &taken_off]);
            patched.status.success().then_some(())
        })
        .await;
        let workload = ["encw", "api", "-n", "regained-payments"];
        eventually("it is a namespace of others", SOON, async || {
            (look(admin, &workload, "{.status.state}") != "Active").then_some(())
        })
        .await;
        let create = ["create", "rolebinding", "sneaky", "-n", pods, "--clusterrole=edit", "--user=eve"];
        admin.kubectl(&create).expect_success();
        // What was made later in another namespace is seen, so this was.
        let elsewhere = ["create", "rolebinding", "later", "-n", "regained-ledger-api", "--clusterrole=view"];
        admin.kubectl(&[elsewhere.as_slice(), &["--user=eve"]].concat()).expect_success();
        wait_to_see(admin, &["enc", "ledger", "-n", "regained"], "{.status.standingGrants}", "later").await;
        admin.kubectl(&["patch", "ns", pods, "--type=merge", "-p", &label(json!(owner))]).expect_success();
        wait_to_see(admin, &["enc", "payments", "-n", "regained"], "{.status.standingGrants}", "sneaky")
            .await;
    });
    drop(operator);
}

/// After a rollback, what the newer version wrote is still there.
#[test]
fn fields_of_a_status_that_this_version_does_not_know_stay() {
    let (loose, _operator) = Loose::make();
    let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
    let places = [format!("{status}/newer"), format!("{status}/applied/properties/newer")];
    let add = places.map(|path| json!({"op": "add", "path": path, "value": {"type": "string"}}));
    let add = json!(add).to_string();
    let admin = loose.admin();
    for plural in ["enclaves", "enclaveconnections", "roleassignments"] {
        let name = format!("{plural}.enclave-operator.io");
        admin.kubectl(&["patch", "crd", &name, "--type=json", "-p", &add]).expect_success();
    }
    on_a_runtime(async || {
        let operator = loose.world.operator().await.client();
        for (kind, short, namespace, name, state) in [
            (Kind::Enclave, "enc", "odd", "payments", "Active"),
            (Kind::EnclaveConnection, "econ", "odd-payments", "out", "Connected"),
            (Kind::RoleAssignment, "rasg", "odd-payments", "readers", "Active"),
        ] {
            let (object, theirs) = ([short, name, "-n", namespace], kind_api(&operator, kind, namespace));
            let kept = || {
                [
                    "{.status.newer}",
                    "{.status.applied.newer}",
                    "{.status.conditions[?(@.type=='Newer')].reason}",
                ]
                .map(|path| look(admin, &object, path))
            };
            eventually("the schema knows them", SOON, async || {
                let mut conditions = theirs.get(name).await.unwrap().data["status"]["conditions"].take();
                conditions.as_array_mut().unwrap().push(json!({
                    "type": "Newer", "status": "True", "reason": "kept", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }));
                let applied = json!({"newer": "kept"});
                let newer = json!({"newer": "kept", "applied": applied, "conditions": conditions});
                patch_status(&theirs, name, json!({ "status": newer })).await.unwrap();
                (kept() == ["kept"; 3]).then_some(())
            })
            .await;
            change(admin, &object, &json!({"spec": {"description": "edited"}}));
            wait_to_see(admin, &object, "{.status.applied.spec.description}", "edited").await;
            wait_to_see(admin, &object, "{.status.state}", state).await;
            assert_eq!(kept(), ["kept"; 3], "{kind}");
        }
    });
}

/// As are fields of the entries of its lists, which are written as a whole: of votes, and of records that a sink has
/// not taken yet.
#[test]
fn fields_of_entries_that_this_version_does_not_know_stay() {
    let world = World::without_operator();
    world.install();
    let sink = Sink::start();
    sink.set_mood(Mood::Fails);
    let admin = world.plane.administrator_user();
    let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
    let lists = ["decisions", "audit/properties/waiting"];
    let places = lists.map(|list| format!("{status}/{list}/items/properties/newer"));
    let add = places.map(|path| json!({"op": "add", "path": path, "value": {"type": "string"}}));
    let crd = ["patch", "crd", "approvalrequests.enclave-operator.io", "--type=json", "-p"];
    admin.kubectl(&[&crd[..], &[&json!(add).to_string()]].concat()).expect_success();
    let account = on_a_runtime(async || world.operator().await);
    let _operator =
        world.spawn_operator_with(&account, "entries-1", &[("ENCLAVE_OPERATOR_AUDIT_URL", &sink.url())]);
    on_a_runtime(async || {
        let rules =
            json!({"rules": [{"operation": "EnclaveCreation", "policy": "Required", "minimumApprovers": 2}]});
        active_community(&world, "entries", &json!({ "approvals": rules })).await;
        let api = enclaves(&world.alice(), "entries");
        api.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
        let request = wait_for_request(&world.alice(), "entries", "e").await;
        vote(&world.bob(), "entries", &request, Verdict::Approved, None).await.unwrap();
        let object = ["apr", &request, "-n", "entries"];
        let seen = async |votes: usize| {
            eventually("the operator has seen the votes", SOON, async || {
                let seen = look(admin, &object, "{.status.decisions[*].observedAt}");
                (seen.split(' ').filter(|time| !time.is_empty()).count() == votes).then_some(())
            })
            .await;
        };
        seen(1).await;
        let operator: Api<DynamicObject> = kind_api(&account.client(), Kind::ApprovalRequest, "entries");
        let kept = |path| look(admin, &object, path);
        eventually("the schema knows them", SOON, async || {
            let mut stored = serde_json::to_value(operator.get(&request).await.unwrap()).unwrap();
            for list in ["/status/decisions", "/status/audit/waiting"] {
                stored.pointer_mut(list).unwrap()[0]["newer"] = "kept".into();
            }
            let newer = json!({"metadata": {"resourceVersion": stored["metadata"]["resourceVersion"]},
                               "status": stored["status"]});
            patch_status(&operator, &request, newer).await.ok()?;
            (kept("{.status.decisions[0].newer} {.status.audit.waiting[0].newer}") == "kept kept")
                .then_some(())
        })
        .await;
        vote(&world.carol(), "entries", &request, Verdict::Approved, None).await.unwrap();
        wait_for_enclave(&api, "e", State::Active).await;
        seen(2).await;
        eventually("the decision waits to be told", SOON, async || {
            kept("{.status.audit.waiting[*].type}").contains("Decided").then_some(())
        })
        .await;
        assert_eq!(kept("{.status.decisions[?(@.approver=='bob')].newer}"), "kept");
        assert_eq!(kept("{.status.audit.waiting[?(@.type=='Requested')].newer}"), "kept");
        // A sink that takes it takes it off its object, whatever else is in it.
        sink.set_mood(Mood::Takes);
        eventually("it was told", SOON, async || kept("{.status.audit.waiting}").is_empty().then_some(()))
            .await;
    });
}
