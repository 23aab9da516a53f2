//! The trait by which the approval machine knows a kind. A new gated kind implements [`Gated`] and
//! gets holding, requesting, deciding and enacting from [`crate::model::approval::change`].

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::approvals::{Approvals, Operation};
use crate::api::common::{ChangeReason, Maintenance};
use crate::api::names::{self, condition, reason};
use crate::api::reading::Unreadable;
use crate::api::{GateStatus, Kind};

/// Whether the operator's finalizer is on an object.
pub fn has_finalizer<K: kube::Resource + ?Sized>(object: &K) -> bool {
    object.meta().finalizers.iter().flatten().any(|name| name == names::FINALIZER)
}

/// A kind whose changes can be held.
pub trait Gated: kube::Resource<DynamicType = ()> {
    /// The spec of the kind.
    type Spec: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The kind.
    const KIND: Kind;

    /// Whether something is made for it. A kind for which nothing is made is in force as soon as it is recorded as
    /// applied.
    const IS_MADE: bool = true;

    /// The spec that the user wants.
    fn spec(&self) -> &Self::Spec;

    /// The shared part of its status; `None` before the operator saw it for the first time.
    fn gate(&self) -> Option<&GateStatus>;

    /// The shared part of its status, to imagine it otherwise.
    fn gate_mut(&mut self) -> &mut GateStatus;

    /// The requester's words.
    fn change_reason(spec: &Self::Spec) -> Option<&ChangeReason>;

    /// The spec without the requester's words: the content that is compared.
    #[must_use]
    fn without_change_reason(spec: &Self::Spec) -> Self::Spec;

    /// The part of a spec that could not be read; `None` when the spec is what somebody asked for.
    fn unreadable(spec: &Self::Spec) -> Option<&Unreadable>;

    /// The operations that a change from the applied spec (`None`: nothing applied yet) amounts to. Empty when
    /// the change only takes access away: when [`Gated::restrict`] gives all of `after`.
    fn operations(before: Option<&Self::Spec>, after: &Self::Spec) -> BTreeSet<Operation>;

    /// The applied spec, with access taken away as far as the wanted spec takes it away. This much
    /// of a change never waits.
    #[must_use]
    fn restrict(applied: &Self::Spec, _wanted: &Self::Spec) -> Self::Spec {
        applied.clone()
    }

    /// Whether the spec asks for the deletion of the object. Of kinds that only give access a deletion
    /// takes access away, so it is never asked for.
    fn retires(_spec: &Self::Spec) -> bool {
        false
    }

    /// The spec that asks for the deletion of the object.
    #[must_use]
    fn retired(spec: &Self::Spec) -> Self::Spec {
        spec.clone()
    }

    /// The approval rules that the spec itself carries; `None` for kinds that carry none.
    fn approvals(_spec: &Self::Spec) -> Option<&Approvals> {
        None
    }

    /// The exceptions from the lock that the spec asks for; `None` for kinds that ask for none.
    fn maintenance(_spec: &Self::Spec) -> Option<&Maintenance> {
        None
    }

    /// Whether the object is nothing but a record any more: it is being deleted, and whatever it owned is gone.
    /// The object stays only until its records were delivered, or somebody else removes a finalizer.
    fn is_record(&self) -> bool {
        let conditions = self.gate().into_iter().flat_map(|gate| &gate.conditions);
        let mut ready = conditions.filter(|one| one.type_ == condition::READY);
        self.meta().deletion_timestamp.is_some()
            && (!has_finalizer(self) || ready.any(|ready| ready.reason == reason::AUDIT_PENDING))
    }

    /// Whether a change touches the rules by which changes are evaluated. An object that goes takes its
    /// rules along: made again under the same name it would be without them.
    fn changes_rules(before: &Self::Spec, after: &Self::Spec) -> bool {
        Self::approvals(before) != Self::approvals(after) || Self::retires(before) != Self::retires(after)
    }

    /// The namespace in which requests about the object live: its own, but for a Community the one
    /// that it owns.
    fn request_namespace(&self) -> String {
        self.meta().namespace.clone().unwrap_or_default()
    }
}
