//! Which objects have to be looked at again when something is seen.
//!
//! Looking again costs no API call: a reconciliation reads caches, and writes only differences.
//! So when in doubt, more is triggered rather than less.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use tokio::sync::{Notify, watch};
use tracing::warn;

use super::caches::{Caches, is_served};
use super::queues::{Queues, send, send_where};
use super::sentry::Sentry;
use super::untold::{Address, Untold};
use crate::cluster::watch::Seen;
use super::{links, observe};
use crate::api::names::{annotation, child, label, purpose};
use crate::api::{
    ApprovalRequest, Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint,
    EnclaveWorkload, Kind, RoleActivation, RoleAssignment, RoleEligibility, TransitHub,
};
use crate::model::cloud_event::Told;
use crate::model::gated::Gated;
use crate::model::life::{Integrity, applied_spec};
use crate::model::naming::{CONNECTION_POLICY, parse_grant};
use crate::model::reach::{DestinationEnd, Link, SourceEnd, WorkloadEnd};
use crate::plan::child::Made;

macro_rules! look_at_all {
    ($($name:ident: $kind:ident,)*) => {
        impl Triggers {
            fn look_at_everything(&self) {
                self.access.notify_one();
                $(send_where(&self.queues.$name, &self.caches.$name, |_| true);)*
            }
        }
    };
}
with_controlled_kinds!(look_at_all);

/// What stands guard in the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Whether the admission policies are the built-in ones.
    pub integrity: Integrity,
    /// Their fingerprint.
    pub witness: String,
}

/// Turns what is seen into work.
#[derive(Clone)]
pub struct Triggers {
    pub caches: Caches,
    pub queues: Queues,
    /// Judges the admission policies.
    pub sentry: Arc<Sentry>,
    /// Tells that rights may have to be taken away.
    pub access: Arc<Notify>,
    /// What is still to be told.
    pub untold: Arc<Untold>,
    /// Whether the live ones are the same; `None` until all of them were looked at.
    pub guard: watch::Sender<Option<Guard>>,
}

impl Triggers {
    /// Its rules count for everything in it.
    pub(super) fn on_community(&self, seen: Seen<'_, Community>) {
        let Some(community) = self.told(seen) else { return };
        send(&self.queues.communities, ObjectRef::from_obj(community));
        self.look_at_requests_about(community);
        self.look_at_namespace(&observe::namespace_of(community));
        for enclave in self.caches.enclaves.state() {
            if declared_in(enclave.as_ref()) == observe::namespace_of(community) {
                self.look_at_namespace(&observe::control_namespace_of(community, &enclave));
            }
        }
    }

    /// Its rules count for everything in it, and for connections that lead into it.
    pub(super) fn on_enclave(&self, seen: Seen<'_, Enclave>) {
        let Some(enclave) = self.told(seen) else { return };
        send(&self.queues.enclaves, ObjectRef::from_obj(enclave));
        self.look_at_requests_about(enclave);
        let home = observe::home_of(&self.caches, declared_in(enclave));
        let Some(community) = home.community() else { return };
        send(&self.queues.communities, ObjectRef::from_obj(community.as_ref()));
        self.look_at_namespace(&observe::control_namespace_of(community, enclave));
        let name = enclave.name_any();
        self.look_at_connections(|connection| leads_into(connection, &name));
    }

    pub(super) fn on_community_endpoint(&self, seen: Seen<'_, CommunityEndpoint>) {
        let Some(endpoint) = self.told(seen) else { return };
        send(&self.queues.community_endpoints, ObjectRef::from_obj(endpoint));
        self.look_at_requests_about(endpoint);
        self.look_along(links::links_of_community_endpoint(&self.caches, endpoint));
        for hub in self.caches.transit_hubs.state_filter(|hub| is_in(hub, declared_in(endpoint))) {
            send(&self.queues.transit_hubs, ObjectRef::from_obj(hub.as_ref()));
        }
    }

