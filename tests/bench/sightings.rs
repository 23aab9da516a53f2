//! What a watch has seen, and when.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Namespace and name.
pub type Key = (String, String);

/// A watch of one kind that notes of each object since when it is in a state, or since when it is not.
pub struct Sightings {
    known: Arc<Mutex<Known>>,
    changed: watch::Receiver<()>,
    news: mpsc::UnboundedReceiver<Key>,
    watching: JoinHandle<()>,
}

#[derive(Default)]
struct Known {
    objects: HashMap<Key, (bool, Instant)>,
    /// How many are in the state.
    count: usize,
    /// When the last one came into it.
    last: Option<Instant>,
}

impl Known {
    /// Whether the object came into the state just now.
    fn note(&mut self, key: &Key, holds: bool) -> bool {
        let was = self.objects.get(key).is_some_and(|(holds, _)| *holds);
        if was == holds && self.objects.contains_key(key) {
            return false;
        }
        let now = Instant::now();
        self.objects.insert(key.clone(), (holds, now));
        match (was, holds) {
            (false, true) => {
                self.count += 1;
                self.last = Some(now);
            }
            (true, false) => self.count -= 1,
            _ => {}
        }
        holds
    }
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
        let known: Arc<Mutex<Known>> = Arc::default();
        let (change, changed) = watch::channel(());
        let (tell, news) = mpsc::unbounded_channel();
        let (synced, is_synced) = oneshot::channel();
        let noted = Arc::clone(&known);
        let watching = tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
            let mut synced = Some(synced);
            while let Some(event) = events.next().await {
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
                let is_news = lock(&noted).note(&key, holds);
                if is_news {
                    // Nobody needs to listen.
                    let _ = tell.send(key);
                }
                change.send_replace(());
            }
        });
        is_synced.await.unwrap_or_else(|_| panic!("failed to watch {}", K::plural(&())));
        Self { known, changed, news, watching }
    }

    /// How many objects are in the state.
    pub fn count(&self) -> usize {
        lock(&self.known).count
    }

    /// The objects that are in the state.
    pub fn all(&self) -> Vec<Key> {
        let known = lock(&self.known);
        known.objects.iter().filter(|(_, (holds, _))| *holds).map(|(key, _)| key.clone()).collect()
    }

    /// The next object that came into the state.
    ///
    /// # Panics
    /// If the watch ends.
    pub async fn next(&mut self) -> Key {
        self.news.recv().await.expect("the watch goes on")
    }

    /// Waits until as many objects are in the state, and says when the last one came into it.
    ///
    /// # Panics
    /// With `what`, if they are not `within` this time.
    pub async fn wait_for_count(&self, count: usize, within: Duration, what: &str) -> Instant {
        let probe = |known: &Known| (known.count >= count).then(|| known.last.unwrap_or_else(Instant::now));
        self.wait(within, what, probe).await
    }

    /// Waits until all of these are in the state, or none, and says since when.
    ///
    /// # Panics
    /// With `what`, if they are not `within` this time.
    pub async fn wait_for_all(&self, keys: &[Key], state: bool, within: Duration, what: &str) -> Instant {
        let probe = |known: &Known| {
            let since = |key: &Key| match known.objects.get(key) {
                Some((holds, at)) => (*holds == state).then_some(Some(*at)),
                None => (!state).then_some(None),
            };
            let all: Option<Vec<Option<Instant>>> = keys.iter().map(since).collect();
            all.map(|all| all.into_iter().flatten().max().unwrap_or_else(Instant::now))
        };
        self.wait(within, what, probe).await
    }

    async fn wait<T>(&self, within: Duration, what: &str, probe: impl Fn(&Known) -> Option<T>) -> T {
        let mut changed = self.changed.clone();
        let waiting = async {
            loop {
                let answer = probe(&lock(&self.known));
                if let Some(answer) = answer {
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
}

impl Drop for Sightings {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
