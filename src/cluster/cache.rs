//! A cache of one kind, with indexes.
//!
//! Look-ups go by key, by namespace, or through an index that the kind declares ([`Indexed`]), as with
//! client-go's Indexer. A look-up costs what it finds, never what there is; [`Cache::visited`] counts it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use kube::Resource;
use kube::api::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::compression::{Compressed, Compression, Recent};
use super::slots::Slots;

/// A kind that is cached.
pub trait Indexed: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The names of its indexes.
    type By: Copy + Eq + Hash + Debug + Send + Sync + 'static;

    /// Adds the values under which the object is found, index by index. A value that is added twice counts
    /// once.
    fn index(&self, add: &mut dyn FnMut(Self::By, &str));

    /// Whether the values of an index are in order, so that objects are found by what their values begin with
    /// ([`Cache::with_prefix`], and no other way).
    #[must_use]
    fn is_ordered(_: Self::By) -> bool {
        false
    }

    /// Whether an object is held as compressed JSON and decoded when it is read: kinds with many objects, and
    /// objects that are seldom read. A decoded object takes several times the memory.
    fn is_compressed(&self) -> bool {
        false
    }

    /// Whether the first list of the watch leaves an object out, which is then read beside the watch
    /// ([`Cache::end_partial_list`]). Every object of such a kind that is held as text is one of them.
    fn is_backfilled(&self) -> bool {
        false
    }
}

/// The indexes of a kind that is looked up by key and namespace only: there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoIndex {}

/// The key of an object: its namespace (empty for one that is in none) and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: Box<str>,
    pub name: Box<str>,
}

impl Key {
    /// The key of an object in a namespace.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of this object.
    #[must_use]
    pub fn of<K: Resource>(object: &K) -> Self {
        let (namespace, name) = names(object);
        Self::new(namespace, name)
    }
}

/// The change of one object.
#[derive(Debug)]
pub struct Change<K> {
    /// The object before; `None` when it is new.
    pub before: Option<Arc<K>>,
    /// The object now; `None` when it is gone.
    pub after: Option<Arc<K>>,
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        Self { before: self.before.clone(), after: self.after.clone() }
    }
}

impl<K> Change<K> {
    /// Both versions of the object, the latest first.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<K>> {
        self.after.iter().chain(&self.before)
    }

    /// The latest version of the object.
    #[must_use]
    pub fn latest(&self) -> Option<&Arc<K>> {
        self.versions().next()
    }

    /// Whether what `view` gives is another one than before; true when the object is new or gone.
    pub fn differs<V: PartialEq>(&self, view: impl Fn(&K) -> V) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => view(before) != view(after),
            _ => true,
        }
    }
}

/// A cache of all objects of one kind. Cloning gives another handle of the same cache.
pub struct Cache<K: Indexed> {
    shared: Arc<Shared<K>>,
}

impl<K: Indexed> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Indexed> Default for Cache<K> {
    fn default() -> Self {
        let shared = Shared {
            stored: RwLock::new(Stored::default()),
            visited: AtomicU64::new(0),
            filled: watch::Sender::new(Filled::No),
        };
        Self { shared: Arc::new(shared) }
    }
}

struct Shared<K: Indexed> {
    stored: RwLock<Stored<K>>,
    visited: AtomicU64,
    filled: watch::Sender<Filled>,
}

/// The part of the existing objects that a cache has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// Nothing: there was no list yet.
    No,
    /// The objects of the first list of the watch; those that it leaves out are read beside it
    /// ([`Cache::begin_backfill`]).
    Partial,
    /// Everything.
    Complete,
}

/// The state of reading, beside the watch, what its first list left out.
#[derive(Default)]
struct Backfill {
    /// The slots of objects that were seen since it began.
    seen: HashSet<usize>,
    /// The keys of objects that the watch saw go since.
    gone: HashSet<Key>,
}

/// The form in which an object is held.
enum Held<K> {
    Decoded(Arc<K>),
    Compressed(Compressed),
}

impl<K: Indexed> Held<K> {
    fn is_backfilled(&self) -> bool {
        match self {
            Self::Decoded(object) => object.is_backfilled(),
            Self::Compressed(_) => true,
        }
    }

