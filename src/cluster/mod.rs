//! The only code that talks to the API server: watches that keep caches up to date, guarded writes, and
//! Events.

pub mod cache;
pub mod clock;
mod coalesce;
pub mod confirm;
pub mod events;
pub mod fence;
mod packing;
mod slots;
pub mod text;
pub mod unreadable;
pub mod watch;
pub mod workqueue;
pub mod writes;
