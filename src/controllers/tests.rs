use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use tokio::sync::watch;

use super::writer::Writer;
use super::*;

use crate::admission::Policies;
use crate::api::{ApprovalRequest, Enclave, EnclaveConnection, EnclaveSpec, Kind};
use crate::cluster::clock::Clock;
use crate::cluster::events::Events;
use crate::cluster::watch::WatchEvent;
use crate::cluster::workqueue::MAX_RETRY;
use crate::kinds::enqueue::Enqueuer;
use crate::kinds::policy_verifier::PolicyVerifier;
use crate::model::approval::policy_status::{Integrity, PolicyStatus};
use crate::telemetry::Metrics;

/// The state that controllers share, with an API server that does not answer.
fn context() -> Arc<Context> {
    let no_answer = tower::service_fn(|_: http::Request<Body>| async {
        Err::<http::Response<Body>, _>(std::io::Error::other("no answer"))
    });
    let client = Client::new(no_answer, "default");
    let clock = Clock::new(Timestamp::UNIX_EPOCH);
    let verifier = Arc::new(PolicyVerifier::new(Policies::default(), clock.clone()));
    let policy_status =
        watch::Sender::new(Some(PolicyStatus { integrity: Integrity::Intact, fingerprint: "guard".into() }));
    let context = Context {
        writer: Writer::new(client.clone(), Policies::default, |_, _| {}),
        policy_status: policy_status.subscribe(),
        enqueuer: Enqueuer::new("enclave-system", verifier, Vec::new(), policy_status),
        events: Events::new(client, "one").0,
        clock,
        ca_file: None,
        retain_requests_for: SignedDuration::MAX,
        metrics: Metrics::default(),
        planning: planning_permits(),
        closing: closing_permits(),
    };
    context.enqueuer.queues.open();
    Arc::new(context)
}

/// An object that failed is tried again later and later. One that goes is not enqueued for that, so its next attempt
/// finds it gone.
#[tokio::test]
async fn back_off_is_forgotten_with_the_object() {
    let context = context();
    let queue = context.enqueuer.queues.of(Kind::Enclave);
    let mut enclave = Enclave::new("payments", EnclaveSpec::default());
    enclave.metadata.namespace = Some("acme".into());
    enclave.metadata.resource_version = Some("1".into());
    let mut now = Instant::now();
    let mut take = || {
        now += MAX_RETRY;
        queue.take(Priority::Normal, now).expect("it is tried again")
    };
    let work = |key: &Key| work_on::<Enclave>(Arc::clone(&context), queue.clone(), key.clone());
    context.enqueuer.take_in(WatchEvent::Applied(enclave.clone()));
    for failures in 1..=FAILURES_UNTIL_DEGRADED {
        let key = take();
        work(&key).await;
        assert_eq!((queue.failures(&key), queue.remembered()), (failures, 1), "nothing could be written");
    }
    context.enqueuer.take_in(WatchEvent::Deleted(enclave.clone()));
    let key = take();
    work(&key).await;
    assert_eq!((queue.failures(&key), queue.remembered()), (0, 0));

    // An object may go while it waits for its turn.
    enclave.metadata.resource_version = Some("2".into());
    context.enqueuer.take_in(WatchEvent::Applied(enclave.clone()));
    work(&take()).await;
    assert_eq!((queue.failures(&key), queue.remembered()), (1, 1));
    let permits = u32::try_from(context.planning.available_permits()).unwrap();
    let permits = context.planning.acquire_many(permits).await.unwrap();
    let mut waiting = std::pin::pin!(work(&take()));
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    context.enqueuer.take_in(WatchEvent::Deleted(enclave));
    drop(permits);
    waiting.await;
    assert_eq!((queue.failures(&key), queue.remembered()), (0, 0));
}

/// Ten thousand entries of one kind: what closes is next, and so is another kind. Seen in the order in
/// which they begin, which does not depend on how fast the machine is.
#[tokio::test]
async fn neither_what_closes_nor_another_kind_waits_behind_ten_thousand() {
    let (many, other) = (Workqueue::default(), Workqueue::default());
    many.open();
    other.open();
    for number in 0..10_000 {
        many.add(Key::new("many", &format!("n{number}")), Priority::Normal);
    }
    let (begun, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(tokio::sync::Notify::new()));
    let work = |queue: &Workqueue| {
        let (queue, begun, is_over) = (queue.clone(), Arc::clone(&begun), Arc::clone(&is_over));
        move |key: Key| {
            let (queue, begun, is_over) = (queue.clone(), Arc::clone(&begun), Arc::clone(&is_over));
            async move {
                let number = {
                    let mut begun = begun.lock().unwrap();
                    begun.push(key.clone());
                    begun.len()
                };
                // In the middle of it.
                if number == 1000 {
                    queue.add(Key::new("many", "n9999"), Priority::Closing);
                }
                tokio::task::yield_now().await;
                queue.finish(&key, Outcome::Done, Instant::now());
                if number == 5000 {
                    is_over.notify_one();
                }
            }
        }
    };
    let mut workers = JoinSet::new();
    for queue in [&many, &other] {
        let (queue, work) = (queue.clone(), work(queue));
        workers.spawn(async move { run_queue(&queue, work).await });
    }
    while begun.lock().unwrap().len() < 2000 {
        tokio::task::yield_now().await;
    }
    let before = begun.lock().unwrap().len();
    other.add(Key::new("other", "one"), Priority::Normal);
    is_over.notified().await;
    let begun = begun.lock().unwrap();
    let position_of = |namespace: &str, name: &str| {
        begun.iter().position(|key| *key == Key::new(namespace, name)).expect("it was worked on")
    };
    let closing = position_of("many", "n9999");
    assert!((1000..1000 + MOST_AT_A_TIME).contains(&closing), "what closes began as number {closing}");
    let other = position_of("other", "one");
    assert!(other < before + 3 * MOST_AT_A_TIME, "another kind began as number {other}, after {before}");
}

