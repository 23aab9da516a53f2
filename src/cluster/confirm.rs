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
    rate_limit: RateLimit,
    /// See [`Confirmations::with_cooldown`].
    cools_down: bool,
}

/// The pace at which something is done, for example one thing is read.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    /// The number that do not wait when they come at once.
    pub burst: u32,
    /// The interval at which they begin in the long run.
    pub interval: Duration,
}

impl RateLimit {
    /// No limit: as often as somebody asks.
    pub const FREE: Self = Self { burst: 0, interval: Duration::ZERO };

    /// Returns when something begins that is asked for `now`, and when the next one is due in the long run if
    /// this one was due at `due`: the generic cell rate algorithm.
    #[must_use]
    pub fn begin(self, due: Option<Instant>, now: Instant) -> (Instant, Instant) {
        let due = due.unwrap_or(now);
        let allowance = self.interval.saturating_mul(self.burst.saturating_sub(1));
        let begin = due.checked_sub(allowance).map_or(now, |earliest| earliest.max(now));
        (begin, due.max(begin) + self.interval)
    }
}

/// The latest read of one thing; locked while it is read anew.
type Slot<V> = Arc<Mutex<Latest<V>>>;

struct Latest<V> {
    found: Option<(V, Instant)>,
    /// When the next read is due in the long run.
    due: Option<Instant>,
}

impl<V> Default for Latest<V> {
    fn default() -> Self {
        Self { found: None, due: None }
    }
}

impl<T, V> Confirmations<T, V> {
    /// Reads at this pace.
    #[must_use]
    pub fn at(rate_limit: RateLimit) -> Self {
        Self { reads: SyncMutex::default(), rate_limit, cools_down: false }
    }

    /// Reads nothing after each read of a thing for twice as long as that took, within [`SHORTEST_COOLDOWN`] and
    /// [`LONGEST_COOLDOWN`]: on an API server that has time reads follow each other soon, and on one that has none
    /// those who wait share them.
    #[must_use]
    pub fn with_cooldown() -> Self {
        Self { cools_down: true, ..Self::at(RateLimit::FREE) }
    }
}

