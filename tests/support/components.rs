//! The files and the flags of the control plane's processes.
//!
//! Every process runs in the folder. etcd listens on sockets there, by relative names because
//! the length of a socket's path is limited; so only the API server needs a port.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use rcgen::KeyPair;

use super::audit;
use super::certificates::Authority;
use super::control_plane::Settings;
use super::error::ControlPlaneError;
use super::programs::Programs;

pub const AUDIT_LOG: &str = "audit.log";

const CLUSTER_IPS: &str = "--service-cluster-ip-range=10.96.0.0/16";

/// Without nodes these have nothing to do, or would evict pods which a test placed on a node
/// that it made up.
const CONTROLLERS: &str = "--controllers=*,\
    -device-taint-eviction-controller,\
    -node-ipam-controller,\
    -node-lifecycle-controller,\
    -persistentvolume-attach-detach-controller,\
    -pod-garbage-collector-controller,\
    -taint-eviction-controller";

/// Writes the files which the flags below name.
pub fn write_files(
    folder: &Path,
    authority: &Authority,
    settings: &Settings,
) -> Result<(), ControlPlaneError> {
    let server = authority.server(&["127.0.0.1", "localhost", "kubernetes.default.svc"])?;
    let service_accounts = KeyPair::generate()?;
    write_private(&folder.join("ca.crt"), authority.certificate())?;
    write_private(&folder.join("server.crt"), &server.certificate)?;
    write_private(&folder.join("server.key"), &server.key)?;
    write_private(&folder.join("service-accounts.key"), &service_accounts.serialize_pem())?;
    write_private(&folder.join("service-accounts.pub"), &service_accounts.public_key_pem())?;
    write_private(&folder.join("audit-policy.yaml"), audit::POLICY)?;
    for (name, content) in &settings.files {
        write_private(&folder.join(name), content)?;
    }
    Ok(())
}

/// Writes a file for this user's eyes only.
pub fn write_private(path: &Path, content: &str) -> Result<(), ControlPlaneError> {
    std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .map_err(|source| ControlPlaneError::File { path: path.to_owned(), source })
}

pub fn etcd(programs: &Programs, folder: &Path) -> Command {
    let mut command = Command::new(&programs.etcd);
    command.current_dir(folder).arg(argument("--data-dir", folder, "etcd")).args([
        "--name=control-plane",
        "--listen-client-urls=unix://etcd.sock",
        "--advertise-client-urls=unix://etcd.sock",
        "--listen-peer-urls=unix://etcd-peer.sock",
        "--initial-advertise-peer-urls=unix://etcd-peer.sock",
        "--initial-cluster=control-plane=unix://etcd-peer.sock",
        // The data need not survive a crash of the machine.
        "--unsafe-no-fsync",
        "--snapshot-count=1000",
        // 8 GiB, as much as etcd advises. 2 are the default, and 50,000 requests of 22 KiB, written twice, are more.
        "--quota-backend-bytes=8589934592",
        "--log-level=warn",
    ]);
    command
}

pub fn api_server(programs: &Programs, folder: &Path, port: u16, settings: &Settings) -> Command {
    let mut command = Command::new(&programs.api_server);
    command
        .current_dir(folder)
        .args([
            "--etcd-servers=unix://etcd.sock",
            "--bind-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            // Blocking: an entry is in the log before the request counts as done.
            "--audit-log-mode=blocking",
            "--audit-log-maxsize=1000",
            // Without it, stopping takes a minute as soon as somebody watches.
            "--shutdown-watch-termination-grace-period=1s",
            "--max-requests-inflight=2000",
            "--max-mutating-requests-inflight=1000",
            "--profiling=false",
            CLUSTER_IPS,
        ])
        .arg(format!("--secure-port={port}"))
        .arg(argument("--client-ca-file", folder, "ca.crt"))
        .arg(argument("--tls-cert-file", folder, "server.crt"))
        .arg(argument("--tls-private-key-file", folder, "server.key"))
        .arg(argument("--service-account-signing-key-file", folder, "service-accounts.key"))
        .arg(argument("--service-account-key-file", folder, "service-accounts.pub"))
        .arg(argument("--audit-policy-file", folder, "audit-policy.yaml"))
        .arg(argument("--audit-log-path", folder, AUDIT_LOG))
        .args(resolved(&settings.api_server_flags, folder));
    command
}

/// `kubeconfig` is that of `system:kube-controller-manager`; each controller acts with the
/// service account of its own, as in most clusters.
pub fn controller_manager(
    programs: &Programs,
    folder: &Path,
    kubeconfig: &Path,
    settings: &Settings,
) -> Command {
    let mut command = Command::new(&programs.controller_manager);
    command
        .current_dir(folder)
        .args([
            CONTROLLERS,
            CLUSTER_IPS,
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--controller-start-interval=0",
            "--concurrent-namespace-syncs=20",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            // It serves nothing that is of use here.
            "--secure-port=0",
            "--profiling=false",
        ])
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(argument("--root-ca-file", folder, "ca.crt"))
        .arg(argument("--service-account-private-key-file", folder, "service-accounts.key"))
        .args(resolved(&settings.controller_manager_flags, folder));
    command
}

fn argument(flag: &str, folder: &Path, file: &str) -> String {
    format!("{flag}={}", folder.join(file).display())
}

fn resolved(flags: &[String], folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    flags.iter().map(|flag| flag.replace("{folder}", &folder)).collect()
}
