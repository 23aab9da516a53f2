//! What `model::network::connectivity` says of the same objects.

use enclave_operator::api::common::LabelSelector;
use enclave_operator::kinds::connection::observe::resolve_connection;
use enclave_operator::model::network::connectivity::{
    Connectivity, Destination, Flow, Peer, Sources, resolve,
};
use jiff::Timestamp;
use kube::ResourceExt;
use std::sync::Arc;

use super::books::{Books, Opening, Side};
use super::objects::Objects;

/// The connections of which the model says something else than the books; in words.
pub fn disagreements(objects: &Objects, books: &Books, now: Timestamp) -> Vec<String> {
    let caches = objects.caches();
    let mut found = Vec::new();
    for connection in &objects.connections {
        let name = format!("{}/{}", connection.namespace().unwrap_or_default(), connection.name_any());
        let connectivity = resolve(&resolve_connection(&caches, Arc::new(connection.clone())), now).unwrap();
        let model = match &connectivity {
            Connectivity::Open { flow, .. } => read(&name, flow),
            Connectivity::Unavailable(_) | Connectivity::Disabled(_) | Connectivity::NotApplied => None,
        };
        let wanted = books.openings.iter().find(|opening| opening.connection == name);
        if model.as_ref() != wanted {
            found.push(format!("{name}: the model says {connectivity:?}; it should be {wanted:?}"));
        }
    }
    found
}

/// DNS names are no matter of network policies.
fn read(connection: &str, flow: &Flow) -> Option<Opening> {
    let Flow { from, to, ports } = flow;
    let room =
        |namespace: &String| Side::Pods { namespace: namespace.clone(), selector: LabelSelector::default() };
    let outside = |peer: &Peer| match peer {
        Peer::Block(block) => Side::Block(block.clone()),
        Peer::Pods(pods) => {
            Side::Pods { namespace: pods.namespace.clone(), selector: pods.pod_selector.clone() }
        }
    };
    Some(Opening {
        connection: connection.to_owned(),
        from: match from {
            Sources::Workloads(rooms) => rooms.iter().map(room).collect(),
            Sources::Outside(peers) => peers.iter().map(outside).collect(),
        },
        to: match to {
            Destination::Workload(pods) => vec![outside(&Peer::Pods(pods.clone()))],
            Destination::Outside(peers) => peers.iter().map(outside).collect(),
            Destination::Names { .. } => return None,
        },
        ports: ports.clone(),
    })
}
