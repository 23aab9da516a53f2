//! A spec as data: what is proposed, approved, applied and compared.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The content of a spec: all of it but `change`, kept exactly as it was proposed.
///
/// It is stored as an open object and not with the kind's own schema, because the API server
/// would add new defaults to a typed copy when it is read, and the digest of what was approved
/// would no longer fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Content {
    value: Value,
    /// Why it cannot be read, when it was not read as a whole.
    #[serde(skip)]
    unreadable: Option<Box<str>>,
}

/// A stored content does not have the shape that this version of the operator expects.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the stored content of a spec")]
pub struct UnreadableContent(#[source] serde_json::Error);

impl Content {
    /// Takes a spec apart from its field `change`.
    ///
    /// # Errors
    /// When the spec cannot be written as a JSON object, which no spec of this API group causes.
    pub fn of_spec<S: Serialize>(spec: &S) -> Result<Self, UnreadableContent> {
        let mut value = serde_json::to_value(spec).map_err(UnreadableContent)?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("change");
        }
        Ok(Self { value, unreadable: None })
    }

    /// A content that is there and cannot be believed, because a part of it or of what belongs to it could
    /// not be read. No spec can be read from it.
    #[must_use]
    pub fn unreadable(value: Option<Value>, why: &str) -> Self {
        let value = value.filter(Value::is_object).unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        Self { value, unreadable: Some(why.into()) }
    }

    /// The content without any field.
    #[must_use]
    pub fn empty() -> Self {
        Self { value: Value::Object(serde_json::Map::new()), unreadable: None }
    }

    /// Reads the content as a spec; fields that are missing take their defaults.
    ///
    /// # Errors
    /// When a field has another type than this version expects.
    pub fn to_spec<S: DeserializeOwned>(&self) -> Result<S, UnreadableContent> {
        match &self.unreadable {
            Some(why) => Err(UnreadableContent(serde::de::Error::custom(why))),
            None => S::deserialize(&self.value).map_err(UnreadableContent),
        }
    }

    /// Reads one field of the content, whatever else is in it; `None` when it is not there.
    ///
    /// # Errors
    /// When it has another type than this version expects.
    pub fn to_field<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, UnreadableContent> {
        self.value.get(field).map(T::deserialize).transpose().map_err(UnreadableContent)
    }

    /// Whether it asks for the deletion of its object.
    #[must_use]
    pub fn retires(&self) -> bool {
        self.value.get("retire").and_then(Value::as_bool).unwrap_or_default()
    }

    /// The JSON value.
    #[must_use]
    pub const fn as_value(&self) -> &Value {
        &self.value
    }
}

impl JsonSchema for Content {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Content".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "A spec without its field `change`, exactly as it was proposed.",
            "x-kubernetes-preserve-unknown-fields": true,
        })
    }
}
