//! The degree to which the applied content is enforced.

use crate::api::names::{condition, reason};
use crate::model::approval::gated::Gated;
use crate::model::approval::scope::NotReady;

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
