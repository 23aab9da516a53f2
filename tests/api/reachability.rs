//! Who reaches whom in a live cluster, seen with Pods that would notice a policy which is too wide or too
//! narrow.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use enclave_operator::api::common::{LabelOperator, LabelSelector, NamespacedPods};
use enclave_operator::api::names::label;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::reach::{Books, Objects, Snapshots, View, compare, disagreements, labels_of};
use crate::support::PretendedPod;
use crate::world::{SOON, World, object};

/// Waits until the network policies of a Community let through exactly what its objects say, and returns
/// how many pairs of peers its connections join. Makes the Pods that this takes.
///
/// The analyser gets the objects that the API server served, and not the cluster: there a Pod of another
/// test without an address would fail it.
pub async fn assert_reachability(world: &World, community: &str) -> usize {
    let client = world.administrator();
    populate(&client, community).await;
    let snapshots = Snapshots::new();
    let mut differences = Vec::new();
    let started = Instant::now();
    while started.elapsed() < SOON {
        let mut objects = observe(&client).await;
        objects.pods.retain(has_address);
        let ours = managed_namespaces(&objects, community);
        let in_scope = |namespace: &str| ours.contains(namespace);
        objects.connections.retain(|connection| connection.namespace().is_some_and(|name| in_scope(&name)));
        let now = Timestamp::now();
        let books = Books::of(&objects, now);
        let found = snapshots.analyse(&objects.namespaces, &objects.pods, &objects.network_policies).unwrap();
        let comparison = compare(&books, &labels_of(&objects.pods), &found, View::Both, in_scope);
        differences = comparison.differences;
        differences.extend(disagreements(&objects, &books, now));
        if differences.is_empty() {
            assert!(comparison.pairs > 0, "{community} has no Pods");
            return comparison.connected;
        }
    }
    panic!("in {community}, after {SOON:?}:\n{}", differences.join("\n"));
}

/// What the cluster holds.
async fn observe(client: &Client) -> Objects {
    Objects {
        communities: list(client).await,
        enclaves: list(client).await,
        workloads: list(client).await,
        endpoints: list(client).await,
        community_endpoints: list(client).await,
        transit_hubs: list(client).await,
        connections: list(client).await,
        namespaces: list(client).await,
        network_policies: list(client).await,
        pods: list(client).await,
    }
}

async fn list<K>(client: &Client) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    Api::all(client.clone()).list(&ListParams::default()).await.unwrap().items
}

fn managed_namespaces(objects: &Objects, community: &str) -> BTreeSet<String> {
    let belongs = |namespace: &&Namespace| {
        let labels = namespace.labels();
        labels.contains_key(label::OWNER_UID)
            && labels.get(label::COMMUNITY).is_some_and(|name| name == community)
    };
    objects.namespaces.iter().filter(belongs).map(ResourceExt::name_any).collect()
}

fn has_address(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(|status| status.pod_ips.as_ref().is_some_and(|ips| !ips.is_empty()))
}

type Labels = BTreeMap<String, String>;

/// Pods that each selector of the Community selects, and Pods that none does: where its workloads run,
/// where its ways out lead, and in a namespace that has nothing to do with it.
async fn populate(client: &Client, community: &str) {
    let objects = observe(client).await;
    let ours = managed_namespaces(&objects, community);
    let is_ours = |namespace: Option<String>| namespace.is_some_and(|name| ours.contains(&name));
    let mut kinds = BTreeSet::from([Labels::new()]);
    for endpoint in objects.endpoints.iter().filter(|endpoint| is_ours(endpoint.namespace())) {
        kinds.insert(selected_by(&endpoint.spec.pod_selector));
    }
    let mut places: BTreeMap<String, BTreeSet<Labels>> = BTreeMap::new();
    let rooms = Books::of(&objects, Timestamp::now()).rooms;
    for room in rooms.into_keys().filter(|room| ours.contains(room)) {
        places.insert(room, kinds.clone());
    }
    places.insert(format!("stranger-to-{community}"), kinds);
    let services = objects.community_endpoints.iter().filter(|endpoint| is_ours(endpoint.namespace()));
    let gateways = objects.transit_hubs.iter().filter(|hub| is_ours(hub.namespace()));
    let services = services.filter_map(|endpoint| endpoint.spec.destination.service.as_ref());
    let outside = services.chain(gateways.filter_map(|hub| hub.spec.gateway.as_ref()));
    for NamespacedPods { namespace, pod_selector } in outside.filter(|pods| !ours.contains(&pods.namespace)) {
        places.entry(namespace.clone()).or_default().extend([Labels::new(), selected_by(pod_selector)]);
    }
    if let Some(community) = objects.communities.iter().find(|one| one.name_any() == community) {
        let dns = &community.spec.dns;
        places.entry(dns.namespace.clone()).or_default().insert(dns.pod_labels.clone());
    }
    for (namespace, kinds) in places {
        make_namespace(client, &namespace).await;
        for labels in kinds {
            make_pod(client, &objects, (&namespace, community), &labels).await;
        }
    }
}

/// Labels of a Pod that a selector selects.
fn selected_by(selector: &LabelSelector) -> Labels {
    let expressions = selector.match_expressions.iter().filter_map(|one| match one.operator {
        LabelOperator::In => Some((one.key.clone(), one.values[0].clone())),
        LabelOperator::Exists => Some((one.key.clone(), "any".to_owned())),
        LabelOperator::NotIn | LabelOperator::DoesNotExist => None,
    });
    selector.match_labels.clone().into_iter().chain(expressions).collect()
}

async fn make_namespace(client: &Client, name: &str) {
    let namespace: Namespace = object(json!({"metadata": {"name": name}}));
    match Api::all(client.clone()).create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        made => drop(made.unwrap()),
    }
}

/// Every Pod has an address of its own, of the network that no block in a story is in.
static ADDRESSES: AtomicU16 = AtomicU16::new(1);

async fn make_pod(client: &Client, objects: &Objects, (namespace, community): (&str, &str), labels: &Labels) {
    let words: Vec<String> = labels.iter().map(|(key, value)| format!("-{key}-{value}")).collect();
    // Some namespaces are shared by the tests that run at the same time.
    let name = format!("probe-of-{community}{}", words.concat()).replace(['.', '/', '_'], "-").to_lowercase();
    let is_it = |pod: &&Pod| pod.name_any() == name && pod.namespace().as_deref() == Some(namespace);
    if objects.pods.iter().any(|pod| is_it(&pod)) {
        return;
    }
    let [high, low] = ADDRESSES.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let labels: Vec<(&str, &str)> =
        labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let pod = PretendedPod {
        namespace,
        name: &name,
        labels: &labels,
        ports: &[],
        address: Ipv4Addr::new(10, 244, high, low),
        node_address: Ipv4Addr::new(192, 0, 2, 1),
    };
    pod.create(client.clone()).await;
}
