//! Points in time in specs and statuses of this API group.

use std::fmt;

use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::schemas;

/// Point in time in whole seconds, which is as fine as Kubernetes writes times.
///
/// Reading accepts every text that the API server accepts for `format: date-time`, and drops fractions of a
/// second, so that an end is reached early and never late. A time outside the supported range becomes the
/// first or the last time of the range: `9999-12-31T23:59:59Z`, which some directories write for "never",
/// becomes the last one. Values are compared and written in whole seconds, however they were made.
#[derive(Clone, Debug)]
pub struct Time(pub Timestamp);

impl Time {
    /// Returns whole seconds since 1970, rounded towards the past.
    fn seconds(&self) -> i64 {
        let seconds = self.0.as_second();
        if self.0.subsec_nanosecond() < 0 { seconds - 1 } else { seconds }
    }
}

impl PartialEq for Time {
    fn eq(&self, other: &Self) -> bool {
        self.seconds() == other.seconds()
    }
}

impl Eq for Time {}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Time {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.seconds().cmp(&other.seconds())
    }
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl From<Time> for k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    fn from(time: Time) -> Self {
        Self(time.0)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", saturate(self.seconds()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a point in time such as 2027-01-31T18:00:00Z")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                let seconds =
                    parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))?;
                Ok(Time(saturate(seconds)))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemas::time(generator)
    }
}

/// Returns the nearest time that is supported and can be written with a year of four digits.
fn saturate(seconds: i64) -> Timestamp {
    /// 0000-01-01T00:00:00Z
    const FIRST: i64 = -62_167_219_200;
    Timestamp::from_second(seconds.clamp(FIRST, Timestamp::MAX.as_second())).unwrap_or(Timestamp::MAX)
}

/// Returns whole seconds since 1970 of a text in RFC 3339, also with small letters, a comma, any number of
/// digits behind it, and offsets that no place on earth has; `None` for any other text.
fn parse(text: &str) -> Option<i64> {
    let (day, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.strip_prefix(['T', 't'])?.split_at_checked(8)?;
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let day =
        Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let zone = match rest.strip_prefix(['.', ',']) {
        None => rest,
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
            if zone.len() == fraction.len() {
                return None;
            }
            zone
        }
    };
    let offset = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign @ ("+" | "-"), offset) => {
            let [hours, minutes] = numbers(offset, ':', [2, 2])?;
            let seconds = hours * 3600 + minutes * 60;
            if sign == "-" { -seconds } else { seconds }
        }
        _ => return None,
    };
    let midnight: SignedDuration = day.duration_since(date(1970, 1, 1));
    Some(midnight.as_secs() + hour * 3600 + minute * 60 + second - offset)
}

/// Returns numbers with these numbers of digits, which `between` separates.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(between);
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        *number = part.chars().all(|digit| digit.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Time {
        serde_json::from_value(json!(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_text_that_the_api_server_takes_is_read() {
        for (text, written) in [
            ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2027-01-01t00:00:00z", "2027-01-01T00:00:00Z"),
            ("2027-01-01T00:00:00.123Z", "2027-01-01T00:00:00Z"),
            ("2027-01-01T00:00:00,9Z", "2027-01-01T00:00:00Z"),
            ("2027-01-01T00:00:00.99999999999999999999Z", "2027-01-01T00:00:00Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
            ("2027-01-01T00:00:00+23:59", "2026-12-31T00:01:00Z"),
            ("2027-01-01T00:00:00.5-23:59", "2027-01-01T23:59:00Z"),
            ("2027-01-01T00:00:00+24:60", "2026-12-30T23:00:00Z"),
            ("2027-01-01T00:00:00-29:59", "2027-01-02T05:59:00Z"),
            ("2028-02-29T12:00:00-00:00", "2028-02-29T12:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("0000-01-01T00:00:00+23:59", "0000-01-01T00:00:00Z"),
            ("9999-12-30T22:00:00Z", "9999-12-30T22:00:00Z"),
            ("9999-12-30T22:00:01Z", "9999-12-30T22:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-30T22:00:00Z"),
            ("9999-12-31T23:59:59.999999999-23:59", "9999-12-30T22:00:00Z"),
        ] {
            assert_eq!(serde_json::to_value(read(text)).unwrap(), json!(written), "{text}");
            assert_eq!(read(text), read(written), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_not_guessed() {
        for text in [
            "",
            "2027",
            "2027-01-01",
            "2027-01-01T00:00:00",
            "2027-01-01 00:00:00Z",
            "2027-02-29T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-01-01T24:00:00Z",
            "2027-01-01T00:60:00Z",
            "2027-01-01T00:00:60Z",
            "2027-01-01T00:00:00.Z",
            "2027-01-01T00:00:00x1Z",
            "2027-01-01T00:00:00+1:00",
            "2027-01-01T00:00:00+0100",
            "2027-01-01T00:00:00+01:00Z",
            "2027-01-01T00:00:00ZZ",
            "+2027-01-01T00:00:00Z",
            "2027-01-01T+1:00:00Z",
            "2027-01-01T00:00:00.1",
            "２０２７-01-01T00:00:00Z",
        ] {
            assert!(serde_json::from_value::<Time>(json!(text)).is_err(), "{text}");
        }
        assert!(serde_json::from_value::<Time>(json!(1_800_000_000)).is_err());
    }

    #[test]
    fn fractions_do_not_count_however_a_value_was_made() {
        let whole = Timestamp::from_second(100).unwrap();
        let later = Timestamp::from_millisecond(100_999).unwrap();
        let before_1970 = Time(Timestamp::from_millisecond(-500).unwrap());
        assert_eq!(Time(whole), Time(later));
        assert!(Time(later) < Time(Timestamp::from_second(101).unwrap()));
        assert_eq!(serde_json::to_value(Time(later)).unwrap(), json!("1970-01-01T00:01:40Z"));
        assert_eq!(serde_json::to_value(&before_1970).unwrap(), json!("1969-12-31T23:59:59Z"));
        assert_eq!(read("1969-12-31T23:59:59Z"), before_1970);
        assert_eq!(serde_json::to_value(Time(Timestamp::MAX)).unwrap(), json!("9999-12-30T22:00:00Z"));
        assert_eq!(serde_json::to_value(Time(Timestamp::MIN)).unwrap(), json!("0000-01-01T00:00:00Z"));
    }

    proptest! {
        #[test]
        fn a_time_is_read_as_it_is_written(seconds in FIRST_SECOND..=LAST_SECOND, nanos in 0..1_000_000_000i32) {
            let time = Time(Timestamp::new(seconds, nanos).unwrap_or(Timestamp::MAX));
            let text = serde_json::to_value(&time).unwrap();
            prop_assert_eq!(serde_json::from_value::<Time>(text).unwrap(), time);
        }

        #[test]
        fn an_offset_is_the_same_instant(seconds in 0..200_000_000_000i64, offset in -86_340..=86_340i32) {
            let offset = jiff::tz::Offset::from_seconds(offset / 60 * 60).unwrap();
            let time = Timestamp::from_second(seconds).unwrap();
            let text = time.display_with_offset(offset).to_string();
            prop_assert_eq!(read(&text), Time(time));
        }
    }

    const FIRST_SECOND: i64 = -62_167_219_200;
    const LAST_SECOND: i64 = 253_402_207_200;
}
