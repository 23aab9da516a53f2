//! What the operator holds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Measuring, Turn, limit, turns};
use crate::bare_watchers::{HOLD, HOLDING};
use crate::measure::{CLIENT, peak, processor_time, resident, wait_until_quiet};
use crate::stage::{Stage, Started};
use crate::support::{Process, eventually};

const LIMIT: Duration = Duration::from_secs(300);

pub async fn measure(measuring: &mut Measuring<'_>, stage: &mut Stage) {
    stage.wait_until_quiet(limit(measuring.size)).await;
    let (mut operator, mut bare) = (Vec::new(), Vec::new());
    // A new process in each turn, and the other one does not run.
    for turn in turns(measuring.settings.pairs) {
        stage.stop_operator();
        match turn {
            Turn::Operator => {
                let Started { cpu, resident, peak, .. } = stage.start_operator().await;
                operator.push(Holds { resident, peak, cpu });
            }
            Turn::Baseline => {
                let watcher = hold_everything(stage).await;
                bare.push(Holds::read(watcher.id()));
            }
        }
    }
    stage.resume_operator().await;
    let pairs = |of: fn(&Holds) -> f64| -> Vec<(f64, f64)> {
        operator.iter().map(of).zip(bare.iter().map(of)).collect()
    };
    let resident = measuring.paired("resident memory after a restart", "MiB", &pairs(|one| one.resident));
    // The goal is one for up to a thousand enclaves.
    measuring.add(if measuring.size <= 1000 { resident.at_most(64.0) } else { resident });
    measuring.add(measuring.paired("peak of memory in a restart", "MiB", &pairs(|one| one.peak)));
    measuring.add(measuring.paired("processor time of a restart", "s", &pairs(|one| one.cpu)));
}

/// What a process has when it has read everything.
struct Holds {
    /// In MiB, as the peak.
    resident: f64,
    peak: f64,
    /// Seconds
    cpu: f64,
}

impl Holds {
    fn read(process: u32) -> Self {
        let cpu = processor_time(process).as_secs_f64();
        Self { resident: resident(process), peak: peak(process), cpu }
    }
}

/// B3, which holds everything.
pub async fn hold_everything(stage: &Stage) -> Process {
    static STARTS: AtomicUsize = AtomicUsize::new(0);
    let mut command = stage.account.command(&std::env::current_exe().unwrap());
    command.arg(HOLD);
    // A log of its own: what an earlier one said says nothing about this one.
    let name = format!("bare-watcher-{}", STARTS.fetch_add(1, Ordering::Relaxed));
    let watcher = stage.plane.spawn(command, &name).unwrap();
    eventually("the bare watcher holds everything", LIMIT, async || {
        watcher.log().contains(HOLDING).then_some(())
    })
    .await;
    wait_until_quiet(watcher.id(), CLIENT, LIMIT).await;
    watcher
}
