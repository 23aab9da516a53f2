//! The story of `examples/community`: a change that waits until somebody else approves it.

use crate::Cast;
use crate::stage::Stage;

const ACTIVE: &str = "--for=jsonpath='{.status.state}'=Active --timeout=30s";
const PENDING: &str = "--for=jsonpath='{.status.state}'=Pending --timeout=30s";
const APPROVED: &str = "--for=jsonpath='{.status.state}'=Approved --timeout=30s";
const SUPERSEDED: &str = "--for=jsonpath='{.status.state}'=Superseded --timeout=30s";
const REJECTED: &str = "--for=jsonpath='{.status.state}'=Rejected --timeout=30s";

/// What is enforced, whatever the latest edit asks for.
const SHOW_APPLIED: &str =
    r#"kubectl get enclave payments -n acme -o jsonpath='{.status.applied.spec.network}{"\n"}'"#;

pub fn play(stage: &Stage, cast: &Cast) -> anyhow::Result<()> {
    community(stage, cast)?;
    let request = enclave(stage, cast)?;
    let request = half_an_approval(stage, cast, &request)?;
    approval(stage, cast, &request)?;
    closed_namespace(stage, cast)?;
    let request = held_edit(stage, cast)?;
    lock(stage, cast)?;
    rejection(stage, cast, &request)?;
    looking_back(stage, cast)
}

fn community(stage: &Stage, Cast { alice, .. }: &Cast) -> anyhow::Result<()> {
    stage.scene(
        "Alice makes the Community acme, with its rules. No rule is in force before it, so it is \
         Active at once.",
    );
    alice
        .types("kubectl apply -f examples/community/01-community.yaml")?
        .says("community.enclave-operator.io/acme created")?;
    alice.types(&format!("kubectl wait community/acme {ACTIVE}"))?.says("condition met")?;
    alice.types("kubectl get communities")?.says_in_a_line(&["acme", "Active"])?;
    Ok(())
}

/// Returns the name of the request.
fn enclave(stage: &Stage, Cast { alice, bob, .. }: &Cast) -> anyhow::Result<String> {
    stage.scene(
        "Alice asks for the Enclave payments. She is warned that it may be held, and it is: the \
         Enclave is stored, but its namespace does not exist.",
    );
    alice
        .types("kubectl apply -f examples/community/02-enclave.yaml")?
        .says("Warning: ")?
        .says("enclave.enclave-operator.io/payments created")?;
    alice.types(&format!("kubectl wait enclave/payments -n acme {PENDING}"))?.says("condition met")?;
    let enclaves = alice.types("kubectl get enclaves -n acme")?.says_in_a_line(&["payments", "Pending"])?;
    let request = enclaves.pick("enc-payments-")?;
    alice
        .types("kubectl get namespaces -l enclave-operator.io/community=acme")?
        .says("acme")?
        .never_says("acme-payments")?;

    stage.scene("Bob, an approver, looks at what waits: who asks for what, and what it would change.");
    alice.waits_until(&format!("kubectl wait approvalrequest/{request} -n acme {PENDING}"))?;
    bob.types("kubectl get apr -A")?.says_in_a_line(&[&request, "Pending", "alice"])?;
    bob.types(&format!("kubectl describe apr {request} -n acme"))?
        .says("The payment service moves to this cluster")?
        .says("cyber-team")?;
    Ok(request)
}

