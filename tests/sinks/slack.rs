//! Messages that are posted to a webhook.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use enclave_operator::sinks::{DeliveryError, Message, Secret, SlackSettings, SlackSink};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::servers::HttpServer;
use crate::{in_time, tell};

const PATH: &str = "/services/T000/B000/secret-key";

async fn deliver(server: &HttpServer, message: &Message) -> Result<(), DeliveryError> {
    let settings = SlackSettings { url: Secret::from(server.url(PATH)), ca: None };
    assert!(!format!("{settings:?}").contains("secret-key"));
    SlackSink::new(&settings).unwrap().deliver(message).await
}

#[tokio::test]
async fn a_message_is_posted_as_text() {
    in_time(async {
        let server = HttpServer::answering(|| "ok").await;
        let message =
            Message::new("alice asks to open shop", "Justification: Zoë's \"release\"\nVote by Friday");
        deliver(&server, &message).await.unwrap();
        let seen = server.take();
        assert_eq!((seen[0].method.as_str(), seen[0].uri.as_str()), ("POST", PATH));
        assert_eq!(seen[0].header("content-type"), Some("application/json; charset=utf-8"));
        let text = "alice asks to open shop\nJustification: Zoë's \"release\"\nVote by Friday";
        assert_eq!(serde_json::from_str::<Value>(&seen[0].body).unwrap(), json!({ "text": text }));
    })
    .await;
}

#[tokio::test]
async fn users_cannot_call_a_whole_channel() {
    in_time(async {
        let server = HttpServer::answering(|| "ok").await;
        let attack = "<!channel> <!here|x> <@U0001> <https://evil.example.com|Approve> @channel \",\"text\":\"<!everyone>";
        deliver(&server, &Message::new(attack, attack)).await.unwrap();
        let body: Value = serde_json::from_str(&server.take()[0].body).unwrap();
        assert_eq!(body.as_object().unwrap().len(), 1);
        let text = body["text"].as_str().unwrap();
        assert!(!text.contains(['<', '>']) && !text.contains("@channel"), "{text}");
        assert!(text.contains("&lt;!channel&gt;"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn slack_says_what_is_wrong() {
    in_time(async {
        let server = HttpServer::answering(|| (StatusCode::NOT_FOUND, "no_service\n")).await;
        let error = deliver(&server, &Message::new("subject", "")).await.unwrap_err();
        assert_eq!(error.category(), "Refused");
        assert!(error.to_string().contains("404 (no_service)"), "{error}");

        let server = HttpServer::answering(|| (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "30")])).await;
        let error = deliver(&server, &Message::new("subject", "")).await.unwrap_err();
        assert_eq!(error.retry_after().unwrap().as_secs(), 30);
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_repeats_the_path_is_not_passed_on() {
    in_time(async {
        for answer in [format!("Cannot POST {PATH}"), PATH.to_owned(), "secret-key".to_owned(), String::new()]
        {
            let server = HttpServer::answering(move || (StatusCode::NOT_FOUND, answer.clone())).await;
            let error = deliver(&server, &Message::new("subject", "")).await.unwrap_err();
            assert_eq!(error.category(), "Refused");
            assert!(
                !tell(&error).contains("secret-key") && !tell(&error).contains("services"),
                "{}",
                tell(&error)
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_reason_without_end_is_not_read() {
    in_time(async {
        let endless = || {
            let body = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 1000]));
            (StatusCode::BAD_REQUEST, Body::from_stream(body.boxed()))
        };
        let error =
            deliver(&HttpServer::answering(endless).await, &Message::new("subject", "")).await.unwrap_err();
        assert_eq!(error.category(), "Refused");
    })
    .await;
}
