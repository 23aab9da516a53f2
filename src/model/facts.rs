//! What is told about what happened: which facts a new status makes true, and how a fact is told.
//!
//! A fact is recorded by the write that makes it true, so it is neither lost nor invented when the
//! operator dies, and stays on its object until it was told.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::gated::Gated;
use super::life::requesters;
use crate::api::approval_request::{Decision, RequestState};
use crate::api::audit::{Audit, Fact, FactType, MOST_WAITING};
use crate::api::common::Maintenance;
use crate::api::names::{condition, reason};
use crate::api::role_activation::ActivationState;
use crate::api::{
    ApprovalRequest, ApprovalRequestStatus, ChangeReason, GateStatus, Kind, Operation, RoleActivation,
    RoleActivationStatus,
};

/// So many characters of a message are told.
const LONGEST_MESSAGE: usize = 4000;
/// So many of those who asked are told.
const MOST_REQUESTERS: usize = 256;

/// A fact that has no number yet.
fn fact(type_: FactType, at: Timestamp) -> Fact {
    Fact {
        number: 0,
        type_,
        at: Time(at),
        generation: None,
        digest: None,
        requesters: Vec::new(),
        change: None,
        maintenance: None,
        message: None,
        taken_by: Vec::new(),
    }
}

fn message(conditions: &[Condition], type_: &str) -> Option<String> {
    let found = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some(found.message.chars().take(LONGEST_MESSAGE).collect())
}

/// Puts facts on their object. When too many wait already a further one is only counted, so that the
/// numbers show the gap.
pub fn record(audit: &mut Audit, facts: impl IntoIterator<Item = Fact>) {
    for fact in facts {
        audit.recorded = audit.recorded.saturating_add(1);
        if audit.waiting.len() < MOST_WAITING {
            audit.waiting.push(Fact { number: audit.recorded, ..fact });
        }
    }
}

/// What becomes true of a request with this status.
#[must_use]
pub fn facts_of_request(
    request: &ApprovalRequest,
    after: &ApprovalRequestStatus,
    now: Timestamp,
) -> Vec<Fact> {
    let nothing = ApprovalRequestStatus::default();
    let before = request.status.as_ref().unwrap_or(&nothing);
    let mut facts = Vec::new();
    if before.state.is_none() && after.state.is_some() {
        let made = request.creation_timestamp().map_or(now, |at| at.0);
        facts.push(fact(FactType::Requested, made));
    }
    if before.reminded_at.is_none() && after.reminded_at.is_some() {
        facts.push(Fact { message: after.missing.clone(), ..fact(FactType::Expiring, now) });
    }
    if before.decided_at != after.decided_at {
        let type_ = match after.state {
            Some(RequestState::Approved | RequestState::Rejected) => FactType::Decided,
            Some(RequestState::Expired) => FactType::Expired,
            Some(RequestState::Superseded) => FactType::Superseded,
            Some(RequestState::Withdrawn) => FactType::Withdrawn,
            Some(RequestState::Pending) | None => FactType::Reopened,
        };
        let at = after.decided_at.as_ref().map_or(now, |at| at.0);
        facts.push(Fact { message: message(&after.conditions, condition::DECIDED), ..fact(type_, at) });
    }
    if let Some(at) = after.enacted_at.as_ref().filter(|_| before.enacted_at.is_none()) {
        facts.push(fact(FactType::Enacted, at.0));
    }
    facts
}

/// The status of a request whose change is recorded as applied.
#[must_use]
pub fn enacted_status(request: &ApprovalRequest, at: Timestamp) -> ApprovalRequestStatus {
    let mut after = request.status.clone().unwrap_or_default();
    after.enacted_at = Some(Time(at));
    let facts = facts_of_request(request, &after, at);
    record(&mut after.audit, facts);
    after
}

/// What becomes true of an activation with this status.
#[must_use]
pub fn facts_of_activation(
    activation: &RoleActivation,
    after: &RoleActivationStatus,
    now: Timestamp,
) -> Vec<Fact> {
    use ActivationState::{
        Active, Deactivated, Expired, Lapsed, PendingApproval, Refused, Rejected, Revoked, Scheduled,
    };
    let before = activation.status.as_ref().and_then(|status| status.state);
    if before == after.state {
        return Vec::new();
    }
    let (type_, at) = match after.state {
        Some(Active) => (FactType::Activated, after.starts_at.as_ref()),
        Some(Expired | Deactivated | Revoked) if before == Some(Active) => {
            (FactType::Ended, after.ends_at.as_ref())
        }
        Some(Refused) => (FactType::Refused, None),
        // It was never active, or its request says so.
        Some(Expired | Deactivated | Revoked | Rejected | Lapsed | PendingApproval | Scheduled) | None => {
            return Vec::new();
        }
    };
    let at = at.map_or(now, |at| at.0);
    vec![Fact { message: message(&after.conditions, condition::READY), ..fact(type_, at) }]
}

