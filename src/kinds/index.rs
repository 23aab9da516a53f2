//! The indexes of each kind: the values under which its objects are found.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Resource, ResourceExt};

use crate::api::approval_request::RequestState;
use crate::api::common::Principal;
use crate::api::community::ConflictingDuties;
use crate::api::names::{annotation, label};
use crate::api::{
    ActivationState, ApprovalRequest, CiliumNetworkPolicy, Community, CommunityEndpoint, Enclave,
    EnclaveConnection, EnclaveEndpoint, EnclaveWorkload, Kind, RoleActivation, RoleAssignment,
    RoleEligibility, TransitHub,
};
use crate::cluster::cache::{Indexed, NoIndex};
use crate::model::approval::applied::applied_spec;
use crate::model::approval::applied::view_applied;
use crate::model::approval::gated::Gated;
use crate::model::approval::request::is_settled;
use crate::model::digest::fingerprint;
use crate::model::naming::{CONNECTION_POLICY, ROLE_BINDING, is_of_grant, namespace_of, splits};
use crate::plan::child::Made;

/// A value of two parts. Neither part has a `/`, or only the last one.
#[must_use]
pub fn pair(first: &str, second: &str) -> String {
    format!("{first}/{second}")
}

/// Where something may stand that is given by name: in roles, to principals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Near {
    Anywhere,
    /// In this namespace.
    In(String),
    /// In a namespace whose name begins as those of the Enclaves of this Community.
    Beneath(String),
}

impl Near {
    /// Returns the beginning of the index values of what is there for somebody with this fingerprint.
    #[must_use]
    pub fn beginning(&self, fingerprint: &str) -> String {
        match self {
            Self::Anywhere => format!("{fingerprint}/"),
            Self::In(namespace) => format!("{fingerprint}/{namespace}/"),
            Self::Beneath(community) => format!("{fingerprint}/{community}-"),
        }
    }
}

/// See [`refuses_conflicts`].
pub const REFUSED: &str = "true";

/// See [`refuses_conflicts`].
pub const UNKNOWN: &str = "unknown";

/// Whether a Community refuses roles that let somebody approve what they may change; `None` when it does not.
#[must_use]
pub fn refuses_conflicts(community: &Community) -> Option<&'static str> {
    match view_applied(community, |spec| spec.conflicting_duties) {
        Ok(Some(ConflictingDuties::Refuse)) => Some(REFUSED),
        Ok(Some(ConflictingDuties::Warn) | None) => None,
        Err(_) => Some(UNKNOWN),
    }
}

/// The value under which something is found that is given in a namespace to somebody, near whatever place: names of
/// people may be long, and of what they are given there may be much.
fn value_near(namespace: &str, somebody: &str) -> String {
    Near::In(namespace.to_owned()).beginning(&fingerprint(somebody))
}

/// Communities that may surround what is declared in a namespace, as namespaces are named: an Enclave's begins with
/// the name of its Community, and one of a Community is found under its own name, which may be any.
fn may_surround(namespace: &str) -> impl Iterator<Item = &str> {
    [namespace].into_iter().chain(splits(namespace).map(|(community, _)| community))
}

fn namespace_of_object<K: Resource>(object: &K) -> &str {
    object.meta().namespace.as_deref().unwrap_or_default()
}

macro_rules! not_indexed {
    ($($kind:ty),* => $is_packed:literal) => {
        $(impl Indexed for $kind {
            type By = NoIndex;

            fn index(&self, _: &mut dyn FnMut(NoIndex, &str)) {}

            fn is_packed(&self) -> bool {
                $is_packed
            }
        })*
    };
}

not_indexed!(ResourceQuota, LimitRange => true);

not_indexed!(
    ClusterRole,
    CustomResourceDefinition,
    MutatingAdmissionPolicy,
    MutatingAdmissionPolicyBinding,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding => false
);

/// Indexes of Communities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommunityBy {
    /// The namespace that it owns, or wants to.
    Namespace,
    /// [`refuses_conflicts`]
    RefusesConflicts,
}

impl Indexed for Community {
    type By = CommunityBy;

    fn index(&self, add: &mut dyn FnMut(CommunityBy, &str)) {
        add(CommunityBy::Namespace, &namespace_of(self));
        if let Some(refuses) = refuses_conflicts(self) {
            add(CommunityBy::RefusesConflicts, refuses);
        }
    }
}

