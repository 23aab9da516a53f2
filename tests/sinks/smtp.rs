//! Messages that are mailed: what arrives, by which way, and what users cannot put into it.

use std::path::PathBuf;
use std::sync::Arc;

use enclave_operator::sinks::{DeliveryError, Message, Secret, SmtpSettings, SmtpSink};
use rustls::ServerConfig;

use crate::certificates::{Authority, server_config};
use crate::in_time;
use crate::mail_server::{Encryption, MailServer, Manners};

pub fn settings(url: String, to: &[&str]) -> SmtpSettings {
    SmtpSettings {
        url: Secret::from(url),
        from: "Enclave Operator <operator@example.com>".to_owned(),
        to: to.iter().map(|&address| address.to_owned()).collect(),
        ca: None,
    }
}

/// A server without TLS, and a sink that accepts that.
fn plain(to: &[&str]) -> (MailServer, SmtpSink) {
    let server = MailServer::new(Manners::default());
    let sink = SmtpSink::new(&settings(format!("smtp://127.0.0.1:{}?tls=none", server.port), to)).unwrap();
    (server, sink)
}

async fn mail(to: &[&str], message: &Message) -> MailServer {
    let (server, sink) = plain(to);
    sink.deliver(message).await.unwrap();
    server
}

#[tokio::test]
async fn a_message_arrives_as_plain_text() {
    in_time(async {
        let message =
            Message::new("alice asks to open shop", "Justification: release\n\n.hidden\nVote by Friday");
        let mail = mail(&["Ops <ops@example.com>"], &message).await.mail();
        assert_eq!(mail.recipients, ["ops@example.com"]);
        assert_eq!(mail.header("From").unwrap(), "\"Enclave Operator\" <operator@example.com>");
        assert_eq!(mail.header("To").unwrap(), "ops@example.com");
        assert_eq!(mail.header("Subject").unwrap(), "alice asks to open shop");
        assert_eq!(mail.header("Content-Type").unwrap(), "text/plain; charset=utf-8");
        assert_eq!(mail.header("MIME-Version").unwrap(), "1.0");
        assert_eq!(mail.header("Auto-Submitted").unwrap(), "auto-generated");
        assert!(mail.header("Date").is_some());
        assert_eq!(mail.body().trim_end(), "Justification: release\n\n.hidden\nVote by Friday");
    })
    .await;
}

#[tokio::test]
async fn other_letters_are_encoded() {
    in_time(async {
        let mail = mail(&["ops@example.com"], &Message::new("Zoë fragt", "Begründung")).await.mail();
        assert!(mail.raw.is_ascii());
        // RFC 2047 and RFC 2045: base64 and quoted-printable.
        assert_eq!(mail.header("Subject").unwrap(), "=?utf-8?b?Wm/Dqw==?= fragt");
        assert_eq!(mail.body().trim_end(), "Begr=C3=BCndung");
    })
    .await;
}

#[tokio::test]
async fn several_recipients_get_one_mail_and_do_not_see_each_other() {
    in_time(async {
        let mail = mail(&["alice@example.com", "Bob <bob@example.org>"], &Message::new("subject", "text"))
            .await
            .mail();
        assert_eq!(mail.recipients, ["alice@example.com", "bob@example.org"]);
        assert_eq!(mail.header("To").unwrap(), "undisclosed-recipients:;");
        assert!(!mail.raw.contains("alice") && !mail.raw.contains("bob") && !mail.raw.contains("Bcc"));
    })
    .await;
}

#[tokio::test]
async fn users_write_no_headers() {
    in_time(async {
        for end in ["\r\n", "\n", "\r", "\r\n\r\n", "\u{2028}", "\u{85}", "\0\r\n", "ü\r\n"] {
            let attack = format!("x{end}Bcc: evil@example.com{end}Content-Type: text/html{end}");
            let mail = mail(&["ops@example.com"], &Message::new(&attack, &attack)).await.mail();
            assert_eq!(mail.recipients, ["ops@example.com"], "{end:?}");
            assert_eq!(mail.header("Bcc"), None, "{end:?}");
            assert_eq!(mail.header("Content-Type").unwrap(), "text/plain; charset=utf-8");
            assert_eq!(mail.headers().len(), 8, "{:?}", mail.headers());
            let subject = mail.header("Subject").unwrap();
            assert!(subject.starts_with('x') || subject.starts_with("=?utf-8?b?"), "{subject}");
        }
        // Nothing is left of the ends of lines, not even where a mail program would find them again.
        let mail = mail(&["ops@example.com"], &Message::new("x\r\nBcc: evil@example.com", "")).await.mail();
        assert_eq!(mail.header("Subject").unwrap(), "x  Bcc: evil@example.com");
    })
    .await;
}

#[tokio::test]
async fn users_write_no_encoded_words() {
    in_time(async {
        let attack = "=?utf-8?q?x=0D=0ABcc:_evil?=";
        let mail = mail(&["ops@example.com"], &Message::new(attack, attack)).await.mail();
        assert!(!mail.header("Subject").unwrap().contains("=?"));
    })
    .await;
}

