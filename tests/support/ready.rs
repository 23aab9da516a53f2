//! When a control plane is ready.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{Api, Client, Config};

use super::error::ControlPlaneError;
use super::process::Process;

const LIMIT: Duration = Duration::from_secs(60);

/// Blocks until `probe` holds, or one of the processes ended; the first is the one to become
/// ready. The thread is there because this one may belong to a runtime already, and then cannot
/// block on another.
pub fn wait_for(
    processes: &[&Process],
    config: Config,
    probe: impl AsyncFn(&Client) -> bool + Sync,
) -> Result<(), ControlPlaneError> {
    let waiting = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ControlPlaneError::Runtime)?;
        runtime.block_on(async {
            let client = Client::try_from(config)?;
            let deadline = Instant::now() + LIMIT;
            loop {
                let probed = tokio::time::timeout_at(deadline.into(), probe(&client)).await;
                if let Some(ended) = processes.iter().find(|process| !process.is_running()) {
                    return Err(not_ready(ended));
                }
                match probed {
                    Ok(true) => return Ok(()),
                    Ok(false) if Instant::now() < deadline => {
                        tokio::time::sleep(Duration::from_millis(25)).await;
                    }
                    Ok(false) | Err(_) => return Err(not_ready(processes[0])),
                }
            }
        })
    };
    std::thread::scope(|scope| scope.spawn(waiting).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn not_ready(process: &Process) -> ControlPlaneError {
    let log = process.log();
    let skipped = log.lines().count().saturating_sub(20);
    let tail: Vec<&str> = log.lines().skip(skipped).collect();
    ControlPlaneError::NotReady {
        component: process.name().to_owned(),
        how: match process.status() {
            Some(status) => format!("ended with {status}"),
            None => format!("is not ready after {} seconds", LIMIT.as_secs()),
        },
        log: process.log_file().display().to_string(),
        tail: tail.join("\n"),
    }
}

pub async fn is_ready(client: &Client) -> bool {
    let request = http::Request::get("/readyz").body(Vec::new());
    match request {
        Ok(request) => client.request_text(request).await.is_ok_and(|text| text == "ok"),
        Err(_) => false,
    }
}

/// Whether the first things are done which the controllers do: without the account no pod is
/// admitted, and `admin`, `edit` and `view` grant nothing until they are aggregated.
pub async fn controllers_work(client: &Client) -> bool {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    if accounts.get("default").await.is_err() {
        return false;
    }
    let roles: Api<ClusterRole> = Api::all(client.clone());
    for name in ["admin", "edit", "view"] {
        let aggregated = match roles.get(name).await {
            Ok(role) => role.rules.is_some_and(|rules| !rules.is_empty()),
            Err(_) => false,
        };
        if !aggregated {
            return false;
        }
    }
    true
}
