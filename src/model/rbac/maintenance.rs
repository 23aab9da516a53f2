//! Maintenance: who may do more than the lock on managed namespaces lets others, and until when.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::api::approvals::{Approvals, Operation, RulePolicy};
use crate::api::common::{Maintenance, MaintenanceMode, Principal};
use crate::api::{Community, Enclave};
use crate::model::approval::gated::Gated;

/// The exceptions from the lock that are in force somewhere. Of two exceptions for one principal the
/// wider one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions {
    general: BTreeSet<Principal>,
    advanced: BTreeSet<Principal>,
    /// The time at which the first of them ends.
    ends_at: Option<Timestamp>,
}

impl Exceptions {
    /// The exceptions of one object: those that are applied, no more than its spec still wants, and none that
    /// are over. So turning maintenance off never waits for anything. Maintenance that cannot be read allows
    /// nobody anything.
    #[must_use]
    pub fn of<K: Gated>(object: &K, now: Timestamp) -> Self {
        own_maintenance(object, now).map(Self::of_maintenance).unwrap_or_default()
    }

    /// The exceptions in the namespaces of an Enclave: its own, and those of its Community unless the
    /// Enclave's own rules hold maintenance, or cannot be read. Then only its own exceptions count.
    #[must_use]
    pub fn in_enclave(community: &Community, enclave: &Enclave, now: Timestamp) -> Self {
        let own = Self::of(enclave, now);
        let applied = enclave.gate().and_then(|gate| gate.applied.as_ref());
        let approvals = applied.map(|applied| applied.spec.to_field::<Approvals>("approvals")).transpose();
        let is_free = approvals.is_ok_and(|approvals| {
            approvals.flatten().unwrap_or_default().rules.iter().all(|rule| {
                rule.operation != Operation::EnclaveMaintenance || rule.policy != RulePolicy::Required
            })
        });
        if is_free { Self::of(community, now).and(own) } else { own }
    }

    fn of_maintenance(maintenance: Maintenance) -> Self {
        let Maintenance { mode, justification: _, principals, expires_at } = maintenance;
        let (principals, ends_at) = (principals.into_iter().collect(), expires_at.map(|time| time.0));
        match mode {
            MaintenanceMode::Disabled => Self::default(),
            MaintenanceMode::General => Self { general: principals, ends_at, ..Self::default() },
            MaintenanceMode::Advanced => Self { advanced: principals, ends_at, ..Self::default() },
        }
    }

    /// The exceptions of both together.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        let Self { general, advanced, ends_at } = others;
        self.general.extend(general);
        self.advanced.extend(advanced);
        self.general.retain(|principal| !self.advanced.contains(principal));
        self.ends_at = self.ends_at.into_iter().chain(ends_at).min();
        self
    }

    /// The principals that may manage additional objects, and nothing that the operator manages.
    #[must_use]
    pub const fn general(&self) -> &BTreeSet<Principal> {
        &self.general
    }

    /// The principals that may also change what the operator manages.
    #[must_use]
    pub const fn advanced(&self) -> &BTreeSet<Principal> {
        &self.advanced
    }

    /// The time at which the first of them ends by itself; `None` when there are none.
    #[must_use]
    pub const fn ends_at(&self) -> Option<Timestamp> {
        self.ends_at
    }
}

/// The maintenance of one object that is in force: the applied one, no more than its spec still wants, and none
/// that is over. It ends when the object is deleted. It is read by itself, whatever else of the object can be
/// read; if it cannot be read, it allows nobody anything.
#[must_use]
pub fn own_maintenance<K: Gated>(object: &K, now: Timestamp) -> Option<Maintenance> {
    let wanted = K::maintenance(object.spec())?;
    let applied = object.gate().and_then(|gate| gate.applied.as_ref());
    let applied = applied.filter(|_| object.meta().deletion_timestamp.is_none())?;
    let applied: Maintenance = applied.spec.to_field("maintenance").ok().flatten()?;
    // The schema asks for an end. Maintenance that has none is not believed.
    Some(restrict(&applied, wanted)).filter(|maintenance| {
        let is_current = maintenance.expires_at.as_ref().is_some_and(|end| end.0 > now);
        maintenance.mode != MaintenanceMode::Disabled && is_current
    })
}

