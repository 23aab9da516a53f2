//! Lets the analyser judge objects as they are in memory.

use std::fs;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::compare::PodLabels;
use crate::support::{Analyser, Reachability};

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
        let items: Vec<Value> = values(namespaces).chain(values(pods)).chain(values(policies)).collect();
        // Not YAML: the analyser speaks a dialect in which some names are booleans.
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        fs::write(self.folder.path().join("cluster.json"), list.to_string()).unwrap();
        self.analyser.list()
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
