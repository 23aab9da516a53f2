//! Observes the target of an ApprovalRequest, from caches only.

use crate::api::kind::with_kinds;
use crate::api::{ApprovalRequest, Kind};
use crate::kinds::caches::Caches;
use crate::kinds::controller::Controller;
use crate::model::approval::target::TargetView;

/// Returns how the target of a request relates to the request.
#[must_use]
pub fn observe_target(caches: &Caches, request: &ApprovalRequest) -> TargetView {
    let target = &request.spec.target;
    let namespace = target.namespace.as_deref().unwrap_or_default();
    macro_rules! view {
        ($($kind:ident: $all:ident, $plural:literal, $short:literal, [$($operation:ident),*];)*) => {
            match target.kind {
                $(Kind::$kind => {
                    let target = caches.$all.get(namespace, &target.name);
                    crate::api::$kind::view_as_target(caches, request, target.as_ref())
                })*
            }
        };
    }
    with_kinds!(view)
}
