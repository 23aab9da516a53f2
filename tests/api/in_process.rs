//! The operator in a runtime of its own within a test, which decides what becomes of its requests.

use enclave_operator::runtime::client::Clients;
use enclave_operator::runtime::{Settings, run_operator};
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::runtime::{Builder, Runtime};
use tower::service_fn;

use crate::support::User;
use crate::world::SOON;

/// An answer of the API server.
pub type Answer = Result<Response<Body>, kube::Error>;

/// Ends when it is dropped, with everything in it: nothing gets to say goodbye, and nothing is sent afterwards.
pub struct InProcess(Option<Runtime>);

impl InProcess {
    /// Starts the operator with this account. `meddle` is called with each of its requests and the client that can
    /// send it.
    pub fn start<F>(
        account: &User,
        settings: &Settings,
        meddle: impl Fn(Request<Body>, Client) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (config, settings) = (account.config(), settings.clone());
        runtime.spawn(async move {
            let client = Client::try_from(config).unwrap();
            let namespace = client.default_namespace().to_owned();
            let service = service_fn(move |request: Request<Body>| meddle(request, client.clone()));
            let client = Client::new(service, namespace);
            let clients = Clients::of(client, &settings.installation.namespace);
            Box::pin(run_operator(&clients, &settings, std::future::pending())).await
        });
        Self(Some(runtime))
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(SOON);
        }
    }
}

/// Whether a request changes something that the operator is for: the lease is about the process, a review only asks.
pub fn is_write(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    let is_other = path.contains("/leases") || path.ends_with("/selfsubjectreviews");
    request.method() != http::Method::GET && !is_other
}
