//! What the other tests stand on does what they expect of it: the control plane and the analyser. The operator is
//! no part of this.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod control_plane;
mod isolation;

use std::sync::LazyLock;

use enclave_operator_testing::ControlPlane;
use kube::Client;

/// The cluster that they share.
static PLANE: LazyLock<ControlPlane> =
    LazyLock::new(|| ControlPlane::start().unwrap_or_else(|error| panic!("{error}")));

fn administrator() -> Client {
    PLANE.administrator_user().client()
}
