//! The table of changes: whom a change of each kind concerns. How it concerns them stands in their `watches.rs`.

use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use tracing::warn;

use crate::api::{
    ApprovalRequest, Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint,
    EnclaveWorkload, Kind, RoleActivation, RoleAssignment, RoleEligibility, TransitHub,
};
use crate::cluster::cache::{Change, Indexed};
use crate::cluster::workqueue::Priority;
use crate::kinds::approval_request::watches as approval_request;
use crate::kinds::caches::is_served;
use crate::kinds::community::watches as community;
use crate::kinds::connection::watches as connection;
use crate::kinds::enclave::watches as enclave;
use crate::kinds::endpoint::watches as endpoint;
use crate::kinds::enqueue::{Enqueuer, priority_of};
use crate::kinds::listing;
use crate::kinds::outbox::channels_of;
use crate::kinds::rbac::watches as rbac;
use crate::kinds::workload::watches as workload;
use crate::model::approval::gated::Gated;
use crate::model::approval::policy_status::Integrity;
use crate::model::approval::policy_status::PolicyStatus;
use crate::model::audit::cloud_event::Audited;
use crate::model::naming;
use crate::plan::child::Made;

macro_rules! enqueue_all {
    ($($name:ident: $kind:ident,)*) => {
        impl Enqueuer {
            /// Enqueues everything: when this process begins to lead, and when the admission policies changed.
            /// Requests that are settled wait until they are old.
            pub fn enqueue_everything(&self) {
                $(self.enqueue_objects(Kind::$kind, &self.caches.$name.unpacked(), Priority::Normal);)*
                rbac::enqueue_all_revocations(self);
            }
        }
    };
}

with_controlled_kinds!(enqueue_all);

impl Enqueuer {
    pub(super) fn on_community(&self, change: &Change<Community>) {
        if change.differs(channels_of) {
            self.outbox.look_at_everything();
        }
        if self.on_own(change) {
            self.enqueue_gated(change);
            enclave::on_community(self, change);
            workload::on_community(self, change);
            endpoint::on_community(self, change);
            connection::on_community(self, change);
            rbac::on_community(self, change);
        }
    }

