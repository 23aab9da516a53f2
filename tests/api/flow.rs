//! The main job: a change waits until somebody else approves exactly that change.

use enclave_operator::api::approval_request::{RequestState, Verdict};
use enclave_operator::api::approvals::Operation;
use enclave_operator::api::names::{FINALIZER, REQUESTED_BY, condition as conditions, label};
use enclave_operator::api::{ApprovalRequest, CommunityEndpoint, Enclave, State};
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyIngressRule};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::network::{make, required};
use crate::support::{wait_gone, wait_until};
use crate::world::{
    SOON, WORLD, active_community, assert_refused, change_as_operator, communities, community, condition,
    enclave, enclaves, hold_everything, namespaced, patch, patch_status, requests, vote, wait_for_community,
    wait_for_enclave, wait_for_hold, wait_for_missing, wait_for_request, wait_for_request_state,
    wait_for_state,
};

#[tokio::test]
async fn without_a_rule_a_change_is_applied_at_once() {
    let world = &*WORLD;
    let alice = world.alice();
    active_community(world, "free", &json!({})).await;

    let api = enclaves(&alice, "free");
    api.create(&PostParams::default(), &enclave("payments", &json!({}))).await.unwrap();
    let made = wait_for_enclave(&api, "payments", State::Active).await;
    let status = made.status.unwrap();
    assert_eq!(status.namespace.as_deref(), Some("free-payments"));
    assert_eq!(status.gate.applied.unwrap().approval_request, None);
    assert!(status.gate.pending.is_none());

    let spec = json!({"spec": {"description": "for payments"}});
    patch(&api, "payments", spec).await.unwrap();
    let edited = wait_for_enclave(&api, "payments", State::Active).await;
    let applied = edited.status.unwrap().gate.applied.unwrap();
    assert_eq!(Some(applied.generation), edited.metadata.generation);
    assert_eq!(applied.spec.to_value()["description"], "for payments");

    let none = requests(&alice, "free").list(&ListParams::default()).await.unwrap();
    assert_eq!(none.items.len(), 0, "nothing was asked for");
}

/// They share the reads that confirm the policies (`cluster::confirm`), and no write is lost over the others.
#[tokio::test]
async fn what_many_approve_at_once_is_in_force_and_every_request_says_since_when() {
    const MANY: usize = 40;
    let world = &*WORLD;
    let (alice, carol) = (world.alice(), world.carol());
    active_community(world, "crowd", &json!({ "approvals": required(&["CommunityEndpointUpdate"]) })).await;
    let endpoints: Api<CommunityEndpoint> = namespaced(alice.client(), "crowd");
    let mut asked = Vec::new();
    for number in 0..MANY {
        let name = format!("e{number}");
        let cidr = format!("203.0.113.{number}/32");
        let spec = json!({"destination": {"cidrs": [{"cidr": cidr}]}, "ports": [{"port": 443}]});
        make(&endpoints, "CommunityEndpoint", &name, spec).await;
        asked.push((wait_for_hold(&endpoints, &name).await, name));
    }
    let votes = asked.iter().map(|(request, _)| vote(&carol, "crowd", request, Verdict::Approved, None));
    for voted in futures::future::join_all(votes).await {
        voted.unwrap();
    }
    for (request, name) in &asked {
        let active = wait_for_state(&endpoints, name, State::Active).await;
        let applied = active.status.unwrap().gate.applied.unwrap();
        assert_eq!(applied.approval_request.as_ref(), Some(request));
        let enacted_at = |request: &ApprovalRequest| request.status.as_ref()?.enacted_at.clone();
        let is_marked = |request: &ApprovalRequest| enacted_at(request).is_some();
        let marked = requests(&alice, "crowd");
        let marked =
            wait_until(marked, request, SOON, "the request says that it was enacted", is_marked).await;
        assert!(enacted_at(&marked).unwrap().0 >= applied.at.0);
    }
}

