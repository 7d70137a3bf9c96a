//! History's lock files: taken by exclusive creation, judged by age and pid, removed without looking again.
//!
//! One algorithm served the transcripts of eras A and B and the store of era A (`session-write-lock.ts` of OpenClaw
//! 2026.3.2 and 2026.5.3-1). Nothing is fenced: who lost a lock goes on writing, a release removes whatever file is
//! there, and a task that is gone leaves its file behind. What a process holds is listed for the whole process, not
//! for a generation of it. What a lock protects is not known here.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::files::json_line;
use crate::env::{Env, Liveness, Pid, StartTime, WallTime};

/// The pause before the next attempt grows by this much, up to a second.
const RETRY_STEP: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(1);
/// How often a process looks for locks that it has held for too long.
const WATCHDOG_INTERVAL: Duration = Duration::from_secs(60);
/// An asynchronous file operation of history came back in a later turn of its event loop, in which other tasks and
/// other processes had their turns, too. How long that took is an assumption: a round trip to libuv's thread pool.
const TURN: Duration = Duration::from_millis(1);

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnfencedError {
    /// Its file was in the way the whole time.
    #[error("session file locked (timeout {waited_ms} ms): {owner} {path}")]
    TimedOut {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, by the file's own words.
        owner: String,
        /// How long the attempt lasted.
        waited_ms: u64,
    },
    /// The filesystem refused.
    #[error("{path}: {source}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the filesystem said.
        source: io::Error,
    },
}

/// The limits of a kind of lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How long to wait for it.
    pub(crate) timeout: Duration,
    /// A lock older than this is stale, whoever lives.
    pub(crate) stale_age: Duration,
    /// A lock that does not say who holds it is stale when its file is older than this.
    pub(crate) anonymous_grace: Duration,
    /// After so long the watchdog releases it.
    pub(crate) max_hold: Duration,
    /// What a lock with our own pid is that we do not hold.
    pub(crate) own_pid: OwnPid,
}

/// What a lock is that names our own process, which does not hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnPid {
    /// Alive, as any pid that lives, unless the file does not say when its owner started: OpenClaw 2026.3.2
    /// (openclaw/openclaw#49603).
    Alive,
    /// An orphan: OpenClaw 2026.5.3-1.
    Orphan,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    pid: Pid,
    created_at: String,
    #[serde(rename = "starttime", skip_serializing_if = "Option::is_none", default)]
    start_time: Option<StartTime>,
}

/// What is known of a lock file that is in the way.
#[derive(Clone, Copy)]
struct Facts<'a> {
    payload: Option<&'a Payload>,
    /// By the file's modification time.
    file_age: Duration,
    now: WallTime,
    /// Of the process that the payload names.
    liveness: Liveness,
    names_us: bool,
    is_listed: bool,
}

