//! Figures: what was measured, what it is held against, and whether that is good enough.

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::settings::Row;

/// One line of the report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    pub row: String,
    /// Enclaves, each with a workload, an endpoint and five connections.
    pub size: usize,
    pub what: String,
    pub unit: String,
    pub measured: f64,
    /// The same of the bare client or watcher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// How many times as much: the median over the pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    pub goal: Goal,
    /// A count above this fails the run; times never do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// Processors that others kept busy meanwhile.
    pub others: f64,
    /// Everything that was measured for it.
    pub raw: Value,
}

/// What is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Goal {
    /// The figure is there to be compared.
    None,
    AtMost(f64),
    /// So many times what the baseline takes, at most.
    Ratio(f64),
}

impl Figure {
    pub fn new(row: Row, size: usize, what: impl Into<String>, unit: &str, measured: f64) -> Self {
        Self {
            row: row.name().to_owned(),
            size,
            what: what.into(),
            unit: unit.to_owned(),
            measured,
            baseline: None,
            ratio: None,
            goal: Goal::None,
            bound: None,
            others: 0.0,
            raw: Value::Null,
        }
    }

    /// A figure of pairs: the operator's, and the baseline's of the same pair.
    pub fn paired(row: Row, size: usize, what: &str, unit: &str, pairs: &[(f64, f64)]) -> Self {
        let (operator, baseline): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let ratios: Vec<f64> = pairs.iter().map(|(operator, baseline)| operator / baseline).collect();
        Self {
            baseline: Some(median(&baseline)),
            ratio: Some(median(&ratios)).filter(|ratio| ratio.is_finite()),
            raw: json!({ "operator": operator, "baseline": baseline }),
            ..Self::new(row, size, what, unit, median(&operator))
        }
    }

    /// The median of what was measured.
    pub fn median(row: Row, size: usize, what: &str, unit: &str, values: &[f64]) -> Self {
        Self { raw: json!(values), ..Self::new(row, size, what, unit, median(values)) }
    }

    pub fn at_most(self, goal: f64) -> Self {
        Self { goal: Goal::AtMost(goal), ..self }
    }

    pub fn ratio_at_most(self, goal: f64) -> Self {
        Self { goal: Goal::Ratio(goal), ..self }
    }

    /// For counts, which do not depend on the machine.
    pub fn bound(self, bound: f64) -> Self {
        Self { bound: Some(bound), ..self }
    }

    pub fn raw(self, raw: Value) -> Self {
        Self { raw, ..self }
    }

    /// Whether the goal is reached, if there is one.
    pub fn passes(&self) -> Option<bool> {
        match self.goal {
            Goal::None => None,
            Goal::AtMost(most) => Some(self.measured <= most),
            Goal::Ratio(most) => self.ratio.map(|ratio| ratio <= most),
        }
    }

    /// Whether both are about the same thing.
    pub fn replaces(&self, other: &Self) -> bool {
        (&self.row, self.size, &self.what) == (&other.row, other.size, &other.what)
    }

    pub fn goal_text(&self) -> String {
        match self.goal {
            Goal::None => String::new(),
            Goal::AtMost(most) => format!("≤ {} {}", short(most), self.unit).trim().to_owned(),
            Goal::Ratio(most) => format!("≤ {} ×", short(most)),
        }
    }

    /// The figure as the report shows it.
    pub fn text(&self) -> String {
        let mut text = format!("{} {}", short(self.measured), self.unit).trim().to_owned();
        if let (Some(baseline), Some(ratio)) = (self.baseline, self.ratio) {
            let _ = write!(text, " (bare {}: {} ×)", short(baseline), short(ratio));
        }
        match self.passes() {
            Some(true) => text += " ✓",
            Some(false) => text += " **miss**",
            None => {}
        }
        text
    }
}

/// Three significant digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The value in the middle; of an even number, the mean of the two.
///
/// # Panics
/// Without values.
pub fn median(values: &[f64]) -> f64 {
    let (sorted, middle) = (sorted(values), values.len() / 2);
    if values.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

/// The smallest value that this share of all values does not exceed.
///
/// # Panics
/// Without values.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let sorted = sorted(values);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn sorted(values: &[f64]) -> Vec<f64> {
    assert!(!values.is_empty(), "nothing was measured");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
