//! What an event costs: how many cached objects are looked at for it, with a thousand objects and with a
//! hundred thousand. A scan would show as a number that grows with what exists. And whom an event wakes.

use std::sync::Arc;
use std::time::Instant;

use enclave_operator::admission::{Installation, build_policies};
use enclave_operator::api::names::{FINALIZER, annotation, label, purpose};
use enclave_operator::api::{
    ApprovalRequest, Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint,
    EnclaveWorkload, Kind, RoleActivation, RoleAssignment, RoleEligibility, TransitHub,
};
use enclave_operator::cluster::cache::Key;
use enclave_operator::cluster::clock::Clock;
use enclave_operator::cluster::watch::WatchEvent;
use enclave_operator::cluster::workqueue::{Outcome, Priority};
use enclave_operator::controllers::revocation::plan_revocation;
use enclave_operator::kinds::controller::{Controller, ReconcileInput};
use enclave_operator::kinds::enqueue::Enqueued;
use enclave_operator::kinds::enqueue::Enqueuer;
use enclave_operator::kinds::policy_verifier::PolicyVerifier;
use enclave_operator::kinds::rbac::observe::{observe_assignment, observe_one_grant};
use enclave_operator::kinds::role_assignment::plan::plan_assignment;
use enclave_operator::model::approval::applied::as_if_applied;
use enclave_operator::model::approval::gated::Gated;
use enclave_operator::model::approval::policy_status::Integrity;
use enclave_operator::model::approval::policy_status::PolicyStatus;
use enclave_operator::model::naming::grant;
use enclave_operator::plan::Write;
use enclave_operator::plan::child::{Child, Verb};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Objects for each Enclave: itself, its workload and endpoint, five connections, two namespaces, the policies of
/// those, a role, an eligibility, an activation, a request, and as many Communities that each have an Enclave `prod`.
const PER_ENCLAVE: usize = 30;
const CONNECTIONS: usize = 5;

struct World {
    enqueuer: Enqueuer,
    enclaves: usize,
    version: u64,
}

impl World {
    fn of(enclaves: usize) -> Self {
        let policies = build_policies(&Installation::default()).unwrap();
        let enqueuer = Enqueuer::new(
            "enclave-system",
            Arc::new(PolicyVerifier::new(policies, Clock::new(now()))),
            Vec::new(),
            tokio::sync::watch::Sender::new(None),
        );
        let mut world = Self { enqueuer, enclaves, version: 0 };
        world.see(&managed("acme", "acme", purpose::COMMUNITY, "uid--acme", None, None));
        world.see(&applied::<Community>("Community", "", "acme", &json!({})));
        for number in 0..enclaves {
            let (enclave, control, pods) = (name(number), control(number), pods(number));
            world.see(&managed(
                "acme",
                &control,
                purpose::CONTROL,
                &format!("uid-acme-{enclave}"),
                Some(&enclave),
                None,
            ));
            let owner = format!("uid-{control}-api");
            world.see(&managed("acme", &pods, purpose::WORKLOAD, &owner, Some(&enclave), Some("api")));
            world.see(&applied::<Enclave>("Enclave", "acme", &enclave, &json!({})));
            world.see(&applied::<EnclaveWorkload>("EnclaveWorkload", &control, "api", &json!({})));
            let endpoint = json!({"workload": "api", "ports": [{"protocol": "TCP", "port": 443}]});
            world.see(&applied::<EnclaveEndpoint>("EnclaveEndpoint", &control, "api", &endpoint));
            for other in 1..=CONNECTIONS {
                let connection = connection(&name((number + other) % enclaves));
                let name = format!("to-{other}");
                world.see(&applied::<EnclaveConnection>("EnclaveConnection", &control, &name, &connection));
                world.see(&policy(&pods, &format!("connection.{control}.{name}.egress")));
                let there = self::pods((number + other) % enclaves);
                world.see(&policy(&there, &format!("connection.{control}.{name}.ingress")));
            }
            world.see(&policy(&control, "enclave-operator-default-deny"));
            world.see(&policy(&pods, "enclave-operator-default-deny"));
            // One person has a role in each Enclave, may have another, and has it.
            world.see(&applied::<RoleAssignment>(
                "RoleAssignment",
                &control,
                "readers",
                &role("enclave-reader"),
            ));
            world.see(&applied::<RoleEligibility>("RoleEligibility", &control, "owners", &eligible("8h")));
            world.see(&activation(&control, "Active"));
            world.see(&request(&control, &json!({"state": "Pending"})));
            world.add_community(&format!("c{number}"));
        }
        let cidrs = json!([{"cidr": "198.51.100.0/24"}]);
        world.see(&applied::<TransitHub>("TransitHub", "acme", "site", &json!({ "cidrs": cidrs })));
        let outside = json!({"destination": {"transitHub": {"name": "site"}}, "ports": [{"port": 443}]});
        world.see(&applied::<CommunityEndpoint>("CommunityEndpoint", "acme", "outside", &outside));
        let out = json!({"source": {"workloads": ["api"]}, "destination": {"communityEndpoint": {"name": "outside"}}});
        world.see(&applied::<EnclaveConnection>("EnclaveConnection", &control(0), "out", &out));
        // A replica that does not lead queues nothing, whatever happens.
        assert!(Kind::ALL.into_iter().all(|kind| world.enqueuer.queues.of(kind).remembered() == 0));
        assert_eq!(world.enqueuer.queues.revocation.remembered(), 0);
        world.enqueuer.queues.open();
        world
    }

