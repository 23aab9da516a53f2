//! The API server's clock, learnt from the `Date` of its answers. What ends at a certain time must not
//! end late because the operator's clock is wrong.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Response, header};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use tower::service_fn;

/// Tells the time of the API server, without asking it.
#[derive(Clone)]
pub struct Clock {
    origin: Instant,
    estimate: Arc<Mutex<Estimate>>,
}

impl Clock {
    /// A clock that shows this time until it has heard of the API server.
    #[must_use]
    pub fn new(local: Timestamp) -> Self {
        Self { origin: Instant::now(), estimate: Arc::new(Mutex::new(Estimate { at_origin: local })) }
    }

    /// The time. It may go back a little when an answer shows that it was ahead.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let estimate = self.estimate.lock().unwrap_or_else(PoisonError::into_inner);
        estimate.time(self.origin.elapsed())
    }

    /// The same client, but that each of its answers sets this clock. The renewals of the lease alone
    /// are one every few seconds.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn listen(&self, client: Client) -> Client {
        let (clock, namespace) = (self.clone(), client.default_namespace().to_owned());
        let service = service_fn(move |request: Request<Body>| {
            let (clock, client) = (clock.clone(), client.clone());
            async move {
                let asked = clock.origin.elapsed();
                let answer = client.send(request).await?;
                if let Some(date) = date(&answer) {
                    clock.correct(asked, date);
                }
                Ok::<_, kube::Error>(answer)
            }
        });
        Client::new(service, namespace)
    }

    fn correct(&self, asked: Duration, date: Timestamp) {
        let answered = self.origin.elapsed();
        self.estimate.lock().unwrap_or_else(PoisonError::into_inner).correct(asked, answered, date);
    }
}

fn date<B>(answer: &Response<B>) -> Option<Timestamp> {
    let date = answer.headers().get(header::DATE)?;
    DateTimeParser::new().parse_timestamp(date).ok()
}

/// The time that another clock shows, by a monotonic one whose readings are durations since its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Estimate {
    /// The time that the other clock showed at the origin.
    at_origin: Timestamp,
}

impl Estimate {
    fn time(self, reading: Duration) -> Timestamp {
        self.at_origin.saturating_add(reading).unwrap_or(Timestamp::MAX)
    }

    /// Takes an answer into account, which was dated, in whole seconds, after it was asked for and
    /// before it was here. So when it was here the date was past, and when it was asked for the next
    /// second was still to come. The estimate is moved into these bounds and no further: each answer
    /// cuts something off, and what is left is soon less than the second to which dates are exact.
    /// A slow answer says little and spoils nothing; a clock that was set, either of them, is out of
    /// bounds with the next answer.
    fn correct(&mut self, asked: Duration, answered: Duration, date: Timestamp) {
        let second = SignedDuration::from_secs(1);
        let Ok(earliest) = date.checked_sub(answered) else { return };
        let Ok(latest) = date.checked_add(second).and_then(|next| next.checked_sub(asked)) else { return };
        self.at_origin = self.at_origin.min(latest).max(earliest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The operator's monotonic clock began here by the true time.
    const ORIGIN: i64 = 1_800_000_000;

    /// An answer of a server whose clock is right, dated so long after the origin: how long before
    /// that it was asked for, and how long after that it was here.
    fn answer(estimate: &mut Estimate, at: Duration, before: Duration, after: Duration) {
        let date = Timestamp::from_second(server_time(at).as_second()).unwrap();
        estimate.correct(at.checked_sub(before).unwrap(), at + after, date);
    }

    fn server_time(at: Duration) -> Timestamp {
        Timestamp::from_second(ORIGIN).unwrap() + at
    }

    fn error(estimate: Estimate, at: Duration) -> f64 {
        estimate.time(at).duration_since(server_time(at)).as_secs_f64()
    }

    fn skewed(seconds: i64) -> Estimate {
        Estimate { at_origin: Timestamp::from_second(ORIGIN + seconds).unwrap() }
    }

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_local_clock_that_is_wrong_does_no_harm_after_the_first_answer() {
        for skew in [-3600, -2, 2, 3600] {
            let mut estimate = skewed(skew);
            answer(&mut estimate, millis(5_300), millis(20), millis(20));
            let off = error(estimate, millis(60_000));
            assert!(off.abs() < 1.02, "{off} after one answer, from {skew}");
            // Answers come at all times within a second.
            for number in 1..=50 {
                answer(&mut estimate, millis(6_000 + number * 2_137), millis(20), millis(20));
            }
            let off = error(estimate, millis(200_000));
            assert!(off.abs() < 0.1, "{off} after many answers, from {skew}");
        }
    }

    #[test]
    fn a_local_clock_that_is_right_is_left_alone() {
        let mut estimate = skewed(0);
        for number in 1..=50 {
            answer(&mut estimate, millis(number * 777), millis(3), millis(4));
        }
        assert_eq!(estimate, skewed(0));
    }

    #[test]
    fn slow_answers_say_little_and_spoil_nothing() {
        let mut estimate = skewed(0);
        answer(&mut estimate, millis(100_000), millis(5), millis(60_000));
        answer(&mut estimate, millis(200_000), millis(60_000), millis(5));
        assert_eq!(estimate, skewed(0));
        // Even so they bound what is far off.
        let mut estimate = skewed(-3600);
        answer(&mut estimate, millis(100_000), millis(5), millis(30_000));
        let off = error(estimate, millis(140_000));
        assert!((-31.0..=0.0).contains(&off), "{off}");
    }

    #[test]
    fn a_server_whose_clock_is_set_is_believed_at_once() {
        for step in [-86_400, -3, 3, 86_400] {
            let mut estimate = skewed(0);
            // Set by so much is the same as an estimate that is wrong by so much.
            estimate.at_origin -= SignedDuration::from_secs(step);
            answer(&mut estimate, millis(9_500), millis(10), millis(10));
            let off = error(estimate, millis(9_500));
            assert!(off.abs() < 1.02, "{off} after a step of {step}");
        }
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        let dated = |date: &str| Response::builder().header("date", date).body(()).unwrap();
        let read = date(&dated("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(read, Some("1994-11-06T08:49:37Z".parse().unwrap()));
        assert_eq!(date(&dated("yesterday")), None);
        assert_eq!(date(&Response::new(())), None);
    }
}
