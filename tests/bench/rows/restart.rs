//! How long it takes until an operator that starts has looked through everything.

use serde_json::json;

use super::Measuring;
use crate::stage::{Stage, Started};

pub async fn measure(measuring: &mut Measuring<'_>, stage: &mut Stage) {
    let mut starts = Vec::new();
    for _ in 0..measuring.settings.pairs.max(2) {
        stage.stop_operator();
        starts.push(stage.start_operator().await);
    }
    report(measuring, "", &starts, Some(2.0));
}

/// The figures of starts, with words behind each, and what the whole may take in seconds.
pub fn report(measuring: &mut Measuring<'_>, with: &str, starts: &[Started], goal: Option<f64>) {
    let all = |of: fn(&Started) -> f64| -> Vec<f64> { starts.iter().map(of).collect() };
    let ready = all(|start| start.ready.as_secs_f64());
    measuring.add(measuring.median(&format!("start until ready{with}"), "s", &ready));
    let until = if goal.is_some() { "in sync" } else { "everything is read" };
    let quiet =
        measuring.median(&format!("start until {until}{with}"), "s", &all(|start| start.quiet.as_secs_f64()));
    measuring.add(match goal {
        Some(goal) => quiet.at_most(goal),
        None => quiet,
    });
    let cpu = all(|start| start.cpu);
    measuring.add(measuring.median(&format!("processor time of a start{with}"), "s", &cpu));
    let resident = all(|start| start.resident);
    let memory = measuring.median(&format!("resident memory after a start{with}"), "MiB", &resident);
    measuring.add(memory.raw(json!({ "resident": resident, "peak": all(|start| start.peak) })));
}
