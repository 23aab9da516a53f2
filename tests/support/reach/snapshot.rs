//! Lets the analyser judge objects as they are in memory.

use std::{fs, iter};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec,
};
use kube::ResourceExt;
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::compare::PodLabels;
use crate::{Analyser, Reachability};

/// The analyser, with a folder for it to read.
pub struct Snapshots {
    folder: TempDir,
    analyser: Analyser,
}

impl Snapshots {
    /// # Panics
    /// If the analyser was not built.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let analyser = Analyser::of_folder(folder.path()).unwrap_or_else(|error| panic!("{error}"));
        Self { folder, analyser }
    }

    /// What these policies let through between these Pods, each of which needs an address.
    ///
    /// The analyser is given every port of a rule as a policy of its own (see [`a_port_each`]).
    ///
    /// # Errors
    /// If the analyser fails, with what it says.
    pub fn analyse(
        &self,
        namespaces: &[Namespace],
        pods: &[Pod],
        policies: &[NetworkPolicy],
    ) -> Result<Reachability, String> {
        fn values<K: Serialize>(objects: &[K]) -> impl Iterator<Item = Value> {
            objects.iter().map(|object| serde_json::to_value(object).unwrap())
        }
        let policies: Vec<NetworkPolicy> = policies.iter().flat_map(a_port_each).collect();
        let items: Vec<Value> = values(namespaces).chain(values(pods)).chain(values(&policies)).collect();
        // Not YAML: the analyser speaks a dialect in which some names are booleans.
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        fs::write(self.folder.path().join("cluster.json"), list.to_string()).unwrap();
        self.analyser.list()
    }
}

/// Policies that let through what this one does, with at most one range of ports each: rules, and
/// policies of the same Pods, add up.
///
/// The analyser (v1.4.4) is wrong about sums of rules with several ports. The gap between two ports of
/// one rule is lost if it overlaps what two neighbouring ranges of another leave closed, and what
/// surrounds it becomes one open range: 80-90 and {80, 65535} are 80-65535 then. Whether that happens
/// depends on the order in which it goes through a map. (`AugmentedCanonicalSet::AddAugmentedInterval`
/// leaves out the right half of what spans exactly two intervals.)
fn a_port_each(policy: &NetworkPolicy) -> Vec<NetworkPolicy> {
    let Some(spec) = &policy.spec else { return vec![policy.clone()] };
    let alone = |part: usize, spec: NetworkPolicySpec| {
        let mut policy = policy.clone();
        policy.metadata.name = Some(format!("{}.{part}", policy.name_any()));
        policy.spec = Some(spec);
        policy
    };
    let none = NetworkPolicySpec { ingress: None, egress: None, ..spec.clone() };
    let ingress = spec.ingress.iter().flatten().flat_map(|rule| {
        let none = none.clone();
        one_each(rule.ports.as_deref()).into_iter().map(move |ports| {
            let rule = NetworkPolicyIngressRule { ports, ..rule.clone() };
            NetworkPolicySpec { ingress: Some(vec![rule]), ..none.clone() }
        })
    });
    let egress = spec.egress.iter().flatten().flat_map(|rule| {
        let none = none.clone();
        one_each(rule.ports.as_deref()).into_iter().map(move |ports| {
            let rule = NetworkPolicyEgressRule { ports, ..rule.clone() };
            NetworkPolicySpec { egress: Some(vec![rule]), ..none.clone() }
        })
    });
    // The first opens nothing: it closes what the others do not open.
    let parts = iter::once(none.clone()).chain(ingress).chain(egress).enumerate();
    parts.map(|(part, spec)| alone(part, spec)).collect()
}

/// No ports means all ports, and stays that.
fn one_each(ports: Option<&[NetworkPolicyPort]>) -> Vec<Option<Vec<NetworkPolicyPort>>> {
    match ports {
        Some(ports) if !ports.is_empty() => ports.iter().map(|port| Some(vec![port.clone()])).collect(),
        _ => vec![None],
    }
}

pub fn labels_of(pods: &[Pod]) -> Vec<PodLabels> {
    let read = |pod: &Pod| PodLabels {
        namespace: pod.namespace().unwrap(),
        name: pod.name_any(),
        labels: pod.labels().clone(),
    };
    pods.iter().map(read).collect()
}
