//! The rights that the chart gives.

use enclave_operator::admission::Installation;
use enclave_operator::api::names::child::NOTIFICATIONS;
use enclave_operator::install::rbac;
use serde::Serialize;
use serde_json::{Value, json};

use super::{VALUE_SETS, objects, of_kind, render, the_only};

#[test]
fn the_rights_are_those_of_the_code() {
    let rendered = objects(&render("default"));
    let mut wanted = vec![rules(&rbac::operator_cluster_role())];
    wanted.extend(rbac::user_roles().iter().map(rules));
    let mut found: Vec<_> = of_kind(&rendered, "ClusterRole").into_iter().map(rules).collect();
    wanted.sort_by_key(|(name, _)| name.clone());
    found.sort_by_key(|(name, _)| name.clone());
    assert_eq!(found, wanted);

    let installation = Installation::default();
    let role = the_only(&rendered, "Role");
    assert_eq!(rules(role), rules(&rbac::operator_role(&installation)));
    assert_eq!(role["metadata"]["namespace"], "enclave-system");
    assert_eq!(
        bound(the_only(&rendered, "ClusterRoleBinding")),
        bound(&rbac::operator_cluster_role_binding(&installation))
    );
    assert_eq!(bound(the_only(&rendered, "RoleBinding")), bound(&rbac::operator_role_binding(&installation)));
}

fn rules(role: &impl Serialize) -> (String, Value) {
    let role = serde_json::to_value(role).unwrap();
    (role["metadata"]["name"].as_str().unwrap().to_owned(), role["rules"].clone())
}

fn bound(binding: &impl Serialize) -> Value {
    let binding = serde_json::to_value(binding).unwrap();
    json!([
        binding["metadata"]["name"],
        binding["metadata"]["namespace"],
        binding["roleRef"],
        binding["subjects"]
    ])
}

#[test]
fn no_right_is_wider_than_it_is_written() {
    for set in VALUE_SETS {
        let rendered = objects(&render(set));
        for kind in ["ClusterRole", "Role"] {
            for role in of_kind(&rendered, kind) {
                let findings = too_wide(role);
                assert!(findings.is_empty(), "{set}: {} {findings:?}", role["metadata"]["name"]);
            }
        }
        // Nobody gets a role from the chart but the operator.
        let account = &the_only(&rendered, "ServiceAccount")["metadata"]["name"];
        for kind in ["ClusterRoleBinding", "RoleBinding"] {
            let subject = json!([{"kind": "ServiceAccount", "name": account, "namespace": "enclave-system"}]);
            assert_eq!(the_only(&rendered, kind)["subjects"], subject, "{set}");
        }
    }
}

#[test]
fn what_is_too_wide_is_found() {
    let role = |rule: Value| json!({"metadata": {"name": "r"}, "rules": [rule]});
    for rule in [
        json!({"apiGroups": ["*"], "resources": ["pods"], "verbs": ["get"]}),
        json!({"apiGroups": [""], "resources": ["*/*"], "verbs": ["get"]}),
        json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}),
        json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["bind"]}),
        json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]}),
        json!({"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}),
        json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}),
        json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}),
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["other"], "verbs": ["get"]}),
        json!({"nonResourceURLs": ["/metrics/*"], "verbs": ["get"]}),
    ] {
        assert_eq!(too_wide(&role(rule.clone())).len(), 1, "{rule}");
    }
    let bind = json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
        "resourceNames": ["view"], "verbs": ["bind"]});
    assert!(too_wide(&role(bind)).is_empty());
}

fn too_wide(role: &Value) -> Vec<String> {
    let rules = role["rules"].as_array().unwrap();
    let words = |rule: &Value, field: &str| -> Vec<String> {
        rule[field].as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    rules
        .iter()
        .filter(|rule| {
            let verbs = words(rule, "verbs");
            let all = ["apiGroups", "resources", "resourceNames", "verbs", "nonResourceURLs"];
            all.iter().any(|field| words(rule, field).iter().any(|word| word.contains('*')))
                || verbs.iter().any(|verb| verb == "escalate" || verb == "impersonate")
                || verbs.iter().any(|verb| verb == "bind") && words(rule, "resourceNames").is_empty()
                || words(rule, "resources").iter().any(|resource| resource.starts_with("secrets"))
                    && (verbs != ["get"] || words(rule, "resourceNames") != [NOTIFICATIONS])
        })
        .map(ToString::to_string)
        .collect()
}
