use super::*;

fn key(name: &str) -> Key {
    Key::new("a", name)
}

fn queue() -> Workqueue {
    let queue = Workqueue::default();
    queue.open();
    queue
}

const FAILED: Outcome = Outcome::Failed { ends_in: None };

fn take(queue: &Workqueue) -> Option<Key> {
    queue.take(Priority::Normal, Instant::now())
}

/// Additions before the caches are read are covered by that; later ones are not.
#[test]
fn an_object_is_worked_on_again_for_what_came_after_the_look() {
    let queue = queue();
    queue.add(key("one"), Priority::Normal);
    let one = take(&queue).unwrap();
    assert!(!queue.look(&one));
    queue.add(key("one"), Priority::Closing);
    assert!(queue.look(&one));
    assert!(queue.is_closing(&one), "what closes is not forgotten");
    queue.finish(&one, Outcome::Done, Instant::now());
    assert!(take(&queue).is_none());

    queue.add(key("one"), Priority::Normal);
    let one = take(&queue).unwrap();
    queue.add(key("one"), Priority::Normal);
    assert!(queue.look(&one));
    queue.add(key("one"), Priority::Normal);
    queue.finish(&one, Outcome::Done, Instant::now());
    assert_eq!(take(&queue), Some(one.clone()));
    // Nothing to look at twice, and nothing that is not worked on.
    assert!(!queue.look(&one) && !queue.look(&key("other")));
    queue.finish(&one, Outcome::Done, Instant::now());
    assert_eq!(queue.remembered(), 0);
}

#[tokio::test]
async fn whoever_works_on_an_object_learns_that_it_is_to_close_something() {
    let queue = queue();
    queue.add(key("one"), Priority::Normal);
    let one = take(&queue).unwrap();
    let mut closing = std::pin::pin!(queue.wait_until_closing(&one));
    assert!(futures::poll!(closing.as_mut()).is_pending());
    queue.add(key("other"), Priority::Closing);
    queue.add(key("one"), Priority::Normal);
    assert!(futures::poll!(closing.as_mut()).is_pending());
    queue.add(key("one"), Priority::Closing);
    closing.await;
    queue.wait_until_closing(&one).await;
}

/// Only what happened once, and was not there before, can be what the caller did.
#[test]
fn what_somebody_did_himself_is_overlooked_and_nothing_else() {
    let queue = queue();
    let one = key("one");
    let again = |additions: &[Priority]| {
        queue.add(one.clone(), Priority::Normal);
        assert_eq!(take(&queue).as_ref(), Some(&one));
        let added = queue.unmarked(&one).unwrap();
        for priority in additions {
            queue.add(one.clone(), *priority);
        }
        assert_eq!(queue.unmarked(&one).is_none(), !additions.is_empty());
        queue.clear_mark(&one, added);
        queue.finish(&one, Outcome::Done, Instant::now());
        let again = take(&queue).is_some();
        queue.finish(&one, Outcome::Done, Instant::now());
        again
    };
    assert!(!again(&[Priority::Normal]));
    assert!(again(&[Priority::Normal, Priority::Normal]), "somebody else did something too");
    assert!(again(&[Priority::Closing]), "what closes is not overlooked");
    assert!(!again(&[]));
    assert_eq!((queue.unmarked(&one), queue.remembered()), (None, 0));
}

#[test]
fn an_object_is_in_it_once_and_worked_on_once_at_a_time() {
    let queue = queue();
    for _ in 0..1000 {
        queue.add(key("one"), Priority::Normal);
    }
    assert_eq!(queue.len(), 1);
    assert_eq!(take(&queue), Some(key("one")));
    queue.add(key("one"), Priority::Normal);
    assert_eq!(take(&queue), None, "it is being worked on");
    queue.finish(&key("one"), Outcome::Done, Instant::now());
    assert_eq!(take(&queue), Some(key("one")), "it was added meanwhile");
    queue.finish(&key("one"), Outcome::Done, Instant::now());
    assert_eq!((take(&queue), queue.remembered()), (None, 0));
}

