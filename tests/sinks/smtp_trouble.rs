//! Mail servers that do not take a mail, and settings that cannot work.

use std::time::Duration;

use enclave_operator::sinks::{DeliveryError, Message, SmtpSettings, SmtpSink};

use crate::mail_server::{MailServer, Manners, flood};
use crate::servers::closed;
use crate::smtp::settings;
use crate::{in_time, tell};

const OPS: &[&str] = &["ops@example.com", "alice@example.com"];

async fn deliver(port: u16) -> Result<(), DeliveryError> {
    let sink = SmtpSink::new(&settings(format!("smtp://127.0.0.1:{port}?tls=none"), OPS)).unwrap();
    sink.with_limit(Duration::from_secs(1)).deliver(&Message::new("subject", "text")).await
}

async fn deliver_to(manners: Manners) -> Result<(), DeliveryError> {
    deliver(MailServer::new(manners).port).await
}

fn replying(prefix: &'static str, reply: &'static str) -> Manners {
    Manners { replies: vec![(prefix, reply)], ..Manners::default() }
}

#[tokio::test]
async fn each_reply_has_its_error() {
    in_time(async {
        let replies = [
            ("", "421 later", "Failed"),
            ("", "554 go away", "Refused"),
            ("", "HTTP/1.1 400 Bad Request", "Unreachable"),
            ("MAIL", "451 later", "Failed"),
            ("RCPT TO:<alice", "550 5.1.1 unknown", "Refused"),
            ("DATA", "554 no", "Refused"),
        ];
        for (prefix, reply, category) in replies {
            let error = deliver_to(replying(prefix, reply)).await.unwrap_err();
            assert_eq!(error.category(), category, "{reply}");
            assert_eq!(error.to_string().contains(&reply[..3]), category != "Unreachable", "{error}");
            assert!(error.to_string().contains("127.0.0.1:"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_recipient_is_an_error_for_all() {
    in_time(async {
        let server = MailServer::new(replying("RCPT TO:<alice", "550 5.1.1 unknown"));
        assert!(matches!(deliver(server.port).await, Err(DeliveryError::Refused { status: 550, .. })));
        assert!(server.record().mails.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    in_time(async {
        for silent_at in ["", "EHLO", "MAIL", "DATA"] {
            let error =
                deliver_to(Manners { silent_at: Some(silent_at), ..Manners::default() }).await.unwrap_err();
            assert_eq!(error.category(), "TimedOut", "{silent_at}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_mail_that_was_taken_is_delivered_whatever_becomes_of_the_goodbye() {
    in_time(async {
        deliver_to(Manners { silent_at: Some("QUIT"), ..Manners::default() }).await.unwrap();
        deliver_to(replying("QUIT", "500 what?")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn where_nobody_listens_is_unreachable() {
    in_time(async {
        let error = deliver(closed()).await.unwrap_err();
        assert_eq!(error.category(), "Unreachable");
        assert!(tell(&error).contains("refused"), "{}", tell(&error));
    })
    .await;
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let urls = [
        "",
        "mail.example.com",
        "smtp://",
        "https://mail.example.com",
        "smtp://mail.example.com?tls=opportunistic",
        "smtps://mail.example.com?tls=none",
        "smtp://user:hunter2@mail.example.com?tls=none",
        "smtps://hunter2@mail.example.com",
        "smtps://:hunter2@mail.example.com",
        "smtps://user:hunter2%FF@mail.example.com",
    ];
    for url in urls {
        assert_misconfigured(&settings(url.to_owned(), OPS));
    }
    let good = || settings("smtps://user:hunter2@mail.example.com".to_owned(), OPS);
    SmtpSink::new(&good()).unwrap();
    for address in ["", "operator", "a@example.com, b@example.com", "a@example.com\r\nBcc: evil@example.com"]
    {
        assert_misconfigured(&SmtpSettings { from: address.to_owned(), ..good() });
        assert_misconfigured(&SmtpSettings { to: vec![address.to_owned()], ..good() });
    }
    assert_misconfigured(&SmtpSettings { to: Vec::new(), ..good() });
    assert_misconfigured(&SmtpSettings { ca: Some("/nowhere/ca.crt".into()), ..good() });
}

fn assert_misconfigured(settings: &SmtpSettings) {
    let error = SmtpSink::new(settings).err().unwrap_or_else(|| panic!("{settings:?} was accepted"));
    assert_eq!(error.category(), "Misconfigured");
    assert!(
        !tell(&error).contains("hunter2") && !format!("{settings:?}").contains("hunter2"),
        "{}",
        tell(&error)
    );
}

#[tokio::test]
async fn no_error_tells_the_password() {
    use crate::certificates::{Authority, server_config};
    use crate::mail_server::Encryption;

    in_time(async {
        let authority = Authority::new("mail").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.crt");
        std::fs::write(&ca, authority.certificate()).unwrap();
        // Some repeat what they do not understand.
        for reply in ["535 user secret-word AHVzZXIAc2VjcmV0LXdvcmQ=", "454 secret-word", "secret-word"] {
            let encryption = Encryption::FromTheStart(server_config(&authority, "127.0.0.1"));
            let server = MailServer::new(Manners { encryption, ..replying("AUTH", reply) });
            let url = format!("smtps://user:secret-word@127.0.0.1:{}", server.port);
            let sink = SmtpSink::new(&SmtpSettings { ca: Some(ca.clone()), ..settings(url, OPS) }).unwrap();
            let error = sink.deliver(&Message::new("subject", "text")).await.unwrap_err();
            let told = tell(&error);
            assert!(!told.contains("secret-word") && !told.contains("c2VjcmV0"), "{told}");
        }
    })
    .await;
}

/// lettre keeps all of a line.
#[tokio::test]
async fn a_server_that_never_ends_its_line_is_cut_off_long_before_the_limit() {
    in_time(async {
        let sink = SmtpSink::new(&settings(format!("smtp://127.0.0.1:{}?tls=none", flood()), OPS)).unwrap();
        let error = sink.deliver(&Message::new("subject", "text")).await.unwrap_err();
        assert!(tell(&error).contains("says too much"), "{}", tell(&error));
        // And before TLS from the start, where it says anything but that.
        let sink = SmtpSink::new(&settings(format!("smtps://localhost:{}", flood()), OPS)).unwrap();
        let error = sink.deliver(&Message::new("subject", "text")).await.unwrap_err();
        assert_eq!(error.category(), "Unreachable");
    })
    .await;
}
