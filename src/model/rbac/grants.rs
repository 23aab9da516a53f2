//! The rights that a role gives in a scope, which a grant of the role consists of.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::api::Kind;
use crate::api::common::Principal;
use crate::api::enclave_workload::AccessMode;
use crate::api::names::GROUP;
use crate::api::role_assignment::Role;
use crate::model::approval::impact::Lines;
use crate::model::rbac::roles::{Access, accesses, bindable, cluster_role, may_give, workload_role};

/// The scope in which a role counts, by the purpose of the namespace in which the role was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere: the operator's own namespace.
    System { namespace: String },
    /// A Community with all its Enclaves.
    Community { community: String, namespace: String },
    /// One Enclave.
    Enclave { community: String, community_namespace: String, enclave: String, namespace: String },
}

/// A namespace that belongs to a Community.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    pub name: String,
    /// Name of the Community.
    pub community: String,
    /// Name of the Enclave, when the namespace belongs to one.
    pub enclave: Option<String>,
    /// Name of the workload whose pods run in it.
    pub workload: Option<String>,
    /// The access mode of the workload, when pods run in the namespace.
    pub access_mode: AccessMode,
}

/// One right that a role consists of: something that can be bound.
#[derive(Clone, Debug, PartialEq)]
pub enum Right {
    /// A ClusterRole, in one namespace.
    In { namespace: String, cluster_role: String },
    /// A ClusterRole, everywhere.
    Everywhere { cluster_role: String },
    /// These rules, in one namespace.
    LimitedIn { namespace: String, rules: Vec<PolicyRule> },
    /// These rules about objects that are in no namespace.
    LimitedEverywhere { rules: Vec<PolicyRule> },
}

impl Right {
    fn namespace(&self) -> Option<&str> {
        match self {
            Self::In { namespace, .. } | Self::LimitedIn { namespace, .. } => Some(namespace),
            Self::Everywhere { .. } | Self::LimitedEverywhere { .. } => None,
        }
    }
}

/// Rights that somebody has now, from one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// Name of everything that is made for it.
    pub name: String,
    pub rights: Vec<Right>,
    /// The principals that have the rights.
    pub principals: BTreeSet<Principal>,
    /// The time at which the rights end by themselves.
    pub ends_at: Option<Timestamp>,
}

impl Scope {
    /// The namespace in which roles of this scope are given.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self {
            Self::System { namespace }
            | Self::Community { namespace, .. }
            | Self::Enclave { namespace, .. } => namespace,
        }
    }

    /// Whether a role can be given in it. The same rule stands in `verify-grants.yaml`.
    #[must_use]
    pub const fn allows(&self, role: Role) -> bool {
        match self {
            Self::System { .. } | Self::Community { .. } => true,
            Self::Enclave { .. } => role.is_of_enclave(),
        }
    }

    /// Whether a namespace is part of it.
    #[must_use]
    pub fn covers(&self, managed: &Managed) -> bool {
        match self {
            Self::System { .. } => true,
            Self::Community { community, .. } => managed.community == *community,
            Self::Enclave { community, enclave, .. } => {
                managed.community == *community && managed.enclave.as_ref() == Some(enclave)
            }
        }
    }

    /// Whether one of both is part of the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::System { .. }, _) | (_, Self::System { .. }) => true,
            (
                Self::Enclave { community, enclave, .. },
                Self::Enclave { community: other_community, enclave: other_enclave, .. },
            ) => (community, enclave) == (other_community, other_enclave),
            (
                Self::Community { community, .. } | Self::Enclave { community, .. },
                Self::Community { community: other, .. } | Self::Enclave { community: other, .. },
            ) => community == other,
        }
    }
}

/// The rights of a role in a scope. `namespaces` are the managed namespaces that exist. `about_enclave` are the
/// names of the open requests about the Enclave itself, which stand in the Community's namespace among those
/// about others.
#[must_use]
pub fn rights_of_role(
    role: Role,
    scope: &Scope,
    namespaces: &[Managed],
    about_enclave: &[String],
) -> Vec<Right> {
    let role_in =
        |namespace: &str| Right::In { namespace: namespace.to_owned(), cluster_role: cluster_role(role) };
    let mut rights = match scope {
        Scope::System { .. } => vec![Right::Everywhere { cluster_role: cluster_role(role) }],
        Scope::Community { community, namespace } => {
            let mut rights = vec![role_in(namespace)];
            rights.extend(limited(None, community_rules(role, community)));
            rights
        }
        Scope::Enclave { community, community_namespace, enclave, .. } => {
            let mut rules = enclave_rules(role, enclave);
            rules.extend(request_rules(role, about_enclave));
            let mut rights = limited(Some(community_namespace), rules);
            rights.extend(limited(None, community_rules(role, community)));
            rights
        }
    };
    for managed in namespaces.iter().filter(|managed| scope.covers(managed)) {
        match (&managed.workload, scope) {
            (Some(_), _) => rights.extend(right_in_workload(role, managed)),
            (None, Scope::System { .. }) => {}
            (None, Scope::Community { namespace, .. }) if managed.name == *namespace => {}
            (None, Scope::Community { .. } | Scope::Enclave { .. }) => rights.push(role_in(&managed.name)),
        }
    }
    rights
}

