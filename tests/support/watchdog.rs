//! Ends all processes of a control plane and removes its folder, whatever happens to the process
//! that started it: it returns, panics, is interrupted or killed. `Drop` alone cannot do this,
//! and a control plane in a `static` is never dropped.
//!
//! Two small processes make it work:
//! - the *leader* is `cat`. All it does is to own a process group, which every process of the
//!   control plane joins between its fork and its exec, so none can escape being known.
//! - the *guard* is a shell which reads its standard input. Nothing else holds the other end
//!   (Rust opens pipes close-on-exec), so the read returns exactly when this process is gone or
//!   dropped the [`Watchdog`]. Then the guard kills the group and removes the folder.
//!
//! Both are in process groups of their own, so that the Ctrl-C of a terminal does not reach them.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Arguments: the process group, the folder to make (a temporary one if empty).
const GUARD: &str = r#"
trap '' HUP INT TERM
umask 077
if [ -n "$2" ]; then
  mkdir "$2" && folder=$2 || exit 1
else
  folder=$(mktemp -d "${TMPDIR:-/tmp}/enclave-operator.XXXXXX") || exit 1
fi
printf '%s\n' "$folder"
exec >/dev/null
read -r word
[ "$word" = release ] && exit 0
kill -KILL "-$1"
[ -n "$ENCLAVE_OPERATOR_KEEP" ] && exit 0
# A process that is being killed may still add a file: then removing fails, and helps later.
tries=0
until rm -rf "$folder" && [ ! -e "$folder" ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || exit 1
  sleep 0.1
done
"#;

const RELEASE: &[u8] = b"release\n";

/// The file in the folder that names the process group, for [`end_released`].
const GROUP_FILE: &str = "process-group";

#[derive(Debug)]
pub struct Watchdog {
    leader: Child,
    guard: Child,
    folder: PathBuf,
}

impl Watchdog {
    /// Makes the folder `at`, or a temporary one. `at` must not exist, its parent must.
    pub fn start(at: Option<&Path>) -> io::Result<Self> {
        // The leader comes first: it ends by itself if this process ends here.
        let leader = Command::new("cat")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard", &leader.id().to_string()])
            .arg(at.unwrap_or(Path::new("")))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;

        let mut answer = String::new();
        if let Some(stdout) = guard.stdout.take() {
            BufReader::new(stdout).read_line(&mut answer)?;
        }
        let folder = PathBuf::from(answer.trim_end_matches('\n'));
        let watchdog = Self { leader, guard, folder };
        if watchdog.folder.as_os_str().is_empty() {
            return Err(io::Error::other("failed to make the folder"));
        }
        let group = watchdog.group().to_string();
        std::fs::write(watchdog.folder.join(GROUP_FILE), group)?;
        Ok(watchdog)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a process that ends with this watchdog at the latest.
    pub fn spawn(&self, mut command: Command) -> io::Result<Child> {
        command.process_group(self.group()).spawn()
    }

    /// Ends the watch and leaves the processes and the folder for [`end_released`].
    pub fn release(mut self) -> io::Result<()> {
        if let Some(stdin) = &mut self.guard.stdin {
            stdin.write_all(RELEASE)?;
        }
        self.guard.wait()?;
        Ok(())
    }

    fn group(&self) -> i32 {
        i32::try_from(self.leader.id()).expect("process ids fit into pid_t")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        drop(self.leader.stdin.take());
        // An error could only be that it is no child of ours, and there is nobody to tell.
        let _ = self.guard.wait();
        let _ = self.leader.wait();
    }
}

/// Whether a control plane was made in this folder, running or not.
pub fn is_marked(folder: &Path) -> bool {
    folder.join(GROUP_FILE).is_file()
}

/// Whether processes of the control plane in this folder run.
pub fn is_running(folder: &Path) -> io::Result<bool> {
    Ok(running_group(folder)?.is_some())
}

/// Kills what [`Watchdog::release`] left and removes the folder.
pub fn end_released(folder: &Path) -> io::Result<()> {
    let group = running_group(folder)?;
    if let Some(group) = &group {
        Command::new("sh").args(["-c", r#"kill -KILL "-$1""#, "kill", group]).status()?;
    }
    for _ in 0..100 {
        let is_over = group.as_deref().map_or(Ok(true), is_gone)?;
        if is_over && std::fs::remove_dir_all(folder).is_ok() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    std::fs::remove_dir_all(folder)
}

/// Whether no process of a group is left. One that is about to end has no arguments any more by which it could be known.
fn is_gone(group: &str) -> io::Result<bool> {
    let listing = Command::new("ps").args(["-A", "-o", "pgid=", "-o", "stat="]).output()?;
    let is_left = String::from_utf8_lossy(&listing.stdout).lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.next() == Some(group) && fields.next().is_some_and(|state| !state.starts_with('Z'))
    });
    Ok(!is_left)
}

/// The recorded process group, if it still is this folder's: since a reboot its number may
/// belong to others, so one of its processes has to name the folder in its arguments.
fn running_group(folder: &Path) -> io::Result<Option<String>> {
    let recorded = std::fs::read_to_string(folder.join(GROUP_FILE))?;
    let folder = folder.canonicalize()?.display().to_string();
    let listing = Command::new("ps").args(["-ww", "-A", "-o", "pgid=", "-o", "args="]).output()?;
    let ours = String::from_utf8_lossy(&listing.stdout)
        .lines()
        .filter_map(|line| line.trim_start().split_once(' '))
        .any(|(group, arguments)| group == recorded && arguments.contains(&folder));
    Ok(ours.then_some(recorded))
}
