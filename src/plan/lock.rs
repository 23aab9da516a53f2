//! The lock on managed namespaces as people see it: who may do more for a while, and what others left behind
//! there.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{Status, Wanted, build_conditions};
use super::{PlannedEvent, Severity};
use crate::api::GateStatus;
use crate::api::common::Principal;
use crate::api::names::{condition, reason};
use crate::model::approval::policy_status::{Integrity, PROPAGATING};
use crate::model::rbac::maintenance::Exceptions;

/// The number of things that a status lists at most.
const MOST: usize = 50;

/// Objects of others in the operator's namespaces, in words.
#[derive(Clone, Debug, Default)]
pub struct OfOthers {
    /// Objects of the kinds that the lock guards.
    pub unmanaged: Vec<String>,
    /// Bindings that nobody declared.
    pub standing_grants: Vec<String>,
}

/// The state of the lock on the namespaces of an object.
#[derive(Clone, Debug)]
pub struct Lock<'a> {
    /// The principals that may do more.
    pub exceptions: &'a Exceptions,
    /// Objects that the operator did not make, of the kinds that the lock guards; in words.
    pub unmanaged: &'a [String],
    /// Whether the policy that locks is there.
    pub integrity: &'a Integrity,
}

/// The things that a status lists: sorted, and a last line that says how many more there are.
#[must_use]
pub fn list_some(found: &[String]) -> Vec<String> {
    let mut listed = found.to_vec();
    listed.sort();
    let more = listed.len().saturating_sub(MOST);
    if more > 0 {
        listed.truncate(MOST);
        listed.push(format!("and {more} more"));
    }
    listed
}

/// Adds the condition to a status. Returns the Event to publish when the condition is another one than before.
#[must_use]
pub fn show_lock(
    gate: &mut GateStatus,
    before: &[Condition],
    lock: &Lock<'_>,
    now: Timestamp,
) -> Option<PlannedEvent> {
    let wanted = describe(lock);
    let known = before.iter().find(|condition| condition.type_ == condition::LOCKED);
    let is_shown = known.map_or(reason::LOCKED, |known| known.reason.as_str()) != wanted.reason
        && wanted.reason != reason::POLICIES_NOT_INTACT;
    let event = is_shown.then(|| PlannedEvent {
        severity: if wanted.status == Status::True { Severity::Normal } else { Severity::Warning },
        reason: wanted.reason,
        message: wanted.message.clone(),
    });
    let generation = gate.observed_generation;
    gate.conditions.extend(build_conditions(before, vec![wanted], generation, now));
    event
}

fn describe(lock: &Lock<'_>) -> Wanted {
    let Lock { exceptions, unmanaged, integrity } = lock;
    let wanted = |status, reason, message| Wanted { type_: condition::LOCKED, status, reason, message };
    let unknown = match integrity {
        Integrity::Intact => None,
        Integrity::Propagating => Some(PROPAGATING.to_owned()),
        Integrity::Broken(what) => Some(format!("install the chart of this version again: {what}")),
    };
    if let Some(why) = unknown {
        let message =
            format!("whether only the operator can change what guards the namespaces is not known; {why}");
        return wanted(Status::Unknown, reason::POLICIES_NOT_INTACT, message);
    }
    if let Some(end) = exceptions.ends_at() {
        let mut may = Vec::new();
        let mut describe = |names: String, what: &str| {
            if !names.is_empty() {
                may.push(format!("{names} may {what}"));
            }
        };
        describe(
            name_all(exceptions.advanced()),
            "change what the operator manages, which it does not put back",
        );
        describe(name_all(exceptions.general()), "manage additional objects");
        let reason = if exceptions.advanced().is_empty() {
            reason::MAINTENANCE_GENERAL
        } else {
            reason::MAINTENANCE_ADVANCED
        };
        let message = format!(
            "maintenance until {end}: {}; to end it now set spec.maintenance.mode to Disabled, in the Enclave or the Community that asks for it",
            may.join("; ")
        );
        return wanted(Status::False, reason, message);
    }
    let Some(first) = unmanaged.iter().min() else {
        let message = "only what the operator made guards the namespaces, and only it can change that".into();
        return wanted(Status::True, reason::LOCKED, message);
    };
    let more = match unmanaged.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more (status.unmanagedResources)"),
    };
    let message =
        format!("not made by the operator and still in force: {first}{more}; delete what nobody needs");
    wanted(Status::False, reason::UNMANAGED_RESOURCES, message)
}

fn name_all<'a>(principals: impl IntoIterator<Item = &'a Principal>) -> String {
    principals.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(
        exceptions: &Exceptions,
        unmanaged: &[String],
        integrity: &Integrity,
    ) -> (Condition, Option<PlannedEvent>) {
        let mut gate = GateStatus::default();
        let lock = Lock { exceptions, unmanaged, integrity };
        let event = show_lock(&mut gate, &[], &lock, Timestamp::UNIX_EPOCH);
        (gate.conditions.remove(0), event)
    }

    #[test]
    fn what_was_created_is_said_and_told_once() {
        let nobody = Exceptions::default();
        let (locked, event) = show(&nobody, &[], &Integrity::Intact);
        assert_eq!((locked.status.as_str(), locked.reason.as_str()), ("True", reason::LOCKED));
        assert_eq!(event, None, "as it should be is no news");

        let found = ["NetworkPolicy b/x".to_owned(), "NetworkPolicy a/y".to_owned()];
        let (left, event) = show(&nobody, &found, &Integrity::Intact);
        assert_eq!((left.status.as_str(), left.reason.as_str()), ("False", reason::UNMANAGED_RESOURCES));
        assert!(left.message.contains("NetworkPolicy a/y and 1 more"), "{}", left.message);
        assert_eq!(event.unwrap().reason, reason::UNMANAGED_RESOURCES);

        let lock = Lock { exceptions: &nobody, unmanaged: &found, integrity: &Integrity::Intact };
        let again =
            show_lock(&mut GateStatus::default(), std::slice::from_ref(&left), &lock, Timestamp::UNIX_EPOCH);
        assert_eq!(again, None);
        let lock = Lock { unmanaged: &[], ..lock };
        let gone = show_lock(&mut GateStatus::default(), &[left], &lock, Timestamp::UNIX_EPOCH);
        assert_eq!(gone.unwrap().severity, Severity::Normal);

        let (unknown, event) = show(&nobody, &[], &Integrity::Broken("gone".into()));
        assert_eq!((unknown.status.as_str(), event), ("Unknown", None));
    }

    #[test]
    fn a_status_lists_as_many_as_it_can_hold() {
        let found: Vec<String> = (0..60).rev().map(|number| format!("NetworkPolicy a/{number:02}")).collect();
        let listed = list_some(&found);
        assert_eq!(listed.len(), 51);
        assert_eq!(listed[0], "NetworkPolicy a/00");
        assert_eq!(listed[50], "and 10 more");
    }
}
