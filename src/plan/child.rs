//! The objects that the operator makes in a namespace, compared with those that are there.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde::Serialize;

use super::metadata::{has_metadata, merge_metadata};

use crate::api::CiliumNetworkPolicy;
use crate::api::names::{annotation, child};
use crate::model::digest::sha256;
use crate::model::naming::{CONNECTION_POLICY, ROLE_BINDING, is_of_grant};

/// An operation on a [`Child`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Create,
    Replace,
    /// Deletes the very object that was observed, and no other of its name.
    Delete,
}

/// Calls a macro with the kinds of [`Child`].
macro_rules! with_child_kinds {
    ($use:ident) => {
        $use! {
            NetworkPolicy,
            CiliumNetworkPolicy,
            ResourceQuota,
            LimitRange,
            Role,
            RoleBinding,
            ClusterRole,
            ClusterRoleBinding
        }
    };
}

pub(crate) use with_child_kinds;

macro_rules! children {
    ($($kind:ident),*) => {
        /// Something that the operator makes besides namespaces, by kind.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Child {
            $($kind(Box<$kind>)),*
        }

        impl Child {
            #[must_use]
            pub const fn metadata(&self) -> &ObjectMeta {
                match self {
                    $(Self::$kind(child) => &child.metadata),*
                }
            }
        }

        $(impl From<$kind> for Child {
            fn from(child: $kind) -> Self {
                Self::$kind(Box::new(child))
            }
        })*
    };
}

with_child_kinds!(children);

impl Child {
    /// Whether it is a role or a binding.
    #[must_use]
    pub const fn is_rbac(&self) -> bool {
        matches!(
            self,
            Self::Role(_) | Self::RoleBinding(_) | Self::ClusterRole(_) | Self::ClusterRoleBinding(_)
        )
    }

    /// Whether it binds a role that the operator makes. The role has to be there before: the operator may bind a
    /// role that gives no more than its own rights, which the API server looks up in the role.
    #[must_use]
    pub fn binds_made_role(&self) -> bool {
        match self {
            Self::RoleBinding(binding) => is_of_grant(&binding.role_ref.name),
            Self::ClusterRoleBinding(binding) => is_of_grant(&binding.role_ref.name),
            _ => false,
        }
    }
}

/// Whether what others changed is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Healing {
    /// Changes of others are put back.
    Active,
    /// Changes of others stay for now, because Advanced maintenance lets people make them. An object that the
    /// operator itself wants differently than before is still written, and a network policy or binding that
    /// nothing wants any more is still deleted.
    Paused,
}

/// The write that is due for a wanted object, if any, with the metadata to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    Nothing,
    Creation(ObjectMeta),
    Replacement(ObjectMeta),
}

/// Compares the live object with the wanted one; `is_same` compares the contents.
pub fn due<K: Resource>(
    live: Option<&K>,
    wanted: &ObjectMeta,
    content: &impl Serialize,
    is_same: impl FnOnce(&K) -> bool,
    healing: Healing,
) -> Due {
    let written = live.and_then(|live| live.meta().annotations.as_ref()?.get(annotation::CONTENT));
    let same = live.filter(|live| is_same(live));
    let mut wanted = wanted.clone();
    // An object with the same content carries its digest already, and computing a thousand anew takes time.
    let digest = same.and(written).cloned().unwrap_or_else(|| digest(content));
    let annotations = wanted.annotations.get_or_insert_with(BTreeMap::new);
    let digest = annotations.entry(annotation::CONTENT.to_owned()).or_insert(digest).clone();
    let Some(live) = live.map(Resource::meta) else {
        return match healing {
            Healing::Active => Due::Creation(wanted),
            Healing::Paused => Due::Nothing,
        };
    };
    if same.is_some() && has_metadata(live, &wanted) && is_free(live) {
        return Due::Nothing;
    }
    match (healing, written) {
        // Others changed it. An object without the digest of what the operator wrote last may be wider than it
        // should be, so it is replaced below.
        (Healing::Paused, Some(written)) if *written == digest => Due::Nothing,
        (Healing::Paused | Healing::Active, _) => Due::Replacement(free_metadata(live, wanted)),
    }
}

