//! Objects that cannot be read as a whole: each is logged at most once an hour, and all are counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::{Resource, ResourceExt};
use tracing::warn;

use crate::api::reading::Unread;

/// The time for which an object is not named in the log again.
const REPORT_INTERVAL: Duration = Duration::from_secs(3600);
/// The number of objects of a kind that are remembered and named; more of them are only counted.
const MOST: usize = 1000;
/// The number of objects of a kind that are counted at most, in less than 2 MB for those that are not named.
const MOST_COUNTED: usize = 100_000;

/// The number of objects of each kind that cannot be read as a whole.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Mutex<BTreeMap<String, usize>>>);

impl Counts {
    /// The counts by kind, of kinds that are watched.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<String, usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, kind: &str, count: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(kind.to_owned(), count);
    }
}

/// The unreadable objects of one kind.
pub struct Unreadables {
    kind: String,
    counts: Counts,
    /// The time at which each was named last.
    named: HashMap<(Option<String>, String), Instant>,
    /// Hashes of the others, which are not named.
    others: HashSet<u64>,
    hasher: RandomState,
    /// The times at which those were named that can be read or are gone by now, or are not yet in the list that
    /// is being read.
    before: HashMap<(Option<String>, String), Instant>,
}

impl Unreadables {
    /// Creates the set for a kind, with no objects yet.
    #[must_use]
    pub fn of<K: Resource<DynamicType = ()>>(counts: Counts) -> Self {
        let kind = K::kind(&()).into_owned();
        counts.set(&kind, 0);
        Self {
            kind,
            counts,
            named: HashMap::new(),
            others: HashSet::new(),
            hasher: RandomState::new(),
            before: HashMap::new(),
        }
    }

    /// Begins a list, which says which objects there are.
    pub fn begin(&mut self) {
        if self.before.len() > MOST {
            self.before.clear();
        }
        self.before.extend(self.named.drain());
        self.others.clear();
    }

    /// Ends a list, which is complete now.
    pub fn end(&mut self) {
        self.count();
    }

    fn count(&self) {
        self.counts.set(&self.kind, self.named.len() + self.others.len());
    }

    /// Notes what could not be read of an object, and names it in the log if that was not done lately. Returns whether
    /// it was named.
    pub fn note<K: ResourceExt>(&mut self, object: &K, unread: &[Unread], now: Instant) -> bool {
        let key = (object.namespace(), object.name_any());
        if unread.is_empty() {
            self.forget(object);
            return false;
        }
        let hash = self.hasher.hash_one(&key);
        if !self.named.contains_key(&key) && self.named.len() >= MOST {
            if self.named.len() + self.others.len() < MOST_COUNTED {
                self.others.insert(hash);
            }
            self.count();
            return false;
        }
        self.others.remove(&hash);
        let known = self.named.get(&key).copied().or_else(|| self.before.remove(&key));
        let is_recent = |at: Instant| now.saturating_duration_since(at) < REPORT_INTERVAL;
        if self.before.len() > MOST {
            self.before.retain(|_, at| is_recent(*at));
        }
        let is_due = known.is_none_or(|at| !is_recent(at));
        if is_due {
            let fields: Vec<String> = unread.iter().take(5).map(ToString::to_string).collect();
            warn!(
                kind = self.kind,
                namespace = key.0.as_deref().unwrap_or_default(),
                name = key.1,
                fields = fields.join("; "),
                count = unread.len(),
                "cannot read these fields of an object; everything else goes on; correct the fields, and install the CustomResourceDefinitions of this version if they differ"
            );
        }
        self.named.insert(key, known.filter(|_| !is_due).unwrap_or(now));
        self.count();
        is_due
    }

    /// Whether an object is among those that could not be read.
    #[must_use]
    pub fn has<K: ResourceExt>(&self, object: &K) -> bool {
        if self.named.is_empty() && self.others.is_empty() {
            return false;
        }
        let key = (object.namespace(), object.name_any());
        self.named.contains_key(&key) || self.others.contains(&self.hasher.hash_one(&key))
    }

