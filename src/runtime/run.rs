//! Starting, leading, and stopping.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::PostParams;
use kube::{Api, Client};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info};

use super::client::Clients;
use super::election::{Election, LeaseLost};
use super::serve::run_server;
use super::settings::Settings;

use crate::admission::{PolicyError, build_policies};
use crate::api::audit::Audit;
use crate::api::community::Channel;
use crate::api::names::reason;
use crate::audit::exporter::run_exporter;
use crate::audit::target::Target;
use crate::cluster::clock::Clock;
use crate::cluster::events::Events;
use crate::cluster::watch::list_consistently;
use crate::controllers::writer::Writer;
use crate::controllers::{self, Context, revocation};
use crate::kinds::changes::run_propagation;
use crate::kinds::enqueue::Enqueuer;
use crate::kinds::policy_verifier::PolicyVerifier;
use crate::kinds::watch::run_watches;
use crate::model::approval::policy_status::{Integrity, PROPAGATING, PolicyStatus};
use crate::plan::{PlannedEvent, Severity};
use crate::sinks::{DeliveryError, EventSink};
use crate::telemetry::Metrics;

/// The operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Policies(#[from] PolicyError),
    #[error("failed to prepare the audit stream")]
    Audit(#[from] DeliveryError),
    #[error("a watch, the metrics server or the work itself ended; the reason is in the log")]
    TaskEnded,
    #[error(
        "the API server knows this process as {found}, and the admission policies let only {expected} through; run it as its service account"
    )]
    WrongAccount { found: String, expected: String },
    #[error("the lease was lost: another process leads now, or the API server could not be reached in time")]
    LeaseLost,
}

/// Runs the operator until `shutdown` ends: fills the caches, waits for the lease, and then
/// reconciles for as long as it holds the lease. The caches stay warm while it waits.
///
/// # Errors
/// When the built-in admission policies cannot be read, or a part of the process ended that must
/// not.
pub async fn run_operator(
    clients: &Clients,
    settings: &Settings,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let metrics = Metrics::default();
    let namespace = &settings.installation.namespace;
    let clock = Clock::new(Timestamp::now());
    let (client, fence) = (clock.listen(clients.reads.clone()), &clients.fence);
    // The renewals of a former term count no more.
    fence.close();
    let writer = {
        let metrics = metrics.clone();
        let count = move |method: &_, path: &_, answer| metrics.count_write(method, path, answer);
        fence.guard(client.clone(), clock.listen(clients.writes.clone()), count)
    };
    let installation = settings.installation.installation();
    let verifier = Arc::new(PolicyVerifier::new(build_policies(&installation)?, clock.clone()));
    let (policy_status_sender, policy_status) = watch::channel(None);
    let sinks = settings.audit.sinks()?;
    let enqueuer =
        Enqueuer::new(namespace, verifier, sinks.iter().map(EventSink::kind).collect(), policy_status_sender);
    let caches = enqueuer.caches.clone();
    // Dropped at the end, which ends the watches.
    let mut tasks = JoinSet::new();
    let watching = list_consistently(client.clone());
    for watch in run_watches(&watching, &enqueuer) {
        tasks.spawn(watch);
    }
    let (is_ready, ready) = watch::channel(false);
    tasks.spawn(serve(settings.listen, metrics.registry(&caches, &enqueuer.outbox), ready.clone()));
    let election = Election::new(&client, fence, settings);
    for watch in election.watches() {
        tasks.spawn(watch);
    }
    let (events, publisher) = Events::new(writer.clone(), &settings.identity);
    let report = {
        let (policy_status, namespace) = (policy_status.clone(), namespace.clone());
        let (metrics, events) = (metrics.clone(), events.clone());
        async move {
            tokio::select! {
                () = record_policy_changes(policy_status, &events, &namespace, &metrics) => {}
                () = publisher.run() => {}
            }
        }
    };

    let (known_policies, outbox) = (caches.clone(), Arc::clone(&enqueuer.outbox));
    let prune_delivered = move |uid: &str, audit: &mut Audit| outbox.prune_delivered(uid, audit);
    let context = Arc::new(Context {
        writer: Writer::new(writer, move || known_policies.observe_policies(), prune_delivered),
        enqueuer,
        policy_status,
        events,
        clock,
        ca_file: settings.audit.ca_file.clone(),
        retain_requests_for: settings.retain_requests_for,
        metrics: metrics.clone(),
        planning: controllers::planning_permits(),
        closing: controllers::closing_permits(),
    });
    if let Some(found) = observe_own_name(&client).await {
        let expected = installation.operator_username();
        if found != expected {
            return Err(RunError::WrongAccount { found, expected });
        }
    }
    let filled = async {
        caches.wait_until_filled().await;
        is_ready.send_replace(true);
        info!("all caches are filled");
        std::future::pending::<()>().await;
    };
    let targets =
        sinks.into_iter().map(Target::Stream).chain(Channel::ALL.map(Target::Notifications)).collect();
    let lead = election.lead(lead(context, ready.clone(), targets, report));
    // New writes are refused from then on, and what is under way has come to its end.
    let stop = async {
        shutdown.await;
        info!("stopping");
        fence.shut().await;
    };
    // Dropped when one of them ends: no write follows the release of the lease.
    let result = {
        let (mut lead, mut stop, mut filled) = (Box::pin(lead), Box::pin(stop), Box::pin(filled));
        tokio::select! {
            ended = &mut lead => Err(match ended {
                Err(LeaseLost) => RunError::LeaseLost,
                Ok(()) => RunError::TaskEnded,
            }),
            // A cache that nobody keeps up to date must not be believed.
            Some(_) = tasks.join_next() => Err(RunError::TaskEnded),
            () = &mut stop => Ok(()),
            () = &mut filled => Ok(()),
        }
    };
    metrics.leader.set(0);
    let result = match result {
        // While it was given back: this process stops all the same.
        Err(RunError::LeaseLost) if fence.is_released() => Ok(()),
        result => result,
    };
    if result.is_ok() {
        election.release().await;
    }
    tasks.shutdown().await;
    result
}

