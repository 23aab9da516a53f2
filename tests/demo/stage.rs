//! People who type commands in a shell, what comes back, and whether that is what has to come.

use std::cell::Cell;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use kube::Client;

use crate::support::{User, poll};

/// Nothing that is waited for takes longer, however slow the machine.
pub const SOON: Duration = Duration::from_secs(30);
const WIDTH: usize = 100;

/// Where all commands run: in the root of the repository, with the programs of the demo.
pub struct Stage {
    programs: String,
    path: OsString,
    style: Style,
    scenes: Cell<u32>,
}

impl Stage {
    /// `programs` are folders to look for programs in before any others.
    pub fn new(programs: &[&Path]) -> anyhow::Result<Self> {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let programs = std::env::join_paths(programs)?;
        let mut path = programs.clone();
        path.push(":");
        path.push(inherited);
        Ok(Self {
            programs: programs.to_string_lossy().into_owned(),
            path,
            style: Style::of_output(),
            scenes: Cell::new(0),
        })
    }

    /// The folders that it was made with, as one writes them in `PATH`.
    pub fn programs(&self) -> &str {
        &self.programs
    }

    pub fn style(&self) -> Style {
        self.style
    }

    pub fn person(&self, user: User) -> Person {
        Person { user, path: self.path.clone(), style: self.style }
    }

    /// Says what happens next: who does what, and why.
    pub fn scene(&self, words: &str) {
        self.scenes.update(|number| number + 1);
        println!();
        for line in wrap(&format!("{}. {words}", self.scenes.get()), WIDTH) {
            println!("{}", self.style.paint(Style::BOLD, &line));
        }
    }
}

/// Somebody at a shell of his own, logged in with his own credentials.
pub struct Person {
    user: User,
    path: OsString,
    style: Style,
}

impl Person {
    pub fn client(&self) -> Client {
        self.user.client()
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.user.kubeconfig()
    }

    /// Shows a command and what came back. It has to succeed.
    pub fn types(&self, command: &str) -> anyhow::Result<Answer> {
        let answer = self.show(command)?;
        ensure!(answer.status.success(), "expected success ({}) of:\n  {}", answer.status, answer.command);
        Ok(answer)
    }

    /// Shows a command and what came back. It has to fail.
    pub fn is_refused(&self, command: &str) -> anyhow::Result<Answer> {
        let answer = self.show(command)?;
        ensure!(!answer.status.success(), "expected a refusal of:\n  {}", answer.command);
        Ok(answer)
    }

    /// Runs a command again and again until it succeeds, to wait for what follows in an instant
    /// anyway and is no part of the story. It is shown only if it does not succeed in time.
    pub fn waits_until(&self, command: &str) -> anyhow::Result<()> {
        let mut last = String::new();
        let succeeded = poll(SOON, || match self.run(command) {
            Ok(answer) if answer.status.success() => Some(()),
            Ok(answer) => {
                last = answer.text;
                None
            }
            Err(error) => {
                last = error.to_string();
                None
            }
        });
        let name = self.user.name();
        succeeded
            .with_context(|| format!("expected success within {SOON:?} of:\n  {name}$ {command}\n{last}"))
    }

    fn show(&self, command: &str) -> anyhow::Result<Answer> {
        let prompt = self.style.paint(Style::GREEN, format!("{}$", self.user.name()));
        println!("\n{prompt} {}", self.style.paint(Style::BOLD, command));
        let answer = self.run(command)?;
        for line in answer.text.lines() {
            println!("{}", self.style.paint(Style::of_line(line), line));
        }
        Ok(answer)
    }

    /// Both outputs go into one pipe, so that they come in the order of a terminal.
    fn run(&self, command: &str) -> anyhow::Result<Answer> {
        let (mut output, input) = io::pipe()?;
        let mut shell = self.user.command(Path::new("sh"));
        shell
            .args(["-c", command])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("PATH", &self.path)
            .stdin(Stdio::null())
            .stdout(input.try_clone()?)
            .stderr(input);
        let mut child = shell.spawn().context("failed to start a shell")?;
        // It holds the other end of the pipe.
        drop(shell);
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes)?;
        Ok(Answer {
            command: format!("{}$ {command}", self.user.name()),
            text: String::from_utf8_lossy(&bytes).into_owned(),
            status: child.wait()?,
        })
    }
}

/// What came back.
pub struct Answer {
    command: String,
    text: String,
    status: ExitStatus,
}

impl Answer {
    /// These words have to be in it.
    pub fn says(self, words: &str) -> anyhow::Result<Self> {
        ensure!(self.text.contains(words), "expected {words:?} in what came back from:\n  {}", self.command);
        Ok(self)
    }

    /// These words have to be together in one line of it, for example in the row of a table.
    pub fn says_in_a_line(self, words: &[&str]) -> anyhow::Result<Self> {
        let found = self.text.lines().any(|line| words.iter().all(|word| line.contains(word)));
        ensure!(found, "expected {words:?} in a line of what came back from:\n  {}", self.command);
        Ok(self)
    }

    /// These words must not be in it.
    pub fn never_says(self, words: &str) -> anyhow::Result<Self> {
        ensure!(!self.text.contains(words), "did not expect {words:?} from:\n  {}", self.command);
        Ok(self)
    }

    /// All of it.
    pub fn text(&self) -> &str {
        self.text.trim_end()
    }

    /// Picks the word that begins so, as a person copies a name from a table.
    pub fn pick(&self, beginning: &str) -> anyhow::Result<String> {
        match self.text.split_whitespace().find(|word| word.starts_with(beginning)) {
            Some(word) => Ok(word.to_owned()),
            None => bail!("expected a word that begins with {beginning:?} from:\n  {}", self.command),
        }
    }
}

/// Whether to colour what is printed.
#[derive(Clone, Copy)]
pub enum Style {
    Plain,
    Coloured,
}

impl Style {
    pub const BOLD: &str = "1";
    pub const GREEN: &str = "32";
    const YELLOW: &str = "33";
    const RED: &str = "31";
    const NORMAL: &str = "";

    /// <https://no-color.org>
    fn of_output() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !unwanted { Self::Coloured } else { Self::Plain }
    }

    /// As kubectl colours its own lines at a terminal.
    fn of_line(line: &str) -> &'static str {
        if line.starts_with("Warning:") {
            Self::YELLOW
        } else if line.starts_with("Error from server") || line.starts_with("error:") {
            Self::RED
        } else {
            Self::NORMAL
        }
    }

    /// A text in one of the colours.
    pub fn paint(self, colour: &str, text: impl Display) -> String {
        match self {
            Self::Coloured if !colour.is_empty() => format!("\x1b[{colour}m{text}\x1b[0m"),
            Self::Coloured | Self::Plain => text.to_string(),
        }
    }
}

/// Breaks a text at its spaces into lines of at most `width` characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
