//! Random scenes.

use std::collections::BTreeMap;

use enclave_operator::api::common::{
    IpBlock, LabelOperator, LabelRequirement, LabelSelector, NamespacedPods, Port, Protocol,
};
use enclave_operator::api::community::Dns;
use enclave_operator::api::community_endpoint::{CommunityDestination, TransitHubRef};
use enclave_operator::api::enclave::WorkloadCommunication;
use enclave_operator::api::{CommunityEndpointSpec, EnclaveEndpointSpec, TransitHubSpec};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::scene::{
    Bound, CommunityScene, ConnectionScene, Drift, EnclaveScene, From, Life, Scene, Thing, To, WORKLOADS,
    WorkloadScene,
};

/// One Community, and sometimes a second one. Its names may be those of the first, or be in their way.
pub fn scene() -> impl Strategy<Value = Scene> {
    let second = prop_oneof![2 => Just("d"), 1 => Just("c-a")];
    let second = prop_oneof![3 => Just(None), 1 => second.prop_flat_map(community).prop_map(Some)];
    let drift = prop_oneof![
        (0..1000_usize).prop_map(Drift::Delete),
        (0..1000_usize).prop_map(Drift::Open),
        (0..1000_usize).prop_map(Drift::Leave),
    ];
    (community("c"), second, vec(drift, 0..3)).prop_map(|(first, second, drift)| Scene {
        communities: std::iter::once(first).chain(second).collect(),
        drift,
    })
}

fn community(name: &'static str) -> impl Strategy<Value = CommunityScene> {
    let namespace = prop_oneof![4 => Just(None), 1 => Just(Some("hub"))];
    let life = prop_oneof![2 => Just(Life::Applied), 1 => Just(Life::Edited)];
    let inside = (enclaves(), vec(thing(hub()), 1..3), vec(thing(outside()), 2..3));
    let connections = vec(connection(prop_oneof![8 => hubs(), 1 => workloads()]), 0..3);
    (namespace, life, (dns(), dns()), inside, connections).prop_map(
        move |(namespace, life, dns, (enclaves, hubs, endpoints), connections)| CommunityScene {
            name,
            namespace: namespace.filter(|_| name == "c"),
            life,
            dns,
            enclaves,
            hubs,
            endpoints,
            connections,
        },
    )
}

/// Mostly more than one: most connections lead to another.
fn enclaves() -> impl Strategy<Value = Vec<EnclaveScene>> {
    prop_oneof![1 => vec(enclave(), 1), 3 => vec(enclave(), 2), 2 => vec(enclave(), 3)]
}

fn enclave() -> impl Strategy<Value = EnclaveScene> {
    let life = prop_oneof![
        16 => Just(Life::Applied),
        4 => Just(Life::Edited),
        1 => Just(Life::Held),
        1 => Just(Life::Leaving),
        1 => Just(Life::Retired),
    ];
    let workload = (life_of_things(), prop::bool::weighted(0.04))
        .prop_map(|(life, is_taken)| WorkloadScene { life, is_taken });
    let connections = vec(connection(prop_oneof![15 => workloads(), 1 => hubs()]), 0..4);
    (life, (communication(), communication()), vec(workload, 1..4), vec(thing(endpoint()), 1..3), connections)
        .prop_map(|(life, communication, workloads, endpoints, connections)| EnclaveScene {
            life,
            communication,
            workloads,
            endpoints,
            connections,
        })
}

fn communication() -> impl Strategy<Value = WorkloadCommunication> {
    prop_oneof![2 => Just(WorkloadCommunication::Isolated), 1 => Just(WorkloadCommunication::Allowed)]
}

fn life_of_things() -> impl Strategy<Value = Life> {
    prop_oneof![
        20 => Just(Life::Applied),
        5 => Just(Life::Edited),
        1 => Just(Life::Held),
        1 => Just(Life::Leaving),
        1 => Just(Life::Retired),
        1 => Just(Life::Absent),
    ]
}

