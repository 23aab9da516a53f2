//! Network namespaces without names, of which nothing can be left behind: the kernel removes one,
//! with its links, addresses, routes and filter rules, when its last file handle, process and
//! socket is gone, also after SIGKILL. (`ip netns add` would mount them as files, which stay.)

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::error::LabError;

#[derive(Debug)]
pub struct Netns(File);

impl Netns {
    pub fn new() -> Result<Self, LabError> {
        in_a_thread(|| {
            #[expect(deprecated, reason = "what makes it unsafe is another flag, CLONE_FILES")]
            rustix::thread::unshare(UnshareFlags::NEWNET)?;
            File::open("/proc/thread-self/ns/net").map(Self)
        })
        .map_err(LabError::Namespace)
    }

    /// Does something inside. A socket made there stays there wherever it is used; so does a
    /// process.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        in_a_thread(|| {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        })
        .map_err(LabError::Namespace)
    }

    /// Runs a program inside and returns what it prints.
    pub fn run(&self, program: &'static str, arguments: &[&str], input: &str) -> Result<String, LabError> {
        let failed = |source| LabError::Run { program, source };
        let output = self.enter(|| {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            // Dropped at once, so that the program sees the end.
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input.as_bytes())?;
            }
            child.wait_with_output()
        })?;
        let output = output.map_err(failed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(LabError::Failed { program, message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    }

    /// Runs commands of `ip` inside, one per line.
    pub fn ip(&self, commands: &str) -> Result<(), LabError> {
        self.run("ip", &["-batch", "-"], commands).map(drop)
    }

    /// A name of this namespace that other processes understand while this one lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// How `/proc/PID/ns/net` shows it, for example `net:[4026531840]`.
    pub fn identity(&self) -> io::Result<String> {
        Ok(std::fs::read_link(self.path())?.display().to_string())
    }
}

/// A thread has a network namespace of its own, so entering one disturbs no other.
fn in_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
