//! One controller per kind: observe, plan, apply, publish. What a kind does differently is how it
//! is observed and planned; everything else is here, once.

mod apply;
mod publish;

mod retention;

pub mod revocation;
pub mod writer;
use std::num::NonZero;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use publish::{before_applying, publish, publish_degraded};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, warn};

use self::apply::{Written, apply_write};
use self::writer::Writer;
use crate::api::kind::with_kinds;
use crate::cluster::cache::Key;
use crate::cluster::clock::Clock;
use crate::cluster::events::Events;
use crate::cluster::workqueue::{Outcome, Priority, Workqueue};
use crate::cluster::writes::WriteError;
use crate::kinds::caches::Caches;
use crate::kinds::controller::{Controller, ReconcileInput};
use crate::kinds::enqueue::Enqueuer;
use crate::model::approval::policy_status::PolicyStatus;
use crate::plan::{Plan, Write};
use crate::telemetry::{Metrics, Outcome as Counted};

/// The number of objects of a kind that are reconciled at a time. Most of them wait for a read that they share.
const CONCURRENCY: usize = 32;

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

/// The longest wait that is not split into parts.
const LONG_WAIT: Duration = Duration::from_secs(60);

/// The state that all controllers share.
pub struct Context {
    pub writer: Writer,
    pub enqueuer: Enqueuer,
    pub policy_status: watch::Receiver<Option<PolicyStatus>>,
    pub events: Events,
    pub clock: Clock,
    /// Authorities that sinks are trusted by, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The time for which decided requests are kept.
    pub retain_requests_for: SignedDuration,
    pub metrics: Metrics,
    /// Turns at planning what closes nothing: one processor is left for what does.
    pub planning: Semaphore,
    /// Writes that take rights away, beside one of each grant.
    pub closing: Semaphore,
}

/// So many rights are taken away at a time, beside one of each grant.
#[must_use]
pub fn lanes_for_closing() -> Semaphore {
    Semaphore::new(CONCURRENCY)
}

/// So many plans are made at a time, beside those that close something.
#[must_use]
pub fn turns_at_planning() -> Semaphore {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    Semaphore::new(processors.saturating_sub(1).max(1))
}

impl Context {
    /// The caches: what is known of the cluster.
    #[must_use]
    pub const fn caches(&self) -> &Caches {
        &self.enqueuer.caches
    }
}

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

/// Works on what a queue holds, several entries at a time; what closes has some seats more. Never returns.
async fn run_queue<F>(queue: &Workqueue, work: impl Fn(Key) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut under_way: JoinSet<()> = JoinSet::new();
    loop {
        let at_least = |busy| match busy {
            0 => Some(Priority::Low),
            1..CONCURRENCY => Some(Priority::Normal),
            CONCURRENCY..MOST_AT_A_TIME => Some(Priority::Closing),
            _ => None,
        };
        while let Some(at_least) = at_least(under_way.len())
            && let Some(key) = queue.take(at_least, Instant::now())
        {
            under_way.spawn(work(key));
        }
        tokio::select! {
            Some(_) = under_way.join_next() => {}
            () = queue.wait(), if under_way.len() < MOST_AT_A_TIME => {}
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

/// An object that is being worked on, in its queue.
#[derive(Clone, Copy)]
struct Work<'a> {
    queue: &'a Workqueue,
    key: &'a Key,
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
            let latest = K::cache(context.caches()).get(namespace, name).filter(|_| times >= limit);
            if let Some(object) = latest {
                publish_degraded(context, object.as_ref(), work, planned, &message).await;
            }
            Outcome::Failed { ends_in }
        }
    }
}

/// A reconciliation that did not succeed.
struct Failed<S> {
    error: WriteError,
    /// The status that would be true but for the error.
    planned: Option<S>,
    /// When something ends that is to be closed.
    ends_in: Option<Duration>,
}

impl<S> From<WriteError> for Failed<S> {
    fn from(error: WriteError) -> Self {
        Self { error, planned: None, ends_in: None }
    }
}

/// Waits for a turn at planning an object, until that closes something: thousands that wait for their turn must not
/// keep the processors from it.
async fn take_turn<'a>(
    planning: &'a Semaphore,
    Work { queue, key }: Work<'_>,
) -> Option<SemaphorePermit<'a>> {
    tokio::select! {
        biased;
        () = queue.wait_until_closing(key) => None,
        turn = planning.acquire() => turn.ok(),
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
        let turn = take_turn(&context.planning, Work { queue, key }).await;
        // Whatever the object was queued for until now is in the caches that the plan reads next.
        let is_woken = queue.look(key);
        let Some(object) = K::cache(context.caches()).get(&key.namespace, &key.name) else { return Ok(None) };
        // Confirmations for this plan are read later than this.
        let since = Instant::now();
        let now = context.clock.now();
        let Some(policy_status) = context.policy_status.borrow().clone() else { return Ok(None) };
        let retain_requests_for = context.retain_requests_for;
        let known = ReconcileInput { caches: context.caches(), policy_status, retain_requests_for, now };
        let mut plan = K::plan(Arc::clone(&object), known);
        drop(turn);
        let mut repairs = std::mem::take(&mut plan.repairs);
        // A write that was sent before is not sent again: the watch brings its result. If the watch did so and then
        // showed that somebody undid it, that event is among those just cleared, so the object is queued again.
        let planned = repairs.len();
        repairs.retain(|repair| !repaired.contains(repair));
        if is_woken && repairs.len() < planned {
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
        let done =
            carry_out(object.as_ref(), context, Work { queue, key }, plan, failure, (since, now)).await;
        return match done {
            Ok(None) if is_later => Ok(Some((MARKED_AFTER, Priority::Low))),
            done => done.map_err(|failed| Failed { ends_in, ..failed }),
        };
    }
}

