//! Claims about who somebody is.

use enclave_operator::api::State;
use enclave_operator::api::approval_request::RequestState;
use enclave_operator::api::names::{ON_BEHALF_OF, REQUESTED_BY, REQUESTED_GENERATION};
use kube::ResourceExt;
use kube::api::{Patch, PostParams};
use serde_json::json;

use super::Defence::{Check, Stamp, Validation};
use super::{
    Run, STAMP_REQUESTER, VERIFY_REQUESTER, VERIFY_VOTE, approve, ask, bites, bites_each, play, remove,
    restore, rule, until_accepted, until_refused, wait_for_missing, write_status,
};
use crate::support::eventually;
use crate::world::{
    SOON, active_community, assert_refused, enclave, enclaves, hold_everything, requests, wait_for_enclave,
    wait_for_request,
};

#[tokio::test]
async fn a05_forge_who_asked() {
    play(async |world| {
        ask(world, "a05", hold_everything()).await;
        let (alice, anna) = (enclaves(&world.alice(), "a05"), enclaves(&world.anna(), "a05"));
        let forged = json!({
            "metadata": {"annotations": {REQUESTED_BY: "bob", REQUESTED_GENERATION: "7"}},
            "spec": {"description": "by somebody else"},
        });
        let forge = async |run: Run| {
            let written = anna.patch("e", &run.patch(), &Patch::Merge(&forged)).await?;
            let stamps = written.annotations();
            Ok::<_, kube::Error>((stamps[REQUESTED_BY].clone(), stamps[REQUESTED_GENERATION].clone()))
        };
        let truth = ("alice\nanna".to_owned(), "2".to_owned());
        assert_eq!(forge(Run::Dry).await.unwrap(), truth);
        let mut new = enclave("f", &json!({}));
        new.annotations_mut().insert(REQUESTED_BY.into(), "bob".into());
        let made = alice.create(&Run::Dry.post(), &new).await.unwrap();
        assert_eq!(made.annotations()[REQUESTED_BY], "alice");
        // Nor can it be taken off without a change of the spec.
        let off = Patch::Merge(json!({"metadata": {"annotations": {REQUESTED_BY: null}}}));
        let kept = alice.patch("e", &Run::Dry.patch(), &off).await.unwrap();
        assert_eq!(kept.annotations()[REQUESTED_BY], "alice");

        // Two policies have to fail before a forged name is believed.
        let words = "do not say who changed this object";
        remove(world, &[Stamp(STAMP_REQUESTER)]).await;
        until_refused(words, async || forge(Run::Dry).await).await;
        remove(world, &[Validation(VERIFY_REQUESTER, words)]).await;
        assert_eq!(until_accepted(async || forge(Run::Dry).await).await, ("bob".into(), "7".into()));
        restore(world).await;
        eventually("it is overwritten again", SOON, async || {
            (forge(Run::Dry).await.ok().as_ref() == Some(&truth)).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a05_forge_for_whom_a_change_is_made() {
    play(async |world| {
        active_community(world, "a05-behalf", &json!({ "approvals": rule("EnclaveCreation", 1) })).await;
        let mut spoken = enclave("e", &json!({}));
        spoken.annotations_mut().insert(ON_BEHALF_OF.into(), "dora".into());
        let alice = enclaves(&world.alice(), "a05-behalf");
        let words = "needs the verb request-on-behalf";
        let defence = Validation(VERIFY_REQUESTER, "granted by name and not through a wildcard");
        bites(world, &[defence], words, async |run| alice.create(&run.post(), &spoken).await).await;

        // Who may do it makes both requesters, and neither votes.
        let gitty = world.plane.user("gitty", &["contributors", "speakers", "approvers"]);
        let dora = world.plane.user("dora", &["approvers"]);
        enclaves(&gitty, "a05-behalf").create(&PostParams::default(), &spoken).await.unwrap();
        let request = wait_for_request(&gitty, "a05-behalf", "e").await;
        let known = requests(&gitty, "a05-behalf").get(&request).await.unwrap();
        assert_eq!(known.spec.requesters, ["gitty", "dora"]);
        let words = "you contributed to this change";
        bites_each(world, &[Validation(VERIFY_VOTE, words)], words, &[gitty, dora], async |user, run| {
            approve(user, "a05-behalf", &request, run).await
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a05_forge_groups_and_multi_factor_authentication() {
    play(async |world| {
        let mut rules = rule("EnclaveCreation", 1);
        rules["rules"][0]["mandatoryApprovers"] = json!([{"kind": "Group", "name": "cyber-team"}]);
        let request = ask(world, "a05-groups", rules.clone()).await;
        let carol = world.carol();
        let digest = requests(&carol, "a05-groups").get(&request).await.unwrap().spec.change.digest;
        let claims =
            [json!({"groups": ["cyber-team"]}), json!({"mfa": "mfa"}), json!({"credentialId": "X509=1"})];
        let words = "your vote claims something of you";
        bites_each(world, &[Validation(VERIFY_VOTE, words)], words, &claims, async |claim, run| {
            let mut entry = claim.clone();
            entry["approver"] = json!("carol");
            entry["verdict"] = json!("Approved");
            entry["digest"] = json!(digest);
            write_status(&carol, "a05-groups", &request, json!({"decisions": [entry]}), run).await
        })
        .await;

        // A claim beside the shorthand is overwritten by the stamp.
        let both = json!({"decision": "Approved", "decisions": [
            {"approver": "carol", "verdict": "Approved", "digest": digest, "groups": ["cyber-team"]}
        ]});
        let voted = write_status(&carol, "a05-groups", &request, both, Run::Dry).await.unwrap();
        assert!(voted.status.unwrap().decisions[0].groups.is_empty());

        rules["requireMfa"] = json!(true);
        let request = ask(world, "a05-mfa", rules).await;
        let words = "only votes with multi-factor authentication";
        bites(world, &[Validation(VERIFY_VOTE, words)], words, async |run| {
            approve(&carol, "a05-mfa", &request, run).await
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a23_annotations_so_large_that_the_stamp_does_not_fit() {
    play(async |world| {
        active_community(world, "a23", &json!({ "approvals": hold_everything() })).await;
        let api = enclaves(&world.alice(), "a23");
        let mut large = enclave("e", &json!({}));
        large.annotations_mut().insert("filler".into(), "x".repeat(256 * 1024 - 10));
        let defences = [Stamp(STAMP_REQUESTER), Check(VERIFY_REQUESTER)];
        bites(world, &defences, "Too long", async |run| api.create(&run.post(), &large).await).await;
        assert!(api.get_opt("e").await.unwrap().is_none());

        let request = ask_in(world, "a23").await;
        let words = json!({"decision": "Approved", "comment": "x".repeat(2049)});
        let vote = write_status(&world.bob(), "a23", &request, words, Run::ForReal).await;
        assert_refused(vote, "Too long");
    })
    .await;
}

async fn ask_in(world: &crate::world::World, community: &str) -> String {
    let alice = world.alice();
    enclaves(&alice, community).create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
    wait_for_request(&alice, community, "e").await
}

#[tokio::test]
async fn a24_names_that_look_like_others() {
    play(async |world| {
        let mut rules = rule("EnclaveCreation", 1);
        rules["rules"][0]["mandatoryApprovers"] = json!([{"kind": "User", "name": "bob"}]);
        let request = ask(world, "a24", rules).await;

        // With a line break one requester would seem to be two others.
        let two = enclaves(&world.plane.user("carol\nbob", &["owners"]), "a24");
        let words = "your user name is empty or has a line break";
        let wanted = enclave("two", &json!({}));
        let line_break = Validation(VERIFY_REQUESTER, words);
        let truth = Validation(VERIFY_REQUESTER, "do not say who changed this object");
        bites(world, &[line_break, truth], words, async |run| two.create(&run.post(), &wanted).await).await;

        // A certificate that names a service account is judged as one.
        let robot = world.plane.user("system:serviceaccount:default:robot", &["approvers"]);
        let words = "service accounts may not decide here";
        bites(world, &[Validation(VERIFY_VOTE, words)], words, async |run| {
            approve(&robot, "a24", &request, run).await
        })
        .await;

        // Others may vote, each as himself and nobody else: Bob is still missing.
        for name in ["b\u{43e}b", "bob\n", " bob", "Bob", "a24/bob", "User:bob", "bob\nbob"] {
            let user = world.plane.user(name, &["approvers"]);
            let voted = approve(&user, "a24", &request, Run::ForReal).await.unwrap().status.unwrap();
            assert_eq!(voted.decisions.last().unwrap().approver, name);
            let open = wait_for_missing(&user, "a24", &request, "one by user bob").await.status.unwrap();
            assert_eq!(open.state, Some(RequestState::Pending));
        }
        approve(&world.bob(), "a24", &request, Run::ForReal).await.unwrap();
        wait_for_enclave(&enclaves(&world.bob(), "a24"), "e", State::Active).await;
    })
    .await;
}
