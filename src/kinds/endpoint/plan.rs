//! The kinds that open nothing by themselves: EnclaveEndpoints, CommunityEndpoints and TransitHubs. Once
//! applied they are in force; connections that lead to them do the rest.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::{CommunityEndpoint, EnclaveEndpoint, GateStatus, TransitHub};
use crate::model::approval::applied::EvaluationError;
use crate::model::approval::gated::Gated;
use crate::model::approval::scope::{InheritedPolicy, NotReady};
use crate::model::network::connectivity::ResolvedConnection;
use crate::model::network::traffic_summary::compare;
use crate::plan::Plan;
use crate::plan::enforcement::Enforcement;
use crate::plan::gated::{Finalization, GatedInputs, ObservedGated, plan_gated};

/// The observed state of an endpoint or a hub.
#[derive(Clone, Debug)]
pub struct ObservedEndpoint<K> {
    /// The object and what it is declared in.
    pub declared: ObservedGated<K>,
    /// The connections that lead to it or through it.
    pub connections: Vec<ResolvedConnection>,
    /// The same connections, if its latest spec were in force.
    pub proposed: Vec<ResolvedConnection>,
}

/// A kind that opens nothing by itself.
pub trait Endpoint: Gated + Sized {
    /// The kind in the plural, for messages.
    const KINDS: &str;

    /// Returns the rules around an object of the kind.
    ///
    /// # Errors
    /// When what is applied of the objects around it cannot be read.
    fn inherited_policy(
        declared: &ObservedGated<Self>,
    ) -> Result<Result<InheritedPolicy, NotReady>, EvaluationError>;
}

/// Plans an endpoint or a hub.
#[must_use]
pub fn plan_endpoint<K: Endpoint>(observed: &ObservedEndpoint<K>, now: Timestamp) -> Plan<GateStatus> {
    let inputs = || -> Result<_, EvaluationError> {
        Ok(GatedInputs {
            inherited_policy: K::inherited_policy(&observed.declared)?,
            references: None,
            enforce: |applied: Option<&K::Spec>| {
                let enforcement = applied.map_or(Enforcement::Nothing, |_| Enforcement::Complete);
                (enforcement, Vec::new())
            },
        })
    };
    let finalization =
        Finalization { in_use: waits_for_connections(&observed.connections), remove: || Ok(Vec::new()) };
    let mut plan = plan_gated(&observed.declared, finalization, inputs(), Vec::new, now);
    plan.add_impact(|| compare(&observed.connections, &observed.proposed, now).unwrap_or_default());
    plan
}

/// Names the connections that an endpoint waits for. An endpoint in use stays until they are gone; nothing passes
/// through them any more.
fn waits_for_connections(connections: &[ResolvedConnection]) -> Option<String> {
    const NAMED: usize = 3;
    let mut users: Vec<String> = connections
        .iter()
        .filter(|resolved| !resolved.connection.is_record())
        .filter(|resolved| resolved.connection.gate().is_some_and(|gate| gate.applied.is_some()))
        .map(|resolved| {
            format!(
                "{}/{}",
                resolved.connection.namespace().unwrap_or_default(),
                resolved.connection.name_any()
            )
        })
        .collect();
    users.sort();
    let more = users.len().saturating_sub(NAMED);
    let named = users.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!users.is_empty()).then(|| {
        format!("being deleted: nothing passes to it any more, and it goes when the EnclaveConnections that lead to it are gone: {named}{more}")
    })
}

impl Endpoint for EnclaveEndpoint {
    const KINDS: &str = "EnclaveEndpoints";

    fn inherited_policy(
        declared: &ObservedGated<Self>,
    ) -> Result<Result<InheritedPolicy, NotReady>, EvaluationError> {
        declared.parent.rules_in_enclave(Self::KINDS)
    }
}

impl Endpoint for CommunityEndpoint {
    const KINDS: &str = "CommunityEndpoints";

