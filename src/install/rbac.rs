//! The RBAC of an installation: the operator's own rights, each for something the code does, and the roles
//! for people from the one matrix in [`crate::model::rbac::roles`].

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role as RbacRole, RoleBinding, RoleRef, Subject,
};
use kube::core::ObjectMeta;

use crate::admission::Installation;
use crate::api::names::{GROUP, OPERATOR, child, label};
use crate::api::role_assignment::Role;
use crate::api::{Kind, cilium};
use crate::model::rbac::access::CLUSTER_ROLES;
use crate::model::rbac::roles::{ELIGIBLE, ROLE_KINDS, accesses, bindable, cluster_role, may_give};

const RBAC: &str = "rbac.authorization.k8s.io";

/// The verbs for what the operator makes; it reads from watches only.
const OWNED: &[&str] = &["list", "watch", "create", "update", "delete"];

/// The rights that the operator needs everywhere.
#[must_use]
pub fn operator_cluster_role() -> ClusterRole {
    let plurals_of = |is_meant: fn(Kind) -> bool| -> Vec<&str> {
        Kind::ALL.into_iter().filter(|kind| is_meant(*kind)).map(Kind::plural).collect()
    };
    let (plurals, retired) = (plurals_of(|_| true), plurals_of(Kind::is_retired));
    let statuses: Vec<String> = plurals.iter().map(|plural| format!("{plural}/status")).collect();
    let statuses: Vec<&str> = statuses.iter().map(String::as_str).collect();
    ClusterRole {
        metadata: metadata(OPERATOR, None),
        rules: Some(vec![
            // Written of these: the finalizer.
            rule(GROUP, &plurals, &["get", "list", "watch", "patch"]),
            // Objects whose retirement was approved.
            rule(GROUP, &retired, &["delete"]),
            rule(GROUP, &statuses, &["patch"]),
            // Decided requests are deleted when they are old.
            rule(GROUP, &["approvalrequests"], &["create", "delete"]),
            // So are activations that are over.
            rule(GROUP, &["roleactivations"], &["delete"]),
            // The operator has to hold the rights that it writes into roles limited to one Community or Enclave:
            // Kubernetes' rule against escalation.
            rule(GROUP, &["communities", "enclaves"], &["update"]),
            rule(GROUP, &["approvalrequests"], &["approve"]),
            rule(GROUP, &["approvalrequests/status"], &["get", "update", "patch"]),
            rule(RBAC, &["roles", "rolebindings", "clusterroles", "clusterrolebindings"], OWNED),
            rule("", &["namespaces"], &["get", "list", "watch", "create", "update", "delete"]),
            rule("", &["resourcequotas", "limitranges"], OWNED),
            rule("networking.k8s.io", &["networkpolicies"], OWNED),
            // Where Cilium is installed, destinations by DNS name.
            rule("cilium.io", &["ciliumnetworkpolicies"], OWNED),
            PolicyRule {
                resource_names: Some(vec![cilium::DEFINITION.to_owned()]),
                ..rule("apiextensions.k8s.io", &["customresourcedefinitions"], &["list", "watch"])
            },
            may_bind(&every_role()),
            // Where notifications of a Community go: read when there is something to deliver, by name.
            PolicyRule {
                resource_names: Some(vec![child::NOTIFICATIONS.to_owned()]),
                ..rule("", &["secrets"], &["get"])
            },
            // ServiceAccounts that people leave behind.
            rule("", &["serviceaccounts"], &["list", "watch"]),
            // Whether the API server still runs the policies that the operator was built with.
            rule(
                "admissionregistration.k8s.io",
                &[
                    "mutatingadmissionpolicies",
                    "mutatingadmissionpolicybindings",
                    "validatingadmissionpolicies",
                    "validatingadmissionpolicybindings",
                ],
                &["get", "list", "watch"],
            ),
            rule("events.k8s.io", &["events"], &["create"]),
        ]),
        ..ClusterRole::default()
    }
}

