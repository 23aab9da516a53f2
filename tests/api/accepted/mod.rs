//! What the schema accepts, the operator reads: values made from the generated CRDs are tried on a real API
//! server, and each one that it takes is read, written back as an equal value, and comes to rest.
//!
//! `ENCLAVE_OPERATOR_VALUES` says how many values of each kind have to be accepted (200), `ENCLAVE_OPERATOR_VALUES_STORED`
//! how many of them are stored at most (200), and `ENCLAVE_OPERATOR_VALUES_SEED` repeats a run.

mod dice;
mod equal;
mod repair;
mod schema;
mod texts;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use enclave_operator::api::reading::{Item, Readable};
use enclave_operator::api::{
    Community, CommunityEndpoint, Content, Enclave, EnclaveConnection, EnclaveEndpoint, EnclaveWorkload,
    Kind, RoleActivation, RoleAssignment, RoleEligibility, TransitHub,
};
use enclave_operator::model::digest::digest;
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use self::dice::Dice;
use self::equal::normal;
use self::schema::{Maker, Schema, spec_schema};
use crate::network::Story;
use crate::support::{Write, eventually, poll, writes_by};
use crate::world::{SOON, World, kind_api, on_a_runtime};

const VALUES: &str = "ENCLAVE_OPERATOR_VALUES";
const STORED: &str = "ENCLAVE_OPERATOR_VALUES_STORED";
const SEED: &str = "ENCLAVE_OPERATOR_VALUES_SEED";
const COMMUNITY: &str = "values";
/// Where roles are given: each counts in all namespaces of its Community, so there are few of them.
const ROLES: &str = "valueroles";
const OPERATOR: &str = "system:serviceaccount:enclave-system:enclave-operator";
/// So long nothing is written when nothing is left to do: every retry and every timer is shorter, or longer
/// than the test by far.
const QUIET: Duration = Duration::from_secs(8);

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// A value that the API server took.
struct Accepted {
    kind: Kind,
    namespace: String,
    /// The object as the API server gives it back.
    object: Value,
}

#[test]
fn what_the_schema_accepts_the_operator_reads_and_comes_to_rest() {
    let number = |name| usize::try_from(setting(name).unwrap_or(200)).unwrap();
    let (wanted, most_stored) = (number(VALUES), number(STORED));
    let seed = setting(SEED).unwrap_or_else(|| RandomState::new().hash_one(SEED) >> 32);
    eprintln!("{SEED}={seed} {VALUES}={wanted}");
    let world = World::start();
    let stored = on_a_runtime(async || {
        for community in [COMMUNITY, ROLES] {
            Story::begin_in(&world, community, json!({})).await;
        }
        let mut stored = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::ApprovalRequest) {
            let started = Instant::now();
            let (tried, accepted) = try_values(&world, kind, wanted, seed).await;
            for value in &accepted {
                assert_same(value);
            }
            let some = store(&world, kind, &accepted, most_stored).await;
            eprintln!(
                "{kind}: {} of {tried} accepted, {} stored, {:.1?}",
                accepted.len(),
                some.len(),
                started.elapsed()
            );
            stored.extend(some);
        }
        stored
    });
    assert_quiet(&world);
    // Every object is read anew.
    world.kill_operator();
    let started = Timestamp::now();
    world.start_operator("again");
    on_a_runtime(async || {
        eventually("the new process leads", SOON, async || {
            let writes = writes_by(&world.plane.audit_log(), OPERATOR, Some(started));
            writes.iter().any(|write| write.resource == "leases").then_some(())
        })
        .await;
    });
    std::thread::sleep(QUIET); // Nothing must happen in this time.
    let again = operator_writes(&world, Some(started));
    assert!(again.is_empty(), "written again after a restart: {again:#?}");
    on_a_runtime(async || {
        let mut in_force = 0;
        for value in &stored {
            in_force += usize::from(assert_in_force(&world, value).await);
        }
        eprintln!("{in_force} of {} stored objects are in force", stored.len());
        assert!(in_force * 2 > stored.len(), "most of what is stored is to be in force");
    });
}

