//! Starting, leading, and stopping.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_controller::LeaderElection;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::{error, info};

use super::Settings;
use super::metrics::Metrics;
use crate::admission::{PolicyError, build_policies};
use crate::api::names::{OPERATOR, reason};
use crate::cluster::caches::Caches;
use crate::cluster::clock::Clock;
use crate::cluster::events::Events;
use crate::cluster::sentry::{Sentry, run_settling};
use crate::cluster::triggers::{Guard, Triggers, build_queues};
use crate::controllers::{self, Context, closing};
use crate::model::life::{Integrity, SETTLING};
use crate::plan::{Notice, Severity};

/// The operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Policies(#[from] PolicyError),
    #[error("a watch or the metrics server ended; the reason is in the log")]
    TaskEnded,
    #[error(
        "the API server knows this process as {found}, and the admission policies let only {expected} through; run it as its service account"
    )]
    WrongAccount { found: String, expected: String },
    #[error("the lease was lost: another process leads now, or the API server could not be reached in time")]
    LeaseLost,
}

/// A client whose requests end in time: closing access must not wait for a connection that is
/// silently dead. Watches hear a bookmark about once a minute, so silence longer than that is a
/// fault; everything else is answered within seconds.
///
/// # Errors
/// When the configuration has no usable credentials.
pub fn build_client(mut config: kube::Config) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(Duration::from_secs(90));
    config.write_timeout = Some(Duration::from_secs(10));
    Client::try_from(config)
}

/// Runs the operator until `shutdown` ends: fills the caches, waits for the lease, and then
/// reconciles for as long as it holds the lease. The caches stay warm while it waits.
///
/// # Errors
/// When the built-in admission policies cannot be read, or a part of the process ended that must
/// not.
pub async fn run_operator(
    client: Client,
    settings: &Settings,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let clock = Clock::new(Timestamp::now());
    let client = clock.listen(client);
    let installation = settings.installation.installation();
    let sentry = Arc::new(Sentry::new(build_policies(&installation)?, clock.clone()));
    let (guard_sender, guard) = watch::channel(None);
    let (queues, work) = build_queues();
    let access = Arc::new(Notify::new());
    let (caches, triggers, watches) = Caches::new(&client, &settings.installation.namespace, |caches| {
        Triggers { caches, queues, sentry, access: Arc::clone(&access), guard: guard_sender }
    });
    // Dropped at the end, which ends the watches.
    let mut tasks = JoinSet::new();
    for watch in watches {
        tasks.spawn(watch);
    }

    let metrics = Metrics::default();
    tasks.spawn({
        let (metrics, address) = (metrics.clone(), settings.listen);
        async move {
            if let Err(error) = metrics.run_server(address).await {
                error!(%address, %error, "failed to serve metrics; set --listen to a free address");
            }
        }
    });
    let tell = {
        let (guard, namespace) = (guard.clone(), settings.installation.namespace.clone());
        let metrics = metrics.clone();
        let events = Events::new(client.clone(), &settings.identity);
        async move { run_telling_integrity(guard, &events, &namespace, &metrics).await }
    };

    let context = Arc::new(Context {
        client: client.clone(),
        caches: caches.clone(),
        guard,
        events: Events::new(client.clone(), &settings.identity),
        clock,
        retain_requests_for: settings.retain_requests_for,
        failures: controllers::Failures::default(),
        metrics,
    });
    let election =
        LeaderElection::new(client.clone(), &settings.installation.namespace, OPERATOR, &settings.identity);
    if let Some(found) = observe_own_name(&client).await {
        let expected = installation.operator_username();
        if found != expected {
            return Err(RunError::WrongAccount { found, expected });
        }
    }
    let lead = Box::pin(async {
        tell_who_leads(&client, settings).await;
        election
            .with_lease(Box::pin(async {
                if caches.wait_until_ready().await.is_ok() {
                    closing::sweep(&context).await;
                    triggers.compare_policies();
                    info!("all caches are filled, reconciling");
                    let closing = closing::run_closing(Arc::clone(&context), access);
                    futures::join!(closing, controllers::run(context, work), tell, run_settling(&triggers));
                }
            }))
            .await
    });
    tokio::select! {
        ended = lead => {
            return if ended.is_none() { Err(RunError::LeaseLost) } else { Ok(()) };
        }
        // A cache that nobody keeps up to date must not be believed.
        Some(_) = tasks.join_next() => return Err(RunError::TaskEnded),
        () = shutdown => {}
    }
    // The work was dropped with the select, so no write follows the release of the lease.
    info!("stopping");
    election.release().await;
    Ok(())
}

/// Tells, in a metric and in an Event on the operator's namespace, whether the admission policies
/// are intact. Each Community shows it too, in its condition Protected.
async fn run_telling_integrity(
    mut guard: watch::Receiver<Option<Guard>>,
    events: &Events,
    namespace: &str,
    metrics: &Metrics,
) {
    let about = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Namespace".into()),
        name: Some(namespace.to_owned()),
        ..ObjectReference::default()
    };
    let mut was_broken = false;
    loop {
        let now = guard.borrow_and_update().clone().map(|guard| guard.integrity);
        metrics.policies_intact.set(i64::from(now == Some(Integrity::Intact)));
        match now {
            // Settling is how being broken ends: no news then.
            Some(Integrity::Settling) if was_broken => {}
            Some(Integrity::Settling) => {
                was_broken = true;
                let message = format!("nothing new is enacted: {SETTLING}");
                let (severity, reason) = (Severity::Normal, reason::POLICIES_NOT_INTACT);
                events.publish(&about, Notice { severity, reason, message }).await;
            }
            Some(Integrity::Broken(what)) => {
                was_broken = true;
                let message = format!("nothing new is enacted: {what}");
                let (severity, reason) = (Severity::Warning, reason::POLICIES_NOT_INTACT);
                events.publish(&about, Notice { severity, reason, message }).await;
            }
            Some(Integrity::Intact) if was_broken => {
                was_broken = false;
                let message = "the admission policies are as installed again".to_owned();
                let (severity, reason) = (Severity::Normal, reason::POLICIES_INTACT);
                events.publish(&about, Notice { severity, reason, message }).await;
            }
            Some(Integrity::Intact) | None => {}
        }
        if guard.changed().await.is_err() {
            return;
        }
    }
}

/// Who the API server takes this process for; `None` when it cannot be asked now.
async fn observe_own_name(client: &Client) -> Option<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.ok()?;
    review.status?.user_info?.username
}

/// A second process waits in silence otherwise.
async fn tell_who_leads(client: &Client, settings: &Settings) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), &settings.installation.namespace);
    let holder = leases.get_opt(OPERATOR).await.ok().flatten().and_then(|lease| lease.spec?.holder_identity);
    if let Some(holder) = holder.filter(|holder| !holder.is_empty() && *holder != settings.identity) {
        info!(
            holder,
            identity = settings.identity,
            "another operator process holds the lease {}/{OPERATOR}; this one takes over when it ends",
            settings.installation.namespace
        );
    }
}
