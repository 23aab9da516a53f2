//! The settings that an administrator makes, by flags or environment variables.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use jiff::SignedDuration;

use crate::admission::{Installation, WildcardApprovers};
use crate::api::duration::Duration;
use crate::sinks::{DeliveryError, EventSink, HttpSettings, HttpSink, StdoutSink, Token};

/// Settings of the operator. Those of the installation must be the same for `run` and
/// the chart, because the operator compares the live admission policies with its own.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    #[command(flatten)]
    pub installation: InstallationSettings,

    /// Who this process is in the leader election; unique among all replicas.
    #[arg(long, env = "POD_NAME", default_value_t = default_identity(), value_parser = NonEmptyStringValueParser::new())]
    pub identity: String,

    /// How long decided ApprovalRequests are kept, for example 2160h (90 days).
    #[arg(long, env = "ENCLAVE_OPERATOR_RETAIN_REQUESTS_FOR", default_value = "2160h", value_parser = duration)]
    pub retain_requests_for: SignedDuration,

    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, env = "ENCLAVE_OPERATOR_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    #[command(flatten)]
    pub audit: AuditSettings,
}

/// Where the audit stream goes beside the standard output.
#[derive(Args, Clone, Debug, Default)]
pub struct AuditSettings {
    /// File to which each record is appended as a line of JSON; `-` is the standard output.
    #[arg(long, env = "ENCLAVE_OPERATOR_AUDIT_FILE", default_value = "-")]
    pub audit_file: PathBuf,

    /// URL to which each record is posted as a CloudEvent; https:// unless it is near.
    #[arg(long, env = "ENCLAVE_OPERATOR_AUDIT_URL")]
    pub audit_url: Option<String>,

    /// File with the token that is sent along (Authorization: Bearer). It is read at each delivery.
    #[arg(long, env = "ENCLAVE_OPERATOR_AUDIT_TOKEN_FILE")]
    pub audit_token_file: Option<PathBuf>,

    /// PEM file with certificate authorities that sinks are trusted by, beside those of the system.
    #[arg(long, env = "ENCLAVE_OPERATOR_CA_FILE")]
    pub ca_file: Option<PathBuf>,
}

impl AuditSettings {
    /// The sinks to which every record is delivered.
    ///
    /// # Errors
    /// When one of them cannot work like this.
    pub fn sinks(&self) -> Result<Vec<EventSink>, DeliveryError> {
        let lines = if self.audit_file.as_os_str() == "-" {
            StdoutSink::new()?
        } else {
            let file = File::options().create(true).append(true).open(&self.audit_file);
            let file = file.map_err(|error| DeliveryError::Misconfigured {
                to: self.audit_file.display().to_string(),
                problem: error.to_string(),
            });
            StdoutSink::writing_to(file?)?
        };
        let mut sinks = vec![EventSink::Stdout(lines)];
        if let Some(url) = self.audit_url.as_deref().filter(|url| !url.is_empty()) {
            sinks.push(EventSink::Http(HttpSink::new(HttpSettings {
                url: url.into(),
                token: self.audit_token_file.clone().map(Token::File),
                ca: self.ca_file.clone(),
            })?));
        }
        Ok(sinks)
    }
}

/// Settings that the admission policies depend on.
#[derive(Args, Clone, Debug)]
pub struct InstallationSettings {
    /// Namespace of the operator, the cluster-wide scope.
    #[arg(long, env = "POD_NAMESPACE", default_value = "enclave-system", value_parser = dns_label)]
    pub namespace: String,

    /// Name of the operator's service account.
    #[arg(long, env = "ENCLAVE_OPERATOR_SERVICE_ACCOUNT", default_value = "enclave-operator", value_parser = dns_label)]
    pub service_account: String,

    /// Key in userInfo.extra that carries the multi-factor claim of a login.
    #[arg(long, env = "ENCLAVE_OPERATOR_MFA_CLAIM", default_value = "enclave-operator.io/acr", value_parser = plain_text)]
    pub mfa_claim: String,

    /// Values of that claim which stand for multi-factor authentication, comma separated.
    #[arg(long, env = "ENCLAVE_OPERATOR_MFA_VALUES", default_value = "mfa", value_delimiter = ',', value_parser = plain_text)]
    pub mfa_values: Vec<String>,

    /// Let principals decide whose right to approve comes from a wildcard, as a cluster
    /// administrator's does.
    #[arg(long, env = "ENCLAVE_OPERATOR_ALLOW_WILDCARD_APPROVERS")]
    pub allow_wildcard_approvers: bool,
}

impl InstallationSettings {
    /// The installation that the settings describe.
    #[must_use]
    pub fn installation(&self) -> Installation {
        Installation {
            namespace: self.namespace.clone(),
            service_account: self.service_account.clone(),
            mfa_claim: self.mfa_claim.clone(),
            mfa_values: self.mfa_values.clone(),
            wildcard_approvers: if self.allow_wildcard_approvers {
                WildcardApprovers::Allowed
            } else {
                WildcardApprovers::Refused
            },
        }
    }
}

/// These texts stand inside CEL string literals in the admission policies.
fn plain_text(value: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@ ".contains(c);
    if value.is_empty() || !value.chars().all(plain) {
        return Err("use letters, digits, spaces and - _ . / : @ only".to_owned());
    }
    Ok(value.to_owned())
}

/// So do these names, as parts of a user name.
fn dns_label(value: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if value.is_empty() || value.len() > 63 || !value.chars().all(plain) {
        return Err("use at most 63 lower-case letters, digits and '-'".to_owned());
    }
    Ok(value.to_owned())
}

fn duration(value: &str) -> Result<SignedDuration, String> {
    value.parse().map(|duration: Duration| duration.length()).map_err(|error| error.to_string())
}

fn default_identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "operator".to_owned());
    format!("{host}-{}", std::process::id())
}