/// What becomes true of an object that is held, with this status. What a request released is told of the
/// request.
#[must_use]
pub fn facts_of_gated<K: Gated>(object: &K, after: &GateStatus, now: Timestamp) -> Vec<Fact> {
    let before = object.gate();
    let applied_before = before.and_then(|gate| gate.applied.as_ref());
    // What only closes is applied without a request, and keeps the one that released the rest.
    let released_before = applied_before.and_then(|applied| applied.approval_request.as_ref());
    let enacted = after.applied.as_ref().filter(|applied| {
        let request = applied.approval_request.as_ref();
        Some(*applied) != applied_before && (request.is_none() || request == released_before)
    });
    let enacted = enacted.map(|applied| {
        let mut requesters = requesters(object).unwrap_or_default();
        requesters.truncate(MOST_REQUESTERS);
        // The words for what was applied before are not those for this.
        let is_new = applied_before.is_none_or(|before| before.generation != applied.generation);
        Fact {
            generation: Some(applied.generation),
            digest: Some(applied.digest.clone()),
            requesters,
            change: applied.change.clone().filter(|_| is_new),
            ..fact(FactType::Enacted, applied.at.0)
        }
    });
    let is_broken = |conditions: &[Condition]| {
        conditions
            .iter()
            .any(|one| one.type_ == condition::PROTECTED && one.reason == reason::POLICIES_NOT_INTACT)
    };
    let was_broken = before.is_some_and(|gate| is_broken(&gate.conditions));
    let protection = match (was_broken, is_broken(&after.conditions)) {
        (false, true) => Some(FactType::PoliciesTampered),
        (true, false) => Some(FactType::PoliciesRestored),
        (false, false) | (true, true) => None,
    };
    let protection = protection
        .map(|type_| Fact { message: message(&after.conditions, condition::PROTECTED), ..fact(type_, now) });
    enacted.into_iter().chain(protection).collect()
}

/// What becomes true when this maintenance is in force instead of that.
#[must_use]
pub fn facts_of_maintenance(
    before: Option<&Maintenance>,
    after: Option<&Maintenance>,
    requesters: Option<Vec<String>>,
    now: Timestamp,
) -> Option<Fact> {
    if before == after {
        return None;
    }
    let type_ = if after.is_some() { FactType::MaintenanceOn } else { FactType::MaintenanceOff };
    let mut requesters = requesters.unwrap_or_default();
    requesters.truncate(MOST_REQUESTERS);
    Some(Fact { maintenance: after.or(before).cloned(), requesters, ..fact(type_, now) })
}

/// An object about which something is told.
pub trait Told: ResourceExt {
    /// Its kind.
    fn kind_told() -> Kind;

    /// What is recorded of it.
    fn audit(&self) -> Option<&Audit>;

    /// A fact with what the object says.
    fn describe(&self, fact: &Fact) -> EventData;
}

/// The `data` of a CloudEvent. What is absent does not apply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct EventData {
    /// What the fact is about. For a request: what it would change.
    pub object: ObjectName,
    /// The ApprovalRequest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<ObjectName>,
    /// What the change amounts to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    /// The `metadata.generation` of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// SHA-256 of the canonical JSON (RFC 8785) of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Who asked: user names as the API server authenticated them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requesters: Vec<String>,
    /// Why, in the requester's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    /// The requester's ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Who decided, how, and in which words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// State of the request or of the activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// When the request expires unless it is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Time>,
    /// Who activated the role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Name of the RoleEligibility.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eligibility: Option<String>,
    /// Who should hear of it, as the RoleEligibility says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
    /// When the role began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub starts_at: Option<Time>,
    /// When the role ends, or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ends_at: Option<Time>,
    /// The maintenance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Value>,
    /// What it was, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// True when the words of users were left out, because the sink refused the fact with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld: Option<bool>,
}

/// The name of an object in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ObjectName {
    /// Kind of the object.
    pub kind: String,
    /// Namespace of the object; absent for a Community.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the object.
    pub name: String,
    /// UID of the object, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

