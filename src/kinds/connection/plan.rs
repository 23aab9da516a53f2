//! Plans an EnclaveConnection. Its network policies are made with the namespaces in which they stand (see
//! [`crate::kinds::workload::plan`]); this plan reports whether they are there.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{Resource, ResourceExt};

use crate::api::duration::Duration;
use crate::api::gate::{Applied, Reference};
use crate::api::names::reason;
use crate::api::{
    CiliumNetworkPolicy, EnclaveConnection, EnclaveConnectionSpec, EnclaveConnectionStatus, GateStatus, Kind,
    Time,
};
use crate::model::approval::applied::{EvaluationError, applied_spec, as_if_applied};
use crate::model::approval::gated::Gated;
use crate::model::approval::scope::{InheritedPolicy, NotReady, ScopeRules};
use crate::model::network::connectivity::{
    Assessment, Connectivity, Destination, DestinationEnd, Flow, ResolvedConnection, SourceEnd, Sources,
    assess,
};
use crate::model::network::traffic_summary::compare;
use crate::plan::enforcement::{Enforcement, WasEnforced, was_enforced};
use crate::plan::gated::{Finalization, GatedInputs, ObservedGated, plan_gated};
use crate::plan::policies::{build_connection, build_names};
use crate::plan::{Plan, Write};

/// The most connections that can be in force in one namespace. Each is a policy in the namespace of every workload that
/// it touches, and agents on the nodes hold all of them.
pub const MOST_CONNECTIONS: usize = 1000;

/// The observed state of a connection.
#[derive(Clone, Debug)]
pub struct ObservedConnection {
    /// The connection and what it is declared in.
    pub declared: ObservedGated<EnclaveConnection>,
    /// The connection with both of its ends.
    pub resolved: ResolvedConnection,
    /// The network policies of the connection, in all namespaces.
    pub policies: Vec<Arc<NetworkPolicy>>,
    /// The Cilium policies of the connection, in all namespaces.
    pub cilium_policies: Vec<Arc<CiliumNetworkPolicy>>,
    /// The number of other connections in its namespace that are in force, or wait and were there before it.
    pub siblings: usize,
}

/// Plans a connection.
#[must_use]
pub fn plan_connection(observed: &ObservedConnection, now: Timestamp) -> Plan<EnclaveConnectionStatus> {
    let connection = observed.declared.object.as_ref();
    let assessed = assess(&observed.resolved, now);
    let references = assessed.as_ref().ok().and_then(|assessed| assessed.references.clone());
    let inputs = assessed.and_then(|Assessment { connectivity, references, destination }| {
        let enforcement = describe(observed, &connectivity);
        let inherited_policy = find_rules(observed, destination)?;
        let enforce = move |_: Option<&EnclaveConnectionSpec>| (enforcement.clone(), Vec::new());
        Ok(GatedInputs { inherited_policy, references, enforce })
    });
    let teardown = plan_teardown(observed);
    let finalization = Finalization { in_use: None, remove: || teardown };
    let mut plan = plan_gated(&observed.declared, finalization, inputs, Vec::new, now);
    plan.add_impact(|| {
        let resolved = &observed.resolved;
        let proposed = as_proposed(resolved, references.as_deref().unwrap_or_default());
        compare(std::slice::from_ref(resolved), &proposed, now).unwrap_or_default()
    });
    let plan = plan.with_status(|gate| EnclaveConnectionStatus {
        expires_at: plan_end(connection, &gate),
        gate,
        from: Some(describe_source(&observed.resolved.source)),
        to: Some(describe_destination(connection)),
    });
    let end = plan.status.as_ref().and_then(|status| status.expires_at.as_ref()).map(|time| time.0);
    Plan { requeue_at: end.filter(|end| *end > now), ..plan }
}

/// Returns the resolved connection as it would be if the latest spec were in force.
fn as_proposed(resolved: &ResolvedConnection, references: &[Reference]) -> Vec<ResolvedConnection> {
    let proposed = as_if_applied(resolved.connection.as_ref(), references).map(|mut connection| {
        if let Some(status) = &mut connection.status {
            status.expires_at = None;
        }
        ResolvedConnection { connection: Arc::new(connection), ..resolved.clone() }
    });
    proposed.into_iter().collect()
}

