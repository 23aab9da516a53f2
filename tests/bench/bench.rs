//! What the operator costs, on a real API server, held against bare clients that do the same with the
//! same objects. `make bench` and `make bench-quick` run it; `docs/performance.md` is what it wrote.
//!
//! Every row is measured as A B B A where it has a baseline: A is the operator, B the baseline. All
//! waiting is for something seen, with a deadline; all traffic stays on the loopback interface.

// A broken assumption is best reported by a panic, as in tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// Counts and durations become floating-point figures all the time; none is near 2^52.
#![allow(clippy::cast_precision_loss)]
// Rows are awaited one after the other, where the stack is all theirs.
#![allow(clippy::large_futures)]

mod bare_client;
mod bare_watchers;
mod counts;
mod create;
mod load;
mod measure;
mod rows;
mod sightings;
mod stage;

use std::process::ExitCode;

use crate::report::Report;
use crate::settings::Settings;
use enclave_operator_testing as support;
use enclave_operator_testing::bench::{figures, report, settings};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // The baselines that are processes of their own are this program again.
    if std::env::args().any(|argument| argument == bare_watchers::HOLD) {
        runtime.block_on(bare_watchers::hold());
        return ExitCode::SUCCESS;
    }
    let settings = match Settings::from_environment() {
        Ok(settings) => settings,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    if std::env::args().any(|argument| argument == report::RENDER) {
        report::render(&settings.out);
        return ExitCode::SUCCESS;
    }
    let mut report = Report::begin(&settings);
    runtime.block_on(rows::run(&settings, &mut report));
    report.write();
    let exceeded = report.exceeded_bounds();
    for line in &exceeded {
        eprintln!("{line}");
    }
    if exceeded.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
