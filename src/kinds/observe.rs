//! Gathers what a plan needs, from caches only.

use std::sync::Arc;

use kube::ResourceExt;

use super::caches::Caches;
use super::enqueue::Guard;
use super::foreign::is_managed;
use super::index::{ConnectionBy, EnclaveBy, NamespaceBy, PolicyBy, RbacBy, RequestBy, pair};
use super::leftovers::{of_community, of_enclave};
use super::links::{find_enclave, link_of, links_of_policies, links_of_workload, namespace_of_workload};
use crate::api::approval_request::{RequestState, Target};
use crate::api::enclave_workload::AccessMode;
use crate::api::gate::Reference;
use crate::api::names::{child, label, purpose};
use crate::api::{
    ActivationState, ApprovalRequest, Community, Enclave, EnclaveConnection, EnclaveWorkload, Kind,
    RoleActivation,
};
use crate::cluster::cache::{Cache, Indexed};
use crate::model::approval::gated::Gated;
use crate::model::approval::life::{applied_spec, as_if_applied, view_applied};
use crate::model::approval::request::TargetView;
use crate::model::naming::{approval_request, enclave_namespace, namespace_of, workload_namespace};
use crate::model::network::reach::{Link, find_references};
use crate::plan::community::ObservedCommunity;
use crate::plan::connection::{MOST_CONNECTIONS, ObservedConnection};
use crate::plan::declared::{Declared, Home};
use crate::plan::enclave::{Children, ObservedEnclave};
use crate::plan::endpoint::ObservedEndpoint;
use crate::plan::place::{ObservedPlace, is_owned};
use crate::plan::workload::ObservedWorkload;

/// Control namespace that an Enclave owns, or wants to.
#[must_use]
pub fn control_namespace_of(community: &Community, enclave: &Enclave) -> String {
    enclave_namespace(&community.name_any(), &enclave.name_any())
}

/// What a namespace belongs to. Its labels say where to look, and the UID on it whether what is found
/// there is what it was made for.
#[must_use]
pub fn home_of(caches: &Caches, namespace: &str) -> Home {
    find_home(caches, namespace).unwrap_or(Home::Nowhere)
}

fn find_home(caches: &Caches, namespace: &str) -> Option<Home> {
    let namespace = caches.namespaces.get("", namespace)?;
    let labels = namespace.labels();
    let community = caches.communities.get("", labels.get(label::COMMUNITY)?)?;
    match labels.get(label::PURPOSE).map(String::as_str) {
        Some(purpose::COMMUNITY) => {
            is_owned(&namespace, &community.uid()?).then_some(Home::Community(community))
        }
        Some(purpose::CONTROL) => {
            let enclave = caches.enclaves.get(&namespace_of(&community), labels.get(label::ENCLAVE)?)?;
            is_owned(&namespace, &enclave.uid()?).then_some(Home::Enclave(community, enclave))
        }
        _ => None,
    }
}

/// Gathers what is known of a Community.
#[must_use]
pub fn observe_community(caches: &Caches, community: Arc<Community>, guard: Guard) -> ObservedCommunity {
    let namespace = namespace_of(&community);
    let owns = owns_namespace(caches, &community, &namespace);
    ObservedCommunity {
        place: observe_place(caches, &namespace, Bindings::OfThePlace),
        of_others: of_community(caches, &community),
        enclaves: if owns { caches.enclaves.count(EnclaveBy::CountedIn, &namespace) } else { 0 },
        declared: observe_declared(caches, community, guard),
    }
}

