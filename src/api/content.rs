//! Specs as data: the form in which they are proposed, approved, applied and compared.

use std::any::{Any, TypeId};
use std::sync::{Arc, OnceLock};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::unknown::{describe_way, read_known, without_nulls};

/// Content of a spec: all of the spec but `change`, exactly as it was proposed.
///
/// The content is stored as an open object and not with the kind's own schema, because the API server would
/// add new defaults to a typed copy when the copy is read, and the digest of what was approved would no
/// longer fit. The content is kept as text, which takes a fraction of the memory of a tree, and is decoded
/// once: all copies share the decoded spec.
#[derive(Clone)]
pub struct Content(Arc<Stored>);

struct Stored {
    /// JSON with sorted keys, so that the same content is the same text.
    text: Box<str>,
    /// Whether the content asks for the deletion of its object.
    retires: bool,
    /// Reason why the content cannot be read; `None` when it was read as a whole.
    unreadable: Option<Box<str>>,
    /// Result of decoding the content, once it was decoded.
    read: OnceLock<Read>,
}

/// Result of decoding a content.
enum Read {
    /// The spec of a kind.
    Spec(Box<dyn Any + Send + Sync>),
    /// Reason why the content is no spec of this kind.
    Nothing(TypeId, Box<str>),
}

/// Error: a stored content does not have the shape that this version of the operator expects.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the stored content of a spec")]
pub struct UnreadableContent(#[source] serde_json::Error);

impl UnreadableContent {
    /// Returns the error for a part of a content that only a newer version knows.
    #[must_use]
    pub fn newer(part: &str) -> Self {
        Self::because(&format!("this version of the operator does not know what {part} is"))
    }

    fn because(why: &str) -> Self {
        Self(serde::de::Error::custom(why))
    }
}

impl Content {
    fn of_value(value: &Value) -> Self {
        let retires = value.get("retire").and_then(Value::as_bool).unwrap_or_default();
        let (text, unreadable) = (value.to_string().into(), None);
        Self(Arc::new(Stored { text, retires, unreadable, read: OnceLock::new() }))
    }

    /// Makes a content that exists but is not to be believed, because a part of it, or of what belongs to it,
    /// could not be read. No spec can be read from it.
    #[must_use]
    pub fn unreadable(value: Option<Value>, why: &str) -> Self {
        let value = value.filter(Value::is_object).unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let retires = value.get("retire").and_then(Value::as_bool).unwrap_or_default();
        let (text, unreadable) = (value.to_string().into(), Some(why.into()));
        Self(Arc::new(Stored { text, retires, unreadable, read: OnceLock::new() }))
    }

    /// Reads one field of the content, whatever else is in the content; `None` when the field is absent.
    ///
    /// # Errors
    /// When the field has another type than this version expects, or holds something that this version does
    /// not know.
    pub fn to_field<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, UnreadableContent> {
        let all = self.to_value();
        let Some(value) = all.get(field) else { return Ok(None) };
        let (read, unknown) = read_known(value);
        let read = read.map_err(UnreadableContent)?;
        match without_nulls(unknown, || Some(value.clone())).first() {
            Some(way) => Err(UnreadableContent::newer(&describe_way(field, way))),
            None => Ok(Some(read)),
        }
    }

    /// Makes the content of a spec by leaving out the field `change`.
    ///
    /// # Errors
    /// When the spec cannot be written as a JSON object, which no spec of this API group causes.
    pub fn of_spec<S: Serialize>(spec: &S) -> Result<Self, UnreadableContent> {
        let mut value = serde_json::to_value(spec).map_err(UnreadableContent)?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("change");
        }
        Ok(Self::of_value(&value))
    }

    /// The content without any field.
    #[must_use]
    pub fn empty() -> Self {
        Self::of_value(&Value::Object(serde_json::Map::new()))
    }

    /// Reads the content as a spec. Absent fields take their defaults.
    ///
    /// # Errors
    /// When a field has another type than this version expects, or is one that this version does not know.
    pub fn to_spec<S: DeserializeOwned + Clone + Send + Sync + 'static>(
        &self,
    ) -> Result<S, UnreadableContent> {
        self.view(S::clone)
    }

    /// Returns the result of `view` on the content as a spec, which is not copied for that.
    ///
    /// # Errors
    /// As [`Content::to_spec`].
    pub fn view<S: DeserializeOwned + Send + Sync + 'static, V>(
        &self,
        view: impl FnOnce(&S) -> V,
    ) -> Result<V, UnreadableContent> {
        let kind = TypeId::of::<S>();
        match self.0.read.get() {
            Some(Read::Spec(spec)) => {
                if let Some(spec) = spec.downcast_ref::<S>() {
                    return Ok(view(spec));
                }
            }
            Some(Read::Nothing(of, why)) if *of == kind => return Err(UnreadableContent::because(why)),
            Some(Read::Nothing(..)) | None => {}
        }
        // A content belongs to one kind; whoever reads it as another one's reads it for himself.
        match self.read::<S>() {
            Ok(spec) => {
                let seen = view(&spec);
                let _ = self.0.read.set(Read::Spec(Box::new(spec)));
                Ok(seen)
            }
            Err(error) => {
                let _ = self.0.read.set(Read::Nothing(kind, error.0.to_string().into()));
                Err(error)
            }
        }
    }

    /// Reads the content as a whole. A field that the type does not have is an error, unless it is null.
    fn read<S: DeserializeOwned>(&self) -> Result<S, UnreadableContent> {
        if let Some(why) = &self.0.unreadable {
            return Err(UnreadableContent::because(why));
        }
        let (read, unknown) = read_known(&mut serde_json::Deserializer::from_str(&self.0.text));
        let spec = read.map_err(UnreadableContent)?;
        match without_nulls(unknown, || Some(self.to_value())).first() {
            Some(way) => Err(UnreadableContent::newer(describe_way("", way).trim_start_matches('.'))),
            None => Ok(spec),
        }
    }

    /// Whether the content is an object, as every spec is.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.0.text.starts_with('{')
    }

    /// Whether the content asks for the deletion of its object.
    #[must_use]
    pub fn retires(&self) -> bool {
        self.0.retires
    }

    /// Returns the content as a JSON value.
    #[must_use]
    pub fn to_value(&self) -> Value {
        // The text was written from a value.
        serde_json::from_str(&self.0.text).unwrap_or_default()
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.text == other.0.text && self.0.unreadable == other.0.unreadable)
    }
}

