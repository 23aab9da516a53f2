//! Whether the admission policies are intact and effective, as far as anybody can tell.

/// The admission policies that the API server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyStatus {
    /// Whether the admission policies are the built-in ones.
    pub integrity: Integrity,
    /// The fingerprint of the admission policies.
    pub fingerprint: String,
}

/// Whether the API server still runs the admission policies that the operator was built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// The API server runs these policies.
    Intact,
    /// The policies are stored, but were changed so recently that the API server may still run others. This ends by
    /// itself.
    Propagating,
    /// The API server does not run these policies; in words, what differs.
    Broken(String),
}

/// The message while the policies are propagating. It names no seconds: a number that runs would be
/// written each time.
pub const PROPAGATING: &str =
    "the admission policies were changed a moment ago and may not be effective yet; this goes on by itself";

impl Integrity {
    /// The reason why nothing new may be enacted and no vote believed; `None` while the policies are intact.
    #[must_use]
    pub fn obstacle(&self) -> Option<&str> {
        match self {
            Self::Intact => None,
            Self::Propagating => Some(PROPAGATING),
            Self::Broken(what) => Some(what),
        }
    }
}