    pub(super) fn on_enclave(&self, change: &Change<Enclave>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            community::on_enclave(self, change);
            workload::on_enclave(self, change);
            endpoint::on_enclave(self, change);
            connection::on_enclave(self, change);
            rbac::on_enclave(self, change);
        }
    }

    pub(super) fn on_community_endpoint(&self, change: &Change<CommunityEndpoint>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            connection::on_community_endpoint(self, change);
            endpoint::on_community_endpoint(self, change);
        }
    }

    pub(super) fn on_transit_hub(&self, change: &Change<TransitHub>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            connection::on_transit_hub(self, change);
        }
    }

    pub(super) fn on_workload(&self, change: &Change<EnclaveWorkload>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            enclave::on_member(self, change);
            workload::on_sibling(self, change);
            connection::on_workload(self, change);
            rbac::on_workload(self, change);
        }
    }

    pub(super) fn on_endpoint(&self, change: &Change<EnclaveEndpoint>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            enclave::on_member(self, change);
            workload::on_endpoint(self, change);
            connection::on_endpoint(self, change);
        }
    }

    pub(super) fn on_connection(&self, change: &Change<EnclaveConnection>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            enclave::on_member(self, change);
            workload::on_connection(self, change);
            endpoint::on_connection(self, change);
            connection::on_sibling(self, change);
        }
    }

    pub(super) fn on_request(&self, change: &Change<ApprovalRequest>) {
        if self.on_own(change) {
            approval_request::on_self(self, change);
            approval_request::enqueue_target(self, change);
            rbac::on_request(self, change);
        }
    }

    pub(super) fn on_assignment(&self, change: &Change<RoleAssignment>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            rbac::on_assignment(self, change);
        }
    }

    pub(super) fn on_eligibility(&self, change: &Change<RoleEligibility>) {
        if self.on_own(change) {
            self.enqueue_gated(change);
            rbac::on_eligibility(self, change);
        }
    }

    pub(super) fn on_activation(&self, change: &Change<RoleActivation>) {
        if self.on_own(change) {
            approval_request::on_activation(self, change);
            rbac::on_activation(self, change);
        }
    }

    pub(super) fn on_namespace(&self, change: &Change<Namespace>) {
        listing::on_namespace(self, change);
        if self.queues.is_open() {
            community::on_namespace(self, change);
            enclave::on_namespace(self, change);
            workload::on_namespace(self, change);
            connection::on_namespace(self, change);
            rbac::on_namespace(self, change);
        }
    }

    /// Something that the operator makes in its namespaces, or that others have there.
    pub(super) fn on_child<K: Indexed + Made>(&self, change: &Change<K>) {
        if self.queues.is_open()
            && let Some(object) = change.latest()
            && let Some(namespace) = self.caches.namespaces.get("", &object.namespace().unwrap_or_default())
        {
            community::on_child(self, &namespace);
            enclave::on_child(self, &namespace, object.as_ref());
            workload::on_child(self, &namespace);
        }
    }

    pub(super) fn on_network_policy<K: Indexed + Made>(&self, change: &Change<K>) {
        self.on_child(change);
        if self.queues.is_open() {
            connection::on_network_policy(self, change);
            rbac::on_network_policy(self, change);
        }
    }

    /// Kubernetes writes into the status of a quota what is used, at every start of a Pod.
    pub(super) fn on_quota(&self, change: &Change<ResourceQuota>) {
        let view = |quota: &ResourceQuota| {
            let metadata =
                ObjectMeta { resource_version: None, managed_fields: None, ..quota.metadata.clone() };
            (metadata, quota.spec.clone())
        };
        if change.differs(view) {
            self.on_child(change);
        }
    }

    pub(super) fn on_role_binding(&self, change: &Change<RoleBinding>) {
        let name = change.latest().and_then(|binding| binding.metadata.name.as_deref());
        if name.is_some_and(naming::is_of_grant) {
            if self.queues.is_open() {
                workload::on_grant(self, change);
            }
        } else {
            self.on_child(change);
        }
        self.on_rbac(change);
    }

    /// Something that gives rights, or that somebody made who had a role for a while.
    pub(super) fn on_rbac<K: Indexed>(&self, change: &Change<K>) {
        if self.queues.is_open() {
            rbac::on_rbac(self, change);
        }
    }

    /// Whether Cilium's policies can be used.
    pub(super) fn on_definition(&self, change: &Change<CustomResourceDefinition>) {
        let is_there = change.after.as_deref().is_some_and(is_served);
        if self.caches.note_definition(is_there) && !is_there && self.queues.is_open() {
            self.enqueue_everything();
        }
    }

    /// Before the first comparison the caches fill one after the other, and a policy that is not there yet
    /// is not a policy that is missing.
    pub(super) fn on_policy<K>(&self, _: &Change<K>) {
        if self.policy_status.borrow().is_some() {
            self.compare_policies();
        }
    }

    /// Compares the live admission policies with the built-in ones. Called once when all caches are
    /// filled, before the controllers start.
    pub fn compare_policies(&self) {
        // Four watches call this. What is read under the lock is never older than what is known.
        let changed = self.policy_status.send_if_modified(|known| {
            let now = self.verifier.verify(&self.caches.observe_policies());
            let changed = known.as_ref() != Some(&now);
            *known = Some(now);
            changed
        });
        if changed {
            if let Some(what) = self
                .policy_status
                .borrow()
                .as_ref()
                .and_then(|policy_status| policy_status.integrity.obstacle())
            {
                warn!(what, "the admission policies are not intact: nothing new is enacted until they are");
            }
            self.enqueue_everything();
        }
    }

    /// Notes in the outbox a change of an object of the operator's own kinds. Returns whether work is let in.
    fn on_own<K: Audited + Resource<DynamicType = ()>>(&self, change: &Change<K>) -> bool {
        self.outbox.on_change(change);
        self.queues.is_open()
    }

    /// Enqueues a gated object and the requests about it that it concerns.
    fn enqueue_gated<K: Gated>(&self, change: &Change<K>) {
        if let Some(object) = &change.after {
            self.enqueue_object(K::KIND, object.as_ref(), priority_of(change));
        }
        approval_request::on_target(self, change);
    }
}

/// Compares the policies again once they have propagated, which no watch reports. Never returns.
pub async fn run_propagation(enqueuer: &Enqueuer) {
    let mut policy_status = enqueuer.policy_status.subscribe();
    let is_propagating = |policy_status: &Option<PolicyStatus>| {
        policy_status.as_ref().is_some_and(|policy_status| policy_status.integrity == Integrity::Propagating)
    };
    // The sender is in `enqueuer`, so it does not end.
    while policy_status.wait_for(is_propagating).await.is_ok() {
        tokio::time::sleep(enqueuer.verifier.remaining()).await;
        enqueuer.compare_policies();
    }
}
