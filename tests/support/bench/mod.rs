//! What `tests/bench` measures, and the report of it. `tests/pure/performance.rs` holds the report against its figures.

// Counts become floating-point figures all the time; none is near 2^52.
#![allow(clippy::cast_precision_loss)]

pub mod figures;
pub mod growth;
pub mod machine;
pub mod report;
pub mod settings;
