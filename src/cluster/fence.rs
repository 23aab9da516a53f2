//! Writes pass only while this process holds the lease.
//!
//! The election ends the work when the lease is lost, but a process that was stopped for a while, or
//! whose requests are tried again, could still write before it notices. Here each write is held against
//! the latest renewal, by the same clock that the election uses: when it is made, and again, for what waited
//! in between, when its bytes are given to the socket ([`Fence::is_open`]).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode};
use kube::Client;
use kube::client::Body;
use tokio::sync::watch;
use tower::service_fn;

/// The time after a renewal for which the lease is relied on; the election gives up then too. Another process
/// takes the lease at the earliest [`LEASE_DURATION`] after the renewal.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// The time for which a lease counts that is not renewed.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// The interval at which the lease is renewed.
pub const RENEW_PERIOD: Duration = Duration::from_secs(2);

/// The longest time that a stop waits for writes that are under way.
const LONGEST_DRAIN: Duration = Duration::from_millis(500);

/// A write was not sent, or its answer came too late to be waited for.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this process does not lead, or not any more")]
pub struct NotLeading;

/// Lets writes through while the lease is held.
#[derive(Clone)]
pub struct Fence {
    /// The path of the lease at the API server.
    path: Arc<str>,
    held: Arc<Mutex<Held>>,
    in_flight: watch::Sender<usize>,
}

/// The state of the lease, as far as this process knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// The lease was not held yet, or was not renewed since [`Fence::close`].
    Never,
    /// The lease may be relied on until then.
    Until(Instant),
    /// The lease is being given back.
    Released,
}

impl Fence {
    /// A closed fence around this lease.
    #[must_use]
    pub fn new(namespace: &str, lease: &str) -> Self {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{lease}");
        let held = Arc::new(Mutex::new(Held::Never));
        Self { path: path.into(), held, in_flight: watch::Sender::new(0) }
    }

    /// Whether a write may be sent now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(*self.lock(), Held::Until(until) if Instant::now() < until)
    }

    /// The client for the election: each renewal made with it opens the fence for a while.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn listen(&self, client: Client) -> Client {
        let (fence, namespace) = (self.clone(), client.default_namespace().to_owned());
        let service = service_fn(move |request: Request<Body>| {
            let (fence, client) = (fence.clone(), client.clone());
            async move {
                let renews = fence.renews(&request);
                // Others count from when they see it, which can be long before the answer is here.
                let asked = Instant::now();
                let answer = client.send(request).await?;
                if renews && answer.status().is_success() {
                    fence.extend(asked + RENEW_DEADLINE);
                }
                Ok::<_, kube::Error>(answer)
            }
        });
        Client::new(service, namespace)
    }

    /// The client for everything else: reads always pass, by the first client; writes while the lease is held, by the
    /// second. `count` observes each write that was let through: its method and path, and the answer if there was
    /// one.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn guard(
        &self,
        reads: Client,
        writes: Client,
        count: impl Fn(&Method, &str, Option<StatusCode>) + Clone + Send + Sync + 'static,
    ) -> Client {
        let (fence, namespace) = (self.clone(), reads.default_namespace().to_owned());
        let service = service_fn(move |request: Request<Body>| {
            let (fence, reads, writes, count) = (fence.clone(), reads.clone(), writes.clone(), count.clone());
            async move {
                if request.method() == Method::GET {
                    return reads.send(request).await;
                }
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let Some(permit) = fence.enter() else { return Err(refusal()) };
                let answer = tokio::select! {
                    // First of all: a process that slept must not send what is due since.
                    biased;
                    () = tokio::time::sleep_until(permit.until.into()) => Err(refusal()),
                    answer = writes.send(request) => answer,
                };
                count(&method, &path, answer.as_ref().map(http::Response::status).ok());
                // The socket says no in the words of a connection that broke, and nobody needs another answer.
                answer.map_err(|error| if fence.is_open() { error } else { refusal() })
            }
        });
        Client::new(service, namespace)
    }

    /// Lets no write through until the lease is renewed.
    pub fn close(&self) {
        let mut held = self.lock();
        if let Held::Until(_) = *held {
            *held = Held::Never;
        }
    }

    /// Whether the lease is being given back: this process stops.
    #[must_use]
    pub fn is_released(&self) -> bool {
        *self.lock() == Held::Released
    }

    /// Lets no write through any more, and waits for the answers to those that were sent, not for long.
    pub async fn shut(&self) {
        *self.lock() = Held::Released;
        let mut in_flight = self.in_flight.subscribe();
        let _ = tokio::time::timeout(LONGEST_DRAIN, in_flight.wait_for(|writes| *writes == 0)).await;
    }

    fn renews<B>(&self, request: &Request<B>) -> bool {
        let path = request.uri().path();
        match *request.method() {
            Method::PUT => path == &*self.path,
            Method::POST => self.path.strip_prefix(path).is_some_and(|name| name.starts_with('/')),
            _ => false,
        }
    }

    /// Opens the fence until then. A lease that is given back stays so: giving it back is a write of the lease as
    /// well.
    fn extend(&self, until: Instant) {
        let mut held = self.lock();
        if *held != Held::Released {
            *held = Held::Until(until);
        }
    }

    fn enter(&self) -> Option<Permit<'_>> {
        // Under the same lock as `shut`: what it does not wait for is not let through.
        let held = self.lock();
        let Held::Until(until) = *held else { return None };
        if Instant::now() >= until {
            return None;
        }
        self.in_flight.send_modify(|writes| *writes += 1);
        drop(held);
        Some(Permit { until, in_flight: &self.in_flight })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a write was not sent because this process does not lead.
