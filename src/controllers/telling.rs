//! Tells what happened: a worker per sink, so that one which is slow or down keeps nothing else up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::SignedDuration;
use kube::Resource;
use tracing::{info, warn};

use super::{Context, MAX_RETRY};
use crate::api::community::Channel;
use crate::api::names::reason;
use crate::cluster::letters::{community_of, send};
use crate::cluster::triggers::Triggers;
use crate::cluster::untold::{Event, SinkName, sink_of};
use crate::plan::status::describe_error;
use crate::plan::{Notice, Severity};
use crate::sinks::{DeliveryError, EventSink};

/// So many groups are told at a time.
const CONCURRENCY: usize = 8;
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// For so long it is tried to tell people something; then it is old news.
const NEWS: SignedDuration = SignedDuration::from_hours(24);

/// Where facts go.
#[derive(Clone)]
pub enum Outlet {
    /// A sink that takes every fact.
    Stream(EventSink),
    /// What the Communities that use this channel say.
    People(Channel),
}

/// What is told in order, and waits together when it fails: for the stream the facts of one object and the
/// whole sink, for people a Community.
type Group = String;

/// When a group that failed is told again.
struct Pause {
    until: Instant,
    length: Duration,
}

impl Outlet {
    /// The name of the sink.
    #[must_use]
    pub fn name(&self) -> SinkName {
        match self {
            Self::Stream(sink) => sink.kind(),
            Self::People(channel) => sink_of(*channel),
        }
    }

    fn group(&self, context: &Context, event: &Event) -> Group {
        match self {
            Self::Stream(_) => event.id.0.clone(),
            Self::People(_) => community_of(&context.caches, event)
                .and_then(|community| community.metadata.name.clone())
                .unwrap_or_default(),
        }
    }

    /// What waits when a group has failed.
    fn fails_together(&self, group: &Group) -> Group {
        match self {
            Self::Stream(_) => Group::new(),
            Self::People(_) => group.clone(),
        }
    }

    async fn deliver(&self, context: &Context, event: &Event) -> Result<(), DeliveryError> {
        match self {
            Self::Stream(sink) => sink.deliver(&event.event).await,
            Self::People(_) if context.clock.now().duration_since(event.at) > NEWS => {
                warn!(sink = self.name(), id = ?event.id, "given up: people were not told of this within a day");
                Ok(())
            }
            Self::People(channel) => {
                send(&context.client, &context.caches, *channel, event, context.ca_file.as_deref()).await
            }
        }
    }
}

/// Tells a sink everything that it was not told yet, as soon as it happens. Never returns.
pub async fn run_telling(context: Arc<Context>, triggers: &Triggers, outlet: Outlet) {
    let mut changed = context.untold.subscribe();
    let mut pauses: HashMap<Group, Pause> = HashMap::new();
    loop {
        changed.mark_unchanged();
        let (events, told) = context.untold.find(outlet.name(), &context.caches);
        for object in &told {
            triggers.look_at(object);
        }
        let groups = by_group(events, |event| outlet.group(&context, event));
        let now = Instant::now();
        let (ready, waiting): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(group, _)| {
            pauses.get(&outlet.fails_together(group)).is_none_or(|pause| pause.until <= now)
        });
        if ready.is_empty() {
            let until =
                |(group, _): &(Group, _)| pauses.get(&outlet.fails_together(group)).map(|one| one.until);
            let next = waiting.iter().filter_map(until).min();
            match next {
                // Whichever comes first.
                Some(next) => drop(tokio::time::timeout_at(next.into(), changed.changed()).await),
                None if changed.changed().await.is_err() => return,
                None => {}
            }
            continue;
        }
        let results: Vec<(Group, Result<(), DeliveryError>)> = futures::stream::iter(ready)
            .map(async |(group, events)| (group, tell(&context, triggers, &outlet, events).await))
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        settle(&context, &outlet, &mut pauses, results).await;
    }
}

/// Tells the facts of one group in their order.
async fn tell(
    context: &Context,
    triggers: &Triggers,
    outlet: &Outlet,
    events: Vec<Event>,
) -> Result<(), DeliveryError> {
    for event in events {
        let result = outlet.deliver(context, &event).await;
        context.metrics.count_delivery(outlet.name(), result.is_ok());
        match &result {
            Ok(()) => context.untold.take(outlet.name(), &event),
            Err(_) => context.untold.miss(outlet.name(), &event),
        }
        // What was told is taken off its object by the object's own reconciliation.
        if let Some(object) = &event.object {
            triggers.look_at(object);
        }
        result?;
    }
    Ok(())
}

/// Notes what failed, and says so when it begins and when it ends.
async fn settle(
    context: &Context,
    outlet: &Outlet,
    pauses: &mut HashMap<Group, Pause>,
    results: Vec<(Group, Result<(), DeliveryError>)>,
) {
    let mut failed: HashMap<Group, DeliveryError> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (group, result) in results {
        let group = outlet.fails_together(&group);
        if let Err(error) = result {
            failed.entry(group.clone()).or_insert(error);
        }
        groups.push(group);
    }
    for group in groups {
        if !failed.contains_key(&group) && pauses.remove(&group).is_some() {
            info!(sink = outlet.name(), community = group, "the sink takes facts again");
        }
    }
    for (group, error) in failed {
        let known = pauses.get(&group).map(|pause| pause.length);
        if known.is_none() {
            let error_text = describe_error(&error);
            warn!(
                sink = outlet.name(),
                community = group,
                category = error.category(),
                error = error_text,
                "failed to tell what happened; it stays on its object and is told again"
            );
            show_to_community(context, outlet, &group, error_text).await;
        }
        let length = known.map_or(MIN_PAUSE, |length| length.saturating_mul(2).min(MAX_RETRY));
        let until = Instant::now() + error.retry_after().unwrap_or(length);
        pauses.insert(group, Pause { until, length });
    }
}

/// Those who set up a channel of a Community cannot read the operator's log.
async fn show_to_community(context: &Context, outlet: &Outlet, community: &str, error: String) {
    let Outlet::People(_) = outlet else { return };
    let communities = context.caches.communities.state();
    let Some(community) = communities.iter().find(|one| one.metadata.name.as_deref() == Some(community))
    else {
        return;
    };
    let message = format!("people are not told by {}: {error}", outlet.name());
    let notice = Notice { severity: Severity::Warning, reason: reason::NOTIFICATION_FAILED, message };
    context.events.publish(&community.object_ref(&()), notice).await;
}

/// The events of each group together, in the order of their first ones.
fn by_group(events: Vec<Event>, group: impl Fn(&Event) -> Group) -> Vec<(Group, Vec<Event>)> {
    let mut places: HashMap<Group, usize> = HashMap::new();
    let mut groups: Vec<(Group, Vec<Event>)> = Vec::new();
    for event in events {
        let group = group(&event);
        let place = *places.entry(group.clone()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, events)) => events.push(event),
            None => groups.push((group, vec![event])),
        }
    }
    groups
}
