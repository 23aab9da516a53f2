//! Requests that are forged, changed, or about something else by now.

use enclave_operator::api::approval_request::RequestState;
use enclave_operator::api::{ApprovalRequest, Enclave, State};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, Patch, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::Defence::{Check, Validation};
use super::{
    NAMESPACE_LABELS, OPERATOR_ONLY, Run, VERIFY_VOTE, approve, ask, bites, bites_each, copy_as_operator,
    decide_as_operator, operator, play, rule, start_operator, stop_operator, wait_for_missing,
    write_as_operator, write_status,
};
use crate::support::{User, wait_gone};
use crate::world::{
    SOON, World, assert_refused, communities, enclave, enclaves, hold_everything, object, patch, requests,
    wait_for_enclave, wait_for_request, wait_for_request_state,
};

const ONLY_THE_OPERATOR: &str = "only the operator creates, changes and deletes an ApprovalRequest";

/// May write every object and every status of ours, as far as RBAC goes.
fn mallory(world: &World) -> User {
    world.plane.user("mallory", &["meddlers"])
}

#[derive(Debug)]
enum Way {
    Update,
    Patch,
    Apply,
}

const WAYS: [Way; 3] = [Way::Update, Way::Patch, Way::Apply];

#[tokio::test]
async fn a04_write_a_status_of_any_kind_by_every_way() {
    play(async |world| {
        let request = ask(world, "a04", hold_everything()).await;
        let (mallory, carol) = (mallory(world), world.carol());

        // What is applied, of an Enclave and of a Community.
        let words = "only the operator writes";
        let statuses = Validation(OPERATOR_ONLY, "'only the operator writes '");
        let applied =
            json!({"generation": 1, "digest": "sha256:x", "spec": {}, "at": "2026-01-01T00:00:00Z"});
        let status = json!({"state": "Active", "applied": applied});
        let enclaves = enclaves(&mallory, "a04");
        bites_each(world, &[statuses], words, &WAYS, async |way, run| match way {
            Way::Update => {
                let mut forged = serde_json::to_value(enclaves.get("e").await?).unwrap();
                forged["status"] = status.clone();
                enclaves.replace_status("e", &run.post(), &object(forged)).await
            }
            Way::Patch => {
                enclaves.patch_status("e", &run.patch(), &Patch::Merge(json!({ "status": status }))).await
            }
            Way::Apply => {
                enclaves
                    .patch_status("e", &run.apply(), &Patch::Apply(applied_status("Enclave", &status)))
                    .await
            }
        })
        .await;
        let communities = communities(&mallory);
        let merge = Patch::Merge(json!({ "status": status }));
        assert_refused(communities.patch_status("a04", &Run::ForReal.patch(), &merge).await, words);

        // The state of a request, or another's vote, by somebody who may vote.
        let words = "apart from your own vote";
        let requests = requests(&carol, "a04");
        bites_each(world, &[Validation(VERIFY_VOTE, words)], words, &WAYS, async |way, run| {
            let status = json!({"state": "Approved"});
            match way {
                Way::Update => {
                    let mut forged = requests.get(&request).await?;
                    forged.status.as_mut().unwrap().state = Some(RequestState::Approved);
                    requests.replace_status(&request, &run.post(), &forged).await
                }
                Way::Patch => write_status(&carol, "a04", &request, status, run).await,
                Way::Apply => {
                    let forged = Patch::Apply(applied_status("ApprovalRequest", &status));
                    requests.patch_status(&request, &run.apply(), &forged).await
                }
            }
        })
        .await;
        let all = self::requests(&mallory, "a04");
        let everything = all.delete_collection(&DeleteParams::default(), &ListParams::default()).await;
        assert_refused(everything.map(|_| ()), ONLY_THE_OPERATOR);
    })
    .await;
}

fn applied_status(kind: &str, status: &Value) -> Value {
    json!({"apiVersion": "enclave-operator.io/v1alpha1", "kind": kind, "status": status})
}

#[tokio::test]
async fn a06_edit_after_the_approval() {
    play(async |world| {
        let (alice, bob) = (world.alice(), world.bob());
        let request = ask(world, "a06", hold_everything()).await;
        let api = enclaves(&alice, "a06");
        // Approved, and edited before the operator could enact it.
        stop_operator(world);
        approve(&bob, "a06", &request, Run::ForReal).await.unwrap();
        decide_as_operator(world, "a06", &request).await;
        patch(&api, "e", json!({"spec": {"description": "smuggled"}})).await.unwrap();
        start_operator(world);
        let second = wait_for_request(&alice, "a06", "e").await;
        let gate = wait_for_enclave(&api, "e", State::Pending).await.status.unwrap().gate;
        let approved = requests(&alice, "a06").get(&request).await.unwrap().spec.change.after;
        assert_eq!(gate.applied.unwrap().spec, approved, "what is enacted is what was approved");

        // Only the operator's logic was in the way: what its account writes is believed.
        let edited = requests(&alice, "a06").get(&second).await.unwrap().spec.change.after;
        let theirs = enclaves(&operator(world).await, "a06");
        write_as_operator(&theirs, "e", |status| status["applied"]["spec"] = json!(edited)).await;
        let active = wait_for_enclave(&api, "e", State::Active).await.status.unwrap().gate;
        assert_eq!(active.applied.unwrap().spec.to_value()["description"], "smuggled");
    })
    .await;
}

