//! One watch of one kind, whatever happens.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use backon::ExponentialBuilder;
use http::{Request, Uri};

use kube::api::ObjectMeta;
use kube::client::Body;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::InitialListStrategy::ListWatch;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource};
use tower::service_fn;
use tower::timeout::error::Elapsed;
use tower_http::timeout::TimeoutError;
use tracing::{info, warn};

use super::coalesce::Coalesced;
use super::unreadable::{Counts, Unreadables};
use crate::api::reading::{Item, Readable};

const MIN_BACKOFF: Duration = Duration::from_millis(200);
/// The longest time after a failure until a watch is tried again. The time is short, because closing access waits
/// for it.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// An event of a watch, in this order: a list of everything at first and after each interruption, then one change
/// after the other.
#[derive(Debug)]
pub enum WatchEvent<K> {
    /// A list begins: all objects that it covers are delivered anew, and those of them that it does not bring are
    /// gone.
    ListBegins,
    /// An object is there, or was created or changed.
    Applied(K),
    /// An object was deleted.
    Deleted(K),
    /// The list ends: everything that is there was delivered.
    ListEnds,
    /// The list of a part ends: everything that it selects was delivered. Changes of everything follow.
    PartOfListEnds,
}

/// The time that one request for a watch lasts: less than the time after which a silent connection is given up
/// (`runtime::client`), so that nothing is wrong when nothing happens.
pub const WATCH_SECONDS: u32 = 75;
/// The number of objects that are held at once where the API server does not send them one by one.
const PAGE: u32 = 100;

/// The same objects twice: as they are, and by a client that lists a part of them ([`list_selected`]).
pub struct Apis<K> {
    /// The objects that are watched.
    pub all: Api<Item<K>>,
    /// The objects that are listed at first and after each interruption, if those are not all.
    pub part: Option<Api<Item<K>>>,
}

/// Delivers what there is and what changes, for ever. Never returns: every error is retried, with a message for
/// people.
///
/// Objects come one by one and are read part by part (see [`crate::api::reading`]): an object is delivered
/// whatever is in it, and neither the list nor another object's event waits for it. Versions that `is_known`
/// accepts, such as results of this process's own writes, are skipped before they are decoded.
///
/// Where a part is listed at first, an API server that does not know how to select it lists everything.
///
/// Changes that follow each other within `window` are read together ([`Coalesced`]), lists as they come.
pub async fn run_watch<K>(
    Apis { all, mut part }: Apis<K>,
    config: watcher::Config,
    window: Duration,
    counts: Counts,
    is_known: impl Fn(&ObjectMeta) -> bool,
    mut see: impl FnMut(WatchEvent<K>),
) where
    K: Readable + Clone + Debug + Send + Sync + 'static,
{
    let plural = K::plural(&());
    let mut unreadables = Unreadables::of::<K>(counts);
    let streaming = config.timeout(WATCH_SECONDS).streaming_lists();
    let in_pages = watcher::Config { initial_list_strategy: ListWatch, ..streaming.clone() }.page_size(PAGE);
    let mut can_stream = true;
    let mut last_error = None;
    let mut coalesced = Coalesced::within(window);
    loop {
        let api = part.as_ref().unwrap_or(&all).clone();
        let config = if part.is_none() && can_stream { &streaming } else { &in_pages };
        let backoff = ExponentialBuilder::default()
            .with_min_delay(MIN_BACKOFF)
            .with_max_delay(MAX_BACKOFF)
            .without_max_times()
            .with_jitter();
        let backoff = ResetTimerBackoff::new(watcher::ExponentialBackoff::from(backoff), MAX_BACKOFF * 2);
        let stream = watch(api, config.clone()).backoff(Patient(backoff));
        let mut stream = std::pin::pin!(stream);
        let mut is_listed = false;
        while let Some(event) = coalesced.next(&mut stream, is_listed).await {
            is_listed = matches!(event, Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone));
            let event = match event {
                Ok(event) => event,
                Err(error) if is_streaming_refused(&error) && config.initial_list_strategy != ListWatch => {
                    info!(resource = %plural, "the API server does not stream lists; reading them in pages");
                    can_stream = false;
                    break;
                }
                Err(error) if is_selection_refused(&error) && part.is_some() => {
                    info!(resource = %plural, "the API server does not select by these fields; reading everything at first; install the CustomResourceDefinitions of this version");
                    part = None;
                    break;
                }
                Err(error) => {
                    report(&plural, &error, &mut last_error);
                    continue;
                }
            };
            if !matches!(event, Event::Init) && last_error.take().is_some() {
                info!(resource = %plural, "watching again");
            }
            match &event {
                Event::Apply(item) if is_known(item.meta()) && !unreadables.has(item) => {}
                Event::InitDone if part.is_some() => {
                    unreadables.end();
                    see(WatchEvent::PartOfListEnds);
                }
                _ => see(read_event(event, &mut unreadables)),
            }
        }
    }
}

