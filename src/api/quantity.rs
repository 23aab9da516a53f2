//! Amounts of resources, read as the API server reads a `resource.Quantity`.

use std::fmt;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// Amount of a resource as Kubernetes writes it, such as `500m` or `2Gi`. A number in a manifest means the
/// same as its text, and two texts with one value are equal: `1024Mi` is `1Gi`.
///
/// The text is kept as it was written, because people decide about it.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || nanos(&self.0).is_some_and(|amount| nanos(&other.0) == Some(amount))
    }
}

impl Eq for Quantity {}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount such as 2, 500m or 2Gi")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl From<&Quantity> for k8s_openapi::apimachinery::pkg::api::resource::Quantity {
    /// Returns the amount as the operator writes it into an object. An amount above the largest one that the
    /// API server returns unchanged would be written again and again, so it is replaced by the largest one.
    fn from(quantity: &Quantity) -> Self {
        let text = match nanos(&quantity.0) {
            Some(amount) if amount > LARGEST_NANOS => LARGEST.to_string(),
            _ => quantity.0.clone(),
        };
        Self(text)
    }
}

/// Largest amount. The API server replaces larger amounts with a binary suffix by this one, and writes some
/// larger ones with a decimal suffix without the suffix (`1000E` as `1`).
const LARGEST: i64 = i64::MAX;
const LARGEST_NANOS: i128 = LARGEST as i128 * NANO;
const NANO: i128 = 1_000_000_000;

/// Whether an API server that stored one of these amounts may return the other. The API server rounds amounts
/// in quotas and limits up to thousandths, and writes them in a form of its own.
#[must_use]
pub fn is_stored_as(one: &str, other: &str) -> bool {
    let thousandths = |text| nanos(text).map(|nanos| ceil(nanos, 1_000_000));
    one == other || thousandths(one).is_some_and(|amount| thousandths(other) == Some(amount))
}

/// Returns an amount in units of 10^-9, rounded away from zero, which is as fine as Kubernetes reads it;
/// `None` when the text is no amount. An amount that is too large for a number here becomes the largest one.
///
/// The grammar is that of `resource.ParseQuantity` with its oddities: digits may be missing on either side of
/// the point, and altogether.
fn nanos(text: &str) -> Option<i128> {
    let (is_negative, unsigned) = match text.split_at_checked(1) {
        Some(("-", rest)) => (true, rest),
        Some(("+", rest)) => (false, rest),
        Some(_) => (false, text),
        None => return None,
    };
    let (whole, rest) = split_digits(unsigned);
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    let digits = format!("{whole}{fraction}");
    let digits = match digits.trim_start_matches('0') {
        "" => 0,
        digits => digits.parse::<i128>().unwrap_or(i128::MAX),
    };
    let (factor, exponent) = read_suffix(suffix)?;
    let shift = i64::from(exponent) + 9 - i64::try_from(fraction.len()).ok()?;
    let power = u32::try_from(shift.unsigned_abs()).ok().and_then(|shift| 10_i128.checked_pow(shift));
    let scaled = digits.saturating_mul(factor);
    let amount = match power {
        _ if digits == 0 => 0,
        Some(power) if shift >= 0 => scaled.saturating_mul(power),
        Some(power) => ceil(scaled, power),
        None if shift >= 0 => i128::MAX,
        None => 1,
    };
    let amount = if factor > 1 { amount.min(LARGEST_NANOS) } else { amount };
    Some(if is_negative { -amount } else { amount })
}

fn split_digits(text: &str) -> (&str, &str) {
    let rest = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    text.split_at(text.len() - rest.len())
}

/// Returns the factor of a suffix: a power of two, and the exponent of a power of ten.
fn read_suffix(suffix: &str) -> Option<(i128, i32)> {
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
    if let Some(index) = BINARY.iter().position(|name| *name == suffix) {
        return Some((1024_i128.checked_pow(u32::try_from(index).ok()? + 1)?, 0));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((1, *exponent));
    }
    let exponent: i64 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    // The API server cuts off what does not fit.
    #[expect(clippy::cast_possible_truncation, reason = "as the API server does it")]
    let exponent = exponent as i32;
    Some((1, exponent))
}

/// Divides and rounds away from zero.
const fn ceil(amount: i128, by: i128) -> i128 {
    amount / by + (amount % by).signum()
}

