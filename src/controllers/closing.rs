//! Takes rights away: a worker of its own, so that it never queues behind anything that gives some.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{CONCURRENCY, Context, MAX_RETRY, MIN_RETRY, until};
use crate::kinds::access::observe_access;
use crate::cluster::writes::{WriteError, write_child};
use crate::plan::Write;
use crate::plan::grants::plan_access;

/// What takes longer than this is tried again: nothing that is due meanwhile waits for it.
const LONGEST_WRITE: Duration = Duration::from_secs(5);

/// Takes away what no grant explains, once; returns how long to wait until the next one ends, and
/// whether all could be done.
async fn close_once(context: &Context) -> (Option<Duration>, Result<(), String>) {
    let now = context.clock.now();
    let (grants, around) = observe_access(&context.caches);
    let closes = plan_access(&grants, &around, now).closes;
    context.metrics.overdue_closings.set(i64::try_from(closes.len()).unwrap_or(i64::MAX));
    let results: Vec<Result<(), String>> = futures::stream::iter(closes)
        .map(async |write| {
            let Write::Child(verb, child) = write else { return Ok(()) };
            let (namespace, name) = (child.metadata().namespace.clone(), child.metadata().name.clone());
            info!(?verb, namespace, name, "taking rights away");
            let written =
                tokio::time::timeout(LONGEST_WRITE, write_child(&context.client, verb, child)).await;
            match written {
                // It is gone, or not what it was: the watch tells.
                Ok(Ok(_) | Err(WriteError::Outdated)) => Ok(()),
                Ok(Err(error)) => Err(error.describe()),
                Err(_) => Err(format!("the API server did not answer within {LONGEST_WRITE:?}")),
            }
        })
        .buffer_unordered(usize::from(CONCURRENCY))
        .collect()
        .await;
    let ends = grants.iter().filter_map(|grant| grant.ends_at).filter(|end| *end > now);
    (ends.min().map(|end| until(end, now)), results.into_iter().collect())
}

/// Takes away what is over before anything else is done.
pub async fn sweep(context: &Context) {
    // What fails is tried again by `run_closing`.
    let _ = close_once(context).await;
}

/// Takes rights away as soon as something changes that explained them, or their time is over.
pub async fn run_closing(context: Arc<Context>, changed: Arc<Notify>) {
    let mut retry = MIN_RETRY;
    loop {
        let (next, result) = close_once(&context).await;
        let wait = match result {
            Ok(()) => {
                retry = MIN_RETRY;
                next
            }
            Err(error) => {
                warn!(error, "failed to take rights away, trying again");
                let wait = next.unwrap_or(retry).min(retry);
                retry = retry.saturating_mul(2).min(MAX_RETRY);
                Some(wait)
            }
        };
        match wait {
            Some(wait) => {
                // Whichever comes first.
                let _ = tokio::time::timeout(wait, changed.notified()).await;
            }
            None => changed.notified().await,
        }
    }
}
