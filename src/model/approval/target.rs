//! The relation of the target of an ApprovalRequest to the request.

use kube::ResourceExt;

use crate::api::approval_request::RequestState;
use crate::api::gate::Reference;
use crate::api::{ActivationState, ApprovalRequest, RoleActivation};
use crate::model::approval::applied::applied_spec;
use crate::model::approval::gated::Gated;

/// The object that a request is about, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetView {
    /// There is no object with that UID, or it is being deleted and this was not put into force.
    Gone,
    /// The cache has not seen the generation that the request is about yet.
    Behind,
    /// The latest spec is the one that the request proposes.
    Proposed,
    /// The spec was edited again and still differs from what is applied.
    EditedAgain,
    /// The latest spec is the one that the request proposes, but what it names is not what it was.
    ReferenceChanged,
    /// The latest spec is what is applied already.
    EditedBack,
    /// The activation that was asked for is over, before it was in force.
    Ended,
    /// The change that is in force came from this very request.
    PutIntoForce,
    /// The request was approved, and a later change came into force before it: it never does.
    Overtaken,
}

/// Returns how a gated object relates to a request. `references` are the objects that it refers to now.
#[must_use]
pub fn view_target<K: Gated>(
    request: &ApprovalRequest,
    target: Option<&K>,
    references: impl FnOnce() -> Vec<Reference>,
) -> TargetView {
    let Some(target) = target.filter(|target| target.uid().as_ref() == Some(&request.spec.target.uid)) else {
        return TargetView::Gone;
    };
    let applied = target.gate().and_then(|gate| gate.applied.as_ref());
    if applied.and_then(|applied| applied.approval_request.as_ref()) == Some(&request.name_any()) {
        return TargetView::PutIntoForce;
    }
    if target.meta().deletion_timestamp.is_some() {
        return TargetView::Gone;
    }
    let generation = target.meta().generation.unwrap_or_default();
    if generation < request.spec.target.generation {
        return TargetView::Behind;
    }
    let is_approved =
        request.status.as_ref().is_some_and(|status| status.state == Some(RequestState::Approved));
    if is_approved && applied.is_some_and(|applied| applied.generation >= request.spec.target.generation) {
        return TargetView::Overtaken;
    }
    // An applied content that cannot be read equals no spec; the target itself says what is wrong.
    let is_applied =
        applied_spec(target).ok().flatten().as_ref() == Some(&K::without_change_reason(target.spec()));
    // The same names may refer to other objects by now.
    let meant = applied.map(|applied| &applied.references);
    let same = meant.is_some_and(|meant| Reference::are_same(meant, &request.spec.change.references));
    if is_applied && same {
        return TargetView::EditedBack;
    }
    if generation != request.spec.target.generation {
        TargetView::EditedAgain
    } else if Reference::find_changed(&request.spec.change.references, &references()).is_some() {
        TargetView::ReferenceChanged
    } else {
        TargetView::Proposed
    }
}

/// Returns how an activation relates to a request. What an activation asks for never changes, so no generation is
/// compared.
#[must_use]
pub fn view_activation(request: &ApprovalRequest, target: Option<&RoleActivation>) -> TargetView {
    let is_it = |target: &&RoleActivation| target.uid().as_ref() == Some(&request.spec.target.uid);
    let Some(target) = target.filter(is_it) else { return TargetView::Gone };
    let status = target.status.as_ref();
    match status.and_then(|status| status.state) {
        Some(ActivationState::Active) => TargetView::PutIntoForce,
        // The activation was active before it ended.
        Some(state) if state.is_final() && status.is_some_and(|status| status.ends_at.is_some()) => {
            TargetView::PutIntoForce
        }
        Some(_) | None if target.metadata.deletion_timestamp.is_some() => TargetView::Gone,
        Some(state) if state.is_final() => TargetView::Ended,
        // The role was given back before the activation was active.
        Some(_) | None if target.spec.deactivate => TargetView::Ended,
        Some(_) | None => TargetView::Proposed,
    }
}
