//! Standing roles: they reach every namespace of their scope, and go at once.

use std::time::Instant;

use kube::api::DeleteParams;

use super::*;
use crate::support::{eventually, wait_gone};
use crate::world::{
    assert_refused, condition, may, patch, right, vote, wait_for_access, wait_for_hold, write_status_of,
};

#[tokio::test]
async fn a_role_reaches_every_namespace_of_its_scope_and_follows_them() {
    let place = Place::make("given", &json!({})).await;
    let olga = place.user("olga", &["given-team"]);
    let (control, pods) = (place.control("payments"), place.pods("payments"));
    let api = place.assign(&control, "owners", "enclave-owner", &[group("given-team")]).await;

    wait_for_access(&olga, "create", "enclaveconnections", &control, true).await;
    wait_for_access(&olga, "create", "pods", &pods, true).await;
    // Her own Enclave, and no other; neither another control namespace nor another workload.
    let one = |verb: &str, resource: &str, name: &str| {
        let namespace = if resource == "communities" { "" } else { "given" };
        k8s_openapi::api::authorization::v1::ResourceAttributes {
            name: Some(name.into()),
            ..right(verb, resource, namespace)
        }
    };
    for (right, allowed) in [
        (one("update", "enclaves", "payments"), true),
        (one("delete", "enclaves", "payments"), true),
        (one("get", "enclaves", "ledger"), false),
        (one("update", "enclaves", "ledger"), false),
        (right("create", "enclaves", "given"), false),
        (right("list", "communityendpoints", "given"), true),
        (right("create", "communityendpoints", "given"), false),
        (one("get", "communities", "given"), true),
        (one("update", "communities", "given"), false),
        (one("get", "communities", "other"), false),
        (right("get", "enclaveworkloads", &place.control("ledger")), false),
        (right("get", "pods", &place.pods("ledger")), false),
    ] {
        assert_eq!(may(&olga, &right).await, allowed, "{right:?}");
    }

    // Namespaces come and go.
    place.make_workload("payments", "batch", &json!({})).await;
    wait_for_access(&olga, "create", "pods", "given-payments-batch", true).await;
    let shut = json!({"accessMode": "Isolated", "principals": {"view": [group("auditors")]}});
    place.make_workload("payments", "vault", &shut).await;
    let vault = right("get", "pods", "given-payments-vault");
    assert!(!may(&olga, &vault).await, "nobody gets into an isolated workload by a role");

    // Taken out of the list, and then the assignment gone: at once.
    let start = Instant::now();
    patch(&api, "owners", json!({"spec": {"principals": [group("somebody")]}})).await.unwrap();
    wait_for_access(&olga, "create", "pods", &pods, false).await;
    tell(format_args!("rights are gone {:?} after the edit", start.elapsed()));
    wait_for_access(&olga, "create", "enclaveconnections", &control, false).await;
    patch(&api, "owners", json!({"spec": {"principals": [group("given-team")]}})).await.unwrap();
    wait_for_access(&olga, "create", "pods", &pods, true).await;
    let start = Instant::now();
    api.delete("owners", &DeleteParams::default()).await.unwrap();
    wait_for_access(&olga, "create", "pods", &pods, false).await;
    tell(format_args!("rights are gone {:?} after the deletion", start.elapsed()));
    wait_for_access(&olga, "get", "communityendpoints", "given", false).await;
}

#[tokio::test]
async fn a_role_is_given_by_those_who_may_bind_it_where_it_can_be_given() {
    let place = Place::make("bound", &json!({})).await;
    let control = place.control("payments");
    let olga = place.user("olga", &[]);
    let mia = place.user("mia", &[]);
    place.assign(&control, "owners", "enclave-owner", &[user(&olga)]).await;
    place.assign(&control, "contributors", "enclave-contributor", &[user(&mia)]).await;
    wait_for_access(&olga, "create", "roleassignments", &control, true).await;

    let give = async |who: &User, namespace: &str, role: &str| {
        let spec = json!({"role": role, "principals": [user(&mia)]});
        make(&Place::assignments(who, namespace), "RoleAssignment", &format!("mine-{role}"), &spec).await
    };
    let outside = "in the control namespace of an Enclave only enclave roles can";
    assert_refused(give(&olga, &control, "community-owner").await, outside);
    assert_refused(give(&place.world.alice(), &control, "community-reader").await, outside);
    assert_refused(
        give(&mia, &control, "enclave-reader").await,
        "cannot create resource \"roleassignments\"",
    );
    give(&olga, &control, "enclave-approver").await.unwrap();
    wait_for_access(&mia, "approve", "approvalrequests", &control, true).await;
    let administrator = place.world.plane.administrator_user();
    assert_refused(give(administrator, "default", "enclave-reader").await, "and elsewhere none");

    // She may write assignments, and still not give what she may not bind.
    let arguments = |namespace: &'static str| {
        [
            "create",
            "role",
            "writer",
            "-n",
            namespace,
            "--verb=*",
            "--resource=roleassignments.enclave-operator.io",
        ]
    };
    administrator.kubectl(&arguments("bound")).expect_success();
    let user_flag = format!("--user={}", mia.name());
    administrator
        .kubectl(&["create", "rolebinding", "writer", "-n", "bound", "--role=writer", &user_flag])
        .expect_success();
    wait_for_access(&mia, "create", "roleassignments", "bound", true).await;
    assert_refused(give(&mia, "bound", "community-owner").await, "needs the verb bind");
}

