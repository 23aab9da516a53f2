//! The connectivity of a connection: the packets that may pass, by what is applied of it and of its two
//! ends. Network policies are built from this, requests describe it in words, and an independent analyser
//! has to find the same in the cluster.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::common::{IpBlock, NamespacedPods, Port};
use crate::api::community::Dns;
use crate::api::content::UnreadableContent;
use crate::api::enclave_connection::{ConnectionDestination, ConnectionSource};
use crate::api::gate::{Applied, Reference};
use crate::api::names::reason;
use crate::api::{
    CommunityEndpoint, CommunityEndpointSpec, Enclave, EnclaveConnection, EnclaveConnectionSpec,
    EnclaveEndpoint, EnclaveEndpointSpec, EnclaveWorkload, Kind, State, TransitHub, TransitHubSpec,
};
use crate::model::approval::applied::{EvaluationError, applied_spec};
use crate::model::approval::change::describe_unreadable;
use crate::model::approval::gated::Gated;
use crate::model::approval::scope::NotReady;

/// A connection and the objects that it joins, as far as they exist.
#[derive(Clone, Debug)]
pub struct ResolvedConnection {
    pub connection: Arc<EnclaveConnection>,
    pub source: SourceEnd,
    pub destination: DestinationEnd,
}

/// The source of the traffic of a connection.
#[derive(Clone, Debug)]
pub enum SourceEnd {
    /// Workloads of the Enclave that the connection is declared in.
    Workloads(Vec<WorkloadEnd>),
    /// A hub of the Community that the connection is declared in.
    TransitHub {
        name: String,
        hub: Option<Arc<TransitHub>>,
        /// The owner of the namespace of its gateway, in words, when the operator made that namespace.
        managed: Option<String>,
    },
}

/// The destination of the traffic of a connection.
#[derive(Clone, Debug)]
pub enum DestinationEnd {
    /// An endpoint of an Enclave of the same Community, and the workload that it offers.
    Enclave {
        name: String,
        enclave: Option<Arc<Enclave>>,
        endpoint: Option<Arc<EnclaveEndpoint>>,
        workload: Option<WorkloadEnd>,
    },
    /// An endpoint of the same Community.
    Community {
        name: String,
        endpoint: Option<Arc<CommunityEndpoint>>,
        /// The hub that the endpoint leads to, when it leads to one.
        hub: Option<Arc<TransitHub>>,
        /// The owner of the namespace that the endpoint or its hub names, in words, when the operator made
        /// that namespace.
        managed: Option<String>,
        /// The backend that allows destinations by DNS name.
        names: NamesBackend,
    },
}

/// The backend that allows destinations by DNS name.
#[derive(Clone, Debug, PartialEq)]
pub enum NamesBackend {
    /// No backend: the Community names none.
    None,
    /// The Community names Cilium, and its policies are not installed.
    CiliumMissing,
    /// Cilium, which learns addresses from the answers of these DNS pods.
    Cilium(Dns),
    /// The applied content of the Community cannot be read: the traffic that it lets through stays as it is.
    Unknown,
}

/// A workload at one end of a connection.
#[derive(Clone, Debug)]
pub struct WorkloadEnd {
    pub name: String,
    pub workload: Option<Arc<EnclaveWorkload>>,
    /// The namespace of the workload, when it exists and was made for this very workload.
    pub namespace: Option<String>,
}

/// Whether traffic of a connection may pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Connectivity {
    /// Traffic may pass. `missing` says what keeps the connection from being complete.
    Open { flow: Flow, missing: Option<NotReady> },
    /// Nothing may pass, because something that the connection needs is missing.
    Unavailable(NotReady),
    /// Nothing may pass, because the connection is disabled, has ended, is being deleted or cannot be read.
    Disabled(NotReady),
    /// Nothing of the connection is applied yet.
    NotApplied,
}

/// The packets that may pass, in the direction in which connections are opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    pub from: Sources,
    pub to: Destination,
    pub ports: Vec<Port>,
}

/// The sources of packets.
#[derive(Clone, Debug, PartialEq)]
pub enum Sources {
    /// All pods of these namespaces, each of a workload.
    Workloads(Vec<String>),
    /// Somewhere outside the enclaves.
    Outside(Vec<Peer>),
}

