//! The story of `examples/just-in-time`: a role from the request to its end.

use jiff::{SignedDuration, Timestamp, Unit};

use crate::Cast;
use crate::stage::Stage;

const ACTIVATION: &str = "roleactivation/repair-queue -n initech-billing";
const ELIGIBILITY: &str = "roleeligibility/on-call -n initech-billing";
const MAY_NINA: &str = "kubectl auth can-i create pods -n initech-billing-api";

pub fn play(stage: &Stage, cast: &Cast) -> anyhow::Result<()> {
    eligible(stage, cast)?;
    let request = asked(stage, cast)?;
    active(stage, cast, &request)?;
    over(stage, cast)
}

fn eligible(stage: &Stage, Cast { alice, nina, .. }: &Cast) -> anyhow::Result<()> {
    stage.scene(
        "A third Community, initech, where roles are the matter. Alice makes it with one Enclave. The group \
         on-call may activate a role in it, with a justification, a ticket and somebody's approval.",
    );
    alice.types("kubectl apply -f examples/just-in-time/01-community.yaml")?.says("initech created")?;
    alice.types("kubectl wait community/initech --for=condition=Ready --timeout=30s")?.says("met")?;
    alice.types("kubectl apply -f examples/just-in-time/02-enclave.yaml")?.says("billing created")?;
    alice
        .types("kubectl wait enclave/billing -n initech --for=condition=Ready --timeout=30s")?
        .says("met")?;
    alice.types("kubectl apply -f examples/just-in-time/03-workload.yaml")?.says("api created")?;
    alice
        .types("kubectl wait enclaveworkload/api -n initech-billing --for=condition=Ready --timeout=30s")?
        .says("met")?;
    alice.types("kubectl apply -f examples/just-in-time/04-roles.yaml")?.says("on-call created")?;
    alice.types(&format!("kubectl wait {ELIGIBILITY} --for=condition=Ready --timeout=30s"))?.says("met")?;

    stage.scene("Nina is on call. That gives her the right to ask, and nothing else.");
    nina.is_refused(MAY_NINA)?.says("no")?;
    Ok(())
}

/// Returns the name of the request.
fn asked(stage: &Stage, Cast { nina, bob, .. }: &Cast) -> anyhow::Result<String> {
    stage.scene("Something is broken, and she asks for the role.");
    nina.types("kubectl apply -f examples/just-in-time/05-activation.yaml")?.says("repair-queue created")?;
    nina.types(&format!(
        "kubectl wait {ACTIVATION} --for=jsonpath='{{.status.state}}'=PendingApproval --timeout=30s"
    ))?
    .says("met")?;
    let request = nina
        .types("kubectl get roleactivations -n initech-billing")?
        .says_in_a_line(&["repair-queue", "PendingApproval", "nina", "enclave-contributor"])?
        .pick("ract-repair-queue-")?;

    stage.scene("Bob looks at what she would gain, and approves it.");
    bob.waits_until(&format!(
        "kubectl wait apr/{request} -n initech-billing --for=jsonpath='{{.status.state}}'=Pending --timeout=30s"
    ))?;
    bob.types(&format!(
        "kubectl get apr {request} -n initech-billing -o jsonpath='{{range .spec.impact.opens[*]}}{{@}}{{\"\\n\"}}{{end}}'"
    ))?
    .says("user nina gets edit in initech-billing-api")?;
    bob.types(&format!(
        "kubectl patch apr {request} -n initech-billing --subresource=status --type=merge -p '{{\"status\":{{\"decision\":\"Approved\"}}}}'"
    ))?
    .says("patched")?;
    Ok(request)
}

fn active(stage: &Stage, Cast { administrator, nina, .. }: &Cast, request: &str) -> anyhow::Result<()> {
    nina.types(&format!("kubectl wait {ACTIVATION} --for=condition=Ready --timeout=30s"))?.says("met")?;
    stage.scene("She has the role, she alone and not her group, and can work.");
    nina.types("kubectl get roleactivations -n initech-billing")?.says_in_a_line(&[
        "repair-queue",
        "Active",
        request,
        "nina",
    ])?;
    nina.waits_until(&format!("{MAY_NINA} --quiet"))?;
    nina.types(MAY_NINA)?.says("yes")?;
    administrator
        .types("kubectl get rolebindings -n initech-billing-api")?
        .says_in_a_line(&["enclave-operator:ract:initech-billing:repair-queue", "ClusterRole/edit"])?;
    Ok(())
}

fn over(stage: &Stage, Cast { alice, nina, .. }: &Cast) -> anyhow::Result<()> {
    stage.scene(
        "Her shift ends in a few seconds: Alice writes that into the eligibility, which needs nobody, because \
         it only takes access away. At that moment the role is gone.",
    );
    let end = (Timestamp::now() + SignedDuration::from_secs(5)).round(Unit::Second)?;
    alice
        .types(&format!(
            "kubectl patch {ELIGIBILITY} --type=merge -p '{{\"spec\":{{\"endsAt\":\"{end}\"}}}}'"
        ))?
        .says("patched")?;
    alice
        .types(&format!(
            "kubectl wait {ACTIVATION} --for=jsonpath='{{.status.state}}'=Expired --timeout=30s"
        ))?
        .says("met")?;
    nina.waits_until(&format!("! {MAY_NINA} --quiet"))?;
    nina.is_refused(MAY_NINA)?.says("no")?;
    alice.waits_until(&format!(
        "kubectl wait {ELIGIBILITY} --for=jsonpath='{{.status.state}}'=Inactive --timeout=30s"
    ))?;
    alice
        .types("kubectl get roleeligibilities -n initech-billing")?
        .says_in_a_line(&["on-call", "Inactive", "4h", "1"])?;
    Ok(())
}
