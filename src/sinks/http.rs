//! Audit records for a program behind a URL.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;

use super::endpoint::Endpoint;
use super::{DELIVERY_LIMIT, DeliveryError, Secret, within};

/// One event as JSON: the structured mode of the CloudEvents HTTP binding, section 3.2.
const CLOUD_EVENT: HeaderValue = HeaderValue::from_static("application/cloudevents+json; charset=utf-8");

/// Where events are posted to.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Begins with `https://`, or with `http://` for what is near: then everybody on the way reads along,
    /// the token too. It carries no user and no password.
    pub url: Secret,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<Token>,
    /// PEM file with authorities that are trusted beside those of the system. It is read once.
    pub ca: Option<PathBuf>,
}

/// Shows the other side who sends.
#[derive(Clone, Debug)]
pub enum Token {
    Value(Secret),
    /// Read at each delivery, because the kubelet replaces mounted Secrets. Blanks around it do not count.
    File(PathBuf),
}

/// Posts events to a URL. Any 2xx means that one was taken; the rest of the answer is not read.
#[derive(Clone)]
pub struct HttpSink {
    endpoint: Endpoint,
    token: Option<Token>,
    limit: Duration,
}

impl HttpSink {
    /// # Errors
    /// [`DeliveryError::Misconfigured`]
    pub fn new(settings: HttpSettings) -> Result<Self, DeliveryError> {
        let HttpSettings { url, token, ca } = settings;
        let endpoint = Endpoint::new(&url, ca.as_deref())?;
        if let Some(Token::Value(value)) = &token {
            bearer(value.reveal(), &endpoint.to, None)?;
        }
        Ok(Self { endpoint, token, limit: DELIVERY_LIMIT })
    }

    /// With a limit other than [`DELIVERY_LIMIT`].
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// # Errors
    /// When the event was not taken, or not for certain.
    pub async fn deliver(&self, event: &Value) -> Result<(), DeliveryError> {
        within(self.limit, &self.endpoint.to, async {
            let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, CLOUD_EVENT)]);
            if let Some(token) = &self.token {
                headers.insert(AUTHORIZATION, read_bearer(token, &self.endpoint.to).await?);
            }
            let answer = self.endpoint.post(headers, event.to_string()).await?;
            self.endpoint.judge(&answer, None)
        })
        .await
    }
}

async fn read_bearer(token: &Token, to: &str) -> Result<HeaderValue, DeliveryError> {
    let path = match token {
        Token::Value(value) => return bearer(value.reveal(), to, None),
        Token::File(path) => path.clone(),
    };
    let reading = path.clone();
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(reading)).await;
    let text = read.map_err(std::io::Error::other).flatten().map_err(|error| {
        let problem = format!("failed to read the token from {}: {error}", path.display());
        DeliveryError::Misconfigured { to: to.to_owned(), problem }
    })?;
    bearer(&text, to, Some(&path))
}

/// `path` is where the token comes from.
fn bearer(token: &str, to: &str, path: Option<&Path>) -> Result<HeaderValue, DeliveryError> {
    let token = token.trim();
    // Nothing that could end the header line, or begin another word of it.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let place = path.map_or_else(String::new, |path| format!(" in {}", path.display()));
        let problem = format!("the token{place} must be one word of printable ASCII");
        return Err(DeliveryError::Misconfigured { to: to.to_owned(), problem });
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| DeliveryError::misconfigured(to, "the token is no valid header"))?;
    header.set_sensitive(true);
    Ok(header)
}
