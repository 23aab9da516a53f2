//! Who has which role, in random histories of what people do, of what fails and of what is interrupted:
//! once the closing worker is through nothing is left that nothing explains, and once all is quiet nothing
//! is missing.
//!
//! The pure functions work on caches that an API server in memory fills. What should be is reckoned from
//! what people did and voted, by books of their own.

mod books;
mod cluster;
mod history;
mod judge;
mod negative;
mod operator;
mod people;
mod rights;
mod tally;
mod words;
mod world;

use enclave_operator_testing::seeds::Worlds;
use history::Step;
use world::World;

const WORLDS: Worlds = Worlds {
    seed: "ENCLAVE_OPERATOR_ACCESS_SEED",
    number: "ENCLAVE_OPERATOR_ACCESS_WORLDS",
    usual_number: 250,
    test: "--test pure access",
};

#[test]
fn nobody_holds_what_nothing_explains_and_nothing_explained_is_missing() {
    let (worlds, counts) = WORLDS.go_through(
        history::history,
        || (),
        |(), seed, steps| {
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
            Ok(world.tally.counts())
        },
    );
    if worlds >= WORLDS.usual_number {
        let at_least = |count: usize, share: u64| count as u64 >= worlds / share;
        assert!(at_least(counts.held, 4), "roles are hardly ever held: {counts}");
        assert!(at_least(counts.with_votes, 40), "activations are hardly ever approved: {counts}");
        assert!(at_least(counts.revoked, 75), "activations are hardly ever revoked: {counts}");
        assert!(at_least(counts.expired, 10), "activations hardly ever end: {counts}");
        assert!(at_least(counts.closings, 1), "hardly anything is ever closed: {counts}");
    }
    // What is rare may not come up in a few worlds.
    if worlds >= 4 * WORLDS.usual_number {
        let all = [counts.two_at_once, counts.given_by_votes];
        assert!(all.iter().all(|count| *count > 0), "something never comes up: {counts}");
    }
}