/// Indexes of Enclaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EnclaveBy {
    /// The namespace of an Enclave, unless that only waits for the delivery of its records ([`Gated::is_record`]).
    CountedIn,
}

impl Indexed for Enclave {
    type By = EnclaveBy;

    fn index(&self, add: &mut dyn FnMut(EnclaveBy, &str)) {
        if !self.is_record() {
            add(EnclaveBy::CountedIn, namespace_of_object(self));
        }
    }
}

/// Indexes of namespaces that the operator made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NamespaceBy {
    /// UID of the owner.
    OwnerUid,
    /// Name of the Community.
    Community,
    /// Names of the Community and the Enclave, as a [`pair`].
    Enclave,
    /// `true`: all of them.
    Managed,
}

impl Indexed for Namespace {
    type By = NamespaceBy;

    fn index(&self, add: &mut dyn FnMut(NamespaceBy, &str)) {
        let labels = self.labels();
        let Some(owner) = labels.get(label::OWNER_UID) else { return };
        add(NamespaceBy::OwnerUid, owner);
        add(NamespaceBy::Managed, "true");
        let Some(community) = labels.get(label::COMMUNITY) else { return };
        add(NamespaceBy::Community, community);
        if let Some(enclave) = labels.get(label::ENCLAVE) {
            add(NamespaceBy::Enclave, &pair(community, enclave));
        }
    }
}

/// Indexes of ApprovalRequests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestBy {
    /// UID of the target, of requests that are undecided, or approved and not marked as enacted.
    LiveTarget,
    /// UID of the target, of all requests.
    Target,
    /// Namespace and name of the Enclave that it is about, as a [`pair`], of undecided requests.
    AboutEnclave,
    /// Kind of the target, of requests that are Pending.
    PendingKind,
    /// The hour in which it was decided, as [`hour`], of requests that are not being deleted.
    DecidedIn,
}

/// The hour of a point in time, counted from 1970.
#[must_use]
pub fn hour(at: Timestamp) -> i64 {
    at.as_second().div_euclid(3600)
}

impl Indexed for ApprovalRequest {
    type By = RequestBy;

    fn index(&self, add: &mut dyn FnMut(RequestBy, &str)) {
        let (target, status) = (&self.spec.target, self.status.as_ref());
        add(RequestBy::Target, &target.uid);
        if is_live(self) {
            add(RequestBy::LiveTarget, &target.uid);
        }
        if status.and_then(|status| status.state) == Some(RequestState::Pending) {
            add(RequestBy::PendingKind, target.kind.name());
        }
        let is_undecided = status.is_none_or(|status| status.decided_at.is_none());
        let decided_at = status.and_then(|status| status.decided_at.as_ref());
        if let Some(at) = decided_at.filter(|_| self.metadata.deletion_timestamp.is_none()) {
            add(RequestBy::DecidedIn, &hour(at.0).to_string());
        }
        if target.kind == Kind::Enclave && is_undecided {
            add(
                RequestBy::AboutEnclave,
                &pair(target.namespace.as_deref().unwrap_or_default(), &target.name),
            );
        }
    }

    /// Whether a request is settled and was read as a whole: the mark of what could not be read is not in its JSON, and
    /// it matters.
    fn is_packed(&self) -> bool {
        is_settled(self) && self.spec.unreadable.is_none()
    }

    fn is_backfilled(&self) -> bool {
        !is_live(self)
    }
}

/// Selects the requests that are [`is_live`], in the API server.
pub(super) const LIVE_REQUESTS: &str = "status.enactedAt=,status.state!=Rejected,status.state!=Expired,status.state!=Superseded,status.state!=Withdrawn";

/// Whether a request is undecided, or approved and not marked as enacted.
fn is_live(request: &ApprovalRequest) -> bool {
    let status = request.status.as_ref();
    match status.and_then(|status| status.state) {
        None | Some(RequestState::Pending) => true,
        Some(RequestState::Approved) => status.is_some_and(|status| status.enacted_at.is_none()),
        Some(_) => false,
    }
}

/// Indexes of EnclaveWorkloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkloadBy {
    /// The user who made the object, as the API server stamped it.
    Maker,
}

impl Indexed for EnclaveWorkload {
    type By = WorkloadBy;

