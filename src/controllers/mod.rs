//! One controller per kind: observe, plan, apply, publish. What a kind does differently is how it
//! is observed and planned; everything else is here, once.
//!
//! `apply` carries out a plan, with what [`writer`] confirms before; `publish` writes the status and the Events;
//! [`revocation`] takes rights away, beside the controllers; `retention` looks at what is old. Imported are `kinds`,
//! `cluster`, `plan`, `telemetry` and what is below; never `audit`, `notify` or `runtime`.

mod apply;
mod context;
mod publish;
mod retention;
pub mod revocation;
pub mod writer;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use kube::ResourceExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tracing::{debug, error, warn};

pub use self::context::{Context, closing_permits, planning_permits};

use self::apply::{Carried, Failed, carry_out, repair_all};
use self::context::{CONCURRENCY, Work, until};
use self::publish::publish_degraded;

use crate::api::kind::with_kinds;
use crate::cluster::cache::Key;
use crate::cluster::workqueue::{Outcome, Priority, Workqueue};
use crate::cluster::writes::WriteError;
use crate::kinds::controller::{Controller, ReconcileInput};
use crate::plan::Write;
use crate::telemetry::Outcome as Counted;

/// So many more, when they close something.
const CONCURRENCY_FOR_CLOSING: usize = 4;

/// So many reconciliations in a row have to fail before an object is shown as Degraded.
const FAILURES_UNTIL_DEGRADED: u32 = 3;

/// So many times in a row the world has to have moved on before that is shown as Degraded.
const CONFLICTS_UNTIL_DEGRADED: u32 = 8;

/// So many times in a row one reconciliation goes on with what it made itself, before it lets others see it.
const MOST_ROUNDS: usize = 8;

/// The time from when a change came into force until its request is marked as enacted, when others of the kind had to
/// be served first: most of them are then.
const MARKED_AFTER: Duration = Duration::from_secs(1);

/// Runs all controllers, each as a task of its own. Ends only by a defect.
pub async fn run(context: Arc<Context>) {
    let mut controllers = JoinSet::new();
    macro_rules! spawn_all {
        ($($kind:ident: $all:ident, $plural:literal, $short:literal, [$($operation:ident),*];)*) => {
            $(controllers.spawn(run_controller::<crate::api::$kind>(Arc::clone(&context)));)*
        };
    }
    with_kinds!(spawn_all);
    controllers.spawn(retention::run(Arc::clone(&context)));
    if let Some(Err(error)) = controllers.join_next().await {
        error!(%error, "a controller ended by a defect of this program");
    }
}

/// Reconciles what its queue holds, several objects at a time. Never returns.
async fn run_controller<K: Controller>(context: Arc<Context>) {
    let queue = context.enqueuer.queues.of(K::KIND);
    let work = |key| work_on::<K>(Arc::clone(&context), queue.clone(), key);
    run_queue(&queue, work).await;
}

/// Works on what a queue holds, several entries at a time; what closes has some slots more. Never returns.
async fn run_queue<F>(queue: &Workqueue, work: impl Fn(Key) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut in_flight: JoinSet<()> = JoinSet::new();
    loop {
        let at_least = |busy| match busy {
            0 => Some(Priority::Low),
            1..CONCURRENCY => Some(Priority::Normal),
            CONCURRENCY..MOST_AT_A_TIME => Some(Priority::Closing),
            _ => None,
        };
        while let Some(at_least) = at_least(in_flight.len())
            && let Some(key) = queue.take(at_least, Instant::now())
        {
            in_flight.spawn(work(key));
        }
        tokio::select! {
            Some(_) = in_flight.join_next() => {}
            () = queue.wait(), if in_flight.len() < MOST_AT_A_TIME => {}
        }
    }
}

const MOST_AT_A_TIME: usize = CONCURRENCY + CONCURRENCY_FOR_CLOSING;

/// Reconciles one object and gives it back to its queue. A defect concerns this object only.
async fn work_on<K: Controller>(context: Arc<Context>, queue: Workqueue, key: Key) {
    let outcome = match K::cache(context.caches()).get(&key.namespace, &key.name) {
        // The object is gone, and so is all that was known of it.
        None => Outcome::Done,
        Some(object) => {
            let failures = queue.failures(&key);
            let work = Work { queue: &queue, key: &key };
            let reconciliation = AssertUnwindSafe(reconcile(object, &context, work, failures)).catch_unwind();
            reconciliation.await.unwrap_or_else(|_| {
                let (kind, namespace, name) = (K::KIND, &*key.namespace, &*key.name);
                error!(%kind, namespace, name, "reconciling ended by a defect of this program; it is tried again");
                Outcome::Failed { ends_in: None }
            })
        }
    };
    queue.finish(&key, outcome, Instant::now());
}

