//! What a watch has seen, and when.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Namespace and name.
pub type Key = (String, String);

/// A watch of one kind that notes of each object since when `holds` is true, or since when it is not.
pub struct Sightings {
    known: Arc<Mutex<HashMap<Key, (bool, Instant)>>>,
    changed: watch::Receiver<()>,
    watching: JoinHandle<()>,
}

impl Sightings {
    /// Begins to watch, and returns when all that exists was seen. `holds` is true for objects in the state
    /// that is waited for.
    ///
    /// # Panics
    /// If it cannot be watched.
    pub async fn of<K>(api: Api<K>, holds: impl Fn(&K) -> bool + Send + 'static) -> Self
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let known: Arc<Mutex<HashMap<Key, (bool, Instant)>>> = Arc::default();
        let (change, changed) = watch::channel(());
        let (synced, is_synced) = oneshot::channel();
        let noted = Arc::clone(&known);
        let watching = tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
            let mut synced = Some(synced);
            while let Some(event) = events.next().await {
                let now = Instant::now();
                let (object, holds) = match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => {
                        let holds = holds(&object);
                        (object, holds)
                    }
                    Ok(Event::Delete(object)) => (object, false),
                    Ok(Event::Init) => continue,
                    Ok(Event::InitDone) => {
                        synced.take().map(|synced| synced.send(()));
                        continue;
                    }
                    // A figure with a gap in it would be wrong.
                    Err(error) => panic!("failed to watch {}: {error}", K::plural(&())),
                };
                let key = (object.namespace().unwrap_or_default(), object.name_any());
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                let entry = noted.entry(key).or_insert((false, now));
                if entry.0 != holds {
                    *entry = (holds, now);
                }
                drop(noted);
                change.send_replace(());
            }
        });
        is_synced.await.unwrap_or_else(|_| panic!("failed to watch {}", K::plural(&())));
        Self { known, changed, watching }
    }

    /// How many objects are in the state.
    pub fn count(&self) -> usize {
        self.lock().values().filter(|(holds, _)| *holds).count()
    }

    /// The objects that are in the state.
    pub fn all(&self) -> Vec<Key> {
        self.lock().iter().filter(|(_, (holds, _))| *holds).map(|(key, _)| key.clone()).collect()
    }

    /// Waits until as many objects are in the state.
    ///
    /// # Panics
    /// With `what`, if they are not `within` this time.
    pub async fn wait_for_count(&self, count: usize, within: Duration, what: &str) -> Instant {
        self.wait(within, what, |known| {
            let holding = known.values().filter(|(holds, _)| *holds);
            let (number, last) =
                holding.fold((0, None), |(number, last), (_, at)| (number + 1, last.max(Some(*at))));
            (number >= count).then(|| last.unwrap_or_else(Instant::now))
        })
        .await
    }

    /// Waits until all of these are in the state, or none, and says since when.
    ///
    /// # Panics
    /// With `what`, if they are not `within` this time.
    pub async fn wait_for_all(&self, keys: &[Key], state: bool, within: Duration, what: &str) -> Instant {
        self.wait(within, what, |known| {
            let since = |key: &Key| match known.get(key) {
                Some((holds, at)) => (*holds == state).then_some(Some(*at)),
                None => (!state).then_some(None),
            };
            let all: Option<Vec<Option<Instant>>> = keys.iter().map(since).collect();
            all.map(|all| all.into_iter().flatten().max().unwrap_or_else(Instant::now))
        })
        .await
    }

    async fn wait<T>(
        &self,
        within: Duration,
        what: &str,
        mut probe: impl FnMut(&HashMap<Key, (bool, Instant)>) -> Option<T>,
    ) -> T {
        let mut changed = self.changed.clone();
        let waiting = async {
            loop {
                if let Some(answer) = probe(&self.lock()) {
                    return answer;
                }
                changed.changed().await.unwrap_or_else(|_| panic!("the watch ended before: {what}"));
            }
        };
        let Ok(answer) = tokio::time::timeout(within, waiting).await else {
            panic!("not within {within:?}: {what}; {} objects are", self.count())
        };
        answer
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, (bool, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sightings {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
