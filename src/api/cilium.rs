//! `CiliumNetworkPolicy`, as far as the operator writes it. A `NetworkPolicy` of Kubernetes cannot allow
//! destinations by DNS name.

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Rules of a `CiliumNetworkPolicy`, as data. The operator writes them as a whole and compares them as a
/// whole.
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

/// Name of the `CustomResourceDefinition`. Where it is not installed, nothing enforces destinations by DNS
/// name.
pub const DEFINITION: &str = "ciliumnetworkpolicies.cilium.io";