/// `failures` is how often in a row that failed before.
async fn reconcile<K: Controller>(
    object: Arc<K>,
    context: &Context,
    work: Work<'_>,
    failures: u32,
) -> Outcome {
    match reconcile_once::<K>(context, work).await {
        Ok(wait) => {
            let counted =
                if context.policy_status.borrow().is_some() { Counted::Done } else { Counted::Waiting };
            context.metrics.count_reconciliation(&K::kind(&()), counted);
            wait.map_or(Outcome::Done, |(wait, priority)| Outcome::RequeueAfter(wait, priority))
        }
        Err(Failed { error, planned, ends_in }) => {
            let times = failures.saturating_add(1);
            let message = error.describe();
            let (counted, limit) = match &error {
                // As a rule the watch brings the news at once; if it never does, that is a failure.
                WriteError::Conflict | WriteError::NotLeading => {
                    (Counted::Conflict, CONFLICTS_UNTIL_DEGRADED)
                }
                WriteError::Failed { .. } => (Counted::Failed, FAILURES_UNTIL_DEGRADED),
            };
            context.metrics.count_reconciliation(&K::kind(&()), counted);
            if times < limit && limit == CONFLICTS_UNTIL_DEGRADED {
                debug!(kind = %K::kind(&()), name = object.name_any(), times, "the world moved on, looking again");
                return Outcome::Failed { ends_in };
            }
            warn!(
                kind = %K::kind(&()),
                namespace = object.namespace(),
                name = object.name_any(),
                times,
                category = error.category(),
                error = message,
                "failed to reconcile, trying again"
            );
            // As it is by now: a status is written on the latest version.
            let Key { namespace, name } = work.key;
            let object = K::cache(context.caches()).get(namespace, name).filter(|_| times >= limit);
            if let Some(object) = object {
                publish_degraded(context, object.as_ref(), work, planned, &message).await;
            }
            Outcome::Failed { ends_in }
        }
    }
}

/// Waits for a turn at planning an object, until that closes something: thousands that wait for their turn must not
/// keep the processors from it.
async fn acquire_planning<'a>(
    planning: &'a Semaphore,
    Work { queue, key }: Work<'_>,
) -> Option<SemaphorePermit<'a>> {
    tokio::select! {
        biased;
        () = queue.wait_until_closing(key) => None,
        permit = planning.acquire() => permit.ok(),
    }
}

/// The time until an object is requeued, and the priority for that.
type LookAgain = Option<(Duration, Priority)>;

async fn reconcile_once<K: Controller>(
    context: &Context,
    Work { queue, key }: Work<'_>,
) -> Result<LookAgain, Failed<K::Status>> {
    let (mut repaired, mut round): (Vec<Write>, usize) = (Vec::new(), 0);
    loop {
        round += 1;
        let permit = acquire_planning(&context.planning, Work { queue, key }).await;
        // Whatever the object was queued for until now is in the caches that the plan reads next.
        let is_woken = queue.look(key);
        let Some(object) = K::cache(context.caches()).get(&key.namespace, &key.name) else { return Ok(None) };
        // Confirmations for this plan are read later than this.
        let since = Instant::now();
        let now = context.clock.now();
        let Some(policy_status) = context.policy_status.borrow().clone() else { return Ok(None) };
        let retain_requests_for = context.retain_requests_for;
        let input = ReconcileInput { caches: context.caches(), policy_status, retain_requests_for, now };
        let mut plan = K::plan(Arc::clone(&object), input);
        drop(permit);
        let mut repairs = std::mem::take(&mut plan.repairs);
        // A write that was sent before is not sent again: the watch brings its result. If the watch did so and then
        // showed that somebody undid it, that event is among those just cleared, so the object is queued again.
        let count = repairs.len();
        repairs.retain(|repair| !repaired.contains(repair));
        if is_woken && repairs.len() < count {
            queue.add(key.clone(), Priority::Normal);
        }
        let is_new = !repairs.is_empty();
        let failure = repair_all(object.as_ref(), context, repairs.clone(), since).await;
        // The answers say what was made. So the next step is done at once, and nobody reads of the steps between.
        // A request is marked as enacted at the end.
        let are_marks = plan.writes.iter().all(|write| matches!(write, Write::MarkEnacted { .. }));
        if is_new && failure.is_none() && are_marks && round < MOST_ROUNDS {
            repaired.append(&mut repairs);
            continue;
        }
        if plan.waits_for_requests {
            context.enqueuer.enqueue_when_requests_are_known(K::KIND, key);
        }
        let ends_in = plan.requeue_at.map(|at| until(at, now));
        // Nobody waits for that, and others of the kind do for what is theirs.
        let is_later = are_marks
            && !plan.writes.is_empty()
            && ends_in.is_none()
            && failure.is_none()
            && object.meta().deletion_timestamp.is_none()
            && queue.is_later_better(key, Instant::now());
        if is_later {
            plan.writes.clear();
        }
        let carried =
            carry_out(object.as_ref(), context, Work { queue, key }, plan, failure, (since, now)).await;
        return match carried {
            Ok(Carried::ObjectWritten) => Ok(None),
            Ok(Carried::Published { prune_after: None }) if is_later => {
                Ok(Some((MARKED_AFTER, Priority::Low)))
            }
            Ok(Carried::Published { prune_after }) => Ok(look_again::<K>(ends_in, prune_after)),
            Err(failed) => Err(Failed { ends_in, ..failed }),
        };
    }
}

/// Returns when an object is requeued: once, for whatever comes first, so that what ends is not behind what nobody
/// waits for.
fn look_again<K: Controller>(ends_in: Option<Duration>, later: Option<Duration>) -> LookAgain {
    let priority = if ends_in.is_some() { K::REQUEUE_PRIORITY } else { Priority::Low };
    ends_in.into_iter().chain(later).min().map(|wait| (wait, priority))
}

#[cfg(test)]
mod tests;
