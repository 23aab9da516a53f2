//! What the operator does when nothing happens.

use std::time::Duration;

use serde_json::json;

use super::{Measuring, limit};
use crate::stage::Stage;

pub async fn measure(measuring: &mut Measuring<'_>, stage: &Stage) {
    stage.wait_until_settled(limit(measuring.size)).await;
    let (since, cpu) = (stage.count_requests(), stage.operator_cpu());
    // Nothing is waited for here: this time without anything is what is measured.
    let seconds = measuring.settings.seconds;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let share = (stage.operator_cpu() - cpu) / seconds as f64 * 100.0;
    let counts = since.count();
    let writes = measuring.figure("writes while nothing happens", "", counts.writes() as f64);
    measuring.add(writes.raw(json!({ "seconds": seconds, "counts": counts })).at_most(0.0).bound(0.0));
    let reads = measuring.figure("reads while nothing happens", "", counts.reads as f64);
    measuring.add(reads.at_most(0.0).bound(0.0));
    let share = measuring.figure("processor while nothing happens", "%", share);
    measuring.add(share.at_most(0.1));
}
