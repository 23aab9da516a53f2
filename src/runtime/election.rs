//! Which of the replicas leads: the one whose name stands in the Lease, as in client-go's `leaderelection`. A watch of the
//! lease shows when it can be had, and when it is somebody else's. Each renewal opens the [`Fence`] for a while.
//!
//! How long a lease counts is measured from when a renewal was seen, by this process' own clock: clocks need not agree.
//! Every write of the lease is guarded by the version that was seen, so a late renewal wins.

use std::future::Future;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::core::Request;
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};
use tracing::{debug, info};

use super::settings::Settings;

use crate::api::names::OPERATOR;
use crate::api::reading::Item;
use crate::cluster::fence::{Fence, LEASE_DURATION, RENEW_DEADLINE, RENEW_PERIOD};
use crate::cluster::unreadable::Counts;
use crate::cluster::watch::{Apis, WatchEvent, run_watch};

/// The number of times that a lease which was written meanwhile is read again to be given back.
const ATTEMPTS_TO_RELEASE: usize = 3;

/// The lease was lost: another process leads now, or the API server could not be reached in time.
#[derive(Clone, Copy, Debug)]
pub struct LeaseLost;

/// This process among those that may lead.
pub struct Election {
    client: Client,
    fence: Fence,
    namespace: String,
    identity: String,
    seen: watch::Sender<Seen>,
}

/// The lease as the watch shows it.
#[derive(Clone, Debug)]
enum Seen {
    /// It was not listed yet.
    Unknown,
    /// There is none.
    Absent,
    /// It was seen at that time.
    There(Box<Lease>, Instant),
}

impl Seen {
    fn lease(&self) -> Option<&Lease> {
        match self {
            Self::There(lease, _) => Some(lease),
            Self::Unknown | Self::Absent => None,
        }
    }
}

/// The lease as this process wrote it, and when it asked for that. Others count from when they see it, which can be
/// long before the answer is here.
struct Renewal {
    lease: Lease,
    asked: Instant,
}

impl Election {
    /// Takes part from when it [leads](Self::lead); renewals open the fence.
    #[must_use]
    pub fn new(client: &Client, fence: &Fence, settings: &Settings) -> Self {
        Self {
            client: client.clone(),
            fence: fence.clone(),
            namespace: settings.installation.namespace.clone(),
            identity: settings.identity.clone(),
            seen: watch::Sender::new(Seen::Unknown),
        }
    }

    /// Keeps in view who holds the lease. Has to run as long as the process does; never returns.
    pub fn watch(&self) -> impl Future<Output = ()> + Send + 'static {
        let (seen, mut listed) = (self.seen.clone(), None);
        let apis = Apis { all: Api::namespaced(self.client.clone(), &self.namespace), part: None };
        let config = Config::default().fields(&format!("metadata.name={OPERATOR}"));
        let see = move |event: WatchEvent<Lease>| {
            let lease = match event {
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
            let there = |lease| Seen::There(Box::new(lease), Instant::now());
            seen.send_replace(lease.map_or(Seen::Absent, there));
        };
        run_watch(apis, config, Duration::ZERO, Counts::default(), |_| false, see)
    }

