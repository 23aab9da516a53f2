//! Cilium's own network policy, as far as the operator writes it: Kubernetes' knows no DNS names.

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The rules of a `CiliumNetworkPolicy`, as data. The operator writes whole ones and compares them whole.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumNetworkPolicy",
    plural = "ciliumnetworkpolicies",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
pub struct CiliumNetworkPolicySpec {
    #[serde(flatten)]
    pub rules: Map<String, Value>,
}

/// Name of the `CustomResourceDefinition`; where that is not installed, nothing understands DNS names.
pub const DEFINITION: &str = "ciliumnetworkpolicies.cilium.io";
