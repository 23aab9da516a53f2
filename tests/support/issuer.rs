//! A small OpenID Connect issuer on the loopback interface, for logins that carry claims, such as how
//! somebody has proved who he is. The API server fetches its key over HTTPS, as from any other.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::certificates::{Authority, server_config};
use super::control_plane::Settings;

const AUDIENCE: &str = "control-plane";
const KEY_ID: &str = "key";
/// 30 days
const TOKEN_SECONDS: i64 = 30 * 24 * 3600;
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes tokens and answers what is asked about them, until the process ends.
pub struct Issuer {
    url: String,
    /// PEM
    authority: String,
    key: EcdsaKeyPair,
    random: SystemRandom,
    tokens: AtomicU64,
}

impl Issuer {
    /// Starts to answer.
    ///
    /// # Panics
    /// If there is no free port or no randomness.
    pub fn start() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).unwrap();
        let authority = Authority::new("issuer").unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let pages = Pages { discovery: discovery(&url), keys: key_set(&key) };
        let tls = server_config(&authority, "127.0.0.1");
        std::thread::spawn(move || {
            for connection in listener.incoming().filter_map(Result::ok) {
                // Whoever hangs up has to ask again.
                let _ = pages.answer(connection, Arc::clone(&tls));
            }
        });
        let authority = authority.certificate().to_owned();
        Self { url, authority, key, random, tokens: AtomicU64::new(0) }
    }

    /// A control plane that takes its tokens: `sub` is the user and `groups` are the groups. Each of
    /// `extra` is a key in `userInfo.extra` and the claim, a text or several, that it comes from.
    pub fn settings(&self, extra: &[(&str, &str)]) -> Settings {
        let extra: Vec<Value> = extra
            .iter()
            .map(|(key, claim)| {
                json!({"key": key, "valueExpression": format!("has(claims.{claim}) ? claims.{claim} : []")})
            })
            .collect();
        let configuration = json!({
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": [{
                "issuer": {
                    "url": self.url, "audiences": [AUDIENCE], "certificateAuthority": self.authority,
                },
                "claimMappings": {
                    "username": {"claim": "sub", "prefix": ""},
                    "groups": {"claim": "groups", "prefix": ""},
                    "extra": extra,
                },
            }],
        });
        Settings {
            files: vec![("authentication.yaml".into(), configuration.to_string())],
            api_server_flags: vec!["--authentication-config={folder}/authentication.yaml".into()],
            ..Settings::default()
        }
    }

    /// A token, each with an id of its own, which the API server makes the credential id. `claims` is an
    /// object that is added to the usual ones.
    ///
    /// # Panics
    /// If it cannot be signed.
    pub fn token(&self, user: &str, groups: &[&str], claims: &Value) -> String {
        let now = Timestamp::now().as_second();
        let number = self.tokens.fetch_add(1, Ordering::Relaxed);
        let mut payload = json!({
            "iss": self.url, "aud": AUDIENCE, "sub": user, "groups": groups,
            "jti": format!("token-{number}"), "iat": now, "exp": now + TOKEN_SECONDS,
        });
        payload.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": KEY_ID});
        let signed = format!(
            "{}.{}",
            base64url(header.to_string().as_bytes()),
            base64url(payload.to_string().as_bytes())
        );
        let signature = self.key.sign(&self.random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", base64url(signature.as_ref()))
    }
}

/// What the API server asks for.
struct Pages {
    discovery: Value,
    keys: Value,
}

impl Pages {
    fn answer(&self, connection: TcpStream, tls: Arc<ServerConfig>) -> io::Result<()> {
        connection.set_read_timeout(Some(PATIENCE))?;
        let session = ServerConnection::new(tls).map_err(io::Error::other)?;
        let mut stream = BufReader::new(StreamOwned::new(session, connection));
        let mut request = String::new();
        stream.read_line(&mut request)?;
        let mut header = String::new();
        while stream.read_line(&mut header)? > 2 {
            header.clear();
        }
        let (status, page) = match request.split(' ').nth(1) {
            Some("/.well-known/openid-configuration") => ("200 OK", self.discovery.to_string()),
            Some("/keys") => ("200 OK", self.keys.to_string()),
            _ => ("404 Not Found", json!({}).to_string()),
        };
        let length = page.len();
        let headers =
            format!("content-type: application/json\r\ncontent-length: {length}\r\nconnection: close");
        let stream = stream.get_mut();
        write!(stream, "HTTP/1.1 {status}\r\n{headers}\r\n\r\n{page}")?;
        stream.conn.send_close_notify();
        stream.flush()
    }
}

fn discovery(url: &str) -> Value {
    json!({
        "issuer": url, "jwks_uri": format!("{url}/keys"), "authorization_endpoint": url,
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

/// RFC 7517; the key is a point: a 4, and both of its coordinates.
fn key_set(key: &EcdsaKeyPair) -> Value {
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    json!({"keys": [{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID,
        "x": base64url(x), "y": base64url(y),
    }]})
}

/// Base64 as JWTs have it, from how Kubernetes writes bytes in JSON.
fn base64url(bytes: &[u8]) -> String {
    let encoded = json!(ByteString(bytes.to_vec()));
    encoded.as_str().unwrap().trim_end_matches('=').replace('+', "-").replace('/', "_")
}
