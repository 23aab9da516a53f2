//! The targets of audit records, and the meaning of a failure at one of them for the other records.

use jiff::SignedDuration;
use tracing::warn;

use crate::api::community::Channel;
use crate::controllers::Context;
use crate::kinds::outbox::{Event, SinkName, sink_of};
use crate::model::audit::cloud_event::without_words;
use crate::notify::{Delivery, community_of, send};
use crate::sinks::{DeliveryError, EventSink};

/// After so many refusals, or answers that did not come, something else is done.
const MOST_ATTEMPTS: u32 = 3;
/// The time for which a delivery to people is tried; then the record is old news.
const LONGEST_NOTIFYING: SignedDuration = SignedDuration::from_hours(24);

/// A target of audit records.
#[derive(Clone)]
pub enum Target {
    /// A sink that takes every record.
    Stream(EventSink),
    /// The destinations that the Communities which use this channel name.
    Notifications(Channel),
}

/// The name of a group of records that are delivered in order: for the stream those of one object, for people those that
/// concern a Community.
pub(super) type OrderingKey = String;

/// The group that stands for all.
pub(super) const WHOLE_TARGET: &str = "";

impl Target {
    /// The name of the sink.
    #[must_use]
    pub fn name(&self) -> SinkName {
        match self {
            Self::Stream(sink) => sink.kind(),
            Self::Notifications(channel) => sink_of(*channel),
        }
    }

    pub(super) fn ordering_key(&self, context: &Context, event: &Event) -> OrderingKey {
        match self {
            Self::Stream(_) => event.id.0.clone(),
            Self::Notifications(_) => community_of(context.caches(), event)
                .and_then(|community| community.metadata.name.clone())
                .unwrap_or_default(),
        }
    }

    /// Returns the group that waits after a failure: a sink that refuses one record takes others.
    pub(super) fn waits_after(&self, error: &DeliveryError, group: &OrderingKey) -> OrderingKey {
        match self {
            Self::Stream(_) if !is_about_the_content(error) => WHOLE_TARGET.to_owned(),
            Self::Stream(_) | Self::Notifications(_) => group.clone(),
        }
    }

    /// Whether the rest of a group is delivered after a failure. Audit records keep their order. Notifications need none, and
    /// somebody who cannot be reached must not keep the others from hearing.
    pub(super) fn continues_after(&self, error: &DeliveryError) -> bool {
        matches!(self, Self::Notifications(_)) && matches!(error.category(), "Misconfigured" | "Refused")
    }

    /// Delivers an event. `attempts` were made before and reached the other side.
    pub(super) async fn deliver(
        &self,
        context: &Context,
        event: &Event,
        attempts: u32,
    ) -> Result<Delivery, DeliveryError> {
        let taken = |()| Delivery::Taken;
        match self {
            // The words of users may be why the record is refused; it is delivered without them then.
            Self::Stream(sink) if attempts >= MOST_ATTEMPTS => match sink.deliver(&event.event).await {
                Err(error) if may_be_about_the_content(&error) => {
                    warn!(sink = self.name(), id = ?event.id, "delivered without what people wrote, which was refused");
                    sink.deliver(&without_words(&event.event)).await.map(taken)
                }
                result => result.map(taken),
            },
            Self::Stream(sink) => sink.deliver(&event.event).await.map(taken),
            Self::Notifications(_) if context.clock.now().duration_since(event.at) > LONGEST_NOTIFYING => {
                warn!(sink = self.name(), id = ?event.id, "given up: nobody could be notified of this within a day");
                Ok(Delivery::Abandoned)
            }
            Self::Notifications(channel) => {
                let result = send(
                    &context.writer.client,
                    context.caches(),
                    *channel,
                    event,
                    context.ca_file.as_deref(),
                )
                .await;
                match result {
                    // The notification may have been taken each time.
                    Err(error) if attempts >= MOST_ATTEMPTS && error.category() == "TimedOut" => {
                        warn!(sink = self.name(), id = ?event.id, "given up: whether people were notified is not known");
                        Ok(Delivery::Abandoned)
                    }
                    result => result,
                }
            }
        }
    }
}

/// Whether other records may be taken although this one was not.
fn is_about_the_content(error: &DeliveryError) -> bool {
    matches!(error, DeliveryError::Refused { status: 400 | 413 | 414 | 415 | 422 | 431, .. })
}

/// Whether the words in a record may be why it was not taken: what filters content answers with whatever it
/// likes, but not with what asks to log in, or to come again.
fn may_be_about_the_content(error: &DeliveryError) -> bool {
    let DeliveryError::Refused { status, .. } = error else { return false };
    (400..500).contains(status) && !matches!(status, 401 | 407 | 408 | 429)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_left_out_only_where_they_may_be_why_a_record_is_refused() {
        let refused = |status| DeliveryError::Refused {
            to: "a sink".into(),
            status,
            answer: None,
            advice: "",
            retry_after: None,
        };
        for (status, this_record, words) in [
            (400, true, true),
            (413, true, true),
            (403, false, true),
            (406, false, true),
            (401, false, false),
            (429, false, false),
        ] {
            let error = refused(status);
            assert_eq!(
                (is_about_the_content(&error), may_be_about_the_content(&error)),
                (this_record, words)
            );
        }
    }
}