/// A client whose lists have only what this field selector selects, and whose watches have everything.
///
/// # Panics
/// Outside a tokio runtime.
#[must_use]
pub fn list_selected(client: Client, selector: &'static str) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = service_fn(move |mut request: Request<Body>| {
        if let Some(uri) = select(request.uri(), selector) {
            *request.uri_mut() = uri;
        }
        let client = client.clone();
        async move { client.send(request).await }
    });
    Client::new(service, namespace)
}

fn select(uri: &Uri, selector: &str) -> Option<Uri> {
    let query = uri.query().unwrap_or_default();
    if query.split('&').any(|part| part == "watch=true") {
        return None;
    }
    let selector = selector.replace('!', "%21").replace('=', "%3D").replace(',', "%2C");
    format!("{}?{query}&fieldSelector={selector}", uri.path()).parse().ok()
}

/// Whether the API server does not know a field by which it was to select.
fn is_selection_refused(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status))
        if status.code == 400 && status.message.contains("field label not supported"))
}

/// A client for watches whose first list is as new as the API server can make it. kube asks for any version
/// that there is (`resourceVersion=0`), which an API server that lags behind the others answers with what was;
/// and what was may explain rights that are over, or not yet explain those that were given since.
///
/// # Panics
/// Outside a tokio runtime.
#[must_use]
pub fn list_consistently(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = service_fn(move |mut request: Request<Body>| {
        if let Some(uri) = ask_for_the_latest(request.uri()) {
            *request.uri_mut() = uri;
        }
        let client = client.clone();
        async move { client.send(request).await }
    });
    Client::new(service, namespace)
}

fn ask_for_the_latest(uri: &Uri) -> Option<Uri> {
    let query = uri.query().filter(|query| query.split('&').any(|part| part == "sendInitialEvents=true"))?;
    let parts: Vec<&str> = query.split('&').filter(|part| *part != "resourceVersion=0").collect();
    format!("{}?{}", uri.path(), parts.join("&")).parse().ok()
}

/// Whether the API server says that it does not send lists as watches.
fn is_streaming_refused(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status))
        if status.code == 422 && status.message.contains("sendInitialEvents"))
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

fn read_event<K: Readable>(event: Event<Item<K>>, unreadables: &mut Unreadables) -> WatchEvent<K> {
    match event {
        Event::Apply(item) | Event::InitApply(item) => {
            let (object, unread) = item.read();
            unreadables.note(&object, &unread, Instant::now());
            WatchEvent::Applied(object)
        }
        Event::Delete(item) => {
            let (object, _) = item.read();
            unreadables.forget(&object);
            WatchEvent::Deleted(object)
        }
        Event::Init => {
            unreadables.begin();
            WatchEvent::ListBegins
        }
        Event::InitDone => {
            unreadables.end();
            WatchEvent::ListEnds
        }
    }
}

/// Logs a trouble once, not at every attempt.
fn report(plural: &str, error: &watcher::Error, known: &mut Option<&'static str>) {
    let hint = describe(error);
    if known.replace(hint) == Some(hint) {
        return;
    }
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    warn!(resource = plural, cause, "failed to watch, trying again: {hint}");
}

