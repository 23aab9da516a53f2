//! Pieces of spec that several kinds share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The requester's words for a change. Not part of the content that is compared and approved:
/// editing it on a rejected or expired change proposes the same content again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeReason {
    /// Why this change is needed, for those who decide about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub justification: Option<String>,
    /// The ticket or incident that this change belongs to, for example `CHG0012345`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub ticket: Option<String>,
}

/// What a [`Principal`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum PrincipalKind {
    User,
    Group,
    ServiceAccount,
}

/// A user, a group or a service account, named as the API server's authentication names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.kind == 'ServiceAccount') == has(self.__namespace__)")
    .message("a ServiceAccount needs namespace; User and Group must not have one"))]
pub struct Principal {
    /// User, Group or ServiceAccount.
    pub kind: PrincipalKind,
    /// The name, exactly as authentication gives it (case counts).
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[^[:cntrl:]]+$"))]
    pub name: String,
    /// Namespace of a ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
}

impl Principal {
    /// The user name that a request of this principal carries; `None` for a group.
    #[must_use]
    pub fn username(&self) -> Option<String> {
        match self.kind {
            PrincipalKind::User => Some(self.name.clone()),
            PrincipalKind::ServiceAccount => Some(format!(
                "system:serviceaccount:{}:{}",
                self.namespace.as_deref().unwrap_or_default(),
                self.name
            )),
            PrincipalKind::Group => None,
        }
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.kind, &self.namespace) {
            (PrincipalKind::User, _) => write!(f, "user {}", self.name),
            (PrincipalKind::Group, _) => write!(f, "group {}", self.name),
            (PrincipalKind::ServiceAccount, namespace) => {
                write!(f, "service account {}/{}", namespace.as_deref().unwrap_or_default(), self.name)
            }
        }
    }
}

/// How far the operator's lock on managed namespaces is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MaintenanceMode {
    /// Only the operator changes what it manages. (Not `Off`: YAML reads that as a boolean.)
    #[default]
    Disabled,
    /// The named principals may manage additional objects that the operator does not manage.
    General,
    /// The named principals may change managed objects too, and the operator does not heal them.
    Advanced,
}

/// Why maintenance is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MaintenanceJustification {
    Networking,
    Governance,
}

/// Maintenance: an exception from the lock, for named principals and for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.mode == 'Disabled' || (has(self.justification) && has(self.expiresAt) && has(self.principals) && size(self.principals) > 0)")
    .message("maintenance needs justification, principals and expiresAt; or set mode: Disabled"))]
pub struct Maintenance {
    /// Disabled, General or Advanced. Turning it on may need an approval; turning it off never waits.
    #[serde(default)]
    pub mode: MaintenanceMode,
    /// Networking or Governance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<MaintenanceJustification>,
    /// Who may do more while maintenance is on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub principals: Vec<Principal>,
    /// When maintenance ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub expires_at: Option<Time>,
}
