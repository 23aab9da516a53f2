use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt;
use serde_json::json;

use super::*;
use crate::cluster::cache::Cache;
use crate::kinds::index::Near;
use crate::kinds::rbac::observe::find_near;
use crate::model::approval::applied::as_if_applied;

fn assignment(namespace: &str, names: &[String]) -> RoleAssignment {
    let principals: Vec<_> = names.iter().map(|name| json!({"kind": "User", "name": name})).collect();
    let wanted = serde_json::from_value(json!({
        "apiVersion": "enclave-operator.io/v1alpha1",
        "kind": "RoleAssignment",
        "metadata": {"name": "a", "namespace": namespace, "uid": namespace, "generation": 1},
        "spec": {"role": "enclave-reader", "principals": principals},
    }));
    as_if_applied::<RoleAssignment>(&wanted.unwrap(), &[]).unwrap()
}

/// The values are short, however long the names of principals are, and however many hyphens the namespace has.
#[test]
fn each_of_those_who_are_given_a_role_takes_a_short_value_of_an_index() {
    let names: Vec<String> = (0..100).map(|number| format!("{}{number:02}", "é".repeat(254))).collect();
    let namespace = format!("a{}a-b", "-".repeat(18));
    let mut values = Vec::new();
    assignment(&namespace, &names).index(&mut |_, value| values.push(value.len()));
    assert_eq!(values.len(), 2 * names.len(), "what is applied and what is wanted");
    assert_eq!(values.into_iter().max(), Some(32 + namespace.len() + 2));
}

#[test]
fn what_is_given_to_somebody_is_found_in_a_namespace_beneath_a_community_and_anywhere() {
    let cache = Cache::<RoleAssignment>::default();
    for namespace in ["acme", "acme-a", "acme-a-b", "acmes", "acmes-a", "system"] {
        cache.apply(Arc::new(assignment(namespace, &["ann".to_owned(), "bob".to_owned()])));
        cache.apply(Arc::new(assignment(&format!("{namespace}-x"), &["ann/".to_owned()])));
    }
    let near = |places: &[Near], people: &[&str]| -> Vec<String> {
        let people: BTreeSet<String> = people.iter().map(|name| format!("User:{name}")).collect();
        let found = find_near(&cache, GivenBy::Principal, places, &people);
        let mut found: Vec<String> = found.iter().filter_map(|one| one.namespace()).collect();
        found.sort();
        found
    };
    let (within, beneath) = (Near::In("acme".to_owned()), Near::Beneath("acme".to_owned()));
    assert_eq!(near(std::slice::from_ref(&within), &["ann", "bob"]), ["acme"]);
    assert_eq!(near(std::slice::from_ref(&beneath), &["ann", "bob"]), ["acme-a", "acme-a-b"]);
    assert_eq!(
        near(&[within, beneath, Near::In("system".to_owned())], &["bob"]),
        ["acme", "acme-a", "acme-a-b", "system"]
    );
    assert_eq!(near(&[Near::Anywhere], &["ann", "bob"]).len(), 6);
    assert_eq!(near(&[Near::Anywhere], &["ann/"]).len(), 6);
    assert!(near(&[Near::Anywhere], &["an"]).is_empty());
}
