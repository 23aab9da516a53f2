//! Audit records of an object, kept in its status until every sink has accepted them.

// KubeSchema copies the structs, and nothing reads in the copy what serde skips.
#![allow(dead_code)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::Time;
use super::common::{ChangeReason, Maintenance};
use super::entry::Entry;

/// Maximum number of records of one object that wait.
pub const MOST_WAITING: usize = 500;

/// Size of the waiting records of one object, in bytes of JSON, beyond which further records are shortened.
/// Beyond twice this size they are only counted. etcd takes objects of 1.5 MiB as a whole.
pub const MOST_BYTES: usize = 256 * 1024;

/// Audit records of an object. A record is written in the same write that makes it true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Number of records so far. The number of a record is part of the id of its CloudEvent, so a missing
    /// record can be noticed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub recorded: i64,
    /// Audit records that not every sink has accepted yet, oldest first. Beyond 256 KiB of JSON, further
    /// records have no justification, ticket and message, and only the first requesters; beyond 500 records
    /// or 512 KiB, further records are only counted in `recorded`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub waiting: Vec<Entry<AuditRecord>>,
    /// Audit records that only another version of the operator can read. They are kept until that version
    /// delivers them.
    #[serde(skip)]
    #[schemars(skip)]
    pub foreign: Vec<Value>,
}

impl Serialize for Audit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Waiting<'a> {
            Ours(&'a Entry<AuditRecord>),
            Foreign(&'a Value),
        }
        #[derive(Serialize)]
        struct Written<'a> {
            recorded: i64,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            waiting: Vec<Waiting<'a>>,
        }
        let Self { recorded, waiting, foreign } = self;
        let waiting = waiting.iter().map(Waiting::Ours).chain(foreign.iter().map(Waiting::Foreign));
        Written { recorded: *recorded, waiting: waiting.take(MOST_WAITING).collect() }.serialize(serializer)
    }
}

impl Audit {
    /// Whether nothing was ever recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether every sink has accepted all records that this version can read.
    #[must_use]
    pub const fn is_delivered(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Audit record of one event about an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Number of the record among those of this object, from 1.
    #[schemars(range(min = 1))]
    pub number: i64,
    /// Type of the event.
    #[serde(rename = "type")]
    pub type_: RecordType,
    /// Time of the event, in whole seconds.
    #[schemars(schema_with = "super::schemas::time")]
    pub at: Time,
    /// Generation (`metadata.generation`) of the content that was put into force. Absent for other events,
    /// and for those about an ApprovalRequest, whose spec has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub generation: Option<i64>,
    /// SHA-256 of the canonical JSON (RFC 8785) of the content that was put into force; absent where
    /// `generation` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub digest: Option<String>,
    /// User names of the requesters, as the API server stamped them. Absent when they were not stamped, and
    /// for events about an ApprovalRequest or a RoleActivation, which have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub requesters: Vec<String>,
    /// Justification and ticket of the change; absent when none were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeReason>,
    /// Maintenance that came into force or that ended; absent for other events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Description of the event, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,
    /// Names of the sinks that have accepted the record while another sink has not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 16)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub taken_by: Vec<String>,
}

/// Type of an audit record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RecordType {
    /// An ApprovalRequest was made and can be decided.
    Requested,
    /// An undecided ApprovalRequest expires soon.
    Expiring,
    /// An ApprovalRequest was approved or rejected.
    Decided,
    /// An approval does not count any more, because the admission policies under which its votes were cast changed.
    Reopened,
    /// An ApprovalRequest was not decided in time.
    Expired,
    /// An ApprovalRequest was superseded: its target was edited again, or an object that its content names
    /// was changed.
    Superseded,
    /// An ApprovalRequest was withdrawn: the change was taken back, or its target is gone.
    Withdrawn,
    /// A change was put into force.
    Enacted,
    /// A role was activated.
    Activated,
    /// An activation ended.
    Ended,
    /// An activation was refused.
    Refused,
    /// Maintenance came into force, or was replaced by another maintenance.
    MaintenanceOn,
    /// Maintenance ended.
    MaintenanceOff,
    /// The admission policies are not those that the operator was built with.
    PoliciesTampered,
    /// The admission policies are again those that the operator was built with.
    PoliciesRestored,
}

impl RecordType {
    /// All types, in the order in which documents list them.
    pub const ALL: [Self; 15] = [
        Self::Requested,
        Self::Expiring,
        Self::Decided,
        Self::Reopened,
        Self::Expired,
        Self::Superseded,
        Self::Withdrawn,
        Self::Enacted,
        Self::Activated,
        Self::Ended,
        Self::Refused,
        Self::MaintenanceOn,
        Self::MaintenanceOff,
        Self::PoliciesTampered,
        Self::PoliciesRestored,
    ];

    /// Returns the type of the CloudEvent for a record of this type.
    #[must_use]
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Requested => "io.enclave-operator.requested",
            Self::Expiring => "io.enclave-operator.expiring",
            Self::Decided => "io.enclave-operator.decided",
            Self::Reopened => "io.enclave-operator.reopened",
            Self::Expired => "io.enclave-operator.expired",
            Self::Superseded => "io.enclave-operator.superseded",
            Self::Withdrawn => "io.enclave-operator.withdrawn",
            Self::Enacted => "io.enclave-operator.enacted",
            Self::Activated => "io.enclave-operator.activated",
            Self::Ended => "io.enclave-operator.ended",
            Self::Refused => "io.enclave-operator.refused",
            Self::MaintenanceOn => "io.enclave-operator.maintenance-on",
            Self::MaintenanceOff => "io.enclave-operator.maintenance-off",
            Self::PoliciesTampered => "io.enclave-operator.policies-tampered",
            Self::PoliciesRestored => "io.enclave-operator.policies-restored",
        }
    }
}
