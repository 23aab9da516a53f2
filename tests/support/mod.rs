//! A real Kubernetes control plane for tests and for the demo: etcd, the API server and the
//! controller manager as plain processes on the loopback interface, no containers.
//!
//! ```ignore
//! mod support;
//!
//! static PLANE: LazyLock<ControlPlane> = LazyLock::new(|| ControlPlane::start().unwrap());
//!
//! #[tokio::test]
//! async fn tenants_cannot_delete_enclaves() {
//!     let alice = PLANE.user("alice", &["tenants"]);
//!     let client = alice.client();
//!     …
//! }
//! ```
//!
//! One control plane takes about 5 seconds and half a gigabyte, so the tests of one file share
//! one, and each test uses names of its own. Nothing is left behind however the process ends,
//! see [`watchdog`]. `make control-plane` builds the programs; `KUBERNETES_VERSION` selects
//! another version. `ENCLAVE_OPERATOR_KEEP=1` keeps the folder with the logs when all has ended.
//!
//! `#[tokio::test]` makes a runtime per test, and a `kube::Client` works only while the runtime
//! lives in which it was made: share the [`ControlPlane`], and make a client per test.

// Every test file compiles this module for itself and uses a part of it. Here, as in tests,
// a broken assumption is best reported by a panic.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod analyser;
mod audit;
mod certificates;
mod components;
mod control_plane;
mod deployment;
mod effective;
mod error;
pub mod helm;
mod issuer;
mod metrics;
mod pods;
pub mod policies;
mod process;
mod programs;
mod reachability;
mod ready;
mod sink;
mod user;
mod wait;
mod watchdog;

pub use analyser::Analyser;
pub use audit::{Write, requests_after, requests_by, writes_by};
pub use control_plane::{ControlPlane, Settings};
pub use deployment::OperatorProcess;
pub use effective::wait_for_policies;
pub use error::ControlPlaneError;
pub use issuer::Issuer;
pub use metrics::METRICS;
pub use pods::PretendedPod;
pub use process::Process;
pub use programs::find_tool;
pub use reachability::{Flow, ParseError, Peer, Protocol, Reachability, Traffic};
pub use sink::{Mood, Sink};
pub use user::{Output, User};
pub use wait::{eventually, poll, wait_gone, wait_until};
