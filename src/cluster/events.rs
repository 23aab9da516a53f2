//! Kubernetes Events: what people read first when they wonder.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tracing::warn;

use super::fence::is_refused;
use crate::api::names::OPERATOR;
use crate::plan::{Notice, Severity};

/// An Event's note may have at most 1024 bytes.
const MAX_NOTE_BYTES: usize = 1024;

/// Publishes Events as the operator.
#[derive(Clone)]
pub struct Events {
    client: Client,
    reporter: Reporter,
}

impl Events {
    /// Events that name this process as their reporter.
    #[must_use]
    pub fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter { controller: OPERATOR.into(), instance: Some(identity.to_owned()) };
        Self { client, reporter }
    }

    /// Publishes an Event. A failure is logged and nothing else: Events are for reading, the truth
    /// is in the status.
    pub async fn publish(&self, about: &ObjectReference, notice: Notice) {
        let event = Event {
            type_: match notice.severity {
                Severity::Normal => EventType::Normal,
                Severity::Warning => EventType::Warning,
            },
            reason: notice.reason.to_owned(),
            note: Some(cut(&notice.message, MAX_NOTE_BYTES).to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        // A recorder counts up what it published before, and keeps the first note. Only transitions
        // are told here, and each has its own words, so each gets a recorder that knows of none.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, about).await
            && !is_refused(&error)
        {
            warn!(%error, reason = notice.reason, "failed to publish an Event");
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
    use super::cut;

    #[test]
    fn a_note_is_cut_at_a_character() {
        assert_eq!(cut("Grüße", 100), "Grüße");
        assert_eq!(cut("Grüße", 3), "Gr");
        assert_eq!(cut("Grüße", 4), "Grü");
    }
}
