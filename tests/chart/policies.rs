//! The policies in the chart are those that the operator compares with.

use std::fmt::Debug;

use enclave_operator::admission::{
    Installation, Policies, WildcardApprovers, build_optional_policies, build_policies,
};
use enclave_operator::model::approval::policy_status::Integrity;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::support::helm::NAMESPACE;
use super::{objects, of_kind, render, render_with};

/// What `ci/everything-values.yaml` says.
fn everything() -> Installation {
    Installation {
        namespace: NAMESPACE.into(),
        service_account: "approver-of-changes".into(),
        mfa_claim: "example.com/amr".into(),
        mfa_values: vec!["otp".into(), "hardware key".into(), "level: high".into()],
        wildcard_approvers: WildcardApprovers::Allowed,
    }
}

#[test]
fn the_policies_are_those_that_the_operator_expects() {
    for (rendered, installation) in [
        (render("default"), Installation::default()),
        (render("minimal"), Installation::default()),
        (render("everything"), everything()),
        (
            render_with(&["--namespace", "123"]),
            Installation { namespace: "123".into(), ..Default::default() },
        ),
    ] {
        let wanted = build_policies(&installation).unwrap();
        let optional = build_optional_policies(&installation).unwrap();
        let rendered = parse(&objects(&rendered));
        assert_eq!(wanted.compare_with_live(&rendered), Integrity::Intact);
        assert_eq!(optional.compare_with_live(&rendered), Integrity::Intact);
        assert_eq!(
            [rendered.mutating.len(), rendered.mutating_bindings.len()],
            [
                wanted.mutating.len() + optional.mutating.len(),
                wanted.mutating_bindings.len() + optional.mutating_bindings.len()
            ]
        );
        assert_eq!(
            [rendered.validating.len(), rendered.validating_bindings.len()],
            [wanted.validating.len(), wanted.validating_bindings.len()]
        );
    }
    let other = build_policies(&everything()).unwrap();
    let rendered = parse(&objects(&render("default")));
    assert!(
        matches!(other.compare_with_live(&rendered), Integrity::Broken(_)),
        "the comparison sees nothing"
    );
}

/// The policies among these objects.
pub fn parse(objects: &[Value]) -> Policies {
    fn all<K: DeserializeOwned + Debug>(objects: &[Value], kind: &str) -> Vec<K> {
        of_kind(objects, kind).into_iter().map(|it| serde_json::from_value(it.clone()).unwrap()).collect()
    }
    Policies {
        mutating: all(objects, "MutatingAdmissionPolicy"),
        mutating_bindings: all(objects, "MutatingAdmissionPolicyBinding"),
        validating: all(objects, "ValidatingAdmissionPolicy"),
        validating_bindings: all(objects, "ValidatingAdmissionPolicyBinding"),
    }
}

#[test]
fn the_crds_are_those_of_the_code() {
    let rendered = objects(&render("default"));
    let rendered: Vec<&Value> = of_kind(&rendered, "CustomResourceDefinition");
    let crds = enclave_operator::api::crds::all();
    assert_eq!(rendered.len(), crds.len());
    for crd in crds {
        let found =
            rendered.iter().find(|it| it["metadata"]["name"] == crd.metadata.name.as_deref().unwrap());
        let wanted = serde_json::to_value(&crd.spec).unwrap();
        assert_eq!(found.unwrap()["spec"], wanted, "{:?}", crd.metadata.name);
    }
}
