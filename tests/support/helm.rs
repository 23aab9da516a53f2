//! Helm, and the operator's chart.

use std::path::Path;
use std::process::Command;

use super::error::ControlPlaneError;
use super::programs::find_tool;
use super::user::{Output, User, run};

/// The chart of this repository.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/enclave-operator");
/// Name of the release that tests install.
pub const RELEASE: &str = "enclave-operator";
/// Where tests install it.
pub const NAMESPACE: &str = "enclave-system";

impl User {
    /// Runs Helm as this user, in the namespace of the operator, and waits for its end.
    ///
    /// # Panics
    /// If Helm is not built or cannot be started.
    pub fn helm(&self, arguments: &[&str]) -> Output {
        let program = find_tool("helm").unwrap_or_else(|error| panic!("{error}"));
        let mut command = self.command(&program);
        at_home(&mut command, &self.kubeconfig().with_extension("helm"));
        command.args(arguments).args(["--namespace", NAMESPACE]);
        run(command, "")
    }
}

/// Runs Helm without any cluster.
pub fn helm(arguments: &[&str]) -> Result<Output, ControlPlaneError> {
    let home = tempfile::tempdir().map_err(ControlPlaneError::Watchdog)?;
    let mut command = Command::new(find_tool("helm")?);
    at_home(&mut command, home.path());
    command.env("KUBECONFIG", home.path().join("none")).args(arguments);
    Ok(run(command, ""))
}

/// Plugins, repositories and settings of whoever runs the tests are not to count.
fn at_home(command: &mut Command, folder: &Path) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HELM_") {
            command.env_remove(name);
        }
    }
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, folder);
    }
}

/// Copies the chart, to make another version of it.
///
/// # Panics
/// If it cannot be copied.
pub fn copy_chart(to: &Path) {
    copy(Path::new(CHART), to).expect("the chart can be copied");
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&to)?;
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
