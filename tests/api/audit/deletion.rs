//! Nothing goes before it was told, and what waits for that is in nobody's way.

use super::sinks::approve_one;
use super::*;

/// Retires something of which the rules hold the deletion.
async fn retire<K: Watched>(world: &World, api: &Api<K>, namespace: &str, name: &str) {
    let spec = json!({"retire": true, "change": {"justification": "it is over"}});
    patch(api, name, json!({ "spec": spec })).await.unwrap();
    let request = wait_for_hold(api, name).await;
    vote(&world.bob(), namespace, &request, Verdict::Approved, None).await.unwrap();
}

#[test]
fn what_is_deleted_while_a_sink_is_down_goes_when_it_was_told() {
    let (world, sink, first) = begin("first");
    let account = world.alice();
    let (held, spare) = on_a_runtime(async || {
        let alice = world.alice();
        active_community(&world, "trouble", &json!({ "approvals": hold_everything() })).await;
        approve_one(&world, "leaving").await;
        let (place, nina) = make_eligible(&world).await;
        let control = place.control("payments");
        let activations = Place::activations(&nina, &control);
        let spec = json!({"eligibility": "ninas", "duration": "1h"});
        roles::make(&activations, "RoleActivation", "held", &spec).await.unwrap();
        wait_for_activation(&activations, "held", "Active").await;
        wait_for_access(&nina, "list", "enclaveworkloads", &control, true).await;
        wait_until_told(&world).await;
        // Made before there was a finalizer, or taken off while the policies were away.
        let stripped = Place::activations(&world.operator().await, &control);
        patch(&stripped, "held", json!({"metadata": {"finalizers": null}})).await.unwrap();
        let is_held_again = |activation: &RoleActivation| !activation.finalizers().is_empty();
        wait_until(stripped, "held", SOON, "the finalizer is there again", is_held_again).await;

        sink.set_mood(Mood::Fails);
        // It closes at once, whoever was told of it.
        let owned = Place::activations(&alice, &control);
        owned.delete("held", &DeleteParams::default()).await.unwrap();
        wait_for_access(&nina, "list", "enclaveworkloads", &control, false).await;
        let is_kept = |activation: &RoleActivation| {
            activation.metadata.deletion_timestamp.is_some()
                && activation.status.as_ref().is_some_and(|status| status.audit.waiting.len() == 1)
        };
        let held = wait_until(owned, "held", SOON, "the activation waits to be told", is_kept).await;
        // So does an object about which nobody had to be asked.
        let spare = enclaves(&alice, "jit");
        spare.create(&PostParams::default(), &enclave("spare", &json!({}))).await.unwrap();
        wait_for_enclave(&spare, "spare", State::Active).await;
        spare.delete("spare", &DeleteParams::default()).await.unwrap();
        let is_kept = |enclave: &Enclave| {
            let conditions = enclave.status.iter().flat_map(|status| &status.gate.conditions);
            conditions.into_iter().any(|one| one.message.contains("when the audit stream has taken"))
        };
        let spare = wait_until(spare, "spare", SOON, "the Enclave waits to be told", is_kept).await;
        // And requests that go with their namespace, with one that nobody decides.
        let trouble = enclaves(&alice, "trouble");
        trouble.create(&PostParams::default(), &enclave("undecided", &json!({}))).await.unwrap();
        wait_for_request(&alice, "trouble", "undecided").await;
        trouble.delete("undecided", &DeleteParams::default()).await.unwrap();
        retire(&world, &trouble, "trouble", "leaving").await;
        wait_gone(trouble, "leaving", SOON, "the Enclave is gone").await;
        retire(&world, &communities(&alice), "trouble", "trouble").await;
        eventually("the requests wait to be told", SOON, async || {
            let all = requests(&alice, "trouble").list(&ListParams::default()).await.ok()?;
            all.iter().all(|request| request.metadata.deletion_timestamp.is_some()).then_some(())
        })
        .await;
        // The Community says what it waits for.
        let is_kept = |community: &Community| {
            let conditions = community.status.iter().flat_map(|status| &status.gate.conditions);
            conditions.into_iter().any(|one| one.message.contains("approvalrequests.enclave-operator.io has"))
        };
        wait_until(communities(&alice), "trouble", SOON, "the Community tells what remains", is_kept).await;
        (held, spare)
    });

    // The operator is killed meanwhile, and another one tells it all before anything goes.
    first.kill();
    let (address, before) = (sink.address(), sink.taken());
    drop(sink);
    let sink = Sink::start_at(address);
    let _second = start_operator(&world, "second", &sink);
    on_a_runtime(async || {
        let administrator = world.administrator();
        let namespaces: Api<Namespace> = Api::all(administrator.clone());
        wait_gone(namespaces, "trouble", 2 * SOON, "the namespace is gone").await;
        wait_gone(communities(&account), "trouble", SOON, "the Community is gone").await;
        wait_gone(enclaves(&account, "jit"), "spare", SOON, "the Enclave is gone").await;
        let control = held.namespace().unwrap();
        wait_gone(Place::activations(&account, &control), "held", SOON, "the activation is gone").await;
    });
    let taken = [before, sink.taken()].concat();
    assert_documented(&taken);
    assert_without_gap(&taken);
    let ended = of_type(&taken, "ended", &format!("{}/RoleActivation/held", held.namespace().unwrap()));
    assert_eq!(ended[0]["data"]["state"], "Deactivated");
    assert_eq!(ended[0]["data"]["message"], "it was deleted");
    let enacted = of_type(&taken, "enacted", "jit/Enclave/spare");
    assert_eq!(enacted[0]["data"]["object"]["uid"], spare.uid().unwrap());
    assert!(!of_type(&taken, "withdrawn", "trouble/Enclave/undecided").is_empty());
    for subject in ["trouble/Enclave/leaving", "Community/trouble"] {
        let told: BTreeSet<&str> = ["requested", "decided", "enacted"]
            .into_iter()
            .filter(|type_| {
                let retired = |event: &&Value| event["data"]["justification"] == "it is over";
                of_type(&taken, type_, subject).into_iter().any(|event| retired(&event))
            })
            .collect();
        assert_eq!(told.len(), 3, "{subject}: {told:?}");
    }
}