/// Returns the name of the request that takes the first one's place.
fn half_an_approval(stage: &Stage, cast: &Cast, request: &str) -> anyhow::Result<String> {
    let Cast { alice, carol, .. } = cast;
    stage.scene("Alice is an approver too, and tries to approve what she asked for herself.");
    alice
        .is_refused(&decide(request, r#"{"decision":"Approved"}"#))?
        .says("you contributed to this change")?;

    stage.scene("Carol approves. The rules also want somebody of the cyber-team, so it still waits.");
    carol
        .types(&decide(request, r#"{"decision":"Approved","comment":"as discussed in CHG0012345"}"#))?
        .says("patched")?;
    let missing = "one by group cyber-team";
    carol.waits_until(&format!(
        "kubectl wait apr/{request} -n acme --for=jsonpath='{{.status.missing}}'='{missing}' --timeout=30s"
    ))?;
    carol.types("kubectl get apr -n acme")?.says_in_a_line(&[request, "Pending", missing])?;

    stage.scene(
        "Alice corrects the description before it is decided. That is another change: its request takes \
         the place of the first one, and Carol's vote does not move to it.",
    );
    let description = r#"{"spec":{"description":"Card payments, production"}}"#;
    alice
        .types(&format!("kubectl patch enclave payments -n acme --type=merge -p '{description}'"))?
        .says("patched")?;
    alice.waits_until(&format!("kubectl wait apr/{request} -n acme {SUPERSEDED}"))?;
    alice.waits_until(
        "kubectl wait enclave/payments -n acme --for=jsonpath='{.status.pending.generation}'=2 --timeout=30s",
    )?;
    let enclaves = alice.types("kubectl get enclaves -n acme")?.says_in_a_line(&["payments", "Pending"])?;
    let second = enclaves.pick("enc-payments-")?;
    alice.waits_until(&format!("kubectl wait apr/{second} -n acme {PENDING}"))?;
    alice.types("kubectl get apr -n acme")?.says_in_a_line(&[request, "Superseded"])?.says_in_a_line(&[
        &second,
        "Pending",
        "1 more approval",
    ])?;
    Ok(second)
}

fn approval(stage: &Stage, cast: &Cast, request: &str) -> anyhow::Result<()> {
    let Cast { alice, bob, .. } = cast;
    stage.scene(
        "Bob of the cyber-team approves, and names the digest of the content that he has read: \
         nothing else can be approved by that. Now the Enclave becomes Active.",
    );
    let digest = bob
        .types(&format!(
            "kubectl get apr {request} -n acme -o jsonpath='{{.spec.change.digest}}{{\"\\n\"}}'"
        ))?
        .pick("sha256:")?;
    let vote = format!(r#"{{"decision":"Approved","digest":"{digest}"}}"#);
    bob.types(&decide(request, &vote))?.says("patched")?;
    alice.types(&format!("kubectl wait enclave/payments -n acme {ACTIVE}"))?.says("condition met")?;
    alice.types("kubectl get enclaves -n acme -o wide")?.says_in_a_line(&[
        "payments",
        "Active",
        "acme-payments",
    ])?;
    alice.waits_until(&format!("kubectl wait apr/{request} -n acme {APPROVED}"))?;
    alice.types("kubectl get apr -n acme")?.says_in_a_line(&[request, "Approved"])?;
    Ok(())
}

fn closed_namespace(stage: &Stage, Cast { alice, .. }: &Cast) -> anyhow::Result<()> {
    stage.scene(
        "Alice looks at the Enclave's own namespace: all traffic is denied in it, and no pod may run \
         there, as pods belong into workload namespaces.",
    );
    alice.types("kubectl get namespaces -l enclave-operator.io/community=acme")?.says("acme-payments")?;
    alice
        .types("kubectl get networkpolicies,resourcequotas -n acme-payments")?
        .says("enclave-operator-default-deny")?
        .says("pods: 0/0")?;
    Ok(())
}

/// Returns the name of the request.
fn held_edit(stage: &Stage, Cast { alice, .. }: &Cast) -> anyhow::Result<String> {
    stage.scene(
        "Alice edits the Enclave, so that its workloads may talk to each other. The edit waits, and \
         what was approved before stays applied.",
    );
    alice.types(SHOW_APPLIED)?.says("Isolated")?;
    alice
        .types("kubectl apply -f examples/community/03-enclave-edit.yaml")?
        .says("Warning: ")?
        .says("enclave.enclave-operator.io/payments configured")?;
    alice.types(&format!("kubectl wait enclave/payments -n acme {PENDING}"))?.says("condition met")?;
    let enclaves = alice.types("kubectl get enclaves -n acme")?.says_in_a_line(&["payments", "Pending"])?;
    alice.types(SHOW_APPLIED)?.says("Isolated")?;

    let request = enclaves.pick("enc-payments-")?;
    alice.waits_until(&format!("kubectl wait approvalrequest/{request} -n acme {PENDING}"))?;
    alice
        .types(&format!(
            "kubectl get apr {request} -n acme -o jsonpath='{{range .spec.impact.changes[*]}}{{@}}{{\"\\n\"}}{{end}}'"
        ))?
        .says("spec.network.workloadCommunication")?;
    Ok(request)
}

fn lock(stage: &Stage, Cast { administrator, .. }: &Cast) -> anyhow::Result<()> {
    stage.scene(
        "Meanwhile the administrator tries to delete the policy that denies all traffic, and then to let \
         pods in. What guards a namespace is the operator's, so both are refused, although \
         RBAC lets administrators do everything.",
    );
    administrator
        .is_refused("kubectl delete networkpolicy enclave-operator-default-deny -n acme-payments")?
        .says("nobody else changes them")?;
    administrator
        .is_refused("kubectl create quota more --hard=pods=10 -n acme-payments")?
        .says("additional ones need maintenance")?;
    administrator
        .types("kubectl get enclave payments -n acme -o jsonpath='{.status.conditions[?(@.type==\"Locked\")].message}{\"\\n\"}'")?
        .says("only what the operator made guards the namespaces")?;
    Ok(())
}

fn rejection(stage: &Stage, Cast { alice, bob, .. }: &Cast, request: &str) -> anyhow::Result<()> {
    stage.scene(
        "Bob rejects the edit. The rules want a reason from whoever rejects, and he needs a second try. \
         What is applied stays.",
    );
    bob.is_refused(&decide(request, r#"{"decision":"Rejected"}"#))?.says("a rejection needs a comment")?;
    bob.types(&decide(request, r#"{"decision":"Rejected","comment":"not before the audit"}"#))?
        .says("patched")?;
    alice.types(&format!("kubectl wait enclave/payments -n acme {REJECTED}"))?.says("condition met")?;
    alice.waits_until(&format!("kubectl wait apr/{request} -n acme {REJECTED}"))?;
    alice.types("kubectl get enclaves -n acme")?.says_in_a_line(&["payments", "Rejected"])?;
    alice.types(SHOW_APPLIED)?.says("Isolated")?;
    Ok(())
}

fn looking_back(stage: &Stage, Cast { alice, .. }: &Cast) -> anyhow::Result<()> {
    stage.scene("What happened can be read afterwards: in the requests, and in the events.");
    alice
        .types("kubectl get apr -n acme")?
        .says_in_a_line(&["enc-payments-", "Approved"])?
        .says_in_a_line(&["enc-payments-", "Rejected"])?;
    alice.waits_until("kubectl get events -n acme | grep -q 'Rejected *enclave/payments'")?;
    alice.types("kubectl get events -n acme")?.says("not before the audit")?;
    Ok(())
}

/// How one decides about a request: by patching its status.
fn decide(request: &str, status: &str) -> String {
    format!(
        "kubectl patch apr {request} -n acme --subresource=status --type=merge -p '{{\"status\":{status}}}'"
    )
}
