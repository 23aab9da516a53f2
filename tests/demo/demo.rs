//! The stories of `examples/` on a real control plane with the real operator, played by people
//! with credentials and roles of their own.
//!
//! At a terminal the cluster is left up, to go on by hand, until `demo down`. Anywhere else the
//! demo is a test: it cleans up behind itself, and its exit code says whether all went as told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod community;
mod connection;
mod roles;
mod stage;

use std::io::{self, IsTerminal};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use enclave_operator_testing::helm::NAMESPACE;
use enclave_operator_testing::{
    self as support, ControlPlane, ControlPlaneError, OperatorProcess, Process, User, find_tool,
    operator_program, repository, wait_for_policies,
};
use stage::{Person, SOON, Stage, Style};

const OPERATOR: &str = "enclave-operator";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // What the control plane cannot do it reports by a panic, whose message is printed by then.
    let outcome = catch_unwind(AssertUnwindSafe(|| match arguments.join(" ").as_str() {
        "" if io::stdin().is_terminal() && io::stdout().is_terminal() => play_and_leave_up(),
        "" => play_and_clean_up(),
        "down" => take_down(),
        other => bail!("unknown argument {other:?}: give none to play, or `down` to end what is left up"),
    }));
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("\n{error:#}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn play_and_leave_up() -> anyhow::Result<()> {
    let folder = folder();
    if ControlPlane::is_running_in(&folder)? {
        bail!(
            "a demo is up already: go on with the kubeconfigs in {}, or end it with `make demo-down`",
            folder.join("users").display()
        );
    }
    let scene = Scene::set(|| ControlPlane::start_in(&folder))?;
    scene.play()?;
    scene.tell_how_to_go_on();
    scene.operator.leave();
    Ok(scene.plane.detach()?)
}

fn play_and_clean_up() -> anyhow::Result<()> {
    Scene::set(ControlPlane::start)?.play()?;
    println!("This is no terminal, so everything is stopped and removed.");
    Ok(())
}

fn take_down() -> anyhow::Result<()> {
    let folder = folder();
    if folder.exists() {
        ControlPlane::stop_detached(&folder)?;
        println!("The demo is down.");
    } else {
        println!("No demo is up.");
    }
    Ok(())
}

/// The same for every run, so that `demo down` finds it.
fn folder() -> PathBuf {
    repository("target/demo")
}

/// A cluster with the operator in it, and the people of the story.
struct Scene {
    since: Instant,
    // Dropped before the control plane.
    operator: Process,
    stage: Stage,
    cast: Cast,
    plane: ControlPlane,
}

/// Who plays. Each has a client certificate with a name and groups; which group has which role
/// is up to the administrator.
pub struct Cast {
    pub administrator: Person,
    /// Owns communities. She could approve too: what she may not approve is her own.
    pub alice: Person,
    /// Approves, and is in the cyber team.
    pub bob: Person,
    /// Approves.
    pub carol: Person,
    /// Owns enclaves and what is in them.
    pub erin: Person,
    /// Is on call, and has no role.
    pub nina: Person,
    /// Approves, and is in the security team.
    pub sara: Person,
}

impl Scene {
    /// Installs the operator as an administrator would, and runs it as its Deployment would.
    fn set(start: impl FnOnce() -> Result<ControlPlane, ControlPlaneError>) -> anyhow::Result<Self> {
        let since = Instant::now();
        let program = operator_program();
        println!("A control plane starts: etcd, the API server and the controller manager.");
        let plane = start()?;
        let helm = find_tool("helm")?;
        let kubectl = plane.administrator_user().kubectl_program();
        let stage = Stage::new(&[parent(&program)?, parent(kubectl)?, parent(&helm)?])?;
        let person = |user: User| stage.person(user);
        let cast = Cast {
            administrator: person(plane.administrator_user().clone()),
            alice: person(plane.user("alice", &["owners", "approvers"])),
            bob: person(plane.user("bob", &["approvers", "cyber-team"])),
            carol: person(plane.user("carol", &["approvers"])),
            erin: person(plane.user("erin", &["enclave-owners"])),
            nina: person(plane.user("nina", &["on-call"])),
            sara: person(plane.user("sara", &["approvers", "security"])),
        };
        install(&stage, &cast)?;

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (process, account) = runtime.block_on(async {
            wait_for_policies(cast.administrator.client(), SOON).await;
            let process = OperatorProcess::read(cast.administrator.client()).await;
            (process, plane.service_account(NAMESPACE, OPERATOR).await)
        });
        let mut command = process.command(&program, &account?, "demo");
        // The log is to be read in any program.
        command.env("NO_COLOR", "1");
        let operator = plane.spawn(command, OPERATOR)?;
        Ok(Self { since, operator, stage, cast, plane })
    }

