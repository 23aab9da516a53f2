//! Roles that are activated and end by themselves.

use std::time::Instant;

use enclave_operator::api::approval_request::{RequestState, Verdict};
use jiff::{SignedDuration, Timestamp};
use kube::api::DeleteParams;

use super::*;
use crate::world::{assert_refused, may, patch, right, vote, wait_for_access, wait_for_request_state};

/// Eligible people activate at once: no approval is asked for.
fn eligibility(principals: &[Value], role: &str, activation: &Value) -> Value {
    let mut conditions = json!({"maxDuration": "8h"});
    for (key, value) in activation.as_object().unwrap() {
        conditions[key] = value.clone();
    }
    json!({"role": role, "principals": principals, "activation": conditions})
}

impl Place<'_> {
    async fn let_activate(&self, namespace: &str, name: &str, spec: &Value) -> Api<RoleEligibility> {
        let api = Self::eligibilities(&self.world.alice(), namespace);
        make(&api, "RoleEligibility", name, spec).await.unwrap();
        wait_for_state(&api, name, State::Active).await;
        api
    }
}

/// The five steps of configuring just-in-time access.
#[tokio::test]
async fn just_in_time_access_from_configuration_to_automatic_revocation() {
    // 1. Enable it: the Community holds activations until somebody approves.
    let rules =
        json!({"rules": [{"operation": "RoleActivation", "policy": "Required", "minimumApprovers": 1}]});
    let place = Place::make("jit", &json!({ "approvals": rules })).await;
    let (control, pods) = (place.control("payments"), place.pods("payments"));

    // 2. Assign a role that has to be activated, 3. with approval settings and 4. activation policies.
    let ends = Timestamp::now() + SignedDuration::from_secs(14);
    let mut spec = eligibility(
        &[group("on-call")],
        "enclave-contributor",
        &json!({"maxDuration": "2h", "requireJustification": true, "requireTicket": true,
            "approval": {"policy": "Required", "minimumApprovers": 1, "requireRejectionComment": true}}),
    );
    spec["endsAt"] = json!(ends.to_string());
    let eligibilities = place.let_activate(&control, "on-call", &spec).await;

    // 5. Test with a real user: request, approve, use, automatic revocation.
    let nina = place.user("nina", &["on-call"]);
    let mine = Place::activations(&nina, &control);
    wait_for_access(&nina, "create", "roleactivations", &control, true).await;
    assert!(!may(&nina, &right("get", "pods", &pods)).await, "eligible is not active");
    let unjustified = json!({"eligibility": "on-call", "duration": "1h", "ticket": "INC1"});
    make(&mine, "RoleActivation", "unjustified", &unjustified).await.unwrap();
    let refused = wait_for_activation(&mine, "unjustified", "Refused").await;
    let why = &refused.status.unwrap().conditions[0];
    assert_eq!(why.reason, "JustificationMissing", "{}", why.message);

    let asked =
        json!({"eligibility": "on-call", "duration": "1h", "justification": "queue stuck", "ticket": "INC1"});
    make(&mine, "RoleActivation", "repair", &asked).await.unwrap();
    let pending = wait_for_activation(&mine, "repair", "PendingApproval").await.status.unwrap();
    let request = pending.approval_request.unwrap();
    wait_for_request_state(&place.world.bob(), &control, &request, RequestState::Pending).await;
    let own = vote(&nina, &control, &request, Verdict::Approved, None).await;
    assert_refused(own, "forbidden");
    vote(&place.world.bob(), &control, &request, Verdict::Approved, None).await.unwrap();
    let active = wait_for_activation(&mine, "repair", "Active").await.status.unwrap();
    assert_eq!(active.user.as_deref(), Some(nina.name()));
    wait_for_access(&nina, "create", "pods", &pods, true).await;
    wait_for_access(&nina, "create", "enclaveconnections", &control, true).await;
    let colleague = place.user("karl", &["on-call"]);
    assert!(!may(&colleague, &right("get", "pods", &pods)).await, "the role is hers, not the group's");

    wait_for_activation(&mine, "repair", "Expired").await;
    wait_for_access(&nina, "create", "pods", &pods, false).await;
    let late = Timestamp::now().duration_since(ends).as_secs_f64();
    tell(format_args!("the first refused review came {late:.2} s after the end"));
    assert!((-1.0..3.0).contains(&late), "{late} s after its end");
    let used = eligibilities.get("on-call").await.unwrap().status.unwrap();
    assert_eq!(used.activations, Some(1));
    assert_eq!(used.last_activation.unwrap().user, nina.name());
}

