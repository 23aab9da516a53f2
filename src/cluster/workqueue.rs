//! A workqueue as client-go has it: one entry per object, however often it is added; an object is never worked on
//! twice at a time; an object that fails is tried again later and later. Objects that close something come first,
//! and objects that nobody waits for come last, as with the priorities of controller-runtime.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::cache::Key;

/// The time that an object waits after its first failure. Each further one doubles the time, up to [`MAX_RETRY`].
pub const MIN_RETRY: Duration = Duration::from_millis(500);
/// The longest time that an object waits after a failure.
pub const MAX_RETRY: Duration = Duration::from_secs(30);
/// The time after which an object that nobody waits for has every second turn, however busy the queue is, beside
/// those that close something.
pub const LONGEST_LOW: Duration = Duration::from_secs(20);
/// A queue is at rest when no more objects than this were taken out of it in the last second or so.
const IDLE_BELOW: f64 = 10.0;

/// The order in which objects are taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Taken out when the queue is at rest and nothing else of it is there or under way: nobody waits for it.
    Low,
    /// Taken out in the order in which they were added.
    Normal,
    /// Taken out before all others: something is to be closed.
    Closing,
}

/// The outcome of working on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done until something changes.
    Done,
    /// Done, and to be looked at again after this time, with this priority.
    RequeueAfter(Duration, Priority),
    /// To be tried again with back-off, or when something ends if that is earlier.
    Failed {
        /// The time until something ends that the object is to close.
        ends_in: Option<Duration>,
    },
}

/// A queue of objects of one kind. Cloning gives another handle of the same queue.
#[derive(Clone, Default)]
pub struct Workqueue {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    added: Notify,
    /// An object that is being worked on was added to close something.
    raised: Notify,
}

#[derive(Default)]
struct State {
    /// A closed queue takes nothing in.
    is_open: bool,
    closing: VecDeque<Key>,
    normal: VecDeque<Key>,
    /// By the time since when something is to be done for each.
    low: BTreeSet<(Instant, Key)>,
    /// The number of objects that are being worked on.
    active: usize,
    /// Only objects that are queued, being worked on, waited for, or failed.
    items: HashMap<Key, Item>,
    waiting: BTreeSet<(Instant, Key)>,
    recent: Recent,
    /// Whether what was taken out last was something that nobody waits for.
    last_was_low: bool,
}

/// The number of objects that were taken out lately for something that somebody waits for; each counts less and
/// less, by half after 0.7 s.
#[derive(Clone, Copy, Default)]
struct Recent {
    count: f64,
    at: Option<Instant>,
}

impl Recent {
    fn count(self, now: Instant) -> f64 {
        let age = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.count * (-age).exp()
    }

    fn add(&mut self, now: Instant) {
        *self = Self { count: self.count(now) + 1.0, at: Some(now) };
    }

    /// Returns when the queue is at rest if nothing more is taken out of it.
    fn idle_at(self) -> Option<Instant> {
        let wait = (self.count / IDLE_BELOW).ln();
        self.at.filter(|_| wait > 0.0).map(|at| at + Duration::from_secs_f64(wait))
    }

    fn is_idle(self, now: Instant) -> bool {
        self.idle_at().is_none_or(|at| at <= now)
    }
}

#[derive(Default)]
struct Item {
    stage: Stage,
    /// The time at which it is added by itself, and the priority.
    requeue_at: Option<(Instant, Priority)>,
    /// The number of failures in a row.
    failures: u32,
    /// The time since when something is to be done for it that nobody waits for.
    low_since: Option<Instant>,
    /// The number of times that it was added again while it was being worked on.
    added: usize,
    /// Whether it is queued because of something that was done for it and that nobody waits for.
    is_echo: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    Queued(Priority),
    /// Being worked on, with the priority that it was taken out with, and the one with which it was added
    /// meanwhile, if it was.
    Active(Priority, Option<Priority>),
}

impl Workqueue {
    /// Lets objects in. A new queue is closed: a replica that does not lead has no work.
    pub fn open(&self) {
        self.lock().is_open = true;
    }

    /// Adds an object, if it is not there already.
    pub fn add(&self, key: Key, priority: Priority) {
        let mut state = self.lock();
        if !state.is_open {
            return;
        }
        state.add(key, priority);
        drop(state);
        self.shared.added.notify_one();
        if priority == Priority::Closing {
            self.shared.raised.notify_waiters();
        }
    }

    /// Takes out the next object; `None` when there is none now. With `Priority::Closing` only one that
    /// closes something; with `Priority::Normal` none that nobody waits for, unless it waited for
    /// [`LONGEST_LOW`]. It has to be given back with [`Workqueue::finish`].
    #[must_use]
    pub fn take(&self, at_least: Priority, now: Instant) -> Option<Key> {
        self.lock().take(at_least, now)
    }

