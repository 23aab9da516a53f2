//! The delivery of audit records: from the objects on which they stand to the audit stream and to people.
//!
//! `target` is where records go, and what a failure there means; `exporter` is the worker of one target. Which record
//! waits for whom is known to `kinds::outbox`, which the watches feed; messages for people are made in `notify`. Only
//! `runtime` imports this folder.

pub mod exporter;
pub mod target;
