//! Whether the admission policies are intact and effective, as far as anybody can tell.

/// The admission policies that the API server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyStatus {
    /// Whether the admission policies are the built-in ones.
    pub integrity: Integrity,
    /// Their fingerprint.
    pub witness: String,
}

/// Whether the API server still runs the admission policies that the operator was built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// It does.
    Intact,
    /// They are stored, but were changed so recently that it may still run others. Goes by itself.
    Propagating,
    /// It does not; in words, what differs.
    Broken(String),
}

/// What is told while the policies settle. It names no seconds: a number that runs would be written
/// each time.
pub const PROPAGATING: &str =
    "the admission policies were changed a moment ago and may not be effective yet; this goes on by itself";

impl Integrity {
    /// Why nothing new may be enacted and no vote believed; `None` while they are intact.
    #[must_use]
    pub fn obstacle(&self) -> Option<&str> {
        match self {
            Self::Intact => None,
            Self::Propagating => Some(PROPAGATING),
            Self::Broken(what) => Some(what),
        }
    }
}