/// Gathers what is known of an Enclave.
#[must_use]
pub fn observe_enclave(caches: &Caches, enclave: Arc<Enclave>, guard: Guard) -> ObservedEnclave {
    let declared = observe_declared(caches, enclave, guard);
    let place = match &declared.home {
        Home::Community(community) => {
            observe_place(caches, &control_namespace_of(community, &declared.object), Bindings::OfThePlace)
        }
        Home::Nowhere | Home::Enclave(..) => observe_place_owned_by(caches, declared.object.as_ref()),
    };
    // They matter to one that is on its way out.
    let applied = declared.object.gate().and_then(|gate| gate.applied.as_ref());
    let is_leaving = declared.object.metadata.deletion_timestamp.is_some()
        || applied.is_some_and(|applied| applied.spec.retires());
    let inside = place.namespace.as_deref().filter(|_| is_leaving).map(ResourceExt::name_any);
    let children = inside.map(|namespace| Children {
        workloads: count_in(&caches.workloads, &namespace),
        endpoints: count_in(&caches.endpoints, &namespace),
        connections: count_in(&caches.connections, &namespace),
    });
    let community = declared.home.community();
    let around =
        community.map(|community| Home::Enclave(Arc::clone(community), Arc::clone(&declared.object)));
    let control = place.namespace.as_deref().map(ResourceExt::name_any);
    let workloads =
        around.zip(control).map(|(around, control)| namespaces_of_workloads(caches, &around, &control));
    let of_others = community.map(|community| of_enclave(caches, community, &declared.object));
    ObservedEnclave {
        of_others: of_others.unwrap_or_default(),
        workloads: workloads.unwrap_or_default(),
        children: children.unwrap_or_default(),
        declared,
        place,
    }
}

/// Gathers what is known of an endpoint or a hub; `links` finds the connections to it, of which there
/// may be a thousand, and `put_into` says how one would be with it changed.
#[must_use]
pub fn observe_endpoint<K: Gated + Clone>(
    caches: &Caches,
    endpoint: Arc<K>,
    guard: Guard,
    links: impl FnOnce(&Caches, &K) -> Vec<Link>,
    put_into: impl Fn(&Caches, Link, &Arc<K>) -> Link,
) -> ObservedEndpoint<K> {
    // They matter to a deletion, and to those who decide about a change.
    let applied = endpoint.gate().and_then(|gate| gate.applied.as_ref());
    let is_settled = endpoint.meta().deletion_timestamp.is_none()
        && applied.is_some_and(|applied| {
            !applied.spec.retires() && Some(applied.generation) == endpoint.meta().generation
        });
    let links = if is_settled { Vec::new() } else { links(caches, &endpoint) };
    let imagined = as_if_applied(endpoint.as_ref(), &[]).map(Arc::new);
    let imagined =
        imagined.map(|imagined| links.iter().map(|link| put_into(caches, link.clone(), &imagined)).collect());
    ObservedEndpoint {
        links,
        imagined: imagined.unwrap_or_default(),
        declared: observe_declared(caches, endpoint, guard),
    }
}

/// Gathers what is known of a workload.
#[must_use]
pub fn observe_workload(caches: &Caches, workload: Arc<EnclaveWorkload>, guard: Guard) -> ObservedWorkload {
    let mut links = links_of_workload(caches, &workload);
    let declared = observe_declared(caches, workload, guard);
    let place = match &declared.home {
        Home::Enclave(community, enclave) => observe_place(
            caches,
            &workload_namespace(&community.name_any(), &enclave.name_any(), &declared.object.name_any()),
            if is_isolated(&declared.object) { Bindings::All } else { Bindings::OfThePlace },
        ),
        Home::Nowhere | Home::Community(_) => observe_place_owned_by(caches, declared.object.as_ref()),
    };
    links.extend(links_of_policies(caches, &declared.home, &place, &links));
    let control = declared.object.namespace().unwrap_or_default();
    let together = namespaces_of_workloads(caches, &declared.home, &control);
    ObservedWorkload { declared, place, together, links }
}

