//! Random Communities, in every state that their objects can be in: the network policies that the
//! operator plans for them, judged by an independent analyser, let through exactly what should pass.
//!
//! Who should reach whom is computed twice from the objects, by `model::network::connectivity` and by `reach::Books`,
//! which shares no code with it.

mod declare;
mod judge;
mod negative;
mod operator;
mod population;
mod random;
mod scene;
mod words;

use enclave_operator_testing::reach;
use enclave_operator_testing::seeds::Worlds;
use judge::Judge;
use proptest::test_runner::TestCaseError;

const SCENES: Worlds = Worlds {
    seed: "ENCLAVE_OPERATOR_ORACLE_SEED",
    number: "ENCLAVE_OPERATOR_ORACLE_SCENES",
    usual_number: 200,
    test: "--test pure oracle",
};

#[test]
fn policies_let_through_exactly_what_the_objects_say() {
    let (scenes, tally) = SCENES.go_through(random::scene, Judge::new, |judge, _, scene| {
        judge.judge(&scene).map_err(TestCaseError::fail)
    });
    if scenes >= SCENES.usual_number {
        // What is generated is worth judging.
        let at_least = |count: usize, share: u64| count as u64 >= scenes / share;
        assert!(at_least(tally.open, 2), "connections hardly ever open: {tally}");
        assert!(at_least(tally.shut, 1), "connections hardly ever close: {tally}");
        assert!(at_least(tally.connected, 1), "Pods hardly ever reach each other: {tally}");
        assert!(at_least(tally.closed_meanwhile, 8), "connections hardly ever close after a while: {tally}");
    }
}
