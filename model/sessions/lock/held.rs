//! A lock that is held: renewing it, writing what it protects while it is still ours, and giving it back.
//!
//! Giving back never waits and never fails loudly. It happens when the holder says so, when it is dropped (its task
//! was aborted, its run interrupted) and when the life ends; what the disk refuses is tried again in the background,
//! and by then counts as an orphan for everybody.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep};

use super::judge::LEASE;
use super::payload::{Payload, Sight, look};
use super::{FIRST_RETRY, LONGEST_RETRY, LockError, Locks, Rules};
use crate::env::{KernelLock, Liveness};
use crate::sessions::files::json_line;

/// How long a holder waits for the guard when it is done.
const GUARD_PATIENCE: Duration = Duration::from_secs(10);
/// A lock that has been held for so long is renewed before the holder goes on.
const RENEW_AFTER: Duration = LEASE.checked_div(3).expect("three is not zero");
/// How often a lock that could not be given back is tried again, and how long.
const RELEASE_ATTEMPTS: u32 = 60;
/// How long the end of a life waits for the guard of each lock that it gives back.
const CLOSE_ATTEMPTS: u32 = 5;

/// A lock that this process holds, as far as it knows.
pub(crate) struct FileLock {
    locks: Locks,
    path: PathBuf,
    rules: Rules,
    owner_id: String,
    renewed: Cell<Instant>,
    given_back: Cell<bool>,
    /// It was somebody else's before, who did not give it back.
    was_left: bool,
    /// The place at the head of the queue; the next one's turn comes when this goes.
    _turn: OwnedMutexGuard<()>,
}

impl FileLock {
    pub(super) fn new(
        locks: Locks,
        path: PathBuf,
        rules: Rules,
        owner_id: String,
        was_left: bool,
        turn: OwnedMutexGuard<()>,
    ) -> Self {
        let (renewed, given_back) = (Cell::new(Instant::now()), Cell::new(false));
        Self { locks, path, rules, owner_id, renewed, given_back, was_left, _turn: turn }
    }

    /// The id that stands in the lock file: nobody else has it, ever.
    pub(crate) fn owner_id(&self) -> &str {
        &self.owner_id
    }

    /// Whether whoever had it before did not give it back.
    pub(crate) const fn was_left(&self) -> bool {
        self.was_left
    }

    /// Shows those who wait that the holder is at work, when it is time to. Fails when the lock was taken away.
    pub(crate) async fn renew_if_due(&self) -> Result<(), LockError> {
        if self.renewed.get().elapsed() < RENEW_AFTER || !self.rules.looks_before_writing {
            return Ok(());
        }
        let _guard = self.guard().await?;
        let mut payload = self.locks.still_ours(&self.path, &self.owner_id)?;
        payload.renewal += 1;
        let written = self.locks.0.env.fs().write(&self.path, &json_line(&payload));
        self.renewed.set(Instant::now());
        written.map_err(LockError::io(&self.path))
    }

    /// Does `write` if the lock is still ours, and gives it back; nobody can take it away in between. When `write`
    /// fails the lock is kept, until it is dropped.
    pub(crate) async fn write_and_release<T, E: From<LockError>>(
        &self,
        write: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let guard = self.guard().await?;
        if self.rules.looks_before_writing
            && let Err(error) = self.locks.still_ours(&self.path, &self.owner_id)
        {
            if let LockError::Lost { path } = &error {
                tracing::warn!(name: "lock.lost", file = %path.display(), "the lock was not ours any more");
                self.locks.forget(&self.owner_id);
                self.given_back.set(true);
            }
            return Err(error.into());
        }
        let written = write()?;
        self.give_back(&guard);
        Ok(written)
    }

    /// Gives the lock back.
    pub(crate) fn release(self) {
        drop(self);
    }

    /// The guard, as soon as nobody else has it.
    async fn guard(&self) -> Result<KernelLock, LockError> {
        let asked = Instant::now();
        let mut retry = FIRST_RETRY;
        loop {
            if let Some(guard) = self.locks.try_guard(&self.path)? {
                return Ok(guard);
            }
            let waited = asked.elapsed();
            if waited >= GUARD_PATIENCE {
                return Err(self.locks.give_up(&self.path, Some(super::Obstacle::Guard), waited));
            }
            sleep(self.locks.jittered(retry)).await;
            retry = (retry * 2).min(LONGEST_RETRY);
        }
    }

