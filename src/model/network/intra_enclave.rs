//! The workloads of one Enclave that reach each other because the Enclave lets them.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::EnclaveSpec;
use crate::api::enclave::WorkloadCommunication;

/// Whether an Enclave wants that its workloads do not reach each other, as far as that can be read: a field that cannot
/// be read closes nothing.
#[must_use]
pub fn isolates_workloads(spec: &EnclaveSpec) -> bool {
    let paths = ["spec", "spec.network", "spec.network.workloadCommunication"];
    let unreadable = spec.unreadable.as_ref();
    let is_unread = |path: &str| unreadable.is_some_and(|unreadable| unreadable.cause_of(path).is_some());
    spec.network.workload_communication == WorkloadCommunication::Isolated
        && !paths.into_iter().any(is_unread)
}

/// Describes what a change opens and closes between namespaces. `before` and `after` are the namespaces that reach each
/// other before and after it.
#[must_use]
pub fn compare_intra_enclave(
    before: &BTreeSet<String>,
    after: &BTreeSet<String>,
) -> (Vec<String>, Vec<String>) {
    (describe_gain(before, after), describe_gain(after, before))
}

/// The pairs of namespaces of `after` that are no pairs of `before`, in one line for each first namespace.
fn describe_gain(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    let mut gained: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in after {
        for other in after.iter().filter(|other| *other > one) {
            if !(before.contains(one) && before.contains(other)) {
                gained.entry(one).or_default().push(other);
            }
        }
    }
    gained.iter().map(|(one, others)| format!("{one} <-> {}: every port", others.join(", "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_that_opens_or_closes_is_told_once() {
        let set = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).into()).collect() };
        let (nobody, two, three) = (set(&[]), set(&["a", "b"]), set(&["a", "b", "c"]));
        let lines = |lines: &[&str]| -> Vec<String> { lines.iter().map(|line| (*line).into()).collect() };
        assert_eq!(
            compare_intra_enclave(&nobody, &three),
            (lines(&["a <-> b, c: every port", "b <-> c: every port"]), lines(&[]))
        );
        assert_eq!(
            compare_intra_enclave(&two, &three).0,
            lines(&["a <-> c: every port", "b <-> c: every port"])
        );
        assert_eq!(compare_intra_enclave(&three, &set(&["c"])).1, compare_intra_enclave(&nobody, &three).0);
        assert_eq!(compare_intra_enclave(&two, &two), (lines(&[]), lines(&[])));
        assert_eq!(compare_intra_enclave(&set(&["a"]), &nobody), (lines(&[]), lines(&[])));
    }
}
