//! Health: what the gateway knows of its own locks and of its store, what it does about them by itself, and what it
//! tells who asks.
//!
//! A lock that nobody holds is removed before somebody needs it: at the start, every minute while serving, and by
//! [`Gateway::repair`], which takes none of the locks that it repairs.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::channels::{Account, Channel};
use crate::cron::Cron;
use crate::env::Task;
use crate::gateway::Gateway;
use crate::lifecycle::recovery::flagged;
use crate::policy::{LockSweep, StoreLock};
use crate::sessions::{Mended, Rules, StateError, directories, transcript_rules};
use crate::wire::Which;

/// How often a serving gateway looks for locks that nobody holds.
const WATCH_INTERVAL: Duration = Duration::from_secs(60);

/// What a repair came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// The locks that nobody held and that are gone now.
    pub(crate) locks_freed: Vec<PathBuf>,
    /// What became of the store.
    pub(crate) store: Mended,
}

/// Looks after the locks for as long as the gateway serves; `None` where history did not.
pub(crate) fn watch_locks(gateway: &Rc<Gateway>) -> Option<Task<()>> {
    if gateway.policies.lock_sweep == LockSweep::TranscriptsOnly {
        return None;
    }
    let watching = gateway.clone();
    Some(gateway.env.spawn("lock watch", async move {
        let dirs = watching.usual_lock_dirs();
        loop {
            sleep(WATCH_INTERVAL).await;
            watching.sweep(&dirs);
        }
    }))
}

impl Gateway {
    /// Puts the state in order before anybody uses it; the instance lock must be held.
    pub(crate) async fn put_in_order(&self) -> Result<(), StateError> {
        let freed = self.sweep(&self.all_lock_dirs());
        self.sessions.mend().await?;
        flagged::mark(self, &freed).await
    }

    /// Frees every lock that nobody holds, restores the store when it cannot be read, and brings its last good copy
    /// up to date. Needs no lock, except to write a store that must be restored.
    pub(crate) async fn repair(&self) -> Result<Repaired, StateError> {
        if self.policies.store_lock == StoreLock::Unfenced {
            // History's repair job took the lock that it was to repair: openclaw/openclaw#77721.
            self.sessions.change(|_| ()).await?;
        }
        let locks_freed = self.sweep(&self.all_lock_dirs());
        Ok(Repaired { locks_freed, store: self.sessions.mend().await? })
    }

    fn sweep(&self, dirs: &[PathBuf]) -> Vec<PathBuf> {
        let locks = self.sessions.files().locks();
        match transcript_rules(self.policies.transcript_lock, self.config.run_timeout()) {
            // History judged the locks of its runs by its own rules, and knew which it held.
            Some(rules) => self.process_wide.locks.clean_up(locks.transcript_locks(dirs), &rules),
            None => locks.sweep(dirs, self.lock_rules(), self.policies.lock_sweep),
        }
    }

    fn lock_rules(&self) -> Rules {
        Rules::store(self.policies.store_lock)
    }

    /// Where locks of this version are.
    fn usual_lock_dirs(&self) -> [PathBuf; 2] {
        [self.config.gateway.state_dir.clone(), self.sessions.dir().to_path_buf()]
    }

    /// Where locks of any version may be.
    fn all_lock_dirs(&self) -> Vec<PathBuf> {
        directories(&self.env, &self.config.gateway.state_dir)
    }

    /// The answer to `health`.
    pub(crate) fn health(&self) -> Value {
        let now = self.env.wall_clock();
        let locks = self.sessions.files().locks().survey(&self.all_lock_dirs(), self.lock_rules());
        let locks: Vec<Value> = locks.iter().map(|lock| lock.to_json(now)).collect();
        let store = if self.sessions.was_restored() { "restored" } else { "ok" };
        json!({
            "ok": true,
            "phase": self.phase.name(),
            "ready": self.admits_messages(),
            "uptimeMs": self.uptime().as_millis() as u64,
            "peers": self.peers.count(Which::All),
            "cron": self.cron.as_ref().map(Cron::health),
            "work": {"runs": self.lanes.depth(), "openMessages": self.inbox.open_count()},
            "locks": locks,
            "channels": self.channels_health(),
            "store": {"state": store},
        })
    }

    /// Each account: whether its platform answers, and how many texts are owed through it. One that is not configured
    /// any more is there as long as somebody waits for a text through it.
    fn channels_health(&self) -> Vec<Value> {
        let mut owed = self.outbox.owed();
        let mut health_of = |channel: &dyn Channel| {
            let mut health = channel.health();
            health["owed"] = json!(owed.remove(channel.account()).unwrap_or_default());
            health
        };
        let mut accounts: Vec<Value> = self.channels.iter().map(&mut health_of).collect();
        let gone = |(account, owed): (Account, usize)| {
            let why = "it is not configured any more";
            json!({"account": account.to_string(), "connected": false, "lastError": why, "owed": owed})
        };
        accounts.extend(owed.into_iter().map(gone));
        accounts
    }
}
