//! From a scene to the objects that the API server would hold: what people wrote, and what the operator
//! recorded of it.

use std::collections::{BTreeMap, BTreeSet};

use enclave_operator::api::approvals::{ApprovalRule, Approvals, Operation, RulePolicy};
use enclave_operator::api::community::Dns;
use enclave_operator::api::community_endpoint::TransitHubRef;
use enclave_operator::api::enclave::EnclaveNetwork;
use enclave_operator::api::enclave_connection::{
    CommunityEndpointRef, ConnectionDestination, ConnectionSource, EnclaveEndpointRef,
};
use enclave_operator::api::gate::{Applied, Reference};
use enclave_operator::api::names::{FINALIZER, label, purpose};
use enclave_operator::api::{
    Community, CommunityEndpoint, CommunitySpec, Content, Enclave, EnclaveConnection, EnclaveConnectionSpec,
    EnclaveEndpoint, EnclaveSpec, EnclaveWorkload, EnclaveWorkloadSpec, Kind, Time, TransitHub,
};
use enclave_operator::model::approval::gated::Gated;
use enclave_operator::model::digest::digest;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::json;

use super::reach::Objects;
use super::scene::{
    Bound, CommunityScene, ConnectionScene, ENCLAVES, EnclaveScene, From, Life, Moment, NAMES, STRANGERS,
    Scene, Thing, To, WORKLOADS,
};

impl Scene {
    /// What is declared; namespaces of workloads, policies and Pods are not part of it.
    pub fn objects(&self, moment: Moment) -> Objects {
        let mut objects = Objects::default();
        for community in &self.communities {
            community.declare(&mut objects, moment);
        }
        for (name, labels) in STRANGERS {
            add_namespace(&mut objects, name, labels);
        }
        // Two that are in each other's way may declare things in the namespace that one of them has.
        keep_the_first(&mut objects.enclaves);
        keep_the_first(&mut objects.workloads);
        keep_the_first(&mut objects.endpoints);
        keep_the_first(&mut objects.connections);
        objects
    }
}

impl CommunityScene {
    fn declare(&self, objects: &mut Objects, moment: Moment) {
        let home = self.namespace.unwrap_or(self.name);
        let spec = |dns: &Dns| CommunitySpec {
            namespace: self.namespace.map(ToOwned::to_owned),
            dns: dns.clone(),
            approvals: everything_is_held(),
            ..CommunitySpec::default()
        };
        let thing = Thing { life: self.life, applied: spec(&self.dns.0), wanted: spec(&self.dns.1) };
        let community = thing.declare(Community::new, None, self.name, moment, Vec::new()).unwrap();
        add_owned(
            objects,
            home,
            &community,
            &[(label::PURPOSE, purpose::COMMUNITY), (label::COMMUNITY, self.name)],
        );
        objects.communities.push(community);

        let things = self.hubs.iter().zip(NAMES);
        objects
            .transit_hubs
            .extend(things.filter_map(|(hub, name)| {
                hub.declare(TransitHub::new, Some(home), name, moment, Vec::new())
            }));
        let things = self.endpoints.iter().zip(NAMES);
        objects.community_endpoints.extend(things.filter_map(|(endpoint, name)| {
            endpoint.declare(CommunityEndpoint::new, Some(home), name, moment, Vec::new())
        }));
        for (enclave, name) in self.enclaves.iter().zip(ENCLAVES) {
            self.declare_enclave(objects, enclave, name, moment);
        }
        self.declare_connections(objects, &self.connections, home, moment);
    }