#[tokio::test]
async fn an_activation_ends_when_it_is_given_back_revoked_or_its_eligibility_goes() {
    let place = Place::make("endings", &json!({})).await;
    let (control, pods) = (place.control("payments"), place.pods("payments"));
    let nina = place.user("nina", &[]);
    let spec = eligibility(&[user(&nina)], "enclave-contributor", &json!({}));
    let eligibilities = place.let_activate(&control, "repairs", &spec).await;
    wait_for_access(&nina, "create", "roleactivations", &control, true).await;
    let mine = Place::activations(&nina, &control);
    let asked = json!({"eligibility": "repairs", "duration": "1h"});
    let activate = async |name: &str| {
        make(&mine, "RoleActivation", name, &asked).await.unwrap();
        wait_until_bound(&mine, name).await;
        wait_for_access(&nina, "create", "pods", &pods, true).await;
    };
    let ended = async |what: &str, start: Instant| {
        wait_for_access(&nina, "create", "pods", &pods, false).await;
        tell(format_args!("rights are gone {:?} after {what}", start.elapsed()));
    };

    // While it is active, another one goes on after it.
    activate("longer").await;
    activate("given-back").await;
    patch(&mine, "longer", json!({"spec": {"deactivate": true}})).await.unwrap();
    wait_for_activation(&mine, "longer", "Deactivated").await;
    assert!(may(&nina, &right("create", "pods", &pods)).await, "the second one still counts");
    let start = Instant::now();
    patch(&mine, "given-back", json!({"spec": {"deactivate": true}})).await.unwrap();
    ended("it was given back", start).await;
    wait_for_activation(&mine, "given-back", "Deactivated").await;

    // An owner of the Enclave ends it; a colleague cannot.
    let karl = place.user("karl", &[]);
    place.let_activate(&control, "karls", &eligibility(&[user(&karl)], "enclave-reader", &json!({}))).await;
    wait_for_access(&karl, "update", "roleactivations", &control, true).await;
    activate("revoked").await;
    let end = json!({"spec": {"deactivate": true}});
    let karls = Place::activations(&karl, &control);
    assert_refused(patch(&karls, "revoked", end.clone()).await, "this role is held by nina-endings");
    let start = Instant::now();
    patch(&Place::activations(&place.world.erin(), &control), "revoked", end).await.unwrap();
    ended("an owner revoked it", start).await;

    activate("lost").await;
    let start = Instant::now();
    patch(&eligibilities, "repairs", json!({"spec": {"principals": [user(&karl)]}})).await.unwrap();
    ended("the eligibility was lost", start).await;
    let lost = wait_for_activation(&mine_as(&place, &control), "lost", "Revoked").await.status.unwrap();
    assert!(
        lost.conditions[0].message.contains("does not name nina-endings"),
        "{}",
        lost.conditions[0].message
    );
    wait_for_access(&nina, "create", "roleactivations", &control, false).await;

    patch(&eligibilities, "repairs", json!({"spec": {"principals": [user(&nina)]}})).await.unwrap();
    wait_for_access(&nina, "create", "roleactivations", &control, true).await;
    activate("deleted").await;
    let start = Instant::now();
    eligibilities.delete("repairs", &DeleteParams::default()).await.unwrap();
    ended("the eligibility was deleted", start).await;
}

fn mine_as(place: &Place<'_>, control: &str) -> Api<RoleActivation> {
    Place::activations(&place.world.alice(), control)
}