    fn inherited_policy(
        declared: &ObservedGated<Self>,
    ) -> Result<Result<InheritedPolicy, NotReady>, EvaluationError> {
        declared.parent.rules_in_community(Self::KINDS)
    }
}

impl Endpoint for TransitHub {
    const KINDS: &str = "TransitHubs";

    fn inherited_policy(
        declared: &ObservedGated<Self>,
    ) -> Result<Result<InheritedPolicy, NotReady>, EvaluationError> {
        declared.parent.rules_in_community(Self::KINDS)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::api::approval_request::{ApprovalRequestSpec, Change, Decision, RequestState, Verdict};
    use crate::api::{ApprovalRequest, ApprovalRequestStatus, Community, Content, Enclave, State, Time};
    use crate::model::approval::applied::as_if_applied;
    use crate::model::approval::policy_status::{Integrity, PolicyStatus};
    use crate::model::approval::request::tests::a_request;
    use crate::model::digest::digest;
    use crate::plan::Write;
    use crate::plan::parent::Parent;

    fn in_force<K: Gated + Clone + serde::de::DeserializeOwned>(
        kind: &str,
        namespace: Option<&str>,
    ) -> Arc<K> {
        let object: K = serde_json::from_value(json!({
            "apiVersion": "enclave-operator.io/v1alpha1", "kind": kind,
            "metadata": {"name": "one", "namespace": namespace, "uid": kind, "generation": 1}, "spec": {},
        }))
        .unwrap();
        Arc::new(as_if_applied(&object, &[]).unwrap())
    }

    fn observed(spec: &Value) -> ObservedEndpoint<EnclaveEndpoint> {
        let endpoint: EnclaveEndpoint = serde_json::from_value(json!({
            "apiVersion": "enclave-operator.io/v1alpha1", "kind": "EnclaveEndpoint",
            "metadata": {
                "name": "web", "namespace": "one-one", "uid": "web", "generation": 1,
                "finalizers": [crate::api::names::FINALIZER],
            },
            "spec": spec,
        }))
        .unwrap();
        let declared = ObservedGated {
            object: Arc::new(endpoint),
            parent: Parent::Enclave(
                in_force::<Community>("Community", None),
                in_force::<Enclave>("Enclave", Some("one")),
            ),
            requests: Vec::new(),
            knows_all_requests: true,
            policies: PolicyStatus { integrity: Integrity::Intact, fingerprint: String::new() },
        };
        ObservedEndpoint { declared, connections: Vec::new(), proposed: Vec::new() }
    }

    /// One write says that an endpoint is applied, that it is in force, and whether it may be deleted: in between
    /// somebody could delete it together with its rules.
    #[test]
    fn it_is_in_force_and_protected_as_soon_as_it_is_recorded() {
        let planned = |approvals: Value| {
            let spec = json!({"workload": "api", "ports": [{"port": 443}], "approvals": approvals});
            let plan = plan_endpoint(&observed(&spec), Timestamp::UNIX_EPOCH);
            assert!(plan.writes.iter().all(|write| !matches!(write, Write::CreateRequest(_))));
            let gate = plan.status.unwrap();
            assert!(gate.applied.is_some() && gate.pending.is_none());
            assert!(gate.conditions.iter().all(|one| one.status == "True" && one.type_ != "Reconciling"));
            (gate.state, gate.deletion_protected)
        };
        let rules = json!({"rules": [{"operation": "ConnectionCreation", "policy": "Required"}]});
        assert_eq!(planned(json!({})), (Some(State::Active), Some(false)));
        assert_eq!(planned(rules), (Some(State::Active), Some(true)));
    }

    /// An approved request for what an endpoint declares.
    fn approved(observed: &ObservedEndpoint<EnclaveEndpoint>, name: &str) -> ApprovalRequest {
        let after = Content::of_spec(observed.declared.object.spec()).unwrap();
        let change = Change { before: None, digest: digest(&after).unwrap(), after, references: Vec::new() };
        let vote = Decision {
            approver: "bob".into(),
            verdict: Verdict::Approved,
            digest: change.digest.clone(),
            comment: None,
            groups: Vec::new(),
            mfa: None,
            credential_id: None,
            observed_at: None,
        };
        let mut request = ApprovalRequest::new(name, ApprovalRequestSpec { change, ..a_request() });
        request.spec.target.generation = observed.declared.object.metadata.generation.unwrap();
        request.status = Some(ApprovalRequestStatus {
            state: Some(RequestState::Approved),
            decided_at: Some(Time(Timestamp::UNIX_EPOCH)),
            policy_fingerprint: Some(String::new()),
            decisions: vec![vote.into()],
            ..ApprovalRequestStatus::default()
        });
        request
    }

    /// An approved content is put into force also after another edit, and is not shown as what the latest spec says.
    #[test]
    fn what_was_edited_again_is_not_shown_as_in_force() {
        let mut observed = observed(&json!({"workload": "api", "ports": [{"port": 443}]}));
        let request = approved(&observed, "web-1");
        observed.declared.requests.push(Arc::new(request));
        let mut state = |generation| {
            Arc::make_mut(&mut observed.declared.object).metadata.generation = Some(generation);
            let gate = plan_endpoint(&observed, Timestamp::UNIX_EPOCH).status.unwrap();
            let applied = gate.applied.unwrap();
            assert_eq!((applied.generation, applied.approval_request.as_deref()), (1, Some("web-1")));
            gate.state
        };
        assert_eq!(state(1), Some(State::Active));
        assert_eq!(state(2), Some(State::Approved));
    }

    /// Once the next change is in force and the policies changed, nobody could say any more that this one was in force.
    #[test]
    fn what_was_in_force_is_said_before_the_next_change_is() {
        let mut observed = observed(&json!({"workload": "api", "ports": [{"port": 443}]}));
        let request = approved(&observed, "web-1");
        observed.declared.requests.push(Arc::new(request));
        let second = Timestamp::from_second(1).unwrap();
        let status = plan_endpoint(&observed, second).status;
        {
            let endpoint = Arc::make_mut(&mut observed.declared.object);
            endpoint.status = status.map(|gate| crate::api::EnclaveEndpointStatus { gate });
            endpoint.metadata.generation = Some(2);
            endpoint.spec.ports.clear();
        }
        let marks = |observed: &ObservedEndpoint<EnclaveEndpoint>| {
            let plan = plan_endpoint(observed, Timestamp::from_second(60).unwrap());
            let next = plan.status.unwrap().applied.unwrap().generation;
            let mut writes = plan.writes.into_iter().peekable();
            let first =
                writes.next_if(|write| matches!(write, Write::MarkEnacted { at, .. } if *at == second));
            (next, first.is_some(), writes.any(|write| matches!(write, Write::MarkEnacted { .. })))
        };
        assert_eq!(marks(&observed), (2, true, false), "it asks for no approval");
        let request = approved(&observed, "web-2");
        observed.declared.requests.push(Arc::new(request));
        assert_eq!(marks(&observed), (2, true, false), "it is approved");
        observed.declared.policies.fingerprint = "others".into();
        assert!(marks(&observed).1, "by its name");
    }

    /// The object says which request its change came from, whatever became of the votes and the time of the request
    /// since.
    #[test]
    fn what_was_put_into_force_is_said_on_the_request_that_it_names() {
        let mut observed = observed(&json!({"workload": "api", "ports": [{"port": 443}]}));
        let mut request = approved(&observed, "web-1");
        observed.declared.requests.push(Arc::new(request.clone()));
        let status = plan_endpoint(&observed, Timestamp::UNIX_EPOCH).status.unwrap();
        assert_eq!(status.applied.as_ref().unwrap().approval_request.as_deref(), Some("web-1"));
        Arc::make_mut(&mut observed.declared.object).status =
            Some(crate::api::EnclaveEndpointStatus { gate: status });
        let late = request.spec.expires_at.clone();
        let status = request.status.as_mut().unwrap();
        status.decisions.clear();
        status.decided_at = Some(late);
        observed.declared.requests = vec![Arc::new(request)];
        let writes = plan_endpoint(&observed, Timestamp::UNIX_EPOCH).writes;
        assert!(writes.iter().any(|write| matches!(write, Write::MarkEnacted { .. })), "{writes:?}");
    }

    /// The approval is recorded while another change that closes, or needs no approval, is put into force.
    #[test]
    fn a_request_that_was_overtaken_is_not_said_to_be_in_force() {
        let mut observed = observed(&json!({"workload": "api", "ports": [{"port": 443}]}));
        let overtaken = approved(&observed, "web-1");
        Arc::make_mut(&mut observed.declared.object).metadata.generation = Some(2);
        let status = plan_endpoint(&observed, Timestamp::UNIX_EPOCH).status.unwrap();
        let applied = status.applied.as_ref().unwrap();
        assert_eq!((applied.generation, applied.approval_request.as_ref()), (2, None));
        Arc::make_mut(&mut observed.declared.object).status =
            Some(crate::api::EnclaveEndpointStatus { gate: status });
        observed.declared.requests.push(Arc::new(overtaken));
        let marks = plan_endpoint(&observed, Timestamp::UNIX_EPOCH).writes;
        assert!(!marks.iter().any(|write| matches!(write, Write::MarkEnacted { .. })), "{marks:?}");
    }

    /// The change may have been rejected, and then the rules do not count.
    #[test]
    fn what_was_asked_for_stays_as_it_is_until_the_request_is_known() {
        let mut observed = observed(&json!({"workload": "api", "ports": [{"port": 443}]}));
        let evaluated = |observed: &ObservedEndpoint<EnclaveEndpoint>| {
            let plan = plan_endpoint(observed, Timestamp::UNIX_EPOCH);
            assert_eq!(plan.waits_for_requests, plan.status.is_none());
            (plan.status.map(|gate| gate.state), plan.writes.len())
        };
        let pending = crate::api::gate::Pending {
            generation: 1,
            digest: String::new(),
            operations: Vec::new(),
            approval_request: Some("web-1".into()),
            since: Time(Timestamp::UNIX_EPOCH),
        };
        // The generation was evaluated, and it waited for something else than the request.
        let gate = GateStatus { observed_generation: Some(1), ..Default::default() };
        Arc::make_mut(&mut observed.declared.object).status =
            Some(crate::api::EnclaveEndpointStatus { gate });
        observed.declared.knows_all_requests = false;
        assert_eq!(evaluated(&observed), (None, 0));
        let gate = GateStatus { pending: Some(pending), ..Default::default() };
        Arc::make_mut(&mut observed.declared.object).status =
            Some(crate::api::EnclaveEndpointStatus { gate });
        observed.declared.knows_all_requests = false;
        assert_eq!(evaluated(&observed), (None, 0));
        let mut rejected = approved(&observed, "web-1");
        observed.declared.knows_all_requests = true;
        assert_eq!(
            evaluated(&observed).0,
            Some(Some(State::Active)),
            "there is none, and no rule asks for one"
        );
        observed.declared.knows_all_requests = false;
        rejected.status.as_mut().unwrap().state = Some(RequestState::Rejected);
        observed.declared.requests.push(Arc::new(rejected));
        assert_eq!(evaluated(&observed).0, Some(Some(State::Rejected)));
        // No request was made for the new generation yet.
        Arc::make_mut(&mut observed.declared.object).metadata.generation = Some(2);
        assert_eq!(evaluated(&observed).0, Some(Some(State::Active)));
    }
}
