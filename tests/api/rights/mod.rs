//! The operator's rights are what its code uses, no more and no less.

mod story;

use std::collections::BTreeSet;

use enclave_operator::admission::Installation;
use enclave_operator::api::{Kind, crds};
use enclave_operator::install::rbac::{operator_cluster_role, operator_role};
use k8s_openapi::api::rbac::v1::PolicyRule;

use self::story::Story;
use crate::support::{Sink, poll};
use crate::world::{SOON, World, on_a_runtime};

/// Rights that are held without being used, besides those that stand in the roles that it writes:
/// Kubernetes lets nobody write more into a role than he holds.
const OTHERS: &[&str] = &[
    // Whoever binds a role without holding all that it gives needs it.
    "bind clusterroles.rbac.authorization.k8s.io",
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

fn held_rules() -> Vec<PolicyRule> {
    let in_its_namespace = operator_role(&Installation::default()).rules;
    [operator_cluster_role().rules, in_its_namespace].into_iter().flatten().flatten().collect()
}

/// What a right is missing for is refused, which fails the story.
#[test]
fn every_right_is_used() {
    let world = World::without_operator();
    world.install();
    let sink = Sink::start();
    let (story, operator) = Story::start(&world);
    let standing = on_a_runtime(async || story.play(&sink).await);
    // A watch is logged when it ends, and the lease is read when it is given back.
    assert!(operator.terminate(SOON).is_some_and(|status| status.success()), "it stops in order");
    let held = rights(&held_rules());
    let others: BTreeSet<String> = OTHERS.iter().map(|right| (*right).to_owned()).collect();
    let explained: BTreeSet<String> = standing.union(&others).cloned().collect();
    let idle = || -> Vec<String> {
        let used = story.used();
        // A watch begins with a list where the API server does not stream it.
        let is_of_a_watch = |right: &str| {
            right.strip_prefix("list ").is_some_and(|what| used.contains(&format!("watch {what}")))
        };
        let idle = held.iter().filter(|right| !used.contains(*right) && !explained.contains(*right));
        idle.filter(|right| !is_of_a_watch(right)).cloned().collect()
    };
    poll(SOON, || idle().is_empty().then_some(()));
    // What was installed is what the code says, and nothing else gives the operator more.
    let used = story.used();
    let foreign: Vec<&String> = used.difference(&held).collect();
    assert!(foreign.is_empty(), "used and not held: {foreign:#?}");
    let idle = idle();
    assert!(idle.is_empty(), "held and never used: {idle:#?}");
    let stale: Vec<&String> = others.difference(&held).collect();
    assert!(stale.is_empty(), "explained and not held: {stale:#?}");
}

#[test]
fn what_can_be_retired_is_what_has_a_field_for_it() {
    for definition in crds::all() {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == definition.spec.names.kind).unwrap();
        let schema = definition.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
        let spec = &schema.properties.unwrap()["spec"];
        let has_field = spec.properties.as_ref().unwrap().contains_key("retire");
        assert_eq!(kind.is_retired(), has_field, "{kind}");
    }
}