    fn index(&self, add: &mut dyn FnMut(WorkloadBy, &str)) {
        if let Some(maker) = maker(self) {
            add(WorkloadBy::Maker, maker);
        }
    }
}

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

/// Indexes of EnclaveConnections. What one leads to is named in its spec, by names that are unique in a Community.
/// Which that is does not stand there, so it is found under each that [`may_surround`] it, and the caller keeps his
/// own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionBy {
    /// Namespace and name of a workload that it comes from, as a [`pair`].
    SourceWorkload,
    /// Namespace and name of the hub that it comes from, as a [`pair`].
    SourceHub,
    /// A Community that may surround it, and the names of the Enclave and the EnclaveEndpoint that it leads to, as a
    /// [`pair`] with a pair.
    Endpoint,
    /// A Community that may surround it, and the name of the Enclave that it leads into, as a [`pair`].
    DestinationEnclave,
    /// A Community that may surround it, and the name of the CommunityEndpoint that it leads to, as a [`pair`].
    CommunityEndpoint,
    /// The namespace of a connection of which something is applied.
    InForceIn,
    /// The namespace of a connection of which nothing is applied yet.
    NewIn,
}

impl Indexed for EnclaveConnection {
    type By = ConnectionBy;

    fn index(&self, add: &mut dyn FnMut(ConnectionBy, &str)) {
        let namespace = namespace_of_object(self);
        let source = &self.spec.source;
        for workload in &source.workloads {
            add(ConnectionBy::SourceWorkload, &pair(namespace, workload));
        }
        if let Some(hub) = &source.transit_hub {
            add(ConnectionBy::SourceHub, &pair(namespace, &hub.name));
        }
        let destination = &self.spec.destination;
        for community in may_surround(namespace) {
            if let Some(endpoint) = &destination.enclave_endpoint {
                let named = pair(&endpoint.enclave, &endpoint.name);
                add(ConnectionBy::Endpoint, &pair(community, &named));
                add(ConnectionBy::DestinationEnclave, &pair(community, &endpoint.enclave));
            }
            if let Some(endpoint) = &destination.community_endpoint {
                add(ConnectionBy::CommunityEndpoint, &pair(community, &endpoint.name));
            }
        }
        let is_applied = self.status.as_ref().is_some_and(|status| status.gate.applied.is_some());
        add(if is_applied { ConnectionBy::InForceIn } else { ConnectionBy::NewIn }, namespace);
    }
}

/// Indexes of what gives roles to principals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GivenBy {
    /// A principal ([`Principal::line`]) [`Near`] a place, of what is applied.
    Principal,
    /// A principal ([`Principal::line`]) [`Near`] a place, of what is wanted.
    WantedPrincipal,
    /// The user who made the object, as the API server stamped it.
    Maker,
}

fn maker<K: Resource>(object: &K) -> Option<&String> {
    object.meta().annotations.as_ref()?.get(annotation::CREATED_BY)
}

macro_rules! given {
    ($($kind:ty),*) => {
        $(impl Indexed for $kind {
            type By = GivenBy;

            fn index(&self, add: &mut dyn FnMut(GivenBy, &str)) {
                let applied = applied_spec(self).ok().flatten();
                let namespace = namespace_of_object(self);
                for principal in applied.iter().flat_map(|spec| &spec.principals).map(Principal::line) {
                    add(GivenBy::Principal, &value_near(namespace, &principal));
                }
                for principal in self.spec.principals.iter().map(Principal::line) {
                    add(GivenBy::WantedPrincipal, &value_near(namespace, &principal));
                }
                if let Some(maker) = maker(self) {
                    add(GivenBy::Maker, maker);
                }
            }

            fn is_ordered(by: GivenBy) -> bool {
                matches!(by, GivenBy::Principal | GivenBy::WantedPrincipal)
            }
        })*
    };
}

given!(RoleAssignment, RoleEligibility);

/// Indexes of RoleActivations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivationBy {
    /// Namespace and name of the eligibility, as a [`pair`].
    Eligibility,
    /// The same, while it is not over.
    OpenEligibility,
    /// The user who activated, when that is known.
    User,
    /// The user who activated, [`Near`] a place, while the activation is Active.
    ActiveUser,
    /// The user who activates, [`Near`] a place, while the activation is not over.
    OpenUser,
    /// The namespace of an activation that is not over.
    OpenIn,
    /// The role, while it is Active.
    ActiveRole,
    /// The namespace of an activation that is Active.
    ActiveIn,
}

