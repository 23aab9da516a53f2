//! Reads objects as the API server stores them, part by part. Whatever the API server stores is read as an
//! object with a name: what cannot be read of it is left out and reported, and does not affect the rest.
//!
//! Three parts are read separately. **Metadata** is written by the API server, except for the managed fields,
//! which anybody may write and nobody reads. **Status** is written by the operator, and holds content of
//! tenants. The **spec** is written by a tenant: a spec that cannot be read carries a mark ([`Unreadable`]),
//! so that it never equals one that can be read, and its unreadable fields are filled in from the applied
//! content or so that they give no access.
//!
//! No code here recurses into values that a client may nest: fields are taken as text first, and serde_json
//! refuses to read more than 128 levels of a text.

use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

mod kubernetes;
mod lenient;
mod metadata;
mod own;
mod spec;
#[cfg(test)]
mod tests;

pub use metadata::MOST_FINALIZERS;
pub(in crate::api) use own::{Status, gated};
pub(in crate::api) use spec::Markable;

/// Field that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Path of the field, for example `spec.quota.cpu` or `metadata.labels.team`.
    pub path: String,
    /// Reason why the field cannot be read.
    pub why: String,
    /// Sort of the value that cannot be read.
    pub cause: Cause,
}

/// Sort of a value that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Value of another type, or one that cannot be represented.
    Wrong,
    /// Value or field that this version does not know and another version may know.
    Newer,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, why, cause: _ } = self;
        write!(f, "{path}: {why}")
    }
}

/// Mark of a content that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(Vec<Unread>);

impl Unreadable {
    /// Returns the mark for these fields; `None` when there are none.
    #[must_use]
    pub fn of(fields: Vec<Unread>) -> Option<Box<Self>> {
        (!fields.is_empty()).then(|| Box::new(Self(fields)))
    }

    /// Whether all unreadable fields are unreadable because only another version may know them. Such a
    /// content takes no access away by itself, because nobody asked for that.
    #[must_use]
    pub fn is_only_newer(&self) -> bool {
        self.0.iter().all(|unread| unread.cause == Cause::Newer)
    }

    /// Whether only another version knows so much of a field of the spec that nobody can tell which access
    /// the field takes away.
    #[must_use]
    pub fn is_unclear(&self, field: &str) -> bool {
        self.cause_of(&spec::unclear(field)).is_some()
    }

    /// Returns the sort of value because of which a field could not be read; `None` when it could.
    #[must_use]
    pub fn cause_of(&self, path: &str) -> Option<Cause> {
        self.0.iter().find(|unread| unread.path == path).map(|unread| unread.cause)
    }

    /// Returns the fields that could not be read.
    #[must_use]
    pub fn fields(&self) -> &[Unread] {
        &self.0
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 5;
        let first: Vec<String> = self.0.iter().take(MOST).map(ToString::to_string).collect();
        f.write_str(&first.join("; "))?;
        match self.0.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Kind of object that can be read whatever it contains.
pub trait Readable: Resource<DynamicType = ()> + Sized {
    /// Fields of the object that are read, beside `metadata`. Other fields are never kept.
    const FIELDS: &'static [&'static str];

    /// Whether the time of the last write is kept: the latest time of the managed fields, of which nothing
    /// else is kept.
    const KEEPS_LAST_CHANGE: bool = false;

    /// Builds the object from the parts that can be read.
    fn put_together(metadata: ObjectMeta, parts: &mut Parts) -> Self;
}

/// Parts of an object as text, and the fields that were found unreadable so far.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    fields: Vec<(&'static str, Box<RawValue>)>,
    unread: Vec<Unread>,
}

/// Object of a kind, of which only the metadata has been read.
pub struct Item<K> {
    metadata: ObjectMeta,
    parts: Parts,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Item<K> {
    fn clone(&self) -> Self {
        let Self { metadata, parts, kind } = self;
        Self { metadata: metadata.clone(), parts: parts.clone(), kind: *kind }
    }
}

impl<K> fmt::Debug for Item<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metadata, parts, kind: _ } = self;
        f.debug_struct("Item").field("metadata", metadata).field("parts", parts).finish()
    }
}

impl<K: Readable> Item<K> {
    /// Returns the object, and the fields that could not be read of it.
    #[must_use]
    pub fn read(self) -> (K, Vec<Unread>) {
        let Self { metadata, mut parts, kind: _ } = self;
        let object = K::put_together(metadata, &mut parts);
        (object, parts.unread)
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Item<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> std::borrow::Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> std::borrow::Cow<'_, str> {
        K::version(&())
    }

    fn api_version((): &()) -> std::borrow::Cow<'_, str> {
        K::api_version(&())
    }

    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Object of any kind of this API group, of which only the metadata and the applied content are read.
#[derive(Clone, Debug)]
pub struct AnyKind {
    metadata: ObjectMeta,
    parts: Parts,
}

impl AnyKind {
    /// Returns the metadata.
    #[must_use]
    pub const fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    /// Returns the digest of the applied content; `None` when nothing is applied, or when it cannot be read.
    #[must_use]
    pub fn applied_digest(&self) -> Option<String> {
        let (_, status) = self.parts.fields.first()?;
        let applied = own::field(status, "applied")?;
        let digest = own::field(&applied, "digest")?;
        serde_json::from_str(digest.get()).ok()
    }
}

impl<'de> Deserialize<'de> for AnyKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (metadata, parts) =
            deserializer.deserialize_any(PartsVisitor { fields: &["status"], keeps_last_change: false })?;
        Ok(Self { metadata, parts })
    }
}

impl<'de, K: Readable> Deserialize<'de> for Item<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (metadata, parts) = deserializer
            .deserialize_any(PartsVisitor { fields: K::FIELDS, keeps_last_change: K::KEEPS_LAST_CHANGE })?;
        Ok(Self { metadata, parts, kind: PhantomData })
    }
}

/// Splits an object into its metadata and these fields.
struct PartsVisitor {
    fields: &'static [&'static str],
    keeps_last_change: bool,
}

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = (ObjectMeta, Parts);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut metadata, mut parts) = (ObjectMeta::default(), Parts::default());
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            if key == "metadata" {
                let keeps_last_change = self.keeps_last_change;
                let unread = &mut parts.unread;
                metadata = map.next_value_seed(metadata::Metadata { unread, keeps_last_change })?;
            } else if let Some(field) = self.fields.iter().find(|field| **field == key) {
                parts.fields.push((*field, map.next_value()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok((metadata, parts))
    }

    // Not what an API server sends; left to the caller to miss a name.
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok((ObjectMeta::default(), Parts::default()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        self.visit_unit()
    }
}
