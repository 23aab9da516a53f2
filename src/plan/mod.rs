//! Pure functions from what is observed to what should be, for any kind.
//!
//! A plan is data: writes to make, the status to publish, when to look again. It is derived anew
//! from observed objects each time; "Active" is said only of children that were *seen* as they
//! should be, never of children that were merely sent.
//!
//! This module imports `model` and `api`. The plans of the single kinds are in `kinds/<kind>/plan.rs`.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;

use self::child::{Child, Due, Verb};
use crate::api::approval_request::Target;
use crate::api::{ApprovalRequest, Kind, names};
use crate::model::approval::impact::Lines;
use crate::model::approval::scope::RulesOrigin;
use kube::api::ObjectMeta;

pub mod child;
pub mod conditions;
pub mod enforcement;
pub mod gated;
pub mod lock;
pub mod metadata;
pub mod namespace;
pub mod parent;
pub mod policies;
pub mod rbac;
pub mod status;

/// The actions that one reconciliation is to take.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<S> {
    /// Writes that put the owned objects into shape. Each is made even when another one fails, which must not
    /// keep a second drift open.
    pub repairs: Vec<Write>,
    /// Writes that depend on each other: in this order, and none after one that failed. The status
    /// is published when all of these succeeded.
    pub writes: Vec<Write>,
    /// Confirmations that are made while the status is written, to save time. The status holds whatever they
    /// find, and whoever acts on it confirms the same.
    pub beside: Vec<Write>,
    /// The status to publish when it differs from the observed one; `None` leaves it alone.
    pub status: Option<S>,
    /// The Events to publish once the status is published.
    pub events: Vec<PlannedEvent>,
    /// The time at which to look again although nothing was seen to change.
    pub requeue_at: Option<Timestamp>,
    /// Whether to look again when all requests are known.
    pub waits_for_requests: bool,
}

impl<S> Plan<S> {
    /// Returns a plan that does nothing.
    #[must_use]
    pub const fn nothing() -> Self {
        Self {
            repairs: Vec::new(),
            writes: Vec::new(),
            beside: Vec::new(),
            status: None,
            events: Vec::new(),
            requeue_at: None,
            waits_for_requests: false,
        }
    }

    /// Writes into a new request what it opens and what it closes, which is computed only when there is one.
    pub(crate) fn add_impact<L: Into<Lines>>(&mut self, impact: impl Fn() -> (L, L)) {
        for write in &mut self.writes {
            let Write::CreateRequest(request) = write else { continue };
            let (opens, closes) = impact();
            let (opens, closes): (Lines, Lines) = (opens.into(), closes.into());
            request.spec.impact.opens = opens.into();
            request.spec.impact.closes = closes.into();
        }
    }

    /// The same plan with another status.
    pub fn with_status<T>(self, status: impl FnOnce(S) -> T) -> Plan<T> {
        let Self { repairs, writes, beside, status: before, events, requeue_at, waits_for_requests } = self;
        let status = before.map(status);
        Plan { repairs, writes, beside, status, events, requeue_at, waits_for_requests }
    }
}

/// One write to the API server. Every write is guarded: creations fail when the object exists,
/// all others when the object is not the one (UID) or not the version that was observed.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Put the operator's finalizer on the reconciled object.
    AddFinalizer,
    /// Take the operator's finalizer off the reconciled object.
    RemoveFinalizer,
    /// Delete the reconciled object, whose retirement is applied.
    DeleteSelf,
    /// Go on only when the target of the reconciled request is really gone. Caches fill one after
    /// the other, so one of them not knowing an object does not mean that there is none.
    ConfirmTargetGone(Target),
    /// Go on only when the namespace is really gone, or is not of the owner with this UID.
    ConfirmNamespaceGone { name: String, owner_uid: String },
    /// Go on only when what is applied of this object is still what its rules were read from: a
    /// change that needs no approval by old rules may need one by new ones.
    ConfirmRules(RulesOrigin),
    /// Go on only when the API server really runs the admission policies with this fingerprint.
    /// The watch of the policies may be behind the watch of the votes.
    ConfirmPolicies { fingerprint: String, by: ConfirmBy },
    /// Propose a change.
    CreateRequest(Box<ApprovalRequest>),
    /// Record on a request that its change is applied.
    MarkEnacted { request: Arc<ApprovalRequest>, at: Timestamp },
    /// Create a namespace.
    CreateNamespace(Box<Namespace>),
    /// Put a namespace back to what it should be.
    ReplaceNamespace(Box<Namespace>),
    /// Delete a namespace with everything in it.
    DeleteNamespace { name: String, uid: String },
    /// Create, replace or delete a [`Child`].
    Child(Verb, Child),
}

/// The reads by which the admission policies are confirmed. The policies that protect the votes on a change of a kind
/// (`admission::protects_votes`) can be read one by one: that takes many requests but is answered at once, for
/// changes that people wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfirmBy {
    /// A read of each of these policies.
    Get(Kind),
    /// The same reads, while these votes of a request are counted
    /// ([`crate::model::approval::votes::describe_votes`]).
    CountingVotes(Kind, String),
    /// The same reads. Reads that began after these votes of a request were counted last are enough.
    VotesCounted(Kind, String),
    /// Reads of lists, which the API server answers when its watch cache is up to date (about 90 ms after a
    /// write): few requests, and one answer serves all who come meanwhile.
    List,
}

impl Write {
    /// Returns the sort of a write. Writes of one sort that follow each other in a plan can be made side by side.
    #[must_use]
    pub fn sort(&self) -> impl PartialEq + use<> {
        let child = match self {
            Self::Child(verb, child) => {
                let is_default_deny = child.metadata().name.as_deref() == Some(names::child::DEFAULT_DENY);
                let needs_role = *verb == Verb::Create && child.binds_made_role();
                let kind = (!child.is_rbac()).then(|| std::mem::discriminant(child));
                Some((*verb, kind, is_default_deny, needs_role))
            }
            _ => None,
        };
        (std::mem::discriminant(self), child)
    }

    /// Returns the write that does this to a child.
    pub fn child(verb: Verb, child: impl Into<Child>) -> Self {
        Self::Child(verb, child.into())
    }
}

/// The write that is due; `build` makes the object with its metadata.
pub fn write_due<K: Into<Child>>(due: Due, build: impl FnOnce(ObjectMeta) -> K) -> Option<Write> {
    match due {
        Due::Nothing => None,
        Due::Creation(metadata) => Some(Write::child(Verb::Create, build(metadata))),
        Due::Replacement(metadata) => Some(Write::child(Verb::Replace, build(metadata))),
    }
}

/// An Event that people should read in `kubectl get events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedEvent {
    /// The type of the Event: Normal or Warning.
    pub severity: Severity,
    /// One of [`crate::api::names::reason`].
    pub reason: &'static str,
    /// The text: what happened and what to do.
    pub message: String,
}

/// The severity of a [`PlannedEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Normal,
    Warning,
}
