//! Observes the target of an ApprovalRequest, from caches only.

use kube::ResourceExt;

use crate::api::approval_request::{RequestState, Target};
use crate::api::gate::Reference;
use crate::api::{ActivationState, ApprovalRequest, Kind, RoleActivation};
use crate::kinds::caches::Caches;
use crate::kinds::connection::resolver::link_of;

use crate::model::approval::applied::applied_spec;
use crate::model::approval::gated::Gated;
use crate::model::approval::request::TargetView;
use crate::model::network::connectivity::find_references;

/// Returns how the target of a request relates to the request.
#[must_use]
pub fn observe_target(caches: &Caches, request: &ApprovalRequest) -> TargetView {
    let target = &request.spec.target;
    let namespace = target.namespace.as_deref().unwrap_or_default();
    macro_rules! view {
        ($cache:ident) => {
            view_target(request, caches.$cache.get(namespace, &target.name).as_deref())
        };
    }
    match target.kind {
        Kind::Community => view_target(request, caches.communities.get("", &target.name).as_deref()),
        Kind::Enclave => view!(enclaves),
        Kind::CommunityEndpoint => view!(community_endpoints),
        Kind::TransitHub => view!(transit_hubs),
        Kind::EnclaveWorkload => view!(workloads),
        Kind::EnclaveEndpoint => view!(endpoints),
        Kind::EnclaveConnection => match view!(connections) {
            TargetView::Proposed if leads_elsewhere(caches, request) => TargetView::ReferenceChanged,
            view => view,
        },
        Kind::RoleAssignment => view!(assignments),
        Kind::RoleEligibility => view!(eligibilities),
        Kind::RoleActivation => {
            view_activation(request, caches.activations.get(namespace, &target.name).as_deref())
        }
        Kind::ApprovalRequest => TargetView::Gone,
    }
}

/// Returns how an activation relates to a request. What an activation asks for never changes, so no generation is
/// compared.
fn view_activation(request: &ApprovalRequest, target: Option<&RoleActivation>) -> TargetView {
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

/// Whether the objects that a connection refers to changed since the request was made.
fn leads_elsewhere(caches: &Caches, request: &ApprovalRequest) -> bool {
    let Target { namespace, name, .. } = &request.spec.target;
    caches.connections.get(namespace.as_deref().unwrap_or_default(), name).is_some_and(|connection| {
        let now = find_references(&link_of(caches, connection)).unwrap_or_default();
        Reference::find_changed(&request.spec.change.references, &now).is_some()
    })
}

fn view_target<K: Gated>(request: &ApprovalRequest, target: Option<&K>) -> TargetView {
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
    if generation == request.spec.target.generation { TargetView::Proposed } else { TargetView::EditedAgain }
}
