//! Approval rules of several scopes, merged into what one change needs.
//!
//! The merge is a join: commutative, associative, idempotent, and never weaker than any input.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use crate::api::approval_request::EffectivePolicy;
use crate::api::approvals::{Approvals, Operation, RulePolicy};
use crate::api::common::Principal;
use crate::api::community::ServiceAccountVotes;
use crate::api::duration::Duration;

/// The time for which a request may stay undecided when no scope says it.
pub const DEFAULT_EXPIRE_AFTER: SignedDuration = SignedDuration::from_hours(168);

/// The requirement of a set of rules, before defaults are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    policy: RulePolicy,
    minimum_approvers: i32,
    mandatory_approvers: BTreeSet<Principal>,
    expire_after: Option<SignedDuration>,
    require_justification: bool,
    require_rejection_comment: bool,
    require_mfa: bool,
    require_credential_id: bool,
    service_account_votes: ServiceAccountVotes,
}

impl Requirement {
    /// Asks for nothing: the neutral element of [`Requirement::merge`].
    #[must_use]
    pub const fn none() -> Self {
        Self {
            policy: RulePolicy::NotRequired,
            minimum_approvers: 1,
            mandatory_approvers: BTreeSet::new(),
            expire_after: None,
            require_justification: false,
            require_rejection_comment: false,
            require_mfa: false,
            require_credential_id: false,
            service_account_votes: ServiceAccountVotes::Allowed,
        }
    }

    /// The requirement of one scope for these operations. The scope's settings for all requests (expiry,
    /// comments, multi-factor authentication …) count even when it has no rule for any of them,
    /// because another scope may hold the change.
    #[must_use]
    pub fn of_scope(approvals: &Approvals, operations: &BTreeSet<Operation>) -> Self {
        Self::of_rules(approvals, |operation| operations.contains(&operation))
    }

    /// The requirement for changing a block of rules, even when no rule says so: everything that
    /// any Required rule in it asks for. Whoever could not release a change under a rule cannot
    /// weaken the rule either.
    #[must_use]
    pub fn of_changing_rules(applied: &Approvals) -> Self {
        let required: BTreeSet<Operation> = applied
            .rules
            .iter()
            .filter(|rule| rule.policy == RulePolicy::Required)
            .map(|rule| rule.operation)
            .collect();
        Self::of_scope(applied, &required)
    }

    /// Sets whether service accounts may vote in this scope.
    #[must_use]
    pub fn with_service_account_votes(mut self, votes: ServiceAccountVotes) -> Self {
        self.service_account_votes = votes;
        self
    }

    fn of_rules(approvals: &Approvals, counts: impl Fn(Operation) -> bool) -> Self {
        let Approvals {
            rules,
            expire_after,
            require_justification,
            require_rejection_comment,
            require_mfa,
            require_credential_id,
        } = approvals;
        let flags = Self {
            expire_after: expire_after.as_ref().map(Duration::length),
            require_justification: *require_justification,
            require_rejection_comment: *require_rejection_comment,
            require_mfa: *require_mfa,
            require_credential_id: *require_credential_id,
            ..Self::none()
        };
        rules.iter().filter(|rule| counts(rule.operation)).fold(flags, |merged, rule| {
            merged.merge(Self {
                policy: rule.policy,
                minimum_approvers: rule.minimum_approvers.unwrap_or(1).max(1),
                mandatory_approvers: rule.mandatory_approvers.iter().cloned().collect(),
                ..Self::none()
            })
        })
    }

    /// The strictest of both in every respect.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let shorter = match (self.expire_after, other.expire_after) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        let mut mandatory_approvers = self.mandatory_approvers;
        mandatory_approvers.extend(other.mandatory_approvers);
        Self {
            policy: self.policy.min(other.policy),
            minimum_approvers: self.minimum_approvers.max(other.minimum_approvers),
            mandatory_approvers,
            expire_after: shorter,
            require_justification: self.require_justification || other.require_justification,
            require_rejection_comment: self.require_rejection_comment || other.require_rejection_comment,
            require_mfa: self.require_mfa || other.require_mfa,
            require_credential_id: self.require_credential_id || other.require_credential_id,
            service_account_votes: self.service_account_votes.max(other.service_account_votes),
        }
    }

    /// The policy that a request would be evaluated by; `None` when nothing holds the change.
    #[must_use]
    pub fn to_policy(&self) -> Option<EffectivePolicy> {
        let Self {
            policy,
            minimum_approvers,
            mandatory_approvers,
            expire_after,
            require_justification,
            require_rejection_comment,
            require_mfa,
            require_credential_id,
            service_account_votes,
        } = self;
        match policy {
            RulePolicy::NotRequired => None,
            RulePolicy::Required => Some(EffectivePolicy {
                minimum_approvers: *minimum_approvers,
                mandatory_approvers: mandatory_approvers.iter().cloned().collect(),
                expire_after_seconds: expire_after.unwrap_or(DEFAULT_EXPIRE_AFTER).as_secs(),
                require_justification: *require_justification,
                require_rejection_comment: *require_rejection_comment,
                require_mfa: *require_mfa,
                require_credential_id: *require_credential_id,
                service_account_votes: *service_account_votes,
            }),
        }
    }
}

