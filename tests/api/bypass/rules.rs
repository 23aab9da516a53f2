//! Rules that are lowered, emptied, or whose guards are taken away.

use enclave_operator::admission::{Installation, Policies, build_policies};
use enclave_operator::api::approval_request::RequestState;
use enclave_operator::api::names::condition as conditions;
use enclave_operator::api::{ApprovalRequest, State};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::{
    Run, VERIFY_VOTE, approve, ask, operator, play, restore, rule, until_accepted, wait_for_missing,
    wait_for_protection, write_as_operator, write_status,
};
use crate::support::{User, eventually, wait_until};
use crate::world::{
    SOON, World, active_community, assert_refused, communities, community, condition, enclave, enclaves,
    hold_everything, object, patch, patch_status, requests, wait_for_community, wait_for_enclave,
    wait_for_request, wait_for_request_state,
};

/// The open request about a Community itself.
async fn request_about(user: &User, community: &str) -> String {
    let held = wait_for_community(&communities(user), community, State::Pending).await;
    let request = held.status.unwrap().gate.pending.unwrap().approval_request.unwrap();
    wait_for_request_state(user, community, &request, RequestState::Pending).await;
    request
}

#[tokio::test]
async fn a09_lower_the_rules_while_a_request_is_pending_or_with_the_change() {
    play(async |world| {
        let (alice, bob, carol) = (world.alice(), world.bob(), world.carol());
        let request = ask(world, "a09", rule("EnclaveCreation", 2)).await;
        let lowered = json!({"rules": [{"operation": "EnclaveCreation", "policy": "NotRequired"}]});
        // Both in one apply: each is held under the rules in force.
        let documents = json!({"apiVersion": "v1", "kind": "List", "items": [
            community("a09", &json!({ "approvals": lowered })),
            {"apiVersion": "enclave-operator.io/v1alpha1", "kind": "Enclave",
             "metadata": {"name": "sneaky", "namespace": "a09"}, "spec": {}},
        ]});
        alice.kubectl_with_input(&["apply", "-f", "-"], &documents.to_string()).expect_success();
        let about_rules = request_about(&alice, "a09").await;
        wait_for_enclave(&enclaves(&alice, "a09"), "sneaky", State::Pending).await;
        let own = approve(&alice, "a09", &about_rules, Run::ForReal).await;
        assert_refused(own, "you contributed to this change");
        for (voter, request) in [(&bob, &request), (&bob, &about_rules), (&carol, &about_rules)] {
            approve(voter, "a09", request, Run::ForReal).await.unwrap();
        }
        wait_for_community(&communities(&alice), "a09", State::Active).await;

        // Lowered now, with two approvals, and still the old request needs its two.
        let open = wait_for_missing(&alice, "a09", &request, "1 more approval").await;
        assert_eq!(open.spec.policy.minimum_approvers, 2);
        wait_for_enclave(&enclaves(&alice, "a09"), "sneaky", State::Pending).await;
        // It was the rules that held it: under the lowered ones the same goes through at once.
        let api = enclaves(&alice, "a09");
        api.create(&PostParams::default(), &enclave("free", &json!({}))).await.unwrap();
        wait_for_enclave(&api, "free", State::Active).await;
    })
    .await;
}