/// The destination of packets.
#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    /// Pods of a workload.
    Workload(NamespacedPods),
    /// Somewhere outside the enclaves.
    Outside(Vec<Peer>),
    /// The addresses that these DNS names resolve to; `*` stands for one label. `dns` says whose answers count.
    Names { names: Vec<String>, dns: Dns },
}

/// Something outside the enclaves.
#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    Block(IpBlock),
    Pods(NamespacedPods),
}

/// The findings about a connection from its ends.
#[derive(Clone, Debug)]
pub struct Assessment {
    /// Whether traffic may pass now.
    pub connectivity: Connectivity,
    /// The objects that it names, as they are now; `None` while its endpoint is not there.
    pub references: Option<Vec<Reference>>,
    /// Whether its destination is in force, so that it is known who has to consent.
    pub destination: Result<(), NotReady>,
}

/// Assesses a connection from its ends.
///
/// # Errors
/// When what is applied of one of the objects cannot be read.
pub fn assess(resolved: &ResolvedConnection, now: Timestamp) -> Result<Assessment, EvaluationError> {
    Ok(Assessment {
        connectivity: resolve(resolved, now)?,
        references: find_references(resolved),
        destination: require_destination(&resolved.destination),
    })
}

/// Returns whether traffic may pass now. What the user wants to close is closed already, whatever else of the
/// spec is held.
///
/// # Errors
/// When what is applied of one of the objects cannot be read.
pub fn resolve(resolved: &ResolvedConnection, now: Timestamp) -> Result<Connectivity, EvaluationError> {
    let connection = resolved.connection.as_ref();
    let off = |reason, message: String| Ok(Connectivity::Disabled(NotReady { reason, message }));
    // A deletion counts whether or not the connection can be read.
    if connection.metadata.deletion_timestamp.is_some() {
        return off(reason::TERMINATING, "being deleted: nothing passes any more".into());
    }
    // Closing counts, whatever is applied and whether or not that can be read.
    let (unapplied, effective) = match applied_spec(connection) {
        Ok(None) => return Ok(Connectivity::NotApplied),
        Ok(Some(applied)) => (None, EnclaveConnection::restrict(&applied, connection.spec())),
        Err(error) => (Some(error), connection.spec.clone()),
    };
    let unreadable = connection.spec.unreadable.as_ref().filter(|unreadable| !unreadable.is_only_newer());
    if let Some(unreadable) = unreadable {
        return off(
            reason::SPEC_UNREADABLE,
            format!("{}; until then nothing passes", describe_unreadable(unreadable)),
        );
    }
    if !effective.enabled {
        return off(reason::DISABLED, "disabled (spec.enabled): nothing passes".into());
    }
    if let Some(end) = ends_at(connection, &effective).filter(|end| *end <= now) {
        return off(reason::ENDED, format!("ended at {end}: nothing passes any more"));
    }
    if let Some(error) = unapplied {
        // Whatever is applied: the destination never changes, and its owner decides what becomes of it.
        return find_gone(resolved).map(Connectivity::Unavailable).ok_or(error);
    }
    // One end is of a kind that only a newer version knows: the traffic that it opened stays as it is.
    if let Some(end) = find_unknown_end(&effective) {
        return Err(EvaluationError::AppliedUnreadable(UnreadableContent::newer(end)));
    }
    if let Some(missing) = find_replaced(resolved) {
        return Ok(Connectivity::Unavailable(missing));
    }
    Ok(match find_flow(resolved)? {
        Ok((flow, missing)) => Connectivity::Open { flow, missing },
        Err(missing) => Connectivity::Unavailable(missing),
    })
}

/// The end of a connection that is of no kind that is known here. The schema lets nobody write one.
fn find_unknown_end(spec: &EnclaveConnectionSpec) -> Option<&'static str> {
    let ConnectionSource { workloads, transit_hub } = &spec.source;
    if workloads.is_empty() && transit_hub.is_none() {
        Some("source")
    } else if !leads_where_it_is_known(spec) {
        Some("destination")
    } else {
        None
    }
}

