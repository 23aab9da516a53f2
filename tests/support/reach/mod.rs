//! Who should reach whom, computed from the objects of a cluster in the plainest way: every pair of
//! Pods, every protocol, every port, every address. It knows nothing of network policies, and of the
//! operator's code little more than the wire types, so that it can be held against both: against the flows of
//! `model::network::connectivity`, and against what an analyser makes of the policies.

// A broken assumption is best reported by a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod books;
mod compare;
mod model;
mod objects;
mod snapshot;

pub use books::Books;
pub use compare::{View, compare};
pub use model::disagreements;
pub use objects::Objects;
pub use snapshot::{Snapshots, labels_of};
