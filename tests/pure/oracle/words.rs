//! What is said of a scene in which something is wrong.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::reach::Objects;
use super::scene::{Moment, Scene};

/// How many differences a message shows.
const SHOWN: usize = 12;

/// Differences, and the policies that decide about them.
pub fn explain(differences: &[String], objects: &Objects) -> String {
    let more = differences.len().saturating_sub(SHOWN);
    let shown: Vec<&str> = differences.iter().take(SHOWN).map(String::as_str).collect();
    let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
    let policies = values(&objects.network_policies).filter(|policy| {
        let namespace = policy.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        let pods = format!(" {namespace}/");
        differences.iter().any(|one| one.contains(&pods))
    });
    format!("\n{}{more}\n{}", shown.join("\n"), write_all(policies))
}

/// The objects as they are now.
impl fmt::Debug for Scene {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let objects = self.objects(Moment::Now);
        let declared = values(&objects.communities)
            .chain(values(&objects.enclaves))
            .chain(values(&objects.workloads))
            .chain(values(&objects.endpoints))
            .chain(values(&objects.community_endpoints))
            .chain(values(&objects.transit_hubs))
            .chain(values(&objects.connections));
        write!(formatter, "at {}, after {:?}\n{}", Moment::Now.time(), self.drift, write_all(declared))
    }
}

fn values<K: Serialize>(objects: &[K]) -> impl Iterator<Item = Value> {
    objects.iter().map(|object| serde_json::to_value(object).unwrap())
}

fn write_all(objects: impl Iterator<Item = Value>) -> String {
    let documents = objects.map(|object| serde_yaml_ng::to_string(&shorten(object)).unwrap());
    documents.collect::<Vec<_>>().join("---\n")
}

/// Without what says nothing about traffic; what is wanted only where it is not what is applied.
fn shorten(mut object: Value) -> Value {
    let take = |object: &mut Value, pointer| object.pointer_mut(pointer).map(Value::take);
    let applied = take(&mut object, "/status/applied/spec");
    let references = take(&mut object, "/status/applied/references");
    let expires_at = take(&mut object, "/status/expiresAt");
    let fields = object.as_object_mut().unwrap();
    fields.remove("apiVersion");
    fields.remove("status");
    let applied = applied.map(strip);
    if fields.get("kind").and_then(Value::as_str) != Some("NetworkPolicy") {
        let wanted = fields.remove("spec").map(strip);
        if wanted != applied {
            fields.insert("wanted".to_owned(), wanted.unwrap_or_default());
        }
    }
    for (field, value) in [("applied", applied), ("references", references), ("expiresAt", expires_at)] {
        fields.extend(value.map(|value| (field.to_owned(), value)));
    }
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["annotations", "finalizers", "generation", "labels"] {
            metadata.remove(field);
        }
    }
    object
}

fn strip(mut spec: Value) -> Value {
    if let Some(fields) = spec.as_object_mut() {
        for field in ["approvals", "maintenance", "serviceAccountVotes", "conflictingDuties"] {
            fields.remove(field);
        }
    }
    spec
}
