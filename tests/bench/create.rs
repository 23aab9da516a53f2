//! Creating many objects, with a bounded number of requests in flight.

use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use kube::api::PostParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

/// Requests at a time, of one client or of those beside it.
pub const IN_FLIGHT: usize = 32;

/// Somebody who creates objects.
#[derive(Clone)]
pub struct Creator {
    pub client: Client,
    seats: Arc<Semaphore>,
}

impl Creator {
    pub fn new(client: Client) -> Self {
        Self { client, seats: Arc::new(Semaphore::new(IN_FLIGHT)) }
    }

    /// Another client, whose requests count among these.
    pub fn beside(&self, client: Client) -> Self {
        Self { client, seats: Arc::clone(&self.seats) }
    }

    /// Creates an object in its namespace.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn create<K>(&self, object: &K) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let api = Api::namespaced(self.client.clone(), &object.namespace().expect("it has a namespace"));
        self.create_in(&api, object).await
    }

    /// Creates an object where `api` is.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn create_in<K>(&self, api: &Api<K>, object: &K) -> K
    where
        K: Resource + Clone + Debug + Serialize + DeserializeOwned,
    {
        let _seat = self.seats.acquire().await.expect("nobody closes it");
        api.create(&PostParams::default(), object)
            .await
            .unwrap_or_else(|error| panic!("failed to create {}: {error}", object.name_any()))
    }

    /// Creates objects in their namespaces.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn create_all<K>(&self, objects: impl IntoIterator<Item = K>)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        each(objects, async |object| drop(self.create(&object).await)).await;
    }
}

/// Does something with each of these, with many at a time.
pub async fn each<T>(all: impl IntoIterator<Item = T>, work: impl AsyncFn(T)) {
    futures::stream::iter(all).for_each_concurrent(4 * IN_FLIGHT, async |one| work(one).await).await;
}
