//! Why a delivery failed.

use std::time::Duration;

use thiserror::Error;

/// A delivery failed, or nobody knows whether it did.
///
/// `to` is the host, with its port if the URL names one: paths may be secrets.
#[derive(Debug, Error)]
pub enum DeliveryError {
    /// There was no connection, or it ended before the answer.
    #[error("failed to reach {to}; {advice}")]
    Unreachable { to: String, advice: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("failed to deliver to {to} within {limit:?}; look whether it hangs, or is cut off from here")]
    TimedOut { to: String, limit: Duration },
    /// The other side will not take this: 4xx of HTTP, 5yz of SMTP.
    #[error("{to} refused the delivery with status {status}{}; {advice}", describe_answer(answer.as_deref()))]
    Refused {
        to: String,
        status: u16,
        /// The code with which the answer tells the reason, if it is known to hold nothing else.
        answer: Option<String>,
        advice: &'static str,
        /// The time for which the other side asks to be left alone, at most 60 s.
        retry_after: Option<Duration>,
    },
    /// The other side cannot take this now: 5xx of HTTP, 4yz of SMTP.
    #[error("{to} failed to take the delivery, with status {status}; look there for the cause")]
    Failed {
        to: String,
        status: u16,
        /// The time for which the other side asks to be left alone, at most 60 s.
        retry_after: Option<Duration>,
    },
    /// Trying again is of no use before somebody changes the settings, here or there.
    #[error("the delivery to {to} is misconfigured: {problem}")]
    Misconfigured { to: String, problem: String },
}

impl DeliveryError {
    /// A label for metrics and a reason for Events: one of five.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "Unreachable",
            Self::TimedOut { .. } => "TimedOut",
            Self::Refused { .. } => "Refused",
            Self::Failed { .. } => "Failed",
            Self::Misconfigured { .. } => "Misconfigured",
        }
    }

    /// Returns how long the other side asks to be left alone, at most 60 s.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } | Self::Failed { retry_after, .. } => *retry_after,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Misconfigured { .. } => None,
        }
    }

    pub(super) fn misconfigured(to: &str, problem: impl Into<String>) -> Self {
        Self::Misconfigured { to: to.to_owned(), problem: problem.into() }
    }
}

fn describe_answer(answer: Option<&str>) -> String {
    answer.map_or_else(String::new, |answer| format!(" ({answer})"))
}
