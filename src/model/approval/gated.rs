//! What the approval machine needs to know of a kind. A new gated kind implements [`Gated`] and
//! gets holding, requesting, deciding and enacting from [`crate::model::approval::life`].

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::approvals::{Approvals, Operation};
use crate::api::common::{ChangeReason, Maintenance, Principal};
use crate::api::enclave_workload::{AccessMode, WorkloadPrincipals};
use crate::api::names::{self, condition, reason};
use crate::api::reading::Unreadable;
use crate::api::role_eligibility::ActivationConditions;
use crate::api::{
    Community, CommunityEndpoint, CommunityEndpointSpec, CommunitySpec, Enclave, EnclaveConnection,
    EnclaveConnectionSpec, EnclaveEndpoint, EnclaveEndpointSpec, EnclaveSpec, EnclaveWorkload,
    EnclaveWorkloadSpec, GateStatus, Kind, RoleAssignment, RoleAssignmentSpec, RoleEligibility,
    RoleEligibilitySpec, TransitHub, TransitHubSpec,
};
use crate::model::naming::namespace_of;
use crate::model::network::together::is_kept_apart;
use crate::model::rbac::access::{Admitted, admitted};
use crate::model::rbac::maintenance;

/// Whether the operator's finalizer is on an object.
pub fn has_finalizer<K: kube::Resource + ?Sized>(object: &K) -> bool {
    object.meta().finalizers.iter().flatten().any(|name| name == names::FINALIZER)
}

/// A kind whose changes can be held.
pub trait Gated: kube::Resource<DynamicType = ()> {
    /// Its spec.
    type Spec: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Its kind.
    const KIND: Kind;

    /// Whether something is made for it. What needs nothing is in force as soon as it is recorded as applied.
    const IS_MADE: bool = true;

    /// The spec that the user wants.
    fn spec(&self) -> &Self::Spec;

    /// The shared part of its status; `None` before the operator saw it for the first time.
    fn gate(&self) -> Option<&GateStatus>;

    /// The same, to imagine it otherwise.
    fn gate_mut(&mut self) -> &mut GateStatus;

    /// The requester's words.
    fn change_reason(spec: &Self::Spec) -> Option<&ChangeReason>;

    /// The spec without the requester's words: the content that is compared.
    #[must_use]
    fn without_change_reason(spec: &Self::Spec) -> Self::Spec;

    /// What of a spec could not be read; `None` when it is what somebody asked for.
    fn unreadable(spec: &Self::Spec) -> Option<&Unreadable>;

    /// What a change from the applied spec (`None`: nothing applied yet) amounts to. Empty when
    /// the change only takes access away: when [`Gated::restrict`] gives all of `after`.
    fn operations(before: Option<&Self::Spec>, after: &Self::Spec) -> BTreeSet<Operation>;

    /// What is applied, with access taken away as far as the wanted spec takes it away. This much
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

    /// Whether it is nothing but a record any more: it is being deleted, and whatever it owned is gone.
    /// It stays only until that was told, or somebody else lets it go.
    fn is_record(&self) -> bool {
        let conditions = self.gate().into_iter().flat_map(|gate| &gate.conditions);
        let mut ready = conditions.filter(|one| one.type_ == condition::READY);
        self.meta().deletion_timestamp.is_some()
            && (!has_finalizer(self) || ready.any(|ready| ready.reason == reason::AUDIT_PENDING))
    }

    /// Whether a change touches the rules by which changes are judged. An object that goes takes its
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

/// What all gated kinds have in the same place.
macro_rules! shared_parts {
    ($kind:ident, $spec:ident) => {
        type Spec = $spec;

        const KIND: Kind = Kind::$kind;

        fn spec(&self) -> &$spec {
            &self.spec
        }

        fn gate(&self) -> Option<&GateStatus> {
            self.status.as_ref().map(|status| &status.gate)
        }

        fn gate_mut(&mut self) -> &mut GateStatus {
            &mut self.status.get_or_insert_default().gate
        }

        fn change_reason(spec: &$spec) -> Option<&ChangeReason> {
            spec.change.as_ref()
        }

        fn without_change_reason(spec: &$spec) -> $spec {
            $spec { change: None, ..spec.clone() }
        }

        fn unreadable(spec: &$spec) -> Option<&Unreadable> {
            spec.unreadable.as_deref()
        }
    };
}

/// What the kinds have that are retired, and not just deleted.
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

impl Gated for Community {
    shared_parts!(Community, CommunitySpec);
    retired_parts!(CommunitySpec);

    fn operations(before: Option<&CommunitySpec>, after: &CommunitySpec) -> BTreeSet<Operation> {
        let rest = |spec: &CommunitySpec| CommunitySpec {
            maintenance: Maintenance::default(),
            change: None,
            ..spec.clone()
        };
        let maintenance = maintenance::opens(before.map(|spec| &spec.maintenance), &after.maintenance);
        let update = before.map(rest) != Some(rest(after));
        // It opens the Enclaves too.
        collect([
            (maintenance, Operation::CommunityMaintenance),
            (maintenance, Operation::EnclaveMaintenance),
            (update, Operation::CommunityUpdate),
        ])
    }