/// Gives the operator's account its rights.
#[must_use]
pub fn operator_cluster_role_binding(installation: &Installation) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: metadata(OPERATOR, None),
        role_ref: role_ref("ClusterRole"),
        subjects: Some(vec![subject(installation)]),
    }
}

/// The rights that the operator needs in its own namespace: the lease.
#[must_use]
pub fn operator_role(installation: &Installation) -> RbacRole {
    RbacRole {
        metadata: metadata(OPERATOR, Some(&installation.namespace)),
        rules: Some(vec![
            PolicyRule {
                resource_names: Some(vec![OPERATOR.to_owned()]),
                ..rule("coordination.k8s.io", &["leases"], &["get", "list", "watch", "update"])
            },
            rule("coordination.k8s.io", &["leases"], &["create"]),
        ]),
    }
}

/// Gives the operator's account the rights in its own namespace.
#[must_use]
pub fn operator_role_binding(installation: &Installation) -> RoleBinding {
    RoleBinding {
        metadata: metadata(OPERATOR, Some(&installation.namespace)),
        role_ref: role_ref("Role"),
        subjects: Some(vec![subject(installation)]),
    }
}

/// The roles for people, as ClusterRoles: the seven, and that of those who may ask for an activation.
#[must_use]
pub fn user_roles() -> Vec<ClusterRole> {
    Role::ALL
        .into_iter()
        .map(|role| {
            let cells = accesses(role);
            let rules = cells
                .flat_map(|(kind, access)| {
                    let status = format!("{}/status", kind.plural());
                    [
                        rule(GROUP, &[kind.plural()], access.verbs()),
                        rule(GROUP, &[&status], access.status_verbs()),
                    ]
                })
                .filter(|rule| !rule.verbs.is_empty())
                .chain(ROLE_KINDS.map(|kind| rule(GROUP, &[kind.plural()], may_give(role, kind))))
                .chain(Some(bindable(role)).filter(|roles| !roles.is_empty()).map(|roles| may_bind(&roles)))
                .collect();
            ClusterRole {
                metadata: metadata(&cluster_role(role), None),
                rules: Some(rules),
                ..ClusterRole::default()
            }
        })
        .chain([eligible()])
        .collect()
}

/// Asking for an activation, giving it back, and seeing what one is eligible for.
fn eligible() -> ClusterRole {
    let activate = ["get", "list", "watch", "create", "update", "patch"];
    ClusterRole {
        metadata: metadata(ELIGIBLE, None),
        rules: Some(vec![
            rule(GROUP, &["roleactivations"], &activate),
            rule(GROUP, &["roleeligibilities"], &["get", "list", "watch"]),
        ]),
        ..ClusterRole::default()
    }
}

/// The right to bind these ClusterRoles, and no others.
fn may_bind(roles: &[String]) -> PolicyRule {
    PolicyRule { resource_names: Some(roles.to_vec()), ..rule(RBAC, &["clusterroles"], &["bind"]) }
}

/// All ClusterRoles that the operator binds.
fn every_role() -> Vec<String> {
    let own = Role::ALL.into_iter().map(cluster_role).chain([ELIGIBLE.to_owned()]);
    own.chain(CLUSTER_ROLES.map(ToOwned::to_owned)).collect()
}

fn metadata(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(ToOwned::to_owned),
        labels: Some([(label::PART_OF.to_owned(), OPERATOR.to_owned())].into()),
        ..ObjectMeta::default()
    }
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

fn role_ref(kind: &str) -> RoleRef {
    RoleRef { api_group: Some(RBAC.into()), kind: kind.into(), name: OPERATOR.into() }
}

fn subject(installation: &Installation) -> Subject {
    Subject {
        kind: "ServiceAccount".into(),
        name: installation.service_account.clone(),
        namespace: Some(installation.namespace.clone()),
        api_group: None,
    }
}
