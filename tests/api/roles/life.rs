//! The life of roles in one piece, for tests in which the operator dies or has to be quiet.

use enclave_operator::api::approval_request::Verdict;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{DeleteParams, ListParams};
use kube::{Resource, ResourceExt};

use super::*;
use crate::support::eventually;
use crate::world::{patch, vote, wait_for_access};

/// Roles that are given, changed and taken away, and activations that end in several ways. Returns the roles
/// and bindings that are left, without what differs from run to run.
pub async fn play(world: &World, community: &str) -> Value {
    let rules = json!({"rules": [{"operation": "RoleActivation", "policy": "Required"}]});
    let place = Place::make_in(world, community, &json!({ "approvals": rules })).await;
    let (control, pods) = (place.control("payments"), place.pods("payments"));
    let [olga, pia, nina] = ["olga", "pia", "nina"].map(|name| place.user(name, &[]));
    let kept = place.assign(&control, "kept", "enclave-owner", &[user(&olga), user(&pia)]).await;
    let gone = place.assign(community, "gone", "community-reader", &[user(&pia)]).await;
    patch(&kept, "kept", json!({"spec": {"principals": [user(&olga)]}})).await.unwrap();
    gone.delete("gone", &DeleteParams::default()).await.unwrap();
    wait_for_access(&pia, "get", "pods", &pods, false).await;

    let eligibilities = Place::eligibilities(&world.alice(), &control);
    let conditions = json!({"maxDuration": "8h"});
    let spec = json!({"role": "enclave-contributor", "principals": [user(&nina)], "activation": conditions});
    make(&eligibilities, "RoleEligibility", "ninas", &spec).await.unwrap();
    wait_for_state(&eligibilities, "ninas", State::Active).await;
    wait_for_access(&nina, "create", "roleactivations", &control, true).await;
    let api = Place::activations(&nina, &control);
    for name in ["given-back", "active"] {
        make(&api, "RoleActivation", name, &json!({"eligibility": "ninas", "duration": "4h"})).await.unwrap();
        let pending = wait_for_activation(&api, name, "PendingApproval").await.status.unwrap();
        let request = pending.approval_request.unwrap();
        eventually("it can be decided", SOON, async || {
            vote(&world.bob(), &control, &request, Verdict::Approved, None).await.ok()
        })
        .await;
        wait_for_activation(&api, name, "Active").await;
        wait_for_access(&nina, "create", "pods", &pods, true).await;
        if name == "given-back" {
            patch(&api, name, json!({"spec": {"deactivate": true}})).await.unwrap();
            wait_for_activation(&api, name, "Deactivated").await;
            wait_for_access(&nina, "create", "pods", &pods, false).await;
        }
    }
    wait_until_bound(&api, "active").await;
    wait_for_access(&nina, "create", "enclaveconnections", &control, true).await;
    wait_for_access(&olga, "create", "rolebindings", &pods, true).await;
    let left = async || {
        let client = world.administrator();
        let mut left = list(&Api::<RoleBinding>::all(client.clone()), community).await;
        left.extend(list(&Api::<Role>::all(client.clone()), community).await);
        left.extend(list(&Api::<ClusterRole>::all(client.clone()), community).await);
        left.extend(list(&Api::<ClusterRoleBinding>::all(client.clone()), community).await);
        left
    };
    let all = eventually("what is over is gone", SOON, async || {
        let all = left().await;
        all.iter().all(|one| !one.contains(":gone") && !one.contains(":given-back")).then_some(all)
    })
    .await;
    json!(all)
}

async fn list<K>(api: &Api<K>, community: &str) -> Vec<String>
where
    K: Resource<DynamicType = ()> + Clone + Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let all = api.list(&ListParams::default()).await.unwrap().items.into_iter();
    let made = all.filter(|one| {
        one.name_any().starts_with("enclave-operator:r") && one.name_any().contains(&format!(":{community}"))
    });
    let mut told: Vec<String> = made
        .map(|mut one| {
            let (namespace, name) = (one.namespace().unwrap_or_default(), one.name_any());
            *one.meta_mut() = kube::core::ObjectMeta::default();
            format!("{} {namespace} {name} {}", K::kind(&()), json!(one)).replace(community, "NAME")
        })
        .collect();
    told.sort();
    told
}
