//! Verifies the admission policies that the watches have seen.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::admission::Policies;
use crate::admission::propagation::Propagation;
use crate::cluster::clock::Clock;
use crate::model::approval::policy_status::{Integrity, PolicyStatus};

/// Knows what the policies must be, and since when they are what they are.
pub struct PolicyVerifier {
    built_in: Policies,
    clock: Clock,
    known: Mutex<Option<Propagation>>,
}

impl PolicyVerifier {
    /// A verifier that has seen nothing yet.
    #[must_use]
    pub const fn new(built_in: Policies, clock: Clock) -> Self {
        Self { built_in, clock, known: Mutex::new(None) }
    }

    /// Verifies the live policies.
    pub fn verify(&self, live: &Policies) -> PolicyStatus {
        let (fingerprint, now) = (live.fingerprint(), Instant::now());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let propagation = match known.take() {
            Some(known) => known.next(fingerprint.clone(), now),
            None => Propagation::first(fingerprint.clone(), live.age(self.clock.now()), now),
        };
        let is_propagating = known.insert(propagation).remaining(now).is_some();
        let integrity = match self.built_in.compare_with_live(live) {
            Integrity::Intact if is_propagating => Integrity::Propagating,
            integrity => integrity,
        };
        PolicyStatus { integrity, fingerprint }
    }

    pub(super) fn remaining(&self) -> Duration {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().and_then(|known| known.remaining(Instant::now())).unwrap_or_default()
    }
}
