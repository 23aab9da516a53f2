//! What is measured in a run. Everything is set by environment variables, which the Makefile passes on.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;

use crate::operator_program;

/// Rows of the report that can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Provisioning,
    Converged,
    Memory,
    Edit,
    Votes,
    Decided,
    Roles,
    Standby,
    Restart,
    Foreign,
    Admission,
}

impl Row {
    pub const ALL: [Self; 11] = [
        Self::Provisioning,
        Self::Converged,
        Self::Memory,
        Self::Edit,
        Self::Roles,
        Self::Votes,
        Self::Standby,
        Self::Restart,
        Self::Decided,
        Self::Foreign,
        Self::Admission,
    ];

    /// Rows that say something within minutes.
    const QUICK: [Self; 7] = [
        Self::Provisioning,
        Self::Converged,
        Self::Memory,
        Self::Edit,
        Self::Votes,
        Self::Roles,
        Self::Restart,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Converged => "converged",
            Self::Memory => "memory",
            Self::Edit => "edit",
            Self::Votes => "votes",
            Self::Decided => "decided",
            Self::Roles => "roles",
            Self::Standby => "standby",
            Self::Restart => "restart",
            Self::Foreign => "foreign",
            Self::Admission => "admission",
        }
    }
}

/// How much is measured, of an operator that is built how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What takes minutes, unoptimised.
    Quick,
    /// Everything, of the operator as it is shipped.
    Full,
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// `QUICK`: set for a quick run.
    pub extent: Extent,
    /// `ROW`: names with commas, or nothing for all.
    pub rows: Vec<Row>,
    /// `SIZE`: so many enclaves, each with a workload, an endpoint and five connections.
    pub sizes: Vec<usize>,
    /// `PAIRS`: how often the operator is held against its baseline.
    pub pairs: usize,
    /// `PROGRAM`: the operator.
    pub program: PathBuf,
    /// `OUT`: the folder of `performance.md` and `performance.json`.
    pub out: PathBuf,
    /// `LABEL`: the column of the report; figures of an earlier run with the same label are replaced.
    pub label: String,
    /// `NOTE`: what readers of the report should know, for example what else ran on the machine.
    pub note: String,
    /// `PROFILE`: how the operator was built, for the report.
    pub profile: String,
    /// `VOTES`: how many votes one after the other, per turn.
    pub votes: usize,
    /// `RATED_VOTES`: how many votes at 20 per second, per turn.
    pub rated_votes: usize,
    /// `EDITS`: how often a Community is edited.
    pub edits: usize,
    /// `ASSIGNMENTS`: how many there are when one more is measured.
    pub assignments: usize,
    /// `ELIGIBILITIES`: how many there are beside them.
    pub eligibilities: usize,
    /// `REVOCATIONS`: how many roles are taken away.
    pub revocations: usize,
    /// `DECIDED`: how many decided requests are kept.
    pub decided: Vec<usize>,
    /// `FOREIGN`: how many objects of each kind that concern nobody.
    pub foreign: usize,
    /// `LARGE`: how many such objects with annotations of 250 kB.
    pub large: usize,
    /// `SECONDS`: for how long a quiet cluster is looked at.
    pub seconds: u64,
    /// `SECONDS`, too: for how long a replica stands by.
    pub standby_seconds: u64,
    /// `CREATIONS`: how many objects of a kind are created to see what admission costs, and how many votes are
    /// cast, per turn.
    pub creations: usize,
}

impl Settings {
    /// # Errors
    /// When a variable cannot be read, with what it should be.
    pub fn from_environment() -> Result<Self, String> {
        let extent = variable("QUICK").map_or(Extent::Full, |_| Extent::Quick);
        let pick = |quickly: usize, fully: usize| match extent {
            Extent::Quick => quickly,
            Extent::Full => fully,
        };
        let (rows, sizes): (&[Row], &[usize]) = match extent {
            Extent::Quick => (&Row::QUICK, &[30]),
            Extent::Full => (&Row::ALL, &[100, 300, 1000, 3000]),
        };
        Ok(Self {
            extent,
            rows: match variable("ROW") {
                None => rows.to_vec(),
                Some(names) => names.split(',').map(row).collect::<Result<_, _>>()?,
            },
            sizes: numbers("SIZE", sizes)?,
            pairs: number("PAIRS", pick(1, 5))?,
            program: variable("PROGRAM").map_or_else(operator_program, PathBuf::from),
            out: variable("OUT").unwrap_or_else(|| "target/bench".to_owned()).into(),
            label: variable("LABEL").unwrap_or_else(|| "latest".to_owned()),
            note: variable("NOTE").unwrap_or_default(),
            profile: variable("PROFILE").unwrap_or_else(|| "unknown".to_owned()),
            votes: number("VOTES", pick(10, 20))?,
            rated_votes: number("RATED_VOTES", pick(40, 100))?,
            edits: number("EDITS", pick(1, 5))?,
            assignments: number("ASSIGNMENTS", pick(50, 500))?,
            eligibilities: number("ELIGIBILITIES", pick(50, 520))?,
            revocations: number("REVOCATIONS", pick(10, 50))?,
            decided: numbers("DECIDED", &[11_200])?,
            foreign: number("FOREIGN", 10_000)?,
            large: number("LARGE", 200)?,
            seconds: number("SECONDS", pick(10, 60))? as u64,
            standby_seconds: number("SECONDS", pick(10, 3600))? as u64,
            creations: number("CREATIONS", 200)?,
        })
    }

    /// Whether a row is to be measured.
    pub fn wants(&self, row: Row) -> bool {
        self.rows.contains(&row)
    }
}

fn row(name: &str) -> Result<Row, String> {
    Row::ALL.into_iter().find(|row| row.name() == name.trim()).ok_or_else(|| {
        let names = Row::ALL.map(Row::name).join(", ");
        format!("ROW names {name:?}, which is no row: choose from {names}")
    })
}

/// What `make` passes on without a value is not set.
fn variable(name: &str) -> Option<String> {
    env::var(format!("BENCH_{name}")).ok().filter(|value| !value.is_empty())
}

fn number(name: &str, default: usize) -> Result<usize, String> {
    variable(name).map_or(Ok(default), |value| parse(name, &value))
}

fn numbers(name: &str, default: &[usize]) -> Result<Vec<usize>, String> {
    variable(name).map_or_else(
        || Ok(default.to_vec()),
        |value| value.split(',').map(|value| parse(name, value.trim())).collect(),
    )
}

fn parse(name: &str, value: &str) -> Result<usize, String> {
    match usize::from_str(value) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{name} is {value:?}: write numbers above 0, with commas where several are meant")),
    }
}
