//! Turns what concerns an object into an entry of its workqueue.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Resource;
use tokio::sync::watch;

use super::caches::{Cached, Caches};
use super::foreign::Relevant;
use super::outbox::{Address, Outbox};
use super::policy_verifier::PolicyVerifier;
use super::queues::Queues;
use crate::kinds::approval_request::index::RequestBy;
use crate::model::approval::policy_status::PolicyStatus;

use crate::api::Kind;
use crate::cluster::cache::{Change, Key};
use crate::cluster::workqueue::{Priority, Workqueue};
use crate::model::approval::applied::applied_spec;
use crate::model::approval::gated::Gated;
use crate::model::naming;

/// A kind whose changes enqueue something.
pub trait Enqueued: Cached + Relevant {
    /// Enqueues what a change concerns.
    fn enqueue(enqueuer: &Enqueuer, change: &Change<Self>)
    where
        Self: Sized;
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
    /// Objects that wait for all requests to be known.
    pub waiting: Arc<Mutex<HashSet<(Kind, Key)>>>,
    /// The verifier of the admission policies.
    pub verifier: Arc<PolicyVerifier>,
    /// The records that are still to be delivered.
    pub outbox: Arc<Outbox>,
    /// The status of the live admission policies; `None` until they were compared for the first time.
    pub policy_status: watch::Sender<Option<PolicyStatus>>,
}

impl Enqueuer {
    /// Makes an enqueuer that knows nothing yet and has enqueued nothing. `system` is the operator's own namespace,
    /// `sinks` are those that records are delivered to, and `policy_status` gets the [`PolicyStatus`].
    #[must_use]
    pub fn new(
        system: &str,
        verifier: Arc<PolicyVerifier>,
        sinks: Vec<&'static str>,
        policy_status: watch::Sender<Option<PolicyStatus>>,
    ) -> Self {
        Self {
            caches: Caches::detached(system),
            queues: Arc::default(),
            unlisted: Workqueue::default(),
            gone: Arc::default(),
            waiting: Arc::default(),
            verifier,
            outbox: Arc::new(Outbox::new(sinks)),
            policy_status,
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
}

impl Enqueuer {
    /// Enqueues a gated object and the requests about it that a change concerns.
    pub fn enqueue_gated<K: Gated>(&self, change: &Change<K>) {
        if let Some(object) = &change.after {
            self.enqueue_object(K::KIND, object.as_ref(), priority_of(change));
        }
        self.enqueue_requests_about(change);
    }

    /// Enqueues the requests about an object that was edited again, edited back, put into force or deleted. A decided
    /// request says what becomes of a generation until there is another one.
    fn enqueue_requests_about<K: Gated>(&self, change: &Change<K>) {
        let Some(object) = change.latest().filter(|_| concerns_others(change)) else { return };
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        if change.after.is_none() {
            let all = self.caches.requests.by(RequestBy::Target, uid);
            self.enqueue_objects(Kind::ApprovalRequest, &all, Priority::Normal);
            return;
        }
        self.enqueue_live_requests(uid);
        let namespace = object.request_namespace();
        let name = object.meta().name.as_deref().unwrap_or_default();
        for generation in change.versions().filter_map(|object| object.meta().generation) {
            let request = naming::approval_request(K::KIND, name, uid, generation);
            self.queues.add(Kind::ApprovalRequest, &namespace, &request, Priority::Normal);
        }
    }

    /// Enqueues the requests about an object that are undecided, or approved and not enacted yet.
    pub(super) fn enqueue_live_requests(&self, uid: &str) {
        let live = self.caches.requests.by(RequestBy::LiveTarget, uid);
        self.enqueue_objects(Kind::ApprovalRequest, &live, Priority::Normal);
    }
}

/// Whether a change of a gated object concerns others. They read what is applied, what is wanted (it may close at
/// once), whether the object goes, and, as long as nothing is applied, its state.
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

/// The priority with which a gated object and what it opens are enqueued after a change: closing must not wait
/// behind anything.
pub(super) fn priority_of<K: Gated>(change: &Change<K>) -> Priority {
    let Some(after) = change.after.as_deref() else { return Priority::Closing };
    let closes = after.meta().deletion_timestamp.is_some()
        || match applied_spec(after) {
            Ok(applied) => applied.is_some_and(|applied| K::restrict(&applied, after.spec()) != applied),
            // The applied content cannot be read. The wanted one may close something.
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
        let verifier = Arc::new(PolicyVerifier::new(policies, clock));
        Self::new("enclave-system", verifier, Vec::new(), watch::Sender::new(None))
    }
}
