//! The parts of an object as text, and the kinds that are assembled from them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde_json::value::RawValue;

use super::unread::Unread;

/// Kind of object that can be read whatever it contains.
pub trait Readable: Resource<DynamicType = ()> + Sized {
    /// Fields of the object that are read, beside `metadata`. Other fields are never kept.
    const FIELDS: &'static [&'static str];

    /// Whether the time of the last write is kept: the latest time of the managed fields, of which nothing
    /// else is kept.
    const KEEPS_LAST_CHANGE: bool = false;

    /// Builds the object from the parts that can be read.
    fn assemble(metadata: ObjectMeta, parts: &mut Parts) -> Self;
}

/// Parts of an object as text, and the fields that were found unreadable so far.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub(super) fields: Vec<(&'static str, Box<RawValue>)>,
    pub(super) unread: Vec<Unread>,
}
