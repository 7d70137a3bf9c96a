//! Lock files: mutual exclusion between processes by exclusive creation of a file that names its owner.
//!
//! [`judge`] decides from facts alone (payload, age, process table) whether a lock in the way is held, stale or
//! not yet readable; [`FileLock::acquire`] waits, takes over what is provably abandoned and gives up in time
//! with an error that names the owner. Release removes the file only while it is still ours.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::files::json_line;
use crate::env::{Env, Liveness, Pid, StartTime, WallTime};
use crate::policy::InstanceLock;

/// A lock file without a readable payload is left alone this long: its owner may be between creating it and
/// writing its name (OpenClaw 2026.5.3-1 uses the same grace).
const PAYLOAD_GRACE: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Somebody alive holds it.
    #[error("{path} is held by process {owner} since {since}; waited {waited_ms} ms")]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it.
        owner: Pid,
        /// When it took the lock, by its own words.
        since: String,
        /// How long the attempt lasted.
        waited_ms: u64,
    },
    /// A lock file whose owner could not be read was in the way the whole time.
    #[error("{path} does not say who holds it; waited {waited_ms} ms")]
    Anonymous {
        /// The lock file.
        path: PathBuf,
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

/// What a lock file says about its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    pid: Pid,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    start_time: Option<StartTime>,
    /// Tells two locks of the same process apart.
    owner_id: String,
}

/// A lock that this process holds. It is released by [`FileLock::release`]; a crash leaves the file behind for
/// the successor to judge.
#[derive(Debug)]
pub(crate) struct FileLock {
    path: PathBuf,
    owner_id: String,
}

/// What to do about a lock file that is in the way.
#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    /// Its owner lives.
    Held,
    /// Its owner is gone, for the stated reason.
    Stale(&'static str),
    /// It cannot be told yet.
    Wait,
}

/// Judges a lock by facts. `payload` is `None` when it cannot be read; `age` is that of the file.
fn judge(payload: Option<&Payload>, age: Duration, liveness: Option<Liveness>, is_self: bool) -> Judgement {
    match (payload, liveness) {
        (None, _) if age >= PAYLOAD_GRACE => Judgement::Stale("no payload"),
        (None, _) => Judgement::Wait,
        // Our own pid on a lock we do not hold: a predecessor had the same pid.
        (Some(_), _) if is_self => Judgement::Stale("orphan with our own pid"),
        (Some(_), Some(Liveness::Dead)) => Judgement::Stale("its owner is dead"),
        (Some(_), _) => Judgement::Held,
    }
}

impl FileLock {
    /// Takes the lock at `path`, waiting at most `deadline`.
    pub(crate) async fn acquire(
        env: &Env,
        path: &Path,
        policy: InstanceLock,
        deadline: Duration,
    ) -> Result<Self, LockError> {
        let started = Instant::now();
        let mut retry = FIRST_RETRY;
        loop {
            let in_the_way = match try_create(env, path)? {
                Ok(lock) => return Ok(lock),
                Err(payload) => payload,
            };
            let watched = started.elapsed();
            match judge_file(env, path, in_the_way.as_ref(), watched, policy)? {
                Judgement::Stale(why) => {
                    tracing::warn!(name: "lock.taken-over", file = %path.display(), why, "removed a stale lock");
                    remove_if_unchanged(env, path, in_the_way.as_ref())?;
                    continue;
                }
                Judgement::Held | Judgement::Wait => {}
            }
            let waited = started.elapsed();
            if waited >= deadline {
                return Err(give_up(path, in_the_way, waited));
            }
            sleep(retry.min(deadline - waited)).await;
            retry = (retry * 2).min(LONGEST_RETRY);
        }
    }

    /// Releases the lock, if it is still ours.
    pub(crate) fn release(self, env: &Env) {
        let ours = read_payload(env, &self.path).is_some_and(|payload| payload.owner_id == self.owner_id);
        if !ours {
            tracing::warn!(name: "lock.lost", file = %self.path.display(), "the lock was not ours any more");
            return;
        }
        if let Err(error) = env.fs().remove(&self.path) {
            tracing::warn!(name: "lock.release-failed", file = %self.path.display(), %error, "left a lock behind");
        }
    }
}

