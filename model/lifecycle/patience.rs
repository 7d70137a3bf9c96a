//! Patience: how long a process goes on trying to begin while the machine is in trouble.
//!
//! A start that fails at once is made again at once by a supervisor, which soon gives up for good: five starts in ten
//! seconds are systemd's limit, and a disk may be in trouble for longer. So the process itself waits and tries again,
//! less and less often; and for as long as it takes, where its exit would be answered with the same start in any case.
//! Knows nothing of what failed.

use std::time::Duration;

use tokio::time::Instant;

use super::respawn::MindedBy;
use crate::policy::FailedStart;

/// How long a process tries again before it ends, from the first attempt that failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first pause; each is twice as long as the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What is left of the patience of one start.
pub(crate) struct Patience {
    policy: FailedStart,
    ends: Option<Instant>,
    next: Duration,
}

impl Patience {
    /// Full patience, as far as the policy has any.
    pub(crate) fn new(policy: FailedStart) -> Self {
        Self { policy, ends: None, next: FIRST_PAUSE }
    }

    /// How long to wait before the next attempt; `None` when there is no patience left.
    pub(crate) fn pause(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let ends = *self.ends.get_or_insert(now + PATIENCE);
        if self.policy == FailedStart::Ends || now >= ends {
            return None;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

/// How long to wait before another attempt at a start that something wrong keeps from beginning, for as long as that is
/// not put right; `None` where the process ends. Whoever restarts whatever ends would only repeat the attempt, for ever and
/// with a process each: it does not know the status that asks for no restart (systemd does, and a person reads it). The
/// process that stays begins as soon as it can.
pub(crate) fn stands_by(policy: FailedStart, minded_by: MindedBy) -> Option<Duration> {
    use MindedBy::{Launchd, Nobody, NobodyInContainer, Systemd, TaskScheduler, Unknown};
    match (policy, minded_by) {
        (FailedStart::TriesAgain, Launchd | NobodyInContainer) => Some(LONGEST_PAUSE),
        (FailedStart::TriesAgain, Systemd | TaskScheduler | Unknown | Nobody) | (FailedStart::Ends, _) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_patience_ends() {
        let mut patience = Patience::new(FailedStart::TriesAgain);
        let mut pauses = Vec::new();
        while let Some(pause) = patience.pause() {
            pauses.push(pause.as_secs());
            tokio::time::sleep(pause).await;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 15, 15, 15]);
        assert_eq!(Patience::new(FailedStart::Ends).pause(), None);
    }

    #[test]
    fn what_is_wrong_is_waited_for_where_an_exit_would_only_be_repeated() {
        for by in [MindedBy::Launchd, MindedBy::NobodyInContainer] {
            assert_eq!(stands_by(FailedStart::TriesAgain, by), Some(LONGEST_PAUSE));
            assert_eq!(stands_by(FailedStart::Ends, by), None);
        }
        for by in [MindedBy::Systemd, MindedBy::TaskScheduler, MindedBy::Unknown, MindedBy::Nobody] {
            assert_eq!(stands_by(FailedStart::TriesAgain, by), None);
        }
    }
}
