//! Randomness by name: one independent stream for every concern.
//!
//! A stream is seeded from the world's seed and its own label, so a draw more or less in one place moves
//! nothing anywhere else, and a concern that is switched off draws nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::determinism::{Step, note};

/// All streams of one seed, made when they are first asked for.
pub(crate) struct RandomStreams {
    seed: u64,
    by_label: RefCell<BTreeMap<String, RandomStream>>,
}

impl RandomStreams {
    /// Those of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, by_label: RefCell::default() }
    }

    /// The stream called `label`; the same one every time.
    pub(crate) fn stream(&self, label: &str) -> RandomStream {
        if let Some(stream) = self.by_label.borrow().get(label) {
            return stream.clone();
        }
        let stream = RandomStream::seeded(self.seed, label);
        self.by_label.borrow_mut().insert(label.to_string(), stream.clone());
        stream
    }
}

/// A named stream of random numbers. Clones continue the same stream.
#[derive(Clone, Debug)]
pub struct RandomStream {
    label: Arc<str>,
    generator: Rc<RefCell<ChaCha8Rng>>,
}

impl RandomStream {
    fn seeded(seed: u64, label: &str) -> Self {
        let mut key = [0; 32];
        for (salt, word) in key.chunks_exact_mut(8).enumerate() {
            let hash = xxh3_64_with_seed(
                label.as_bytes(),
                seed.wrapping_add((salt as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            );
            word.copy_from_slice(&hash.to_le_bytes());
        }
        Self { label: label.into(), generator: Rc::new(RefCell::new(ChaCha8Rng::from_seed(key))) }
    }

    /// The next number.
    pub fn next_u64(&self) -> u64 {
        let value = self.generator.borrow_mut().next_u64();
        note(|| Step::Draw { stream: self.label.clone(), value });
        value
    }

    /// A number below `bound`; zero, without a draw, when there is no choice.
    pub fn below(&self, bound: u64) -> u64 {
        if bound <= 1 {
            return 0;
        }
        // The high half of the product is uniform enough: its bias is bound / 2^64.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A duration in `range`, in whole milliseconds; the start, without a draw, when there is no choice.
    pub fn duration_in(&self, range: &RangeInclusive<Duration>) -> Duration {
        let start_ms = range.start().as_millis() as u64;
        let span_ms = (range.end().as_millis() as u64).saturating_sub(start_ms);
        Duration::from_millis(start_ms + self.below(span_ms + 1))
    }

    /// Lends the generator itself, for code that takes a `rand_core` one.
    pub fn with<R>(&self, draw: impl FnOnce(&mut ChaCha8Rng) -> R) -> R {
        draw(&mut self.generator.borrow_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_independent_and_repeatable() {
        let draws = |seed: u64, label: &str| {
            let stream = RandomStreams::new(seed).stream(label);
            [stream.next_u64(), stream.next_u64()]
        };
        assert_eq!(draws(1, "a"), draws(1, "a"));
        assert_ne!(draws(1, "a"), draws(1, "b"));
        assert_ne!(draws(1, "a"), draws(2, "a"));
    }

    #[test]
    fn a_label_continues_where_it_was() {
        let streams = RandomStreams::new(3);
        let first = streams.stream("x").next_u64();
        streams.stream("y").next_u64();
        assert_ne!(streams.stream("x").next_u64(), first);
    }

    #[test]
    fn durations_cover_the_range_and_a_fixed_one_draws_nothing() {
        let stream = RandomStreams::new(4).stream("d");
        let ms = Duration::from_millis;
        let seen: std::collections::BTreeSet<_> =
            (0..100).map(|_| stream.duration_in(&(ms(1)..=ms(3)))).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [ms(1), ms(2), ms(3)]);

        let (fixed, untouched) = (RandomStreams::new(5).stream("d"), RandomStreams::new(5).stream("d"));
        fixed.duration_in(&(ms(2)..=ms(2)));
        assert_eq!(fixed.next_u64(), untouched.next_u64());
    }
}
