//! Votes with multi-factor authentication, by people who really log in with tokens: what they have
//! proved is a claim that the issuer signs and the API server passes on.

use enclave_operator::api::approval_request::Verdict;
use enclave_operator::api::names::REQUESTED_MFA;
use enclave_operator::api::{RoleActivation, RoleEligibility, State};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Api;
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::roles::{make, wait_for_activation};
use crate::support::{ControlPlane, Issuer, User, eventually};
use crate::world::{
    SOON, World, active_community, assert_refused, enclave, enclaves, hold_everything, namespaced, object,
    on_a_runtime, patch_status, requests, vote, wait_for_access, wait_for_enclave, wait_for_missing,
    wait_for_request, wait_for_state,
};

/// What the admission policies look at if nothing else is set.
const CLAIM: &str = "enclave-operator.io/acr";

#[test]
fn a_vote_counts_only_with_multi_factor_authentication_where_the_rules_ask_for_it() {
    let issuer = Issuer::start();
    let world = World::on(ControlPlane::start_with(issuer.settings(&[(CLAIM, "acr")])).unwrap());
    world.install();
    world.start_operator("operator-1");
    let log_in = |user: &str, claims: Value| {
        let token = issuer.token(user, &["approvers", "cyber-team"], &claims);
        world.plane.token_user(user, &token)
    };
    on_a_runtime(async || {
        let alice = world.alice();
        let with_password = log_in("bob", json!({}));
        wait_for_login(&with_password).await;
        let mut rules = hold_everything();
        active_community(&world, "plain", &json!({ "approvals": rules })).await;
        rules["requireMfa"] = json!(true);
        rules["requireCredentialId"] = json!(true);
        active_community(&world, "strict", &json!({ "approvals": rules })).await;
        for community in ["plain", "strict"] {
            let api = enclaves(&alice, community);
            api.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
        }

        // It is a login like any other, and enough where the rules do not ask for more.
        let request = wait_for_request(&alice, "plain", "e").await;
        let voted = vote(&with_password, "plain", &request, Verdict::Approved, None).await.unwrap();
        let [decision] = &voted.status.unwrap().decisions[..] else { panic!("one vote") };
        assert_eq!((decision.approver.as_str(), &decision.mfa), ("bob", &None));
        wait_for_enclave(&enclaves(&alice, "plain"), "e", State::Active).await;

        let request = wait_for_request(&alice, "strict", "e").await;
        let words = "only votes with multi-factor authentication";
        let otherwise =
            [json!({"acr": "pwd"}), json!({"acr": ["pwd", "MFA"]}), json!({"amr": ["mfa"], "acr": ""})];
        let otherwise = otherwise.map(|claims| log_in("bob", claims));
        for bob in [&with_password].into_iter().chain(&otherwise) {
            assert_refused(vote(bob, "strict", &request, Verdict::Approved, None).await, words);
            let digest = requests(bob, "strict").get(&request).await.unwrap().spec.change.digest;
            let forged = json!([{"approver": "bob", "verdict": "Approved", "digest": digest, "mfa": "mfa"}]);
            let forged = json!({"status": {"decisions": forged}});
            let forged = patch_status(&requests(bob, "strict"), &request, forged).await;
            assert_refused(forged, "your vote claims something of you");
        }
        wait_for_missing(&alice, "strict", &request, "1 more approval").await;

        let bob = log_in("bob", json!({"acr": ["pwd", "mfa"]}));
        let voted = vote(&bob, "strict", &request, Verdict::Approved, None).await.unwrap();
        let [decision] = &voted.status.unwrap().decisions[..] else { panic!("one vote") };
        assert_eq!(decision.mfa.as_deref(), Some("mfa"));
        let credential = decision.credential_id.as_deref().unwrap();
        assert!(credential.starts_with("JTI=token-"), "{credential}");
        wait_for_enclave(&enclaves(&alice, "strict"), "e", State::Active).await;

        // One word instead of several, as most issuers write it.
        let api = enclaves(&alice, "strict");
        api.create(&PostParams::default(), &enclave("f", &json!({}))).await.unwrap();
        let request = wait_for_request(&alice, "strict", "f").await;
        let bob = log_in("bob", json!({"acr": "mfa"}));
        vote(&bob, "strict", &request, Verdict::Approved, None).await.unwrap();
        wait_for_enclave(&api, "f", State::Active).await;

        activate_with_more_than_a_password(&world, &log_in).await;
    });
}

/// A role that only those activate who logged in with more than a password.
async fn activate_with_more_than_a_password(world: &World, log_in: &impl Fn(&str, Value) -> User) {
    let eligibilities: Api<RoleEligibility> = namespaced(world.alice().client(), "plain-e");
    let conditions = json!({"maxDuration": "1h", "requireMfa": true});
    let spec = json!({"role": "enclave-reader", "activation": conditions,
        "principals": [{"kind": "Group", "name": "cyber-team"}]});
    make(&eligibilities, "RoleEligibility", "careful", &spec).await.unwrap();
    wait_for_state(&eligibilities, "careful", State::Active).await;
    let asked = json!({"eligibility": "careful", "duration": "30m"});
    for (name, claims, state) in [
        ("password", json!({}), "Refused"),
        ("wrong-value", json!({"acr": ["pwd", "MFA"]}), "Refused"),
        ("wrong-claim", json!({"amr": ["mfa"], "acr": ""}), "Refused"),
        ("both", json!({"acr": ["pwd", "mfa"]}), "Active"),
    ] {
        let dora = log_in("dora", claims);
        wait_for_access(&dora, "create", "roleactivations", "plain-e", true).await;
        let api: Api<RoleActivation> = namespaced(dora.client(), "plain-e");
        let mut wanted: RoleActivation = object(json!({
            "apiVersion": "enclave-operator.io/v1alpha1", "kind": "RoleActivation", "spec": asked,
            "metadata": {"name": name, "annotations": {REQUESTED_MFA: "mfa"}},
        }));
        wanted = api.create(&PostParams::default(), &wanted).await.unwrap();
        assert_eq!(wanted.annotations().contains_key(REQUESTED_MFA), state == "Active", "{name}");
        let judged = wait_for_activation(&api, name, state).await.status.unwrap();
        if state == "Refused" {
            assert_eq!(judged.conditions[0].reason, "MfaMissing", "{name}");
        }
    }
}

/// The API server fetches the issuer's key only once it runs.
async fn wait_for_login(user: &User) {
    let reviews: Api<SelfSubjectReview> = Api::all(user.client());
    let found = eventually("the API server knows the issuer", SOON, async || {
        let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.ok()?;
        review.status?.user_info?.username
    })
    .await;
    assert_eq!(found, user.name());
}
