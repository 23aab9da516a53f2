//! What expires does so by the API server's clock. To the operator it looks the same whether its own
//! clock is two hours behind or the API server's is two hours ahead, and the latter is what these tests
//! let it see.

use enclave_operator::api::State;
use enclave_operator::api::approval_request::{RequestState, Verdict};
use enclave_operator::runtime::client::Clients;
use enclave_operator::runtime::run_operator;
use http::{HeaderValue, Request, header};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp, Unit};
use kube::Client;
use kube::api::PostParams;
use kube::client::Body;
use serde_json::json;
use tower::service_fn;

use crate::support::User;
use crate::world::{
    World, active_community, enclave, enclaves, hold_everything, on_a_runtime, operator_settings, requests,
    vote, wait_for_enclave, wait_for_request, wait_for_request_state,
};

const TWO_HOURS: SignedDuration = SignedDuration::from_hours(2);

#[test]
fn a_request_expires_by_the_clock_of_the_api_server() {
    let world = World::without_operator();
    world.install();
    let account = on_a_runtime(async || {
        world.plane.service_account("enclave-system", "enclave-operator").await.unwrap()
    });
    let (alice, bob) = (world.alice(), world.bob());
    let mut rules = hold_everything();
    rules["expireAfter"] = json!("1h");
    let ask = async |name: &str| {
        let api = enclaves(&alice, "clock");
        api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
        let request = wait_for_request(&alice, "clock", name).await;
        let expires = requests(&alice, "clock").get(&request).await.unwrap().spec.expires_at.0;
        (request, hours_from_now(expires))
    };

    // By the operator's own clock it would have expired an hour ago. (The admission policies lie in the
    // future too, and it relies on them all the same.)
    with_operator_in_another_time(&account, -TWO_HOURS, async {
        active_community(&world, "clock", &json!({ "approvals": rules })).await;
        let (request, hours) = ask("early").await;
        assert_eq!(hours, -1);
        vote(&bob, "clock", &request, Verdict::Approved, None).await.unwrap();
        wait_for_enclave(&enclaves(&alice, "clock"), "early", State::Active).await;
    });
    let request = with_operator_in_another_time(&account, SignedDuration::ZERO, async {
        let (request, hours) = ask("late").await;
        assert_eq!(hours, 1);
        request
    });
    // By the operator's own clock there would be an hour left.
    with_operator_in_another_time(&account, TWO_HOURS, async {
        let expired = wait_for_request_state(&bob, "clock", &request, RequestState::Expired).await;
        let decided = expired.status.unwrap().decided_at.unwrap().0;
        assert_eq!(hours_from_now(decided), 2);
        wait_for_enclave(&enclaves(&alice, "clock"), "late", State::Expired).await;
    });
}

fn hours_from_now(at: Timestamp) -> i64 {
    at.duration_since(Timestamp::now()).round(Unit::Hour).unwrap().as_hours()
}

/// Runs the operator until `story` has ended, with an API server whose clock is ahead by so much.
fn with_operator_in_another_time<T>(
    account: &User,
    ahead: SignedDuration,
    story: impl Future<Output = T>,
) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = account.config();
    runtime.spawn(async move {
        let client = in_another_time(Client::try_from(config).unwrap(), ahead);
        let settings = operator_settings("timely");
        let clients = Clients::of(client, &settings.installation.namespace);
        Box::pin(run_operator(&clients, &settings, std::future::pending())).await
    });
    let told = runtime.block_on(story);
    runtime.shutdown_background();
    told
}

fn in_another_time(client: Client, ahead: SignedDuration) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            let mut answer = client.send(request).await?;
            let date = DateTimeParser::new().parse_timestamp(&answer.headers()[header::DATE]).unwrap();
            let date = (date + ahead).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            answer.headers_mut().insert(header::DATE, HeaderValue::try_from(date).unwrap());
            Ok::<_, kube::Error>(answer)
        }
    });
    Client::new(service, namespace)
}