#[test]
fn what_closes_comes_first_even_when_it_was_queued_before() {
    let queue = queue();
    for number in 0..10_000 {
        queue.add(key(&format!("n{number}")), Priority::Normal);
    }
    queue.add(key("n9000"), Priority::Closing);
    assert_eq!(queue.take(Priority::Closing, Instant::now()), Some(key("n9000")));
    assert_eq!(queue.take(Priority::Closing, Instant::now()), None);
    let mut rest = Vec::new();
    while let Some(key) = take(&queue) {
        rest.push(key);
    }
    assert_eq!(rest.len(), 9999);
    assert!(!rest.contains(&key("n9000")), "once only");
}

#[test]
fn what_failed_waits_longer_each_time_and_is_forgotten_when_it_succeeds() {
    let queue = queue();
    let mut now = Instant::now();
    queue.add(key("one"), Priority::Normal);
    for expected in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
        assert_eq!(queue.take(Priority::Normal, now), Some(key("one")));
        queue.finish(&key("one"), FAILED, now);
        let wait = Duration::from_millis(expected);
        assert_eq!(queue.take(Priority::Normal, now + wait.saturating_sub(Duration::from_millis(1))), None);
        now += wait;
    }
    assert_eq!((queue.failures(&key("one")), queue.remembered()), (8, 1));
    assert_eq!(queue.take(Priority::Normal, now), Some(key("one")));
    queue.finish(&key("one"), Outcome::Done, now);
    assert_eq!((queue.failures(&key("one")), queue.remembered()), (0, 0));
}

/// A thousand objects that fail do not stand in the way of one that is to be closed.
#[test]
fn what_failed_comes_again_as_it_came() {
    for priority in [Priority::Normal, Priority::Closing] {
        let queue = queue();
        let now = Instant::now();
        queue.add(key("one"), priority);
        assert_eq!(queue.take(priority, now), Some(key("one")));
        queue.finish(&key("one"), FAILED, now);
        let closing = (priority == Priority::Closing).then(|| key("one"));
        assert_eq!(queue.take(Priority::Closing, now + MIN_RETRY), closing);
    }
    let queue = queue();
    let now = Instant::now();
    queue.add(key("one"), Priority::Closing);
    assert!(queue.take(Priority::Closing, now).is_some());
    queue.add(key("one"), Priority::Normal);
    queue.finish(&key("one"), FAILED, now);
    assert_eq!(queue.take(Priority::Closing, now), Some(key("one")), "it is still to be closed");
}

#[test]
fn what_ends_while_it_fails_is_closed_in_time() {
    let queue = queue();
    let mut now = Instant::now();
    queue.add(key("one"), Priority::Normal);
    // Back-off alone would be half a minute by now.
    for _ in 0..10 {
        assert_eq!(queue.take(Priority::Normal, now), Some(key("one")));
        queue.finish(&key("one"), FAILED, now);
        now += MAX_RETRY;
    }
    assert_eq!(queue.take(Priority::Normal, now), Some(key("one")));
    queue.finish(&key("one"), Outcome::Failed { ends_in: Some(Duration::from_secs(5)) }, now);
    assert_eq!(queue.take(Priority::Closing, now + Duration::from_secs(5)), Some(key("one")));
}

#[test]
fn what_is_looked_at_earlier_does_not_come_again_at_its_time() {
    let queue = queue();
    let now = Instant::now();
    queue.add(key("one"), Priority::Normal);
    assert!(queue.take(Priority::Normal, now).is_some());
    queue.finish(&key("one"), Outcome::RequeueAfter(Duration::from_secs(60), Priority::Closing), now);
    queue.add(key("one"), Priority::Normal);
    assert_eq!(queue.take(Priority::Normal, now), Some(key("one")));
    queue.finish(&key("one"), Outcome::Done, now);
    assert_eq!(queue.take(Priority::Normal, now + Duration::from_secs(61)), None);
    assert_eq!(queue.remembered(), 0);
}