    fn restrict(applied: &CommunitySpec, wanted: &CommunitySpec) -> CommunitySpec {
        let maintenance = maintenance::restrict(&applied.maintenance, &wanted.maintenance);
        CommunitySpec { maintenance, ..applied.clone() }
    }

    fn approvals(spec: &CommunitySpec) -> Option<&Approvals> {
        Some(&spec.approvals)
    }

    fn maintenance(spec: &CommunitySpec) -> Option<&Maintenance> {
        Some(&spec.maintenance)
    }

    /// Where names are resolved is no rule, but it opens traffic of all workloads, so it is guarded as
    /// the rules are.
    fn changes_rules(before: &CommunitySpec, after: &CommunitySpec) -> bool {
        before.retire != after.retire
            || before.approvals != after.approvals
            || before.service_account_votes != after.service_account_votes
            || before.conflicting_duties != after.conflicting_duties
            || before.dns != after.dns
            || before.fqdn_backend != after.fqdn_backend
    }

    fn request_namespace(&self) -> String {
        namespace_of(self)
    }
}

impl Gated for Enclave {
    shared_parts!(Enclave, EnclaveSpec);
    retired_parts!(EnclaveSpec);

    fn operations(before: Option<&EnclaveSpec>, after: &EnclaveSpec) -> BTreeSet<Operation> {
        let rest = |spec: &EnclaveSpec| EnclaveSpec {
            maintenance: Maintenance::default(),
            retire: false,
            change: None,
            ..spec.clone()
        };
        let maintenance = maintenance::opens(before.map(|spec| &spec.maintenance), &after.maintenance);
        let mut operations = collect([(maintenance, Operation::EnclaveMaintenance)]);
        operations.extend(operations_of(
            before.map(|spec| (rest(spec), spec.retire)).as_ref(),
            &(rest(after), after.retire),
            [Operation::EnclaveCreation, Operation::EnclaveUpdate, Operation::EnclaveDeletion],
        ));
        operations
    }

    /// Beside what cannot be read, what can be read closes: nobody keeps access by another field.
    fn restrict(applied: &EnclaveSpec, wanted: &EnclaveSpec) -> EnclaveSpec {
        let closes = wanted.unreadable.is_some() && is_kept_apart(wanted);
        EnclaveSpec {
            network: if closes { &wanted.network } else { &applied.network }.clone(),
            maintenance: maintenance::restrict(&applied.maintenance, &wanted.maintenance),
            ..applied.clone()
        }
    }

    fn approvals(spec: &EnclaveSpec) -> Option<&Approvals> {
        Some(&spec.approvals)
    }

    fn maintenance(spec: &EnclaveSpec) -> Option<&Maintenance> {
        Some(&spec.maintenance)
    }
}

/// A kind of which nothing closes by halves: it is made or changed, and it is retired.
macro_rules! made_changed_retired {
    ($kind:ident, $spec:ident, $update:ident, $deletion:ident) => {
        shared_parts!($kind, $spec);
        retired_parts!($spec);

        fn operations(before: Option<&$spec>, after: &$spec) -> BTreeSet<Operation> {
            let rest = |spec: &$spec| $spec { retire: false, change: None, ..spec.clone() };
            operations_of(
                before.map(|spec| (rest(spec), spec.retire)).as_ref(),
                &(rest(after), after.retire),
                [Operation::$update, Operation::$update, Operation::$deletion],
            )
        }
    };
}

impl Gated for CommunityEndpoint {
    const IS_MADE: bool = false;

    made_changed_retired!(
        CommunityEndpoint,
        CommunityEndpointSpec,
        CommunityEndpointUpdate,
        CommunityEndpointDeletion
    );
}

impl Gated for TransitHub {
    const IS_MADE: bool = false;

    made_changed_retired!(TransitHub, TransitHubSpec, TransitHubUpdate, TransitHubDeletion);
}

impl Gated for EnclaveWorkload {
    made_changed_retired!(EnclaveWorkload, EnclaveWorkloadSpec, WorkloadUpdate, WorkloadDeletion);

    /// Beside what cannot be read, what can be read closes: nobody keeps access by another field. Of those who
    /// get in only those stay who can be read to be named.
    fn restrict(applied: &EnclaveWorkloadSpec, wanted: &EnclaveWorkloadSpec) -> EnclaveWorkloadSpec {
        if wanted.unreadable.is_none() {
            return applied.clone();
        }
        let (access_mode, named) = match admitted(wanted) {
            Admitted::All => return applied.clone(),
            Admitted::Listed(named) => (applied.access_mode, named),
            Admitted::Only(named) => (AccessMode::Isolated, named),
        };
        let principals = applied.principals.as_ref().map(|applied| WorkloadPrincipals {
            admin: in_both(&applied.admin, &named.admin),
            edit: in_both(&applied.edit, &named.edit),
            view: in_both(&applied.view, &named.view),
        });
        EnclaveWorkloadSpec { access_mode, principals, ..applied.clone() }
    }
}

impl Gated for EnclaveEndpoint {
    const IS_MADE: bool = false;

