//! Why there is no control plane, and what to do about it.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    #[error("failed to find the programs: {message}")]
    Programs { message: String },
    #[error("failed to make a folder for the control plane; is there space, may you write there?")]
    Watchdog(#[source] io::Error),
    #[error("failed to start {name}")]
    Spawn {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to write {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to make a certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("failed to start a runtime")]
    Runtime(#[source] io::Error),
    #[error("failed to talk to the API server")]
    Api(#[from] kube::Error),
    #[error(
        "{component} {how}; to keep its folder, set ENCLAVE_OPERATOR_KEEP=1. \
         The last lines of {log}:\n{tail}"
    )]
    NotReady {
        component: String,
        /// "ended with …" or "is not ready after …"
        how: String,
        log: String,
        tail: String,
    },
    #[error("the API server answered without a token")]
    NoToken,
    #[error("a control plane runs in {} already: end it with `make demo-down`", .0.display())]
    Running(PathBuf),
    #[error("{} exists and was not made for a control plane: choose another folder", .0.display())]
    ForeignFolder(PathBuf),
    #[error("failed to look for or to end the control plane in {}", folder.display())]
    Stop {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
}
