//! The process: [`settings`], the two clients and the sockets that send nothing without the lease ([`client`]), the
//! [`election`], start and shutdown ([`run`]), and the port for probes and metrics ([`serve`], with a bounded listener).
//! This module imports everything below it; only `main` and tests import it.

pub mod client;
pub mod election;
mod listener;
pub mod run;
pub mod serve;
pub mod settings;

pub use run::{RunError, run_operator};
pub use settings::Settings;