#[tokio::test]
async fn an_enclave_exists_only_after_somebody_else_approved_it() {
    let world = &*WORLD;
    let (alice, bob, carol) = (world.alice(), world.bob(), world.carol());
    let mut rules = hold_everything();
    rules["rules"][0]["mandatoryApprovers"] = json!([{"kind": "Group", "name": "cyber-team"}]);
    rules["requireJustification"] = json!(true);
    active_community(world, "held", &json!({ "approvals": rules })).await;

    let api = enclaves(&alice, "held");
    let mut wanted = enclave("payments", &json!({}));
    wanted.annotations_mut().insert(REQUESTED_BY.into(), "mallory".into());
    let created = api.create(&PostParams::default(), &wanted).await.unwrap();
    assert_eq!(created.annotations()[REQUESTED_BY], "alice", "a forged identity is overwritten");

    let pending = wait_for_enclave(&api, "payments", State::Pending).await;
    let approved = condition(&pending.status.as_ref().unwrap().gate, conditions::APPROVED).clone();
    assert_eq!(approved.reason, "JustificationMissing", "{}", approved.message);

    let why = json!({"spec": {"change": {"justification": "card payments", "ticket": "CHG1"}}});
    patch(&api, "payments", why).await.unwrap();
    let name = wait_for_request(&alice, "held", "payments").await;
    let uid5: String = created.uid().unwrap().chars().take(5).collect();
    assert_eq!(name, format!("enc-payments-{uid5}-g2"));

    let request = requests(&alice, "held").get(&name).await.unwrap();
    assert_eq!(request.spec.operations, [Operation::EnclaveCreation]);
    assert_eq!(request.spec.requesters, ["alice"]);
    assert_eq!(request.spec.justification.as_deref(), Some("card payments"));
    assert_eq!(request.spec.target.uid, created.uid().unwrap());
    assert!(request.spec.change.before.is_none());
    assert!(request.spec.impact.changes.is_empty(), "defaults that nobody wrote are not told");
    let namespaces: Api<Namespace> = Api::all(world.administrator());
    assert!(namespaces.get_opt("held-payments").await.unwrap().is_none(), "nothing happened yet");

    let own = vote(&alice, "held", &name, Verdict::Approved, None).await;
    assert_refused(own, "you contributed to this change");
    let no_role = vote(&world.rita(), "held", &name, Verdict::Approved, None).await;
    assert_refused(no_role, "cannot patch resource \"approvalrequests/status\"");
    let administrator = world.plane.administrator_user();
    let wildcard = vote(administrator, "held", &name, Verdict::Approved, None).await;
    assert_refused(wildcard, "comes from a wildcard");

    vote(&carol, "held", &name, Verdict::Approved, Some("fine")).await.unwrap();
    wait_for_missing(&alice, "held", &name, "one by group cyber-team").await;
    assert!(namespaces.get_opt("held-payments").await.unwrap().is_none(), "nothing happened yet");

    vote(&bob, "held", &name, Verdict::Approved, None).await.unwrap();
    let active = wait_for_enclave(&api, "payments", State::Active).await;
    let gate = active.status.as_ref().unwrap().gate.clone();
    let applied = gate.applied.as_ref().unwrap();
    assert_eq!(applied.approval_request.as_deref(), Some(name.as_str()));
    assert_eq!(applied.digest, request.spec.change.digest);
    assert_eq!(applied.spec, request.spec.change.after, "what is enacted is what was approved");
    assert_eq!(condition(&gate, conditions::READY).status, "True");
    let shown: Vec<&str> = gate.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(shown, ["Ready", "Approved", "Enforced", "Locked"], "Reconciling and Stalled are gone");

    let decided = wait_until(
        requests(&alice, "held"),
        &name,
        SOON,
        "the request says that it was enacted",
        |request: &ApprovalRequest| request.status.as_ref().is_some_and(|status| status.enacted_at.is_some()),
    )
    .await
    .status
    .unwrap();
    assert_eq!(decided.state, Some(RequestState::Approved));
    let votes: Vec<_> = decided.decisions.iter().map(|d| (d.approver.as_str(), d.groups.clone())).collect();
    assert_eq!(votes, [("carol", vec![]), ("bob", vec!["cyber-team".to_owned()])]);
    assert!(decided.decisions.iter().all(|d| d.observed_at.is_some() && d.credential_id.is_some()));

    let late = vote(&carol, "held", &name, Verdict::Rejected, None).await;
    assert_refused(late, "this request is Approved; only a Pending request can be decided");

    // What Alice asked for is in force, so a new list begins.
    let anna = enclaves(&world.anna(), "held");
    let edited = patch(&anna, "payments", json!({"spec": {"description": "edited"}})).await.unwrap();
    assert_eq!(edited.annotations()[REQUESTED_BY], "anna");
}