    /// A Community with an Enclave that others have by the same name, and a connection in it.
    fn add_community(&mut self, community: &str) {
        let control = format!("{community}-prod");
        let owner = format!("uid-{community}-prod");
        self.see(&managed(
            community,
            community,
            purpose::COMMUNITY,
            &format!("uid--{community}"),
            None,
            None,
        ));
        self.see(&managed(community, &control, purpose::CONTROL, &owner, Some("prod"), None));
        self.see(&applied::<Community>("Community", "", community, &json!({})));
        self.see(&applied::<Enclave>("Enclave", community, "prod", &json!({})));
        let endpoint = json!({"workload": "api", "ports": [{"protocol": "TCP", "port": 443}]});
        self.see(&applied::<EnclaveEndpoint>("EnclaveEndpoint", &control, "api", &endpoint));
        self.see(&applied::<EnclaveConnection>("EnclaveConnection", &control, "own", &connection("prod")));
    }

    fn see<K: Enqueued + Clone>(&mut self, object: &K) {
        self.version += 1;
        let mut object = object.clone();
        object.meta_mut().resource_version = Some(self.version.to_string());
        self.enqueuer.take_in(WatchEvent::Applied(object));
    }

    /// How many objects are looked at when this is seen.
    fn event<K: Enqueued + Clone>(&mut self, object: &K) -> u64 {
        let before = self.enqueuer.caches.visited();
        self.see(object);
        self.enqueuer.caches.visited() - before
    }

    /// How many objects are looked at to plan this one.
    fn reconciliation<K: Controller>(&self, namespace: &str, name: &str) -> u64 {
        let caches = &self.enqueuer.caches;
        let object = K::cache(caches).get(namespace, name).unwrap();
        let before = caches.visited();
        let policy_status = PolicyStatus { integrity: Integrity::Intact, fingerprint: "guard".to_owned() };
        let retain_requests_for = SignedDuration::from_hours(1);
        let _ = K::plan(object, ReconcileInput { caches, policy_status, retain_requests_for, now: now() });
        caches.visited() - before
    }

    fn all_pods(&self) -> Vec<String> {
        (0..self.enclaves).map(pods).collect()
    }

    fn get<K: Enqueued>(&self, namespace: &str, name: &str) -> Arc<K> {
        K::cache(&self.enqueuer.caches).get(namespace, name).unwrap()
    }
}

