//! Between the oracle's terms and what stands in objects.

use enclave_operator::api::approvals::RulePolicy;
use enclave_operator::api::common::{Principal, PrincipalKind};
use enclave_operator::api::role_eligibility::{ActivationApproval, ActivationConditions};
use enclave_operator::api::{RoleAssignmentSpec, RoleEligibilitySpec, Time};
use jiff::Timestamp;
use serde_json::json;

use super::books::{Gift, Terms};

/// Who can be given something.
pub const PRINCIPALS: [&str; 6] =
    ["User:alice", "User:bob", "User:carol", "Group:red", "Group:blue", "ServiceAccount:ci/robot"];

fn principal(who: &str) -> Principal {
    let (kind, name) = who.split_once(':').unwrap();
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, name),
    };
    let kind = match kind {
        "User" => PrincipalKind::User,
        "Group" => PrincipalKind::Group,
        _ => PrincipalKind::ServiceAccount,
    };
    Principal { kind, name: name.to_owned(), namespace }
}

fn who(principal: &Principal) -> String {
    let Principal { kind, name, namespace } = principal;
    match namespace {
        Some(namespace) => format!("{kind:?}:{namespace}/{name}"),
        None => format!("{kind:?}:{name}"),
    }
}

pub fn assignment_of(gift: &Gift, terms: &Terms) -> RoleAssignmentSpec {
    RoleAssignmentSpec {
        description: None,
        role: serde_json::from_value(json!(gift.role)).unwrap(),
        principals: terms.people.iter().map(|who| principal(who)).collect(),
        change: None,
        unreadable: None,
    }
}

pub fn eligibility_of(gift: &Gift, terms: &Terms) -> RoleEligibilitySpec {
    let Terms { people, starts, ends, minutes, says_why, ticket, mfa, votes } = terms;
    RoleEligibilitySpec {
        description: None,
        principals: people.iter().map(|who| principal(who)).collect(),
        role: serde_json::from_value(json!(gift.role)).unwrap(),
        workload: gift.workload.map(ToOwned::to_owned),
        starts_at: starts.map(Time),
        ends_at: ends.map(Time),
        activation: ActivationConditions {
            max_duration: format!("{minutes}m").parse().unwrap(),
            require_justification: *says_why,
            require_ticket: *ticket,
            require_mfa: *mfa,
            approval: votes.map(|votes| ActivationApproval {
                policy: RulePolicy::Required,
                minimum_approvers: Some(i32::try_from(votes).unwrap()),
                mandatory_approvers: Vec::new(),
                expire_after: None,
                require_rejection_comment: false,
                require_mfa: false,
                require_credential_id: false,
            }),
            notify: Vec::new(),
        },
        change: None,
        unreadable: None,
    }
}

/// Terms of something that has no conditions.
pub fn terms_of_people(principals: &[Principal]) -> Terms {
    Terms {
        people: principals.iter().map(who).collect(),
        starts: None,
        ends: None,
        minutes: 0,
        says_why: false,
        ticket: false,
        mfa: false,
        votes: None,
    }
}

pub fn terms_of_assignment(spec: &RoleAssignmentSpec) -> Terms {
    terms_of_people(&spec.principals)
}

pub fn terms_of_eligibility(spec: &RoleEligibilitySpec) -> Terms {
    let time = |time: &Option<Time>| -> Option<Timestamp> { time.as_ref().map(|time| time.0) };
    let conditions = &spec.activation;
    let approval = conditions.approval.as_ref();
    Terms {
        starts: time(&spec.starts_at),
        ends: time(&spec.ends_at),
        minutes: conditions.max_duration.length().as_mins(),
        says_why: conditions.require_justification,
        ticket: conditions.require_ticket,
        mfa: conditions.require_mfa,
        votes: approval.and_then(|approval| usize::try_from(approval.minimum_approvers?).ok()),
        ..terms_of_people(&spec.principals)
    }
}
