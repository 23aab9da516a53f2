//! A cluster with the chart installed, and the operator as its Deployment starts it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use enclave_operator::api::Kind;
use enclave_operator::kinds::outbox::PRUNE_AFTER;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::counts::Since;
use crate::create::Creator;
use crate::measure::{CLIENT, SERVER, peak, processor_time, resident, wait_until_quiet};
use crate::settings::Settings;
use crate::support::helm::{NAMESPACE, RELEASE};
use crate::support::world::{World, wait_for_access};
use crate::support::{ControlPlane, OperatorProcess, Process, User, eventually};

/// Nothing that prepares takes longer.
const SOON: Duration = Duration::from_secs(120);
/// The operator looks through everything at its start.
const START_LIMIT: Duration = Duration::from_secs(600);
const STOP_LIMIT: Duration = Duration::from_secs(30);

pub struct Stage {
    // Dropped before the control plane.
    operator: Option<Process>,
    starts: usize,
    program: PathBuf,
    /// Declares what communities and enclaves consist of.
    pub owner: Creator,
    /// Votes.
    pub approver: Client,
    pub administrator: Client,
    /// The operator's own account.
    pub account: User,
    /// A client of that account, for baselines.
    pub bare: Creator,
    pub plane: ControlPlane,
}

/// How the operator started.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    /// Until `/readyz` said so.
    pub ready: Duration,
    /// Until it led and had nothing to do any more.
    pub quiet: Duration,
    /// Processor time in all that, in seconds.
    pub cpu: f64,
    /// Resident memory in MiB when it was quiet.
    pub resident: f64,
    /// The most until then, in MiB.
    pub peak: f64,
}

impl Stage {
    /// A new cluster with the chart, without an operator that runs.
    pub async fn set(settings: &Settings) -> Self {
        let world = World::without_operator();
        world.install();
        let World { plane, .. } = world;
        let owner = plane.user("olivia", &["owners", "enclave-owners"]);
        let approver = plane.user("bob", &["approvers"]);
        wait_for_access(&owner, "create", "enclaveconnections", "", true).await;
        let administrator = plane.administrator_user().client();
        let account = plane.service_account(NAMESPACE, RELEASE).await.unwrap();
        let stage = Self {
            operator: None,
            starts: 0,
            program: settings.program.clone(),
            owner: Creator::new(owner.client()),
            approver: approver.client(),
            administrator,
            bare: Creator::new(account.client()),
            account,
            plane,
        };
        // New kinds and policies keep the API server busy for a while.
        wait_until_quiet(stage.plane.api_server_id(), SERVER, SOON).await;
        stage
    }

    /// Starts the operator and waits until it leads and has nothing to do.
    pub async fn start_operator(&mut self) -> Started {
        let began = Instant::now();
        let process = self.spawn_operator().await;
        let id = process.id();
        let ready = began.elapsed();
        eventually("the operator leads", START_LIMIT, async || {
            process.log().contains("leading, reconciling").then_some(())
        })
        .await;
        let quiet = wait_until_quiet(id, CLIENT, START_LIMIT).await.duration_since(began).max(ready);
        self.operator = Some(process);
        let cpu = processor_time(id).as_secs_f64();
        Started { ready, quiet, cpu, resident: resident(id), peak: peak(id) }
    }

    /// Another process of the operator, which stands by while one leads; returns when its caches are
    /// filled.
    pub async fn spawn_operator(&mut self) -> Process {
        self.starts += 1;
        let identity = format!("operator-{}", self.starts);
        let deployed = OperatorProcess::read(self.administrator.clone()).await;
        let mut command = deployed.command(&self.program, &self.account, &identity);
        command.env("NO_COLOR", "1");
        let process = self.plane.spawn(command, &identity).unwrap();
        eventually("the operator is ready", START_LIMIT, async || {
            ask(&process, "/readyz")?.starts_with("HTTP/1.1 200").then_some(())
        })
        .await;
        process
    }

