//! Judges the admission policies that the watches have seen.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::admission::Policies;
use crate::admission::settling::Settling;
use crate::cluster::clock::Clock;
use crate::model::approval::policy_status::Integrity;

/// What stands guard in the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Whether the admission policies are the built-in ones.
    pub integrity: Integrity,
    /// Their fingerprint.
    pub witness: String,
}

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

    pub(super) fn remaining(&self) -> Duration {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().and_then(|known| known.remaining(Instant::now())).unwrap_or_default()
    }
}
