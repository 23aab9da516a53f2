//! What one edit of a Community costs when nothing for others changes, and whether revocations wait for it.

use std::time::{Duration, Instant};

use enclave_operator::api::{Community, EnclaveConnection, Kind, RoleAssignment};
use enclave_operator::model::naming::{connection_policy, grant};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::provisioning::provision;
use super::{Measuring, limit};
use crate::figures::{median, milliseconds, percentile};
use crate::load::{Load, assignment};
use crate::sightings::{Key, Sightings};
use crate::stage::Stage;

const LIMIT: Duration = Duration::from_secs(180);
const SIDE_ENCLAVES: usize = 6;

/// Another Community, in which something is taken away.
struct Side<'a> {
    stage: &'a Stage,
    load: Load,
    bindings: Sightings,
    policies: Sightings,
    taken: usize,
}

/// How long it took until roles and connections were gone, in milliseconds.
#[derive(Default)]
struct Revocations {
    roles: Vec<f64>,
    connections: Vec<f64>,
}

pub async fn measure(measuring: &mut Measuring<'_>, stage: &Stage, load: &Load) {
    let count = measuring.settings.revocations;
    let mut side = Side::make(stage, 2 * count).await;
    let mut idle = Revocations::default();
    for _ in 0..count {
        side.revoke(&mut idle).await;
    }
    report(measuring, "while nothing else happens", &idle);

    let (mut costs, mut times) = (Vec::new(), Vec::new());
    for number in 0..measuring.settings.edits {
        stage.wait_until_quiet(limit(measuring.size)).await;
        let (began, cpu) = (Instant::now(), stage.operator_cpu());
        edit(stage, load, &format!("edit {number}")).await;
        let quiet = stage.wait_until_quiet(limit(measuring.size)).await;
        costs.push((stage.operator_cpu() - cpu) * 1000.0);
        times.push(milliseconds(quiet.saturating_duration_since(began)));
    }
    let cost = measuring.median("processor time of the operator for one edit of the Community", "ms", &costs);
    measuring.add(cost.at_most(50.0));
    measuring.add(measuring.median("until it is quiet again", "ms", &times));

    // As long as one edit keeps it busy, then the next.
    let busy = Duration::from_secs_f64(median(&times) / 1000.0);
    let mut meanwhile = Revocations::default();
    let mut edits = 0;
    while meanwhile.roles.len() < count {
        edits += 1;
        stage.wait_until_quiet(limit(measuring.size)).await;
        edit(stage, load, &format!("edit with revocations {edits}")).await;
        let began = Instant::now();
        loop {
            side.revoke(&mut meanwhile).await;
            if began.elapsed() >= busy || meanwhile.roles.len() >= count {
                break;
            }
        }
    }
    report(measuring, "while the Community is edited", &meanwhile);
}

fn report(measuring: &mut Measuring<'_>, when: &str, revocations: &Revocations) {
    let kinds = [("role", &revocations.roles), ("connection", &revocations.connections)];
    for (kind, values) in kinds {
        let what = format!("revocation of a {kind} {when}, p50");
        measuring.add(measuring.median(&what, "ms", values));
        let what = format!("revocation of a {kind} {when}, p99");
        let figure = measuring.figure(what, "ms", percentile(values, 0.99));
        measuring.add(figure.at_most(100.0));
    }
}

/// Changes words that nothing depends on.
async fn edit(stage: &Stage, load: &Load, description: &str) {
    let communities: Api<Community> = Api::all(stage.owner.client.clone());
    let patch = Patch::Merge(json!({"spec": {"description": description}}));
    communities.patch(load.community, &PatchParams::default(), &patch).await.unwrap();
}

impl<'a> Side<'a> {
    /// So many roles, and as many open connections.
    async fn make(stage: &'a Stage, count: usize) -> Self {
        let connections = count.div_ceil(SIDE_ENCLAVES);
        let load = Load { community: "side", enclaves: SIDE_ENCLAVES, connections };
        let bindings = Sightings::of(stage.everywhere::<RoleBinding>(), |_| true).await;
        let policies = Sightings::of(stage.everywhere::<NetworkPolicy>(), |_| true).await;
        provision(stage, &load, &json!({})).await;
        let control = load.control(0);
        stage.owner.create_all((0..count).map(|number| assignment(&control, number))).await;
        for number in 0..count {
            let binding = (control.clone(), role_binding(&control, number));
            bindings.wait_for_all(&[binding], true, LIMIT, "the role is bound").await;
        }
        stage.wait_until_quiet(LIMIT).await;
        Self { stage, load, bindings, policies, taken: 0 }
    }

    /// Takes away a role and closes a connection, one after the other.
    async fn revoke(&mut self, revocations: &mut Revocations) {
        let number = self.taken;
        self.taken += 1;
        revocations.roles.push(self.revoke_role(number).await);
        revocations.connections.push(self.close_connection(number).await);
    }

    async fn revoke_role(&self, number: usize) -> f64 {
        let control = self.load.control(0);
        let name = role_binding(&control, number);
        let bound: Vec<Key> = self.bindings.all().into_iter().filter(|(_, other)| *other == name).collect();
        let client = self.stage.owner.client.clone();
        let assignments: Api<RoleAssignment> = Api::namespaced(client, &control);
        let began = Instant::now();
        assignments.delete(&format!("a{number:05}"), &DeleteParams::default()).await.unwrap();
        let gone = self.bindings.wait_for_all(&bound, false, LIMIT, "the role is gone").await;
        milliseconds(gone.saturating_duration_since(began))
    }

    async fn close_connection(&self, number: usize) -> f64 {
        let (enclave, which) = (number % SIDE_ENCLAVES, number / SIDE_ENCLAVES);
        let (control, name) = (self.load.control(enclave), format!("c{which}"));
        let names = ["egress", "ingress"].map(|direction| connection_policy(&control, &name, direction));
        let open: Vec<Key> =
            self.policies.all().into_iter().filter(|(_, other)| names.contains(other)).collect();
        assert_eq!(open.len(), 2, "{control}/{name} has two policies");
        let client = self.stage.owner.client.clone();
        let connections: Api<EnclaveConnection> = Api::namespaced(client, &control);
        let patch = Patch::Merge(json!({"spec": {"enabled": false}}));
        let began = Instant::now();
        connections.patch(&name, &PatchParams::default(), &patch).await.unwrap();
        let gone = self.policies.wait_for_all(&open, false, LIMIT, "the connection is closed").await;
        milliseconds(gone.saturating_duration_since(began))
    }
}

/// The binding of the role that [`assignment`] gives.
pub fn role_binding(namespace: &str, number: usize) -> String {
    grant(Kind::RoleAssignment, namespace, &format!("a{number:05}"))
}