/// Makes values and tries them, until enough are accepted.
async fn try_values(world: &World, kind: Kind, wanted: usize, seed: u64) -> (usize, Vec<Accepted>) {
    let schema = spec_schema(kind);
    let client = world.administrator();
    let mut dice = Dice::new(
        seed ^ kind.plural().bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte)),
    );
    let (mut tried, mut accepted) = (0, Vec::new());
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    while accepted.len() < wanted {
        assert!(
            tried < wanted.max(50) * 8,
            "only {} of {tried} {kind} were accepted: {refusals:#?}",
            accepted.len()
        );
        let batch: Vec<(Value, String)> = (0..50)
            .map(|_| {
                let is_reckless = dice.percent(15);
                let mut maker = Maker { dice: &mut dice, is_reckless };
                let mut spec = maker.make(Schema(&schema), "spec", None);
                if !is_reckless {
                    repair::repair(kind, &mut spec, &mut dice);
                }
                let namespace = namespace_for(kind, &spec);
                (spec, namespace)
            })
            .collect();
        tried += batch.len();
        let answers: Vec<_> = futures::stream::iter(batch)
            .map(|(spec, namespace)| {
                let api = kind_api(&client, kind, &namespace);
                async move {
                    let dry = PostParams { dry_run: true, ..PostParams::default() };
                    (api.create(&dry, &object(kind, "tried", &spec)).await, namespace, spec)
                }
            })
            .buffered(8)
            .collect()
            .await;
        for (answer, namespace, spec) in answers {
            match answer {
                Ok(object) => {
                    let object = serde_json::to_value(object).unwrap();
                    accepted.push(Accepted { kind, namespace, object });
                }
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                    assert!(!status.message.contains("nternal error"), "{spec:#}\n{}", status.message);
                    let reason: String = status.message.chars().skip(60).take(220).collect();
                    *refusals.entry(reason).or_default() += 1;
                }
                Err(error) => panic!("{error}\n{spec:#}"),
            }
        }
    }
    (tried, accepted)
}

fn object(kind: Kind, name: &str, spec: &Value) -> DynamicObject {
    let mut object = DynamicObject::new(name, &kind.resource());
    object.data = json!({ "spec": spec });
    object
}

/// Where an object of a kind is declared.
fn namespace_for(kind: Kind, spec: &Value) -> String {
    match kind {
        Kind::Community => String::new(),
        Kind::CommunityEndpoint | Kind::TransitHub | Kind::Enclave => COMMUNITY.into(),
        Kind::RoleAssignment | Kind::RoleEligibility
            if !spec["role"].as_str().unwrap_or_default().starts_with("enclave-") =>
        {
            ROLES.into()
        }
        Kind::RoleAssignment | Kind::RoleEligibility | Kind::RoleActivation => format!("{ROLES}-payments"),
        _ => format!("{COMMUNITY}-payments"),
    }
}

/// Reads an object with the type of its kind, and writes its spec.
fn rewrite(kind: Kind, object: &Value) -> Result<Value, serde_json::Error> {
    fn through<K: Readable, S: Serialize>(
        object: &Value,
        spec: fn(&K) -> &S,
    ) -> Result<Value, serde_json::Error> {
        // As it comes over the wire.
        let item: Item<K> = serde_json::from_str(&object.to_string())?;
        let (read, unread) = item.read();
        assert!(unread.is_empty(), "{unread:?}\n{:#}", object["spec"]);
        serde_json::to_value(spec(&read))
    }
    match kind {
        Kind::Community => through(object, |it: &Community| &it.spec),
        Kind::CommunityEndpoint => through(object, |it: &CommunityEndpoint| &it.spec),
        Kind::TransitHub => through(object, |it: &TransitHub| &it.spec),
        Kind::Enclave => through(object, |it: &Enclave| &it.spec),
        Kind::EnclaveWorkload => through(object, |it: &EnclaveWorkload| &it.spec),
        Kind::EnclaveEndpoint => through(object, |it: &EnclaveEndpoint| &it.spec),
        Kind::EnclaveConnection => through(object, |it: &EnclaveConnection| &it.spec),
        Kind::RoleAssignment => through(object, |it: &RoleAssignment| &it.spec),
        Kind::RoleEligibility => through(object, |it: &RoleEligibility| &it.spec),
        Kind::RoleActivation => through(object, |it: &RoleActivation| &it.spec),
        Kind::ApprovalRequest => panic!("nobody but the operator writes these"),
    }
}

/// The type reads it, and writes a value that means the same and is accepted, read and written the same.
fn assert_same(value: &Accepted) {
    let Accepted { kind, object, .. } = value;
    let schema = spec_schema_of(*kind);
    let written = rewrite(*kind, object)
        .unwrap_or_else(|error| panic!("{kind} is not read: {error}\n{:#}", object["spec"]));
    assert_eq!(
        normal(Schema(&schema), &written),
        normal(Schema(&schema), &object["spec"]),
        "{kind}: {:#}",
        object["spec"]
    );
    let mut again = object.clone();
    again["spec"] = written.clone();
    assert_eq!(rewrite(*kind, &again).unwrap(), written, "{kind} is not written as it is read");
}

