//! What a request says that a change opens and closes, beside connections: who gets in, and which workloads
//! reach each other.

use enclave_operator::api::EnclaveWorkload;
use enclave_operator::api::approval_request::Verdict;
use kube::api::PostParams;
use serde_json::json;

use crate::lock::{Place, user};
use crate::network::required;
use crate::world::{communities, object, patch, requests, vote, wait_for_hold, wait_until_applied};

#[tokio::test]
async fn a_request_tells_who_gets_in_and_which_workloads_reach_each_other() {
    let place = Place::make("told", &json!({})).await;
    place.make_workload("db", &json!({})).await;
    let (api, db, new) = ("told-payments-api", "told-payments-db", "told-payments-new");
    let alice = place.world.alice();
    let rules = required(&["EnclaveUpdate", "WorkloadUpdate"]);
    patch(&communities(&alice), "told", json!({"spec": {"approvals": rules}})).await.unwrap();
    wait_until_applied(&communities(&alice), "told").await;

    let told = async |request: &str, namespace: &str| {
        let impact = requests(&alice, namespace).get(request).await.unwrap().spec.impact;
        (impact.opens, impact.closes)
    };
    let lines = |lines: &[&str]| -> Vec<String> { lines.iter().map(|line| (*line).to_owned()).collect() };

    let isolated = json!({"spec": {"accessMode": "Isolated", "principals": {"edit": [user("rita")]}}});
    patch(&place.workloads(), "api", isolated).await.unwrap();
    let request = wait_for_hold(&place.workloads(), "api").await;
    let (opens, closes) = told(&request, &place.control()).await;
    assert_eq!(opens, [format!("user rita gets edit in {api}")]);
    assert_eq!(closes, [format!("everybody who is not listed loses what RoleBindings give in {api}")]);

    let together = |mode: &str| json!({"spec": {"network": {"workloadCommunication": mode}}});
    patch(&place.enclaves(), "payments", together("Allowed")).await.unwrap();
    let request = wait_for_hold(&place.enclaves(), "payments").await;
    let pair = format!("{api} <-> {db}: every port");
    assert_eq!(told(&request, "told").await, (lines(&[&pair]), lines(&[])));
    vote(&place.world.bob(), "told", &request, Verdict::Approved, None).await.unwrap();
    wait_until_applied(&place.enclaves(), "payments").await;

    // A third one joins them.
    let workload: EnclaveWorkload = object(json!({
        "apiVersion": "enclave-operator.io/v1alpha1", "kind": "EnclaveWorkload",
        "metadata": {"name": "new"}, "spec": {},
    }));
    place.workloads().create(&PostParams::default(), &workload).await.unwrap();
    let request = wait_for_hold(&place.workloads(), "new").await;
    let (opens, _) = told(&request, &place.control()).await;
    assert_eq!(opens, [format!("{api} <-> {new}: every port"), format!("{db} <-> {new}: every port")]);

    patch(&place.enclaves(), "payments", together("Isolated")).await.unwrap();
    let request = wait_for_hold(&place.enclaves(), "payments").await;
    assert_eq!(told(&request, "told").await, (lines(&[]), lines(&[&pair])));
}