#[tokio::test]
async fn a10_empty_rules_empty_approver_lists_and_a_minimum_of_zero() {
    play(async |world| {
        let alice = world.alice();
        let zero = json!({"rules": [{
            "operation": "EnclaveCreation", "policy": "Required", "minimumApprovers": 0, "mandatoryApprovers": []
        }]});
        let request = ask(world, "a10", zero).await;
        let open = requests(&alice, "a10").get(&request).await.unwrap();
        assert_eq!(open.spec.policy.minimum_approvers, 1);
        let api = communities(&alice);
        for emptied in [json!(null), json!({"rules": null}), json!({"rules": []})] {
            patch(&api, "a10", json!({"spec": {"approvals": emptied}})).await.unwrap();
            request_about(&alice, "a10").await;
        }
        let below = patch(&api, "a10", json!({"spec": {"approvals": rule("EnclaveCreation", -1)}})).await;
        assert_refused(below, "should be greater than or equal to 0");
        let item = &rule("EnclaveCreation", 1)["rules"][0];
        let twice = patch(&api, "a10", json!({"spec": {"approvals": {"rules": [item, item]}}})).await;
        assert_refused(twice, "Duplicate value");

        // An Enclave adds to the rules of its Community and takes nothing away.
        active_community(world, "a10-inner", &json!({ "approvals": rule("EnclaveUpdate", 1) })).await;
        let inner = json!({"approvals": {"rules": [{"operation": "EnclaveUpdate", "policy": "NotRequired"}]}});
        let api = enclaves(&alice, "a10-inner");
        api.create(&PostParams::default(), &enclave("e", &inner)).await.unwrap();
        wait_for_enclave(&api, "e", State::Active).await;
        patch(&api, "e", json!({"spec": {"description": "edited"}})).await.unwrap();
        wait_for_request(&alice, "a10-inner", "e").await;

        // Nobody gets around it: even the operator cannot store a request that asks for nobody.
        let mut none = serde_json::to_value(&open).unwrap();
        none["metadata"] = json!({"name": "none"});
        none["spec"]["policy"]["minimumApprovers"] = json!(0);
        let theirs = requests(&operator(world).await, "a10");
        let refused = theirs.create(&PostParams::default(), &object(none)).await;
        assert_refused(refused, "spec.policy.minimumApprovers");
    })
    .await;
}

#[tokio::test]
async fn a19_remove_weaken_or_unbind_a_policy_while_a_change_is_pending() {
    play(async |world| {
        let (alice, bob) = (world.alice(), world.bob());
        let request = ask(world, "a19", hold_everything()).await;
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(world.administrator());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.administrator());
        for weakening in ["unbound", "removed", "failures ignored", "only warns"] {
            match weakening {
                "unbound" => drop(bindings.delete(VERIFY_VOTE, &DeleteParams::default()).await.unwrap()),
                "removed" => drop(policies.delete(VERIFY_VOTE, &DeleteParams::default()).await.unwrap()),
                "failures ignored" => {
                    let ignore = json!({"spec": {"failurePolicy": "Ignore"}});
                    patch(&policies, VERIFY_VOTE, ignore).await.unwrap();
                }
                _ => {
                    let warn = json!({"spec": {"validationActions": ["Warn"]}});
                    patch(&bindings, VERIFY_VOTE, warn).await.unwrap();
                }
            }
            wait_for_protection(world, "False").await;
            // Now even the requester's own vote gets in; ignored failures alone refuse it still.
            if weakening != "failures ignored" {
                until_accepted(async || approve(&alice, "a19", &request, Run::ForReal).await).await;
            }
            approve(&bob, "a19", &request, Run::ForReal).await.unwrap();
            let told =
                wait_until(requests(&bob, "a19"), &request, SOON, weakening, |request: &ApprovalRequest| {
                    let status = request.status.as_ref().unwrap();
                    !status.decisions.is_empty()
                        && status.missing.as_ref().is_some_and(|text| text.contains("no vote is believed"))
                })
                .await;
            assert_eq!(told.status.unwrap().state, Some(RequestState::Pending));
            let held = enclaves(&alice, "a19").get("e").await.unwrap();
            assert!(held.status.unwrap().gate.applied.is_none(), "{weakening}");

            restore(world).await;
            wait_until(
                requests(&bob, "a19"),
                &request,
                SOON,
                "the vote is void",
                |request: &ApprovalRequest| {
                    let status = request.status.as_ref().unwrap();
                    status.decisions.is_empty() && status.missing.as_deref() == Some("1 more approval")
                },
            )
            .await;
        }
        // The same vote, while all policies stand guard, enacts it.
        until_accepted(async || approve(&bob, "a19", &request, Run::ForReal).await).await;
        wait_for_enclave(&enclaves(&alice, "a19"), "e", State::Active).await;
    })
    .await;
}

