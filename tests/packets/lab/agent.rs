//! The agent that enforces NetworkPolicies on the node, and how to know what it has done.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::error::LabError;
use super::netns::Netns;
use super::wires::NODE_ADDRESS;
use crate::support::policies::{make_namespace, make_policy};
use crate::support::{ControlPlane, PretendedPod, Process, eventually, find_tool};

/// For the agent's own Node, Namespace and Pod.
const NAME: &str = "packet-lab";

/// Usually it takes less than half a second; at its start a few seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// kube-router, as a firewall and nothing else. It ends when dropped.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    settled: AtomicU32,
}

impl Agent {
    /// Starts it on the node, which it knows by a Node object. The marker is the address of a Pod
    /// that only [`Agent::settle`] uses.
    pub async fn start(plane: &ControlPlane, node: &Netns, marker: Ipv4Addr) -> Result<Self, LabError> {
        let client = plane.administrator_user().client();
        make_node_object(client.clone()).await?;
        make_namespace(client.clone(), NAME).await;
        let marker = PretendedPod {
            namespace: NAME,
            name: NAME,
            labels: &[],
            ports: &[],
            address: marker,
            node_address: NODE_ADDRESS,
        };
        marker.create(client).await;

        let kubeconfig = plane.user("kube-router", &["system:masters"]).kubeconfig();
        let mut command = Command::new(find_tool("kube-router")?);
        command
            .args([
                "--run-firewall=true",
                "--run-router=false",
                "--run-service-proxy=false",
                "--health-port=0",
                "--metrics-port=0",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--v=1",
            ])
            .arg(format!("--hostname-override={NAME}"))
            .arg(format!("--kubeconfig={}", kubeconfig.display()));
        let process = node.enter(|| plane.spawn(command, "kube-router"))??;
        Ok(Self { process, settled: AtomicU32::new(0) })
    }

    /// Waits until everything is in force that the API server holds now. For that it makes a
    /// policy for a label which the marker, a Pod of no other use, gets at the same time: events
    /// come in order, so when the agent has joined the two, it has seen every Pod and every policy
    /// that was there before.
    ///
    /// # Panics
    /// If that takes too long or the agent ends, with its last words.
    pub async fn settle(&self, client: Client, node: &Netns) {
        let mark = format!("settle-{}", self.settled.fetch_add(1, Ordering::Relaxed));
        let label = async |value: Option<&str>| {
            let markers: Api<Pod> = Api::namespaced(client.clone(), NAME);
            let patch = Patch::Merge(json!({"metadata": {"labels": {&mark: value}}}));
            markers.patch(NAME, &PatchParams::default(), &patch).await.unwrap();
        };
        label(Some("")).await;
        let spec = json!({"podSelector": {"matchLabels": {&mark: ""}}});
        make_policy(client.clone(), NAME, &mark, spec).await;

        // So kube-router comments the rule that leads from a Pod to a policy.
        let rule = format!("\"run through nw policy {mark}\"");
        eventually("the agent has caught up", LIMIT, async || {
            assert!(self.process.is_running(), "the agent ended: {}", self.last_words());
            match node.run("iptables-save", &["-t", "filter"], "") {
                Ok(rules) => rules.contains(&rule).then_some(()),
                // The rules are read first and the names of their sets afterwards; meanwhile the
                // agent may have put other sets in their place.
                Err(LabError::Failed { message, .. }) if message.contains("in kernel doesn't exist") => None,
                Err(error) => panic!("{error}"),
            }
        })
        .await;

        let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), NAME);
        policies.delete(&mark, &DeleteParams::default()).await.unwrap();
        label(None).await;
    }

    fn last_words(&self) -> String {
        let log = self.process.log();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// No kubelet keeps the Node's lease: the controllers that would mind do not run, see
/// [`ControlPlane`].
async fn make_node_object(client: Client) -> Result<(), LabError> {
    let nodes: Api<Node> = Api::all(client);
    let mut node = Node::default();
    node.metadata.name = Some(NAME.to_owned());
    nodes.create(&PostParams::default(), &node).await?;
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}]}});
    nodes.patch_status(NAME, &PatchParams::default(), &Patch::Merge(&status)).await?;
    Ok(())
}
