//! Pods in every namespace.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use enclave_operator::api::names::{label, purpose};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use super::reach::Objects;

/// Pods by their labels; what is generated selects by these.
const KINDS_OF_PODS: [&[(&str, &str)]; 4] = [
    &[("app", "db"), ("tier", "a")],
    &[("app", "db")],
    &[("app", "web"), ("tier", "b")],
    &[("k8s-app", "kube-dns")],
];

/// Pods in all namespaces. No kubelet would run one where none may run; if it were there, it could
/// not be reached. Their addresses are in no block that is generated.
pub fn populate(objects: &mut Objects) {
    let mut address = u32::from(Ipv4Addr::new(10, 244, 0, 1));
    for namespace in &objects.namespaces {
        let belongs_to_us = namespace.labels().contains_key(label::OWNER_UID);
        // The more Pods, the slower the analyser.
        let kinds = match namespace.labels().get(label::PURPOSE).map(String::as_str) {
            Some(purpose::WORKLOAD) if belongs_to_us => &KINDS_OF_PODS[..],
            _ if belongs_to_us => &KINDS_OF_PODS[..1],
            _ if namespace.name_any() == "kube-system" => &KINDS_OF_PODS[2..],
            _ => &KINDS_OF_PODS[1..3],
        };
        for (number, labels) in kinds.iter().enumerate() {
            address += 1;
            let ip = Ipv4Addr::from(address);
            let pod = json!({
                "metadata": {
                    "namespace": namespace.name_any(),
                    "name": format!("pod-{number}"),
                    "labels": labels.iter().copied().collect::<BTreeMap<_, _>>(),
                },
                "spec": {"containers": [{"name": "main", "image": "nothing"}]},
                "status": {"phase": "Running", "hostIP": "192.0.2.1", "podIP": ip, "podIPs": [{"ip": ip}]},
            });
            objects.pods.push(serde_json::from_value::<Pod>(pod).unwrap());
        }
    }
}
