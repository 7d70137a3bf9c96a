//! The sweep: every lock file of the state directory looked at without wanting any of them.
//!
//! What nobody holds is removed, so that it is gone before somebody needs it; what is held is reported. Locks of
//! transcripts, which only other versions take, are judged like our own; those versions know no guard, so there is
//! none to take.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::judge::Judgement;
use super::payload::Sight;
use super::{LockError, Locks, Rules};
use crate::env::{Env, Pid, WallTime};
use crate::policy::LockSweep;

const LOCK: &str = "lock";
/// How lock files of transcripts end, the only ones that history swept.
const TRANSCRIPT_LOCK: &str = ".jsonl.lock";
/// How deep directories of ours lie below the state directory.
const MAX_DEPTH: u32 = 5;

/// How a lock file looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockState {
    /// Its holder lives.
    Held,
    /// Nobody holds it.
    Stale,
    /// It cannot be told.
    Unreadable,
}

/// One lock file of the state directory.
#[derive(Clone, Debug)]
pub(crate) struct LockReport {
    pub(crate) file: PathBuf,
    pub(crate) owner: Option<Pid>,
    pub(crate) since: Option<WallTime>,
    pub(crate) state: LockState,
}

impl LockReport {
    /// The report as `health` shows it. `heldForMs` goes by the wall clock and is for people.
    pub(crate) fn to_json(&self, now: WallTime) -> Value {
        let state = match self.state {
            LockState::Held => "held",
            LockState::Stale => "stale",
            LockState::Unreadable => "unreadable",
        };
        json!({
            "file": self.file.display().to_string(),
            "owner": self.owner.map(|pid| pid.0),
            "since": self.since.map(|since| since.to_string()),
            "state": state,
            "heldForMs": self.since.map(|since| now.since(since).as_millis() as u64),
        })
    }
}

fn is_of_transcript(file: &Path) -> bool {
    file.to_string_lossy().ends_with(TRANSCRIPT_LOCK)
}

/// The directories below `top`, itself included. Ours have no dot in their names, and what has none is one.
pub(crate) fn directories(env: &Env, top: &Path) -> Vec<PathBuf> {
    fn walk(env: &Env, dir: PathBuf, depth: u32, found: &mut Vec<PathBuf>) {
        let Ok(entries) = env.fs().list(&dir) else { return };
        found.push(dir);
        if depth < MAX_DEPTH {
            let inner = entries.into_iter().filter(|path| path.extension().is_none());
            inner.for_each(|path| walk(env, path, depth + 1, found));
        }
    }
    let mut found = Vec::new();
    walk(env, top.to_path_buf(), 0, &mut found);
    found
}

impl Locks {
    /// What lock files there are in `dirs`, and whether somebody holds them.
    pub(crate) fn survey(&self, dirs: &[PathBuf], rules: Rules) -> Vec<LockReport> {
        self.lock_files(dirs).into_iter().filter_map(|file| self.report(&file, rules)).collect()
    }

    /// Removes the locks in `dirs` that nobody holds, and returns the files. Never waits and takes no lock.
    pub(crate) fn sweep(&self, dirs: &[PathBuf], rules: Rules, kinds: LockSweep) -> Vec<PathBuf> {
        let mut files = match kinds {
            LockSweep::EveryKind => self.lock_files(dirs),
            LockSweep::TranscriptsOnly => self.transcript_locks(dirs),
        };
        let ours: Vec<PathBuf> = self.0.held.borrow().values().map(|(path, _)| path.clone()).collect();
        files.retain(|file| !ours.contains(file));
        files.retain(|file| self.free_if_stale(file, rules));
        files
    }

    /// The lock files of transcripts in `dirs`.
    pub(crate) fn transcript_locks(&self, dirs: &[PathBuf]) -> Vec<PathBuf> {
        let mut files = self.lock_files(dirs);
        files.retain(|file| is_of_transcript(file));
        files
    }

    fn lock_files(&self, dirs: &[PathBuf]) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for dir in dirs {
            match self.0.env.fs().list(dir) {
                Ok(entries) => files.extend(entries),
                Err(error) => {
                    tracing::warn!(name: "lock.sweep-failed", dir = %dir.display(), %error, "cannot look for locks");
                }
            }
        }
        files.retain(|file| file.extension().is_some_and(|extension| extension == LOCK));
        files
    }

    fn free_if_stale(&self, file: &Path, rules: Rules) -> bool {
        // Without the guard this is a guess, good enough to leave alone what is held.
        if !matches!(self.inspect(file, rules), Some((_, Judgement::Stale(_)))) {
            return false;
        }
        let freed = || {
            let guard = match is_of_transcript(file) {
                true => None,
                false => match self.try_guard(file)? {
                    Some(guard) => Some(guard),
                    // Somebody is about to do it.
                    None => return Ok(false),
                },
            };
            let freed = match self.inspect(file, rules) {
                Some((_, Judgement::Stale(why))) => self.take_away(file, why).map(|()| true),
                _ => Ok::<_, LockError>(false),
            };
            drop(guard);
            freed
        };
        freed().unwrap_or_else(|error| {
            tracing::warn!(name: "lock.sweep-failed", file = %file.display(), %error, "a lock stays");
            false
        })
    }

    fn report(&self, file: &Path, rules: Rules) -> Option<LockReport> {
        let (sight, judgement) = self.inspect(file, rules)?;
        let payload = match sight {
            Sight::Says(payload) => Some(payload),
            Sight::Blank | Sight::Garbage | Sight::NotReadNow(_) => None,
        };
        let state = match (judgement, &payload) {
            (Judgement::Stale(_), _) => LockState::Stale,
            (_, Some(_)) => LockState::Held,
            (_, None) => LockState::Unreadable,
        };
        let owner = payload.as_ref().map(super::Payload::owner);
        Some(LockReport {
            file: file.to_path_buf(),
            owner,
            since: payload.and_then(|payload| payload.since()),
            state,
        })
    }
}
