//! Tests against a real API server with the real operator, acting as the people who use it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../reach/mod.rs"]
mod reach;
#[path = "../support/mod.rs"]
mod support;
mod world;

mod audit;
mod bypass;
mod clock;
mod examples;
mod flow;
mod handover;
mod hub_and_spoke;
mod impact;
mod lock;
mod mfa;
mod mortal;
mod network;
mod reachability;
mod restart;
mod roles;
mod scale;
mod scenarios;
mod trouble;
