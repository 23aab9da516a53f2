//! Parts of specs that several kinds share: reasons of changes, principals, maintenance, label selectors,
//! address blocks and ports.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::Time;

/// Justification and ticket of a change. They are not part of the content that is compared and approved:
/// editing them on a rejected or expired change proposes the same content again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeReason {
    /// Reason for the change, for those who decide about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub justification: Option<String>,
    /// The ticket or incident that this change belongs to, for example `CHG0012345`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub ticket: Option<String>,
}

/// Kind of a [`Principal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum PrincipalKind {
    User,
    Group,
    ServiceAccount,
}

/// A user, a group or a service account, named as the API server's authentication names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.kind != 'ServiceAccount' || (size(self.name) <= 253 && self.name.matches('^[a-z0-9]+((-+|[.])[a-z0-9]+)*$'))")
    .message("the name of a ServiceAccount has lower-case letters, digits, '-' and '.', and each part between dots starts and ends with a letter or digit"))]
#[x_kube(validation = Rule::new("(self.kind == 'ServiceAccount') == has(self.__namespace__)")
    .message("a ServiceAccount needs namespace; User and Group must not have one"))]
pub struct Principal {
    /// Kind of the principal: User, Group or ServiceAccount.
    pub kind: PrincipalKind,
    /// Name of the principal, exactly as authentication gives it, in the same case.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[^[:cntrl:]]+$"))]
    pub name: String,
    /// Namespace of a ServiceAccount; absent for a User or a Group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
}

impl Principal {
    /// Returns the user name that requests of this principal carry; `None` for a group.
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

impl Principal {
    /// Returns the principal as admission policies compare it: `User:<name>` or `Group:<name>`.
    #[must_use]
    pub fn line(&self) -> String {
        match self.username() {
            Some(name) => format!("User:{name}"),
            None => format!("Group:{}", self.name),
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

/// Extent to which maintenance opens the operator's lock on managed namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MaintenanceMode {
    /// Maintenance is off: only the operator changes what it manages. (The value is not `Off`, because YAML
    /// reads that as a boolean.)
    #[default]
    Disabled,
    /// The named principals may manage additional objects of the kinds that the lock guards, but not those of
    /// the operator.
    General,
    /// The named principals may also change the objects of the operator, which does not put them back
    /// meanwhile.
    Advanced,
}

/// Reason for maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MaintenanceJustification {
    Networking,
    Governance,
}

/// Maintenance: an exception from the lock for named principals, with an end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.mode == 'Disabled' || (has(self.justification) && has(self.expiresAt) && has(self.principals) && size(self.principals) > 0)")
    .message("maintenance needs justification, principals and expiresAt; or set mode: Disabled"))]
pub struct Maintenance {
    /// Mode of the maintenance: Disabled, General or Advanced. Turning maintenance on may need an approval;
    /// turning it off never waits. Disabled when absent.
    #[serde(default)]
    pub mode: MaintenanceMode,
    /// Reason for the maintenance: Networking or Governance. Required unless the mode is Disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<MaintenanceJustification>,
    /// Principals that may do more while maintenance is on. At least one is required unless the mode is
    /// Disabled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub principals: Vec<Principal>,
    /// Time at which maintenance ends by itself. Required unless the mode is Disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::wanted_time")]
    pub expires_at: Option<Time>,
}

/// Pattern of an RFC 1123 label, which the names of objects and namespaces match here.
pub const LABEL_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// CEL rule for kinds whose objects may be named by any RFC 1123 label.
pub const NAME_RULE: &str = "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')";
/// Message of [`NAME_RULE`].
pub const NAME_MESSAGE: &str = "the name has at most 63 lower-case letters, digits and '-', and starts and ends with a letter or digit: it becomes part of names and labels of other objects";

/// Pattern of a duration: hours, minutes and seconds, each at most once, in this order.
pub const DURATION_PATTERN: &str = "^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,8}s)?$";

/// Returns the CEL rule for a duration between `least` and `most`. The rule checks [`DURATION_PATTERN`]
/// again, because rules are also evaluated for values that break the pattern.
#[must_use]
pub fn duration_rule(least: &str, most: &str) -> String {
    format!(
        "self != '' && self.matches('{DURATION_PATTERN}') && duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"
    )
}

/// Selects pods by their labels. All requirements must hold; an empty selector selects every pod of
/// the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that the pods must have, with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "match_labels_schema")]
    #[x_kube(validation = Rule::new(LABEL_KEYS_RULE).message(LABEL_KEYS_MESSAGE))]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements on the labels of the pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub match_expressions: Vec<LabelRequirement>,
}

pub(super) fn match_labels_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "type": "string",
            "description": "The value that the label must have.",
            "maxLength": 63,
            "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        },
    })
}

