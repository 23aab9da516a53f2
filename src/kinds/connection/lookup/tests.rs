use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};

use super::*;

use crate::api::names::{label, purpose, reason};
use crate::api::reading::{Item, Readable};
use crate::api::{Enclave, Kind};
use crate::cluster::watch::WatchEvent;
use crate::cluster::workqueue::Priority;
use crate::kinds::connection::resolve_connection;
use crate::kinds::enqueue::{Enqueued, Enqueuer};
use crate::kinds::workload::observe::observe_workload;
use crate::kinds::workload::plan::plan_workload;
use crate::model::approval::policy_status::{Integrity, PolicyStatus};
use crate::model::network::connectivity::{Connectivity, resolve};
use crate::plan::Write;
use crate::plan::child::Verb;

struct World {
    enqueuer: Enqueuer,
    version: u64,
}

impl World {
    fn see<K: Enqueued + Readable>(&mut self, namespace: Option<&str>, name: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(namespace);
        object["metadata"]["uid"] = json!(name);
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let item = serde_json::from_str::<Item<K>>(&object.to_string()).unwrap();
        self.enqueuer.take_in(WatchEvent::Applied(item.read().0));
    }

    fn declare<K: Enqueued + Readable>(
        &mut self,
        namespace: Option<&str>,
        name: &str,
        applied: &Value,
        spec: &Value,
    ) {
        let applied = json!({"generation": 1, "digest": "d", "spec": applied, "at": "2026-01-01T00:00:00Z"});
        self.see::<K>(
            namespace,
            name,
            json!({"spec": spec, "status": {"state": "Active", "applied": applied}}),
        );
    }

    fn make_namespace(&mut self, name: &str, owner: &str, labels: Value) {
        let mut labels = labels;
        labels[label::COMMUNITY] = json!("acme");
        labels[label::OWNER_UID] = json!(owner);
        self.see::<Namespace>(None, name, json!({"metadata": {"labels": labels}}));
    }

    /// The policies that are taken away from the namespace of the workload `api`.
    fn taken_away(&self) -> Vec<String> {
        let caches = &self.enqueuer.caches;
        let workload = caches.workloads.get("acme-payments", "api").unwrap();
        let policy_status = PolicyStatus { integrity: Integrity::Intact, fingerprint: String::new() };
        let plan = plan_workload(&observe_workload(caches, workload, policy_status), Timestamp::UNIX_EPOCH);
        let taken = plan.repairs.into_iter().filter_map(|write| match write {
            Write::Child(Verb::Delete, child) => child.metadata().name.clone(),
            _ => None,
        });
        taken.collect()
    }

    fn is_woken(&self) -> bool {
        let queue = self.enqueuer.queues.of(Kind::EnclaveWorkload);
        let mut woken = false;
        while let Some(key) = queue.take(Priority::Normal, Instant::now()) {
            woken |= key == Key::new("acme-payments", "api");
            queue.finish(&key, crate::cluster::workqueue::Outcome::Done, Instant::now());
        }
        woken
    }
}

fn new_world() -> World {
    let enqueuer = Enqueuer::detached();
    enqueuer.queues.open();
    World { enqueuer, version: 0 }
}

/// After a rollback: another part of the Community that only a newer version knows is no reason to close.
#[test]
fn names_stay_reachable_while_what_is_applied_of_the_community_cannot_be_read() {
    let mut world = new_world();
    world.make_namespace("acme", "acme", json!({label::PURPOSE: purpose::COMMUNITY}));
    world.declare::<Enclave>(Some("acme"), "payments", &json!({}), &json!({}));
    let labels = json!({label::PURPOSE: purpose::CONTROL, label::ENCLAVE: "payments"});
    world.make_namespace("acme-payments", "payments", labels);
    let endpoint = json!({"destination": {"fqdns": ["example.com"]}, "ports": [{"port": 443}]});
    world.declare::<CommunityEndpoint>(Some("acme"), "web", &endpoint, &endpoint);
    let connection =
        json!({"source": {"workloads": ["api"]}, "destination": {"communityEndpoint": {"name": "web"}}});
    world.declare::<EnclaveConnection>(Some("acme-payments"), "out", &connection, &connection);
    let mut resolve_with = |community: Value| {
        world.declare::<Community>(None, "acme", &community, &json!({}));
        let caches = &world.enqueuer.caches;
        let connection = caches.connections.get("acme-payments", "out").unwrap();
        resolve(&resolve_connection(caches, connection), Timestamp::UNIX_EPOCH)
    };
    let newer = json!({"rules": [{"operation": "JobRun", "policy": "Required"}]});
    for (community, reason) in [
        (json!({}), Some(reason::FQDN_BACKEND_MISSING)),
        (json!({"fqdnBackend": "Cilium"}), Some(reason::FQDN_BACKEND_MISSING)),
        (json!({"fqdnBackend": "Cilium", "approvals": newer}), None),
        (json!({"approvals": newer}), None),
    ] {
        let found = match resolve_with(community.clone()) {
            Ok(Connectivity::Unavailable(missing)) => Some(missing.reason),
            Err(_) => None,
            other => panic!("{community}: {other:?}"),
        };
        assert_eq!(found, reason, "{community}");
    }
}

/// A connection that leads where only a newer version knows, to a workload of another Enclave, after a rollback.
#[test]
fn a_policy_whose_connection_only_a_newer_version_knows_stays_until_that_is_closed() {
    let mut world = new_world();
    world.declare::<Community>(None, "acme", &json!({}), &json!({}));
    world.make_namespace("acme", "acme", json!({label::PURPOSE: purpose::COMMUNITY}));
    for enclave in ["payments", "ledger"] {
        world.declare::<Enclave>(Some("acme"), enclave, &json!({}), &json!({}));
        let labels = json!({label::PURPOSE: purpose::CONTROL, label::ENCLAVE: enclave});
        world.make_namespace(&format!("acme-{enclave}"), enclave, labels);
    }
    world.declare::<EnclaveWorkload>(Some("acme-payments"), "api", &json!({}), &json!({}));
    let labels =
        json!({label::PURPOSE: purpose::WORKLOAD, label::ENCLAVE: "payments", label::WORKLOAD: "api"});
    world.make_namespace("acme-payments-api", "api", labels);
    // The API server drops from a spec the fields that the schema of this version does not have.
    let source = json!({"workloads": ["web"]});
    let applied = json!({"source": source, "destination": {"workloadGroup": {"name": "all"}}});
    let spec = json!({"source": source, "destination": {}});
    let connect = |world: &mut World, applied: &Value, spec: &Value| {
        world.declare::<EnclaveConnection>(Some("acme-ledger"), "out", applied, spec);
    };
    connect(&mut world, &applied, &spec);
    let name = "connection.acme-ledger.out.ingress";
    for policy in [name, "connection.acme-ledger.gone.ingress"] {
        let rules = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
        world.see::<NetworkPolicy>(Some("acme-payments-api"), policy, json!({"spec": rules}));
    }
    assert_eq!(world.taken_away(), ["connection.acme-ledger.gone.ingress"]);
    world.is_woken();
    let mut disabled = spec.clone();
    disabled["enabled"] = json!(false);
    connect(&mut world, &applied, &disabled);
    assert!(world.is_woken());
    assert_eq!(world.taken_away().len(), 2);
    // A destination that this version knows leads elsewhere.
    let known = json!({"source": source, "destination": {"communityEndpoint": {"name": "internet"}}});
    connect(&mut world, &known, &known);
    assert_eq!(world.taken_away().len(), 2);
}