#[tokio::test]
async fn a07_edit_between_two_votes() {
    play(async |world| {
        let (alice, bob, carol) = (world.alice(), world.bob(), world.carol());
        let first = ask(world, "a07", rule("EnclaveCreation", 2)).await;
        approve(&bob, "a07", &first, Run::ForReal).await.unwrap();
        patch(&enclaves(&alice, "a07"), "e", json!({"spec": {"description": "smuggled"}})).await.unwrap();
        let second = wait_for_request(&alice, "a07", "e").await;
        wait_for_request_state(&alice, "a07", &first, RequestState::Superseded).await;
        let late = approve(&carol, "a07", &first, Run::ForReal).await;
        assert_refused(late, "this request is Superseded");
        approve(&carol, "a07", &second, Run::ForReal).await.unwrap();
        wait_for_missing(&alice, "a07", &second, "1 more approval").await;

        // Only that Bob's vote did not move to the new request was in the way.
        let old = requests(&alice, "a07").get(&first).await.unwrap().status.unwrap().decisions;
        let theirs = requests(&operator(world).await, "a07");
        let digest = theirs.get(&second).await.unwrap().spec.change.digest;
        write_as_operator(&theirs, &second, |status| {
            let mut moved = json!(old[0]);
            moved["digest"] = json!(digest);
            status["decisions"].as_array_mut().unwrap().push(moved);
        })
        .await;
        wait_for_enclave(&enclaves(&alice, "a07"), "e", State::Active).await;
    })
    .await;
}

/// Deletes the Enclave "e", which was never applied, and makes it again under the same name.
async fn re_create(world: &World, api: &Api<Enclave>, namespace: &str) -> Enclave {
    api.delete("e", &DeleteParams::default()).await.unwrap();
    // It owns nothing; where no operator runs, nobody else lets it go.
    let theirs = enclaves(&operator(world).await, namespace);
    match patch(&theirs, "e", json!({"metadata": {"finalizers": null}})).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        freed => drop(freed.unwrap()),
    }
    wait_gone(api.clone(), "e", SOON, "the Enclave goes").await;
    api.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap()
}

/// The re-created Enclave waits for an approval of its own; with the old one made out to its UID
/// it is active at once, so nothing but the UID was in the way.
async fn assert_only_the_uid_is_in_the_way(
    world: &World,
    namespace: &str,
    old: &ApprovalRequest,
    new: &Enclave,
) {
    let alice = world.alice();
    let request = wait_for_request(&alice, namespace, "e").await;
    assert_ne!(request, old.name_any());
    let held = wait_for_enclave(&enclaves(&alice, namespace), "e", State::Pending).await;
    assert!(held.status.unwrap().gate.applied.is_none());
    let namespaces: Api<Namespace> = Api::all(world.administrator());
    assert!(namespaces.get_opt(&format!("{namespace}-e")).await.unwrap().is_none());

    let uid = new.uid().unwrap();
    let copy = copy_as_operator(world, old, "made-out", |spec| spec["target"]["uid"] = json!(uid)).await;
    let active = wait_for_enclave(&enclaves(&alice, namespace), "e", State::Active).await;
    assert_eq!(active.status.unwrap().gate.applied.unwrap().approval_request, Some(copy));
}

#[tokio::test]
async fn a08_delete_and_re_create_under_the_same_name() {
    play(async |world| {
        let (alice, bob) = (world.alice(), world.bob());
        let api = enclaves(&alice, "a08");
        let first = ask(world, "a08", hold_everything()).await;
        re_create(world, &api, "a08").await;
        wait_for_request_state(&alice, "a08", &first, RequestState::Withdrawn).await;
        let late = approve(&bob, "a08", &first, Run::ForReal).await;
        assert_refused(late, "this request is Withdrawn");

        // The same, with the vote cast while nobody looks.
        let second = wait_for_request(&alice, "a08", "e").await;
        stop_operator(world);
        approve(&bob, "a08", &second, Run::ForReal).await.unwrap();
        let voted = requests(&alice, "a08").get(&second).await.unwrap();
        let new = re_create(world, &api, "a08").await;
        start_operator(world);
        wait_for_request_state(&alice, "a08", &second, RequestState::Withdrawn).await;
        assert_only_the_uid_is_in_the_way(world, "a08", &voted, &new).await;
    })
    .await;
}

