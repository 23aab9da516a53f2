//! The indexes of EnclaveEndpoints, CommunityEndpoints and TransitHubs.

use crate::api::{CommunityEndpoint, EnclaveEndpoint, TransitHub};
use crate::cluster::cache::Indexed;
use crate::kinds::index::{namespace_of_object, pair};
use crate::model::approval::applied::applied_spec;

/// Indexes of EnclaveEndpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndpointBy {
    /// Control namespace and name of the workload that it offers, or wants to, as a [`pair`].
    Workload,
}

impl Indexed for EnclaveEndpoint {
    type By = EndpointBy;

    fn index(&self, add: &mut dyn FnMut(EndpointBy, &str)) {
        let namespace = namespace_of_object(self);
        let applied = applied_spec(self).ok().flatten();
        for workload in applied.iter().map(|spec| &spec.workload).chain([&self.spec.workload]) {
            add(EndpointBy::Workload, &pair(namespace, workload));
        }
    }
}

/// Indexes of CommunityEndpoints, by what is applied and by what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommunityEndpointBy {
    /// Namespace and name of the hub that it leads through, as a [`pair`].
    Hub,
    /// Namespace of the service that it leads to.
    ServiceNamespace,
}

impl Indexed for CommunityEndpoint {
    type By = CommunityEndpointBy;

    fn index(&self, add: &mut dyn FnMut(CommunityEndpointBy, &str)) {
        let applied = applied_spec(self).ok().flatten();
        let destinations = applied.iter().map(|spec| &spec.destination).chain([&self.spec.destination]);
        for destination in destinations {
            if let Some(hub) = &destination.transit_hub {
                add(CommunityEndpointBy::Hub, &pair(namespace_of_object(self), &hub.name));
            }
            if let Some(service) = &destination.service {
                add(CommunityEndpointBy::ServiceNamespace, &service.namespace);
            }
        }
    }
}

/// Indexes of TransitHubs, by what is applied and by what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HubBy {
    /// Namespace of its gateway.
    GatewayNamespace,
}

impl Indexed for TransitHub {
    type By = HubBy;

    fn index(&self, add: &mut dyn FnMut(HubBy, &str)) {
        let applied = applied_spec(self).ok().flatten().and_then(|spec| spec.gateway);
        for gateway in [&self.spec.gateway, &applied].into_iter().flatten() {
            add(HubBy::GatewayNamespace, &gateway.namespace);
        }
    }
}
