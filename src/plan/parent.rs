//! The Community or Enclave that an object is declared in, and the rules that count there.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::names::reason;
use crate::api::{Community, Enclave};
use crate::model::approval::applied::EvaluationError;
use crate::model::approval::scope::{InheritedPolicy, NotReady, ScopeRules};

/// The Community or Enclave that an object is declared in, by its namespace. A namespace counts only when the
/// operator made it for that very Community or Enclave.
#[derive(Clone, Debug)]
pub enum Parent {
    /// No namespace of the operator, or no namespace at all.
    Unmanaged,
    /// The namespace of a Community.
    Community(Arc<Community>),
    /// The control namespace of an Enclave.
    Enclave(Arc<Community>, Arc<Enclave>),
}

impl Parent {
    /// The Community around the object.
    #[must_use]
    pub const fn community(&self) -> Option<&Arc<Community>> {
        match self {
            Self::Unmanaged => None,
            Self::Community(community) | Self::Enclave(community, _) => Some(community),
        }
    }

    /// The rules that count for what is declared in a Community's namespace.
    ///
    /// # Errors
    /// When what is applied of the Community cannot be read.
    pub fn rules_in_community(
        &self,
        kinds: &str,
    ) -> Result<Result<InheritedPolicy, NotReady>, EvaluationError> {
        let Self::Community(community) = self else {
            let what = match self {
                Self::Enclave(..) => "is the control namespace of an Enclave",
                Self::Unmanaged | Self::Community(_) => "does not belong to a Community",
            };
            let message = format!("this namespace {what}; {kinds} are declared in a Community's namespace");
            return Ok(Err(NotReady { reason: reason::COMMUNITY_NOT_FOUND, message }));
        };
        rules_of_community(community)
    }

    /// The rules that count for what is declared in an Enclave's control namespace.
    ///
    /// # Errors
    /// When what is applied of the Community or the Enclave cannot be read.
    pub fn rules_in_enclave(
        &self,
        kinds: &str,
    ) -> Result<Result<InheritedPolicy, NotReady>, EvaluationError> {
        let Self::Enclave(community, enclave) = self else {
            let message = format!(
                "this namespace is not the control namespace of an Enclave; {kinds} are declared in the control namespace of their Enclave (<community>-<enclave>)"
            );
            return Ok(Err(NotReady { reason: reason::ENCLAVE_NOT_FOUND, message }));
        };
        let mut outer = match rules_of_community(community)? {
            Ok(outer) => outer,
            missing => return Ok(missing),
        };
        Ok(match ScopeRules::of(enclave.as_ref())? {
            Some(rules) => {
                outer.scopes.push(rules);
                let terminating = NotReady::terminating(enclave.as_ref(), reason::ENCLAVE_NOT_ACTIVE);
                Ok(InheritedPolicy { terminating: terminating.or(outer.terminating), ..outer })
            }
            None => Err(NotReady {
                reason: reason::ENCLAVE_NOT_ACTIVE,
                message: format!(
                    "Enclave {} is not in force yet; this goes on when it is",
                    enclave.name_any()
                ),
            }),
        })
    }
}

fn rules_of_community(community: &Community) -> Result<Result<InheritedPolicy, NotReady>, EvaluationError> {
    Ok(InheritedPolicy::of_community(community)?.ok_or_else(|| NotReady {
        reason: reason::COMMUNITY_NOT_ACTIVE,
        message: format!("Community {} is not in force yet; this goes on when it is", community.name_any()),
    }))
}
