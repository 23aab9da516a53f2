//! Whether an enclave costs more where there are many.

use std::fmt::Write;

use super::figures::{Figure, short};
use super::settings::Row;

/// An enclave is compared with one of so many,
const FROM: usize = 100;
/// at the largest size up to this one.
const TO: usize = 3000;
/// It may cost so many times as much there.
const MOST: f64 = 1.3;

/// What the figure of a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    All,
    /// One enclave, or a part of it: it is the same everywhere if nothing grows.
    One,
}

pub const FIGURES: [(Row, &str, Of); 6] = [
    (Row::Provisioning, "wall", Of::All),
    (Row::Provisioning, "processor time of the API server", Of::All),
    (Row::Provisioning, "processor time of the operator per connection", Of::One),
    (Row::Memory, "resident memory after a restart", Of::All),
    (Row::Restart, "start until in sync", Of::All),
    (Row::Restart, "processor time of a start", Of::All),
];

/// What an enclave costs at a size, divided by what it costs at [`FROM`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    pub at: usize,
    pub factor: f64,
}

impl Growth {
    /// Nothing if too little was measured.
    pub fn of(figures: &[Figure], (row, what, of): (Row, &str, Of)) -> Option<Self> {
        let of_one = |figure: &Figure| match of {
            Of::All => figure.measured / figure.size as f64,
            Of::One => figure.measured,
        };
        let all = || figures.iter().filter(|figure| figure.row == row.name() && figure.what == what);
        let first = all().find(|figure| figure.size == FROM)?;
        let last =
            all().filter(|figure| (FROM + 1..=TO).contains(&figure.size)).max_by_key(|one| one.size)?;
        Some(Self { at: last.size, factor: of_one(last) / of_one(first) })
            .filter(|growth| growth.factor.is_finite())
    }

    fn text(self) -> String {
        let passes = if self.factor <= MOST { "✓" } else { "**miss**" };
        format!("{} × at {} {passes}", short(self.factor), self.at)
    }
}

/// A table of the growth within each of these runs, or nothing if none has two sizes.
pub fn markdown<'a>(runs: impl IntoIterator<Item = (&'a str, &'a [Figure])>) -> String {
    let columns: Vec<(&str, Vec<Option<Growth>>)> = runs
        .into_iter()
        .map(|(label, figures)| (label, FIGURES.map(|figure| Growth::of(figures, figure)).to_vec()))
        .filter(|(_, column)| column.iter().any(Option::is_some))
        .collect();
    if columns.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n### Growth\n\nWhat one enclave costs at the largest size up to {TO}, divided by what it costs at {FROM}.\
         \n\n| row | | goal |"
    );
    for (label, _) in &columns {
        let _ = write!(text, " {label} |");
    }
    text += "\n|---|---|---|";
    text += &"---|".repeat(columns.len());
    for (number, (row, what, _)) in FIGURES.into_iter().enumerate() {
        let _ = write!(text, "\n| {} | {what} | ≤ {MOST} × |", row.name());
        for (_, column) in &columns {
            let _ = write!(text, " {} |", column[number].map(Growth::text).unwrap_or_default());
        }
    }
    text + "\n"
}
