//! What the service's machine took the time for: its wall clock, which may jump, told from the timeline.
//!
//! A moment of the wall clock may come several times, or be jumped over. It comes when the clock shows it, or shows
//! more than it for the first time since it showed less. Knows nothing of what is due then.

use std::time::Duration;

use super::Evidence;
use crate::timeline::Fact;

/// The wall clock of the service's machine over a whole run.
pub(super) struct WallClock {
    /// Since when it has been going without a jump, and what it showed then.
    stretches: Vec<(Duration, u64)>,
}

impl WallClock {
    /// From the terms and the jumps.
    pub(super) fn of(run: &Evidence<'_>) -> Self {
        let mut clock = Self { stretches: vec![(Duration::ZERO, run.terms.wall_epoch_ms)] };
        for event in run.events {
            if let Fact::ClockJumped { machine, by_ms } = &event.fact
                && *machine == run.terms.machine
            {
                let shows = clock.shows_at(event.at).saturating_add_signed(*by_ms);
                clock.stretches.push((event.at, shows));
            }
        }
        clock
    }

    /// What it shows at a time of the world, in milliseconds since the Unix epoch; after a jump at that very time.
    pub(super) fn shows_at(&self, at: Duration) -> u64 {
        let begun = self.stretches.iter().rfind(|(since, _)| *since <= at);
        begun.map_or(0, |stretch| shown(*stretch, at))
    }

    /// The most that it shows from one time of the world to another, both included.
    pub(super) fn most_shown(&self, from: Duration, until: Duration) -> u64 {
        let jumps = self.stretches.iter().zip(self.stretches.iter().skip(1));
        let before_jumps =
            jumps.filter(|(_, (at, _))| (from..=until).contains(at)).map(|(old, (at, _))| shown(*old, *at));
        before_jumps.chain([self.shows_at(from), self.shows_at(until)]).max().unwrap_or_default()
    }

    /// When `wall_ms` came for the last time before `end`. `None`: it has not come since the world began, or the
    /// clock has been set back behind it.
    pub(super) fn last_came(&self, wall_ms: u64, end: Duration) -> Option<Duration> {
        let begun = self.stretches.partition_point(|(since, _)| *since < end);
        let mut until = end;
        for (index, &stretch) in self.stretches[..begun].iter().enumerate().rev() {
            let (since, shows) = stretch;
            if shown(stretch, until) <= wall_ms {
                // What follows this stretch, if anything, began past the moment: with a jump over it.
                return (until < end).then_some(until);
            }
            if shows < wall_ms || (shows == wall_ms && index > 0) {
                return Some(since + Duration::from_millis(wall_ms - shows));
            }
            until = since;
        }
        None
    }
}

fn shown((since, shows): (Duration, u64), at: Duration) -> u64 {
    shows + at.saturating_sub(since).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::timeline::Ledger;
    use crate::timeline::story::Story;

    /// When the clock came to show each of `moments` for the last time in a minute, in seconds.
    fn came(story: Story, moments: &[u64]) -> Vec<Option<u64>> {
        let (events, ledger) = (story.events(), Ledger::default());
        let terms = Terms { wall_epoch_ms: 100_000, ..Terms::default() };
        let clock = WallClock::of(&Evidence::new(&events, &ledger, &terms));
        let minute = Duration::from_secs(60);
        moments.iter().map(|s| clock.last_came(s * 1_000, minute).map(|at| at.as_secs())).collect()
    }

    #[test]
    fn a_steady_clock_shows_every_moment_once() {
        assert_eq!(came(Story::new(), &[99, 110, 159, 160]), [None, Some(10), Some(59), None]);
    }

    #[test]
    fn what_is_jumped_over_comes_with_the_jump() {
        let forward = Story::new().at(10_000).clock_jumps(100_000);
        assert_eq!(
            came(forward, &[105, 110, 150, 210, 211]),
            [Some(5), Some(10), Some(10), Some(10), Some(11)]
        );
    }

    #[test]
    fn what_comes_again_counts_the_last_time() {
        let back = || Story::new().at(20_000).clock_jumps(-15_000);
        assert_eq!(
            came(back(), &[102, 105, 110, 119, 120]),
            [Some(2), Some(20), Some(25), Some(34), Some(35)]
        );
        let far = back().at(30_000).clock_jumps(-1_000_000);
        assert_eq!(came(far, &[105, 110, 119]), [None, None, None]);
    }
}