    fn declare_enclave(&self, objects: &mut Objects, scene: &EnclaveScene, name: &str, moment: Moment) {
        let home = self.namespace.unwrap_or(self.name);
        let spec = |communication| EnclaveSpec {
            network: EnclaveNetwork { workload_communication: communication },
            ..EnclaveSpec::default()
        };
        let (applied, wanted) = (spec(scene.communication.0), spec(scene.communication.1));
        let thing = Thing { life: scene.life, applied, wanted };
        let Some(enclave) = thing.declare(Enclave::new, Some(home), name, moment, Vec::new()) else { return };
        let control = format!("{}-{name}", self.name);
        // Without a namespace of the Community no Enclave ever got one.
        let has_home =
            |one: &Namespace| one.name_any() == home && one.labels()[label::COMMUNITY] == self.name;
        if scene.life != Life::Held && objects.namespaces.iter().any(has_home) {
            let labels =
                [(label::PURPOSE, purpose::CONTROL), (label::COMMUNITY, self.name), (label::ENCLAVE, name)];
            add_owned(objects, &control, &enclave, &labels);
        }
        objects.enclaves.push(enclave);
        for (workload, name) in scene.workloads.iter().zip(WORKLOADS) {
            let wanted =
                EnclaveWorkloadSpec { description: Some("edited".into()), ..EnclaveWorkloadSpec::default() };
            let thing = Thing { life: workload.life, applied: EnclaveWorkloadSpec::default(), wanted };
            objects.workloads.extend(thing.declare(
                EnclaveWorkload::new,
                Some(&control),
                name,
                moment,
                Vec::new(),
            ));
            if workload.is_taken {
                add_namespace(objects, &format!("{control}-{name}"), &[]);
            }
        }
        let things = scene.endpoints.iter().zip(NAMES);
        objects.endpoints.extend(things.filter_map(|(endpoint, name)| {
            endpoint.declare(EnclaveEndpoint::new, Some(&control), name, moment, Vec::new())
        }));
        self.declare_connections(objects, &scene.connections, &control, moment);
    }

    fn declare_connections(
        &self,
        objects: &mut Objects,
        scenes: &[ConnectionScene],
        namespace: &str,
        moment: Moment,
    ) {
        for (scene, name) in scenes.iter().zip(NAMES) {
            let references = self.references(scene);
            let thing = Thing {
                life: scene.life,
                applied: scene.spec(scene.enabled.0, scene.ends.0),
                wanted: scene.spec(scene.enabled.1, scene.ends.1),
            };
            let new = EnclaveConnection::new;
            let Some(mut connection) = thing.declare(new, Some(namespace), name, moment, references) else {
                continue;
            };
            let status = connection.status.get_or_insert_default();
            if status.gate.applied.is_some() {
                status.expires_at = scene.ends.0.map(in_hours);
            }
            objects.connections.push(connection);
        }
    }

    /// What a connection named when it was approved.
    fn references(&self, scene: &ConnectionScene) -> Vec<Reference> {
        let home = self.namespace.unwrap_or(self.name);
        let reference = |kind, namespace: &str, name: &str, another: Bound| Reference {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: if scene.bound == another { "another".to_owned() } else { uid(kind, Some(namespace), name) },
            digest: String::new(),
        };
        let hub = |name: &str| reference(Kind::TransitHub, home, name, Bound::OtherHubs);
        let (endpoint, beyond) = match scene.to {
            To::Enclave(enclave, endpoint) => {
                let control = format!("{}-{}", self.name, ENCLAVES[enclave]);
                let kind = Kind::EnclaveEndpoint;
                (reference(kind, &control, NAMES[endpoint], Bound::AnotherEndpoint), None)
            }
            To::Community(endpoint) => {
                let applied = self.endpoints.get(endpoint).map(|endpoint| &endpoint.applied.destination);
                let beyond = applied.and_then(|destination| destination.transit_hub.as_ref());
                let kind = Kind::CommunityEndpoint;
                (
                    reference(kind, home, NAMES[endpoint], Bound::AnotherEndpoint),
                    beyond.map(|one| hub(&one.name)),
                )
            }
        };
        let source = match scene.from {
            From::Hub(position) => Some(hub(NAMES[position])),
            From::Workloads(_) => None,
        };
        [Some(endpoint), beyond, source].into_iter().flatten().collect()
    }
}

impl ConnectionScene {
    fn spec(&self, enabled: bool, ends: Option<i64>) -> EnclaveConnectionSpec {
        let spec = json!({
            "source": ConnectionSource {
                workloads: match &self.from {
                    From::Workloads(workloads) => workloads.iter().map(|one| WORKLOADS[*one].to_owned()).collect(),
                    From::Hub(_) => Vec::new(),
                },
                transit_hub: match self.from {
                    From::Workloads(_) => None,
                    From::Hub(hub) => Some(TransitHubRef { name: NAMES[hub].to_owned() }),
                },
            },
            "destination": match self.to {
                To::Enclave(enclave, endpoint) => ConnectionDestination {
                    enclave_endpoint: Some(EnclaveEndpointRef {
                        enclave: ENCLAVES[enclave].to_owned(),
                        name: NAMES[endpoint].to_owned(),
                    }),
                    community_endpoint: None,
                },
                To::Community(endpoint) => ConnectionDestination {
                    enclave_endpoint: None,
                    community_endpoint: Some(CommunityEndpointRef { name: NAMES[endpoint].to_owned() }),
                },
            },
        });
        let spec: EnclaveConnectionSpec = serde_json::from_value(spec).unwrap();
        let duration = ends.map(|hours| format!("{}h", hours + APPLIED_HOURS_AGO).parse().unwrap());
        EnclaveConnectionSpec {
            enabled,
            expires_at: ends.filter(|_| !self.lasts).map(in_hours),
            duration: duration.filter(|_| self.lasts),
            ..spec
        }
    }
}

