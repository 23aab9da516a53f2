//! The authorities that the sinks trust.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::DeliveryError;

/// Trusts the authorities of the system and those in `ca`, a PEM file.
///
/// The configuration names its cryptography, so the process needs no global choice of it.
///
/// # Errors
/// [`DeliveryError::Misconfigured`], when `ca` cannot be read or holds no certificate.
pub fn load_client_config(ca: Option<&Path>, to: &str) -> Result<ClientConfig, DeliveryError> {
    let failed =
        |error: rustls::Error| DeliveryError::misconfigured(to, format!("failed to set up TLS: {error}"));
    let mut roots = RootCertStore::empty();
    // There may be none, in an image without them: `ca` may be enough, and plain HTTP needs none.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in read_authorities(ca, to)? {
        roots.add(certificate).map_err(failed)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The certificates in a PEM file; none without a file.
///
/// # Errors
/// [`DeliveryError::Misconfigured`], when it cannot be read or holds no certificate.
pub fn read_authorities(ca: Option<&Path>, to: &str) -> Result<Vec<CertificateDer<'static>>, DeliveryError> {
    let Some(path) = ca else { return Ok(Vec::new()) };
    let failed = |cause: String| {
        let problem =
            format!("failed to read certificates of authorities (PEM) from {}: {cause}", path.display());
        DeliveryError::misconfigured(to, problem)
    };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(failed("there is none in it".to_owned()));
    }
    Ok(certificates)
}