impl ObjectName {
    fn of<K: ResourceExt<DynamicType = ()>>(kind: Kind, object: &K) -> Self {
        Self {
            kind: kind.to_string(),
            namespace: object.namespace(),
            name: object.name_any(),
            uid: object.uid(),
        }
    }

    /// `namespace/Kind/name`.
    fn path(&self) -> String {
        let Self { kind, namespace, name, uid: _ } = self;
        namespace
            .as_ref()
            .map_or_else(|| format!("{kind}/{name}"), |namespace| format!("{namespace}/{kind}/{name}"))
    }
}

/// A fact as a CloudEvent 1.0 in JSON. `cluster` identifies the cluster in `source`.
#[must_use]
pub fn cloud_event<K: Told>(object: &K, fact: &Fact, cluster: &str) -> Value {
    let data = object.describe(fact);
    json!({
        "specversion": "1.0",
        "id": format!("{}.{}", object.uid().unwrap_or_default(), fact.number),
        "source": format!("//enclave-operator.io/clusters/{cluster}"),
        "type": fact.type_.event_type(),
        "subject": data.object.path(),
        "time": fact.at,
        "datacontenttype": "application/json",
        "data": data,
    })
}

/// A CloudEvent without the words that users wrote; it says so.
#[must_use]
pub fn without_words(event: &Value) -> Value {
    let mut event = event.clone();
    let Some(data) = event.get_mut("data").and_then(Value::as_object_mut) else { return event };
    for words in ["justification", "ticket", "message"] {
        data.remove(words);
    }
    for decision in data.get_mut("decisions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(decision) = decision.as_object_mut() {
            decision.remove("comment");
        }
    }
    data.insert("withheld".to_owned(), json!(true));
    event
}

impl Told for ApprovalRequest {
    fn kind_told() -> Kind {
        Kind::ApprovalRequest
    }

    fn audit(&self) -> Option<&Audit> {
        self.status.as_ref().map(|status| &status.audit)
    }

    fn describe(&self, fact: &Fact) -> EventData {
        let spec = &self.spec;
        let status = self.status.as_ref();
        let state = match fact.type_ {
            FactType::Requested | FactType::Expiring | FactType::Reopened => Some(RequestState::Pending),
            _ => status.and_then(|status| status.state),
        };
        let has_votes = !matches!(fact.type_, FactType::Requested | FactType::Reopened);
        let decisions = status.filter(|_| has_votes).map(|status| status.decisions.clone());
        EventData {
            object: ObjectName {
                kind: spec.target.kind.to_string(),
                namespace: spec.target.namespace.clone(),
                name: spec.target.name.clone(),
                uid: Some(spec.target.uid.clone()),
            },
            request: Some(ObjectName::of(Kind::ApprovalRequest, self)),
            operations: spec.operations.clone(),
            generation: Some(spec.target.generation),
            digest: Some(spec.change.digest.clone()),
            requesters: spec.requesters.clone(),
            justification: spec.justification.clone(),
            ticket: spec.ticket.clone(),
            decisions: decisions.unwrap_or_default(),
            state: state.map(|state| state.to_string()),
            expires_at: Some(spec.expires_at.clone()),
            message: fact.message.clone(),
            ..EventData::default()
        }
    }
}

impl Told for RoleActivation {
    fn kind_told() -> Kind {
        Kind::RoleActivation
    }

    fn audit(&self) -> Option<&Audit> {
        self.status.as_ref().map(|status| &status.audit)
    }

    fn describe(&self, fact: &Fact) -> EventData {
        let status = self.status.clone().unwrap_or_default();
        let request = status.approval_request.map(|name| ObjectName {
            kind: Kind::ApprovalRequest.to_string(),
            namespace: self.namespace(),
            name,
            uid: None,
        });
        let state = match fact.type_ {
            FactType::Activated => Some(ActivationState::Active),
            _ => status.state,
        };
        EventData {
            object: ObjectName::of(Kind::RoleActivation, self),
            request,
            operations: vec![Operation::RoleActivation],
            requesters: status.user.iter().cloned().collect(),
            justification: self.spec.justification.clone(),
            ticket: self.spec.ticket.clone(),
            state: state.map(|state| state.to_string()),
            user: status.user,
            role: status.role.map(|role| role.to_string()),
            eligibility: Some(self.spec.eligibility.clone()),
            notify: status.notify,
            starts_at: status.starts_at,
            ends_at: status.ends_at,
            message: fact.message.clone(),
            ..EventData::default()
        }
    }
}

