//! Every record reaches its sinks as docs/audit.md says, whatever the sinks and the operator go through.

mod deletion;
mod sinks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use enclave_operator::api::approval_request::{RequestState, Verdict};
use enclave_operator::api::{Community, Enclave, EnclaveWorkload, RecordType, RoleActivation, State};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::lock::maintenance;
use crate::mortal::run_mortal_operator;
use crate::roles::{self, Place, wait_for_activation};
use crate::support::{Mood, Process, Sink, User, eventually, wait_gone, wait_until};
use crate::world::{
    SOON, Watched, World, active_community, communities, enclave, enclaves, hold_everything, on_a_runtime,
    operator_settings, patch, requests, vote, wait_for_access, wait_for_enclave, wait_for_hold,
    wait_for_request, wait_for_request_state, wait_until_applied, wait_until_told,
};

const DOCUMENT: &str = include_str!("../../../docs/audit.md");

const SCHEMA: &str = include_str!("../../../docs/audit-event.schema.json");

/// The types in the document, and what the data of each always has.
fn documented() -> BTreeMap<String, Vec<String>> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let words = |cell: &str| -> Vec<String> {
            cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
        };
        (format!("io.enclave-operator.{}", words(cells[0])[0]), words(cells[2]))
    })
    .collect()
}

#[test]
fn the_document_lists_every_type() {
    let types: BTreeSet<String> = RecordType::ALL.map(|type_| type_.event_type().to_owned()).into();
    assert_eq!(documented().into_keys().collect::<BTreeSet<_>>(), types);
}

/// A cluster whose operator tells a sink.
fn begin(identity: &str) -> (World, Sink, Process) {
    let world = World::without_operator();
    world.install();
    let sink = Sink::start();
    let operator = start_operator(&world, identity, &sink);
    (world, sink, operator)
}

fn start_operator(world: &World, identity: &str, sink: &Sink) -> Process {
    let account = on_a_runtime(async || world.operator().await);
    world.spawn_operator_with(&account, identity, &[("ENCLAVE_OPERATOR_AUDIT_URL", &sink.url())])
}

/// The events that a process printed.
fn printed(process: &Process) -> Vec<Value> {
    let log = process.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["specversion"] == "1.0").collect()
}

/// The ids of events.
fn ids(events: &[Value]) -> BTreeSet<String> {
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

fn of_type<'a>(events: &'a [Value], type_: &str, subject: &str) -> Vec<&'a Value> {
    let type_ = format!("io.enclave-operator.{type_}");
    events.iter().filter(|event| event["type"] == type_ && event["subject"] == subject).collect()
}

