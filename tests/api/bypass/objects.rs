//! Attacks through the objects themselves: finalizers, owners, namespaces, deletion.

use enclave_operator::api::approval_request::RequestState;
use enclave_operator::api::names::{annotation, condition as conditions, label};
use enclave_operator::api::{Enclave, EnclaveWorkload, State};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule};
use kube::api::{DeleteParams, ListParams, Patch, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::Defence::{Check, Validation};
use super::{
    DELETION_GUARD, NAMESPACE_LABELS, Run, VERIFY_REQUESTER, approve, ask, bites, bites_each,
    keeps_its_finalizer, play, rule, start_operator, stop_operator,
};
use crate::support::{User, wait_gone, wait_until};
use crate::world::{
    SOON, World, active_community, assert_refused, change_as_operator, communities, community, condition,
    enclave, enclaves, hold_everything, namespaced, object, patch, requests, wait_for_community,
    wait_for_enclave, wait_for_hold, wait_for_request,
};

/// May write every namespace and network policy, as far as RBAC goes.
pub(super) fn nick(world: &World) -> User {
    world.plane.user("nick", &["namespace-admins"])
}

/// Makes an Enclave "e" that nothing holds.
pub(super) async fn active_enclave(world: &World, community: &str) {
    let api = enclaves(&world.alice(), community);
    api.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
    wait_for_enclave(&api, "e", State::Active).await;
}

#[tokio::test]
async fn a20_strip_finalizers_set_owners_or_adopt_a_foreign_namespace() {
    play(async |world| {
        active_community(world, "a20", &json!({ "approvals": rule("EnclaveUpdate", 1) })).await;
        active_enclave(world, "a20").await;
        let alice = world.alice();
        let api = enclaves(&alice, "a20");
        let strip = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        keeps_its_finalizer(world, VERIFY_REQUESTER, async |run| api.patch("e", &run.patch(), &strip).await)
            .await;

        // The namespace of somebody else is not taken, and nothing is written into it. That it is
        // the conflict which is in the way: b09.
        let foreign = json!({"namespace": "kube-public", "approvals": hold_everything()});
        let communities = communities(&alice);
        communities.create(&PostParams::default(), &community("a20-foreign", &foreign)).await.unwrap();
        let gate =
            wait_for_community(&communities, "a20-foreign", State::Inactive).await.status.unwrap().gate;
        assert_eq!(condition(&gate, conditions::ENFORCED).reason, "NamespaceConflict");
        let public: Namespace = Api::all(world.administrator()).get("kube-public").await.unwrap();
        assert!(!public.labels().contains_key(label::OWNER_UID));
        let policies: Api<NetworkPolicy> = namespaced(world.administrator(), "kube-public");
        assert!(policies.list(&ListParams::default()).await.unwrap().items.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a21_relabel_a_namespace_to_leave_or_enter_an_enclave() {
    play(async |world| {
        active_community(world, "a21", &json!({})).await;
        active_enclave(world, "a21").await;
        let namespaces: Api<Namespace> = Api::all(nick(world).client());
        let metadata = |kind: &str, key: &str, value: Value| json!({"metadata": {kind: {key: value}}});
        let edits = [
            ("default", metadata("labels", label::ENCLAVE, json!("a21-e"))),
            ("default", metadata("labels", label::OWNER_UID, json!(""))),
            ("a21-e", metadata("labels", label::ENCLAVE, json!("other"))),
            ("a21-e", metadata("labels", label::COMMUNITY, json!(""))),
            ("a21-e", metadata("labels", label::OWNER_UID, Value::Null)),
            ("a21-e", metadata("annotations", annotation::HELD_OPERATIONS, json!("x"))),
        ];
        let words = "only the operator writes labels and annotations";
        let ways: Vec<_> = edits.iter().flat_map(|edit| [(edit, false), (edit, true)]).collect();
        bites_each(world, &[Check(NAMESPACE_LABELS)], words, &ways, async |way, run| {
            let ((name, edit), in_status) = way;
            let edit = Patch::Merge(edit);
            if *in_status {
                namespaces.patch_status(name, &run.patch(), &edit).await
            } else {
                namespaces.patch(name, &run.patch(), &edit).await
            }
        })
        .await;

        let words = "belongs to an object of Enclave Operator";
        bites_each(
            world,
            &[Validation(DELETION_GUARD, words)],
            words,
            &["a21", "a21-e"],
            async |name, run| namespaces.delete(name, &run.delete()).await,
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn b03_a_default_deny_without_its_label_is_healed() {
    play(async |world| {
        active_community(world, "b03", &json!({})).await;
        let policies: Api<NetworkPolicy> = namespaced(nick(world).client(), "b03");
        let deny = "enclave-operator-default-deny";
        // Without an operator it stays open. (With the lock, only its account gets that far: c01.)
        stop_operator(world);
        change_as_operator(world, "b03", deny, |policy: &mut NetworkPolicy| {
            policy.labels_mut().remove(label::MANAGED_BY);
            let spec = policy.spec.as_mut().unwrap();
            spec.ingress = Some(vec![NetworkPolicyIngressRule::default()]);
            spec.egress = Some(vec![NetworkPolicyEgressRule::default()]);
        })
        .await;
        assert!(policies.get(deny).await.unwrap().spec.unwrap().ingress.is_some());
        start_operator(world);
        wait_until(policies, deny, SOON, "it is shut again", |policy: &NetworkPolicy| {
            let spec = policy.spec.as_ref().unwrap();
            spec.ingress.is_none() && spec.egress.is_none() && policy.labels().contains_key(label::MANAGED_BY)
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn b04_a_status_in_a_normal_write_is_not_stored() {
    play(async |world| {
        ask(world, "b04", hold_everything()).await;
        let api = enclaves(&world.alice(), "b04");
        let applied =
            json!({"generation": 1, "digest": "sha256:x", "spec": {}, "at": "2026-01-01T00:00:00Z"});
        let forged = json!({"state": "Active", "applied": applied});
        let before = api.get("e").await.unwrap();
        let mut written = serde_json::to_value(&before).unwrap();
        written["status"] = forged.clone();
        let after = api.replace("e", &PostParams::default(), &object(written.clone())).await.unwrap();
        assert_eq!(after.status, before.status);
        written["metadata"] = json!({"name": "f"});
        let made = api.create(&PostParams::default(), &object(written)).await.unwrap();
        assert!(made.status.is_none());
        let merged = patch(&api, "e", json!({ "status": forged })).await.unwrap();
        assert_eq!(merged.status, before.status);
    })
    .await;
}

#[tokio::test]
async fn b05_retire_without_the_right_to_delete() {
    play(async |world| {
        active_community(world, "b05", &json!({})).await;
        active_enclave(world, "b05").await;
        let cody = enclaves(&world.plane.user("cody", &["contributors"]), "b05");
        let retire = Patch::Merge(json!({"spec": {"retire": true}}));
        let words = "spec.retire deletes this object, which needs the verb delete";
        let defence = Validation(VERIFY_REQUESTER, "spec.retire deletes this object");
        bites(world, &[defence], words, async |run| cody.patch("e", &run.patch(), &retire).await).await;
        let born_retired = enclave("f", &json!({"retire": true}));
        assert_refused(cody.create(&PostParams::default(), &born_retired).await, words);

        let api = enclaves(&world.alice(), "b05");
        api.patch("e", &Run::ForReal.patch(), &retire).await.unwrap();
        wait_gone(api, "e", SOON, "who may delete it may retire it").await;
    })
    .await;
}

#[tokio::test]
async fn b06_delete_what_a_rule_protects() {
    play(async |world| {
        active_community(world, "b06", &json!({ "approvals": rule("EnclaveDeletion", 1) })).await;
        active_enclave(world, "b06").await;
        let alice = world.alice();
        let api = enclaves(&alice, "b06");
        assert_eq!(api.get("e").await.unwrap().status.unwrap().gate.deletion_protected, Some(true));
        let words = "until it is approved; ask for it with: kubectl patch enclaves e -n b06";
        let defence = Validation(DELETION_GUARD, "until it is approved");
        bites_each(world, &[defence], words, &[true, false], async |one, run| {
            if *one {
                api.delete("e", &run.delete()).await.map(drop)
            } else {
                let owner = enclaves(&world.plane.user("mallory", &["meddlers"]), "b06");
                owner.delete_collection(&run.delete(), &ListParams::default()).await.map(drop)
            }
        })
        .await;

        patch(&api, "e", json!({"spec": {"retire": true}})).await.unwrap();
        let request = wait_for_request(&alice, "b06", "e").await;
        approve(&world.bob(), "b06", &request, Run::ForReal).await.unwrap();
        wait_gone(api, "e", SOON, "the operator deletes what was approved").await;
    })
    .await;
}

#[tokio::test]
async fn b07_an_owner_that_the_garbage_collector_does_not_find() {
    play(async |world| {
        active_community(world, "b07", &json!({ "approvals": rule("EnclaveDeletion", 1) })).await;
        active_enclave(world, "b07").await;
        let api = enclaves(&world.alice(), "b07");
        let owner = json!([{
            "apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000",
        }]);
        let words = "an owner reference would let the garbage collector delete this object";
        bites_each(world, &[Validation(VERIFY_REQUESTER, words)], words, &["e", "new"], async |name, run| {
            if *name == "e" {
                let adopt = Patch::Merge(json!({"metadata": {"ownerReferences": owner}}));
                api.patch("e", &run.patch(), &adopt).await
            } else {
                let mut new = serde_json::to_value(enclave("new", &json!({}))).unwrap();
                new["metadata"]["ownerReferences"] = owner.clone();
                api.create(&run.post(), &object(new)).await
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn b09_a_community_in_conflict_writes_no_request_into_a_foreign_namespace() {
    play(async |world| {
        let (alice, administrator) = (world.alice(), world.administrator());
        let namespaces: Api<Namespace> = Api::all(administrator.clone());
        let foreign = object(json!({"metadata": {"name": "b09-foreign"}}));
        namespaces.create(&PostParams::default(), &foreign).await.unwrap();
        let api = communities(&alice);
        let spec = json!({"namespace": "b09-foreign", "approvals": hold_everything()});
        api.create(&PostParams::default(), &community("b09", &spec)).await.unwrap();
        wait_for_community(&api, "b09", State::Inactive).await;
        patch(&api, "b09", json!({"spec": {"dns": {"port": 54}}})).await.unwrap();
        wait_for_community(&api, "b09", State::Pending).await;
        let all = requests(&alice, "b09-foreign");
        assert!(all.list(&ListParams::default()).await.unwrap().items.is_empty());

        // The conflict was in the way: when it is gone the request is made.
        namespaces.delete("b09-foreign", &DeleteParams::default()).await.unwrap();
        let held = wait_until(api, "b09", SOON, "it is held by a request", |community| {
            let status = community.status.as_ref().unwrap();
            status.namespace.is_some() && status.gate.pending.is_some()
        })
        .await;
        let request = held.status.unwrap().gate.pending.unwrap().approval_request.unwrap();
        crate::world::wait_for_request_state(&alice, "b09-foreign", &request, RequestState::Pending).await;
    })
    .await;
}

#[tokio::test]
async fn b10_a_time_that_the_operator_could_not_read() {
    play(async |world| {
        active_community(world, "b10", &json!({})).await;
        let maintenance = |expiry: &str| {
            let manifest = json!({
                "apiVersion": "enclave-operator.io/v1alpha1", "kind": "Enclave",
                "metadata": {"name": "e", "namespace": "b10"},
                "spec": {"maintenance": {
                    "mode": "General", "justification": "Networking", "expiresAt": expiry,
                    "principals": [{"kind": "User", "name": "nick"}],
                }},
            });
            let arguments = ["create", "--dry-run=server", "-f", "-"];
            world.alice().kubectl_with_input(&arguments, &manifest.to_string())
        };
        // There is no such second; whatever there is, is read.
        let refused = maintenance("2999-01-01T00:00:60Z").expect_failure();
        assert!(refused.contains("spec.maintenance.expiresAt"), "{refused}");
        maintenance("2999-01-01T00:00:00.1234567890123Z").expect_success();
        maintenance("9999-12-31T23:59:59Z").expect_success();
    })
    .await;
}

#[tokio::test]
async fn b12_an_enclave_waits_for_its_workloads() {
    play(async |world| {
        active_community(world, "b12", &json!({})).await;
        active_enclave(world, "b12").await;
        let alice = world.alice();
        let workloads: Api<EnclaveWorkload> = namespaced(alice.client(), "b12-e");
        let workload = object(json!({
            "apiVersion": "enclave-operator.io/v1alpha1", "kind": "EnclaveWorkload",
            "metadata": {"name": "web"}, "spec": {},
        }));
        workloads.create(&PostParams::default(), &workload).await.unwrap();
        let api = enclaves(&alice, "b12");
        api.delete("e", &DeleteParams::default()).await.unwrap();
        wait_until(api.clone(), "e", SOON, "it says what it waits for", |enclave| {
            let ready = condition(&enclave.status.as_ref().unwrap().gate, conditions::READY);
            ready.reason == "ChildrenExist" && ready.message.contains("EnclaveWorkload")
        })
        .await;
        let namespaces: Api<Namespace> = Api::all(world.administrator());
        assert!(namespaces.get("b12-e").await.unwrap().metadata.deletion_timestamp.is_none());
        workloads.delete("web", &DeleteParams::default()).await.unwrap();
        wait_gone(api, "e", SOON, "without them it goes").await;
    })
    .await;
}

#[tokio::test]
async fn b14_an_edit_does_not_stop_an_approved_retirement() {
    play(async |world| {
        let (alice, bob) = (world.alice(), world.bob());
        active_community(world, "b14", &json!({})).await;
        active_enclave(world, "b14").await;
        let rules = json!({"spec": {"approvals": hold_everything()}});
        let all = communities(&alice);
        patch(&all, "b14", rules).await.unwrap();
        wait_for_community(&all, "b14", State::Active).await;
        let workloads: Api<EnclaveWorkload> = namespaced(alice.client(), "b14-e");
        let workload = object(json!({
            "apiVersion": "enclave-operator.io/v1alpha1", "kind": "EnclaveWorkload",
            "metadata": {"name": "web"}, "spec": {},
        }));
        workloads.create(&PostParams::default(), &workload).await.unwrap();

        let api = enclaves(&alice, "b14");
        patch(&api, "e", json!({"spec": {"retire": true}})).await.unwrap();
        let request = wait_for_request(&alice, "b14", "e").await;
        approve(&bob, "b14", &request, Run::ForReal).await.unwrap();
        let waits = |enclave: &Enclave| {
            condition(&enclave.status.as_ref().unwrap().gate, conditions::READY).reason == "ChildrenExist"
        };
        wait_until(api.clone(), "e", SOON, "it waits for the workload", waits).await;
        patch(&api, "e", json!({"spec": {"description": "keep me"}})).await.unwrap();
        workloads.delete("web", &DeleteParams::default()).await.unwrap();
        wait_gone(api, "e", SOON, "the retirement is carried out").await;
    })
    .await;
}

#[tokio::test]
async fn b16_delete_a_community_and_make_it_again_without_its_rules() {
    play(async |world| {
        // There is no rule for CommunityUpdate: what protects the rules is that there are any.
        active_community(world, "b16", &json!({ "approvals": rule("EnclaveCreation", 1) })).await;
        let (alice, bob) = (world.alice(), world.bob());
        let api = communities(&alice);
        // Once it is deleting, nothing brings it back: so with the defence away only a trial.
        let defence = Validation(DELETION_GUARD, "until it is approved");
        let words = "the rules hold the deletion of b16";
        assert_refused(api.delete("b16", &DeleteParams::default()).await, words);
        bites(world, &[defence], words, async |_| api.delete("b16", &Run::Dry.delete()).await).await;

        // It is retired like everything else: with an approval.
        patch(&api, "b16", json!({"spec": {"retire": true}})).await.unwrap();
        let request = wait_for_hold(&api, "b16").await;
        approve(&bob, "b16", &request, Run::ForReal).await.unwrap();
        wait_gone(api, "b16", SOON, "it is gone").await;
    })
    .await;
}
