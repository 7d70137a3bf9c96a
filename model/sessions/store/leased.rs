//! A store change under the leased lock: read, modify, write aside, look, replace.
//!
//! The slow part, writing and syncing the new content, happens in a file that nobody else reads. Only the rename
//! counts, and it happens in the same guarded section as the look at the lock: who lost the lock meanwhile (frozen, or
//! on a disk slower than the lease) changes nothing and begins again with what is there by then. The yields are where
//! a process with one thread would stand still anyway; at each of them it may die or be frozen.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::yield_now;

use super::{LOCK_DEADLINE, Parsed, SessionStore, Sessions};
use crate::sessions::files::with_suffix;
use crate::sessions::{FileLock, LockError, Rules, StateError};

/// How often a change is begun in all when its lock is taken away.
const ATTEMPTS: u32 = 3;

impl SessionStore {
    pub(super) async fn change_leased<T>(
        &self,
        deadline: Duration,
        mut mutate: impl FnMut(&mut Sessions) -> T,
    ) -> Result<T, StateError> {
        let mut attempt = 1;
        let mut lock = self.lock(deadline).await?;
        loop {
            yield_now().await;
            let mut sessions = self.read(Sessions::clone)?;
            let result = mutate(&mut sessions);
            match self.replace(&lock, sessions).await {
                Ok(()) => return Ok(result),
                Err(StateError::Lock(LockError::Lost { .. })) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
            // Before the next attempt: it waits for the place in the queue that this one has.
            drop(lock);
            lock = self.lock(LOCK_DEADLINE).await?;
        }
    }

    /// The lock on the store.
    pub(super) async fn lock(&self, deadline: Duration) -> Result<FileLock, LockError> {
        self.files.locks().acquire(&self.lock_path(), Rules::store(self.policy), deadline).await
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        with_suffix(&self.path, ".lock")
    }

    /// Makes `sessions` the content of the store, if the lock is still ours at that moment, and gives the lock back.
    pub(super) async fn replace(&self, lock: &FileLock, sessions: Sessions) -> Result<(), StateError> {
        let bytes = serde_json::to_vec_pretty(&sessions).expect("entries have string keys");
        let temporary = with_suffix(&self.path, &format!(".{}.tmp", lock.owner_id()));
        self.files.stage(&temporary, &bytes)?;
        yield_now().await;
        let written = match lock.renew_if_due().await {
            Ok(()) => {
                lock.write_and_release(|| self.files.put_in_place(&temporary, &self.path, &bytes)).await
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = written {
            self.files.discard(&temporary);
            return Err(error);
        }
        self.parsed.replace(Some(Parsed { bytes, sessions }));
        self.is_unconfirmed.set(true);
        let durable = self.confirm();
        yield_now().await;
        durable
    }

    /// Makes the latest change durable, unless it is.
    pub(super) fn confirm(&self) -> Result<(), StateError> {
        if self.is_unconfirmed.get() {
            self.files.make_place_durable(&self.path)?;
            self.is_unconfirmed.set(false);
        }
        Ok(())
    }
}
