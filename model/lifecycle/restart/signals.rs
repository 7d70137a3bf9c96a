//! Restart signals: which of them the gateway sent itself, and when somebody insists.
//!
//! A signal has no sender. The gateway says beforehand that it will send one, and the first that arrives within the
//! grace is taken for it; whatever else arrives comes from outside.

use std::time::Duration;

use super::Moment;

/// How many signals within [`INSISTENCE_WINDOW`] mean that a second supervisor may be at work (OpenClaw 2026.9.6).
const INSISTENCE: usize = 3;
const INSISTENCE_WINDOW: Duration = Duration::from_secs(5 * 60);

/// How many signals of its own the gateway still expects, and until when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Authorisation {
    count: u32,
    expires: Moment,
}

impl Authorisation {
    /// One signal more is expected, within `grace` from `now`.
    pub(super) fn give(&mut self, now: Moment, grace: Duration) {
        self.count += 1;
        self.expires = now + grace;
    }

    /// Whether a signal at `now` is one that was expected. It is not expected again.
    pub(super) fn take(&mut self, now: Moment) -> bool {
        if now >= self.expires {
            self.count = 0;
        }
        let expected = self.count > 0;
        self.count = self.count.saturating_sub(1);
        expected
    }

    /// None is expected any more.
    pub(super) fn revoke(&mut self) {
        self.count = 0;
    }
}

/// Notices that restart signals from outside come again and again.
#[derive(Clone, Debug, Default)]
pub(super) struct Insistence(Vec<Moment>);

impl Insistence {
    /// Another signal. Returns whether they have become too many.
    pub(super) fn heard(&mut self, now: Moment) -> bool {
        self.0.retain(|time| now.since(*time) < INSISTENCE_WINDOW);
        self.0.push(now);
        // As many as are needed to tell, however many come.
        let surplus = self.0.len().saturating_sub(INSISTENCE);
        self.0.drain(..surplus);
        self.0.len() >= INSISTENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_signal_is_expected_once_and_for_a_while() {
        let mut authorisation = Authorisation::default();
        assert!(!authorisation.take(at(0)));
        authorisation.give(at(10), GRACE);
        assert!(authorisation.take(at(14)));
        assert!(!authorisation.take(at(14)));
        authorisation.give(at(20), GRACE);
        assert!(!authorisation.take(at(25)), "the grace is over");
        authorisation.give(at(30), GRACE);
        authorisation.revoke();
        assert!(!authorisation.take(at(30)));
    }

    #[test]
    fn an_expired_window_takes_all_that_were_expected_with_it() {
        let mut authorisation = Authorisation::default();
        authorisation.give(at(0), GRACE);
        authorisation.give(at(1), GRACE);
        assert!(!authorisation.take(at(6)) && !authorisation.take(at(6)));
    }

    #[test]
    fn three_signals_within_five_minutes_are_insistence() {
        let mut insistence = Insistence::default();
        assert_eq!([0, 100, 200].map(|s| insistence.heard(at(s))), [false, false, true]);
        assert!(insistence.heard(at(201)) && insistence.0.len() == INSISTENCE);
        assert!(!insistence.heard(at(1_000)));
    }
}
