//! How long it takes until an operator that starts has looked through everything.

use serde_json::json;

use super::{Measuring, limit};
use crate::figures::{Figure, Goal};
use crate::measure::{SERVER, wait_until_quiet};
use crate::stage::{Stage, Started};

/// Up to so many enclaves a start takes [`MOST`] seconds at most, and each of more takes its share of that longer.
const ENCLAVES: usize = 1000;
const MOST: f64 = 2.0;

pub async fn measure(measuring: &mut Measuring<'_>, stage: &mut Stage) {
    let mut starts = Vec::new();
    for _ in 0..measuring.settings.pairs.max(2) {
        stage.stop_operator();
        starts.push(stage.start_operator().await);
    }
    let most = MOST * measuring.size.max(ENCLAVES) as f64 / ENCLAVES as f64;
    report(measuring, "", &starts, "in sync", Goal::AtMost(most));
    measure_cold(measuring, stage).await;
}

/// Starts right after the API server did, whose caches are empty then.
async fn measure_cold(measuring: &mut Measuring<'_>, stage: &mut Stage) {
    let (mut starts, mut server) = (Vec::new(), Vec::new());
    for _ in 0..measuring.settings.pairs {
        stage.stop_operator();
        stage.restart_api_server();
        let before = stage.api_server_cpu();
        starts.push(stage.start_operator().await);
        server.push(stage.api_server_cpu() - before);
    }
    let all = |of: fn(&Started) -> f64| -> Vec<f64> { starts.iter().map(of).collect() };
    let quiet = all(|start| start.quiet.as_secs_f64());
    let figure = measuring.median("cold start until in sync", "s", &quiet);
    let raw = json!({
        "quiet": quiet, "ready": all(|start| start.ready.as_secs_f64()), "cpu": all(|start| start.cpu),
        "server": server,
    });
    let goal = if measuring.size <= ENCLAVES { Goal::AtMost(MOST) } else { Goal::None };
    measuring.add(Figure { goal, ..figure.raw(raw) });
    measuring.add(measuring.median("processor time of the API server in a cold start", "s", &server));
    // Everybody who watches reads everything anew.
    wait_until_quiet(stage.plane.api_server_id(), SERVER, limit(measuring.size)).await;
}

/// The figures of starts, with words behind each; what the whole is called, and what it may take.
pub fn report(measuring: &mut Measuring<'_>, with: &str, starts: &[Started], whole: &str, goal: Goal) {
    let all = |of: fn(&Started) -> f64| -> Vec<f64> { starts.iter().map(of).collect() };
    let ready = all(|start| start.ready.as_secs_f64());
    measuring.add(measuring.median(&format!("start until ready{with}"), "s", &ready));
    let quiet = all(|start| start.quiet.as_secs_f64());
    let quiet = measuring.median(&format!("start until {whole}{with}"), "s", &quiet);
    measuring.add(Figure { goal, ..quiet });
    let cpu = all(|start| start.cpu);
    measuring.add(measuring.median(&format!("processor time of a start{with}"), "s", &cpu));
    let resident = all(|start| start.resident);
    let memory = measuring.median(&format!("resident memory after a start{with}"), "MiB", &resident);
    measuring.add(memory.raw(json!({ "resident": resident, "peak": all(|start| start.peak) })));
}
