//! Reads that prove what caches only say, shared by all who wait for one (group commit).
//!
//! A read serves whoever asks, if it begins after what he has to be sure of was seen. While one is under way
//! others gather, and the next one serves them all.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// Shared reads: what is read, and what was found.
pub struct Confirmations<T, V> {
    reads: SyncMutex<HashMap<T, Slot<V>>>,
    /// So long after a read that served [`BUSY`] or more began the next one of the same thing begins at the
    /// earliest, so that still more share it.
    interval: Duration,
}

/// The latest read of one thing; locked while it is read anew.
type Slot<V> = Arc<Mutex<Option<Found<V>>>>;

struct Found<V> {
    began: Instant,
    value: V,
    /// How many it served.
    served: usize,
}

impl<T, V> Default for Confirmations<T, V> {
    fn default() -> Self {
        Self::every(Duration::ZERO)
    }
}

impl<T, V> Confirmations<T, V> {
    /// Reads of one thing that begin so long after each other at least while many ask for them.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self { reads: SyncMutex::default(), interval }
    }
}

impl<T: Clone + Eq + Hash, V: Clone> Confirmations<T, V> {
    /// What a read finds that began at `since` or later, and when it began: one that was made for another, or a
    /// new one.
    ///
    /// # Errors
    /// Those of the read. Nobody else is served by one that failed.
    pub async fn read<E, F>(
        &self,
        what: T,
        since: Instant,
        read: impl FnOnce() -> F,
    ) -> Result<(V, Instant), E>
    where
        F: Future<Output = Result<V, E>>,
    {
        let slot = Arc::clone(self.lock().entry(what.clone()).or_default());
        let result = {
            // Those who wait here are served by whoever gets it first.
            let mut found = slot.lock().await;
            match &mut *found {
                Some(found) if found.began >= since => {
                    found.served += 1;
                    Ok((found.value.clone(), found.began))
                }
                latest => {
                    if let Some(latest) = latest.as_ref().filter(|latest| latest.served >= BUSY) {
                        tokio::time::sleep_until((latest.began + self.interval).into()).await;
                    }
                    let began = Instant::now();
                    let result = read().await;
                    if let Ok(value) = &result {
                        *found = Some(Found { began, value: value.clone(), served: 1 });
                    }
                    result.map(|value| (value, began))
                }
            }
        };
        // Two are this one and the map's: nobody waits, so only the latest reads of few things are kept.
        let mut reads = self.lock();
        if reads.len() > MOST_KEPT && Arc::strong_count(&slot) <= 2 {
            reads.remove(&what);
        }
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<T, Slot<V>>> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read that served so many was asked for by many things at a time, and not by one after the other.
const BUSY: usize = 4;

/// What was read is kept for so many things; it serves those who come a moment later.
const MOST_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use futures::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    async fn value<V, E>(read: impl Future<Output = Result<(V, Instant), E>>) -> Result<V, E> {
        read.await.map(|(value, _)| value)
    }

    #[tokio::test]
    async fn those_who_wait_share_one_read_that_begins_after_they_came() {
        let confirmations = Confirmations::<&str, usize>::default();
        let (reads, gate) = (Cell::new(0), Semaphore::new(0));
        let read = || async {
            reads.set(reads.get() + 1);
            let number = reads.get();
            gate.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(number)
        };
        let first = value(confirmations.read("policies", Instant::now(), read));
        let mut first = std::pin::pin!(first);
        assert!(futures::poll!(first.as_mut()).is_pending());
        // They came while the first read was under way, so it proves nothing to them.
        let since = Instant::now();
        let mut others =
            std::pin::pin!(join_all((0..100).map(|_| value(confirmations.read("policies", since, read)))));
        assert!(futures::poll!(others.as_mut()).is_pending());
        gate.add_permits(2);
        assert_eq!(first.await, Ok(1));
        assert!(others.await.into_iter().all(|found| found == Ok(2)));
        assert_eq!(reads.get(), 2);
        assert_eq!(
            value(confirmations.read("policies", since, read)).await,
            Ok(2),
            "it still proves what it did"
        );
    }

    #[tokio::test]
    async fn reads_of_one_thing_begin_at_intervals() {
        let confirmations = &Confirmations::<&str, usize>::every(Duration::from_millis(20));
        let reads = &Cell::new(0);
        let read = move || async {
            reads.set(reads.get() + 1);
            Ok::<_, Infallible>(reads.get())
        };
        let all_read = |since| join_all((0..50).map(move |_| value(confirmations.read("a", since, read))));
        let began = Instant::now();
        for number in 1..=10 {
            let one = value(confirmations.read("a", Instant::now(), read)).await;
            assert_eq!(one, Ok(number), "one after the other does not wait");
        }
        assert!(all_read(Instant::now()).await.into_iter().all(|found| found == Ok(11)));
        assert!(all_read(Instant::now()).await.into_iter().all(|found| found == Ok(12)));
        assert!(began.elapsed() >= Duration::from_millis(20) && reads.get() == 12);
    }

    #[tokio::test]
    async fn a_read_that_failed_serves_nobody_else() {
        let confirmations = Confirmations::<&str, usize>::default();
        let since = Instant::now();
        assert_eq!(
            value(confirmations.read("a", since, || async { Err("no answer") })).await,
            Err("no answer")
        );
        assert_eq!(value(confirmations.read("a", since, || async { Ok::<_, &str>(1) })).await, Ok(1));
    }

    #[tokio::test]
    async fn it_keeps_few_reads() {
        let confirmations = Confirmations::<usize, usize>::default();
        for number in 0..1000 {
            let found =
                value(confirmations.read(number, Instant::now(), || async { Ok::<_, Infallible>(number) }))
                    .await;
            assert_eq!(found, Ok(number));
        }
        assert!(confirmations.lock().len() <= MOST_KEPT + 1);
    }
}
