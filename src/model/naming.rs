//! Names that are derived, so that doing something twice finds what the first time made.

use crate::api::Kind;

/// Namespace of a Community.
#[must_use]
pub fn community_namespace(name: &str, namespace: Option<&str>) -> String {
    namespace.unwrap_or(name).to_owned()
}

/// Control namespace of an Enclave.
#[must_use]
pub fn enclave_namespace(community: &str, enclave: &str) -> String {
    format!("{community}-{enclave}")
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

    #[test]
    fn names_are_as_documented() {
        assert_eq!(community_namespace("acme", None), "acme");
        assert_eq!(community_namespace("acme", Some("acme-hub")), "acme-hub");
        assert_eq!(enclave_namespace("acme", "payments"), "acme-payments");
        assert_eq!(
            approval_request(Kind::Enclave, "payments", "2d588691-65dc-4d34-80cc-160e31bbbd24", 7),
            "enc-payments-2d588-g7"
        );
    }

    #[test]
    fn the_longest_names_fit_into_a_label() {
        let twenty = "a".repeat(20);
        let workload = format!("{}-{twenty}", enclave_namespace(&twenty, &twenty));
        assert_eq!(workload.len(), 62);
    }
}
