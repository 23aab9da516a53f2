//! Where the programs of the control plane are. `tests/control-plane/build` knows.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::ControlPlaneError;

/// Paths of the programs; the names are those which the script prints.
#[derive(Debug, Clone)]
pub struct Programs {
    pub etcd: PathBuf,
    pub api_server: PathBuf,
    pub controller_manager: PathBuf,
    pub kubectl: PathBuf,
}

impl Programs {
    /// Builds nothing: that takes minutes in which a test would seem to hang.
    pub fn find() -> Result<Self, ControlPlaneError> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control-plane/build");
        let output = Command::new(&script)
            .arg("--no-build")
            .output()
            .map_err(|source| ControlPlaneError::Spawn { name: script.display().to_string(), source })?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let path = |name: &str| {
            stdout
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .map(PathBuf::from)
                .ok_or_else(|| ControlPlaneError::Programs {
                    message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                })
        };
        Ok(Self {
            etcd: path("etcd")?,
            api_server: path("kube-apiserver")?,
            controller_manager: path("kube-controller-manager")?,
            kubectl: path("kubectl")?,
        })
    }
}
