//! Pods that nobody runs: what is judged by their labels, ports and addresses needs no kubelet.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::wait::eventually;

/// The controller manager makes a namespace's account in less.
const ACCOUNT_LIMIT: Duration = Duration::from_secs(30);

/// A Pod as a kubelet would report it.
#[derive(Debug, Clone)]
pub struct PretendedPod<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub labels: &'a [(&'a str, &'a str)],
    /// Names and numbers of TCP ports.
    pub ports: &'a [(&'a str, u16)],
    pub address: Ipv4Addr,
    pub node_address: Ipv4Addr,
}

impl PretendedPod<'_> {
    /// Makes the Pod, running and with its address. The namespace must exist. The Pod satisfies
    /// the pod security standard `restricted`, and states what it needs, for quotas. It is bound
    /// to no node, so that it goes at once when it is deleted.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn create(&self, client: Client) -> Pod {
        let Self { namespace, name, labels, ports, address, node_address } = *self;
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let ports: Vec<_> =
            ports.iter().map(|(name, number)| json!({"name": name, "containerPort": number})).collect();
        let needs = json!({"cpu": "1m", "memory": "1Mi"});
        let pod = json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "main",
                    "image": "nothing",
                    "ports": ports,
                    "resources": {"requests": needs, "limits": needs},
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                    },
                }],
            },
        });
        let pod: Pod = serde_json::from_value(pod).expect("the JSON above is a Pod");
        let status = json!({"status": {
            "phase": "Running",
            "hostIP": node_address, "hostIPs": [{"ip": node_address}],
            "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});

        let pods: Api<Pod> = Api::namespaced(client, namespace);
        // A new namespace has no service account for an instant.
        eventually(&format!("the Pod {namespace}/{name} is admitted"), ACCOUNT_LIMIT, async || {
            match pods.create(&PostParams::default(), &pod).await {
                Ok(_) => Some(()),
                Err(kube::Error::Api(status)) if status.message.contains("service account") => None,
                Err(error) => panic!("failed to make the Pod {namespace}/{name}: {error}"),
            }
        })
        .await;
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
            .await
            .unwrap_or_else(|error| panic!("failed to run the Pod {namespace}/{name}: {error}"))
    }
}
