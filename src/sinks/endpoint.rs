//! The parts that the HTTP sinks share.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};

use super::{DeliveryError, Secret, tls};

/// No sink is left alone for longer because it asks for it.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The advice when no connection comes about.
pub const CONNECT_ADVICE: &str = "look whether it runs, lets the operator connect, and shows a certificate of an authority that the operator trusts";

/// A URL to which something is posted.
#[derive(Clone)]
pub struct Endpoint {
    client: Client,
    url: Url,
    /// The host, with a port if the URL names one.
    pub to: String,
}

impl Endpoint {
    /// # Errors
    /// [`DeliveryError::Misconfigured`]
    pub fn new(url: &Secret, ca: Option<&Path>) -> Result<Self, DeliveryError> {
        let unknown = "an HTTP sink";
        let url = Url::parse(url.expose().trim())
            .map_err(|error| DeliveryError::misconfigured(unknown, format!("its URL is invalid: {error}")))?;
        let host = match url.scheme() {
            "http" | "https" => url.host_str(),
            _ => None,
        };
        let Some(host) = host else {
            return Err(DeliveryError::misconfigured(unknown, "its URL must begin with https:// or http://"));
        };
        let to = describe_host(host, url.port());
        if !url.username().is_empty() || url.password().is_some() {
            let problem = "its URL holds a user or a password; give a bearer token instead";
            return Err(DeliveryError::misconfigured(&to, problem));
        }
        let client = Client::builder()
            .tls_backend_preconfigured(tls::load_client_config(ca, &to)?)
            // The event, and who asked for it, is for the host in the settings and for no other.
            .redirect(Policy::none())
            .user_agent(concat!("enclave-operator/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| DeliveryError::misconfigured(&to, error.without_url().to_string()))?;
        Ok(Self { client, url, to })
    }

    /// The answer, whatever its status is. Its body is not read yet.
    ///
    /// # Errors
    /// [`DeliveryError::Unreachable`]
    pub async fn post(&self, headers: HeaderMap, body: String) -> Result<Response, DeliveryError> {
        let request = self.client.post(self.url.clone()).headers(headers).body(body);
        request.send().await.map_err(|error| DeliveryError::Unreachable {
            to: self.to.clone(),
            advice: CONNECT_ADVICE,
            // With the URL, the text of the error would show the path.
            source: Box::new(error.without_url()),
        })
    }

    /// Whether it was taken. `code` is the reason that the answer gives.
    ///
    /// # Errors
    /// When it was not.
    pub fn check_answer(&self, answer: &Response, code: Option<String>) -> Result<(), DeliveryError> {
        let (to, status) = (self.to.clone(), answer.status());
        let retry_after = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => retry_after(answer.headers()),
            _ => None,
        };
        if status.is_success() {
            Ok(())
        } else if status.is_client_error() {
            let advice = match status {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => "try again later",
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    "check the token, or the secret in the URL"
                }
                StatusCode::NOT_FOUND | StatusCode::GONE => "check the path of the URL",
                _ => "check that the URL takes what is sent there",
            };
            Err(DeliveryError::Refused { to, status: status.as_u16(), answer: code, advice, retry_after })
        } else if status.is_server_error() {
            Err(DeliveryError::Failed { to, status: status.as_u16(), retry_after })
        } else {
            let problem = format!(
                "it answers with status {}, and redirects are not followed; set the URL to where it leads",
                status.as_u16()
            );
            Err(DeliveryError::Misconfigured { to, problem })
        }
    }
}

/// Returns the name of a host in errors.
pub fn describe_host(host: &str, port: Option<u16>) -> String {
    port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// RFC 9110, section 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wanted = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits is long enough.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        // A date in the past is no time at all.
        Duration::try_from(date.duration_since(Timestamp::now())).unwrap_or_default()
    };
    Some(wanted.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn how_long_to_wait_is_read_and_bounded() {
        let after = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]));
        let date = |seconds| {
            let date = Timestamp::now() + SignedDuration::from_secs(seconds);
            rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap()
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("86400"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(after(&"9".repeat(40)), Some(LONGEST_RETRY_AFTER));
        assert_eq!(after(&date(-100)), Some(Duration::ZERO));
        assert_eq!(after(&date(3600)), Some(LONGEST_RETRY_AFTER));
        assert!(
            after(&date(30))
                .is_some_and(|wait| wait > Duration::from_secs(20) && wait <= Duration::from_secs(30))
        );
        for nonsense in ["", "-1", "soon", "1.5"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
    }
}
