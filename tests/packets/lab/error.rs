//! Why there is no lab, and what to do about it.

use std::io;
use std::net::Ipv4Addr;

use crate::support::ControlPlaneError;

#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("failed to make or enter a network namespace; `make test-packets` needs root")]
    Namespace(#[source] io::Error),
    #[error("failed to run {program}; `make test-packets` says what to install")]
    Run {
        program: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{program} failed: {message}")]
    Failed { program: &'static str, message: String },
    #[error("failed to set net.ipv4.{setting} in a network namespace")]
    Setting {
        setting: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("failed to listen in a network namespace")]
    Listen(#[source] io::Error),
    #[error("the new host {0} does not reach its router")]
    Silence(Ipv4Addr),
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    #[error("failed to prepare the cluster for the lab")]
    Api(#[from] kube::Error),
}
