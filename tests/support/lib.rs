//! The parts that several tests, the demo and the bench share: a cluster in memory ([`sim`]), who should reach whom
//! ([`reach`]), the report of the bench, and a real Kubernetes control plane: etcd, the API server and the controller
//! manager as plain processes on the loopback interface, no containers.
//!
//! ```ignore
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

// As in tests, a broken assumption is best reported by a panic, and nobody forgets to use what a call returns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::new_without_default,
    clippy::return_self_not_must_use
)]

mod analyser;
mod audit;
pub mod bench;
pub mod certificates;
mod components;
mod control_plane;
mod deployment;
mod effective;
mod error;
pub mod helm;
mod issuer;
pub mod mail_server;
mod metrics;
mod pods;
pub mod policies;
mod process;
mod programs;
pub mod reach;
mod reachability;
mod ready;
pub mod seeds;
pub mod sim;
mod sink;
mod user;
mod wait;
mod watchdog;
pub mod world;

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
pub use programs::{find_tool, operator_program, repository};
pub use reachability::{Flow, ParseError, Peer, Protocol, Reachability, Traffic};
pub use sink::{Mood, Sink};
pub use user::{Output, User};
pub use wait::{eventually, poll, wait_gone, wait_until};
