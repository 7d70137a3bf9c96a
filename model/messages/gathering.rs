//! Gathering: which of the messages that wait in a lane make a turn together, and when it begins.
//!
//! Decided from the waiting messages alone. Knows neither lanes nor what a message says.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::channels::Route;
use crate::config::{QueueConfig, QueueMode};

/// How many messages a turn has at most (OpenClaw: the length of its follow-up queue).
pub(crate) const MOST_IN_A_TURN: usize = 20;
/// How often a turn takes in what comes meanwhile. Whoever does not stop writing gets an answer all the same.
const MOST_JOINS: u32 = 5;
/// How many times its debounce a conversation is kept waiting at most (OpenClaw 2026.9.6).
const LONGEST_WAIT: u32 = 5;

/// A message that waits for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) run_id: String,
    /// Whom a reply goes to that it shares with others; `None`: it shares none.
    pub(crate) shares: Option<Route>,
    /// When it came.
    pub(crate) since: Instant,
    /// Before this its turn does not begin.
    pub(crate) not_before: Option<Instant>,
}

/// How turns are made of what waits.
pub(crate) struct Gathering {
    mode: QueueMode,
    debounce: Duration,
    is_flushed: Cell<bool>,
}

impl Gathering {
    pub(crate) fn new(config: QueueConfig) -> Self {
        Self { mode: config.mode, debounce: config.debounce(), is_flushed: Cell::new(false) }
    }

    /// From now on nothing waits for longer than it has to.
    pub(crate) fn flush(&self) {
        self.is_flushed.set(true);
    }

    /// Whether turns take in what comes meanwhile.
    pub(crate) fn steers(&self) -> bool {
        self.mode == QueueMode::Steer
    }

    /// When the next turn begins of a lane in which `queue` waits; `None`: now.
    pub(crate) fn due(&self, queue: &[Waiting]) -> Option<Instant> {
        if self.is_flushed.get() {
            return None;
        }
        let (first, last) = (queue.first()?, queue.last()?);
        let quiet = (self.debounce > Duration::ZERO)
            .then(|| (last.since + self.debounce).min(first.since + self.debounce * LONGEST_WAIT));
        quiet.max(first.not_before)
    }

    /// How many from the front of `queue` are the next turn; at least one, if any waits.
    pub(crate) fn turn(&self, queue: &[Waiting]) -> usize {
        match (self.mode, queue) {
            (_, []) => 0,
            (QueueMode::Followup, _) => 1,
            (QueueMode::Collect | QueueMode::Steer, [first, rest @ ..]) => {
                1 + company(first, rest, MOST_IN_A_TURN - 1)
            }
        }
    }

    /// How many from the front of `queue` join a `turn` that is at work and took others in `joins` times.
    pub(crate) fn joining(&self, turn: &[Waiting], joins: u32, queue: &[Waiting]) -> usize {
        match turn {
            [first, ..] if self.steers() && joins < MOST_JOINS => {
                company(first, queue, MOST_IN_A_TURN.saturating_sub(turn.len()))
            }
            _ => 0,
        }
    }
}

/// How many from the front of `queue` share a reply with `first`.
fn company(first: &Waiting, queue: &[Waiting], most: usize) -> usize {
    let shares = |waiting: &&Waiting| first.shares.is_some() && waiting.shares == first.shares;
    queue.iter().take(most).take_while(shares).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathering(mode: QueueMode, debounce_ms: u64) -> Gathering {
        Gathering::new(QueueConfig { mode, debounce_ms })
    }

    fn waiting(since: Instant, after_ms: u64) -> Waiting {
        Waiting {
            run_id: after_ms.to_string(),
            shares: Some(Route::Webchat),
            since: since + Duration::from_millis(after_ms),
            not_before: None,
        }
    }

    #[test]
    fn a_follow_up_has_a_turn_of_its_own_and_what_is_collected_has_not() {
        let now = Instant::now();
        let queue: Vec<_> = (0..25).map(|after| waiting(now, after)).collect();
        assert_eq!(gathering(QueueMode::Followup, 0).turn(&queue), 1);
        assert_eq!(gathering(QueueMode::Collect, 0).turn(&queue), MOST_IN_A_TURN);
        assert_eq!(gathering(QueueMode::Collect, 0).turn(&queue[..3]), 3);
        assert_eq!(gathering(QueueMode::Collect, 0).turn(&[]), 0);
    }

    #[test]
    fn who_shares_no_reply_is_alone_and_order_is_kept() {
        let now = Instant::now();
        let mut queue: Vec<_> = (0..4).map(|after| waiting(now, after)).collect();
        queue[2].shares = None;
        let collect = gathering(QueueMode::Collect, 0);
        assert_eq!((collect.turn(&queue), collect.turn(&queue[2..]), collect.turn(&queue[3..])), (2, 1, 1));
    }

    #[test]
    fn a_turn_waits_for_quiet_and_not_for_ever() {
        let now = Instant::now();
        let after = |ms| Some(now + Duration::from_millis(ms));
        let lane = gathering(QueueMode::Collect, 100);
        assert_eq!(lane.due(&[waiting(now, 0)]), after(100));
        assert_eq!(lane.due(&[waiting(now, 0), waiting(now, 90)]), after(190));
        assert_eq!(lane.due(&[waiting(now, 0), waiting(now, 480)]), after(500));
        let resumed = Waiting { not_before: after(900), ..waiting(now, 0) };
        assert_eq!(lane.due(std::slice::from_ref(&resumed)), after(900));
        assert_eq!(gathering(QueueMode::Followup, 0).due(&[waiting(now, 0)]), None);
        lane.flush();
        assert_eq!(lane.due(&[resumed]), None);
    }

    #[test]
    fn a_turn_is_steered_a_few_times_and_never_too_wide() {
        let now = Instant::now();
        let queue: Vec<_> = (0..25).map(|after| waiting(now, after)).collect();
        let steer = gathering(QueueMode::Steer, 0);
        assert_eq!(steer.joining(&queue[..1], 0, &queue[1..3]), 2);
        assert_eq!(steer.joining(&queue[..1], MOST_JOINS, &queue[1..3]), 0);
        assert_eq!(steer.joining(&queue[..19], 1, &queue[19..]), 1);
        assert_eq!(gathering(QueueMode::Collect, 0).joining(&queue[..1], 0, &queue[1..3]), 0);
    }
}
