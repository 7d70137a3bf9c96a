//! Figures of many runs: how long something took, from the shortest to the longest, or that it never happened.

use std::time::Duration;

use crate::timeline::words::span;

/// A time that something took, over several runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figure {
    /// The shortest and the longest, in milliseconds, where it happened.
    range: Option<(u64, u64)>,
    /// Somewhere it never happened.
    never: bool,
}

impl Figure {
    /// Of one run; `None`: it never happened.
    pub(super) fn of(ms: Option<u64>) -> Self {
        Self { range: ms.map(|ms| (ms, ms)), never: ms.is_none() }
    }

    /// What holds of both.
    pub(super) fn both(self, other: Self) -> Self {
        let range = match (self.range, other.range) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, other) => one.or(other),
        };
        Self { range, never: self.never || other.never }
    }

    /// Whether people would call the two the same.
    pub(super) fn is_like(self, other: Self) -> bool {
        self.never == other.never
            && match (self.range, other.range) {
                (Some((a, b)), Some((c, d))) => {
                    let gap = a.max(c).saturating_sub(b.min(d));
                    gap <= (b.max(d) / 4).max(500)
                }
                (None, None) => true,
                _ => false,
            }
    }

    /// The longest, in milliseconds.
    pub(super) fn longest(self) -> Option<u64> {
        self.range.map(|(_, most)| most)
    }

    /// Whether it happened anywhere.
    pub(super) const fn is_of_something(self) -> bool {
        self.range.is_some()
    }

    /// `0.2 s`, `0.2-4.9 s`, `4.0 s or never`
    pub(super) fn words(self) -> String {
        let short = |ms| span(Duration::from_millis(ms));
        let range = self.range.map(|(least, most)| match (short(least), short(most)) {
            (shortest, longest) if shortest == longest || most - least <= most / 50 => longest,
            (least, most) => format!("{}-{most}", least.trim_end_matches(" s")),
        });
        match (range, self.never) {
            (Some(range), false) => range,
            (Some(range), true) => format!("{range} or never"),
            (None, _) => "never".to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(least: u64, most: u64) -> Figure {
        Figure::of(Some(least)).both(Figure::of(Some(most)))
    }

    #[test]
    fn figures_are_alike_when_people_would_say_so() {
        assert!(figure(10, 10).is_like(figure(400, 400)), "half a second is no matter");
        assert!(figure(30_000, 31_000).is_like(figure(35_000, 35_000)));
        assert!(!figure(5_000, 5_000).is_like(figure(35_000, 35_000)));
        assert!(
            !figure(5_000, 5_000).is_like(Figure::of(None)) && Figure::of(None).is_like(Figure::of(None))
        );
    }

    #[test]
    fn a_range_is_shown_where_it_tells_something() {
        let words = [figure(180, 4_900), figure(180, 180), figure(35_020, 35_100), Figure::of(None)];
        assert_eq!(words.map(Figure::words), ["0.2-4.9 s", "0.2 s", "35.1 s", "never"]);
        assert_eq!(figure(180, 180).both(Figure::of(None)).words(), "0.2 s or never");
    }
}
