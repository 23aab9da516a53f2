//! Communication with the API server, for any kind: watches that keep caches up to date, conditional writes,
//! shared reads, and Events. This module imports `plan`, `admission`, `model` and `api`.

pub mod cache;
pub mod clock;
mod coalesce;
mod compression;
pub mod confirm;
pub mod events;
pub mod fence;
mod slots;
pub mod text;
pub mod unreadable;
pub mod watch;
pub mod workqueue;
pub mod writes;
