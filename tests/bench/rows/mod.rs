//! The rows of the report. Each measures one thing, on a cluster that holds a [`Load`].

mod admission;
mod converged;
mod decided;
mod edit;
mod foreign;
mod memory;
mod provisioning;
mod restart;
mod roles;
mod standby;
mod votes;

use std::time::Duration;

use serde_json::json;

use crate::figures::{Figure, percentile};
use crate::load::{CONNECTIONS, Load};
use crate::measure::Others;
use crate::report::Report;
use crate::settings::{Row, Settings};
use crate::stage::Stage;

/// What the operator may take for a load until it counts as failed, on a slow and busy machine.
pub fn limit(enclaves: usize) -> Duration {
    Duration::from_secs_f64(600.0_f64.mul_add(enclaves as f64 / 1000.0, 180.0))
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Operator,
    Baseline,
}

/// The turns of so many pairs: A B B A and so on.
pub fn turns(pairs: usize) -> impl Iterator<Item = Turn> {
    (0..pairs).flat_map(|pair| {
        if pair.is_multiple_of(2) {
            [Turn::Operator, Turn::Baseline]
        } else {
            [Turn::Baseline, Turn::Operator]
        }
    })
}

/// A row that goes on.
pub struct Measuring<'a> {
    pub settings: &'a Settings,
    pub report: &'a mut Report,
    pub row: Row,
    pub size: usize,
    others: Others,
}

impl<'a> Measuring<'a> {
    fn begin(settings: &'a Settings, report: &'a mut Report, row: Row, size: usize) -> Self {
        report.say(&format!("-- {} with {size} enclaves", row.name()));
        Self { settings, report, row, size, others: Others::watch() }
    }

    pub fn say(&self, what: &str) {
        self.report.say(what);
    }

    pub fn add(&mut self, figure: Figure) {
        self.report.add(Figure { others: self.others.load(), ..figure });
    }

    pub fn figure(&self, what: impl Into<String>, unit: &str, measured: f64) -> Figure {
        Figure::new(self.row, self.size, what, unit, measured)
    }

    pub fn median(&self, what: &str, unit: &str, values: &[f64]) -> Figure {
        Figure::median(self.row, self.size, what, unit, values)
    }

    pub fn paired(&self, what: &str, unit: &str, pairs: &[(f64, f64)]) -> Figure {
        Figure::paired(self.row, self.size, what, unit, pairs)
    }

    /// A percentile of the milliseconds of each turn, in pairs.
    pub fn percentiles(
        &self,
        what: &str,
        share: f64,
        operator: &[Vec<f64>],
        baseline: &[Vec<f64>],
    ) -> Figure {
        let of =
            |turns: &[Vec<f64>]| -> Vec<f64> { turns.iter().map(|turn| percentile(turn, share)).collect() };
        let pairs: Vec<(f64, f64)> = of(operator).into_iter().zip(of(baseline)).collect();
        self.paired(what, "ms", &pairs)
    }
}

/// The load that most rows look at.
pub const fn main_load(enclaves: usize) -> Load {
    Load { community: "bench", enclaves, connections: CONNECTIONS }
}

/// Measures what is asked for.
pub async fn run(settings: &Settings, report: &mut Report) {
    for &size in &settings.sizes {
        run_at(settings, report, size).await;
    }
    if settings.wants(Row::Admission) {
        let mut measuring = Measuring::begin(settings, report, Row::Admission, 0);
        admission::measure(&mut measuring).await;
    }
}

async fn run_at(settings: &Settings, report: &mut Report, size: usize) {
    if settings.rows == [Row::Admission] {
        return;
    }
    let load = main_load(size);
    let mut stage = if settings.wants(Row::Provisioning) {
        let mut measuring = Measuring::begin(settings, report, Row::Provisioning, size);
        provisioning::measure(&mut measuring, &load).await
    } else {
        report.say(&format!("provisioning {size} enclaves to begin with"));
        let mut stage = Stage::set(settings).await;
        report.machine().kubernetes = stage.kubernetes();
        stage.start_operator().await;
        provisioning::provision(&stage, &load, &json!({})).await;
        stage
    };
    stage.wait_until_quiet(limit(size)).await;
    for row in Row::ALL {
        if !settings.wants(row) || matches!(row, Row::Provisioning | Row::Admission) {
            continue;
        }
        let measuring = &mut Measuring::begin(settings, report, row, size);
        match row {
            Row::Provisioning | Row::Admission => {}
            Row::Converged => converged::measure(measuring, &stage).await,
            Row::Memory => memory::measure(measuring, &mut stage).await,
            Row::Edit => edit::measure(measuring, &stage, &load).await,
            Row::Votes => votes::measure(measuring, &mut stage).await,
            Row::Decided => decided::measure(measuring, &mut stage).await,
            Row::Roles => roles::measure(measuring, &mut stage).await,
            Row::Standby => standby::measure(measuring, &mut stage, &load).await,
            Row::Restart => restart::measure(measuring, &mut stage).await,
            Row::Foreign => foreign::measure(measuring, &mut stage).await,
        }
    }
    stage.stop_operator();
}
