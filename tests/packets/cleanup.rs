//! Nothing is left of a lab.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::lab::Lab;
use crate::support::{ControlPlane, eventually};

const HOLDER: &str = "HOLD_A_LAB";

/// The kernel removes a network namespace and all that is in it with the last process in it.
#[tokio::test]
async fn no_process_is_left_in_the_node_of_a_lab_that_was_killed() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cleanup::holder", "--ignored", "--nocapture"])
        .env(HOLDER, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let identity = BufReader::new(holder.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("holding ").map(str::to_owned))
        .expect("the holder starts a lab");
    assert!(processes_in(&identity).iter().any(|process| process.contains("kube-router")));

    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually("the node is empty", Duration::from_secs(30), async || {
        processes_in(&identity).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "another test starts and kills it"]
async fn holder() {
    if std::env::var_os(HOLDER).is_none() {
        return;
    }
    let plane = ControlPlane::start().unwrap();
    let lab = Lab::start(&plane).await.unwrap();
    println!("\nholding {}", lab.identity());
    std::future::pending::<()>().await;
}

/// The command lines of the processes in a network namespace.
fn processes_in(identity: &str) -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|process| {
            std::fs::read_link(process.join("ns/net"))
                .is_ok_and(|namespace| namespace.as_os_str() == identity)
        })
        .map(|process| std::fs::read_to_string(process.join("cmdline")).unwrap_or_default())
        .collect()
}