impl<T: Clone + Eq + Hash, V: Clone> Confirmations<T, V> {
    /// Returns the result of a read that began at `since` or later, and when it began: one that was made for
    /// another, or a new one.
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
        let result = loop {
            // Those who wait here are served by whoever gets it first.
            let mut latest = slot.lock().await;
            if let Some((value, began)) = latest.found.as_ref().filter(|(_, began)| *began >= since) {
                break Ok((value.clone(), *began));
            }
            let now = Instant::now();
            let (at, due) = self.rate_limit.begin(latest.due, now);
            if at > now {
                // Those whom the last read serves do not wait for the next one.
                drop(latest);
                tokio::time::sleep_until(at.into()).await;
                continue;
            }
            latest.due = Some(due);
            let began = Instant::now();
            let result = read().await;
            if let Ok(value) = &result {
                let ended = Instant::now();
                latest.found = Some((value.clone(), began));
                if self.cools_down {
                    latest.due = Some(ended + cooldown_after(ended.duration_since(began)));
                }
            }
            break result.map(|value| (value, began));
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

/// Returns the time for which nothing is read after a read.
fn cooldown_after(took: Duration) -> Duration {
    (2 * took).clamp(SHORTEST_COOLDOWN, LONGEST_COOLDOWN)
}

/// See [`Confirmations::with_cooldown`].
const SHORTEST_COOLDOWN: Duration = Duration::from_millis(10);
/// See [`Confirmations::with_cooldown`].
const LONGEST_COOLDOWN: Duration = Duration::from_millis(250);

/// The number of things of which the latest read is kept; it serves those who come a moment later.
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
        let confirmations = Confirmations::<&str, usize>::at(RateLimit::FREE);
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
    async fn a_burst_of_reads_goes_at_once_and_more_of_them_at_intervals() {
        let interval = Duration::from_millis(20);
        let confirmations = &Confirmations::<&str, usize>::at(RateLimit { burst: 3, interval });
        let reads = &Cell::new(0);
        let read = move || async {
            reads.set(reads.get() + 1);
            Ok::<_, Infallible>(reads.get())
        };
        let one = || value(confirmations.read("a", Instant::now(), read));
        let start = Instant::now();
        for number in 1..=3 {
            assert_eq!(one().await, Ok(number));
        }
        // These wait, and share.
        assert!(join_all((0..50).map(|_| one())).await.into_iter().all(|found| found == Ok(4)));
        assert!(start.elapsed() >= interval, "four reads take an interval at least");
        assert_eq!(
            value(confirmations.read("b", Instant::now(), read)).await,
            Ok(5),
            "another thing is another"
        );
    }

    /// Whoever is served by the read before does not wait for the end of the cooldown, and a read that failed
    /// needs none.
    #[tokio::test]
    async fn after_a_read_there_is_a_cooldown() {
        let confirmations = Confirmations::<&str, ()>::with_cooldown();
        let (start, since) = (Instant::now(), Instant::now());
        let read = || async { Ok::<_, Infallible>(()) };
        assert_eq!(value(confirmations.read("a", since, read)).await, Ok(()));
        let next = confirmations.read("a", Instant::now(), read);
        let mut next = std::pin::pin!(value(next));
        assert!(futures::poll!(next.as_mut()).is_pending());
        assert_eq!(value(confirmations.read("a", since, || async { Err("not asked") })).await, Ok(()));
        assert_eq!(next.await, Ok(()));
        assert!(start.elapsed() >= SHORTEST_COOLDOWN);
        let fail = || async { Err("no answer") };
        assert_eq!(value(confirmations.read("b", since, fail)).await, Err("no answer"));
        let again = confirmations.read("b", since, read);
        assert!(futures::poll!(std::pin::pin!(again)).is_ready());
        let cooldowns = [0, 20, 1000].map(|took| cooldown_after(Duration::from_millis(took)).as_millis());
        assert_eq!(cooldowns, [10, 40, 250]);
    }

    #[test]
    fn the_pace_is_kept_in_the_long_run() {
        let rate_limit = RateLimit { burst: 3, interval: Duration::from_secs(1) };
        let start = Instant::now();
        let seconds = |times: &[u64]| {
            let mut due = None;
            let begin = times.iter().map(|second| {
                let (begin, next) = rate_limit.begin(due, start + Duration::from_secs(*second));
                due = Some(next);
                begin.duration_since(start).as_secs()
            });
            begin.collect::<Vec<u64>>()
        };
        assert_eq!(seconds(&[0; 6]), [0, 0, 0, 1, 2, 3]);
        assert_eq!(seconds(&[0, 1, 2, 3, 4, 5]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(seconds(&[0, 0, 0, 0, 9, 9, 9, 9]), [0, 0, 0, 1, 9, 9, 9, 10]);
        let (begin, due) = RateLimit::FREE.begin(Some(start), start);
        assert_eq!((begin, due), (start, start));
    }

    #[tokio::test]
    async fn a_read_that_failed_serves_nobody_else() {
        let confirmations = Confirmations::<&str, usize>::at(RateLimit::FREE);
        let since = Instant::now();
        assert_eq!(
            value(confirmations.read("a", since, || async { Err("no answer") })).await,
            Err("no answer")
        );
        assert_eq!(value(confirmations.read("a", since, || async { Ok::<_, &str>(1) })).await, Ok(1));
    }

    #[tokio::test]
    async fn it_keeps_few_reads() {
        let confirmations = Confirmations::<usize, usize>::at(RateLimit::FREE);
        for number in 0..1000 {
            let found =
                value(confirmations.read(number, Instant::now(), || async { Ok::<_, Infallible>(number) }))
                    .await;
            assert_eq!(found, Ok(number));
        }
        assert!(confirmations.lock().len() <= MOST_KEPT + 1);
    }
}
