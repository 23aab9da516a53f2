//! A sink of the audit stream that a test can let fail.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::sync::{oneshot, watch};

/// What the sink does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Takes it.
    Takes,
    /// Answers 500.
    Fails,
    /// Does not answer.
    Hangs,
    /// Answers 413 to whatever holds the word POISON, and takes the rest.
    RefusesPoison,
    /// Answers 503 and asks for no pause.
    IsBusy,
}

/// A sink on the loopback interface. It ends when dropped.
pub struct Sink {
    address: SocketAddr,
    shared: Shared,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Shared {
    taken: Arc<Mutex<Vec<Value>>>,
    chat: Arc<Mutex<Vec<String>>>,
    mood: watch::Sender<Mood>,
    /// How often something came.
    asked: watch::Sender<usize>,
}

impl Sink {
    /// A sink that takes everything.
    pub fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// A sink at an address at which another one was before.
    pub fn start_at(address: SocketAddr) -> Self {
        let shared = Shared {
            taken: Arc::default(),
            chat: Arc::default(),
            mood: watch::Sender::new(Mood::Takes),
            asked: watch::Sender::new(0),
        };
        let (stop, stopped) = oneshot::channel();
        let (started, address_sent) = std::sync::mpsc::channel();
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
                    started.send(listener.local_addr().unwrap()).unwrap();
                    let router = Router::new()
                        .route("/records", post(take))
                        .route("/chat", post(chat))
                        .with_state(shared);
                    tokio::select! {
                        _ = axum::serve(listener, router) => {}
                        _ = stopped => {}
                    }
                });
            }
        });
        let address = address_sent.recv().unwrap();
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}/records", self.address)
    }

    /// The URL of an incoming webhook as Slack has it.
    pub fn chat_url(&self) -> String {
        format!("http://{}/chat", self.address)
    }

    /// The texts that were posted to the webhook.
    pub fn chat(&self) -> Vec<String> {
        self.shared.chat.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set_mood(&self, mood: Mood) {
        self.shared.mood.send_replace(mood);
    }

    /// What was taken, in its order, what came twice too.
    pub fn taken(&self) -> Vec<Value> {
        self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often something came, taken or not.
    pub fn asked(&self) -> usize {
        *self.shared.asked.borrow()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn chat(State(shared): State<Shared>, body: Bytes) -> &'static str {
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = message["text"].as_str().unwrap_or_default().to_owned();
    shared.chat.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    "ok"
}

const NO_PAUSE: [(&str, &str); 1] = [("retry-after", "0")];

async fn take(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1]) {
    shared.asked.send_modify(|asked| *asked += 1);
    let mood = *shared.mood.borrow();
    match mood {
        Mood::Takes | Mood::RefusesPoison => {}
        Mood::Fails => return (StatusCode::INTERNAL_SERVER_ERROR, NO_PAUSE),
        Mood::IsBusy => return (StatusCode::SERVICE_UNAVAILABLE, NO_PAUSE),
        Mood::Hangs => std::future::pending().await,
    }
    if mood == Mood::RefusesPoison && body.windows(6).any(|word| word == b"POISON") {
        return (StatusCode::PAYLOAD_TOO_LARGE, NO_PAUSE);
    }
    let is_cloud_event = headers
        .get("content-type")
        .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("application/cloudevents+json")));
    let Ok(event) = serde_json::from_slice(&body) else { return (StatusCode::BAD_REQUEST, NO_PAUSE) };
    if !is_cloud_event {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, NO_PAUSE);
    }
    shared.taken.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    (StatusCode::ACCEPTED, NO_PAUSE)
}
