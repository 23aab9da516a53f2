//! Tests against a real API server with the real operator, acting as the people who use it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod accepted;
mod audit;
mod bypass;
mod clock;
mod decided;
mod examples;
mod finalizer;
mod flow;
mod gaps;
mod handover;
mod hub_and_spoke;
mod impact;
mod in_process;
mod live_policies;
mod lock;
mod metrics;
mod mfa;
mod mortal;
mod network;
mod notifications;
mod reachability;
mod reading;
mod restart;
mod rights;
mod roles;
mod round_trips;
mod scale;
mod scenarios;
mod stamps;
mod trouble;
mod upgrade;
mod values;

use enclave_operator_testing::{self as support, mail_server, reach, sim::stamp, world};
