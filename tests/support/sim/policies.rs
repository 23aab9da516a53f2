//! The admission policies, as far as the operator can tell.

use enclave_operator::model::approval::policy_status::{Integrity, PolicyStatus};

/// Whether the admission policies can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    Intact,
    Propagating,
    Broken,
}

/// Their state, and what votes bear that are cast under them.
pub struct AdmissionPolicies {
    trust: Trust,
    /// Another number whenever the admission policies were away.
    number: u32,
}

impl AdmissionPolicies {
    pub(super) const fn intact() -> Self {
        Self { trust: Trust::Intact, number: 0 }
    }

    pub const fn trust(&self) -> Trust {
        self.trust
    }

    /// Takes them away, or changes them.
    pub const fn spoil(&mut self) {
        (self.trust, self.number) = (Trust::Broken, self.number + 1);
    }

    /// Puts them back. They do not count at once.
    pub const fn restore(&mut self) {
        (self.trust, self.number) = (Trust::Propagating, self.number + 1);
    }

    /// Lets them count again, which comes by itself. The caller lets the operator look at all requests before.
    pub const fn settle(&mut self) {
        self.trust = Trust::Intact;
    }

    /// Lets them count again, of which an operator that was away learns only now.
    pub const fn settle_unseen(&mut self) {
        (self.trust, self.number) = (Trust::Intact, self.number + 1);
    }

    /// The fingerprint in votes that are cast now.
    pub fn fingerprint(&self) -> String {
        self.number.to_string()
    }

    /// The fingerprint in votes when the policies count again, for somebody who looks, or guesses.
    pub fn coming_fingerprint(&self) -> String {
        (self.number + u32::from(self.trust == Trust::Broken)).to_string()
    }

    pub fn status(&self) -> PolicyStatus {
        let integrity = match self.trust {
            Trust::Intact => Integrity::Intact,
            Trust::Propagating => Integrity::Propagating,
            Trust::Broken => Integrity::Broken("missing".into()),
        };
        PolicyStatus { integrity, fingerprint: self.fingerprint() }
    }
}
