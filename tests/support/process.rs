//! A process of the control plane, or one that a test adds to it.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::wait::poll;
use super::watchdog::Watchdog;

/// A running process that writes its output to a log in the control plane's folder. It is killed
/// when dropped, unless [`Process::leave`] was called, and with its control plane in any case.
pub struct Process {
    name: String,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with no input; its output is appended to `NAME.log` in the folder.
    pub fn spawn(watchdog: &Watchdog, mut command: Command, name: &str) -> io::Result<Self> {
        let log = watchdog.folder().join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
        Ok(Self { name: name.to_owned(), child: Mutex::new(watchdog.spawn(command)?), log })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> u32 {
        self.child().id()
    }

    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// All output so far, of earlier processes with the same name too.
    pub fn log(&self) -> String {
        match std::fs::read(&self.log) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("(no log: {error})"),
        }
    }

    /// How it ended, `None` while it runs.
    pub fn status(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    pub fn is_running(&self) -> bool {
        self.status().is_none()
    }

    /// Waits for its end; `None` if it still runs after `within`.
    pub fn wait(&self, within: Duration) -> Option<ExitStatus> {
        poll(within, || self.status())
    }

    /// Ends it as a crash would (SIGKILL), and waits for that.
    pub fn kill(&self) {
        let mut child = self.child();
        // It fails only for a process that ended already.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Sends it a signal, for example `STOP`.
    pub fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        let script = r#"kill -"$1" "$2""#;
        let status = Command::new("sh").args(["-c", script, "kill", signal, &id]).status();
        assert!(status.is_ok_and(|status| status.success()), "failed to send {signal} to {self:?}");
    }

    /// Asks it to end (SIGTERM) and waits for that; kills it after `within`, and answers `None`.
    pub fn terminate(&self, within: Duration) -> Option<ExitStatus> {
        if self.is_running() {
            let id = self.id().to_string();
            let _ = Command::new("sh").args(["-c", r#"kill -TERM "$1""#, "kill", &id]).status();
        }
        let status = self.wait(within);
        self.kill();
        status
    }

    /// Gives up the handle; the process ends with its control plane.
    pub fn leave(self) {
        std::mem::forget(self);
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.name, self.id())
    }
}
