//! The only code that talks to the API server: caches that watches keep up to date, guarded
//! writes, and Events.

pub mod caches;
pub mod events;
pub mod observe;
pub mod triggers;
pub mod watch;
pub mod writes;
