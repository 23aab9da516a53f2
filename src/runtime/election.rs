//! Which of the replicas leads. The protocol is client-go's, on one Lease, by `k8s_controller`; here a watch
//! of the lease saves the time until the next look at it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use http::{Request, Response};
use k8s_controller::LeaderElection;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::client::Body;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tower::service_fn;
use tracing::info;

use super::settings::Settings;
use crate::api::names::OPERATOR;
use crate::api::reading::Item;
use crate::cluster::fence::{Fence, LEASE_DURATION, RENEW_DEADLINE, RENEW_PERIOD};
use crate::cluster::unreadable::Counts;
use crate::cluster::watch::{Apis, WatchEvent, run_watch};

/// The lease was lost: another process leads now, or the API server could not be reached in time.
#[derive(Clone, Copy, Debug)]
pub struct LeaseLost;

/// This process among those that may lead.
pub struct Election {
    protocol: LeaderElection,
    fence: Fence,
    client: Client,
    namespace: String,
    identity: String,
    /// Notified when nobody holds the lease.
    released: Arc<Notify>,
}

impl Election {
    /// Takes part from when it [leads](Self::lead); renewals open the fence.
    #[must_use]
    pub fn new(client: &Client, fence: &Fence, settings: &Settings) -> Self {
        let (namespace, identity) = (settings.installation.namespace.clone(), settings.identity.clone());
        let reader = read_part_by_part(client.clone());
        let protocol = LeaderElection::new(fence.listen(reader), &namespace, OPERATOR, &identity)
            .with_lease_duration(LEASE_DURATION)
            .with_renew_deadline(RENEW_DEADLINE)
            .with_retry_period(RENEW_PERIOD);
        let (client, released) = (client.clone(), Arc::new(Notify::new()));
        Self { protocol, fence: fence.clone(), client, namespace, identity, released }
    }

    /// Returns the futures that have to run as long as the process does. They never end.
    #[must_use]
    pub fn watches(&self) -> Vec<BoxFuture<'static, ()>> {
        let (sender, seen) = watch::channel(None);
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        vec![
            watch_lease(client.clone(), namespace.clone(), Arc::clone(&self.released), sender).boxed(),
            close_behind_the_lease(self.fence.clone(), self.identity.clone(), seen.clone()).boxed(),
            free_what_expired(client, namespace, self.identity.clone(), seen).boxed(),
        ]
    }

    /// Waits for the lease, and works as long as it holds it. The work is a task of its own, so that nothing
    /// in it can keep the lease from being renewed.
    ///
    /// # Errors
    /// When the lease was lost. The work was dropped then.
    pub async fn lead(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<(), LeaseLost> {
        self.report_leader().await;
        let leads = AtomicBool::new(false);
        let mut work = Box::pin(async {
            leads.store(true, Ordering::Relaxed);
            // Aborted when it is dropped.
            let mut task = JoinSet::new();
            task.spawn(work);
            if let Some(Err(error)) = task.join_next().await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        });
        loop {
            // The election looks every few seconds whether it can have the lease; the watch tells at once.
            let is_free = async {
                self.released.notified().await;
                if leads.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                ended = self.protocol.with_lease(&mut work) => return ended.ok_or(LeaseLost),
                () = is_free => {}
            }
        }
    }

    /// Lets another process lead at once, if this one does.
    pub async fn release(&self) {
        self.protocol.release().await;
    }

    /// A second process waits in silence otherwise.
    async fn report_leader(&self) {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let lease = leases.get_opt(OPERATOR).await.ok().flatten();
        if let Some(holder) = lease.as_ref().and_then(holder).filter(|holder| *holder != self.identity) {
            info!(
                holder,
                identity = self.identity,
                "another operator process holds the lease {}/{OPERATOR}; this one takes over when it ends",
                self.namespace
            );
        }
    }
}

/// A client that answers with as much of a lease as can be read: whoever may write leases beside the operator could
/// otherwise write one that nobody could ever renew or take again.
fn read_part_by_part(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            let answer = client.send(request).await?;
            if !answer.status().is_success() {
                return Ok(answer);
            }
            let (head, body) = answer.into_parts();
            let stored = body.collect_bytes().await?;
            let read = serde_json::from_slice::<Item<Lease>>(&stored)
                .and_then(|lease| serde_json::to_vec(&lease.read().0))
                .map_err(kube::Error::SerdeError)?;
            Ok::<_, kube::Error>(Response::from_parts(head, Body::from(read)))
        }
    });
    Client::new(service, namespace)
}

/// Reports what becomes of the lease, and when nobody holds it any more. Never returns.
async fn watch_lease(
    client: Client,
    namespace: String,
    released: Arc<Notify>,
    sender: watch::Sender<Option<Lease>>,
) {
    let apis = Apis { all: Api::namespaced(client, &namespace), part: None };
    let config = Config::default().fields(&format!("metadata.name={OPERATOR}"));
    let mut listed = None;
    run_watch(
        apis,
        config,
        Duration::ZERO,
        Counts::default(),
        |_| false,
        move |seen: WatchEvent<Lease>| {
            let lease = match seen {
                WatchEvent::ListBegins => {
                    listed = None;
                    return;
                }
                WatchEvent::Applied(lease) => {
                    listed = Some(lease.clone());
                    Some(lease)
                }
                WatchEvent::Deleted(_) => None,
                WatchEvent::ListEnds | WatchEvent::PartOfListEnds => listed.take(),
            };
            if lease.as_ref().and_then(holder).is_none() {
                released.notify_one();
            }
            sender.send_replace(lease);
        },
    )
    .await;
}

/// Frees the lease of another process that did not renew it in time, so that it can be had at once. Never
/// returns.
///
/// The time is measured from when a renewal was seen, by this process' own clock, and the write succeeds
/// only on the version that was seen: clocks need not agree, and a late renewal wins.
async fn free_what_expired(
    client: Client,
    namespace: String,
    identity: String,
    mut seen: watch::Receiver<Option<Lease>>,
) {
    let leases: Api<Lease> = Api::namespaced(client, &namespace);
    loop {
        let lease = seen.borrow_and_update().clone();
        let of_another = lease.filter(|lease| holder(lease).is_some_and(|holder| holder != identity));
        let expires = async {
            match of_another {
                Some(lease) => {
                    tokio::time::sleep(LEASE_DURATION).await;
                    lease
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return },
            mut lease = expires => {
                info!(holder = holder(&lease), "the lease was not renewed in time");
                if let Some(spec) = &mut lease.spec {
                    spec.holder_identity = None;
                }
                // If it fails the lease was renewed after all, or another replica freed it.
                let _ = leases.replace(OPERATOR, &PostParams::default(), &lease).await;
                if seen.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Lets no write through from when the lease is seen to be somebody else's, or gone. Never returns.
async fn close_behind_the_lease(fence: Fence, identity: String, mut seen: watch::Receiver<Option<Lease>>) {
    // The watch may be behind: what was there before this process held it says nothing.
    let mut was_own = false;
    while seen.changed().await.is_ok() {
        let holder = seen.borrow_and_update().as_ref().and_then(holder).map(ToOwned::to_owned);
        let is_own = holder.as_ref() == Some(&identity);
        if was_own && !is_own {
            fence.close();
        }
        was_own = is_own;
    }
}

/// Returns the process that leads; a lease that was given back has nobody in it.
fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    (!holder.is_empty()).then_some(holder)
}
