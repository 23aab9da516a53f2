//! What the lock and its neighbours keep out: additions, other people, other pods.

use k8s_openapi::api::core::v1::{LimitRange, Namespace, Pod, ResourceQuota};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, Patch, PatchParams};

use super::*;
use crate::support::wait_gone;
use crate::world::{SOON, assert_refused, patch_status, wait_for_access};

const MANAGED: &str = "and nobody else changes them";
const ADDITIONAL: &str = "additional ones need maintenance";

#[tokio::test]
async fn nobody_adds_to_what_guards_a_namespace_and_the_operators_names_are_its_own() {
    let place = Place::make("additions", &json!({})).await;
    let administrator = place.world.plane.administrator_user();
    let quota: ResourceQuota = object(json!({"metadata": {"name": "more"}, "spec": {"hard": {"pods": "1"}}}));
    let limits: LimitRange = object(json!({"metadata": {"name": "more"}, "spec": {"limits": []}}));
    let post = PostParams::default();
    for person in [&place.tina(), administrator] {
        for namespace in [place.pods(), place.control(), place.community.clone()] {
            let policies: Api<NetworkPolicy> = namespaced(administrator.client(), &namespace);
            assert_refused(policies.create(&post, &open_policy("more")).await, ADDITIONAL);
        }
        let policies = place.policies(person);
        assert_refused(policies.create(&post, &open_policy("more")).await, ADDITIONAL);
        assert_refused(policies.create(&post, &open_policy("enclave-operator-more")).await, ADDITIONAL);
        assert_refused(policies.create(&post, &open_policy("connection.more")).await, MANAGED);
        let mut unnamed = open_policy("");
        unnamed.metadata.name = None;
        unnamed.metadata.generate_name = Some("connection.x".into());
        assert_refused(policies.create(&post, &unnamed).await, MANAGED);
        let quotas: Api<ResourceQuota> = namespaced(person.client(), &place.pods());
        assert_refused(quotas.create(&post, &quota).await, ADDITIONAL);
        let forged = json!({"status": {"hard": {"count/configmaps": "999"}}});
        assert_refused(patch_status(&quotas, "enclave-operator-quota", forged).await, MANAGED);
        let ranges: Api<LimitRange> = namespaced(person.client(), &place.pods());
        assert_refused(ranges.create(&post, &limits).await, ADDITIONAL);
    }
    // Elsewhere it is nobody's business.
    let elsewhere: Api<NetworkPolicy> = namespaced(administrator.client(), "default");
    elsewhere.create(&post, &open_policy("connection.additions")).await.unwrap();
    elsewhere.delete("connection.additions", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn whoever_gets_into_an_isolated_workload_is_listed() {
    let place = Place::make("isolated", &json!({})).await;
    let binding = |name: &str| -> RoleBinding {
        object(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"}],
        }))
    };
    let bindings: Api<RoleBinding> = namespaced(place.tina().client(), &place.pods());
    bindings.create(&PostParams::default(), &binding("before")).await.unwrap();
    // One that a finalizer keeps, of a role that the operator may not bind, with more than it remembers.
    let make_role = ["create", "role", "own", "--verb=get", "--resource=pods", "-n", &place.pods()];
    place.world.plane.administrator_user().kubectl(&make_role).expect_success();
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"});
    let held: RoleBinding = object(json!({
        "metadata": {
            "name": "held", "finalizers": ["example.test/keep"], "annotations": {"example.test/note": "any"},
            "labels": {"app": "any"},
        },
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "own"},
        "subjects": vec![subject; 150],
    }));
    let admin: Api<RoleBinding> = namespaced(place.world.administrator(), &place.pods());
    admin.create(&PostParams::default(), &held).await.unwrap();

    let (rita, carol) = (place.world.rita(), place.world.carol());
    let make = ["create", "serviceaccount", "robot", "-n", "default"];
    place.world.plane.administrator_user().kubectl(&make).expect_success();
    let robot = json!({"kind": "ServiceAccount", "name": "robot", "namespace": "default"});
    let listed = |principals: Value| json!({"spec": {"accessMode": "Isolated", "principals": principals}});
    let first = listed(json!({"view": [user("rita"), user("carol")], "edit": [robot]}));
    patch(&place.workloads(), "api", first).await.unwrap();
    wait_for_access(&rita, "get", "pods", &place.pods(), true).await;
    wait_for_access(&carol, "get", "pods", &place.pods(), true).await;
    wait_for_access(&rita, "create", "pods", &place.pods(), false).await;
    let robot = place.world.plane.service_account("default", "robot").await.unwrap();
    wait_for_access(&robot, "create", "pods", &place.pods(), true).await;

    // Who got in otherwise does not any more.
    wait_for_access(&place.tina(), "get", "pods", &place.pods(), false).await;
    wait_gone(admin.clone(), "held", SOON, "no finalizer keeps what gives rights").await;
    let names: Vec<String> =
        admin.list(&ListParams::default()).await.unwrap().iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["enclave-operator:listed:edit", "enclave-operator:listed:view"]);
    let words = "only those whom its EnclaveWorkload lists get into namespace isolated-payments-api";
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    until_refused(words, async || admin.create(&dry_run, &binding("after")).await).await;
    place.wait_for_lock("Locked", &[]).await;

    // The list is what counts, and what is not in it ends.
    patch(&place.workloads(), "api", listed(json!({"view": [user("carol")], "edit": null}))).await.unwrap();
    wait_for_access(&rita, "get", "pods", &place.pods(), false).await;
    wait_for_access(&robot, "create", "pods", &place.pods(), false).await;
    wait_for_access(&carol, "get", "pods", &place.pods(), true).await;

    // As long as the lists can be, changed as much as they can be.
    for team in ["early", "late"] {
        let fifty = |role: &str| (0..50).map(|n| user(&format!("{role}-{team}-{n}"))).collect::<Vec<_>>();
        let all = json!({"admin": fifty("admin"), "edit": fifty("edit"), "view": fifty("view")});
        patch(&place.workloads(), "api", listed(all)).await.unwrap();
    }
    let carol_again = json!({"admin": null, "edit": null, "view": [user("carol")]});
    patch(&place.workloads(), "api", listed(carol_again)).await.unwrap();
    wait_for_access(&place.world.plane.user("view-early-1", &[]), "get", "pods", &place.pods(), false).await;
    wait_for_access(&carol, "get", "pods", &place.pods(), true).await;

    // Not under maintenance either, and not those who were let in before.
    let mallory = place.world.plane.user("mallory", &[]);
    let masters = json!({"kind": "Group", "name": "system:masters"});
    place.maintain(maintenance("General", &masters, 3600)).await;
    place.wait_for_exceptions(&place.pods(), Some("Group:system:masters"), None).await;
    assert_refused(admin.create(&PostParams::default(), &binding("while")).await, words);
    place.make_workload("vault", &json!({})).await;
    let vault = format!("{}-vault", place.control());
    let bindings: Api<RoleBinding> = namespaced(place.world.administrator(), &vault);
    bindings.create(&PostParams::default(), &binding("before")).await.unwrap();
    wait_for_access(&mallory, "get", "pods", &vault, true).await;
    patch(&place.workloads(), "vault", listed(json!({"view": [user("carol")]}))).await.unwrap();
    wait_for_access(&mallory, "get", "pods", &vault, false).await;
    place
        .maintain(json!({"mode": "Disabled", "justification": null, "principals": null, "expiresAt": null}))
        .await;

    let standard = json!({"spec": {"accessMode": "Standard", "principals": null}});
    patch(&place.workloads(), "api", standard).await.unwrap();
    wait_for_access(&carol, "get", "pods", &place.pods(), false).await;
    until_admitted(async || admin.create(&PostParams::default(), &binding("after")).await).await;
    wait_for_access(&mallory, "get", "pods", &place.pods(), true).await;
}

