//! The operator's process, and the files of this repository that follow from the code.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use enclave_operator::install::{self, chart};
use enclave_operator::runtime::client::Clients;
use enclave_operator::runtime::{RunError, Settings, run_operator};
use tikv_jemallocator::Jemalloc;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;
use tracing_subscriber::EnvFilter;

/// The same allocator whatever C library the program is built with.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Isolated enclaves on Kubernetes: changes that wait for approval, roles that end by themselves.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator.
    Run(Box<Settings>),
    /// Write the generated files of this repository.
    Generate {
        /// Root of the repository.
        #[arg(long, default_value = ".")]
        root: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Run(settings) => run(&settings),
        Command::Generate { root } => generate(&root),
    }
}

#[tokio::main]
async fn run(settings: &Settings) -> anyhow::Result<()> {
    // Errors that the client library reports as they happen are reported again, with a hint, by the caller.
    let default_filter = "info,kube_runtime::watcher=off";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let config = kube::Config::infer().await.context("failed to find out how to reach the API server")?;
    let clients = Clients::connect(&config, &settings.installation.namespace)
        .context("failed to make a client for the API server")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    loop {
        let shutdown = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        match Box::pin(run_operator(&clients, settings, shutdown)).await {
            // Nothing that was believed as the leader is kept: caches are filled anew.
            Err(RunError::LeaseLost) => warn!("{}; waiting for it again", RunError::LeaseLost),
            result => return Ok(result?),
        }
    }
}

fn generate(root: &Path) -> anyhow::Result<()> {
    let crds = root.join("crds");
    empty(&crds)?;
    for (name, yaml) in install::crd_files()? {
        std::fs::write(crds.join(name), yaml)?;
    }
    std::fs::write(root.join("docs/audit-event.schema.json"), install::audit_schema())?;
    let templates = root.join(chart::TEMPLATES);
    for folder in chart::GENERATED {
        empty(&templates.join(folder))?;
    }
    for (path, content) in chart::templates()? {
        std::fs::write(templates.join(path), content)?;
    }
    Ok(())
}

/// Files that are not generated any more are removed.
fn empty(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    for entry in std::fs::read_dir(folder)? {
        std::fs::remove_file(entry?.path())?;
    }
    Ok(())
}