/// Returns the meaning of an error. That the API server cannot be reached is said only when that is so.
fn describe(error: &watcher::Error) -> &'static str {
    let api_code = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    };
    match (api_code, error) {
        (Some(404), _) => "the resource is not installed; install the chart of this version",
        (Some(401), _) => "the API server does not accept the operator's credentials",
        (Some(403), _) => "the operator's service account lacks the right to list and watch it",
        (Some(410), _) => "the watch was too old and starts again",
        (Some(_), _) => "the API server answers with an error",
        (
            None,
            watcher::Error::NoResourceVersion
            | watcher::Error::InitialListFailed(kube::Error::SerdeError(_) | kube::Error::FromUtf8(_))
            | watcher::Error::WatchFailed(kube::Error::SerdeError(_) | kube::Error::FromUtf8(_)),
        ) => "the API server's answer is no object or list that this version knows",
        (None, _) if has_source::<Elapsed>(error) || has_source::<TimeoutError>(error) => {
            "the API server did not answer in time"
        }
        (
            None,
            watcher::Error::InitialListFailed(kube::Error::Auth(_))
            | watcher::Error::WatchStartFailed(kube::Error::Auth(_)),
        ) => "the operator's own credentials cannot be read",
        (None, _) => "the API server cannot be reached",
    }
}

/// Whether something of this type is behind an error.
fn has_source<E: std::error::Error + 'static>(error: &(dyn std::error::Error + 'static)) -> bool {
    // The error inside a `std::io::Error` is not its source.
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<E>()
        || inner.is_some_and(|inner| has_source::<E>(inner))
        || error.source().is_some_and(has_source::<E>)
}

#[cfg(test)]
mod tests {
    use kube::client::AuthError;

    use super::*;

    #[test]
    fn a_list_that_is_streamed_is_the_latest_one_and_other_watches_go_on_where_they_were() {
        let asked = |uri: &str| ask_for_the_latest(&uri.parse().unwrap()).map(|uri| uri.to_string());
        let first = "/api/v1/pods?&watch=true&resourceVersion=0&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        assert_eq!(
            asked(first).as_deref(),
            Some("/api/v1/pods?&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
        );
        assert_eq!(asked("/api/v1/pods?&watch=true&resourceVersion=0"), None);
        assert_eq!(asked("/api/v1/pods?&watch=true&resourceVersion=7"), None);
        assert_eq!(asked("/api/v1/pods"), None);
    }

    #[test]
    fn lists_are_selected_and_watches_are_not() {
        let asked = |uri: &str| select(&uri.parse().unwrap(), "a.b!=c,d=").map(|uri| uri.to_string());
        let selected = "/api/v1/pods?limit=100&fieldSelector=a.b%21%3Dc%2Cd%3D";
        assert_eq!(asked("/api/v1/pods?limit=100").as_deref(), Some(selected));
        assert_eq!(asked("/api/v1/pods?&watch=true&resourceVersion=7"), None);
    }

    #[test]
    fn only_a_server_that_does_not_answer_cannot_be_reached() {
        let status = |code, message: &str| kube::core::Status {
            code,
            message: message.to_owned(),
            ..kube::core::Status::default()
        };
        let unreached = "the API server cannot be reached";
        let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(describe(&watcher::Error::WatchFailed(kube::Error::ReadEvents(lost))), unreached);
        let late = kube::Error::Service(Box::new(Elapsed::new()));
        assert_eq!(
            describe(&watcher::Error::WatchStartFailed(late)),
            "the API server did not answer in time"
        );
        let malformed = || kube::Error::SerdeError(serde_json::from_str::<()>("x").unwrap_err());
        for error in [
            watcher::Error::WatchFailed(malformed()),
            watcher::Error::InitialListFailed(malformed()),
            watcher::Error::NoResourceVersion,
            watcher::Error::WatchError(Box::new(status(410, "gone"))),
            watcher::Error::WatchStartFailed(kube::Error::Auth(AuthError::AuthExec("no token".into()))),
            watcher::Error::WatchFailed(kube::Error::Api(Box::new(status(500, "")))),
        ] {
            assert_ne!(describe(&error), unreached, "{error}");
        }
        let refused = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch";
        let start = |status| watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(status)));
        assert!(is_streaming_refused(&start(status(422, refused))));
        assert!(!is_streaming_refused(&start(status(422, "another"))));
        assert!(!is_streaming_refused(&start(status(403, refused))));
        let first = |status| watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
        assert!(is_selection_refused(&first(status(400, "field label not supported: status.enactedAt"))));
        assert!(!is_selection_refused(&first(status(400, "another"))));
    }
}