fn leads_where_it_is_known(spec: &EnclaveConnectionSpec) -> bool {
    let ConnectionDestination { enclave_endpoint, community_endpoint } = &spec.destination;
    enclave_endpoint.is_some() || community_endpoint.is_some()
}

/// Returns why the destination of a connection is not in force any more, or that it is another object of the same name.
/// The applied content of the endpoint need not be readable for that.
fn find_gone(resolved: &ResolvedConnection) -> Option<NotReady> {
    let spec = &resolved.connection.spec;
    let mut unread = spec.unreadable.iter().flat_map(|unreadable| unreadable.fields());
    if !leads_where_it_is_known(spec) || unread.any(|unread| unread.path.starts_with("spec.destination")) {
        return None;
    }
    // A spec is read without the fields that only a newer version knows. In the applied content, which has the same
    // destination, they are found.
    let applied = resolved.connection.gate().and_then(|gate| gate.applied.as_ref());
    applied.map(|applied| applied.spec.to_field::<ConnectionDestination>("destination")).transpose().ok()?;
    find_replaced(resolved).or_else(|| require_destination(&resolved.destination).err())
}

/// The time at which a connection closes by itself: as recorded when it was applied, or earlier by what the
/// user wants now.
#[must_use]
pub fn ends_at(connection: &EnclaveConnection, effective: &EnclaveConnectionSpec) -> Option<Timestamp> {
    let recorded = connection.status.as_ref().and_then(|status| status.expires_at.as_ref());
    let wanted = effective.expires_at.as_ref();
    recorded.into_iter().chain(wanted).map(|time| time.0).min()
}

/// The objects that a connection names and that others may change, as they are now: its endpoint, and the
/// hubs that it passes. `None` while the endpoint is not there.
#[must_use]
pub fn find_references(resolved: &ResolvedConnection) -> Option<Vec<Reference>> {
    fn reference<K: Gated>(object: &K) -> Option<Reference> {
        Some(Reference {
            kind: K::KIND,
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid()?,
            digest: object
                .gate()
                .and_then(|gate| gate.applied.as_ref())
                .map(|applied| applied.digest.clone())
                .unwrap_or_default(),
        })
    }
    let source = match &resolved.source {
        SourceEnd::TransitHub { hub, .. } => hub.as_deref().and_then(reference),
        SourceEnd::Workloads(_) => None,
    };
    let (endpoint, hub) = match &resolved.destination {
        DestinationEnd::Enclave { endpoint, .. } => (endpoint.as_deref().and_then(reference)?, None),
        DestinationEnd::Community { endpoint, hub, .. } => {
            (endpoint.as_deref().and_then(reference)?, hub.as_deref().and_then(reference))
        }
    };
    Some([Some(endpoint), hub, source].into_iter().flatten().collect())
}

fn find_replaced(resolved: &ResolvedConnection) -> Option<NotReady> {
    let applied = resolved.connection.gate().and_then(|gate| gate.applied.as_ref())?;
    let now = find_references(resolved)?;
    let Reference { kind, namespace, name, .. } = Reference::find_replaced(&applied.references, &now)?;
    Some(NotReady {
        reason: reason::REFERENCE_REPLACED,
        message: format!(
            "{kind} {namespace}/{name} was deleted and made again; nothing passes to the new one"
        ),
    })
}

type Found = Result<(Flow, Option<NotReady>), NotReady>;

/// The packets that a connection is about, whether or not it is applied.
fn find_flow(resolved: &ResolvedConnection) -> Result<Found, EvaluationError> {
    let (to, ports) = match find_destination(&resolved.destination)? {
        Ok(found) => found,
        Err(missing) => return Ok(Err(missing)),
    };
    Ok(match find_sources(&resolved.source)? {
        Ok((from, missing)) => Ok((Flow { from, to, ports }, missing)),
        Err(missing) => Err(missing),
    })
}

