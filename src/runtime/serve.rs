//! The paths that the process serves: `/metrics` for Prometheus, `/healthz` and `/readyz` for probes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::listener::BoundedListener;

/// Serves until the process ends. `/healthz` answers while the process turns; `/readyz` once `ready` is
/// true: when the caches are filled, whether it leads or stands by.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn run_server(
    address: SocketAddr,
    registry: Registry,
    ready: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let listener = BoundedListener::bind(address).await?;
    tracing::info!(address = %listener.address()?, "serving /metrics, /healthz and /readyz");
    let registry = Arc::new(registry);
    let metrics = move || async move {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &registry);
        ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
    };
    let readiness = move || async move {
        if *ready.borrow() {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the caches are not filled yet; the log says why")
        }
    };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readiness));
    axum::serve(listener, router).await
}
