//! The operator's rights are what its code uses, no more and no less.

use std::collections::BTreeSet;

use enclave_operator::admission::Installation;
use enclave_operator::install::rbac::{operator_cluster_role, operator_role};
use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::support::requests_by;
use crate::world::World;

/// Rights that are held for other reasons than being used, or used elsewhere than in the story.
const OTHERS: &[(&str, &str)] = &[
    // Kubernetes lets nobody write more into a role than he holds: these stand in roles that are limited to
    // one Community or Enclave.
    ("update communities.enclave-operator.io", "stands in roles"),
    ("update enclaves.enclave-operator.io", "stands in roles"),
    ("approve approvalrequests.enclave-operator.io", "stands in roles"),
    ("get approvalrequests.enclave-operator.io/status", "stands in roles"),
    ("patch approvalrequests.enclave-operator.io/status", "stands in roles"),
    ("bind clusterroles.rbac.authorization.k8s.io", "is checked when a binding is made"),
    ("list ciliumnetworkpolicies.cilium.io", "network::, where Cilium's definition is installed"),
    ("watch ciliumnetworkpolicies.cilium.io", "network::, where Cilium's definition is installed"),
    ("create ciliumnetworkpolicies.cilium.io", "network::, where Cilium's definition is installed"),
    ("update ciliumnetworkpolicies.cilium.io", "network::, where Cilium's definition is installed"),
    ("delete ciliumnetworkpolicies.cilium.io", "network::, where Cilium's definition is installed"),
    ("get secrets", "notifications::"),
];

/// Each `verb resource.group/subresource` of some rules.
fn rights(rules: &[PolicyRule]) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for rule in rules {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                for verb in &rule.verbs {
                    rights.insert(right(verb, group, resource, subresource));
                }
            }
        }
    }
    rights
}

fn right(verb: &str, group: &str, resource: &str, subresource: &str) -> String {
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    let subresource = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    format!("{verb} {resource}{group}{subresource}")
}

/// Compares the rights with what was used in a cluster in which everything was done.
pub fn assert_minimal(world: &World) {
    let operator = Installation::default().operator_username();
    let requests = requests_by(&world.plane.audit_log(), &operator);
    let refused: Vec<_> = requests.iter().filter(|request| request.code == 403).collect();
    assert!(refused.is_empty(), "the operator lacks rights: {refused:#?}");
    let used: BTreeSet<String> = requests
        .iter()
        .map(|request| right(&request.verb, &request.group, &request.resource, &request.subresource))
        .collect();
    let others: BTreeSet<String> = OTHERS.iter().map(|(right, _)| (*right).to_owned()).collect();
    let held = [
        operator_cluster_role().rules.unwrap_or_default(),
        operator_role(&Installation::default()).rules.unwrap_or_default(),
    ];
    let held = rights(&held.concat());
    let idle: Vec<&String> = held.difference(&used).filter(|right| !others.contains(*right)).collect();
    assert!(idle.is_empty(), "held and never used: {idle:#?}");
    let stale: Vec<&String> = others.iter().filter(|right| !held.contains(*right)).collect();
    assert!(stale.is_empty(), "explained and not held: {stale:#?}");
}

#[test]
fn nothing_is_held_by_a_wildcard_and_roles_are_bound_by_name() {
    let rules = [
        operator_cluster_role().rules.unwrap_or_default(),
        operator_role(&Installation::default()).rules.unwrap_or_default(),
    ]
    .concat();
    for right in rights(&rules) {
        assert!(!right.contains('*'), "{right}");
        assert!(!["escalate", "impersonate"].contains(&right.split(' ').next().unwrap()), "{right}");
    }
    for rule in rules {
        let names = rule.resource_names.unwrap_or_default();
        let is_limited = rule.verbs.iter().any(|verb| verb == "bind")
            || rule.resources.iter().flatten().any(|resource| resource == "secrets");
        assert!(!is_limited || !names.is_empty(), "{:?} of {:?} is not by name", rule.verbs, rule.resources);
        assert!(rule.non_resource_urls.is_none());
    }
}
