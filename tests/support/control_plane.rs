//! Starting, stopping and using a control plane.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Config};

use super::certificates::Authority;
use super::components;
use super::error::ControlPlaneError;
use super::process::Process;
use super::programs::Programs;
use super::ready::{controllers_work, is_ready, wait_for};
use super::user::{Credentials, Server, User};
use super::wait::poll;
use super::watchdog::{self, Watchdog};

const STOP_LIMIT: Duration = Duration::from_secs(20);
const PORT_ATTEMPTS: u32 = 3;
/// 30 days
const TOKEN_SECONDS: i64 = 30 * 24 * 3600;

/// A running control plane. It ends when dropped, and with this process in any case, unless
/// [`ControlPlane::detach`] was called.
pub struct ControlPlane {
    // Fields are dropped in this order: the watchdog last.
    controller_manager: Process,
    api_server: Mutex<Process>,
    etcd: Process,
    administrator: User,
    authority: Authority,
    programs: Programs,
    settings: Settings,
    port: u16,
    watchdog: Watchdog,
}

/// What may differ from the usual control plane. In flags, `{folder}` stands for the folder.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Files to write into the folder first: name and content.
    pub files: Vec<(String, String)>,
    /// Further flags; a later flag wins over an earlier one with the same name.
    pub api_server_flags: Vec<String>,
    pub controller_manager_flags: Vec<String>,
}

impl ControlPlane {
    /// Starts a control plane in a new temporary folder. Blocks until it works: the API server
    /// is ready and the controllers have made the first objects.
    pub fn start() -> Result<Self, ControlPlaneError> {
        Self::start_with(Settings::default())
    }

    /// As [`ControlPlane::start`], with other flags.
    pub fn start_with(settings: Settings) -> Result<Self, ControlPlaneError> {
        Self::start_at(None, settings)
    }

    /// As [`ControlPlane::start`], in `folder`, which must not exist, unless a control plane
    /// that does not run any more is left in it. Its parent is made if need be.
    pub fn start_in(folder: &Path) -> Result<Self, ControlPlaneError> {
        if folder.exists() {
            if !watchdog::is_marked(folder) {
                return Err(ControlPlaneError::ForeignFolder(folder.to_owned()));
            }
            if Self::is_running_in(folder)? {
                return Err(ControlPlaneError::Running(folder.to_owned()));
            }
            Self::stop_detached(folder)?;
        }
        let parent = folder.parent().unwrap_or(folder);
        let parent = std::fs::create_dir_all(parent)
            .and_then(|()| parent.canonicalize())
            .map_err(ControlPlaneError::Watchdog)?;
        let name = folder.file_name().unwrap_or_default();
        Self::start_at(Some(&parent.join(name)), Settings::default())
    }

    /// Whether a control plane, detached or not, runs in this folder.
    pub fn is_running_in(folder: &Path) -> Result<bool, ControlPlaneError> {
        if !watchdog::is_marked(folder) {
            return Ok(false);
        }
        watchdog::is_running(folder).map_err(|e| stop_error(folder, e))
    }

    /// Lets it go on when this process ends, with everything that was started by
    /// [`ControlPlane::spawn`] and still runs. [`ControlPlane::stop_detached`] ends it.
    pub fn detach(self) -> Result<(), ControlPlaneError> {
        let folder = self.folder().to_owned();
        let Self { controller_manager, api_server, etcd, watchdog, .. } = self;
        controller_manager.leave();
        api_server.into_inner().unwrap_or_else(PoisonError::into_inner).leave();
        etcd.leave();
        watchdog.release().map_err(|e| stop_error(&folder, e))
    }

    /// Ends a detached control plane and removes its folder. Fine if there is none.
    pub fn stop_detached(folder: &Path) -> Result<(), ControlPlaneError> {
        if !folder.exists() {
            return Ok(());
        }
        if !watchdog::is_marked(folder) {
            return Err(ControlPlaneError::ForeignFolder(folder.to_owned()));
        }
        watchdog::end_released(folder).map_err(|e| stop_error(folder, e))
    }

    /// The configuration of a member of `system:masters`.
    pub fn administrator(&self) -> Config {
        self.administrator.config()
    }

    /// The member of `system:masters` whose configuration [`ControlPlane::administrator`] gives.
    pub fn administrator_user(&self) -> &User {
        &self.administrator
    }

    /// A user with a client certificate. Rights are for the test to give, to the name or groups.
    ///
    /// # Panics
    /// If the kubeconfig cannot be written.
    pub fn user(&self, name: &str, groups: &[&str]) -> User {
        certified(&self.server(), &self.authority, name, groups)
            .unwrap_or_else(|error| panic!("failed to make the user {name}: {error:?}"))
    }

