//! `EnclaveConnection`: the only kind that opens traffic between Enclaves, and from and to the outside.

// KubeSchema copies the structs, and nothing reads in the copy what serde skips.
#![allow(dead_code)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;
use super::common::{ChangeReason, DURATION_PATTERN, LABEL_PATTERN, NAME_MESSAGE, NAME_RULE, duration_rule};
use super::community_endpoint::TransitHubRef;
use super::duration::Duration;
use super::gate::GateStatus;
use super::reading::Unreadable;

/// Desired state of an `EnclaveConnection`.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "enclave-operator.io",
    version = "v1alpha1",
    kind = "EnclaveConnection",
    plural = "enclaveconnections",
    namespaced,
    shortname = "econ",
    category = "enclave-operator",
    status = "EnclaveConnectionStatus",
    derive = "PartialEq",
    doc = "An EnclaveConnection lets workloads of an Enclave, or a TransitHub, reach an EnclaveEndpoint or a CommunityEndpoint. It is declared where its source is: in the Enclave's control namespace, or in the Community's namespace when the source is a TransitHub. Nothing else opens traffic between Enclaves or with the outside, DNS aside.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Request", type_ = "string", json_path = ".status.pending.approvalRequest"),
    printcolumn(name = "From", type_ = "string", json_path = ".status.from"),
    printcolumn(name = "To", type_ = "string", json_path = ".status.to"),
    printcolumn(name = "Enabled", type_ = "boolean", json_path = ".spec.enabled", priority = 1),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(NAME_RULE).message(NAME_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.source.transitHub) || has(self.destination.enclaveEndpoint)")
    .message("a connection from a TransitHub leads to an enclaveEndpoint"))]
#[x_kube(validation = Rule::new("!(has(self.expiresAt) && has(self.duration))")
    .message("a connection ends either at expiresAt or after duration, not both"))]
pub struct EnclaveConnectionSpec {
    /// Description of this connection, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[^[:cntrl:]]+$"))]
    pub description: Option<String>,
    /// Source of the traffic: exactly one of `workloads` and `transitHub`. The source cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("the source of a connection cannot be changed; create another connection"))]
    pub source: ConnectionSource,
    /// Destination of the traffic: exactly one of `enclaveEndpoint` and `communityEndpoint`. The destination
    /// cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("the destination of a connection cannot be changed; create another connection"))]
    pub destination: ConnectionDestination,
    /// Whether the connection is enabled; true when absent. Setting this to false closes the connection at
    /// once, without an approval. Enabling the connection again is an update that may need an approval.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// Time at which the connection closes by itself. Not allowed together with `duration`; without either of
    /// them the connection has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::wanted_time")]
    pub expires_at: Option<Time>,
    /// Time after which the connection closes by itself, for example `72h`, counted from when it took effect.
    /// Hours, minutes and seconds, between one minute and one year (`8784h`). Not allowed together with
    /// `expiresAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), regex(pattern = DURATION_PATTERN))]
    #[x_kube(validation = Rule::new(duration_rule("1m", "8784h"))
        .message("duration must be between 1m and 8784h, for example 72h"))]
    pub duration: Option<Duration>,
    /// Set to true to ask for the deletion of this connection. When the rules allow it, the
    /// operator closes and deletes it. To close it at once, set `enabled: false`.
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

const fn enabled() -> bool {
    true
}

/// Source of the traffic. Exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.workloads) != has(self.transitHub)")
    .message("a source is exactly one of workloads and transitHub"))]
pub struct ConnectionSource {
    /// Names of `EnclaveWorkloads` in the Enclave of this connection. All their pods are sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 20),
        inner(length(min = 1, max = 20), regex(pattern = "^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub workloads: Vec<String>,
    /// A `TransitHub` of the Community that this connection is declared in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transit_hub: Option<TransitHubRef>,
}

/// Destination of the traffic, which is always in the same Community. Exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.enclaveEndpoint) != has(self.communityEndpoint)")
    .message("a destination is exactly one of enclaveEndpoint and communityEndpoint"))]
pub struct ConnectionDestination {
    /// An `EnclaveEndpoint` of an Enclave of this Community.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave_endpoint: Option<EnclaveEndpointRef>,
    /// A `CommunityEndpoint` of this Community.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub community_endpoint: Option<CommunityEndpointRef>,
}

/// Reference to an `EnclaveEndpoint` of an Enclave of the same Community.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnclaveEndpointRef {
    /// Name of the Enclave that offers the endpoint.
    #[schemars(length(min = 1, max = 20), regex(pattern = "^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$"))]
    pub enclave: String,
    /// Name of the `EnclaveEndpoint`.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_PATTERN))]
    pub name: String,
}

/// Reference to a `CommunityEndpoint` of the same Community.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommunityEndpointRef {
    /// Name of the `CommunityEndpoint`.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_PATTERN))]
    pub name: String,
}

/// Observed state of an `EnclaveConnection`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnclaveConnectionStatus {
    #[serde(flatten)]
    pub gate: GateStatus,
    /// The source in words, for tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub from: Option<String>,
    /// The destination in words, for tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub to: Option<String>,
    /// Time at which the connection closes by itself; absent when it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::time")]
    pub expires_at: Option<Time>,
}

super::reading::gated! {
    EnclaveConnection, EnclaveConnectionSpec, EnclaveConnectionStatus,
    required: {"source": {}, "destination": {}}, closes: |spec| spec.enabled = false
}