/// Namespaces of all workloads of an Enclave that exist, in order.
fn namespaces_of_workloads(caches: &Caches, home: &Home, control: &str) -> Vec<String> {
    let workloads = caches.workloads.in_namespace(control);
    let mut namespaces: Vec<String> =
        workloads.iter().filter_map(|workload| namespace_of_workload(caches, home, workload)).collect();
    namespaces.sort();
    namespaces
}

/// Gathers what is known of a connection.
#[must_use]
pub fn observe_connection(
    caches: &Caches,
    connection: Arc<EnclaveConnection>,
    guard: Guard,
) -> ObservedConnection {
    let (policies, cilium_policies) = (
        policies_of_connection(caches, &caches.network_policies, &connection),
        policies_of_connection(caches, &caches.cilium_policies, &connection),
    );
    let link = link_of(caches, Arc::clone(&connection));
    let reference = connection.spec.destination.enclave_endpoint.clone();
    let declared = observe_declared(caches, connection, guard);
    let destination = declared
        .home
        .community()
        .zip(reference)
        .and_then(|(community, reference)| find_enclave(caches, community, &reference.enclave));
    let siblings = count_siblings(caches, &declared.object);
    ObservedConnection { declared, link, destination, policies, cilium_policies, siblings }
}

/// How many other connections in its namespace are in force, and how many wait that were there before it.
/// Only one that is not in force yet asks.
fn count_siblings(caches: &Caches, connection: &EnclaveConnection) -> usize {
    if connection.gate().is_some_and(|gate| gate.applied.is_some()) {
        return 0;
    }
    let namespace = connection.metadata.namespace.as_deref().unwrap_or_default();
    let in_force = caches.connections.count(ConnectionBy::InForceIn, namespace);
    if in_force >= MOST_CONNECTIONS {
        // Those that only wait to be told are nobody's siblings any more.
        let in_force = caches.connections.by(ConnectionBy::InForceIn, namespace);
        return in_force.iter().filter(|other| !other.is_record()).count();
    }
    // As a rule there is room for all that wait, whoever was there first.
    if in_force + caches.connections.count(ConnectionBy::NewIn, namespace) <= MOST_CONNECTIONS {
        return in_force;
    }
    let waiting = caches.connections.by(ConnectionBy::NewIn, namespace);
    let before = waiting.iter().filter(|other| !other.is_record() && is_older(other, connection));
    in_force + before.count()
}

/// Of two that come at once one is the first, so that a limit lets neither both nor none in.
fn is_older(one: &EnclaveConnection, other: &EnclaveConnection) -> bool {
    let key = |connection: &EnclaveConnection| {
        (connection.creation_timestamp().map(|at| at.0), connection.name_any())
    };
    key(one) < key(other)
}

/// The policies that are named after a connection. A namespace that is not ours can have a policy of
/// any name.
fn policies_of_connection<K>(caches: &Caches, cache: &Cache<K>, connection: &EnclaveConnection) -> Vec<Arc<K>>
where
    K: Indexed<By = PolicyBy>,
{
    let metadata = &connection.metadata;
    let (Some(declared_in), Some(name)) = (&metadata.namespace, &metadata.name) else { return Vec::new() };
    let mut found = cache.by(PolicyBy::Connection, &pair(declared_in, name));
    found.retain(|policy| {
        let namespace = policy.meta().namespace.as_deref().unwrap_or_default();
        caches.namespaces.get("", namespace).is_some_and(|namespace| is_managed(&namespace))
    });
    found
}

pub(super) fn observe_declared<K: Gated>(caches: &Caches, object: Arc<K>, guard: Guard) -> Declared<K> {
    let home = object.meta().namespace.as_deref().map_or(Home::Nowhere, |name| home_of(caches, name));
    let uid = object.uid().unwrap_or_default();
    let (requests, knows_all_requests) = whole(caches, || observe_requests(caches, object.as_ref(), &uid));
    Declared {
        home,
        requests,
        knows_all_requests,
        object,
        integrity: guard.integrity,
        witness: guard.witness,
    }
}

