//! Specs that cannot be read as a whole: they are read field by field, and applied content stands in for the
//! rest.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::lenient::{fields_of, is_object, read, read_with_value};
use super::unread::{Cause, Unread, Unreadable, unclear};

use crate::api::unknown::Step;

/// Spec that can be marked as unreadable.
pub(in crate::api) trait Markable: DeserializeOwned {
    /// Returns the fields that the spec must have, with the values that stand in when nothing is known of
    /// them: values that give no access.
    fn required() -> Value;

    /// Returns the mark of the fields of the spec that could not be read.
    fn mark(&mut self) -> &mut Option<Box<Unreadable>>;

    /// Takes the access away that the spec gives, for kinds that give none when they cannot be read.
    fn close(&mut self) {}

    /// Effect of a field that this version does not know.
    const UNKNOWN: Unknown = Unknown::Skipped;
}

/// Effect of an unknown field: see [`Markable::UNKNOWN`].
pub(in crate::api) enum Unknown {
    /// The field is skipped. While the CustomResourceDefinitions are newer than the operator, as in every
    /// upgrade, the API server fills defaults into the objects of everybody, who have asked for nothing new
    /// by that.
    Skipped,
    /// The field makes the spec unreadable. Only the operator writes such a spec, so another version means
    /// something by the field.
    Counts,
}

/// Reads a spec of which something is unreadable. `first` is the field at which a strict reader fails.
/// Returns the spec and all unreadable fields.
pub(super) fn read_what_can_be<S: Markable>(
    raw: Option<&RawValue>,
    first: Unread,
    applied: Option<&Value>,
) -> (S, Vec<Unread>) {
    let mut unread = Vec::new();
    let fields = raw.filter(|raw| is_object(raw)).and_then(|raw| fields_of("spec", raw, &mut unread));
    let required = S::required();
    let known = |field: &str| applied.and_then(|applied| applied.get(field)).or_else(|| required.get(field));
    let fields = fields.map(|mut fields| {
        // What must be there, and what is nested too deeply.
        let absent = required.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        let absent: Vec<&str> =
            absent.chain(unread.iter().filter_map(|one| one.path.strip_prefix("spec."))).collect();
        for field in absent {
            if let (false, Some(instead)) = (fields.contains_key(field), known(field)) {
                fields.insert(field.to_owned(), emptied(instead.clone(), field));
            }
        }
        fields
    });
    let at = |all: &Value, steps: &[Step]| {
        let found = steps.iter().try_fold(all, |value, step| match step {
            Step::Field(name) => value.get(name),
            Step::Entry(_) => None,
        })?;
        let Some(Step::Field(last)) = steps.last() else { return None };
        Some(emptied(found.clone(), last))
    };
    // What is applied may be as unreadable as the spec.
    let substitute = |steps: &[Step], tried: usize| {
        applied.into_iter().chain([&required]).filter_map(|all| at(all, steps)).nth(tried)
    };
    // Each field by itself: that much of one is unreadable says nothing of the others.
    let mut read_alone = |(name, value): (String, Value)| {
        let before = unread.len();
        let alone = alone(&name, value, &required);
        let with_value = read_with_value::<S>("spec", alone, &substitute, &mut unread);
        let value = if let Some((_, mut with_value)) = with_value {
            with_value.get_mut(&name).map(Value::take)
        } else {
            let is_newer = unread.iter().skip(before).all(|one| one.cause == Cause::Newer);
            // Nobody can tell what it takes away.
            if is_newer {
                unread.push(too_many(unclear(&name)));
            }
            let applied = known(&name).filter(|_| is_newer);
            let kept = applied.and_then(|applied| read_of::<S>(&name, applied.clone(), &required));
            if kept.is_none() && applied.is_some() {
                unread.push(too_many(format!("spec.{name}")));
            }
            kept.or_else(|| known(&name).map(|instead| emptied(instead.clone(), &name)))
        };
        Some((name, value?))
    };
    let fields: Option<Map<String, Value>> =
        fields.map(|fields| fields.into_iter().filter_map(&mut read_alone).collect());
    let spec = fields.and_then(|fields| read("spec", Value::Object(fields), &substitute, &mut unread));
    // Nothing of it can be read: it is as what is applied, or what gives nothing.
    let spec = spec.or_else(|| applied.and_then(|applied| serde_json::from_value(applied.clone()).ok()));
    let spec = spec.or_else(|| serde_json::from_value(S::required()).ok());
    if !unread.iter().any(|one| one.path == first.path) {
        unread.insert(0, first);
    }
    #[allow(clippy::expect_used)]
    let spec = spec.expect("what a kind requires is a spec of that kind, which a test shows for each");
    (spec, unread)
}

fn too_many(path: String) -> Unread {
    Unread { path, why: "too many of its fields cannot be read".to_owned(), cause: Cause::Newer }
}

/// Returns a spec with only this field and the required ones.
fn alone(name: &str, value: Value, required: &Value) -> Value {
    let mut alone = required.as_object().cloned().unwrap_or_default();
    alone.insert(name.to_owned(), value);
    Value::Object(alone)
}

/// Returns what can be read of an applied field; `None` when nothing can be read.
fn read_of<S: Markable>(name: &str, value: Value, required: &Value) -> Option<Value> {
    let (_, mut with_value) =
        read_with_value::<S>("spec", alone(name, value, required), &|_, _| None, &mut Vec::new())?;
    with_value.get_mut(name).map(Value::take)
}

/// Returns the value that stands for an unreadable one: the known value, but an empty one for a list and for
/// `principals`.
fn emptied(known: Value, field: &str) -> Value {
    match known {
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Object(_) if field == "principals" => Value::Object(Map::new()),
        other => other,
    }
}
