//! Who can reach whom, according to an analyser that knows nothing of the operator: it reads
//! namespaces, Pods and NetworkPolicies of the live cluster and computes what they let through.
//!
//! Two limits. A Pod without an address fails the whole analysis. And the analyser never lets an
//! `ipBlock` match a Pod, while most agents do match the Pod's address.

use std::path::PathBuf;
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
    kubeconfig: PathBuf,
}

impl Analyser {
    /// An analyser of this cluster that sees everything.
    pub fn of(plane: &ControlPlane) -> Result<Self, ControlPlaneError> {
        Ok(Self { program: find_tool("netpolicy")?, kubeconfig: plane.administrator_user().kubeconfig() })
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

    fn list(&self) -> Result<Reachability, String> {
        let output = Command::new(&self.program)
            .args(["list", "--quiet", "--fail", "--output", "json", "--kubeconfig"])
            .arg(&self.kubeconfig)
            .output()
            .map_err(|error| format!("failed to start {}: {error}", self.program.display()))?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(format!("{stdout}\n{}", String::from_utf8_lossy(&output.stderr)));
        }
        Reachability::parse(&stdout).map_err(|error| format!("{error}\n{stdout}"))
    }
}