/// The rights of a role that is limited to one workload.
#[must_use]
pub fn rights_in_workload(role: Role, scope: &Scope, workload: &str, namespaces: &[Managed]) -> Vec<Right> {
    let is_it = |managed: &&Managed| scope.covers(managed) && managed.workload.as_deref() == Some(workload);
    namespaces.iter().filter(is_it).filter_map(|managed| right_in_workload(role, managed)).collect()
}

/// The right of a role in the namespace of a workload. No role gives access to an isolated workload.
fn right_in_workload(role: Role, managed: &Managed) -> Option<Right> {
    let cluster_role = workload_role(role).filter(|_| managed.access_mode == AccessMode::Standard)?;
    Some(Right::In { namespace: managed.name.clone(), cluster_role: cluster_role.to_owned() })
}

fn limited(namespace: Option<&String>, rules: Vec<PolicyRule>) -> Vec<Right> {
    if rules.is_empty() {
        return Vec::new();
    }
    vec![match namespace {
        Some(namespace) => Right::LimitedIn { namespace: namespace.clone(), rules },
        None => Right::LimitedEverywhere { rules },
    }]
}

fn access(role: Role, kind: Kind) -> Access {
    let cell = accesses(role).find(|(of, _)| *of == kind);
    cell.map_or(Access::None, |(_, access)| access)
}

/// The rules about the one Community, which is in no namespace.
fn community_rules(role: Role, community: &str) -> Vec<PolicyRule> {
    named_rule(Kind::Community.plural(), existing(access(role, Kind::Community).verbs()), community)
}

/// The rules about the one Enclave and about what all Enclaves share, in the Community's namespace.
fn enclave_rules(role: Role, enclave: &str) -> Vec<PolicyRule> {
    let mut rules =
        named_rule(Kind::Enclave.plural(), existing(access(role, Kind::Enclave).verbs()), enclave);
    for kind in [Kind::CommunityEndpoint, Kind::TransitHub] {
        rules.extend(rule(kind.plural(), access(role, kind).verbs().to_vec()));
    }
    rules
}

/// The rules about the requests about the one Enclave. Each request has its own, so the list can change and the rest
/// stays.
fn request_rules(role: Role, requests: &[String]) -> Vec<PolicyRule> {
    let access = access(role, Kind::ApprovalRequest);
    let (plural, status) =
        (Kind::ApprovalRequest.plural(), format!("{}/status", Kind::ApprovalRequest.plural()));
    let rules_of = |name: &String| {
        let mut rules = named_rule(plural, existing(access.verbs()), name);
        rules.extend(named_rule(&status, access.status_verbs().to_vec(), name));
        rules
    };
    requests.iter().flat_map(rules_of).collect()
}

