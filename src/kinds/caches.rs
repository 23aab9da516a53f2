//! What the operator knows of the cluster: one cache per kind, each kept by one watch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::error;

use super::backfill::run_backfill;
use super::enqueue::Enqueuer;
use super::foreign::{Relevant, run_listing};
use crate::admission::Policies;
use crate::api::cilium;
use crate::api::names::{self, label};
use crate::api::reading::Readable;
use crate::api::{
    ApprovalRequest, CiliumNetworkPolicy, Community, CommunityEndpoint, Enclave, EnclaveConnection,
    EnclaveEndpoint, EnclaveWorkload, RoleActivation, RoleAssignment, RoleEligibility, TransitHub,
};
use crate::cluster::cache::{Cache, Change, Indexed, Key};
use crate::cluster::unreadable::Counts;
use crate::cluster::watch::{Apis, Seen, list_selected, run_watch};
use crate::plan::child::{Child, with_child_kinds};

/// A kind that is cached.
pub trait Cached: Indexed + Relevant {
    /// Where its objects are cached.
    fn cache(caches: &Caches) -> &Cache<Self>
    where
        Self: Sized;

    /// Enqueues what has to be looked at after a change.
    fn enqueue(enqueuer: &Enqueuer, change: &Change<Self>)
    where
        Self: Sized;
}

/// Defines [`Caches`]: for each its kind, what is watched, and what a change enqueues.
macro_rules! caches {
    ($($visibility:vis $name:ident: $kind:ty = $config:expr => $enqueue:expr;)*) => {
        /// Caches of everything that is observed.
        #[derive(Clone)]
        pub struct Caches {
            $($visibility $name: Cache<$kind>,)*
            /// The operator's own namespace: roles that are given in it count everywhere.
            pub system: Arc<str>,
            /// Empty where Cilium is not installed.
            pub cilium_policies: Cache<CiliumNetworkPolicy>,
            /// Whether the cache of Cilium's policies has been filled.
            cilium: watch::Sender<Cilium>,
            /// How many objects cannot be read as a whole.
            pub unreadable: Counts,
        }

        $(impl Cached for $kind {
            fn cache(caches: &Caches) -> &Cache<Self> {
                &caches.$name
            }

            fn enqueue(enqueuer: &Enqueuer, change: &Change<Self>) {
                let enqueue: fn(&Enqueuer, &Change<Self>) = $enqueue;
                enqueue(enqueuer, change);
            }
        })*

        impl Caches {
            /// Empty caches that nothing fills but the caller: to observe and plan without an API server.
            #[must_use]
            pub fn detached(system: &str) -> Self {
                let cilium = watch::Sender::new(Cilium::NotInstalled);
                Self { $($name: Cache::default(),)* system: system.into(), cilium_policies: Cache::default(), cilium, unreadable: Counts::default() }
            }

            /// The watches that fill the caches: futures that never return.
            #[must_use]
            pub fn watches(client: &Client, enqueuer: &Enqueuer) -> Vec<BoxFuture<'static, ()>> {
                vec![
                    $(keep::<$kind>(client.clone(), $config, enqueuer.clone()).boxed(),)*
                    run_cilium(client.clone(), enqueuer.clone()).boxed(),
                    run_listing(client.clone(), enqueuer.clone()).boxed(),
                    run_backfill(client.clone(), enqueuer.clone()).boxed(),
                ]
            }

            /// Ends when every cache has been filled once. That of Cilium's policies is waited for a while only: whether
            /// they are served is not ours to say, and only connections to names need them ([`Caches::has_cilium`]).
            pub async fn wait_until_filled(&self) {
                let Self { $($name,)* system: _, cilium_policies, cilium: _, unreadable: _ } = self;
                futures::join!($($name.wait_until_filled(),)*);
                if self.definitions.all().iter().any(|definition| is_served(definition)) {
                    // Until they are known no connection to names is enforced anew, and none of them is touched.
                    let _ = timeout(LONGEST_WAIT_FOR_CILIUM, cilium_policies.wait_until_filled()).await;
                }
            }

            /// How many objects were looked at so far, in all caches.
            #[must_use]
            pub fn visited(&self) -> u64 {
                let Self { $($name,)* system: _, cilium_policies, cilium: _, unreadable: _ } = self;
                [$($name.visited(),)* cilium_policies.visited()].iter().sum()
            }
        }
    };
}

