//! Delivers audit records and notifications: a worker per sink, so that one which is slow or down holds up no other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use kube::Resource;
use tokio::task::{Id, JoinSet};
use tracing::{info, warn};

use super::Context;
use crate::api::community::Channel;
use crate::api::names::reason;
use crate::cluster::workqueue::MAX_RETRY;
use crate::kinds::notification::{Delivery, community_of, send};
use crate::kinds::outbox::{Event, SinkName, sink_of};
use crate::model::audit::cloud_event::without_words;
use crate::plan::status::describe_error;
use crate::plan::{PlannedEvent, Severity};
use crate::sinks::{DeliveryError, EventSink};

/// The number of groups that are delivered at a time.
const CONCURRENCY: usize = 64;
/// After so many refusals, or answers that did not come, something else is done.
const MOST_ATTEMPTS: u32 = 3;
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The time for which a delivery to people is tried; then the fact is old news.
const NEWS: SignedDuration = SignedDuration::from_hours(24);

/// Where facts go.
#[derive(Clone)]
pub enum Outlet {
    /// A sink that takes every fact.
    Stream(EventSink),
    /// The destinations that the Communities which use this channel name.
    People(Channel),
}

/// The name of a group of facts that are delivered in order: for the stream those of one object, for people those that
/// concern a Community.
type Group = String;

/// The group that stands for all.
const WHOLE_SINK: &str = "";

/// The pause of a group that failed, after which it is delivered again.
struct Pause {
    until: Instant,
    length: Duration,
    /// Category of the error.
    why: &'static str,
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
            Self::People(_) => community_of(context.caches(), event)
                .and_then(|community| community.metadata.name.clone())
                .unwrap_or_default(),
        }
    }

    /// Returns the group that waits after a failure: a sink that refuses one fact takes others.
    fn waits_after(&self, error: &DeliveryError, group: &Group) -> Group {
        match self {
            Self::Stream(_) if !is_about_the_content(error) => WHOLE_SINK.to_owned(),
            Self::Stream(_) | Self::People(_) => group.clone(),
        }
    }

    /// Whether the rest of a group is delivered after a failure. Facts keep their order. Notifications need none, and
    /// somebody who cannot be reached must not keep the others from hearing.
    fn goes_on_after(&self, error: &DeliveryError) -> bool {
        matches!(self, Self::People(_)) && matches!(error.category(), "Misconfigured" | "Refused")
    }

    /// Delivers an event. `attempts` were made before and reached the other side.
    async fn deliver(
        &self,
        context: &Context,
        event: &Event,
        attempts: u32,
    ) -> Result<Delivery, DeliveryError> {
        let taken = |()| Delivery::Taken;
        match self {
            // The words of users may be why the fact is refused; it is delivered without them then.
            Self::Stream(sink) if attempts >= MOST_ATTEMPTS => match sink.deliver(&event.event).await {
                Err(error) if may_be_about_the_content(&error) => {
                    warn!(sink = self.name(), id = ?event.id, "told without what people wrote, which was refused");
                    sink.deliver(&without_words(&event.event)).await.map(taken)
                }
                result => result.map(taken),
            },
            Self::Stream(sink) => sink.deliver(&event.event).await.map(taken),
            Self::People(_) if context.clock.now().duration_since(event.at) > NEWS => {
                warn!(sink = self.name(), id = ?event.id, "given up: people were not told of this within a day");
                Ok(Delivery::GivenUp)
            }
            Self::People(channel) => {
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
                        warn!(sink = self.name(), id = ?event.id, "given up: nobody can say whether people were told");
                        Ok(Delivery::GivenUp)
                    }
                    result => result,
                }
            }
        }
    }
}

/// Whether other facts may be taken although this one was not.
fn is_about_the_content(error: &DeliveryError) -> bool {
    matches!(error, DeliveryError::Refused { status: 400 | 413 | 414 | 415 | 422 | 431, .. })
}

/// Whether the words in a fact may be why it was not taken: what filters content answers with whatever it
/// likes, but not with what asks to log in, or to come again.
fn may_be_about_the_content(error: &DeliveryError) -> bool {
    let DeliveryError::Refused { status, .. } = error else { return false };
    (400..500).contains(status) && !matches!(status, 401 | 407 | 408 | 429)
}

