//! The indexes of what gives roles.

use crate::api::{ActivationState, Principal, RoleActivation, RoleAssignment, RoleEligibility};
use crate::cluster::cache::Indexed;
use crate::kinds::index::{maker, namespace_of_object, pair, value_near};
use crate::model::approval::applied::applied_spec;

/// Indexes of what gives roles to principals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GivenBy {
    /// A principal ([`Principal::line`]) [`Near`] a place, of what is applied.
    Principal,
    /// A principal ([`Principal::line`]) [`Near`] a place, of what is wanted.
    WantedPrincipal,
    /// The user who made the object, as the API server stamped it.
    Maker,
}

macro_rules! given {
    ($($kind:ty),*) => {
        $(impl Indexed for $kind {
            type By = GivenBy;

            fn index(&self, add: &mut dyn FnMut(GivenBy, &str)) {
                let applied = applied_spec(self).ok().flatten();
                let namespace = namespace_of_object(self);
                for principal in applied.iter().flat_map(|spec| &spec.principals).map(Principal::line) {
                    add(GivenBy::Principal, &value_near(namespace, &principal));
                }
                for principal in self.spec.principals.iter().map(Principal::line) {
                    add(GivenBy::WantedPrincipal, &value_near(namespace, &principal));
                }
                if let Some(maker) = maker(self) {
                    add(GivenBy::Maker, maker);
                }
            }

            fn is_ordered(by: GivenBy) -> bool {
                matches!(by, GivenBy::Principal | GivenBy::WantedPrincipal)
            }
        })*
    };
}

given!(RoleAssignment, RoleEligibility);

/// Indexes of RoleActivations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivationBy {
    /// Namespace and name of the eligibility, as a [`pair`].
    Eligibility,
    /// The same, while it is not over.
    OpenEligibility,
    /// The user who activated, when that is known.
    User,
    /// The user who activated, [`Near`] a place, while the activation is Active.
    ActiveUser,
    /// The user who activates, [`Near`] a place, while the activation is not over.
    OpenUser,
    /// The namespace of an activation that is not over.
    OpenIn,
    /// The role, while it is Active.
    ActiveRole,
    /// The namespace of an activation that is Active.
    ActiveIn,
}

impl Indexed for RoleActivation {
    type By = ActivationBy;

    fn index(&self, add: &mut dyn FnMut(ActivationBy, &str)) {
        let namespace = namespace_of_object(self);
        let eligibility = pair(namespace, &self.spec.eligibility);
        add(ActivationBy::Eligibility, &eligibility);
        let state = self.status.as_ref().and_then(|status| status.state);
        let (is_active, is_open) =
            (state == Some(ActivationState::Active), state.is_none_or(|state| !state.is_final()));
        if is_open {
            add(ActivationBy::OpenIn, namespace);
            add(ActivationBy::OpenEligibility, &eligibility);
        }
        let Some(status) = &self.status else { return };
        if let Some(user) = &status.user {
            add(ActivationBy::User, user);
            let near = value_near(namespace, user);
            if is_open {
                add(ActivationBy::OpenUser, &near);
            }
            if is_active {
                add(ActivationBy::ActiveUser, &near);
            }
        }
        if is_active {
            add(ActivationBy::ActiveIn, namespace);
        }
        if let Some(role) = status.role.filter(|_| is_active) {
            add(ActivationBy::ActiveRole, role.name());
        }
    }

    fn is_ordered(by: ActivationBy) -> bool {
        matches!(by, ActivationBy::OpenUser | ActivationBy::ActiveUser)
    }
}

#[cfg(test)]
mod tests;
