//! Communication with the API server, for any kind: [`watch`]es that keep [`cache`]s up to date (with objects that are read
//! part by part and kept compressed), [`workqueue`]s, guarded [`writes`], shared reads ([`confirm`]), [`events`], the
//! [`fence`] that stops the writes of a process that does not lead, and the [`clock`] of the API server. No kind of this
//! API group is named here. This module imports `plan` and `api`.

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
