//! B1: a client without any logic that creates what people declare, and what the operator makes of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use enclave_operator::api::names::{OPERATOR, label};
use enclave_operator::model::naming::CONNECTION_POLICY;
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use crate::create::each;
use crate::load::Load;
use crate::stage::Stage;

/// What the operator made for a [`Load`], to be made again.
#[derive(Clone, Default)]
pub struct Children {
    namespaces: BTreeMap<String, Namespace>,
    by_namespace: BTreeMap<String, Contents>,
    connections: Vec<NetworkPolicy>,
}

#[derive(Clone, Default)]
struct Contents {
    policies: Vec<NetworkPolicy>,
    quotas: Vec<ResourceQuota>,
    limits: Vec<LimitRange>,
    roles: Vec<Role>,
    bindings: Vec<RoleBinding>,
}

/// What provisioning took.
#[derive(Clone, Copy, Debug)]
pub struct Provisioned {
    pub wall: Duration,
    /// Processor time of the API server in seconds.
    pub api_server: f64,
    /// Processor time of the operator in seconds; none for the baseline.
    pub operator: f64,
    /// Resident memory of the operator in MiB afterwards.
    pub resident: f64,
}

impl Children {
    /// Reads what is there.
    pub async fn read(client: &Client) -> Self {
        let mut children = Self::default();
        for namespace in list::<Namespace>(client).await {
            let is_managed = namespace.labels().get(label::MANAGED_BY).is_some_and(|by| by == OPERATOR);
            if is_managed {
                children.namespaces.insert(namespace.name_any(), anew(namespace));
            }
        }
        for policy in children.of::<NetworkPolicy>(client).await {
            if policy.name_any().starts_with(CONNECTION_POLICY) {
                children.connections.push(policy);
            } else {
                children.contents(&policy).policies.push(policy);
            }
        }
        for quota in children.of::<ResourceQuota>(client).await {
            children.contents(&quota).quotas.push(ResourceQuota { status: None, ..quota });
        }
        for limits in children.of::<LimitRange>(client).await {
            children.contents(&limits).limits.push(limits);
        }
        for role in children.of::<Role>(client).await {
            children.contents(&role).roles.push(role);
        }
        for binding in children.of::<RoleBinding>(client).await {
            children.contents(&binding).bindings.push(binding);
        }
        children
    }

    /// How many objects these are.
    pub fn count(&self) -> usize {
        let contents = self.by_namespace.values().map(|contents| {
            let Contents { policies, quotas, limits, roles, bindings } = contents;
            policies.len() + quotas.len() + limits.len() + roles.len() + bindings.len()
        });
        self.namespaces.len() + self.connections.len() + contents.sum::<usize>()
    }

    /// Those in namespaces that the operator made.
    async fn of<K>(&self, client: &Client) -> Vec<K>
    where
        K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let all = list::<K>(client).await.into_iter();
        let is_managed = |object: &K| {
            let namespace = object.namespace().unwrap_or_default();
            self.namespaces.contains_key(&namespace) && is_made(object)
        };
        all.filter(is_managed).map(anew).collect()
    }

    fn contents<K: Resource>(&mut self, of: &K) -> &mut Contents {
        self.by_namespace.entry(of.namespace().unwrap_or_default()).or_default()
    }

    /// Makes a namespace with what is in it, but the policies of connections.
    async fn make(&self, stage: &Stage, namespace: &str) {
        let bare = &stage.bare;
        bare.create_in(&Api::all(bare.client.clone()), &self.namespaces[namespace]).await;
        let Some(contents) = self.by_namespace.get(namespace) else { return };
        let Contents { policies, quotas, limits, roles, bindings } = contents.clone();
        tokio::join!(
            bare.create_all(policies),
            bare.create_all(quotas),
            bare.create_all(limits),
            bare.create_all(roles),
            bare.create_all(bindings),
        );
    }

    /// Declares the load, and makes at once what the operator made of it.
    pub async fn provision(&self, stage: &Stage, load: &Load) -> Provisioned {
        // Who declares and who makes the children have 32 requests in flight together.
        let owner = stage.bare.beside(stage.owner.client.clone());
        let communities = Api::all(owner.client.clone());
        owner.create_in(&communities, &load.community(&json!({}))).await;
        self.make(stage, load.community).await;
        let (began, cpu) = (Instant::now(), stage.api_server_cpu());
        each(0..load.enclaves, async |number| {
            owner.create(&load.enclave(number)).await;
            let (control, pods) = (load.control(number), load.pods(number));
            self.make(stage, &control).await;
            tokio::join!(
                async { drop(owner.create(&load.workload(number)).await) },
                async { drop(owner.create(&load.endpoint(number)).await) },
                owner.create_all(load.connections(number)),
                self.make(stage, &pods),
            );
        })
        .await;
        stage.bare.create_all(self.connections.iter().cloned()).await;
        let wall = began.elapsed();
        Provisioned { wall, api_server: stage.api_server_cpu() - cpu, operator: 0.0, resident: 0.0 }
    }
}

/// Kubernetes itself makes none of these kinds in a new namespace; people make none in this one.
fn is_made<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_none()
}

async fn list<K>(client: &Client) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    Api::<K>::all(client.clone()).list(&ListParams::default()).await.unwrap().items
}

/// The object as whoever creates it writes it.
fn anew<K: Resource>(mut object: K) -> K {
    let metadata = object.meta_mut();
    metadata.uid = None;
    metadata.resource_version = None;
    metadata.creation_timestamp = None;
    metadata.managed_fields = None;
    metadata.generation = None;
    metadata.self_link = None;
    object
}
