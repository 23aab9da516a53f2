//! Canonical JSON and its digest: what "byte for byte the same" means.

use sha2::{Digest, Sha256};

use crate::api::Content;

/// A content cannot be written as canonical JSON.
#[derive(Debug, thiserror::Error)]
#[error("failed to write a content as canonical JSON")]
pub struct DigestError(#[source] serde_json::Error);

/// `sha256:` and the lower-case hexadecimal SHA-256 of the canonical JSON (RFC 8785) of a content.
///
/// # Errors
/// When the content holds a number that JSON cannot carry, which no spec of this API group does.
pub fn digest(content: &Content) -> Result<String, DigestError> {
    let bytes = serde_json_canonicalizer::to_vec(&content.to_value()).map_err(DigestError)?;
    Ok(sha256(&bytes))
}

/// `sha256:` and the lower-case hexadecimal SHA-256 of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold(String::from("sha256:"), |text, byte| text + &format!("{byte:02x}"))
}

/// Half of the SHA-256 of a text, in lower-case hexadecimal: a name that is short, whatever it is the name of.
#[must_use]
pub fn fingerprint(text: &str) -> String {
    let hash = Sha256::digest(text);
    let half = hash.iter().take(16).fold(0_u128, |half, byte| half << 8 | u128::from(*byte));
    format!("{half:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_fields() {
        let one: Content = serde_json::from_str(r#"{"b": 1, "a": {"d": [1, 2], "c": "x"}}"#).unwrap();
        let two: Content = serde_json::from_str(r#"{"a": {"c": "x", "d": [1, 2]}, "b": 1}"#).unwrap();
        assert_eq!(digest(&one).unwrap(), digest(&two).unwrap());
        assert_eq!(
            digest(&one).unwrap(),
            // printf '{"a":{"c":"x","d":[1,2]},"b":1}' | sha256sum
            "sha256:830c7b7f8c79059841a32e4738f35625c6e5bb256f2821b221cadaef7411d44d"
        );
    }

    #[test]
    fn the_digest_depends_on_every_value_and_on_the_order_in_lists() {
        let base: Content = serde_json::from_str(r#"{"a": [1, 2]}"#).unwrap();
        for other in [r#"{"a": [2, 1]}"#, r#"{"a": [1, 2], "b": null}"#, r#"{"a": [1, 2, 2]}"#] {
            let other: Content = serde_json::from_str(other).unwrap();
            assert_ne!(digest(&base).unwrap(), digest(&other).unwrap());
        }
    }
}
