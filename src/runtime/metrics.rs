//! What is measured, and where it can be read: `/metrics` for Prometheus, `/healthz` for probes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// 1 while the API server runs the admission policies that the operator was built with, else 0.
    pub policies_intact: Gauge<i64, AtomicI64>,
    /// How many objects give rights that nothing explains any more.
    pub overdue_closings: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let policies_intact = Gauge::default();
        let mut registry = Registry::with_prefix("enclave_operator");
        registry.register(
            "admission_policies_intact",
            "1 while the API server runs the admission policies that the operator was built with; otherwise nothing new is enacted",
            policies_intact.clone(),
        );
        let overdue_closings = Gauge::default();
        registry.register(
            "overdue_closings",
            "Roles and bindings that are over and were still there when it was last looked; they are taken away at once",
            overdue_closings.clone(),
        );
        Self { registry: Arc::new(registry), policies_intact, overdue_closings }
    }
}

impl Metrics {
    /// Serves until the process ends.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn run_server(self, address: SocketAddr) -> std::io::Result<()> {
        let listener = TcpListener::bind(address).await?;
        tracing::info!(address = %listener.local_addr()?, "serving /metrics and /healthz");
        let metrics = move || async move {
            let mut text = String::new();
            // Writing to a String cannot fail.
            let _ = encode(&mut text, &self.registry);
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
        };
        let router = Router::new().route("/metrics", get(metrics)).route("/healthz", get(|| async { "ok" }));
        axum::serve(listener, router).await
    }
}