/// Delivers to a sink everything that it has not taken yet, as soon as it happens. Never returns.
///
/// Each group is delivered by a task of its own, so that what another one answers, or how slowly, concerns
/// nobody else; least of all those who renew the lease.
pub async fn run_exporters(context: Arc<Context>, outlet: Outlet) {
    let mut changed = context.enqueuer.outbox.subscribe();
    let mut pauses: HashMap<Group, Pause> = HashMap::new();
    let mut attempts: HashMap<(String, i64), u32> = HashMap::new();
    let mut tellers: JoinSet<Report> = JoinSet::new();
    let mut busy: HashMap<Id, Group> = HashMap::new();
    let mut ready: VecDeque<(Group, Vec<Event>)> = VecDeque::new();
    let mut next = None;
    loop {
        // A sink that fails takes nothing for now, whatever else happens.
        if let Some(until) = paused_until(&pauses, WHOLE_SINK, Instant::now()).filter(|_| tellers.is_empty())
        {
            tokio::time::sleep_until(until.into()).await;
        }
        // Events that were found are delivered first: looking again after each would take long when much has piled up.
        if ready.is_empty() {
            changed.mark_unchanged();
            let (events, told) = context.enqueuer.outbox.find(outlet.name(), context.caches());
            for object in &told {
                context.enqueuer.enqueue(object);
            }
            ready = by_group(events, |event| outlet.group(&context, event)).into();
            // The events that are being delivered now are among these; their groups are found again afterwards.
            ready.retain(|(group, _)| !busy.values().any(|other| other == group));
            next = None;
        }
        while tellers.len() < CONCURRENCY
            && let Some((group, events)) = ready.pop_front()
        {
            // A group that is left out here is found again when its pause is over.
            if let Some(until) = paused_until(&pauses, &group, Instant::now()) {
                next = next.into_iter().chain([until]).min();
            } else {
                let before = events.iter().map(|event| attempts.get(&event.id).copied().unwrap_or_default());
                let events = events.iter().cloned().zip(before).collect();
                let work = tell(Arc::clone(&context), outlet.clone(), group.clone(), events);
                busy.insert(tellers.spawn(work).id(), group);
            }
        }
        let pause_is_over = async {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(result) = tellers.join_next_with_id() => match result {
                Ok((id, report)) => {
                    busy.remove(&id);
                    settle(&context, &outlet, &mut pauses, &mut attempts, report);
                }
                // A group whose task panicked is delivered again, after a while.
                Err(error) => {
                    warn!(sink = outlet.name(), %error, "telling what happened ended by a defect of this program");
                    if let Some(group) = busy.remove(&error.id()) {
                        let until = Instant::now() + MAX_RETRY;
                        pauses.insert(group, Pause { until, length: MAX_RETRY, why: "Defect" });
                    }
                }
            },
            result = changed.changed(), if ready.is_empty() => if result.is_err() { return },
            () = pause_is_over, if ready.is_empty() => {}
        }
    }
}

/// Returns the time until which a group is not delivered.
fn paused_until(pauses: &HashMap<Group, Pause>, group: &str, now: Instant) -> Option<Instant> {
    let pauses = [pauses.get(group), pauses.get(WHOLE_SINK)].into_iter().flatten();
    pauses.map(|pause| pause.until).max().filter(|until| *until > now)
}

/// The outcome of delivering the events of a group.
struct Report {
    group: Group,
    taken: Vec<(String, i64)>,
    failed: Vec<((String, i64), DeliveryError)>,
}

/// Delivers the facts of one group in their order.
async fn tell(context: Arc<Context>, outlet: Outlet, group: Group, events: Vec<(Event, u32)>) -> Report {
    let mut report = Report { group, taken: Vec::new(), failed: Vec::new() };
    for (event, attempts) in events {
        let result = outlet.deliver(&context, &event, attempts).await;
        let outcome = match &result {
            Ok(Delivery::Taken) => "delivered",
            Ok(Delivery::GivenUp) => "given_up",
            Err(_) => "failed",
        };
        context.metrics.count_delivery(outlet.name(), outcome);
        match &result {
            Ok(_) => context.enqueuer.outbox.take(outlet.name(), &event),
            Err(_) => context.enqueuer.outbox.miss(outlet.name(), &event),
        }
        // A delivered fact is taken off its object by the object's own reconciliation.
        context.enqueuer.enqueue(&event.object);
        match result {
            Ok(_) => report.taken.push(event.id),
            Err(error) => {
                let goes_on = outlet.goes_on_after(&error);
                report.failed.push((event.id, error));
                if !goes_on {
                    break;
                }
            }
        }
    }
    report
}

