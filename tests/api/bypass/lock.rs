//! Attacks on the lock: traffic, pods and access that nobody approved, inside the operator's namespaces.

use enclave_operator::api::names::{annotation, label};
use enclave_operator::api::{EnclaveWorkload, State};
use k8s_openapi::api::core::v1::{Namespace, Pod, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ListParams, Patch, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::Defence::{Check, Validation};
use super::objects::{active_enclave, nick};
use super::{
    LOCK, NAMESPACE_LABELS, Run, VERIFY_GRANTS, approve, bites, bites_each, play, rule, start_operator,
    stop_operator,
};
use crate::lock::{DENY, in_seconds, maintenance, open_policy, user};
use crate::support::{eventually, wait_until};
use crate::world::{
    SOON, World, active_community, assert_refused, enclaves, namespaced, object, patch, wait_for_hold,
    wait_for_state,
};

const MANAGED: &str = "and nobody else changes them";
const ADDITIONAL: &str = "additional ones need maintenance";

/// Makes a workload "web" in the Enclave "e", and returns its namespace.
pub async fn active_workload(world: &World, community: &str, spec: Value) -> String {
    active_community(world, community, &json!({})).await;
    active_enclave(world, community).await;
    let workloads: Api<EnclaveWorkload> = namespaced(world.alice().client(), &format!("{community}-e"));
    let workload = object(json!({
        "apiVersion": "enclave-operator.io/v1alpha1", "kind": "EnclaveWorkload",
        "metadata": {"name": "web"}, "spec": spec,
    }));
    workloads.create(&PostParams::default(), &workload).await.unwrap();
    wait_for_state(&workloads, "web", State::Active).await;
    format!("{community}-e-web")
}

#[tokio::test]
async fn c01_a_network_policy_of_ones_own_that_opens_everything() {
    play(async |world| {
        let web = active_workload(world, "c01", json!({})).await;
        let administrator = world.plane.administrator_user();
        for person in [&nick(world), administrator] {
            let policies: Api<NetworkPolicy> = namespaced(person.client(), &web);
            bites(world, &[Validation(LOCK, ADDITIONAL)], ADDITIONAL, async |run| {
                policies.create(&run.post(), &open_policy("mine")).await
            })
            .await;

            let open = json!({"spec": {"ingress": [{}], "egress": [{}]}});
            let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "0"}]);
            let ways = [
                Some(open),
                Some(json!({"metadata": {"ownerReferences": owner}})),
                Some(json!({"metadata": {"labels": {label::MANAGED_BY: null}}})),
                None,
            ];
            bites_each(world, &[Validation(LOCK, MANAGED)], MANAGED, &ways, async |way, run| match way {
                Some(edit) => policies.patch(DENY, &run.patch(), &Patch::Merge(edit)).await.map(drop),
                None => policies.delete_collection(&run.delete(), &ListParams::default()).await.map(drop),
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn c02_a_name_of_the_operators_for_a_policy_of_ones_own() {
    play(async |world| {
        let web = active_workload(world, "c02", json!({})).await;
        let nick = nick(world);
        let spec = json!({"spec": {"maintenance": maintenance("General", &user("nick"), 3600)}});
        patch(&enclaves(&world.alice(), "c02"), "e", spec).await.unwrap();
        let policies: Api<NetworkPolicy> = namespaced(nick.client(), &web);
        eventually("he may add", SOON, async || {
            policies.create(&Run::Dry.post(), &open_policy("mine")).await.ok()
        })
        .await;
        let mut unnamed = open_policy("");
        unnamed.metadata.name = None;
        unnamed.metadata.generate_name = Some("connection.c02-e.".to_owned() + "x");
        let ways = [open_policy("connection.c02-e.x.egress"), unnamed];
        bites_each(world, &[Validation(LOCK, MANAGED)], MANAGED, &ways, async |way, run| {
            policies.create(&run.post(), way).await
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn c03_a_quota_raised_or_told_to_be_higher() {
    play(async |world| {
        let web = active_workload(world, "c03", json!({"quota": {"pods": 1}})).await;
        let quotas: Api<ResourceQuota> = namespaced(world.administrator(), &web);
        let name = "enclave-operator-quota";
        let hard = json!({"hard": {"pods": "1000"}});
        bites_each(world, &[Validation(LOCK, MANAGED)], MANAGED, &[false, true], async |in_status, run| {
            if *in_status {
                quotas.patch_status(name, &run.patch(), &Patch::Merge(json!({"status": hard}))).await
            } else {
                quotas.patch(name, &run.patch(), &Patch::Merge(json!({"spec": hard}))).await
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn c04_relabel_a_namespace_for_other_pods_for_maintenance_or_for_everybody() {
    play(async |world| {
        let isolated = json!({"accessMode": "Isolated", "principals": {"view": [user("rita")]}});
        let web = active_workload(world, "c04", isolated).await;
        let namespaces: Api<Namespace> = Api::all(nick(world).client());
        let metadata = |kind: &str, key: &str, value: Value| json!({"metadata": {kind: {key: value}}});
        let edits = [
            metadata("labels", label::ACCESS_MODE, json!("Standard")),
            metadata("labels", label::ACCESS_MODE, Value::Null),
            metadata("annotations", annotation::MAINTENANCE_GENERAL, json!("User:nick")),
            metadata("annotations", annotation::MAINTENANCE_ADVANCED, json!("User:nick")),
        ];
        let words = "only the operator writes labels and annotations";
        bites_each(world, &[Check(NAMESPACE_LABELS)], words, &edits, async |edit, run| {
            namespaces.patch(&web, &run.patch(), &Patch::Merge(edit)).await
        })
        .await;

        let edits = [
            metadata("labels", label::POD_SECURITY_ENFORCE, json!("privileged")),
            metadata("labels", label::POD_SECURITY_ENFORCE, Value::Null),
            metadata("labels", "pod-security.kubernetes.io/enforce-version", json!("v1.0")),
        ];
        let words = "only the operator writes which pods";
        let ways: Vec<_> = edits.iter().flat_map(|edit| [(edit, false), (edit, true)]).collect();
        let defence = Validation(NAMESPACE_LABELS, words);
        bites_each(world, &[defence], words, &ways, async |(edit, in_status), run| {
            let edit = Patch::Merge(edit);
            if *in_status {
                namespaces.patch_status(&web, &run.patch(), &edit).await
            } else {
                namespaces.patch(&web, &run.patch(), &edit).await
            }
        })
        .await;

        let everybody: RoleBinding = object(json!({
            "metadata": {"name": "everybody"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nick"}],
        }));
        let bindings: Api<RoleBinding> = namespaced(world.administrator(), &web);
        let words = "only those whom its EnclaveWorkload lists get into namespace";
        bites(world, &[Validation(LOCK, words)], words, async |run| {
            bindings.create(&run.post(), &everybody).await
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn c05_a_pod_in_the_network_of_its_node() {
    play(async |world| {
        let web = active_workload(world, "c05", json!({"podSecurity": "Baseline"})).await;
        let pods: Api<Pod> = namespaced(world.administrator(), &web);
        let pod: Pod = object(json!({
            "metadata": {"name": "p"},
            "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "example.test/c"}]},
        }));
        let attempt = async || pods.create(&Run::Dry.post(), &pod).await.map_err(|error| error.to_string());
        eventually("the namespace has its account", SOON, async || {
            (!attempt().await.unwrap_err().contains("serviceaccount")).then_some(())
        })
        .await;
        let refused = attempt().await.unwrap_err();
        assert!(refused.contains("violates PodSecurity \"baseline:latest\": host namespaces"), "{refused}");

        // The label is what refuses it: as the operator's account, and without the operator.
        stop_operator(world);
        let namespaces: Api<Namespace> = Api::all(world.operator().await.client());
        super::until_nobody_interferes(async || {
            let mut live = namespaces.get(&web).await?;
            live.labels_mut().insert(label::POD_SECURITY_ENFORCE.into(), "privileged".into());
            namespaces.replace(&web, &PostParams::default(), &live).await
        })
        .await;
        eventually("it is admitted", SOON, async || attempt().await.ok()).await;
        start_operator(world);
        eventually("it is refused again", SOON, async || attempt().await.err()).await;
    })
    .await;
}

#[tokio::test]
async fn c06_maintenance_that_one_gives_oneself() {
    play(async |world| {
        active_community(world, "c06", &json!({ "approvals": rule("EnclaveMaintenance", 1) })).await;
        active_enclave(world, "c06").await;
        let api = enclaves(&world.alice(), "c06");
        let namespaces: Api<Namespace> = Api::all(world.administrator());
        let exceptions = async || {
            let annotations = namespaces.get("c06-e").await.unwrap().metadata.annotations.unwrap();
            [annotation::MAINTENANCE_GENERAL, annotation::MAINTENANCE_ADVANCED]
                .map(|key| annotations.get(key).cloned())
        };
        let on = json!({"spec": {"maintenance": maintenance("General", &user("nick"), 3600)}});
        patch(&api, "e", on).await.unwrap();
        let request = wait_for_hold(&api, "e").await;
        assert_eq!(exceptions().await, [None, None]);
        approve(&world.bob(), "c06", &request, Run::ForReal).await.unwrap();
        wait_until(namespaces.clone(), "c06-e", SOON, "she has it", |namespace: &Namespace| {
            namespace.annotations().get(annotation::MAINTENANCE_GENERAL).is_some_and(|who| who == "User:nick")
        })
        .await;

        // For longer, for more people, for more: that is asked for again.
        for wider in [
            json!({"expiresAt": in_seconds(7200)}),
            json!({"principals": [user("nick"), user("alice")]}),
            json!({"mode": "Advanced"}),
        ] {
            patch(&api, "e", json!({"spec": {"maintenance": wider}})).await.unwrap();
            wait_for_hold(&api, "e").await;
            assert_eq!(exceptions().await, [Some("User:nick".to_owned()), None], "{wider}");
        }
        let policies: Api<NetworkPolicy> = namespaced(nick(world).client(), "c06-e");
        let open = json!({"spec": {"ingress": [{}]}});
        assert_refused(patch(&policies, DENY, open).await, MANAGED);
    })
    .await;
}

#[tokio::test]
async fn c08_more_than_one_may_give_by_a_list_of_ones_own() {
    play(async |world| {
        active_workload(world, "c08", json!({})).await;
        let group = "--group=writers-of-c08";
        let right = ["create", "rolebinding", "w", "-n", "c08-e", group];
        let contributor = "--clusterrole=enclave-operator:enclave-contributor";
        world.plane.administrator_user().kubectl(&[&right[..], &[contributor]].concat()).expect_success();
        let mia = world.plane.user("mia", &["writers-of-c08"]);
        let api: Api<EnclaveWorkload> = namespaced(mia.client(), "c08-e");
        let to =
            |role: &str, name: &str| json!({"accessMode": "Isolated", "principals": {role: [user(name)]}});
        let words = "spec.principals gives somebody admin";
        let spec = to("admin", "mia");
        bites(world, &[Check(VERIFY_GRANTS)], words, async |run| {
            api.patch("web", &run.patch(), &Patch::Merge(json!({ "spec": spec }))).await
        })
        .await;
        let another: EnclaveWorkload = object(json!({"metadata": {"name": "another"}, "spec": spec}));
        assert_refused(api.create(&Run::Dry.post(), &another).await, words);

        // What she holds herself she may give, and what somebody else gave stays.
        let edit = Patch::Merge(json!({"spec": to("edit", "mia")}));
        super::until_nobody_interferes(async || api.patch("web", &Run::ForReal.patch(), &edit).await).await;
        let owner: Api<EnclaveWorkload> = namespaced(world.erin().client(), "c08-e");
        patch(&owner, "web", json!({"spec": to("admin", "erin")})).await.unwrap();
        patch(&api, "web", json!({"spec": {"description": "of Mia's"}})).await.unwrap();
        assert_refused(patch(&api, "web", json!({"spec": to("admin", "mia")})).await, words);
    })
    .await;
}
