//! What the operator holds.

use std::time::Duration;

use super::{Measuring, limit};
use crate::bare_watchers::{HOLD, HOLDING};
use crate::measure::{CLIENT, peak, processor_time, resident, wait_until_quiet};
use crate::stage::Stage;
use crate::support::{Process, eventually};

const LIMIT: Duration = Duration::from_secs(300);

pub async fn measure(measuring: &mut Measuring<'_>, stage: &mut Stage) {
    stage.wait_until_quiet(limit(measuring.size)).await;
    stage.stop_operator();
    let started = stage.start_operator().await;
    let watcher = hold_everything(stage).await;
    let (bare, bare_peak) = (resident(watcher.id()), peak(watcher.id()));
    let cpu = processor_time(watcher.id()).as_secs_f64();
    let figure = measuring.paired("resident memory after a restart", "MiB", &[(started.resident, bare)]);
    measuring.add(figure.at_most(64.0));
    let figure = measuring.paired("peak of memory in a restart", "MiB", &[(started.peak, bare_peak)]);
    measuring.add(figure);
    let figure = measuring.paired("processor time of a restart", "s", &[(started.cpu, cpu)]);
    measuring.add(figure);
}

/// B3, which holds everything.
pub async fn hold_everything(stage: &Stage) -> Process {
    let mut command = stage.account.command(&std::env::current_exe().unwrap());
    command.arg(HOLD);
    let watcher = stage.plane.spawn(command, "bare-watcher").unwrap();
    eventually("the bare watcher holds everything", LIMIT, async || {
        watcher.log().contains(HOLDING).then_some(())
    })
    .await;
    wait_until_quiet(watcher.id(), CLIENT, LIMIT).await;
    watcher
}
