//! The watches that fill the caches, one for each kind.

use futures::future::{BoxFuture, FutureExt};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ObjectMeta;
use kube::runtime::watcher::Config;
use kube::{Api, Client};

use crate::api::names::{self, label};
use crate::api::reading::Readable;
use crate::api::{CiliumNetworkPolicy, cilium};
use crate::cluster::watch::{Apis, WatchEvent, list_selected, run_watch};
use crate::kinds::backfill::run_backfill;
use crate::kinds::caches::Cilium;
use crate::kinds::enqueue::{Enqueued, Enqueuer};
use crate::kinds::foreign::Relevant;
use crate::kinds::listing::run_listing;

/// Says which watches there are.
macro_rules! watches {
    ($($visibility:vis $name:ident: $kind:ty = $config:expr;)*) => {
        /// The watches that fill the caches: futures that never return.
        #[must_use]
        pub fn run_watches(client: &Client, enqueuer: &Enqueuer) -> Vec<BoxFuture<'static, ()>> {
            vec![
                $(keep::<$kind>(client.clone(), $config, enqueuer.clone()).boxed(),)*
                run_cilium(client.clone(), enqueuer.clone()).boxed(),
                run_listing(client.clone(), enqueuer.clone()).boxed(),
                run_backfill(client.clone(), enqueuer.clone()).boxed(),
            ]
        }
    };
}
with_watched_kinds!(watches);

/// Not by label: a label could be taken off, and the object would seem gone.
fn all() -> Config {
    Config::default()
}

fn named(name: &str) -> Config {
    all().fields(&format!("metadata.name={name}"))
}

/// See `foreign::Relevant` of a ServiceAccount.
fn but_the_default() -> Config {
    all().fields("metadata.name!=default")
}

fn policies() -> Config {
    all().labels(&format!("{}={}", label::PART_OF, names::OPERATOR))
}

/// Keeps the cache of one kind for ever.
async fn keep<K>(client: Client, config: Config, enqueuer: Enqueuer)
where
    K: Enqueued + Readable + Clone + std::fmt::Debug,
{
    // Which namespaces are the operator's decides what is kept of the others.
    if K::IS_FILTERED {
        enqueuer.caches.namespaces.wait_until_filled().await;
    }
    let counts = enqueuer.caches.unreadable.clone();
    let cache = K::cache(&enqueuer.caches).clone();
    let is_known = move |metadata: &ObjectMeta| cache.knows(metadata);
    let part = K::FIRST.map(|selector| Api::all(list_selected(client.clone(), selector)));
    let apis = Apis { all: Api::all(client), part };
    run_watch(apis, config, K::WINDOW, counts, is_known, move |seen| enqueuer.take_in::<K>(seen)).await;
}

/// Watches Cilium's policies from when they are served. A watch of something that does not exist would ask
/// again and again.
async fn run_cilium(client: Client, enqueuer: Enqueuer) {
    let mut installed = enqueuer.caches.cilium.subscribe();
    if installed.wait_for(|cilium| *cilium != Cilium::NotInstalled).await.is_err() {
        return;
    }
    let counts = enqueuer.caches.unreadable.clone();
    let cache = enqueuer.caches.cilium_policies.clone();
    let is_known = move |metadata: &ObjectMeta| cache.knows(metadata);
    let apis = Apis { all: Api::all(client), part: None };
    run_watch(apis, all(), CiliumNetworkPolicy::WINDOW, counts, is_known, move |seen| {
        let is_filled = matches!(seen, WatchEvent::ListEnds);
        enqueuer.take_in::<CiliumNetworkPolicy>(seen);
        if is_filled && enqueuer.caches.cilium.send_replace(Cilium::Synced) != Cilium::Synced {
            enqueuer.enqueue_everything();
        }
    })
    .await;
}