    fn version(&self) -> Option<u64> {
        match self {
            Self::Decoded(object) => version(object.as_ref()),
            Self::Compressed(compressed) => compressed.version,
        }
    }
}

/// Objects stand in slots, so that an index need not be touched when an object changes in something else.
struct Stored<K: Indexed> {
    slots: Vec<Option<Held<K>>>,
    free: Vec<usize>,
    compression: Compression,
    recent: Mutex<Recent<K>>,
    /// Slots by namespace and name.
    names: HashMap<Box<str>, HashMap<Box<str>, usize>>,
    indexes: HashMap<K::By, HashMap<Box<str>, Slots>>,
    /// Values with slots, of indexes that are in order.
    ordered: HashMap<K::By, BTreeSet<(Box<str>, usize)>>,
    /// While the watch lists anew: the slots of the objects that it listed so far.
    listed: Option<HashSet<usize>>,
    /// The time at which the watch had last listed everything.
    list_ended: Option<Instant>,
    /// The highest version with which the watch saw something go.
    newest_gone: u64,
    /// While a namespace is listed: the names of what went there meanwhile; `None` once nobody can tell.
    gone: HashMap<Box<str>, Option<HashSet<Box<str>>>>,
    /// While what the first list left out is read.
    backfill: Option<Backfill>,
}

impl<K: Indexed> Default for Stored<K> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            compression: Compression::default(),
            recent: Mutex::default(),
            names: HashMap::new(),
            indexes: HashMap::new(),
            ordered: HashMap::new(),
            listed: None,
            list_ended: None,
            newest_gone: 0,
            gone: HashMap::new(),
            backfill: None,
        }
    }
}

