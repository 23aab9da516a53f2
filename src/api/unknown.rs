//! Fields that a type does not have. Only another version knows what they ask for, and the rest of the value
//! without them may ask for more than the whole.

use serde::{Deserialize, Deserializer};
use serde_ignored::Path;
use serde_json::Value;

use super::strict::Strict;

/// Maximum number of unknown fields that are reported for one value.
const MOST: usize = 300;

/// Step of the path to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Field(String),
    Entry(usize),
}

/// Reads a value, and returns the paths to the fields that the type does not have.
pub fn read_known<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> (Result<T, D::Error>, Vec<Vec<Step>>) {
    let mut found = Vec::new();
    let read = serde_ignored::deserialize(Strict(deserializer), |path| {
        if found.len() < MOST {
            found.push(steps_of(&path));
        }
    });
    (read, found)
}

/// Returns those of these paths that lead to something other than null: a field that is null asks for
/// nothing. When the maximum number of paths was reported, all of them are returned. `whole` is the value in
/// which they were found, and is called only if there are some.
#[must_use]
pub fn without_nulls(mut found: Vec<Vec<Step>>, whole: impl FnOnce() -> Option<Value>) -> Vec<Vec<Step>> {
    if found.is_empty() || found.len() >= MOST {
        return found;
    }
    // What is nested too deeply is something.
    let Some(all) = whole() else { return found };
    let find = |way: &[Step]| {
        way.iter().try_fold(&all, |value, step| match step {
            Step::Field(name) => value.get(name),
            Step::Entry(index) => value.get(index),
        })
    };
    found.retain(|way| find(way) != Some(&Value::Null));
    found
}

/// Returns a path below `path` as text, for example `spec.ports[0].zone`.
#[must_use]
pub fn describe_way(path: &str, way: &[Step]) -> String {
    way.iter().fold(path.to_owned(), |text, step| match step {
        Step::Field(name) => format!("{text}.{name}"),
        Step::Entry(index) => format!("{text}[{index}]"),
    })
}

fn steps_of(path: &Path<'_>) -> Vec<Step> {
    let (parent, step) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, Some(Step::Entry(*index))),
        Path::Map { parent, key } => (parent, Some(Step::Field(key.clone()))),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            (parent, None)
        }
    };
    let mut steps = steps_of(parent);
    steps.extend(step);
    steps
}

#[cfg(test)]
mod tests;
