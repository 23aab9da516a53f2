//! Sinks that are down, slow, refuse what they get, or have no room.

use super::*;
use crate::world::wait_until_told_within;

/// How long it takes from a vote until the change is in force.
pub(super) async fn approve_one(world: &World, name: &str) -> Duration {
    let (alice, bob) = (world.alice(), world.bob());
    let api = enclaves(&alice, "trouble");
    api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
    let request = wait_for_request(&alice, "trouble", name).await;
    let voted = Instant::now();
    vote(&bob, "trouble", &request, Verdict::Approved, None).await.unwrap();
    wait_for_enclave(&api, name, State::Active).await;
    voted.elapsed()
}

/// How often the sink fails before anything else happens: 124 times take an hour.
fn refusals() -> usize {
    std::env::var("ENCLAVE_OPERATOR_REFUSALS").map_or(2, |refusals| refusals.parse().unwrap())
}

#[test]
fn a_sink_that_is_down_or_slow_or_fails_loses_nothing_and_delays_nothing() {
    let (world, sink, first) = begin("first");
    let calm = on_a_runtime(async || {
        active_community(&world, "trouble", &json!({ "approvals": hold_everything() })).await;
        let calm = approve_one(&world, "calm").await;
        wait_until_told(&world).await;
        calm
    });

    // It answers 500, it does not answer, it is not there.
    sink.set_mood(Mood::Fails);
    let failing = on_a_runtime(async || {
        let (took, before) = (approve_one(&world, "failing").await, sink.asked());
        let refusals = refusals();
        let limit = SOON.max(u32::try_from(refusals).unwrap() * Duration::from_secs(30));
        let is_refused = async || (sink.asked() >= before + refusals).then_some(());
        eventually(&format!("it is asked {refusals} times"), limit, is_refused).await;
        took
    });
    sink.set_mood(Mood::Hangs);
    let hanging = on_a_runtime(async || approve_one(&world, "hanging").await);
    let (address, before) = (sink.address(), sink.taken());
    drop(sink);
    let down = on_a_runtime(async || approve_one(&world, "down").await);
    println!(
        "from vote to Active: {calm:.1?} as usual, {failing:.1?} with a sink that fails, {hanging:.1?} hangs, {down:.1?} is down"
    );
    for (mood, took) in [("fails", failing), ("hangs", hanging), ("is down", down)] {
        assert!(took < calm + Duration::from_secs(3), "{took:?} while the sink {mood}, {calm:?} else");
    }

    // What waits stands on the objects, with who has it already.
    on_a_runtime(async || {
        eventually("the records wait on their objects", SOON, async || {
            let all = requests(&world.alice(), "trouble").list(&ListParams::default()).await.unwrap();
            let audits = all.iter().filter_map(|request| request.status.as_ref()).map(|status| &status.audit);
            let waiting: Vec<_> = audits.flat_map(|audit| &audit.waiting).collect();
            (waiting.len() == 9 && waiting.iter().all(|record| record.taken_by == ["stdout"])).then_some(())
        })
        .await;
    });

    // The operator is killed meanwhile, and another one tells it all, but not again what was printed.
    first.kill();
    let printed_by_first = printed(&first).len();
    let sink = Sink::start_at(address);
    let second = start_operator(&world, "first", &sink);
    on_a_runtime(async || wait_until_told(&world).await);
    let taken = [before, sink.taken()].concat();
    assert_documented(&taken);
    assert_without_gap(&taken);
    for name in ["calm", "failing", "hanging", "down"] {
        for type_ in ["requested", "decided", "enacted"] {
            let events = of_type(&taken, type_, &format!("trouble/Enclave/{name}"));
            assert!(!events.is_empty(), "{type_} of {name}");
        }
    }
    // Both write to one log.
    let printed = printed(&second);
    let (by_first, by_second) = printed.split_at(printed_by_first);
    let again: Vec<String> = ids(by_second).intersection(&ids(by_first)).cloned().collect();
    assert_eq!(again, [""; 0], "printed again");
}

/// More of them than are told at a time.
#[test]
fn what_has_piled_up_is_told_once_and_in_order() {
    let (world, sink, _operator) = begin("piled");
    let taken = on_a_runtime(async || {
        let alice = world.alice();
        active_community(&world, "piled", &json!({})).await;
        wait_until_told(&world).await;
        sink.set_mood(Mood::Fails);
        let api = enclaves(&alice, "piled");
        let names: Vec<String> = (0..100).map(|number| format!("e{number}")).collect();
        for name in &names {
            api.create(&PostParams::default(), &enclave(name, &json!({}))).await.unwrap();
        }
        for name in &names {
            wait_until_applied(&api, name).await;
            patch(&api, name, json!({"spec": {"description": "another"}})).await.unwrap();
        }
        for name in &names {
            wait_until_applied(&api, name).await;
        }
        sink.set_mood(Mood::Takes);
        wait_until_told_within(&world, 3 * SOON).await;
        sink.taken()
    });
    assert_documented(&taken);
    assert_without_gap(&taken);
    assert_eq!(taken.len(), ids(&taken).len(), "nothing came twice");
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for event in &taken {
        let (object, number) = event["id"].as_str().unwrap().rsplit_once('.').unwrap();
        let number = number.parse().unwrap();
        assert!(last.insert(object.to_owned(), number).is_none_or(|before| before < number), "{event:#}");
    }
    assert!(last.len() > 100, "{}", last.len());
}