impl<K: Gated + ResourceExt<DynamicType = ()>> Told for K {
    fn kind_told() -> Kind {
        K::KIND
    }

    fn audit(&self) -> Option<&Audit> {
        self.gate().map(|gate| &gate.audit)
    }

    fn describe(&self, fact: &Fact) -> EventData {
        let ChangeReason { justification, ticket } = fact.change.clone().unwrap_or_default();
        EventData {
            object: ObjectName::of(K::KIND, self),
            generation: fact.generation,
            digest: fact.digest.clone(),
            requesters: fact.requesters.clone(),
            justification,
            ticket,
            maintenance: fact.maintenance.as_ref().map(|maintenance| json!(maintenance)),
            message: fact.message.clone(),
            ..EventData::default()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::api::common::{MaintenanceMode, Principal, PrincipalKind};
    use crate::model::request::tests::a_request;

    pub fn a_fact(type_: FactType) -> Fact {
        fact(type_, Timestamp::UNIX_EPOCH)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn types(facts: &[Fact]) -> Vec<FactType> {
        facts.iter().map(|fact| fact.type_).collect()
    }

    #[test]
    fn each_step_of_a_request_is_one_fact_and_no_step_is_none() {
        use FactType::{Decided, Enacted, Expired, Expiring, Reopened, Requested, Superseded, Withdrawn};
        let open =
            ApprovalRequestStatus { state: Some(RequestState::Pending), ..ApprovalRequestStatus::default() };
        let decided = |state| ApprovalRequestStatus {
            state: Some(state),
            decided_at: Some(Time(at(10))),
            ..open.clone()
        };
        let approved = decided(RequestState::Approved);
        for (before, after, expected) in [
            (None, open.clone(), vec![Requested]),
            (
                Some(open.clone()),
                ApprovalRequestStatus { reminded_at: Some(Time(at(5))), ..open.clone() },
                vec![Expiring],
            ),
            (Some(open.clone()), approved.clone(), vec![Decided]),
            (Some(open.clone()), decided(RequestState::Rejected), vec![Decided]),
            (Some(open.clone()), decided(RequestState::Expired), vec![Expired]),
            (Some(open.clone()), decided(RequestState::Superseded), vec![Superseded]),
            (Some(open.clone()), decided(RequestState::Withdrawn), vec![Withdrawn]),
            (Some(approved.clone()), open.clone(), vec![Reopened]),
            (
                Some(approved.clone()),
                ApprovalRequestStatus { enacted_at: Some(Time(at(11))), ..approved.clone() },
                vec![Enacted],
            ),
            // Made, and its target was edited before anybody saw it.
            (None, decided(RequestState::Superseded), vec![Requested, Superseded]),
            (Some(open.clone()), ApprovalRequestStatus { missing: Some("one".into()), ..open }, vec![]),
            (Some(approved.clone()), approved, vec![]),
        ] {
            let mut request = ApprovalRequest::new("r", a_request());
            request.status = before;
            assert_eq!(types(&facts_of_request(&request, &after, at(20))), expected, "{after:?}");
        }
    }

    #[test]
    fn what_is_enacted_is_recorded_with_it() {
        let mut request = ApprovalRequest::new("r", a_request());
        request.status = Some(ApprovalRequestStatus::default());
        request.status = Some(enacted_status(&request, at(30)));
        let status = request.status.as_ref().unwrap();
        assert_eq!((status.audit.recorded, types(&status.audit.waiting)), (1, vec![FactType::Enacted]));
        assert_eq!(status.audit.waiting[0].at, Time(at(30)));
        assert_eq!(enacted_status(&request, at(30)), *status, "not twice");
    }

    #[test]
    fn only_so_many_facts_wait_and_the_numbers_go_on() {
        let mut audit = Audit::default();
        record(&mut audit, (0..=MOST_WAITING).map(|_| a_fact(FactType::Enacted)));
        let numbers: Vec<i64> = audit.waiting.iter().map(|fact| fact.number).collect();
        assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
        assert_eq!(audit.recorded, 101);
        audit.waiting.clear();
        record(&mut audit, [a_fact(FactType::Enacted)]);
        assert_eq!(audit.waiting[0].number, 102);
    }

    #[test]
    fn an_activation_is_told_when_it_begins_when_it_ends_and_when_it_is_refused() {
        use ActivationState::{
            Active, Deactivated, Expired, Lapsed, PendingApproval, Refused, Rejected, Revoked, Scheduled,
        };
        for (before, after, expected) in [
            (None, PendingApproval, None),
            (None, Active, Some(FactType::Activated)),
            (Some(Scheduled), Active, Some(FactType::Activated)),
            (Some(Active), Active, None),
            (Some(Active), Expired, Some(FactType::Ended)),
            (Some(Active), Revoked, Some(FactType::Ended)),
            (Some(Active), Deactivated, Some(FactType::Ended)),
            (Some(Scheduled), Deactivated, None),
            (Some(PendingApproval), Rejected, None),
            (Some(PendingApproval), Lapsed, None),
            (None, Refused, Some(FactType::Refused)),
            (Some(PendingApproval), Refused, Some(FactType::Refused)),
        ] {
            let spec = serde_json::json!({"eligibility": "e", "duration": "1h"});
            let mut activation = RoleActivation::new("a", serde_json::from_value(spec).unwrap());
            let status =
                |state| RoleActivationStatus { state: Some(state), ..RoleActivationStatus::default() };
            activation.status = before.map(status);
            let facts = facts_of_activation(&activation, &status(after), at(0));
            assert_eq!(types(&facts), expected.into_iter().collect::<Vec<_>>(), "{before:?} -> {after:?}");
        }
    }

    #[test]
    fn what_needs_no_request_is_told_of_the_object_and_so_is_what_only_closes() {
        use crate::api::gate::Applied;
        use crate::api::{Content, Enclave, EnclaveSpec, EnclaveStatus};
        let applied = |generation, digest: &str, request: Option<&str>| Applied {
            generation,
            digest: digest.into(),
            spec: Content::of_spec(&EnclaveSpec::default()).unwrap(),
            change: Some(ChangeReason { justification: Some("why".into()), ticket: None }),
            approval_request: request.map(ToOwned::to_owned),
            at: Time(at(generation)),
            references: Vec::new(),
        };
        let told = |before: Option<Applied>, after: Applied| -> Vec<(i64, bool)> {
            let mut enclave = Enclave::new("e", EnclaveSpec::default());
            let gate = GateStatus { applied: before, ..GateStatus::default() };
            enclave.status = Some(EnclaveStatus { gate, ..EnclaveStatus::default() });
            let gate = GateStatus { applied: Some(after), ..GateStatus::default() };
            let facts = facts_of_gated(&enclave, &gate, at(0));
            facts.into_iter().map(|fact| (fact.generation.unwrap(), fact.change.is_some())).collect()
        };
        let (one, other) = (applied(1, "a", Some("r1")), applied(2, "b", Some("r2")));
        assert_eq!(told(None, applied(1, "a", None)), [(1, true)]);
        assert_eq!(told(None, one.clone()), [], "the request tells it");
        assert_eq!(told(Some(one.clone()), other), []);
        assert_eq!(told(Some(one.clone()), one.clone()), []);
        assert_eq!(told(Some(one.clone()), applied(2, "b", None)), [(2, true)]);
        // A part of an edit that closes, of what a request had released; and a whole one.
        assert_eq!(told(Some(one.clone()), applied(1, "c", Some("r1"))), [(1, false)]);
        assert_eq!(told(Some(one), applied(2, "c", Some("r1"))), [(2, true)]);
    }

    #[test]
    fn maintenance_is_told_when_it_is_another_one() {
        let maintenance = |name: &str| Maintenance {
            mode: MaintenanceMode::General,
            principals: vec![Principal { kind: PrincipalKind::User, name: name.into(), namespace: None }],
            ..Maintenance::default()
        };
        let (ann, bob) = (maintenance("ann"), maintenance("bob"));
        let told = |before, after| {
            facts_of_maintenance(before, after, None, at(0))
                .map(|fact| (fact.type_, fact.maintenance.unwrap()))
        };
        assert_eq!(told(None, Some(&ann)), Some((FactType::MaintenanceOn, ann.clone())));
        assert_eq!(told(Some(&ann), Some(&bob)), Some((FactType::MaintenanceOn, bob.clone())));
        assert_eq!(told(Some(&bob), None), Some((FactType::MaintenanceOff, bob.clone())));
        assert_eq!(told(Some(&ann), Some(&ann)), None);
        assert_eq!(told(None, None), None);
    }
}
