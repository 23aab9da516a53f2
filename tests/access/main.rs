//! Who has which role, in random histories of what people do, of what fails and of what is interrupted:
//! once the closing worker is through nothing is left that nothing explains, and once all is quiet nothing
//! is missing.
//!
//! The pure functions work on caches that an API server in memory fills. What should be is reckoned from
//! what people did and voted, by books of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod books;
mod cluster;
mod history;
mod judge;
mod negative;
mod operator;
mod people;
mod rights;
mod server;
mod tally;
mod words;
mod world;

use std::cell::Cell;
use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::io::{Write, stderr};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use enclave_operator_testing::stamp;
use history::Step;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use tally::Counts;
use world::World;

const WORLDS: &str = "ENCLAVE_OPERATOR_ACCESS_WORLDS";
const DEFAULT_WORLDS: u64 = 250;
const SEED: &str = "ENCLAVE_OPERATOR_ACCESS_SEED";
const THREADS: u32 = 2;

fn setting<T: FromStr<Err: Display>>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text:?}: {error}")))
}

#[test]
fn nobody_holds_what_nothing_explains_and_nothing_explained_is_missing() {
    let worlds = setting(WORLDS).unwrap_or(DEFAULT_WORLDS);
    // Half of the bits: short enough to be copied by hand.
    let first = setting(SEED).unwrap_or_else(|| RandomState::new().hash_one(SEED) >> 32);
    let next = AtomicU64::new(0);
    let work = || {
        let mut counts = Counts::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= worlds {
                return counts;
            }
            let seed = first.wrapping_add(number);
            match live_through(seed) {
                Ok(lived) => counts += lived,
                Err(error) => {
                    next.store(worlds, Ordering::Relaxed);
                    panic!("{error}\nagain: {SEED}={seed} {WORLDS}=1 cargo test --test access");
                }
            }
        }
    };
    let counts = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let mut all = Counts::default();
        for worker in workers {
            all += worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        all
    });
    // Past the capture of test output: the figures are worth seeing whenever the test runs.
    writeln!(stderr(), "{SEED}={first}: {counts}").unwrap();
    if worlds >= DEFAULT_WORLDS {
        let at_least = |count: usize, share: u64| count as u64 >= worlds / share;
        assert!(at_least(counts.held, 4), "roles are hardly ever held: {counts}");
        assert!(at_least(counts.with_votes, 40), "activations are hardly ever approved: {counts}");
        assert!(at_least(counts.revoked, 75), "activations are hardly ever revoked: {counts}");
        assert!(at_least(counts.expired, 10), "activations hardly ever end: {counts}");
        assert!(at_least(counts.closings, 1), "hardly anything is ever closed: {counts}");
    }
    // What is rare may not come up in a few worlds.
    if worlds >= 4 * DEFAULT_WORLDS {
        let all = [counts.two_at_once, counts.given_by_votes];
        assert!(all.iter().all(|count| *count > 0), "something never comes up: {counts}");
    }
}

/// Lives through the history of a seed. If something goes wrong, the error tells the simplest history of
/// which the same is true.
fn live_through(seed: u64) -> Result<Counts, String> {
    let counts = Cell::default();
    let config = ProptestConfig {
        cases: 1,
        max_shrink_iters: 2_000,
        max_shrink_time: 30_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&history::history(), |steps| {
            let mut world = World::new();
            for step in &steps {
                world.take(step);
            }
            // First as it is, and then with the policies back.
            world.take(&Step::Settle { order: seed });
            for _ in 0..2 {
                world.take(&Step::Trust { better: true, alive: true });
            }
            world.take(&Step::Settle { order: !seed });
            counts.set(world.tally.counts());
            Ok(())
        })
        .map_err(|error| error.to_string())?;
    Ok(counts.into_inner())
}
