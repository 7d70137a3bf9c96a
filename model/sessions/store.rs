//! The session store: `sessions.json`, one object from session key to entry, under a lock file.
//!
//! Every change is read, modify, write under `sessions.json.lock`, with the lock held for no longer than the
//! synchronous file operations take. A store that does not parse is an error and is never overwritten.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::with_suffix;
use super::{FileLock, StateError, StateFiles, Transcript};
use crate::env::Env;
use crate::policy::InstanceLock;

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
    /// What the conversation is doing.
    pub(crate) status: SessionStatus,
    /// Fields of other versions, kept as they are.
    #[serde(flatten)]
    pub(crate) other: BTreeMap<String, serde_json::Value>,
}

/// What a conversation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SessionStatus {
    /// Nothing.
    Idle,
    /// A run answers its last message.
    Running,
}

type Sessions = BTreeMap<String, SessionEntry>;

/// The store on disk. Nothing of it is kept in memory: what another program writes there counts.
pub(crate) struct SessionStore {
    env: Env,
    files: StateFiles,
    path: PathBuf,
}

impl SessionStore {
    /// The store in `dir`, which must exist. A store that does not parse is an error now, not later.
    pub(crate) fn open(env: Env, files: StateFiles, dir: &Path) -> Result<Self, StateError> {
        let store = Self { env, files, path: dir.join("sessions.json") };
        store.read()?;
        Ok(store)
    }

    /// The transcript of a session, if the session exists.
    pub(crate) fn find_transcript(&self, key: &str) -> Result<Option<Transcript>, StateError> {
        Ok(self.read()?.get(key).map(|entry| self.transcript(entry)))
    }

    fn transcript(&self, entry: &SessionEntry) -> Transcript {
        Transcript::new(self.files.clone(), self.path.with_file_name(&entry.session_file))
    }

    /// The transcript of a session. Needs the lock only for a session that is new.
    pub(crate) async fn open_transcript(&self, key: &str) -> Result<Transcript, StateError> {
        if let Some(transcript) = self.find_transcript(key)? {
            return Ok(transcript);
        }
        self.touch(key, SessionStatus::Idle).await
    }

    /// Creates the session when it is new, sets its status, and returns its transcript.
    pub(crate) async fn touch(&self, key: &str, status: SessionStatus) -> Result<Transcript, StateError> {
        self.change(|sessions| {
            let now_ms = self.env.wall_clock().epoch_ms();
            let entry = sessions.entry(key.to_string()).or_insert_with(|| {
                let session_id = self.env.random_id("session-id");
                let session_file = format!("{session_id}.jsonl");
                SessionEntry { session_id, session_file, updated_at: now_ms, status, other: BTreeMap::new() }
            });
            entry.updated_at = now_ms;
            entry.status = status;
            self.transcript(entry)
        })
        .await
    }

    /// Sets every session to idle: none of an earlier life's runs is at work any more.
    pub(crate) async fn all_idle(&self) -> Result<(), StateError> {
        let is_running = |entry: &SessionEntry| entry.status == SessionStatus::Running;
        if !self.read()?.values().any(is_running) {
            return Ok(());
        }
        self.change(|sessions| {
            sessions.values_mut().for_each(|entry| entry.status = SessionStatus::Idle);
        })
        .await
    }

    /// Read, modify, write, under the lock.
    async fn change<T>(&self, modify: impl FnOnce(&mut Sessions) -> T) -> Result<T, StateError> {
        let lock_path = with_suffix(&self.path, ".lock");
        let lock = FileLock::acquire(&self.env, &lock_path, InstanceLock::Verified, LOCK_DEADLINE).await?;
        let changed = self.read().and_then(|mut sessions| {
            let outcome = modify(&mut sessions);
            let bytes = serde_json::to_vec_pretty(&sessions).expect("entries have string keys");
            self.files.replace(&self.path, &bytes)?;
            Ok(outcome)
        });
        lock.release(&self.env);
        changed
    }

    fn read(&self) -> Result<Sessions, StateError> {
        let Some(bytes) = self.files.read(&self.path)? else { return Ok(Sessions::new()) };
        serde_json::from_slice(&bytes).map_err(|error| StateError::Unreadable {
            path: self.path.clone(),
            line: error.line(),
            why: error.to_string(),
        })
    }
}
