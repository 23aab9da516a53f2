//! Which objects cannot be read as a whole: logged at most once an hour, and counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::{Resource, ResourceExt};
use tracing::warn;

use crate::api::reading::Unread;

/// How long nothing is said of an object that was named.
const SILENCE: Duration = Duration::from_secs(3600);
/// So many objects of a kind are remembered; of more, the rest is neither named nor counted.
const MOST: usize = 1000;

/// How many objects of each kind cannot be read as a whole.
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
    /// When each was named last.
    named: HashMap<(Option<String>, String), Instant>,
    /// When those were logged that can be read or are gone by now, or are not yet in the list that is being read.
    before: HashMap<(Option<String>, String), Instant>,
}

impl Unreadables {
    /// None of a kind yet.
    #[must_use]
    pub fn of<K: Resource<DynamicType = ()>>(counts: Counts) -> Self {
        let kind = K::kind(&()).into_owned();
        counts.set(&kind, 0);
        Self { kind, counts, named: HashMap::new(), before: HashMap::new() }
    }

    /// A list begins: it says which there are.
    pub fn begin(&mut self) {
        if self.before.len() > MOST {
            self.before.clear();
        }
        self.before.extend(self.named.drain());
    }

    /// The list is complete.
    pub fn end(&mut self) {
        self.counts.set(&self.kind, self.named.len());
    }

    /// Notes what could not be read of an object, and names it if that was not done lately.
    pub fn note<K: ResourceExt>(&mut self, object: &K, unread: &[Unread], now: Instant) {
        let key = (object.namespace(), object.name_any());
        if unread.is_empty() {
            return self.forget(object);
        }
        let known = self.named.get(&key).copied().or_else(|| self.before.remove(&key));
        if !self.named.contains_key(&key) && self.named.len() >= MOST {
            return;
        }
        let is_silent = |at: Instant| now.saturating_duration_since(at) < SILENCE;
        if self.before.len() > MOST {
            self.before.retain(|_, at| is_silent(*at));
        }
        let is_due = known.is_none_or(|at| !is_silent(at));
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
        self.counts.set(&self.kind, self.named.len());
    }

    /// Whether an object is among those that could not be read.
    #[must_use]
    pub fn has<K: ResourceExt>(&self, object: &K) -> bool {
        !self.named.is_empty() && self.named.contains_key(&(object.namespace(), object.name_any()))
    }

    /// Notes that an object is gone, or can be read.
    pub fn forget<K: ResourceExt>(&mut self, object: &K) {
        if self.named.is_empty() {
            return;
        }
        let key = (object.namespace(), object.name_any());
        if let Some(at) = self.named.remove(&key) {
            self.counts.set(&self.kind, self.named.len());
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

    #[test]
    fn an_object_is_counted_while_it_is_there_and_named_once_an_hour() {
        let counts = Counts::default();
        let mut known = Unreadables::of::<Enclave>(counts.clone());
        let count = || counts.by_kind()["Enclave"];
        let unread = [Unread { path: "spec".into(), why: "odd".into(), cause: Cause::Wrong }];
        let [one, other] = ["a", "b"].map(|name| Enclave::new(name, EnclaveSpec::default()));
        let start = Instant::now();
        let named_at = |known: &Unreadables| known.named.get(&(None, "a".to_owned())).copied();
        assert_eq!(count(), 0);
        known.note(&one, &unread, start);
        known.note(&other, &unread, start);
        known.note(&one, &unread, start + SILENCE / 2);
        assert_eq!((count(), named_at(&known)), (2, Some(start)));
        known.note(&one, &unread, start + SILENCE);
        assert_eq!(named_at(&known), Some(start + SILENCE));
        known.forget(&other);
        assert_eq!(count(), 1);
        // A list that is read again names nothing again, and forgets what is gone.
        known.note(&other, &unread, start);
        known.begin();
        known.note(&one, &unread, start + SILENCE);
        known.end();
        assert_eq!((count(), named_at(&known)), (1, Some(start + SILENCE)));
        known.note(&one, &[], start + SILENCE);
        assert_eq!(count(), 0);
        // Whoever changes it back and forth does not fill the log.
        known.note(&one, &unread, start + SILENCE * 3 / 2);
        assert_eq!((count(), named_at(&known)), (1, Some(start + SILENCE)));
    }

    #[test]
    fn memory_is_bounded() {
        let counts = Counts::default();
        let mut known = Unreadables::of::<Enclave>(counts.clone());
        let unread = [Unread { path: "spec".into(), why: "odd".into(), cause: Cause::Wrong }];
        for number in 0..2 * MOST {
            known.note(&Enclave::new(&number.to_string(), EnclaveSpec::default()), &unread, Instant::now());
        }
        assert_eq!((known.named.len(), counts.by_kind()["Enclave"]), (MOST, MOST));
        for number in 0..8 * MOST {
            let object = Enclave::new(&number.to_string(), EnclaveSpec::default());
            known.note(&object, &unread, Instant::now());
            known.forget(&object);
        }
        for number in 0..8 * MOST {
            known.begin();
            known.note(&Enclave::new(&number.to_string(), EnclaveSpec::default()), &unread, Instant::now());
            known.end();
        }
        assert!(known.before.len() <= 2 * MOST, "{}", known.before.len());
    }
}