impl Eq for Content {}

impl std::fmt::Debug for Content {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Content({})", self.0.text)
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self::of_value(&value))
    }
}

impl JsonSchema for Content {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Content".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "Spec without its field `change`, exactly as it was proposed.",
            "x-kubernetes-preserve-unknown-fields": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_order_of_fields_does_not_matter_and_everything_else_does() {
        let content = |text| serde_json::from_str::<Content>(text).unwrap();
        assert_eq!(content(r#"{"b": 1, "a": {"d": 2, "c": 3}}"#), content(r#"{"a":{"c":3,"d":2},"b":1}"#));
        assert_ne!(content(r#"{"a": 1}"#), content(r#"{"a": 1, "b": null}"#));
        assert_ne!(content(r#"{"a": 1}"#), content(r#"{"a": 1.5}"#));
    }

    /// The operator may have been rolled back. Only names that the type does not have count: what would be
    /// taken for a known field is never enforced.
    #[test]
    fn a_field_that_only_a_newer_version_knows_makes_it_unreadable() {
        use crate::api::{EnclaveConnectionSpec, EnclaveEndpointSpec, EnclaveSpec, EnclaveWorkloadSpec};

        fn why<S: DeserializeOwned + Clone + Send + Sync + 'static>(spec: &Value) -> Option<String> {
            let content: Content = serde_json::from_value(spec.clone()).unwrap();
            let why = || {
                let error = content.to_spec::<S>().err()?;
                std::error::Error::source(&error).map(ToString::to_string)
            };
            let first = why()?;
            assert_eq!(why().as_ref(), Some(&first), "it stays unreadable");
            Some(first)
        }
        let unknown =
            |field: &str| Some(format!("this version of the operator does not know what {field} is"));
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for known in [
            "{}",
            r#"{"description": null, "change": null, "later": null, "retire": false, "approvals": {}}"#,
            r#"{"approvals": {"rules": []}, "network": {}, "maintenance": {"principals": [], "expiresAt": null}}"#,
            r#"{"change": {"justification": "why", "ticket": null}, "maintenance": {"mode": "Disabled"}}"#,
            r#"{"approvals": {"rules": [{"operation": "EnclaveUpdate", "policy": "Required", "mandatoryApprovers": []}]}}"#,
        ] {
            assert_eq!(why::<EnclaveSpec>(&json(known)), None, "{known}");
        }
        for (text, field) in [
            (r#"{"zone": "eu"}"#, "zone"),
            (r#"{"unreadable": []}"#, "unreadable"),
            (r#"{"network": {"zone": {}}}"#, "network.zone"),
            (
                r#"{"approvals": {"rules": [{"operation": "EnclaveUpdate", "policy": "Required", "until": 5}]}}"#,
                "approvals.rules[0].until",
            ),
        ] {
            assert_eq!(why::<EnclaveSpec>(&json(text)), unknown(field), "{text}");
        }
        let workload = r#"{"quota": {"pods": 20, "limits.cpu": "1000m", "requests.cpu": "500m"}, "containerDefaults": {"limits": {}},
            "principals": {"edit": [{"kind": "User", "name": "ann", "namespace": null}], "view": []}}"#;
        assert_eq!(why::<EnclaveWorkloadSpec>(&json(workload)), None);
        let endpoint =
            r#"{"workload": "api", "ports": [{"port": 443}], "podSelector": {"matchLabels": {"a/b": "c"}}}"#;
        assert_eq!(why::<EnclaveEndpointSpec>(&json(endpoint)), None);
        let narrower =
            r#"{"workload": "api", "ports": [{"port": 443}], "podSelector": {"matchNames": ["db"]}}"#;
        assert_eq!(why::<EnclaveEndpointSpec>(&json(narrower)), unknown("podSelector.matchNames"));
        let connection = r#"{"source": {"workloads": [], "jobs": ["a"]}, "destination": {}, "expiresAt": "2026-01-01T00:00:00.5Z"}"#;
        assert_eq!(why::<EnclaveConnectionSpec>(&json(connection)), unknown("source.jobs"));
    }

    /// Specs as people write them, with the fields that this version would leave out.
    #[test]
    fn no_field_of_the_examples_is_taken_for_a_newer_one() {
        use crate::api::{
            CommunityEndpointSpec, CommunitySpec, EnclaveConnectionSpec, EnclaveEndpointSpec, EnclaveSpec,
            EnclaveWorkloadSpec, RoleAssignmentSpec, RoleEligibilitySpec, TransitHubSpec,
        };

        let mut read = 0;
        for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/kinds")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            for document in serde_yaml_ng::Deserializer::from_str(&text) {
                let object = Value::deserialize(document).unwrap();
                let content: Content = serde_json::from_value(object["spec"].clone()).unwrap();
                match object["kind"].as_str().unwrap_or_default() {
                    "Community" => drop(content.to_spec::<CommunitySpec>().unwrap()),
                    "CommunityEndpoint" => drop(content.to_spec::<CommunityEndpointSpec>().unwrap()),
                    "TransitHub" => drop(content.to_spec::<TransitHubSpec>().unwrap()),
                    "Enclave" => drop(content.to_spec::<EnclaveSpec>().unwrap()),
                    "EnclaveWorkload" => drop(content.to_spec::<EnclaveWorkloadSpec>().unwrap()),
                    "EnclaveEndpoint" => drop(content.to_spec::<EnclaveEndpointSpec>().unwrap()),
                    "EnclaveConnection" => drop(content.to_spec::<EnclaveConnectionSpec>().unwrap()),
                    "RoleAssignment" => drop(content.to_spec::<RoleAssignmentSpec>().unwrap()),
                    "RoleEligibility" => drop(content.to_spec::<RoleEligibilitySpec>().unwrap()),
                    _ => continue,
                }
                read += 1;
            }
        }
        assert!(read >= 9, "{read}");
    }

    #[test]
    fn it_is_read_as_what_is_asked_for_also_after_it_was_read_as_something_else() {
        let content = Content::of_spec(&serde_json::json!({"a": "1"})).unwrap();
        let map: BTreeMap<String, String> = content.to_spec().unwrap();
        assert_eq!(map.get("a").map(String::as_str), Some("1"));
        assert_eq!(content.clone().to_spec::<Value>().unwrap(), content.to_value());
        assert_eq!(content.to_spec::<BTreeMap<String, String>>().unwrap(), map);
        assert!(content.to_spec::<Vec<u8>>().is_err());
    }

    /// Every object that an applied content concerns reads it, with copies of the status.
    #[test]
    fn all_copies_together_decode_it_once() {
        static DECODED: AtomicUsize = AtomicUsize::new(0);
        #[derive(Clone)]
        struct Counted(BTreeMap<String, String>);
        impl<'de> Deserialize<'de> for Counted {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                DECODED.fetch_add(1, Ordering::Relaxed);
                BTreeMap::deserialize(deserializer).map(Self)
            }
        }
        let decoded = || DECODED.load(Ordering::Relaxed);
        let value = |content: &Content| content.view(|Counted(fields)| fields.get("a").cloned()).unwrap();
        let content = Content::of_spec(&serde_json::json!({"a": "1"})).unwrap();
        let copy = content.clone();
        assert_eq!(decoded(), 0, "nobody has looked yet");
        for content in [&content, &content, &copy, &copy.clone()] {
            assert_eq!(value(content).as_deref(), Some("1"));
        }
        assert_eq!(content.to_spec::<Counted>().unwrap().0.len(), 1);
        assert_eq!(decoded(), 1);
        let next = Content::of_spec(&serde_json::json!({"a": "2"})).unwrap();
        assert_eq!((value(&next).as_deref(), decoded()), (Some("2"), 2), "what comes next is another one");
        let odd = Content::of_spec(&serde_json::json!({"a": 5})).unwrap();
        for content in [&odd, &odd, &odd.clone()] {
            let error = content.to_spec::<Counted>().err().unwrap();
            assert_eq!(
                std::error::Error::source(&error).unwrap().to_string(),
                "invalid type: integer `5`, expected a string at line 1 column 6"
            );
        }
        assert_eq!(decoded(), 3, "one that cannot be read is not tried again");
        assert_eq!(odd.to_spec::<Value>().unwrap(), odd.to_value());
    }
}