    pub(super) fn on_transit_hub(&self, seen: Seen<'_, TransitHub>) {
        let Some(hub) = self.told(seen) else { return };
        send(&self.queues.transit_hubs, ObjectRef::from_obj(hub));
        self.look_at_requests_about(hub);
        self.look_along(links::links_of_hub(&self.caches, hub));
    }

    pub(super) fn on_workload(&self, seen: Seen<'_, EnclaveWorkload>) {
        let Some(workload) = self.told(seen) else { return };
        let control = declared_in(workload);
        self.look_at_requests_about(workload);
        // The others of the Enclave may be allowed to reach it.
        self.look_at_access();
        send(&self.queues.workloads, ObjectRef::from_obj(workload));
        send_where(&self.queues.workloads, &self.caches.workloads, |other| is_in(other, control));
        self.look_at_home_of_leaving(seen);
        self.look_along(links::links_of_workload(&self.caches, workload));
    }

    pub(super) fn on_endpoint(&self, seen: Seen<'_, EnclaveEndpoint>) {
        let Some(endpoint) = self.told(seen) else { return };
        let control = declared_in(endpoint);
        send(&self.queues.endpoints, ObjectRef::from_obj(endpoint));
        self.look_at_requests_about(endpoint);
        self.look_at_home_of_leaving(seen);
        // It may have offered another workload before.
        send_where(&self.queues.workloads, &self.caches.workloads, |workload| is_in(workload, control));
        self.look_along(links::links_of_endpoint(&self.caches, endpoint));
    }

    pub(super) fn on_connection(&self, seen: Seen<'_, EnclaveConnection>) {
        let Some(connection) = self.told(seen) else { return };
        self.look_at_requests_about(connection);
        self.look_at_home_of_leaving(seen);
        if matches!(seen, Seen::Deleted(_)) || connection.is_record() {
            // One of those that wait may have its place.
            self.look_at_connections(|other| {
                is_in(other, declared_in(connection))
                    && other.gate().is_none_or(|gate| gate.applied.is_none())
            });
        }
        self.look_along(vec![links::link_of(&self.caches, Arc::new(connection.clone()))]);
    }

    pub(super) fn on_request(&self, seen: Seen<'_, ApprovalRequest>) {
        let Some(request) = self.told(seen) else { return };
        send(&self.queues.requests, ObjectRef::from_obj(request));
        let target = &request.spec.target;
        self.look_at(&Address {
            kind: target.kind,
            namespace: target.namespace.clone().unwrap_or_default(),
            name: target.name.clone(),
        });
        // Those who decide in an Enclave reach the requests about the Enclave itself by their names.
        if target.kind == Kind::Enclave {
            self.look_at_access();
        }
    }

    pub(super) fn on_assignment(&self, seen: Seen<'_, RoleAssignment>) {
        let Some(assignment) = self.told(seen) else { return };
        self.look_at_requests_about(assignment);
        // One may be in conflict with another.
        self.look_at_access();
        send(&self.queues.assignments, ObjectRef::from_obj(assignment));
    }

    /// What is activated with it ends with it.
    pub(super) fn on_eligibility(&self, seen: Seen<'_, RoleEligibility>) {
        let Some(eligibility) = self.told(seen) else { return };
        self.look_at_requests_about(eligibility);
        self.look_at_access();
        send(&self.queues.eligibilities, ObjectRef::from_obj(eligibility));
    }

    pub(super) fn on_activation(&self, seen: Seen<'_, RoleActivation>) {
        let Some(activation) = self.told(seen) else { return };
        self.access.notify_one();
        self.look_at_requests_about(activation);
        send(&self.queues.activations, ObjectRef::from_obj(activation));
        let eligibility = ObjectRef::new(&activation.spec.eligibility).within(declared_in(activation));
        send(&self.queues.eligibilities, eligibility);
    }

    pub(super) fn on_role_binding(&self, seen: Seen<'_, RoleBinding>) {
        self.on_child(seen);
        self.on_access(seen);
    }