/// What is found among the requests, and whether there was nothing else all the time while it was looked for: they may
/// become known, or be dropped, meanwhile.
pub(super) fn whole<T>(caches: &Caches, look: impl FnOnce() -> T) -> (T, bool) {
    let was_whole = caches.requests.is_whole();
    let found = look();
    (found, was_whole && caches.requests.is_whole())
}

/// The requests about an object that still say something about it: those that are undecided or not enacted
/// yet, and the one for its latest generation.
fn observe_requests<K: Gated>(caches: &Caches, object: &K, uid: &str) -> Vec<Arc<ApprovalRequest>> {
    let mut requests = caches.requests.by(RequestBy::LiveTarget, uid);
    let generation = object.meta().generation.unwrap_or_default();
    let name = approval_request(K::KIND, &object.name_any(), uid, generation);
    let latest = caches.requests.get(&object.request_namespace(), &name);
    let is_new = |latest: &Arc<ApprovalRequest>| {
        latest.spec.target.uid == uid
            && requests.iter().all(|other| other.metadata.name != latest.metadata.name)
    };
    if let Some(latest) = latest.filter(is_new) {
        requests.push(latest);
    }
    requests
}

/// How a request's target stands to the request.
#[must_use]
pub fn observe_target(caches: &Caches, request: &ApprovalRequest) -> TargetView {
    let target = &request.spec.target;
    let namespace = target.namespace.as_deref().unwrap_or_default();
    macro_rules! view {
        ($cache:ident) => {
            view_target(request, caches.$cache.get(namespace, &target.name).as_deref())
        };
    }
    match target.kind {
        Kind::Community => view_target(request, caches.communities.get("", &target.name).as_deref()),
        Kind::Enclave => view!(enclaves),
        Kind::CommunityEndpoint => view!(community_endpoints),
        Kind::TransitHub => view!(transit_hubs),
        Kind::EnclaveWorkload => view!(workloads),
        Kind::EnclaveEndpoint => view!(endpoints),
        Kind::EnclaveConnection => match view!(connections) {
            TargetView::Proposed if leads_elsewhere(caches, request) => TargetView::ReferenceChanged,
            view => view,
        },
        Kind::RoleAssignment => view!(assignments),
        Kind::RoleEligibility => view!(eligibilities),
        Kind::RoleActivation => {
            view_activation(request, caches.activations.get(namespace, &target.name).as_deref())
        }
        Kind::ApprovalRequest => TargetView::Gone,
    }
}

/// What is asked for by an activation never changes.
fn view_activation(request: &ApprovalRequest, target: Option<&RoleActivation>) -> TargetView {
    let is_it = |target: &&RoleActivation| target.uid().as_ref() == Some(&request.spec.target.uid);
    let Some(target) = target.filter(is_it) else { return TargetView::Gone };
    let status = target.status.as_ref();
    match status.and_then(|status| status.state) {
        Some(ActivationState::Active) => TargetView::PutIntoForce,
        // It was active before.
        Some(state) if state.is_final() && status.is_some_and(|status| status.ends_at.is_some()) => {
            TargetView::PutIntoForce
        }
        Some(_) | None if target.metadata.deletion_timestamp.is_some() => TargetView::Gone,
        Some(state) if state.is_final() => TargetView::Ended,
        // Given back before it was active.
        Some(_) | None if target.spec.deactivate => TargetView::Ended,
        Some(_) | None => TargetView::Proposed,
    }
}

/// Whether what a connection leads to is not what it was when this was asked for.
fn leads_elsewhere(caches: &Caches, request: &ApprovalRequest) -> bool {
    let Target { namespace, name, .. } = &request.spec.target;
    caches.connections.get(namespace.as_deref().unwrap_or_default(), name).is_some_and(|connection| {
        let now = find_references(&link_of(caches, connection)).unwrap_or_default();
        Reference::find_changed(&request.spec.change.references, &now).is_some()
    })
}

