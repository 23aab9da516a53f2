//! One controller per kind: observe, plan, apply, publish. What a kind does differently is how it
//! is observed and planned; everything else is here, once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use kube::runtime::applier;
use kube::runtime::controller::{self, Action, ReconcileRequest};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::api::audit::{Audit, Fact, FactType};
use crate::api::names::reason;
use crate::cluster::caches::Caches;
use crate::cluster::clock::Clock;
use crate::cluster::events::Events;
use crate::cluster::queues::Work;
use crate::cluster::triggers::Guard;
use crate::cluster::untold::Untold;
use crate::cluster::with_controlled_kinds;
use crate::cluster::writes::{Served, Touched, WriteError, apply_write, publish_status};
use crate::model::facts::record;
use crate::model::gated::has_finalizer;
use crate::plan::{Notice, Plan, Severity, Write};
use crate::runtime::metrics::{Metrics, Outcome};

mod activation;
mod approval_request;
pub mod closing;
mod gated;
pub mod telling;

/// How many objects of a kind are reconciled at a time.
const CONCURRENCY: u16 = 16;
/// So many reconciliations in a row have to fail before an object is shown as Degraded.
const FAILURES_UNTIL_DEGRADED: u32 = 3;
/// So many times in a row the world has to have moved on before that is shown as Degraded.
const RACES_UNTIL_DEGRADED: u32 = 8;
const MIN_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// What is longer is waited for in parts.
const LONG_WAIT: Duration = Duration::from_secs(60);

/// What all controllers share.
pub struct Context {
    pub client: Client,
    pub caches: Caches,
    pub guard: watch::Receiver<Option<Guard>>,
    pub events: Events,
    pub clock: Clock,
    /// What is still to be told.
    pub untold: Arc<Untold>,
    /// Authorities that sinks are trusted by, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long decided requests are kept.
    pub retain_requests_for: SignedDuration,
    pub failures: Failures,
    pub metrics: Metrics,
}

/// What is known when an object is planned.
pub struct Known<'a> {
    pub caches: &'a Caches,
    /// The admission policies.
    pub guard: Guard,
    /// How long decided requests are kept.
    pub retain_requests_for: SignedDuration,
    /// The time, by the API server's clock.
    pub now: Timestamp,
}

/// How often in a row reconciling an object has failed.
#[derive(Default)]
pub struct Failures(Mutex<HashMap<String, u32>>);

/// A kind with a controller.
pub trait Reconciled: Served {
    /// Its status.
    type Status: Clone + PartialEq + Send;

    /// Where its objects are cached.
    fn cache(caches: &Caches) -> Store<Self>;

    /// Observes from caches, and plans.
    fn plan(object: Arc<Self>, known: Known<'_>) -> Plan<Self::Status>;

    /// The status it has.
    fn status(&self) -> Option<&Self::Status>;

    /// The same object with another status.
    #[must_use]
    fn with_status(&self, status: Self::Status) -> Self;

    /// The facts in a status.
    fn audit_mut(status: &mut Self::Status) -> &mut Audit;

    /// What becomes true with a new status.
    fn facts(&self, after: &Self::Status, now: Timestamp) -> Vec<Fact>;

    /// The status that shows that reconciling fails again and again, on top of what was planned;
    /// `None` when the kind has no way to show it.
    fn degraded_status(
        &self,
        planned: Option<Self::Status>,
        message: &str,
        now: Timestamp,
    ) -> Option<Self::Status>;
}

/// Runs all controllers until their queues are closed.
pub async fn run(context: Arc<Context>, work: Work) {
    macro_rules! run_all {
        ($($name:ident: $kind:ident,)*) => {
            futures::join!($(run_controller(Arc::clone(&context), work.$name),)*)
        };
    }
    with_controlled_kinds!(run_all);
}

async fn run_controller<K: Reconciled>(context: Arc<Context>, queue: UnboundedReceiver<ObjectRef<K>>) {
    let results = reconcile_all(context, queue);
    results
        .for_each(|result| async {
            match result {
                // Reported where it happened, or an object that is gone.
                Ok(_)
                | Err(controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)) => {}
                Err(error) => warn!(%error, kind = %K::kind(&()), "the controller's queue failed"),
            }
        })
        .await;
}

