//! Random Communities, in every state that their objects can be in: the network policies that the
//! operator plans for them, judged by an independent analyser, let through exactly what should pass.
//!
//! Who should reach whom is computed twice from the objects, by `model::network::connectivity` and by `reach::Books`,
//! which shares no code with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod declare;
mod judge;
mod negative;
mod operator;
mod population;
mod random;
mod scene;
mod words;

use std::cell::Cell;
use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::io::{Write, stderr};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use enclave_operator_testing::reach;
use judge::{Judge, Tally};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError, TestRunner};

const SCENES: &str = "ENCLAVE_OPERATOR_ORACLE_SCENES";
const DEFAULT_SCENES: u64 = 200;
const SEED: &str = "ENCLAVE_OPERATOR_ORACLE_SEED";
const THREADS: u32 = 2;

fn setting<T: FromStr<Err: Display>>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text:?}: {error}")))
}

#[test]
fn policies_let_through_exactly_what_the_objects_say() {
    let scenes = setting(SCENES).unwrap_or(DEFAULT_SCENES);
    // Half of the bits: short enough to be copied by hand.
    let first = setting(SEED).unwrap_or_else(|| RandomState::new().hash_one(SEED) >> 32);
    let next = AtomicU64::new(0);
    let work = || {
        let judge = Judge::new();
        let mut tally = Tally::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= scenes {
                return tally;
            }
            let seed = first.wrapping_add(number);
            match judge_scene(&judge, seed) {
                Ok(outcome) => tally = tally.add(outcome),
                Err(error) => {
                    next.store(scenes, Ordering::Relaxed);
                    panic!("{error}\nagain: {SEED}={seed} {SCENES}=1 cargo test --test oracle");
                }
            }
        }
    };
    let tally = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let tallies = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        tallies.reduce(Tally::add).unwrap()
    });
    // Past the capture of test output: the figures are worth seeing whenever the test runs.
    writeln!(stderr(), "{SEED}={first}: {tally}").unwrap();
    if scenes >= DEFAULT_SCENES {
        // What is generated is worth judging.
        let at_least = |count: usize, share: u64| count as u64 >= scenes / share;
        assert!(at_least(tally.open, 2), "connections hardly ever open: {tally}");
        assert!(at_least(tally.shut, 1), "connections hardly ever close: {tally}");
        assert!(at_least(tally.connected, 1), "Pods hardly ever reach each other: {tally}");
        assert!(at_least(tally.closed_meanwhile, 8), "connections hardly ever close after a while: {tally}");
    }
}

/// Judges the scene of a seed. If something is wrong with it, the error tells the simplest scene of
/// which the same is true.
fn judge_scene(judge: &Judge, seed: u64) -> Result<Tally, String> {
    let tally = Cell::default();
    let config = ProptestConfig {
        cases: 1,
        max_shrink_iters: 2_000,
        max_shrink_time: 60_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&random::scene(), |scene| {
            tally.set(judge.judge(&scene).map_err(TestCaseError::fail)?);
            Ok(())
        })
        .map_err(|error| error.to_string())?;
    Ok(tally.into_inner())
}
