//! A mail server that writes down what it is told, and misbehaves on demand. It ends commands and mails only
//! where RFC 5321 does, at CR LF.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a server does other than take every mail.
#[derive(Clone, Default)]
pub struct Manners {
    pub encryption: Encryption,
    /// Commands that begin with the first are answered with the second, `""` being the greeting.
    pub replies: Vec<(&'static str, &'static str)>,
    /// Commands that begin with this are not answered.
    pub silent_at: Option<&'static str>,
    /// What somebody on the way adds to the last reply that is not encrypted.
    pub smuggled: Option<&'static str>,
}

#[derive(Clone, Default)]
pub enum Encryption {
    #[default]
    None,
    FromTheStart(Arc<ServerConfig>),
    StartTls(Arc<ServerConfig>),
}

/// All that was said to a server.
#[derive(Clone, Default)]
pub struct Record {
    /// Whatever is encrypted stands behind a line `(encrypted)`.
    pub commands: Vec<String>,
    pub mails: Vec<Mail>,
}

#[derive(Clone, Debug)]
pub struct Mail {
    pub recipients: Vec<String>,
    /// As it was sent, dots included, up to the line that ends it.
    pub raw: String,
}

impl Mail {
    /// Header lines, the folded ones joined.
    pub fn headers(&self) -> Vec<String> {
        let (head, _) = self.raw.split_once("\r\n\r\n").unwrap();
        head.replace("\r\n ", " ").split("\r\n").map(str::to_owned).collect()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let prefix = format!("{name}: ");
        let mut values =
            self.headers().into_iter().filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned));
        let value = values.next();
        assert_eq!(values.next(), None, "{name} stands there twice");
        value
    }

    /// As it is read.
    pub fn body(&self) -> String {
        let (_, body) = self.raw.split_once("\r\n\r\n").unwrap();
        body.split("\r\n").map(|line| line.strip_prefix('.').unwrap_or(line)).collect::<Vec<_>>().join("\n")
    }
}

#[derive(Clone)]
pub struct MailServer {
    pub port: u16,
    record: Arc<Mutex<Record>>,
}

impl MailServer {
    /// Serves until the process ends.
    pub fn new(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let record = Arc::new(Mutex::new(Record::default()));
        let server = Self { port, record: Arc::clone(&record) };
        std::thread::spawn(move || {
            while let Ok((connection, _)) = listener.accept() {
                let (manners, record) = (manners.clone(), Arc::clone(&record));
                // It ends when the client has gone.
                std::thread::spawn(move || match &manners.encryption {
                    Encryption::None => drop(converse(connection, &manners, &record, Turn::Greeting)),
                    Encryption::FromTheStart(config) => {
                        record.lock().unwrap().commands.push("(encrypted)".to_owned());
                        drop(converse(encrypt(connection, config), &manners, &record, Turn::Greeting));
                    }
                    Encryption::StartTls(config) => {
                        let plain = converse(connection, &manners, &record, Turn::Greeting);
                        if let Some(connection) = plain {
                            record.lock().unwrap().commands.push("(encrypted)".to_owned());
                            drop(converse(encrypt(connection, config), &manners, &record, Turn::Command));
                        }
                    }
                });
            }
        });
        server
    }

    pub fn record(&self) -> Record {
        self.record.lock().unwrap().clone()
    }

    /// The one mail that came.
    pub fn mail(&self) -> Mail {
        let mails = self.record().mails;
        assert_eq!(mails.len(), 1, "{mails:?}");
        mails[0].clone()
    }
}

#[derive(Clone, Copy)]
enum Turn {
    Greeting,
    Command,
}

fn encrypt<S: Read + Write>(connection: S, config: &Arc<ServerConfig>) -> StreamOwned<ServerConnection, S> {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), connection)
}

/// The connection, when TLS is to begin on it.
fn converse<S: Read + Write>(
    mut stream: S,
    manners: &Manners,
    record: &Mutex<Record>,
    turn: Turn,
) -> Option<S> {
    let forced = |command: &str| {
        manners
            .replies
            .iter()
            .find(|(prefix, _)| command.starts_with(prefix) && prefix.is_empty() == command.is_empty())
    };
    let mut recipients = Vec::new();
    if matches!(turn, Turn::Greeting) {
        let greeting = forced("").map_or("220 test", |(_, reply)| reply);
        if manners.silent_at != Some("") {
            write!(stream, "{greeting}\r\n").ok()?;
        }
    }
    while let Some(command) = read_line(&mut stream) {
        record.lock().unwrap().commands.push(command.clone());
        let verb = command.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        if manners.silent_at.is_some_and(|silent| !silent.is_empty() && command.starts_with(silent)) {
            continue;
        }
        let reply = match (forced(&command), verb.as_str()) {
            (Some((_, reply)), _) => *reply,
            (None, "EHLO") => match (&manners.encryption, &turn) {
                (Encryption::StartTls(_), Turn::Greeting) => "250-test\r\n250 STARTTLS",
                _ => "250-test\r\n250 AUTH PLAIN LOGIN",
            },
            (None, "STARTTLS") => {
                let smuggled = manners.smuggled.map_or_else(String::new, |reply| format!("{reply}\r\n"));
                stream.write_all(format!("220 go ahead\r\n{smuggled}").as_bytes()).ok()?;
                return Some(stream);
            }
            (None, "AUTH") => "235 welcome",
            (None, "RCPT") => {
                recipients.push(command["RCPT TO:".len()..].trim_matches(['<', '>']).to_owned());
                "250 ok"
            }
            (None, "DATA") => {
                write!(stream, "354 go ahead\r\n").ok()?;
                let mut lines = Vec::new();
                while let Some(line) = read_line(&mut stream).filter(|line| line != ".") {
                    lines.push(line);
                }
                let mail = Mail { recipients: std::mem::take(&mut recipients), raw: lines.join("\r\n") };
                record.lock().unwrap().mails.push(mail);
                "250 taken"
            }
            (None, "QUIT") => "221 bye",
            (None, _) => "250 ok",
        };
        write!(stream, "{reply}\r\n").ok()?;
    }
    None
}

/// A byte at a time, so that nothing is taken from what follows.
fn read_line(stream: &mut impl Read) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte).ok()?;
        line.extend_from_slice(&byte);
    }
    line.truncate(line.len() - 2);
    Some(String::from_utf8(line).unwrap())
}

/// Writes what never ends to whoever connects.
pub fn flood() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut connection, _)) = listener.accept() {
            std::thread::spawn(move || while connection.write_all(&[b'2'; 4096]).is_ok() {});
        }
    });
    port
}
