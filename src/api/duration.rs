//! Durations in specs of this API group.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Maximum number of digits of a number: seconds of three years.
const MOST_DIGITS: usize = 8;

/// Duration in hours, minutes and seconds, each at most once and in this order: `72h`, `1h30m`, `90s`.
///
/// Reading accepts every text that the schema accepts ([`super::common::DURATION_PATTERN`]), and no other: a
/// text that is no duration is unreadable, and is not read as a duration of zero. Durations are compared and
/// written as the texts that were read.
#[derive(Clone, Debug)]
pub struct Duration {
    text: Box<str>,
    length: SignedDuration,
}

/// Error: a text is no duration.
#[derive(Debug, thiserror::Error)]
#[error("write hours, minutes and seconds, such as 72h or 1h30m")]
pub struct NoDuration;

impl Duration {
    /// Returns the length of the duration, which is never negative.
    #[must_use]
    pub const fn length(&self) -> SignedDuration {
        self.length
    }
}

impl FromStr for Duration {
    type Err = NoDuration;

    fn from_str(text: &str) -> Result<Self, NoDuration> {
        let (mut rest, mut seconds): (&str, i64) = (text, 0);
        for (unit, of_unit) in [('h', 3600), ('m', 60), ('s', 1)] {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let Some(after) = after.strip_prefix(unit) else { continue };
            if digits > MOST_DIGITS {
                return Err(NoDuration);
            }
            let number: i64 = number.parse().map_err(|_| NoDuration)?;
            seconds = seconds.saturating_add(number.saturating_mul(of_unit));
            rest = after;
        }
        if !rest.is_empty() || text.is_empty() {
            return Err(NoDuration);
        }
        Ok(Self { text: text.into(), length: SignedDuration::from_secs(seconds) })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Duration {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Duration {}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &[&str] = &["hours, minutes and seconds, such as 72h or 1h30m"];
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|error| {
            // Numbers with units that another version may know.
            let has_units = text.starts_with(|c: char| c.is_ascii_digit())
                && text.ends_with(|c: char| c.is_ascii_alphabetic())
                && text.chars().all(|c| c.is_ascii_alphanumeric());
            if has_units { D::Error::unknown_variant(&text, EXPECTED) } else { D::Error::custom(error) }
        })
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::common::DURATION_PATTERN;

    fn length(text: &str) -> Option<i64> {
        text.parse::<Duration>().ok().map(|duration| duration.length().as_secs())
    }

    #[test]
    fn hours_minutes_and_seconds_each_once_and_in_order() {
        assert_eq!(length("1h30m"), Some(5400));
        assert_eq!(length("90s"), Some(90));
        assert_eq!(length("0s"), Some(0));
        assert_eq!(length("99999999h99999999m99999999s"), Some(366_099_996_339));
        for text in [
            "", "1", "h", "-1h", "1h-1h", "1h+1h", "+1h", "1.5h", "1m1h", "1h1h", "3d", "soon", "1 h", "1h ",
            "٣h",
        ] {
            assert_eq!(length(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_the_schema_accepts_is_read(text in DURATION_PATTERN.trim_matches(['^', '$'])) {
            let read = serde_json::from_value::<Duration>(text.clone().into());
            prop_assert_eq!(read.is_ok(), !text.is_empty());
            prop_assert!(read.is_err() || serde_json::to_value(read.unwrap()).unwrap() == text);
        }

        #[test]
        fn no_text_is_too_odd(text in prop_oneof!["[0-9hms+.-]{0,40}", "\\PC{0,40}"]) {
            let read = serde_json::from_value::<Duration>(text.into());
            prop_assert!(read.is_err() || !read.unwrap().length().is_negative());
        }
    }
}
