//! Messages as mail.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::endpoint::{CONNECT_ADVICE, describe_host};
use super::smtp_stream::{Encrypted, Unbuffered};
use super::{DELIVERY_LIMIT, DeliveryError, Message, Secret, tls, within};

/// Where mail is handed in.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    /// - `smtps://user:password@host[:465]`: TLS from the start, which is to be preferred (RFC 8314).
    /// - `smtp://user:password@host[:587]`: nothing is sent before STARTTLS; `?tls=required` says the same.
    /// - `smtp://host[:25]?tls=none`: everybody on the way reads along, so there may be no password.
    ///
    /// Special characters of user and password are percent-encoded.
    pub url: Secret,
    /// `enclave-operator@example.com` or `Enclave Operator <enclave-operator@example.com>`
    pub from: String,
    /// Everybody who gets each mail, one address each, at least one.
    pub to: Vec<String>,
    /// PEM file with authorities that are trusted beside those of the system. It is read once.
    pub ca: Option<PathBuf>,
}

/// Hands in one mail per message, for all recipients at once: it is taken for all of them or for none, so
/// what is tried again reaches nobody twice who already has it. The price is that one address which the
/// server refuses is an error for all. A single recipient stands in `To`, because mailing lists want to be
/// named there; several are not told of each other.
#[derive(Clone)]
pub struct SmtpSink {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
    from: Mailbox,
    envelope: Envelope,
    /// The value of the header `To`.
    shown_recipient: String,
    /// The name of the server in errors.
    to: String,
    limit: Duration,
}

#[derive(Clone)]
enum Security {
    FromTheStart(Arc<ClientConfig>),
    StartTls(TlsParameters),
    None,
}