#[test]
fn words_that_a_sink_refuses_hide_no_record_and_hold_nothing_up() {
    let (world, sink, _operator) = begin("poisoned");
    sink.set_mood(Mood::RefusesPoison);
    on_a_runtime(async || {
        let (alice, bob) = (world.alice(), world.bob());
        active_community(&world, "trouble", &json!({ "approvals": hold_everything() })).await;
        let api = enclaves(&alice, "trouble");
        let poisoned = enclave("poisoned", &json!({"change": {"justification": "POISON", "ticket": "T1"}}));
        api.create(&PostParams::default(), &poisoned).await.unwrap();
        let request = wait_for_request(&alice, "trouble", "poisoned").await;
        vote(&bob, "trouble", &request, Verdict::Approved, Some("fine")).await.unwrap();
        // Others are told meanwhile.
        approve_one(&world, "calm").await;
        eventually("the others are told", SOON, async || {
            (of_type(&sink.taken(), "enacted", "trouble/Enclave/calm").len() == 1).then_some(())
        })
        .await;
        // Each of its records is refused a few times first.
        wait_until_told_within(&world, 3 * SOON).await;
    });
    let taken = sink.taken();
    assert_documented(&taken);
    assert_without_gap(&taken);
    for type_ in ["requested", "decided", "enacted"] {
        let records = of_type(&taken, type_, "trouble/Enclave/poisoned");
        assert_eq!(records.len(), 1, "{type_}");
        let data = &records[0]["data"];
        assert_eq!(data["withheld"], true, "{data:#}");
        assert_eq!(data["requesters"], json!(["alice"]));
        assert!(data["justification"].is_null() && data["ticket"].is_null(), "{data:#}");
    }
    assert_eq!(
        of_type(&taken, "decided", "trouble/Enclave/poisoned")[0]["data"]["decisions"][0]["approver"],
        "bob"
    );
}

#[test]
fn a_sink_that_asks_for_no_pause_is_not_asked_all_the_time() {
    let (world, sink, _operator) = begin("busy");
    on_a_runtime(async || {
        active_community(&world, "trouble", &json!({ "approvals": hold_everything() })).await;
        wait_until_told(&world).await;
        sink.set_mood(Mood::IsBusy);
        let before = (sink.asked(), Instant::now());
        approve_one(&world, "busy").await;
        eventually("it was asked three times", SOON, async || (sink.asked() >= before.0 + 3).then_some(()))
            .await;
        // 1 s and 2 s lie between them.
        assert!(before.1.elapsed() > Duration::from_secs(2), "{:?}", before.1.elapsed());
        sink.set_mood(Mood::Takes);
        wait_until_told(&world).await;
    });
}

#[test]
fn a_full_disk_under_the_stream_loses_nothing_and_delays_nothing() {
    let world = World::without_operator();
    world.install();
    let account = on_a_runtime(async || world.operator().await);
    let full = world.spawn_operator_with(&account, "full", &[("ENCLAVE_OPERATOR_AUDIT_FILE", "/dev/full")]);
    let waiting = async || {
        let all = requests(&world.alice(), "trouble").list(&ListParams::default()).await.unwrap();
        all.iter().filter_map(|request| Some(request.status.as_ref()?.audit.waiting.len())).sum::<usize>()
    };
    on_a_runtime(async || {
        active_community(&world, "trouble", &json!({ "approvals": hold_everything() })).await;
        let took = approve_one(&world, "full").await;
        assert!(took < SOON / 3, "{took:?}");
        eventually("the records wait", SOON, async || (waiting().await == 3).then_some(())).await;
    });
    assert!(full.is_running(), "{}", full.log());
    full.terminate(SOON);
    let file = world.plane.folder().join("audit.jsonl");
    let path = file.to_str().unwrap();
    let _roomy = world.spawn_operator_with(&account, "full", &[("ENCLAVE_OPERATOR_AUDIT_FILE", path)]);
    on_a_runtime(async || wait_until_told(&world).await);
    let lines = std::fs::read_to_string(file).unwrap();
    let told: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_documented(&told);
    assert_without_gap(&told);
    for type_ in ["requested", "decided", "enacted"] {
        assert_eq!(of_type(&told, type_, "trouble/Enclave/full").len(), 1, "{type_}");
    }
}
