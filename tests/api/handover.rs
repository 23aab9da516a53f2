//! Two replicas: one leads and writes, the other is ready to.

use std::time::{Duration, Instant};

use enclave_operator::api::State;
use jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use serde_json::json;

use crate::support::{Process, User, Write, eventually, writes_by};
use crate::trouble::{wait_for_log, wait_for_metric};
use crate::world::{
    SOON, World, active_community, communities, community, on_a_runtime, patch, wait_for_community,
};

const OPERATOR: &str = "system:serviceaccount:enclave-system:enclave-operator";
/// How long a lease counts that is not renewed, and what it takes to make use of it.
const LEASE: Duration = Duration::from_secs(16);

/// A replica, and the credential by which the audit log knows it.
struct Replica {
    process: Process,
    credential: String,
}

impl Replica {
    fn start(world: &World, identity: &str) -> Self {
        let (account, credential) = on_a_runtime(async || {
            let account = world.operator().await;
            let credential = credential_of(&account).await;
            (account, credential)
        });
        Self { process: world.spawn_operator_as(&account, identity), credential }
    }

    fn writes(&self, world: &World) -> Vec<Write> {
        let mut writes = writes_by(&world.plane.audit_log(), OPERATOR, None);
        writes.retain(|write| write.credential == self.credential);
        writes
    }

    /// When it took the lease, or freed that of another to take it.
    fn led_since(&self, world: &World) -> Option<Timestamp> {
        let writes = self.writes(world);
        writes.iter().find(|write| write.resource == "leases" && write.accepted()).map(|write| write.at)
    }
}

/// By which the audit log knows it.
pub async fn credential_of(user: &User) -> String {
    use k8s_openapi::api::authentication::v1::SelfSubjectReview;
    let reviews: kube::Api<SelfSubjectReview> = kube::Api::all(user.client());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.unwrap();
    let extra = review.status.unwrap().user_info.unwrap().extra.unwrap();
    extra["authentication.kubernetes.io/credential-id"].concat()
}

/// A cluster in which one replica leads and the other waits with full caches.
fn two_replicas() -> (World, Replica, Replica) {
    let world = World::without_operator();
    world.install();
    let first = Replica::start(&world, "first");
    on_a_runtime(async || wait_for_log(&first.process, "leading, reconciling").await);
    let second = Replica::start(&world, "second");
    on_a_runtime(async || {
        wait_for_log(&second.process, "all caches are filled").await;
        wait_for_metric(&first.process, "enclave_operator_leader 1").await;
        wait_for_metric(&second.process, "enclave_operator_leader 0").await;
    });
    (world, first, second)
}

async fn declare_many(world: &World, name: &str, how_many: usize) {
    let api = communities(&world.alice());
    for number in 0..how_many {
        let wanted = community(&format!("{name}{number}"), &json!({}));
        api.create(&PostParams::default(), &wanted).await.unwrap();
    }
}

async fn wait_for_many(world: &World, name: &str, how_many: usize) {
    let api = communities(&world.alice());
    for number in 0..how_many {
        wait_for_community(&api, &format!("{name}{number}"), State::Active).await;
    }
}

/// The loser wrote nothing once the winner had the lease.
fn assert_no_late_write(world: &World, loser: &Replica, since: Timestamp) {
    let late: Vec<Write> = loser.writes(world).into_iter().filter(|write| write.at >= since).collect();
    assert!(late.is_empty(), "written after {since}: {late:#?}");
}

#[test]
fn a_replica_that_is_stopped_hands_over_within_a_second_in_the_middle_of_its_work() {
    let (world, first, second) = two_replicas();
    on_a_runtime(async || declare_many(&world, "busy", 20).await);
    assert_eq!(second.writes(&world), [], "it wrote while it waited");

    let asked = Timestamp::now();
    first.process.signal("TERM");
    let led_since = on_a_runtime(async || {
        eventually("the second takes the lease", SOON, async || second.led_since(&world)).await
    });
    let handed_over = led_since.duration_since(asked);
    println!("handed over {handed_over:#} after SIGTERM");
    assert!(handed_over < SignedDuration::from_secs(1), "{handed_over:#}");
    let status = first.process.wait(SOON).expect("it ends");
    assert!(status.success(), "{status}\n{}", first.process.log());
    on_a_runtime(async || wait_for_many(&world, "busy", 20).await);
    let went_on = second.writes(&world).into_iter().find(|write| write.resource != "leases").unwrap();
    println!("first write {:#} after SIGTERM", went_on.at.duration_since(asked));
    assert!(went_on.at.duration_since(asked) < SignedDuration::from_secs(1), "{went_on:?}");
    assert_no_late_write(&world, &first, led_since);
    assert!(!first.process.log().contains("panicked"), "{}", first.process.log());
}

#[test]
fn a_replica_that_is_killed_is_replaced_when_its_lease_is_over() {
    let (world, first, second) = two_replicas();
    on_a_runtime(async || declare_many(&world, "killed", 10).await);
    let killed = Instant::now();
    first.process.kill();
    on_a_runtime(async || {
        eventually("the second takes the lease", 2 * LEASE, async || second.led_since(&world)).await;
    });
    println!("taken over {:.1?} after SIGKILL", killed.elapsed());
    assert!(killed.elapsed() < LEASE, "{:?}", killed.elapsed());
    on_a_runtime(async || wait_for_many(&world, "killed", 10).await);
}

#[test]
fn a_replica_that_slept_longer_than_its_lease_writes_nothing_when_it_wakes() {
    let (world, first, second) = two_replicas();
    on_a_runtime(async || declare_many(&world, "asleep", 10).await);
    first.process.signal("STOP");
    let led_since = on_a_runtime(async || {
        eventually("the second takes the lease", 2 * LEASE, async || second.led_since(&world)).await
    });
    on_a_runtime(async || {
        wait_for_many(&world, "asleep", 10).await;
        // There is something to see and to do when it wakes.
        let api = communities(&world.alice());
        patch(&api, "asleep0", json!({"metadata": {"labels": {"seen": "by-nobody"}}})).await.unwrap();
    });
    first.process.signal("CONT");
    on_a_runtime(async || {
        wait_for_log(&first.process, "waiting for it again").await;
        wait_for_metric(&second.process, "enclave_operator_leader 1").await;
        active_community(&world, "awake", &json!({})).await;
    });
    assert_no_late_write(&world, &first, led_since);

    // It is a good second from then on.
    second.process.signal("TERM");
    on_a_runtime(async || {
        active_community(&world, "again", &json!({})).await;
    });
}
