//! The operator in memory: it observes and plans as in a cluster, and its writes are made at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use enclave_operator::api::Time;
use enclave_operator::api::names::label;
use enclave_operator::kinds::community::observe::observe_community;
use enclave_operator::kinds::community::plan::plan_community;
use enclave_operator::kinds::enclave::observe::observe_enclave;
use enclave_operator::kinds::enclave::plan::plan_enclave;
use enclave_operator::kinds::workload::observe::observe_workload;
use enclave_operator::kinds::workload::plan::plan_workload;
use enclave_operator::model::approval::policy_status::{Integrity, PolicyStatus};
use enclave_operator::plan::child::{Child, Verb};
use enclave_operator::plan::{Plan, Write};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::reach::Objects;
use super::scene::Moment;

/// What the operator makes of what is declared.
#[derive(Clone, Debug, Default)]
pub struct Made {
    pub namespaces: BTreeMap<String, Namespace>,
    pub policies: BTreeMap<(String, String), NetworkPolicy>,
}

/// No plan takes more rounds than this, each with everything that the one before it wrote.
const MOST_ROUNDS: usize = 12;

impl Made {
    /// Lets the operator work until there is nothing to do.
    pub fn converge(&mut self, declared: &Objects, now: Timestamp) -> Objects {
        let mut objects = declared.clone();
        for namespace in &declared.namespaces {
            self.namespaces.entry(namespace.name_any()).or_insert_with(|| namespace.clone());
        }
        let mut latest = Vec::new();
        for _ in 0..MOST_ROUNDS {
            objects.namespaces = self.namespaces.values().cloned().collect();
            objects.network_policies = self.policies.values().cloned().collect();
            let planned = plan_everything(&objects, now);
            let mut writes = planned.into_iter().filter(|(_, write)| concerns_traffic(write)).peekable();
            if writes.peek().is_none() {
                return objects;
            }
            latest = writes.collect();
            for (uid, write) in &latest {
                self.make(write.clone(), uid, &mut objects);
            }
        }
        panic!("the operator does not come to rest: {latest:#?}");
    }

    fn make(&mut self, write: Write, uid: &str, objects: &mut Objects) {
        match write {
            Write::CreateNamespace(mut namespace) => {
                let name = namespace.name_any();
                namespace.labels_mut().insert(label::NAMESPACE_NAME.to_owned(), name.clone());
                identify(&mut namespace.metadata);
                // Whoever is first has it.
                self.namespaces.entry(name).or_insert(*namespace);
            }
            Write::ReplaceNamespace(namespace) => {
                self.namespaces.insert(namespace.name_any(), *namespace);
            }
            Write::DeleteNamespace { name, .. } => {
                self.namespaces.remove(&name);
                self.policies.retain(|(namespace, _), _| *namespace != name);
            }
            Write::Child(verb, Child::NetworkPolicy(mut policy)) => {
                let key = (policy.namespace().unwrap(), policy.name_any());
                if verb == Verb::Delete {
                    self.policies.remove(&key);
                } else {
                    assert!(self.namespaces.contains_key(&key.0), "there is no namespace {}", key.0);
                    identify(&mut policy.metadata);
                    self.policies.insert(key, *policy);
                }
            }
            Write::DeleteSelf => {
                let workloads = objects.workloads.iter_mut().map(|workload| &mut workload.metadata);
                let enclaves = objects.enclaves.iter_mut().map(|enclave| &mut enclave.metadata);
                let mut both = workloads.chain(enclaves);
                let it = both.find(|metadata| metadata.uid.as_deref() == Some(uid)).unwrap();
                it.deletion_timestamp = Some(Time(Moment::Now.time()).into());
            }
            Write::RemoveFinalizer => {
                objects.workloads.retain(|workload| workload.uid().as_deref() != Some(uid));
                objects.enclaves.retain(|enclave| enclave.uid().as_deref() != Some(uid));
            }
            other => panic!("{other:?} does not concern traffic"),
        }
    }
}

fn identify(metadata: &mut ObjectMeta) {
    let name = metadata.name.clone().unwrap();
    let uid = format!("uid-{}-{name}", metadata.namespace.clone().unwrap_or_default());
    metadata.uid.get_or_insert(uid);
}

/// What is planned, and the UID of the object that it is planned for.
fn plan_everything(objects: &Objects, now: Timestamp) -> Vec<(String, Write)> {
    fn writes_of<K: ResourceExt, S>(
        object: &K,
        plan: Plan<S>,
    ) -> impl Iterator<Item = (String, Write)> + use<K, S> {
        let uid = object.uid().unwrap();
        plan.repairs.into_iter().chain(plan.writes).map(move |write| (uid.clone(), write))
    }
    let caches = objects.caches();
    let policy_status = || PolicyStatus { integrity: Integrity::Intact, witness: "witness".to_owned() };
    let mut writes = Vec::new();
    for community in &objects.communities {
        let observed = observe_community(&caches, Arc::new(community.clone()), policy_status());
        writes.extend(writes_of(community, plan_community(&observed, now)));
    }
    for enclave in &objects.enclaves {
        let observed = observe_enclave(&caches, Arc::new(enclave.clone()), policy_status());
        writes.extend(writes_of(enclave, plan_enclave(&observed, now)));
    }
    for workload in &objects.workloads {
        let observed = observe_workload(&caches, Arc::new(workload.clone()), policy_status());
        writes.extend(writes_of(workload, plan_workload(&observed, now)));
    }
    writes
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