impl SmtpSink {
    /// # Errors
    /// [`DeliveryError::Misconfigured`]
    pub fn new(settings: &SmtpSettings) -> Result<Self, DeliveryError> {
        let SmtpSettings { url, from, to: recipients, ca } = settings;
        let url = Url::parse(url.expose().trim()).map_err(|error| {
            DeliveryError::misconfigured("a mail server", format!("its URL is invalid: {error}"))
        })?;
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err(DeliveryError::misconfigured("a mail server", "its URL names no host"));
        };
        let to = describe_host(host, url.port());
        let misconfigured = |problem: &str| DeliveryError::misconfigured(&to, problem);
        // A URL has brackets around an IPv6 address.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let parameters = || -> Result<TlsParameters, DeliveryError> {
            let failed = |error| DeliveryError::misconfigured(&to, format!("failed to set up TLS: {error}"));
            let mut builder = TlsParameters::builder(host.clone());
            for authority in tls::read_authorities(ca.as_deref(), &to)? {
                builder =
                    builder.add_root_certificate(Certificate::from_der(authority.to_vec()).map_err(failed)?);
            }
            builder.build_rustls().map_err(failed)
        };
        let tls = url.query_pairs().find(|(key, _)| key == "tls").map(|(_, value)| value.into_owned());
        let (port, security) = match (url.scheme(), tls.as_deref()) {
            ("smtps", None) => {
                let config = tls::load_client_config(ca.as_deref(), &to)?;
                (465, Security::FromTheStart(Arc::new(config)))
            }
            ("smtp", None | Some("required")) => (587, Security::StartTls(parameters()?)),
            ("smtp", Some("none")) => (25, Security::None),
            // `opportunistic` too: whoever is between the two could take the opportunity away.
            _ => return Err(misconfigured("its URL must be smtps://…, smtp://… or smtp://…?tls=none")),
        };
        let credentials = read_credentials(&url).map_err(misconfigured)?;
        if credentials.is_some() && matches!(security, Security::None) {
            return Err(misconfigured(
                "its URL has a password, which is not sent without TLS; drop one of the two",
            ));
        }
        let invalid =
            |address| DeliveryError::misconfigured(&to, format!("{address:?} is not one valid address"));
        let from: Mailbox = from.parse().map_err(|_| invalid(from))?;
        let recipients: Vec<Mailbox> = recipients
            .iter()
            .map(|address| address.parse().map_err(|_| invalid(address)))
            .collect::<Result<_, _>>()?;
        let shown_recipient = match recipients.as_slice() {
            [only] => only.email.to_string(),
            _ => "undisclosed-recipients:;".to_owned(),
        };
        let addresses = recipients.into_iter().map(|mailbox| mailbox.email).collect();
        let envelope = Envelope::new(Some(from.email.clone()), addresses)
            .map_err(|_| misconfigured("there is no recipient"))?;
        let port = url.port().unwrap_or(port);
        Ok(Self {
            host,
            port,
            security,
            credentials,
            from,
            envelope,
            shown_recipient,
            to,
            limit: DELIVERY_LIMIT,
        })
    }

    /// With a limit other than [`DELIVERY_LIMIT`].
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// # Errors
    /// When the mail was not taken, or not for certain.
    pub async fn deliver(&self, message: &Message) -> Result<(), DeliveryError> {
        let mail = self.compose(message)?;
        let mut connection = within(self.limit, &self.to, async {
            let mut connection = self.connect().await?;
            connection.send(&self.envelope, &mail).await.map_err(|error| self.explain(&error))?;
            Ok(connection)
        })
        .await?;
        // The mail is taken, whatever becomes of the goodbye.
        let limit = self.limit;
        tokio::spawn(async move { tokio::time::timeout(limit, connection.quit()).await });
        Ok(())
    }

    /// One connection per mail: lettre's pool would use one again that the limit cut off in the middle of a
    /// command, and take the answers of then for those of now.
    async fn connect(&self) -> Result<AsyncSmtpConnection, DeliveryError> {
        let explain = |error| self.explain(&error);
        let name = ClientId::default();
        let server = (self.host.as_str(), self.port);
        let stream = TcpStream::connect(server).await.map_err(|error| self.unreachable(error))?;
        let stream = Unbuffered::new(stream);
        let mut connection = match &self.security {
            Security::FromTheStart(config) => {
                let host = ServerName::try_from(self.host.clone())
                    .map_err(|_| DeliveryError::misconfigured(&self.to, "its URL names no valid host"))?;
                let stream = TlsConnector::from(Arc::clone(config)).connect(host, stream).await;
                let stream = Encrypted(stream.map_err(|error| self.unreachable(error))?);
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &name).await
            }
            Security::StartTls(_) | Security::None => {
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &name).await
            }
        }
        .map_err(explain)?;
        if let Security::StartTls(parameters) = &self.security {
            if !connection.can_starttls() {
                let problem = "it does not offer STARTTLS; write smtps://… if it speaks TLS from the start";
                return Err(DeliveryError::misconfigured(&self.to, problem));
            }
            connection.starttls(parameters.clone(), &name).await.map_err(explain)?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await.map_err(explain)?;
        }
        Ok(connection)
    }

    fn compose(&self, message: &Message) -> Result<Vec<u8>, DeliveryError> {
        let header =
            |name, value: &str| HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned());
        let mail = lettre::Message::builder()
            .envelope(self.envelope.clone())
            .from(self.from.clone())
            .raw_header(header("To", &self.shown_recipient))
            // Or absence notes come back (RFC 3834).
            .raw_header(header("Auto-Submitted", "auto-generated"))
            // A mail program would decode what a user wrote as an encoded word (RFC 2047).
            .subject(message.subject().replace("=?", "= ?"))
            .singlepart(SinglePart::plain(message.text().to_owned()))
            .map_err(|error| {
                DeliveryError::misconfigured(&self.to, format!("failed to write a mail: {error}"))
            })?;
        Ok(mail.formatted())
    }

    /// Explains an error without what the server says: some repeat the command, and with it the password.
    fn explain(&self, error: &lettre::transport::smtp::Error) -> DeliveryError {
        let to = self.to.clone();
        match error.status() {
            Some(code) if error.is_permanent() => DeliveryError::Refused {
                to,
                status: code.into(),
                answer: None,
                advice: "check user and password, the sender and each recipient",
                retry_after: None,
            },
            Some(code) => DeliveryError::Failed { to, status: code.into(), retry_after: None },
            None if error.is_client() => DeliveryError::Misconfigured { to, problem: error.to_string() },
            None if error.is_response() => self.unreachable("its answer is not SMTP"),
            None => self.unreachable(error.to_string()),
        }
    }

    fn unreachable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DeliveryError {
        DeliveryError::Unreachable { to: self.to.clone(), advice: CONNECT_ADVICE, source: source.into() }
    }
}

fn read_credentials(url: &Url) -> Result<Option<Credentials>, &'static str> {
    let decode = |text| percent_decode_str(text).decode_utf8().map_err(|_| "user or password are not UTF-8");
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) => Err("its URL has a password and no user"),
        (_, None) => Err("its URL has a user and no password"),
        (user, Some(password)) => {
            Ok(Some(Credentials::new(decode(user)?.into_owned(), decode(password)?.into_owned())))
        }
    }
}
