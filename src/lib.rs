//! Enclave Operator: isolated enclaves on Kubernetes, changes that wait for approval, roles that
//! end by themselves. `ARCHITECTURE.md` shows the way through the code.

#![forbid(unsafe_code)]

pub mod admission;
pub mod api;
pub mod audit;
pub mod cluster;
pub mod controllers;
pub mod install;
pub mod kinds;
pub mod model;
pub mod notify;
pub mod plan;
pub mod runtime;
pub mod sinks;
pub mod telemetry;
