//! The admission policies, as far as the operator can tell.

use enclave_operator::model::approval::policy_status::{Integrity, PolicyStatus};

/// How far the admission policies stand guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    Intact,
    Propagating,
    Broken,
}

pub struct Guard {
    trust: Trust,
    /// Another number whenever the admission policies were away.
    number: u32,
}

impl Guard {
    pub(super) const fn intact() -> Self {
        Self { trust: Trust::Intact, number: 0 }
    }

    pub const fn trust(&self) -> Trust {
        self.trust
    }

    /// Somebody takes them away, or changes them.
    pub const fn spoil(&mut self) {
        (self.trust, self.number) = (Trust::Broken, self.number + 1);
    }

    /// They are put back: first they settle.
    pub const fn restore(&mut self) {
        (self.trust, self.number) = (Trust::Propagating, self.number + 1);
    }

    /// They count again. That comes by itself, and the operator looks at all requests in the meantime.
    pub const fn settle(&mut self) {
        self.trust = Trust::Intact;
    }

    /// They count again, and an operator that was away learns of all of it only now.
    pub const fn settle_unseen(&mut self) {
        (self.trust, self.number) = (Trust::Intact, self.number + 1);
    }

    /// What votes bear that were cast under them.
    pub fn witness(&self) -> String {
        self.number.to_string()
    }

    /// What votes will bear when the policies count again, for somebody who looks, or guesses.
    pub fn coming_witness(&self) -> String {
        (self.number + u32::from(self.trust == Trust::Broken)).to_string()
    }

    pub fn status(&self) -> PolicyStatus {
        let integrity = match self.trust {
            Trust::Intact => Integrity::Intact,
            Trust::Propagating => Integrity::Propagating,
            Trust::Broken => Integrity::Broken("missing".into()),
        };
        PolicyStatus { integrity, witness: self.witness() }
    }
}