    /// Waits for the lease, and works as long as it holds it. The work is a task of its own, so that nothing
    /// in it can keep the lease from being renewed.
    ///
    /// # Errors
    /// When the lease was lost. The work was dropped then.
    pub async fn lead(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<(), LeaseLost> {
        let renewal = self.acquire().await;
        // Aborted when it is dropped.
        let mut task = JoinSet::new();
        task.spawn(work);
        tokio::select! {
            lost = self.renew(renewal) => Err(lost),
            ended = task.join_next() => match ended {
                Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Some(_) | None => Ok(()),
            },
        }
    }

    /// Lets another process lead at once, if this one does.
    pub async fn release(&self) {
        for _ in 0..ATTEMPTS_TO_RELEASE {
            let Ok(Some(mut lease)) = self.read().await else { return };
            if holder(&lease) != Some(&self.identity) {
                return;
            }
            let spec = lease.spec.get_or_insert_default();
            (spec.holder_identity, spec.lease_duration_seconds) = (None, Some(1));
            if self.write(&lease).await.is_ok() {
                return;
            }
        }
    }

    /// Waits until nobody else holds the lease, or renews it, and takes it.
    async fn acquire(&self) -> Renewal {
        let mut seen = self.seen.subscribe();
        let mut reported = None;
        loop {
            let now = seen.borrow_and_update().clone();
            let another = now.lease().and_then(holder).filter(|holder| *holder != self.identity);
            let free_at = match (&now, another) {
                (Seen::There(_, at), Some(_)) => Some(*at + LEASE_DURATION),
                (Seen::There(..), None) | (Seen::Absent, _) => Some(Instant::now()),
                (Seen::Unknown, _) => None,
            };
            if let Some(holder) = another.filter(|holder| reported.as_deref() != Some(*holder)) {
                info!(
                    holder,
                    identity = self.identity,
                    "another operator process holds the lease {}/{OPERATOR}; this one takes over when it ends",
                    self.namespace
                );
                reported = Some(holder.to_owned());
            }
            let is_free = async {
                match free_at {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = seen.changed() => continue,
                () = is_free => {}
            }
            if let Some(holder) = another {
                info!(holder, "the lease was not renewed in time");
            }
            match self.claim(now.lease()).await {
                Ok(renewal) => return renewal,
                Err(error) => debug!(%error, "failed to take the lease"),
            }
            // Another replica was faster, which the watch shows, or the API server does not answer.
            tokio::select! {
                _ = seen.changed() => {}
                () = tokio::time::sleep(RENEW_PERIOD) => {}
            }
        }
    }

    /// Renews the lease for as long as that succeeds in time and nobody else takes it.
    async fn renew(&self, first: Renewal) -> LeaseLost {
        let Renewal { lease, mut asked } = first;
        let (mut lease, mut next) = (Some(lease), asked + RENEW_PERIOD);
        let mut seen = self.seen.subscribe();
        // The watch may be behind: what was there before this process held it says nothing.
        let mut was_own = false;
        loop {
            let deadline = asked + RENEW_DEADLINE;
            tokio::select! {
                _ = seen.changed() => {
                    let now = seen.borrow_and_update().clone();
                    let is_own = now.lease().and_then(holder) == Some(&self.identity);
                    if was_own && !is_own {
                        // No write passes until it is renewed.
                        self.fence.close();
                        next = Instant::now();
                    }
                    was_own = is_own;
                }
                () = sleep_until(next.into()) => {
                    next = Instant::now() + RENEW_PERIOD;
                    let Ok(claimed) = timeout_at(deadline.into(), self.claim(lease.as_ref())).await else {
                        return LeaseLost;
                    };
                    match claimed {
                        Ok(renewal) => (lease, asked) = (Some(renewal.lease), renewal.asked),
                        Err(error) => {
                            // Somebody wrote it, or deleted it, or the API server does not answer.
                            debug!(%error, "failed to renew the lease");
                            let Ok(found) = timeout_at(deadline.into(), self.read()).await else {
                                return LeaseLost;
                            };
                            let Ok(found) = found else { continue };
                            if found.as_ref().and_then(holder).is_some_and(|holder| holder != self.identity) {
                                self.fence.close();
                                return LeaseLost;
                            }
                            lease = found;
                        }
                    }
                }
            }
        }
    }

    /// Writes this process into the lease as it was seen, or into a new one, and opens the fence.
    async fn claim(&self, before: Option<&Lease>) -> Result<Renewal, kube::Error> {
        let asked = Instant::now();
        let lease = self.write(&claimed(before, &self.identity, Timestamp::now())).await?;
        self.fence.extend(asked + RENEW_DEADLINE);
        Ok(Renewal { lease, asked })
    }

    /// Writes the lease over the version that it says, or anew if it says none.
    async fn write(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        let (parameters, body) =
            (PostParams::default(), serde_json::to_vec(lease).map_err(kube::Error::SerdeError)?);
        let request = Request::new(Lease::url_path(&(), Some(&self.namespace)));
        let request = match lease.metadata.resource_version {
            Some(_) => request.replace(OPERATOR, &parameters, body),
            None => request.create(&parameters, body),
        };
        let request = request.map_err(kube::Error::BuildRequest)?;
        Ok(self.client.request::<Item<Lease>>(request).await?.read().0)
    }

    /// Reads as much of the lease as can be read, here and in answers: whoever may write leases beside the operator could otherwise write one
    /// that nobody could ever renew or take again.
    async fn read(&self) -> Result<Option<Lease>, kube::Error> {
        let api: Api<Item<Lease>> = Api::namespaced(self.client.clone(), &self.namespace);
        Ok(api.get_opt(OPERATOR).await?.map(|lease| lease.read().0))
    }
}

/// The lease with this process as its holder.
fn claimed(before: Option<&Lease>, identity: &str, now: Timestamp) -> Lease {
    let mut lease = before.cloned().unwrap_or_default();
    lease.metadata.name = Some(OPERATOR.to_owned());
    let is_own = holder(&lease) == Some(identity);
    let known = lease.spec.unwrap_or_default();
    let transitions = known.lease_transitions.unwrap_or_default();
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
        acquire_time: known.acquire_time.filter(|_| is_own).or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(if is_own { transitions } else { transitions.saturating_add(1) }),
        ..LeaseSpec::default()
    });
    lease
}

/// Returns the process that leads; a lease that was given back has nobody in it.
fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    (!holder.is_empty()).then_some(holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_says_who_holds_it_since_when_and_how_often_it_changed_hands() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let since = |lease: &Lease| lease.spec.as_ref().unwrap().acquire_time.as_ref().unwrap().0;
        let transitions = |lease: &Lease| lease.spec.as_ref().unwrap().lease_transitions;
        let first = claimed(None, "one", at(1));
        let renewed = claimed(Some(&first), "one", at(3));
        assert_eq!((holder(&renewed), since(&renewed), transitions(&renewed)), (Some("one"), at(1), Some(1)));
        assert_eq!(renewed.spec.as_ref().unwrap().renew_time, Some(MicroTime(at(3))));
        let mut versioned = renewed;
        versioned.metadata.resource_version = Some("7".into());
        let taken = claimed(Some(&versioned), "two", at(20));
        assert_eq!((holder(&taken), since(&taken), transitions(&taken)), (Some("two"), at(20), Some(2)));
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("7"), "a late renewal wins");
    }
}
