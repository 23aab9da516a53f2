//! What the operator knows of the cluster: one cache per kind, each kept by one watch.

use futures::future::{BoxFuture, FutureExt};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::reflector::{self, Store, store::WriterDropped};
use kube::runtime::watcher::Config;
use kube::{Api, Client};

use super::triggers::Triggers;
use super::watch::{Seen, run_watch};
use crate::admission::Policies;
use crate::api::names::{self, child, label};
use crate::api::{
    ApprovalRequest, Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint,
    EnclaveWorkload, TransitHub,
};

/// Defines [`Caches`]: for each its kind, what is watched, and who gets to know.
macro_rules! caches {
    ($($visibility:vis $name:ident: $kind:ty = $config:expr => $seen:expr;)*) => {
        /// Caches of everything that is observed.
        #[derive(Clone)]
        pub struct Caches {
            $($visibility $name: Store<$kind>,)*
        }

        impl Caches {
            /// Empty caches, and the watches that fill them: futures that never return. `triggers`
            /// gets to know what they see.
            #[must_use]
            pub fn new(
                client: &Client,
                triggers: impl FnOnce(Self) -> Triggers,
            ) -> (Self, Triggers, Vec<BoxFuture<'static, ()>>) {
                $(let $name = reflector::store::<$kind>();)*
                let caches = Self { $($name: $name.0,)* };
                let triggers = triggers(caches.clone());
                let mut watches: Vec<BoxFuture<'static, ()>> = Vec::new();
                $({
                    let (triggers, api) = (triggers.clone(), Api::all(client.clone()));
                    let tell: fn(&Triggers, Seen<'_, $kind>) = $seen;
                    watches.push(run_watch(api, $config, $name.1, move |seen| tell(&triggers, seen)).boxed());
                })*
                (caches, triggers, watches)
            }

            /// Ends when every cache has been filled once.
            ///
            /// # Errors
            /// When a watch ended before, which only happens at shutdown.
            pub async fn wait_until_ready(&self) -> Result<(), WriterDropped> {
                let Self { $($name,)* } = self;
                futures::try_join!($($name.wait_until_ready(),)*).map(drop)
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
    pub namespaces: Namespace = all() => Triggers::on_namespace;
    pub network_policies: NetworkPolicy = all() => Triggers::on_child;
    pub quotas: ResourceQuota = named(child::QUOTA) => Triggers::on_child;
    pub container_defaults: LimitRange = named(child::CONTAINER_DEFAULTS) => Triggers::on_child;
    mutating: MutatingAdmissionPolicy = policies() => Triggers::on_policy;
    mutating_bindings: MutatingAdmissionPolicyBinding = policies() => Triggers::on_policy;
    validating: ValidatingAdmissionPolicy = policies() => Triggers::on_policy;
    validating_bindings: ValidatingAdmissionPolicyBinding = policies() => Triggers::on_policy;
}

fn all() -> Config {
    Config::default()
}

/// By name and not by label: a label could be taken off, and the object would seem gone.
fn named(name: &str) -> Config {
    all().fields(&format!("metadata.name={name}"))
}

fn policies() -> Config {
    all().labels(&format!("{}={}", label::PART_OF, names::OPERATOR))
}

impl Caches {
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
