//! CloudEvents for audit records, with data of the object that the record is about.

use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::approval_request::{Decision, RequestState};
use crate::api::audit::{Audit, AuditRecord, RecordType};
use crate::api::entry::Entry;
use crate::api::role_activation::ActivationState;
use crate::api::{ApprovalRequest, ChangeReason, Kind, Operation, RoleActivation, Time};
use crate::model::approval::gated::Gated;

/// Object that has audit records to deliver.
pub trait Audited: ResourceExt {
    /// Returns the kind of the object.
    fn audited_kind() -> Kind;

    /// Returns the records that are recorded on the object; `None` while it has no status.
    fn audit(&self) -> Option<&Audit>;

    /// Returns the data of the CloudEvent for a record about the object.
    fn describe(&self, record: &AuditRecord) -> EventData;
}

/// The `data` of a CloudEvent. Fields that do not apply are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct EventData {
    /// Object that the record is about. For a record about a request, this is the object that the request
    /// would change.
    pub object: ObjectName,
    /// ApprovalRequest that the record is about, or that decides about the activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<ObjectName>,
    /// Operations that the change consists of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    /// Generation (`metadata.generation`) of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// SHA-256 of the canonical JSON (RFC 8785) of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// User names of the requesters, as the API server authenticated them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requesters: Vec<String>,
    /// Justification of the change, in the requester's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    /// Ticket or incident that the requester named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Votes on the request, each with the voter, the verdict and the comment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// State of the request or of the activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Time at which the request expires unless it is decided before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Time>,
    /// User name of the person who activates the role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Role of the activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Name of the RoleEligibility of the activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eligibility: Option<String>,
    /// Addresses or channels to notify, as the RoleEligibility names them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
    /// Time at which the activation begins, or began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub starts_at: Option<Time>,
    /// Time at which the activation ends, or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ends_at: Option<Time>,
    /// Maintenance that came into force or that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Value>,
    /// Description of the event, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether the words of users were left out, because the sink refused the record with them: true, or
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld: Option<bool>,
}

/// Name of an object in the cluster.
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

    /// Returns the name as `namespace/Kind/name`, or as `Kind/name` without a namespace.
    fn path(&self) -> String {
        let Self { kind, namespace, name, uid: _ } = self;
        namespace
            .as_ref()
            .map_or_else(|| format!("{kind}/{name}"), |namespace| format!("{namespace}/{kind}/{name}"))
    }
}

/// Returns a record as a CloudEvent 1.0 in JSON. `cluster` identifies the cluster in `source`.
#[must_use]
pub fn cloud_event<K: Audited>(object: &K, record: &AuditRecord, cluster: &str) -> Value {
    let data = object.describe(record);
    json!({
        "specversion": "1.0",
        "id": format!("{}.{}", object.uid().unwrap_or_default(), record.number),
        "source": format!("//enclave-operator.io/clusters/{cluster}"),
        "type": record.type_.event_type(),
        "subject": data.object.path(),
        "time": record.at,
        "datacontenttype": "application/json",
        "data": data,
    })
}

/// Returns a CloudEvent without the words that users wrote; `withheld` in its data says so.
#[must_use]
pub fn without_words(event: &Value) -> Value {
    let mut event = event.clone();
    let Some(data) = event.get_mut("data").and_then(Value::as_object_mut) else { return event };
    for words in ["justification", "ticket", "message", "notify"] {
        data.remove(words);
    }
    if let Some(maintenance) = data.get_mut("maintenance").and_then(Value::as_object_mut) {
        maintenance.retain(|field, _| matches!(field.as_str(), "mode" | "expiresAt"));
    }
    for decision in data.get_mut("decisions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(decision) = decision.as_object_mut() {
            decision.remove("comment");
        }
    }
    data.insert("withheld".to_owned(), json!(true));
    event
}

impl Audited for ApprovalRequest {
    fn audited_kind() -> Kind {
        Kind::ApprovalRequest
    }

    fn audit(&self) -> Option<&Audit> {
        self.status.as_ref().map(|status| &status.audit)
    }

    fn describe(&self, record: &AuditRecord) -> EventData {
        let spec = &self.spec;
        let status = self.status.as_ref();
        let state = match record.type_ {
            RecordType::Requested | RecordType::Expiring | RecordType::Reopened => {
                Some(RequestState::Pending)
            }
            // The state as it was then: an approval may have been taken back since, a rejection is not.
            RecordType::Decided | RecordType::Enacted => Some(match status.and_then(|status| status.state) {
                Some(RequestState::Rejected) => RequestState::Rejected,
                _ => RequestState::Approved,
            }),
            _ => status.and_then(|status| status.state),
        };
        let has_votes = !matches!(record.type_, RecordType::Requested | RecordType::Reopened);
        let decisions = status.filter(|_| has_votes).into_iter().flat_map(|status| status.decisions.clone());
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
            decisions: decisions.map(Entry::into_known).collect(),
            state: state.map(|state| state.to_string()),
            expires_at: Some(spec.expires_at.clone()),
            message: record.message.clone(),
            ..EventData::default()
        }
    }
}

impl Audited for RoleActivation {
    fn audited_kind() -> Kind {
        Kind::RoleActivation
    }

    fn audit(&self) -> Option<&Audit> {
        self.status.as_ref().map(|status| &status.audit)
    }

    fn describe(&self, record: &AuditRecord) -> EventData {
        let status = self.status.clone().unwrap_or_default();
        let request = status.approval_request.map(|name| ObjectName {
            kind: Kind::ApprovalRequest.to_string(),
            namespace: self.namespace(),
            name,
            uid: None,
        });
        let state = match record.type_ {
            RecordType::Activated => Some(ActivationState::Active),
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
            message: record.message.clone(),
            ..EventData::default()
        }
    }
}

impl<K: Gated + ResourceExt<DynamicType = ()>> Audited for K {
    fn audited_kind() -> Kind {
        K::KIND
    }

    fn audit(&self) -> Option<&Audit> {
        self.gate().map(|gate| &gate.audit)
    }

    fn describe(&self, record: &AuditRecord) -> EventData {
        let ChangeReason { justification, ticket } = record.change.clone().unwrap_or_default();
        EventData {
            object: ObjectName::of(K::KIND, self),
            generation: record.generation,
            digest: record.digest.clone(),
            requesters: record.requesters.clone(),
            justification,
            ticket,
            maintenance: record.maintenance.as_ref().map(|maintenance| json!(maintenance)),
            message: record.message.clone(),
            ..EventData::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_users_write_freely_is_told_without_words() {
        let event = json!({"data": {
            "object": {"kind": "Enclave", "name": "e"},
            "justification": "POISON", "ticket": "POISON", "message": "POISON", "notify": ["POISON"],
            "decisions": [{"approver": "bob", "comment": "POISON"}],
            "maintenance": {"mode": "General", "justification": "POISON", "expiresAt": "2026-01-01T00:00:00Z",
                "principals": [{"kind": "User", "name": "POISON"}]},
        }});
        assert_eq!(
            without_words(&event),
            json!({"data": {
                "object": {"kind": "Enclave", "name": "e"},
                "decisions": [{"approver": "bob"}],
                "maintenance": {"mode": "General", "expiresAt": "2026-01-01T00:00:00Z"},
                "withheld": true,
            }})
        );
    }
}