    fn give_back(&self, guard: &KernelLock) {
        self.given_back.set(true);
        if let Err(error) = self.locks.remove_own(guard, &self.path, &self.owner_id) {
            self.locks.release_later(&self.path, &self.owner_id, &error);
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        if self.given_back.get() || !self.locks.0.held.borrow().contains_key(&self.owner_id) {
            return;
        }
        match self.locks.try_guard(&self.path) {
            Ok(Some(guard)) => self.give_back(&guard),
            Ok(None) => {
                let busy = self.locks.give_up(&self.path, Some(super::Obstacle::Guard), Duration::ZERO);
                self.locks.release_later(&self.path, &self.owner_id, &busy);
            }
            Err(error) => self.locks.release_later(&self.path, &self.owner_id, &error),
        }
    }
}

impl Locks {
    /// Gives back everything that this life still holds, `last` at the end, and takes no lock any more. Tasks that
    /// go on after this find that they lost theirs, and cannot write: unlike OpenClaw, which gave locks back when
    /// the signal came, in front of work that still wrote.
    pub(crate) async fn close(&self, last: FileLock) {
        self.0.closed.set(true);
        let held: Vec<(String, PathBuf)> =
            self.0.held.borrow().iter().map(|(id, (path, _))| (id.clone(), path.clone())).collect();
        for (owner_id, path) in held.into_iter().filter(|(id, _)| *id != last.owner_id) {
            for _ in 0..CLOSE_ATTEMPTS {
                if matches!(self.try_release(&path, &owner_id), Ok(true)) {
                    break;
                }
                sleep(FIRST_RETRY).await;
            }
        }
        last.release();
    }

    /// Removes the lock file if it is ours; `false` when the guard is busy.
    fn try_release(&self, path: &Path, owner_id: &str) -> Result<bool, LockError> {
        let Some(guard) = self.try_guard(path)? else { return Ok(false) };
        self.remove_own(&guard, path, owner_id).map(|()| true)
    }

    fn forget(&self, owner_id: &str) {
        self.0.held.borrow_mut().remove(owner_id);
    }

    /// The payload of a lock that is still ours. The guard must be held.
    fn still_ours(&self, path: &Path, owner_id: &str) -> Result<Payload, LockError> {
        match look(&self.0.env, path) {
            Some((Sight::Says(payload), _)) if payload.owner_id == owner_id => Ok(payload),
            // Not to know is not to be allowed to write.
            Some((Sight::NotReadNow(kind), _)) => Err(LockError::io(path)(kind.into())),
            _ => Err(LockError::Lost { path: path.to_path_buf() }),
        }
    }

    /// Removes a lock file of ours, under its guard. One that is not ours any more is left to its holder.
    fn remove_own(&self, _guard: &KernelLock, path: &Path, owner_id: &str) -> Result<(), LockError> {
        match self.still_ours(path, owner_id) {
            Ok(_) => self.0.env.fs().remove(path).map_err(LockError::io(path))?,
            Err(LockError::Lost { .. }) => {
                tracing::warn!(name: "lock.lost", file = %path.display(), "the lock was not ours any more");
            }
            Err(error) => return Err(error),
        }
        self.forget(owner_id);
        Ok(())
    }

    /// A lock that could not be given back is nobody's from now on: this process takes it over as an orphan, and
    /// for the others it is tried again.
    fn release_later(&self, path: &Path, owner_id: &str, error: &LockError) {
        self.forget(owner_id);
        // A process that has ended has no background any more, and whoever comes after it judges what it left. Only
        // the machine can say so: a disk may refuse with any error.
        let process = self.0.env.process();
        if process.liveness(process.pid(), process.start_time()) == Liveness::Dead {
            return;
        }
        tracing::warn!(name: "lock.release-failed", file = %path.display(), %error, "left a lock behind");
        let (locks, path, owner_id) = (self.clone(), path.to_path_buf(), owner_id.to_string());
        drop(self.0.env.spawn("lock release", async move {
            for _ in 0..RELEASE_ATTEMPTS {
                sleep(LONGEST_RETRY).await;
                if matches!(locks.try_release(&path, &owner_id), Ok(true)) {
                    return;
                }
            }
        }));
    }
}
