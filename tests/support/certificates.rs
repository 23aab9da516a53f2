//! The certificate authority of a control plane. Its key stays in memory.

use std::sync::Arc;

use pem::Pem;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SigningKey,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use yasna::models::ObjectIdentifier;
use yasna::{ASN1Result, DERWriterSeq};

const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const ORGANIZATION: &[u64] = &[2, 5, 4, 10];

/// Signs the certificates of the API server and of its users.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, both PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { certificate: params.self_signed(&key)?.pem(), issuer: Issuer::new(params, key) })
    }

    /// PEM
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// An identity for a server with these host names or addresses.
    pub fn server(&self, names: &[&str]) -> Result<Identity, rcgen::Error> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = common_name("kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        Ok(Identity { certificate: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }

    /// An identity which the API server reads as this user with these groups.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Identity, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.issuer)?;

        // Groups are organisations, and rcgen writes one of these only: write the subject here.
        let parts = read_certificate(signed.der()).map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        let statement = parts.statement_about(&subject(user, groups));
        let signature = self.issuer.key().sign(&statement)?;
        let certificate = parts.signed(&statement, &signature);
        Ok(Identity {
            certificate: pem::encode(&Pem::new("CERTIFICATE", certificate)),
            key: key.serialize_pem(),
        })
    }
}

/// TLS as a server of this name has it.
pub fn server_config(authority: &Authority, name: &str) -> Arc<ServerConfig> {
    let Identity { certificate, key } = authority.server(&[name]).unwrap();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// A certificate (RFC 5280, section 4.1), its members in DER.
struct Parts {
    /// version, serial number, signature algorithm, issuer, validity
    before_subject: [Vec<u8>; 5],
    /// public key, extensions
    after_subject: [Vec<u8>; 2],
    algorithm: Vec<u8>,
}

fn read_certificate(certificate: &[u8]) -> ASN1Result<Parts> {
    yasna::parse_der(certificate, |reader| {
        reader.read_sequence(|reader| {
            let (before_subject, after_subject) = reader.next().read_sequence(|reader| {
                let mut next = || reader.next().read_der();
                let before = [next()?, next()?, next()?, next()?, next()?];
                next()?;
                Ok((before, [next()?, next()?]))
            })?;
            let algorithm = reader.next().read_der()?;
            reader.next().read_der()?;
            Ok(Parts { before_subject, after_subject, algorithm })
        })
    })
}

impl Parts {
    /// What the authority signs, with another subject.
    fn statement_about(&self, subject: &[u8]) -> Vec<u8> {
        let members = (self.before_subject.iter().map(Vec::as_slice))
            .chain([subject])
            .chain(self.after_subject.iter().map(Vec::as_slice));
        sequence(|writer| members.for_each(|member| writer.next().write_der(member)))
    }

    fn signed(&self, statement: &[u8], signature: &[u8]) -> Vec<u8> {
        sequence(|writer| {
            writer.next().write_der(statement);
            writer.next().write_der(&self.algorithm);
            writer.next().write_bitvec_bytes(signature, signature.len() * 8);
        })
    }
}

fn subject(user: &str, groups: &[&str]) -> Vec<u8> {
    let organizations = groups.iter().map(|&group| (ORGANIZATION, group));
    sequence(|writer| {
        for (kind, value) in organizations.chain([(COMMON_NAME, user)]) {
            writer.next().write_set(|writer| {
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(kind));
                    writer.next().write_utf8_string(value);
                });
            });
        }
    })
}

fn sequence(write: impl FnOnce(&mut DERWriterSeq<'_>)) -> Vec<u8> {
    yasna::construct_der(|writer| writer.write_sequence(write))
}