    fn play(&self) -> anyhow::Result<()> {
        let played = community::play(&self.stage, &self.cast)
            .and_then(|()| connection::play(&self.stage, &self.cast))
            .and_then(|()| roles::play(&self.stage, &self.cast));
        if let Err(error) = played {
            bail!("The demo failed: {error:#}\n\n{}", self.last_words_of_the_operator());
        }
        println!("\nThe stories took {} s, and everything came as told.", self.since.elapsed().as_secs());
        Ok(())
    }

    fn last_words_of_the_operator(&self) -> String {
        let log = self.operator.log();
        let skipped = log.lines().count().saturating_sub(10);
        let tail: Vec<&str> = log.lines().skip(skipped).collect();
        let fate = match self.operator.status() {
            Some(status) => format!("ended with {status}"),
            None => "runs".to_owned(),
        };
        format!("The operator {fate}. The last lines of its log:\n{}", tail.join("\n"))
    }

    fn tell_how_to_go_on(&self) {
        let Cast { administrator, alice, bob, carol, erin, nina, sara } = &self.cast;
        let style = self.stage.style();
        println!("\n{}", style.paint(Style::BOLD, "The cluster is left up. To go on as one of them:"));
        for person in [alice, bob, carol, erin, nina, sara, administrator] {
            println!("  export KUBECONFIG=\"{}\"", person.kubeconfig().display());
        }
        println!("with kubectl, helm and the operator's program:");
        println!("  export PATH=\"{}:$PATH\"", self.stage.programs());
        println!("The operator's log is {}", self.operator.log_file().display());
        println!("To stop everything: {}", style.paint(Style::BOLD, "make demo-down"));
    }
}

fn install(stage: &Stage, cast: &Cast) -> anyhow::Result<()> {
    let Cast { administrator, alice, carol, .. } = cast;
    stage.scene(
        "The administrator installs the chart: CRDs, admission policies, roles, the operator's account and \
         its Deployment. This cluster has no node for Pods, so the process starts beside it, as the Deployment \
         says and with the rights of that account.",
    );
    administrator
        .types(
            "helm install enclave-operator charts/enclave-operator --namespace enclave-system \
             --create-namespace --set replicas=0 --hide-notes",
        )?
        .says("STATUS: deployed")?;
    administrator.waits_until("kubectl wait crd --all --for=condition=Established --timeout=30s")?;

    stage.scene(
        "The administrator gives roles to groups. Alice is in owners and approvers, Bob in approvers \
         and cyber-team, Carol in approvers, Erin in enclave-owners, Sara in approvers and security; all of \
         them may look at the usual Kubernetes objects. Nina, who is in on-call, has no role.",
    );
    for command in [
        "kubectl create clusterrolebinding owners --clusterrole=enclave-operator:community-owner --group=owners",
        "kubectl create clusterrolebinding enclave-owners --clusterrole=enclave-operator:enclave-owner --group=enclave-owners",
        "kubectl create clusterrolebinding approvers --clusterrole=enclave-operator:enclave-approver --group=approvers",
        "kubectl create clusterrolebinding viewers --clusterrole=view --group=owners --group=enclave-owners --group=approvers",
    ] {
        administrator.types(command)?.says("created")?;
    }
    // The API server takes a moment to know of them.
    alice.waits_until("kubectl auth can-i create communities --quiet")?;
    carol.waits_until("kubectl auth can-i approve approvalrequests -n acme --quiet")?;
    carol.waits_until("kubectl auth can-i list namespaces --quiet")
}

fn parent(path: &Path) -> anyhow::Result<&Path> {
    path.parent().with_context(|| format!("{} is in no folder", path.display()))
}
