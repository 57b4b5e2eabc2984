//! Dice that fall alike on every machine: ChaCha8, seeded by the run's seed and by what is drawn.
//!
//! Everything is reckoned in whole numbers: sine and exponential differ between machines in their last bit.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// Words that are drawn at a time.
const WORDS: usize = 256;

/// A stream of dice.
pub(super) struct Dice {
    source: ChaCha8Rng,
    drawn: Box<[u64; WORDS]>,
    next: usize,
}

impl Dice {
    /// The dice for what `path` names under this seed: other paths give independent dice.
    pub(super) fn new(seed: u64, path: &[u64], what: &str) -> Dice {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        for step in path {
            hash.update(step.to_le_bytes());
        }
        hash.update(what.as_bytes());
        let source = ChaCha8Rng::from_seed(hash.finalize().into());
        Dice { source, drawn: Box::new([0; WORDS]), next: WORDS }
    }

    /// Sixty-four fair bits.
    pub(super) fn word(&mut self) -> u64 {
        if self.next == WORDS {
            for word in self.drawn.iter_mut() {
                *word = self.source.next_u64();
            }
            self.next = 0;
        }
        self.next += 1;
        self.drawn[self.next - 1]
    }

    /// A number below `end`; 0 if `end` is.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(end)) >> 64) as u64
    }

    /// Whether something happens that does so `millionths` times in a million.
    pub(super) fn happens(&mut self, millionths: u64) -> bool {
        self.below(1_000_000) < millionths
    }

    /// A number around 0, bell-shaped, with a standard deviation of about `spread`; never beyond 3.4 of them.
    pub(super) fn around(&mut self, spread: i64) -> i64 {
        let word = self.word();
        // the sum of four uniform numbers of 16 bits has a standard deviation of 2^16 / sqrt(3)
        let sum: i64 = (0..4).map(|i| (word >> (16 * i) & 0xffff) as i64).sum();
        (sum - 2 * 0xffff) * spread / 37_837
    }

    /// `parts` of `whole` split at random: the whole part of the quotient, and one more as often as the rest says.
    pub(super) fn share_of(&mut self, whole: u64, millionths: u64) -> u64 {
        let product = whole * millionths;
        product / 1_000_000 + u64::from(self.below(1_000_000) < product % 1_000_000)
    }
}

/// One drawing of lots, for whoever drives a city: alike on every machine.
pub struct Draw(Dice);

impl Draw {
    /// The lot for `what` in one hour under this seed.
    pub fn of(seed: u64, hour: u64, what: &str) -> Draw {
        Draw(Dice::new(seed, &[hour], what))
    }

    /// Whether something happens that does so in this share of cases.
    pub fn happens(&mut self, share: f64) -> bool {
        self.0.happens(super::plan::millionths(share))
    }
}
