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

mod kubernetes;
mod lenient;
mod metadata;
pub(in crate::api) mod own;
pub(in crate::api) mod parts;
pub(in crate::api) mod spec;
pub(in crate::api) mod unread;

pub use metadata::MOST_FINALIZERS;
pub(in crate::api) use own::gated;
pub use parts::{Parts, Readable};
pub use unread::{Cause, Unread, Unreadable};

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
        let object = K::assemble(metadata, &mut parts);
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

#[cfg(test)]
mod tests;