caches! {
    pub communities: Community = all() => Enqueuer::on_community;
    pub enclaves: Enclave = all() => Enqueuer::on_enclave;
    pub community_endpoints: CommunityEndpoint = all() => Enqueuer::on_community_endpoint;
    pub transit_hubs: TransitHub = all() => Enqueuer::on_transit_hub;
    pub workloads: EnclaveWorkload = all() => Enqueuer::on_workload;
    pub endpoints: EnclaveEndpoint = all() => Enqueuer::on_endpoint;
    pub connections: EnclaveConnection = all() => Enqueuer::on_connection;
    pub requests: ApprovalRequest = all() => Enqueuer::on_request;
    pub assignments: RoleAssignment = all() => Enqueuer::on_assignment;
    pub eligibilities: RoleEligibility = all() => Enqueuer::on_eligibility;
    pub activations: RoleActivation = all() => Enqueuer::on_activation;
    pub namespaces: Namespace = all() => Enqueuer::on_namespace;
    pub network_policies: NetworkPolicy = all() => Enqueuer::on_network_policy;
    pub quotas: ResourceQuota = all() => Enqueuer::on_quota;
    pub container_defaults: LimitRange = all() => Enqueuer::on_child;
    pub role_bindings: RoleBinding = all() => Enqueuer::on_role_binding;
    pub roles: Role = all() => Enqueuer::on_rbac;
    pub service_accounts: ServiceAccount = but_the_default() => Enqueuer::on_rbac;
    pub cluster_roles: ClusterRole = all() => Enqueuer::on_rbac;
    pub cluster_role_bindings: ClusterRoleBinding = all() => Enqueuer::on_rbac;
    pub(super) definitions: CustomResourceDefinition = named(cilium::DEFINITION) => Enqueuer::on_definition;
    mutating: MutatingAdmissionPolicy = policies() => Enqueuer::on_policy;
    mutating_bindings: MutatingAdmissionPolicyBinding = policies() => Enqueuer::on_policy;
    validating: ValidatingAdmissionPolicy = policies() => Enqueuer::on_policy;
    validating_bindings: ValidatingAdmissionPolicyBinding = policies() => Enqueuer::on_policy;
}

impl Cached for CiliumNetworkPolicy {
    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.cilium_policies
    }

    fn enqueue(enqueuer: &Enqueuer, change: &Change<Self>) {
        enqueuer.on_network_policy(change);
    }
}

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
    K: Cached + Readable + Clone + std::fmt::Debug,
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

impl Enqueuer {
    /// Takes in what a watch saw, and enqueues what that concerns.
    pub fn take_in<K: Cached>(&self, seen: Seen<K>) {
        let cache = K::cache(&self.caches);
        match seen {
            Seen::ListBegins => cache.begin_list(),
            Seen::Applied(object) if K::is_relevant(&self.caches, &object) => {
                if let Some(change) = cache.apply(Arc::new(object.kept(&self.caches))) {
                    self.enqueue_change(&change);
                }
            }
            // It may have been before.
            Seen::Applied(object) => self.drop_one(&Key::of(&object), cache),
            Seen::Deleted(object) => {
                if let Some(change) = cache.remove(&object) {
                    self.enqueue_change(&change);
                }
            }
            Seen::ListEnds => {
                for change in cache.end_list() {
                    self.enqueue_change(&change);
                }
            }
            Seen::PartOfListEnds => {
                for change in cache.end_partial_list() {
                    self.enqueue_change(&change);
                }
            }
        }
    }

    /// Takes in what the API server answered to a write that was sent at `sent` or later, before the watch
    /// brings it. Returns whether it was news.
    pub fn take_in_written<K: Cached>(&self, object: K, sent: Instant) -> bool {
        if !K::is_relevant(&self.caches, &object) {
            return false;
        }
        let object = Arc::new(object.kept(&self.caches));
        let change = K::cache(&self.caches).apply_written(object, sent);
        if let Some(change) = &change {
            self.enqueue_change(change);
        }
        change.is_some()
    }