#[tokio::test]
async fn b08_who_may_vote_and_who_may_hold_what_are_rules_too() {
    play(async |world| {
        let (alice, bob) = (world.alice(), world.bob());
        active_community(world, "b08", &json!({ "approvals": rule("EnclaveDeletion", 1) })).await;
        active_community(world, "b08-free", &json!({})).await;
        let api = communities(&alice);
        for flip in [json!({"serviceAccountVotes": "Allowed"}), json!({"conflictingDuties": "Refuse"})] {
            patch(&api, "b08", json!({ "spec": flip })).await.unwrap();
            let request = request_about(&alice, "b08").await;
            approve(&bob, "b08", &request, Run::ForReal).await.unwrap();
            wait_for_community(&api, "b08", State::Active).await;
            // It is the rule that holds it: without any, nothing does.
            patch(&api, "b08-free", json!({ "spec": flip })).await.unwrap();
            wait_for_community(&api, "b08-free", State::Active).await;
        }
    })
    .await;
}

#[tokio::test]
async fn b11_the_words_for_one_change_are_no_words_for_the_next() {
    play(async |world| {
        let (alice, bob) = (world.alice(), world.bob());
        let mut rules = hold_everything();
        rules["requireJustification"] = json!(true);
        active_community(world, "b11", &json!({ "approvals": rules })).await;
        let api = enclaves(&alice, "b11");
        let words = |text: &str| json!({"change": {"justification": text}});
        api.create(&PostParams::default(), &enclave("e", &words("card payments"))).await.unwrap();
        let request = wait_for_request(&alice, "b11", "e").await;
        approve(&bob, "b11", &request, Run::ForReal).await.unwrap();
        wait_for_enclave(&api, "e", State::Active).await;

        patch(&api, "e", json!({"spec": {"description": "something else"}})).await.unwrap();
        let held = wait_for_enclave(&api, "e", State::Pending).await.status.unwrap().gate;
        assert_eq!(condition(&held, conditions::APPROVED).reason, "JustificationMissing");
        assert!(held.pending.unwrap().approval_request.is_none());
        patch(&api, "e", json!({ "spec": words("invoices too") })).await.unwrap();
        wait_for_request(&alice, "b11", "e").await;
    })
    .await;
}

/// In a gap the requester does not only vote: she writes that it is decided, in other people's names.
#[tokio::test]
async fn b13_an_approval_that_was_written_while_a_policy_was_away() {
    play(async |world| {
        let (alice, bob) = (world.alice(), world.bob());
        let request = ask(world, "b13", hold_everything()).await;
        let api = requests(&alice, "b13");
        let digest = api.get(&request).await.unwrap().spec.change.digest;
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.administrator());
        bindings.delete(VERIFY_VOTE, &DeleteParams::default()).await.unwrap();
        wait_for_protection(world, "False").await;
        let forged = json!({"status": {
            "state": "Approved", "decidedAt": jiff::Timestamp::now().to_string(), "missing": null,
            "decisions": [{"approver": "bob", "verdict": "Approved", "digest": digest}],
        }});
        until_accepted(async || patch_status(&api, &request, forged.clone()).await).await;
        restore(world).await;

        wait_until(api, &request, SOON, "the approval is undone", |request: &ApprovalRequest| {
            let status = request.status.as_ref().unwrap();
            status.state == Some(RequestState::Pending) && status.decisions.is_empty()
        })
        .await;
        let held = enclaves(&alice, "b13").get("e").await.unwrap();
        assert!(held.status.unwrap().gate.applied.is_none());
        until_accepted(async || approve(&bob, "b13", &request, Run::ForReal).await).await;
        wait_for_enclave(&enclaves(&alice, "b13"), "e", State::Active).await;
    })
    .await;
}