    /// Something that gives rights: what is made for a grant is named after what declares it.
    pub(super) fn on_access<K: Resource<DynamicType = ()>>(&self, seen: Seen<'_, K>) {
        let Some(object) = self.concerned(seen) else { return };
        let name = object.meta().name.as_deref().unwrap_or_default();
        let Some((kind, namespace, name)) = parse_grant(name) else {
            // It may be what somebody left behind.
            if let Some(maker) =
                object.meta().annotations.as_ref().and_then(|all| all.get(annotation::CREATED_BY))
            {
                send_where(&self.queues.activations, &self.caches.activations, |activation| {
                    activation.status.as_ref().and_then(|status| status.user.as_ref()) == Some(maker)
                });
            }
            return;
        };
        self.access.notify_one();
        match kind {
            Kind::RoleAssignment => {
                send(&self.queues.assignments, ObjectRef::new(name).within(namespace));
            }
            Kind::RoleEligibility => {
                send(&self.queues.eligibilities, ObjectRef::new(name).within(namespace));
            }
            _ => send(&self.queues.activations, ObjectRef::new(name).within(namespace)),
        }
    }

    /// Who has which role, everywhere.
    fn look_at_access(&self) {
        let Self { caches, queues, access, .. } = self;
        access.notify_one();
        send_where(&queues.assignments, &caches.assignments, |_| true);
        send_where(&queues.eligibilities, &caches.eligibilities, |_| true);
        send_where(&queues.activations, &caches.activations, |_| true);
    }

    /// It belongs to what its labels say; it may be in the way of something that wants its name; and
    /// endpoints may lead there.
    pub(super) fn on_namespace(&self, seen: Seen<'_, Namespace>) {
        let Some(namespace) = self.concerned(seen) else { return };
        let name = namespace.name_any();
        self.look_at_namespace(&name);
        self.look_at_owner(namespace);
        self.look_at_enclave_around(namespace);
        self.look_at_access();
        let caches = &self.caches;
        for community in caches.communities.state() {
            if observe::namespace_of(&community) == name {
                send(&self.queues.communities, ObjectRef::from_obj(community.as_ref()));
            }
        }
        send_where(&self.queues.enclaves, &caches.enclaves, |enclave| {
            let home = observe::home_of(caches, declared_in(enclave));
            home.community()
                .is_some_and(|community| observe::control_namespace_of(community, enclave) == name)
        });
        for workload in caches.workloads.state() {
            let control = declared_in(workload.as_ref());
            if name.strip_prefix(control).and_then(|rest| rest.strip_prefix('-'))
                == Some(&workload.name_any())
            {
                self.on_workload(Seen::Applied(&workload));
            }
        }
        for endpoint in caches.community_endpoints.state() {
            let applied = applied_spec(endpoint.as_ref()).ok().flatten().map(|spec| spec.destination);
            let services = [Some(&endpoint.spec.destination), applied.as_ref()].into_iter().flatten();
            if services.flat_map(|one| &one.service).any(|service| service.namespace == name) {
                self.on_community_endpoint(Seen::Applied(&endpoint));
            }
        }
        for hub in caches.transit_hubs.state() {
            let applied = applied_spec(hub.as_ref()).ok().flatten().and_then(|spec| spec.gateway);
            if [&hub.spec.gateway, &applied].into_iter().flatten().any(|pods| pods.namespace == name) {
                self.on_transit_hub(Seen::Applied(&hub));
            }
        }
    }

    pub(super) fn on_child<K: Resource<DynamicType = ()> + Made>(&self, seen: Seen<'_, K>) {
        let Some(object) = self.concerned(seen) else { return };
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        let Some(namespace) = self.caches.namespaces.get(&ObjectRef::new(namespace)) else { return };
        self.look_at_owner(&namespace);
        let name = object.meta().name.as_deref().unwrap_or_default();
        if !K::is_ours(name) {
            self.look_at_enclave_around(&namespace);
        }
        if name == child::DEFAULT_DENY {
            self.look_at_access();
        }
        // A policy of a connection is named after it.
        let mut parts = name.strip_prefix(CONNECTION_POLICY).into_iter().flat_map(|rest| rest.split('.'));
        if let (Some(declared_in), Some(connection)) = (parts.next(), parts.next()) {
            send(&self.queues.connections, ObjectRef::new(connection).within(declared_in));
        }
    }