#[tokio::test]
async fn a12_create_a_request_that_is_approved_already() {
    play(async |world| {
        let request = ask(world, "a12", hold_everything()).await;
        let api = requests(&mallory(world), "a12");
        let mut forged = api.get(&request).await.unwrap();
        forged.metadata = ObjectMeta { name: Some("forged".into()), ..ObjectMeta::default() };
        forged.status.as_mut().unwrap().state = Some(RequestState::Approved);
        let defence = Validation(OPERATOR_ONLY, ONLY_THE_OPERATOR);
        bites(world, &[defence], ONLY_THE_OPERATOR, async |run| api.create(&run.post(), &forged).await).await;
    })
    .await;
}

#[tokio::test]
async fn a13_edit_or_delete_a_request_its_votes_or_its_annotations() {
    play(async |world| {
        let request = ask(world, "a13", rule("EnclaveCreation", 2)).await;
        let (bob, carol) = (world.bob(), world.carol());
        let api = requests(&mallory(world), "a13");
        let edits = [
            json!({"metadata": {"annotations": {"enclave-operator.io/requested-by": "nobody"}}}),
            json!({"metadata": {"labels": {"x": "y"}}}),
            json!({"spec": {"policy": {"minimumApprovers": 1}}}),
            json!({"spec": {"requesters": ["nobody"]}}),
            json!({"metadata": {"finalizers": ["example.org/x"]}}),
        ];
        let defence = [Validation(OPERATOR_ONLY, ONLY_THE_OPERATOR)];
        bites_each(world, &defence, ONLY_THE_OPERATOR, &edits, async |edit, run| {
            api.patch(&request, &run.patch(), &Patch::Merge(edit)).await
        })
        .await;
        bites_each(world, &defence, ONLY_THE_OPERATOR, &[true, false], async |one, run| {
            if *one {
                api.delete(&request, &run.delete()).await.map(drop)
            } else {
                api.delete_collection(&run.delete(), &ListParams::default()).await.map(drop)
            }
        })
        .await;
        // Another's vote cannot be changed, and a vote carries nothing else along.
        let voted = approve(&bob, "a13", &request, Run::ForReal).await.unwrap();
        let mut turned = json!(voted.status.unwrap().decisions[0]);
        turned["verdict"] = json!("Rejected");
        let words = "you can only write your own vote";
        bites(world, &[Validation(VERIFY_VOTE, words)], words, async |run| {
            write_status(&carol, "a13", &request, json!({"decisions": [turned]}), run).await
        })
        .await;
        let rider = json!({"metadata": {"annotations": {"x": "y"}}, "status": {"decision": "Rejected"}});
        let voted =
            requests(&carol, "a13").patch_status(&request, &Run::Dry.patch(), &Patch::Merge(rider)).await;
        assert!(voted.unwrap().annotations().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a14_hide_the_name_with_generate_name() {
    play(async |world| {
        let request = ask(world, "a14", hold_everything()).await;
        let (alice, mallory) = (world.alice(), mallory(world));
        let generate = || ObjectMeta { generate_name: Some("x-".into()), ..ObjectMeta::default() };

        let mut nameless = enclave("", &json!({}));
        nameless.metadata = generate();
        let made = enclaves(&alice, "a14").create(&PostParams::default(), &nameless).await.unwrap();
        let own = wait_for_request(&alice, "a14", &made.name_any()).await;
        let vote = approve(&alice, "a14", &own, Run::ForReal).await;
        assert_refused(vote, "you contributed to this change");

        let api = requests(&mallory, "a14");
        let mut forged = api.get(&request).await.unwrap();
        forged.metadata = generate();
        let defence = Validation(OPERATOR_ONLY, ONLY_THE_OPERATOR);
        bites(world, &[defence], ONLY_THE_OPERATOR, async |run| api.create(&run.post(), &forged).await).await;

        let namespaces: Api<Namespace> = Api::all(world.plane.user("nick", &["namespace-admins"]).client());
        let mut forged = Namespace { metadata: generate(), ..Namespace::default() };
        forged.labels_mut().insert("enclave-operator.io/community".into(), "a14".into());
        let words = "only the operator writes labels and annotations";
        bites(world, &[Check(NAMESPACE_LABELS)], words, async |run| {
            namespaces.create(&run.post(), &forged).await
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a22_approved_request_whose_target_was_re_created() {
    play(async |world| {
        let request = ask(world, "a22", hold_everything()).await;
        stop_operator(world);
        approve(&world.bob(), "a22", &request, Run::ForReal).await.unwrap();
        decide_as_operator(world, "a22", &request).await;
        let approved = requests(&world.alice(), "a22").get(&request).await.unwrap();
        let new = re_create(world, &enclaves(&world.alice(), "a22"), "a22").await;
        start_operator(world);
        assert_only_the_uid_is_in_the_way(world, "a22", &approved, &new).await;
    })
    .await;
}
