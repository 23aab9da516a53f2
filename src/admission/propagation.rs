//! Policies that are stored may not be effective yet: kube-apiserver looks once a second whether policies
//! or bindings have changed, and until then it admits by the old ones. Whoever takes a policy away and puts
//! it back could forge a vote in that second, under policies that look intact.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;

use super::{Policies, is_guard};

/// The time for which policies must have been unchanged to count: three times what kube-apiserver needs to
/// run them, because it may be busy, and its own watch a little behind.
pub const PROPAGATION: Duration = Duration::from_secs(3);

/// The policies that were seen last, and from when on they count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// The fingerprint of the policies.
    fingerprint: String,
    propagated_at: Instant,
}

impl Propagation {
    /// The propagation of policies that are seen for the first time. `age` is the time since they were
    /// changed; `None` when that is not known. Old ones count at once.
    #[must_use]
    pub fn first(fingerprint: String, age: Option<Duration>, now: Instant) -> Self {
        Self { fingerprint, propagated_at: now + PROPAGATION.saturating_sub(age.unwrap_or_default()) }
    }

    /// The propagation after policies are seen again: other ones count later.
    #[must_use]
    pub fn next(self, fingerprint: String, now: Instant) -> Self {
        if self.fingerprint == fingerprint {
            self
        } else {
            Self { fingerprint, propagated_at: now + PROPAGATION }
        }
    }

    /// The time until the policies count; `None` when they do.
    #[must_use]
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.propagated_at.checked_duration_since(now).filter(|remaining| !remaining.is_zero())
    }
}

impl Policies {
    /// The time, by the API server's clock, since the newest policy or binding that is not optional was made or
    /// changed; `None` when nothing says so. Zero when the answer lies in the future.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        let newest = [
            newest_change(&self.mutating),
            newest_change(&self.mutating_bindings),
            newest_change(&self.validating),
            newest_change(&self.validating_bindings),
        ];
        let newest = newest.into_iter().flatten().max()?;
        Some(Duration::try_from(now.duration_since(newest)).unwrap_or_default())
    }
}

fn newest_change<K: ResourceExt>(objects: &[K]) -> Option<Timestamp> {
    let changes = objects.iter().filter(|object| is_guard(*object)).flat_map(|object| {
        let edits = object.managed_fields().iter().filter_map(|edit| edit.time.as_ref());
        edits.chain(&object.meta().creation_timestamp).map(|time| time.0)
    });
    changes.max()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn policies_that_were_seen_to_change_count_when_they_have_been_unchanged_for_a_while() {
        let start = Instant::now();
        let old = Propagation::first("old".into(), Some(PROPAGATION), start);
        assert_eq!(old.remaining(start), None, "old ones count at once");
        let same = old.next("old".into(), start + SECOND);
        assert_eq!(same.remaining(start + SECOND), None);

        let away = same.next("away".into(), start + 2 * SECOND);
        let back = away.next("back".into(), start + 3 * SECOND);
        assert_eq!(back.remaining(start + 3 * SECOND), Some(PROPAGATION));
        // Looking again, however often, neither shortens nor lengthens it.
        let back = back.next("back".into(), start + 4 * SECOND);
        assert_eq!(back.remaining(start + 4 * SECOND), Some(2 * SECOND));
        assert_eq!(back.remaining(start + 3 * SECOND + PROPAGATION), None);
        // Policies that come back count later, although they were seen before.
        let again = back.next("old".into(), start + 9 * SECOND);
        assert_eq!(again.remaining(start + 9 * SECOND), Some(PROPAGATION));
    }

    #[test]
    fn at_the_start_only_young_policies_settle_and_never_longer_than_from_now_on() {
        let start = Instant::now();
        for (age, remaining) in [
            (Some(3600 * SECOND), None),
            (Some(PROPAGATION), None),
            (Some(SECOND), Some(2 * SECOND)),
            (Some(Duration::ZERO), Some(PROPAGATION)),
            (None, Some(PROPAGATION)),
        ] {
            assert_eq!(Propagation::first("new".into(), age, start).remaining(start), remaining, "{age:?}");
        }
    }

    #[test]
    fn the_newest_creation_or_edit_counts() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut policy = ValidatingAdmissionPolicy::default();
        let age = |policy: &ValidatingAdmissionPolicy, now| {
            let older = ValidatingAdmissionPolicy {
                metadata: kube::core::ObjectMeta {
                    creation_timestamp: Some(Time(at(50))),
                    ..policy.metadata.clone()
                },
                ..ValidatingAdmissionPolicy::default()
            };
            let validating = vec![policy.clone(), older];
            Policies { validating, ..Policies::default() }.age(at(now))
        };
        assert_eq!(Policies::default().age(at(100)), None);
        policy.metadata.creation_timestamp = Some(Time(at(90)));
        assert_eq!(age(&policy, 100), Some(10 * SECOND));
        let edit = ManagedFieldsEntry { time: Some(Time(at(97))), ..ManagedFieldsEntry::default() };
        policy.metadata.managed_fields = Some(vec![edit, ManagedFieldsEntry::default()]);
        assert_eq!(age(&policy, 100), Some(3 * SECOND));
        assert_eq!(age(&policy, 90), Some(Duration::ZERO), "a clock that is behind");
    }
}