#[tokio::test]
async fn the_control_namespace_is_shut() {
    let world = &*WORLD;
    active_community(world, "shut", &json!({})).await;
    let api = enclaves(&world.alice(), "shut");
    api.create(&PostParams::default(), &enclave("vault", &json!({}))).await.unwrap();
    let made = wait_for_enclave(&api, "vault", State::Active).await;

    let namespaces: Api<Namespace> = Api::all(world.administrator());
    for (name, purpose, owner) in [("shut", "community", None), ("shut-vault", "control", made.uid())] {
        let namespace = namespaces.get(name).await.unwrap();
        assert_eq!(namespace.labels()[label::PURPOSE], purpose);
        assert_eq!(namespace.labels()[label::COMMUNITY], "shut");
        assert_eq!(namespace.labels()[label::POD_SECURITY_ENFORCE], "restricted");
        assert!(owner.is_none_or(|uid| namespace.labels()[label::OWNER_UID] == uid));

        let policies: Api<NetworkPolicy> = namespaced(world.administrator(), name);
        let deny = policies.get("enclave-operator-default-deny").await.unwrap().spec.unwrap();
        assert_eq!(deny.policy_types.unwrap(), ["Ingress", "Egress"]);
        assert!(deny.ingress.is_none() && deny.egress.is_none());

        let pods: Api<k8s_openapi::api::core::v1::Pod> = namespaced(world.administrator(), name);
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {
                "securityContext": {"runAsNonRoot": true, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "c", "image": "example.org/none",
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}
                }]
            }
        });
        let refused = pods.create(&PostParams::default(), &crate::world::object(pod)).await;
        assert_refused(refused, &format!("no pod runs in namespace {name}"));
    }
}