/// Whether nothing keeps the object when it is deleted (a finalizer), and nothing takes it along (an owner
/// reference).
#[must_use]
pub fn is_free(live: &ObjectMeta) -> bool {
    let is_empty = |finalizers: &Option<Vec<String>>| finalizers.as_ref().is_none_or(Vec::is_empty);
    is_empty(&live.finalizers) && live.owner_references.as_ref().is_none_or(Vec::is_empty)
}

/// Returns the live metadata with the wanted labels and annotations, and without finalizers and owner references.
#[must_use]
pub fn free_metadata(live: &ObjectMeta, wanted: ObjectMeta) -> ObjectMeta {
    ObjectMeta { finalizers: None, owner_references: None, ..merge_metadata(live, wanted) }
}

/// Returns the digest of a content. Contents are structs with text as keys, which can always be serialized.
fn digest(content: &impl Serialize) -> String {
    sha256(&serde_json::to_vec(content).unwrap_or_default())
}

/// A kind of which the operator makes objects in managed namespaces. The lock knows them by the same names.
pub trait Made {
    /// Whether an object of this name is the operator's.
    fn is_ours(name: &str) -> bool;
}

impl Made for NetworkPolicy {
    fn is_ours(name: &str) -> bool {
        child::POLICIES.contains(&name) || name.starts_with(CONNECTION_POLICY)
    }
}

impl Made for CiliumNetworkPolicy {
    fn is_ours(name: &str) -> bool {
        NetworkPolicy::is_ours(name)
    }
}

impl Made for ResourceQuota {
    fn is_ours(name: &str) -> bool {
        name == child::QUOTA
    }
}

impl Made for LimitRange {
    fn is_ours(name: &str) -> bool {
        name == child::CONTAINER_DEFAULTS
    }
}

impl Made for RoleBinding {
    fn is_ours(name: &str) -> bool {
        name.starts_with(ROLE_BINDING) && !is_of_grant(name)
    }
}

/// Whether something is being deleted and kept from going.
#[must_use]
pub fn is_kept_by_finalizer<K: Resource>(live: &K) -> bool {
    live.meta().deletion_timestamp.is_some() && !live.finalizers().is_empty()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;
    use crate::plan::metadata::child_metadata;

    fn compare(live: Option<&ConfigMap>, text: &str, healing: Healing) -> Due {
        let data = Some(BTreeMap::from([("text".to_owned(), text.to_owned())]));
        due(live, &child_metadata("ns", "name"), &data, |live| live.data == data, healing)
    }

    /// Returns the object as the operator makes it.
    fn made(text: &str) -> ConfigMap {
        let Due::Creation(metadata) = compare(None, text, Healing::Active) else { panic!("not made") };
        let data = Some(BTreeMap::from([("text".to_owned(), text.to_owned())]));
        ConfigMap { metadata, data, ..ConfigMap::default() }
    }

    #[test]
    fn what_others_changed_is_put_back_unless_healing_is_paused() {
        let drifts: [fn(&mut ConfigMap); 4] = [
            |live| live.data = None,
            |live| live.metadata.labels = None,
            |live| live.metadata.finalizers = Some(vec!["x/y".into()]),
            |live| live.metadata.owner_references = Some(vec![OwnerReference::default()]),
        ];
        for drift in drifts {
            let mut live = made("wanted");
            drift(&mut live);
            assert_eq!(compare(Some(&live), "wanted", Healing::Paused), Due::Nothing, "{live:?}");
            let Due::Replacement(metadata) = compare(Some(&live), "wanted", Healing::Active) else {
                panic!("not put back: {live:?}")
            };
            assert_eq!(metadata, made("wanted").metadata);
        }
        assert_eq!(compare(None, "wanted", Healing::Paused), Due::Nothing);
        let mut stripped = made("wanted");
        stripped.metadata.annotations = None;
        assert!(matches!(compare(Some(&stripped), "narrower", Healing::Paused), Due::Replacement(_)));
        assert_eq!(compare(Some(&made("wanted")), "wanted", Healing::Active), Due::Nothing);
    }

    #[test]
    fn what_the_operator_wants_differently_is_written_all_the_same() {
        for healing in [Healing::Active, Healing::Paused] {
            let before = made("before");
            assert_eq!(
                compare(Some(&before), "wanted", healing),
                Due::Replacement(made("wanted").metadata),
                "{healing:?}"
            );
        }
    }
}
