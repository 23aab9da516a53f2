//! A vote takes effect only while the API server itself says that the policies are there that protect it,
//! whatever the watches of the policies say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use enclave_operator::api::State;
use enclave_operator::api::approval_request::{RequestState, Verdict};
use enclave_operator::cluster::watch::WATCH_SECONDS;
use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::in_process::{Answer, InProcess, is_write};
use crate::network::{Story, make, required, to_the_ledger};
use crate::reading::{OURS, change, odd_metadata, wait_to_see};
use crate::support::eventually;
use crate::world::{
    SOON, World, on_a_runtime, operator_settings, vote, wait_for_hold, wait_for_request_state,
    wait_for_state, wait_until_told,
};

const WITNESS: &str = "/validatingadmissionpolicybindings/enclave-operator-verify-vote";

/// What the test does with the requests of the operator.
#[derive(Clone, Default)]
struct Lie {
    /// The binding that lets votes be verified is not there, for whoever asks for it.
    is_gone: Arc<AtomicBool>,
    /// How often somebody asked for it while it was gone.
    asked: Arc<AtomicUsize>,
    /// How many lists came by a watch, and how many in pages; that of requests is a part of them at first, in pages.
    streamed: Arc<AtomicUsize>,
    paged: Arc<AtomicUsize>,
    /// How many watches would last longer than a connection may be silent.
    endless: Arc<AtomicUsize>,
}

impl Lie {
    async fn answer(self, request: Request<Body>, client: Client) -> Answer {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        if query.contains("watch=true") && !path.ends_with("/approvalrequests") {
            self.streamed.fetch_add(usize::from(query.contains("sendInitialEvents=true")), SeqCst);
            let ends = query.split('&').any(|part| part == format!("timeoutSeconds={WATCH_SECONDS}"));
            self.endless.fetch_add(usize::from(!ends), SeqCst);
        }
        let is_list = request.method() == Method::GET && query.contains("limit=");
        if is_list && !path.ends_with("/approvalrequests") {
            self.paged.fetch_add(1, SeqCst);
        }
        if request.method() == Method::GET && path.ends_with(WITNESS) && self.is_gone.load(SeqCst) {
            self.asked.fetch_add(1, SeqCst);
            let status = json!({
                "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404,
                "message": "not found",
            });
            let answer = Response::builder().status(StatusCode::NOT_FOUND);
            return Ok(answer.body(Body::from(status.to_string().into_bytes())).unwrap());
        }
        client.send(request).await
    }
}

#[test]
fn nothing_is_put_into_force_while_a_policy_is_gone_that_its_watch_still_shows() {
    let world = World::without_operator();
    world.install();
    world.start_operator("policies");
    let story =
        on_a_runtime(async || Story::begin_in(&world, "policies", required(&["ConnectionCreation"])).await);
    world.kill_operator();
    let account = on_a_runtime(async || world.operator().await);
    let lie = Lie::default();
    let operator = InProcess::start(&account, &operator_settings("policies"), {
        let lie = lie.clone();
        move |request, client| lie.clone().answer(request, client)
    });
    on_a_runtime(async || {
        let (connections, control) = (story.connections(), story.control("payments"));
        make(&connections, "EnclaveConnection", "out", to_the_ledger()).await;
        let request = wait_for_hold(&connections, "out").await;
        lie.is_gone.store(true, SeqCst);
        vote(&world.bob(), &control, &request, Verdict::Approved, None).await.unwrap();
        wait_for_request_state(&world.bob(), &control, &request, RequestState::Approved).await;
        // Once when the votes were counted, and once more when that was a while ago.
        eventually("it was tried again", SOON, async || (lie.asked.load(SeqCst) > 1).then_some(())).await;
        let gate = connections.get("out").await.unwrap().status.unwrap().gate;
        assert_eq!(gate.applied, None, "its vote was cast under other policies");
        story.wait_for_policies(&story.pods_of("payments", "api"), &[]).await;
        lie.is_gone.store(false, SeqCst);
        wait_for_state(&connections, "out", State::Connected).await;

        // Nor does anything odd that somebody writes make it read anything anew.
        let lists = || lie.streamed.load(SeqCst) + lie.paged.load(SeqCst);
        let (before, admin) = (lists(), world.plane.administrator_user());
        admin.kubectl(&["create", "namespace", "elsewhere"]).expect_success();
        admin.kubectl(&["create", "serviceaccount", "any", "-n", "elsewhere"]).expect_success();
        for number in 0..20 {
            let label = format!("x{number}");
            change(admin, &["econ", "out", "-n", &control], &odd_metadata(OURS, &label));
            change(admin, &["sa", "any", "-n", "elsewhere"], &odd_metadata("v1", &label));
            change(admin, &["com", "policies"], &odd_metadata(OURS, &label));
        }
        let connection = ["econ", "out", "-n", control.as_str()];
        change(admin, &connection, &json!({"spec": {"enabled": false}}));
        wait_to_see(admin, &connection, "{.status.state}", "Inactive").await;
        assert_eq!(lists(), before, "something is listed anew");
    });
    drop(operator);
    assert!(lie.streamed.load(SeqCst) > 15, "lists are streamed");
    assert_eq!(lie.paged.load(SeqCst), 0, "no page of a list is held whole");
    assert_eq!(lie.endless.load(SeqCst), 0, "one in which nothing happens would count as a dead connection");
}