/// Why a lock that is in the way may be removed, if it may.
fn stale(facts: Facts<'_>, rules: &Rules) -> Option<&'static str> {
    let Some(payload) = facts.payload else {
        return (facts.file_age > rules.anonymous_grace).then_some("missing-pid");
    };
    if facts.liveness == Liveness::Dead {
        return Some("dead-or-recycled-pid");
    }
    let Some(created_at) = WallTime::parse(&payload.created_at) else { return Some("invalid-created-at") };
    if facts.now.since(created_at) > rules.stale_age {
        return Some("too-old");
    }
    let is_orphan = match rules.own_pid {
        OwnPid::Alive => payload.start_time.is_none(),
        OwnPid::Orphan => true,
    };
    (facts.names_us && !facts.is_listed && is_orphan).then_some("orphan-self-pid")
}

/// The locks that a process holds, by file. All clones are the same list.
#[derive(Clone)]
pub(crate) struct HeldLocks(Rc<Inner>);

struct Inner {
    /// The process's own doors: a generation's would take the watchdog with them.
    env: Env,
    held: RefCell<BTreeMap<PathBuf, Held>>,
    is_watched: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Held {
    since: Instant,
    max_hold: Duration,
}

impl HeldLocks {
    /// None so far, in the process behind `env`.
    pub(crate) fn new(env: Env) -> Self {
        Self(Rc::new(Inner { env, held: RefCell::default(), is_watched: Cell::new(false) }))
    }

    /// Takes the lock at `path`. It is held until [`HeldLocks::release`], whatever becomes of the caller.
    pub(crate) async fn acquire(&self, path: &Path, rules: &Rules) -> Result<(), UnfencedError> {
        let started = Instant::now();
        let mut retry = RETRY_STEP;
        loop {
            if self.try_create(path, rules.max_hold).await? {
                return Ok(());
            }
            let in_the_way = self.read(path);
            if let Some(why) = self.judge(path, in_the_way.as_ref(), rules)? {
                sleep(TURN).await;
                tracing::warn!(name: "lock.taken-over", file = %path.display(), why, "removed a stale lock");
                // Whatever is there by now: nothing is compared.
                removed(self.0.env.fs().remove(path)).map_err(io_error(path))?;
                continue;
            }
            let waited = started.elapsed();
            if waited >= rules.timeout {
                let owner = in_the_way.map_or("unknown owner".into(), |lock| format!("pid={}", lock.pid));
                let waited_ms = waited.as_millis() as u64;
                return Err(UnfencedError::TimedOut { path: path.to_path_buf(), owner, waited_ms });
            }
            sleep(retry).await;
            retry = (retry + RETRY_STEP).min(LONGEST_RETRY);
        }
    }

    /// Releases the lock at `path`: its file is removed, whoever's it is by now.
    pub(crate) fn release(&self, path: &Path) {
        self.0.held.borrow_mut().remove(path);
        if let Err(error) = removed(self.0.env.fs().remove(path)) {
            tracing::warn!(name: "lock.release-failed", file = %path.display(), %error, "left a lock behind");
        }
    }

    /// Releases every lock of the process, whoever still writes: what its signal handlers and its exit do.
    pub(crate) fn release_all(&self) {
        let paths: Vec<PathBuf> = self.0.held.borrow().keys().cloned().collect();
        paths.iter().for_each(|path| self.release(path));
    }

    /// Removes those of `files` that are stale, and returns them: what a start of history did.
    pub(crate) fn clean_up(&self, files: Vec<PathBuf>, rules: &Rules) -> Vec<PathBuf> {
        let is_stale = |file: &Path| matches!(self.judge(file, self.read(file).as_ref(), rules), Ok(Some(_)));
        let stale = files.into_iter().filter(|file| is_stale(file));
        stale.filter(|file| removed(self.0.env.fs().remove(file)).is_ok()).collect()
    }

    /// Creates the lock file and writes who holds it, in two steps; `false` when there is one already.
    async fn try_create(&self, path: &Path, max_hold: Duration) -> Result<bool, UnfencedError> {
        let env = &self.0.env;
        match env.fs().create_new(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(io_error(path)(error)),
        }
        sleep(TURN).await;
        let payload = Payload {
            pid: env.process().pid(),
            created_at: env.wall_clock().to_string(),
            start_time: env.process().start_time(),
        };
        if let Err(error) = env.fs().write(path, &json_line(&payload)) {
            // The error that counts is the first.
            let _ = env.fs().remove(path);
            return Err(io_error(path)(error));
        }
        self.0.held.borrow_mut().insert(path.to_path_buf(), Held { since: Instant::now(), max_hold });
        self.watch();
        Ok(true)
    }

    fn read(&self, path: &Path) -> Option<Payload> {
        serde_json::from_slice(&self.0.env.fs().read(path).ok()?).ok()
    }

    fn judge(
        &self,
        path: &Path,
        payload: Option<&Payload>,
        rules: &Rules,
    ) -> Result<Option<&'static str>, UnfencedError> {
        let env = &self.0.env;
        let modified = match env.fs().stat(path) {
            Ok(stat) => stat.modified,
            // Released just now: the next attempt will tell.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(path)(error)),
        };
        let alive_or_not = |lock: &Payload| env.process().liveness(lock.pid, lock.start_time);
        let facts = Facts {
            payload,
            file_age: env.wall_clock().since(modified),
            now: env.wall_clock(),
            liveness: payload.map_or(Liveness::Unknown, alive_or_not),
            names_us: payload.is_some_and(|lock| lock.pid == env.process().pid()),
            is_listed: self.0.held.borrow().contains_key(path),
        };
        Ok(stale(facts, rules))
    }

    /// Starts the watchdog, which lives as long as the process and can only look when the process does.
    fn watch(&self) {
        if self.0.is_watched.replace(true) {
            return;
        }
        let locks = self.clone();
        drop(self.0.env.spawn("lock watchdog", async move {
            loop {
                sleep(WATCHDOG_INTERVAL).await;
                locks.release_overdue();
            }
        }));
    }

    /// Releases what was held for too long, without a word to the holder.
    fn release_overdue(&self) {
        let is_overdue = |held: &Held| held.since.elapsed() > held.max_hold;
        let overdue: Vec<PathBuf> = {
            let held = self.0.held.borrow();
            held.iter().filter(|(_, held)| is_overdue(held)).map(|(path, _)| path.clone()).collect()
        };
        for path in overdue {
            tracing::warn!(name: "lock.held-too-long", file = %path.display(), "released by the watchdog");
            self.release(&path);
        }
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> UnfencedError {
    let path = path.to_path_buf();
    move |source| UnfencedError::Io { path, source }
}

/// Nothing there to remove is as good as removed.
fn removed(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
#[path = "unfenced/tests.rs"]
mod tests;