#[tokio::test]
async fn an_edit_is_held_while_what_is_applied_stays_enforced_and_is_healed() {
    let world = &*WORLD;
    let (alice, bob) = (world.alice(), world.bob());
    let rules = json!({
        "rules": [{"operation": "EnclaveUpdate", "policy": "Required"}],
        "requireRejectionComment": true,
    });
    active_community(world, "edits", &json!({ "approvals": rules })).await;
    let api = enclaves(&alice, "edits");
    api.create(&PostParams::default(), &enclave("ledger", &json!({}))).await.unwrap();
    let before = wait_for_enclave(&api, "ledger", State::Active).await.status.unwrap().gate.applied.unwrap();

    let edit = json!({"spec": {"network": {"workloadCommunication": "Allowed"}}});
    patch(&api, "ledger", edit).await.unwrap();
    let name = wait_for_request(&alice, "edits", "ledger").await;
    let held = wait_for_enclave(&api, "ledger", State::Pending).await.status.unwrap().gate;
    assert_eq!(held.applied.as_ref(), Some(&before), "what was applied stays");
    let request = requests(&alice, "edits").get(&name).await.unwrap();
    assert_eq!(
        request.spec.impact.changes,
        ["spec.network.workloadCommunication: \"Isolated\" becomes \"Allowed\""]
    );

    // Healed while the edit is held: opened, deleted, and the quota raised. (Nobody but the operator's
    // account gets that far.)
    let policies: Api<NetworkPolicy> = namespaced(world.administrator(), "edits-ledger");
    change_as_operator(
        world,
        "edits-ledger",
        "enclave-operator-default-deny",
        |policy: &mut NetworkPolicy| {
            let spec = policy.spec.as_mut().unwrap();
            spec.ingress = Some(vec![NetworkPolicyIngressRule::default()]);
            spec.policy_types = Some(vec!["Ingress".into()]);
        },
    )
    .await;
    let is_shut = |policy: &NetworkPolicy| {
        policy.spec.as_ref().is_some_and(|spec| {
            spec.ingress.is_none() && spec.policy_types.as_ref().is_some_and(|types| types.len() == 2)
        })
    };
    wait_until(policies.clone(), "enclave-operator-default-deny", SOON, "the policy is put back", is_shut)
        .await;
    let theirs: Api<NetworkPolicy> = namespaced(world.operator().await.client(), "edits-ledger");
    theirs.delete("enclave-operator-default-deny", &DeleteParams::default()).await.unwrap();
    wait_until(policies, "enclave-operator-default-deny", SOON, "the policy is made again", is_shut).await;
    let quotas: Api<ResourceQuota> = namespaced(world.administrator(), "edits-ledger");
    change_as_operator(world, "edits-ledger", "enclave-operator-quota", |quota: &mut ResourceQuota| {
        let amount = [("pods".to_owned(), Quantity("5".to_owned()))];
        quota.spec.as_mut().unwrap().hard = Some(amount.into());
    })
    .await;
    wait_until(quotas, "enclave-operator-quota", SOON, "the quota is put back", |quota: &ResourceQuota| {
        quota.spec.as_ref().unwrap().hard.as_ref().unwrap()["pods"].0 == "0"
    })
    .await;

    let wordless = vote(&bob, "edits", &name, Verdict::Rejected, None).await;
    assert_refused(wordless, "a rejection needs a comment");
    vote(&bob, "edits", &name, Verdict::Rejected, Some("not before the audit")).await.unwrap();
    let rejected = wait_for_enclave(&api, "ledger", State::Rejected).await.status.unwrap().gate;
    assert_eq!(rejected.applied.as_ref(), Some(&before));
    let why = &condition(&rejected, conditions::APPROVED).message;
    assert!(why.contains("rejected by bob: not before the audit"), "{why}");
    assert_eq!(condition(&rejected, conditions::STALLED).status, "True");

    // Other words propose the same content again.
    patch(&api, "ledger", json!({"spec": {"change": {"justification": "the audit is over"}}})).await.unwrap();
    let again = wait_for_request(&alice, "edits", "ledger").await;
    assert_ne!(again, name);
    vote(&bob, "edits", &again, Verdict::Approved, None).await.unwrap();
    let active = wait_for_enclave(&api, "ledger", State::Active).await.status.unwrap().gate;
    assert_eq!(active.applied.unwrap().spec.to_value()["network"]["workloadCommunication"], "Allowed");
}

#[tokio::test]
async fn an_edit_voids_the_votes_and_editing_back_withdraws() {
    let world = &*WORLD;
    let (alice, bob) = (world.alice(), world.bob());
    let rules =
        json!({"rules": [{"operation": "EnclaveUpdate", "policy": "Required", "minimumApprovers": 2}]});
    active_community(world, "again", &json!({ "approvals": rules })).await;
    let api = enclaves(&alice, "again");
    api.create(&PostParams::default(), &enclave("crm", &json!({"description": "one"}))).await.unwrap();
    wait_for_enclave(&api, "crm", State::Active).await;

    patch(&api, "crm", json!({"spec": {"description": "two"}})).await.unwrap();
    let first = wait_for_request(&alice, "again", "crm").await;
    vote(&bob, "again", &first, Verdict::Approved, None).await.unwrap();

    // A colleague's trivial edit does not launder Alice's change.
    patch(&enclaves(&world.anna(), "again"), "crm", json!({"spec": {"description": "three"}})).await.unwrap();
    let second = wait_for_request(&alice, "again", "crm").await;
    wait_for_request_state(&alice, "again", &first, RequestState::Superseded).await;
    let request = requests(&alice, "again").get(&second).await.unwrap();
    assert_eq!(request.spec.requesters, ["alice", "anna"]);
    assert!(request.status.unwrap().decisions.is_empty(), "the vote does not move to the new request");
    for contributor in [&alice, &world.anna()] {
        let own = vote(contributor, "again", &second, Verdict::Approved, None).await;
        assert_refused(own, "you contributed to this change");
    }

    patch(&api, "crm", json!({"spec": {"description": "one"}})).await.unwrap();
    wait_for_request_state(&alice, "again", &second, RequestState::Withdrawn).await;
    let back = wait_for_enclave(&api, "crm", State::Active).await.status.unwrap().gate;
    assert!(back.pending.is_none());
}