/// The operations that may be held under these rules, in alphabetical order, for the policy that
/// warns.
#[must_use]
pub fn held_operations(scopes: &[&Approvals]) -> Vec<String> {
    let rules = scopes.iter().flat_map(|approvals| &approvals.rules);
    let held =
        rules.filter(|rule| rule.policy == RulePolicy::Required).map(|rule| rule.operation.to_string());
    held.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::approvals::ApprovalRule;
    use crate::api::common::PrincipalKind;

    fn principal() -> impl Strategy<Value = Principal> {
        ("[ab]", any::<bool>()).prop_map(|(name, group)| Principal {
            kind: if group { PrincipalKind::Group } else { PrincipalKind::User },
            name,
            namespace: None,
        })
    }

    fn rule() -> impl Strategy<Value = ApprovalRule> {
        (
            prop::sample::select(vec![Operation::EnclaveCreation, Operation::EnclaveUpdate]),
            any::<bool>(),
            prop::option::of(0..4),
            prop::collection::vec(principal(), 0..3),
        )
            .prop_map(|(operation, required, minimum_approvers, mandatory_approvers)| ApprovalRule {
                operation,
                policy: if required { RulePolicy::Required } else { RulePolicy::NotRequired },
                minimum_approvers,
                mandatory_approvers,
            })
    }

    fn approvals() -> impl Strategy<Value = Approvals> {
        (prop::collection::vec(rule(), 0..3), prop::option::of(1..400_u32), any::<[bool; 4]>()).prop_map(
            |(rules, hours, [justification, comment, mfa, credential])| Approvals {
                rules,
                expire_after: hours.map(|h| format!("{h}h").parse().unwrap()),
                require_justification: justification,
                require_rejection_comment: comment,
                require_mfa: mfa,
                require_credential_id: credential,
            },
        )
    }

    fn requirement() -> impl Strategy<Value = Requirement> {
        (approvals(), any::<bool>()).prop_map(|(approvals, allowed)| {
            let operations = [Operation::EnclaveCreation, Operation::EnclaveUpdate].into();
            Requirement::of_scope(&approvals, &operations).with_service_account_votes(if allowed {
                ServiceAccountVotes::Allowed
            } else {
                ServiceAccountVotes::Forbidden
            })
        })
    }

    proptest! {
        #[test]
        fn merge_is_a_join(a in requirement(), b in requirement(), c in requirement()) {
            prop_assert_eq!(a.clone().merge(b.clone()), b.clone().merge(a.clone()));
            prop_assert_eq!(
                a.clone().merge(b.clone()).merge(c.clone()),
                a.clone().merge(b.clone().merge(c))
            );
            prop_assert_eq!(a.clone().merge(a.clone()), a.clone());
            prop_assert_eq!(a.clone().merge(Requirement::none()), a.clone());
            // Never weaker than an input: merging an input in again changes nothing.
            let both = a.clone().merge(b.clone());
            prop_assert_eq!(both.clone().merge(a), both.clone());
            prop_assert_eq!(both.clone().merge(b), both);
        }

        #[test]
        fn a_merged_policy_is_at_least_as_strict_as_each_scope(a in requirement(), b in requirement()) {
            let merged = a.clone().merge(b.clone()).to_policy();
            for one in [a.to_policy(), b.to_policy()].into_iter().flatten() {
                let merged = merged.as_ref().expect("held when one scope holds");
                prop_assert!(merged.minimum_approvers >= one.minimum_approvers);
                prop_assert!(one.mandatory_approvers.iter().all(|p| merged.mandatory_approvers.contains(p)));
                prop_assert!(merged.expire_after_seconds <= one.expire_after_seconds
                    || one.expire_after_seconds == DEFAULT_EXPIRE_AFTER.as_secs());
                prop_assert!(merged.require_mfa >= one.require_mfa);
                prop_assert!(merged.require_credential_id >= one.require_credential_id);
                prop_assert!(merged.require_justification >= one.require_justification);
                prop_assert!(merged.require_rejection_comment >= one.require_rejection_comment);
                prop_assert!(merged.service_account_votes >= one.service_account_votes);
            }
        }
    }

    fn required(operation: Operation, minimum_approvers: Option<i32>) -> Approvals {
        Approvals {
            rules: vec![ApprovalRule {
                operation,
                policy: RulePolicy::Required,
                minimum_approvers,
                mandatory_approvers: vec![],
            }],
            ..Approvals::default()
        }
    }

    #[test]
    fn an_operation_without_a_rule_is_not_held() {
        let approvals = required(Operation::EnclaveCreation, Some(2));
        let update = [Operation::EnclaveUpdate].into();
        assert_eq!(Requirement::of_scope(&approvals, &update).to_policy(), None);
    }

    #[test]
    fn a_minimum_of_zero_counts_as_one() {
        for minimum in [None, Some(0)] {
            let approvals = required(Operation::EnclaveCreation, minimum);
            let policy = Requirement::of_scope(&approvals, &[Operation::EnclaveCreation].into()).to_policy();
            assert_eq!(policy.unwrap().minimum_approvers, 1);
        }
    }

    #[test]
    fn changing_rules_needs_what_the_rules_need() {
        let policy = Requirement::of_changing_rules(&required(Operation::EnclaveCreation, Some(3)));
        assert_eq!(policy.to_policy().unwrap().minimum_approvers, 3);
        assert_eq!(Requirement::of_changing_rules(&Approvals::default()).to_policy(), None);
    }
}
