//! Whom a change of each kind concerns. Each kind says what it watches by [`Watches`], in its `watches.rs`; here is who
//! asks them, and what Kubernetes' own kinds have in common.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use tracing::warn;

use crate::api::kind::with_kinds;
use crate::api::{CiliumNetworkPolicy, Kind};
use crate::cluster::cache::{Change, Indexed};
use crate::cluster::workqueue::Priority;
use crate::kinds::caches::is_served;
use crate::kinds::controller::Controller;
use crate::kinds::enqueue::{Enqueued, Enqueuer};
use crate::kinds::labels::{is_there, labels_of};
use crate::kinds::listing;
use crate::model::approval::policy_status::{Integrity, PolicyStatus};
use crate::model::naming;
use crate::plan::child::Made;

macro_rules! define_watches {
    ($($kind:ident: $all:ident, $plural:literal, $short:literal, [$($operation:ident),*];)*) => {
        /// Enqueues the objects of a kind: a function for each cache, which is called with every change in it while
        /// this process leads. A kind implements those that concern it.
        pub trait Watches {
            $(
                #[doc = concat!("Enqueues what a change of ", $plural, " concerns.")]
                fn $all(_enqueuer: &Enqueuer, _change: &Change<crate::api::$kind>) {}
            )*

            /// Enqueues what a namespace concerns that comes, goes or changes.
            fn namespaces(_enqueuer: &Enqueuer, _change: &Change<Namespace>) {}

            /// Enqueues what a change in a namespace concerns: of something that the operator makes there, or that
            /// others have there.
            fn children<K: Indexed + Made>(_enqueuer: &Enqueuer, _namespace: &Namespace, _object: &K) {}

            /// Enqueues what a change of a network policy concerns.
            fn network_policies<K: Indexed + Made>(_enqueuer: &Enqueuer, _change: &Change<K>) {}

            /// Enqueues what a change of a RoleBinding concerns that was made for a grant.
            fn grants(_enqueuer: &Enqueuer, _change: &Change<RoleBinding>) {}

            /// Enqueues what a change of something concerns that gives rights, or that somebody made who had a role for
            /// a while.
            fn rbac<K: Indexed>(_enqueuer: &Enqueuer, _change: &Change<K>) {}

            /// Enqueues everything that gives rights for the revocation worker.
            fn enqueue_all_revocations(_enqueuer: &Enqueuer) {}
        }

        $(impl Enqueued for crate::api::$kind {
            fn enqueue(enqueuer: &Enqueuer, change: &Change<Self>) {
                enqueuer.outbox.on_change(change);
                if enqueuer.queues.is_open() {
                    Self::enqueue_changed(enqueuer, change);
                    each_kind!($all(enqueuer, change));
                }
            }
        })*

        impl Enqueuer {
            /// Enqueues what is declared in a namespace.
            fn enqueue_declared(&self, namespace: &str) {
                $(if Kind::$kind.is_gated() {
                    let declared = self.caches.$all.in_namespace(namespace);
                    self.enqueue_objects(Kind::$kind, &declared, Priority::Normal);
                })*
            }

            /// Enqueues everything: when this process begins to lead, and when the admission policies changed.
            /// Requests that are settled wait until they are old.
            pub fn enqueue_everything(&self) {
                $(self.enqueue_objects(Kind::$kind, &self.caches.$all.all_decoded(), Priority::Normal);)*
                each_kind!(enqueue_all_revocations(self));
            }
        }
    };
}

/// Calls a function of [`Watches`] of each kind.
macro_rules! each_kind {
    ($function:ident $arguments:tt) => {
        with_kinds!(call_each $function $arguments)
    };
}

macro_rules! call_each {
    (
        $function:ident $arguments:tt
        $($kind:ident: $all:ident, $plural:literal, $short:literal, [$($operation:ident),*];)*
    ) => {
        $(<crate::api::$kind as Watches>::$function $arguments;)*
    };
}

with_kinds!(define_watches);

macro_rules! enqueued {
    ($($kind:ident => $function:ident,)*) => {
        $(impl Enqueued for $kind {
            fn enqueue(enqueuer: &Enqueuer, change: &Change<Self>) {
                enqueuer.$function(change);
            }
        })*
    };
}

