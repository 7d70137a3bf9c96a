//! Lock files: mutual exclusion between processes by exclusive creation of a file that names its holder.
//!
//! Waiting has two parts. Within the process there is a queue, first in, first out; its head contends for the file.
//! Whatever looks at the file and acts on what it saw does so under a kernel lock on a second file, the *guard*,
//! held for one synchronous section and never across a wait: creating the file with its payload, judging and
//! taking it over, looking whether it is still ours and writing what it protects, looking and removing it. So a
//! takeover removes what was judged and nothing else, and who lost the lock cannot write. `docs/locks.md` has the
//! proof and what it assumes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

mod held;
mod judge;
mod payload;
mod sweep;

use super::files::json_line;
use crate::env::{Env, KernelLock, Liveness, Pid, StartTime};
pub(crate) use held::FileLock;
pub(crate) use judge::Rules;
use judge::{Facts, Judgement, Staleness, Whose, judge};
use payload::{Identity, Payload, Sight, look};
pub(crate) use sweep::directories;

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// Why a lock could not be had, or was not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Somebody alive holds it.
    #[error("{path} is held by process {owner} since {since}; waited {waited_ms} ms")]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it.
        owner: Pid,
        /// When that process started, as far as the lock says.
        owner_start: Option<StartTime>,
        /// When it took the lock, by its own words.
        since: String,
        /// How long the attempt lasted.
        waited_ms: u64,
    },
    /// A lock file whose owner could not be read was in the way the whole time.
    #[error("{path} does not say who holds it ({why}); waited {waited_ms} ms")]
    Anonymous {
        /// The lock file.
        path: PathBuf,
        /// What could be seen of it.
        why: String,
        /// How long the attempt lasted.
        waited_ms: u64,
    },
    /// Some process stood still in the middle of changing the lock file.
    #[error("{path} was being changed the whole time; waited {waited_ms} ms")]
    Busy {
        /// The guard file.
        path: PathBuf,
        /// How long the attempt lasted.
        waited_ms: u64,
    },
    /// It was taken away from its holder, who must not write any more.
    #[error("{path} was taken over by somebody else meanwhile; nothing was written")]
    Lost {
        /// The lock file.
        path: PathBuf,
    },
    /// What it protects was changed again and again by somebody who does not take it.
    #[error("somebody who does not take its lock keeps changing {path}; nothing was written")]
    Ignored {
        /// The file that the lock protects.
        path: PathBuf,
    },
    /// This life of the gateway gives its locks back and takes no more.
    #[error("{path} is not taken any more: the gateway ends")]
    Closed {
        /// The lock file.
        path: PathBuf,
    },
    /// The filesystem refused.
    #[error("{path}: {source}")]
    Io {
        /// The lock file or its guard.
        path: PathBuf,
        /// What the filesystem said.
        source: io::Error,
    },
}

impl LockError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

/// What one life of a process knows of locks: which it holds, who waits for them, and how long it has watched those
/// of others. Clones share it.
#[derive(Clone)]
pub(crate) struct Locks(Rc<Inner>);

struct Inner {
    env: Env,
    generation: String,
    /// One queue for each lock, in which everybody of this process stands.
    queues: RefCell<BTreeMap<PathBuf, Arc<Mutex<()>>>>,
    /// The locks that this life holds: owner id, file, and since when.
    held: RefCell<BTreeMap<String, (PathBuf, String)>>,
    watches: Watches,
    closed: Cell<bool>,
}

/// What stands in the way of each lock. It outlives the attempts to take one, and the attempts of a process to begin, so
/// that waiting in short attempts adds up. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Watches(Rc<RefCell<BTreeMap<PathBuf, Watch>>>);

/// How long a lock file has been seen unchanged.
struct Watch {
    identity: Identity,
    since: Instant,
    owner: Option<Payload>,
}

/// How an attempt to take a lock ended.
enum Attempt {
    /// By us, with this id; from somebody who had left it, or not.
    Taken {
        owner_id: String,
        was_left: bool,
    },
    InTheWay(Obstacle),
}

/// What is in the way of a lock.
enum Obstacle {
    Holder(Payload),
    Anonymous(String),
    Guard,
}

impl Locks {
    /// Nothing held; `watches` is what the process has seen of others' locks before.
    pub(crate) fn new(env: Env, watches: Watches) -> Self {
        let generation = env.random_id("lock-generation");
        Self(Rc::new(Inner {
            env,
            generation,
            queues: RefCell::default(),
            held: RefCell::default(),
            watches,
            closed: Cell::new(false),
        }))
    }

