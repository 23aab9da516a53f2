//! The process: settings, leader election, start and shutdown.

pub mod client;
pub mod election;
mod listener;
pub mod run;
pub mod serve;
pub mod settings;

pub use run::{RunError, run_operator};
pub use settings::Settings;
