//! Dice: what a seed decides about a scenario, drawn from one named stream for each concern.
//!
//! Streams are independent: one more draw for the senders moves no fault. Instants and durations are drawn as single
//! values and not left to the run as ranges, so that the file says all of it.

use std::fmt::Write;

use crate::world::{RandomStream, RandomStreams};

/// Everything that one seed draws.
pub(super) struct Dice {
    streams: RandomStreams,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { streams: RandomStreams::new(seed) }
    }

    /// The die of one concern.
    pub(super) fn of(&self, concern: &str) -> Die {
        Die(self.streams.stream(&format!("explore {concern}")))
    }
}

/// The draws of one concern.
pub(super) struct Die(RandomStream);

impl Die {
    /// True so many times in a hundred.
    pub(super) fn chance(&self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    /// A number from `least` to `most`, both included.
    pub(super) fn between(&self, least: u64, most: u64) -> u64 {
        least + self.0.below(most.saturating_sub(least) + 1)
    }

    /// One of them, each as likely as any other.
    pub(super) fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.0.below(from.len() as u64) as usize]
    }

    /// One of them, by weight; `None` when nothing weighs anything.
    pub(super) fn weighted<T: Copy>(&self, from: &[(T, u64)]) -> Option<T> {
        let all: u64 = from.iter().map(|(_, weight)| weight).sum();
        if all == 0 {
            return None;
        }
        let mut left = self.0.below(all);
        let found = from.iter().find(|(_, weight)| {
            let is_it = left < *weight;
            left = left.saturating_sub(*weight);
            is_it
        });
        found.map(|(one, _)| *one)
    }

    /// A time of at least and at most so many milliseconds, more often a short one: first how long it may be at most,
    /// in octaves, then how long it is.
    pub(super) fn time(&self, least_ms: u64, most_ms: u64) -> String {
        let octaves = u64::from((most_ms - least_ms).max(1).ilog2());
        let most = least_ms + ((most_ms - least_ms) >> self.0.below(octaves.min(6) + 1));
        written(self.between(least_ms, most))
    }

    /// An instant in an interval, every millisecond as likely as any other.
    pub(super) fn instant(&self, from_ms: u64, to_ms: u64) -> String {
        written(self.between(from_ms, to_ms))
    }
}

/// Milliseconds as scenario files write them: in seconds where that says it without a fraction.
pub(super) fn written(ms: u64) -> String {
    let mut words = String::new();
    let _ = match ms.is_multiple_of(1_000) {
        true => write!(words, "{}s", ms / 1_000),
        false => write!(words, "{ms}ms"),
    };
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_of_zero_is_never_drawn_and_no_weight_at_all_is_nothing() {
        let die = Dice::new(1).of("x");
        assert!((0..100).all(|_| die.weighted(&[("never", 0), ("always", 3)]) == Some("always")));
        assert_eq!(die.weighted(&[("never", 0)]), None);
    }

    #[test]
    fn times_are_within_their_bounds_and_short_ones_come_more_often() {
        let die = Dice::new(2).of("x");
        let drawn: Vec<_> = (0..1_000)
            .map(|_| humantime::parse_duration(&die.time(100, 60_000)).expect("a duration").as_millis())
            .collect();
        assert!(drawn.iter().all(|ms| (100..=60_000).contains(ms)), "{drawn:?}");
        assert!(drawn.iter().filter(|ms| **ms < 10_000).count() > 500);
        assert!(drawn.iter().any(|ms| *ms > 30_000));
    }
}
