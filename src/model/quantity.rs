//! Amounts of resources, compared by value: the API server writes `1024Mi` back as `1Gi`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Whether two lists of amounts mean the same.
#[must_use]
pub fn are_equal(
    one: Option<&BTreeMap<String, Quantity>>,
    other: Option<&BTreeMap<String, Quantity>>,
) -> bool {
    let empty = BTreeMap::new();
    let (one, other) = (one.unwrap_or(&empty), other.unwrap_or(&empty));
    one.len() == other.len()
        && one.iter().zip(other).all(|((key, amount), (other_key, other_amount))| {
            key == other_key && (amount == other_amount || is_same_amount(&amount.0, &other_amount.0))
        })
}

fn is_same_amount(one: &str, other: &str) -> bool {
    matches!((nanos(one), nanos(other)), (Some(one), Some(other)) if one == other)
}

/// An amount in units of 10^-9, rounded up, which is as fine as Kubernetes stores it; `None` for what
/// is no amount or too large to matter. The grammar is that of `resource.Quantity`: a number with a
/// binary suffix (Ki to Ei), a decimal one (n to E) or an exponent (e3, E3).
fn nanos(text: &str) -> Option<i128> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [(&str, i32); 10] = [
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("", 0),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (factor, exponent) = match BINARY.iter().position(|name| *name == suffix) {
        Some(index) => (1024_i128.checked_pow(u32::try_from(index).ok()? + 1)?, 0),
        None => match DECIMAL.iter().find(|(name, _)| *name == suffix) {
            Some((_, exponent)) => (1, *exponent),
            None => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
        },
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let shift = exponent.checked_add(9)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let scaled = digits.checked_mul(factor)?;
    let power = 10_i128.checked_pow(shift.unsigned_abs())?;
    if shift >= 0 {
        scaled.checked_mul(power)
    } else {
        Some(scaled.div_euclid(power) + i128::from(scaled.rem_euclid(power) > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared_by_value() {
        for (one, other) in [
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1e3", "1k"),
            ("1E3", "1k"),
            ("0.1n", "1n"),
            ("1.5Gi", "1536Mi"),
            ("+2", "2"),
        ] {
            assert!(is_same_amount(one, other), "{one} {other}");
        }
        for (one, other) in [("1Gi", "1G"), ("1", "1m"), ("1", "2"), ("x", "x"), ("1Gix", "1Gi"), ("", "0")] {
            assert!(!is_same_amount(one, other), "{one} {other}");
        }
    }
}
