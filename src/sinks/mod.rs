//! Receivers of audit records and notifications.
//!
//! A delivery is tried once: who calls decides whether and when it is tried again. What was not taken for
//! certain is an error, so a delivery that is tried again may arrive twice.
//!
//! HTTP sinks heed `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. A sink knows nothing of objects: only `api` is imported.

mod endpoint;
mod error;
pub mod http;
pub mod message;
pub mod slack;
pub mod smtp;
mod smtp_stream;
pub mod stdout;
mod tls;

use std::fmt::{Debug, Formatter};
use std::future::Future;
use std::time::Duration;

use serde_json::Value;

pub use error::DeliveryError;
pub use http::{HttpSettings, HttpSink, Token};
pub use message::Message;
pub use slack::{SlackSettings, SlackSink};
pub use smtp::{SmtpSettings, SmtpSink};
pub use stdout::StdoutSink;

/// The time that a delivery may take, from the look-up of the name to the answer.
pub const DELIVERY_LIMIT: Duration = Duration::from_secs(10);

/// Takes records for programs, as CloudEvents in JSON.
#[derive(Clone)]
pub enum EventSink {
    Stdout(StdoutSink),
    Http(HttpSink),
}

impl EventSink {
    /// Returns the kind of the sink, for labels of metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stdout(_) => "stdout",
            Self::Http(_) => "http",
        }
    }

    /// # Errors
    /// When the event was not taken, or not for certain.
    pub async fn deliver(&self, event: &Value) -> Result<(), DeliveryError> {
        match self {
            Self::Stdout(sink) => sink.deliver(event).await,
            Self::Http(sink) => sink.deliver(event).await,
        }
    }
}

/// Takes messages for people.
#[derive(Clone)]
pub enum MessageSink {
    Slack(SlackSink),
    Smtp(SmtpSink),
}

impl MessageSink {
    /// Returns the kind of the sink, for labels of metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Slack(_) => "slack",
            Self::Smtp(_) => "smtp",
        }
    }

    /// # Errors
    /// When the message was not taken, or not for certain.
    pub async fn deliver(&self, message: &Message) -> Result<(), DeliveryError> {
        match self {
            Self::Slack(sink) => sink.deliver(message).await,
            Self::Smtp(sink) => sink.deliver(message).await,
        }
    }
}

/// A text that stands in no log and no error: a token, or a URL with a password or a secret path.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Debug for Secret {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// Ends a delivery that takes too long.
fn within<T>(
    limit: Duration,
    to: &str,
    delivery: impl Future<Output = Result<T, DeliveryError>>,
) -> impl Future<Output = Result<T, DeliveryError>> {
    // The state of a connection with TLS is large, and would be a part of every future that delivers.
    let delivery = Box::pin(delivery);
    async move {
        let late = |_| DeliveryError::TimedOut { to: to.to_owned(), limit };
        tokio::time::timeout(limit, delivery).await.map_err(late)?
    }
}
