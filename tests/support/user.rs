//! Somebody who talks to the API server, as a client or with kubectl.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use k8s_openapi::ByteString;
use kube::config::AuthInfo;
use kube::{Client, Config};
use serde_json::{Value, json};

use super::certificates::Identity;
use super::components::write_private;
use super::error::ControlPlaneError;

/// A user with credentials of his own; nothing about him is impersonated.
#[derive(Debug, Clone)]
pub struct User {
    name: String,
    config: Config,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
}

/// How the user proves who he is.
pub(super) enum Credentials {
    Certificate(Identity),
    Token(String),
}

/// Where the API server is.
pub(super) struct Server<'a> {
    pub folder: &'a Path,
    pub port: u16,
    /// PEM
    pub authority: &'a str,
    pub kubectl: &'a Path,
}

/// What a program printed and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl User {
    pub(super) fn new(
        server: &Server<'_>,
        name: &str,
        credentials: &Credentials,
    ) -> Result<Self, ControlPlaneError> {
        let url = format!("https://127.0.0.1:{}", server.port);
        let login = match credentials {
            Credentials::Certificate(identity) => json!({
                "client-certificate-data": encoded(&identity.certificate),
                "client-key-data": encoded(&identity.key),
            }),
            Credentials::Token(token) => json!({ "token": token }),
        };
        let kubeconfig = free_path(&server.folder.join("users"), name)?;
        let content = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "control-plane",
            "contexts": [{
                "name": "control-plane",
                "context": { "cluster": "control-plane", "user": name },
            }],
            "clusters": [{
                "name": "control-plane",
                "cluster": { "server": url, "certificate-authority-data": encoded(server.authority) },
            }],
            "users": [{ "name": name, "user": login }],
        });
        write_private(&kubeconfig, &format!("{content:#}\n"))?;

        let authority = pem::parse(server.authority).expect("the authority wrote PEM");
        let mut config = Config::new(url.parse().expect("an address and a port make a URL"));
        config.root_cert = Some(vec![authority.into_contents()]);
        config.auth_info =
            serde_json::from_value::<AuthInfo>(login).expect("a login has the fields of AuthInfo");
        Ok(Self { name: name.to_owned(), config, kubeconfig, kubectl: server.kubectl.to_owned() })
    }

    /// The name by which the API server knows the user.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// A new client for the current tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn client(&self) -> Client {
        Client::try_from(self.config()).expect("the configuration was made for this client")
    }

    /// A kubeconfig file that needs no other file.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    /// Runs kubectl as this user and waits for its end.
    ///
    /// # Panics
    /// If kubectl cannot be started.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        run(self.kubectl_command(arguments), "")
    }

    /// As [`User::kubectl`], with something to read from `-f -`.
    ///
    /// # Panics
    /// If kubectl cannot be started.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Output {
        run(self.kubectl_command(arguments), input)
    }

    /// kubectl as this user, for what the others lack: plugins in `PATH`, a folder, no waiting.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.kubectl);
        command.args(arguments);
        command
    }

    /// A program that runs kubectl as this user, or finds the API server as kubectl does.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.kubeconfig.with_extension("cache"))
            .env("KUBERC", "off");
        command
    }

    /// The kubectl that belongs to the control plane.
    pub fn kubectl_program(&self) -> &Path {
        &self.kubectl
    }
}

impl Output {
    /// The standard output.
    ///
    /// # Panics
    /// With all output if the program failed.
    pub fn expect_success(self) -> String {
        assert!(self.status.success(), "{}\n{}\n{}", self.status, self.stdout, self.stderr);
        self.stdout
    }

    /// The standard error.
    ///
    /// # Panics
    /// With all output if the program did not fail.
    pub fn expect_failure(self) -> String {
        assert!(!self.status.success(), "it did not fail:\n{}\n{}", self.stdout, self.stderr);
        self.stderr
    }
}

/// Runs a program with this input and waits for its end.
pub(super) fn run(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let mut stdin = child.stdin.take().expect("the input is a pipe");
    let input = input.to_owned();
    // From another thread, as it may print before it has read everything. It may also end
    // without reading, which is no failure of ours.
    let writing = std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().expect("the program can be waited for");
    writing.join().expect("writing does not panic");
    Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Base64, which is how Kubernetes writes bytes in JSON.
fn encoded(text: &str) -> Value {
    json!(ByteString(text.as_bytes().to_vec()))
}

/// A new file `NAME.kubeconfig`, or `NAME-2.kubeconfig` … if the user has one already.
fn free_path(folder: &Path, name: &str) -> Result<PathBuf, ControlPlaneError> {
    let name = name.replace(|c: char| !c.is_ascii_alphanumeric() && !"-._@".contains(c), "-");
    let failed = |path: &Path, source| ControlPlaneError::File { path: path.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    let names = (1..).map(|number| match number {
        1 => format!("{name}.kubeconfig"),
        _ => format!("{name}-{number}.kubeconfig"),
    });
    for name in names {
        let path = folder.join(name);
        match std::fs::File::create_new(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&path, error)),
        }
    }
    unreachable!("there is always one more number")
}