/// Finds the rules of the Community, of the Enclave on either side and of the endpoint itself, so both owners consent.
/// Until the destination is in force nobody knows what it asks for.
fn find_rules(
    observed: &ObservedConnection,
    destination: Result<(), NotReady>,
) -> Result<Result<InheritedPolicy, NotReady>, EvaluationError> {
    let parent = &observed.declared.parent;
    let own = match &observed.resolved.source {
        SourceEnd::Workloads(_) => parent.rules_in_enclave("EnclaveConnections from workloads")?,
        SourceEnd::TransitHub { .. } => parent.rules_in_community("EnclaveConnections from a TransitHub")?,
    };
    let mut outer = match own {
        Ok(outer) => outer,
        missing => return Ok(missing),
    };
    if let Err(missing) = destination {
        return Ok(Err(missing));
    }
    let is_new = observed.declared.object.gate().is_none_or(|gate| gate.applied.is_none());
    if is_new && observed.siblings >= MOST_CONNECTIONS {
        return Ok(Err(NotReady {
            reason: reason::LIMIT_REACHED,
            message: format!(
                "{} connections are in force in this namespace, which is the most that are possible; let one lead from several workloads, or remove those that nobody needs",
                observed.siblings
            ),
        }));
    }
    if let DestinationEnd::Enclave { enclave, endpoint, .. } = &observed.resolved.destination {
        outer.scopes.extend(enclave.as_deref().map(ScopeRules::of).transpose()?.flatten());
        outer.scopes.extend(endpoint.as_deref().map(ScopeRules::of).transpose()?.flatten());
    }
    Ok(Ok(outer))
}

fn describe(observed: &ObservedConnection, connectivity: &Connectivity) -> Enforcement {
    match connectivity {
        Connectivity::NotApplied => Enforcement::Nothing,
        Connectivity::Disabled(_) if is_anything_there(observed) => Enforcement::InProgress,
        Connectivity::Disabled(why) => Enforcement::Closed(why.clone()),
        Connectivity::Unavailable(missing) => Enforcement::Blocked(missing.clone()),
        Connectivity::Open { flow, missing } => {
            let was_enforced = was_enforced(observed.declared.object.as_ref());
            match (is_everything_there(observed, flow), was_enforced, missing) {
                (false, WasEnforced::No, _) => Enforcement::InProgress,
                (_, _, Some(missing)) => Enforcement::Partial(missing.clone()),
                (_, _, None) => Enforcement::Complete,
            }
        }
    }
}

fn is_anything_there(observed: &ObservedConnection) -> bool {
    !observed.policies.is_empty() || !observed.cilium_policies.is_empty()
}

fn is_everything_there(observed: &ObservedConnection, flow: &Flow) -> bool {
    let connection = observed.declared.object.as_ref();
    let (declared_in, name) = (connection.namespace().unwrap_or_default(), connection.name_any());
    let sources = match &flow.from {
        Sources::Workloads(namespaces) => namespaces.as_slice(),
        Sources::Outside(_) => &[],
    };
    let destination = match &flow.to {
        Destination::Workload(pods) => Some(&pods.namespace),
        Destination::Outside(_) | Destination::Names { .. } => None,
    };
    let mut to_names = sources.iter().filter_map(|source| build_names(source, (&declared_in, &name), flow));
    let mut wanted = sources
        .iter()
        .chain(destination)
        .flat_map(|namespace| build_connection(namespace, (&declared_in, &name), flow));
    wanted.all(|wanted| {
        observed.policies.iter().any(|live| is_at(live.as_ref(), &wanted) && live.spec == wanted.spec)
    }) && to_names.all(|wanted| {
        observed.cilium_policies.iter().any(|live| is_at(live.as_ref(), &wanted) && live.spec == wanted.spec)
    })
}

fn is_at<K: Resource>(one: &K, other: &K) -> bool {
    one.meta().name == other.meta().name && one.meta().namespace == other.meta().namespace
}

/// Plans the end of a connection. The end is recorded when something is applied: the time of a new content counts from
/// then on, and a content that only closes never ends later than the one before.
fn plan_end(connection: &EnclaveConnection, gate: &GateStatus) -> Option<Time> {
    let recorded = connection.status.as_ref().and_then(|status| status.expires_at.clone());
    let before = connection.gate().and_then(|gate| gate.applied.as_ref());
    let Some(applied) = gate.applied.as_ref().filter(|applied| Some(*applied) != before) else {
        return recorded;
    };
    let Ok(spec) = applied.spec.to_spec::<EnclaveConnectionSpec>() else { return recorded };
    let fresh = end_of(applied, &spec);
    let only_closes = applied_spec(connection).ok().flatten().is_some_and(|before| {
        EnclaveConnection::restrict(&before, &spec) == spec
            && connection
                .gate()
                .and_then(|gate| gate.applied.as_ref())
                .is_some_and(|before| Reference::are_same(&before.references, &applied.references))
    });
    if !only_closes {
        return fresh;
    }
    match (recorded, fresh) {
        (Some(recorded), Some(fresh)) => Some(if fresh.0 < recorded.0 { fresh } else { recorded }),
        (recorded, fresh) => recorded.or(fresh),
    }
}

