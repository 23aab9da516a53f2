//! People hear of requests by the channels that their Community chose.

use std::time::Duration;

use enclave_operator::api::State;
use enclave_operator::api::approval_request::Verdict;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};

use crate::mail_server::{Mail, MailServer, Manners, flood};
use crate::reading::{change as spoil, odd_metadata};
use crate::support::{Sink, eventually};
use crate::world::{
    SOON, WORLD, World, active_community, enclave, enclaves, hold_everything, object, on_a_runtime, patch,
    vote, wait_for_enclave, wait_for_request,
};

/// A channel that failed is tried again after half a minute at the latest.
const RETRY: Duration = Duration::from_secs(60);

/// What an administrator puts into the namespace of a Community.
async fn make_secret(community: &str, data: Value) {
    make_secret_in(&WORLD, community, data).await;
}

async fn make_secret_in(world: &World, community: &str, data: Value) {
    let secrets: Api<Secret> = Api::namespaced(world.administrator(), community);
    let name = "enclave-operator-notifications";
    if secrets.get_opt(name).await.unwrap().is_some() {
        patch(&secrets, name, json!({ "stringData": data })).await.unwrap();
        return;
    }
    let secret = object(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data,
    }));
    secrets.create(&PostParams::default(), &secret).await.unwrap();
}

fn spec(channels: &[&str]) -> Value {
    json!({ "approvals": hold_everything(), "notifications": { "channels": channels } })
}

async fn wait_for_mail(server: &MailServer, subject: &str) -> Mail {
    eventually(&format!("a mail says {subject:?}"), RETRY, async || {
        let mails = server.record().mails;
        mails.into_iter().find(|mail| mail.header("Subject").is_some_and(|found| found.starts_with(subject)))
    })
    .await
}

#[test]
fn those_who_decide_and_those_who_asked_hear_of_a_request() {
    let (mail, sink) = (MailServer::new(Manners::default()), Sink::start());
    on_a_runtime(async || {
        let (alice, bob) = (WORLD.alice(), WORLD.bob());
        active_community(&WORLD, "heard", &spec(&["CloudEvents", "Slack", "Email"])).await;
        make_secret(
            "heard",
            json!({
                "smtp-url": format!("smtp://127.0.0.1:{}?tls=none", mail.port),
                "smtp-from": "enclave@example.com",
                "addresses": "approvers: approvers@example.com\nalice: alice@example.com\n",
                "slack-url": sink.chat_url(),
                "cloudevents-url": sink.url(),
            }),
        )
        .await;
        // Whatever else is in a Secret, its data is read.
        let secret = ["secret", "enclave-operator-notifications", "-n", "heard"];
        spoil(WORLD.plane.administrator_user(), &secret, &odd_metadata("v1", "x"));
        let change = json!({"justification": "<!channel> needed\r\nBcc: eve@example.com", "ticket": "CHG7"});
        let api = enclaves(&alice, "heard");
        api.create(&PostParams::default(), &enclave("e", &json!({ "change": change }))).await.unwrap();
        let request = wait_for_request(&alice, "heard", "e").await;

        let asked = wait_for_mail(&mail, "Approval needed: EnclaveCreation of Enclave e in heard").await;
        assert_eq!(asked.recipients, ["approvers@example.com"], "never those who asked");
        assert!(asked.body().contains(&format!("kubectl patch apr {request} -n heard")), "{}", asked.body());
        assert!(asked.body().contains("CHG7"), "{}", asked.body());
        assert_eq!(asked.header("Bcc"), None);
        let chat = eventually("the chat hears of it", SOON, async || sink.chat().into_iter().next()).await;
        assert!(chat.contains("group approvers") && chat.contains("Asked by:"), "{chat}");
        assert!(!chat.contains("<!channel>"), "{chat}");
        eventually("the program hears of it", SOON, async || {
            sink.taken().iter().any(|event| event["type"] == "io.enclave-operator.requested").then_some(())
        })
        .await;

        vote(&bob, "heard", &request, Verdict::Approved, Some("fine")).await.unwrap();
        let told = wait_for_mail(&mail, "Approved: EnclaveCreation of Enclave e in heard").await;
        assert_eq!(told.recipients, ["alice@example.com"]);
        assert!(told.body().contains("Approved by bob: fine"), "{}", told.body());
        eventually("the chat hears the outcome", SOON, async || (sink.chat().len() == 2).then_some(())).await;
        let kinds: Vec<Value> = sink.taken().iter().map(|event| event["type"].clone()).collect();
        assert_eq!(
            kinds,
            ["io.enclave-operator.requested", "io.enclave-operator.decided"],
            "what is for people"
        );
    });
}