    /// As [`Enqueuer::take_in_written`].
    pub fn take_in_child(&self, child: Child, sent: Instant) {
        macro_rules! take_in {
            ($($kind:ident),*) => {
                match child {
                    $(Child::$kind(child) => { self.take_in_written(*child, sent); })*
                }
            };
        }
        with_child_kinds!(take_in);
    }

    /// Enqueues what has to be looked at after a change. A defect of this program must not end the watch, and with it the
    /// process: whoever may write the object that meets it would have the operator.
    pub(super) fn enqueue_change<K: Cached>(&self, change: &Change<K>) {
        let enqueue = AssertUnwindSafe(|| K::enqueue(self, change));
        if catch_unwind(enqueue).is_err() {
            let object = change.latest().map(|object| Key::of(object.as_ref()));
            error!(kind = %K::kind(&()), ?object, "enqueueing ended by a defect of this program; everything is looked at instead");
            self.enqueue_everything();
        }
    }

    pub(super) fn drop_one<K: Cached>(&self, Key { namespace, name }: &Key, cache: &Cache<K>) {
        if let Some(change) = cache.forget(namespace, name) {
            self.enqueue_change(&change);
        }
    }
}

/// Whether the API server serves what a definition defines.
pub(super) fn is_served(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Established" && one.status == "True")
}

/// Nothing closes until the caches are filled.
const LONGEST_WAIT_FOR_CILIUM: Duration = Duration::from_secs(10);

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

    /// Notes whether Cilium's policies are served. Returns whether that is news.
    pub(super) fn note_definition(&self, is_there: bool) -> bool {
        self.cilium.send_if_modified(|known| {
            let next = match (is_there, *known) {
                (true, Cilium::NotInstalled) => Cilium::Installed,
                (true, known) => known,
                (false, _) => Cilium::NotInstalled,
            };
            std::mem::replace(known, next) != next
        })
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
        let is_filled = matches!(seen, Seen::ListEnds);
        enqueuer.take_in::<CiliumNetworkPolicy>(seen);
        if is_filled && enqueuer.caches.cilium.send_replace(Cilium::Known) != Cilium::Known {
            enqueuer.enqueue_everything();
        }
    })
    .await;
}

fn unshare<K: Indexed + Clone>(cache: &Cache<K>) -> Vec<K> {
    cache.all().iter().map(|object| K::clone(object)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use k8s_openapi::api::core::v1::Secret;

    use super::*;
    use crate::api::Kind;
    use crate::cluster::cache::NoIndex;

    impl Indexed for Secret {
        type By = NoIndex;

        fn index(&self, _: &mut dyn FnMut(NoIndex, &str)) {}
    }

    impl Relevant for Secret {}

    /// Whatever is enqueued because of one meets a defect.
    impl Cached for Secret {
        fn cache(_: &Caches) -> &Cache<Self> {
            static CACHE: OnceLock<Cache<Secret>> = OnceLock::new();
            CACHE.get_or_init(Cache::default)
        }

        fn enqueue(_: &Enqueuer, _: &Change<Self>) {
            panic!("a defect");
        }
    }

    #[test]
    fn a_defect_in_what_one_object_enqueues_ends_no_watch_and_everything_is_looked_at() {
        let enqueuer = Enqueuer::detached();
        enqueuer.queues.open();
        let enclave = serde_json::json!({
            "metadata": {"name": "payments", "namespace": "acme", "uid": "u", "resourceVersion": "1"}, "spec": {},
        });
        enqueuer.caches.enclaves.apply(Arc::new(serde_json::from_value(enclave).unwrap()));
        let metadata = ObjectMeta {
            name: Some("odd".into()),
            namespace: Some("acme".into()),
            uid: Some("v".into()),
            resource_version: Some("2".into()),
            ..ObjectMeta::default()
        };
        enqueuer.take_in(Seen::Applied(Secret { metadata, ..Secret::default() }));
        let queue = enqueuer.queues.of(Kind::Enclave);
        let next = queue.take(crate::cluster::workqueue::Priority::Normal, Instant::now());
        assert_eq!(next, Some(Key::new("acme", "payments")));
    }
}