    /// Ends the operator in order, so that the lease is free.
    pub fn stop_operator(&mut self) {
        if let Some(operator) = self.operator.take() {
            let ended = operator.terminate(STOP_LIMIT);
            assert!(ended.is_some(), "the operator did not end:\n{}", operator.log());
        }
    }

    /// Starts the operator unless it runs.
    pub async fn resume_operator(&mut self) {
        if self.operator.is_none() {
            self.start_operator().await;
        }
    }

    /// Starts the API server anew, with empty caches, and returns when it is ready. The operator should not run.
    pub fn restart_api_server(&self) {
        self.plane.stop_api_server();
        self.plane.start_api_server().unwrap_or_else(|error| panic!("{error}"));
    }

    /// The process of the operator.
    ///
    /// # Panics
    /// If it was not started.
    pub fn operator_id(&self) -> u32 {
        self.operator.as_ref().expect("the operator runs").id()
    }

    /// Waits until the operator has nothing to do, and says since when.
    pub async fn wait_until_quiet(&self, within: Duration) -> Instant {
        wait_until_quiet(self.operator_id(), CLIENT, within).await
    }

    /// Waits until the operator has done what nobody waits for, too: `enactedAt`, and taking off what was told. Returns
    /// the processor time in seconds that the API server needed to say so.
    ///
    /// # Panics
    /// If that is not so `within` this time.
    pub async fn wait_until_settled(&self, within: Duration) -> f64 {
        let (began, mut asking) = (Instant::now(), 0.0);
        loop {
            self.wait_until_quiet(within).await;
            tokio::time::sleep(PRUNE_AFTER).await;
            self.wait_until_quiet(within).await;
            let before = self.api_server_cpu();
            let is_settled = self.is_settled().await;
            asking += self.api_server_cpu() - before;
            if is_settled {
                return asking;
            }
            assert!(began.elapsed() < within, "something is left to be written");
        }
    }

    async fn is_settled(&self) -> bool {
        for kind in Kind::ALL {
            let api: Api<DynamicObject> = Api::all_with(self.administrator.clone(), &kind.resource());
            for object in api.list(&ListParams::default()).await.unwrap() {
                let Some(status) = object.data.get("status") else { continue };
                let is_delivered =
                    status.pointer("/audit/waiting").and_then(Value::as_array).is_none_or(Vec::is_empty);
                let is_marked = kind != Kind::ApprovalRequest
                    || status.get("state") != Some(&json!("Approved"))
                    || status.get("enactedAt").is_some();
                if !is_delivered || !is_marked {
                    return false;
                }
            }
        }
        true
    }

    /// Processor time that the operator has used, in seconds.
    pub fn operator_cpu(&self) -> f64 {
        processor_time(self.operator_id()).as_secs_f64()
    }

    /// Processor time that the API server has used, in seconds.
    pub fn api_server_cpu(&self) -> f64 {
        processor_time(self.plane.api_server_id()).as_secs_f64()
    }

    /// The version of the API server.
    pub fn kubernetes(&self) -> String {
        let version = self.plane.administrator_user().kubectl(&["version", "--output=yaml"]).stdout;
        let mut versions = version.lines().filter_map(|line| line.trim().strip_prefix("gitVersion: "));
        versions.next_back().unwrap_or("unknown").to_owned()
    }

    /// Counts what the operator does from now on.
    pub fn count_requests(&self) -> Since {
        Since::now(self.plane.audit_log(), self.account.name())
    }

    /// Objects in all namespaces, as an administrator sees them.
    pub fn everywhere<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        Api::all(self.administrator.clone())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Before what it talks to.
        self.operator = None;
    }
}

/// What the operator answers.
fn ask(operator: &Process, path: &str) -> Option<String> {
    let log = operator.log();
    let serving = log.lines().rfind(|line| line.contains("serving /metrics"))?;
    // The log is JSON where nobody sets its format.
    let address = serving.split("address").nth(1)?.trim_start_matches(['=', '"', ':']);
    let address = address.split(['"', ' ']).next()?;
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
