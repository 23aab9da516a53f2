//! Audit records that not every sink has accepted yet. They stand on their objects, which do not go before; here is
//! what this process knows beyond that: who has taken which.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;

use super::caches::Caches;
use super::parent::parent_of;
use crate::api::audit::{Audit, AuditRecord, RecordType};
use crate::api::community::Channel;
use crate::api::kind::with_kinds;
use crate::api::{Community, Kind};
use crate::cluster::cache::{Change, Key};
use crate::model::approval::applied::applied_spec;
use crate::model::audit::cloud_event::{Audited, cloud_event};
use crate::model::notification::message::is_for_people;

/// The name of a sink, by which it is known on objects and in metrics.
pub type SinkName = &'static str;

/// The sink that a channel of a Community is.
#[must_use]
pub const fn sink_of(channel: Channel) -> SinkName {
    match channel {
        Channel::CloudEvents => "cloudevents",
        Channel::Slack => "slack",
        Channel::Email => "smtp",
    }
}

/// A record that is to be delivered.
#[derive(Clone, Debug)]
pub struct Event {
    /// UID of its object, and its number there.
    pub id: (String, i64),
    /// When it happened.
    pub at: Timestamp,
    /// As `at`, and never before an earlier record of the same object.
    order: Timestamp,
    /// The CloudEvent.
    pub event: Value,
    /// The sinks that are to take it.
    required: Vec<SinkName>,
    /// The object that is enqueued when it was delivered.
    pub object: Address,
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

/// The records that wait for delivery, and the sinks that have taken them.
pub struct Outbox {
    sinks: Vec<SinkName>,
    known: Mutex<OutboxState>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct OutboxState {
    /// Objects with records that may still have to be delivered to somebody.
    waiting: BTreeSet<(Kind, Key)>,
    /// Those of them that each sink has to look at. An object whose records it has taken is looked at once more when it
    /// changes. A sink that is not here has not looked yet.
    to_look_at: HashMap<SinkName, BTreeSet<(Kind, Key)>>,
    /// The sinks that have taken a record, beyond those that stand on its object.
    taken: HashMap<(String, i64), Taken>,
    /// Sinks that did not take what they were given last.
    failing: BTreeSet<SinkName>,
}

/// The result of [`Outbox::find`] for a sink.
#[derive(Default)]
struct Found {
    sink: SinkName,
    events: Vec<Event>,
    delivered: Vec<Address>,
}

impl Found {
    fn look_at<K: Audited + Resource<DynamicType = ()>>(
        &mut self,
        object: &K,
        known: &mut OutboxState,
        sinks: &[SinkName],
        channels: impl Fn(RecordType) -> Vec<Channel>,
        cluster: &str,
    ) {
        let mut order = Timestamp::MIN;
        for record in object.audit().map(|audit| audit.waiting.as_slice()).unwrap_or_default() {
            order = order.max(record.at.0);
            let id = (object.uid().unwrap_or_default(), record.number);
            let channels = channels(record.type_).into_iter().map(sink_of);
            let required: Vec<SinkName> = sinks.iter().copied().chain(channels).collect();
            let has = |sink: &SinkName| has_taken(known, &id, &record.taken_by, sink);
            if required.iter().all(has) {
                // The object says that those who are left have taken it, or fewer are to take it than before.
                let taken = known.taken.entry(id.clone()).or_default();
                if taken.required != required {
                    taken.required = required;
                    self.delivered.push(address(object));
                }
            } else if required.contains(&self.sink) && !has(&self.sink) {
                self.events.push(Event { order, required, ..event(object, record, cluster) });
            }
        }
    }
}

#[derive(Default)]
struct Taken {
    /// The sinks that are to take it.
    required: Vec<SinkName>,
    by: BTreeSet<SinkName>,
    /// When a sink took it last.
    at: Option<Instant>,
}

/// The time after which a delivered record is taken off its object, unless the status is written before for something
/// else: most of what happens makes another write within this time.
pub const PRUNE_AFTER: Duration = Duration::from_secs(3);

impl Outbox {
    /// Makes an outbox of records that are delivered to these sinks.
    #[must_use]
    pub fn new(sinks: Vec<SinkName>) -> Self {
        Self { sinks, known: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// Returns a receiver that changes when there may be something new to deliver.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Lets each sink look at all records that wait, because the recipients changed.
    pub fn requeue_all(&self) {
        self.lock().to_look_at.clear();
    }

    /// Notes the records of an object that changed.
    pub fn on_change<K: Audited + Resource<DynamicType = ()>>(&self, change: &Change<K>) {
        let Some(object) = change.latest() else { return };
        let key = (K::audited_kind(), Key::of(object.as_ref()));
        let audit = change.after.as_ref().and_then(|object| object.audit());
        let records = audit.map(|audit| audit.waiting.as_slice()).unwrap_or_default();
        let uid = object.uid().unwrap_or_default();
        let mut known = self.lock();
        // A record that stands on the object no more was delivered.
        let before = change.before.as_ref().and_then(|object| object.audit()).into_iter();
        for record in before.flat_map(|audit| &audit.waiting) {
            if records.iter().all(|other| other.number != record.number) {
                known.taken.remove(&(uid.clone(), record.number));
            }
        }
        // Changes may arrive here in another order than in the cache, so whether something waits is seen there.
        if records.is_empty() && !known.waiting.contains(&key) {
            return;
        }
        for keys in known.to_look_at.values_mut() {
            keys.insert(key.clone());
        }
        known.waiting.insert(key);
        drop(known);
        self.changed.send_replace(());
    }

    /// Finds the records that a sink has not taken yet, the oldest first and those of one object in their order. Returns
    /// them, and the objects of records that nobody is to take any more.
    #[must_use]
    pub fn find(&self, sink: SinkName, caches: &Caches) -> (Vec<Event>, Vec<Address>) {
        let mut found = Found { sink, ..Found::default() };
        let cluster = cluster(caches);
        let mut known = self.lock();
        let to_look_at = known.to_look_at.remove(sink).unwrap_or_else(|| known.waiting.clone());
        let mut left = BTreeSet::new();
        for (kind, key) in to_look_at {
            let Key { namespace, name } = &key;
            let before = found.events.len();
            macro_rules! look_into {
                ($($kind:ident: $cache:ident, $plural:literal, $short:literal, [$($operation:ident),*];)*) => {
                    match kind {
                        $(Kind::$kind => {
                            let object = caches.$cache.get(namespace, name);
                            let Some(object) = object.filter(|object| object.audit().is_some_and(|audit| !audit.is_delivered()))
                            else {
                                known.waiting.remove(&(kind, key));
                                continue;
                            };
                            let channels = |type_| channels(caches, object.as_ref(), type_);
                            found.look_at(object.as_ref(), &mut known, &self.sinks, channels, &cluster);
                        })*
                    }
                };
            }
            with_kinds!(look_into);
            if found.events.len() > before {
                left.insert((kind, key));
            }
        }
        known.to_look_at.insert(sink, left);
        drop(known);
        let Found { mut events, delivered, .. } = found;
        events.sort_by(|one, other| (one.order, &one.id).cmp(&(other.order, &other.id)));
        (events, delivered)
    }

    /// Returns the number of records that wait for a sink of the stream.
    #[must_use]
    pub fn count(&self, caches: &Caches) -> usize {
        let known = self.lock();
        let mut count = 0;
        let waits = |id: &(String, i64), record: &AuditRecord| {
            self.sinks.iter().any(|sink| !has_taken(&known, id, &record.taken_by, sink))
        };
        for (kind, Key { namespace, name }) in &known.waiting {
            macro_rules! count_in {
                ($($kind:ident: $cache:ident, $plural:literal, $short:literal, [$($operation:ident),*];)*) => {
                    match kind {
                        $(Kind::$kind => {
                            let Some(object) = caches.$cache.get(namespace, name) else { continue };
                            let waiting = object.audit().map(|audit| audit.waiting.as_slice()).unwrap_or_default();
                            let uid = || object.uid().unwrap_or_default();
                            count += waiting.iter().filter(|record| waits(&(uid(), record.number), record)).count();
                        })*
                    }
                };
            }
            with_kinds!(count_in);
        }
        count
    }

    /// Notes that a sink took a record.
    pub fn take(&self, sink: SinkName, event: &Event) {
        let mut known = self.lock();
        known.failing.remove(sink);
        let taken = known.taken.entry(event.id.clone()).or_default();
        taken.required.clone_from(&event.required);
        taken.by.insert(sink);
        taken.at = Some(Instant::now());
    }

    /// Returns how long the delivered records of an object may stay on it, when there is nothing else to write.
    #[must_use]
    pub fn prune_after(&self, uid: &str, audit: &Audit) -> Duration {
        let known = self.lock();
        let delivered =
            audit.waiting.iter().filter_map(|record| known.taken.get(&(uid.to_owned(), record.number))?.at);
        delivered.min().map_or(Duration::ZERO, |at| PRUNE_AFTER.saturating_sub(at.elapsed()))
    }

    /// Notes that a sink did not take a record.
    pub fn miss(&self, sink: SinkName, event: &Event) {
        let mut known = self.lock();
        known.failing.insert(sink);
        known.taken.entry(event.id.clone()).or_default().required.clone_from(&event.required);
    }

    /// Takes off what everybody has taken. While a sink fails, those that have a record are noted on it, so
    /// that it is not delivered to them again after a restart.
    pub fn prune_delivered(&self, uid: &str, audit: &mut Audit) {
        let known = self.lock();
        audit.waiting.retain_mut(|record| {
            // Nobody has taken the record since this process began.
            let Some(taken) = known.taken.get(&(uid.to_owned(), record.number)) else { return true };
            let has = |sink: &SinkName| {
                record.taken_by.iter().any(|other| other == sink) || taken.by.contains(sink)
            };
            let (have, have_not): (Vec<SinkName>, Vec<SinkName>) =
                taken.required.iter().copied().partition(has);
            if have_not.is_empty() {
                return false;
            }
            if have_not.iter().all(|sink| known.failing.contains(sink)) {
                record.taken_by = have.into_iter().map(ToOwned::to_owned).collect();
            }
            true
        });
    }

    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_taken(known: &OutboxState, id: &(String, i64), taken_by: &[String], sink: &str) -> bool {
    taken_by.iter().any(|other| other == sink)
        || known.taken.get(id).is_some_and(|taken| taken.by.contains(sink))
}

/// Returns the channels by which people are notified of a record: those that are in force in the Community around. Of an
/// object that is being deleted they are not notified: nobody can do anything about it any more.
fn channels<K: Audited>(caches: &Caches, object: &K, type_: RecordType) -> Vec<Channel> {
    let is_being_deleted = object.meta().deletion_timestamp.is_some();
    if is_being_deleted || K::audited_kind() != Kind::ApprovalRequest || !is_for_people(type_) {
        return Vec::new();
    }
    let parent = parent_of(caches, &object.namespace().unwrap_or_default());
    parent.community().map(|community| channels_of(community)).unwrap_or_default()
}

/// Returns the channels by which people hear of the requests in a Community.
pub(super) fn channels_of(community: &Community) -> Vec<Channel> {
    applied_spec(community).ok().flatten().map(|spec| spec.notifications.channels).unwrap_or_default()
}

/// Returns the UID of the namespace `kube-system`, which identifies the cluster in events.
fn cluster(caches: &Caches) -> String {
    caches.namespaces.get("", "kube-system").and_then(|namespace| namespace.uid()).unwrap_or_default()
}

fn event<K: Audited + Resource<DynamicType = ()>>(object: &K, record: &AuditRecord, cluster: &str) -> Event {
    Event {
        id: (object.uid().unwrap_or_default(), record.number),
        at: record.at.0,
        order: record.at.0,
        event: cloud_event(object, record, cluster),
        required: Vec::new(),
        object: address(object),
    }
}

fn address<K: Audited>(object: &K) -> Address {
    Address {
        kind: K::audited_kind(),
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::{ApprovalRequest, ApprovalRequestStatus, Time};
    use crate::model::approval::request::tests::a_request;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A request with records from these seconds.
    fn request(name: &str, seconds: &[i64]) -> ApprovalRequest {
        let record = |second: &i64| AuditRecord {
            at: Time(at(*second)),
            ..crate::model::audit::records::tests::a_record(RecordType::Decided)
        };
        let mut request = ApprovalRequest::new(name, a_request());
        request.metadata.namespace = Some("acme".into());
        request.metadata.uid = Some(name.into());
        let mut audit = Audit::default();
        crate::model::audit::records::append(&mut audit, seconds.iter().map(record));
        request.status = Some(ApprovalRequestStatus { audit, ..ApprovalRequestStatus::default() });
        request
    }

    fn put(outbox: &Outbox, caches: &Caches, request: &ApprovalRequest) {
        if let Some(change) = caches.requests.apply(Arc::new(request.clone())) {
            outbox.on_change(&change);
        }
    }

    fn ids(events: &[Event]) -> Vec<String> {
        events.iter().map(|event| format!("{}.{}", event.id.0, event.id.1)).collect()
    }

    fn pruned(outbox: &Outbox, request: &ApprovalRequest) -> Vec<(i64, Vec<String>)> {
        let mut audit = request.status.clone().unwrap().audit;
        outbox.prune_delivered(request.metadata.uid.as_deref().unwrap(), &mut audit);
        audit.waiting.into_iter().map(|record| (record.number, record.into_known().taken_by)).collect()
    }

    #[test]
    fn records_of_one_object_come_in_their_order_whatever_the_clock_said() {
        let caches = Caches::detached("enclave-system");
        let outbox = Outbox::new(vec!["stdout"]);
        put(&outbox, &caches, &request("a", &[20, 10, 30]));
        put(&outbox, &caches, &request("b", &[15]));
        let (events, delivered) = outbox.find("stdout", &caches);
        assert_eq!(ids(&events), ["b.1", "a.1", "a.2", "a.3"]);
        assert_eq!(delivered, []);
    }

    #[test]
    fn a_record_goes_when_every_sink_has_it_and_who_has_it_is_noted_while_one_fails() {
        let caches = Caches::detached("enclave-system");
        let request = request("a", &[1, 2]);
        let outbox = Outbox::new(vec!["stdout", "http"]);
        put(&outbox, &caches, &request);
        let (events, _) = outbox.find("stdout", &caches);
        for event in &events {
            outbox.take("stdout", event);
        }
        assert_eq!(pruned(&outbox, &request), [(1, vec![]), (2, vec![])], "the other one may take them yet");
        assert_eq!(ids(&outbox.find("stdout", &caches).0), [""; 0], "not twice");

        outbox.miss("http", &events[0]);
        let noted = vec!["stdout".to_owned()];
        assert_eq!(pruned(&outbox, &request), [(1, noted.clone()), (2, noted.clone())]);
        outbox.take("http", &events[0]);
        assert_eq!(pruned(&outbox, &request), [(2, vec![])], "it does not fail any more");
        outbox.take("http", &events[1]);
        assert_eq!(pruned(&outbox, &request), []);

        // Another process knows what stands on the object.
        let mut noted_on_it = request.clone();
        for record in &mut noted_on_it.status.as_mut().unwrap().audit.waiting {
            record.taken_by = noted.clone();
        }
        let another = Outbox::new(vec!["stdout", "http"]);
        put(&another, &caches, &noted_on_it);
        assert_eq!(ids(&another.find("stdout", &caches).0), [""; 0]);
        assert_eq!(ids(&another.find("http", &caches).0), ["a.1", "a.2"]);
        // And where the other sink is not there any more, nobody is to take it.
        let alone = Outbox::new(vec!["stdout"]);
        alone.on_change(&Change { before: None, after: Some(Arc::new(noted_on_it.clone())) });
        let (events, delivered) = alone.find("stdout", &caches);
        assert_eq!((ids(&events), delivered.len()), (vec![], 2));
        assert_eq!(pruned(&alone, &noted_on_it), []);
    }

    /// The watch and the answer to a write arrive in two threads.
    #[test]
    fn a_record_is_found_though_an_older_change_is_heard_of_after_it() {
        let caches = Caches::detached("enclave-system");
        let outbox = Outbox::new(vec!["stdout"]);
        assert_eq!(ids(&outbox.find("stdout", &caches).0), [""; 0]);
        put(&outbox, &caches, &request("a", &[1]));
        outbox.on_change(&Change { before: None, after: Some(Arc::new(request("a", &[]))) });
        assert_eq!(ids(&outbox.find("stdout", &caches).0), ["a.1"]);
        // The state in the cache counts: there is nothing left.
        caches.requests.apply(Arc::new(request("a", &[])));
        assert_eq!(ids(&outbox.find("stdout", &caches).0), [""; 0]);
        assert_eq!(outbox.lock().waiting.len(), 0);
    }

    #[test]
    fn what_was_told_stays_for_a_moment_and_what_was_not_asks_for_no_time() {
        let caches = Caches::detached("enclave-system");
        let outbox = Outbox::new(vec!["stdout"]);
        let request = request("a", &[1]);
        put(&outbox, &caches, &request);
        let audit = request.status.clone().unwrap().audit;
        assert_eq!(outbox.prune_after("a", &audit), Duration::ZERO);
        outbox.take("stdout", &outbox.find("stdout", &caches).0[0]);
        let wait = outbox.prune_after("a", &audit);
        assert!(wait > Duration::ZERO && wait <= PRUNE_AFTER, "{wait:?}");
        assert_eq!(pruned(&outbox, &request), [], "another write takes it off at once");
    }

    /// A channel may be taken out of its Community while it still has a record to deliver.
    #[test]
    fn a_record_that_fewer_are_to_take_than_before_goes_when_those_have_it() {
        let caches = Caches::detached("enclave-system");
        let request = request("a", &[1]);
        let outbox = Outbox::new(vec!["stdout"]);
        put(&outbox, &caches, &request);
        let (events, _) = outbox.find("stdout", &caches);
        let before = Event { required: vec!["stdout", "smtp"], ..events[0].clone() };
        outbox.miss("smtp", &before);
        outbox.take("stdout", &before);
        assert_eq!(pruned(&outbox, &request), [(1, vec!["stdout".to_owned()])]);
        let (events, delivered) = outbox.find("stdout", &caches);
        assert_eq!((ids(&events), delivered.len()), (vec![], 1));
        assert_eq!(pruned(&outbox, &request), []);
        assert_eq!(outbox.find("stdout", &caches).1, [], "it is looked at once");
    }
}
