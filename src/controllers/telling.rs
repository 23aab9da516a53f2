//! Tells what happened: a worker per sink, so that one which is slow or down keeps nothing else up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tracing::{info, warn};

use super::{Context, MAX_RETRY};
use crate::cluster::triggers::Triggers;
use crate::cluster::untold::Event;
use crate::sinks::{DeliveryError, EventSink};

/// So many objects are told of at a time.
const CONCURRENCY: usize = 8;
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// Tells a sink everything that it was not told yet, as soon as it happens. Never returns.
pub async fn run_telling(context: Arc<Context>, triggers: &Triggers, sink: Arc<EventSink>) {
    let mut changed = context.untold.subscribe();
    let mut pause = MIN_PAUSE;
    let mut is_failing = false;
    loop {
        changed.mark_unchanged();
        let events = context.untold.find(sink.kind(), &context.caches);
        if events.is_empty() {
            if changed.changed().await.is_err() {
                return;
            }
            continue;
        }
        let results: Vec<Result<(), DeliveryError>> = futures::stream::iter(by_object(events))
            .map(|events| tell(&context, triggers, &sink, events))
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        let Some(error) = results.into_iter().find_map(Result::err) else {
            if is_failing {
                info!(sink = sink.kind(), "the sink takes facts again");
            }
            (pause, is_failing) = (MIN_PAUSE, false);
            continue;
        };
        if !is_failing {
            warn!(
                sink = sink.kind(),
                category = error.category(),
                error = %crate::plan::status::describe_error(&error),
                "failed to tell what happened; it stays on its object and is told again and again"
            );
        }
        is_failing = true;
        tokio::time::sleep(error.retry_after().unwrap_or(pause)).await;
        pause = pause.saturating_mul(2).min(MAX_RETRY);
    }
}

/// Tells the facts of one object in their order.
async fn tell(
    context: &Context,
    triggers: &Triggers,
    sink: &EventSink,
    events: Vec<Event>,
) -> Result<(), DeliveryError> {
    for event in events {
        match sink.deliver(&event.event).await {
            Ok(()) => {
                context.metrics.count_delivery(sink.kind(), true);
                context.untold.take(sink.kind(), &event);
            }
            Err(error) => {
                context.metrics.count_delivery(sink.kind(), false);
                context.untold.miss(sink.kind());
                look_at(triggers, &event);
                return Err(error);
            }
        }
        look_at(triggers, &event);
    }
    Ok(())
}

/// What was told is taken off its object by the object's own reconciliation.
fn look_at(triggers: &Triggers, event: &Event) {
    if let Some(object) = &event.object {
        triggers.look_at(object);
    }
}

/// The events of each object together, in the order of their first ones.
fn by_object(events: Vec<Event>) -> Vec<Vec<Event>> {
    let mut places = HashMap::new();
    let mut objects: Vec<Vec<Event>> = Vec::new();
    for event in events {
        let place = *places.entry(event.id.0.clone()).or_insert(objects.len());
        match objects.get_mut(place) {
            Some(object) => object.push(event),
            None => objects.push(vec![event]),
        }
    }
    objects
}
