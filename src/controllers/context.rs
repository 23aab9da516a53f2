//! The state that all controllers share, and the object that one reconciliation works on.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, watch};

use super::writer::Writer;

use crate::cluster::cache::Key;
use crate::cluster::clock::Clock;
use crate::cluster::events::Events;
use crate::cluster::workqueue::Workqueue;
use crate::kinds::caches::Caches;
use crate::kinds::enqueue::Enqueuer;
use crate::model::approval::policy_status::PolicyStatus;
use crate::telemetry::Metrics;

/// The number of objects of a kind that are reconciled at a time. Most of them wait for a read that they share.
pub(super) const CONCURRENCY: usize = 32;

/// The longest wait that is not split into parts.
const LONG_WAIT: Duration = Duration::from_secs(60);

/// The state that all controllers share.
pub struct Context {
    pub writer: Writer,
    pub enqueuer: Enqueuer,
    pub policy_status: watch::Receiver<Option<PolicyStatus>>,
    pub events: Events,
    pub clock: Clock,
    /// Authorities that sinks are trusted by, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The time for which decided requests are kept.
    pub retain_requests_for: SignedDuration,
    pub metrics: Metrics,
    /// Turns at planning what closes nothing: one processor is left for what does.
    pub planning: Semaphore,
    /// Writes that take rights away, beside one of each grant.
    pub closing: Semaphore,
}

/// Returns the permits for revocations: that many at a time, beside one of each grant.
#[must_use]
pub fn closing_permits() -> Semaphore {
    Semaphore::new(CONCURRENCY)
}

/// Returns the permits for plans: that many at a time, beside those that close something.
#[must_use]
pub fn planning_permits() -> Semaphore {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    Semaphore::new(processors.saturating_sub(1).max(1))
}

impl Context {
    /// The caches: what is known of the cluster.
    #[must_use]
    pub const fn caches(&self) -> &Caches {
        &self.enqueuer.caches
    }
}

/// An object that is being worked on, in its queue.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub queue: &'a Workqueue,
    pub key: &'a Key,
}

/// Returns how long to wait until a point in time, or rather until looking at the clock again: a long wait is halved
/// again and again, so that at the end no clock has had the time to go wrong. Never zero, so that a clock that is a
/// little behind does not make a busy loop.
pub(super) fn until(at: Timestamp, now: Timestamp) -> Duration {
    let all = Duration::try_from(at.duration_since(now)).unwrap_or_default();
    all.min(LONG_WAIT.max(all / 2)).max(Duration::from_millis(10))
}
