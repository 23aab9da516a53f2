//! What really passes: connections between network namespaces of this machine, under a real policy
//! agent, with the operator running. Run it with `make test-packets`; it needs root.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

mod cleanup;
mod connections;
mod policies;

use enclave_operator_testing::{self as support, world};
use tokio::sync::OnceCell;

use self::lab::Lab;
use self::world::WORLD;

/// The lab that most tests share, in the cluster that they share.
async fn lab() -> &'static Lab<'static> {
    static LAB: OnceCell<Lab<'_>> = OnceCell::const_new();
    LAB.get_or_init(async || Lab::start(&WORLD.plane).await.unwrap_or_else(|error| panic!("{error:?}"))).await
}
