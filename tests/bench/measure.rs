//! What processes use, according to the kernel.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::eventually;

/// The kernel counts processor time in hundredths of a second here (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// A process is quiet when it used less than a share of one processor for so long.
const QUIET_FOR: Duration = Duration::from_millis(500);
/// Such a share, for clients.
pub const CLIENT: f64 = 0.02;
/// For the API server, which is never without work of its own.
pub const SERVER: f64 = 0.15;

/// Processor time that a process has used, in user and kernel mode.
///
/// # Panics
/// If there is no such process.
pub fn processor_time(process: u32) -> Duration {
    // To the nanosecond, but without threads that ended; in ticks, with them.
    own_ticks(process).max(scheduled(process))
}

fn own_ticks(process: u32) -> Duration {
    let [user, system, _, _] =
        ticks(&process.to_string()).unwrap_or_else(|| panic!("there is no process {process}"));
    TICK * u32::try_from(user + system).unwrap()
}

fn scheduled(process: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Duration::ZERO };
    let nanoseconds = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}

/// utime, stime, and those of children that were waited for.
fn ticks(process: &str) -> Option<[u64; 4]> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11).map(|field| field.parse().unwrap_or(0));
    Some([fields.next()?, fields.next()?, fields.next()?, fields.next()?])
}

/// Processor time that this program and everything it started used.
fn ours() -> Duration {
    let own = std::process::id().to_string();
    let is_child = |process: &str| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.to_owned()).unwrap_or_default();
        fields.split_whitespace().nth(1) == Some(&own)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let all = processes
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|name| *name == own || is_child(name))
        .filter_map(|name| ticks(&name))
        .map(|ticks| ticks.iter().sum::<u64>())
        .sum::<u64>();
    TICK * u32::try_from(all).unwrap_or(u32::MAX)
}

/// Processor time that everything on the machine used.
fn everybodys() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    // user, nice, system, then idle and iowait, irq, softirq
    let busy: u64 = fields.iter().take(3).chain(fields.iter().skip(5).take(2)).sum();
    TICK * u32::try_from(busy).unwrap_or(u32::MAX)
}

/// Watches how much of the machine others use.
#[derive(Debug)]
pub struct Others {
    since: Instant,
    used: Duration,
}

impl Others {
    pub fn watch() -> Self {
        Self { since: Instant::now(), used: everybodys().saturating_sub(ours()) }
    }

    /// How many processors others kept busy since, on average.
    pub fn load(&self) -> f64 {
        let used = everybodys().saturating_sub(ours()).saturating_sub(self.used);
        used.as_secs_f64() / self.since.elapsed().as_secs_f64().max(0.001)
    }
}

/// Resident memory of a process in MiB.
pub fn resident(process: u32) -> f64 {
    status(process, "VmRSS:")
}

/// The most resident memory that a process has had, in MiB.
pub fn peak(process: u32) -> f64 {
    status(process, "VmHWM:")
}

fn status(process: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or_else(|| panic!("there is no {field} of process {process}")) / 1024.0
}

/// Waits until a process uses less than this share of one processor, and says since when it does.
///
/// # Panics
/// If that is not so `within` this time.
pub async fn wait_until_quiet(process: u32, share: f64, within: Duration) -> Instant {
    let mut since = (Instant::now(), processor_time(process));
    eventually(&format!("process {process} is quiet"), within, async || {
        let now = (Instant::now(), processor_time(process));
        if now.1.saturating_sub(since.1).as_secs_f64() > QUIET_FOR.as_secs_f64() * share {
            since = now;
        }
        (now.0 - since.0 >= QUIET_FOR).then_some(since.0)
    })
    .await
}