/// A kind that is never idle does what nobody waits for in the end, too.
#[test]
fn what_nobody_waits_for_comes_last_but_comes() {
    let queue = queue();
    let mut now = Instant::now();
    let later = Outcome::RequeueAfter(Duration::from_secs(1), Priority::Low);
    queue.add(key("one"), Priority::Normal);
    assert!(queue.take(Priority::Low, now).is_some());
    assert!(!queue.is_later_better(&key("one"), now), "nothing else is to be done");
    queue.add(key("two"), Priority::Normal);
    assert!(queue.is_later_better(&key("one"), now));
    queue.finish(&key("one"), later, now);
    assert_eq!(queue.take(Priority::Normal, now), Some(key("two")));
    now += Duration::from_secs(1);
    assert_eq!(queue.take(Priority::Normal, now), None, "another is being worked on");
    queue.finish(&key("two"), Outcome::Done, now);
    assert_eq!(queue.take(Priority::Low, now), Some(key("one")));
    queue.add(key("two"), Priority::Normal);
    assert!(!queue.is_later_better(&key("one"), now), "it was taken out for that");
    queue.finish(&key("one"), Outcome::Done, now);
    assert_eq!(queue.take(Priority::Low, now), Some(key("two")));

    // Again, and this time there is always something else.
    queue.add(key("one"), Priority::Normal);
    assert_eq!(queue.take(Priority::Normal, now), Some(key("one")));
    queue.finish(&key("one"), later, now);
    now += Duration::from_secs(1);
    queue.add(key("one"), Priority::Normal);
    assert_eq!(queue.take(Priority::Normal, now), Some(key("one")), "it rose");
    queue.finish(&key("one"), later, now);
    now += Duration::from_secs(1);
    assert_eq!(queue.take(Priority::Normal, now), None);
    queue.add(key("three"), Priority::Normal);
    now += LONGEST_LOW;
    assert_eq!(queue.take(Priority::Closing, now), None);
    assert_eq!(queue.take(Priority::Normal, now), Some(key("one")), "it has waited long enough");
    assert!(!queue.is_later_better(&key("one"), now));
    assert_eq!(queue.take(Priority::Closing, now), None);
    queue.finish(&key("one"), FAILED, now);
    assert_eq!(queue.take(Priority::Normal, now), Some(key("three")));
    now += MIN_RETRY;
    assert_eq!(queue.take(Priority::Normal, now), Some(key("one")), "what failed is no trifle");
    assert!(!queue.is_later_better(&key("one"), now), "and it has waited all the time");
}

#[test]
fn a_queue_that_is_not_open_holds_nothing() {
    let queue = Workqueue::default();
    queue.add(key("one"), Priority::Closing);
    assert_eq!((take(&queue), queue.remembered()), (None, 0));
    queue.open();
    assert_eq!(take(&queue), None);
}

#[tokio::test]
async fn who_waits_is_woken_by_what_is_added_and_by_what_is_due() {
    let queue = queue();
    queue.add(key("one"), Priority::Normal);
    queue.wait().await;
    assert!(take(&queue).is_some());
    queue.finish(
        &key("one"),
        Outcome::RequeueAfter(Duration::from_millis(5), Priority::Normal),
        Instant::now(),
    );
    while take(&queue).is_none() {
        queue.wait().await;
    }
}