#[must_use]
pub fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Service(error) if error.is::<NotLeading>())
}

fn refusal() -> kube::Error {
    kube::Error::Service(Box::new(NotLeading))
}

/// A write that is under way.
struct Permit<'a> {
    until: Instant,
    in_flight: &'a watch::Sender<usize>,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.in_flight.send_modify(|writes| *writes = writes.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use http::Response;
    use k8s_openapi::api::coordination::v1::Lease;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::PostParams;

    use super::*;

    /// A server that says yes to everything, at once or never.
    fn server(answers: bool) -> Client {
        let service = service_fn(move |_: Request<Body>| async move {
            if !answers {
                std::future::pending::<()>().await;
            }
            Ok::<_, kube::Error>(Response::new(Body::from(b"{}".to_vec())))
        });
        Client::new(service, "default")
    }

    async fn renew(fence: &Fence) {
        let leases: Api<Lease> = Api::namespaced(fence.listen(server(true)), "enclave-system");
        leases.replace("operator", &PostParams::default(), &Lease::default()).await.unwrap();
    }

    async fn write(client: Client) -> Result<ConfigMap, kube::Error> {
        let api: Api<ConfigMap> = Api::namespaced(client, "default");
        api.create(&PostParams::default(), &ConfigMap::default()).await
    }

    fn fence() -> Fence {
        Fence::new("enclave-system", "operator")
    }

    fn guard(fence: &Fence, client: Client) -> Client {
        fence.guard(client.clone(), client, |_, _, _| {})
    }

    fn is_refused<T>(result: &Result<T, kube::Error>) -> bool {
        result.as_ref().is_err_and(super::is_refused)
    }

    #[tokio::test]
    async fn nothing_is_written_before_the_lease_is_held_and_everything_is_read() {
        let fence = fence();
        assert!(is_refused(&write(guard(&fence, server(true))).await));
        let api: Api<ConfigMap> = Api::namespaced(guard(&fence, server(true)), "default");
        api.get("anything").await.unwrap();
        renew(&fence).await;
        write(guard(&fence, server(true))).await.unwrap();
    }

    #[tokio::test]
    async fn only_this_lease_counts() {
        let fence = fence();
        let leases: Api<Lease> = Api::namespaced(fence.listen(server(true)), "enclave-system");
        leases.replace("another", &PostParams::default(), &Lease::default()).await.unwrap();
        leases.get("operator").await.unwrap();
        assert!(is_refused(&write(guard(&fence, server(true))).await));
        leases.create(&PostParams::default(), &Lease::default()).await.unwrap();
        write(guard(&fence, server(true))).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_over_lets_nothing_through_not_even_what_is_under_way() {
        let fence = fence();
        fence.extend(Instant::now());
        assert!(is_refused(&write(guard(&fence, server(true))).await));
        fence.extend(Instant::now() + Duration::from_millis(20));
        assert!(is_refused(&write(guard(&fence, server(false))).await), "it was sent again and again");
    }

    #[tokio::test]
    async fn a_stop_waits_for_what_is_under_way_and_lets_nothing_else_through() {
        let fence = fence();
        renew(&fence).await;
        let slow = write(guard(&fence, server(false)));
        let mut slow = std::pin::pin!(slow);
        let mut in_flight = fence.in_flight.subscribe();
        tokio::select! {
            _ = in_flight.wait_for(|writes| *writes == 1) => {}
            _ = slow.as_mut() => panic!("it ended"),
        }
        let shut = fence.shut();
        let mut shut = std::pin::pin!(shut);
        assert!(futures::poll!(shut.as_mut()).is_pending(), "it does not wait");
        assert!(is_refused(&write(guard(&fence, server(true))).await));
        // Giving the lease back is a write of the lease.
        renew(&fence).await;
        assert!(is_refused(&write(guard(&fence, server(true))).await));
        shut.await;
    }

    #[tokio::test]
    async fn a_stop_with_nothing_under_way_is_immediate() {
        let fence = fence();
        renew(&fence).await;
        write(guard(&fence, server(true))).await.unwrap();
        let shut = fence.shut();
        let mut shut = std::pin::pin!(shut);
        assert!(futures::poll!(shut.as_mut()).is_ready());
    }
}
