//! The degree to which the applied content is enforced.

use crate::api::gate::{Applied, Pending};
use crate::api::names::{condition, reason};
use crate::model::approval::change::HoldCause;
use crate::model::approval::gated::Gated;
use crate::model::approval::scope::NotReady;
use crate::plan::Write;

/// Whether everything applied had been seen in force before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WasEnforced {
    Yes,
    No,
}

/// Whether everything applied had been seen in force: a difference is then a drift to be put
/// back, not something still being made.
#[must_use]
pub fn was_enforced<K: Gated>(object: &K) -> WasEnforced {
    let enforced = object.gate().is_some_and(|status| {
        status
            .conditions
            .iter()
            .any(|condition| condition.type_ == condition::ENFORCED && condition.reason == reason::ENFORCED)
    });
    if enforced { WasEnforced::Yes } else { WasEnforced::No }
}

/// The degree to which the applied content is enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// Nothing is applied.
    Nothing,
    /// Everything was seen as it should be, or only drifted from it and is being put back.
    Complete,
    /// Everything was seen as it should be, and others may change it for a while.
    Paused,
    /// Something of it is still being made.
    InProgress,
    /// Nothing is open, because the spec says so.
    Closed(NotReady),
    /// Some of it cannot be made now.
    Partial(NotReady),
    /// None of it can be made now.
    Blocked(NotReady),
}

/// The result of evaluating the latest spec, before anything is enforced.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// The content that is to be enforced from now on.
    pub applied: Option<Applied>,
    /// The content that waits.
    pub pending: Option<Pending>,
    /// The standing of the latest spec.
    pub standing: Standing,
    /// Whether the rules hold the deletion of the object.
    pub deletion_protected: bool,
    /// Writes that the gate needs.
    pub writes: Vec<Write>,
}

/// The standing of the latest spec.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// The latest spec is applied.
    InForce,
    /// The latest spec is being recorded as applied. Enforcing starts when that is stored.
    Enacting,
    /// The latest spec waits, for this cause.
    Held(HoldCause),
    /// The latest spec is not evaluated: it cannot be read, something around it is missing, or the object is
    /// being deleted.
    Blocked(NotReady),
    /// The latest spec is not evaluated before all requests are known. The status stays as it is.
    Unknown,
}