/// Twenty votes a second leave gaps between them, in which what nobody waits for would stand in the way of the next.
#[test]
fn what_nobody_waits_for_waits_until_a_busy_queue_has_come_to_rest() {
    let queue = queue();
    let mut now = Instant::now();
    let work_on = |name: &str, now: Instant| {
        queue.add(key(name), Priority::Normal);
        assert_eq!(queue.take(Priority::Low, now), Some(key(name)));
        let is_later = queue.is_later_better(&key(name), now);
        let outcome =
            if is_later { Outcome::RequeueAfter(Duration::ZERO, Priority::Low) } else { Outcome::Done };
        queue.finish(&key(name), outcome, now);
        is_later
    };
    assert!(!work_on("one", now), "a single one has time for everything");
    now += Duration::from_secs(60);
    let later = (0..40).filter(|number| {
        now += Duration::from_millis(50);
        work_on(&number.to_string(), now)
    });
    let later = later.count();
    assert!((25..=35).contains(&later), "{later} of 40");
    assert_eq!(queue.take(Priority::Low, now), None);
    let due = queue.lock().due(now).unwrap();
    let idle = due - now;
    assert!((Duration::from_millis(500)..Duration::from_secs(1)).contains(&idle), "{idle:?}");
    assert_eq!(queue.take(Priority::Low, now + idle / 2), None);
    // Whoever looked a moment too early and waits is woken.
    now = due + Duration::from_millis(1);
    assert!(queue.lock().due(now).is_some_and(|due| due <= now));
    for _ in 0..later {
        let taken = queue.take(Priority::Low, now).expect("it is at rest");
        assert!(!queue.is_later_better(&taken, now));
        // The watch brings the write, which is nothing that anybody waits for either.
        queue.add(taken.clone(), Priority::Normal);
        queue.finish(&taken, Outcome::Done, now);
        assert_eq!(queue.take(Priority::Low, now), Some(taken.clone()));
        queue.finish(&taken, Outcome::Done, now);
    }
    assert_eq!((queue.remembered(), queue.lock().due(now)), (0, None));
}

/// Objects that have waited for long do not hold up those that come, nor do those that wait for less long with
/// them.
#[test]
fn what_waited_long_enough_takes_turns_with_the_rest() {
    let queue = queue();
    let mut now = Instant::now();
    for number in 0..60 {
        let name = key(&number.to_string());
        queue.add(name.clone(), Priority::Normal);
        assert!(queue.take(Priority::Normal, now).is_some());
        queue.finish(&name, Outcome::RequeueAfter(Duration::ZERO, Priority::Low), now);
    }
    assert_eq!(queue.take(Priority::Normal, now), None);
    // The first ten are to be done for another reason.
    for number in 0..10 {
        queue.add(key(&number.to_string()), Priority::Normal);
    }
    now += LONGEST_LOW;
    let mut taken = Vec::new();
    while let Some(one) = queue.take(Priority::Normal, now) {
        let is_normal = one.name.parse::<usize>().unwrap() < 10;
        taken.push(is_normal);
        queue.finish(&one, Outcome::Done, now);
    }
    assert_eq!((taken.len(), queue.len()), (60, 0));
    assert_eq!(taken[..20], [false, true].repeat(10), "{taken:?}");
}

/// Of what was to be done for an object that something else was done for nothing is left.
#[test]
fn what_rose_leaves_nothing_behind_that_makes_others_old() {
    let queue = queue();
    let mut now = Instant::now();
    let later = Outcome::RequeueAfter(Duration::ZERO, Priority::Low);
    let put_off = |name: &str, now: Instant| {
        queue.add(key(name), Priority::Normal);
        assert_eq!(queue.take(Priority::Normal, now), Some(key(name)));
        queue.finish(&key(name), later, now);
        assert_eq!(queue.take(Priority::Normal, now), None);
    };
    put_off("one", now);
    now += LONGEST_LOW / 2;
    put_off("two", now);
    queue.add(key("one"), Priority::Normal);
    now += LONGEST_LOW / 2;
    assert_eq!(queue.take(Priority::Normal, now), Some(key("one")));
    queue.finish(&key("one"), Outcome::Done, now);
    assert_eq!(queue.take(Priority::Normal, now), None, "it has waited half as long");
    assert_eq!(queue.len(), 1);
}