    /// Ends when something was added, or is due.
    pub async fn wait(&self) {
        let due = self.lock().due(Instant::now());
        let is_due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.shared.added.notified() => {}
            () = is_due => {}
        }
    }

    /// Gives back an object that was taken out.
    pub fn finish(&self, key: &Key, outcome: Outcome, now: Instant) {
        self.lock().finish(key, outcome, now);
        self.shared.added.notify_one();
    }

    /// Clears the mark that an object under reconciliation was added again: whoever calls this reads the caches
    /// afterwards, and what the object was added for is in them. Its priority only rises. Returns whether there
    /// was a mark.
    #[must_use]
    pub fn look(&self, key: &Key) -> bool {
        if let Some(item) = self.lock().items.get_mut(key)
            && let Stage::Active(taken, Some(again)) = item.stage
        {
            item.stage = Stage::Active(taken.max(again), None);
            return true;
        }
        false
    }

    /// Returns how often an object was added again while it is being worked on, if there is no mark of that now:
    /// for [`Workqueue::clear_mark`].
    #[must_use]
    pub fn unmarked(&self, key: &Key) -> Option<usize> {
        let state = self.lock();
        let item = state.items.get(key)?;
        matches!(item.stage, Stage::Active(_, None)).then_some(item.added)
    }

    /// Clears the mark that an object under reconciliation was added again, if that happened once only since it was
    /// unmarked and had been added so often, and not to close something: it was added by what the caller did,
    /// which is nothing new to him.
    pub fn clear_mark(&self, key: &Key, added: usize) {
        if let Some(item) = self.lock().items.get_mut(key)
            && let Stage::Active(taken, Some(Priority::Low | Priority::Normal)) = item.stage
            && item.added == added + 1
        {
            item.stage = Stage::Active(taken, None);
        }
    }

    /// Whether an object that is being worked on was taken out to close something, or was added for that since.
    #[must_use]
    pub fn is_closing(&self, key: &Key) -> bool {
        let state = self.lock();
        let closing = |stage| {
            matches!(stage, Stage::Active(Priority::Closing, _) | Stage::Active(_, Some(Priority::Closing)))
        };
        state.items.get(key).is_some_and(|item| closing(item.stage))
    }

    /// Ends when an object that is being worked on is to close something, which may be never.
    pub async fn wait_until_closing(&self, key: &Key) {
        loop {
            let mut raised = std::pin::pin!(self.shared.raised.notified());
            raised.as_mut().enable();
            if self.is_closing(key) {
                return;
            }
            raised.await;
        }
    }

    /// Whether what nobody waits for is better done later for an object that is being worked on: others are queued
    /// or under way, or the queue is not at rest, it was not taken out for that, and it has not waited for
    /// [`LONGEST_LOW`] already.
    #[must_use]
    pub fn is_later_better(&self, key: &Key, now: Instant) -> bool {
        let mut state = self.lock();
        let is_busy = state.active > 1
            || !state.normal.is_empty()
            || !state.closing.is_empty()
            || !state.recent.is_idle(now);
        let Some(item) = state.items.get_mut(key) else { return false };
        let is_later =
            is_busy && !matches!(item.stage, Stage::Active(Priority::Low, _)) && !item.is_overdue(now);
        if is_later {
            item.low_since.get_or_insert(now);
        }
        is_later
    }

    /// Returns how often in a row working on an object has failed.
    #[must_use]
    pub fn failures(&self, key: &Key) -> u32 {
        self.lock().items.get(key).map_or(0, |item| item.failures)
    }

    /// The number of queued entries. An object whose priority rose counts in both queues until its old entry is
    /// passed over.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.closing.len() + state.normal.len() + state.low.len()
    }

    /// Whether no object is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of objects that the queue remembers at all: queued, being worked on, waited for, or failed.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.lock().items.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Item {
    fn is_overdue(&self, now: Instant) -> bool {
        self.low_since.is_some_and(|since| now.saturating_duration_since(since) >= LONGEST_LOW)
    }
}

impl State {
    fn add(&mut self, key: Key, priority: Priority) {
        let item = self.items.entry(key.clone()).or_default();
        match &mut item.stage {
            Stage::Idle => {
                item.stage = Stage::Queued(priority);
                self.push(key, priority);
            }
            // The object stays in the other queue too, where it is passed over.
            Stage::Queued(queued) if *queued < priority => {
                *queued = priority;
                self.push(key, priority);
            }
            Stage::Queued(_) => {}
            Stage::Active(_, again) => {
                *again = Some(again.map_or(priority, |again| again.max(priority)));
                item.added += 1;
            }
        }
    }

    fn push(&mut self, key: Key, priority: Priority) {
        match priority {
            Priority::Closing => self.closing.push_back(key),
            Priority::Normal => self.normal.push_back(key),
            Priority::Low => {
                let since = self.items.get(&key).and_then(|item| item.low_since);
                self.low.insert((since.unwrap_or_else(Instant::now), key));
            }
        }
    }

    fn pop(&mut self, priority: Priority) -> Option<Key> {
        match priority {
            Priority::Closing => self.closing.pop_front(),
            Priority::Normal => self.normal.pop_front(),
            Priority::Low => self.low.pop_first().map(|(_, key)| key),
        }
    }

