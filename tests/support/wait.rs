//! Waiting for a condition, with a deadline, in place of sleeping.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Blocks until `probe` answers; `None` if it did not `within` this time.
pub fn poll<T>(within: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        let answer = probe();
        if answer.is_some() || Instant::now() >= deadline {
            return answer;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Asks `probe` again and again until it answers. For what cannot be watched; for objects there
/// is [`wait_until`].
///
/// # Panics
/// With `what`, if there is no answer `within` this time.
pub async fn eventually<T>(what: &str, within: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Watches an object until `predicate` holds for it, and returns it. It need not exist yet.
///
/// # Panics
/// With `what` and the last state of the object, if that does not happen `within` this time.
pub async fn wait_until<K>(
    api: Api<K>,
    name: &str,
    within: Duration,
    what: &str,
    mut predicate: impl FnMut(&K) -> bool,
) -> K
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug + Send + 'static,
{
    let reached = |object: &Option<K>| object.as_ref().is_some_and(&mut predicate);
    let object = watch(api, name, within, what, reached).await;
    object.expect("the watch ended with an object")
}

/// Watches an object until it does not exist.
///
/// # Panics
/// With `what` and the last state of the object, if that does not happen `within` this time.
pub async fn wait_gone<K>(api: Api<K>, name: &str, within: Duration, what: &str)
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug + Send + 'static,
{
    watch(api, name, within, what, |object: &Option<K>| object.is_none()).await;
}

async fn watch<K>(
    api: Api<K>,
    name: &str,
    within: Duration,
    what: &str,
    mut reached: impl FnMut(&Option<K>) -> bool,
) -> Option<K>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug + Send + 'static,
{
    let mut states = std::pin::pin!(watcher::watch_object(api, name).default_backoff());
    let mut last = "nothing was seen".to_owned();
    let watching = async {
        while let Some(state) = states.next().await {
            match state {
                Ok(object) if reached(&object) => return object,
                Ok(None) => "it does not exist".clone_into(&mut last),
                Ok(Some(object)) => {
                    last = serde_yaml_ng::to_string(&object).unwrap_or_else(|e| e.to_string());
                }
                Err(error) => last = format!("the watch failed: {error}"),
            }
        }
        unreachable!("a watch goes on for ever")
    };
    if let Ok(object) = tokio::time::timeout(within, watching).await {
        return object;
    }
    panic!("not within {within:?}: {what}; the last state of {name}:\n{last}")
}