/// Creates the lock file; the inner error is what stands in the way.
fn try_create(env: &Env, path: &Path) -> Result<Result<FileLock, Option<Payload>>, LockError> {
    match env.fs().create_new(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Ok(Err(read_payload(env, path)));
        }
        Err(source) => return Err(LockError::Io { path: path.to_path_buf(), source }),
    }
    let owner_id = env.random_id("lock-owner");
    let payload = Payload {
        pid: env.process().pid(),
        created_at: env.wall_clock().to_string(),
        start_time: env.process().start_time(),
        owner_id: owner_id.clone(),
    };
    if let Err(source) = env.fs().write(path, &json_line(&payload)) {
        // The file is ours and says nothing: do not leave it to others to wait for.
        let _ = env.fs().remove(path);
        return Err(LockError::Io { path: path.to_path_buf(), source });
    }
    Ok(Ok(FileLock { path: path.to_path_buf(), owner_id }))
}

fn read_payload(env: &Env, path: &Path) -> Option<Payload> {
    serde_json::from_slice(&env.fs().read(path).ok()?).ok()
}

fn judge_file(
    env: &Env,
    path: &Path,
    payload: Option<&Payload>,
    watched: Duration,
    policy: InstanceLock,
) -> Result<Judgement, LockError> {
    if policy == InstanceLock::NeverStale {
        return Ok(Judgement::Held);
    }
    let modified = match env.fs().stat(path) {
        Ok(stat) => stat.modified,
        // It has just been released: the next attempt will tell.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Judgement::Wait),
        Err(source) => return Err(LockError::Io { path: path.to_path_buf(), source }),
    };
    // The wall clock may have gone back behind the file's time; what we saw ourselves counts too.
    let age = env.wall_clock().since(modified).max(watched);
    let liveness = payload.map(|payload| env.process().liveness(payload.pid, payload.start_time));
    let is_self = payload.is_some_and(|payload| payload.pid == env.process().pid());
    Ok(judge(payload, age, liveness, is_self))
}

/// Removes a stale lock unless somebody replaced it since it was judged.
fn remove_if_unchanged(env: &Env, path: &Path, judged: Option<&Payload>) -> Result<(), LockError> {
    if read_payload(env, path).as_ref() != judged {
        return Ok(());
    }
    match env.fs().remove(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(LockError::Io { path: path.to_path_buf(), source }),
    }
}

fn give_up(path: &Path, in_the_way: Option<Payload>, waited: Duration) -> LockError {
    let path = path.to_path_buf();
    let waited_ms = waited.as_millis() as u64;
    match in_the_way {
        Some(payload) => {
            let since = WallTime::parse(&payload.created_at)
                .map_or_else(|| "an unknown time".to_string(), |time| time.to_string());
            LockError::Held { path, owner: payload.pid, since, waited_ms }
        }
        None => LockError::Anonymous { path, waited_ms },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload() -> Payload {
        Payload {
            pid: Pid(7),
            created_at: "2026-03-02T00:00:00Z".into(),
            start_time: Some(StartTime(1)),
            owner_id: "a".into(),
        }
    }

    #[test]
    fn a_lock_is_judged_by_its_owner_and_only_then_by_its_age() {
        let old = Duration::from_secs(86_400);
        let young = Duration::ZERO;
        let some = payload();
        assert_eq!(judge(Some(&some), old, Some(Liveness::Alive), false), Judgement::Held);
        assert_eq!(judge(Some(&some), old, Some(Liveness::Unknown), false), Judgement::Held);
        assert_eq!(
            judge(Some(&some), young, Some(Liveness::Dead), false),
            Judgement::Stale("its owner is dead")
        );
        assert_eq!(
            judge(Some(&some), young, Some(Liveness::Alive), true),
            Judgement::Stale("orphan with our own pid")
        );
    }

    #[test]
    fn a_lock_without_payload_gets_the_grace_its_owner_needs_to_write_it() {
        let just_before = PAYLOAD_GRACE - Duration::from_millis(1);
        assert_eq!(judge(None, just_before, None, false), Judgement::Wait);
        assert_eq!(judge(None, PAYLOAD_GRACE, None, false), Judgement::Stale("no payload"));
    }
}
