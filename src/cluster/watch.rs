//! One watch of one kind, whatever happens.

use std::fmt::Debug;
use std::time::Duration;

use backon::ExponentialBuilder;
use futures::StreamExt;
use kube::core::DeserializeGuard;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tracing::{info, warn};

const MIN_BACKOFF: Duration = Duration::from_millis(200);
/// How long after a failure a watch is tried again at the latest. Short, because closing access
/// waits for it.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// What a watch has seen, in this order: a list of everything at first and after each interruption, then one
/// change after the other.
#[derive(Debug)]
pub enum Seen<K> {
    /// What is there is told anew. What is not among it is gone.
    ListBegins,
    /// An object is there, or was created or changed.
    Applied(K),
    /// An object was deleted.
    Deleted(K),
    /// Everything that is there was told.
    ListEnds,
}

/// Tells what there is and what changes, for ever. Never returns: every error is retried, with a message for
/// people.
///
/// An object that this version cannot decode is reported in the log and left out; the other objects are not
/// affected.
pub async fn run_watch<K>(api: Api<DeserializeGuard<K>>, config: watcher::Config, mut see: impl FnMut(Seen<K>))
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let plural = K::plural(&());
    let backoff = ExponentialBuilder::default()
        .with_min_delay(MIN_BACKOFF)
        .with_max_delay(MAX_BACKOFF)
        .without_max_times()
        .with_jitter();
    let backoff = ResetTimerBackoff::new(watcher::ExponentialBackoff::from(backoff), MAX_BACKOFF * 2);
    let backoff = Patient(backoff);
    let mut stream = std::pin::pin!(watch(api, config).backoff(backoff));
    let mut trouble = None;
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                report(&plural, &error, &mut trouble);
                continue;
            }
        };
        if !matches!(event, Event::Init) && trouble.take().is_some() {
            info!(resource = %plural, "watching again");
        }
        if let Some(seen) = decode(event, &plural) {
            see(seen);
        }
    }
}

/// Every attempt begins with an event, so a success is not a reason to start with the shortest delay again;
/// a quiet while is, which the timer inside knows.
struct Patient<B>(B);

impl<B: Iterator<Item = Duration>> Iterator for Patient<B> {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl<B: Backoff> Backoff for Patient<B> {
    fn reset(&mut self) {}
}

fn decode<K: Resource<DynamicType = ()>>(
    event: Event<DeserializeGuard<K>>,
    plural: &str,
) -> Option<Seen<K>> {
    let decoded = |guard: DeserializeGuard<K>| {
        guard
            .0
            .inspect_err(|invalid| {
                warn!(
                    resource = plural,
                    namespace = invalid.metadata.namespace.as_deref().unwrap_or_default(),
                    name = invalid.metadata.name.as_deref().unwrap_or_default(),
                    error = invalid.error,
                    "cannot read this object; are the CustomResourceDefinitions of this version installed?"
                );
            })
            .ok()
    };
    Some(match event {
        Event::Apply(guard) | Event::InitApply(guard) => Seen::Applied(decoded(guard)?),
        Event::Delete(guard) => Seen::Deleted(decoded(guard)?),
        Event::Init => Seen::ListBegins,
        Event::InitDone => Seen::ListEnds,
    })
}

/// Tells a trouble once, not at every attempt.
fn report(plural: &str, error: &watcher::Error, known: &mut Option<&'static str>) {
    let api_code = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    };
    let hint = match api_code {
        Some(404) => "the resource is not installed; install the chart of this version",
        Some(401) => "the API server does not accept the operator's credentials",
        Some(403) => "the operator's service account lacks the right to list and watch it",
        Some(410) => "the watch was too old and starts again",
        Some(_) => "the API server answers with an error",
        None => "the API server cannot be reached",
    };
    if known.replace(hint) == Some(hint) {
        return;
    }
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    warn!(resource = plural, cause, "failed to watch, trying again: {hint}");
}