/// Does the work of the process that leads. Ends only by a defect, and then the process does.
async fn lead(
    context: Arc<Context>,
    mut ready: watch::Receiver<bool>,
    targets: Vec<Target>,
    report: impl Future<Output = ()>,
) {
    context.metrics.leader.set(1);
    if ready.wait_for(|is_ready| *is_ready).await.is_err() {
        return;
    }
    let enqueuer = &context.enqueuer;
    // From now on what is seen becomes work; what was seen before is enqueued once.
    enqueuer.queues.open();
    revocation::revoke_all(&context).await;
    enqueuer.compare_policies();
    enqueuer.enqueue_everything();
    info!("leading, reconciling");
    // The answers of sinks must not hold up the controllers.
    let mut exporters = JoinSet::new();
    for target in targets {
        exporters.spawn(run_exporter(Arc::clone(&context), target));
    }
    let mut closing = JoinSet::new();
    closing.spawn(revocation::run_revocation(Arc::clone(&context)));
    let controllers = async {
        tokio::select! {
            () = controllers::run(Arc::clone(&context)) => {}
            _ = closing.join_next() => error!("taking rights away ended by a defect of this program"),
            () = report => {}
            () = run_propagation(enqueuer) => {}
        }
    };
    tokio::select! {
        () = controllers => {}
        // No object goes before its records were delivered, so this must not end by itself.
        Some(_) = exporters.join_next() => error!("an exporter ended by a defect of this program"),
    }
}

/// Ends only when the address cannot be had.
async fn serve(address: SocketAddr, registry: Registry, ready: watch::Receiver<bool>) {
    if let Err(error) = run_server(address, registry, ready).await {
        error!(%address, %error, "failed to serve metrics; set --listen to a free address");
    }
}

/// Reports, in a metric and in an Event on the operator's namespace, whether the admission policies
/// are intact. Each Community shows it too, in its condition Protected.
async fn record_policy_changes(
    mut policy_status: watch::Receiver<Option<PolicyStatus>>,
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
        let now = policy_status.borrow_and_update().clone().map(|policy_status| policy_status.integrity);
        if let Some(now) = &now {
            metrics.policies_intact.set(i64::from(*now == Integrity::Intact));
        }
        match now {
            // Propagation is how being broken ends: no news then.
            Some(Integrity::Propagating) if was_broken => {}
            Some(Integrity::Propagating) => {
                was_broken = true;
                let message = format!("nothing new is enacted: {PROPAGATING}");
                let (severity, reason) = (Severity::Normal, reason::POLICIES_NOT_INTACT);
                events.publish(about.clone(), PlannedEvent { severity, reason, message });
            }
            Some(Integrity::Broken(what)) => {
                was_broken = true;
                let message = format!("nothing new is enacted: {what}");
                let (severity, reason) = (Severity::Warning, reason::POLICIES_NOT_INTACT);
                events.publish(about.clone(), PlannedEvent { severity, reason, message });
            }
            Some(Integrity::Intact) if was_broken => {
                was_broken = false;
                let message = "the admission policies are as installed again".to_owned();
                info!(message);
                let (severity, reason) = (Severity::Normal, reason::POLICIES_INTACT);
                events.publish(about.clone(), PlannedEvent { severity, reason, message });
            }
            Some(Integrity::Intact) | None => {}
        }
        if policy_status.changed().await.is_err() {
            return;
        }
    }
}

/// Returns the user name of this process as the API server sees it; `None` when that cannot be asked now.
async fn observe_own_name(client: &Client) -> Option<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.ok()?;
    review.status?.user_info?.username
}