fn from<K: DeserializeOwned>(object: &Value) -> K {
    serde_json::from_value(object.clone()).unwrap()
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn name(enclave: usize) -> String {
    format!("e{enclave}")
}

fn control(enclave: usize) -> String {
    format!("acme-e{enclave}")
}

fn pods(enclave: usize) -> String {
    format!("acme-e{enclave}-api")
}

fn connection(enclave: &str) -> Value {
    json!({
        "source": {"workloads": ["api"]},
        "destination": {"enclaveEndpoint": {"enclave": enclave, "name": "api"}},
    })
}

fn applied<K: Gated + Clone + DeserializeOwned + Serialize>(
    kind: &str,
    namespace: &str,
    name: &str,
    spec: &Value,
) -> K {
    let object = json!({
        "apiVersion": "enclave-operator.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "uid": format!("uid-{namespace}-{name}"), "generation": 1, "finalizers": [FINALIZER]},
        "spec": spec,
    });
    let mut object: K = serde_json::from_value(object).unwrap();
    object.meta_mut().namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
    as_if_applied(&object, &[]).unwrap()
}

fn managed(
    community: &str,
    name: &str,
    purpose: &str,
    owner: &str,
    enclave: Option<&str>,
    workload: Option<&str>,
) -> Namespace {
    let mut labels = json!({label::OWNER_UID: owner, label::PURPOSE: purpose, label::COMMUNITY: community});
    for (key, value) in [(label::ENCLAVE, enclave), (label::WORKLOAD, workload)] {
        if let Some(value) = value {
            labels[key] = json!(value);
        }
    }
    serde_json::from_value(json!({"metadata": {"name": name, "uid": format!("ns-{name}"), "labels": labels}}))
        .unwrap()
}

fn role(role: &str) -> Value {
    json!({"role": role, "principals": [{"kind": "User", "name": "ann"}]})
}

fn eligible(longest: &str) -> Value {
    let mut spec = role("enclave-owner");
    spec["activation"] = json!({"maxDuration": longest});
    spec
}

fn activation(namespace: &str, state: &str) -> RoleActivation {
    serde_json::from_value(json!({
        "apiVersion": "enclave-operator.io/v1alpha1",
        "kind": "RoleActivation",
        "metadata": {
            "name": "now", "namespace": namespace, "uid": format!("uid-{namespace}-now"), "generation": 1,
            "annotations": {annotation::CREATED_BY: "ann"}, "finalizers": [FINALIZER],
        },
        "spec": {"eligibility": "owners", "duration": "1h"},
        "status": {
            "observedGeneration": 1, "state": state, "user": "ann", "role": "enclave-owner",
            "eligibilityUid": format!("uid-{namespace}-owners"),
            "startsAt": "2026-05-31T23:30:00Z", "endsAt": "2026-06-01T00:30:00Z",
        },
    }))
    .unwrap()
}

/// A request about the workload of an Enclave.
fn request(control: &str, status: &Value) -> ApprovalRequest {
    serde_json::from_value(json!({
        "apiVersion": "enclave-operator.io/v1alpha1",
        "kind": "ApprovalRequest",
        "metadata": {
            "name": "r", "namespace": control, "uid": format!("uid-{control}-r"), "finalizers": [FINALIZER],
        },
        "spec": {
            "target": {
                "kind": "EnclaveWorkload", "namespace": control, "name": "api", "generation": 1,
                "uid": format!("uid-{control}-api"),
            },
            "operations": ["WorkloadUpdate"],
            "summary": {"operation": "WorkloadUpdate", "requester": "alice", "target": "EnclaveWorkload api"},
            "impact": {},
            "requesters": ["alice"],
            "change": {"after": {}, "digest": "sha256:1"},
            "policy": {
                "minimumApprovers": 2, "expireAfterSeconds": 60, "requireJustification": false,
                "requireRejectionComment": false, "requireMfa": false, "requireCredentialId": false,
                "serviceAccountVotes": "Forbidden",
            },
            "expiresAt": "2026-06-01T00:00:00Z",
        },
        "status": status,
    }))
    .unwrap()
}

fn policy(namespace: &str, name: &str) -> NetworkPolicy {
    serde_json::from_value(
        json!({"metadata": {"namespace": namespace, "name": name}, "spec": {"podSelector": {}}}),
    )
    .unwrap()
}

fn quota(namespace: &str, used: &str) -> ResourceQuota {
    serde_json::from_value(json!({
        "metadata": {"namespace": namespace, "name": "enclave-operator-quota"},
        "spec": {"hard": {"pods": "5"}}, "status": {"used": {"pods": used}},
    }))
    .unwrap()
}

fn binding_of(namespace: &str, name: &str, user: &str) -> RoleBinding {
    serde_json::from_value(json!({
        "metadata": {"namespace": namespace, "name": name},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "enclave-operator:community-reader",
        },
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }))
    .unwrap()
}

/// Looks at everything of which rights may have to be taken away. Returns how many writes would do that.
fn drain_revocations(world: &World) -> usize {
    let (queue, mut closes) = (world.enqueuer.queues.revocation.clone(), 0);
    while let Some(key) = queue.take(Priority::Low, Instant::now()) {
        closes += plan_revocation(&world.enqueuer.caches, &key, now()).closes.len();
        queue.finish(&key, Outcome::Done, Instant::now());
    }
    closes
}

