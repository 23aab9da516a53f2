//! When what an administrator installed has an effect: the API server learns of new policies and
//! kinds by itself, a while after it stored them.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::json;

use super::wait::eventually;

/// Waits until the operator's admission policies are in force: the last one that is applied
/// refuses what even the administrator may not do, and those that change objects know the kinds.
/// For that the API server looks for new schemas every five seconds, and until then it answers
/// with 503. The client is the administrator's.
///
/// # Panics
/// If that does not happen `within` this time.
pub async fn wait_for_policies(administrator: Client, within: Duration) {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let namespaces: Api<Namespace> = Api::all(administrator.clone());
    let mut forged = Namespace::default();
    forged.metadata.name = Some("forged".into());
    forged.metadata.labels = Some([("enclave-operator.io/owner-uid".into(), "x".into())].into());
    eventually("the admission policies are effective", within, async || {
        namespaces.create(&dry_run, &forged).await.err().map(drop)
    })
    .await;

    let resource =
        |kind| ApiResource::from_gvk(&GroupVersionKind::gvk("enclave-operator.io", "v1alpha1", kind));
    let (community, enclave) = (resource("Community"), resource("Enclave"));
    let communities: Api<DynamicObject> = Api::all_with(administrator.clone(), &community);
    let enclaves: Api<DynamicObject> = Api::namespaced_with(administrator, "default", &enclave);
    for (api, resource) in [(communities, community), (enclaves, enclave)] {
        let object = DynamicObject::new("probe", &resource).data(json!({"spec": {}}));
        eventually(&format!("a {} can be made", resource.kind), within, async || {
            api.create(&dry_run, &object).await.ok().map(drop)
        })
        .await;
    }
}
