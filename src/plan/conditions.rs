//! Conditions: set as a whole, in a fixed order, with times that change only with the status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::text::shorten;
use crate::model::approval::gated::Gated;

const MAX_MESSAGE_CHARS: usize = 8192;

/// A condition that should be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// One of [`crate::api::names::condition`].
    pub type_: &'static str,
    /// Whether it holds.
    pub status: Status,
    /// One of [`crate::api::names::reason`].
    pub reason: &'static str,
    /// The text: why, and what to do next.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    True,
    False,
    Unknown,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Returns exactly the wanted conditions, each with the transition time of the observed one when its status did
/// not change.
#[must_use]
pub fn build_conditions(
    observed: &[Condition],
    wanted: Vec<Wanted>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    wanted
        .into_iter()
        .map(|Wanted { type_, status, reason, message }| {
            let last_transition_time = observed
                .iter()
                .find(|condition| condition.type_ == type_ && condition.status == status.as_str())
                .map_or(Time(now), |condition| condition.last_transition_time.clone());
            Condition {
                type_: type_.to_owned(),
                status: status.as_str().to_owned(),
                reason: reason.to_owned(),
                message: shorten(&message, MAX_MESSAGE_CHARS).into_owned(),
                observed_generation: generation,
                last_transition_time,
            }
        })
        .collect()
}

/// The conditions that an object shows now.
#[must_use]
pub fn conditions_before<K: Gated>(object: &K) -> &[Condition] {
    object.gate().map_or(&[], |gate| &gate.conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(status: Status) -> Vec<Wanted> {
        vec![Wanted { type_: "Ready", status, reason: "Because", message: "text".into() }]
    }

    #[test]
    fn the_transition_time_changes_only_with_the_status() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = build_conditions(&[], wanted(Status::False), Some(1), at(1));
        let same = build_conditions(&first, wanted(Status::False), Some(2), at(2));
        assert_eq!(same[0].last_transition_time, Time(at(1)));
        assert_eq!(same[0].observed_generation, Some(2));
        let changed = build_conditions(&same, wanted(Status::True), Some(2), at(3));
        assert_eq!(changed[0].last_transition_time, Time(at(3)));
    }
}
