//! `CommunityEndpoint`: a destination outside the enclaves that connections may lead to.

// KubeSchema copies the structs, and nothing reads in the copy what serde skips.
#![allow(dead_code)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{ChangeReason, IpBlock, LABEL_PATTERN, NAME_MESSAGE, NAME_RULE, NamespacedPods, Port};
use super::gate::GateStatus;
use super::reading::Unreadable;

/// Desired state of a `CommunityEndpoint`.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "enclave-operator.io",
    version = "v1alpha1",
    kind = "CommunityEndpoint",
    plural = "communityendpoints",
    namespaced,
    shortname = "cep",
    category = "enclave-operator",
    status = "CommunityEndpointStatus",
    derive = "PartialEq",
    doc = "A CommunityEndpoint is a named destination outside the enclaves of a Community, declared in the Community's namespace: address blocks, pods behind an in-cluster service, DNS names, or the private networks behind a TransitHub. It opens nothing by itself; an EnclaveConnection that leads to it does.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Request", type_ = "string", json_path = ".status.pending.approvalRequest"),
    printcolumn(name = "Description", type_ = "string", json_path = ".spec.description", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(NAME_RULE).message(NAME_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
pub struct CommunityEndpointSpec {
    /// Description of this destination, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[^[:cntrl:]]+$"))]
    pub description: Option<String>,
    /// Destination of connections to this endpoint: exactly one of `cidrs`, `service`, `fqdns` and
    /// `transitHub`.
    pub destination: CommunityDestination,
    /// Ports that connections may reach at the destination. All ports of a protocol are written `port: 1`,
    /// `endPort: 65535`.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["port".into(), "protocol".into()]))]
    pub ports: Vec<Port>,
    /// Set to true to ask for the deletion of this endpoint. When the rules allow it, the operator
    /// closes the connections to it and then deletes it.
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

/// Destination outside the enclaves. Exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.cidrs), has(self.service), has(self.fqdns), has(self.transitHub)].filter(given, given).size() == 1")
    .message("a destination is exactly one of cidrs, service, fqdns and transitHub"))]
pub struct CommunityDestination {
    /// Blocks of IP addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["cidr".into()]))]
    pub cidrs: Vec<IpBlock>,
    /// Pods behind a service of this cluster. They are named by namespace and labels, not by the Service
    /// object, so that an edit of the Service cannot lead approved connections elsewhere. The `ports` of the
    /// endpoint are those of the pods (the `targetPort` of the Service).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<NamespacedPods>,
    /// DNS names in lower case: exact (`api.example.com`), or with `*` as the first label (`*.example.com`)
    /// for all names one level below. They need a `fqdnBackend` in the Community; without one, connections to
    /// this endpoint stay Disconnected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new("self.all(name, name.matches('^([*][.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*[.][a-z]([-a-z0-9]{0,61}[a-z0-9])?$'))")
        .message("a DNS name is written in lower case and without a final dot, for example api.example.com, or *.example.com for all names one level below; *.com would be too wide"))]
    pub fqdns: Vec<String>,
    /// Private networks behind a `TransitHub` of this Community.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transit_hub: Option<TransitHubRef>,
}

/// Reference to a `TransitHub` of the same Community.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransitHubRef {
    /// Name of the `TransitHub`.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_PATTERN))]
    pub name: String,
}

/// Observed state of a `CommunityEndpoint`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommunityEndpointStatus {
    #[serde(flatten)]
    pub gate: GateStatus,
}

super::reading::gated! { CommunityEndpoint, CommunityEndpointSpec, CommunityEndpointStatus, required: {"destination": {}, "ports": []} }