    /// Notes that an object is gone, or can be read.
    pub fn forget<K: ResourceExt>(&mut self, object: &K) {
        if self.named.is_empty() && self.others.is_empty() {
            return;
        }
        let key = (object.namespace(), object.name_any());
        if self.others.remove(&self.hasher.hash_one(&key)) {
            self.count();
        }
        if let Some(at) = self.named.remove(&key) {
            self.count();
            // Whoever changes it back and forth does not fill the log.
            if self.before.len() < 2 * MOST {
                self.before.insert(key, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::reading::Cause;
    use crate::api::{Enclave, EnclaveSpec};

    fn malformed() -> [Unread; 1] {
        [Unread { path: "spec".into(), why: "odd".into(), cause: Cause::Wrong }]
    }

    fn enclave(name: &str) -> Enclave {
        Enclave::new(name, EnclaveSpec::default())
    }

    #[test]
    fn an_object_is_named_once_an_hour() {
        let mut known = Unreadables::of::<Enclave>(Counts::default());
        let (one, other) = (enclave("a"), enclave("b"));
        let start = Instant::now();
        let at = |minute: u64| start + Duration::from_secs(60 * minute);
        assert!(known.note(&one, &malformed(), at(0)));
        assert!(!known.note(&one, &malformed(), at(59)));
        assert!(known.note(&other, &malformed(), at(59)));
        assert!(known.note(&one, &malformed(), at(60)), "an hour has passed");
        assert!(!known.note(&one, &malformed(), at(119)), "another hour began");
        assert!(!known.note(&other, &malformed(), at(118)));
        assert!(known.note(&other, &malformed(), at(119)));
        // Whoever changes it back and forth does not fill the log.
        assert!(!known.note(&one, &[], at(119)), "there is nothing to name");
        assert!(!known.note(&one, &malformed(), at(119)));
        assert!(known.note(&one, &malformed(), at(120)));
        // A list that is read again names nothing again.
        known.begin();
        assert!(!known.note(&one, &malformed(), at(120)));
        known.end();
        assert!(known.note(&one, &malformed(), at(180)));
        // The same name in another namespace is another object.
        let mut elsewhere = enclave("a");
        elsewhere.metadata.namespace = Some("acme".into());
        assert!(known.note(&elsewhere, &malformed(), at(180)));
    }

    #[test]
    fn an_object_is_counted_while_it_is_there() {
        let counts = Counts::default();
        let mut known = Unreadables::of::<Enclave>(counts.clone());
        let count = || counts.by_kind()["Enclave"];
        let (one, other) = (enclave("a"), enclave("b"));
        let start = Instant::now();
        assert_eq!(count(), 0);
        known.note(&one, &malformed(), start);
        known.note(&other, &malformed(), start);
        known.note(&one, &malformed(), start + REPORT_INTERVAL);
        assert_eq!(count(), 2);
        known.forget(&other);
        assert_eq!(count(), 1);
        // A list that is read again forgets what is gone.
        known.note(&other, &malformed(), start);
        known.begin();
        known.note(&one, &malformed(), start);
        known.end();
        assert_eq!(count(), 1);
        known.note(&one, &[], start);
        assert_eq!(count(), 0);
    }

    #[test]
    fn what_is_too_much_to_be_named_is_counted() {
        let counts = Counts::default();
        let mut known = Unreadables::of::<Enclave>(counts.clone());
        let count = || counts.by_kind()["Enclave"];
        let (now, object) = (Instant::now(), |number: usize| enclave(&number.to_string()));
        let list = |known: &mut Unreadables, numbers: &mut dyn Iterator<Item = usize>| {
            known.begin();
            let named = numbers.filter(|number| known.note(&object(*number), &malformed(), now)).count();
            known.end();
            named
        };
        assert_eq!((list(&mut known, &mut (0..2 * MOST)), count()), (MOST, 2 * MOST));
        for number in 0..2 * MOST {
            assert!(!known.note(&object(number), &malformed(), now), "{number} is no news");
            assert!(known.has(&object(number)), "{number} is known");
        }
        assert_eq!(count(), 2 * MOST);
        // Whatever the order of a list, nothing is named twice.
        assert_eq!((list(&mut known, &mut (0..2 * MOST).rev()), count()), (MOST, 2 * MOST));
        assert_eq!((list(&mut known, &mut (0..2 * MOST)), count()), (0, 2 * MOST));
        // Of those that go, and those that can be read, none is left; another one takes the place in the log.
        known.forget(&object(0));
        known.note(&object(2 * MOST - 1), &[], now);
        assert_eq!(count(), 2 * MOST - 2);
        assert!(known.note(&object(2 * MOST), &malformed(), now));
        assert_eq!(count(), 2 * MOST - 1);
        for number in 0..=2 * MOST {
            known.forget(&object(number));
            assert!(!known.has(&object(number)), "{number} is forgotten");
        }
        assert_eq!(count(), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let counts = Counts::default();
        let mut known = Unreadables::of::<Enclave>(counts.clone());
        let object = |number: usize| enclave(&number.to_string());
        for number in 0..MOST_COUNTED + MOST {
            known.note(&object(number), &malformed(), Instant::now());
        }
        assert_eq!((known.named.len(), counts.by_kind()["Enclave"]), (MOST, MOST_COUNTED));
        let mut known = Unreadables::of::<Enclave>(counts);
        for number in 0..8 * MOST {
            known.note(&object(number), &malformed(), Instant::now());
            known.forget(&object(number));
        }
        for number in 0..8 * MOST {
            known.begin();
            known.note(&object(number), &malformed(), Instant::now());
            known.end();
        }
        assert!(known.before.len() <= 2 * MOST, "{}", known.before.len());
    }
}
