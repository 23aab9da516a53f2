//! What is enqueued when something changes. Each kind says itself what wakes it (its `watches.rs`); here is
//! the table of changes, and what all share.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use tokio::sync::watch;
use tracing::warn;

use super::caches::{Caches, is_served};
use super::queues::Queues;
use super::sentry::Sentry;
use super::untold::{Address, Untold, channels_of};
use super::{approval_request, community, connection, enclave, endpoint, rbac, workload};
use crate::api::{
    ApprovalRequest, Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint,
    EnclaveWorkload, Kind, RoleActivation, RoleAssignment, RoleEligibility, TransitHub,
};
use crate::cluster::cache::{Change, Indexed, Key};
use crate::cluster::workqueue::{Priority, Workqueue};
use crate::model::approval::gated::Gated;
use crate::model::approval::life::{Integrity, applied_spec};
use crate::model::audit::cloud_event::Told;
use crate::model::naming;
use crate::plan::child::Made;

/// What stands guard in the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Whether the admission policies are the built-in ones.
    pub integrity: Integrity,
    /// Their fingerprint.
    pub witness: String,
}

/// Turns changes into work.
#[derive(Clone)]
pub struct Enqueuer {
    pub caches: Caches,
    pub queues: Arc<Queues>,
    /// Namespaces that became the operator's after they were seen: what is in them is not known yet.
    pub unlisted: Workqueue,
    /// Names of namespaces of others that went; see `kinds::foreign`.
    pub(super) gone: Arc<Mutex<HashSet<String>>>,
    /// What waits for all requests to be known.
    pub waiting: Arc<Mutex<HashSet<(Kind, Key)>>>,
    /// Judges the admission policies.
    pub sentry: Arc<Sentry>,
    /// What is still to be told.
    pub untold: Arc<Untold>,
    /// Whether the live ones are the same; `None` until all of them were looked at.
    pub guard: watch::Sender<Option<Guard>>,
}

macro_rules! enqueue_all {
    ($($name:ident: $kind:ident,)*) => {
        impl Enqueuer {
            /// Enqueues everything: when this process begins to lead, and when the admission policies changed.
            /// Requests that are settled wait until they are old.
            pub fn enqueue_everything(&self) {
                $(self.enqueue_objects(Kind::$kind, &self.caches.$name.unpacked(), Priority::Normal);)*
                rbac::watches::enqueue_all_revocations(self);
            }
        }
    };
}
with_controlled_kinds!(enqueue_all);

impl Enqueuer {
    /// Nothing is known yet and nothing is enqueued. `system` is the operator's own namespace, `sinks` are those that
    /// facts are told to; `guard` gets what stands guard.
    #[must_use]
    pub fn new(
        system: &str,
        sentry: Arc<Sentry>,
        sinks: Vec<&'static str>,
        guard: watch::Sender<Option<Guard>>,
    ) -> Self {
        Self {
            caches: Caches::detached(system),
            queues: Arc::default(),
            unlisted: Workqueue::default(),
            gone: Arc::default(),
            waiting: Arc::default(),
            sentry,
            untold: Arc::new(Untold::new(sinks)),
            guard,
        }
    }

    pub(super) fn on_community(&self, change: &Change<Community>) {
        if change.differs(channels_of) {
            self.untold.look_at_everything();
        }
        if self.on_own(change) {
            self.enqueue_gated(change);
            enclave::watches::on_community(self, change);
            workload::watches::on_community(self, change);
            endpoint::watches::on_community(self, change);
            connection::watches::on_community(self, change);
            rbac::watches::on_community(self, change);
        }
    }

