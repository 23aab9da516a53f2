//! What the operator knows of the cluster: one cache per kind, each kept by one watch.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::reflector::store::{Writer, WriterDropped};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::sync::watch;

use super::triggers::Triggers;
use super::unreadable::Counts;
use super::watch::{Seen, run_watch};
use crate::admission::Policies;
use crate::api::cilium;
use crate::api::names::{self, label};
use crate::api::{
    ApprovalRequest, CiliumNetworkPolicy, Community, CommunityEndpoint, Enclave, EnclaveConnection,
    EnclaveEndpoint, EnclaveWorkload, RoleActivation, RoleAssignment, RoleEligibility, TransitHub,
};

/// Defines [`Caches`]: for each its kind, what is watched, and who gets to know.
macro_rules! caches {
    ($($visibility:vis $name:ident: $kind:ty = $config:expr => $seen:expr;)*) => {
        /// Caches of everything that is observed.
        #[derive(Clone)]
        pub struct Caches {
            $($visibility $name: Store<$kind>,)*
            /// The operator's own namespace: roles that are given in it count everywhere.
            pub system: Arc<str>,
            /// Empty where Cilium is not installed.
            pub cilium_policies: Store<CiliumNetworkPolicy>,
            /// Whether the cache of Cilium's policies has been filled.
            cilium: watch::Sender<Cilium>,
            /// How many objects cannot be read as a whole.
            pub unreadable: Counts,
        }

        /// The other ends of [`Caches`]: what is seen is put in here.
        pub struct Writers {
            $($visibility $name: Writer<$kind>,)*
            pub cilium_policies: Writer<CiliumNetworkPolicy>,
        }

        impl Caches {
            /// Empty caches that nothing fills but the caller: to observe and plan without an API
            /// server.
            #[must_use]
            pub fn detached(system: &str) -> (Self, Writers) {
                $(let $name = reflector::store::<$kind>();)*
                let cilium_policies = reflector::store();
                let cilium = watch::Sender::new(Cilium::NotInstalled);
                let caches =
                    Self { $($name: $name.0,)* system: system.into(), cilium_policies: cilium_policies.0, cilium, unreadable: Counts::default() };
                (caches, Writers { $($name: $name.1,)* cilium_policies: cilium_policies.1 })
            }

            /// Empty caches, and the watches that fill them: futures that never return. `triggers`
            /// gets to know what they see.
            #[must_use]
            pub fn new(
                client: &Client,
                system: &str,
                triggers: impl FnOnce(Self) -> Triggers,
            ) -> (Self, Triggers, Vec<BoxFuture<'static, ()>>) {
                let (caches, writers) = Self::detached(system);
                let triggers = triggers(caches.clone());
                let mut watches: Vec<BoxFuture<'static, ()>> = Vec::new();
                $({
                    let (triggers, api) = (triggers.clone(), Api::all(client.clone()));
                    let tell: fn(&Triggers, Seen<'_, $kind>) = $seen;
                    watches.push(run_watch(api, $config, writers.$name, caches.unreadable.clone(), move |seen| tell(&triggers, seen)).boxed());
                })*
                watches.push(caches.clone().run_cilium(client.clone(), triggers.clone(), writers.cilium_policies).boxed());
                (caches, triggers, watches)
            }

            /// Ends when every cache has been filled once.
            ///
            /// # Errors
            /// When a watch ended before, which only happens at shutdown.
            pub async fn wait_until_ready(&self) -> Result<(), WriterDropped> {
                let Self { $($name,)* system: _, cilium_policies, cilium: _, unreadable: _ } = self;
                futures::try_join!($($name.wait_until_ready(),)*)?;
                let is_served = self.definitions.state().iter().any(|definition| is_served(definition));
                if is_served { cilium_policies.wait_until_ready().await } else { Ok(()) }
            }
        }
    };
}

caches! {
    pub communities: Community = all() => Triggers::on_community;
    pub enclaves: Enclave = all() => Triggers::on_enclave;
    pub community_endpoints: CommunityEndpoint = all() => Triggers::on_community_endpoint;
    pub transit_hubs: TransitHub = all() => Triggers::on_transit_hub;
    pub workloads: EnclaveWorkload = all() => Triggers::on_workload;
    pub endpoints: EnclaveEndpoint = all() => Triggers::on_endpoint;
    pub connections: EnclaveConnection = all() => Triggers::on_connection;
    pub requests: ApprovalRequest = all() => Triggers::on_request;
    pub assignments: RoleAssignment = all() => Triggers::on_assignment;
    pub eligibilities: RoleEligibility = all() => Triggers::on_eligibility;
    pub activations: RoleActivation = all() => Triggers::on_activation;
    pub namespaces: Namespace = all() => Triggers::on_namespace;
    pub network_policies: NetworkPolicy = all() => Triggers::on_child;
    pub quotas: ResourceQuota = all() => Triggers::on_child;
    pub container_defaults: LimitRange = all() => Triggers::on_child;
    pub role_bindings: RoleBinding = all() => Triggers::on_role_binding;
    pub roles: Role = all() => Triggers::on_access;
    pub service_accounts: ServiceAccount = all() => Triggers::on_access;
    pub cluster_roles: ClusterRole = all() => Triggers::on_access;
    pub cluster_role_bindings: ClusterRoleBinding = all() => Triggers::on_access;
    pub(super) definitions: CustomResourceDefinition = named(cilium::DEFINITION) => Triggers::on_definition;
    mutating: MutatingAdmissionPolicy = policies() => Triggers::on_policy;
    mutating_bindings: MutatingAdmissionPolicyBinding = policies() => Triggers::on_policy;
    validating: ValidatingAdmissionPolicy = policies() => Triggers::on_policy;
    validating_bindings: ValidatingAdmissionPolicyBinding = policies() => Triggers::on_policy;
}

/// Not by label: a label could be taken off, and the object would seem gone.
fn all() -> Config {
    Config::default()
}

fn named(name: &str) -> Config {
    all().fields(&format!("metadata.name={name}"))
}

fn policies() -> Config {
    all().labels(&format!("{}={}", label::PART_OF, names::OPERATOR))
}

/// Whether the API server serves what a definition defines.
pub(super) fn is_served(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Established" && one.status == "True")
}

/// How far Cilium can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cilium {
    NotInstalled,
    /// Its kinds are served; the cache is being filled.
    Installed,
    /// The cache is filled.
    Known,
}

