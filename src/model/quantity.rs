//! Lists of amounts, compared as the API server stores them: it writes `1024Mi` back as `1Gi`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::quantity::is_stored_as;

/// Whether two lists of amounts mean the same.
#[must_use]
pub fn are_equal(
    one: Option<&BTreeMap<String, Quantity>>,
    other: Option<&BTreeMap<String, Quantity>>,
) -> bool {
    let empty = BTreeMap::new();
    let (one, other) = (one.unwrap_or(&empty), other.unwrap_or(&empty));
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|((key, amount), (other_key, other))| key == other_key && is_stored_as(&amount.0, &other.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_equal_when_every_amount_is() {
        let list = |entries: &[(&str, &str)]| {
            let entries =
                entries.iter().map(|(name, text)| ((*name).to_owned(), Quantity((*text).to_owned())));
            entries.collect::<BTreeMap<_, _>>()
        };
        let one = list(&[("cpu", "0.5"), ("memory", "8589934592")]);
        assert!(are_equal(Some(&one), Some(&list(&[("cpu", "500m"), ("memory", "8Gi")]))));
        assert!(are_equal(None, Some(&list(&[]))));
        assert!(!are_equal(Some(&one), None));
        assert!(!are_equal(Some(&one), Some(&list(&[("cpu", "500m"), ("memory", "8G")]))));
        assert!(!are_equal(Some(&one), Some(&list(&[("cpu", "500m"), ("pods", "8Gi")]))));
    }
}
