//! The indexes of Kubernetes' own kinds, and how values of an index are made. The indexes of each kind of this API group
//! are in the `index.rs` of its folder.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Resource, ResourceExt};

use crate::api::CiliumNetworkPolicy;
use crate::api::names::{annotation, label};
use crate::cluster::cache::{Indexed, NoIndex};
use crate::model::digest::fingerprint;
use crate::model::naming::{CONNECTION_POLICY, ROLE_BINDING, is_of_grant, splits};
use crate::plan::child::Made;

/// A value of two parts. Neither part has a `/`, or only the last one.
#[must_use]
pub fn pair(first: &str, second: &str) -> String {
    format!("{first}/{second}")
}

/// Where something may stand that is given by name: in roles, to principals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Near {
    Anywhere,
    /// In this namespace.
    In(String),
    /// In a namespace whose name begins as those of the Enclaves of this Community.
    Beneath(String),
}

impl Near {
    /// Returns the beginning of the index values of what is there for somebody with this fingerprint.
    #[must_use]
    pub fn beginning(&self, fingerprint: &str) -> String {
        match self {
            Self::Anywhere => format!("{fingerprint}/"),
            Self::In(namespace) => format!("{fingerprint}/{namespace}/"),
            Self::Beneath(community) => format!("{fingerprint}/{community}-"),
        }
    }
}

/// The value under which something is found that is given in a namespace to somebody, near whatever place: names of
/// people may be long, and of what they are given there may be much.
pub(super) fn value_near(namespace: &str, somebody: &str) -> String {
    Near::In(namespace.to_owned()).beginning(&fingerprint(somebody))
}

/// Communities that may surround what is declared in a namespace, as namespaces are named: an Enclave's begins with
/// the name of its Community, and one of a Community is found under its own name, which may be any.
pub(super) fn may_surround(namespace: &str) -> impl Iterator<Item = &str> {
    [namespace].into_iter().chain(splits(namespace).map(|(community, _)| community))
}

pub(super) fn namespace_of_object<K: Resource>(object: &K) -> &str {
    object.meta().namespace.as_deref().unwrap_or_default()
}

macro_rules! not_indexed {
    ($($kind:ty),* => $is_packed:literal) => {
        $(impl Indexed for $kind {
            type By = NoIndex;

            fn index(&self, _: &mut dyn FnMut(NoIndex, &str)) {}

            fn is_packed(&self) -> bool {
                $is_packed
            }
        })*
    };
}

not_indexed!(ResourceQuota, LimitRange => true);

not_indexed!(
    ClusterRole,
    CustomResourceDefinition,
    MutatingAdmissionPolicy,
    MutatingAdmissionPolicyBinding,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding => false
);

/// Indexes of namespaces that the operator made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NamespaceBy {
    /// UID of the owner.
    OwnerUid,
    /// Name of the Community.
    Community,
    /// Names of the Community and the Enclave, as a [`pair`].
    Enclave,
    /// `true`: all of them.
    Managed,
}

impl Indexed for Namespace {
    type By = NamespaceBy;

    fn index(&self, add: &mut dyn FnMut(NamespaceBy, &str)) {
        let labels = self.labels();
        let Some(owner) = labels.get(label::OWNER_UID) else { return };
        add(NamespaceBy::OwnerUid, owner);
        add(NamespaceBy::Managed, "true");
        let Some(community) = labels.get(label::COMMUNITY) else { return };
        add(NamespaceBy::Community, community);
        if let Some(enclave) = labels.get(label::ENCLAVE) {
            add(NamespaceBy::Enclave, &pair(community, enclave));
        }
    }
}

pub(super) fn maker<K: Resource>(object: &K) -> Option<&String> {
    object.meta().annotations.as_ref()?.get(annotation::CREATED_BY)
}

/// Indexes of what stands in namespaces and gives rights there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RbacBy {
    /// The name of an object that is made for a grant.
    Grant,
    /// The user who made the object, as the API server stamped it.
    Maker,
    /// The namespace of an object whose name is none that only the operator's may have.
    OfOthersIn,
    /// The namespace of an object with the name of what the operator makes there beside grants.
    OfThePlace,
}

macro_rules! rbac {
    ($($kind:ty),*) => {
        $(impl Indexed for $kind {
            type By = RbacBy;

            fn index(&self, add: &mut dyn FnMut(RbacBy, &str)) {
                let name = self.metadata.name.as_deref().unwrap_or_default();
                if is_of_grant(name) {
                    add(RbacBy::Grant, name);
                }
                if !name.starts_with(ROLE_BINDING) {
                    add(RbacBy::OfOthersIn, namespace_of_object(self));
                } else if !is_of_grant(name) {
                    add(RbacBy::OfThePlace, namespace_of_object(self));
                }
                if let Some(maker) = maker(self) {
                    add(RbacBy::Maker, maker);
                }
            }

            fn is_packed(&self) -> bool {
                true
            }
        })*
    };
}

rbac!(Role, RoleBinding, ServiceAccount);

/// Indexes of ClusterRoleBindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClusterBindingBy {
    /// Name of the ClusterRole that it binds.
    Role,
}

impl Indexed for ClusterRoleBinding {
    type By = ClusterBindingBy;

    fn index(&self, add: &mut dyn FnMut(ClusterBindingBy, &str)) {
        add(ClusterBindingBy::Role, &self.role_ref.name);
    }
}

/// Indexes of network policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyBy {
    /// Namespace and name of the connection that it is named after, as a [`pair`].
    Connection,
    /// The namespace of a policy that does not have the name of one that the operator makes.
    OfOthersIn,
}

/// Namespace and name of the connection that a policy of this name is made for.
#[must_use]
pub fn connection_of_policy(name: &str) -> Option<(&str, &str)> {
    let mut parts = name.strip_prefix(CONNECTION_POLICY)?.split('.');
    Some((parts.next()?, parts.next()?))
}

macro_rules! policies {
    ($($kind:ty),*) => {
        $(impl Indexed for $kind {
            type By = PolicyBy;

            fn index(&self, add: &mut dyn FnMut(PolicyBy, &str)) {
                let name = self.metadata.name.as_deref().unwrap_or_default();
                if let Some((namespace, name)) = connection_of_policy(name) {
                    add(PolicyBy::Connection, &pair(namespace, name));
                }
                if !Self::is_ours(name) {
                    add(PolicyBy::OfOthersIn, namespace_of_object(self));
                }
            }

            fn is_packed(&self) -> bool {
                true
            }
        })*
    };
}

policies!(NetworkPolicy, CiliumNetworkPolicy);
