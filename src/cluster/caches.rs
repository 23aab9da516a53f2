//! What the operator knows of the cluster: one cache per kind, each kept by one watch.

use std::future::Future;

use futures::future::{BoxFuture, FutureExt};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::reflector::{self, Store, store::WriterDropped};
use kube::runtime::watcher;
use kube::{Api, Client};

use super::triggers::Triggers;
use super::watch::run_watch;
use crate::admission::Policies;
use crate::api::names::{self, child, label};
use crate::api::{ApprovalRequest, Community, Enclave, EnclaveWorkload};

/// Caches of everything that is observed.
#[derive(Clone)]
pub struct Caches {
    pub communities: Store<Community>,
    pub enclaves: Store<Enclave>,
    pub workloads: Store<EnclaveWorkload>,
    pub requests: Store<ApprovalRequest>,
    pub namespaces: Store<Namespace>,
    pub network_policies: Store<NetworkPolicy>,
    pub resource_quotas: Store<ResourceQuota>,
    mutating: Store<MutatingAdmissionPolicy>,
    mutating_bindings: Store<MutatingAdmissionPolicyBinding>,
    validating: Store<ValidatingAdmissionPolicy>,
    validating_bindings: Store<ValidatingAdmissionPolicyBinding>,
}

impl Caches {
    /// Empty caches, and the watches that fill them: futures that never return. `triggers` gets
    /// to know what they see.
    #[must_use]
    pub fn new(
        client: &Client,
        triggers: impl FnOnce(Self) -> Triggers,
    ) -> (Self, Triggers, Vec<BoxFuture<'static, ()>>) {
        let (communities, communities_writer) = reflector::store();
        let (enclaves, enclaves_writer) = reflector::store();
        let (workloads, workloads_writer) = reflector::store();
        let (requests, requests_writer) = reflector::store();
        let (namespaces, namespaces_writer) = reflector::store();
        let (network_policies, network_policies_writer) = reflector::store();
        let (resource_quotas, resource_quotas_writer) = reflector::store();
        let (mutating, mutating_writer) = reflector::store();
        let (mutating_bindings, mutating_bindings_writer) = reflector::store();
        let (validating, validating_writer) = reflector::store();
        let (validating_bindings, validating_bindings_writer) = reflector::store();
        let caches = Self {
            communities,
            enclaves,
            workloads,
            requests,
            namespaces,
            network_policies,
            resource_quotas,
            mutating,
            mutating_bindings,
            validating,
            validating_bindings,
        };
        let triggers = triggers(caches.clone());
        let all = watcher::Config::default;
        // By name and not by label: a label could be taken off, and the object would seem gone.
        let named = |name: &str| all().fields(&format!("metadata.name={name}"));
        let policies = || all().labels(&format!("{}={}", label::PART_OF, names::OPERATOR));

        let mut watches: Vec<BoxFuture<'static, ()>> = Vec::new();
        macro_rules! watch {
            ($config:expr, $writer:expr, $seen:expr) => {{
                let (triggers, api) = (triggers.clone(), Api::all(client.clone()));
                watches.push(run_watch(api, $config, $writer, move |seen| $seen(&triggers, seen)).boxed());
            }};
        }
        watch!(all(), communities_writer, Triggers::on_community);
        watch!(all(), enclaves_writer, Triggers::on_enclave);
        watch!(all(), workloads_writer, Triggers::on_child);
        watch!(all(), requests_writer, Triggers::on_request);
        watch!(all(), namespaces_writer, Triggers::on_namespace);
        watch!(named(child::DEFAULT_DENY), network_policies_writer, Triggers::on_child);
        watch!(named(child::NO_PODS), resource_quotas_writer, Triggers::on_child);
        watch!(policies(), mutating_writer, Triggers::on_policy);
        watch!(policies(), mutating_bindings_writer, Triggers::on_policy);
        watch!(policies(), validating_writer, Triggers::on_policy);
        watch!(policies(), validating_bindings_writer, Triggers::on_policy);
        (caches, triggers, watches)
    }

    /// Ends when every cache has been filled once.
    ///
    /// # Errors
    /// When a watch ended before, which only happens at shutdown.
    pub async fn wait_until_ready(&self) -> Result<(), WriterDropped> {
        let Self {
            communities,
            enclaves,
            workloads,
            requests,
            namespaces,
            network_policies,
            resource_quotas,
            mutating,
            mutating_bindings,
            validating,
            validating_bindings,
        } = self;
        all_ready([
            communities.wait_until_ready().boxed(),
            enclaves.wait_until_ready().boxed(),
            workloads.wait_until_ready().boxed(),
            requests.wait_until_ready().boxed(),
            namespaces.wait_until_ready().boxed(),
            network_policies.wait_until_ready().boxed(),
            resource_quotas.wait_until_ready().boxed(),
            mutating.wait_until_ready().boxed(),
            mutating_bindings.wait_until_ready().boxed(),
            validating.wait_until_ready().boxed(),
            validating_bindings.wait_until_ready().boxed(),
        ])
        .await
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

async fn all_ready(
    caches: impl IntoIterator<Item = impl Future<Output = Result<(), WriterDropped>>>,
) -> Result<(), WriterDropped> {
    futures::future::try_join_all(caches).await.map(drop)
}

fn unshare<K>(store: &Store<K>) -> Vec<K>
where
    K: Clone + kube::Resource<DynamicType = ()>,
{
    store.state().iter().map(|object| K::clone(object)).collect()
}
