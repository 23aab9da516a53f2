//! The scopes around an object whose approval rules count for its changes.

use kube::ResourceExt;

use crate::api::approvals::Approvals;
use crate::api::community::{ConflictingDuties, ServiceAccountVotes};
use crate::api::names::reason;
use crate::api::{Community, Kind};
use crate::model::approval::applied::{EvaluationError, view_applied};
use crate::model::approval::gated::Gated;

/// The applied rules of everything around an object.
#[derive(Clone, Debug, PartialEq)]
pub struct InheritedPolicy {
    /// One per scope; the order does not matter.
    pub scopes: Vec<ScopeRules>,
    /// Whether service accounts may vote, as applied on the Community.
    pub service_account_votes: ServiceAccountVotes,
    /// A scope that is being deleted: nothing new is made in it, and all else goes on.
    pub terminating: Option<NotReady>,
    /// Whether a role is refused that would let somebody approve what they may change.
    pub refuses_conflicts: bool,
}

/// The applied rules of one scope, and how to find out whether they are still the same.
#[derive(Clone, Debug, PartialEq)]
pub struct ScopeRules {
    /// The rules.
    pub approvals: Approvals,
    /// The object that carries the rules.
    pub origin: RulesOrigin,
}

/// The object that carries rules, and what was applied of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesOrigin {
    pub kind: Kind,
    pub namespace: Option<String>,
    pub name: String,
    pub uid: String,
    /// Digest of what was applied of it when the rules were read.
    pub digest: String,
}

/// The reason why something cannot be evaluated or enforced yet: what is missing around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    /// One of [`crate::api::names::reason`].
    pub reason: &'static str,
    /// The message: what is missing and what to do.
    pub message: String,
}

impl NotReady {
    /// Returns that an object is being deleted; `None` when it is not.
    #[must_use]
    pub fn terminating<K: Gated>(object: &K, reason: &'static str) -> Option<Self> {
        object.meta().deletion_timestamp.as_ref()?;
        Some(Self { reason, message: format!("{} {} is being deleted", K::KIND, object.name_any()) })
    }
}

impl InheritedPolicy {
    /// No rules at all.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            scopes: Vec::new(),
            service_account_votes: ServiceAccountVotes::Forbidden,
            terminating: None,
            refuses_conflicts: false,
        }
    }

    /// The rules of a Community; `None` when none are in force yet.
    ///
    /// # Errors
    /// When what is applied of it cannot be read.
    pub fn of_community(community: &Community) -> Result<Option<Self>, EvaluationError> {
        let seen = view_applied(community, |spec| {
            (spec.service_account_votes, spec.conflicting_duties == ConflictingDuties::Refuse)
        });
        let Some((service_account_votes, refuses_conflicts)) = seen? else { return Ok(None) };
        let terminating = NotReady::terminating(community, reason::COMMUNITY_NOT_ACTIVE);
        Ok(ScopeRules::of(community)?.map(|rules| Self {
            scopes: vec![rules],
            service_account_votes,
            terminating,
            refuses_conflicts,
        }))
    }
}

impl ScopeRules {
    /// The rules that are applied of an object; `None` when it carries none or nothing is applied.
    ///
    /// # Errors
    /// When what is applied of it cannot be read.
    pub fn of<K: Gated>(object: &K) -> Result<Option<Self>, EvaluationError> {
        let approvals = view_applied(object, |spec| K::approvals(spec).cloned())?.flatten();
        let digest = object.gate().and_then(|gate| gate.applied.as_ref()).map(|applied| &applied.digest);
        Ok(approvals.zip(digest).map(|(approvals, digest)| Self {
            approvals,
            origin: RulesOrigin {
                kind: K::KIND,
                namespace: object.namespace(),
                name: object.name_any(),
                uid: object.uid().unwrap_or_default(),
                digest: digest.clone(),
            },
        }))
    }
}
