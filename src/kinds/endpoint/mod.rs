//! EnclaveEndpoints, CommunityEndpoints and TransitHubs: what connections lead to. They open nothing by themselves.
//! One implementation of `Watches` serves the three kinds.

pub mod index;
pub mod observe;
pub mod plan;
pub mod watches;

use self::observe::observe_endpoint;
use self::plan::plan_endpoint;

use crate::api::approvals::Approvals;
use crate::api::{
    CommunityEndpoint, CommunityEndpointSpec, CommunityEndpointStatus, EnclaveEndpoint, EnclaveEndpointSpec,
    EnclaveEndpointStatus, TransitHub, TransitHubSpec, TransitHubStatus,
};
use crate::kinds::connection::lookup::{
    resolve_connections_of_community_endpoint, resolve_connections_of_endpoint, resolve_connections_of_hub,
    with_community_endpoint, with_endpoint, with_hub,
};
use crate::kinds::controller::controller;
use crate::kinds::gated::made_changed_retired;
use crate::model::approval::gated::Gated;

impl Gated for EnclaveEndpoint {
    const IS_MADE: bool = false;

    made_changed_retired!(
        EnclaveEndpoint,
        EnclaveEndpointSpec,
        EnclaveEndpointUpdate,
        EnclaveEndpointDeletion
    );

    fn approvals(spec: &EnclaveEndpointSpec) -> Option<&Approvals> {
        Some(&spec.approvals)
    }
}

controller!(EnclaveEndpoint, EnclaveEndpointStatus, |object, known| {
    let observed = observe_endpoint(
        known.caches,
        object,
        known.policy_status,
        resolve_connections_of_endpoint,
        with_endpoint,
    );
    plan_endpoint(&observed, known.now).with_status(|gate| EnclaveEndpointStatus { gate })
});

impl Gated for CommunityEndpoint {
    const IS_MADE: bool = false;

    made_changed_retired!(
        CommunityEndpoint,
        CommunityEndpointSpec,
        CommunityEndpointUpdate,
        CommunityEndpointDeletion
    );
}

controller!(CommunityEndpoint, CommunityEndpointStatus, |object, known| {
    let observed = observe_endpoint(
        known.caches,
        object,
        known.policy_status,
        resolve_connections_of_community_endpoint,
        with_community_endpoint,
    );
    plan_endpoint(&observed, known.now).with_status(|gate| CommunityEndpointStatus { gate })
});

impl Gated for TransitHub {
    const IS_MADE: bool = false;

    made_changed_retired!(TransitHub, TransitHubSpec, TransitHubUpdate, TransitHubDeletion);
}

controller!(TransitHub, TransitHubStatus, |object, known| {
    let observed =
        observe_endpoint(known.caches, object, known.policy_status, resolve_connections_of_hub, with_hub);
    plan_endpoint(&observed, known.now).with_status(|gate| TransitHubStatus { gate })
});