/// The verbs that can be limited to one object: all but `create`, because the object has no name yet.
fn existing(verbs: &[&'static str]) -> Vec<&'static str> {
    verbs.iter().copied().filter(|verb| *verb != "create").collect()
}

fn named_rule(resource: &str, verbs: Vec<&str>, name: &str) -> Vec<PolicyRule> {
    let named = |rule| PolicyRule { resource_names: Some(vec![name.to_owned()]), ..rule };
    rule(resource, verbs).into_iter().map(named).collect()
}

fn rule(resource: &str, verbs: Vec<&str>) -> Vec<PolicyRule> {
    if verbs.is_empty() {
        return Vec::new();
    }
    vec![PolicyRule {
        api_groups: Some(vec![GROUP.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.into_iter().map(ToOwned::to_owned).collect(),
        ..PolicyRule::default()
    }]
}

/// A role that a principal holds in a scope, for the separation of duties.
#[derive(Clone, Debug)]
pub struct RoleHolding {
    /// The object that gives the role, in words.
    pub source: String,
    pub role: Role,
    /// The principal as authentication names it: a service account is a user too.
    pub principal: String,
    pub scope: Scope,
}

/// Returns why principals should not hold a role in a scope: one of them has, in a scope that overlaps, a role with
/// which it would approve what it may change itself. `others` are the roles that these principals hold. Membership in
/// groups is not known here.
#[must_use]
pub fn find_conflict(role: Role, scope: &Scope, others: &[RoleHolding]) -> Option<String> {
    let conflicts =
        others.iter().filter(|other| role.conflicts_with(other.role) && scope.overlaps(&other.scope));
    // The others come in no order, and the message must not change with it.
    let first = conflicts.min_by_key(|other| (&other.source, other.role, &other.principal))?;
    let RoleHolding { source, role, principal, scope: _ } = first;
    let principal = principal.replacen(':', " ", 1);
    Some(format!(
        "{principal} has the role {role} by {source}: whoever changes things should not approve them"
    ))
}

/// Describes what a change of a grant opens and closes. Each line begins with `when`, which says when that happens.
#[must_use]
pub fn compare_rights(before: Option<&Grant>, after: Option<&Grant>, when: &str) -> (Lines, Lines) {
    let describe = |before, after, verb| match after {
        Some(after) => describe_gain(before, after, (when, verb)),
        None => Lines::default(),
    };
    (describe(before, after, "gets"), describe(after, before, "loses"))
}

fn describe_gain(before: Option<&Grant>, after: &Grant, (when, verb): (&str, &str)) -> Lines {
    let mut had: BTreeMap<Option<&str>, Vec<&Right>> = BTreeMap::new();
    for right in before.iter().flat_map(|before| &before.rights) {
        had.entry(right.namespace()).or_default().push(right);
    }
    let is_new = |right: &&Right| !had.get(&right.namespace()).is_some_and(|rights| rights.contains(right));
    let (all, new): (Vec<&Right>, Vec<&Right>) =
        (after.rights.iter().collect(), after.rights.iter().filter(is_new).collect());
    let gained = after.principals.iter().flat_map(|principal| {
        let was_there = before.is_some_and(|before| before.principals.contains(principal));
        let rights = if was_there { &new } else { &all };
        rights.iter().map(move |right| (principal, *right))
    });
    Lines::of(gained, |(principal, right)| format!("{when}{principal} {verb} {}", describe_right(right)))
}

fn describe_right(right: &Right) -> String {
    let role = |name: &str| match Role::ALL.into_iter().find(|role| cluster_role(*role) == name) {
        Some(role) => (role.name().to_owned(), format!(": {}", describe_role(role))),
        None => (name.to_owned(), String::new()),
    };
    match right {
        Right::In { namespace, cluster_role } => {
            let (name, words) = role(cluster_role);
            format!("{name} in {namespace}{words}")
        }
        Right::Everywhere { cluster_role } => {
            let (name, words) = role(cluster_role);
            format!("{name} everywhere{words}")
        }
        Right::LimitedIn { namespace, rules } => format!("rights in {namespace}: {}", describe_rules(rules)),
        Right::LimitedEverywhere { rules } => format!("rights: {}", describe_rules(rules)),
    }
}

/// Describes what a role may do, in the words of the matrix.
fn describe_role(role: Role) -> String {
    let words = |access: Access| match access {
        Access::None => None,
        Access::Read => Some("read"),
        Access::Write => Some("read, create and update"),
        Access::Manage => Some("read, create, update and delete"),
        Access::Decide => Some("read and decide"),
    };
    let cells = || accesses(role);
    let all = [Access::Manage, Access::Write, Access::Decide, Access::Read];
    let parts = all.into_iter().filter_map(|access| {
        let kinds: Vec<&str> = cells().filter(|(_, of)| *of == access).map(|(kind, _)| kind.name()).collect();
        words(access).filter(|_| !kinds.is_empty()).map(|words| format!("{words} {}", kinds.join(", ")))
    });
    let gives = bindable(role);
    let gives = (!gives.is_empty()).then(|| format!("give {}", gives.join(", ")));
    let ends = may_give(role, Kind::RoleActivation).contains(&"delete");
    let ends = ends.then(|| {
        "read, create, update and delete RoleAssignment, RoleEligibility; end RoleActivation".to_owned()
    });
    parts.chain(ends).chain(gives).collect::<Vec<_>>().join("; ")
}

fn describe_rules(rules: &[PolicyRule]) -> String {
    let parts = rules.iter().map(|rule| {
        let names = rule.resource_names.clone().unwrap_or_default().join(", ");
        let resources = rule.resources.clone().unwrap_or_default().join(", ");
        format!("{} on {resources} {names}", rule.verbs.join(", ")).trim_end().to_owned()
    });
    parts.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::PrincipalKind;

    /// Written out these are two million lines.
    #[test]
    fn what_many_gain_in_many_namespaces_is_told_as_far_as_a_request_has_room() {
        let grant = |people: usize, namespaces: usize| Grant {
            name: String::new(),
            rights: (0..namespaces)
                .map(|number| Right::In { namespace: format!("n{number:05}"), cluster_role: "view".into() })
                .collect(),
            principals: (0..people)
                .map(|number| Principal {
                    kind: PrincipalKind::User,
                    name: format!("p{number:03}"),
                    namespace: None,
                })
                .collect(),
            ends_at: None,
        };
        let (before, after) = (grant(99, 19_999), grant(100, 20_000));
        let (opens, closes) = compare_rights(Some(&before), Some(&after), "");
        let (opens, closes): (Vec<String>, Vec<String>) = (opens.into(), closes.into());
        assert_eq!((opens.len(), closes.len()), (201, 0));
        assert_eq!(opens[98..100], ["user p098 gets view in n19999", "user p099 gets view in n00000"]);
        assert_eq!(opens[200], "and 19899 more");
        let (_, closes) = compare_rights(Some(&after), None, "when activated, ");
        let closes = Vec::from(closes);
        assert_eq!(closes[0], "when activated, user p000 loses view in n00000");
        assert_eq!(closes[200], "and 1999800 more");
    }
}
