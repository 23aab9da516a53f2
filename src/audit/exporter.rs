//! Delivers audit records and notifications: a worker per sink, so that one which is slow or down holds up no other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Resource;
use tokio::task::{Id, JoinSet};
use tracing::{info, warn};

use super::target::{OrderingKey, Target, WHOLE_TARGET};
use crate::api::names::reason;
use crate::cluster::workqueue::MAX_RETRY;
use crate::controllers::Context;
use crate::kinds::outbox::Event;
use crate::notify::Delivery;
use crate::plan::status::describe_error;
use crate::plan::{PlannedEvent, Severity};
use crate::sinks::DeliveryError;

/// The number of groups that are delivered at a time.
const CONCURRENCY: usize = 64;
const MIN_BACKOFF: Duration = Duration::from_secs(1);

/// The backoff of a group that failed, after which it is delivered again.
struct Backoff {
    until: Instant,
    length: Duration,
    /// Category of the error.
    why: &'static str,
}

/// Delivers to a sink everything that it has not taken yet, as soon as it happens. Never returns.
///
/// Each group is delivered by a task of its own, so that what another one answers, or how slowly, concerns
/// nobody else; least of all those who renew the lease.
pub async fn run_exporter(context: Arc<Context>, target: Target) {
    let mut changed = context.enqueuer.outbox.subscribe();
    let mut backoffs: HashMap<OrderingKey, Backoff> = HashMap::new();
    let mut attempts: HashMap<(String, i64), u32> = HashMap::new();
    let mut deliveries: JoinSet<Report> = JoinSet::new();
    let mut busy: HashMap<Id, OrderingKey> = HashMap::new();
    let mut ready: VecDeque<(OrderingKey, Vec<Event>)> = VecDeque::new();
    let mut next = None;
    loop {
        // A sink that fails takes nothing for now, whatever else happens.
        if let Some(until) =
            blocked_until(&backoffs, WHOLE_TARGET, Instant::now()).filter(|_| deliveries.is_empty())
        {
            tokio::time::sleep_until(until.into()).await;
        }
        // Events that were found are delivered first: looking again after each would take long when much has piled up.
        if ready.is_empty() {
            changed.mark_unchanged();
            let (events, delivered) = context.enqueuer.outbox.find(target.name(), context.caches());
            for object in &delivered {
                context.enqueuer.enqueue(object);
            }
            ready = by_group(events, |event| target.ordering_key(&context, event)).into();
            // The events that are being delivered now are among these; their groups are found again afterwards.
            ready.retain(|(group, _)| !busy.values().any(|other| other == group));
            next = None;
        }
        while deliveries.len() < CONCURRENCY
            && let Some((group, events)) = ready.pop_front()
        {
            // A group that is left out here is found again when its backoff is over.
            if let Some(until) = blocked_until(&backoffs, &group, Instant::now()) {
                next = next.into_iter().chain([until]).min();
            } else {
                let before = events.iter().map(|event| attempts.get(&event.id).copied().unwrap_or_default());
                let events = events.iter().cloned().zip(before).collect();
                let work = deliver_group(Arc::clone(&context), target.clone(), group.clone(), events);
                busy.insert(deliveries.spawn(work).id(), group);
            }
        }
        let backoff_is_over = async {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(result) = deliveries.join_next_with_id() => match result {
                Ok((id, report)) => {
                    busy.remove(&id);
                    conclude(&context, &target, &mut backoffs, &mut attempts, report);
                }
                // A group whose task panicked is delivered again, after a while.
                Err(error) => {
                    warn!(sink = target.name(), %error, "a delivery ended by a defect of this program");
                    if let Some(group) = busy.remove(&error.id()) {
                        let until = Instant::now() + MAX_RETRY;
                        backoffs.insert(group, Backoff { until, length: MAX_RETRY, why: "Defect" });
                    }
                }
            },
            result = changed.changed(), if ready.is_empty() => if result.is_err() { return },
            () = backoff_is_over, if ready.is_empty() => {}
        }
    }
}

/// Returns the time until which a group is not delivered.
fn blocked_until(backoffs: &HashMap<OrderingKey, Backoff>, group: &str, now: Instant) -> Option<Instant> {
    let backoffs = [backoffs.get(group), backoffs.get(WHOLE_TARGET)].into_iter().flatten();
    backoffs.map(|backoff| backoff.until).max().filter(|until| *until > now)
}

/// The outcome of delivering the events of a group.
struct Report {
    group: OrderingKey,
    taken: Vec<(String, i64)>,
    failed: Vec<((String, i64), DeliveryError)>,
}