    /// Returns when something is due by itself. An object that has waited long enough already needs a slot, and
    /// no more time.
    fn due(&self, now: Instant) -> Option<Instant> {
        let waiting = self.waiting.first().map(|(due, _)| *due);
        let low = self.low.first().map(|(since, _)| *since + LONGEST_LOW);
        // The queue may have come to rest between the last look and this one.
        let idle = self.recent.idle_at().filter(|due| *due > now || self.active == 0);
        let idle = idle.filter(|_| !self.low.is_empty());
        waiting.into_iter().chain(low.filter(|due| *due > now)).chain(idle).min()
    }

    fn take(&mut self, at_least: Priority, now: Instant) -> Option<Key> {
        self.add_due(now);
        // An object whose priority rose is in another queue by now.
        while let Some((_, key)) = self.low.first()
            && self.items.get(key).is_none_or(|item| item.stage != Stage::Queued(Priority::Low))
        {
            self.low.pop_first();
        }
        let is_overdue = self.low.first().is_some_and(|(since, _)| *since + LONGEST_LOW <= now);
        let mut order = [Priority::Closing, Priority::Normal, Priority::Low];
        if is_overdue && !self.last_was_low {
            order.swap(1, 2);
        }
        order.into_iter().find_map(|priority| {
            let has_slot = match priority {
                Priority::Low => {
                    at_least <= Priority::Normal && is_overdue
                        || at_least == Priority::Low && self.recent.is_idle(now)
                }
                Priority::Normal | Priority::Closing => priority >= at_least,
            };
            if has_slot { self.take_of(priority, now) } else { None }
        })
    }

    fn take_of(&mut self, priority: Priority, now: Instant) -> Option<Key> {
        while let Some(key) = self.pop(priority) {
            let Some(item) = self.items.get_mut(&key) else { continue };
            if item.stage == Stage::Queued(priority) {
                item.stage = Stage::Active(priority, None);
                self.active += 1;
                if !std::mem::take(&mut item.is_echo) && priority > Priority::Low {
                    self.recent.add(now);
                }
                // Objects that close something have slots of their own, and take nobody's turn.
                if priority < Priority::Closing {
                    self.last_was_low = priority == Priority::Low;
                }
                // Whatever it waited for is looked at now.
                if let Some((due, _)) = item.requeue_at.take() {
                    self.waiting.remove(&(due, key.clone()));
                }
                return Some(key);
            }
        }
        None
    }

    fn add_due(&mut self, now: Instant) {
        while let Some((due, _)) = self.waiting.first()
            && *due <= now
            && let Some((_, key)) = self.waiting.pop_first()
        {
            let wake = self.items.get_mut(&key).and_then(|item| item.requeue_at.take());
            if let Some((_, priority)) = wake {
                self.add(key, priority);
            }
        }
    }

    fn finish(&mut self, key: &Key, outcome: Outcome, now: Instant) {
        let Some(item) = self.items.get_mut(key) else { return };
        let (taken, again) = match std::mem::take(&mut item.stage) {
            Stage::Active(taken, again) => {
                self.active -= 1;
                (taken, again)
            }
            Stage::Idle | Stage::Queued(_) => (Priority::Normal, None),
        };
        item.is_echo = taken == Priority::Low && again.is_some();
        // Whatever it was looked at for, it may have found something else.
        let taken = taken.max(Priority::Normal);
        item.low_since = match outcome {
            Outcome::RequeueAfter(wait, Priority::Low) => item.low_since.or(Some(now + wait)),
            Outcome::Failed { .. } => item.low_since,
            Outcome::Done | Outcome::RequeueAfter(..) => None,
        };
        let wait = match outcome {
            Outcome::Done => {
                item.failures = 0;
                None
            }
            Outcome::RequeueAfter(wait, priority) => {
                item.failures = 0;
                Some((wait, priority))
            }
            Outcome::Failed { ends_in } => {
                item.failures = item.failures.saturating_add(1);
                let retry = (backoff(item.failures), taken);
                let end = ends_in.map(|wait| (wait, Priority::Closing));
                Some(end.filter(|(wait, _)| *wait <= retry.0).unwrap_or(retry))
            }
        };
        if let Some(priority) = again {
            // An object that has not been closed yet does not lose its priority by an ordinary change.
            let has_failed = matches!(outcome, Outcome::Failed { .. });
            self.add(key.clone(), if has_failed { priority.max(taken) } else { priority });
        } else if let Some((wait, priority)) = wait {
            let due = now + wait;
            item.requeue_at = Some((due, priority));
            self.waiting.insert((due, key.clone()));
        } else if let Entry::Occupied(entry) = self.items.entry(key.clone()) {
            entry.remove();
        }
    }
}

/// Returns how long an object waits that failed so often in a row: twice as long each time.
fn backoff(failures: u32) -> Duration {
    MIN_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MAX_RETRY)
}

#[cfg(test)]
mod tests;