fn spec_schema_of(kind: Kind) -> Value {
    thread_local! {
        static READ: std::cell::RefCell<BTreeMap<&'static str, Value>> = std::cell::RefCell::default();
    }
    READ.with_borrow_mut(|read| read.entry(kind.plural()).or_insert_with(|| spec_schema(kind)).clone())
}

/// Stores values, spread over all of them if there are too many.
async fn store(world: &World, kind: Kind, accepted: &[Accepted], most: usize) -> Vec<Accepted> {
    let client = world.administrator();
    let some = accepted.iter().step_by((accepted.len() / most.max(1)).max(1)).take(most).enumerate();
    let stored = futures::stream::iter(some).map(|(number, value)| {
        let mut spec = value.object["spec"].clone();
        repair::settle(kind, &mut spec);
        let api = kind_api(&client, kind, &value.namespace);
        async move {
            let made = api.create(&PostParams::default(), &object(kind, &format!("v{number}"), &spec)).await;
            let made = made.unwrap_or_else(|error| panic!("accepted and not stored: {error}\n{spec:#}"));
            let object = serde_json::to_value(made).unwrap();
            let stored = Accepted { kind, namespace: value.namespace.clone(), object };
            assert_same(&stored);
            stored
        }
    });
    stored.buffered(8).collect().await
}

/// The lease is renewed all the time.
fn operator_writes(world: &World, since: Option<Timestamp>) -> Vec<Write> {
    let mut writes = writes_by(&world.plane.audit_log(), OPERATOR, since);
    writes.retain(|write| write.resource != "leases");
    writes
}

/// Waits until the operator has nothing to write any more, and none of its writes was refused.
fn assert_quiet(world: &World) {
    let quiet = SignedDuration::try_from(QUIET).unwrap();
    let writes = poll(Duration::from_secs(240), || {
        let writes = operator_writes(world, None);
        let last = writes.last().expect("the operator wrote something").at;
        (Timestamp::now().duration_since(last) > quiet).then_some(writes)
    });
    let Some(writes) = writes else {
        let writes = operator_writes(world, None);
        panic!("the operator goes on writing: {:#?}", &writes[writes.len().saturating_sub(8)..]);
    };
    let refused: Vec<_> =
        writes.iter().filter(|write| write.code >= 400 && !matches!(write.code, 404 | 409)).collect();
    assert!(
        refused.is_empty(),
        "{} writes were refused: {:#?}",
        refused.len(),
        &refused[..refused.len().min(5)]
    );
}

/// A stored object is seen, nothing is proposed, and what is applied is what was stored. Tells whether
/// something is applied.
async fn assert_in_force(world: &World, value: &Accepted) -> bool {
    let Accepted { kind, namespace, object } = value;
    let api: Api<DynamicObject> = kind_api(&world.administrator(), *kind, namespace);
    let name = object["metadata"]["name"].as_str().unwrap();
    let live = api.get(name).await.unwrap();
    let status = &live.data["status"];
    let shown = || format!("{kind} {namespace}/{name}: {:#}\n{status:#}", live.data["spec"]);
    assert_eq!(status["observedGeneration"].as_i64(), live.metadata.generation, "not seen: {}", shown());
    // The state is Degraded too when a connection comes from workloads that do not all exist.
    let conditions = status["conditions"].as_array().unwrap();
    let has = |reason: &str| conditions.iter().any(|condition| condition["reason"] == reason);
    assert!(!has("Degraded") && !has("SpecUnreadable"), "{}", shown());
    assert_eq!(live.metadata.generation, Some(1), "{}: its spec was written", live.name_any());
    let Some(applied) = status.get("applied") else { return false };
    assert!(status.get("pending").is_none(), "something is proposed: {}", shown());
    let schema = spec_schema_of(*kind);
    let mut spec = live.data["spec"].clone();
    spec.as_object_mut().unwrap().remove("change");
    assert_eq!(normal(Schema(&schema), &applied["spec"]), normal(Schema(&schema), &spec), "{}", shown());
    let content: Content = serde_json::from_value(applied["spec"].clone()).unwrap();
    assert_eq!(applied["digest"], json!(digest(&content).unwrap()), "{}", shown());
    true
}