#[tokio::test]
async fn the_rules_protect_themselves() {
    let world = &*WORLD;
    let (alice, bob) = (world.alice(), world.bob());
    let rules =
        json!({"rules": [{"operation": "EnclaveCreation", "policy": "Required", "minimumApprovers": 1}]});
    active_community(world, "rules", &json!({ "approvals": rules })).await;
    let api = communities(&alice);

    // No rule names CommunityUpdate, and still the rules cannot be lowered without an approval.
    patch(&api, "rules", json!({"spec": {"approvals": {"rules": []}}})).await.unwrap();
    let held = wait_for_community(&api, "rules", State::Pending).await;
    let request = held.status.unwrap().gate.pending.unwrap().approval_request.unwrap();

    let enclaves = enclaves(&alice, "rules");
    enclaves.create(&PostParams::default(), &enclave("sneaky", &json!({}))).await.unwrap();
    wait_for_enclave(&enclaves, "sneaky", State::Pending).await;

    wait_for_request_state(&alice, "rules", &request, RequestState::Pending).await;
    assert_refused(vote(&alice, "rules", &request, Verdict::Approved, None).await, "you contributed");
    vote(&bob, "rules", &request, Verdict::Approved, None).await.unwrap();
    wait_for_community(&api, "rules", State::Active).await;

    // What was asked for under the old rules stays under them.
    wait_for_enclave(&enclaves, "sneaky", State::Pending).await;
    enclaves.create(&PostParams::default(), &enclave("free", &json!({}))).await.unwrap();
    wait_for_enclave(&enclaves, "free", State::Active).await;
}

#[tokio::test]
async fn only_the_operator_writes_status_and_requests() {
    let world = &*WORLD;
    let (alice, carol) = (world.alice(), world.carol());
    active_community(world, "status", &json!({ "approvals": hold_everything() })).await;
    let api = enclaves(&alice, "status");
    api.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
    let name = wait_for_request(&alice, "status", "e").await;

    // The administrator may do everything that RBAC knows, so only the policies are in the way.
    let administrator = world.plane.administrator_user();
    let forged = json!({"status": {"state": "Active"}});
    let refused = patch_status(&enclaves_of(administrator, "status"), "e", forged.clone()).await;
    assert_refused(refused, "only the operator writes enclaves/status");
    let refused = patch_status(&communities(administrator), "status", forged).await;
    assert_refused(refused, "only the operator writes communities/status");

    let theirs = requests(administrator, "status");
    let request = theirs.get(&name).await.unwrap();
    let only_operator = "only the operator creates, changes and deletes an ApprovalRequest";
    assert_refused(theirs.delete(&name, &DeleteParams::default()).await, only_operator);
    let all = theirs.delete_collection(&DeleteParams::default(), &ListParams::default()).await;
    assert_refused(all.map(|_| ()), only_operator);
    let mut copy = request.clone();
    copy.metadata =
        kube::core::ObjectMeta { name: Some("forged".into()), ..kube::core::ObjectMeta::default() };
    assert_refused(theirs.create(&PostParams::default(), &copy).await, only_operator);
    let labelled = patch(&theirs, &name, json!({"metadata": {"labels": {"x": "y"}}})).await;
    assert_refused(labelled, only_operator);

    let state = json!({"status": {"state": "Approved"}});
    assert_refused(
        patch_status(&requests(&carol, "status"), &name, state).await,
        "the operator writes the status",
    );
    let for_bob = json!({"status": {"decisions": [
        {"approver": "bob", "verdict": "Approved", "digest": request.spec.change.digest}
    ]}});
    assert_refused(
        patch_status(&requests(&carol, "status"), &name, for_bob).await,
        "only write your own vote",
    );
    let claimed = json!({"status": {"decisions": [{
        "approver": "carol", "verdict": "Approved", "digest": request.spec.change.digest, "groups": ["cyber-team"]
    }]}});
    assert_refused(
        patch_status(&requests(&carol, "status"), &name, claimed).await,
        "your vote claims something",
    );
    let other = json!({"status": {"decision": "Approved", "digest": "sha256:other"}});
    assert_refused(
        patch_status(&requests(&carol, "status"), &name, other).await,
        "is not that of this request",
    );

    let finalizer = json!({"metadata": {"finalizers": []}});
    let kept = patch(&communities(&alice), "status", finalizer).await.unwrap();
    assert_eq!(kept.finalizers(), [FINALIZER]);
    let label = json!({"metadata": {"labels": {"enclave-operator.io/community": "other"}}});
    let namespaces: Api<Namespace> = Api::all(world.administrator());
    assert_refused(
        patch(&namespaces, "status", label).await,
        "only the operator writes labels and annotations",
    );
}