fn view_target<K: Gated>(request: &ApprovalRequest, target: Option<&K>) -> TargetView {
    let Some(target) = target.filter(|target| target.uid().as_ref() == Some(&request.spec.target.uid)) else {
        return TargetView::Gone;
    };
    let applied = target.gate().and_then(|gate| gate.applied.as_ref());
    if applied.and_then(|applied| applied.approval_request.as_ref()) == Some(&request.name_any()) {
        return TargetView::PutIntoForce;
    }
    if target.meta().deletion_timestamp.is_some() {
        return TargetView::Gone;
    }
    let generation = target.meta().generation.unwrap_or_default();
    if generation < request.spec.target.generation {
        return TargetView::Behind;
    }
    let is_approved =
        request.status.as_ref().is_some_and(|status| status.state == Some(RequestState::Approved));
    if is_approved && applied.is_some_and(|applied| applied.generation >= request.spec.target.generation) {
        return TargetView::Overtaken;
    }
    // What cannot be read is not what is proposed; the target itself says what is wrong.
    let is_applied =
        applied_spec(target).ok().flatten().as_ref() == Some(&K::without_change_reason(target.spec()));
    // The same words may mean another object by now.
    let meant = applied.map(|applied| &applied.references);
    let same = meant.is_some_and(|meant| Reference::are_same(meant, &request.spec.change.references));
    if is_applied && same {
        return TargetView::EditedBack;
    }
    if generation == request.spec.target.generation { TargetView::Proposed } else { TargetView::EditedAgain }
}

/// Which bindings of roles in a namespace concern it.
#[derive(Clone, Copy)]
enum Bindings {
    /// All: nobody gets in but those whom it lists.
    All,
    /// Those that are made with it. There may be a thousand others, of grants.
    OfThePlace,
}

/// Whether it is isolated, or is to be.
pub(super) fn is_isolated(workload: &EnclaveWorkload) -> bool {
    workload.spec.access_mode == AccessMode::Isolated
        || view_applied(workload, |spec| spec.access_mode).ok().flatten() == Some(AccessMode::Isolated)
}

fn observe_place(caches: &Caches, namespace: &str, bindings: Bindings) -> ObservedPlace {
    ObservedPlace {
        namespace: caches.namespaces.get("", namespace),
        policies: caches.network_policies.in_namespace(namespace),
        // While not all of them are known, none is surplus.
        cilium_policies: if caches.has_cilium() {
            caches.cilium_policies.in_namespace(namespace)
        } else {
            Vec::new()
        },
        bindings: match bindings {
            Bindings::All => caches.role_bindings.in_namespace(namespace),
            Bindings::OfThePlace => caches.role_bindings.by(RbacBy::OfThePlace, namespace),
        },
        quota: caches.quotas.get(namespace, child::QUOTA),
        container_defaults: caches.container_defaults.get(namespace, child::CONTAINER_DEFAULTS),
    }
}

/// When the name cannot be derived, what was made is found by its owner.
fn observe_place_owned_by<K: Gated>(caches: &Caches, owner: &K) -> ObservedPlace {
    let uid = owner.uid().unwrap_or_default();
    let found = caches.namespaces.by(NamespaceBy::OwnerUid, &uid).into_iter().next();
    found.map_or_else(ObservedPlace::default, |namespace| {
        observe_place(caches, &namespace.name_any(), Bindings::OfThePlace)
    })
}

fn count_in<K: Gated + Indexed>(cache: &Cache<K>, namespace: &str) -> usize {
    cache.in_namespace(namespace).iter().filter(|object| !object.is_record()).count()
}

fn owns_namespace(caches: &Caches, community: &Community, namespace: &str) -> bool {
    caches
        .namespaces
        .get("", namespace)
        .is_some_and(|namespace| community.uid().is_some_and(|uid| is_owned(&namespace, &uid)))
}
