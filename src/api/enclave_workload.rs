//! `EnclaveWorkload`: a namespace of an Enclave in which pods run.

// KubeSchema copies the structs, and nothing reads in the copy what serde skips.
#![allow(dead_code)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::common::{ChangeReason, Principal};
use super::gate::GateStatus;
use super::quantity::{AMOUNT, Quantity};
use super::reading::Unreadable;

/// Desired state of an `EnclaveWorkload`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "enclave-operator.io",
    version = "v1alpha1",
    kind = "EnclaveWorkload",
    plural = "enclaveworkloads",
    namespaced,
    shortname = "encw",
    category = "enclave-operator",
    status = "EnclaveWorkloadStatus",
    derive = "PartialEq",
    doc = "An EnclaveWorkload is a place for pods in an Enclave, declared in the Enclave's control namespace. It owns a namespace <community>-<enclave>-<workload> that nothing reaches and that reaches nothing, DNS aside, until connections are approved.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Request", type_ = "string", json_path = ".status.pending.approvalRequest"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".status.namespace"),
    printcolumn(name = "Security", type_ = "string", json_path = ".spec.podSecurity", priority = 1),
    printcolumn(name = "Access", type_ = "string", json_path = ".spec.accessMode", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$')")
        .message("the name of an EnclaveWorkload has at most 20 lower-case letters, digits and '-': namespaces are named <community>-<enclave>-<workload>")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.accessMode == 'Isolated') == has(self.principals)")
    .message("accessMode Isolated needs principals, and accessMode Standard must not have any (set principals to null)"))]
pub struct EnclaveWorkloadSpec {
    /// Description of this workload, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[^[:cntrl:]]+$"))]
    pub description: Option<String>,
    /// Limits on what the namespace may use in total, as `hard` of a `ResourceQuota` has them, for example
    /// `requests.cpu: "4"`, `limits.memory: 8Gi`, `pods: 20` or `count/jobs.batch: 50`. When absent, there is
    /// no limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::quantity::resource_list_schema")]
    #[x_kube(validation = Rule::new("!self.exists(name, name.startsWith('count/networkpolicies.') || name.startsWith('count/ciliumnetworkpolicies.') || name.startsWith('count/rolebindings.') || name.startsWith('count/roles.') || name in ['resourcequotas', 'count/resourcequotas', 'count/limitranges'])")
        .message("the operator itself makes these in the namespace, so they cannot be limited"))]
    #[x_kube(validation = Rule::new("self.all(name, name in ['cpu', 'memory', 'ephemeral-storage', 'requests.cpu', 'requests.memory', 'requests.ephemeral-storage', 'requests.storage', 'limits.cpu', 'limits.memory', 'limits.ephemeral-storage', 'pods', 'services', 'services.loadbalancers', 'services.nodeports', 'replicationcontrollers', 'resourcequotas', 'secrets', 'configmaps', 'persistentvolumeclaims'] || ((name.startsWith('hugepages-') || name.startsWith('requests.hugepages-') || name.contains('/')) && !format.qualifiedName().validate(name).hasValue()))")
        .message("unknown resource; a quota counts what a ResourceQuota knows, for example requests.cpu, limits.memory, pods or count/jobs.batch"))]
    #[x_kube(validation = Rule::new(whole_numbers_rule())
        .message("objects, devices and the storage of a StorageClass are counted in whole numbers of at most 9P, written as such, for example 20"))]
    pub quota: BTreeMap<String, Quantity>,
    /// Limits and requests for containers that do not set their own. When absent, the operator sets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_defaults: Option<ContainerDefaults>,
    /// Pod security standard that the namespace enforces: Restricted (the default) or Baseline.
    #[serde(default)]
    pub pod_security: PodSecurity,
    /// Access to the namespace: Standard (the default) or Isolated.
    #[serde(default)]
    pub access_mode: AccessMode,
    /// Principals that have access to the namespace, by ClusterRole. Required with accessMode Isolated, and
    /// not allowed with Standard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principals: Option<WorkloadPrincipals>,
    /// Set to true to ask for the deletion of this workload. When the rules allow it, the operator
    /// removes its namespace with everything in it, and then the workload.
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

