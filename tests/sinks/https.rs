//! Whom the sinks that speak HTTP trust.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use enclave_operator::sinks::{DeliveryError, HttpSettings, HttpSink, Secret};
use rustls::crypto::CryptoProvider;
use serde_json::json;

use crate::certificates::{Authority, server_config};
use crate::servers::https;
use crate::{in_time, tell};

struct Lab {
    folder: tempfile::TempDir,
    authority: Authority,
    port: u16,
    taken: Arc<Mutex<usize>>,
}

impl Lab {
    fn new(name: &str) -> Self {
        let authority = Authority::new("sinks").unwrap();
        let (port, taken) = https(server_config(&authority, name));
        Self { folder: tempfile::tempdir().unwrap(), authority, port, taken }
    }

    fn file(&self, pem: &str) -> PathBuf {
        let path = self.folder.path().join("ca.crt");
        std::fs::write(&path, pem).unwrap();
        path
    }

    async fn deliver(&self, ca: Option<PathBuf>) -> Result<(), DeliveryError> {
        let url = Secret::from(format!("https://127.0.0.1:{}/secret-path", self.port));
        let sink = HttpSink::new(HttpSettings { url, token: None, ca })?;
        sink.deliver(&json!({ "specversion": "1.0" })).await
    }

    fn taken(&self) -> usize {
        *self.taken.lock().unwrap()
    }
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named() {
    in_time(async {
        let lab = Lab::new("127.0.0.1");
        // The right one may stand behind others.
        let others = Authority::new("another").unwrap();
        let ca = lab.file(&format!("{}{}", others.certificate(), lab.authority.certificate()));
        lab.deliver(Some(ca)).await.unwrap();
        assert_eq!(lab.taken(), 1);
        assert!(CryptoProvider::get_default().is_none(), "no cryptography is chosen for the whole process");
    })
    .await;
}

#[tokio::test]
async fn an_authority_that_nobody_named_is_not_trusted() {
    in_time(async {
        let lab = Lab::new("127.0.0.1");
        let other = Authority::new("sinks").unwrap();
        for ca in [None, Some(lab.file(other.certificate()))] {
            let error = lab.deliver(ca).await.unwrap_err();
            assert_eq!(error.category(), "Unreachable");
            assert!(tell(&error).contains("certificate"), "{}", tell(&error));
            assert!(!tell(&error).contains("secret-path"), "{}", tell(&error));
        }
        assert_eq!(lab.taken(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_not_accepted() {
    in_time(async {
        let lab = Lab::new("sink.example.com");
        let ca = lab.file(lab.authority.certificate());
        let error = lab.deliver(Some(ca)).await.unwrap_err();
        assert_eq!(error.category(), "Unreachable");
        assert_eq!(lab.taken(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_file_without_certificates_is_an_error() {
    in_time(async {
        let lab = Lab::new("127.0.0.1");
        for pem in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = lab.deliver(Some(lab.file(pem))).await.unwrap_err();
            assert_eq!(error.category(), "Misconfigured", "{pem:?}");
        }
        assert_eq!(lab.taken(), 0);
    })
    .await;
}