/// Kinds of which there are few, and those of which every object wakes the same.
fn measure_others(world: &mut World, pods: &str, control: &str) -> Vec<(&'static str, u64)> {
    let mut measured = Vec::new();
    let mut hub: TransitHub = (*world.get::<TransitHub>("acme", "site")).clone();
    hub.metadata.generation = Some(2);
    hub.spec.cidrs.truncate(0);
    measured.push(("a transit hub that is edited", world.event(&hub)));
    let mut outside: CommunityEndpoint = (*world.get::<CommunityEndpoint>("acme", "outside")).clone();
    outside.metadata.generation = Some(2);
    outside.spec.ports.truncate(0);
    measured.push(("an endpoint of the Community that is edited", world.event(&outside)));

    let given = json!({
        "metadata": {"namespace": pods, "name": grant(Kind::RoleAssignment, control, "readers")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    });
    measured.push(("a Role", world.event(&from::<Role>(&given))));
    measured.push(("a LimitRange", world.event(&from::<LimitRange>(&given))));
    measured.push(("a ServiceAccount", world.event(&from::<ServiceAccount>(&given))));
    let mut everywhere = given;
    everywhere["metadata"].as_object_mut().unwrap().remove("namespace");
    measured.push(("a ClusterRole", world.event(&from::<ClusterRole>(&everywhere))));
    measured.push(("a ClusterRoleBinding", world.event(&from::<ClusterRoleBinding>(&everywhere))));
    let hub = world.reconciliation::<TransitHub>("acme", "site");
    measured.push(("planning a transit hub", hub));
    let outside = world.reconciliation::<CommunityEndpoint>("acme", "outside");
    measured.push(("planning an endpoint of the Community", outside));
    measured
}

/// What is measured, by name.
fn measure(world: &mut World) -> Vec<(&'static str, u64)> {
    let (far, control, pods) = (world.enclaves / 2, control(world.enclaves / 2), pods(world.enclaves / 2));
    let mut measured = Vec::new();

    let mut connection: EnclaveConnection = (*world.get::<EnclaveConnection>(&control, "to-1")).clone();
    connection.spec.enabled = false;
    measured.push(("a connection that is disabled", world.event(&connection)));
    let mut endpoint: EnclaveEndpoint = (*world.get::<EnclaveEndpoint>(&control, "api")).clone();
    endpoint.metadata.generation = Some(2);
    endpoint.spec.ports.truncate(0);
    measured.push(("an endpoint that is edited", world.event(&endpoint)));
    let mut workload: EnclaveWorkload = (*world.get::<EnclaveWorkload>(&control, "api")).clone();
    workload.metadata.deletion_timestamp = Some(enclave_operator::api::Time(now()).into());
    measured.push(("a workload that goes", world.event(&workload)));
    let mut enclave: Enclave = (*world.get::<Enclave>("acme", &name(far))).clone();
    enclave.metadata.deletion_timestamp = Some(enclave_operator::api::Time(now()).into());
    measured.push(("an Enclave that goes", world.event(&enclave)));
    let mut community: Community = (*world.get::<Community>("", "acme")).clone();
    community.spec.notifications.channels = vec![enclave_operator::api::community::Channel::Slack];
    let community = as_if_applied(&community, &[]).unwrap();
    measured.push(("a Community that changes nothing for others", world.event(&community)));

    measured.extend(measure_others(world, &pods, &control));
    measured.push(("a policy", world.event(&policy(&pods, "connection.acme-e1.to-1.egress"))));
    let foreign: Namespace = serde_json::from_value(json!({"metadata": {"name": "elsewhere"}})).unwrap();
    measured.push(("a namespace of others", world.event(&foreign)));
    measured.push(("a policy of others", world.event(&policy("elsewhere", "theirs"))));
    let binding = json!({
        "metadata": {"namespace": "elsewhere", "name": "theirs"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    });
    let binding: RoleBinding = serde_json::from_value(binding).unwrap();
    measured.push(("a binding of others", world.event(&binding)));
    let assignment = applied::<RoleAssignment>("RoleAssignment", &control, "more", &role("enclave-reader"));
    measured.push(("a role that is given in an Enclave", world.event(&assignment)));
    let mut assignment: RoleAssignment = (*world.get::<RoleAssignment>(&control, "more")).clone();
    assignment.metadata.deletion_timestamp = Some(enclave_operator::api::Time(now()).into());
    measured.push(("a role that is taken from who has many", world.event(&assignment)));
    let eligibility = applied::<RoleEligibility>("RoleEligibility", &control, "owners", &eligible("4h"));
    measured.push(("an eligibility of who has many", world.event(&eligibility)));
    measured.push(("an activation that ends", world.event(&activation(&control, "Expired"))));
    measured.push(("an activation", world.event(&activation(&control, "Active"))));
    let vote = json!([{"approver": "bob", "verdict": "Approved", "digest": "sha256:1"}]);
    let voted = request(&control, &json!({"state": "Pending", "decisions": vote}));
    measured.push(("a vote", world.event(&voted)));
    world.see(&quota(&pods, "1"));
    measured.push(("a Pod that starts under a quota", world.event(&quota(&pods, "2"))));

    // Of the same names in each Community.
    let there = format!("c{far}-prod");
    let mut endpoint: EnclaveEndpoint = (*world.get::<EnclaveEndpoint>(&there, "api")).clone();
    endpoint.metadata.generation = Some(2);
    endpoint.spec.ports.truncate(0);
    measured.push(("an endpoint with the name of many", world.event(&endpoint)));
    measured.push(("planning that endpoint", world.reconciliation::<EnclaveEndpoint>(&there, "api")));
    let mut enclave: Enclave = (*world.get::<Enclave>(&format!("c{far}"), "prod")).clone();
    enclave.metadata.deletion_timestamp = Some(enclave_operator::api::Time(now()).into());
    measured.push(("an Enclave with the name of many", world.event(&enclave)));

    // A role that counts in a whole Community: what somebody does to one of its bindings concerns that alone.
    let given = json!({"role": "community-reader", "principals": [{"kind": "User", "name": "olga"}]});
    let everywhere = applied::<RoleAssignment>("RoleAssignment", "acme", "everywhere", &given);
    measured.push(("a role that is given in a Community", world.event(&everywhere)));
    let everywhere = grant(Kind::RoleAssignment, "acme", "everywhere");
    for namespace in &world.all_pods() {
        world.see(&binding_of(namespace, &everywhere, "olga"));
    }
    drain_revocations(world);
    measured
        .push(("a binding of a role of the Community", world.event(&binding_of(&pods, &everywhere, "eve"))));
    let before = world.enqueuer.caches.visited();
    assert_eq!(drain_revocations(world), 1, "what eve got is taken away");
    measured.push(("whether it is explained", world.enqueuer.caches.visited() - before));

    // More than may be looked at, for one look at all of them to be seen.
    let grant_binding = |number: usize| -> RoleBinding {
        let name = grant(Kind::RoleAssignment, &control, &format!("given-{number}"));
        serde_json::from_value(json!({
            "metadata": {"namespace": control, "name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        }))
        .unwrap()
    };
    for number in 0..500 {
        world.see(&grant_binding(number));
    }
    measured.push(("a binding beside 500 that give roles", world.event(&grant_binding(500))));

    measured.push(("planning a connection", world.reconciliation::<EnclaveConnection>(&control, "to-2")));
    measured.push(("planning an endpoint", world.reconciliation::<EnclaveEndpoint>(&control, "api")));
    measured.push(("planning a workload", world.reconciliation::<EnclaveWorkload>(&control, "api")));
    measured.push(("planning an Enclave", world.reconciliation::<Enclave>("acme", &name(far))));
    measured.push(("planning a Community", world.reconciliation::<Community>("", "acme")));
    measured.push(("planning an assignment", world.reconciliation::<RoleAssignment>(&control, "readers")));
    measured.push(("planning an eligibility", world.reconciliation::<RoleEligibility>(&control, "owners")));
    measured.push(("planning an activation", world.reconciliation::<RoleActivation>(&control, "now")));
    measured.push(("planning a request", world.reconciliation::<ApprovalRequest>(&control, "r")));
    for (what, kind, name) in [
        ("looking at whether an assignment is over", Kind::RoleAssignment, "readers"),
        ("looking at whether an activation is over", Kind::RoleActivation, "now"),
    ] {
        let before = world.enqueuer.caches.visited();
        let _ = observe_one_grant(&world.enqueuer.caches, &grant(kind, &control, name));
        measured.push((what, world.enqueuer.caches.visited() - before));
    }
    measured
}

#[test]
fn an_event_looks_at_what_it_concerns_and_not_at_what_exists() {
    let few = measure(&mut World::of(1_000 / PER_ENCLAVE));
    let many = measure(&mut World::of(100_000 / PER_ENCLAVE));
    for ((what, few), (_, many)) in few.iter().zip(&many) {
        println!("{what}: {few} of 1,000 objects, {many} of 100,000");
    }
    for ((what, few), (_, many)) in few.into_iter().zip(many) {
        assert_eq!(few, many, "{what} looks at more objects when there are more");
        assert!(few <= 250, "{what} looks at {few} objects");
    }
}

/// The test above can fail: a walk over everything is counted.
#[test]
fn a_scan_would_be_seen() {
    let world = World::of(50);
    let before = world.enqueuer.caches.visited();
    let all = world.enqueuer.caches.connections.all();
    assert_eq!(world.enqueuer.caches.visited() - before, all.len() as u64);
    assert_eq!(all.len(), 50 * (CONNECTIONS + 1) + 1);
}

/// What is looked at to plan a workload grows with its own connections, and no faster than their number.
#[test]
fn planning_a_workload_looks_at_each_of_its_connections_so_often() {
    let planned = |connections: usize| {
        let mut world = World::of(10);
        for number in 0..connections {
            let (name, spec) = (format!("more-{number}"), connection("e1"));
            world.see(&applied::<EnclaveConnection>("EnclaveConnection", &control(0), &name, &spec));
            world.see(&policy(&pods(0), &format!("connection.{}.{name}.egress", control(0))));
        }
        world.reconciliation::<EnclaveWorkload>(&control(0), "api")
    };
    let [none, some, many] = [0, 10, 100].map(planned);
    assert_eq!(many - none, 10 * (some - none));
    assert!(some - none <= 10 * 10, "ten connections are {} looks", some - none);
}

/// Who may give roles in an Enclave gives as many as he likes, each to a hundred people.
#[test]
fn the_same_people_in_many_assignments_are_looked_at_once_in_each() {
    const OF_EACH_ROLE: usize = 100;
    let mut world = World::of(1);
    let people: Vec<Value> =
        (0..100).map(|number| json!({"kind": "User", "name": format!("p{number:02}")})).collect();
    let given = |role: &str, number: usize| {
        let spec = json!({"role": role, "principals": people});
        applied::<RoleAssignment>("RoleAssignment", &control(0), &format!("{role}-{number:02}"), &spec)
    };
    for role in ["enclave-approver", "enclave-owner"] {
        (0..OF_EACH_ROLE).for_each(|number| world.see(&given(role, number)));
    }

    let owner = world.get::<RoleAssignment>(&control(0), "enclave-owner-00");
    let policy_status = PolicyStatus { integrity: Integrity::Intact, fingerprint: "guard".to_owned() };
    let before = world.enqueuer.caches.visited();
    let observed = observe_assignment(&world.enqueuer.caches, owner, policy_status);
    let visited = world.enqueuer.caches.visited() - before;
    assert!(visited <= 200 + 4 * OF_EACH_ROLE as u64, "planning looks at {visited} objects");
    assert_eq!(observed.others.len(), OF_EACH_ROLE);
    let status = plan_assignment(&observed, now()).status.unwrap();
    let shown = status.gate.conditions.iter().find(|one| one.type_ == "ConflictingDuties").unwrap();
    let first = "User p00 has the role enclave-approver by RoleAssignment acme-e0/enclave-approver-00:";
    assert!(shown.message.starts_with(first), "{}", shown.message);

    woken_of(&world, Kind::RoleAssignment);
    let mut edited = given("enclave-owner", 0);
    edited.spec.principals.pop();
    let looked_at = world.event(&as_if_applied(&edited, &[]).unwrap());
    assert!(looked_at <= 300, "an edit looks at {looked_at} objects");
    let woken = woken_of(&world, Kind::RoleAssignment);
    assert_eq!(woken.len(), 1 + OF_EACH_ROLE, "itself, and those that it may be in conflict with");
}

/// The workloads that are queued, by namespace, with their priority.
fn woken(world: &World) -> Vec<(String, Priority)> {
    woken_of(world, Kind::EnclaveWorkload).into_iter().map(|((namespace, _), how)| (namespace, how)).collect()
}

/// The objects of a kind that are queued, with their priority.
fn woken_of(world: &World, kind: Kind) -> Vec<((String, String), Priority)> {
    let queue = world.enqueuer.queues.of(kind);
    let mut woken = Vec::new();
    for priority in [Priority::Closing, Priority::Normal] {
        while let Some(key) = queue.take(priority, Instant::now()) {
            queue.finish(&key, Outcome::Done, Instant::now());
            woken.push(((key.namespace.into_string(), key.name.into_string()), priority));
        }
    }
    woken.sort();
    woken
}

/// The policies of a connection are made with the workloads at its ends. They are looked at when what it opens
/// changes, and not for each step of its life.
#[test]
fn a_connection_wakes_the_workloads_at_its_ends_when_what_it_opens_changes() {
    let mut world = World::of(10);
    let ends = |priority| vec![(control(0), priority), (control(1), priority)];
    let latest = |world: &World| (*world.get::<EnclaveConnection>(&control(0), "to-1")).clone();
    woken(&world);

    let mut never_applied: EnclaveConnection = latest(&world);
    never_applied.metadata.name = Some("new".into());
    never_applied.metadata.uid = Some("uid-new".into());
    never_applied.status = None;
    world.see(&never_applied);
    assert_eq!(woken(&world), []);
    never_applied.metadata.deletion_timestamp = Some(enclave_operator::api::Time(now()).into());
    world.see(&never_applied);
    assert_eq!(woken(&world), []);

    let enforced = json!([{
        "type": "Enforced", "status": "True", "reason": "Enforced", "message": "",
        "lastTransitionTime": "2026-06-01T00:00:00Z",
    }]);
    let mut connection = latest(&world);
    let status = |connection: &mut EnclaveConnection| connection.status.take().unwrap();
    let before = status(&mut connection);
    connection.status = Some(before.clone());
    connection.status.as_mut().unwrap().gate.conditions = serde_json::from_value(enforced).unwrap();
    world.see(&connection);
    assert_eq!(woken(&world), [], "it is in force now");
    connection.status = Some(before);
    world.see(&connection);
    assert_eq!(woken(&world), ends(Priority::Normal), "it is not in force any more");

    connection.status.as_mut().unwrap().expires_at = Some(enclave_operator::api::Time(now()));
    world.see(&connection);
    assert_eq!(woken(&world), ends(Priority::Normal), "it ends");
    connection.spec.enabled = false;
    world.see(&connection);
    assert_eq!(woken(&world), ends(Priority::Closing), "it is closed");
    let applied = connection.status.as_mut().unwrap().gate.applied.take();
    world.see(&connection);
    assert_eq!(woken(&world), ends(Priority::Normal), "nothing of it is applied any more");
    connection.status.as_mut().unwrap().gate.applied = applied;
    world.see(&connection);
    assert_eq!(woken(&world), ends(Priority::Closing), "it is applied");
    connection.metadata.deletion_timestamp = Some(enclave_operator::api::Time(now()).into());
    world.see(&connection);
    assert_eq!(woken(&world), ends(Priority::Closing), "it goes");
}

/// A hub waits for the endpoints that lead through it, as they are applied.
#[test]
fn a_hub_that_goes_is_looked_at_when_an_endpoint_leads_elsewhere() {
    let mut world = World::of(2);
    let mut hub = (*world.get::<TransitHub>("acme", "site")).clone();
    hub.metadata.deletion_timestamp = Some(enclave_operator::api::Time(now()).into());
    world.see(&hub);
    woken_of(&world, Kind::TransitHub);
    let elsewhere = json!({"destination": {"cidrs": [{"cidr": "203.0.113.0/24"}]}, "ports": [{"port": 443}]});
    world.see(&applied::<CommunityEndpoint>("CommunityEndpoint", "acme", "outside", &elsewhere));
    let site = ("acme".to_owned(), "site".to_owned());
    assert_eq!(woken_of(&world, Kind::TransitHub), [(site, Priority::Normal)]);
}

/// The labels of a namespace say what it is for; while they do not, nothing in it can be judged.
#[test]
fn what_is_declared_in_a_namespace_is_looked_at_when_its_labels_are_put_back() {
    let mut world = World::of(2);
    let healed = (*world.get::<Namespace>("", &control(0))).clone();
    let mut torn = healed.clone();
    torn.metadata.labels.as_mut().unwrap().remove(label::COMMUNITY);
    world.see(&torn);
    woken_of(&world, Kind::EnclaveConnection);
    woken_of(&world, Kind::RoleAssignment);
    world.see(&healed);
    let here =
        |woken: Vec<((String, String), Priority)>| woken.iter().any(|((place, _), _)| *place == control(0));
    assert!(here(woken_of(&world, Kind::EnclaveConnection)));
    assert!(here(woken_of(&world, Kind::RoleAssignment)));
}

/// Where nobody gets in but those whom a workload lists, whatever else gives a role is taken away.
#[test]
fn a_binding_of_a_grant_wakes_a_workload_that_is_isolated() {
    let binding = |number: usize| -> RoleBinding {
        let name = grant(Kind::RoleAssignment, "acme", &format!("given-{number}"));
        serde_json::from_value(json!({
            "metadata": {"namespace": pods(0), "name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        }))
        .unwrap()
    };
    let mut world = World::of(10);
    woken(&world);
    world.see(&binding(1));
    assert_eq!(woken(&world), []);
    let isolated = json!({"accessMode": "Isolated"});
    world.see(&applied::<EnclaveWorkload>("EnclaveWorkload", &control(0), "api", &isolated));
    woken(&world);
    world.see(&binding(2));
    assert_eq!(woken(&world), [(control(0), Priority::Normal)]);
    let mut other = binding(3);
    other.metadata.name = Some("enclave-operator:listed".into());
    world.see(&applied::<EnclaveWorkload>("EnclaveWorkload", &control(0), "api", &json!({})));
    woken(&world);
    world.see(&other);
    assert_eq!(woken(&world), [(control(0), Priority::Normal)], "what is made with it concerns it always");
}

/// Whoever rules a namespace that is not the operator's may make there what has the name of a grant, as often as he
/// likes.
#[test]
fn what_has_the_name_of_a_grant_elsewhere_is_taken_away_and_keeps_nobody_waiting() {
    let mut world = World::of(1);
    let control = control(0);
    let elsewhere: Namespace = serde_json::from_value(json!({"metadata": {"name": "elsewhere"}})).unwrap();
    world.see(&elsewhere);
    let plan = |world: &World, name: &str| {
        let policy_status = PolicyStatus { integrity: Integrity::Intact, fingerprint: "guard".to_owned() };
        let assignment = world.get::<RoleAssignment>(&control, name);
        plan_assignment(&observe_assignment(&world.enqueuer.caches, assignment, policy_status), now())
    };
    for repair in plan(&world, "readers").repairs {
        match repair {
            Write::Child(Verb::Create, Child::Role(role)) => world.see(&*role),
            Write::Child(Verb::Create, Child::RoleBinding(binding)) => world.see(&*binding),
            other => panic!("{other:?}"),
        }
    }
    let mut goes = applied::<RoleAssignment>("RoleAssignment", &control, "goes", &role("enclave-reader"));
    goes.metadata.deletion_timestamp = Some(enclave_operator::api::Time(now()).into());
    world.see(&goes);
    drain_revocations(&world);
    woken_of(&world, Kind::RoleAssignment);

    let before = plan(&world, "readers").status;
    let bound = before.as_ref().and_then(|status| status.namespaces);
    let is_going = |world: &World| plan(world, "goes").writes.contains(&Write::RemoveFinalizer);
    for name in ["readers", "goes"] {
        world.see(&binding_of("elsewhere", &grant(Kind::RoleAssignment, &control, name), "eve"));
    }
    assert_eq!(woken_of(&world, Kind::RoleAssignment), []);
    assert_eq!(plan(&world, "readers").status, before);
    assert!(is_going(&world));
    assert_eq!(drain_revocations(&world), 2, "both are taken away");
    let all_of_it = Key::new("", &grant(Kind::RoleAssignment, &control, "goes"));
    assert_eq!(plan_revocation(&world.enqueuer.caches, &all_of_it, now()).closes.len(), 1);

    // Where the operator gives rights it is another thing.
    for name in ["readers", "goes"] {
        world.see(&binding_of("acme", &grant(Kind::RoleAssignment, &control, name), "eve"));
    }
    assert_eq!(woken_of(&world, Kind::RoleAssignment).len(), 2);
    let status = plan(&world, "readers").status.unwrap();
    assert_eq!(status.namespaces, bound.map(|bound| bound + 1));
    assert_ne!(status.gate.conditions, before.unwrap().gate.conditions);
    assert!(!is_going(&world));
    assert_eq!(drain_revocations(&world), 2);
}

#[test]
fn a_pod_that_starts_under_a_quota_wakes_nobody() {
    let mut world = World::of(2);
    world.see(&quota(&pods(0), "1"));
    woken(&world);
    world.see(&quota(&pods(0), "2"));
    assert_eq!(woken(&world), []);
    let mut other = quota(&pods(0), "2");
    other.spec.as_mut().unwrap().hard = None;
    world.see(&other);
    assert_eq!(woken(&world), [(control(0), Priority::Normal)], "somebody changed it");
}

#[test]
fn a_vote_wakes_what_it_is_about_and_what_is_told_of_a_request_does_not() {
    let mut world = World::of(1);
    let request = |status: Value| request(&control(0), &status);
    let told = |count: usize| json!({"recorded": count, "waiting": []});
    let vote = json!([{"approver": "bob", "verdict": "Approved", "digest": "sha256:1"}]);
    let to_wake = [(control(0), Priority::Normal)];
    world.enqueuer.take_in(WatchEvent::Deleted(request(json!({"state": "Pending"}))));
    woken(&world);
    world.see(&request(json!({"state": "Pending", "audit": told(0)})));
    assert_eq!(woken(&world), to_wake, "it is new");
    world.see(&request(json!({"state": "Pending", "audit": told(1)})));
    assert_eq!(woken(&world), []);
    world.see(&request(json!({"state": "Pending", "audit": told(1), "decisions": vote})));
    assert_eq!(woken(&world), to_wake, "somebody voted");
    world.see(&request(json!({"state": "Approved", "audit": told(2), "decisions": vote})));
    assert_eq!(woken(&world), to_wake, "it is decided");
    let mut gone = request(json!({"state": "Approved", "audit": told(2), "decisions": vote}));
    gone.metadata.deletion_timestamp = Some(enclave_operator::api::Time(now()).into());
    world.see(&gone);
    assert_eq!(woken(&world), to_wake, "it goes");
}

/// Also when it is gone, and is in no cache any more.
#[test]
fn an_endpoint_wakes_the_connections_that_lead_to_it_and_no_others() {
    let mut world = World::of(10);
    // An Enclave of another Community that has the same name, with a connection to its own endpoint.
    world.see(&managed("beta", "beta", purpose::COMMUNITY, "uid--beta", None, None));
    world.see(&applied::<Community>("Community", "", "beta", &json!({})));
    world.see(&managed("beta", "beta-e3", purpose::CONTROL, "uid-beta-e3", Some("e3"), None));
    world.see(&applied::<Enclave>("Enclave", "beta", "e3", &json!({})));
    let spec = connection("e3");
    world.see(&applied::<EnclaveConnection>("EnclaveConnection", "beta-e3", "own", &spec));
    let leading: Vec<(String, String)> =
        (1..=CONNECTIONS).map(|other| (control((10 + 3 - other) % 10), format!("to-{other}"))).collect();
    let mut leading: Vec<_> = leading.into_iter().map(|key| (key, Priority::Closing)).collect();
    leading.sort();
    woken_of(&world, Kind::EnclaveConnection);

    let endpoint = (*world.get::<EnclaveEndpoint>(&control(3), "api")).clone();
    world.enqueuer.take_in(WatchEvent::Deleted(endpoint));
    assert_eq!(woken_of(&world, Kind::EnclaveConnection), leading);
}