/// Returns the CEL rule for amounts that are counted in whole numbers. Kubernetes counts in thousandths,
/// which must not overflow. Another rule refuses what is no quantity. `requests.storage` of a StorageClass
/// counts as an extended resource, so in whole bytes (`IsIntegerResourceName` of Kubernetes).
fn whole_numbers_rule() -> String {
    let measured = "name in ['cpu', 'memory', 'ephemeral-storage', 'requests.cpu', 'requests.memory', 'requests.ephemeral-storage', 'requests.storage', 'limits.cpu', 'limits.memory', 'limits.ephemeral-storage'] || name.startsWith('hugepages-') || name.startsWith('requests.hugepages-')";
    format!(
        "self.all(name, {measured} || !string(self[name]).matches('{AMOUNT}') || (quantity(string(self[name])).isInteger() && quantity(string(self[name])).compareTo(quantity('9P')) <= 0))"
    )
}

fn request_within_limit_rule() -> String {
    let is_amount = |list: &str| format!("string(self.{list}[name]).matches('{AMOUNT}')");
    let (request, limit) = (is_amount("requests"), is_amount("limits"));
    format!(
        "!has(self.limits) || !has(self.requests) || self.requests.all(name, !(name in self.limits) || !{request} || !{limit} || quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)"
    )
}

const CONTAINER_RESOURCES_RULE: &str = "self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'])";
const CONTAINER_RESOURCES_MESSAGE: &str =
    "unknown resource; containers get defaults for cpu, memory and ephemeral-storage";

/// Limits and requests of containers that do not set their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.limits) || has(self.requests)")
    .message("containerDefaults needs limits, requests or both"))]
#[x_kube(validation = Rule::new(request_within_limit_rule())
    .message("a request must not be larger than the limit of the same resource"))]
pub struct ContainerDefaults {
    /// Limits by resource, for example `memory: 512Mi`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::quantity::resource_list_schema")]
    #[x_kube(validation = Rule::new(CONTAINER_RESOURCES_RULE)
        .message(CONTAINER_RESOURCES_MESSAGE))]
    pub limits: BTreeMap<String, Quantity>,
    /// Requests by resource, for example `cpu: 100m`; equal to the limits when absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::quantity::resource_list_schema")]
    #[x_kube(validation = Rule::new(CONTAINER_RESOURCES_RULE)
        .message(CONTAINER_RESOURCES_MESSAGE))]
    pub requests: BTreeMap<String, Quantity>,
}

/// A pod security standard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PodSecurity {
    /// Pods follow hardening practice: no root, no added capabilities.
    #[default]
    Restricted,
    /// Pods may do anything but known privilege escalations.
    Baseline,
}

/// Access to the namespace of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// Principals with a role in the Enclave or the Community have the access that the role gives.
    /// RoleBindings of others count too.
    #[default]
    Standard,
    /// Only the principals that the workload lists have access. RoleBindings of others are removed and
    /// refused.
    Isolated,
}

/// Principals of an isolated workload, by the ClusterRole that they hold in its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.admin) || has(self.edit) || has(self.view)")
    .message("an isolated workload needs at least one principal"))]
pub struct WorkloadPrincipals {
    /// Principals that hold the ClusterRole `admin` of Kubernetes in the namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub admin: Vec<Principal>,
    /// Principals that hold the ClusterRole `edit` of Kubernetes in the namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub edit: Vec<Principal>,
    /// Principals that hold the ClusterRole `view` of Kubernetes in the namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub view: Vec<Principal>,
}

/// Observed state of an `EnclaveWorkload`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnclaveWorkloadStatus {
    #[serde(flatten)]
    pub gate: GateStatus,
    /// Namespace in which the pods of this workload run; absent until it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
}

super::reading::gated! { EnclaveWorkload, EnclaveWorkloadSpec, EnclaveWorkloadStatus, required: {} }