fn enclaves_of(user: &crate::support::User, namespace: &str) -> Api<Enclave> {
    enclaves(user, namespace)
}

#[tokio::test]
async fn whoever_changes_something_that_is_held_is_warned() {
    let world = &*WORLD;
    active_community(world, "warned", &json!({ "approvals": hold_everything() })).await;
    let manifest = serde_json::to_string(&enclave("e", &json!({}))).unwrap();
    let alice = world.alice();
    let output = alice.kubectl_with_input(&["apply", "-n", "warned", "-f", "-"], &manifest);
    assert!(output.status.success(), "{}", output.stderr);
    assert!(output.stderr.contains("may wait for an approval"), "{}", output.stderr);
    assert!(output.stderr.contains("EnclaveCreation"), "{}", output.stderr);

    active_community(world, "unwarned", &json!({})).await;
    let output = alice.kubectl_with_input(&["apply", "-n", "unwarned", "-f", "-"], &manifest);
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(output.stderr, "");
}

#[tokio::test]
async fn what_is_deleted_goes_with_everything_it_owns() {
    let world = &*WORLD;
    let alice = world.alice();
    active_community(world, "gone", &json!({})).await;
    let api = enclaves(&alice, "gone");
    for name in ["one", "two"] {
        api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
        wait_for_enclave(&api, name, State::Active).await;
    }

    // A Community waits for its Enclaves, and says so.
    communities(&alice).delete("gone", &DeleteParams::default()).await.unwrap();
    wait_until(
        communities(&alice),
        "gone",
        SOON,
        "it says what it waits for",
        |community: &enclave_operator::api::Community| {
            community.status.as_ref().is_some_and(|status| {
                condition(&status.gate, conditions::READY).message.contains("waits for its 2 Enclave(s)")
            })
        },
    )
    .await;
    api.delete("one", &DeleteParams::default()).await.unwrap();
    // Retiring is the way that can be held; nothing holds it here.
    patch(&api, "two", json!({"spec": {"retire": true}})).await.unwrap();
    for name in ["one", "two"] {
        wait_gone(api.clone(), name, SOON, "the Enclave goes").await;
    }
    wait_gone(communities(&alice), "gone", SOON, "the Community goes").await;
    let namespaces: Api<Namespace> = Api::all(world.administrator());
    for name in ["gone", "gone-one", "gone-two"] {
        assert!(namespaces.get_opt(name).await.unwrap().is_none(), "namespace {name} is left");
    }
}