/// CEL rule for a map whose keys are those of labels.
pub(super) const LABEL_KEYS_RULE: &str = "self.all(key, !format.qualifiedName().validate(key).hasValue())";
/// Message of [`LABEL_KEYS_RULE`].
pub(super) const LABEL_KEYS_MESSAGE: &str = "a label key is a name of at most 63 letters, digits, '-', '_' and '.', with an optional DNS prefix and '/', for example app.kubernetes.io/name";

/// One requirement on the labels of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)")
    .message("In and NotIn need values; Exists and DoesNotExist must not have any"))]
pub struct LabelRequirement {
    /// The key of the label.
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(validation = Rule::new("!format.qualifiedName().validate(self).hasValue()").message(LABEL_KEYS_MESSAGE))]
    pub key: String,
    /// Operator that compares the label with `values`: In, NotIn, Exists or DoesNotExist.
    pub operator: LabelOperator,
    /// Values that the label may have (In) or must not have (NotIn). Not allowed with Exists and
    /// DoesNotExist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(max = 63), regex(pattern = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub values: Vec<String>,
}

/// Operator of a requirement on a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl From<&LabelSelector> for k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
    fn from(selector: &LabelSelector) -> Self {
        let LabelSelector { match_labels, match_expressions } = selector;
        Self {
            match_labels: (!match_labels.is_empty()).then(|| match_labels.clone()),
            match_expressions: (!match_expressions.is_empty())
                .then(|| match_expressions.iter().map(Into::into).collect()),
        }
    }
}

impl From<&LabelRequirement> for k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement {
    fn from(requirement: &LabelRequirement) -> Self {
        let LabelRequirement { key, operator, values } = requirement;
        Self {
            key: key.clone(),
            operator: format!("{operator:?}"),
            values: (!values.is_empty()).then(|| values.clone()),
        }
    }
}

/// Pods of one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespacedPods {
    /// Namespace that the pods run in. It must not be a namespace that the operator made for a Community, an
    /// Enclave or a workload.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_PATTERN))]
    pub namespace: String,
    /// Selector of the pods in that namespace; `{}` selects all of them.
    pub pod_selector: LabelSelector,
}

/// A block of IP addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.except) || !isCIDR(self.cidr) || self.except.all(e, !isCIDR(e) || (cidr(self.cidr).containsCIDR(cidr(e)) && cidr(e).prefixLength() > cidr(self.cidr).prefixLength()))")
    .message("every block in except must be a smaller part of cidr"))]
pub struct IpBlock {
    /// The block in its canonical form, for example `198.51.100.0/24` or `2001:db8::/32`: no bits
    /// set behind the prefix.
    #[schemars(length(min = 1, max = 43))]
    #[x_kube(validation = Rule::new(CIDR_RULE).message(CIDR_MESSAGE))]
    pub cidr: String,
    /// Parts of the block that are left out, in canonical form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 43)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new("self.all(e, isCIDR(e) && string(cidr(e).masked()) == e)").message(CIDR_MESSAGE))]
    pub except: Vec<String>,
}

const CIDR_RULE: &str = "isCIDR(self) && string(cidr(self).masked()) == self";
const CIDR_MESSAGE: &str = "must be a block of IPv4 or IPv6 addresses in canonical form, such as 198.51.100.0/24 or 2001:db8::/32, without bits behind the prefix";

/// A transport protocol.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// Port, or range of ports, on which pods listen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.endPort) || self.endPort >= self.port")
    .message("endPort must not be smaller than port"))]
pub struct Port {
    /// Transport protocol: TCP, UDP or SCTP. TCP when absent.
    #[serde(default)]
    pub protocol: Protocol,
    /// The port, or the first port of the range.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Last port of the range. When absent, the range is `port` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub end_port: Option<i32>,
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { protocol, port, end_port } = self;
        match end_port {
            Some(end) if end != port => write!(f, "{protocol} {port}-{end}"),
            _ => write!(f, "{protocol} {port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type KubernetesSelector = k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    #[test]
    fn a_label_selector_reads_and_writes_as_that_of_kubernetes() {
        for text in [
            json!({}),
            json!({"matchLabels": {"app.kubernetes.io/name": "db"}}),
            json!({"matchExpressions": [
                {"key": "role", "operator": "NotIn", "values": ["replica"]},
                {"key": "role", "operator": "In", "values": ["primary"]},
                {"key": "ready", "operator": "Exists"},
                {"key": "draining", "operator": "DoesNotExist"},
            ]}),
        ] {
            let ours: LabelSelector = serde_json::from_value(text.clone()).unwrap();
            let theirs: KubernetesSelector = serde_json::from_value(text.clone()).unwrap();
            assert_eq!(KubernetesSelector::from(&ours), theirs);
            assert_eq!(serde_json::to_value(&ours).unwrap(), text);
        }
    }
}
