//! `Enclave`: a set of workloads behind one boundary, inside a Community.

// KubeSchema copies the structs, and nothing reads in the copy what serde skips.
#![allow(dead_code)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::approvals::Approvals;
use super::common::{ChangeReason, Maintenance};
use super::gate::GateStatus;
use super::reading::Unreadable;

/// Desired state of an Enclave.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "enclave-operator.io",
    version = "v1alpha1",
    kind = "Enclave",
    plural = "enclaves",
    namespaced,
    shortname = "enc",
    category = "enclave-operator",
    status = "EnclaveStatus",
    derive = "PartialEq",
    doc = "An Enclave is an isolated place inside a Community, declared in the Community's namespace. It owns a control namespace <community>-<enclave> in which its workloads, endpoints and connections are declared.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Request", type_ = "string", json_path = ".status.pending.approvalRequest"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".status.namespace", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Lock", type_ = "string", json_path = ".status.conditions[?(@.type==\"Locked\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$')")
        .message("the name of an Enclave has at most 20 lower-case letters, digits and '-': namespaces are named <community>-<enclave>-<workload>")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.approvals.rules) || self.approvals.rules.all(r, !(r.operation in ['EnclaveCreation', 'CommunityUpdate', 'CommunityMaintenance', 'CommunityEndpointUpdate', 'CommunityEndpointDeletion', 'TransitHubUpdate', 'TransitHubDeletion']))")
    .message("this operation is decided by the Community's rules, an Enclave cannot rule on it"))]
pub struct EnclaveSpec {
    /// Description of this Enclave, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[^[:cntrl:]]+$"))]
    pub description: Option<String>,
    /// Approval rules for this Enclave and everything in it, in addition to the Community's.
    #[serde(default)]
    pub approvals: Approvals,
    /// Settings for traffic inside the Enclave.
    #[serde(default)]
    pub network: EnclaveNetwork,
    /// Maintenance, which is an exception from the lock, in the namespaces of the Enclave.
    #[serde(default)]
    pub maintenance: Maintenance,
    /// Set to true to ask for the deletion of this Enclave. When the rules allow it, the operator
    /// removes everything the Enclave owns, and then the Enclave.
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

/// Settings for traffic inside an Enclave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnclaveNetwork {
    /// Whether pods of one workload may reach pods of the Enclave's other workloads: Isolated (the default)
    /// or Allowed.
    #[serde(default)]
    pub workload_communication: WorkloadCommunication,
}

/// Whether workloads of one Enclave may reach each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadCommunication {
    /// Pods of a workload reach only pods of the same workload.
    #[default]
    Isolated,
    /// Pods of all workloads of the Enclave reach each other.
    Allowed,
}

/// Observed state of an Enclave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnclaveStatus {
    #[serde(flatten)]
    pub gate: GateStatus,
    /// Control namespace of this Enclave; absent until it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Maintenance of this Enclave that is in force; absent when there is none. Maintenance of the Community
    /// is not shown here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Unmanaged resources in the namespaces of this Enclave, which are the control namespace and those of
    /// its workloads: objects of the kinds that the lock guards (NetworkPolicy, CiliumNetworkPolicy,
    /// ResourceQuota, LimitRange) that the operator did not make, each as `Kind namespace/name`. They are in
    /// force until somebody deletes them. The list has the first 50 in alphabetical order, and a last line
    /// with the number of further ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 51), inner(length(max = 384)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub unmanaged_resources: Vec<String>,
    /// Standing grants that nobody declared: RoleBindings of others in the namespaces of this Enclave, which
    /// are the control namespace and those of its workloads, each as `namespace/name: role for principals`. A
    /// RoleAssignment or a RoleEligibility would show who gave them and when. The list has the first 50 in
    /// alphabetical order, and a last line with the number of further ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 51), inner(length(max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub standing_grants: Vec<String>,
}

super::reading::gated! { Enclave, EnclaveSpec, EnclaveStatus, required: {} }