/// Whether maintenance is turned on, widened, prolonged or justified anew. Turning it off, naming
/// fewer principals or an earlier end only closes.
#[must_use]
pub fn opens(before: Option<&Maintenance>, after: &Maintenance) -> bool {
    let nothing = Maintenance::default();
    restrict(before.unwrap_or(&nothing), after) != *after
}

/// Maintenance as far as both allow it.
#[must_use]
pub fn restrict(applied: &Maintenance, wanted: &Maintenance) -> Maintenance {
    let Maintenance { mode, justification: _, principals, expires_at } = wanted;
    if *mode == MaintenanceMode::Disabled {
        return wanted.clone();
    }
    if applied.mode == MaintenanceMode::Disabled {
        return applied.clone();
    }
    // In the order of the wanted ones, so that a list that only lost some is equal to it.
    let common: Vec<_> =
        principals.iter().filter(|principal| applied.principals.contains(principal)).cloned().collect();
    if common.is_empty() {
        return Maintenance::default();
    }
    Maintenance {
        mode: if applied.mode == MaintenanceMode::General { applied.mode } else { *mode },
        justification: applied.justification,
        principals: common,
        expires_at: match (&applied.expires_at, expires_at) {
            (Some(applied), Some(wanted)) => {
                Some(if wanted.0 < applied.0 { wanted } else { applied }.clone())
            }
            (one, other) => one.clone().or_else(|| other.clone()),
        },
    }
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::*;
    use crate::api::common::PrincipalKind;
    use crate::api::gate::Applied;
    use crate::api::{CommunitySpec, Content, EnclaveSpec, Time};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn user(name: &str) -> Principal {
        Principal { kind: PrincipalKind::User, name: name.into(), namespace: None }
    }

    fn maintenance(mode: MaintenanceMode, users: &[&str], end: i64) -> Maintenance {
        let principals = users.iter().map(|name| user(name)).collect();
        Maintenance { mode, justification: None, principals, expires_at: Some(Time(at(end))) }
    }

    fn enclave(applied: &Maintenance, wanted: &Maintenance) -> Enclave {
        let spec = |maintenance: &Maintenance| EnclaveSpec {
            maintenance: maintenance.clone(),
            ..EnclaveSpec::default()
        };
        let mut enclave = Enclave::new("e", spec(wanted));
        enclave.gate_mut().applied = Some(Applied {
            generation: 1,
            complete_for: None,
            digest: String::new(),
            spec: Content::of_spec(&spec(applied)).unwrap(),
            change: None,
            approval_request: None,
            at: Time(at(0)),
            references: Vec::new(),
        });
        enclave
    }

    #[test]
    fn what_is_applied_counts_until_it_ends_or_is_not_wanted_any_more() {
        use MaintenanceMode::{Advanced, General};
        let off = Maintenance::default();
        let on = maintenance(Advanced, &["ann", "bob"], 100);
        let count = |applied: &Maintenance, wanted: &Maintenance, now| {
            let exceptions = Exceptions::of(&enclave(applied, wanted), at(now));
            (
                exceptions.general.len(),
                exceptions.advanced.len(),
                exceptions.ends_at.map(Timestamp::as_second),
            )
        };
        assert_eq!(count(&on, &on, 99), (0, 2, Some(100)));
        assert_eq!(count(&on, &on, 100), (0, 0, None), "it is over");
        assert_eq!(count(&on, &off, 50), (0, 0, None), "turning it off never waits");
        assert_eq!(count(&off, &on, 50), (0, 0, None), "turning it on does");
        assert_eq!(count(&on, &maintenance(Advanced, &["ann", "eve"], 200), 50), (0, 1, Some(100)));
        assert_eq!(count(&on, &maintenance(General, &["ann", "bob"], 60), 50), (2, 0, Some(60)));
        let endless = Maintenance { expires_at: None, ..on };
        assert_eq!(count(&endless, &endless, 50), (0, 0, None));
        let never_applied = Enclave::new("e", EnclaveSpec { maintenance: endless, ..EnclaveSpec::default() });
        assert_eq!(Exceptions::of(&never_applied, at(0)), Exceptions::default());
    }

    /// Maintenance ends neither early nor late, and nobody is let in, whatever else cannot be read.
    #[test]
    fn it_is_read_by_itself() {
        use MaintenanceMode::Advanced;
        let on = maintenance(Advanced, &["ann", "bob"], 100);
        let seen = |content: serde_json::Value, now| {
            let mut enclave = enclave(&on, &on);
            enclave.gate_mut().applied.as_mut().unwrap().spec = Content::unreadable(Some(content), "odd");
            Exceptions::in_enclave(&Community::new("c", CommunitySpec::default()), &enclave, at(now))
        };
        let applied = serde_json::json!({"network": 5, "maintenance": on});
        assert_eq!(seen(applied.clone(), 99).advanced().len(), 2);
        assert_eq!(seen(applied, 100), Exceptions::default());
        assert_eq!(seen(serde_json::json!({"maintenance": 5}), 50), Exceptions::default());
        let mut narrowed = serde_json::json!({ "maintenance": on });
        narrowed["maintenance"]["weekdays"] = serde_json::json!(["Sunday"]);
        assert_eq!(seen(narrowed, 50), Exceptions::default(), "a newer version may mean less by it");
        assert_eq!(seen(serde_json::json!({}), 50), Exceptions::default());
    }

    #[test]
    fn two_exceptions_add_up_and_the_wider_one_counts() {
        use MaintenanceMode::{Advanced, General};
        let one = Exceptions::of_maintenance(maintenance(General, &["ann", "bob"], 100));
        let other = Exceptions::of_maintenance(maintenance(Advanced, &["bob", "eve"], 50));
        let both = one.clone().and(other.clone());
        assert_eq!(both, other.and(one));
        assert_eq!(both.general, [user("ann")].into());
        assert_eq!(both.advanced, [user("bob"), user("eve")].into());
        assert_eq!(both.ends_at(), Some(at(50)));
    }

    fn any_maintenance() -> impl Strategy<Value = Maintenance> {
        let person =
            |name: &&str| Principal { kind: PrincipalKind::User, name: (*name).to_owned(), namespace: None };
        let mode = prop::sample::select(vec![
            MaintenanceMode::Disabled,
            MaintenanceMode::General,
            MaintenanceMode::Advanced,
        ]);
        let people = prop::sample::subsequence(vec!["ann", "bob", "eve"], 1..=3);
        (mode, any::<bool>(), people, 0..4_i64).prop_map(move |(mode, networking, people, second)| {
            use crate::api::common::MaintenanceJustification::{Governance, Networking};
            if mode == MaintenanceMode::Disabled {
                return Maintenance::default();
            }
            Maintenance {
                mode,
                justification: Some(if networking { Networking } else { Governance }),
                principals: people.iter().map(person).collect(),
                expires_at: Some(Time(at(second))),
            }
        })
    }

    proptest! {
        /// Nobody keeps or gains access that either side does not give.
        #[test]
        fn maintenance_is_restricted_to_what_both_allow(applied in any_maintenance(), wanted in any_maintenance()) {
            let both = restrict(&applied, &wanted);
            prop_assert!(!opens(Some(&applied), &both));
            prop_assert_eq!(&restrict(&both, &wanted), &both);
            if both.mode != MaintenanceMode::Disabled {
                for side in [&applied, &wanted] {
                    prop_assert!(both.principals.iter().all(|one| side.principals.contains(one)));
                    prop_assert!(both.mode == side.mode || both.mode == MaintenanceMode::General);
                    prop_assert!(both.expires_at.as_ref().unwrap().0 <= side.expires_at.as_ref().unwrap().0);
                }
            }
        }
    }
}