#[tokio::test]
async fn a_change_of_roles_waits_for_approval_and_tells_what_is_gained() {
    let rules = json!({"rules": [{"operation": "RoleChange", "policy": "Required"}]});
    let place = Place::make("heldroles", &json!({"approvals": rules, "conflictingDuties": "Refuse"})).await;
    let (alice, bob) = (place.world.alice(), place.world.bob());
    let (olga, pia) = (place.user("olga", &[]), place.user("pia", &[]));
    let control = place.control("payments");
    let api = Place::assignments(&alice, &control);
    let spec = json!({"role": "enclave-owner", "principals": [user(&olga), user(&pia)]});
    make(&api, "RoleAssignment", "owners", &spec).await.unwrap();
    let request = wait_for_hold(&api, "owners").await;
    let requests: Api<enclave_operator::api::ApprovalRequest> = namespaced(alice.client(), &control);
    let opens = requests.get(&request).await.unwrap().spec.impact.opens;
    let pods = place.pods("payments");
    assert!(opens.contains(&format!("user {} gets admin in {pods}", olga.name())), "{opens:#?}");
    assert!(
        opens.iter().any(|line| line.contains(&format!(
            "gets enclave-owner in {control}: read, create, update and delete Enclave, EnclaveWorkload"
        ))),
        "{opens:#?}"
    );
    let there = right("get", "pods", &pods);
    assert!(!may(&olga, &there).await);
    vote(&bob, &control, &request, enclave_operator::api::approval_request::Verdict::Approved, None)
        .await
        .unwrap();
    wait_for_access(&olga, "create", "pods", &pods, true).await;
    wait_for_state(&api, "owners", State::Active).await;

    // Somebody out and somebody in: the one at once, the other after an approval.
    let nora = place.user("nora", &[]);
    patch(&api, "owners", json!({"spec": {"principals": [user(&olga), user(&nora)]}})).await.unwrap();
    wait_for_access(&pia, "create", "pods", &pods, false).await;
    wait_for_hold(&api, "owners").await;
    assert!(!may(&nora, &there).await);
    assert!(may(&olga, &there).await, "who stays keeps it");

    // Who owns does not approve.
    let spec = json!({"role": "enclave-approver", "principals": [user(&olga)]});
    make(&Place::assignments(&alice, "heldroles"), "RoleAssignment", "approvers", &spec).await.unwrap();
    let refused = wait_until(
        Place::assignments(&alice, "heldroles"),
        "approvers",
        SOON,
        "it is refused",
        |one: &RoleAssignment| {
            one.status
                .as_ref()
                .is_some_and(|status| condition(&status.gate, "Ready").reason == "ConflictingDuties")
        },
    )
    .await;
    let message = condition(&refused.status.unwrap().gate, "Ready").message.clone();
    assert!(
        message.contains("has the role enclave-owner by RoleAssignment heldroles-payments/owners"),
        "{message}"
    );
}

/// A later version may have written it.
#[tokio::test]
async fn what_cannot_be_read_stays_as_it_is_until_it_is_deleted() {
    let place = Place::make("unreadable", &json!({})).await;
    let (world, control) = (place.world, place.control("payments"));
    let (olga, oscar) = (place.user("olga", &[]), place.user("oscar", &[]));
    let api = Place::assignments(&world.alice(), &control);
    let spec = json!({"role": "enclave-reader", "principals": [user(&olga), user(&oscar)]});
    make(&api, "RoleAssignment", "readers", &spec).await.unwrap();
    wait_for_state(&api, "readers", State::Active).await;
    wait_for_access(&olga, "list", "enclaveworkloads", &control, true).await;

    let theirs = Place::assignments(&world.operator().await, &control);
    eventually("nobody writes in between", SOON, async || {
        let before = serde_json::to_value(api.get("readers").await.unwrap()).unwrap();
        let mut status = before["status"].clone();
        status["applied"]["spec"] = json!({"role": "of-a-later-version"});
        write_status_of(&theirs, "readers", &before, &status).await.ok()
    })
    .await;
    let is_unreadable = |assignment: &RoleAssignment| {
        let conditions = assignment.status.iter().flat_map(|status| &status.gate.conditions);
        conditions.into_iter().any(|one| one.type_ == "Ready" && one.reason == "AppliedUnreadable")
    };
    wait_until(api.clone(), "readers", SOON, "what is applied cannot be read", is_unreadable).await;
    assert!(may(&olga, &right("list", "enclaveworkloads", &control)).await, "it is kept");
    // Who is taken out of it loses it all the same, and nobody else gets it.
    let otto = place.user("otto", &[]);
    let others = json!([user(&oscar), user(&otto)]);
    patch(&api, "readers", json!({"spec": {"principals": others}})).await.unwrap();
    wait_for_access(&olga, "list", "enclaveworkloads", &control, false).await;
    assert!(!may(&otto, &right("list", "enclaveworkloads", &control)).await, "it cannot be asked for");

    assert!(may(&oscar, &right("list", "enclaveworkloads", &control)).await, "he is named still");
    api.delete("readers", &DeleteParams::default()).await.unwrap();
    wait_for_access(&oscar, "list", "enclaveworkloads", &control, false).await;
    wait_gone(api, "readers", SOON, "the assignment is gone").await;
}