fn thing<S: Clone + std::fmt::Debug>(spec: impl Strategy<Value = S>) -> impl Strategy<Value = Thing<S>> {
    (life_of_things(), vec(spec, 2)).prop_map(|(life, mut specs)| {
        let (wanted, applied) = (specs.pop().unwrap(), specs.pop().unwrap());
        Thing { life, applied, wanted }
    })
}

fn hubs() -> impl Strategy<Value = From> {
    prop::sample::select(vec![0, 0, 0, 1]).prop_map(From::Hub)
}

fn workloads() -> impl Strategy<Value = From> {
    let some = vec![vec![0], vec![0], vec![0], vec![0, 1], vec![0, 1], vec![0, 2], vec![1, 2], vec![2]];
    prop::sample::select(some).prop_map(From::Workloads)
}

fn connection(from: impl Strategy<Value = From>) -> impl Strategy<Value = ConnectionScene> {
    let life = prop_oneof![
        14 => Just(Life::Applied),
        4 => Just(Life::Edited),
        1 => Just(Life::Held),
        1 => Just(Life::Leaving),
    ];
    // What is asked for first is there more often than not.
    let (enclave, endpoint) =
        (prop::sample::select(vec![0, 0, 0, 1, 1, 1, 2]), prop::sample::select(vec![0, 0, 0, 1]));
    let to = prop_oneof![
        3 => (enclave, endpoint.clone()).prop_map(|(enclave, endpoint)| To::Enclave(enclave, endpoint)),
        2 => endpoint.prop_map(To::Community),
    ];
    let enabled = (prop::bool::weighted(0.96), prop::bool::weighted(0.85));
    let end = prop_oneof![
        8 => Just(None),
        1 => prop::sample::select(vec![Some(-30_i64), Some(-2), Some(2), Some(30)]),
    ];
    let bound =
        prop_oneof![12 => Just(Bound::Same), 1 => Just(Bound::AnotherEndpoint), 1 => Just(Bound::OtherHubs)];
    (life, from, to, enabled, (end.clone(), end), prop::bool::weighted(0.3), bound).prop_map(
        |(life, from, to, enabled, ends, lasts, bound)| ConnectionScene {
            life,
            // What comes from a hub leads to an Enclave, or the API server refuses it.
            to: match (&from, to) {
                (From::Hub(_), To::Community(endpoint)) => To::Enclave(0, endpoint),
                (_, to) => to,
            },
            from,
            enabled,
            // A duration that is only wanted says nothing yet.
            ends: if lasts { (ends.0, ends.0) } else { ends },
            lasts,
            bound,
        },
    )
}

fn endpoint() -> impl Strategy<Value = EnclaveEndpointSpec> {
    (prop::sample::select(vec![0, 0, 0, 0, 1, 2]), selector(), ports()).prop_map(
        |(workload, selector, ports)| {
            let spec = json!({"workload": WORKLOADS[workload], "podSelector": selector, "ports": ports});
            serde_json::from_value(spec).unwrap()
        },
    )
}

fn outside() -> impl Strategy<Value = CommunityEndpointSpec> {
    let nowhere = CommunityDestination::default;
    let destination = prop_oneof![
        4 => vec(block(), 1..3).prop_map(move |cidrs| CommunityDestination { cidrs, ..nowhere() }),
        4 => pods_outside().prop_map(move |pods| CommunityDestination { service: Some(pods), ..nowhere() }),
        3 => prop::sample::select(vec!["one", "one", "two"]).prop_map(move |hub| {
            let name = hub.to_owned();
            CommunityDestination { transit_hub: Some(TransitHubRef { name }), ..nowhere() }
        }),
        1 => Just(CommunityDestination { fqdns: vec!["api.example.com".into()], ..nowhere() }),
    ];
    (destination, ports()).prop_map(|(destination, ports)| CommunityEndpointSpec {
        description: None,
        destination,
        ports,
        retire: false,
        change: None,
        unreadable: None,
    })
}

