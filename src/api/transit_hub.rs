//! `TransitHub`: a gateway between a Community and private networks outside the cluster.

// KubeSchema copies the structs, and nothing reads in the copy what serde skips.
#![allow(dead_code)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{ChangeReason, IpBlock, NAME_MESSAGE, NAME_RULE, NamespacedPods};
use super::gate::GateStatus;
use super::reading::Unreadable;

/// Desired state of a `TransitHub`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "enclave-operator.io",
    version = "v1alpha1",
    kind = "TransitHub",
    plural = "transithubs",
    namespaced,
    shortname = "thub",
    category = "enclave-operator",
    status = "TransitHubStatus",
    derive = "PartialEq",
    doc = "A TransitHub is a gateway between a Community and private networks outside the cluster, declared in the Community's namespace: the networks' address blocks, the pods of a gateway, or both. It opens nothing by itself; EnclaveConnections from it, or to a CommunityEndpoint that names it, do.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Request", type_ = "string", json_path = ".status.pending.approvalRequest"),
    printcolumn(name = "Gateway", type_ = "string", json_path = ".spec.gateway.namespace", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(NAME_RULE).message(NAME_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.cidrs) || has(self.gateway)")
    .message("a TransitHub needs cidrs, gateway or both"))]
pub struct TransitHubSpec {
    /// Description of the networks behind this hub, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[^[:cntrl:]]+$"))]
    pub description: Option<String>,
    /// Address blocks of the private networks, as packets carry them in the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["cidr".into()]))]
    pub cidrs: Vec<IpBlock>,
    /// Pods that traffic passes through, such as a VPN or a proxy. Traffic that they send counts as traffic
    /// from this hub, and traffic to them counts as traffic to this hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<NamespacedPods>,
    /// Set to true to ask for the deletion of this hub. When the rules allow it, the operator
    /// closes the connections through it and then deletes it.
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

/// Observed state of a `TransitHub`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransitHubStatus {
    #[serde(flatten)]
    pub gate: GateStatus,
}

super::reading::gated! { TransitHub, TransitHubSpec, TransitHubStatus, required: {} }
