//! What the operator makes of what is declared.

use enclave_operator::api::{Community, Enclave, EnclaveWorkload};
use enclave_operator::kinds::controller::Controller;
use enclave_operator::plan::Write;
use enclave_operator::plan::child::Child;
use enclave_operator_testing::sim::{Server, Stored, key_of};
use jiff::{SignedDuration, Timestamp};

use super::reach::Objects;
use super::scene::Moment;

/// No plan takes more rounds than this, each with everything that the one before it wrote.
const MOST_ROUNDS: usize = 12;

pub fn empty_cluster() -> Server {
    Server::new(Moment::Now.time())
}

/// Declares this and nothing else, and lets the operator work until there is nothing to do.
pub fn converge(cluster: &mut Server, declared: &Objects, now: Timestamp) -> Objects {
    let mut objects = declared.clone();
    declare(cluster, &declared.communities);
    declare(cluster, &declared.enclaves);
    declare(cluster, &declared.workloads);
    declare(cluster, &declared.endpoints);
    declare(cluster, &declared.community_endpoints);
    declare(cluster, &declared.transit_hubs);
    declare(cluster, &declared.connections);
    // Those that the operator made stay.
    for namespace in &declared.namespaces {
        if !cluster.namespaces.contains_key(&key_of(namespace)) {
            cluster.put(namespace.clone());
        }
    }
    let mut latest = Vec::new();
    for _ in 0..MOST_ROUNDS {
        latest = work_on::<Community>(cluster, now);
        latest.extend(work_on::<Enclave>(cluster, now));
        latest.extend(work_on::<EnclaveWorkload>(cluster, now));
        if latest.is_empty() {
            objects.enclaves = cluster.enclaves.values().cloned().collect();
            objects.workloads = cluster.workloads.values().cloned().collect();
            objects.namespaces = cluster.namespaces.values().cloned().collect();
            objects.network_policies = cluster.network_policies.values().cloned().collect();
            return objects;
        }
    }
    panic!("the operator does not come to rest: {latest:#?}");
}

fn declare<K: Stored>(cluster: &mut Server, objects: &[K]) {
    for key in K::shelf(cluster).keys().cloned().collect::<Vec<_>>() {
        cluster.remove::<K>(&key);
    }
    for object in objects {
        cluster.put(object.clone());
    }
}

/// Makes what is planned of a kind, as far as it concerns traffic, and returns it.
fn work_on<K: Controller + Stored>(cluster: &mut Server, now: Timestamp) -> Vec<Write> {
    let mut all = Vec::new();
    for key in K::shelf(cluster).keys().cloned().collect::<Vec<_>>() {
        let Some((object, plan)) = cluster.plan::<K>(&key, now, SignedDuration::MAX) else { continue };
        for write in plan.repairs.into_iter().chain(plan.writes).filter(concerns_traffic) {
            all.push(write.clone());
            // Of those who want one namespace the first has it.
            let may_be_late = matches!(write, Write::CreateNamespace(_));
            let made = cluster.make(object.as_ref(), write, &mut |_| ());
            assert!(made.is_ok() || may_be_late, "a plan writes what cannot be: {:#?}", all.last());
        }
    }
    all
}

/// Proposals and the like are not carried out: what is declared is in the state that is to be judged.
const fn concerns_traffic(write: &Write) -> bool {
    matches!(
        write,
        Write::CreateNamespace(_)
            | Write::ReplaceNamespace(_)
            | Write::DeleteNamespace { .. }
            | Write::Child(_, Child::NetworkPolicy(_))
            | Write::DeleteSelf
            | Write::RemoveFinalizer
    )
}