/// Keeps what the operator writes about requests for a while.
#[derive(Clone)]
struct Delay {
    keeps: Arc<AtomicBool>,
    /// One for each write that is kept.
    kept: Arc<Semaphore>,
    /// One for each write that may go on.
    goes: Arc<Semaphore>,
}

impl Delay {
    async fn answer(self, request: Request<Body>, client: Client) -> Answer {
        let path = request.uri().path();
        let is_about_a_request = path.contains("/approvalrequests/") && path.ends_with("/status");
        if is_write(&request) && is_about_a_request && self.keeps.load(SeqCst) {
            self.kept.add_permits(1);
            self.goes.acquire().await.unwrap().forget();
        }
        client.send(request).await
    }
}

/// What ends voting is written on the version of the request that was tallied: who rejects while that write is under
/// way is heard.
#[test]
fn a_rejection_overtakes_an_approval_that_is_under_way() {
    let world = World::without_operator();
    world.install();
    world.start_operator("overtaken");
    let story =
        on_a_runtime(async || Story::begin_in(&world, "overtaken", required(&["ConnectionCreation"])).await);
    world.kill_operator();
    let account = on_a_runtime(async || world.operator().await);
    let closed = || Arc::new(Semaphore::new(0));
    let delay = Delay { keeps: Arc::default(), kept: closed(), goes: closed() };
    let operator = InProcess::start(&account, &operator_settings("overtaken"), {
        let delay = delay.clone();
        move |request, client| delay.clone().answer(request, client)
    });
    on_a_runtime(async || {
        let (connections, control) = (story.connections(), story.control("payments"));
        make(&connections, "EnclaveConnection", "out", to_the_ledger()).await;
        let request = wait_for_hold(&connections, "out").await;
        wait_for_request_state(&world.bob(), &control, &request, RequestState::Pending).await;
        wait_until_told(&world).await;
        delay.keeps.store(true, SeqCst);
        vote(&world.bob(), &control, &request, Verdict::Approved, None).await.unwrap();
        timeout(SOON, delay.kept.acquire()).await.expect("it is about to be Approved").unwrap().forget();
        vote(&world.carol(), &control, &request, Verdict::Rejected, Some("no")).await.unwrap();
        delay.keeps.store(false, SeqCst);
        delay.goes.add_permits(100);
        wait_for_request_state(&world.bob(), &control, &request, RequestState::Rejected).await;
        wait_until_told(&world).await;
        assert_eq!(connections.get("out").await.unwrap().status.unwrap().gate.applied, None);
        story.wait_for_policies(&story.pods_of("payments", "api"), &[]).await;
    });
    drop(operator);
}
