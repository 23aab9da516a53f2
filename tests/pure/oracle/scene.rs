//! A cluster as it is written down: what is declared in it, and how far each thing got.

use enclave_operator::api::community::Dns;
use enclave_operator::api::enclave::WorkloadCommunication;
use enclave_operator::api::names::{label, purpose};
use enclave_operator::api::{CommunityEndpointSpec, EnclaveEndpointSpec, TransitHubSpec};
use jiff::{SignedDuration, Timestamp};

/// Everything that is declared.
#[derive(Clone)]
pub struct Scene {
    pub communities: Vec<CommunityScene>,
    /// What somebody does to the operator's policies between the two moments.
    pub drift: Vec<Drift>,
}

#[derive(Clone, Debug)]
pub struct CommunityScene {
    pub name: &'static str,
    /// The namespace that it asks for.
    pub namespace: Option<&'static str>,
    pub life: Life,
    /// What is applied, and what is wanted.
    pub dns: (Dns, Dns),
    pub enclaves: Vec<EnclaveScene>,
    pub hubs: Vec<Thing<TransitHubSpec>>,
    pub endpoints: Vec<Thing<CommunityEndpointSpec>>,
    pub connections: Vec<ConnectionScene>,
}

#[derive(Clone, Debug)]
pub struct EnclaveScene {
    pub life: Life,
    /// What is applied, and what is wanted.
    pub communication: (WorkloadCommunication, WorkloadCommunication),
    pub workloads: Vec<WorkloadScene>,
    pub endpoints: Vec<Thing<EnclaveEndpointSpec>>,
    pub connections: Vec<ConnectionScene>,
}

#[derive(Clone, Debug)]
pub struct WorkloadScene {
    pub life: Life,
    /// Somebody else had its namespace first.
    pub is_taken: bool,
}

#[derive(Clone, Debug)]
pub struct ConnectionScene {
    pub life: Life,
    pub from: From,
    pub to: To,
    /// What is applied, and what is wanted.
    pub enabled: (bool, bool),
    /// When it ends by what is applied, and by what is wanted; in hours from now.
    pub ends: (Option<i64>, Option<i64>),
    /// It ends some time after it was applied, not at a point in time.
    pub lasts: bool,
    /// What it was approved for.
    pub bound: Bound,
}

/// Whether the objects that a connection names are those that were there when it was approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Same,
    /// The endpoint was made again.
    AnotherEndpoint,
    /// The hubs were made again.
    OtherHubs,
}

#[derive(Clone, Debug)]
pub enum From {
    Workloads(Vec<usize>),
    Hub(usize),
}

/// Where to, by position.
#[derive(Clone, Copy, Debug)]
pub enum To {
    Enclave(usize, usize),
    Community(usize),
}

/// Something declared: what is applied of it, and what is wanted once it is edited.
#[derive(Clone, Debug)]
pub struct Thing<S> {
    pub life: Life,
    pub applied: S,
    pub wanted: S,
}

/// How far something got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Applied,
    /// Nothing of it is applied.
    Held,
    /// Another content is wanted than is applied.
    Edited,
    Leaving,
    /// Its deletion is applied.
    Retired,
    Absent,
}

/// Something that is not the operator's doing. Positions count the operator's policies.
#[derive(Clone, Copy, Debug)]
pub enum Drift {
    Delete(usize),
    Open(usize),
    /// A policy of a connection that nobody knows, beside this one.
    Leave(usize),
}

/// The same things a day ago, when nobody had edited or deleted anything, and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Before,
    Now,
}

pub const ENCLAVES: [&str; 3] = ["a", "b", "a-b"];
/// The namespace of workload "b" of Enclave "a" would be the control namespace of Enclave "a-b".
pub const WORKLOADS: [&str; 3] = ["w", "x", "b"];
pub const NAMES: [&str; 4] = ["one", "two", "three", "four"];
/// Namespaces that are not the operator's, with labels that make them look like what they are not.
pub const STRANGERS: [(&str, &[(&str, &str)]); 4] = [
    ("kube-system", &[]),
    ("shop", &[(label::PURPOSE, purpose::WORKLOAD), (label::COMMUNITY, "c"), (label::ENCLAVE, "a")]),
    ("vpn", &[(label::MANAGED_BY, "enclave-operator")]),
    ("c-a-w-2", &[("name", "c-a-w"), (label::WORKLOAD, "w")]),
];

impl Life {
    /// How far it was when nobody had edited or deleted anything.
    pub const fn before(self) -> Self {
        match self {
            Self::Edited | Self::Leaving | Self::Retired => Self::Applied,
            before @ (Self::Applied | Self::Held | Self::Absent) => before,
        }
    }
}

impl Moment {
    pub fn time(self) -> Timestamp {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        match self {
            Self::Before => now - SignedDuration::from_hours(24),
            Self::Now => now,
        }
    }
}

impl<S: Clone> Thing<S> {
    pub fn applied(spec: S) -> Self {
        Self { life: Life::Applied, wanted: spec.clone(), applied: spec }
    }
}
