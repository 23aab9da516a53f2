//! A part of the story of `examples/hub-and-spoke`: a connection from Pending to Connected and back.

use crate::Cast;
use crate::stage::Stage;

const CONNECTION: &str = "enclaveconnection/to-ledger -n globex-payments";
const SHOW_CONNECTIONS: &str = "kubectl get enclaveconnections -n globex-payments";
const SHOW_POLICIES: &str = "kubectl get networkpolicies -n globex-ledger-db";
const INGRESS: &str = "connection.globex-payments.to-ledger.ingress";

pub fn play(stage: &Stage, cast: &Cast) -> anyhow::Result<()> {
    places(stage, cast)?;
    let request = held(stage, cast)?;
    connected(stage, cast, &request)?;
    closed(stage, cast)
}

fn places(stage: &Stage, Cast { alice, erin, .. }: &Cast) -> anyhow::Result<()> {
    stage.scene(
        "A second Community, globex, where connections are the matter. Alice makes it with three \
         Enclaves, and a place for pods in each. Erin, who owns Enclaves, says what of them may be reached.",
    );
    alice.types("kubectl apply -f examples/hub-and-spoke/01-community.yaml")?.says("globex created")?;
    alice.types("kubectl wait community/globex --for=condition=Ready --timeout=30s")?.says("met")?;
    alice.types("kubectl apply -f examples/hub-and-spoke/02-enclaves.yaml")?.says("payments created")?;
    alice.types("kubectl wait enclaves -n globex --all --for=condition=Ready --timeout=30s")?.says("met")?;
    erin.types("kubectl apply -f examples/hub-and-spoke/03-workloads.yaml")?.says("api created")?;
    erin.types("kubectl wait enclaveworkloads -A --all --for=condition=Ready --timeout=30s")?.says("met")?;
    erin.types("kubectl apply -f examples/hub-and-spoke/04-endpoints.yaml")?.says("db created")?;
    erin.waits_until("kubectl wait enclaveendpoints -A --all --for=condition=Ready --timeout=30s")?;
    alice.types(SHOW_POLICIES)?.says("enclave-operator-default-deny")?.never_says("connection.")?;
    Ok(())
}

/// Returns the name of the request.
fn held(stage: &Stage, Cast { erin, sara, .. }: &Cast) -> anyhow::Result<String> {
    stage.scene(
        "Erin declares connections. The one to the ledger waits for the security team; those that need \
         something which does not exist yet say so.",
    );
    erin.types("kubectl apply -f examples/hub-and-spoke/06-connections.yaml")?.says("to-ledger created")?;
    erin.types(&format!(
        "kubectl wait {CONNECTION} --for=jsonpath='{{.status.state}}'=Pending --timeout=30s"
    ))?
    .says("met")?;
    erin.waits_until(&format!(
        "kubectl wait {CONNECTION} --for=jsonpath='{{.status.pending.approvalRequest}}' --timeout=30s"
    ))?;
    let request = erin
        .types(SHOW_CONNECTIONS)?
        .says_in_a_line(&["to-ledger", "Pending", "api", "ledger/db"])?
        .pick("econ-to-ledger-")?;
    let card = "enclaveconnection/to-card-network -n globex-payments";
    erin.types(&format!("kubectl get {card} -o jsonpath='{{.status.conditions[0].message}}{{\"\\n\"}}'"))?
        .says("CommunityEndpoint card-network does not exist")?;

    stage.scene("Sara of the security team looks at what would open, and approves it.");
    sara.waits_until(&format!(
        "kubectl wait apr/{request} -n globex-payments --for=jsonpath='{{.status.state}}'=Pending --timeout=30s"
    ))?;
    sara.types(&format!(
        "kubectl get apr {request} -n globex-payments -o jsonpath='{{.spec.impact.opens[*]}}{{\"\\n\"}}'"
    ))?
    .says("globex-payments-api -> globex-ledger-db (app=postgres): TCP 5432")?;
    Ok(request)
}

fn connected(stage: &Stage, Cast { erin, sara, .. }: &Cast, request: &str) -> anyhow::Result<()> {
    sara.types(&format!(
        "kubectl patch apr {request} -n globex-payments --subresource=status --type=merge -p '{{\"status\":{{\"decision\":\"Approved\"}}}}'"
    ))?
    .says("patched")?;
    erin.types(&format!(
        "kubectl wait {CONNECTION} --for=jsonpath='{{.status.state}}'=Connected --timeout=30s"
    ))?
    .says("met")?;
    stage.scene("Only now there is a policy that lets the payments in, to that port and those pods.");
    erin.types(SHOW_POLICIES)?.says(INGRESS)?;
    Ok(())
}

fn closed(stage: &Stage, Cast { erin, .. }: &Cast) -> anyhow::Result<()> {
    stage.scene(
        "Erin closes the connection. That needs nobody: what closes never waits. Opening it again is a \
         change like any other.",
    );
    let enable =
        |on: bool| format!("kubectl patch {CONNECTION} --type=merge -p '{{\"spec\":{{\"enabled\":{on}}}}}'");
    erin.types(&enable(false))?.says("patched")?;
    erin.types(&format!(
        "kubectl wait {CONNECTION} --for=jsonpath='{{.status.state}}'=Inactive --timeout=30s"
    ))?
    .says("met")?;
    erin.types(SHOW_POLICIES)?.never_says("connection.")?;
    erin.types(&enable(true))?.says("patched")?;
    erin.types(&format!(
        "kubectl wait {CONNECTION} --for=jsonpath='{{.status.state}}'=Pending --timeout=30s"
    ))?
    .says("met")?;
    erin.types(SHOW_CONNECTIONS)?.says_in_a_line(&["to-ledger", "Pending"])?;
    Ok(())
}