    made_changed_retired!(
        EnclaveEndpoint,
        EnclaveEndpointSpec,
        EnclaveEndpointUpdate,
        EnclaveEndpointDeletion
    );

    fn approvals(spec: &EnclaveEndpointSpec) -> Option<&Approvals> {
        Some(&spec.approvals)
    }
}

impl Gated for EnclaveConnection {
    shared_parts!(EnclaveConnection, EnclaveConnectionSpec);
    retired_parts!(EnclaveConnectionSpec);

    fn operations(
        before: Option<&EnclaveConnectionSpec>,
        after: &EnclaveConnectionSpec,
    ) -> BTreeSet<Operation> {
        let rest = |spec: &EnclaveConnectionSpec| EnclaveConnectionSpec {
            retire: false,
            change: None,
            ..spec.clone()
        };
        operations_of(
            before.map(|spec| (rest(&Self::restrict(spec, after)), spec.retire)).as_ref(),
            &(rest(after), after.retire),
            [Operation::ConnectionCreation, Operation::ConnectionUpdate, Operation::ConnectionDeletion],
        )
    }

    /// Disabling closes, and so does an earlier end.
    fn restrict(applied: &EnclaveConnectionSpec, wanted: &EnclaveConnectionSpec) -> EnclaveConnectionSpec {
        let ends_no_later = match (&applied.expires_at, &wanted.expires_at) {
            (Some(applied), Some(wanted)) => wanted.0 <= applied.0,
            (None, _) => true,
            (Some(_), None) => false,
        };
        let lasts_no_longer = match (&applied.duration, &wanted.duration) {
            (Some(applied), Some(wanted)) => wanted.length() <= applied.length(),
            (None, _) => true,
            (Some(_), None) => false,
        };
        let end = if ends_no_later && lasts_no_longer { wanted } else { applied };
        EnclaveConnectionSpec {
            enabled: applied.enabled && wanted.enabled,
            expires_at: end.expires_at.clone(),
            duration: end.duration.clone(),
            ..applied.clone()
        }
    }
}

impl Gated for RoleAssignment {
    shared_parts!(RoleAssignment, RoleAssignmentSpec);

    fn operations(before: Option<&RoleAssignmentSpec>, after: &RoleAssignmentSpec) -> BTreeSet<Operation> {
        role_change::<Self>(before, after)
    }

    /// Taking somebody out closes.
    fn restrict(applied: &RoleAssignmentSpec, wanted: &RoleAssignmentSpec) -> RoleAssignmentSpec {
        RoleAssignmentSpec { principals: in_both(&applied.principals, &wanted.principals), ..applied.clone() }
    }
}

impl Gated for RoleEligibility {
    shared_parts!(RoleEligibility, RoleEligibilitySpec);

    fn operations(before: Option<&RoleEligibilitySpec>, after: &RoleEligibilitySpec) -> BTreeSet<Operation> {
        role_change::<Self>(before, after)
    }

    /// Taking somebody out closes, and so do an earlier end and a shorter time.
    fn restrict(applied: &RoleEligibilitySpec, wanted: &RoleEligibilitySpec) -> RoleEligibilitySpec {
        let ends_at = match (&applied.ends_at, &wanted.ends_at) {
            (Some(applied), Some(wanted)) if applied.0 < wanted.0 => Some(applied),
            (applied, wanted) => wanted.as_ref().or(applied.as_ref()),
        };
        let shorter = wanted.activation.max_duration.length() < applied.activation.max_duration.length();
        let max_duration =
            if shorter { &wanted.activation } else { &applied.activation }.max_duration.clone();
        RoleEligibilitySpec {
            principals: in_both(&applied.principals, &wanted.principals),
            ends_at: ends_at.cloned(),
            activation: ActivationConditions { max_duration, ..applied.activation.clone() },
            ..applied.clone()
        }
    }
}

fn role_change<K: Gated>(before: Option<&K::Spec>, after: &K::Spec) -> BTreeSet<Operation> {
    let gives = before.is_none_or(|before| {
        K::without_change_reason(&K::restrict(before, after)) != K::without_change_reason(after)
    });
    collect([(gives, Operation::RoleChange)])
}

/// Those who are in both lists, in the order of the wanted one: a list that only lost some is equal to it.
fn in_both(applied: &[Principal], wanted: &[Principal]) -> Vec<Principal> {
    wanted.iter().filter(|principal| applied.contains(principal)).cloned().collect()
}

fn collect<const N: usize>(operations: [(bool, Operation); N]) -> BTreeSet<Operation> {
    operations.into_iter().filter(|(happens, _)| *happens).map(|(_, operation)| operation).collect()
}

/// The operations of a change from one `(content, retire)` to another.
fn operations_of<S: PartialEq>(
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

#[cfg(test)]
mod tests;
