//! Where the programs are: those of the control plane, and the tools of tests. The scripts that
//! build them know. Nothing is built here: that takes minutes in which a test would seem to hang.

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
    pub fn find() -> Result<Self, ControlPlaneError> {
        let listing = Listing::ask("tests/control-plane/build", &["--no-build"])?;
        Ok(Self {
            etcd: listing.path("etcd")?,
            api_server: listing.path("kube-apiserver")?,
            controller_manager: listing.path("kube-controller-manager")?,
            kubectl: listing.path("kubectl")?,
        })
    }
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

/// The operator, which cargo builds for every test. `CARGO_BIN_EXE_…` is set for tests themselves only, so it is looked
/// for above the folder that this program is in: that of tests is `deps`, that of the demo `examples`.
///
/// # Panics
/// If it is missing, as when the demo is started without `make demo`.
pub fn operator_program() -> PathBuf {
    let this = std::env::current_exe().expect("this program is a file");
    let folder = this.parent().and_then(Path::parent).expect("it is two folders deep");
    let program = folder.join("enclave-operator");
    assert!(program.is_file(), "{} is missing: build it, for the demo by `make demo`", program.display());
    program
}

/// The path of a program that `make tools` builds.
pub fn find_tool(name: &str) -> Result<PathBuf, ControlPlaneError> {
    Listing::ask("tests/tools/build", &["--no-build", name])?.path(name)
}

/// What such a script answered.
struct Listing {
    stdout: String,
    stderr: String,
}

impl Listing {
    fn ask(script: &str, arguments: &[&str]) -> Result<Self, ControlPlaneError> {
        let script = repository(script);
        let output = Command::new(&script)
            .args(arguments)
            .output()
            .map_err(|source| ControlPlaneError::Spawn { name: script.display().to_string(), source })?;
        Ok(Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn path(&self, name: &str) -> Result<PathBuf, ControlPlaneError> {
        self.stdout
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(PathBuf::from)
            .ok_or_else(|| ControlPlaneError::Programs { message: self.stderr.trim().to_owned() })
    }
}
