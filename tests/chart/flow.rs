//! Whether the operator's requests take their own way through the API server.

use std::time::Duration;

use kube::Client;
use kube::client::Body;

use super::PLANE;
use super::support::eventually;
use super::support::helm::{NAMESPACE, RELEASE};

const SOON: Duration = Duration::from_secs(30);

const LEASES: (&str, &str) = ("enclave-operator-leases", "leader-election");
const CLOSING: (&str, &str) = ("enclave-operator-closing", "enclave-operator-closing");
const REST: (&str, &str) = ("enclave-operator", "workload-high");

#[tokio::test]
async fn leases_and_what_closes_have_a_way_of_their_own() {
    let operator = PLANE.service_account(NAMESPACE, RELEASE).await.unwrap().client();
    let other = PLANE.service_account(NAMESPACE, "default").await.unwrap().client();
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let own = "/apis/enclave-operator.io/v1alpha1";
    for (method, path, way) in [
        ("GET", format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{RELEASE}"), LEASES),
        ("PUT", format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{RELEASE}"), LEASES),
        ("DELETE", "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies/p".to_owned(), CLOSING),
        ("POST", "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies".to_owned(), CLOSING),
        ("PUT", "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies/p".to_owned(), CLOSING),
        ("PUT", "/apis/cilium.io/v2/namespaces/n/ciliumnetworkpolicies/p".to_owned(), CLOSING),
        ("PUT", format!("{rbac}/namespaces/n/rolebindings/b"), CLOSING),
        ("DELETE", format!("{rbac}/namespaces/n/rolebindings/b"), CLOSING),
        ("PUT", format!("{rbac}/namespaces/n/roles/r"), CLOSING),
        ("PUT", format!("{rbac}/clusterrolebindings/b"), CLOSING),
        ("DELETE", format!("{rbac}/clusterrolebindings/b"), CLOSING),
        ("PUT", "/api/v1/namespaces/n".to_owned(), CLOSING),
        ("DELETE", "/api/v1/namespaces/n".to_owned(), CLOSING),
        ("DELETE", format!("{own}/namespaces/n/enclaves/e"), CLOSING),
        ("GET", format!("{own}/namespaces/n/enclaves/e"), REST),
        ("PUT", format!("{own}/namespaces/n/enclaves/e/status"), REST),
        ("POST", "/api/v1/namespaces".to_owned(), REST),
        ("GET", format!("{rbac}/clusterrolebindings"), REST),
        ("POST", "/apis/events.k8s.io/v1/namespaces/n/events".to_owned(), REST),
        ("GET", "/version".to_owned(), REST),
    ] {
        let wanted = (uid("flowschema", way.0), uid("prioritylevelconfiguration", way.1));
        let what = format!("{method} {path} takes the way {way:?}");
        // It takes the API server a moment to know them.
        eventually(&what, SOON, async || (way_of(&operator, method, &path).await == wanted).then_some(()))
            .await;
        let others = way_of(&other, method, &path).await;
        assert_ne!(others.0, wanted.0, "another account takes the way of {method} {path} too");
    }
}

/// The UIDs of the FlowSchema and the priority level that a request fell under, refused or not.
async fn way_of(client: &Client, method: &str, path: &str) -> (String, String) {
    let request = http::Request::builder().method(method).uri(path);
    let request =
        request.header("Content-Type", "application/json").body(Body::from(b"{}".to_vec())).unwrap();
    let answer = client.send(request).await.unwrap();
    let header = |name: &str| {
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    (header("x-kubernetes-pf-flowschema-uid"), header("x-kubernetes-pf-prioritylevel-uid"))
}

fn uid(kind: &str, name: &str) -> String {
    let administrator = PLANE.administrator_user();
    administrator.kubectl(&["get", kind, name, "-o", "jsonpath={.metadata.uid}"]).expect_success()
}