    pub(super) fn on_enclave(&self, change: &Change<Enclave>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            community::watches::on_enclave(self, change);
            workload::watches::on_enclave(self, change);
            endpoint::watches::on_enclave(self, change);
            connection::watches::on_enclave(self, change);
            rbac::watches::on_enclave(self, change);
        }
    }

    pub(super) fn on_community_endpoint(&self, change: &Change<CommunityEndpoint>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            connection::watches::on_community_endpoint(self, change);
            endpoint::watches::on_community_endpoint(self, change);
        }
    }

    pub(super) fn on_transit_hub(&self, change: &Change<TransitHub>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            connection::watches::on_transit_hub(self, change);
        }
    }

    pub(super) fn on_workload(&self, change: &Change<EnclaveWorkload>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            enclave::watches::on_member(self, change);
            workload::watches::on_sibling(self, change);
            connection::watches::on_workload(self, change);
            rbac::watches::on_workload(self, change);
        }
    }

    pub(super) fn on_endpoint(&self, change: &Change<EnclaveEndpoint>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            enclave::watches::on_member(self, change);
            workload::watches::on_endpoint(self, change);
            connection::watches::on_endpoint(self, change);
        }
    }

    pub(super) fn on_connection(&self, change: &Change<EnclaveConnection>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            enclave::watches::on_member(self, change);
            workload::watches::on_connection(self, change);
            endpoint::watches::on_connection(self, change);
            connection::watches::on_sibling(self, change);
        }
    }

    pub(super) fn on_request(&self, change: &Change<ApprovalRequest>) {
        if self.on_own(change) {
            approval_request::watches::on_self(self, change);
            approval_request::watches::wake_target(self, change);
            rbac::watches::on_request(self, change);
        }
    }

    pub(super) fn on_assignment(&self, change: &Change<RoleAssignment>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            rbac::watches::on_assignment(self, change);
        }
    }

    pub(super) fn on_eligibility(&self, change: &Change<RoleEligibility>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            rbac::watches::on_eligibility(self, change);
        }
    }

    pub(super) fn on_activation(&self, change: &Change<RoleActivation>) {
        if self.on_own(change) {
            approval_request::watches::on_activation(self, change);
            rbac::watches::on_activation(self, change);
        }
    }

    pub(super) fn on_namespace(&self, change: &Change<Namespace>) {
        super::foreign::on_namespace(self, change);
        if self.queues.is_open() {
            community::watches::on_namespace(self, change);
            enclave::watches::on_namespace(self, change);
            workload::watches::on_namespace(self, change);
            connection::watches::on_namespace(self, change);
            rbac::watches::on_namespace(self, change);
        }
    }

    /// Something that the operator makes in its namespaces, or that others have there.
    pub(super) fn on_child<K: Indexed + Made>(&self, change: &Change<K>) {
        if self.queues.is_open()
            && let Some(object) = change.latest()
            && let Some(namespace) = self.caches.namespaces.get("", &object.namespace().unwrap_or_default())
        {
            community::watches::on_child(self, &namespace);
            enclave::watches::on_child(self, &namespace, object.as_ref());
            workload::watches::on_child(self, &namespace);
        }
    }

    pub(super) fn on_network_policy<K: Indexed + Made>(&self, change: &Change<K>) {
        self.on_child(change);
        if self.queues.is_open() {
            connection::watches::on_network_policy(self, change);
            rbac::watches::on_network_policy(self, change);
        }
    }

    /// Kubernetes writes into the status of a quota what is used, at every start of a Pod.
    pub(super) fn on_quota(&self, change: &Change<ResourceQuota>) {
        let view = |quota: &ResourceQuota| {
            let metadata =
                ObjectMeta { resource_version: None, managed_fields: None, ..quota.metadata.clone() };
            (metadata, quota.spec.clone())
        };
        if change.differs(view) {
            self.on_child(change);
        }
    }

    pub(super) fn on_role_binding(&self, change: &Change<RoleBinding>) {
        let name = change.latest().and_then(|binding| binding.metadata.name.as_deref());
        if name.is_some_and(naming::is_of_grant) {
            if self.queues.is_open() {
                workload::watches::on_grant(self, change);
            }
        } else {
            self.on_child(change);
        }
        self.on_rbac(change);
    }

    /// Something that gives rights, or that somebody made who had a role for a while.
    pub(super) fn on_rbac<K: Indexed>(&self, change: &Change<K>) {
        if self.queues.is_open() {
            rbac::watches::on_rbac(self, change);
        }
    }

    /// Whether Cilium's policies can be used.
    pub(super) fn on_definition(&self, change: &Change<CustomResourceDefinition>) {
        let is_there = change.after.as_deref().is_some_and(is_served);
        if self.caches.note_definition(is_there) && !is_there && self.queues.is_open() {
            self.enqueue_everything();
        }
    }

    /// Before the first comparison the caches fill one after the other, and a policy that is not there yet
    /// is not a policy that is missing.
    pub(super) fn on_policy<K>(&self, _: &Change<K>) {
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
            self.enqueue_everything();
        }
    }

    /// Enqueues an object when all requests are known, which may be so by now.
    pub fn enqueue_when_requests_are_known(&self, kind: Kind, key: &Key) {
        self.lock_waiting().insert((kind, key.clone()));
        if self.caches.requests.is_whole() {
            self.enqueue_what_waits();
        }
    }

    /// Enqueues what waits for all requests to be known.
    pub(super) fn enqueue_what_waits(&self) {
        let waiting = std::mem::take(&mut *self.lock_waiting());
        for (kind, Key { namespace, name }) in waiting {
            self.queues.add(kind, &namespace, &name, Priority::Normal);
        }
    }

    fn lock_waiting(&self) -> MutexGuard<'_, HashSet<(Kind, Key)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enqueues one object.
    pub fn enqueue(&self, Address { kind, namespace, name }: &Address) {
        self.queues.add(*kind, namespace, name, Priority::Normal);
    }

    /// Enqueues objects of a kind.
    pub(super) fn enqueue_objects<K: Resource>(&self, kind: Kind, objects: &[Arc<K>], priority: Priority) {
        for object in objects {
            self.enqueue_object(kind, object.as_ref(), priority);
        }
    }

    /// Enqueues an object of a kind.
    pub fn enqueue_object<K: Resource>(&self, kind: Kind, object: &K, priority: Priority) {
        let meta = object.meta();
        let name = meta.name.as_deref().unwrap_or_default();
        self.queues.add(kind, meta.namespace.as_deref().unwrap_or_default(), name, priority);
    }

    /// Notes what is to be told of an object of ours. Returns whether there is work to be enqueued.
    fn on_own<K: Told + Resource<DynamicType = ()>>(&self, change: &Change<K>) -> bool {
        self.untold.on_change(change);
        self.queues.is_open()
    }

    /// Enqueues a gated object and the requests about it that it concerns.
    fn enqueue_gated<K: Gated>(&self, change: &Change<K>) {
        if let Some(object) = &change.after {
            self.enqueue_object(K::KIND, object.as_ref(), priority_of(change));
        }
        approval_request::watches::on_target(self, change);
    }
}