/// Each event is as the document says.
fn assert_documented(events: &[Value]) {
    let documented = documented();
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for event in events {
        assert_eq!(event["specversion"], "1.0", "{event:#}");
        assert_eq!(event["datacontenttype"], "application/json", "{event:#}");
        let source = event["source"].as_str().unwrap();
        assert!(source.starts_with("//enclave-operator.io/clusters/") && source.len() > 60, "{source}");
        event["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let data = event["data"].as_object().unwrap();
        let unknown: Vec<&String> =
            data.keys().filter(|key| schema["properties"].get(key).is_none()).collect();
        assert!(unknown.is_empty(), "{unknown:?} in {event:#}");
        let fields = &documented[event["type"].as_str().unwrap()];
        let is_withheld = |field: &str| field == "message" && event["data"]["withheld"] == true;
        for field in fields.iter().filter(|field| !is_withheld(field)) {
            assert!(!event["data"][field].is_null(), "{field} is missing in {event:#}");
        }
    }
}

/// The records of each object have all numbers, from 1.
fn assert_without_gap(events: &[Value]) {
    let mut numbers: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for id in ids(events) {
        let (object, number) = id.rsplit_once('.').unwrap();
        numbers.entry(object.to_owned()).or_default().insert(number.parse().unwrap());
    }
    for (object, numbers) in numbers {
        let count = i64::try_from(numbers.len()).unwrap();
        assert_eq!(numbers, (1..=count).collect(), "of {object}");
    }
}

/// The requests of the story, by what became of them.
struct Requests {
    approved: String,
    rejected: String,
    withdrawn: String,
}

/// Everything that is told happens.
async fn play_everything(world: &World) -> (Requests, Place<'_>, User) {
    let requests = play_requests(world).await;
    play_maintenance(world).await;
    let (place, nina) = play_roles(world).await;
    // Expires soon, and does.
    let mut rules = hold_everything();
    rules["expireAfter"] = json!("1m");
    active_community(world, "brief", &json!({ "approvals": rules })).await;
    let brief = enclaves(&world.alice(), "brief");
    brief.create(&PostParams::default(), &enclave("late", &json!({}))).await.unwrap();
    wait_for_request(&world.alice(), "brief", "late").await;
    play_tampering(world).await;
    (requests, place, nina)
}

/// Approved, superseded, rejected, withdrawn.
async fn play_requests(world: &World) -> Requests {
    let (alice, bob) = (world.alice(), world.bob());
    active_community(world, "told", &json!({ "approvals": hold_everything() })).await;
    let api = enclaves(&alice, "told");

    // Approved, and put into force.
    let change = json!({"justification": "a new service", "ticket": "CHG1"});
    let kept = enclave("kept", &json!({ "change": change }));
    api.create(&PostParams::default(), &kept).await.unwrap();
    let approved = wait_for_request(&alice, "told", "kept").await;
    vote(&bob, "told", &approved, Verdict::Approved, Some("fine")).await.unwrap();
    wait_for_enclave(&api, "kept", State::Active).await;
    // Superseded, then rejected, then withdrawn.
    patch(&api, "kept", json!({"spec": {"description": "one"}})).await.unwrap();
    wait_for_request(&alice, "told", "kept").await;
    patch(&api, "kept", json!({"spec": {"description": "two"}})).await.unwrap();
    let rejected = wait_for_request(&alice, "told", "kept").await;
    vote(&bob, "told", &rejected, Verdict::Rejected, Some("no")).await.unwrap();
    wait_for_enclave(&api, "kept", State::Rejected).await;
    patch(&api, "kept", json!({"spec": {"description": "three"}})).await.unwrap();
    let withdrawn = wait_for_request(&alice, "told", "kept").await;
    patch(&api, "kept", json!({"spec": {"description": null}})).await.unwrap();
    wait_for_request_state(&alice, "told", &withdrawn, RequestState::Withdrawn).await;
    Requests { approved, rejected, withdrawn }
}

/// Turned on and off in a Community that holds nothing.
async fn play_maintenance(world: &World) {
    let alice = world.alice();
    active_community(world, "open", &json!({})).await;
    let principal = json!({"kind": "User", "name": "tina"});
    let on = json!({"spec": {"maintenance": maintenance("General", &principal, 600)}});
    patch(&communities(&alice), "open", on).await.unwrap();
    let is_on =
        |community: &Community| community.status.as_ref().is_some_and(|status| status.maintenance.is_some());
    wait_until(communities(&alice), "open", SOON, "maintenance is on", is_on).await;
    patch(&communities(&alice), "open", json!({"spec": {"maintenance": {"mode": "Disabled"}}}))
        .await
        .unwrap();
    wait_until_applied(&communities(&alice), "open").await;
}

/// An Enclave whose reader nina may be.
async fn make_eligible(world: &World) -> (Place<'_>, User) {
    let place = Place::make_in(world, "jit", &json!({})).await;
    let (nina, control) = (place.user("nina", &[]), place.control("payments"));
    let eligibilities = Place::eligibilities(&world.alice(), &control);
    let spec = json!({"role": "enclave-reader", "principals": [roles::user(&nina)],
        "activation": {"maxDuration": "2h"}});
    roles::make(&eligibilities, "RoleEligibility", "ninas", &spec).await.unwrap();
    wait_for_access(&nina, "create", "roleactivations", &control, true).await;
    (place, nina)
}

/// Refused, activated, given back, and approved for later.
async fn play_roles(world: &World) -> (Place<'_>, User) {
    let alice = world.alice();
    let (place, nina) = make_eligible(world).await;
    let control = place.control("payments");
    let (eligibilities, activations) =
        (Place::eligibilities(&alice, &control), Place::activations(&nina, &control));
    let ask = async |name: &str, duration: &str| {
        let spec = json!({"eligibility": "ninas", "duration": duration, "justification": "a call"});
        roles::make(&activations, "RoleActivation", name, &spec).await.unwrap();
    };
    ask("long", "8h").await;
    wait_for_activation(&activations, "long", "Refused").await;
    ask("held", "1h").await;
    wait_for_activation(&activations, "held", "Active").await;
    patch(&activations, "held", json!({"spec": {"deactivate": true}})).await.unwrap();
    wait_for_activation(&activations, "held", "Deactivated").await;
    // Approved, and not begun yet.
    let spec = json!({"role": "enclave-contributor", "principals": [roles::user(&nina)],
        "activation": {"maxDuration": "2h", "approval": {"policy": "Required"}}});
    roles::make(&eligibilities, "RoleEligibility", "ninas-later", &spec).await.unwrap();
    let begins = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let spec = json!({"eligibility": "ninas-later", "duration": "1h", "startsAt": begins.to_string()});
    roles::make(&activations, "RoleActivation", "later", &spec).await.unwrap();
    let asked = wait_for_activation(&activations, "later", "PendingApproval").await.status.unwrap();
    let request = asked.approval_request.unwrap();
    wait_for_request_state(&alice, &control, &request, RequestState::Pending).await;
    vote(&world.bob(), &control, &request, Verdict::Approved, None).await.unwrap();
    wait_for_activation(&activations, "later", "Scheduled").await;
    (place, nina)
}

/// Policies that are not what they should be.
async fn play_tampering(world: &World) {
    let administrator = world.plane.administrator_user();
    let policy = ["validatingadmissionpolicy", "enclave-operator-no-pods"];
    let spoil = r#"[{"op":"replace","path":"/spec/failurePolicy","value":"Ignore"}]"#;
    administrator
        .kubectl(&[&["patch"], policy.as_slice(), &["--type=json", "-p", spoil]].concat())
        .expect_success();
    wait_for_protection(world, "open", "False").await;
    let restore = spoil.replace("Ignore", "Fail");
    administrator
        .kubectl(&[&["patch"], policy.as_slice(), &["--type=json", "-p", &restore]].concat())
        .expect_success();
    wait_for_protection(world, "open", "True").await;
}

#[test]
fn every_record_reaches_every_sink_as_documented() {
    let (world, sink, operator) = begin("told");
    on_a_runtime(async || {
        let (requests_told, place, nina) = play_everything(&world).await;
        let alice = world.alice();
        let expired = async || {
            let taken = sink.taken();
            (!of_type(&taken, "expired", "brief/Enclave/late").is_empty()).then_some(())
        };
        eventually("the request expires", Duration::from_secs(90), expired).await;
        wait_until_told(&world).await;

        let taken = sink.taken();
        assert_documented(&taken);
        assert_without_gap(&taken);
        assert_eq!(ids(&printed(&operator)), ids(&taken), "both sinks get the same");
        assert_eq!(ids(&taken).len(), taken.len(), "nothing came twice");

        let types: BTreeSet<&str> = taken.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(types, RecordType::ALL.map(RecordType::event_type).into());

        let of_request = |type_: &str, name: &str| -> Value {
            let events = of_type(&taken, type_, "told/Enclave/kept");
            let mut found = events.into_iter().filter(|event| event["data"]["request"]["name"] == name);
            let event = found.next().unwrap_or_else(|| panic!("no {type_} of {name}"));
            assert!(found.next().is_none(), "{type_} of {name} twice");
            event["data"].clone()
        };
        let requested = of_request("requested", &requests_told.approved);
        assert_eq!(requested["requesters"], json!(["alice"]));
        assert_eq!(
            (&requested["justification"], &requested["ticket"]),
            (&json!("a new service"), &json!("CHG1"))
        );
        assert_eq!(requested["operations"], json!(["EnclaveCreation"]));
        assert_eq!(requested["state"], "Pending");
        let decided = of_request("decided", &requests_told.approved);
        assert_eq!(decided["state"], "Approved");
        assert_eq!(decided["decisions"][0]["approver"], "bob");
        assert_eq!(decided["decisions"][0]["comment"], "fine");
        assert_eq!(decided["digest"], requested["digest"]);
        let live = requests(&alice, "told").get(&requests_told.approved).await.unwrap();
        assert_eq!(requested["digest"], live.spec.change.digest);
        assert_eq!(requested["request"]["uid"], live.uid().unwrap());
        assert_eq!(of_request("enacted", &requests_told.approved)["digest"], requested["digest"]);
        assert_eq!(of_request("decided", &requests_told.rejected)["state"], "Rejected");
        assert_eq!(of_request("withdrawn", &requests_told.withdrawn)["state"], "Withdrawn");
        assert_eq!(of_type(&taken, "superseded", "told/Enclave/kept").len(), 1);

        let by_nobody = of_type(&taken, "enacted", "Community/open");
        assert_eq!(by_nobody[0]["data"]["requesters"], json!(["alice"]));
        assert!(by_nobody[0]["data"]["request"].is_null());
        let open = communities(&alice).get("open").await.unwrap();
        assert_eq!(by_nobody[0]["data"]["object"]["uid"], open.uid().unwrap());
        let on = of_type(&taken, "maintenance-on", "Community/open");
        assert_eq!((on.len(), &on[0]["data"]["maintenance"]["mode"]), (1, &json!("General")));
        assert_eq!(on[0]["data"]["maintenance"]["principals"], json!([{"kind": "User", "name": "tina"}]));
        assert_eq!(of_type(&taken, "maintenance-off", "Community/open").len(), 1);
        let held = format!("{}/RoleActivation/held", place.control("payments"));
        let activated = of_type(&taken, "activated", &held)[0];
        assert_eq!(
            (&activated["data"]["user"], &activated["data"]["role"]),
            (&json!(nina.name()), &json!("enclave-reader"))
        );
        assert_eq!(activated["data"]["justification"], "a call");
        assert_eq!(of_type(&taken, "ended", &held)[0]["data"]["state"], "Deactivated");
        let later = format!("{}/RoleActivation/later", place.control("payments"));
        let reopened = of_type(&taken, "reopened", &later)[0];
        assert_eq!(reopened["data"]["state"], "Pending");
        let tampered = of_type(&taken, "policies-tampered", "Community/open");
        assert!(
            tampered[0]["data"]["message"].as_str().unwrap().contains("enclave-operator-no-pods"),
            "{tampered:#?}"
        );
    });
}

async fn wait_for_protection(world: &World, community: &str, status: &str) {
    let api = communities(&world.alice());
    eventually(&format!("Protected is {status}"), SOON, async || {
        let status_now = api.get(community).await.ok()?.status?;
        let protected = status_now.gate.conditions.into_iter().find(|one| one.type_ == "Protected")?;
        (protected.status == status).then_some(())
    })
    .await;
}

#[test]
fn an_operator_that_dies_after_every_write_tells_every_record() {
    let world = World::without_operator();
    world.install();
    let sink = Sink::start();
    let account = on_a_runtime(async || world.operator().await);
    let mut settings = operator_settings("mortal");
    settings.audit.audit_url = Some(sink.url());
    settings.audit.audit_file = world.plane.folder().join("audit.jsonl");
    let ((), lives) = run_mortal_operator(&account, &settings, async {
        let (alice, bob) = (world.alice(), world.bob());
        active_community(&world, "killed", &json!({ "approvals": hold_everything() })).await;
        let api = enclaves(&alice, "killed");
        api.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
        let request = wait_for_request(&alice, "killed", "e").await;
        vote(&bob, "killed", &request, Verdict::Approved, None).await.unwrap();
        wait_for_enclave(&api, "e", State::Active).await;
        patch(&api, "e", json!({"spec": {"description": "no"}})).await.unwrap();
        let request = wait_for_request(&alice, "killed", "e").await;
        vote(&bob, "killed", &request, Verdict::Rejected, Some("no")).await.unwrap();
        wait_for_enclave(&api, "e", State::Rejected).await;
        // Put into force, and deleted before its request can say so.
        let rules = json!({"rules": [{"operation": "EnclaveCreation", "policy": "Required"}]});
        active_community(&world, "hasty", &json!({ "approvals": rules })).await;
        let api = enclaves(&alice, "hasty");
        api.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
        let request = wait_for_request(&alice, "hasty", "e").await;
        vote(&bob, "hasty", &request, Verdict::Approved, None).await.unwrap();
        wait_until_applied(&api, "e").await;
        api.delete("e", &DeleteParams::default()).await.unwrap();
        wait_gone(api, "e", 2 * SOON, "the Enclave is gone").await;
        wait_until_told(&world).await;
    });
    let taken = sink.taken();
    println!("{lives} lives, {} records, {} times taken", ids(&taken).len(), taken.len());
    assert_documented(&taken);
    assert_without_gap(&taken);
    for (community, type_, times) in [
        ("killed", "requested", 2),
        ("killed", "decided", 2),
        ("killed", "enacted", 1),
        ("hasty", "requested", 1),
        ("hasty", "decided", 1),
        ("hasty", "enacted", 1),
        ("hasty", "withdrawn", 0),
    ] {
        let records: BTreeSet<&str> = of_type(&taken, type_, &format!("{community}/Enclave/e"))
            .iter()
            .map(|event| event["id"].as_str().unwrap())
            .collect();
        assert_eq!(records.len(), times, "{type_} in {community}: {taken:#?}");
    }
}

#[test]
fn a_voter_cannot_take_records_off_a_request() {
    let world = &crate::world::WORLD;
    on_a_runtime(async || {
        let (alice, bob) = (world.alice(), world.bob());
        active_community(world, "unheard", &json!({ "approvals": hold_everything() })).await;
        let api = enclaves(&alice, "unheard");
        api.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
        let request = wait_for_request(&alice, "unheard", "e").await;
        for status in [
            json!({"audit": {"recorded": 9}}),
            json!({"audit": null}),
            json!({"remindedAt": "2026-01-01T00:00:00Z"}),
            json!({"decision": "Approved", "audit": {"recorded": 9, "waiting": []}}),
        ] {
            let result =
                crate::world::patch_status(&requests(&bob, "unheard"), &request, json!({ "status": status }))
                    .await;
            crate::world::assert_refused(result, "apart from your own vote");
        }
        vote(&bob, "unheard", &request, Verdict::Approved, None).await.unwrap();
        wait_for_enclave(&api, "e", State::Active).await;
    });
}
