//! What the objects of a cluster let through, by the rules as they are documented.

use std::collections::{BTreeMap, BTreeSet};

use enclave_operator::api::common::{IpBlock, LabelSelector, NamespacedPods, Port};
use enclave_operator::api::community::Dns;
use enclave_operator::api::enclave::WorkloadCommunication;
use enclave_operator::api::names::label;
use enclave_operator::api::{
    Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint, TransitHub,
};
use enclave_operator::model::approval::gated::Gated;
use jiff::Timestamp;
use kube::ResourceExt;

use super::objects::Objects;

/// What is open, and where.
#[derive(Debug)]
pub struct Books {
    /// The namespaces that belong to the operator: nothing passes in and out of them but this.
    pub managed: BTreeSet<String>,
    /// Those of them in which workloads run.
    pub rooms: BTreeMap<String, Room>,
    /// What connections open.
    pub openings: Vec<Opening>,
}

/// The namespace of a workload.
#[derive(Debug)]
pub struct Room {
    /// Where its Pods may go, and be reached from, without a connection.
    pub together: BTreeSet<String>,
    /// Where they resolve names.
    pub dns: Dns,
}

/// What one connection lets through: from each of these to each of those.
#[derive(Debug, PartialEq)]
pub struct Opening {
    /// Namespace and name.
    pub connection: String,
    pub from: Vec<Side>,
    pub to: Vec<Side>,
    pub ports: Vec<Port>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Side {
    Pods { namespace: String, selector: LabelSelector },
    Block(IpBlock),
}

/// Where an object is declared.
#[derive(Clone, Copy)]
enum Place<'a> {
    Community(&'a Community),
    Enclave(&'a Community, &'a Enclave),
}

impl Books {
    pub fn of(objects: &Objects, now: Timestamp) -> Self {
        let view = View { objects, now };
        let owned = objects.namespaces.iter().filter(|namespace| owner(namespace).is_some());
        Self {
            managed: owned.map(ResourceExt::name_any).collect(),
            rooms: view.rooms(),
            openings: objects.connections.iter().filter_map(|connection| view.opening(connection)).collect(),
        }
    }
}

struct View<'a> {
    objects: &'a Objects,
    now: Timestamp,
}

impl<'a> View<'a> {
    fn rooms(&self) -> BTreeMap<String, Room> {
        let mut rooms = BTreeMap::new();
        for enclave in &self.objects.enclaves {
            let Some(Place::Community(community)) = self.place(&namespace_of(enclave)) else { continue };
            let has_control = self.enclave(community, &enclave.name_any()).is_some();
            let Some(spec) = applied(enclave).filter(|_| has_control) else { continue };
            let mine = self.objects.workloads.iter().filter_map(|workload| {
                let room = self.room(community, enclave, &workload.name_any())?;
                (namespace_of(workload) == control(community, enclave)).then_some(room)
            });
            let mine: BTreeSet<String> = mine.collect();
            for room in &mine {
                let together = match spec.network.workload_communication {
                    WorkloadCommunication::Isolated => [room.clone()].into(),
                    WorkloadCommunication::Allowed => mine.clone(),
                };
                let dns = applied(community).expect("it has a namespace").dns;
                let room_of = Room { together, dns };
                assert!(rooms.insert(room.clone(), room_of).is_none(), "{room} is of two workloads");
            }
        }
        rooms
    }

    fn opening(&self, connection: &EnclaveConnection) -> Option<Opening> {
        let spec = applied(connection)?;
        let leaving = connection.metadata.deletion_timestamp.is_some();
        let recorded = connection.status.as_ref().and_then(|status| status.expires_at.clone());
        let ends = [recorded, spec.expires_at.clone(), connection.spec.expires_at.clone()];
        let over = ends.into_iter().flatten().any(|end| end.0 <= self.now);
        if leaving || over || !spec.enabled || !connection.spec.enabled {
            return None;
        }
        let place = self.place(&namespace_of(connection))?;
        let (to, ports) = if let Some(reference) = &spec.destination.enclave_endpoint {
            let community = place.community();
            let enclave = self.enclave(community, &reference.enclave)?;
            let endpoint: &EnclaveEndpoint =
                find(&self.objects.endpoints, &control(community, enclave), &reference.name)?;
            is_meant(connection, endpoint).then_some(())?;
            let spec = in_force(endpoint)?;
            let namespace = self.room_in_force(community, enclave, &spec.workload)?;
            (vec![Side::Pods { namespace, selector: spec.pod_selector }], spec.ports)
        } else {
            let reference = spec.destination.community_endpoint.as_ref()?;
            let namespace = home(place.community());
            let endpoint: &CommunityEndpoint =
                find(&self.objects.community_endpoints, &namespace, &reference.name)?;
            is_meant(connection, endpoint).then_some(())?;
            let spec = in_force(endpoint)?;
            let to = if let Some(pods) = &spec.destination.service {
                vec![self.unmanaged(pods)?]
            } else if let Some(hub) = &spec.destination.transit_hub {
                self.hub(connection, &namespace, &hub.name)?
            } else {
                spec.destination.cidrs.into_iter().map(Side::Block).collect()
            };
            (to, spec.ports)
        };
        let from: Vec<Side> = match (&spec.source.transit_hub, place) {
            (Some(hub), Place::Community(community)) => self.hub(connection, &home(community), &hub.name)?,
            (None, Place::Enclave(community, enclave)) => spec
                .source
                .workloads
                .iter()
                .filter_map(|name| self.room_in_force(community, enclave, name))
                .map(|namespace| Side::Pods { namespace, selector: LabelSelector::default() })
                .collect(),
            _ => return None,
        };
        let is_open = !from.is_empty() && !to.is_empty();
        let connection = format!("{}/{}", namespace_of(connection), connection.name_any());
        is_open.then_some(Opening { connection, from, to, ports })
    }

