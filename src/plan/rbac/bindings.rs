//! Bindings of roles to people.

use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};

use crate::api::EnclaveWorkloadSpec;
use crate::api::common::{Principal, PrincipalKind};
use crate::model::naming::listed_binding;
use crate::model::rbac::access::listed;
use crate::plan::metadata::child_metadata;

const RBAC: &str = "rbac.authorization.k8s.io";

/// The bindings of those whom an isolated workload lists.
#[must_use]
pub fn build_listed(namespace: &str, spec: &EnclaveWorkloadSpec) -> Vec<RoleBinding> {
    listed(spec)
        .into_iter()
        .map(|(role, principals)| RoleBinding {
            metadata: child_metadata(namespace, &listed_binding(role)),
            role_ref: cluster_role_ref(role),
            subjects: Some(principals.into_iter().map(subject).collect()),
        })
        .collect()
}

/// A ClusterRole, to be bound.
#[must_use]
pub fn cluster_role_ref(name: &str) -> RoleRef {
    RoleRef { api_group: Some(RBAC.into()), kind: "ClusterRole".into(), name: name.into() }
}

/// A Role of the same namespace, to be bound.
#[must_use]
pub fn role_ref(name: &str) -> RoleRef {
    RoleRef { kind: "Role".into(), ..cluster_role_ref(name) }
}

/// A principal as RBAC names it, with what the API server fills in.
#[must_use]
pub fn subject(principal: &Principal) -> Subject {
    let Principal { kind, name, namespace } = principal;
    let (kind, group) = match kind {
        PrincipalKind::User => ("User", Some(RBAC)),
        PrincipalKind::Group => ("Group", Some(RBAC)),
        PrincipalKind::ServiceAccount => ("ServiceAccount", None),
    };
    Subject {
        kind: kind.into(),
        name: name.clone(),
        namespace: namespace.clone(),
        api_group: group.map(ToOwned::to_owned),
    }
}
