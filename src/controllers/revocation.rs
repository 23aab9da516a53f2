//! Takes rights away: a worker with a queue of its own, so that this never waits behind anything that gives
//! some. It looks at one grant at a time, so that it costs what changed.

use crate::api::RoleAssignment;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt, future};
use jiff::Timestamp;
use tracing::{error, info, warn};

use super::context::{CONCURRENCY, Context, until};
use super::run_queue;
use crate::cluster::cache::Key;
use crate::cluster::workqueue::{Outcome, Priority};
use crate::cluster::writes::{WriteError, write_child};
use crate::kinds::caches::Caches;
use crate::kinds::changes::Watches;
use crate::kinds::rbac::observe::{observe_grant_in, observe_one_grant, observe_orphaned_role};
use crate::model::naming::is_of_grant;
use crate::model::rbac::grants::Grant;
use crate::plan::Write;
use crate::plan::rbac::grants::{RbacState, plan_access};

/// The time limit of a write. One that takes longer is tried again: nothing that is due meanwhile waits for it.
const LONGEST_WRITE: Duration = Duration::from_secs(5);

/// Takes away what is over before anything else is done, also what nobody knows of any more.
pub async fn revoke_all(context: &Arc<Context>) {
    RoleAssignment::enqueue_all_revocations(&context.enqueuer);
    let queue = &context.enqueuer.queues.revocation;
    let overdue = Overdue::default();
    let next = || queue.take(Priority::Closing, Instant::now());
    let due = futures::stream::iter(std::iter::from_fn(next));
    // A revocation that fails is tried again by `run_revocation`.
    due.for_each_concurrent(CONCURRENCY, |key| revoke_and_finish(Arc::clone(context), overdue.clone(), key))
        .await;
}

/// Takes rights away as soon as something changes that explained them, or their time is over. Never returns.
pub async fn run_revocation(context: Arc<Context>) {
    let overdue = Overdue::default();
    let queue = context.enqueuer.queues.revocation.clone();
    run_queue(&queue, |key| revoke_and_finish(Arc::clone(&context), overdue.clone(), key)).await;
}

async fn revoke_and_finish(context: Arc<Context>, overdue: Overdue, key: Key) {
    let outcome = AssertUnwindSafe(revoke(&context, &overdue, &key)).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| {
        error!(grant = &*key.name, "taking rights away ended by a defect of this program; it is tried again");
        Outcome::Failed { ends_in: None }
    });
    context.enqueuer.queues.revocation.finish(&key, outcome, Instant::now());
}

/// The work that a key of the queue stands for: what has to be taken away now, and when the key is requeued.
#[derive(Debug)]
pub struct Due {
    pub closes: Vec<Write>,
    /// In the future.
    pub ends: Option<Timestamp>,
}

/// Finds what a grant does not explain of what has its name, anywhere or in one namespace; or a role that nothing
/// explains.
#[must_use]
pub fn plan_revocation(caches: &Caches, key: &Key, now: Timestamp) -> Due {
    let (grant, rbac_state): (Option<Grant>, RbacState) = if key.namespace.is_empty() {
        observe_one_grant(caches, &key.name)
    } else if is_of_grant(&key.name) {
        observe_grant_in(caches, &key.namespace, &key.name)
    } else {
        (None, observe_orphaned_role(caches, &key.namespace, &key.name))
    };
    let closes = plan_access(grant.as_slice(), &rbac_state, now).closes;
    // The rights of a grant that is not known any more end when they say so themselves.
    let ends = grant.and_then(|grant| grant.ends_at).into_iter().chain(rbac_state.live.ends());
    Due { closes, ends: ends.filter(|end| *end > now).min() }
}

async fn revoke(context: &Context, overdue: &Overdue, key: &Key) -> Outcome {
    let now = context.clock.now();
    let Due { closes, ends } = plan_revocation(context.caches(), key, now);
    context.metrics.overdue_revocations.set(overdue.note(key, closes.len()));
    let ends_in = ends.map(|end| until(end, now));
    let failure = close_all(context, closes).await;
    if let Some(error) = failure {
        warn!(grant = &*key.name, error, "failed to take rights away, trying again");
        return Outcome::Failed { ends_in };
    }
    context.metrics.overdue_revocations.set(overdue.note(key, 0));
    ends_in.map_or(Outcome::Done, |wait| Outcome::RequeueAfter(wait, Priority::Closing))
}

/// Makes writes side by side, so that one that gets no answer keeps none of the others. All grants together have a
/// number of permits, so that many of them do not crowd out one; one permit each grant has in any case. Says what went
/// wrong.
async fn close_all(context: &Context, closes: Vec<Write>) -> Option<String> {
    let more: Vec<_> = (1..closes.len()).map_while(|_| context.closing.try_acquire().ok()).collect();
    let closes = Mutex::new(closes.into_iter());
    let next = || closes.lock().unwrap_or_else(PoisonError::into_inner).next();
    let permit = async || {
        let mut failure = None;
        while let Some(write) = next() {
            failure = failure.or(close(context, write).await);
        }
        failure
    };
    let permits = std::iter::repeat_with(permit).take(1 + more.len());
    future::join_all(permits).await.into_iter().flatten().next()
}

/// Makes one write that takes rights away; says what went wrong.
async fn close(context: &Context, write: Write) -> Option<String> {
    let Write::Child(verb, child) = write else { return None };
    let (namespace, name) = (child.metadata().namespace.clone(), child.metadata().name.clone());
    info!(?verb, namespace, name, "taking rights away");
    let written = write_child(&context.writer.client, verb, child);
    match tokio::time::timeout(LONGEST_WRITE, written).await {
        // The object is gone, or not what it was: the watch brings that.
        Ok(Ok(_) | Err(WriteError::Conflict)) => None,
        Ok(Err(error)) => Some(error.describe()),
        Err(_) => Some(format!("the API server did not answer within {LONGEST_WRITE:?}")),
    }
}

/// The number of writes that take rights away and are not done yet, by grant.
#[derive(Clone, Default)]
struct Overdue(Arc<Mutex<HashMap<Key, usize>>>);

impl Overdue {
    /// Notes how many there are of one grant. Returns how many there are of all.
    fn note(&self, key: &Key, number: usize) -> i64 {
        let mut overdue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if number == 0 {
            overdue.remove(key);
        } else {
            overdue.insert(key.clone(), number);
        }
        i64::try_from(overdue.values().sum::<usize>()).unwrap_or(i64::MAX)
    }
}
