//! Reads metadata, field by field. Managed fields are not kept, because anybody may write some that are too
//! large to hold. For a few kinds their latest time is kept.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference, Time};
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::lenient::wrong;
use super::unread::Unread;
use crate::api::names::FINALIZER;

/// Maximum number of finalizers that are kept of an object, beside the operator's own.
pub const MOST_FINALIZERS: usize = MOST;
/// Maximum number of finalizers and of owners that are kept of an object.
const MOST: usize = 16;
/// Maximum number of characters that are kept of each name of an owner.
const LONGEST: usize = 256;

/// Reads metadata, and reports the fields that are left out.
pub(super) struct Metadata<'a> {
    pub unread: &'a mut Vec<Unread>,
    /// See [`super::parts::Readable::KEEPS_LAST_CHANGE`].
    pub keeps_last_change: bool,
}

impl<'de> DeserializeSeed<'de> for Metadata<'_> {
    type Value = ObjectMeta;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ObjectMeta, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Metadata<'_> {
    type Value = ObjectMeta;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectMeta, A::Error> {
        let Self { unread, keeps_last_change } = self;
        let mut found = ObjectMeta::default();
        let mut changed = Timestamp::MAX;
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            match key.as_ref() {
                "name" => found.name = read("name", &map.next_value::<Box<RawValue>>()?, unread),
                "namespace" => {
                    found.namespace = read("namespace", &map.next_value::<Box<RawValue>>()?, unread);
                }
                "uid" => found.uid = read("uid", &map.next_value::<Box<RawValue>>()?, unread),
                "resourceVersion" => {
                    found.resource_version =
                        read("resourceVersion", &map.next_value::<Box<RawValue>>()?, unread);
                }
                "generateName" => {
                    found.generate_name = read("generateName", &map.next_value::<Box<RawValue>>()?, unread);
                }
                "generation" => {
                    found.generation = read("generation", &map.next_value::<Box<RawValue>>()?, unread);
                }
                "creationTimestamp" => {
                    found.creation_timestamp =
                        read("creationTimestamp", &map.next_value::<Box<RawValue>>()?, unread);
                }
                "deletionTimestamp" => {
                    let raw = map.next_value::<Box<RawValue>>()?;
                    let time = read("deletionTimestamp", &raw, unread);
                    // Since when may be unreadable; that it goes is not.
                    let is_there = raw.get().trim() != "null";
                    found.deletion_timestamp =
                        time.or_else(|| is_there.then_some(Time(Timestamp::UNIX_EPOCH)));
                }
                "deletionGracePeriodSeconds" => {
                    found.deletion_grace_period_seconds =
                        read("deletionGracePeriodSeconds", &map.next_value::<Box<RawValue>>()?, unread);
                }
                "labels" => found.labels = read_map("labels", &map.next_value::<Box<RawValue>>()?, unread),
                "annotations" => {
                    found.annotations = read_map("annotations", &map.next_value::<Box<RawValue>>()?, unread);
                }
                "finalizers" => {
                    let all = read_list("finalizers", &map.next_value::<Box<RawValue>>()?, unread);
                    found.finalizers = all.map(first_finalizers);
                }
                "ownerReferences" => {
                    let all = read_list("ownerReferences", &map.next_value::<Box<RawValue>>()?, unread);
                    found.owner_references = all.map(first_owners);
                }
                "managedFields" if keeps_last_change => {
                    changed = last_change(&map.next_value::<Box<RawValue>>()?);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if keeps_last_change {
            let entry = ManagedFieldsEntry { time: Some(Time(changed)), ..ManagedFieldsEntry::default() };
            found.managed_fields = Some(vec![entry]);
        }
        Ok(found)
    }

    fn visit_unit<E>(self) -> Result<ObjectMeta, E> {
        Ok(ObjectMeta::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<ObjectMeta, E> {
        Ok(ObjectMeta::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<ObjectMeta, E> {
        Ok(ObjectMeta::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<ObjectMeta, E> {
        Ok(ObjectMeta::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<ObjectMeta, E> {
        Ok(ObjectMeta::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<ObjectMeta, E> {
        Ok(ObjectMeta::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ObjectMeta, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        self.visit_unit()
    }
}

/// Returns the latest time of managed fields. An unreadable time, and an empty list, count as the end of
/// time: an unreadable time may be any, and anybody may empty the list.
fn last_change(entries: &RawValue) -> Timestamp {
    #[derive(Deserialize)]
    struct Entry {
        time: Option<Box<RawValue>>,
    }
    let Ok(entries) = serde_json::from_str::<Vec<Entry>>(entries.get()) else { return Timestamp::MAX };
    let time = |raw: &RawValue| serde_json::from_str::<Time>(raw.get()).map_or(Timestamp::MAX, |time| time.0);
    entries.iter().filter_map(|entry| entry.time.as_deref()).map(time).max().unwrap_or(Timestamp::MAX)
}

/// Returns the first finalizers, and the operator's own. Kubernetes limits their length and not their number;
/// of those of others only their existence counts.
fn first_finalizers(mut all: Vec<String>) -> Vec<String> {
    let own = all.iter().skip(MOST).any(|name| name == FINALIZER);
    all.truncate(MOST);
    all.extend(own.then(|| FINALIZER.to_owned()));
    all.shrink_to_fit();
    all
}

/// Returns the first owners, with shortened names: Kubernetes limits neither number nor length. Only the
/// existence of owners counts.
fn first_owners(mut all: Vec<OwnerReference>) -> Vec<OwnerReference> {
    all.truncate(MOST);
    for owner in &mut all {
        for text in [&mut owner.api_version, &mut owner.kind, &mut owner.name, &mut owner.uid] {
            if let Some((end, _)) = text.char_indices().nth(LONGEST) {
                text.truncate(end);
                text.shrink_to_fit();
            }
        }
    }
    all.shrink_to_fit();
    all
}

/// Reads one field.
fn read<T: DeserializeOwned>(field: &str, raw: &RawValue, unread: &mut Vec<Unread>) -> Option<T> {
    serde_json::from_str::<Option<T>>(raw.get())
        .inspect_err(|error| unread.push(wrong(format!("metadata.{field}"), error)))
        .ok()
        .flatten()
}

/// Reads a map of texts, entry by entry.
fn read_map(field: &str, raw: &RawValue, unread: &mut Vec<Unread>) -> Option<BTreeMap<String, String>> {
    if let Ok(all) = serde_json::from_str(raw.get()) {
        return all;
    }
    let entries: BTreeMap<String, Box<RawValue>> = read(field, raw, unread)?;
    let entry = |(key, value): (String, Box<RawValue>)| {
        let value = read(&format!("{field}.{key}"), &value, unread)?;
        Some((key, value))
    };
    Some(entries.into_iter().filter_map(entry).collect())
}

/// Reads a list, entry by entry.
fn read_list<T: DeserializeOwned>(field: &str, raw: &RawValue, unread: &mut Vec<Unread>) -> Option<Vec<T>> {
    if let Ok(all) = serde_json::from_str(raw.get()) {
        return all;
    }
    let entries: Vec<Box<RawValue>> = read(field, raw, unread)?;
    let numbered = entries.iter().enumerate();
    Some(numbered.filter_map(|(index, value)| read(&format!("{field}[{index}]"), value, unread)).collect())
}
