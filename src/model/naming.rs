//! Names that are derived, so that doing something twice finds what the first time made.

use kube::ResourceExt;

use crate::api::{Community, Kind};
use crate::model::rbac::roles::ROLE_KINDS;

/// The namespace of a Community: the one in its status, else the one in its spec, else its own name. The status counts
/// more than what can be read of the spec.
#[must_use]
pub fn namespace_of(community: &Community) -> String {
    let has = community.status.as_ref().and_then(|status| status.namespace.clone());
    has.or_else(|| community.spec.namespace.clone()).unwrap_or_else(|| community.name_any())
}

/// Control namespace of an Enclave.
#[must_use]
pub fn enclave_namespace(community: &str, enclave: &str) -> String {
    format!("{community}-{enclave}")
}

/// Namespace of an `EnclaveWorkload`.
#[must_use]
pub fn workload_namespace(community: &str, enclave: &str, workload: &str) -> String {
    format!("{}-{workload}", enclave_namespace(community, enclave))
}

/// The two parts of a name at each of its hyphens: names of namespaces are joined by them.
pub fn splits(name: &str) -> impl Iterator<Item = (&str, &str)> {
    name.match_indices('-').filter_map(|(at, _)| Some((name.get(..at)?, name.get(at + 1..)?)))
}

/// Name of the network policy of a connection for one direction (`egress` or `ingress`), in each
/// namespace that it touches. No other connection has the same: there is no `.` in its name and
/// namespace.
#[must_use]
pub fn connection_policy(namespace: &str, name: &str, direction: &str) -> String {
    format!("{CONNECTION_POLICY}{namespace}.{name}.{direction}")
}

/// The prefix of the names of all network policies of connections.
pub const CONNECTION_POLICY: &str = "connection.";

/// The prefix of the names of all roles and bindings that the operator makes. No other object of the
/// operator's in a namespace can have a `:` in its name.
pub const ROLE_BINDING: &str = "enclave-operator:";

/// The prefix of the names of the bindings that an isolated workload asks for.
pub const LISTED_BINDING: &str = "enclave-operator:listed:";

/// Name of the binding of one of Kubernetes' own roles to the principals that an isolated workload lists for it.
#[must_use]
pub fn listed_binding(role: &str) -> String {
    format!("{LISTED_BINDING}{role}")
}

/// Name of everything that is made for a grant, by what declares it.
#[must_use]
pub fn grant(kind: Kind, namespace: &str, name: &str) -> String {
    format!("{ROLE_BINDING}{}:{namespace}:{name}", kind.short())
}

/// Whether something of this name is made for a grant.
#[must_use]
pub fn is_of_grant(name: &str) -> bool {
    parse_grant(name).is_some()
}

/// Kind, namespace and name of what declares the grant for which something of this name is made.
#[must_use]
pub fn parse_grant(name: &str) -> Option<(Kind, &str, &str)> {
    let mut parts = name.strip_prefix(ROLE_BINDING)?.splitn(3, ':');
    let (kind, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some((ROLE_KINDS.into_iter().find(|one| one.short() == kind)?, namespace, name))
}

/// Name of the `ApprovalRequest` for one generation of one object: `<short>-<name>-<uid5>-g<generation>`.
#[must_use]
pub fn approval_request(kind: Kind, name: &str, uid: &str, generation: i64) -> String {
    let uid5: String = uid.chars().filter(char::is_ascii_alphanumeric).take(5).collect();
    format!("{}-{name}-{uid5}-g{generation}", kind.short())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{CommunitySpec, CommunityStatus};

    #[test]
    fn names_are_as_documented() {
        let mut community = Community::new("acme", CommunitySpec::default());
        assert_eq!(namespace_of(&community), "acme");
        community.spec.namespace = Some("acme-hub".to_owned());
        assert_eq!(namespace_of(&community), "acme-hub");
        // The spec has no namespace when it cannot be read.
        community.spec.namespace = None;
        community.status =
            Some(CommunityStatus { namespace: Some("acme-hub".to_owned()), ..CommunityStatus::default() });
        assert_eq!(namespace_of(&community), "acme-hub");
        assert_eq!(enclave_namespace("acme", "payments"), "acme-payments");
        assert_eq!(
            approval_request(Kind::Enclave, "payments", "2d588691-65dc-4d34-80cc-160e31bbbd24", 7),
            "enc-payments-2d588-g7"
        );
    }

    #[test]
    fn the_longest_names_fit_into_a_label() {
        let twenty = "a".repeat(20);
        assert_eq!(workload_namespace(&twenty, &twenty, &twenty).len(), 62);
    }
}
