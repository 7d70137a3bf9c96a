//! The session store: `sessions.json`, one object from session key to entry, under a lock file.
//!
//! Every change is read, modify, write under `sessions.json.lock`, with the lock held for no longer than the
//! synchronous file operations take. A store that does not parse is an error and is never overwritten.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::with_suffix;
use super::{FileLock, StateError, StateFiles, Transcript};
use crate::env::Env;
use crate::policy::{InstanceLock, Policies, StoreLock};

mod history;

pub(crate) use history::ProcessWide;

/// How long a store change waits for the lock (OpenClaw 2026.3.2: 10 s).
const LOCK_DEADLINE: Duration = Duration::from_secs(10);

/// What the store knows of one conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionEntry {
    /// Identifies the transcript.
    pub(crate) session_id: String,
    /// File name of the transcript, beside the store.
    pub(crate) session_file: String,
    /// Last change, milliseconds since the epoch.
    pub(crate) updated_at: u64,
    /// Fields of other versions, kept as they are.
    #[serde(flatten)]
    pub(crate) other: BTreeMap<String, serde_json::Value>,
}

type Sessions = BTreeMap<String, SessionEntry>;

/// The store on disk. It is read anew for every use, since what another program writes there counts; only the
/// parsing is saved while the bytes are still the same.
pub(crate) struct SessionStore {
    env: Env,
    files: StateFiles,
    policy: StoreLock,
    path: PathBuf,
    parsed: RefCell<Option<Parsed>>,
    process_wide: ProcessWide,
}

/// The store's bytes when they were last parsed or written, and what they say.
struct Parsed {
    bytes: Vec<u8>,
    sessions: Sessions,
}

impl SessionStore {
    /// The store in `dir`, which must exist. A store that does not parse is an error now, not later.
    pub(crate) fn open(
        env: Env,
        files: StateFiles,
        dir: &Path,
        policies: &Policies,
    ) -> Result<Self, StateError> {
        let process_wide = ProcessWide::new(&env);
        let path = dir.join("sessions.json");
        let store =
            Self { env, files, policy: policies.store_lock, path, parsed: RefCell::default(), process_wide };
        store.read(|_| ())?;
        Ok(store)
    }

    /// The transcript of a session, if the session exists.
    pub(crate) fn find_transcript(&self, key: &str) -> Result<Option<Transcript>, StateError> {
        self.read(|sessions| sessions.get(key).map(|entry| self.transcript(entry)))
    }

    fn transcript(&self, entry: &SessionEntry) -> Transcript {
        Transcript::new(self.files.clone(), self.path.with_file_name(&entry.session_file))
    }

    /// The transcript of a session. Needs the lock only for a session that is new.
    pub(crate) async fn open_transcript(&self, key: &str) -> Result<Transcript, StateError> {
        match self.find_transcript(key)? {
            Some(transcript) => Ok(transcript),
            None => self.touch(key).await,
        }
    }

    /// Creates the session when it is new, notes that it is in use, and returns its transcript.
    pub(crate) async fn touch(&self, key: &str) -> Result<Transcript, StateError> {
        let now_ms = self.env.wall_clock().epoch_ms();
        self.change(|sessions| {
            let entry = sessions.entry(key.to_string()).or_insert_with(|| {
                let session_id = self.env.random_id("session-id");
                let session_file = format!("{session_id}.jsonl");
                SessionEntry { session_id, session_file, updated_at: now_ms, other: BTreeMap::new() }
            });
            entry.updated_at = now_ms;
            self.transcript(entry)
        })
        .await
    }

    /// Changes the store as a whole: what `mutate` makes of it is durable when this returns, or nothing is changed.
    async fn change<T>(&self, mutate: impl FnOnce(&mut Sessions) -> T) -> Result<T, StateError> {
        match self.policy {
            StoreLock::Leased | StoreLock::RespectsTheSilent | StoreLock::WritesWithoutLooking => {
                self.change_leased(mutate).await
            }
            StoreLock::Unfenced => self.change_unfenced(mutate).await,
            StoreLock::InProcess => self.change_in_process(mutate).await,
        }
    }

    async fn change_leased<T>(&self, mutate: impl FnOnce(&mut Sessions) -> T) -> Result<T, StateError> {
        let lock_path = with_suffix(&self.path, ".lock");
        let lock = FileLock::acquire(&self.env, &lock_path, InstanceLock::Verified, LOCK_DEADLINE).await?;
        let changed = self.read_modify_write(mutate);
        lock.release(&self.env);
        changed
    }

    fn read_modify_write<T>(&self, mutate: impl FnOnce(&mut Sessions) -> T) -> Result<T, StateError> {
        let mut sessions = self.read(Sessions::clone)?;
        let result = mutate(&mut sessions);
        let bytes = serde_json::to_vec_pretty(&sessions).expect("entries have string keys");
        self.files.replace(&self.path, &bytes)?;
        self.parsed.replace(Some(Parsed { bytes, sessions }));
        Ok(result)
    }

    fn read<T>(&self, look: impl FnOnce(&Sessions) -> T) -> Result<T, StateError> {
        let Some(bytes) = self.files.read(&self.path)? else { return Ok(look(&Sessions::new())) };
        let mut parsed = self.parsed.borrow_mut();
        let known = match parsed.take().filter(|known| known.bytes == bytes) {
            Some(known) => known,
            None => Parsed { sessions: self.parse(&bytes)?, bytes },
        };
        Ok(look(&parsed.insert(known).sessions))
    }

    fn parse(&self, bytes: &[u8]) -> Result<Sessions, StateError> {
        serde_json::from_slice(bytes).map_err(|error| StateError::Unreadable {
            path: self.path.clone(),
            line: error.line(),
            why: error.to_string(),
        })
    }
}