/// The API server runs a policy that is back only a moment later. Until then the requester forges
/// somebody else's vote, under policies that look intact to everybody who reads them.
#[tokio::test]
async fn b15_a_vote_that_is_forged_before_a_policy_that_is_back_is_effective() {
    play(async |world| {
        let (alice, bob) = (world.alice(), world.bob());
        let request = ask(world, "b15", hold_everything()).await;
        let api = requests(&alice, "b15");
        let digest = api.get(&request).await.unwrap().spec.change.digest;
        let votes = json!([{"approver": "bob", "verdict": "Approved", "digest": digest}]);
        for forgery in ["a vote", "a vote and its fingerprint", "an approval"] {
            let forged = |fingerprint: &str| match forgery {
                "a vote" => json!({ "decisions": votes }),
                "a vote and its fingerprint" => {
                    json!({ "decisions": votes, "policyFingerprint": fingerprint })
                }
                _ => json!({
                    "decisions": votes, "policyFingerprint": fingerprint, "missing": null,
                    "state": "Approved", "decidedAt": jiff::Timestamp::now().to_string(),
                }),
            };
            let fingerprint = forge_behind_a_policy_that_is_back(world, &alice, &request, forged).await;
            wait_until(requests(&bob, "b15"), &request, SOON, forgery, |request: &ApprovalRequest| {
                let status = request.status.as_ref().unwrap();
                status.state == Some(RequestState::Pending)
                    && status.decisions.is_empty()
                    && status.policy_fingerprint.as_ref() == Some(&fingerprint)
            })
            .await;
            restore(world).await;
            let held = enclaves(&alice, "b15").get("e").await.unwrap();
            assert!(held.status.unwrap().gate.applied.is_none(), "{forgery}");
        }
        let late = write_status(&alice, "b15", &request, json!({ "decisions": votes }), Run::ForReal).await;
        assert_refused(late, "you contributed to this change");
        // It was only cast under other policies.
        let theirs = requests(&operator(world).await, "b15");
        write_as_operator(&theirs, &request, |status| status["decisions"] = votes.clone()).await;
        wait_for_enclave(&enclaves(&alice, "b15"), "e", State::Active).await;
    })
    .await;
}

/// Takes verify-vote away, puts it back, and writes to the request before the API server runs it.
/// Returns the fingerprint of the policies as they are then.
async fn forge_behind_a_policy_that_is_back(
    world: &World,
    user: &User,
    request: &str,
    forged: impl Fn(&str) -> Value,
) -> String {
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.administrator());
    let all = build_policies(&Installation::default()).unwrap().validating_bindings;
    let binding = all.into_iter().find(|binding| binding.name_any() == VERIFY_VOTE).unwrap();
    eventually("it is forged in time", SOON, async || {
        bindings.delete(VERIFY_VOTE, &DeleteParams::default()).await.unwrap();
        until_accepted(async || write_status(user, "b15", request, forged("unknown"), Run::Dry).await).await;
        bindings.create(&PostParams::default(), &binding).await.unwrap();
        let fingerprint = live_policies(world.administrator()).await.fingerprint();
        let written = write_status(user, "b15", request, forged(&fingerprint), Run::ForReal).await;
        written.ok().map(|_| fingerprint)
    })
    .await
}

async fn live_policies(client: Client) -> Policies {
    let ours = ListParams::default().labels("app.kubernetes.io/part-of=enclave-operator");
    Policies {
        mutating: Api::all(client.clone()).list(&ours).await.unwrap().items,
        mutating_bindings: Api::all(client.clone()).list(&ours).await.unwrap().items,
        validating: Api::all(client.clone()).list(&ours).await.unwrap().items,
        validating_bindings: Api::all(client).list(&ours).await.unwrap().items,
    }
}
