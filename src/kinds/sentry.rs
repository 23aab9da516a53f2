//! Judges the admission policies that the watches have seen.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::enqueue::{Enqueuer, Guard};
use crate::admission::Policies;
use crate::admission::settling::Settling;
use crate::cluster::clock::Clock;
use crate::model::approval::life::Integrity;

/// Knows what the policies must be, and since when they are what they are.
pub struct Sentry {
    built_in: Policies,
    clock: Clock,
    known: Mutex<Option<Settling>>,
}

impl Sentry {
    /// A sentry that has seen nothing yet.
    #[must_use]
    pub const fn new(built_in: Policies, clock: Clock) -> Self {
        Self { built_in, clock, known: Mutex::new(None) }
    }

    /// Judges the live policies.
    pub fn judge(&self, live: &Policies) -> Guard {
        let (witness, now) = (live.fingerprint(), Instant::now());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let settling = match known.take() {
            Some(known) => known.next(witness.clone(), now),
            None => Settling::first(witness.clone(), live.age(self.clock.now()), now),
        };
        let is_settling = known.insert(settling).remaining(now).is_some();
        let integrity = match self.built_in.compare_with_live(live) {
            Integrity::Intact if is_settling => Integrity::Settling,
            integrity => integrity,
        };
        Guard { integrity, witness }
    }

    fn remaining(&self) -> Duration {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().and_then(|known| known.remaining(Instant::now())).unwrap_or_default()
    }
}

/// Looks at the policies again once they have settled, which no watch tells. Never returns.
pub async fn run_settling(enqueuer: &Enqueuer) {
    let mut guard = enqueuer.guard.subscribe();
    let is_settling =
        |guard: &Option<Guard>| guard.as_ref().is_some_and(|guard| guard.integrity == Integrity::Settling);
    // The sender is in `enqueuer`, so it does not end.
    while guard.wait_for(is_settling).await.is_ok() {
        tokio::time::sleep(enqueuer.sentry.remaining()).await;
        enqueuer.compare_policies();
    }
}
