//! Changes that follow each other closely are read together.

use std::time::{Duration, Instant};

use futures::{FutureExt, Stream, StreamExt};
use tokio::time::sleep;

/// Reads a stream in batches while much comes.
///
/// A thread that wakes for one event of a watch costs some ten times what is done with the event. An item that
/// comes by itself is delivered at once. An item that comes less than a window after that waits for the end of
/// the window, as a network card does with its interrupts: nothing is dropped, and nothing waits longer than
/// that.
pub struct Coalesced {
    window: Duration,
    /// The end of the last rest.
    last: Option<Instant>,
}

impl Coalesced {
    /// Creates one with this window. With an empty window nothing ever waits.
    pub const fn within(window: Duration) -> Self {
        Self { window, last: None }
    }

    /// The next item of a stream, which waits for those that follow if `may_wait`.
    pub async fn next<S>(&mut self, stream: &mut S, may_wait: bool) -> Option<S::Item>
    where
        S: Stream + Unpin,
    {
        if let Some(ready) = stream.next().now_or_never() {
            return ready;
        }
        if may_wait {
            let rest = self.rest(Instant::now());
            if !rest.is_zero() {
                sleep(rest).await;
            }
        }
        stream.next().await
    }

    /// Returns the time for which nothing is read when everything was read until `now`.
    fn rest(&mut self, now: Instant) -> Duration {
        let follows = self.last.is_some_and(|last| now.saturating_duration_since(last) < self.window);
        let rest = if follows { self.window } else { Duration::ZERO };
        self.last = Some(now + rest);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(25);

    /// Returns how long each of `count` items, which come at this interval, waits until it is delivered, and how
    /// often something was read.
    fn read(interval: Duration, count: u32) -> (Vec<Duration>, usize) {
        let began = Instant::now();
        let mut coalesced = Coalesced::within(WINDOW);
        let (mut now, mut waited, mut reads) = (began, Vec::new(), 0);
        for number in 0..count {
            let comes = began + interval * number;
            if comes > now || number == 0 {
                now = comes.max(now + coalesced.rest(now));
                reads += 1;
            }
            waited.push(now.saturating_duration_since(comes));
        }
        (waited, reads)
    }

    #[test]
    fn what_comes_by_itself_is_told_at_once() {
        assert_eq!(read(WINDOW, 100), (vec![Duration::ZERO; 100], 100));
    }

    #[test]
    fn what_follows_closely_is_told_together_and_soon() {
        let (waited, reads) = read(Duration::from_millis(2), 500);
        assert_eq!(waited.first(), Some(&Duration::ZERO));
        assert!(waited.iter().all(|waited| *waited <= WINDOW), "{waited:?}");
        assert!(reads <= 42, "one second has 40 windows; read {reads} times");
    }

    #[tokio::test]
    async fn nothing_is_lost_and_the_end_is_told() {
        let (sender, mut numbers) = futures::channel::mpsc::unbounded();
        let mut coalesced = Coalesced::within(Duration::from_millis(1));
        let sending = async move {
            for number in 0..50 {
                sender.unbounded_send(number).unwrap();
                tokio::task::yield_now().await;
            }
        };
        let reading = async {
            let mut received = Vec::new();
            while let Some(number) = coalesced.next(&mut numbers, true).await {
                received.push(number);
            }
            received
        };
        let (received, ()) = futures::join!(reading, sending);
        assert_eq!(received, (0..50).collect::<Vec<_>>());
    }
}
