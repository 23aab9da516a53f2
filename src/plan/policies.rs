//! The network policies of a workload's namespace, built from what may pass.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use serde_json::{Map, Value, json};

use super::metadata::child_metadata;
use crate::api::CiliumNetworkPolicy;
use crate::api::cilium::CiliumNetworkPolicySpec;
use crate::api::common::{IpBlock, NamespacedPods, Port, Protocol};
use crate::api::community::Dns;
use crate::api::names::{child, label};
use crate::model::naming::connection_policy;
use crate::model::network::connectivity::{Destination, Flow, Peer, Sources};

/// Lets the pods of a namespace ask the DNS pods, and nothing else.
#[must_use]
pub fn build_dns(namespace: &str, dns: &Dns) -> NetworkPolicy {
    let Dns { namespace: dns_namespace, pod_labels, port } = dns;
    let ports = [Protocol::Udp, Protocol::Tcp].map(|protocol| Port { protocol, port: *port, end_port: None });
    let peer = NetworkPolicyPeer {
        namespace_selector: Some(select_namespaces(std::slice::from_ref(dns_namespace))),
        pod_selector: Some(LabelSelector { match_labels: Some(pod_labels.clone()), match_expressions: None }),
        ip_block: None,
    };
    build(namespace, child::DNS, LabelSelector::default(), None, Some((vec![peer], &ports)))
}

/// Lets the pods of a namespace reach those of these namespaces, and be reached by them: its own, and
/// those of the Enclave's other workloads where that is allowed.
#[must_use]
pub fn build_intra_enclave(namespace: &str, enclave_namespaces: &[String]) -> NetworkPolicy {
    let peers = || {
        vec![NetworkPolicyPeer {
            namespace_selector: Some(select_namespaces(enclave_namespaces)),
            ..NetworkPolicyPeer::default()
        }]
    };
    build(
        namespace,
        child::INTRA_ENCLAVE,
        LabelSelector::default(),
        Some((peers(), &[])),
        Some((peers(), &[])),
    )
}

/// The policies that a connection needs in this namespace: egress when it is a source, ingress when it
/// is the destination. None without a peer: an empty list of them would mean everybody, or is refused.
#[must_use]
pub fn build_connection(
    namespace: &str,
    (declared_in, name): (&str, &str),
    flow: &Flow,
) -> Vec<NetworkPolicy> {
    let mut policies = Vec::new();
    if let Sources::Workloads(sources) = &flow.from
        && sources.iter().any(|source| source == namespace)
    {
        let peers: Option<Vec<_>> = match &flow.to {
            Destination::Workload(pods) => Some(vec![select_pods(pods)]),
            Destination::Outside(peers) => Some(peers.iter().map(select).collect()),
            Destination::Names { .. } => None,
        };
        policies.extend(peers.filter(|peers| !peers.is_empty()).map(|peers| {
            let policy = connection_policy(declared_in, name, "egress");
            build(namespace, &policy, LabelSelector::default(), None, Some((peers, &flow.ports)))
        }));
    }
    if let Destination::Workload(pods) = &flow.to
        && pods.namespace == namespace
    {
        let peers = match &flow.from {
            Sources::Workloads(sources) if sources.is_empty() => Vec::new(),
            Sources::Workloads(sources) => vec![NetworkPolicyPeer {
                namespace_selector: Some(select_namespaces(sources)),
                ..NetworkPolicyPeer::default()
            }],
            Sources::Outside(peers) => peers.iter().map(select).collect(),
        };
        let policy = connection_policy(declared_in, name, "ingress");
        let selected = (&pods.pod_selector).into();
        let rule = (!peers.is_empty()).then_some((peers, flow.ports.as_slice()));
        policies.extend(rule.map(|rule| build(namespace, &policy, selected, Some(rule), None)));
    }
    policies
}

