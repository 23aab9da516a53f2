//! Entries of lists in a status. A list is written as a whole, so an entry keeps the JSON that it was read
//! from, when that has fields that this version does not know, and is written with those fields.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::unknown::read_known;

/// Entry of a list in a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    known: T,
    /// JSON that the entry was read from, when it has a field that this version does not know.
    stored: Option<Box<Value>>,
}

impl<T> Entry<T> {
    /// Returns the entry without the fields that this version does not know.
    #[must_use]
    pub fn into_known(self) -> T {
        self.known
    }
}

impl<T> From<T> for Entry<T> {
    fn from(known: T) -> Self {
        Self { known, stored: None }
    }
}

impl<T> Deref for Entry<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.known
    }
}

impl<T> DerefMut for Entry<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.known
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Entry<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Value::deserialize(deserializer)?;
        let (known, unknown) = read_known(&stored);
        let known = known.map_err(D::Error::custom)?;
        Ok(Self { known, stored: (!unknown.is_empty()).then(|| Box::new(stored)) })
    }
}

impl<T: Serialize + DeserializeOwned> Serialize for Entry<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let Some(stored) = &self.stored else { return self.known.serialize(serializer) };
        let value = |known: &T| serde_json::to_value(known).map_err(S::Error::custom);
        let before: T = T::deserialize(stored.as_ref()).map_err(S::Error::custom)?;
        let mut entry = stored.as_ref().clone();
        if let Some(changes) = changes(&value(&before)?, &value(&self.known)?) {
            apply(&mut entry, changes);
        }
        entry.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Entry<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Returns the JSON merge patch (RFC 7396) that turns one value into the other; `None` when they are equal.
#[must_use]
pub fn changes(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return Some(after.clone()) };
    let changed = after.iter().filter_map(|(key, value)| {
        let change = before.get(key).map_or_else(|| Some(value.clone()), |before| changes(before, value));
        Some((key.clone(), change?))
    });
    let removed = before.keys().filter(|key| !after.contains_key(*key));
    Some(Value::Object(changed.chain(removed.map(|key| (key.clone(), Value::Null))).collect()))
}

/// Applies a JSON merge patch (RFC 7396).
fn apply(value: &mut Value, changes: Value) {
    let Value::Object(changes) = changes else {
        *value = changes;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Some(fields) = value.as_object_mut() else { return };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(&key);
        } else {
            apply(fields.entry(key).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::audit::{Audit, AuditRecord};

    fn record(number: i64) -> Value {
        json!({
            "number": number, "type": "MaintenanceOn", "at": "2026-01-01T00:00:00Z",
            "maintenance": {"mode": "General", "expiresAt": "2026-01-01T01:00:00Z"},
        })
    }

    #[test]
    fn what_another_version_wrote_into_an_entry_stays() {
        let mut newer = record(1);
        newer["region"] = json!({"name": "north", "zones": [1]});
        newer["maintenance"]["window"] = json!("night");
        let mut audit: Audit =
            serde_json::from_value(json!({"recorded": 2, "waiting": [newer, record(2)]})).unwrap();
        assert!(audit.waiting[1].stored.is_none(), "nothing else is kept twice");
        audit.waiting[0].taken_by.push("stdout".into());
        audit.waiting[0].maintenance = None;
        audit.waiting.swap(0, 1);
        newer["takenBy"] = json!(["stdout"]);
        newer["maintenance"] = Value::Null;
        newer.as_object_mut().unwrap().remove("maintenance");
        assert_eq!(serde_json::to_value(&audit).unwrap()["waiting"], json!([record(2), newer]));
        let again: Audit = serde_json::from_value(serde_json::to_value(&audit).unwrap()).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&audit).unwrap());
    }

    #[test]
    fn what_this_version_changed_below_is_changed_and_nothing_else() {
        let mut newer = record(1);
        newer["maintenance"]["window"] = json!("night");
        let mut entry: Entry<AuditRecord> = serde_json::from_value(newer.clone()).unwrap();
        entry.maintenance.as_mut().unwrap().expires_at = None;
        newer["maintenance"].as_object_mut().unwrap().remove("expiresAt");
        assert_eq!(serde_json::to_value(&entry).unwrap(), newer);
    }
}
