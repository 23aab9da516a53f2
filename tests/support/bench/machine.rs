//! Where figures were measured.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::repository;

/// What figures depend on beside the code.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    pub processors: String,
    pub memory: String,
    pub kernel: String,
    pub kubernetes: String,
    pub rust: String,
    pub commit: String,
    pub profile: String,
}

impl Machine {
    pub fn look_at(settings: &Settings) -> Self {
        let lines = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let processors = lines("/proc/cpuinfo");
        let count = processors.lines().filter(|line| line.starts_with("processor")).count();
        let dirty =
            !output("git", &["status", "--porcelain", "--", "src", "charts", "Cargo.lock"]).is_empty();
        let commit = output("git", &["rev-parse", "--short", "HEAD"]);
        Self {
            processors: format!("{count} × {}", field(&processors, "model name")),
            memory: field(&lines("/proc/meminfo"), "MemTotal"),
            kernel: lines("/proc/sys/kernel/osrelease").trim().to_owned(),
            kubernetes: String::new(),
            rust: output("rustc", &["--version"]),
            commit: if dirty { format!("{commit} with changes") } else { commit },
            profile: settings.profile.clone(),
        }
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(repository("")).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
