//! The access of people to the namespace of a workload, by ClusterRole.

use std::collections::BTreeSet;

use crate::api::EnclaveWorkloadSpec;
use crate::api::common::Principal;
use crate::api::enclave_workload::{AccessMode, WorkloadPrincipals};
use crate::api::reading::Cause;

/// Kubernetes' own ClusterRoles by which people get into the namespace of a workload.
pub const CLUSTER_ROLES: [&str; 3] = ["admin", "edit", "view"];

/// The principals that an isolated workload lists, by ClusterRole; none for other workloads.
#[must_use]
pub fn listed(spec: &EnclaveWorkloadSpec) -> Vec<(&'static str, BTreeSet<&Principal>)> {
    let Some(WorkloadPrincipals { admin, edit, view }) =
        spec.principals.as_ref().filter(|_| spec.access_mode == AccessMode::Isolated)
    else {
        return Vec::new();
    };
    let by_role = CLUSTER_ROLES.into_iter().zip([admin, edit, view]);
    by_role
        .map(|(role, principals)| (role, principals.iter().collect::<BTreeSet<_>>()))
        .filter(|(_, principals)| !principals.is_empty())
        .collect()
}

/// The principals that a workload still lets in by what can be read of its spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted<'a> {
    /// All who get in now: nothing in the spec takes access away.
    All,
    /// Of the principals that the workload listed, only these.
    Listed(&'a WorkloadPrincipals),
    /// Nobody but these, by whatever binding.
    Only(&'a WorkloadPrincipals),
}

static NOBODY: WorkloadPrincipals =
    WorkloadPrincipals { admin: Vec::new(), edit: Vec::new(), view: Vec::new() };

/// The principals that a workload still lets in by what can be read of its spec. A word that only a newer version knows
/// takes nothing away. Of a list that can be read only the principals stay that it names.
#[must_use]
pub fn admitted(spec: &EnclaveWorkloadSpec) -> Admitted<'_> {
    let cause_of = |path| spec.unreadable.as_ref().and_then(|unreadable| unreadable.cause_of(path));
    // Only another version knows so much of the list that nobody can tell which principals it names.
    if cause_of("spec.principals") == Some(Cause::Newer) {
        return Admitted::All;
    }
    match (cause_of("spec.accessMode"), spec.access_mode) {
        (None | Some(Cause::Wrong), AccessMode::Isolated) => {
            Admitted::Only(spec.principals.as_ref().unwrap_or(&NOBODY))
        }
        (None, AccessMode::Standard) => Admitted::All,
        (Some(_), _) => spec.principals.as_ref().map_or(Admitted::All, Admitted::Listed),
    }
}

/// Describes what a change opens and closes for people. `before` is `None` for a new workload, `after` for one that
/// goes.
#[must_use]
pub fn compare_access(
    namespace: &str,
    before: Option<&EnclaveWorkloadSpec>,
    after: Option<&EnclaveWorkloadSpec>,
) -> (Vec<String>, Vec<String>) {
    let grants = |spec: Option<&EnclaveWorkloadSpec>| -> BTreeSet<(&str, Principal)> {
        let listed = spec.map(listed).unwrap_or_default().into_iter();
        listed
            .flat_map(|(role, principals)| principals.into_iter().map(move |one| (role, one.clone())))
            .collect()
    };
    let (had, get) = (grants(before), grants(after));
    let mut opens: Vec<String> =
        get.difference(&had).map(|(role, who)| format!("{who} gets {role} in {namespace}")).collect();
    let mut closes: Vec<String> =
        had.difference(&get).map(|(role, who)| format!("{who} loses {role} in {namespace}")).collect();
    let mode = |spec: Option<&EnclaveWorkloadSpec>| spec.map(|spec| spec.access_mode);
    match (mode(before), mode(after)) {
        (Some(AccessMode::Standard), Some(AccessMode::Isolated)) => {
            closes.push(format!("everybody who is not listed loses what RoleBindings give in {namespace}"));
        }
        (Some(AccessMode::Isolated), Some(AccessMode::Standard)) => {
            opens.push(format!("RoleBindings can let everybody into {namespace}"));
        }
        _ => {}
    }
    (opens, closes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::PrincipalKind;

    fn isolated(admins: &[&str]) -> EnclaveWorkloadSpec {
        let user =
            |name: &&str| Principal { kind: PrincipalKind::User, name: (*name).to_owned(), namespace: None };
        EnclaveWorkloadSpec {
            access_mode: AccessMode::Isolated,
            principals: Some(WorkloadPrincipals {
                admin: admins.iter().map(user).collect(),
                ..WorkloadPrincipals::default()
            }),
            ..EnclaveWorkloadSpec::default()
        }
    }

    #[test]
    fn people_are_told_who_gets_in_and_who_does_not_any_more() {
        let standard = EnclaveWorkloadSpec::default();
        let (ann, bob) = (isolated(&["ann"]), isolated(&["bob"]));
        let compare = |before, after| {
            let (opens, closes) = compare_access("ns", before, after);
            (opens.join("; "), closes.join("; "))
        };
        let texts = |opens: &str, closes: &str| (opens.to_owned(), closes.to_owned());
        assert_eq!(compare(None, Some(&ann)), texts("user ann gets admin in ns", ""));
        assert_eq!(
            compare(Some(&ann), Some(&bob)),
            texts("user bob gets admin in ns", "user ann loses admin in ns")
        );
        assert_eq!(
            compare(Some(&standard), Some(&ann)),
            texts(
                "user ann gets admin in ns",
                "everybody who is not listed loses what RoleBindings give in ns"
            )
        );
        assert_eq!(
            compare(Some(&ann), Some(&standard)),
            texts("RoleBindings can let everybody into ns", "user ann loses admin in ns")
        );
        assert_eq!(compare(Some(&ann), Some(&ann)), texts("", ""));
        assert_eq!(compare(Some(&ann), None), texts("", "user ann loses admin in ns"));
    }
}
