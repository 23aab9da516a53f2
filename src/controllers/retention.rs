//! Retention of decided ApprovalRequests. They are kept for months, so there is no timer for each: those that were
//! decided in one hour are queued together when the first of them may be deleted. From then on each has a timer of
//! its own until its time comes, two hours later at most (`kinds::approval_request::plan`).

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::context::Context;
use crate::api::Kind;
use crate::cluster::cache::Filled;
use crate::cluster::workqueue::Priority;
use crate::kinds::approval_request::index::{RequestBy, hour};
use crate::kinds::enqueue::Enqueuer;

/// Enqueues the requests of an hour when the first of them may be old. Never returns.
pub async fn run(context: Arc<Context>) {
    // Those of an hour that was looked at before they were known would wait for the next start.
    let mut filled = context.caches().requests.filled();
    if filled.wait_for(|filled| *filled == Filled::Complete).await.is_err() {
        return;
    }
    let mut seen = None;
    loop {
        let latest =
            context.clock.now().saturating_sub(context.retain_requests_for).unwrap_or(Timestamp::MIN);
        enqueue_decided(&context.enqueuer, &mut seen, hour(latest));
        tokio::time::sleep(until_the_next_hour(latest)).await;
    }
}

/// Queues what was decided in the hours from `seen` to `latest`, and notes `latest` as seen. The hour that was the
/// latest before is queued once more, because clocks of API servers differ and may be set back.
fn enqueue_decided(enqueuer: &Enqueuer, seen: &mut Option<i64>, latest: i64) {
    let hours = enqueuer.caches.requests.values(RequestBy::DecidedIn);
    for (number, value) in
        hours.into_iter().filter_map(|(value, _)| Some((value.parse::<i64>().ok()?, value)))
    {
        if number <= latest && seen.is_none_or(|seen| seen <= number) {
            // Thousands may have been decided in one hour.
            enqueuer.caches.requests.visit(RequestBy::DecidedIn, &value, |request| {
                enqueuer.enqueue_object(Kind::ApprovalRequest, request, Priority::Normal);
            });
        }
    }
    *seen = Some(latest);
}

fn until_the_next_hour(at: Timestamp) -> Duration {
    let next = Timestamp::from_second((hour(at) + 1).saturating_mul(3600)).unwrap_or(Timestamp::MAX);
    let wait = next.duration_since(at).clamp(SignedDuration::from_secs(1), SignedDuration::from_hours(1));
    wait.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use crate::api::approval_request::{ApprovalRequest, ApprovalRequestStatus, RequestState};
    use crate::api::{Time, names};
    use crate::cluster::watch::WatchEvent;
    use crate::model::approval::request::tests::a_request;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn request(name: &str, state: RequestState, decided_at: Option<i64>) -> ApprovalRequest {
        let mut request = ApprovalRequest::new(name, a_request());
        request.metadata.namespace = Some("acme".into());
        request.metadata.resource_version = Some("1".into());
        request.metadata.finalizers = Some(vec![names::FINALIZER.into()]);
        request.status = Some(ApprovalRequestStatus {
            state: Some(state),
            decided_at: decided_at.map(|second| Time(at(second))),
            ..ApprovalRequestStatus::default()
        });
        request
    }

    /// Those that are settled, hour by hour and once; the others at once when everything is.
    #[test]
    fn settled_requests_are_looked_at_when_they_may_be_old() {
        let enqueuer = Enqueuer::detached();
        let mut terminating = request("leaving", RequestState::Rejected, Some(20));
        terminating.metadata.deletion_timestamp = Some(Time(at(30)).into());
        for request in [
            request("first", RequestState::Rejected, Some(10)),
            request("second", RequestState::Expired, Some(3599)),
            request("third", RequestState::Withdrawn, Some(3600)),
            request("undecided", RequestState::Pending, None),
            request("unfinished", RequestState::Approved, Some(10)),
            terminating,
        ] {
            enqueuer.take_in(WatchEvent::Applied(request));
        }
        enqueuer.queues.open();
        let queue = enqueuer.queues.of(Kind::ApprovalRequest);
        let queued = || {
            let now = std::time::Instant::now();
            let mut names: Vec<String> = std::iter::from_fn(|| {
                let key = queue.take(Priority::Normal, now)?;
                queue.finish(&key, crate::cluster::workqueue::Outcome::Done, now);
                Some(key.name.into_string())
            })
            .collect();
            names.sort();
            names
        };
        enqueuer.enqueue_everything();
        assert_eq!(queued(), ["leaving", "undecided", "unfinished"]);

        let mut seen = None;
        let mut look = |second| {
            enqueue_decided(&enqueuer, &mut seen, hour(at(second)));
            queued()
        };
        assert!(look(-1).is_empty());
        // One that was never put into force is deleted like the others if its target is gone.
        assert_eq!(look(0), ["first", "second", "unfinished"]);
        assert_eq!(
            look(3600),
            ["first", "second", "third", "unfinished"],
            "the hour before is seen once more"
        );
        assert_eq!(look(7200), ["third"]);
        assert!(look(10_800).is_empty());
        assert!(look(-3600).is_empty(), "a clock is put back");
        assert_eq!(look(0), ["first", "second", "unfinished"]);
        let from_anew = &mut None;
        enqueue_decided(&enqueuer, from_anew, hour(at(1_000_000)));
        assert_eq!(queued(), ["first", "second", "third", "unfinished"], "when it begins to lead");
    }

    #[test]
    fn it_looks_when_the_next_hour_begins() {
        let seconds = |second| until_the_next_hour(at(second)).as_secs();
        assert_eq!([0, 1, 3599, 3600, -1].map(seconds), [3600, 3599, 1, 3600, 1]);
        assert_eq!(until_the_next_hour(Timestamp::MAX), Duration::from_secs(1));
    }
}