fn find_sources(
    source: &SourceEnd,
) -> Result<Result<(Sources, Option<NotReady>), NotReady>, EvaluationError> {
    match source {
        SourceEnd::Workloads(workloads) => {
            let (mut found, mut missing) = (Vec::new(), None);
            for end in workloads {
                match find_workload(end) {
                    Ok(namespace) => found.push(namespace),
                    Err(why) => missing = missing.or(Some(why)),
                }
            }
            Ok(match (found.is_empty(), missing) {
                (true, Some(missing)) => Err(missing),
                (_, missing) => Ok((Sources::Workloads(found), missing)),
            })
        }
        SourceEnd::TransitHub { name, hub, managed } => {
            let peers = peers_of_hub(name, hub.as_deref(), managed.as_deref())?;
            Ok(peers.map(|peers| (Sources::Outside(peers), None)))
        }
    }
}

fn find_destination(
    destination: &DestinationEnd,
) -> Result<Result<(Destination, Vec<Port>), NotReady>, EvaluationError> {
    match destination {
        DestinationEnd::Enclave { name, endpoint, workload, .. } => {
            let spec: EnclaveEndpointSpec = match in_force(name, endpoint.as_deref(), ENDPOINT)? {
                Ok(spec) => spec,
                Err(missing) => return Ok(Err(missing)),
            };
            let absent = WorkloadEnd { name: spec.workload.clone(), workload: None, namespace: None };
            let namespace = find_workload(workload.as_ref().unwrap_or(&absent));
            Ok(namespace.map(|namespace| {
                let pods = NamespacedPods { namespace, pod_selector: spec.pod_selector };
                (Destination::Workload(pods), spec.ports)
            }))
        }
        DestinationEnd::Community { name, endpoint, hub, managed, names } => {
            let spec: CommunityEndpointSpec = match in_force(name, endpoint.as_deref(), ENDPOINT)? {
                Ok(spec) => spec,
                Err(missing) => return Ok(Err(missing)),
            };
            let ports = spec.ports.clone();
            let outside = find_outside(&spec, hub.as_deref(), managed.as_deref(), names)?;
            Ok(outside.map(|outside| (outside, ports)))
        }
    }
}

/// Checks that a destination is in force, so that it is known who has to consent. If it is not, the error is what is
/// missing.
fn require_destination(destination: &DestinationEnd) -> Result<(), NotReady> {
    match destination {
        DestinationEnd::Enclave { name, endpoint, .. } => {
            is_in_force(name, endpoint.as_deref(), ENDPOINT).map(|_| ())
        }
        DestinationEnd::Community { name, endpoint, .. } => {
            is_in_force(name, endpoint.as_deref(), ENDPOINT).map(|_| ())
        }
    }
}

fn find_outside(
    spec: &CommunityEndpointSpec,
    hub: Option<&TransitHub>,
    managed: Option<&str>,
    backend: &NamesBackend,
) -> Result<Result<Destination, NotReady>, EvaluationError> {
    let destination = &spec.destination;
    if let Some(service) = &destination.service {
        return Ok(unmanaged(service, managed).map(|pods| Destination::Outside(vec![Peer::Pods(pods)])));
    }
    if let Some(reference) = &destination.transit_hub {
        return Ok(peers_of_hub(&reference.name, hub, managed)?.map(Destination::Outside));
    }
    if !destination.fqdns.is_empty() {
        let missing = |message: &str| {
            Err(NotReady { reason: reason::FQDN_BACKEND_MISSING, message: message.to_owned() })
        };
        return Ok(match backend {
            NamesBackend::Cilium(dns) => {
                Ok(Destination::Names { names: destination.fqdns.clone(), dns: dns.clone() })
            }
            NamesBackend::CiliumMissing => missing(
                "the Community says fqdnBackend: Cilium, and CiliumNetworkPolicies are not installed in this cluster",
            ),
            NamesBackend::Unknown => {
                let part = "the fqdnBackend of the Community";
                return Err(EvaluationError::AppliedUnreadable(UnreadableContent::newer(part)));
            }
            NamesBackend::None => missing(
                "NetworkPolicies know no DNS names; set fqdnBackend in the Community if Cilium runs in this cluster, or use cidrs",
            ),
        });
    }
    if destination.cidrs.is_empty() {
        return Err(EvaluationError::AppliedUnreadable(UnreadableContent::newer("destination")));
    }
    Ok(Ok(Destination::Outside(destination.cidrs.iter().cloned().map(Peer::Block).collect())))
}