/// Pattern of an amount in a spec, in the regular expressions of CEL. The API server accepts more: negative
/// amounts, texts without any digit, and exponents so large that comparing amounts takes hours.
pub(super) const AMOUNT: &str =
    r"^[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$";

/// Returns the schema of a map from resource names to amounts.
pub(super) fn resource_list_schema(_: &mut SchemaGenerator) -> Schema {
    let is_amount = format!("string(self).matches('{AMOUNT}')");
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 32,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "description": "An amount of the resource, for example `500m` or `2Gi`.",
            "maxLength": 32,
            "x-kubernetes-validations": [
                {
                    "rule": is_amount,
                    "message": "must be an amount that is not negative, for example 2, 500m or 2Gi",
                },
                {
                    "rule": format!("!{is_amount} || quantity(string(self)).compareTo(quantity('{LARGEST}')) <= 0"),
                    "message": format!("must not be larger than {LARGEST}, the largest amount that Kubernetes keeps"),
                },
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_amount_is_the_same_as_a_number_and_as_a_text() {
        for (number, text) in [
            (json!(20), "20"),
            (json!(8_589_934_592_i64), "8589934592"),
            (json!(i64::MAX), "9223372036854775807"),
            (json!(i64::MIN), "-9223372036854775808"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(0.5), "0.5"),
        ] {
            let read: Quantity = serde_json::from_value(number).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), json!(text));
        }
        assert_eq!(
            serde_json::from_value::<Quantity>(json!(8_589_934_592_i64)).unwrap(),
            Quantity("8Gi".into())
        );
        assert!(serde_json::from_value::<Quantity>(json!(null)).is_err());
        assert!(serde_json::from_value::<Quantity>(json!(true)).is_err());
    }

    #[test]
    fn amounts_are_compared_by_value() {
        for (one, other) in [
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("5.Gi", "5Gi"),
            ("1000m", "1"),
            ("1e3", "1k"),
            ("1E3", "1k"),
            ("1E+3", "1k"),
            ("5e-1", "500m"),
            ("1E", "1000P"),
            ("12e6", "12M"),
            ("0.1n", "1n"),
            ("1e-99", "1n"),
            ("1.5Gi", "1536Mi"),
            ("+2", "2"),
            ("-0", "0"),
            ("0e99", "0"),
            ("Gi", "0"),
            (".", "0"),
            ("-1.5", "-1500m"),
            ("-0.1n", "-1n"),
            ("8Ei", "9223372036854775807"),
            ("16Ei", "8Ei"),
            ("00000000000000000000000000000001", "1"),
            ("1e4294967299", "1k"),
            ("x", "x"),
        ] {
            assert_eq!(Quantity(one.into()), Quantity(other.into()));
        }
        for (one, other) in [
            ("1Gi", "1G"),
            ("1", "1m"),
            ("1", "2"),
            ("1", "-1"),
            ("x", "y"),
            ("1Gix", "1Gi"),
            ("", "0"),
            ("1e", "1"),
            ("1e1e1", "1"),
            ("1..5", "1.5"),
            (" 1", "1"),
            ("1m", "1.0000001m"),
        ] {
            assert_ne!(Quantity(one.into()), Quantity(other.into()));
        }
    }

    #[test]
    fn what_the_api_server_rewrites_is_no_difference() {
        for (written, stored) in
            [("1024Mi", "1Gi"), ("0.1m", "1m"), ("1.0001", "1001m"), ("0.0000001n", "1m"), ("0", "0")]
        {
            assert!(is_stored_as(written, stored), "{written} {stored}");
        }
        for (one, other) in [("1m", "2m"), ("1", "1001m"), ("x", "1"), ("0", "1m")] {
            assert!(!is_stored_as(one, other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_too_large_becomes_the_largest_amount() {
        type KubernetesQuantity = k8s_openapi::apimachinery::pkg::api::resource::Quantity;
        for (ours, theirs) in [
            ("1000E", "9223372036854775807"),
            ("1e99", "9223372036854775807"),
            ("1e999", "9223372036854775807"),
            ("99999999999999999999999999999999E", "9223372036854775807"),
            ("9223372036854775807", "9223372036854775807"),
            ("9E", "9E"),
            ("+5.", "+5."),
        ] {
            assert_eq!(KubernetesQuantity::from(&Quantity(ours.into())).0, theirs);
        }
    }
}
