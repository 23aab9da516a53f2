//! The operator's view of the cluster: one cache per kind, each kept up to date by one watch.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::admission::Policies;
use crate::api::CiliumNetworkPolicy;
use crate::cluster::cache::{Cache, Indexed};
use crate::cluster::unreadable::Counts;

/// A kind that is cached.
pub trait Cached: Indexed {
    /// Where its objects are cached.
    fn cache(caches: &Caches) -> &Cache<Self>
    where
        Self: Sized;
}

/// Defines [`Caches`]: a cache for each kind that is watched.
macro_rules! caches {
    ($($visibility:vis $name:ident: $kind:ty = $config:expr;)*) => {
        /// Caches of everything that is observed.
        #[derive(Clone)]
        pub struct Caches {
            $($visibility $name: Cache<$kind>,)*
            /// The operator's own namespace: roles that are given in it count everywhere.
            pub system: Arc<str>,
            /// Empty where Cilium is not installed.
            pub cilium_policies: Cache<CiliumNetworkPolicy>,
            /// Whether the cache of Cilium's policies has been filled.
            pub(super) cilium: watch::Sender<Cilium>,
            /// The numbers of objects that cannot be read as a whole, by kind.
            pub unreadable: Counts,
        }

        $(impl Cached for $kind {
            fn cache(caches: &Caches) -> &Cache<Self> {
                &caches.$name
            }
        })*

        impl Caches {
            /// Empty caches that nothing fills but the caller: to observe and plan without an API server.
            #[must_use]
            pub fn detached(system: &str) -> Self {
                let cilium = watch::Sender::new(Cilium::NotInstalled);
                Self { $($name: Cache::default(),)* system: system.into(), cilium_policies: Cache::default(), cilium, unreadable: Counts::default() }
            }

            /// Ends when every cache has been filled once. That of Cilium's policies is waited for a while only:
            /// whether they are served is not ours to say, and only connections to names need them
            /// ([`Caches::has_cilium`]).
            pub async fn wait_until_filled(&self) {
                let Self { $($name,)* system: _, cilium_policies, cilium: _, unreadable: _ } = self;
                futures::join!($($name.wait_until_filled(),)*);
                if self.definitions.all().iter().any(|definition| is_served(definition)) {
                    // Until they are known no connection to names is enforced anew, and none of them is touched.
                    let _ = timeout(LONGEST_WAIT_FOR_CILIUM, cilium_policies.wait_until_filled()).await;
                }
            }

            /// Returns the number of objects that were looked at so far, in all caches.
            #[must_use]
            pub fn visited(&self) -> u64 {
                let Self { $($name,)* system: _, cilium_policies, cilium: _, unreadable: _ } = self;
                [$($name.visited(),)* cilium_policies.visited()].iter().sum()
            }
        }
    };
}
with_watched_kinds!(caches);

impl Cached for CiliumNetworkPolicy {
    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.cilium_policies
    }
}

/// Whether the API server serves what a definition defines.
pub(super) fn is_served(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Established" && one.status == "True")
}

/// Nothing closes until the caches are filled.
const LONGEST_WAIT_FOR_CILIUM: Duration = Duration::from_secs(10);

/// The extent to which Cilium's policies can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cilium {
    NotInstalled,
    /// Cilium's kinds are served; the cache is being filled.
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

fn unshare<K: Indexed + Clone>(cache: &Cache<K>) -> Vec<K> {
    cache.all().iter().map(|object| K::clone(object)).collect()
}
