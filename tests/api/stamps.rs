//! The stamp of who asks, in random histories on a real API server, held against the model that the tests in
//! memory use. The second policy reckons the same a third time: if it did otherwise, it would refuse.

use enclave_operator::api::Enclave;
use enclave_operator::api::names::{REQUESTED_BY, REQUESTED_GENERATION};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::stamp::{CONDITION, Part, names_of, stamp};
use crate::world::{World, enclave, enclaves, namespaced, on_a_runtime, write_status_of};

/// What happens to one object.
#[derive(Clone, Debug)]
enum Step {
    /// One of four people sets the description, and claims to be somebody else.
    Edit { person: usize, description: u8, claims: bool },
    /// The operator, or whoever restores a backup, writes the status. Each part is right as a rule.
    Status { generation: Option<i64>, complete_for: Option<bool>, pending: bool },
    /// The stamp names another generation, as after an edit while no policy watched.
    Unstamped,
}

fn step() -> impl Strategy<Value = Step> {
    let generation = prop::option::weighted(0.9, prop_oneof![6 => Just(0_i64), 1 => Just(-1), 1 => Just(-9)]);
    let complete_for = prop::option::weighted(0.9, prop::bool::weighted(0.9));
    prop_oneof![
        6 => (0..4_usize, 0..3_u8, prop::bool::weighted(0.2))
            .prop_map(|(person, description, claims)| Step::Edit { person, description, claims }),
        6 => (generation, complete_for, prop::bool::weighted(0.15)).prop_map(
            |(generation, complete_for, pending)| Step::Status { generation, complete_for, pending }
        ),
        2 => Just(Step::Unstamped),
    ]
}

/// So long is a history at least, and at most: rare cases come some tens of times in the longest.
const LEAST_STEPS: usize = 600;
const MOST_STEPS: usize = 6000;

#[test]
fn the_policies_stamp_what_the_model_says() {
    let world = World::without_operator();
    world.install();
    on_a_runtime(async || {
        let (mut runner, mut history) = (TestRunner::default(), Vec::new());
        let (mut began, mut alone) = (0, CONDITION.map(|_| 0));
        let people = ["pat", "quinn", "rob", "sue"].map(|name| world.plane.user(name, &["owners"]));
        let operator: Api<Enclave> = namespaced(world.operator().await.client(), "default");
        let first = enclaves(&people[0], "default");
        let mut known = first.create(&PostParams::default(), &enclave("e", &json!({}))).await.unwrap();
        assert_eq!(names_of(&known), ["pat"]);
        for number in 0..MOST_STEPS {
            // Each part of the condition, and the whole of it, is to make a difference.
            if number >= LEAST_STEPS && began > 5 && alone.iter().all(|count| *count > 0) {
                return;
            }
            let step = step().new_tree(&mut runner).unwrap().current();
            history.push(step.clone());
            known = match &step {
                Step::Edit { person, description, claims } => {
                    let person = &people[*person];
                    let mut wanted = known.clone();
                    wanted.spec.description = Some(description.to_string());
                    let mut stamped = wanted.clone();
                    stamp(Some(&known), &mut stamped, &[person.name()], &CONDITION);
                    let begins = |condition: &[Part]| {
                        let mut other = wanted.clone();
                        stamp(Some(&known), &mut other, &[person.name()], condition);
                        names_of(&other).len() < names_of(&known).len()
                    };
                    began += usize::from(begins(&CONDITION));
                    for (left_out, count) in CONDITION.iter().zip(&mut alone) {
                        let others: Vec<Part> =
                            CONDITION.into_iter().filter(|part| part != left_out).collect();
                        *count += usize::from(begins(&others) && !begins(&CONDITION));
                    }
                    if *claims {
                        wanted.annotations_mut().insert(REQUESTED_BY.into(), "mallory".into());
                        wanted.annotations_mut().remove(REQUESTED_GENERATION);
                    }
                    let api = enclaves(person, "default");
                    let written = api.replace("e", &PostParams::default(), &wanted).await;
                    let written = written.unwrap_or_else(|error| {
                        panic!("step {number} was refused: {error}\n{step:?} on {known:#?}\n{history:?}")
                    });
                    let of = |object: &Enclave| {
                        let generation = object.annotations().get(REQUESTED_GENERATION).cloned();
                        (object.metadata.generation, names_of(object), generation)
                    };
                    assert_eq!(
                        of(&written),
                        of(&stamped),
                        "step {number}: {step:?} on {known:#?}\n{history:?}"
                    );
                    written
                }
                Step::Status { generation, complete_for, pending } => {
                    let status = status_of(&known, *generation, *complete_for, *pending);
                    let before = serde_json::to_value(&known).unwrap();
                    write_status_of(&operator, "e", &before, &status).await.unwrap()
                }
                Step::Unstamped => {
                    let other = json!({"metadata": {"annotations": {REQUESTED_GENERATION: "99999"}}});
                    operator.patch("e", &PatchParams::default(), &Patch::Merge(other)).await.unwrap()
                }
            };
        }
        panic!("a new list began {began} times; {CONDITION:?} decided alone: {alone:?}\n{history:?}");
    });
}

/// A status that says that so much of an object is applied.
fn status_of(object: &Enclave, behind: Option<i64>, complete_for: Option<bool>, pending: bool) -> Value {
    let generation = object.metadata.generation.unwrap();
    let uid = |is_its: bool| if is_its { object.uid().unwrap() } else { "another".to_owned() };
    let applied = behind.map(|behind| {
        json!({
            "generation": (generation + behind).max(0), "completeFor": complete_for.map(uid),
            "digest": "sha256:0", "spec": {}, "at": "2026-11-26T00:00:00Z",
        })
    });
    let waits = pending.then(|| {
        json!({
            "generation": generation, "digest": "sha256:0", "operations": ["EnclaveUpdate"],
            "since": "2026-11-26T00:00:00Z",
        })
    });
    json!({"applied": applied, "pending": waits})
}
