//! Values that the API server takes and that other operators trip over: times at the end of the calendar, times
//! with fractions, amounts as large numbers. Each is sent as people send it, never through our own types.

use enclave_operator::api::names::child;
use enclave_operator::api::{Community, Enclave, EnclaveConnection, EnclaveWorkload, Kind, State};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota};
use kube::api::{DeleteParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::network::{Story, required, to_the_ledger};
use crate::roles::{Place, user, wait_for_activation};
use crate::support::{eventually, wait_gone, wait_until, writes_by};
use crate::world::{
    SOON, WORLD, assert_refused, kind_api, namespaced, patch, wait_for_state, wait_until_applied,
};

const OPERATOR: &str = "system:serviceaccount:enclave-system:enclave-operator";
/// What directories write for "never".
const NEVER: &str = "9999-12-31T23:59:59Z";
const FRACTION: &str = "2100-01-01T00:00:00.123Z";

/// Makes an object of exactly this JSON.
async fn send(
    client: &Client,
    kind: Kind,
    namespace: &str,
    name: &str,
    spec: Value,
) -> Result<(), kube::Error> {
    let mut object = DynamicObject::new(name, &kind.resource());
    object.data = json!({ "spec": spec });
    kind_api(client, kind, namespace).create(&PostParams::default(), &object).await.map(drop)
}

/// Merges exactly this JSON into an object.
async fn edit(client: &Client, kind: Kind, namespace: &str, name: &str, spec: Value) {
    patch(&kind_api(client, kind, namespace), name, json!({ "spec": spec })).await.unwrap();
}

fn with(mut spec: Value, field: &str, value: Value) -> Value {
    spec[field] = value;
    spec
}

/// Waits until nothing has been written in the namespaces of a Community for some seconds.
async fn wait_until_at_rest(community: &str) {
    let enclaves = format!("{community}-");
    eventually(&format!("the operator has nothing to write in {community}"), SOON, async || {
        let writes = writes_by(&WORLD.plane.audit_log(), OPERATOR, None);
        let mut here = writes
            .iter()
            .filter(|write| write.namespace == community || write.namespace.starts_with(&enclaves));
        let last = here.next_back().expect("it wrote there").at;
        (Timestamp::now().duration_since(last) > SignedDuration::from_secs(4)).then_some(())
    })
    .await;
}

/// Case R5.
#[tokio::test]
async fn never_is_an_end_like_any_other() {
    let story = Story::begin("never", json!({})).await;
    let (alice, erin) = (WORLD.alice().client(), WORLD.erin().client());
    let (source, db) = (story.control("payments"), story.pods_of("ledger", "db"));
    let ingress = format!("connection.{source}.forever.ingress");
    let spec = with(to_the_ledger(), "expiresAt", json!(NEVER));
    send(&erin, Kind::EnclaveConnection, &source, "forever", spec).await.unwrap();
    let connections = story.connections();
    wait_for_state(&connections, "forever", State::Connected).await;
    story.wait_for_policies(&db, &[&ingress]).await;
    edit(&erin, Kind::EnclaveConnection, &source, "forever", json!({"enabled": false})).await;
    wait_for_state(&connections, "forever", State::Inactive).await;
    story.wait_for_policies(&db, &[]).await;
    edit(&erin, Kind::EnclaveConnection, &source, "forever", json!({"enabled": true})).await;
    wait_for_state(&connections, "forever", State::Connected).await;
    connections.delete("forever", &DeleteParams::default()).await.unwrap();
    wait_gone(connections, "forever", SOON, "the connection goes").await;
    story.wait_for_policies(&db, &[]).await;

    // Maintenance, of an Enclave and of its Community.
    let on = json!({"mode": "General", "justification": "Networking", "expiresAt": NEVER,
        "principals": [{"kind": "User", "name": "bob"}]});
    edit(&alice, Kind::Enclave, "never", "payments", json!({"maintenance": on})).await;
    edit(&alice, Kind::Community, "", "never", json!({"maintenance": on})).await;
    let enclaves: Api<Enclave> = namespaced(alice.clone(), "never");
    let communities: Api<Community> = Api::all(alice.clone());
    wait_until_applied(&enclaves, "payments").await;
    wait_for_state(&enclaves, "payments", State::Active).await;
    wait_until_applied(&communities, "never").await;
    wait_for_state(&communities, "never", State::Active).await;
    edit(&alice, Kind::Enclave, "never", "payments", json!({"maintenance": {"mode": "Disabled"}})).await;
    edit(&alice, Kind::Community, "", "never", json!({"maintenance": {"mode": "Disabled"}})).await;
    wait_until_applied(&enclaves, "payments").await;
    wait_until_applied(&communities, "never").await;
}

/// Case R5, for roles.
#[tokio::test]
async fn roles_may_last_for_ever() {
    let place = Place::make("never-roles", &json!({})).await;
    let (alice, control) = (WORLD.alice(), place.control("payments"));
    let nina = place.user("nina", &[]);
    let spec = json!({"role": "enclave-reader", "principals": [user(&nina)], "activation": {"maxDuration": "8h"},
        "startsAt": "2000-01-01T00:00:00Z", "endsAt": NEVER});
    send(&alice.client(), Kind::RoleEligibility, &control, "for-ever", spec).await.unwrap();
    let eligibilities = Place::eligibilities(&alice, &control);
    wait_for_state(&eligibilities, "for-ever", State::Active).await;
    crate::world::wait_for_access(&nina, "create", "roleactivations", &control, true).await;
    let activations = Place::activations(&nina, &control);
    for (name, starts, state) in
        [("now", "2000-01-01T00:00:00.999Z", "Active"), ("never", "9999-12-29T23:59:59Z", "Scheduled")]
    {
        let spec = json!({"eligibility": "for-ever", "duration": "1h", "startsAt": starts});
        send(&nina.client(), Kind::RoleActivation, &control, name, spec).await.unwrap();
        wait_for_activation(&activations, name, state).await;
    }
    eligibilities.delete("for-ever", &DeleteParams::default()).await.unwrap();
    wait_gone(eligibilities, "for-ever", SOON, "the eligibility goes").await;
    // With the eligibility she may not look any more.
    let activations = Place::activations(&alice, &control);
    for name in ["now", "never"] {
        wait_for_activation(&activations, name, "Revoked").await;
    }
}

/// Case R6.
#[tokio::test]
async fn an_amount_may_be_a_large_number() {
    let story = Story::begin("amounts", json!({})).await;
    let (alice, erin) = (WORLD.alice().client(), WORLD.erin().client());
    let control = story.control("payments");
    send(&erin, Kind::EnclaveConnection, &control, "db", to_the_ledger()).await.unwrap();
    wait_for_state(&story.connections(), "db", State::Connected).await;
    let workloads: Api<EnclaveWorkload> = namespaced(erin.clone(), &control);
    let numbers = json!({
        "quota": {"limits.memory": 8_589_934_592_i64, "requests.cpu": 0, "requests.storage": i64::MAX},
        "containerDefaults": {"limits": {"memory": 8_589_934_592_i64, "cpu": ".5"}, "requests": {"cpu": "0.1m"}},
    });
    send(&erin, Kind::EnclaveWorkload, &control, "large", numbers.clone()).await.unwrap();
    edit(&erin, Kind::EnclaveWorkload, &control, "api", numbers).await;
    for name in ["large", "api"] {
        wait_for_state(&workloads, name, State::Active).await;
        let namespace = story.pods_of("payments", name);
        let quotas: Api<ResourceQuota> = namespaced(WORLD.administrator(), &namespace);
        wait_until(quotas, child::QUOTA, SOON, "the quota is there", |quota: &ResourceQuota| {
            let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
            hard.is_some_and(|hard| {
                hard["limits.memory"].0 == "8589934592" || hard["limits.memory"].0 == "8Gi"
            })
        })
        .await;
        let limits: Api<LimitRange> = namespaced(WORLD.administrator(), &namespace);
        wait_until(limits, child::CONTAINER_DEFAULTS, SOON, "the limits are there", |range: &LimitRange| {
            let default = range.spec.as_ref().and_then(|spec| spec.limits[0].default_request.as_ref());
            default.is_some_and(|default| default["cpu"].0 == "1m")
        })
        .await;
    }
    wait_until_at_rest("amounts").await;
    // The same amounts in other words are no change.
    let before = workloads.get("api").await.unwrap().status.unwrap().gate;
    edit(&erin, Kind::EnclaveWorkload, &control, "api", json!({"quota": {"limits.memory": "8Gi"}})).await;
    wait_for_state(&workloads, "api", State::Active).await;
    let after = workloads.get("api").await.unwrap().status.unwrap().gate;
    assert_eq!(after.audit.recorded, before.audit.recorded, "nothing happened");
    // Later edits are seen.
    edit(
        &erin,
        Kind::EnclaveWorkload,
        &control,
        "api",
        json!({"quota": {"limits.memory": 4_294_967_296_i64}}),
    )
    .await;
    wait_until_applied(&workloads, "api").await;
    // Everything closes and goes.
    story.connections().delete("db", &DeleteParams::default()).await.unwrap();
    wait_gone(story.connections(), "db", SOON, "the connection goes").await;
    story.wait_for_policies(&story.pods_of("payments", "api"), &[]).await;
    for name in ["large", "api"] {
        workloads.delete(name, &DeleteParams::default()).await.unwrap();
        wait_gone(workloads.clone(), name, SOON * 2, "the workload goes").await;
    }
    let enclaves: Api<Enclave> = namespaced(alice, "amounts");
    enclaves.delete("payments", &DeleteParams::default()).await.unwrap();
    wait_gone(enclaves, "payments", SOON * 2, "the Enclave goes").await;
    let namespaces: Api<Namespace> = Api::all(WORLD.administrator());
    wait_gone(namespaces, &control, SOON, "its namespace goes").await;
}

/// What Kubernetes refuses in a quota, keeps as another amount, or could reckon with for hours.
#[tokio::test]
async fn amounts_that_kubernetes_does_not_keep_are_refused_in_words() {
    let story = Story::begin("odd-amounts", json!({})).await;
    let (erin, control) = (WORLD.erin().client(), story.control("payments"));
    let not_negative = "must be an amount that is not negative, for example 2, 500m or 2Gi";
    for (name, amount, because) in [
        ("memory", json!("-1"), not_negative),
        ("memory", json!(-1), not_negative),
        ("memory", json!("Gi"), not_negative),
        ("memory", json!("."), not_negative),
        ("memory", json!("1e"), not_negative),
        ("memory", json!("1e999999999"), not_negative),
        ("memory", json!("1000E"), "must not be larger than 9223372036854775807"),
        ("memory", json!("9223372036854775808"), "must not be larger than 9223372036854775807"),
        ("pods", json!("0.5"), "are counted in whole numbers"),
        ("pods", json!("100P"), "are counted in whole numbers"),
        ("pods", json!("1000000000000000001"), "are counted in whole numbers"),
        ("gold.storageclass.storage.k8s.io/requests.storage", json!("1500m"), "are counted in whole numbers"),
    ] {
        for spec in [
            json!({"quota": {name: amount}}),
            json!({"containerDefaults": {"limits": {name: amount}, "requests": {name: amount}}}),
        ] {
            if name == "memory" || spec.get("quota").is_some() {
                assert_refused(send(&erin, Kind::EnclaveWorkload, &control, "odd", spec).await, because);
            }
        }
    }
}

/// Case R9.
#[tokio::test]
async fn fractions_of_a_second_do_not_count() {
    let story = Story::begin("fractions", json!({})).await;
    let (alice, erin) = (WORLD.alice().client(), WORLD.erin().client());
    let control = story.control("payments");
    let spec = with(to_the_ledger(), "expiresAt", json!(FRACTION));
    send(&erin, Kind::EnclaveConnection, &control, "free", spec).await.unwrap();
    wait_for_state(&story.connections(), "free", State::Connected).await;
    let on = json!({"mode": "Advanced", "justification": "Governance", "expiresAt": "2100-01-01T00:00:00.999999+05:30",
        "principals": [{"kind": "User", "name": "bob"}]});
    edit(&alice, Kind::Enclave, "fractions", "payments", json!({"maintenance": on})).await;
    let enclaves: Api<Enclave> = namespaced(alice.clone(), "fractions");
    wait_until_applied(&enclaves, "payments").await;
    wait_for_state(&enclaves, "payments", State::Active).await;
    let nina = json!([{"kind": "User", "name": "nina"}]);
    let spec = json!({"role": "enclave-reader", "principals": nina, "activation": {"maxDuration": "8h"},
        "startsAt": "2000-01-01T00:00:00.5Z", "endsAt": FRACTION});
    send(&alice, Kind::RoleEligibility, &control, "fraction", spec).await.unwrap();
    wait_for_state(&Place::eligibilities(&WORLD.alice(), &control), "fraction", State::Active).await;
    wait_until_at_rest("fractions").await;
    let connection = story.connections().get("free").await.unwrap();
    let status = serde_json::to_value(connection.status).unwrap();
    assert_eq!(status["expiresAt"], "2100-01-01T00:00:00Z");
    assert_eq!(status["applied"]["spec"]["expiresAt"], "2100-01-01T00:00:00Z");
    assert!(status.get("pending").is_none(), "{status:#}");
    // The same instant in other words is no change, and an earlier second closes.
    let recorded = status["audit"]["recorded"].clone();
    edit(
        &erin,
        Kind::EnclaveConnection,
        &control,
        "free",
        json!({"expiresAt": "2100-01-01T01:00:00.999+01:00"}),
    )
    .await;
    wait_for_state(&story.connections(), "free", State::Connected).await;
    let again = serde_json::to_value(story.connections().get("free").await.unwrap().status).unwrap();
    assert_eq!(again["audit"]["recorded"], recorded, "{again:#}");
}

/// Case R9, held.
#[tokio::test]
async fn what_is_approved_with_a_fraction_is_in_force() {
    let story = Story::begin("held-fractions", required(&["ConnectionCreation", "ConnectionUpdate"])).await;
    let (erin, control) = (WORLD.erin().client(), story.control("payments"));
    let spec = with(to_the_ledger(), "expiresAt", json!(FRACTION));
    send(&erin, Kind::EnclaveConnection, &control, "held", spec).await.unwrap();
    let connections = story.connections();
    story.approve(&connections, &control, "held").await;
    wait_for_state(&connections, "held", State::Connected).await;
    wait_until_at_rest("held-fractions").await;
    let connection: EnclaveConnection = connections.get("held").await.unwrap();
    assert_eq!(connection.status.unwrap().gate.pending, None);
}

/// The same for maintenance, and for an eligibility.
#[tokio::test]
async fn maintenance_and_an_eligibility_are_approved_with_fractions() {
    let community = "fractions-later";
    let story = Story::begin(community, required(&["EnclaveMaintenance", "RoleChange"])).await;
    let (alice, control) = (WORLD.alice(), story.control("payments"));
    let people = json!([{"kind": "User", "name": "nina"}]);
    let on = json!({"mode": "Advanced", "justification": "Governance", "expiresAt": FRACTION, "principals": people});
    edit(&alice.client(), Kind::Enclave, community, "payments", json!({ "maintenance": on })).await;
    let enclaves: Api<Enclave> = namespaced(alice.client(), community);
    story.approve(&enclaves, community, "payments").await;
    let spec = json!({"role": "enclave-reader", "principals": people, "activation": {"maxDuration": "8h"},
        "startsAt": "2000-01-01T00:00:00.5Z", "endsAt": FRACTION});
    send(&alice.client(), Kind::RoleEligibility, &control, "held", spec).await.unwrap();
    let eligibilities = Place::eligibilities(&alice, &control);
    story.approve(&eligibilities, &control, "held").await;
    wait_for_state(&eligibilities, "held", State::Active).await;
    wait_until_applied(&enclaves, "payments").await;
    wait_until_at_rest(community).await;
    let enclave = serde_json::to_value(enclaves.get("payments").await.unwrap().status).unwrap();
    assert_eq!(enclave["applied"]["spec"]["maintenance"]["expiresAt"], "2100-01-01T00:00:00Z");
    assert!(enclave.get("pending").is_none(), "{enclave:#}");
    assert_eq!(eligibilities.get("held").await.unwrap().status.unwrap().gate.pending, None);
}

/// What the format lets through, and nobody can read.
#[tokio::test]
async fn times_that_make_no_sense_are_refused_in_words() {
    let story = Story::begin("odd-times", json!({})).await;
    let (alice, erin, control) = (WORLD.alice().client(), WORLD.erin().client(), story.control("payments"));
    for (time, because) in [
        ("2100-01-01", "must be of type date-time"),
        ("2100-01-01 00:00:00Z", "must be of type date-time"),
        ("2100-01-01T00:00:60Z", "must be of type date-time"),
        ("2100-01-01T00:00:00", "must be of type date-time"),
        ("2100-01-01t00:00:00z", "Invalid date-time formatted string"),
        ("2100-01-01T00:00:00+29:59", "Invalid date-time formatted string"),
        ("2100-01-01T00:00:00x5Z", "Invalid date-time formatted string"),
        ("0000-01-01T00:00:00Z", "must be a point in time such as 2027-01-31T18:00:00Z"),
    ] {
        let spec = with(to_the_ledger(), "expiresAt", json!(time));
        assert_refused(send(&erin, Kind::EnclaveConnection, &control, "odd", spec).await, because);
        let eligibility = json!({"role": "enclave-reader", "principals": [{"kind": "User", "name": "nina"}],
            "activation": {"maxDuration": "8h"}});
        for field in ["startsAt", "endsAt"] {
            let spec = with(eligibility.clone(), field, json!(time));
            assert_refused(send(&alice, Kind::RoleEligibility, &control, "odd", spec).await, because);
        }
        let spec = json!({"eligibility": "any", "duration": "1h", "startsAt": time});
        assert_refused(
            send(&WORLD.administrator(), Kind::RoleActivation, &control, "odd", spec).await,
            because,
        );
    }
    // Instants are compared, not texts.
    let eligibility = |starts: &str, ends: &str| {
        json!({"role": "enclave-reader", "principals": [{"kind": "User", "name": "nina"}],
            "activation": {"maxDuration": "8h"}, "startsAt": starts, "endsAt": ends})
    };
    for (starts, ends) in [
        ("2100-01-01T09:00:00+00:00", "2100-01-01T10:00:00+02:00"),
        ("2100-01-01T00:00:00.1Z", "2100-01-01T00:00:00.9Z"),
    ] {
        let refused = send(&alice, Kind::RoleEligibility, &control, "odd", eligibility(starts, ends)).await;
        assert_refused(refused, "startsAt must be before endsAt");
    }
    let spec = eligibility("2100-01-01T10:00:00+02:00", "2100-01-01T09:00:00+00:00");
    send(&alice, Kind::RoleEligibility, &control, "later", spec).await.unwrap();
}