fn end_of(applied: &Applied, spec: &EnclaveConnectionSpec) -> Option<Time> {
    let duration = spec.duration.as_ref().map(Duration::length);
    let by_duration =
        duration.map(|duration| Time(applied.at.0.saturating_add(duration).unwrap_or(Timestamp::MAX)));
    spec.expires_at.clone().or(by_duration)
}

fn describe_source(source: &SourceEnd) -> String {
    match source {
        SourceEnd::Workloads(workloads) => {
            workloads.iter().map(|end| end.name.as_str()).collect::<Vec<_>>().join(",")
        }
        SourceEnd::TransitHub { name, .. } => format!("{} {name}", Kind::TransitHub),
    }
}

fn describe_destination(connection: &EnclaveConnection) -> String {
    let destination = &connection.spec.destination;
    match (&destination.enclave_endpoint, &destination.community_endpoint) {
        (Some(endpoint), _) => format!("{}/{}", endpoint.enclave, endpoint.name),
        (None, Some(endpoint)) => endpoint.name.clone(),
        (None, None) => String::new(),
    }
}

/// Lets a connection go after its network policies.
fn plan_teardown(observed: &ObservedConnection) -> Result<Vec<Write>, (String, Vec<Write>)> {
    if is_anything_there(observed) {
        Err(("being deleted: its network policies go first".to_owned(), Vec::new()))
    } else {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{Community, CommunityEndpoint, Enclave, State};
    use crate::model::approval::policy_status::{Integrity, PolicyStatus};
    use crate::model::digest::digest;
    use crate::model::network::connectivity::resolve;
    use crate::plan::parent::Parent;

    /// An object that is in force as it was declared.
    fn in_force<K: Gated + serde::de::DeserializeOwned>(object: serde_json::Value) -> Arc<K> {
        let mut object: K = serde_json::from_value(object).unwrap();
        let spec = crate::api::Content::of_spec(object.spec()).unwrap();
        object.meta_mut().uid = Some(object.meta().name.clone().unwrap());
        object.meta_mut().generation = Some(1);
        *object.gate_mut() = GateStatus {
            applied: Some(Applied {
                generation: 1,
                complete_for: None,
                digest: digest(&spec).unwrap(),
                spec,
                change: None,
                approval_request: None,
                at: Time(Timestamp::UNIX_EPOCH),
                references: Vec::new(),
            }),
            ..GateStatus::default()
        };
        Arc::new(object)
    }

    fn observed(siblings: usize) -> ObservedConnection {
        let api_version = "enclave-operator.io/v1alpha1";
        let community: Arc<Community> = in_force(json!({
            "apiVersion": api_version, "kind": "Community", "metadata": {"name": "acme"}, "spec": {},
        }));
        let enclave: Arc<Enclave> = in_force(json!({
            "apiVersion": api_version, "kind": "Enclave",
            "metadata": {"name": "payments", "namespace": "acme"}, "spec": {},
        }));
        let endpoint: Arc<CommunityEndpoint> = in_force(json!({
            "apiVersion": api_version, "kind": "CommunityEndpoint",
            "metadata": {"name": "internet", "namespace": "acme"},
            "spec": {"destination": {"cidrs": [{"cidr": "198.51.100.0/24"}]}, "ports": [{"port": 443}]},
        }));
        let mut connection: EnclaveConnection = serde_json::from_value(json!({
            "apiVersion": api_version, "kind": "EnclaveConnection",
            "metadata": {"name": "out", "namespace": "acme-payments", "uid": "out", "generation": 1},
            "spec": {
                "source": {"workloads": ["api"]},
                "destination": {"communityEndpoint": {"name": "internet"}},
            },
        }))
        .unwrap();
        connection.metadata.finalizers = Some(vec![crate::api::names::FINALIZER.to_owned()]);
        let connection = Arc::new(connection);
        ObservedConnection {
            declared: ObservedGated {
                object: Arc::clone(&connection),
                parent: Parent::Enclave(community, enclave),
                requests: Vec::new(),
                knows_all_requests: true,
                policies: PolicyStatus { integrity: Integrity::Intact, fingerprint: String::new() },
            },
            resolved: ResolvedConnection {
                connection,
                source: SourceEnd::Workloads(Vec::new()),
                destination: DestinationEnd::Community {
                    name: "internet".into(),
                    endpoint: Some(endpoint),
                    hub: None,
                    managed: None,
                    names: crate::model::network::connectivity::NamesBackend::None,
                },
            },
            policies: Vec::new(),
            cilium_policies: Vec::new(),
            siblings,
        }
    }

    /// Nobody is asked to approve the connection. Nothing passes, unless only another version knows the part that
    /// cannot be read.
    #[test]
    fn a_connection_that_cannot_be_read_is_shut_and_blocked() {
        use crate::api::reading::{Cause, Unread, Unreadable};
        let planned = |cause| {
            let mut observed = observed(0);
            let mut connection = EnclaveConnection::clone(&in_force(
                serde_json::to_value(observed.declared.object.as_ref()).unwrap(),
            ));
            let unread = Unread { path: "spec.expiresAt".into(), why: "odd".into(), cause };
            connection.spec.unreadable = Unreadable::of(vec![unread]);
            connection.metadata.generation = Some(2);
            let connection = Arc::new(connection);
            observed.declared.object = Arc::clone(&connection);
            observed.resolved.connection = connection;
            let is_off = matches!(
                resolve(&observed.resolved, Timestamp::UNIX_EPOCH).unwrap(),
                Connectivity::Disabled(NotReady { reason: reason::SPEC_UNREADABLE, .. })
            );
            let plan = plan_connection(&observed, Timestamp::UNIX_EPOCH);
            assert!(!plan.writes.iter().any(|write| matches!(write, Write::CreateRequest(_))));
            let gate = plan.status.unwrap().gate;
            assert_eq!(gate.state, Some(State::Blocked));
            assert_eq!((gate.pending, gate.applied.unwrap().generation), (None, 1));
            let ready = &gate.conditions[0];
            assert_eq!(ready.reason, reason::SPEC_UNREADABLE);
            assert!(ready.message.contains("spec.expiresAt: odd"), "{}", ready.message);
            assert_eq!(plan.events[0].reason, reason::SPEC_UNREADABLE);
            is_off
        };
        assert!(planned(Cause::Wrong));
        assert!(!planned(Cause::Newer));
    }

    #[test]
    fn what_closes_counts_when_what_is_applied_cannot_be_read() {
        let resolved = |spec: serde_json::Value, ended: bool| {
            let mut observed = observed(0);
            let object = serde_json::to_value(observed.declared.object.as_ref()).unwrap();
            let mut connection =
                serde_json::to_value(in_force::<EnclaveConnection>(object).as_ref()).unwrap();
            connection["status"]["applied"]["spec"] = serde_json::json!({"source": "of-a-later-version"});
            for (field, value) in spec.as_object().unwrap() {
                connection["spec"][field] = value.clone();
            }
            if ended {
                connection["status"]["expiresAt"] = "1970-01-01T00:00:00Z".into();
            }
            observed.resolved.connection = Arc::new(serde_json::from_value(connection).unwrap());
            match resolve(&observed.resolved, Timestamp::UNIX_EPOCH) {
                Ok(Connectivity::Disabled(NotReady { reason, .. })) => reason,
                Ok(other) => panic!("{other:?}"),
                Err(_) => "it stays as it is",
            }
        };
        let nothing = || serde_json::json!({});
        assert_eq!(resolved(nothing(), false), "it stays as it is");
        assert_eq!(resolved(serde_json::json!({"enabled": false}), false), reason::DISABLED);
        assert_eq!(resolved(serde_json::json!({"expiresAt": "1970-01-01T00:00:00Z"}), false), reason::ENDED);
        assert_eq!(resolved(nothing(), true), reason::ENDED);
    }

    #[test]
    fn one_connection_too_many_waits_and_says_why() {
        let state = |siblings| {
            let gate = plan_connection(&observed(siblings), Timestamp::UNIX_EPOCH).status.unwrap().gate;
            (gate.state.unwrap(), gate.conditions[0].reason.clone(), gate.applied.is_some())
        };
        assert_eq!(state(MOST_CONNECTIONS), (State::Pending, reason::LIMIT_REACHED.to_owned(), false));
        assert_eq!(state(MOST_CONNECTIONS - 1), (State::Approved, reason::PROVISIONING.to_owned(), true));
    }
}
