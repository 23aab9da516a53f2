//! What is printed, and the two files that are written.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::figures::Figure;
use super::growth;
use super::machine::Machine;
use super::settings::{Row, Settings};

/// The argument that makes the harness write the report anew from its figures, and measure nothing.
pub const RENDER: &str = "render";

/// What the report says before its tables.
const INTRODUCTION: &str = include_str!("../../bench/introduction.md");

pub struct Report {
    out: PathBuf,
    runs: Vec<Run>,
    /// Figures that were measured just now.
    fresh: Vec<Figure>,
    began: Instant,
}

/// Figures with one label.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    label: String,
    date: String,
    note: String,
    machine: Machine,
    figures: Vec<Figure>,
}

impl Report {
    /// Adds to what is there already.
    ///
    /// # Panics
    /// If a report is there that cannot be read.
    pub fn begin(settings: &Settings) -> Self {
        let file = settings.out.join("performance.json");
        let mut runs: Vec<Run> = match fs::read_to_string(&file) {
            Ok(text) => read(&text)
                .unwrap_or_else(|error| panic!("failed to read {}: {error}; remove it", file.display())),
            Err(_) => Vec::new(),
        };
        let earlier = runs.iter().position(|run| run.label == settings.label);
        let figures = earlier.map(|at| runs.remove(at)).map(|run| run.figures).unwrap_or_default();
        runs.push(Run {
            label: settings.label.clone(),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            note: settings.note.clone(),
            machine: Machine::look_at(settings),
            figures,
        });
        println!("operator: {}, {}", settings.program.display(), settings.profile);
        Self { out: settings.out.clone(), runs, fresh: Vec::new(), began: Instant::now() }
    }

    pub fn machine(&mut self) -> &mut Machine {
        &mut self.current().machine
    }

    /// Says what is being done.
    pub fn say(&self, what: &str) {
        println!("[{:6.1} s] {what}", self.began.elapsed().as_secs_f64());
    }

    /// Prints a figure and keeps it.
    pub fn add(&mut self, figure: Figure) {
        let goal = figure.goal_text();
        let goal = if goal.is_empty() { goal } else { format!(", goal {goal}") };
        self.say(&format!("{} ({}): {}: {}{goal}", figure.row, figure.size, figure.what, figure.text()));
        self.fresh.push(figure.clone());
        let figures = &mut self.current().figures;
        match figures.iter_mut().find(|other| figure.replaces(other)) {
            Some(other) => *other = figure,
            None => figures.push(figure),
        }
        // What was measured is kept if the next row fails.
        self.write();
    }

    /// Counts that are too high, in words.
    pub fn exceeded_bounds(&self) -> Vec<String> {
        let exceeded = |figure: &&Figure| figure.bound.is_some_and(|bound| figure.measured > bound);
        self.fresh
            .iter()
            .filter(exceeded)
            .map(|figure| {
                let bound = figure.bound.unwrap_or_default();
                format!(
                    "{} ({} enclaves): {}: {} is more than {bound}",
                    figure.row, figure.size, figure.what, figure.measured
                )
            })
            .collect()
    }

    /// Writes both files.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn write(&self) {
        fs::create_dir_all(&self.out).unwrap();
        // The figures as they are read again, with fewer digits.
        let figures = self.json();
        fs::write(self.out.join("performance.md"), rendered(&figures).unwrap()).unwrap();
        fs::write(self.out.join("performance.json"), figures).unwrap();
    }

    fn current(&mut self) -> &mut Run {
        self.runs.last_mut().expect("there is the run that goes on")
    }

    /// A figure per line, so that what changed can be seen.
    fn json(&self) -> String {
        let runs: Vec<String> = self
            .runs
            .iter()
            .map(|run| {
                let figures: Vec<String> = run
                    .figures
                    .iter()
                    .map(|figure| format!("      {}", rounded(serde_json::to_value(figure).unwrap())))
                    .collect();
                let head =
                    serde_json::to_value(Run { figures: Vec::new(), ..run.clone() }).unwrap().to_string();
                head.replace("\"figures\":[]", &format!("\"figures\":[\n{}\n    ]", figures.join(",\n")))
            })
            .collect();
        format!("[\n  {}\n]\n", runs.join(",\n  "))
    }
}

/// Writes the Markdown of the figures that are in a folder.
///
/// # Panics
/// If there are none that can be read.
pub fn render(folder: &Path) {
    let figures = fs::read_to_string(folder.join("performance.json")).unwrap();
    fs::write(folder.join("performance.md"), rendered(&figures).unwrap()).unwrap();
}

/// The Markdown of figures that are given as JSON.
///
/// # Errors
/// If they are no figures.
pub fn rendered(json: &str) -> serde_json::Result<String> {
    Ok(markdown(&read(json)?))
}

fn read(json: &str) -> serde_json::Result<Vec<Run>> {
    serde_json::from_str(json)
}

fn markdown(runs: &[Run]) -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut lines: Vec<&Figure> = Vec::new();
    for figure in runs.iter().flat_map(|run| &run.figures) {
        if !lines.iter().any(|line| line.replaces(figure)) {
            lines.push(figure);
        }
    }
    let order = |figure: &&Figure| {
        let row = Row::ALL.iter().position(|row| row.name() == figure.row);
        (row, figure.size)
    };
    lines.sort_by_key(order);
    text += "\n## Figures\n\n| row | enclaves | | goal |";
    for run in runs {
        let _ = write!(text, " {} |", run.label);
    }
    text += "\n|---|---|---|---|";
    text += &"---|".repeat(runs.len());
    for line in lines {
        // Goals are those of the last run that has the figure.
        let last = runs.iter().rev().find_map(|run| run.find(line)).unwrap_or(line);
        let _ = write!(text, "\n| {} | {} | {} | {} |", line.row, line.size, line.what, last.goal_text());
        for run in runs {
            let figure = run.find(line).map(|figure| {
                let others =
                    if figure.others >= 0.2 { format!(" †{:.1}", figure.others) } else { String::new() };
                figure.text() + &others
            });
            let _ = write!(text, " {} |", figure.unwrap_or_default());
        }
    }
    text += "\n\n† so many processors were kept busy by others meanwhile, on average.\n";
    text += &growth::markdown(runs.iter().map(|run| (run.label.as_str(), run.figures.as_slice())));
    text += "\n## Runs\n";
    for run in runs {
        text += &run.markdown();
    }
    text
}

/// The same with numbers of at most three decimal places.
fn rounded(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            json!((number * 1000.0).round() / 1000.0)
        }
        Value::Array(values) => values.into_iter().map(rounded).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, rounded(value))).collect(),
        other => other,
    }
}

impl Run {
    fn find(&self, figure: &Figure) -> Option<&Figure> {
        self.figures.iter().find(|other| figure.replaces(other))
    }

    fn markdown(&self) -> String {
        let Machine { processors, memory, kernel, kubernetes, rust, commit, profile } = &self.machine;
        let note = if self.note.is_empty() { String::new() } else { format!(" {}", self.note) };
        format!(
            "\n**{}**, {}: commit {commit}, operator built with {profile}, {rust}; Kubernetes {kubernetes}; \
             {processors}, {memory}, Linux {kernel}.{note}\n",
            self.label, self.date
        )
    }
}
