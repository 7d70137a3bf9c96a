//! When a job is due: pure arithmetic on the wall clock, which may jump.
//!
//! A job's times are the multiples of its interval since the Unix epoch. Such a time, a [`Slot`], has its identity
//! from the clock and not from when somebody looked, so that every life and every clock agree on which it is. How
//! far a job's slots are accounted for is one number; what is due follows from it and from the time.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::env::WallTime;

/// The most jobs that catch up after a start, and the pause between two of them (OpenClaw: 5, and 5 s).
pub(super) const MOST_LATE_JOBS: usize = 5;
pub(super) const LATE_JOB_DELAY: Duration = Duration::from_secs(5);

/// A time for which a job is scheduled, in milliseconds of the wall clock since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Slot(pub(crate) u64);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        WallTime::from_epoch_ms(self.0).fmt(f)
    }
}

/// Slots that passed without a run, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missed {
    pub(super) first: Slot,
    pub(super) last: Slot,
    pub(super) count: u64,
}

/// What the time asks of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    NotYet,
    /// The clock stands more than an interval before what is accounted for: it was set back.
    ClockWentBack,
    /// The latest slot, with those before it that nobody kept.
    Now {
        slot: Slot,
        missed: Option<Missed>,
    },
}

/// What is due at `now` of a job whose slots are accounted for up to `accounted`, that moment included. All in
/// milliseconds since the epoch.
pub(super) fn due(every_ms: u64, accounted: u64, now: u64) -> Due {
    if now.saturating_add(every_ms) < accounted {
        return Due::ClockWentBack;
    }
    let (first, last) = (next_after(every_ms, accounted), Slot(now - now % every_ms));
    if first > last {
        return Due::NotYet;
    }
    let before = Slot(last.0.saturating_sub(every_ms));
    let missed = (first < last).then(|| {
        let count = (before.0 - first.0) / every_ms + 1;
        Missed { first, last: before, count }
    });
    Due::Now { slot: last, missed }
}

/// The first slot after `moment`.
pub(super) fn next_after(every_ms: u64, moment: u64) -> Slot {
    Slot((moment / every_ms + 1).saturating_mul(every_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accounted: u64, now: u64, expected: Due) {
        assert_eq!(due(10, accounted, now), expected, "accounted up to {accounted}, now {now}");
    }

    fn now(slot: u64, missed: Option<(u64, u64, u64)>) -> Due {
        let missed =
            missed.map(|(first, last, count)| Missed { first: Slot(first), last: Slot(last), count });
        Due::Now { slot: Slot(slot), missed }
    }

    #[test]
    fn a_slot_is_due_from_its_time_on_until_it_is_accounted_for() {
        check(103, 109, Due::NotYet);
        check(103, 110, now(110, None));
        check(109, 119, now(110, None));
        check(110, 119, Due::NotYet);
    }

    #[test]
    fn of_many_that_passed_the_latest_is_due_and_the_others_are_missed() {
        check(110, 130, now(130, Some((120, 120, 1))));
        check(110, 159, now(150, Some((120, 140, 3))));
    }

    #[test]
    fn a_clock_that_went_back_a_little_waits_and_one_that_went_back_far_says_so() {
        check(110, 100, Due::NotYet);
        check(110, 99, Due::ClockWentBack);
        check(110, 109, Due::NotYet);
    }

    #[test]
    fn the_next_slot_is_never_this_one() {
        assert_eq!([next_after(10, 100), next_after(10, 109)], [Slot(110), Slot(110)]);
        assert_eq!(Slot(1_772_409_600_000).to_string(), "2026-03-02T00:00:00.000Z");
    }
}