    /// What a hub leads to: blocks of addresses, and Pods that nobody's workload consists of.
    fn hub(&self, connection: &EnclaveConnection, namespace: &str, name: &str) -> Option<Vec<Side>> {
        let hub: &TransitHub = find(&self.objects.transit_hubs, namespace, name)?;
        is_meant(connection, hub).then_some(())?;
        let spec = in_force(hub)?;
        let gateway = match &spec.gateway {
            Some(pods) => Some(self.unmanaged(pods)?),
            None => None,
        };
        Some(spec.cidrs.into_iter().map(Side::Block).chain(gateway).collect())
    }

    /// Pods outside the enclaves. To those inside leads nothing but an EnclaveEndpoint.
    fn unmanaged(&self, pods: &NamespacedPods) -> Option<Side> {
        let NamespacedPods { namespace, pod_selector } = pods.clone();
        let taken = self.owner_of(&namespace).is_some();
        (!taken).then_some(Side::Pods { namespace, selector: pod_selector })
    }

    /// What a namespace is for; decided by whose UID is on it.
    fn place(&self, namespace: &str) -> Option<Place<'a>> {
        let owner = self.owner_of(namespace)?;
        let objects = self.objects;
        let of_community = |community: &&Community| {
            home(community) == namespace && community.uid().as_deref() == Some(owner)
        };
        if let Some(community) = objects.communities.iter().find(of_community) {
            return Some(Place::Community(community));
        }
        objects.communities.iter().find_map(|community| {
            let enclaves = objects.enclaves.iter().filter(|one| namespace_of(*one) == home(community));
            let owns =
                |one: &&Enclave| control(community, one) == namespace && one.uid().as_deref() == Some(owner);
            enclaves.into_iter().find(owns).map(|enclave| Place::Enclave(community, enclave))
        })
    }

    fn enclave(&self, community: &Community, name: &str) -> Option<&'a Enclave> {
        let enclave = find(&self.objects.enclaves, &home(community), name)?;
        let owner = self.owner_of(&control(community, enclave));
        (owner.is_some() && owner == enclave.metadata.uid.as_deref()).then_some(enclave)
    }

    /// The namespace of a workload, when it was made for this workload.
    fn room(&self, community: &Community, enclave: &Enclave, workload: &str) -> Option<String> {
        let control = control(community, enclave);
        let room = format!("{control}-{workload}");
        let workload = find(&self.objects.workloads, &control, workload)?;
        let owner = self.owner_of(&room);
        (owner.is_some() && owner == workload.metadata.uid.as_deref()).then_some(room)
    }

    fn room_in_force(&self, community: &Community, enclave: &Enclave, workload: &str) -> Option<String> {
        in_force(find(&self.objects.workloads, &control(community, enclave), workload)?)?;
        self.room(community, enclave, workload)
    }

    fn owner_of(&self, namespace: &str) -> Option<&'a str> {
        self.objects.namespaces.iter().find(|one| one.name_any() == namespace).and_then(owner)
    }
}

impl<'a> Place<'a> {
    const fn community(self) -> &'a Community {
        match self {
            Self::Community(community) | Self::Enclave(community, _) => community,
        }
    }
}

fn home(community: &Community) -> String {
    community.spec.namespace.clone().unwrap_or_else(|| community.name_any())
}

fn control(community: &Community, enclave: &Enclave) -> String {
    format!("{}-{}", community.name_any(), enclave.name_any())
}

fn owner(namespace: &k8s_openapi::api::core::v1::Namespace) -> Option<&str> {
    namespace.labels().get(label::OWNER_UID).map(String::as_str)
}

fn namespace_of<K: Gated>(object: &K) -> String {
    object.meta().namespace.clone().unwrap_or_default()
}

fn find<'a, K: Gated>(all: &'a [K], namespace: &str, name: &str) -> Option<&'a K> {
    all.iter().find(|one| one.name_any() == name && namespace_of(*one) == namespace)
}

fn applied<K: Gated>(object: &K) -> Option<K::Spec> {
    object.gate()?.applied.as_ref().map(|applied| applied.spec.to_spec().unwrap())
}

fn in_force<K: Gated>(object: &K) -> Option<K::Spec> {
    let stays = object.meta().deletion_timestamp.is_none();
    applied(object).filter(|spec| stays && !K::retires(spec))
}

/// Whether no other object had this name when the approval was given. A hub may have had another name
/// then: an endpoint may lead elsewhere by now, and who may change it has agreed to that.
fn is_meant<K: Gated>(connection: &EnclaveConnection, object: &K) -> bool {
    let applied = connection.gate().and_then(|gate| gate.applied.as_ref());
    let mut meant = applied.iter().flat_map(|applied| &applied.references);
    let (namespace, name) = (namespace_of(object), object.meta().name.clone().unwrap_or_default());
    meant
        .find(|one| one.kind == K::KIND && one.namespace == namespace && one.name == name)
        .is_none_or(|one| Some(&one.uid) == object.meta().uid.as_ref())
}
