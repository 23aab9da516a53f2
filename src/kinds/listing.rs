//! Lists what is in a namespace that became the operator's after it was seen, and drops what is in one that is
//! another's.

use std::fmt::Debug;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use tracing::warn;

use crate::api::CiliumNetworkPolicy;
use crate::api::reading::{Item, Readable};
use crate::cluster::cache::{Change, Key};
use crate::cluster::workqueue::{Outcome, Priority};
use crate::kinds::enqueue::{Enqueued, Enqueuer};
use crate::kinds::foreign::{Relevant, is_managed};

/// Calls a macro with the caches of what is kept only in namespaces of the operator.
macro_rules! with_filtered_kinds {
    ($use:ident) => {
        $use! {
            network_policies: NetworkPolicy,
            quotas: ResourceQuota,
            container_defaults: LimitRange,
            role_bindings: RoleBinding,
            roles: Role,
            service_accounts: ServiceAccount,
        }
    };
}

/// So many names are remembered at most of namespaces that went.
const MOST_GONE: usize = 10_000;

/// A namespace turns out to be one of others, or becomes one of the operator.
pub(super) fn on_namespace(enqueuer: &Enqueuer, change: &Change<Namespace>) {
    let was_managed = change.before.as_deref().map(is_managed);
    let mut gone = enqueuer.gone.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(namespace) = &change.after else {
        if let Some(before) = change.before.as_deref().filter(|_| was_managed == Some(false)) {
            if gone.len() == MOST_GONE {
                gone.clear();
            }
            gone.insert(before.name_any());
        }
        return;
    };
    let name = namespace.name_any();
    // The watch of something that was made in it at once may have been ahead, and what it reported was dropped.
    let was_of_others = gone.remove(&name);
    drop(gone);
    match (was_managed, is_managed(namespace)) {
        // The objects in it were not kept.
        (Some(false), true) => enqueuer.unlisted.add(Key::new("", &name), Priority::Normal),
        (None, true) if was_of_others => enqueuer.unlisted.add(Key::new("", &name), Priority::Normal),
        (None | Some(true), false) => drop_all_in(enqueuer, &name),
        (None | Some(true), true) | (Some(false), false) => {}
    }
}

fn drop_all_in(enqueuer: &Enqueuer, namespace: &str) {
    macro_rules! drop_each {
        ($($cache:ident: $kind:ident,)*) => {
            $(for object in enqueuer.caches.$cache.in_namespace(namespace) {
                if !$kind::is_relevant(&enqueuer.caches, &object) {
                    enqueuer.drop_one(&Key::of(object.as_ref()), &enqueuer.caches.$cache);
                }
            })*
        };
    }
    with_filtered_kinds!(drop_each);
    for policy in enqueuer.caches.cilium_policies.in_namespace(namespace) {
        enqueuer.drop_one(&Key::of(policy.as_ref()), &enqueuer.caches.cilium_policies);
    }
}

/// Lists what is in namespaces that became the operator's after they were seen, as somebody can make them
/// while no admission policy watches. Never returns.
pub(super) async fn run_listing(client: Client, enqueuer: Enqueuer) {
    let queue = enqueuer.unlisted.clone();
    queue.open();
    loop {
        while let Some(key) = queue.take(Priority::Normal, Instant::now()) {
            let outcome = match list_namespace(&client, &enqueuer, &key.name).await {
                Ok(Listed::Complete) => Outcome::Done,
                Ok(Listed::Again) => Outcome::Failed { ends_in: None },
                Err(error) => {
                    warn!(namespace = &*key.name, %error, "failed to list a namespace that became the operator's, trying again");
                    Outcome::Failed { ends_in: None }
                }
            };
            queue.finish(&key, outcome, Instant::now());
        }
        queue.wait().await;
    }
}

async fn list_namespace(
    client: &Client,
    enqueuer: &Enqueuer,
    namespace: &str,
) -> Result<Listed, kube::Error> {
    let mut all = Listed::Complete;
    let mut note = |listed| {
        if listed == Listed::Again {
            all = listed;
        }
    };
    macro_rules! list_each {
        ($($cache:ident: $kind:ident,)*) => {
            $(note(list_kind::<$kind>(client, enqueuer, namespace).await?);)*
        };
    }
    with_filtered_kinds!(list_each);
    if enqueuer.caches.has_cilium() {
        note(list_kind::<CiliumNetworkPolicy>(client, enqueuer, namespace).await?);
    }
    Ok(all)
}

/// The outcome of a list beside the watch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Complete,
    /// The watch listed anew meanwhile.
    Again,
}

async fn list_kind<K>(client: &Client, enqueuer: &Enqueuer, namespace: &str) -> Result<Listed, kube::Error>
where
    K: Enqueued + Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Readable + Clone + Debug,
{
    let api: Api<Item<K>> = Api::namespaced(client.clone(), namespace);
    let cache = K::cache(&enqueuer.caches);
    cache.begin_namespace(namespace);
    let listed = api.list(&ListParams::default()).await;
    let listed = listed?.items.into_iter().map(|item| item.read().0);
    let relevant = listed.filter(|object| K::is_relevant(&enqueuer.caches, object));
    let kept = relevant.map(|object| Arc::new(object.kept(&enqueuer.caches)));
    let Some(changes) = cache.end_namespace(namespace, kept) else { return Ok(Listed::Again) };
    for change in changes {
        enqueuer.enqueue_change(&change);
    }
    Ok(Listed::Complete)
}