impl<K: Indexed> Cache<K> {
    /// The object of this name; `namespace` is empty for one that is in none.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.count_visits(1);
        let stored = self.read();
        stored.at(*stored.names.get(namespace)?.get(name)?)
    }

    /// Whether there is an object of this name, without a look at it.
    #[must_use]
    pub fn has(&self, namespace: &str, name: &str) -> bool {
        self.read().names.get(namespace).is_some_and(|names| names.contains_key(name))
    }

    /// The objects in a namespace, in no order.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let stored = self.read();
        let slots = stored.names.get(namespace).into_iter().flat_map(HashMap::values);
        let found: Vec<Arc<K>> = slots.filter_map(|slot| stored.at(*slot)).collect();
        self.count_visits(found.len());
        found
    }

    /// The objects that an index has under a value, in no order.
    #[must_use]
    pub fn by(&self, index: K::By, value: &str) -> Vec<Arc<K>> {
        let stored = self.read();
        let slots = stored.indexes.get(&index).and_then(|index| index.get(value));
        let slots = slots.into_iter().flat_map(Slots::iter);
        let found: Vec<Arc<K>> = slots.filter_map(|slot| stored.at(slot)).collect();
        self.count_visits(found.len());
        found
    }

    /// The objects that an index has under values that begin with any of these, each once, in no order.
    #[must_use]
    pub fn with_prefix(&self, index: K::By, with: impl IntoIterator<Item = String>) -> Vec<Arc<K>> {
        let stored = self.read();
        let index = stored.ordered.get(&index);
        let mut slots = BTreeSet::new();
        for prefix in with.into_iter().map(String::into_boxed_str) {
            let from = index.into_iter().flat_map(|index| index.range((prefix.clone(), 0)..));
            slots.extend(from.take_while(|(value, _)| value.starts_with(&*prefix)).map(|(_, slot)| *slot));
        }
        let found: Vec<Arc<K>> = slots.into_iter().filter_map(|slot| stored.at(slot)).collect();
        self.count_visits(found.len());
        found
    }

    /// Shows the objects that an index has under a value one after the other, so that they are never all decoded
    /// at once, and nobody waits until they were. What changes meanwhile may be left out. `visit` must not use this
    /// cache.
    pub fn visit(&self, index: K::By, value: &str, mut visit: impl FnMut(&K)) {
        /// So many are decoded while everybody else waits.
        const CHUNK: usize = 64;
        let slots: Vec<usize> = {
            let stored = self.read();
            let slots = stored.indexes.get(&index).and_then(|index| index.get(value));
            slots.into_iter().flat_map(Slots::iter).collect()
        };
        for some in slots.chunks(CHUNK) {
            let stored = self.read();
            let held = some.iter().filter_map(|slot| stored.slots.get(*slot)?.as_ref());
            for object in held.filter_map(|held| stored.object_in(held)) {
                self.count_visits(1);
                // Another one may have its place by now.
                if values(object.as_ref()).iter().any(|(by, known)| *by == index && &**known == value) {
                    visit(&object);
                }
            }
        }
    }

    /// The keys of all objects, in no order, without a look at the objects. For what [`Cache::all`] is for.
    #[must_use]
    pub fn all_keys(&self) -> Vec<Key> {
        let stored = self.read();
        let names = stored.names.iter().flat_map(|(namespace, names)| {
            names.keys().map(|name| Key { namespace: namespace.clone(), name: name.clone() })
        });
        let keys: Vec<Key> = names.collect();
        self.count_visits(keys.len());
        keys
    }

    /// The number of objects that an index has under a value.
    #[must_use]
    pub fn count(&self, index: K::By, value: &str) -> usize {
        let stored = self.read();
        stored.indexes.get(&index).and_then(|index| index.get(value)).map_or(0, Slots::len)
    }

    /// The values that an index has, each with the number of its objects.
    #[must_use]
    pub fn values(&self, index: K::By) -> Vec<(Box<str>, usize)> {
        let stored = self.read();
        let values = stored.indexes.get(&index).into_iter().flatten();
        values.map(|(value, slots)| (value.clone(), slots.len())).collect()
    }

    /// All objects, in no order. For the start of a leader and for what concerns everything; never for one
    /// event.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        let stored = self.read();
        let found: Vec<Arc<K>> =
            stored.slots.iter().flatten().filter_map(|held| stored.object_in(held)).collect();
        self.count_visits(found.len());
        found
    }

    /// All objects that are not held as text, in no order. For what [`Cache::all`] is for.
    #[must_use]
    pub fn all_decoded(&self) -> Vec<Arc<K>> {
        let stored = self.read();
        let decoded = |held: &Held<K>| match held {
            Held::Decoded(object) => Some(Arc::clone(object)),
            Held::Compressed(_) => None,
        };
        let found: Vec<Arc<K>> = stored.slots.iter().flatten().filter_map(decoded).collect();
        self.count_visits(found.len());
        found
    }

    /// The number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        let stored = self.read();
        stored.slots.len() - stored.free.len()
    }

    /// Whether there is no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of objects that were looked at so far.
    #[must_use]
    pub fn visited(&self) -> u64 {
        self.shared.visited.load(Ordering::Relaxed)
    }

    /// Whether this version of an object, or a later one, is in the cache. Always false during a relist, which has to
    /// see every object.
    #[must_use]
    pub fn knows(&self, metadata: &ObjectMeta) -> bool {
        let stored = self.read();
        let (namespace, name) = names_in(metadata);
        let slot = stored.names.get(namespace).and_then(|names| names.get(name));
        let held = slot.and_then(|slot| stored.slots.get(*slot)?.as_ref());
        stored.listed.is_none()
            && held.and_then(Held::version).zip(version_in(metadata)).is_some_and(|(held, it)| it <= held)
    }

    /// Takes in what the watch saw. Returns what changed; `None` when nothing did, as for an object that
    /// stands here already because the operator wrote it itself.
    pub fn apply(&self, object: Arc<K>) -> Option<Change<K>> {
        self.write().put(object)
    }

    /// Takes in what the API server answered to a write of this process that was sent at `sent` or later,
    /// before the watch brings it. Returns what changed.
    ///
    /// Versions are numbers that grow (KEP 5504). An object that is not here is new, or the watch has seen it go
    /// since, with a higher version; when the watch listed anew meanwhile, nobody can tell, and it is left to the
    /// watch.
    pub fn apply_written(&self, object: Arc<K>, sent: Instant) -> Option<Change<K>> {
        let mut stored = self.write();
        let (namespace, name) = names(object.as_ref());
        if let Some(slot) = stored.names.get(namespace).and_then(|names| names.get(name)).copied() {
            let is_it = stored.at(slot).is_some_and(|known| known.meta().uid == object.meta().uid);
            return if is_it { stored.replace(slot, object) } else { None };
        }
        let has_listed_since = stored.listed.is_some() || stored.list_ended.is_none_or(|ended| ended >= sent);
        let is_gone = version(object.as_ref()).is_none_or(|version| version <= stored.newest_gone);
        if has_listed_since || is_gone { None } else { stored.put(object) }
    }

    /// Takes out an object that the watch saw go. Returns what changed.
    pub fn remove(&self, object: &K) -> Option<Change<K>> {
        let mut stored = self.write();
        let (namespace, name) = names(object);
        if let Some(Some(gone)) = stored.gone.get_mut(namespace) {
            gone.insert(name.into());
        }
        if let Some(backfill) = &mut stored.backfill {
            backfill.gone.insert(Key::new(namespace, name));
        }
        stored.newest_gone = stored.newest_gone.max(version(object).unwrap_or(u64::MAX));
        let slot = *stored.names.get(namespace)?.get(name)?;
        // An object that was made again since is another one, and known by the answer to its creation.
        let is_newer = stored.at(slot).is_some_and(|known| {
            known.meta().uid != object.meta().uid && version(known.as_ref()) > version(object)
        });
        if is_newer { None } else { stored.take_out(slot) }
    }

    /// Takes out an object by its key, whatever version it is. Returns what changed.
    #[must_use]
    pub fn forget(&self, namespace: &str, name: &str) -> Option<Change<K>> {
        let mut stored = self.write();
        let slot = *stored.names.get(namespace)?.get(name)?;
        stored.take_out(slot)
    }

    /// Notes that the watch begins to list anew.
    pub fn begin_list(&self) {
        let mut stored = self.write();
        stored.listed = Some(HashSet::new());
        stored.backfill = None;
        stored.gone.values_mut().for_each(|gone| *gone = None);
    }

    /// Notes that the watch has listed everything: what it did not list is gone. Returns what changed by that.
    #[must_use]
    pub fn end_list(&self) -> Vec<Change<K>> {
        let mut stored = self.write();
        let gone = stored.end_list(|_| true);
        // Under the lock, so that no later list comes between.
        self.shared.filled.send_replace(Filled::Complete);
        gone
    }

    /// Notes that the watch has listed a part: objects of that part that it did not list are gone. The objects
    /// that the list leaves out are to be read now. Returns what changed.
    #[must_use]
    pub fn end_partial_list(&self) -> Vec<Change<K>> {
        let mut stored = self.write();
        let gone = stored.end_list(|held| !held.is_backfilled());
        self.shared.filled.send_replace(Filled::Partial);
        gone
    }

    /// Notes that the objects that the first list left out are read from now on. Returns whether that can be: not
    /// while the watch lists.
    #[must_use]
    pub fn begin_backfill(&self) -> bool {
        let mut stored = self.write();
        let can_be = stored.listed.is_none();
        stored.backfill = can_be.then(Backfill::default);
        can_be
    }

    /// Takes in what was read beside the watch, unless that has seen it since. Returns what changed.
    pub fn apply_backfilled(&self, object: Arc<K>) -> Option<Change<K>> {
        let mut stored = self.write();
        let is_gone = stored.backfill.as_ref()?.gone.contains(&Key::of(object.as_ref()));
        if is_gone { None } else { stored.put(object) }
    }

    /// Notes that everything was read: what was seen neither by that nor by the watch is gone. Returns what
    /// changed by that; `None` when the watch began to list anew meanwhile, after which this is to be done again.
    #[must_use]
    pub fn end_backfill(&self) -> Option<Vec<Change<K>>> {
        let mut stored = self.write();
        let Backfill { seen, .. } = stored.backfill.take()?;
        let gone = stored.take_out_all(|slot, held| held.is_backfilled() && !seen.contains(&slot));
        self.shared.filled.send_replace(Filled::Complete);
        Some(gone)
    }

    /// Whether what was begun with [`Cache::begin_backfill`] still goes on.
    #[must_use]
    pub fn is_backfilling(&self) -> bool {
        self.read().backfill.is_some()
    }

    /// Returns a receiver of the part of the existing objects that this cache has.
    #[must_use]
    pub fn filled(&self) -> watch::Receiver<Filled> {
        self.shared.filled.subscribe()
    }

    /// Notes that one namespace is listed beside the watch: what the watch sees go meanwhile does not come back
    /// by that.
    pub fn begin_namespace(&self, namespace: &str) {
        let mut stored = self.write();
        let is_certain = stored.listed.is_none();
        stored.gone.insert(namespace.into(), is_certain.then(HashSet::new));
    }

    /// Takes in what a list of one namespace found. Returns what changed; `None` when the watch listed anew meanwhile,
    /// which does not tell what went, so that this is to be done again.
    #[must_use]
    pub fn end_namespace(
        &self,
        namespace: &str,
        listed: impl Iterator<Item = Arc<K>>,
    ) -> Option<Vec<Change<K>>> {
        let mut stored = self.write();
        let gone = stored.gone.remove(namespace)??;
        let there = listed.filter(|object| !gone.contains(names(object.as_ref()).1));
        (stored.listed.is_none()).then(|| there.filter_map(|object| stored.put(object)).collect())
    }

    /// Ends when the cache has been filled once.
    pub async fn wait_until_filled(&self) {
        // The sender lives as long as this cache.
        let _ = self.filled().wait_for(|filled| *filled != Filled::No).await;
    }

    /// Whether the cache has been filled once.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        *self.shared.filled.borrow() != Filled::No
    }

    /// Whether the cache has everything that there is. An object that is not found does not exist only if that is
    /// so before and after looking.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        *self.shared.filled.borrow() == Filled::Complete
    }

    fn count_visits(&self, number: usize) {
        self.shared.visited.fetch_add(number as u64, Ordering::Relaxed);
    }

    fn read(&self) -> RwLockReadGuard<'_, Stored<K>> {
        self.shared.stored.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Stored<K>> {
        self.shared.stored.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Indexed> Stored<K> {
    fn at(&self, slot: usize) -> Option<Arc<K>> {
        match self.slots.get(slot)?.as_ref()? {
            Held::Decoded(object) => Some(Arc::clone(object)),
            Held::Compressed(compressed) => {
                let known = self.recent().get(slot);
                known.or_else(|| {
                    let object = self.compression.decompress(compressed).map(Arc::new)?;
                    self.recent().put(slot, &object);
                    Some(object)
                })
            }
        }
    }

    /// As [`Stored::at`], without keeping the object decoded.
    fn object_in(&self, held: &Held<K>) -> Option<Arc<K>> {
        match held {
            Held::Decoded(object) => Some(Arc::clone(object)),
            Held::Compressed(compressed) => self.compression.decompress(compressed).map(Arc::new),
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent<K>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&mut self, object: &Arc<K>) -> Held<K> {
        let compressed = object
            .is_compressed()
            .then(|| self.compression.compress(object.as_ref(), version(object.as_ref())));
        compressed.flatten().map_or_else(|| Held::Decoded(Arc::clone(object)), Held::Compressed)
    }

    fn put(&mut self, object: Arc<K>) -> Option<Change<K>> {
        let (namespace, name) = names(object.as_ref());
        let known = self.names.get(namespace).and_then(|names| names.get(name)).copied();
        let Some(slot) = known else {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() - 1
            });
            self.names.entry(namespace.into()).or_default().insert(name.into(), slot);
            self.reindex(slot, &[], &values(object.as_ref()));
            let held = self.hold(&object);
            self.set_slot(slot, Some(held));
            self.note_listed(slot);
            if let Some(backfill) = &mut self.backfill {
                backfill.seen.insert(slot);
            }
            return Some(Change { before: None, after: Some(object) });
        };
        self.note_listed(slot);
        self.replace(slot, object)
    }

    /// Ends a list: objects that it was about and did not have are taken out. Returns what changed.
    fn end_list(&mut self, is_about: impl Fn(&Held<K>) -> bool) -> Vec<Change<K>> {
        let Some(listed) = self.listed.take() else { return Vec::new() };
        self.list_ended = Some(Instant::now());
        self.take_out_all(|slot, held| is_about(held) && !listed.contains(&slot))
    }

    fn take_out_all(&mut self, is_gone: impl Fn(usize, &Held<K>) -> bool) -> Vec<Change<K>> {
        let occupied = self.slots.iter().enumerate().filter_map(|(slot, held)| Some((slot, held.as_ref()?)));
        let gone: Vec<usize> =
            occupied.filter(|(slot, held)| is_gone(*slot, held)).map(|(slot, _)| slot).collect();
        gone.into_iter().filter_map(|slot| self.take_out(slot)).collect()
    }

    fn replace(&mut self, slot: usize, object: Arc<K>) -> Option<Change<K>> {
        if let Some(backfill) = &mut self.backfill {
            backfill.seen.insert(slot);
        }
        let before = self.at(slot)?;
        if is_no_news(before.as_ref(), object.as_ref()) {
            return None;
        }
        let (old, new) = (values(before.as_ref()), values(object.as_ref()));
        if old != new {
            self.reindex(slot, &old, &new);
        }
        let held = self.hold(&object);
        self.set_slot(slot, Some(held));
        Some(Change { before: Some(before), after: Some(object) })
    }

    fn take_out(&mut self, slot: usize) -> Option<Change<K>> {
        let before = self.at(slot)?;
        self.set_slot(slot, None);
        let (namespace, name) = names(before.as_ref());
        if let Some(names) = self.names.get_mut(namespace) {
            names.remove(name);
            if names.is_empty() {
                self.names.remove(namespace);
            }
        }
        self.reindex(slot, &values(before.as_ref()), &[]);
        self.free.push(slot);
        Some(Change { before: Some(before), after: None })
    }

    fn set_slot(&mut self, slot: usize, object: Option<Held<K>>) {
        self.recent().forget(slot);
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = object;
        }
    }

    fn note_listed(&mut self, slot: usize) {
        if let Some(listed) = &mut self.listed {
            listed.insert(slot);
        }
    }

    fn reindex(&mut self, slot: usize, old: &[(K::By, Box<str>)], new: &[(K::By, Box<str>)]) {
        for (by, value) in old {
            if K::is_ordered(*by) {
                self.ordered.entry(*by).or_default().remove(&(value.clone(), slot));
                continue;
            }
            let Some(index) = self.indexes.get_mut(by) else { continue };
            let Some(slots) = index.get_mut(value) else { continue };
            if slots.remove(slot) {
                index.remove(value);
            }
        }
        for (by, value) in new {
            if K::is_ordered(*by) {
                self.ordered.entry(*by).or_default().insert((value.clone(), slot));
                continue;
            }
            let slots = self.indexes.entry(*by).or_default().entry(value.clone());
            slots.and_modify(|slots| slots.add(slot)).or_insert(Slots::One(slot));
        }
    }
}

/// Whether a version is the known one or an older one. Without comparable versions every one is news.
fn is_no_news<K: Resource>(known: &K, object: &K) -> bool {
    match (version(known), version(object)) {
        (Some(known), Some(version)) => version <= known,
        _ => false,
    }
}

fn version<K: Resource>(object: &K) -> Option<u64> {
    version_in(object.meta())
}

fn version_in(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_deref()?.parse().ok()
}

fn names<K: Resource>(object: &K) -> (&str, &str) {
    names_in(object.meta())
}

fn names_in(metadata: &ObjectMeta) -> (&str, &str) {
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

fn values<K: Indexed>(object: &K) -> Vec<(K::By, Box<str>)> {
    let mut values = Vec::new();
    object.index(&mut |by, value| values.push((by, value.into())));
    values
}

#[cfg(test)]
mod tests;
