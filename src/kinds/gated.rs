//! The parts that the gated kinds have in common.

use std::collections::BTreeSet;

use crate::api::approvals::Operation;
use crate::model::approval::gated::Gated;

/// Implements the part of [`Gated`] that reads what all gated kinds have in the same place.
macro_rules! shared_parts {
    ($kind:ident, $spec:ident) => {
        type Spec = $spec;

        const KIND: $crate::api::Kind = $crate::api::Kind::$kind;

        fn spec(&self) -> &$spec {
            &self.spec
        }

        fn gate(&self) -> Option<&$crate::api::GateStatus> {
            self.status.as_ref().map(|status| &status.gate)
        }

        fn gate_mut(&mut self) -> &mut $crate::api::GateStatus {
            &mut self.status.get_or_insert_default().gate
        }

        fn change_reason(spec: &$spec) -> Option<&$crate::api::ChangeReason> {
            spec.change.as_ref()
        }

        fn without_change_reason(spec: &$spec) -> $spec {
            $spec { change: None, ..spec.clone() }
        }

        fn unreadable(spec: &$spec) -> Option<&$crate::api::reading::Unreadable> {
            spec.unreadable.as_deref()
        }
    };
}

/// Implements the part of [`Gated`] for kinds that are retired, and not just deleted.
macro_rules! retired_parts {
    ($spec:ident) => {
        fn retires(spec: &$spec) -> bool {
            spec.retire
        }

        fn retired(spec: &$spec) -> $spec {
            $spec { retire: true, ..spec.clone() }
        }
    };
}

/// A kind of which nothing closes by halves: it is made or changed, and it is retired.
macro_rules! made_changed_retired {
    ($kind:ident, $spec:ident, $update:ident, $deletion:ident) => {
        $crate::kinds::gated::shared_parts!($kind, $spec);
        $crate::kinds::gated::retired_parts!($spec);

        fn operations(
            before: Option<&$spec>,
            after: &$spec,
        ) -> ::std::collections::BTreeSet<$crate::api::Operation> {
            let rest = |spec: &$spec| $spec { retire: false, change: None, ..spec.clone() };
            $crate::kinds::gated::operations_of(
                before.map(|spec| (rest(spec), spec.retire)).as_ref(),
                &(rest(after), after.retire),
                [
                    $crate::api::Operation::$update,
                    $crate::api::Operation::$update,
                    $crate::api::Operation::$deletion,
                ],
            )
        }
    };
}

pub(super) fn role_change<K: Gated>(before: Option<&K::Spec>, after: &K::Spec) -> BTreeSet<Operation> {
    let granted = before.is_none_or(|before| {
        K::without_change_reason(&K::restrict(before, after)) != K::without_change_reason(after)
    });
    collect([(granted, Operation::RoleChange)])
}

pub(super) fn collect<const N: usize>(operations: [(bool, Operation); N]) -> BTreeSet<Operation> {
    operations.into_iter().filter(|(happens, _)| *happens).map(|(_, operation)| operation).collect()
}

/// The operations of a change from one `(content, retire)` to another.
pub(super) fn operations_of<S: PartialEq>(
    before: Option<&(S, bool)>,
    after: &(S, bool),
    [creation, update, deletion]: [Operation; 3],
) -> BTreeSet<Operation> {
    let (content, retire) = after;
    let Some((content_before, retire_before)) = before else {
        return collect([(true, creation), (*retire, deletion)]);
    };
    // Keeping what was to go is a change like any other.
    let kept = *retire_before && !retire;
    collect([(content_before != content || kept, update), (*retire && !retire_before, deletion)])
}

pub(super) use made_changed_retired;
pub(super) use retired_parts;
pub(super) use shared_parts;

#[cfg(test)]
mod tests;