/// What waits to be told owns nothing and gives nothing any more, so it is in nobody's way.
#[test]
fn what_only_waits_to_be_told_is_in_nobodys_way() {
    let (world, sink, _operator) = begin("way");
    let taken = on_a_runtime(async || {
        let alice = world.alice();
        let place = Place::make_in(&world, "way", &json!({"conflictingDuties": "Refuse"})).await;
        let (dora, control) = (place.user("dora", &[]), place.control("ledger"));
        let assignments = Place::assignments(&alice, &control);
        let give = async |name: &str, role: &str| {
            let spec = json!({"role": role, "principals": [roles::user(&dora)]});
            roles::make(&assignments, "RoleAssignment", name, &spec).await.unwrap();
            crate::world::wait_for_state(&assignments, name, State::Active).await;
        };
        give("first", "enclave-approver").await;
        wait_until_told(&world).await;
        sink.set_mood(Mood::Fails);

        // A role that was taken away is in conflict with no other.
        let more = [roles::user(&dora), json!({"kind": "User", "name": "tina"})];
        patch(&assignments, "first", json!({"spec": {"principals": more}})).await.unwrap();
        wait_until_applied(&assignments, "first").await;
        assignments.delete("first", &DeleteParams::default()).await.unwrap();
        give("second", "enclave-owner").await;
        wait_for_access(&dora, "list", "enclaveworkloads", &control, true).await;

        // An Enclave under maintenance goes with its rights, although its workload has not been told.
        let api = enclaves(&alice, "way");
        let principal = json!({"kind": "User", "name": "tina"});
        let on = json!({"spec": {"maintenance": maintenance("General", &principal, 600)}});
        patch(&api, "ledger", on).await.unwrap();
        let is_on =
            |enclave: &Enclave| enclave.status.as_ref().is_some_and(|status| status.maintenance.is_some());
        wait_until(api.clone(), "ledger", SOON, "maintenance is on", is_on).await;
        let workloads: Api<EnclaveWorkload> = crate::world::namespaced(alice.client(), &control);
        patch(&workloads, "api", json!({"spec": {"description": "a record"}})).await.unwrap();
        wait_until_applied(&workloads, "api").await;
        workloads.delete("api", &DeleteParams::default()).await.unwrap();
        api.delete("ledger", &DeleteParams::default()).await.unwrap();
        wait_for_access(&dora, "list", "enclaveworkloads", &control, false).await;
        let workload = workloads.get("api").await.unwrap();
        assert!(workload.status.unwrap().gate.audit.waiting.len() == 1, "it waits to be told");

        sink.set_mood(Mood::Takes);
        wait_gone(api, "ledger", 2 * SOON, "the Enclave is gone").await;
        wait_until_told(&world).await;
        sink.taken()
    });
    assert_documented(&taken);
    assert_without_gap(&taken);
    for type_ in ["maintenance-on", "maintenance-off"] {
        assert_eq!(of_type(&taken, type_, "way/Enclave/ledger").len(), 1, "{type_}");
    }
}
