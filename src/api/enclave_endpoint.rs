//! `EnclaveEndpoint`: pods and ports of an Enclave that connections may lead to.

// KubeSchema copies the structs, and nothing reads in the copy what serde skips.
#![allow(dead_code)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::approvals::Approvals;
use super::common::{ChangeReason, LabelSelector, NAME_MESSAGE, NAME_RULE, Port};
use super::gate::GateStatus;
use super::reading::Unreadable;

/// Desired state of an `EnclaveEndpoint`.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "enclave-operator.io",
    version = "v1alpha1",
    kind = "EnclaveEndpoint",
    plural = "enclaveendpoints",
    namespaced,
    shortname = "eep",
    category = "enclave-operator",
    status = "EnclaveEndpointStatus",
    derive = "PartialEq",
    doc = "An EnclaveEndpoint names the pods of one workload of an Enclave, and the ports, that connections may lead to. It is declared in the Enclave's control namespace and opens nothing by itself; an EnclaveConnection that leads to it does.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Request", type_ = "string", json_path = ".status.pending.approvalRequest"),
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workload"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(NAME_RULE).message(NAME_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.approvals.rules) || self.approvals.rules.all(r, r.operation in ['ConnectionCreation', 'ConnectionUpdate', 'ConnectionDeletion', 'EnclaveEndpointUpdate', 'EnclaveEndpointDeletion'])")
    .message("an EnclaveEndpoint can only rule on ConnectionCreation, ConnectionUpdate, ConnectionDeletion, EnclaveEndpointUpdate and EnclaveEndpointDeletion"))]
pub struct EnclaveEndpointSpec {
    /// Description of this endpoint, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[^[:cntrl:]]+$"))]
    pub description: Option<String>,
    /// Name of the `EnclaveWorkload` of the same Enclave whose pods are offered.
    #[schemars(length(min = 1, max = 20), regex(pattern = "^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$"))]
    pub workload: String,
    /// Selector of the pods of the workload; all of them when absent.
    #[serde(default)]
    pub pod_selector: LabelSelector,
    /// Ports of the pods that connections may reach.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["port".into(), "protocol".into()]))]
    pub ports: Vec<Port>,
    /// Approval rules for this endpoint and for connections to it, in addition to those of its
    /// Enclave and Community.
    #[serde(default)]
    pub approvals: Approvals,
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

/// Observed state of an `EnclaveEndpoint`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnclaveEndpointStatus {
    #[serde(flatten)]
    pub gate: GateStatus,
}

super::reading::gated! { EnclaveEndpoint, EnclaveEndpointSpec, EnclaveEndpointStatus, required: {"workload": "", "ports": []} }