fn peers_of_hub(
    name: &str,
    hub: Option<&TransitHub>,
    managed: Option<&str>,
) -> Result<Result<Vec<Peer>, NotReady>, EvaluationError> {
    let TransitHubSpec { cidrs, gateway, .. } = match in_force(name, hub, HUB)? {
        Ok(spec) => spec,
        Err(missing) => return Ok(Err(missing)),
    };
    if cidrs.is_empty() && gateway.is_none() {
        return Err(EvaluationError::AppliedUnreadable(UnreadableContent::newer("the network of the hub")));
    }
    let gateway = gateway.map(|gateway| unmanaged(&gateway, managed)).transpose();
    let blocks = cidrs.into_iter().map(Peer::Block);
    Ok(gateway.map(|gateway| blocks.chain(gateway.map(Peer::Pods)).collect()))
}

/// Returns pods that are outside the enclaves: not in a namespace that the operator made for somebody.
fn unmanaged(pods: &NamespacedPods, owner: Option<&str>) -> Result<NamespacedPods, NotReady> {
    match owner {
        None => Ok(pods.clone()),
        Some(owner) => Err(NotReady {
            reason: reason::DESTINATION_NOT_ALLOWED,
            message: format!(
                "namespace {} belongs to {owner}; only an EnclaveEndpoint leads there",
                pods.namespace
            ),
        }),
    }
}

/// The reasons for which an end of a connection is not there: it does not exist, it is not in force.
type Reasons = (&'static str, &'static str);
const ENDPOINT: Reasons = (reason::ENDPOINT_NOT_FOUND, reason::ENDPOINT_NOT_ACTIVE);
const WORKLOAD: Reasons = (reason::WORKLOAD_NOT_FOUND, reason::WORKLOAD_NOT_ACTIVE);
const HUB: Reasons = (reason::TRANSIT_HUB_NOT_FOUND, reason::TRANSIT_HUB_NOT_ACTIVE);

fn find_workload(end: &WorkloadEnd) -> Result<String, NotReady> {
    is_in_force(&end.name, end.workload.as_deref(), WORKLOAD).and_then(|_| {
        end.namespace.clone().ok_or_else(|| NotReady {
            reason: reason::WORKLOAD_NOT_ACTIVE,
            message: format!("the namespace of {} {} is not there yet", Kind::EnclaveWorkload, end.name),
        })
    })
}

/// Returns the applied spec of an object, unless the object is being deleted or retired.
fn in_force<K: Gated>(
    name: &str,
    object: Option<&K>,
    reasons: Reasons,
) -> Result<Result<K::Spec, NotReady>, EvaluationError> {
    let applied = is_in_force(name, object, reasons).map(|applied| applied.spec.to_spec());
    applied
        .map(|spec| spec.map_err(EvaluationError::AppliedUnreadable))
        .map_or_else(|missing| Ok(Err(missing)), |spec| spec.map(Ok))
}

/// Returns what is applied of an object, unless the object is being deleted or retired.
fn is_in_force<'a, K: Gated>(
    name: &str,
    object: Option<&'a K>,
    (not_found, not_active): Reasons,
) -> Result<&'a Applied, NotReady> {
    let kind = K::KIND;
    let object = object
        .ok_or_else(|| NotReady { reason: not_found, message: format!("{kind} {name} does not exist") })?;
    let not_active = |message: String| Err(NotReady { reason: not_active, message });
    let applied = object.gate().and_then(|gate| gate.applied.as_ref());
    let retired = applied.is_some_and(|applied| applied.spec.retires());
    match applied {
        _ if retired || object.meta().deletion_timestamp.is_some() => {
            not_active(format!("{kind} {name} is being deleted"))
        }
        Some(applied) => Ok(applied),
        None => {
            let state = object.gate().and_then(|gate| gate.state).unwrap_or(State::Pending);
            not_active(format!("{kind} {name} is {state}"))
        }
    }
}
