//! A cluster in memory: an API server with admission, and the operator, which observes and plans as in a real cluster
//! and can fail, be behind and die anywhere. Tests add what people do, and judge what comes of it by books of their
//! own; nothing here knows what should be.

mod found;
mod operator;
mod policies;
mod server;
pub mod stamp;
mod votes;

pub use found::{owned_namespace, required};
pub use operator::{Action, Dead, Hands};
pub use policies::{AdmissionPolicies, Trust};
pub use server::{Key, Outdated, SYSTEM, Server, Stored, key_of};
pub use votes::{cast, is_open};