#[tokio::test]
async fn a_namespace_that_exists_is_never_taken_over() {
    let world = &*WORLD;
    let alice = world.alice();
    let namespaces: Api<Namespace> = Api::all(world.administrator());
    let foreign = json!({"metadata": {"name": "taken"}});
    namespaces.create(&PostParams::default(), &crate::world::object(foreign)).await.unwrap();

    let api = communities(&alice);
    api.create(&PostParams::default(), &community("taken", &json!({}))).await.unwrap();
    let blocked = wait_for_community(&api, "taken", State::Inactive).await.status.unwrap().gate;
    assert_eq!(condition(&blocked, conditions::ENFORCED).reason, "NamespaceConflict");
    assert_eq!(condition(&blocked, conditions::STALLED).status, "True");
    assert!(namespaces.get("taken").await.unwrap().labels().get(label::OWNER_UID).is_none());

    // Two Communities that want one namespace: the second one waits.
    let shared = json!({"namespace": "wanted-by-two"});
    active_community(world, "first", &shared).await;
    api.create(&PostParams::default(), &community("second", &shared)).await.unwrap();
    let second = wait_for_community(&api, "second", State::Inactive).await.status.unwrap().gate;
    assert_eq!(condition(&second, conditions::ENFORCED).reason, "NamespaceConflict");

    // Both go on by themselves when the cause is gone.
    namespaces.delete("taken", &DeleteParams::default()).await.unwrap();
    wait_for_community(&api, "taken", State::Active).await;
    api.delete("first", &DeleteParams::default()).await.unwrap();
    wait_for_community(&api, "second", State::Active).await;
}

#[tokio::test]
async fn an_enclave_outside_a_community_says_so_and_goes_on_when_there_is_one() {
    let world = &*WORLD;
    let administrator = world.plane.administrator_user();
    let outside = enclaves(administrator, "default");
    outside.create(&PostParams::default(), &enclave("lost", &json!({}))).await.unwrap();
    let lost = wait_for_enclave(&outside, "lost", State::Pending).await.status.unwrap().gate;
    assert_eq!(condition(&lost, conditions::READY).reason, "CommunityNotFound");
}

#[tokio::test]
async fn mistakes_are_refused_at_once_with_what_is_wrong() {
    let world = &*WORLD;
    let alice = world.alice();
    let create = async |name: &str, spec: serde_json::Value| {
        communities(&alice).create(&PostParams::default(), &community(name, &spec)).await
    };
    let too_long = create("a-name-of-more-than-twenty", json!({})).await;
    assert_refused(too_long, "at most 20 lower-case letters");
    assert_refused(create("dotted.name", json!({})).await, "at most 20 lower-case letters");
    let rule = |rule: serde_json::Value| json!({"approvals": {"rules": [rule]}});
    let unknown = rule(json!({"operation": "Nonsense", "policy": "Required"}));
    let response = alice.kubectl_with_input(
        &["create", "-f", "-"],
        &json!({
            "apiVersion": "enclave-operator.io/v1alpha1", "kind": "Community",
            "metadata": {"name": "c"}, "spec": unknown,
        })
        .to_string(),
    );
    assert!(response.stderr.contains("supported values: \"EnclaveCreation\""), "{}", response.stderr);
    let response = alice.kubectl_with_input(
        &["create", "-f", "-"],
        r#"{"apiVersion": "enclave-operator.io/v1alpha1", "kind": "Community", "metadata": {"name": "c"}, "spec": {"aprovals": {}}}"#,
    );
    assert!(response.stderr.contains("unknown field \"spec.aprovals\""), "{}", response.stderr);
    let soon = json!({"approvals": {"expireAfter": "5s"}});
    assert_refused(create("c", soon).await, "expireAfter must be a duration between 1m and 8784h");

    active_community(world, "fixed", &json!({"namespace": "fixed-ns"})).await;
    let moved = patch(&communities(&alice), "fixed", json!({"spec": {"namespace": "other"}})).await;
    assert_refused(moved, "spec.namespace cannot be changed");
}
