//! The API server. It keeps objects, refuses what is outdated, and tells the operator what changes.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use enclave_operator::admission::{Installation, build_policies};
use enclave_operator::api::gate::Applied;
use enclave_operator::api::names::label;
use enclave_operator::api::{
    ApprovalRequest, Community, CommunityEndpoint, Content, Enclave, EnclaveConnection, EnclaveEndpoint,
    EnclaveWorkload, Kind, RoleActivation, RoleAssignment, RoleEligibility, Time, TransitHub,
};
use enclave_operator::cluster::clock::Clock;
use enclave_operator::cluster::watch::WatchEvent;
use enclave_operator::kinds::changes::Watches;
use enclave_operator::kinds::enqueue::{Enqueued, Enqueuer};
use enclave_operator::kinds::policy_verifier::PolicyVerifier;
use enclave_operator::model::approval::gated::Gated;
use enclave_operator::model::digest::digest;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch::Sender;

use super::policies::AdmissionPolicies;

/// The operator's own namespace.
pub const SYSTEM: &str = "enclave-system";

/// Namespace, empty for what is in none, and name.
pub type Key = (String, String);

/// The object is not what was observed any more.
#[derive(Debug)]
pub struct Outdated;

/// A kind that is kept.
pub trait Stored: Enqueued + Clone + Serialize + DeserializeOwned {
    fn shelf(server: &Server) -> &BTreeMap<Key, Self>;
    fn shelf_mut(server: &mut Server) -> &mut BTreeMap<Key, Self>;
}

/// What judges the admission policies, of which there are none here.
static SENTRY: LazyLock<Arc<PolicyVerifier>> = LazyLock::new(|| {
    let policies = build_policies(&Installation::default()).unwrap();
    Arc::new(PolicyVerifier::new(policies, Clock::new(Timestamp::UNIX_EPOCH)))
});

/// An operator that has listed everything, found nothing yet, and does not lead yet.
fn empty() -> Enqueuer {
    let enqueuer = Enqueuer::new(SYSTEM, Arc::clone(&SENTRY), Vec::new(), Sender::new(None));
    for seen in [WatchEvent::ListBegins, WatchEvent::ListEnds] {
        enqueuer.take_in::<ApprovalRequest>(seen);
    }
    enqueuer
}

macro_rules! shelves {
    ($($name:ident: $kind:ident,)*) => {
        pub struct Server {
            /// The API server's time.
            pub now: Timestamp,
            pub policies: AdmissionPolicies,
            /// Of the last write, and of the last object.
            number: u32,
            $(pub $name: BTreeMap<Key, $kind>,)*
            /// The operator: what it knows, and what it has to look at.
            pub enqueuer: Enqueuer,
            /// The events that it has not seen yet, of kinds whose watch is behind.
            unseen: BTreeMap<String, Vec<Box<dyn FnOnce(&Enqueuer)>>>,
        }

        impl Server {
            pub fn new(now: Timestamp) -> Self {
                let (policies, unseen) = (AdmissionPolicies::intact(), BTreeMap::new());
                let server =
                    Self { now, policies, number: 10_000, $($name: BTreeMap::new(),)* enqueuer: empty(), unseen };
                server.enqueuer.queues.open();
                server
            }

            /// Another operator process: its caches are filled anew, and then it leads.
            pub fn relist(&mut self) {
                self.enqueuer = empty();
                self.unseen.values_mut().for_each(Vec::clear);
                $(for object in self.$name.values() {
                    self.enqueuer.take_in(WatchEvent::<$kind>::Applied(object.clone()));
                })*
                self.enqueuer.queues.open();
                RoleAssignment::enqueue_all_revocations(&self.enqueuer);
            }
        }

        $(impl Stored for $kind {
            fn shelf(server: &Server) -> &BTreeMap<Key, Self> {
                &server.$name
            }
            fn shelf_mut(server: &mut Server) -> &mut BTreeMap<Key, Self> {
                &mut server.$name
            }
        })*
    };
}
shelves! {
    communities: Community,
    enclaves: Enclave,
    workloads: EnclaveWorkload,
    endpoints: EnclaveEndpoint,
    connections: EnclaveConnection,
    community_endpoints: CommunityEndpoint,
    transit_hubs: TransitHub,
    requests: ApprovalRequest,
    assignments: RoleAssignment,
    eligibilities: RoleEligibility,
    activations: RoleActivation,
    namespaces: Namespace,
    network_policies: NetworkPolicy,
    quotas: ResourceQuota,
    limit_ranges: LimitRange,
    role_bindings: RoleBinding,
    roles: Role,
    cluster_roles: ClusterRole,
    cluster_role_bindings: ClusterRoleBinding,
}

pub fn key_of<K: Resource<DynamicType = ()>>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

impl Server {
    pub fn get<K: Stored>(&self, key: &Key) -> Option<&K> {
        K::shelf(self).get(key)
    }

    /// Stores a version of an object. As in JSON, its times lose what is less than a second.
    pub fn put<K: Stored>(&mut self, mut object: K) {
        self.number += 1;
        object.meta_mut().resource_version = Some(self.number.to_string());
        if self.now.subsec_nanosecond() != 0 {
            object = serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap();
        }
        self.tell(WatchEvent::Applied(object.clone()));
        K::shelf_mut(self).insert(key_of(&object), object);
    }