/// Notes what failed, and says so when it begins and when it ends.
fn settle(
    context: &Context,
    outlet: &Outlet,
    pauses: &mut HashMap<Group, Pause>,
    attempts: &mut HashMap<(String, i64), u32>,
    report: Report,
) {
    let Report { group, taken, failed } = report;
    for id in &taken {
        attempts.remove(id);
    }
    if !taken.is_empty() && !failed.is_empty() {
        // The group gets on, so it need not wait longer and longer.
        pauses.remove(&group);
    }
    for (id, error) in &failed {
        if !matches!(error.category(), "Unreachable") {
            let count = attempts.entry(id.clone()).or_default();
            *count = count.saturating_add(1);
        }
    }
    let Some((_, error)) = failed.into_iter().next() else {
        let was_failing = [pauses.remove(&group), pauses.remove(WHOLE_SINK)];
        if was_failing.iter().any(Option::is_some) {
            info!(sink = outlet.name(), group, "the sink takes facts again");
        }
        return;
    };
    let waits = outlet.waits_after(&error, &group);
    let known = pauses.get(&waits);
    let text = describe_error(&error);
    if known.is_none_or(|known| known.why != error.category()) {
        warn!(
            sink = outlet.name(),
            group,
            category = error.category(),
            error = text,
            "failed to tell what happened; it stays on its object and is told again"
        );
        show_to_community(context, outlet, &group, &text);
    }
    let length = length_after(known, Instant::now());
    // A sink that asks for no pause at all gets one nevertheless.
    let until = Instant::now() + error.retry_after().unwrap_or_default().max(length);
    pauses.insert(waits, Pause { until, length, why: error.category() });
}

/// Returns how long a group waits that failed again: twice as long as before, up to [`MAX_RETRY`].
fn length_after(known: Option<&Pause>, now: Instant) -> Duration {
    known.map_or(MIN_PAUSE, |known| {
        // Groups that were tried at the same time fail for one reason, and count once.
        let is_next = known.until <= now;
        if is_next { known.length.saturating_mul(2).min(MAX_RETRY) } else { known.length }
    })
}

/// Those who set up a channel of a Community cannot read the operator's log.
fn show_to_community(context: &Context, outlet: &Outlet, community: &str, error: &str) {
    let Outlet::People(_) = outlet else { return };
    let Some(community) = context.caches().communities.get("", community) else { return };
    let message = format!("people are not told by {}: {error}", outlet.name());
    let notice = PlannedEvent { severity: Severity::Warning, reason: reason::NOTIFICATION_FAILED, message };
    context.events.publish(community.object_ref(&()), notice);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_fails_for_an_hour_is_asked_rarely_and_told_soon_after() {
        let start = Instant::now();
        let (mut now, mut pause, mut asked) = (start, None, 0);
        while now < start + Duration::from_secs(3600) {
            asked += 1;
            let length = length_after(pause.as_ref(), now);
            pause = Some(Pause { until: now + length, length, why: "Refused" });
            // Another fact that was to be delivered at the same time.
            assert_eq!(length_after(pause.as_ref(), now), length);
            assert!(length <= Duration::from_secs(30), "{length:?}");
            now += length;
        }
        // After 1, 2, 4, 8 and 16 s, then every 30 s.
        assert_eq!(asked, 124);
    }

    #[test]
    fn words_are_left_out_only_where_they_may_be_why_a_fact_is_refused() {
        let refused = |status| DeliveryError::Refused {
            to: "a sink".into(),
            status,
            answer: None,
            advice: "",
            retry_after: None,
        };
        for (status, this_fact, words) in [
            (400, true, true),
            (413, true, true),
            (403, false, true),
            (406, false, true),
            (401, false, false),
            (429, false, false),
        ] {
            let error = refused(status);
            assert_eq!((is_about_the_content(&error), may_be_about_the_content(&error)), (this_fact, words));
        }
    }
}
