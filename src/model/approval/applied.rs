//! The content that is applied of an object, as a spec of its kind.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::content::UnreadableContent;
use crate::api::gate::{Applied, Reference};
use crate::api::{Content, Time};
use crate::model::approval::gated::Gated;
use crate::model::digest::{DigestError, digest};

/// The reason why a spec cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// The applied content was written by another version of the operator, and this one cannot read it.
    #[error("failed to read status.applied.spec")]
    AppliedUnreadable(#[source] UnreadableContent),
    /// The spec cannot be written as data.
    #[error("failed to take the content of the spec")]
    SpecUnwritable(#[source] UnreadableContent),
    /// The spec has no digest.
    #[error("failed to compute the digest of the spec")]
    Digest(#[source] DigestError),
}

/// The applied content of an object as its typed spec.
///
/// # Errors
/// When this version cannot read it.
pub fn applied_spec<K: Gated>(object: &K) -> Result<Option<K::Spec>, EvaluationError> {
    view_applied(object, K::Spec::clone)
}

/// The result of `view` on the applied content of an object, which is not copied for that.
///
/// # Errors
/// As [`applied_spec`].
pub fn view_applied<K: Gated, V>(
    object: &K,
    view: impl FnOnce(&K::Spec) -> V,
) -> Result<Option<V>, EvaluationError> {
    let applied = object.gate().and_then(|gate| gate.applied.as_ref());
    applied.map(|applied| applied.spec.view(view)).transpose().map_err(EvaluationError::AppliedUnreadable)
}

pub(crate) fn describe_cause(error: &UnreadableContent) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// The object as it would be if its latest spec were in force; `None` when the spec cannot be read or written.
#[must_use]
pub fn as_if_applied<K: Gated + Clone>(object: &K, references: &[Reference]) -> Option<K> {
    if K::unreadable(object.spec()).is_some() {
        return None;
    }
    let mut proposed = object.clone();
    let spec = Content::of_spec(&K::without_change_reason(object.spec())).ok()?;
    proposed.gate_mut().applied = Some(Applied {
        generation: object.meta().generation.unwrap_or_default(),
        complete_for: object.uid(),
        digest: digest(&spec).ok()?,
        spec,
        change: None,
        approval_request: None,
        at: Time(Timestamp::UNIX_EPOCH),
        references: references.to_vec(),
    });
    Some(proposed)
}
