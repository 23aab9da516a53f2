//! Deliveries to real servers on the loopback interface: what arrives, what failures are called, and what
//! neither servers nor users can make of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod http;
mod https;
mod limit;
mod servers;
mod slack;
mod smtp;
mod smtp_trouble;
mod stdout;

use std::future::Future;
use std::process::{Command, Output};
use std::time::Duration;

use enclave_operator::plan::status::describe_error;
use enclave_operator::sinks::DeliveryError;
use enclave_operator_testing::{certificates, mail_server};

/// Ends a test that hangs.
async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test takes too long")
}

/// All that an error tells, to people and in a dump.
fn tell(error: &DeliveryError) -> String {
    format!("{error:?} {}", describe_error(error))
}

const CHILD: &str = "SINKS_TEST_CHILD";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs a test again as a process of its own, with another environment. It calls [`is_child`].
fn run_as_child(test: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .envs(variables.iter().copied())
        .env(CHILD, "1")
        .output()
        .unwrap()
}
