//! Random worlds on several threads, each from a seed that brings it back.

use std::cell::Cell;
use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::io::{Write, stderr};
use std::ops::AddAssign;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

const THREADS: u32 = 2;

/// The worlds that a test goes through, and the names of its settings.
pub struct Worlds {
    /// The variables with the first seed and with the number of worlds.
    pub seed: &'static str,
    pub number: &'static str,
    pub usual_number: u64,
    /// The arguments of `cargo test` for the test.
    pub test: &'static str,
}

impl Worlds {
    /// Goes through all worlds, and returns how many there were and what came up in them. `begin` makes what each
    /// thread has for itself.
    ///
    /// # Panics
    /// With the simplest history that goes wrong, and the seed of the world in which it was found.
    pub fn go_through<S: Strategy, B, T: Default + Display + AddAssign + Send>(
        &self,
        history: impl Fn() -> S + Sync,
        begin: impl Fn() -> B + Sync,
        live: impl Fn(&B, u64, S::Value) -> Result<T, TestCaseError> + Sync,
    ) -> (u64, T) {
        let Self { seed: variable, number, usual_number, test } = self;
        let worlds = setting(number).unwrap_or(*usual_number);
        // Half of the bits: short enough to be copied by hand.
        let first = setting(variable).unwrap_or_else(|| RandomState::new().hash_one(variable) >> 32);
        let next = AtomicU64::new(0);
        let work = || {
            let (own, mut all) = (begin(), T::default());
            loop {
                let seed = first.wrapping_add(match next.fetch_add(1, Ordering::Relaxed) {
                    nth if nth < worlds => nth,
                    _ => return all,
                });
                match live_through(seed, &history(), |steps| live(&own, seed, steps)) {
                    Ok(one) => all += one,
                    Err(error) => {
                        next.store(worlds, Ordering::Relaxed);
                        panic!("{error}\nagain: {variable}={seed} {number}=1 cargo test {test}");
                    }
                }
            }
        };
        let all = thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            let mut all = T::default();
            for worker in workers {
                all += worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
            all
        });
        // Past the capture of test output: the figures are worth seeing whenever the test runs.
        #[allow(clippy::explicit_write)]
        writeln!(stderr(), "{variable}={first}: {all}").unwrap();
        (worlds, all)
    }
}

fn setting<T: FromStr<Err: Display>>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text:?}: {error}")))
}

/// Lives through the history of a seed. If something goes wrong, the error tells the simplest history of which the
/// same is true.
fn live_through<S: Strategy, T: Default>(
    seed: u64,
    history: &S,
    live: impl Fn(S::Value) -> Result<T, TestCaseError>,
) -> Result<T, String> {
    let outcome = Cell::default();
    let config = Config {
        cases: 1,
        max_shrink_iters: 2_000,
        max_shrink_time: 60_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    let lived = TestRunner::new(config).run(history, |steps| {
        outcome.set(live(steps)?);
        Ok(())
    });
    lived.map_err(|error| error.to_string())?;
    Ok(outcome.into_inner())
}