#[tokio::test]
async fn users_end_no_mail_and_begin_no_other() {
    in_time(async {
        for end in ["\r\n.\r\n", "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\r", "\r\r\n.\r\r\n"] {
            let attack = format!(
                "x{end}MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: y\r\n\r\nz{end}"
            );
            let server = mail(&["ops@example.com"], &Message::new(&attack, &attack)).await;
            let mail = server.mail();
            assert_eq!(mail.recipients, ["ops@example.com"]);
            // Servers disagree on what a CR or a LF alone means.
            let lines = mail.raw.replace("\r\n", "");
            assert!(!lines.contains(['\r', '\n']), "{end:?}: {lines:?}");
            let commands = server.record().commands;
            assert!(!commands.iter().any(|line| line.contains("victim") || line.contains("evil")), "{commands:?}");
        }
    })
    .await;
}

/// A server that knows TLS, and a file with its authority.
struct Lab {
    folder: tempfile::TempDir,
    server: MailServer,
}

impl Lab {
    fn new(wrap: impl FnOnce(Arc<ServerConfig>) -> Encryption) -> Self {
        Self::with_manners(wrap, Manners::default())
    }

    fn with_manners(wrap: impl FnOnce(Arc<ServerConfig>) -> Encryption, manners: Manners) -> Self {
        let authority = Authority::new("mail").unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), authority.certificate()).unwrap();
        let encryption = wrap(server_config(&authority, "127.0.0.1"));
        Self { folder, server: MailServer::new(Manners { encryption, ..manners }) }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    async fn deliver(&self, scheme: &str, ca: Option<PathBuf>) -> Result<(), DeliveryError> {
        let url = format!("{scheme}://us%40er:pass%2Fword@127.0.0.1:{}", self.server.port);
        let sink = SmtpSink::new(&SmtpSettings { ca, ..settings(url, &["ops@example.com"]) })?;
        sink.deliver(&Message::new("subject", "text")).await
    }
}

/// Of `us@er` and `pass/word` (RFC 4616).
const AUTH: &str = "AUTH PLAIN AHVzQGVyAHBhc3Mvd29yZA==";

#[tokio::test]
async fn nothing_but_the_name_is_said_before_starttls() {
    in_time(async {
        let lab = Lab::new(Encryption::StartTls);
        lab.deliver("smtp", Some(lab.ca())).await.unwrap();
        let commands = lab.server.record().commands;
        let plain: Vec<_> = commands.iter().take_while(|line| *line != "(encrypted)").collect();
        assert_eq!(plain, ["EHLO [127.0.0.1]", "STARTTLS"]);
        assert_eq!(commands[3..5], ["EHLO [127.0.0.1]", AUTH]);
        assert_eq!(lab.server.mail().recipients, ["ops@example.com"]);
    })
    .await;
}

#[tokio::test]
async fn without_starttls_nothing_is_sent() {
    in_time(async {
        let server = MailServer::new(Manners::default());
        for query in ["", "?tls=required"] {
            let url = format!("smtp://user:password@127.0.0.1:{}{query}", server.port);
            let sink = SmtpSink::new(&settings(url, &["ops@example.com"])).unwrap();
            let error = sink.deliver(&Message::new("subject", "text")).await.unwrap_err();
            assert_eq!(error.category(), "Misconfigured");
            assert!(error.to_string().contains("STARTTLS"), "{error}");
        }
        let commands = server.record().commands;
        assert!(commands.iter().all(|line| line.starts_with("EHLO") || line == "QUIT"), "{commands:?}");
    })
    .await;
}

/// Whoever is between the two could answer for the server, and a mail that it refused would be delivered.
#[tokio::test]
async fn nothing_that_was_said_before_tls_counts_as_an_answer() {
    in_time(async {
        let manners = Manners {
            smuggled: Some(
                "250-evil\r\n250 AUTH PLAIN\r\n235 evil\r\n250 evil\r\n250 evil\r\n354 evil\r\n250 evil",
            ),
            replies: vec![("MAIL", "550 no")],
            ..Manners::default()
        };
        let lab = Lab::with_manners(Encryption::StartTls, manners);
        let error = lab.deliver("smtp", Some(lab.ca())).await.unwrap_err();
        assert_eq!(error.category(), "Unreachable");
    })
    .await;
}

#[tokio::test]
async fn tls_from_the_start() {
    in_time(async {
        let lab = Lab::new(Encryption::FromTheStart);
        lab.deliver("smtps", Some(lab.ca())).await.unwrap();
        assert_eq!(lab.server.record().commands[..3], ["(encrypted)", "EHLO [127.0.0.1]", AUTH]);
        assert_eq!(lab.server.mail().recipients, ["ops@example.com"]);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_neither_password_nor_mail() {
    in_time(async {
        for (lab, scheme) in
            [(Lab::new(Encryption::FromTheStart), "smtps"), (Lab::new(Encryption::StartTls), "smtp")]
        {
            let error = lab.deliver(scheme, None).await.unwrap_err();
            assert_eq!(error.category(), "Unreachable");
            let record = lab.server.record();
            assert!(record.mails.is_empty());
            assert!(!record.commands.iter().any(|line| line.starts_with("AUTH")), "{:?}", record.commands);
        }
    })
    .await;
}