impl Indexed for RoleActivation {
    type By = ActivationBy;

    fn index(&self, add: &mut dyn FnMut(ActivationBy, &str)) {
        let namespace = namespace_of_object(self);
        let eligibility = pair(namespace, &self.spec.eligibility);
        add(ActivationBy::Eligibility, &eligibility);
        let state = self.status.as_ref().and_then(|status| status.state);
        let (is_active, is_open) =
            (state == Some(ActivationState::Active), state.is_none_or(|state| !state.is_final()));
        if is_open {
            add(ActivationBy::OpenIn, namespace);
            add(ActivationBy::OpenEligibility, &eligibility);
        }
        let Some(status) = &self.status else { return };
        if let Some(user) = &status.user {
            add(ActivationBy::User, user);
            let near = value_near(namespace, user);
            if is_open {
                add(ActivationBy::OpenUser, &near);
            }
            if is_active {
                add(ActivationBy::ActiveUser, &near);
            }
        }
        if is_active {
            add(ActivationBy::ActiveIn, namespace);
        }
        if let Some(role) = status.role.filter(|_| is_active) {
            add(ActivationBy::ActiveRole, role.name());
        }
    }

    fn is_ordered(by: ActivationBy) -> bool {
        matches!(by, ActivationBy::OpenUser | ActivationBy::ActiveUser)
    }
}

/// Indexes of what stands in namespaces and gives rights there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RbacBy {
    /// The name of an object that is made for a grant.
    Grant,
    /// The user who made the object, as the API server stamped it.
    Maker,
    /// The namespace of an object whose name is none that only the operator's may have.
    OfOthersIn,
    /// The namespace of an object with the name of what the operator makes there beside grants.
    OfThePlace,
}

macro_rules! rbac {
    ($($kind:ty),*) => {
        $(impl Indexed for $kind {
            type By = RbacBy;

            fn index(&self, add: &mut dyn FnMut(RbacBy, &str)) {
                let name = self.metadata.name.as_deref().unwrap_or_default();
                if is_of_grant(name) {
                    add(RbacBy::Grant, name);
                }
                if !name.starts_with(ROLE_BINDING) {
                    add(RbacBy::OfOthersIn, namespace_of_object(self));
                } else if !is_of_grant(name) {
                    add(RbacBy::OfThePlace, namespace_of_object(self));
                }
                if let Some(maker) = maker(self) {
                    add(RbacBy::Maker, maker);
                }
            }

            fn is_packed(&self) -> bool {
                true
            }
        })*
    };
}

rbac!(Role, RoleBinding, ServiceAccount);

/// Indexes of ClusterRoleBindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClusterBindingBy {
    /// Name of the ClusterRole that it binds.
    Role,
}

impl Indexed for ClusterRoleBinding {
    type By = ClusterBindingBy;

    fn index(&self, add: &mut dyn FnMut(ClusterBindingBy, &str)) {
        add(ClusterBindingBy::Role, &self.role_ref.name);
    }
}

/// Indexes of network policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyBy {
    /// Namespace and name of the connection that it is named after, as a [`pair`].
    Connection,
    /// The namespace of a policy that does not have the name of one that the operator makes.
    OfOthersIn,
}

/// Namespace and name of the connection that a policy of this name is made for.
#[must_use]
pub fn connection_of_policy(name: &str) -> Option<(&str, &str)> {
    let mut parts = name.strip_prefix(CONNECTION_POLICY)?.split('.');
    Some((parts.next()?, parts.next()?))
}

macro_rules! policies {
    ($($kind:ty),*) => {
        $(impl Indexed for $kind {
            type By = PolicyBy;

            fn index(&self, add: &mut dyn FnMut(PolicyBy, &str)) {
                let name = self.metadata.name.as_deref().unwrap_or_default();
                if let Some((namespace, name)) = connection_of_policy(name) {
                    add(PolicyBy::Connection, &pair(namespace, name));
                }
                if !Self::is_ours(name) {
                    add(PolicyBy::OfOthersIn, namespace_of_object(self));
                }
            }

            fn is_packed(&self) -> bool {
                true
            }
        })*
    };
}

policies!(NetworkPolicy, CiliumNetworkPolicy);

#[cfg(test)]
mod tests;