fn reconcile_all<K: Reconciled>(
    context: Arc<Context>,
    queue: UnboundedReceiver<ObjectRef<K>>,
) -> impl Stream<Item = Result<(ObjectRef<K>, Action), controller::Error<WriteError, std::convert::Infallible>>>
{
    let store = K::cache(&context.caches);
    applier(
        |object, context| Box::pin(reconcile(object, context)),
        |object, _error, context: Arc<Context>| Action::requeue(context.failures.delay(object.as_ref())),
        context,
        store,
        queue.map(|object| Ok(ReconcileRequest::from(object))),
        controller::Config::default().concurrency(CONCURRENCY),
    )
}

async fn reconcile<K: Reconciled>(object: Arc<K>, context: Arc<Context>) -> Result<Action, WriteError> {
    match reconcile_once(&object, &context).await {
        Ok(action) => {
            context.failures.forget(object.as_ref());
            let outcome = if context.guard.borrow().is_some() { Outcome::Done } else { Outcome::Waiting };
            context.metrics.count_reconciliation(&K::kind(&()), outcome);
            Ok(action)
        }
        Err(Failed { error, planned }) => {
            let times = context.failures.count(object.as_ref());
            let message = error.describe();
            let outcome = match &error {
                WriteError::Outdated | WriteError::NotLeading => Outcome::Raced,
                WriteError::Failed { .. } => Outcome::Failed,
            };
            context.metrics.count_reconciliation(&K::kind(&()), outcome);
            let limit = match &error {
                // As a rule the watch brings the news at once; if it never does, that is a failure.
                WriteError::Outdated | WriteError::NotLeading => RACES_UNTIL_DEGRADED,
                WriteError::Failed { .. } => FAILURES_UNTIL_DEGRADED,
            };
            if times < limit && limit == RACES_UNTIL_DEGRADED {
                debug!(kind = %K::kind(&()), name = object.name_any(), times, "the world moved on, looking again");
                return Err(error);
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
            if times >= limit {
                publish_degraded(&context, object.as_ref(), planned, &message).await;
            }
            Err(error)
        }
    }
}

/// A reconciliation that did not succeed.
struct Failed<S> {
    error: WriteError,
    /// The status that would be true but for the error.
    planned: Option<S>,
}

impl<S> From<WriteError> for Failed<S> {
    fn from(error: WriteError) -> Self {
        Self { error, planned: None }
    }
}

async fn reconcile_once<K: Reconciled>(
    object: &Arc<K>,
    context: &Context,
) -> Result<Action, Failed<K::Status>> {
    let now = context.clock.now();
    let Some(guard) = context.guard.borrow().clone() else { return Ok(Action::await_change()) };
    let retain_requests_for = context.retain_requests_for;
    let known = Known { caches: &context.caches, guard, retain_requests_for, now };
    let plan = K::plan(Arc::clone(object), known);
    let Plan { repairs, writes, status, notices, wake_at } = plan;
    let failure = repair_all(object.as_ref(), context, repairs).await;
    for write in writes {
        // What becomes true with its end is recorded first.
        if write == Write::RemoveFinalizer
            && status.as_ref().is_some_and(|status| !object.facts(status, now).is_empty())
        {
            break;
        }
        debug!(kind = %K::kind(&()), name = object.name_any(), ?write, "writing");
        let enacts = matches!(write, Write::MarkEnacted { .. });
        match apply_write(&context.client, object.as_ref(), write).await? {
            Touched::Another if enacts => context.metrics.count_enactment(&K::kind(&())),
            Touched::Another => {}
            // What was observed is old now; the watch brings the news and then the rest is done.
            Touched::TheObjectItself => {
                return failure.map_or(Ok(Action::await_change()), |error| Err(error.into()));
            }
        }
    }
    // A status that says that all is well is not published while a repair fails.
    if let Some(error) = failure {
        return Err(Failed { error, planned: status });
    }
    if let Some(status) = status.or_else(|| object.status().cloned()) {
        publish(object.as_ref(), context, status, notices, now).await?;
    }
    Ok(wake_at.map_or_else(Action::await_change, |at| Action::requeue(until(at, now))))
}

/// Writes a status with what becomes true with it, if that is another one than before. What has facts that
/// are to be told cannot be deleted under them: its finalizer is there before the first one is recorded.
async fn publish<K: Reconciled>(
    object: &K,
    context: &Context,
    status: K::Status,
    notices: Vec<Notice>,
    now: Timestamp,
) -> Result<(), WriteError> {
    let (mut status, facts) = with_facts(object, status, context, now);
    if !K::audit_mut(&mut status).is_empty() && is_without_finalizer(object) {
        return apply_write(&context.client, object, Write::AddFinalizer).await.map(drop);
    }
    if object.status() == Some(&status) {
        return Ok(());
    }
    publish_status(&context.client, object, &object.with_status(status)).await?;
    count_facts(object, &facts, &context.metrics);
    for notice in notices {
        info!(
            kind = %K::kind(&()),
            namespace = object.namespace(),
            name = object.name_any(),
            reason = notice.reason,
            message = notice.message,
        );
        context.events.publish(&object.object_ref(&()), notice).await;
    }
    Ok(())
}

/// Nobody can put one on what is being deleted already.
fn is_without_finalizer<K: Served>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_none() && !has_finalizer(object)
}

