//! Decided requests are read when everything else is known. Until then the operator works, and concludes nothing
//! from the absence of one.

use std::sync::Arc;
use std::task::{Context, Poll};

use enclave_operator::api::State;
use enclave_operator::api::approval_request::Verdict;
use enclave_operator::runtime::run_operator;
use futures::future::BoxFuture;
use http::{Request, Response};
use kube::ResourceExt;
use kube::api::PostParams;
use kube::client::{Body, ClientBuilder};
use serde_json::json;
use tokio::sync::{Notify, Semaphore};
use tower::{Layer, Service};

use crate::support::User;
use crate::world::{
    World, active_community, communities, enclave, enclaves, hold_everything, on_a_runtime,
    operator_settings, patch, vote, wait_for_enclave, wait_for_hold, wait_for_request, wait_until_applied,
};

#[test]
fn what_was_rejected_stays_so_while_the_rejection_is_not_read_yet() {
    let world = World::without_operator();
    world.install();
    world.start_operator("decided");
    let version = on_a_runtime(async || {
        let (alice, bob) = (world.alice(), world.bob());
        active_community(&world, "kept", &json!({ "approvals": hold_everything() })).await;
        let api = enclaves(&alice, "kept");
        for name in ["refused", "open"] {
            api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
        }
        let request = wait_for_request(&alice, "kept", "refused").await;
        vote(&bob, "kept", &request, Verdict::Rejected, Some("no")).await.unwrap();
        wait_for_enclave(&api, "refused", State::Rejected).await;
        wait_for_request(&alice, "kept", "open").await;
        // From now on nobody has to be asked: if nothing were known of the request, it would be put into force.
        patch(&communities(&alice), "kept", json!({"spec": {"approvals": null}})).await.unwrap();
        let request = wait_for_hold(&communities(&alice), "kept").await;
        vote(&bob, "kept", &request, Verdict::Approved, None).await.unwrap();
        wait_until_applied(&communities(&alice), "kept").await;
        make_active(&world, "without-asking").await;
        api.get("refused").await.unwrap().resource_version()
    });
    world.kill_operator();

    let account = on_a_runtime(async || world.operator().await);
    let (released, answered) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let layer = HoldLayer { released: Arc::clone(&released), answered: Arc::clone(&answered) };
    let operator = Held::start(&account, layer);
    on_a_runtime(async || {
        let (alice, bob) = (world.alice(), world.bob());
        let api = enclaves(&alice, "kept");
        // The operator works: what was asked for is decided and put into force, and so is what needs no approval.
        let request = wait_for_request(&alice, "kept", "open").await;
        vote(&bob, "kept", &request, Verdict::Approved, None).await.unwrap();
        wait_for_enclave(&api, "open", State::Active).await;
        make_active(&world, "new").await;
        assert_eq!(api.get("refused").await.unwrap().resource_version(), version, "nothing is known of it");
        released.add_permits(1);
        answered.notified().await;
        make_active(&world, "later").await;
        assert_eq!(api.get("refused").await.unwrap().resource_version(), version, "it is as it was");
        // And what is proposed anew is judged.
        patch(&api, "refused", json!({"spec": {"description": "again"}})).await.unwrap();
        wait_for_enclave(&api, "refused", State::Active).await;
    });
    drop(operator);
}

async fn make_active(world: &World, name: &str) {
    let api = enclaves(&world.alice(), "kept");
    api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
    wait_for_enclave(&api, name, State::Active).await;
}

/// An operator in a runtime of its own, whose list of all requests is held.
struct Held(Option<tokio::runtime::Runtime>);

impl Held {
    fn start(account: &User, layer: HoldLayer) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let config = account.config();
        runtime.spawn(async move {
            let client = ClientBuilder::try_from(config).unwrap().with_layer(&layer).build();
            // The same identity as the one that was killed: it need not wait for its own lease.
            Box::pin(run_operator(client, &operator_settings("decided"), std::future::pending())).await
        });
        Self(Some(runtime))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Holds the list of all requests until there is a permit, and tells that it was answered.
#[derive(Clone)]
struct HoldLayer {
    released: Arc<Semaphore>,
    answered: Arc<Notify>,
}

impl<S> Layer<S> for HoldLayer {
    type Service = Holding<S>;

    fn layer(&self, inner: S) -> Holding<S> {
        Holding { inner, layer: self.clone() }
    }
}

struct Holding<S> {
    inner: S,
    layer: HoldLayer,
}

impl<S, B> Service<Request<Body>> for Holding<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let query = request.uri().query().unwrap_or_default();
        let is_held = request.uri().path().ends_with("/approvalrequests")
            && !query.contains("watch=true")
            && !query.contains("fieldSelector");
        let answer = self.inner.call(request);
        let HoldLayer { released, answered } = self.layer.clone();
        Box::pin(async move {
            if !is_held {
                return answer.await;
            }
            released.acquire().await.unwrap().forget();
            let answer = answer.await;
            answered.notify_one();
            answer
        })
    }
}