    /// What is in a namespace that is not there, or is being deleted, cannot be made.
    pub fn create<K: Stored>(&mut self, mut object: K) -> Result<(), Outdated> {
        let key = key_of(&object);
        if self.get::<K>(&key).is_some() || object.meta().namespace.is_some() && !self.is_open(&key.0) {
            return Err(Outdated);
        }
        self.number += 1;
        let meta = object.meta_mut();
        // Five digits that no other has: requests are named after them.
        meta.uid = Some(format!("{}-{}", self.number, key.1));
        meta.generation = Some(1);
        meta.creation_timestamp = Some(Time(self.now).into());
        self.put(object);
        Ok(())
    }

    fn is_open(&self, namespace: &str) -> bool {
        let namespace = self.namespaces.get(&(String::new(), namespace.to_owned()));
        namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none())
    }

    /// The object that is meant, if it is still that very version of it.
    pub fn confirm<K: Stored>(&self, meant: &K) -> Result<K, Outdated> {
        let live: &K = self.get(&key_of(meant)).ok_or(Outdated)?;
        let same = (live.uid(), live.resource_version()) == (meant.uid(), meant.resource_version());
        if same { Ok(live.clone()) } else { Err(Outdated) }
    }

    pub fn replace<K: Stored>(&mut self, object: K) -> Result<(), Outdated> {
        self.confirm(&object)?;
        self.put(object);
        Ok(())
    }

    /// Deletes the object with that UID.
    pub fn delete<K: Stored>(&mut self, meant: &K) -> Result<(), Outdated> {
        let key = key_of(meant);
        let live: &K = self.get(&key).filter(|live: &&K| live.uid() == meant.uid()).ok_or(Outdated)?;
        if live.finalizers().is_empty() {
            self.remove::<K>(&key);
        } else if live.meta().deletion_timestamp.is_none() {
            let mut leaving = live.clone();
            leaving.meta_mut().deletion_timestamp = Some(Time(self.now).into());
            self.put(leaving);
        }
        Ok(())
    }

    pub fn remove<K: Stored>(&mut self, key: &Key) {
        if let Some(object) = K::shelf_mut(self).remove(key) {
            self.tell(WatchEvent::Deleted(object));
        }
    }

    fn tell<K: Stored>(&mut self, event: WatchEvent<K>) {
        match self.unseen.get_mut(K::kind(&()).as_ref()) {
            Some(unseen) => unseen.push(Box::new(move |enqueuer| enqueuer.take_in(event))),
            None => self.enqueuer.take_in(event),
        }
    }

    /// Lets the watch of a kind fall behind: the operator learns of a change only by [`Server::catch_up`].
    pub fn fall_behind<K: Stored>(&mut self) {
        self.unseen.entry(K::kind(&()).into_owned()).or_default();
    }

    /// The operator sees what changed so far.
    pub fn catch_up(&mut self) {
        for event in self.unseen.values_mut().flat_map(std::mem::take) {
            event(&self.enqueuer);
        }
    }

    /// Makes a namespace, with the label that each has.
    pub fn create_namespace(&mut self, mut namespace: Namespace) -> Result<(), Outdated> {
        let name = namespace.name_any();
        namespace.labels_mut().insert(label::NAMESPACE_NAME.into(), name);
        self.create(namespace)
    }

    /// Takes a namespace away with what the operator makes in one.
    pub fn remove_namespace(&mut self, name: &str) {
        self.remove::<Namespace>(&(String::new(), name.to_owned()));
        self.remove_all_in::<RoleBinding>(name);
        self.remove_all_in::<Role>(name);
        self.remove_all_in::<NetworkPolicy>(name);
        self.remove_all_in::<ResourceQuota>(name);
        self.remove_all_in::<LimitRange>(name);
    }

    /// Puts a spec into force, whatever the object says that it wants.
    pub fn put_into_force<K: Stored + Gated>(&mut self, mut object: K, spec: &K::Spec, at: Timestamp) {
        let spec = Content::of_spec(spec).unwrap();
        object.gate_mut().applied = Some(Applied {
            generation: 1,
            complete_for: object.uid(),
            digest: digest(&spec).unwrap(),
            spec,
            change: None,
            approval_request: None,
            at: Time(at),
            references: Vec::new(),
        });
        self.put(object);
    }

    /// The metadata of an object of ours, and what is applied of it.
    pub(super) fn look_up(&self, kind: Kind, key: &Key) -> Option<(&ObjectMeta, Option<&Applied>)> {
        fn gated<'a, K: Gated>(
            shelf: &'a BTreeMap<Key, K>,
            key: &Key,
        ) -> Option<(&'a ObjectMeta, Option<&'a Applied>)> {
            let object = shelf.get(key)?;
            Some((object.meta(), object.gate().and_then(|gate| gate.applied.as_ref())))
        }
        match kind {
            Kind::Community => gated(&self.communities, key),
            Kind::CommunityEndpoint => gated(&self.community_endpoints, key),
            Kind::TransitHub => gated(&self.transit_hubs, key),
            Kind::Enclave => gated(&self.enclaves, key),
            Kind::EnclaveWorkload => gated(&self.workloads, key),
            Kind::EnclaveEndpoint => gated(&self.endpoints, key),
            Kind::EnclaveConnection => gated(&self.connections, key),
            Kind::RoleAssignment => gated(&self.assignments, key),
            Kind::RoleEligibility => gated(&self.eligibilities, key),
            Kind::RoleActivation => self.activations.get(key).map(|one| (&one.metadata, None)),
            Kind::ApprovalRequest => self.requests.get(key).map(|one| (&one.metadata, None)),
        }
    }

    fn remove_all_in<K: Stored>(&mut self, namespace: &str) {
        let keys: Vec<Key> = K::shelf(self).keys().filter(|key| key.0 == namespace).cloned().collect();
        for key in keys {
            self.remove::<K>(&key);
        }
    }
}