/// A status with what becomes true with it, and without what everybody was told.
fn with_facts<K: Reconciled>(
    object: &K,
    mut status: K::Status,
    context: &Context,
    now: Timestamp,
) -> (K::Status, Vec<Fact>) {
    let facts = object.facts(&status, now);
    let audit = K::audit_mut(&mut status);
    record(audit, facts.iter().cloned());
    context.untold.settle(&object.uid().unwrap_or_default(), audit);
    (status, facts)
}

fn count_facts<K: Reconciled>(object: &K, facts: &[Fact], metrics: &Metrics) {
    for fact in facts {
        let made = object.creation_timestamp().map_or(fact.at.0, |at| at.0);
        match fact.type_ {
            FactType::Enacted | FactType::Activated => metrics.count_enactment(&K::kind(&())),
            FactType::Decided | FactType::Expired | FactType::Superseded | FactType::Withdrawn => {
                metrics.count_decision(fact.type_, fact.at.0.duration_since(made));
            }
            _ => {}
        }
    }
}

/// Makes repairs, several at a time as long as they are of one sort: what closes is done before anything
/// opens. Returns the first failure.
async fn repair_all<K: Reconciled>(object: &K, context: &Context, repairs: Vec<Write>) -> Option<WriteError> {
    let mut repairs = repairs.into_iter().peekable();
    let mut failure = None;
    while let Some(first) = repairs.next() {
        let sort = first.sort();
        let more = std::iter::from_fn(|| repairs.next_if(|next| next.sort() == sort));
        let results: Vec<_> = futures::stream::iter(std::iter::once(first).chain(more))
            .map(|repair| {
                debug!(kind = %K::kind(&()), name = object.name_any(), ?repair, "repairing");
                apply_write(&context.client, object, repair)
            })
            .buffered(usize::from(CONCURRENCY))
            .collect()
            .await;
        failure = failure.or(results.into_iter().find_map(Result::err));
    }
    failure
}

async fn publish_degraded<K: Reconciled>(
    context: &Context,
    object: &K,
    planned: Option<K::Status>,
    message: &str,
) {
    let now = context.clock.now();
    let Some(status) = object.degraded_status(planned, message, now) else { return };
    let notice =
        Notice { severity: Severity::Warning, reason: reason::DEGRADED, message: message.to_owned() };
    // Whoever reconciles it again tries again to show it.
    let _ = publish(object, context, status, vec![notice], now).await;
}

/// How long to wait until a point in time, or rather until looking at the clock again: a long wait is
/// halved again and again, so that at the end no clock has had the time to go wrong. Never zero, so
/// that a clock that is a little behind does not make a busy loop.
fn until(at: Timestamp, now: Timestamp) -> Duration {
    let all = Duration::try_from(at.duration_since(now)).unwrap_or_default();
    all.min(LONG_WAIT.max(all / 2)).max(Duration::from_millis(10))
}

impl Failures {
    fn count<K: Served>(&self, object: &K) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key(object)).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn forget<K: Served>(&self, object: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(object));
    }

    /// Doubles with each failure, up to [`MAX_RETRY`].
    fn delay<K: Served>(&self, object: &K) -> Duration {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key(object)).copied();
        let doublings = times.unwrap_or(1).saturating_sub(1).min(16);
        MIN_RETRY.saturating_mul(1 << doublings).min(MAX_RETRY)
    }
}

fn key<K: Served>(object: &K) -> String {
    object.uid().unwrap_or_else(|| object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_wait_is_halved_until_it_is_short() {
        let wait = |seconds| until(Timestamp::from_second(seconds).unwrap(), Timestamp::UNIX_EPOCH);
        let second = Duration::from_secs(1);
        assert_eq!(wait(7 * 86_400), 7 * 43_200 * second);
        assert_eq!(wait(100), 60 * second);
        assert_eq!(wait(60), 60 * second);
        assert_eq!(wait(5), 5 * second);
        assert_eq!(wait(-5), Duration::from_millis(10));
    }
}
