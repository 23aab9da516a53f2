//! Whether the admission policies stand guard, as far as anybody can tell.

/// Whether the API server still runs the admission policies that the operator was built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// It does.
    Intact,
    /// They are stored, but were changed so recently that it may still run others. Goes by itself.
    Settling,
    /// It does not; in words, what differs.
    Broken(String),
}

/// What is told while the policies settle. It names no seconds: a number that runs would be written
/// each time.
pub const SETTLING: &str =
    "the admission policies were changed a moment ago and may not be effective yet; this goes on by itself";

impl Integrity {
    /// Why nothing new may be enacted and no vote believed; `None` while they are intact.
    #[must_use]
    pub fn obstacle(&self) -> Option<&str> {
        match self {
            Self::Intact => None,
            Self::Settling => Some(SETTLING),
            Self::Broken(what) => Some(what),
        }
    }
}
