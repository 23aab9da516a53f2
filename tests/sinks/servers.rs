//! Servers that speak HTTP.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use enclave_operator::sinks::{HttpSettings, HttpSink, Secret};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub struct Seen {
    pub method: Method,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub struct HttpServer {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl HttpServer {
    /// Answers every request with this, until the runtime ends.
    pub async fn answering<A: IntoResponse>(answer: impl Fn() -> A + Clone + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        let answer = move |request: Request| async move {
            let (parts, body) = request.into_parts();
            let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
            let (method, uri, headers) = (parts.method, parts.uri.to_string(), parts.headers);
            record.lock().unwrap().push(Seen { method, uri, headers, body });
            let answer: Response = answer().into_response();
            answer
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        Self { port, seen }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A sink without a token.
    pub fn sink(&self) -> HttpSink {
        HttpSink::new(plain(&self.url("/secret-path"))).unwrap()
    }

    /// What was asked since it was last called.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

pub fn plain(url: &str) -> HttpSettings {
    HttpSettings { url: Secret::from(url), token: None, ca: None }
}

/// Accepts connections, reads what comes and says nothing, until the process ends.
pub fn silent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = listener.accept() {
            connections.push(connection);
        }
    });
    port
}

/// A port on which nobody listens.
pub fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Takes each request that comes over TLS, until the process ends, and counts them.
pub fn https(config: Arc<ServerConfig>) -> (u16, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::new(Mutex::new(0));
    let count = Arc::clone(&taken);
    std::thread::spawn(move || {
        while let Ok((connection, _)) = listener.accept() {
            let mut stream =
                StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), connection);
            let mut request = Vec::new();
            let mut byte = [0];
            // A client that does not trust the server ends the connection.
            while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                request.extend_from_slice(&byte);
            }
            if request.starts_with(b"POST ") {
                *count.lock().unwrap() += 1;
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
            }
        }
    });
    (port, taken)
}
