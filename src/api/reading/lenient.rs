//! Reads a value field by field: a field that cannot be read is taken out and reported, until the rest can be
//! read.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment, Track};

use super::unread::{Cause, Unread};
use crate::api::strict::Strict;
use crate::api::text;
use crate::api::unknown::{Step, describe_field_path, read_known, without_nulls};

/// Maximum number of fields that are taken out of one value. A value with more unreadable fields is
/// unreadable as a whole.
const MOST_UNREAD: usize = 300;
/// Maximum number of bytes that are read of one value, which is read once more for each field that is taken
/// out.
const MOST_READ: usize = 4 << 20;
/// Maximum number of characters of texts of clients, which are cut because they are put into messages and
/// logs.
const LONGEST: usize = 300;

/// Function that returns the substitute for a field that cannot be read; `None` takes the field out. The
/// number says how many substitutes for the field could not be read either.
pub(super) type Substitute<'a> = &'a dyn Fn(&[Step], usize) -> Option<Value>;

/// Reads a text as a whole.
pub(super) fn read_whole<T: DeserializeOwned>(path: &str, raw: &RawValue) -> Result<T, Unread> {
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    serde_path_to_error::deserialize(Strict(&mut deserializer)).map_err(|error| describe_error(path, &error))
}

/// Reads as [`read_whole`], and returns the fields that the type does not have, up to the first field that
/// cannot be read.
pub(super) fn read_with_unknown<T: DeserializeOwned>(
    path: &str,
    raw: &RawValue,
) -> (Result<T, Unread>, Vec<Unread>) {
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    let mut track = Track::new();
    let (read, unknown) = read_known(serde_path_to_error::Deserializer::new(&mut deserializer, &mut track));
    let read = read.map_err(|error| unread(describe(path, &steps_of(&track.path())), &error));
    let unknown =
        without_nulls(unknown, || serde_json::from_str(raw.get()).ok()).into_iter().map(|field_path| {
            Unread {
                path: describe(path, &field_path),
                why: "this version of the operator does not know this field".to_owned(),
                cause: Cause::Newer,
            }
        });
    (read, unknown.collect())
}

