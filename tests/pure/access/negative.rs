//! The oracle sees what is spoilt.

use std::panic::{AssertUnwindSafe, catch_unwind};

use enclave_operator_testing::sim::{Key, Stored};
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use kube::ResourceExt;

use super::history::{Draft, Step};
use super::world::World;

/// Alice owns the Enclave acme/pay.
fn owned_enclave() -> World {
    let draft = Draft {
        role: 0,
        workload: None,
        people: 1,
        starts: None,
        ends: None,
        minutes: 60,
        says_why: false,
        ticket: false,
        mfa: false,
        votes: None,
    };
    let mut world = World::new();
    for step in [Step::Give { gift: 2, by: 1, draft }, Step::Settle { order: 0 }] {
        world.take(&step);
    }
    world
}

fn is_fine(check: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(check)).is_ok()
}

fn all<K: Stored>(world: &World) -> Vec<(Key, K)> {
    K::shelf(&world.server).iter().map(|(key, object)| (key.clone(), object.clone())).collect()
}

#[test]
fn each_binding_and_each_role_that_is_missing_is_missed() {
    let world = owned_enclave();
    assert_eq!(world.server.role_bindings.len(), 4, "Community, Enclave, two workloads");
    assert!(is_fine(|| world.books.check_rest(&world.server)));
    for (key, _) in all::<RoleBinding>(&world) {
        let mut world = owned_enclave();
        world.server.remove::<RoleBinding>(&key);
        assert!(is_fine(|| world.books.check_closed(&world.server)));
        assert!(!is_fine(|| world.books.check_rest(&world.server)), "{key:?}");
    }
    for (key, _) in all::<ClusterRole>(&world) {
        let mut world = owned_enclave();
        world.server.remove::<ClusterRole>(&key);
        assert!(!is_fine(|| world.books.check_rest(&world.server)), "{key:?}");
    }
}

#[test]
fn whatever_gives_more_is_too_much() {
    let spoil: [fn(&mut RoleBinding); 4] = [
        |binding| binding.metadata.namespace = Some("other".into()),
        |binding| binding.metadata.name = Some("enclave-operator:rasg:acme:ghost".into()),
        |binding| binding.role_ref.name = "cluster-admin".into(),
        |binding| binding.subjects.as_mut().unwrap()[0].name = "mallory".into(),
    ];
    for spoil in spoil {
        for (_, mut binding) in all::<RoleBinding>(&owned_enclave()) {
            let mut world = owned_enclave();
            spoil(&mut binding);
            let what = format!("{} in {:?}", binding.name_any(), binding.namespace());
            world.server.put(binding);
            assert!(!is_fine(|| world.books.check_closed(&world.server)), "{what}");
        }
    }
}
