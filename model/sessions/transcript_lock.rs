//! The lock that a run of history held on its transcript, from its beginning to its end.
//!
//! `<session>.jsonl.lock` in eras A and B. Whoever came for the same transcript meanwhile waited for less time than a
//! run may take, and then failed: openclaw/openclaw#16383, #86801. The hardened gateway needs none, since a
//! conversation has one lane.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use super::files::with_suffix;
use super::unfenced::{HeldLocks, OwnPid, Rules};
use super::{StateError, Transcript};
use crate::policy::TranscriptLock;

/// A lock older than this is stale.
const STALE_AGE: Duration = Duration::from_millis(1_800_000);
/// What a run may hold its lock for beyond its own limit, and in any case.
const HOLD_GRACE: Duration = Duration::from_millis(120_000);
const SHORTEST_MAX_HOLD: Duration = Duration::from_millis(300_000);

/// The limits of the transcript locks of an era, for runs that may take `run_timeout`; `None` when there are none.
pub(crate) fn rules(policy: TranscriptLock, run_timeout: Duration) -> Option<Rules> {
    let (timeout, anonymous_grace, own_pid) = match policy {
        TranscriptLock::NotNeeded => return None,
        TranscriptLock::WaitsTenSeconds => (Duration::from_millis(10_000), STALE_AGE, OwnPid::Alive),
        TranscriptLock::WaitsSixtySeconds => {
            (Duration::from_millis(60_000), Duration::from_millis(5_000), OwnPid::Orphan)
        }
    };
    let max_hold = SHORTEST_MAX_HOLD.max(run_timeout.saturating_add(HOLD_GRACE));
    Some(Rules { timeout, stale_age: STALE_AGE, anonymous_grace, max_hold, own_pid })
}

/// The lock of one run. Dropping it releases nothing: a run that was torn down leaves the file behind.
pub(crate) struct RunLock {
    locks: HeldLocks,
    rules: Option<Rules>,
    held: RefCell<Option<PathBuf>>,
}

impl RunLock {
    /// A run's lock, not yet taken.
    pub(crate) fn new(locks: HeldLocks, policy: TranscriptLock, run_timeout: Duration) -> Self {
        Self { locks, rules: rules(policy, run_timeout), held: RefCell::default() }
    }

    /// Takes the lock of `transcript`, if the policy has locks.
    pub(crate) async fn take(&self, transcript: &Transcript) -> Result<(), StateError> {
        let Some(rules) = &self.rules else { return Ok(()) };
        let path = with_suffix(transcript.path(), ".lock");
        self.locks.acquire(&path, rules).await?;
        self.held.replace(Some(path));
        Ok(())
    }

    /// Releases what was taken, at the end of the run.
    pub(crate) fn release(&self) {
        if let Some(path) = self.held.take() {
            self.locks.release(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_may_be_held_for_longer_than_anybody_waits_for_it() {
        assert!(rules(TranscriptLock::NotNeeded, Duration::ZERO).is_none());
        let minutes = |count: u64| Duration::from_secs(60 * count);
        for (policy, waits) in
            [(TranscriptLock::WaitsTenSeconds, 10), (TranscriptLock::WaitsSixtySeconds, 60)]
        {
            let rules = rules(policy, minutes(15)).expect("there is one");
            assert_eq!((rules.timeout.as_secs(), rules.max_hold), (waits, minutes(17)));
        }
        let short = rules(TranscriptLock::WaitsTenSeconds, minutes(1)).expect("there is one");
        assert_eq!(short.max_hold, minutes(5));
    }
}