/// Whether others have to look at a gated object anew. What they read of it is what is applied, what is
/// wanted (it may close at once), whether it goes, and, as long as nothing is applied, its state.
pub(super) fn concerns_others<K: Gated>(change: &Change<K>) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return true };
    let applied = |object: &K| object.gate().and_then(|gate| gate.applied.clone());
    let state = |object: &K| object.gate().filter(|gate| gate.applied.is_none()).and_then(|gate| gate.state);
    before.meta().uid != after.meta().uid
        || before.meta().deletion_timestamp.is_some() != after.meta().deletion_timestamp.is_some()
        || before.spec() != after.spec()
        || applied(before) != applied(after)
        || state(before) != state(after)
        || before.is_record() != after.is_record()
}

/// The priority of looking at a gated object after a change, and at what it opens: closing must not wait
/// behind anything.
pub(super) fn priority_of<K: Gated>(change: &Change<K>) -> Priority {
    let Some(after) = change.after.as_deref() else { return Priority::Closing };
    let closes = after.meta().deletion_timestamp.is_some()
        || match applied_spec(after) {
            Ok(applied) => applied.is_some_and(|applied| K::restrict(&applied, after.spec()) != applied),
            // What is wanted may close something.
            Err(_) => change.before.as_deref().is_some_and(|before| before.spec() != after.spec()),
        };
    if closes { Priority::Closing } else { Priority::Normal }
}

/// The name of everything that is made for the grant of an object.
pub(super) fn grant_of<K: Resource>(kind: Kind, object: &K) -> String {
    let meta = object.meta();
    let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
    naming::grant(kind, namespace.unwrap_or_default(), name.unwrap_or_default())
}

#[cfg(test)]
impl Enqueuer {
    /// One of this version's policies, without sinks, at the beginning of time.
    pub(crate) fn detached() -> Self {
        let policies = crate::admission::build_policies(&crate::admission::Installation::default()).unwrap();
        let clock = crate::cluster::clock::Clock::new(jiff::Timestamp::UNIX_EPOCH);
        let sentry = Arc::new(Sentry::new(policies, clock));
        Self::new("enclave-system", sentry, Vec::new(), watch::Sender::new(None))
    }
}
