//! A namespace that the operator owns, with what must be in it: a Community's namespace or an
//! Enclave's control namespace, where no pod may run, or the namespace of a workload.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use crate::api::CiliumNetworkPolicy;
use crate::api::names::{access, label};
use crate::model::rbac::maintenance::Exceptions;
use crate::plan::namespace::limits::ContainerLimits;

/// A namespace as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredNamespace {
    /// Name of the namespace.
    pub namespace: String,
    /// UID of the object that the namespace belongs to.
    pub owner_uid: String,
    /// Name of the Community.
    pub community: String,
    /// Name of the Enclave, when the namespace belongs to one.
    pub enclave: Option<String>,
    /// Operations that may be held in it, for the policy that warns.
    pub held_operations: Vec<String>,
    /// The principals that may do more in it than the lock lets others.
    pub exceptions: Exceptions,
    /// The bindings of roles that must be in it.
    pub bindings: Vec<RoleBinding>,
    /// The purpose of the namespace.
    pub purpose: NamespacePurpose,
}

/// The purpose of a namespace, and with that what must be in it besides the policy that denies everything.
#[derive(Clone, Debug, PartialEq)]
pub enum NamespacePurpose {
    /// A Community's own objects; no pods.
    Community,
    /// An Enclave's own objects; no pods.
    Control,
    /// The pods of a workload.
    Workload(Box<WorkloadContents>),
    /// The pods of a workload of which is not known now what must be in its namespace. The objects that are there
    /// stay, and so do these labels of the namespace.
    SomeWorkload(BTreeMap<String, String>),
}

/// The contents that the namespace of a workload must have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadContents {
    /// Name of the workload.
    pub workload: String,
    /// The pod security standard that it enforces.
    pub pod_security: &'static str,
    /// The access mode: one of [`crate::api::names::access`].
    pub access_mode: &'static str,
    /// The network policies that open something.
    pub policies: Vec<NetworkPolicy>,
    /// The same, of Cilium.
    pub cilium_policies: Vec<CiliumNetworkPolicy>,
    /// The names of those policies that are to be made, also while healing is paused: what they let
    /// through has not been seen in force yet.
    pub unmade: BTreeSet<String>,
    /// The amounts that it may use; empty for no limit.
    pub quota: BTreeMap<String, Quantity>,
    /// The limits and requests of containers that set none themselves.
    pub container_defaults: Option<ContainerLimits>,
}

impl DesiredNamespace {
    /// Whether only those get in whom a workload lists.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        matches!(&self.purpose, NamespacePurpose::Workload(contents) if contents.access_mode == access::ISOLATED)
    }
}

/// A namespace and its contents, as they were observed.
#[derive(Clone, Debug, Default)]
pub struct ObservedNamespace {
    /// The namespace.
    pub namespace: Option<Arc<Namespace>>,
    /// All network policies in it, those of others too.
    pub policies: Vec<Arc<NetworkPolicy>>,
    /// The same, of Cilium.
    pub cilium_policies: Vec<Arc<CiliumNetworkPolicy>>,
    /// The bindings of roles that are made with it; all that there are where only those get in whom it lists.
    pub bindings: Vec<Arc<RoleBinding>>,
    /// The operator's quota.
    pub quota: Option<Arc<ResourceQuota>>,
    /// The operator's defaults for containers.
    pub container_defaults: Option<Arc<LimitRange>>,
}

/// Whether a namespace was made by the operator for the object with this UID. The label can be
/// believed because an admission policy lets only the operator write it.
#[must_use]
pub fn is_owned(namespace: &Namespace, owner_uid: &str) -> bool {
    namespace.labels().get(label::OWNER_UID).is_some_and(|uid| uid == owner_uid)
}
