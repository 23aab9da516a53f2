//! Events that are posted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{LOCATION, RETRY_AFTER, SET_COOKIE};
use enclave_operator::sinks::{DeliveryError, HttpSettings, HttpSink, Secret, Token};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::servers::{HttpServer, closed, plain, silent};
use crate::{in_time, is_child, run_as_child, tell};

fn event() -> Value {
    json!({ "specversion": "1.0", "id": "1", "source": "/enclaves", "type": "test", "data": { "name": "Zoë\n" } })
}

#[tokio::test]
async fn an_event_arrives_as_a_structured_cloud_event() {
    in_time(async {
        let server = HttpServer::answering(|| StatusCode::ACCEPTED).await;
        server.sink().deliver(&event()).await.unwrap();
        let seen = server.take();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].method, "POST");
        assert_eq!(seen[0].uri, "/secret-path");
        assert_eq!(seen[0].header("content-type"), Some("application/cloudevents+json; charset=utf-8"));
        assert_eq!(seen[0].header("authorization"), None);
        assert_eq!(serde_json::from_str::<Value>(&seen[0].body).unwrap(), event());
    })
    .await;
}

#[tokio::test]
async fn each_status_has_its_error() {
    in_time(async {
        for (status, category) in [
            (400, "Refused"),
            (401, "Refused"),
            (404, "Refused"),
            (500, "Failed"),
            (502, "Failed"),
            (304, "Misconfigured"),
        ] {
            let server = HttpServer::answering(move || StatusCode::from_u16(status).unwrap()).await;
            let error = server.sink().deliver(&event()).await.unwrap_err();
            assert_eq!(error.category(), category, "{status}");
            assert_eq!(error.retry_after(), None);
            let text = error.to_string();
            assert!(
                text.contains(&status.to_string()) && text.contains(&format!("127.0.0.1:{}", server.port)),
                "{text}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_busy_server_says_for_how_long() {
    in_time(async {
        for (status, category) in [(429, "Refused"), (503, "Failed")] {
            for (wanted, given) in [("7", 7), ("3600", 60)] {
                let answer = move || (StatusCode::from_u16(status).unwrap(), [(RETRY_AFTER, wanted)]);
                let error = HttpServer::answering(answer).await.sink().deliver(&event()).await.unwrap_err();
                assert_eq!(error.category(), category);
                assert_eq!(error.retry_after(), Some(Duration::from_secs(given)), "{status} {wanted}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn no_redirect_leads_to_another_host() {
    in_time(async {
        let other = HttpServer::answering(|| StatusCode::OK).await;
        let target = other.url("/elsewhere");
        for status in [StatusCode::FOUND, StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT] {
            let target = target.clone();
            let server = HttpServer::answering(move || (status, [(LOCATION, target.clone())])).await;
            let error = server.sink().deliver(&event()).await.unwrap_err();
            assert_eq!(error.category(), "Misconfigured");
            assert_eq!(server.take().len(), 1);
            assert!(other.take().is_empty(), "{status} was followed");
        }
    })
    .await;
}

#[tokio::test]
async fn cookies_are_not_given_back() {
    in_time(async {
        let server = HttpServer::answering(|| [(SET_COOKIE, "session=1; Path=/")]).await;
        let sink = server.sink();
        sink.deliver(&event()).await.unwrap();
        sink.deliver(&event()).await.unwrap();
        assert!(server.take().iter().all(|seen| seen.header("cookie").is_none()));
    })
    .await;
}

#[tokio::test]
async fn a_server_without_an_answer_is_given_up() {
    in_time(async {
        let sink = HttpSink::new(plain(&format!("http://127.0.0.1:{}/secret-path", silent()))).unwrap();
        let error = sink.with_limit(Duration::from_millis(100)).deliver(&event()).await.unwrap_err();
        assert_eq!(error.category(), "TimedOut");
    })
    .await;
}

#[tokio::test]
async fn where_nobody_listens_is_unreachable() {
    in_time(async {
        let sink = HttpSink::new(plain(&format!("http://127.0.0.1:{}/secret-path", closed()))).unwrap();
        let error = sink.deliver(&event()).await.unwrap_err();
        assert_eq!(error.category(), "Unreachable");
        assert!(tell(&error).contains("refused"), "{}", tell(&error));
    })
    .await;
}

#[tokio::test]
async fn an_answer_without_end_is_not_read() {
    in_time(async {
        for (status, category) in [(200, None), (500, Some("Failed"))] {
            let chunks = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&chunks);
            let answer = move || {
                let count = Arc::clone(&count);
                let body = futures::stream::repeat_with(move || {
                    count.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, std::io::Error>(vec![b'x'; 1 << 20])
                });
                (StatusCode::from_u16(status).unwrap(), Body::from_stream(body.boxed()))
            };
            let server = HttpServer::answering(answer).await;
            let result = server.sink().deliver(&event()).await;
            assert_eq!(result.err().map(|error| error.category()), category);
            // What fits into the buffers of two sockets, in MiB.
            assert!(chunks.load(Ordering::Relaxed) < 32);
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_is_read_anew_from_its_file() {
    in_time(async {
        let server = HttpServer::answering(|| StatusCode::OK).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let url = Secret::from(server.url("/"));
        let sink =
            HttpSink::new(HttpSettings { url, token: Some(Token::File(path.clone())), ca: None }).unwrap();

        let error = sink.deliver(&event()).await.unwrap_err();
        assert_eq!(error.category(), "Misconfigured");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");

        for token in ["first", "second"] {
            std::fs::write(&path, format!("{token}\n")).unwrap();
            sink.deliver(&event()).await.unwrap();
            assert_eq!(server.take()[0].header("authorization"), Some(&*format!("Bearer {token}")));
        }

        for nothing in ["", " \n", "two words", "line\nX-Injected: 1", "Zoë"] {
            std::fs::write(&path, nothing).unwrap();
            let error = sink.deliver(&event()).await.unwrap_err();
            assert_eq!(error.category(), "Misconfigured", "{nothing:?}");
            assert!(nothing.trim().is_empty() || !tell(&error).contains(nothing.trim()));
        }
        assert!(server.take().is_empty(), "nothing is sent without the token");
    })
    .await;
}

#[tokio::test]
async fn no_error_tells_the_token_or_the_path() {
    in_time(async {
        let settings = |port: u16| HttpSettings {
            url: Secret::from(format!("http://127.0.0.1:{port}/secret-path?key=secret-key")),
            token: Some(Token::Value(Secret::from("secret-token"))),
            ca: None,
        };
        let shown = format!("{:?}", settings(1));
        assert!(!shown.contains("secret-") && !shown.contains("127.0.0.1"), "{shown}");
        let refusing =
            HttpServer::answering(|| (StatusCode::NOT_FOUND, "no /secret-path for secret-token")).await;
        let failing = HttpServer::answering(|| (StatusCode::BAD_GATEWAY, "secret-token")).await;
        let leading = HttpServer::answering(|| (StatusCode::FOUND, [(LOCATION, "/secret-path")])).await;
        for port in [refusing.port, failing.port, leading.port, closed(), silent()] {
            let sink = HttpSink::new(settings(port)).unwrap().with_limit(Duration::from_secs(1));
            let error = sink.deliver(&event()).await.unwrap_err();
            assert!(!tell(&error).contains("secret-"), "{}", tell(&error));
        }
        assert_eq!(refusing.take()[0].header("authorization"), Some("Bearer secret-token"));
    })
    .await;
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for url in ["", "sink.example.com/secret-path", "ftp://sink.example.com/secret-path", "https://"] {
        assert_misconfigured(plain(url));
    }
    assert_misconfigured(plain("https://user:secret-password@sink.example.com/"));
    let ca = Some("/nowhere/ca.crt".into());
    assert_misconfigured(HttpSettings { ca, ..plain("https://sink.example.com/") });
    let token = Some(Token::Value(Secret::from("secret token")));
    assert_misconfigured(HttpSettings { token, ..plain("https://sink.example.com/") });
}

fn assert_misconfigured(settings: HttpSettings) {
    let shown = format!("{settings:?}");
    let error: DeliveryError =
        HttpSink::new(settings).err().unwrap_or_else(|| panic!("{shown} was accepted"));
    assert_eq!(error.category(), "Misconfigured");
    assert!(!tell(&error).contains("secret"), "{}", tell(&error));
}

#[tokio::test]
async fn a_proxy_is_used() {
    in_time(async {
        if is_child() {
            let sink = HttpSink::new(plain("http://sink.invalid/path")).unwrap();
            return sink.deliver(&event()).await.unwrap();
        }
        let proxy = HttpServer::answering(|| StatusCode::OK).await;
        let variables = [("HTTP_PROXY", proxy.url("")), ("http_proxy", proxy.url(""))];
        let child = tokio::task::spawn_blocking(move || {
            run_as_child(
                "http::a_proxy_is_used",
                &variables.each_ref().map(|(name, value)| (*name, &**value)),
            )
        });
        let output = child.await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(proxy.take()[0].uri, "http://sink.invalid/path");
    })
    .await;
}