/// Makes the writes of a plan and publishes its status.
async fn carry_out<K: Controller>(
    object: &K,
    context: &Context,
    work: Work<'_>,
    plan: Plan<K::Status>,
    failure: Option<WriteError>,
    (since, now): (Instant, Timestamp),
) -> Result<LookAgain, Failed<K::Status>> {
    let Plan { repairs: _, writes, beside, status, notices, requeue_at, waits_for_requests: _ } = plan;
    for write in writes {
        // The records that become true with the end of the object are recorded first.
        if write == Write::RemoveFinalizer
            && status.as_ref().is_some_and(|status| !object.records(status, now).is_empty())
        {
            break;
        }
        debug!(kind = %K::kind(&()), name = object.name_any(), ?write, "writing");
        // The rules of the object go with its finalizer.
        let applying = (write == Write::RemoveFinalizer).then(|| before_applying(object, context)).flatten();
        match apply_write(&context.writer, object, write, since).await? {
            Written::Another => {}
            Written::Namespace(namespace) => {
                context.enqueuer.take_in_written(*namespace, since);
            }
            Written::Child(child) => context.enqueuer.take_in_child(child, since),
            Written::Request(request) => {
                if request.status.as_ref().is_some_and(|status| status.enacted_at.is_some()) {
                    context.metrics.count_enactment(&K::kind(&()));
                }
                context.enqueuer.take_in_written(*request, since);
            }
            // The observed version is old now. The rest is done with the object as it is by then.
            Written::TheObjectItself(after) => {
                if let Some(after) = after {
                    context.enqueuer.take_in_written(*after, since);
                }
                if let Some(applying) = applying {
                    applying.is_gone();
                }
                return failure.map_or(Ok(None), |error| Err(error.into()));
            }
        }
    }
    // A status that says that all is well is not published while a repair fails.
    if let Some(error) = failure {
        return Err(Failed { error, planned: status, ends_in: None });
    }
    let mut settles_in = None;
    if let Some(status) = status.or_else(|| object.status().cloned()) {
        let confirm = beside.into_iter().map(|write| apply_write(&context.writer, object, write, since));
        // Whoever acts on the status confirms the same, so what comes of it is not looked at here.
        let published = publish(object, context, work, status, notices, now);
        let (published, _) = futures::join!(published, futures::future::join_all(confirm));
        settles_in = published?;
    }
    Ok(look_again::<K>(requeue_at.map(|at| until(at, now)), settles_in))
}

/// Returns when an object is requeued: once, for whatever comes first, so that what ends is not behind what nobody
/// waits for.
fn look_again<K: Controller>(ends_in: Option<Duration>, later: Option<Duration>) -> LookAgain {
    let priority = if ends_in.is_some() { K::REQUEUE_PRIORITY } else { Priority::Low };
    ends_in.into_iter().chain(later).min().map(|wait| (wait, priority))
}

/// Makes repairs, several at a time as long as they are of one sort: what closes is done before anything
/// opens. Returns the first failure.
async fn repair_all<K: Controller>(
    object: &K,
    context: &Context,
    repairs: Vec<Write>,
    since: Instant,
) -> Option<WriteError> {
    let mut repairs = repairs.into_iter().peekable();
    let mut failure = None;
    while let Some(first) = repairs.next() {
        let sort = first.sort();
        let more = std::iter::from_fn(|| repairs.next_if(|next| next.sort() == sort));
        let results: Vec<_> = futures::stream::iter(std::iter::once(first).chain(more))
            .map(|repair| {
                debug!(kind = %K::kind(&()), name = object.name_any(), ?repair, "repairing");
                repair_one(object, context, repair, since)
            })
            .buffered(CONCURRENCY)
            .collect()
            .await;
        failure = failure.or(results.into_iter().find_map(Result::err));
    }
    failure
}

async fn repair_one<K: Controller>(
    object: &K,
    context: &Context,
    repair: Write,
    since: Instant,
) -> Result<(), WriteError> {
    match apply_write(&context.writer, object, repair, since).await? {
        Written::Namespace(namespace) => {
            context.enqueuer.take_in_written(*namespace, since);
        }
        Written::Child(child) => context.enqueuer.take_in_child(child, since),
        Written::TheObjectItself(_) | Written::Request(_) | Written::Another => {}
    }
    Ok(())
}

/// Returns how long to wait until a point in time, or rather until looking at the clock again: a long wait is halved
/// again and again, so that at the end no clock has had the time to go wrong. Never zero, so that a clock that is a
/// little behind does not make a busy loop.
fn until(at: Timestamp, now: Timestamp) -> Duration {
    let all = Duration::try_from(at.duration_since(now)).unwrap_or_default();
    all.min(LONG_WAIT.max(all / 2)).max(Duration::from_millis(10))
}

#[cfg(test)]
mod tests;
