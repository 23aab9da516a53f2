//! Decided requests, of which there may be tens of thousands that nobody waits for: they are read when everything
//! else is known and under way. Until then nothing is concluded from the absence of one.

use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, Client};
use tracing::{info, warn};

use super::enqueue::{Enqueued, Enqueuer};
use super::foreign::Relevant;

use crate::api::ApprovalRequest;
use crate::api::reading::Item;
use crate::cluster::cache::{Change, Filled};
use crate::model::approval::request::is_settled;

/// The number of requests that are read at a time: each may have a megabyte.
const PAGE: u32 = 50;
/// The time from a failed read to the next one.
const RETRY: Duration = Duration::from_secs(5);

/// Reads the decided requests after each list of the others. Never returns.
pub(super) async fn run_backfill(client: Client, enqueuer: Enqueuer) {
    let requests = &enqueuer.caches.requests;
    let mut filled = requests.filled();
    loop {
        // The sender is in the cache.
        if filled.wait_for(|filled| *filled == Filled::Partly).await.is_err() {
            return;
        }
        enqueuer.caches.wait_until_filled().await;
        filled.mark_unchanged();
        match read_backfill(&client, &enqueuer).await {
            Ok(true) => {}
            // The watch lists anew; it is read again after that.
            Ok(false) => {
                if filled.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                warn!(%error, "failed to read the decided ApprovalRequests, trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Returns whether everything is known then.
async fn read_backfill(client: &Client, enqueuer: &Enqueuer) -> Result<bool, kube::Error> {
    let requests = &enqueuer.caches.requests;
    if !requests.begin_backfill() {
        return Ok(false);
    }
    let api: Api<Item<ApprovalRequest>> = Api::all(client.clone());
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&parameters).await?;
        for item in page.items {
            let request = item.read().0.kept(&enqueuer.caches);
            if let Some(change) = requests.apply_backfilled(Arc::new(request)) {
                enqueuer.on_backfilled(&change);
            }
        }
        if !requests.is_backfilling() {
            return Ok(false);
        }
        parameters.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if parameters.continue_token.is_none() {
            break;
        }
    }
    let Some(gone) = requests.end_backfill() else { return Ok(false) };
    for change in gone {
        ApprovalRequest::enqueue(enqueuer, &change);
    }
    info!(count = requests.len(), "all ApprovalRequests are known");
    // Whoever waited for that.
    enqueuer.enqueue_what_waits();
    Ok(true)
}

impl Enqueuer {
    /// A decided request was read. Nothing is done about one that is settled, and its target knew what became of it.
    fn on_backfilled(&self, change: &Change<ApprovalRequest>) {
        // A request of which the cache knew another version is news.
        if change.before.is_none() && change.after.as_deref().is_some_and(is_settled) {
            self.outbox.on_change(change);
        } else {
            ApprovalRequest::enqueue(self, change);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::api::Kind;
    use crate::cluster::cache::Key;
    use crate::cluster::workqueue::Priority;

    #[test]
    fn what_waits_for_requests_is_looked_at_when_all_are_known_or_at_once_if_they_are_by_now() {
        let enqueuer = Enqueuer::detached();
        enqueuer.queues.open();
        let queue = enqueuer.queues.of(Kind::Enclave);
        let key = Key::new("acme", "payments");
        enqueuer.enqueue_when_requests_are_known(Kind::Enclave, &key);
        let requests = &enqueuer.caches.requests;
        requests.begin_list();
        assert!(requests.end_partial_list().is_empty() && requests.begin_backfill());
        enqueuer.enqueue_when_requests_are_known(Kind::Enclave, &key);
        assert!(queue.is_empty(), "not all are known");
        assert!(requests.end_backfill().is_some());
        enqueuer.enqueue_what_waits();
        assert_eq!(queue.take(Priority::Normal, Instant::now()), Some(key.clone()));
        assert!(enqueuer.waiting.lock().unwrap().is_empty());
        let other = Key::new("acme", "other");
        enqueuer.enqueue_when_requests_are_known(Kind::Enclave, &other);
        assert_eq!(queue.take(Priority::Normal, Instant::now()), Some(other));
    }
}