/// The same in time: ten thousand entries whose plans take a millisecond of a processor each, one of them at
/// a time. These plans are the clock: on a machine that does other things too they take longer, and so does everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_ten_thousand_a_closing_begins_in_10_and_another_kind_in_50_milliseconds() {
    let (many, other) = (Workqueue::default(), Workqueue::default());
    many.open();
    other.open();
    let planning = Arc::new(Semaphore::new(1));
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let planned = Arc::new(AtomicUsize::new(0));
    let work = |queue: &Workqueue| {
        let (queue, begun) = (queue.clone(), begun.clone());
        let (planning, planned) = (Arc::clone(&planning), Arc::clone(&planned));
        move |key: Key| {
            let (queue, begun) = (queue.clone(), begun.clone());
            let (planning, planned) = (Arc::clone(&planning), Arc::clone(&planned));
            async move {
                let permit = acquire_planning(&planning, Work { queue: &queue, key: &key }).await;
                if !key.name.starts_with('n') {
                    begun.send(planned.load(Ordering::Relaxed)).unwrap();
                }
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(1) {
                    std::hint::spin_loop();
                }
                planned.fetch_add(1, Ordering::Relaxed);
                drop(permit);
                tokio::time::sleep(Duration::from_millis(5)).await;
                queue.finish(&key, Outcome::Done, Instant::now());
            }
        }
    };
    for number in 0..10_000 {
        many.add(Key::new("many", &format!("n{number}")), Priority::Normal);
    }
    let mut workers = JoinSet::new();
    for queue in [&many, &other] {
        let (queue, work) = (queue.clone(), work(queue));
        workers.spawn(async move { run_queue(&queue, work).await });
    }
    for (queue, priority, limit) in [(&many, Priority::Closing, 10), (&other, Priority::Normal, 50)] {
        let mut waits = Vec::new();
        for number in 0..15 {
            let asked = planned.load(Ordering::Relaxed);
            queue.add(Key::new("a", &format!("{priority:?}{number}")), priority);
            waits.push(begins.recv().await.unwrap() - asked);
        }
        waits.sort_unstable();
        assert!(many.len() > 1000, "there is still a crowd");
        assert!(waits[waits.len() / 2] <= limit, "{priority:?}, after so many plans: {waits:?}");
    }
}

#[tokio::test]
async fn what_closes_nothing_waits_for_its_turn() {
    let (queue, planning) = (Workqueue::default(), Semaphore::new(1));
    queue.open();
    let (closing, other) = (Key::new("a", "closing"), Key::new("a", "other"));
    queue.add(other.clone(), Priority::Normal);
    queue.add(closing.clone(), Priority::Closing);
    let taken = [(); 2].map(|()| queue.take(Priority::Normal, Instant::now()).unwrap());
    assert_eq!(taken, [closing.clone(), other.clone()]);
    let permit_for = |key| acquire_planning(&planning, Work { queue: &queue, key });
    let permit = permit_for(&other).await;
    let mut next = std::pin::pin!(permit_for(&other));
    assert!(futures::poll!(next.as_mut()).is_pending());
    assert!(permit_for(&closing).await.is_none(), "it needs none");
    drop(permit);
    assert!(next.as_mut().await.is_some());

    let permit = permit_for(&other).await;
    let mut next = std::pin::pin!(permit_for(&other));
    assert!(futures::poll!(next.as_mut()).is_pending());
    queue.add(other.clone(), Priority::Closing);
    assert!(next.await.is_none(), "it waits no longer");
    drop(permit);
}

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

/// An object that ends is requeued as one that closes, even if something that nobody waits for is due before.
#[test]
fn what_nobody_waits_for_does_not_keep_up_what_ends() {
    let (soon, late) = (Some(Duration::from_secs(3)), Some(Duration::from_secs(60)));
    let looks = [(None, None), (None, soon), (late, None), (late, soon), (soon, late)];
    let closing = |at: Option<Duration>| at.map(|at| (at, Priority::Closing));
    assert_eq!(
        looks.map(|(ends_in, later)| look_again::<EnclaveConnection>(ends_in, later)),
        [None, soon.map(|at| (at, Priority::Low)), closing(late), closing(soon), closing(soon)]
    );
    assert_eq!(look_again::<ApprovalRequest>(late, soon), soon.map(|at| (at, Priority::Normal)));
}