    /// Whether Cilium's policies can be used.
    pub(super) fn on_definition(&self, seen: Seen<'_, CustomResourceDefinition>) {
        match seen {
            Seen::Applied(definition) => self.caches.note_definition(is_served(definition)),
            Seen::Deleted(_) => {
                self.caches.note_definition(false);
                self.look_at_everything();
            }
            Seen::Relisted => {
                for definition in self.caches.definitions.state() {
                    self.on_definition(Seen::Applied(&definition));
                }
            }
        }
    }

    /// Before the first comparison the caches fill one after the other, and a policy that is not
    /// there yet is not a policy that is missing.
    pub(super) fn on_policy<K>(&self, _: Seen<'_, K>) {
        if self.guard.borrow().is_some() {
            self.compare_policies();
        }
    }

    /// Compares the live admission policies with the built-in ones. Called once when all caches are
    /// filled, before the controllers start.
    pub fn compare_policies(&self) {
        // Four watches call this. What is read under the lock is never older than what is known.
        let changed = self.guard.send_if_modified(|known| {
            let now = self.sentry.judge(&self.caches.observe_policies());
            let changed = known.as_ref() != Some(&now);
            *known = Some(now);
            changed
        });
        if changed {
            if let Some(what) = self.guard.borrow().as_ref().and_then(|guard| guard.integrity.obstacle()) {
                warn!(what, "the admission policies are not intact: nothing new is enacted until they are");
            }
            self.look_at_everything();
        }
    }

    /// One object.
    pub fn look_at(&self, object: &Address) {
        let Address { kind, namespace, name } = object;
        macro_rules! send_to {
            ($($queue:ident: $kind:ident,)*) => {
                match kind {
                    $(Kind::$kind => {
                        let object = ObjectRef::new(name);
                        let object = if namespace.is_empty() { object } else { object.within(namespace) };
                        send(&self.queues.$queue, object);
                    })*
                }
            };
        }
        with_controlled_kinds!(send_to);
    }