impl Caches {
    /// Whether Cilium's policies can be used.
    #[must_use]
    pub fn has_cilium(&self) -> bool {
        *self.cilium.borrow() == Cilium::Known
    }

    /// Notes whether Cilium's policies are served.
    pub(super) fn note_definition(&self, is_there: bool) {
        self.cilium.send_if_modified(|known| {
            let next = match (is_there, *known) {
                (true, Cilium::NotInstalled) => Cilium::Installed,
                (true, known) => known,
                (false, _) => Cilium::NotInstalled,
            };
            std::mem::replace(known, next) != next
        });
    }

    /// Watches Cilium's policies from when they are served. A watch of something that does not exist
    /// would ask again and again.
    async fn run_cilium(self, client: Client, triggers: Triggers, writer: Writer<CiliumNetworkPolicy>) {
        let mut installed = self.cilium.subscribe();
        if installed.wait_for(|cilium| *cilium != Cilium::NotInstalled).await.is_err() {
            return;
        }
        let counts = self.unreadable.clone();
        run_watch(Api::all(client), all(), writer, counts, move |seen| {
            if matches!(seen, Seen::Relisted) {
                self.cilium.send_replace(Cilium::Known);
            }
            triggers.on_child(seen);
        })
        .await;
    }

    /// The admission policies that the API server runs.
    #[must_use]
    pub fn observe_policies(&self) -> Policies {
        Policies {
            mutating: unshare(&self.mutating),
            mutating_bindings: unshare(&self.mutating_bindings),
            validating: unshare(&self.validating),
            validating_bindings: unshare(&self.validating_bindings),
        }
    }
}

fn unshare<K>(store: &Store<K>) -> Vec<K>
where
    K: Clone + kube::Resource<DynamicType = ()>,
{
    store.state().iter().map(|object| K::clone(object)).collect()
}