/// Delivers the records of one group in their order.
async fn deliver_group(
    context: Arc<Context>,
    target: Target,
    group: OrderingKey,
    events: Vec<(Event, u32)>,
) -> Report {
    let mut report = Report { group, taken: Vec::new(), failed: Vec::new() };
    for (event, attempts) in events {
        let result = target.deliver(&context, &event, attempts).await;
        let outcome = match &result {
            Ok(Delivery::Taken) => "delivered",
            Ok(Delivery::Abandoned) => "given_up",
            Err(_) => "failed",
        };
        context.metrics.count_delivery(target.name(), outcome);
        match &result {
            Ok(_) => context.enqueuer.outbox.take(target.name(), &event),
            Err(_) => context.enqueuer.outbox.miss(target.name(), &event),
        }
        // A delivered record is taken off its object by the object's own reconciliation.
        context.enqueuer.enqueue(&event.object);
        match result {
            Ok(_) => report.taken.push(event.id),
            Err(error) => {
                let continues = target.continues_after(&error);
                report.failed.push((event.id, error));
                if !continues {
                    break;
                }
            }
        }
    }
    report
}

/// Notes what failed, and says so when it begins and when it ends.
fn conclude(
    context: &Context,
    target: &Target,
    backoffs: &mut HashMap<OrderingKey, Backoff>,
    attempts: &mut HashMap<(String, i64), u32>,
    report: Report,
) {
    let Report { group, taken, failed } = report;
    for id in &taken {
        attempts.remove(id);
    }
    if !taken.is_empty() && !failed.is_empty() {
        // The group gets on, so it need not wait longer and longer.
        backoffs.remove(&group);
    }
    for (id, error) in &failed {
        if !matches!(error.category(), "Unreachable") {
            let count = attempts.entry(id.clone()).or_default();
            *count = count.saturating_add(1);
        }
    }
    let Some((_, error)) = failed.into_iter().next() else {
        let was_failing = [backoffs.remove(&group), backoffs.remove(WHOLE_TARGET)];
        if was_failing.iter().any(Option::is_some) {
            info!(sink = target.name(), group, "the sink takes records again");
        }
        return;
    };
    let waits = target.waits_after(&error, &group);
    let known = backoffs.get(&waits);
    let text = describe_error(&error);
    if known.is_none_or(|known| known.why != error.category()) {
        warn!(
            sink = target.name(),
            group,
            category = error.category(),
            error = text,
            "failed to deliver audit records; they stay on their objects and are delivered again"
        );
        show_to_community(context, target, &group, &text);
    }
    let length = length_after(known, Instant::now());
    // A sink that asks for no backoff at all gets one nevertheless.
    let until = Instant::now() + error.retry_after().unwrap_or_default().max(length);
    backoffs.insert(waits, Backoff { until, length, why: error.category() });
}

/// Returns how long a group waits that failed again: twice as long as before, up to [`MAX_RETRY`].
fn length_after(known: Option<&Backoff>, now: Instant) -> Duration {
    known.map_or(MIN_BACKOFF, |known| {
        // Groups that were tried at the same time fail for one reason, and count once.
        let is_next = known.until <= now;
        if is_next { known.length.saturating_mul(2).min(MAX_RETRY) } else { known.length }
    })
}

/// Those who set up a channel of a Community cannot read the operator's log.
fn show_to_community(context: &Context, target: &Target, community: &str, error: &str) {
    let Target::Notifications(_) = target else { return };
    let Some(community) = context.caches().communities.get("", community) else { return };
    let message = format!("notifications by {} are not delivered: {error}", target.name());
    let event = PlannedEvent { severity: Severity::Warning, reason: reason::NOTIFICATION_FAILED, message };
    context.events.publish(community.object_ref(&()), event);
}

/// The events of each group together, in the order of their first ones.
fn by_group(events: Vec<Event>, group: impl Fn(&Event) -> OrderingKey) -> Vec<(OrderingKey, Vec<Event>)> {
    let mut positions: HashMap<OrderingKey, usize> = HashMap::new();
    let mut groups: Vec<(OrderingKey, Vec<Event>)> = Vec::new();
    for event in events {
        let group = group(&event);
        let position = *positions.entry(group.clone()).or_insert(groups.len());
        match groups.get_mut(position) {
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
        let (mut now, mut backoff, mut asked) = (start, None, 0);
        while now < start + Duration::from_secs(3600) {
            asked += 1;
            let length = length_after(backoff.as_ref(), now);
            backoff = Some(Backoff { until: now + length, length, why: "Refused" });
            // Another record that was to be delivered at the same time.
            assert_eq!(length_after(backoff.as_ref(), now), length);
            assert!(length <= Duration::from_secs(30), "{length:?}");
            now += length;
        }
        // After 1, 2, 4, 8 and 16 s, then every 30 s.
        assert_eq!(asked, 124);
    }
}
