//! Which objects have to be looked at again when something is seen.
//!
//! Looking again costs no API call: a reconciliation reads caches, and writes only differences.
//! So when in doubt, more is triggered rather than less.

use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::reflector::{Lookup, ObjectRef, Store};
use kube::{Resource, ResourceExt};
use tokio::sync::watch;
use tracing::warn;

use super::caches::Caches;
use super::observe;
use super::watch::Seen;
use crate::admission::Policies;
use crate::api::names::label;
use crate::api::{ApprovalRequest, Community, Enclave, Kind};
use crate::model::life::Integrity;

/// One queue per controller.
#[derive(Clone)]
pub struct Queues {
    pub communities: UnboundedSender<ObjectRef<Community>>,
    pub enclaves: UnboundedSender<ObjectRef<Enclave>>,
    pub requests: UnboundedSender<ObjectRef<ApprovalRequest>>,
}

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
    /// The policies that the operator was built with.
    pub built_in: Arc<Policies>,
    /// Whether the live ones are the same; `None` until all of them were looked at.
    pub guard: watch::Sender<Option<Guard>>,
}

impl Triggers {
    pub(super) fn on_community(&self, seen: Seen<'_, Community>) {
        match seen {
            Seen::Applied(community) | Seen::Deleted(community) => {
                send(&self.queues.communities, ObjectRef::from_obj(community));
                let namespace = observe::namespace_of(community);
                self.look_at_enclaves(|enclave| enclave.meta().namespace.as_ref() == Some(&namespace));
                self.look_at_requests_about(community);
            }
            Seen::Relisted => self.look_at_everything(),
        }
    }

    pub(super) fn on_enclave(&self, seen: Seen<'_, Enclave>) {
        match seen {
            Seen::Applied(enclave) | Seen::Deleted(enclave) => {
                send(&self.queues.enclaves, ObjectRef::from_obj(enclave));
                if let Some(community) = observe::community_around(&self.caches, enclave) {
                    send(&self.queues.communities, ObjectRef::from_obj(community.as_ref()));
                }
                self.look_at_requests_about(enclave);
            }
            Seen::Relisted => self.look_at_everything(),
        }
    }

    pub(super) fn on_request(&self, seen: Seen<'_, ApprovalRequest>) {
        match seen {
            Seen::Applied(request) | Seen::Deleted(request) => {
                send(&self.queues.requests, ObjectRef::from_obj(request));
                let target = &request.spec.target;
                match (target.kind, &target.namespace) {
                    (Kind::Community, _) => {
                        send(&self.queues.communities, ObjectRef::new(&target.name));
                    }
                    (Kind::Enclave, Some(namespace)) => {
                        send(&self.queues.enclaves, ObjectRef::new(&target.name).within(namespace));
                    }
                    _ => {}
                }
            }
            Seen::Relisted => self.look_at_everything(),
        }
    }

    pub(super) fn on_namespace(&self, seen: Seen<'_, Namespace>) {
        match seen {
            Seen::Applied(namespace) | Seen::Deleted(namespace) => self.look_at_owner(namespace),
            Seen::Relisted => self.look_at_everything(),
        }
    }

    pub(super) fn on_child<K: Resource<DynamicType = ()>>(&self, seen: Seen<'_, K>) {
        match seen {
            Seen::Applied(child) | Seen::Deleted(child) => {
                let namespace = child.meta().namespace.as_deref().unwrap_or_default();
                if let Some(namespace) = self.caches.namespaces.get(&ObjectRef::new(namespace)) {
                    self.look_at_owner(&namespace);
                }
            }
            Seen::Relisted => self.look_at_everything(),
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
            let live = self.caches.observe_policies();
            let now =
                Guard { integrity: self.built_in.compare_with_live(&live), witness: live.fingerprint() };
            let changed = known.as_ref() != Some(&now);
            *known = Some(now);
            changed
        });
        if changed {
            if let Some(Guard { integrity: Integrity::Broken(what), .. }) = self.guard.borrow().as_ref() {
                warn!(what, "the admission policies are not intact: nothing new is enacted until they are");
            }
            self.look_at_everything();
        }
    }

    /// A namespace with our labels belongs to what they say; any other may be in the way of
    /// something that wants its name.
    fn look_at_owner(&self, namespace: &Namespace) {
        let labels = namespace.labels();
        match (labels.get(label::COMMUNITY), labels.get(label::ENCLAVE)) {
            (Some(community), None) => send(&self.queues.communities, ObjectRef::new(community)),
            (Some(_), Some(enclave)) => self.look_at_enclaves(|candidate| candidate.name_any() == *enclave),
            (None, _) => {}
        }
        let name = namespace.name_any();
        for community in self.caches.communities.state() {
            if observe::namespace_of(&community) == name {
                send(&self.queues.communities, ObjectRef::from_obj(community.as_ref()));
                self.look_at_enclaves(|enclave| enclave.meta().namespace.as_ref() == Some(&name));
            }
        }
        self.look_at_enclaves(|enclave| {
            observe::community_around(&self.caches, enclave)
                .is_some_and(|community| observe::control_namespace_of(&community, enclave) == name)
        });
    }

    fn look_at_enclaves(&self, concerned: impl Fn(&Enclave) -> bool) {
        send_where(&self.queues.enclaves, &self.caches.enclaves, concerned);
    }

    fn look_at_requests_about<K: Resource>(&self, target: &K) {
        let Some(uid) = target.meta().uid.as_ref() else { return };
        send_where(&self.queues.requests, &self.caches.requests, |request| request.spec.target.uid == *uid);
    }

    fn look_at_everything(&self) {
        send_where(&self.queues.communities, &self.caches.communities, |_| true);
        send_where(&self.queues.enclaves, &self.caches.enclaves, |_| true);
        send_where(&self.queues.requests, &self.caches.requests, |_| true);
    }
}

fn send_where<K>(queue: &UnboundedSender<ObjectRef<K>>, store: &Store<K>, concerned: impl Fn(&K) -> bool)
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone,
{
    for object in store.state().into_iter().filter(|object| concerned(object)) {
        send(queue, ObjectRef::from_obj(object.as_ref()));
    }
}

/// The receiver is gone only at shutdown.
fn send<K: Lookup>(queue: &UnboundedSender<ObjectRef<K>>, object: ObjectRef<K>) {
    let _ = queue.unbounded_send(object);
}
