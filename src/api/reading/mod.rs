//! Objects as the API server stores them, read part by part. Whatever it stores is an object with a name
//! here: what cannot be read of it is left out and named, and disturbs nothing else.
//!
//! Three parts are read apart. **Metadata** is the API server's, but for the managed fields, which anybody
//! may write and nobody reads. **Status** is the operator's own, and holds tenants' content inside. The
//! **spec** is a tenant's: one that cannot be read carries a mark ([`Unreadable`]), so that it is never equal
//! to one that can, and is filled in by what is applied or by what closes.
//!
//! Nothing here recurses into what a client may nest: fields are taken as text first, and serde_json
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

/// A field that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Where it is, for example `spec.quota.cpu` or `metadata.labels.team`.
    pub path: String,
    /// Why it cannot be read.
    pub why: String,
    /// What sort of value it is.
    pub cause: Cause,
}

/// What sort of value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A value of another type, or one that cannot be held.
    Wrong,
    /// A word that this version does not know and another one may.
    Newer,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, why, cause: _ } = self;
        write!(f, "{path}: {why}")
    }
}

/// The mark of a content that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(Vec<Unread>);

impl Unreadable {
    /// The mark for these fields; `None` when there are none.
    #[must_use]
    pub fn of(fields: Vec<Unread>) -> Option<Box<Self>> {
        (!fields.is_empty()).then(|| Box::new(Self(fields)))
    }

    /// Whether it can be read but for words that another version knows. Such a content closes nothing by
    /// itself: nobody took anything back.
    #[must_use]
    pub fn is_only_newer(&self) -> bool {
        self.0.iter().all(|unread| unread.cause == Cause::Newer)
    }

    /// Whether so much of a field of the spec is only known to another version that nobody can tell what it takes away.
    #[must_use]
    pub fn is_unclear(&self, field: &str) -> bool {
        self.cause_of(&spec::unclear(field)).is_some()
    }

    /// Why a field could not be read; `None` when it could.
    #[must_use]
    pub fn cause_of(&self, path: &str) -> Option<Cause> {
        self.0.iter().find(|unread| unread.path == path).map(|unread| unread.cause)
    }

    /// The fields.
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

/// A kind of object that can be read whatever is in it.
pub trait Readable: Resource<DynamicType = ()> + Sized {
    /// The fields that are read of it, beside `metadata`. Others are never kept.
    const FIELDS: &'static [&'static str];

    /// Whether it is kept when somebody wrote it last: the latest time of its managed fields, of which nothing else is.
    const KEEPS_LAST_CHANGE: bool = false;

    /// Puts the object together from what can be read.
    fn put_together(metadata: ObjectMeta, parts: &mut Parts) -> Self;
}

/// The parts of an object as text, and what was found unreadable so far.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    fields: Vec<(&'static str, Box<RawValue>)>,
    unread: Vec<Unread>,
}

/// An object of a kind, of which only the metadata has been read.
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
    /// The object, and what could not be read of it.
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

/// An object of any of our kinds, of which is read who it is and which content is applied.
#[derive(Clone, Debug)]
pub struct AnyKind {
    metadata: ObjectMeta,
    parts: Parts,
}

impl AnyKind {
    /// The metadata.
    #[must_use]
    pub const fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    /// The digest of what is applied; `None` when nothing is, or nobody can tell.
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

/// Takes an object apart into its metadata and these fields.
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