    /// The user that an existing service account is, with a token that outlives every test, and
    /// the days in which somebody may look around in a demo.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<User, ControlPlaneError> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.administrator_user().client(), namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await?;
        let token = answer.status.and_then(|status| status.token).ok_or(ControlPlaneError::NoToken)?;
        let full_name = format!("system:serviceaccount:{namespace}:{name}");
        User::new(&self.server(), &full_name, &Credentials::Token(token))
    }

    /// A user with a token of somebody whom the API server trusts, see [`Issuer`](super::Issuer).
    ///
    /// # Panics
    /// If the kubeconfig cannot be written.
    pub fn token_user(&self, name: &str, token: &str) -> User {
        User::new(&self.server(), name, &Credentials::Token(token.to_owned()))
            .unwrap_or_else(|error| panic!("failed to make the user {name}: {error:?}"))
    }

    /// Starts another process, for example the operator under test, which ends with this control
    /// plane at the latest. Its output goes to `NAME.log` in the folder.
    pub fn spawn(&self, command: Command, name: &str) -> Result<Process, ControlPlaneError> {
        spawn(&self.watchdog, command, name)
    }

    /// Ends the API server as a crash would. Tests that share the control plane feel it.
    pub fn kill_api_server(&self) {
        self.lock_api_server().kill();
    }

    /// Ends the API server in order: it first answers what it was asked.
    pub fn stop_api_server(&self) {
        self.lock_api_server().terminate(STOP_LIMIT);
    }

    /// Starts the API server again, at the same port and with the same data, and waits until it
    /// is ready. Nothing happens if it runs.
    pub fn start_api_server(&self) -> Result<(), ControlPlaneError> {
        let mut api_server = self.lock_api_server();
        if api_server.is_running() {
            return Ok(());
        }
        // Somebody's outgoing connection may hold the port for a moment.
        poll(STOP_LIMIT, || is_free(self.port).then_some(()));
        *api_server = spawn_api_server(&self.watchdog, &self.programs, self.port, &self.settings)?;
        wait_for(&[&api_server, &self.etcd], self.administrator(), is_ready)
    }

    /// The process of the API server, to see what it uses.
    pub fn api_server_id(&self) -> u32 {
        self.lock_api_server().id()
    }

    /// For [`writes_by`](super::writes_by).
    pub fn audit_log(&self) -> PathBuf {
        self.folder().join(components::AUDIT_LOG)
    }

    /// It holds the data, the logs (`kube-apiserver.log` …) and the users' kubeconfigs.
    pub fn folder(&self) -> &Path {
        self.watchdog.folder()
    }

    fn start_at(folder: Option<&Path>, settings: Settings) -> Result<Self, ControlPlaneError> {
        let programs = Programs::find()?;
        let watchdog = Watchdog::start(folder).map_err(ControlPlaneError::Watchdog)?;
        let authority = Authority::new("control-plane")?;
        components::write_files(watchdog.folder(), &authority, &settings)?;

        let etcd = components::etcd(&programs, watchdog.folder());
        let etcd = spawn(&watchdog, etcd, "etcd")?;
        let (api_server, administrator, port) =
            start_first_api_server(&watchdog, &programs, &authority, &settings, &etcd)?;

        let server = Server {
            folder: watchdog.folder(),
            port,
            authority: authority.certificate(),
            kubectl: &programs.kubectl,
        };
        let manager = certified(&server, &authority, "system:kube-controller-manager", &[])?;
        let command =
            components::controller_manager(&programs, watchdog.folder(), &manager.kubeconfig(), &settings);
        let controller_manager = spawn(&watchdog, command, "kube-controller-manager")?;
        wait_for(&[&controller_manager, &api_server, &etcd], administrator.config(), controllers_work)?;
        Ok(Self {
            controller_manager,
            api_server: Mutex::new(api_server),
            etcd,
            administrator,
            authority,
            programs,
            settings,
            port,
            watchdog,
        })
    }

    fn server(&self) -> Server<'_> {
        Server {
            folder: self.folder(),
            port: self.port,
            authority: self.authority.certificate(),
            kubectl: &self.programs.kubectl,
        }
    }

    fn lock_api_server(&self) -> MutexGuard<'_, Process> {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "control plane at 127.0.0.1:{} in {}", self.port, self.folder().display())
    }
}

/// Tries other ports if another process takes the one that was free an instant ago.
fn start_first_api_server(
    watchdog: &Watchdog,
    programs: &Programs,
    authority: &Authority,
    settings: &Settings,
    etcd: &Process,
) -> Result<(Process, User, u16), ControlPlaneError> {
    let mut attempt = 1;
    loop {
        let port = free_port();
        let server = Server {
            folder: watchdog.folder(),
            port,
            authority: authority.certificate(),
            kubectl: &programs.kubectl,
        };
        let administrator = certified(&server, authority, "administrator", &["system:masters"])?;
        let process = spawn_api_server(watchdog, programs, port, settings)?;
        match wait_for(&[&process, etcd], administrator.config(), is_ready) {
            Ok(()) => return Ok((process, administrator, port)),
            Err(_) if attempt < PORT_ATTEMPTS && process.log().contains("address already in use") => {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn spawn_api_server(
    watchdog: &Watchdog,
    programs: &Programs,
    port: u16,
    settings: &Settings,
) -> Result<Process, ControlPlaneError> {
    let command = components::api_server(programs, watchdog.folder(), port, settings);
    spawn(watchdog, command, "kube-apiserver")
}

fn spawn(watchdog: &Watchdog, command: Command, name: &str) -> Result<Process, ControlPlaneError> {
    Process::spawn(watchdog, command, name)
        .map_err(|source| ControlPlaneError::Spawn { name: name.to_owned(), source })
}

fn certified(
    server: &Server<'_>,
    authority: &Authority,
    name: &str,
    groups: &[&str],
) -> Result<User, ControlPlaneError> {
    let identity = authority.client(name, groups)?;
    User::new(server, name, &Credentials::Certificate(identity))
}

/// A port below those which the system gives to outgoing connections (from 32768 on Linux), so
/// that it is still free when the API server starts again.
fn free_port() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new();
    (0..1000_u32)
        .map(|attempt| 20_000 + u16::try_from(random.hash_one(attempt) % 12_000).unwrap_or(0))
        .find(|&port| is_free(port))
        .expect("one of a thousand ports is free")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn stop_error(folder: &Path, source: io::Error) -> ControlPlaneError {
    ControlPlaneError::Stop { folder: folder.to_owned(), source }
}
