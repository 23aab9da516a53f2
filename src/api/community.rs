//! `Community`: the scope of Enclaves that may be connected, with the approval rules for everything inside.

// KubeSchema copies the structs, and nothing reads in the copy what serde skips.
#![allow(dead_code)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::approvals::Approvals;
use super::common::{ChangeReason, LABEL_KEYS_MESSAGE, LABEL_KEYS_RULE, Maintenance, match_labels_schema};
use super::gate::GateStatus;
use super::reading::Unreadable;

/// Desired state of a Community.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "enclave-operator.io",
    version = "v1alpha1",
    kind = "Community",
    plural = "communities",
    shortname = "com",
    category = "enclave-operator",
    status = "CommunityStatus",
    derive = "PartialEq",
    doc = "A Community is the scope of a set of isolated enclaves that may be connected: its approval rules count for everything inside, and it owns a namespace in which its enclaves are declared.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Request", type_ = "string", json_path = ".status.pending.approvalRequest"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".status.namespace", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Lock", type_ = "string", json_path = ".status.conditions[?(@.type==\"Locked\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,18}[a-z0-9])?$')")
        .message("the name of a Community starts with a letter and has at most 20 lower-case letters, digits and '-': namespaces are named <community>-<enclave>-<workload>"),
    validation = Rule::new("(has(self.spec.__namespace__) ? self.spec.__namespace__ : self.metadata.name) == (has(oldSelf.spec.__namespace__) ? oldSelf.spec.__namespace__ : oldSelf.metadata.name)")
        .message("spec.namespace cannot be changed; create another Community")
)]
#[serde(rename_all = "camelCase")]
pub struct CommunitySpec {
    /// Name of the namespace that the operator makes for this Community; the name of the Community when
    /// absent. The operator never takes over a namespace that already exists. The name cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
    /// Approval rules for this Community and everything in it.
    #[serde(default)]
    pub approvals: Approvals,
    /// DNS pods that resolve names for the pods of this Community.
    #[serde(default)]
    pub dns: Dns,
    /// Backend that enforces destinations by DNS name: None (the default) or Cilium.
    #[serde(default)]
    pub fqdn_backend: FqdnBackend,
    /// Whether service accounts may decide ApprovalRequests: Allowed or Forbidden (the default).
    #[serde(default)]
    pub service_account_votes: ServiceAccountVotes,
    /// Handling of a principal that holds a role that approves and a role that changes things, in scopes that
    /// overlap: Warn (the default) or Refuse.
    #[serde(default)]
    pub conflicting_duties: ConflictingDuties,
    /// Notifications about ApprovalRequests: to those who decide, when a request is made and before it
    /// expires, and to the requesters, when it is decided or has expired.
    #[serde(default)]
    pub notifications: Notifications,
    /// Maintenance, which is an exception from the lock, in all namespaces of the Community. It does not
    /// count in an Enclave whose own rules hold EnclaveMaintenance.
    #[serde(default)]
    pub maintenance: Maintenance,
    /// Set to true to ask for the deletion of this Community, which is a `CommunityUpdate`. When the
    /// rules allow it and no Enclave is left, the operator removes its namespace and the Community.
    #[serde(default)]
    pub retire: bool,
    /// Justification and ticket of the latest change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeReason>,
    /// Fields of the spec that could not be read; `None` when all could. A field that could not be read holds
    /// a substitute here, not what somebody asked for.
    #[serde(skip)]
    #[schemars(skip)]
    pub unreadable: Option<Box<Unreadable>>,
}

/// The pods that answer DNS queries, the only destination that every workload may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dns {
    /// Namespace of the DNS pods; `kube-system` when absent.
    #[serde(default = "default_dns_namespace")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: String,
    /// Labels that the DNS pods have; `k8s-app: kube-dns` when absent.
    #[serde(default = "default_dns_pod_labels")]
    #[schemars(schema_with = "dns_pod_labels_schema")]
    #[x_kube(validation = Rule::new(LABEL_KEYS_RULE).message(LABEL_KEYS_MESSAGE))]
    pub pod_labels: BTreeMap<String, String>,
    /// Port on which the DNS pods listen, for UDP and TCP; 53 when absent.
    #[serde(default = "default_dns_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

fn dns_pod_labels_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = match_labels_schema(generator);
    schema.insert("minProperties".into(), 1.into());
    schema
}

fn default_dns_namespace() -> String {
    "kube-system".into()
}

fn default_dns_pod_labels() -> BTreeMap<String, String> {
    BTreeMap::from([("k8s-app".into(), "kube-dns".into())])
}

const fn default_dns_port() -> i32 {
    53
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            namespace: default_dns_namespace(),
            pod_labels: default_dns_pod_labels(),
            port: default_dns_port(),
        }
    }
}

/// Notifications about ApprovalRequests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notifications {
    /// Channels through which notifications are sent; none when absent. Their settings stand in the Secret
    /// `enclave-operator-notifications` in the namespace of the Community. CloudEvents reads
    /// `cloudevents-url` and `cloudevents-token`, Slack reads `slack-url`, and Email reads `smtp-url`,
    /// `smtp-from` and `addresses`, a YAML map from names of users and groups to mail addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub channels: Vec<Channel>,
}

/// Channel of notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Channel {
    /// Audit records, posted as CloudEvents to a program that notifies people.
    CloudEvents,
    /// Messages in a chat, through an incoming webhook as Slack has it.
    Slack,
    /// Mail, through SMTP.
    Email,
}

impl Channel {
    /// All channels.
    pub const ALL: [Self; 3] = [Self::CloudEvents, Self::Slack, Self::Email];
}

/// Backend that enforces destinations by DNS name in this cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FqdnBackend {
    /// No backend: connections to DNS names stay Disconnected.
    #[default]
    None,
    /// `CiliumNetworkPolicy` with `toFQDNs`.
    Cilium,
}

/// Whether service accounts may vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ServiceAccountVotes {
    Allowed,
    #[default]
    Forbidden,
}

/// Handling of a principal that holds conflicting duties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConflictingDuties {
    /// The role is given, and the condition `ConflictingDuties` shows the conflict.
    #[default]
    Warn,
    /// The RoleAssignment, RoleEligibility or RoleActivation that would cause the conflict is not put into
    /// force; the reason is `ConflictingDuties`.
    Refuse,
}

/// Observed state of a Community.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommunityStatus {
    #[serde(flatten)]
    pub gate: GateStatus,
    /// Namespace of this Community; absent until it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Number of Enclaves that are declared in the namespace of this Community.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub enclaves: Option<i32>,
    /// Maintenance of this Community that is in force; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Unmanaged resources in the namespace of this Community: objects of the kinds that the lock guards
    /// (NetworkPolicy, CiliumNetworkPolicy, ResourceQuota, LimitRange) that the operator did not make, each
    /// as `Kind namespace/name`. They are in force until somebody deletes them. The list has the first 50 in
    /// alphabetical order, and a last line with the number of further ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 51), inner(length(max = 384)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub unmanaged_resources: Vec<String>,
    /// Standing grants that nobody declared: RoleBindings of others in the namespace of this Community, each
    /// as `namespace/name: role for principals`. A RoleAssignment or a RoleEligibility would show who gave
    /// them and when. The list has the first 50 in alphabetical order, and a last line with the number of
    /// further ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 51), inner(length(max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub standing_grants: Vec<String>,
}

super::reading::gated! { Community, CommunitySpec, CommunityStatus, required: {} }
