//! The objects that decide who reaches whom.

use std::sync::Arc;

use enclave_operator::api::{
    Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint, EnclaveWorkload, TransitHub,
};
use enclave_operator::kinds::caches::Caches;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;

/// Everything of these kinds in a cluster.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub communities: Vec<Community>,
    pub enclaves: Vec<Enclave>,
    pub workloads: Vec<EnclaveWorkload>,
    pub endpoints: Vec<EnclaveEndpoint>,
    pub community_endpoints: Vec<CommunityEndpoint>,
    pub transit_hubs: Vec<TransitHub>,
    pub connections: Vec<EnclaveConnection>,
    pub namespaces: Vec<Namespace>,
    pub network_policies: Vec<NetworkPolicy>,
    pub pods: Vec<Pod>,
}

impl Objects {
    /// What the operator would know of them.
    pub fn caches(&self) -> Caches {
        let caches = Caches::detached("enclave-system");
        macro_rules! fill {
            ($($kind:ident)*) => {
                $(for object in &self.$kind {
                    caches.$kind.apply(Arc::new(object.clone()));
                })*
            };
        }
        fill!(communities enclaves workloads endpoints community_endpoints transit_hubs connections);
        fill!(namespaces network_policies);
        caches
    }
}
