//! Messages for a Slack channel, or for what takes the same incoming webhooks: Mattermost, Rocket.Chat.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;

use super::endpoint::Endpoint;
use super::{DELIVERY_LIMIT, DeliveryError, Message, Secret, within};

/// In bytes. Slack answers with one word.
const LONGEST_ANSWER: usize = 4096;

/// Where messages are posted to.
#[derive(Clone, Debug)]
pub struct SlackSettings {
    /// The incoming webhook. Whoever knows it can post.
    pub url: Secret,
    /// PEM file with authorities that are trusted beside those of the system. It is read once.
    pub ca: Option<PathBuf>,
}

/// Posts messages to an incoming webhook.
#[derive(Clone)]
pub struct SlackSink {
    endpoint: Endpoint,
    limit: Duration,
}

impl SlackSink {
    /// # Errors
    /// [`DeliveryError::Misconfigured`]
    pub fn new(settings: &SlackSettings) -> Result<Self, DeliveryError> {
        let SlackSettings { url, ca } = settings;
        Ok(Self { endpoint: Endpoint::new(url, ca.as_deref())?, limit: DELIVERY_LIMIT })
    }

    /// With a limit other than [`DELIVERY_LIMIT`].
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// # Errors
    /// When the message was not taken, or not for certain.
    pub async fn deliver(&self, message: &Message) -> Result<(), DeliveryError> {
        let text = format!("{}\n{}", message.subject(), message.text());
        let body = json!({ "text": escape(text.trim()) }).to_string();
        within(self.limit, &self.endpoint.to, async {
            let json = HeaderValue::from_static("application/json; charset=utf-8");
            let mut answer = self.endpoint.post(HeaderMap::from_iter([(CONTENT_TYPE, json)]), body).await?;
            let code = if answer.status().is_client_error() { read_code(&mut answer).await } else { None };
            self.endpoint.check_answer(&answer, code)
        })
        .await
    }
}

/// Slack reads `&`, `<` and `>`, and `<!channel>` would call everybody. Mattermost and Rocket.Chat read
/// `@channel`, so an `@` that begins a word is held apart from it by a space without width.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut previous = ' ';
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '@' if !previous.is_alphanumeric() => escaped.push_str("@\u{200b}"),
            _ => escaped.push(c),
        }
        previous = c;
    }
    escaped
}

/// The code with which Slack tells what is wrong, such as `no_service`. Other servers repeat the path, which
/// is the secret, so nothing else is told.
async fn read_code(answer: &mut Response) -> Option<String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ANSWER {
            return None;
        }
    }
    let code = String::from_utf8(body).ok()?.trim().to_owned();
    let is_code =
        (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_code.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_can_neither_mention_nor_link() {
        assert_eq!(escape("a < b && c > d"), "a &lt; b &amp;&amp; c &gt; d");
        assert_eq!(
            escape("<!channel> <@U1> <https://evil.example|login>"),
            "&lt;!channel&gt; &lt;@\u{200b}U1&gt; &lt;https://evil.example|login&gt;"
        );
        assert_eq!(escape("&lt;!here&gt;"), "&amp;lt;!here&amp;gt;");
        assert_eq!(escape("@channel _@all_"), "@\u{200b}channel _@\u{200b}all_");
        assert_eq!(escape("by oidc:alice@example.com"), "by oidc:alice@example.com");
    }
}