    /// Takes the lock at `path`, waiting at most `deadline` from now on, the queue included.
    pub(crate) async fn acquire(
        &self,
        path: &Path,
        rules: Rules,
        deadline: Duration,
    ) -> Result<FileLock, LockError> {
        let asked = Instant::now();
        let queue = self.0.queues.borrow_mut().entry(path.to_path_buf()).or_default().clone();
        let Ok(turn) = timeout(deadline, queue.lock_owned()).await else {
            return Err(self.give_up(path, self.whom_we_wait_behind(path), asked.elapsed()));
        };
        let mut retry = FIRST_RETRY;
        loop {
            if self.0.closed.get() {
                return Err(LockError::Closed { path: path.to_path_buf() });
            }
            let obstacle = match self.attempt(path, rules)? {
                Attempt::Taken { owner_id, was_left } => {
                    let path = path.to_path_buf();
                    return Ok(FileLock::new(self.clone(), path, rules, owner_id, was_left, turn));
                }
                Attempt::InTheWay(obstacle) => obstacle,
            };
            let waited = asked.elapsed();
            if waited >= deadline {
                return Err(self.give_up(path, Some(obstacle), waited));
            }
            sleep(self.jittered(retry).min(deadline - waited)).await;
            retry = (retry * 2).min(LONGEST_RETRY);
        }
    }

