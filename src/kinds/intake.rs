//! Takes in what the watches see and what writes answer: into the cache, and then to whom it concerns.

use crate::cluster::cache::{Cache, Change, Key};
use crate::cluster::watch::WatchEvent;
use crate::kinds::enqueue::{Enqueued, Enqueuer};
use crate::plan::child::{Child, with_child_kinds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;
use tracing::error;

impl Enqueuer {
    /// Takes in what a watch saw, and enqueues what that concerns.
    pub fn take_in<K: Enqueued>(&self, seen: WatchEvent<K>) {
        let cache = K::cache(&self.caches);
        match seen {
            WatchEvent::ListBegins => cache.begin_list(),
            WatchEvent::Applied(object) if K::is_relevant(&self.caches, &object) => {
                if let Some(change) = cache.apply(Arc::new(object.kept(&self.caches))) {
                    self.enqueue_change(&change);
                }
            }
            // The object may have been relevant before.
            WatchEvent::Applied(object) => self.drop_one(&Key::of(&object), cache),
            WatchEvent::Deleted(object) => {
                if let Some(change) = cache.remove(&object) {
                    self.enqueue_change(&change);
                }
            }
            WatchEvent::ListEnds => {
                for change in cache.end_list() {
                    self.enqueue_change(&change);
                }
            }
            WatchEvent::PartOfListEnds => {
                for change in cache.end_partial_list() {
                    self.enqueue_change(&change);
                }
            }
        }
    }

    /// Takes in what the API server answered to a write that was sent at `sent` or later, before the watch
    /// brings it. Returns whether it was news.
    pub fn take_in_written<K: Enqueued>(&self, object: K, sent: Instant) -> bool {
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

    /// Enqueues what a change concerns. A defect of this program must not end the watch, and with it the process:
    /// whoever may write the object that meets it would have the operator.
    pub(super) fn enqueue_change<K: Enqueued>(&self, change: &Change<K>) {
        let enqueue = AssertUnwindSafe(|| K::enqueue(self, change));
        if catch_unwind(enqueue).is_err() {
            let object = change.latest().map(|object| Key::of(object.as_ref()));
            error!(kind = %K::kind(&()), ?object, "enqueueing ended by a defect of this program; everything is looked at instead");
            self.enqueue_everything();
        }
    }

    pub(super) fn drop_one<K: Enqueued>(&self, Key { namespace, name }: &Key, cache: &Cache<K>) {
        if let Some(change) = cache.forget(namespace, name) {
            self.enqueue_change(&change);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use k8s_openapi::api::core::v1::Secret;
    use kube::api::ObjectMeta;

    use super::*;
    use crate::api::Kind;
    use crate::cluster::cache::{Indexed, NoIndex};
    use crate::kinds::caches::{Cached, Caches};
    use crate::kinds::foreign::Relevant;

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
    }

    impl Enqueued for Secret {
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
        enqueuer.take_in(WatchEvent::Applied(Secret { metadata, ..Secret::default() }));
        let queue = enqueuer.queues.of(Kind::Enclave);
        let next = queue.take(crate::cluster::workqueue::Priority::Normal, Instant::now());
        assert_eq!(next, Some(Key::new("acme", "payments")));
    }
}