    /// The object that was seen, one about which something may have to be told; after a relist
    /// everything is looked at.
    fn told<'a, K: Told + Resource<DynamicType = ()>>(&self, seen: Seen<'a, K>) -> Option<&'a K> {
        match seen {
            Seen::Applied(object) => self.untold.on_seen(object),
            Seen::Deleted(_) => {}
            Seen::Relisted => self.untold.look_again(),
        }
        self.concerned(seen)
    }

    /// The object that was seen; after a relist everything is looked at.
    fn concerned<'a, K>(&self, seen: Seen<'a, K>) -> Option<&'a K> {
        match seen {
            Seen::Applied(object) | Seen::Deleted(object) => Some(object),
            Seen::Relisted => {
                self.look_at_everything();
                None
            }
        }
    }

    /// What a namespace was made for.
    fn look_at_owner(&self, namespace: &Namespace) {
        let Some(uid) = namespace.labels().get(label::OWNER_UID) else { return };
        let labels = namespace.labels();
        match labels.get(label::PURPOSE).map(String::as_str) {
            Some(purpose::WORKLOAD) => send_where(&self.queues.workloads, &self.caches.workloads, is_it(uid)),
            Some(purpose::CONTROL) => send_where(&self.queues.enclaves, &self.caches.enclaves, is_it(uid)),
            _ => {
                if let Some(community) = labels.get(label::COMMUNITY) {
                    send(&self.queues.communities, ObjectRef::new(community));
                }
            }
        }
    }

    /// The Enclave that may have waited for an object to be gone.
    fn look_at_home_of_leaving<K: Resource<DynamicType = ()>>(&self, seen: Seen<'_, K>) {
        let (Seen::Deleted(object) | Seen::Applied(object)) = seen else { return };
        if matches!(seen, Seen::Applied(_)) && object.meta().deletion_timestamp.is_none() {
            return;
        }
        if let Some(namespace) = self.caches.namespaces.get(&ObjectRef::new(declared_in(object))) {
            self.look_at_owner(&namespace);
        }
    }

    /// Everything that is declared in a namespace.
    fn look_at_namespace(&self, namespace: &str) {
        let Self { caches, queues, .. } = self;
        send_where(&queues.enclaves, &caches.enclaves, |object| is_in(object, namespace));
        send_where(&queues.community_endpoints, &caches.community_endpoints, |object| {
            is_in(object, namespace)
        });
        send_where(&queues.transit_hubs, &caches.transit_hubs, |object| is_in(object, namespace));
        send_where(&queues.workloads, &caches.workloads, |object| is_in(object, namespace));
        send_where(&queues.endpoints, &caches.endpoints, |object| is_in(object, namespace));
        send_where(&queues.assignments, &caches.assignments, |object| is_in(object, namespace));
        send_where(&queues.eligibilities, &caches.eligibilities, |object| is_in(object, namespace));
        send_where(&queues.activations, &caches.activations, |object| is_in(object, namespace));
        self.look_at_connections(|connection| is_in(connection, namespace));
    }

    fn look_at_connections(&self, concerned: impl Fn(&EnclaveConnection) -> bool) {
        send_where(&self.queues.connections, &self.caches.connections, concerned);
    }

    /// Connections and both their ends.
    fn look_along(&self, links: Vec<Link>) {
        let workloads = |end: &WorkloadEnd| {
            if let Some(workload) = &end.workload {
                send(&self.queues.workloads, ObjectRef::from_obj(workload.as_ref()));
            }
        };
        for link in links {
            send(&self.queues.connections, ObjectRef::from_obj(link.connection.as_ref()));
            match &link.source {
                SourceEnd::Workloads(ends) => ends.iter().for_each(workloads),
                SourceEnd::TransitHub { hub, .. } => self.look_at_hub(hub.as_deref()),
            }
            match &link.destination {
                DestinationEnd::Enclave { endpoint, workload, .. } => {
                    if let Some(endpoint) = endpoint {
                        send(&self.queues.endpoints, ObjectRef::from_obj(endpoint.as_ref()));
                    }
                    workload.iter().for_each(workloads);
                }
                DestinationEnd::Community { endpoint, hub, .. } => {
                    if let Some(endpoint) = endpoint {
                        send(&self.queues.community_endpoints, ObjectRef::from_obj(endpoint.as_ref()));
                    }
                    self.look_at_hub(hub.as_deref());
                }
            }
        }
    }

    fn look_at_hub(&self, hub: Option<&TransitHub>) {
        if let Some(hub) = hub {
            send(&self.queues.transit_hubs, ObjectRef::from_obj(hub));
        }
    }

    fn look_at_requests_about<K: Resource>(&self, target: &K) {
        let Some(uid) = target.meta().uid.as_ref() else { return };
        send_where(&self.queues.requests, &self.caches.requests, |request| request.spec.target.uid == *uid);
    }
}

fn is_in<K: Resource>(object: &K, namespace: &str) -> bool {
    declared_in(object) == namespace
}

fn declared_in<K: Resource>(object: &K) -> &str {
    object.meta().namespace.as_deref().unwrap_or_default()
}

fn is_it<K: Resource>(uid: &str) -> impl Fn(&K) -> bool {
    move |object| object.meta().uid.as_deref() == Some(uid)
}

fn leads_into(connection: &EnclaveConnection, enclave: &str) -> bool {
    let destination = connection.spec.destination.enclave_endpoint.as_ref();
    destination.is_some_and(|destination| destination.enclave == enclave)
}