    /// From half of `delay` to all of it, so that two who wait for the same do not meet again and again.
    fn jittered(&self, delay: Duration) -> Duration {
        let half = delay / 2;
        half + half.mul_f64((self.0.env.random("lock-backoff") >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// One attempt, under the guard: takes the lock when it is free or abandoned.
    fn attempt(&self, path: &Path, rules: Rules) -> Result<Attempt, LockError> {
        let Some(_guard) = self.try_guard(path)? else { return Ok(Attempt::InTheWay(Obstacle::Guard)) };
        if let Some(owner_id) = self.create(path, rules)? {
            return Ok(Attempt::Taken { owner_id, was_left: false });
        }
        // Gone since: its holder does not know of the guard. The next attempt will tell.
        let Some((sight, judgement)) = self.inspect(path, rules) else {
            return Ok(Attempt::InTheWay(Obstacle::Anonymous("it has just been there".into())));
        };
        if let Judgement::Stale(why) = judgement
            && self.take_away(path, why)?
            && let Some(owner_id) = self.create(path, rules)?
        {
            return Ok(Attempt::Taken { owner_id, was_left: true });
        }
        Ok(Attempt::InTheWay(match sight {
            Sight::Says(payload) => Obstacle::Holder(payload),
            Sight::Blank => Obstacle::Anonymous("it is empty".into()),
            Sight::Garbage => Obstacle::Anonymous("its content is not a lock's".into()),
            Sight::NotReadNow(kind) => Obstacle::Anonymous(format!("it cannot be read: {kind}")),
        }))
    }

    /// Does `section` while nobody can take the lock at `path` or give it back; it is told who holds the lock. Does
    /// nothing when that cannot be had or told this instant.
    pub(crate) fn undisturbed(&self, path: &Path, section: impl FnOnce(Option<&str>)) {
        let Ok(Some(_guard)) = self.try_guard(path) else { return };
        match look(&self.0.env, path) {
            None => section(None),
            Some((Sight::Says(payload), _)) => section(Some(&payload.owner_id)),
            Some(_) => {}
        }
    }

    /// The guard of a lock, if nobody has it this instant.
    fn try_guard(&self, path: &Path) -> Result<Option<KernelLock>, LockError> {
        let guard = path.with_extension("guard");
        match self.0.env.fs().try_lock(&guard) {
            Ok(held) => Ok(Some(held)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(source) => Err(LockError::Io { path: guard, source }),
        }
    }

    /// Creates the lock file with its payload; `None` when there is one. The guard must be held.
    fn create(&self, path: &Path, rules: Rules) -> Result<Option<String>, LockError> {
        let env = &self.0.env;
        match env.fs().create_new(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(source) => return Err(LockError::io(path)(source)),
        }
        let owner_id = env.random_id("lock-owner");
        let payload = Payload {
            pid: env.process().pid(),
            created_at: env.wall_clock().to_string(),
            start_time: env.process().start_time(),
            owner_id: owner_id.clone(),
            generation: self.0.generation.clone(),
            lease_ms: rules.lease.map(|lease| lease.as_millis() as u64),
            renewal: 0,
        };
        if let Err(source) = env.fs().write(path, &json_line(&payload)) {
            // The file is ours and says nothing: do not leave it to others to wait for.
            let _ = env.fs().remove(path);
            return Err(LockError::io(path)(source));
        }
        self.0.watches.0.borrow_mut().remove(path);
        self.0.held.borrow_mut().insert(owner_id.clone(), (path.to_path_buf(), payload.created_at));
        Ok(Some(owner_id))
    }

    /// Removes a lock that [`Self::inspect`] found to be nobody's, in the same guarded section. `false` when it is
    /// not the one that was judged any more: programs that know no guard replace locks at any moment, and what is
    /// left to them is the moment between this look and the removal.
    fn take_away(&self, path: &Path, why: Staleness) -> Result<bool, LockError> {
        let judged = self.0.watches.0.borrow().get(path).map(|watch| watch.identity.clone());
        let Some((_, Some(now))) = look(&self.0.env, path) else { return Ok(false) };
        if Some(now) != judged {
            return Ok(false);
        }
        tracing::warn!(name: "lock.taken-over", file = %path.display(), %why, "removed a stale lock");
        self.0.watches.0.borrow_mut().remove(path);
        match self.0.env.fs().remove(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(source) => Err(LockError::io(path)(source)),
        }
    }

    /// Looks at a lock file and judges it; `None` when there is none.
    fn inspect(&self, path: &Path, rules: Rules) -> Option<(Sight, Judgement)> {
        let env = &self.0.env;
        let Some((sight, identity)) = look(env, path) else {
            self.0.watches.0.borrow_mut().remove(path);
            return None;
        };
        let unchanged_for = self.watch(path, &sight, identity);
        let (whose, liveness, runs_another) = match &sight {
            Sight::Says(payload) => {
                let liveness = env.process().liveness(payload.pid, payload.start_time);
                // The process table is only read where the start time says nothing.
                let runs_another = liveness == Liveness::Unknown && runs_another_program(env, payload.pid);
                (self.whose(payload), liveness, runs_another)
            }
            _ => (Whose::Others, Liveness::Unknown, false),
        };
        let facts = Facts { sight: &sight, whose, liveness, runs_another, unchanged_for };
        let judgement = judge(facts, rules);
        Some((sight, judgement))
    }

    fn whose(&self, payload: &Payload) -> Whose {
        if self.0.held.borrow().contains_key(&payload.owner_id) {
            Whose::Ours
        } else if payload.pid == self.0.env.process().pid() {
            Whose::OurPid
        } else {
            Whose::Others
        }
    }

    /// Notes what was seen, and returns for how long it has been the same. What cannot be read changes nothing.
    fn watch(&self, path: &Path, sight: &Sight, identity: Option<Identity>) -> Duration {
        let mut watches = self.0.watches.0.borrow_mut();
        let known =
            watches.get(path).filter(|watch| identity.as_ref().is_none_or(|id| *id == watch.identity));
        if let Some(watch) = known {
            return watch.since.elapsed();
        }
        if let Some(identity) = identity {
            let owner = match sight {
                Sight::Says(payload) => Some(payload.clone()),
                _ => None,
            };
            watches.insert(path.to_path_buf(), Watch { identity, since: Instant::now(), owner });
        }
        Duration::ZERO
    }

    /// Whom everybody in this process's queue waits for: the one in the way of its head, or its head.
    fn whom_we_wait_behind(&self, path: &Path) -> Option<Obstacle> {
        let watches = self.0.watches.0.borrow();
        watches.get(path).map(|watch| match &watch.owner {
            Some(payload) => Obstacle::Holder(payload.clone()),
            None => Obstacle::Anonymous("its content is not a lock's".into()),
        })
    }

    fn give_up(&self, path: &Path, obstacle: Option<Obstacle>, waited: Duration) -> LockError {
        let waited_ms = waited.as_millis() as u64;
        match obstacle {
            Some(Obstacle::Holder(payload)) => {
                let since = payload.since().map_or_else(|| "an unknown time".into(), |time| time.to_string());
                LockError::Held {
                    path: path.to_path_buf(),
                    owner: payload.pid,
                    owner_start: payload.start_time,
                    since,
                    waited_ms,
                }
            }
            Some(Obstacle::Anonymous(why)) => {
                LockError::Anonymous { path: path.to_path_buf(), why, waited_ms }
            }
            Some(Obstacle::Guard) => LockError::Busy { path: path.with_extension("guard"), waited_ms },
            None => {
                let held = self.0.held.borrow();
                let ours = held.values().find(|(file, _)| file == path);
                let since = ours.map_or_else(|| "just now".to_string(), |(_, since)| since.clone());
                let process = self.0.env.process();
                let (owner, owner_start) = (process.pid(), process.start_time());
                LockError::Held { path: path.to_path_buf(), owner, owner_start, since, waited_ms }
            }
        }
    }
}

/// Whether a process is known to run another program than this one does.
fn runs_another_program(env: &Env, pid: Pid) -> bool {
    let process = env.process();
    let program = |pid| process.look_up(pid).map(|entry| entry.program);
    matches!((program(pid), program(process.pid())), (Some(theirs), Some(ours)) if theirs != ours)
}
