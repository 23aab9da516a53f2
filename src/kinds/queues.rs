//! One queue per controller, of the objects that it has to look at.

use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use kube::Resource;
use kube::runtime::reflector::{Lookup, ObjectRef, Store};

use crate::api::{
    ApprovalRequest, Community, CommunityEndpoint, Enclave, EnclaveConnection, EnclaveEndpoint,
    EnclaveWorkload, RoleActivation, RoleAssignment, RoleEligibility, TransitHub,
};

/// Defines the two ends of the queues.
macro_rules! queues {
    ($($name:ident: $kind:ty,)*) => {
        /// One queue per controller: where work is put in.
        #[derive(Clone)]
        pub struct Queues {
            $(pub $name: UnboundedSender<ObjectRef<$kind>>,)*
        }

        /// One queue per controller: where work is taken out.
        pub struct Work {
            $(pub $name: UnboundedReceiver<ObjectRef<$kind>>,)*
        }

        /// Empty queues.
        #[must_use]
        pub fn build_queues() -> (Queues, Work) {
            $(let $name = mpsc::unbounded();)*
            (Queues { $($name: $name.0,)* }, Work { $($name: $name.1,)* })
        }
    };
}
with_controlled_kinds!(queues);

/// Puts in the objects that are concerned.
pub(super) fn send_where<K>(
    queue: &UnboundedSender<ObjectRef<K>>,
    store: &Store<K>,
    concerned: impl Fn(&K) -> bool,
) where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone,
{
    for object in store.state().into_iter().filter(|object| concerned(object)) {
        send(queue, ObjectRef::from_obj(object.as_ref()));
    }
}

/// Puts in an object. The receiver is gone only at shutdown.
pub(super) fn send<K: Lookup>(queue: &UnboundedSender<ObjectRef<K>>, object: ObjectRef<K>) {
    let _ = queue.unbounded_send(object);
}