#[tokio::test]
async fn pods_stay_inside_their_sandbox_and_the_namespace_says_which() {
    let place = Place::make("sandboxed", &json!({})).await;
    place.make_workload("loose", &json!({"podSecurity": "Baseline"})).await;
    let loose = format!("{}-loose", place.control());
    place.let_write(&loose);
    let (tina, administrator) = (place.tina(), place.world.plane.administrator_user());
    let pod = |spec: Value| -> Pod {
        let mut wanted = json!({"containers": [{"name": "c", "image": "example.test/c"}]});
        for (key, value) in spec.as_object().unwrap() {
            wanted[key] = value.clone();
        }
        object(json!({"metadata": {"name": "p"}, "spec": wanted}))
    };
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let capable = json!({"containers": [{"name": "c", "image": "example.test/c", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]});
    let volume = json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]});
    for (namespace, level) in [(&place.pods(), "restricted"), (&loose, "baseline")] {
        let pods: Api<Pod> = namespaced(tina.client(), namespace);
        eventually("the namespace has its account", SOON, async || {
            let made =
                pods.create(&dry_run, &pod(json!({"hostNetwork": true}))).await.unwrap_err().to_string();
            (!made.contains("serviceaccount")).then_some(())
        })
        .await;
        for escape in
            [json!({"hostNetwork": true}), json!({"hostPID": true}), capable.clone(), volume.clone()]
        {
            let words = format!("violates PodSecurity \"{level}:latest\"");
            assert_refused(pods.create(&dry_run, &pod(escape)).await, &words);
        }
    }
    let pods: Api<Pod> = namespaced(tina.client(), &loose);
    pods.create(&dry_run, &pod(json!({}))).await.unwrap();
    // Where no pod is to run there is a quota as well.
    let pods: Api<Pod> = namespaced(administrator.client(), &place.control());
    assert_refused(pods.create(&dry_run, &pod(json!({"hostNetwork": true}))).await, "violates PodSecurity");

    let namespaces: Api<Namespace> = Api::all(administrator.client());
    for (name, key, value) in [
        (&place.pods(), "enforce", json!("privileged")),
        (&place.pods(), "enforce", Value::Null),
        (&place.pods(), "enforce-version", json!("v1.10")),
        (&loose, "warn", json!("privileged")),
        (&place.control(), "enforce", json!("privileged")),
    ] {
        let edit = json!({"metadata": {"labels": {format!("pod-security.kubernetes.io/{key}"): value}}});
        let words = format!("only the operator writes which pods namespace {name} admits");
        assert_refused(patch(&namespaces, name, edit.clone()).await, &words);
        let in_status = namespaces.patch_status(name, &PatchParams::default(), &Patch::Merge(edit)).await;
        assert_refused(in_status, &words);
    }
    patch(&namespaces, &loose, json!({"metadata": {"labels": {"team": "blue"}}})).await.unwrap();
}
