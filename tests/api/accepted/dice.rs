//! Random choices that a seed repeats.

use std::collections::BTreeMap;

use proptest::strategy::{Strategy, ValueTree};
use proptest::string::{RegexGeneratorStrategy, string_regex};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

pub struct Dice {
    state: u64,
    runner: TestRunner,
    patterns: BTreeMap<String, RegexGeneratorStrategy<String>>,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let runner = TestRunner::new_with_rng(Config::default(), rng);
        Self { state: seed, runner, patterns: BTreeMap::new() }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of the numbers from `least` to `most`.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        let span = u64::try_from(most - least).unwrap() + 1;
        least + usize::try_from(self.next() % span).unwrap()
    }

    /// Whether something happens that happens so many times in a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.between(1, 100) <= percent
    }

    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.between(0, among.len() - 1)]
    }

    /// A text that matches a pattern, which stands for the whole text.
    pub fn text_like(&mut self, pattern: &str) -> String {
        if !self.patterns.contains_key(pattern) {
            let inner = pattern.trim_start_matches('^').trim_end_matches('$');
            let strategy = string_regex(inner).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            self.patterns.insert(pattern.to_owned(), strategy);
        }
        self.patterns[pattern].new_tree(&mut self.runner).unwrap().current()
    }
}
