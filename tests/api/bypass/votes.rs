//! Votes that must not count.

use enclave_operator::api::approval_request::RequestState;
use enclave_operator::api::{ApprovalRequest, State};
use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Patch};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::Defence::Validation;
use super::{
    Run, VERIFY_REQUESTER, VERIFY_VOTE, approve, ask, bites, bites_each, copy_as_operator, operator, play,
    rule, start_operator, stop_operator, until_nobody_interferes, wait_for_missing, write_status,
};
use crate::support::{User, eventually};
use crate::world::{
    SOON, World, assert_refused, enclave, enclaves, hold_everything, patch, requests, wait_for_enclave,
    wait_for_request, wait_for_request_state,
};

const CONTRIBUTED: &str = "you contributed to this change";

#[tokio::test]
async fn a01_vote_as_a_requester() {
    play(async |world| {
        let request = ask(world, "a01", hold_everything()).await;
        let alice = world.alice();
        let defence = Validation(VERIFY_VOTE, CONTRIBUTED);
        bites(world, &[defence], CONTRIBUTED, async |run| approve(&alice, "a01", &request, run).await).await;
    })
    .await;
}

#[tokio::test]
async fn a02_vote_after_a_colleagues_trivial_edit() {
    play(async |world| {
        ask(world, "a02", hold_everything()).await;
        let (alice, anna) = (world.alice(), world.anna());
        patch(&enclaves(&anna, "a02"), "e", json!({"spec": {"description": "typo"}})).await.unwrap();
        let request = wait_for_request(&alice, "a02", "e").await;
        let defence = Validation(VERIFY_VOTE, CONTRIBUTED);
        bites_each(world, &[defence], CONTRIBUTED, &[alice, anna], async |user, run| {
            approve(user, "a02", &request, run).await
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a03_vote_as_somebody_who_may_only_write_status() {
    play(async |world| {
        let request = ask(world, "a03", hold_everything()).await;
        let sam = world.plane.user("sam", &["status-writers"]);
        let words = "you do not have the verb approve";
        bites(world, &[Validation(VERIFY_VOTE, words)], words, async |run| {
            approve(&sam, "a03", &request, run).await
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a11_phantom_and_duplicate_approvers_and_one_person_in_two_groups() {
    play(async |world| {
        let mut rules = rule("EnclaveCreation", 2);
        rules["rules"][0]["mandatoryApprovers"] =
            json!([{"kind": "Group", "name": "cyber-team"}, {"kind": "Group", "name": "legal"}]);
        let request = ask(world, "a11", rules).await;
        let (bob, carol) = (world.bob(), world.carol());
        let digest = requests(&bob, "a11").get(&request).await.unwrap().spec.change.digest;
        let entry = |approver: &str| json!({"approver": approver, "verdict": "Approved", "digest": digest});

        let words = "you can only write your own vote";
        bites(world, &[Validation(VERIFY_VOTE, words)], words, async |run| {
            write_status(&carol, "a11", &request, json!({"decisions": [entry("nobody")]}), run).await
        })
        .await;
        let twice = json!({"decisions": [entry("carol"), entry("carol")]});
        assert_refused(write_status(&carol, "a11", &request, twice, Run::ForReal).await, "Duplicate value");

        // Whoever is in both groups satisfies both, and is still one person, however often he votes.
        let dora = world.plane.user("dora", &["approvers", "cyber-team", "legal"]);
        for _ in 0..2 {
            approve(&dora, "a11", &request, Run::ForReal).await.unwrap();
            let open = wait_for_missing(&dora, "a11", &request, "1 more approval").await.status.unwrap();
            assert_eq!((open.state, open.decisions.len()), (Some(RequestState::Pending), 1));
        }
        approve(&carol, "a11", &request, Run::ForReal).await.unwrap();
        wait_for_enclave(&enclaves(&bob, "a11"), "e", State::Active).await;
    })
    .await;
}

#[tokio::test]
async fn a15_vote_after_the_expiry_and_race_with_it() {
    play(async |world| {
        let (alice, bob) = (world.alice(), world.bob());
        let request = ask(world, "a15", hold_everything()).await;
        // No CEL expression knows the time: in a race the vote gets in, and does not count.
        stop_operator(world);
        let expiry = reopen(world, "a15", &request, SignedDuration::from_secs(3)).await;
        eventually("it is too late", SOON, async || (Timestamp::now() > expiry).then_some(())).await;
        approve(&bob, "a15", &request, Run::ForReal).await.unwrap();
        start_operator(world);
        wait_for_request_state(&alice, "a15", &request, RequestState::Expired).await;
        let expired = wait_for_enclave(&enclaves(&alice, "a15"), "e", State::Expired).await;
        assert!(expired.status.unwrap().gate.applied.is_none());
        let late = approve(&world.carol(), "a15", &request, Run::ForReal).await;
        assert_refused(late, "this request is Expired");

        // The same vote on the same request counts as long as it is not too late.
        patch(&enclaves(&alice, "a15"), "e", json!({"spec": {"description": "again"}})).await.unwrap();
        let request = wait_for_request(&alice, "a15", "e").await;
        stop_operator(world);
        reopen(world, "a15", &request, SignedDuration::from_hours(1)).await;
        approve(&bob, "a15", &request, Run::ForReal).await.unwrap();
        start_operator(world);
        wait_for_enclave(&enclaves(&alice, "a15"), "e", State::Active).await;
    })
    .await;
}

/// Makes a request anew, as the operator, with another expiry.
async fn reopen(world: &World, namespace: &str, request: &str, open_for: SignedDuration) -> Timestamp {
    let api = requests(&operator(world).await, namespace);
    let original = requests(&world.bob(), namespace).get(request).await.unwrap();
    api.delete(request, &DeleteParams::default()).await.unwrap();
    patch(&api, request, json!({"metadata": {"finalizers": null}})).await.unwrap();
    let expiry = Timestamp::now() + open_for;
    copy_as_operator(world, &original, request, |spec| spec["expiresAt"] = json!(expiry)).await;
    expiry
}

#[tokio::test]
async fn a16_impersonated_vote_where_credential_ids_are_required() {
    play(async |world| {
        let mut rules = hold_everything();
        rules["requireCredentialId"] = json!(true);
        let request = ask(world, "a16", rules).await;
        let mut config = world.plane.user("ines", &["impersonators"]).config();
        config.auth_info.impersonate = Some("bob".into());
        config.auth_info.impersonate_groups = Some(vec!["approvers".into()]);
        let words = "votes that carry a credential id";
        bites(world, &[Validation(VERIFY_VOTE, words)], words, async |run| {
            let client = Client::try_from(config.clone()).unwrap();
            let api: kube::Api<ApprovalRequest> = kube::Api::namespaced(client, "a16");
            let vote = Patch::Merge(json!({"status": {"decision": "Approved"}}));
            api.patch_status(&request, &run.patch(), &vote).await
        })
        .await;
        approve(&world.bob(), "a16", &request, Run::Dry).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a17_vote_as_a_service_account() {
    play(async |world| {
        let request = ask(world, "a17", hold_everything()).await;
        let robot = world.plane.service_account("default", "robot").await.unwrap();
        let words = "service accounts may not decide here";
        bites(world, &[Validation(VERIFY_VOTE, words)], words, async |run| {
            approve(&robot, "a17", &request, run).await
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a18_vote_for_an_old_digest() {
    play(async |world| {
        let old = ask(world, "a18", hold_everything()).await;
        let (alice, carol) = (world.alice(), world.carol());
        let digest = requests(&carol, "a18").get(&old).await.unwrap().spec.change.digest;
        patch(&enclaves(&alice, "a18"), "e", json!({"spec": {"description": "new"}})).await.unwrap();
        let request = wait_for_request(&alice, "a18", "e").await;
        let by_shorthand = json!({"decision": "Approved", "digest": digest});
        let by_hand = json!({"decisions": [{"approver": "carol", "verdict": "Approved", "digest": digest}]});
        let words = "the digest in your vote is not that of this request";
        let ways = [by_shorthand, by_hand];
        bites_each(world, &[Validation(VERIFY_VOTE, words)], words, &ways, async |way, run| {
            write_status(&carol, "a18", &request, way.clone(), run).await
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a25_decide_or_speak_for_others_by_a_wildcard() {
    play(async |world| {
        let request = ask(world, "a25", hold_everything()).await;
        // Wanda has the role of an approver too: it is the wildcard that is in the way.
        let wanda = world.plane.user("wanda", &["wildcards"]);
        let users = [world.plane.administrator_user().clone(), wanda];
        let words = "your right to approve comes from a wildcard";
        bites_each(world, &[Validation(VERIFY_VOTE, words)], words, &users, async |user, run| {
            approve(user, "a25", &request, run).await
        })
        .await;

        let mut spoken = enclave("spoken", &json!({}));
        spoken.annotations_mut().insert("enclave-operator.io/on-behalf-of".into(), "carol".into());
        let words = "granted by name and not through a wildcard";
        bites_each(world, &[Validation(VERIFY_REQUESTER, words)], words, &users, async |user: &User, run| {
            enclaves(user, "a25").create(&run.post(), &spoken).await
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn b01_eight_people_vote_at_the_same_moment() {
    play(async |world| {
        let request = ask(world, "b01", rule("EnclaveCreation", 8)).await;
        let voters: Vec<User> =
            (0..8).map(|number| world.plane.user(&format!("voter-{number}"), &["approvers"])).collect();
        // Whoever loses the race too often is told so (409), and votes again.
        futures::future::join_all(voters.iter().map(|voter| {
            until_nobody_interferes(async || approve(voter, "b01", &request, Run::ForReal).await)
        }))
        .await;
        let decided = wait_for_request_state(&world.alice(), "b01", &request, RequestState::Approved).await;
        let mut approvers: Vec<String> =
            decided.status.unwrap().decisions.into_iter().map(|decision| decision.approver.clone()).collect();
        approvers.sort_unstable();
        assert_eq!(approvers, voters.iter().map(User::name).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn b02_a_vote_is_changed_and_taken_back_while_undecided() {
    play(async |world| {
        let request = ask(world, "b02", rule("EnclaveCreation", 2)).await;
        let (bob, carol) = (world.bob(), world.carol());
        let set = async |status| write_status(&bob, "b02", &request, status, Run::ForReal).await.unwrap();
        set(json!({"decision": "Approved", "comment": "one"})).await;
        let changed = set(json!({"decision": "Approved", "comment": "two"})).await.status.unwrap();
        assert_eq!(changed.decisions.len(), 1);
        assert_eq!(changed.decisions[0].comment.as_deref(), Some("two"));
        wait_for_missing(&carol, "b02", &request, "1 more approval").await;

        let taken_back = set(json!({"decision": "Withdrawn"})).await.status.unwrap();
        assert!(taken_back.decisions.is_empty());
        wait_for_missing(&carol, "b02", &request, "2 more approvals").await;
        approve(&carol, "b02", &request, Run::ForReal).await.unwrap();
        wait_for_missing(&carol, "b02", &request, "1 more approval").await;
        // Control: the vote that was taken back was the one that is missing.
        set(json!({"decision": "Approved"})).await;
        wait_for_enclave(&enclaves(&bob, "b02"), "e", State::Active).await;
        let late = write_status(&bob, "b02", &request, json!({"decision": "Withdrawn"}), Run::ForReal).await;
        assert_refused(late, "this request is Approved");
    })
    .await;
}
