//! The rules of the game, pure: what is held, who decides, what is in force.
//!
//! Nothing here knows a client, a runtime or a clock; the time is an argument. That is why the
//! same functions run in controllers and in property tests.

pub mod access;
pub mod activation;
pub mod cloud_event;
pub mod diff;
pub mod digest;
pub mod facts;
pub mod gated;
pub mod grants;
pub mod impact;
pub mod kept;
pub mod letters;
pub mod life;
pub mod maintenance;
pub mod naming;
pub mod proposal;
pub mod quantity;
pub mod reach;
pub mod request;
pub mod roles;
pub mod rules;
pub mod scope;
pub mod together;
pub mod traffic;
pub mod votes;