/// Cilium's policy that a connection to DNS names needs in this namespace. It learns the addresses from
/// DNS answers that pass its proxy, hence the rule for DNS. (docs.cilium.io, "DNS based" policies.)
#[must_use]
pub fn build_names(
    namespace: &str,
    (declared_in, name): (&str, &str),
    flow: &Flow,
) -> Option<CiliumNetworkPolicy> {
    let (Sources::Workloads(sources), Destination::Names { names, dns }) = (&flow.from, &flow.to) else {
        return None;
    };
    sources.iter().find(|source| *source == namespace)?;
    let names: Vec<Value> = names
        .iter()
        .map(
            |name| {
                if name.contains('*') { json!({"matchPattern": name}) } else { json!({"matchName": name}) }
            },
        )
        .collect();
    let ports: Vec<Value> = flow
        .ports
        .iter()
        .map(|Port { protocol, port, end_port }| {
            let (port, protocol) = (port.to_string(), protocol.to_string());
            match end_port {
                Some(end) => json!({"port": port, "endPort": end, "protocol": protocol}),
                None => json!({"port": port, "protocol": protocol}),
            }
        })
        .collect();
    let Dns { namespace: dns_namespace, pod_labels, port } = dns;
    let mut dns_pods: Map<String, Value> =
        pod_labels.iter().map(|(key, value)| (format!("k8s:{key}"), json!(value))).collect();
    dns_pods.insert("k8s:io.kubernetes.pod.namespace".into(), json!(dns_namespace));
    let rules = json!({
        "endpointSelector": {},
        "egress": [
            {"toFQDNs": names, "toPorts": [{"ports": ports}]},
            {
                "toEndpoints": [{"matchLabels": dns_pods}],
                "toPorts": [{
                    "ports": [{"port": port.to_string(), "protocol": "ANY"}],
                    "rules": {"dns": [{"matchPattern": "*"}]},
                }],
            },
        ],
    });
    let Value::Object(rules) = rules else { return None };
    Some(CiliumNetworkPolicy {
        metadata: child_metadata(namespace, &connection_policy(declared_in, name, "egress")),
        spec: CiliumNetworkPolicySpec { rules },
    })
}

type Rule<'a> = Option<(Vec<NetworkPolicyPeer>, &'a [Port])>;

/// Rules are never written without a peer: an empty list of peers would mean everybody.
fn build(namespace: &str, name: &str, pods: LabelSelector, from: Rule<'_>, to: Rule<'_>) -> NetworkPolicy {
    let ports =
        |ports: &[Port]| (!ports.is_empty()).then(|| ports.iter().map(build_port).collect::<Vec<_>>());
    let types = [("Ingress", from.is_some()), ("Egress", to.is_some())];
    NetworkPolicy {
        metadata: child_metadata(namespace, name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods),
            ingress: from.filter(|(peers, _)| !peers.is_empty()).map(|(peers, allowed)| {
                vec![NetworkPolicyIngressRule { from: Some(peers), ports: ports(allowed) }]
            }),
            egress: to.filter(|(peers, _)| !peers.is_empty()).map(|(peers, allowed)| {
                vec![NetworkPolicyEgressRule { to: Some(peers), ports: ports(allowed) }]
            }),
            policy_types: Some(
                types
                    .into_iter()
                    .filter(|(_, is_meant)| *is_meant)
                    .map(|(name, _)| name.to_owned())
                    .collect(),
            ),
        }),
    }
}

fn build_port(port: &Port) -> NetworkPolicyPort {
    let Port { protocol, port, end_port } = port;
    NetworkPolicyPort {
        protocol: Some(protocol.to_string()),
        port: Some(IntOrString::Int(*port)),
        end_port: *end_port,
    }
}

fn select(peer: &Peer) -> NetworkPolicyPeer {
    match peer {
        Peer::Block(IpBlock { cidr, except }) => NetworkPolicyPeer {
            ip_block: Some(IPBlock {
                cidr: cidr.clone(),
                except: (!except.is_empty()).then(|| except.clone()),
            }),
            ..NetworkPolicyPeer::default()
        },
        Peer::Pods(pods) => select_pods(pods),
    }
}

fn select_pods(pods: &NamespacedPods) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(select_namespaces(std::slice::from_ref(&pods.namespace))),
        pod_selector: Some((&pods.pod_selector).into()),
        ip_block: None,
    }
}

/// Namespaces by the label that Kubernetes itself keeps, which nobody can forge.
fn select_namespaces(names: &[String]) -> LabelSelector {
    match names {
        [name] => LabelSelector {
            match_labels: Some(BTreeMap::from([(label::NAMESPACE_NAME.to_owned(), name.clone())])),
            match_expressions: None,
        },
        names => LabelSelector {
            match_labels: None,
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: label::NAMESPACE_NAME.to_owned(),
                operator: "In".to_owned(),
                values: Some(names.to_vec()),
            }]),
        },
    }
}
