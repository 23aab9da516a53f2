//! Who can reach whom, according to an analyser that knows nothing of the operator: it reads
//! namespaces, Pods and NetworkPolicies of the live cluster, or from files, and computes what they let
//! through.
//!
//! Three limits. A Pod without an address fails the whole analysis. The analyser never lets an
//! `ipBlock` match a Pod, while most agents do match the Pod's address. And it knows no IPv6: of such a
//! block it reads the first four bytes as an address of IPv4.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::control_plane::ControlPlane;
use super::error::ControlPlaneError;
use super::programs::find_tool;
use super::reachability::Reachability;
use super::wait::poll;

const PATIENCE: Duration = Duration::from_secs(10);

/// netpol-analyzer, which takes about 50 milliseconds for a test's cluster.
#[derive(Debug, Clone)]
pub struct Analyser {
    program: PathBuf,
    source: Source,
}

/// Where the objects are.
#[derive(Debug, Clone)]
enum Source {
    Cluster { kubeconfig: PathBuf },
    Folder(PathBuf),
}

impl Analyser {
    /// An analyser of this cluster that sees everything.
    pub fn of(plane: &ControlPlane) -> Result<Self, ControlPlaneError> {
        let kubeconfig = plane.administrator_user().kubeconfig();
        Ok(Self { program: find_tool("netpolicy")?, source: Source::Cluster { kubeconfig } })
    }

    /// An analyser of the manifests in a folder.
    pub fn of_folder(folder: &Path) -> Result<Self, ControlPlaneError> {
        Ok(Self { program: find_tool("netpolicy")?, source: Source::Folder(folder.to_owned()) })
    }

    /// What the policies that the API server holds now let through.
    ///
    /// # Panics
    /// If the analyser fails for a while, with what it says. For an instant it may: while another
    /// test makes a Pod, that Pod has no address yet.
    pub fn reachability(&self) -> Reachability {
        let mut complaint = String::new();
        poll(PATIENCE, || self.list().map_err(|failure| complaint = failure).ok())
            .unwrap_or_else(|| panic!("the analyser failed: {complaint}"))
    }

    /// The same, once.
    ///
    /// # Errors
    /// If the analyser fails, with what it says.
    pub fn list(&self) -> Result<Reachability, String> {
        let mut command = Command::new(&self.program);
        // It ends before there is garbage worth collecting.
        command.env("GOGC", "off").args(["list", "--quiet", "--output", "json"]);
        match &self.source {
            Source::Cluster { kubeconfig } => command.arg("--fail").arg("--kubeconfig").arg(kubeconfig),
            // With --fail it would find nothing in any folder.
            Source::Folder(folder) => command.arg("--dirpath").arg(folder),
        };
        let output = command
            .output()
            .map_err(|error| format!("failed to start {}: {error}", self.program.display()))?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        // What it complains about it leaves out.
        if !output.status.success() || !output.stderr.is_empty() {
            return Err(format!("{stdout}\n{}", String::from_utf8_lossy(&output.stderr)));
        }
        Reachability::parse(&stdout).map_err(|error| format!("{error}\n{stdout}"))
    }
}