const APPLIED_HOURS_AGO: i64 = 100;

fn in_hours(hours: i64) -> Time {
    Time(Moment::Now.time() + SignedDuration::from_hours(hours))
}

impl<S: Clone + Serialize> Thing<S> {
    /// The object, with what the operator would have recorded.
    fn declare<K: Gated<Spec = S>>(
        &self,
        new: fn(&str, S) -> K,
        namespace: Option<&str>,
        name: &str,
        moment: Moment,
        references: Vec<Reference>,
    ) -> Option<K> {
        let life = if moment == Moment::Before { self.life.before() } else { self.life };
        let retired = || K::retired(&self.applied);
        let (applied, wanted) = match life {
            Life::Absent => return None,
            Life::Held => (None, self.applied.clone()),
            Life::Applied | Life::Leaving => (Some(self.applied.clone()), self.applied.clone()),
            Life::Edited => (Some(self.applied.clone()), self.wanted.clone()),
            Life::Retired => (Some(retired()), retired()),
        };
        let mut object = new(name, wanted);
        let meta = object.meta_mut();
        meta.uid = Some(uid(K::KIND, namespace, name));
        meta.namespace = namespace.map(ToOwned::to_owned);
        meta.generation = Some(if life == Life::Edited { 2 } else { 1 });
        meta.finalizers = Some(vec![FINALIZER.to_owned()]);
        meta.deletion_timestamp = (life == Life::Leaving).then(|| Time(Moment::Now.time()).into());
        object.gate_mut().applied = applied.map(|spec| {
            let spec = Content::of_spec(&spec).unwrap();
            let (digest, complete_for) = (digest(&spec).unwrap(), object.uid());
            let (change, approval_request) = (None, None);
            let at = in_hours(-APPLIED_HOURS_AGO);
            Applied { generation: 1, complete_for, digest, spec, change, approval_request, at, references }
        });
        Some(object)
    }
}

fn uid(kind: Kind, namespace: Option<&str>, name: &str) -> String {
    format!("{}.{}.{name}", kind.short(), namespace.unwrap_or_default())
}

/// So that an edit is one until somebody approves it.
fn everything_is_held() -> Approvals {
    use Operation::{CommunityUpdate, EnclaveDeletion, EnclaveUpdate, WorkloadDeletion, WorkloadUpdate};
    let rule = |operation| {
        let rule = json!({"operation": operation, "policy": RulePolicy::Required});
        serde_json::from_value::<ApprovalRule>(rule).unwrap()
    };
    let operations = [CommunityUpdate, EnclaveUpdate, EnclaveDeletion, WorkloadUpdate, WorkloadDeletion];
    Approvals { rules: operations.map(rule).into(), ..Approvals::default() }
}

fn keep_the_first<K: ResourceExt>(objects: &mut Vec<K>) {
    let mut seen = BTreeSet::new();
    objects.retain(|object| seen.insert((object.namespace(), object.name_any())));
}

/// A namespace goes to whoever is first.
fn add_owned<K: Gated>(objects: &mut Objects, name: &str, owner: &K, labels: &[(&str, &str)]) {
    let owner = owner.meta().uid.clone().unwrap();
    let labels: Vec<(&str, &str)> =
        labels.iter().copied().chain([(label::OWNER_UID, owner.as_str())]).collect();
    add_namespace(objects, name, &labels);
}

fn add_namespace(objects: &mut Objects, name: &str, labels: &[(&str, &str)]) {
    if objects.namespaces.iter().any(|taken| taken.metadata.name.as_deref() == Some(name)) {
        return;
    }
    let labels = labels.iter().copied().chain([(label::NAMESPACE_NAME, name)]);
    let labels: BTreeMap<&str, &str> = labels.collect();
    let namespace = json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "labels": labels}});
    objects.namespaces.push(serde_json::from_value::<Namespace>(namespace).unwrap());
}