enqueued! {
    Namespace => on_namespace,
    NetworkPolicy => on_network_policy,
    CiliumNetworkPolicy => on_network_policy,
    ResourceQuota => on_quota,
    LimitRange => on_child,
    RoleBinding => on_role_binding,
    Role => on_rbac,
    ServiceAccount => on_rbac,
    ClusterRole => on_rbac,
    ClusterRoleBinding => on_rbac,
    CustomResourceDefinition => on_definition,
    MutatingAdmissionPolicy => on_policy,
    MutatingAdmissionPolicyBinding => on_policy,
    ValidatingAdmissionPolicy => on_policy,
    ValidatingAdmissionPolicyBinding => on_policy,
}

impl Enqueuer {
    fn on_namespace(&self, change: &Change<Namespace>) {
        listing::on_namespace(self, change);
        if self.queues.is_open() {
            // Whatever is declared in a namespace waits until it is known to whom that belongs.
            if let Some(namespace) = change.latest().filter(|_| change.differs(is_there))
                && labels_of(namespace).is_some()
            {
                self.enqueue_declared(&namespace.name_any());
            }
            each_kind!(namespaces(self, change));
        }
    }

    fn on_child<K: Indexed + Made>(&self, change: &Change<K>) {
        if self.queues.is_open()
            && let Some(object) = change.latest()
            && let Some(namespace) = self.caches.namespaces.get("", &object.namespace().unwrap_or_default())
        {
            each_kind!(children(self, &namespace, object.as_ref()));
        }
    }

    fn on_network_policy<K: Indexed + Made>(&self, change: &Change<K>) {
        self.on_child(change);
        if self.queues.is_open() {
            each_kind!(network_policies(self, change));
        }
    }

    /// Kubernetes writes into the status of a quota what is used, at every start of a Pod.
    fn on_quota(&self, change: &Change<ResourceQuota>) {
        let view = |quota: &ResourceQuota| {
            let metadata =
                ObjectMeta { resource_version: None, managed_fields: None, ..quota.metadata.clone() };
            (metadata, quota.spec.clone())
        };
        if change.differs(view) {
            self.on_child(change);
        }
    }

    fn on_role_binding(&self, change: &Change<RoleBinding>) {
        let name = change.latest().and_then(|binding| binding.metadata.name.as_deref());
        if name.is_some_and(naming::is_of_grant) {
            if self.queues.is_open() {
                each_kind!(grants(self, change));
            }
        } else {
            self.on_child(change);
        }
        self.on_rbac(change);
    }

    fn on_rbac<K: Indexed>(&self, change: &Change<K>) {
        if self.queues.is_open() {
            each_kind!(rbac(self, change));
        }
    }

    /// Whether Cilium's policies can be used.
    fn on_definition(&self, change: &Change<CustomResourceDefinition>) {
        let is_there = change.after.as_deref().is_some_and(is_served);
        if self.caches.note_definition(is_there) && !is_there && self.queues.is_open() {
            self.enqueue_everything();
        }
    }

    /// Before the first comparison the caches fill one after the other, and a policy that is not there yet
    /// is not a policy that is missing.
    fn on_policy<K>(&self, _: &Change<K>) {
        if self.policy_status.borrow().is_some() {
            self.compare_policies();
        }
    }

    /// Compares the live admission policies with the built-in ones. Called once when all caches are
    /// filled, before the controllers start.
    pub fn compare_policies(&self) {
        // Four watches call this. What is read under the lock is never older than what is known.
        let changed = self.policy_status.send_if_modified(|known| {
            let now = self.verifier.verify(&self.caches.observe_policies());
            let changed = known.as_ref() != Some(&now);
            *known = Some(now);
            changed
        });
        if changed {
            if let Some(what) = self
                .policy_status
                .borrow()
                .as_ref()
                .and_then(|policy_status| policy_status.integrity.obstacle())
            {
                warn!(what, "the admission policies are not intact: nothing new is enacted until they are");
            }
            self.enqueue_everything();
        }
    }
}

/// Compares the policies again once they have propagated, which no watch reports. Never returns.
pub async fn run_propagation(enqueuer: &Enqueuer) {
    let mut policy_status = enqueuer.policy_status.subscribe();
    let is_propagating = |policy_status: &Option<PolicyStatus>| {
        policy_status.as_ref().is_some_and(|policy_status| policy_status.integrity == Integrity::Propagating)
    };
    // The sender is in `enqueuer`, so it does not end.
    while policy_status.wait_for(is_propagating).await.is_ok() {
        tokio::time::sleep(enqueuer.verifier.remaining()).await;
        enqueuer.compare_policies();
    }
}