/// Takes connections and says nothing.
fn silence() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    port
}

#[test]
fn servers_that_flood_or_hang_hold_up_neither_other_communities_nor_the_lease() {
    let world = World::without_operator();
    world.install();
    let operator = world.spawn_operator("unmoved");
    let (mail, sink) = (MailServer::new(Manners::default()), Sink::start());
    on_a_runtime(async || {
        let alice = world.alice();
        for (name, port) in [("flooded", flood()), ("hanging", silence())] {
            active_community(&world, name, &spec(&["Email", "Slack"])).await;
            let data = json!({
                "smtp-url": format!("smtp://127.0.0.1:{port}?tls=none"),
                "smtp-from": "enclave@example.com",
                "addresses": "approvers: approvers@example.com",
                "slack-url": format!("http://127.0.0.1:{port}/"),
            });
            make_secret_in(&world, name, data).await;
            for number in 0..3 {
                let wanted = enclave(&format!("e{number}"), &json!({}));
                enclaves(&alice, name).create(&PostParams::default(), &wanted).await.unwrap();
            }
        }
        // Who has no address is not written to, and keeps nobody from hearing.
        active_community(&world, "calm", &spec(&["Email", "Slack"])).await;
        let data = json!({
            "smtp-url": format!("smtp://127.0.0.1:{}?tls=none", mail.port),
            "smtp-from": "enclave@example.com",
            "addresses": "approvers: approvers@example.com",
            "slack-url": sink.chat_url(),
        });
        make_secret_in(&world, "calm", data).await;
        let bob = world.bob();
        for name in ["one", "two"] {
            let api = enclaves(&alice, "calm");
            api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
            let request = wait_for_request(&alice, "calm", name).await;
            let asked = std::time::Instant::now();
            wait_for_mail(&mail, &format!("Approval needed: EnclaveCreation of Enclave {name} in calm"))
                .await;
            assert!(asked.elapsed() < SOON / 4, "{:?}", asked.elapsed());
            vote(&bob, "calm", &request, Verdict::Approved, None).await.unwrap();
            wait_for_enclave(&api, name, State::Active).await;
        }
        eventually("the chat heard all of it", SOON, async || (sink.chat().len() == 4).then_some(())).await;
    });
    let log = operator.log();
    assert!(!log.contains("lease was lost"), "{log}");
    assert_eq!(mail.record().mails.len(), 2, "alice has no address");
}

#[test]
fn a_channel_that_cannot_work_is_shown_holds_nothing_up_and_is_tried_again() {
    let (mail, sink) = (MailServer::new(Manners::default()), Sink::start());
    on_a_runtime(async || {
        let (alice, bob) = (WORLD.alice(), WORLD.bob());
        active_community(&WORLD, "unheard-of", &spec(&["Slack", "Email"])).await;
        let settings = |from: &str| {
            json!({
                "smtp-url": format!("smtp://127.0.0.1:{}?tls=none", mail.port),
                "smtp-from": from,
                "addresses": "approvers: approvers@example.com\nalice: alice@example.com\n",
                "slack-url": sink.chat_url(),
            })
        };
        make_secret("unheard-of", settings("")).await;
        let api = enclaves(&alice, "unheard-of");
        api.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
        let request = wait_for_request(&alice, "unheard-of", "e").await;
        let events: Api<Event> = Api::all(WORLD.administrator());
        eventually("the Community shows it", SOON, async || {
            let all = events.list(&ListParams::default().fields("reason=NotificationFailed")).await.ok()?;
            let shown = all.items.into_iter().find(|event| {
                event.regarding.as_ref().and_then(|about| about.name.as_deref()) == Some("unheard-of")
            })?;
            let note = shown.note.unwrap();
            assert!(note.contains("smtp") && note.contains("has no smtp-from"), "{note}");
            Some(())
        })
        .await;
        eventually("the chat hears of it", SOON, async || sink.chat().into_iter().next()).await;
        vote(&bob, "unheard-of", &request, Verdict::Approved, None).await.unwrap();
        wait_for_enclave(&api, "e", State::Active).await;
        assert!(mail.record().mails.is_empty());

        make_secret("unheard-of", settings("enclave@example.com")).await;
        wait_for_mail(&mail, "Approval needed").await;
        wait_for_mail(&mail, "Approved").await;
    });
}
