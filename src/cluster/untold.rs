//! Facts that somebody still has to be told. They stand on their objects; here is what this process knows
//! beyond that: who has taken which, and facts of objects that are gone.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;

use super::caches::Caches;
use super::observe::home_of;
use crate::api::Kind;
use crate::api::audit::{Audit, Fact, FactType};
use crate::api::community::Channel;
use crate::model::facts::{Told, cloud_event};
use crate::model::letters::is_for_people;
use crate::model::life::applied_spec;

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

/// A fact that is to be told.
#[derive(Clone, Debug)]
pub struct Event {
    /// UID of its object, and its number there.
    pub id: (String, i64),
    /// When it happened.
    pub at: Timestamp,
    /// The CloudEvent.
    pub event: Value,
    /// Who is to take it.
    required: Vec<SinkName>,
    /// Who has taken it, by what stands on the object.
    taken_by: Vec<String>,
    /// Which object has to be looked at when it was told; none when it is gone.
    pub object: Option<Address>,
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

/// What was told, and to whom.
pub struct Untold {
    sinks: Vec<SinkName>,
    known: Mutex<Known>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Known {
    /// Who has taken a fact, beyond what stands on its object.
    taken: HashMap<(String, i64), Taken>,
    /// Sinks that did not take what they were given last.
    failing: BTreeSet<SinkName>,
    /// Facts of objects that are gone.
    departed: Vec<Event>,
}

#[derive(Default)]
struct Taken {
    /// Who is to take it.
    required: Vec<SinkName>,
    by: BTreeSet<SinkName>,
}

impl Untold {
    /// Facts are told to these sinks.
    #[must_use]
    pub fn new(sinks: Vec<SinkName>) -> Self {
        Self { sinks, known: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// Ends when there may be something new to tell.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// An object was seen.
    pub fn on_seen<K: Told>(&self, object: &K) {
        if object.audit().is_some_and(|audit| !audit.waiting.is_empty()) {
            self.changed.send_replace(());
        }
    }

    /// An object is gone. What waited on it is told as long as this process lives.
    pub fn on_gone<K: Told + Resource<DynamicType = ()>>(&self, object: &K, cluster: &str) {
        let waiting = object.audit().map(|audit| audit.waiting.as_slice()).unwrap_or_default();
        // People cannot do anything about it any more, so they are not told.
        let required = &self.sinks;
        let events = waiting.iter().map(|fact| Event {
            object: None,
            required: required.clone(),
            ..event(object, fact, cluster)
        });
        let mut known = self.lock();
        let events: Vec<Event> = events.filter(|event| !is_told(&known, event)).collect();
        known.departed.extend(events);
        drop(known);
        self.changed.send_replace(());
    }

    /// What a sink has not taken yet, the oldest first; of one object in its order. And the objects of
    /// facts that nobody is to take any more.
    #[must_use]
    pub fn find(&self, sink: SinkName, caches: &Caches) -> (Vec<Event>, Vec<Address>) {
        let cluster = cluster(caches);
        let mut events = self.lock().departed.clone();
        macro_rules! look_into {
            ($($cache:ident: $kind:ident,)*) => {
                $(for object in caches.$cache.state() {
                    let waiting = object.audit().map(|audit| audit.waiting.as_slice()).unwrap_or_default();
                    events.extend(waiting.iter().map(|fact| {
                        let channels = channels(caches, object.as_ref(), fact.type_).into_iter().map(sink_of);
                        let required = self.sinks.iter().copied().chain(channels).collect();
                        Event { required, ..event(object.as_ref(), fact, &cluster) }
                    }));
                })*
            };
        }
        with_controlled_kinds!(look_into);
        let mut known = self.lock();
        // What stands on no object any more is told.
        let waiting: BTreeSet<&(String, i64)> = events.iter().map(|event| &event.id).collect();
        known.taken.retain(|id, _| waiting.contains(id));
        let mut told = Vec::new();
        for event in &events {
            // It stood on the object that those who are left have it.
            if is_told(&known, event) && !known.taken.contains_key(&event.id) {
                told.extend(event.object.clone());
                let taken = Taken { required: event.required.clone(), by: BTreeSet::new() };
                known.taken.insert(event.id.clone(), taken);
            }
        }
        events.retain(|event| event.required.contains(&sink) && !has_taken(&known, event, sink));
        events.sort_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
        (events, told)
    }

    /// How many facts wait on objects, by what the caches know.
    #[must_use]
    pub fn count(caches: &Caches) -> usize {
        let mut count = 0;
        macro_rules! count_in {
            ($($cache:ident: $kind:ident,)*) => {
                $(for object in caches.$cache.state() {
                    count += object.audit().map_or(0, |audit| audit.waiting.len());
                })*
            };
        }
        with_controlled_kinds!(count_in);
        count
    }

    /// A sink took a fact.
    pub fn take(&self, sink: SinkName, event: &Event) {
        let mut known = self.lock();
        known.failing.remove(sink);
        let taken = known.taken.entry(event.id.clone()).or_default();
        taken.required.clone_from(&event.required);
        taken.by.insert(sink);
        if is_told(&known, event) {
            known.departed.retain(|other| other.id != event.id);
        }
    }

    /// A sink did not take a fact.
    pub fn miss(&self, sink: SinkName, event: &Event) {
        let mut known = self.lock();
        known.failing.insert(sink);
        known.taken.entry(event.id.clone()).or_default().required.clone_from(&event.required);
    }

    /// Takes off what everybody has taken. While a sink fails, those that have a fact are noted on it, so
    /// that it is not told to them again after a restart.
    pub fn settle(&self, uid: &str, audit: &mut Audit) {
        let known = self.lock();
        audit.waiting.retain_mut(|fact| {
            // Nobody has been told since this process began.
            let Some(taken) = known.taken.get(&(uid.to_owned(), fact.number)) else { return true };
            let has =
                |sink: &SinkName| fact.taken_by.iter().any(|other| other == sink) || taken.by.contains(sink);
            let (have, have_not): (Vec<SinkName>, Vec<SinkName>) =
                taken.required.iter().copied().partition(has);
            if have_not.is_empty() {
                return false;
            }
            if have_not.iter().all(|sink| known.failing.contains(sink)) {
                fact.taken_by = have.into_iter().map(ToOwned::to_owned).collect();
            }
            true
        });
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_told(known: &Known, event: &Event) -> bool {
    event.required.iter().all(|sink| has_taken(known, event, sink))
}

fn has_taken(known: &Known, event: &Event, sink: SinkName) -> bool {
    event.taken_by.iter().any(|other| other == sink)
        || known.taken.get(&event.id).is_some_and(|taken| taken.by.contains(sink))
}

/// By which channels people are told of a fact: those that are in force in the Community around.
fn channels<K: Told>(caches: &Caches, object: &K, type_: FactType) -> Vec<Channel> {
    if K::kind_told() != Kind::ApprovalRequest || !is_for_people(type_) {
        return Vec::new();
    }
    let home = home_of(caches, &object.namespace().unwrap_or_default());
    let applied = home.community().and_then(|community| applied_spec(community.as_ref()).ok().flatten());
    applied.map(|spec| spec.notifications.channels).unwrap_or_default()
}

/// What identifies the cluster in events: the UID of its namespace `kube-system`.
#[must_use]
pub fn cluster(caches: &Caches) -> String {
    caches
        .namespaces
        .get(&ObjectRef::new("kube-system"))
        .and_then(|namespace| namespace.uid())
        .unwrap_or_default()
}

fn event<K: Told + Resource<DynamicType = ()>>(object: &K, fact: &Fact, cluster: &str) -> Event {
    Event {
        id: (object.uid().unwrap_or_default(), fact.number),
        at: fact.at.0,
        event: cloud_event(object, fact, cluster),
        required: Vec::new(),
        taken_by: fact.taken_by.clone(),
        object: Some(Address {
            kind: K::kind_told(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }),
    }
}