/// Returns the unreadable field that an error is about, which is somewhere below a path.
pub(super) fn describe_error(path: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> Unread {
    unread(describe(path, &steps_of(error.path())), error.inner())
}

/// Whether a text is an object. serde would also read a struct from a list, by position.
pub(super) fn is_object(raw: &RawValue) -> bool {
    raw.get().trim_start().starts_with('{')
}

/// Splits an object into its fields. A field that is nested too deeply to be read is left out.
pub(super) fn fields_of(path: &str, raw: &RawValue, unread: &mut Vec<Unread>) -> Option<Map<String, Value>> {
    let fields: std::collections::BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(raw.get()).map_err(|error| unread.push(wrong(path.to_owned(), &error))).ok()?;
    let field = |(key, raw): (String, Box<RawValue>)| {
        let value = serde_json::from_str(raw.get());
        let value = value.map_err(|error| unread.push(wrong(format!("{path}.{}", shorten(&key)), &error)));
        Some((key, value.ok()?))
    };
    Some(fields.into_iter().filter_map(field).collect())
}

/// Reads a value; `None` when nothing of it can be read.
pub(super) fn read<T: DeserializeOwned>(
    path: &str,
    value: Value,
    substitute: Substitute<'_>,
    found: &mut Vec<Unread>,
) -> Option<T> {
    read_with_value(path, value, substitute, found).map(|(read, _)| read)
}

/// Reads as [`read`], and also returns the value that was read in the end.
pub(super) fn read_with_value<T: DeserializeOwned>(
    path: &str,
    mut value: Value,
    substitute: Substitute<'_>,
    found: &mut Vec<Unread>,
) -> Option<(T, Value)> {
    let size = value.to_string().len().max(1);
    let mut gone: Vec<Vec<Step>> = Vec::new();
    let mut substituted: Vec<Vec<Step>> = Vec::new();
    let mut newer: Vec<Vec<Step>> = Vec::new();
    for _ in 0..MOST_UNREAD.min(MOST_READ / size).max(2) {
        let (steps, error) = match serde_path_to_error::deserialize::<_, T>(Strict(&value)) {
            Ok(read) => return Some((read, value)),
            Err(error) => (steps_of(error.path()), error.into_inner()),
        };
        // Entries were taken out before it.
        let original = with_gone(&steps, &gone);
        let mut one = unread(describe(path, &original), &error);
        // That it is missing comes of taking it out.
        if is_missing(&error)
            && newer.iter().any(|field_path| {
                field_path.split_last().is_some_and(|(_, field_path)| field_path == original)
            })
        {
            one.cause = Cause::Newer;
        }
        if one.cause == Cause::Newer {
            newer.push(original.clone());
        }
        // What stands for a value is somebody else's, and so are its defects.
        if !substituted.iter().any(|field_path| steps.starts_with(field_path)) {
            found.push(one);
        }
        let (last, parents) = steps.split_last()?;
        let parent = parents.iter().try_fold(&mut value, |value, step| match step {
            Step::Field(name) => value.get_mut(name),
            Step::Entry(index) => value.get_mut(index),
        })?;
        match (last, parent) {
            (Step::Entry(index), Value::Array(entries)) if *index < entries.len() => {
                entries.remove(*index);
                gone.push(original);
            }
            (Step::Field(name), Value::Object(fields)) if fields.contains_key(name) => {
                let tried = substituted.iter().filter(|field_path| **field_path == steps).count();
                match substitute(&steps, tried) {
                    Some(instead) => {
                        fields.insert(name.clone(), instead);
                        substituted.push(steps.clone());
                    }
                    None => {
                        fields.remove(name);
                    }
                }
            }
            // The way leads nowhere.
            _ => return None,
        }
    }
    None
}

/// Whether an error is about a field that a struct needs, by the text of serde.
fn is_missing(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("missing field ")
}

/// Returns the report of a field that has another type, or that cannot be represented.
pub(super) fn wrong(path: String, error: &serde_json::Error) -> Unread {
    Unread { cause: Cause::Wrong, ..unread(path, error) }
}

fn unread(path: String, error: &serde_json::Error) -> Unread {
    let message = error.to_string();
    // serde's own words for a variant that an enum does not have.
    let cause = if message.starts_with("unknown variant ") { Cause::Newer } else { Cause::Wrong };
    // Where in the text it was is of no use to anybody who sees the object as YAML.
    let message = message.rfind(" at line ").and_then(|end| message.get(..end)).unwrap_or(&message);
    Unread { path, why: shorten(message), cause }
}

fn steps_of(path: &Path) -> Vec<Step> {
    path.iter()
        .map_while(|segment| match segment {
            Segment::Seq { index } => Some(Step::Entry(*index)),
            Segment::Map { key } => Some(Step::Field(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn describe(path: &str, steps: &[Step]) -> String {
    shorten(&describe_field_path(path, steps))
}

/// Returns a path as it was before entries were taken out.
fn with_gone(steps: &[Step], gone: &[Vec<Step>]) -> Vec<Step> {
    let mut original: Vec<Step> = Vec::new();
    for step in steps {
        let mut step = step.clone();
        if let Step::Entry(index) = &mut step {
            let mut before: Vec<usize> = gone
                .iter()
                .filter_map(|field_path| match field_path.split_last() {
                    Some((Step::Entry(index), parents)) if parents == original => Some(*index),
                    _ => None,
                })
                .collect();
            before.sort_unstable();
            for gone in before {
                *index += usize::from(gone <= *index);
            }
        }
        original.push(step);
    }
    original
}

/// Returns a text as one line of limited length.
fn shorten(text: &str) -> String {
    let text: String = text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
    text::shorten(&text, LONGEST).into_owned()
}
