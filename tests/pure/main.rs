//! Tests that need no control plane: pure functions, and the operator on clusters in memory. They are one program,
//! because linking it takes longer than most of them.
//!
//! `oracle` needs the analyser, which `make tools` builds. The others need nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
mod lookups;
mod oracle;
mod performance;
mod requesters;
mod schema;
mod simulation;
mod structure;
mod words;
