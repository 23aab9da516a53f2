//! Starting, leading, and stopping.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::future::{Either, select};
use k8s_controller::LeaderElection;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::Settings;
use crate::admission::{PolicyError, build_policies};
use crate::api::names::OPERATOR;
use crate::cluster::caches::Caches;
use crate::cluster::events::recorder;
use crate::cluster::triggers::{self, Triggers};
use crate::controllers::{self, Context};
use crate::model::life::Integrity;

/// The operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Policies(#[from] PolicyError),
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
/// When the built-in admission policies cannot be read.
pub async fn run_operator(
    client: Client,
    settings: &Settings,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let installation = settings.installation.installation();
    let built_in = Arc::new(build_policies(&installation)?);
    let (integrity_sender, integrity) =
        watch::channel(Integrity::Broken("the operator has not looked at them yet".to_owned()));
    let (communities, communities_queue) = mpsc::unbounded();
    let (enclaves, enclaves_queue) = mpsc::unbounded();
    let (requests, requests_queue) = mpsc::unbounded();
    let (caches, triggers, watches) = Caches::new(&client, |caches| Triggers {
        caches,
        queues: triggers::Queues { communities, enclaves, requests },
        built_in,
        integrity: integrity_sender,
    });
    // Dropped at the end, which ends the watches.
    let mut tasks = JoinSet::new();
    for watch in watches {
        tasks.spawn(watch);
    }

    let context = Arc::new(Context {
        client: client.clone(),
        caches: caches.clone(),
        integrity,
        recorder: recorder(client.clone(), &settings.identity),
        failures: controllers::Failures::default(),
    });
    let queues = controllers::Queues {
        communities: communities_queue,
        enclaves: enclaves_queue,
        requests: requests_queue,
    };
    let election =
        LeaderElection::new(client.clone(), &settings.installation.namespace, OPERATOR, &settings.identity);
    let lead = Box::pin(async {
        tell_who_leads(&client, settings).await;
        election
            .with_lease(async {
                if caches.wait_until_ready().await.is_ok() {
                    triggers.compare_policies();
                    info!("all caches are filled, reconciling");
                    controllers::run(context, queues).await;
                }
            })
            .await
    });
    match select(lead, std::pin::pin!(shutdown)).await {
        Either::Left((None, _)) => warn!("the lease was lost; stopping, another process leads now"),
        Either::Left((Some(()), _)) => {}
        Either::Right(((), lead)) => {
            // No write may follow the release of the lease.
            drop(lead);
            info!("stopping");
            election.release().await;
        }
    }
    Ok(())
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
