//! The domain logic, pure: what is held, who decides, what is in force.
//!
//! Nothing here knows a client, a runtime or a clock; the time is an argument. That is why the
//! same functions run in controllers and in property tests. Only [`crate::api`] is imported.

pub mod approval;
pub mod audit;
pub mod digest;
pub mod lists;
pub mod naming;
pub mod network;
pub mod notification;
pub mod quantity;
pub mod rbac;