fn hub() -> impl Strategy<Value = TransitHubSpec> {
    let gateway = prop_oneof![Just(None), pods_outside().prop_map(Some)];
    (vec(block(), 0..3), block(), gateway).prop_map(|(cidrs, block, gateway)| TransitHubSpec {
        // One of the two has to be there.
        cidrs: if cidrs.is_empty() && gateway.is_none() { vec![block] } else { cidrs },
        gateway,
        ..TransitHubSpec::default()
    })
}

/// Mostly they are outside.
fn pods_outside() -> impl Strategy<Value = NamespacedPods> {
    let namespace = prop_oneof![
        5 => prop::sample::select(vec!["shop", "vpn", "kube-system"]),
        1 => prop::sample::select(vec!["c-a-w", "c-b-w", "c-a", "nowhere"]),
    ];
    (namespace, selector()).prop_map(|(namespace, pod_selector)| NamespacedPods {
        namespace: namespace.to_owned(),
        pod_selector,
    })
}

fn dns() -> impl Strategy<Value = Dns> {
    let labels = BTreeMap::from([("app".to_owned(), "db".to_owned())]);
    let elsewhere =
        |namespace: &str| Dns { namespace: namespace.to_owned(), pod_labels: labels.clone(), port: 5353 };
    prop_oneof![8 => Just(Dns::default()), 3 => Just(elsewhere("shop")), 1 => Just(elsewhere("c-b-w"))]
}

fn selector() -> impl Strategy<Value = LabelSelector> {
    let labels = prop_oneof![
        2 => Just(BTreeMap::new()),
        2 => prop::sample::select(vec!["db", "web", "none"])
            .prop_map(|app| BTreeMap::from([("app".to_owned(), app.to_owned())])),
    ];
    let requirement = prop::sample::select(vec![
        (LabelOperator::In, vec!["a"]),
        (LabelOperator::In, vec!["a", "b"]),
        (LabelOperator::NotIn, vec!["a"]),
        (LabelOperator::NotIn, vec!["a", "b"]),
        (LabelOperator::Exists, vec![]),
        (LabelOperator::DoesNotExist, vec![]),
    ]);
    let requirement = requirement.prop_map(|(operator, values)| LabelRequirement {
        key: "tier".to_owned(),
        operator,
        values: values.into_iter().map(ToOwned::to_owned).collect(),
    });
    let expressions = prop_oneof![2 => Just(Vec::new()), 1 => vec(requirement, 1..3)];
    (labels, expressions)
        .prop_map(|(match_labels, match_expressions)| LabelSelector { match_labels, match_expressions })
}

/// Of few ports, so that they meet.
fn ports() -> impl Strategy<Value = Vec<Port>> {
    let protocol = prop::sample::select(vec![Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let range = prop::sample::select(vec![
        (53, None),
        (79, None),
        (80, None),
        (80, Some(80)),
        (80, Some(90)),
        (85, Some(5432)),
        (5432, None),
        (1, Some(65535)),
        (65535, None),
    ]);
    let port = (protocol, range).prop_map(|(protocol, (port, end_port))| Port { protocol, port, end_port });
    vec(port, 1..4)
}

/// Of few blocks, so that they meet; never one that a Pod's address is in.
fn block() -> impl Strategy<Value = IpBlock> {
    let blocks: [(&str, &[&str]); 7] = [
        ("198.51.100.0/24", &[]),
        ("198.51.100.0/24", &["198.51.100.128/25", "198.51.100.7/32"]),
        ("198.51.100.64/26", &[]),
        ("203.0.113.7/32", &[]),
        ("10.20.0.0/16", &["10.20.30.0/24"]),
        ("0.0.0.0/0", &["10.0.0.0/8", "172.16.0.0/12"]),
        ("240.0.0.0/4", &["255.255.255.255/32"]),
    ];
    prop::sample::select(blocks.to_vec()).prop_map(|(cidr, except)| IpBlock {
        cidr: cidr.to_owned(),
        except: except.iter().map(|one| (*one).to_owned()).collect(),
    })
}
