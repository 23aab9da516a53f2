//! The indexes of Communities.

use crate::api::Community;
use crate::api::community::ConflictingDuties;
use crate::cluster::cache::Indexed;
use crate::model::approval::applied::view_applied;
use crate::model::naming::namespace_of;

/// See [`refuses_conflicts`].
pub const REFUSED: &str = "true";

/// See [`refuses_conflicts`].
pub const UNKNOWN: &str = "unknown";

/// Whether a Community refuses roles that let somebody approve what they may change; `None` when it does not.
#[must_use]
pub fn refuses_conflicts(community: &Community) -> Option<&'static str> {
    match view_applied(community, |spec| spec.conflicting_duties) {
        Ok(Some(ConflictingDuties::Refuse)) => Some(REFUSED),
        Ok(Some(ConflictingDuties::Warn) | None) => None,
        Err(_) => Some(UNKNOWN),
    }
}

/// Indexes of Communities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommunityBy {
    /// The namespace that it owns, or wants to.
    Namespace,
    /// [`refuses_conflicts`]
    RefusesConflicts,
}

impl Indexed for Community {
    type By = CommunityBy;

    fn index(&self, add: &mut dyn FnMut(CommunityBy, &str)) {
        add(CommunityBy::Namespace, &namespace_of(self));
        if let Some(refuses) = refuses_conflicts(self) {
            add(CommunityBy::RefusesConflicts, refuses);
        }
    }
}
