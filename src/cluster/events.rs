//! Kubernetes Events: what people read first when they wonder.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tracing::warn;

use super::confirm::RateLimit;
use super::fence::is_refused;
use crate::api::names::OPERATOR;
use crate::plan::{PlannedEvent, Severity};

/// An Event's note may have at most 1024 bytes.
const MAX_NOTE_BYTES: usize = 1024;

/// The number of Events that are queued at most. Each is logged, too.
const MOST_WAITING: usize = 1000;
/// Nobody waits for an Event, and one costs the API server as much as a NetworkPolicy, which somebody waits for.
const EVENT_RATE: RateLimit = RateLimit { burst: 20, interval: Duration::from_millis(100) };

/// Queues Events for publishing and never blocks.
#[derive(Clone)]
pub struct Events {
    waiting: mpsc::Sender<(ObjectReference, PlannedEvent)>,
}

impl Events {
    /// The queue, and the task that publishes what is queued.
    #[must_use]
    pub fn new(client: Client, identity: &str) -> (Self, Publisher) {
        let (waiting, taken) = mpsc::channel(MOST_WAITING);
        let reporter = Reporter { controller: OPERATOR.into(), instance: Some(identity.to_owned()) };
        (Self { waiting }, Publisher { client, reporter, taken })
    }

    /// Queues an Event. When the queue is full the Event is dropped, with a line in the log.
    pub fn publish(&self, about: ObjectReference, event: PlannedEvent) {
        let reason = event.reason;
        if self.waiting.try_send((about, event)).is_err() {
            warn!(reason, "the queue of Events is full, so this one is only in the log");
        }
    }
}

/// Publishes Events as the operator, naming this process as their reporter.
pub struct Publisher {
    client: Client,
    reporter: Reporter,
    taken: mpsc::Receiver<(ObjectReference, PlannedEvent)>,
}

impl Publisher {
    /// Publishes one Event after the other, until the last [`Events`] is dropped.
    pub async fn run(mut self) {
        let mut due = None;
        while let Some((about, event)) = self.taken.recv().await {
            let now = Instant::now();
            let (at, next) = EVENT_RATE.begin(due, now);
            due = Some(next);
            if at > now {
                tokio::time::sleep_until(at.into()).await;
            }
            self.publish(&about, event).await;
        }
    }

    /// Publishes one Event. A failure is logged and nothing else: Events are for reading, the truth is in the
    /// status.
    async fn publish(&self, about: &ObjectReference, event: PlannedEvent) {
        let event = Event {
            type_: match event.severity {
                Severity::Normal => EventType::Normal,
                Severity::Warning => EventType::Warning,
            },
            reason: event.reason.to_owned(),
            note: Some(cut(&event.message, MAX_NOTE_BYTES).to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        // A recorder counts up what it published before, and keeps the first note. Only transitions are published
        // here, and each has its own words, so each gets a recorder that knows of none.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, about).await
            && !is_refused(&error)
        {
            warn!(%error, reason = event.reason, "failed to publish an Event");
        }
    }
}

/// The longest beginning of a text that has at most so many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let end =
        text.char_indices().map(|(start, c)| start + c.len_utf8()).take_while(|end| *end <= bytes).last();
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The publisher does not run here, as when the API server does not answer.
    #[tokio::test]
    async fn nobody_waits_for_an_event_and_not_more_than_so_many_wait() {
        let unanswered = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("no answer"))
        });
        let (events, publisher) = Events::new(Client::new(unanswered, "default"), "one");
        for _ in 0..2 * MOST_WAITING {
            let event = PlannedEvent { severity: Severity::Normal, reason: "Tested", message: String::new() };
            events.publish(ObjectReference::default(), event);
        }
        assert_eq!(publisher.taken.len(), MOST_WAITING);
    }

    #[test]
    fn a_note_is_cut_at_a_character() {
        assert_eq!(cut("Grüße", 100), "Grüße");
        assert_eq!(cut("Grüße", 3), "Gr");
        assert_eq!(cut("Grüße", 4), "Grü");
    }
}
