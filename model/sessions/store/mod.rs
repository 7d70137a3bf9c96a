//! The session store: `sessions.json`, one object from session key to entry.
//!
//! Every change is read, modify, write as a whole, in the way the policy says; the correct one is [`leased`]. What is
//! read needs no lock, since a change replaces the file at once. A store that does not parse is an error and is never
//! overwritten; [`copies`] says what it is restored from.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod copies;
mod history;
mod leased;
mod status;

use super::transcript::Readings;
use super::{StateError, StateFiles, Transcript};
use crate::env::Env;
use crate::policy::{Policies, StoreLock, UnreadableStore};
pub(crate) use copies::Mended;
pub(crate) use history::ProcessWide;
pub(crate) use status::SessionStatus;

/// How long a store change waits for the lock (OpenClaw 2026.3.2: 10 s).
pub(crate) const LOCK_DEADLINE: Duration = Duration::from_secs(10);
/// How old `updatedAt` may be before a use of the session renews it, in milliseconds.
const TOUCH_INTERVAL_MS: u64 = 60_000;

/// What the store knows of one conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionEntry {
    /// Identifies the transcript.
    pub(crate) session_id: String,
    /// File name of the transcript, beside the store.
    pub(crate) session_file: String,
    /// Last change, milliseconds since the epoch; up to a minute behind.
    pub(crate) updated_at: u64,
    /// Whether somebody works there, as history wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<SessionStatus>,
    /// The generation that wrote the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<u64>,
    /// Fields of other versions and programs, kept as they are.
    #[serde(flatten)]
    pub(crate) other: BTreeMap<String, serde_json::Value>,
}

impl SessionEntry {
    fn new(session_id: String, session_file: String, updated_at: u64) -> Self {
        Self { session_id, session_file, updated_at, status: None, generation: None, other: BTreeMap::new() }
    }
}

pub(crate) type Sessions = BTreeMap<String, SessionEntry>;

/// The store on disk. It is read anew for every use, since what another program writes there counts; only the
/// parsing is saved while the bytes are still the same.
pub(crate) struct SessionStore {
    env: Env,
    files: StateFiles,
    policy: StoreLock,
    unreadable: UnreadableStore,
    path: PathBuf,
    parsed: RefCell<Option<Parsed>>,
    readings: Readings,
    /// This life found it damaged and restored it.
    restored: Cell<bool>,
    /// The latest change is in place, and the disk has not confirmed that it will stay there.
    is_unconfirmed: Cell<bool>,
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
        let store = Self::unchecked(env, files, dir, policies);
        store.read(|_| ())?;
        Ok(store)
    }

    /// The store in `dir`, in whatever condition; [`Self::mend`] looks at that.
    pub(crate) fn unchecked(env: Env, files: StateFiles, dir: &Path, policies: &Policies) -> Self {
        Self {
            process_wide: ProcessWide::new(&env),
            env,
            files,
            policy: policies.store_lock,
            unreadable: policies.unreadable_store,
            path: dir.join("sessions.json"),
            parsed: RefCell::default(),
            readings: Readings::default(),
            restored: Cell::new(false),
            is_unconfirmed: Cell::new(false),
        }
    }

    /// Where the store and the transcripts are.
    pub(crate) fn dir(&self) -> &Path {
        self.path.parent().expect("the store is in a directory")
    }

    /// The files of this life, and their locks.
    pub(crate) fn files(&self) -> &StateFiles {
        &self.files
    }

    /// Whether this life found the store damaged and restored it.
    pub(crate) fn was_restored(&self) -> bool {
        self.restored.get()
    }

    /// The transcript of a session, if the session exists.
    pub(crate) fn find_transcript(&self, key: &str) -> Result<Option<Transcript>, StateError> {
        self.read(|sessions| sessions.get(key).map(|entry| self.transcript(key, entry)))
    }

    fn transcript(&self, key: &str, entry: &SessionEntry) -> Transcript {
        let path = self.path.with_file_name(&entry.session_file);
        Transcript::new(self.files.clone(), self.readings.clone(), path, key.to_string())
    }

    /// The transcript of a session, which is durable when this returns. Needs the lock only for a session that is
    /// new, and waits for it no longer than `patience`.
    pub(crate) async fn open_transcript(
        &self,
        key: &str,
        patience: Duration,
    ) -> Result<Transcript, StateError> {
        match self.find_transcript(key)? {
            Some(transcript) => {
                if !self.is_of_history() {
                    self.confirm()?;
                }
                Ok(transcript)
            }
            None => self.create_or_touch(key, patience).await,
        }
    }

    /// The transcript of a session that is used now. A new session is durable when this returns. Of one that exists
    /// only `updatedAt` changes, which nothing depends on: it is left behind while it is recent, and while the store
    /// cannot be changed at once, so that a conversation goes on whatever holds the store.
    pub(crate) async fn touch(&self, key: &str) -> Result<Transcript, StateError> {
        if self.is_of_history() {
            // History changed the store at every turn.
            return self.create_or_touch(key, LOCK_DEADLINE).await;
        }
        let now_ms = self.env.wall_clock().epoch_ms();
        let found = self.read(|sessions| {
            let entry = sessions.get(key)?;
            Some((self.transcript(key, entry), now_ms.abs_diff(entry.updated_at) < TOUCH_INTERVAL_MS))
        })?;
        if found.is_some() {
            self.confirm()?;
        }
        match found {
            None => self.create_or_touch(key, LOCK_DEADLINE).await,
            Some((transcript, true)) => Ok(transcript),
            Some((transcript, false)) => match self.create_or_touch(key, Duration::ZERO).await {
                Ok(touched) => Ok(touched),
                Err(error) => {
                    tracing::info!(name: "session.not-touched", session = key, %error, "going on without");
                    Ok(transcript)
                }
            },
        }
    }

    fn is_of_history(&self) -> bool {
        matches!(self.policy, StoreLock::Unfenced | StoreLock::InProcess)
    }

    async fn create_or_touch(&self, key: &str, deadline: Duration) -> Result<Transcript, StateError> {
        let now_ms = self.env.wall_clock().epoch_ms();
        let touch = |sessions: &mut Sessions| {
            let entry = sessions.entry(key.to_string()).or_insert_with(|| {
                let session_id = self.env.random_id("session-id");
                let session_file = format!("{session_id}.jsonl");
                SessionEntry::new(session_id, session_file, now_ms)
            });
            entry.updated_at = now_ms;
            self.transcript(key, entry)
        };
        self.change_within(deadline, touch).await
    }

    /// Changes the store as a whole: what `mutate` makes of it is durable when this returns, or nothing is changed.
    /// `mutate` is called again on what is there by then when the lock was lost in between.
    pub(crate) async fn change<T>(&self, mutate: impl FnMut(&mut Sessions) -> T) -> Result<T, StateError> {
        self.change_within(LOCK_DEADLINE, mutate).await
    }

    /// As [`Self::change`], with `deadline` for having the lock.
    async fn change_within<T>(
        &self,
        deadline: Duration,
        mutate: impl FnMut(&mut Sessions) -> T,
    ) -> Result<T, StateError> {
        match self.policy {
            StoreLock::Leased | StoreLock::RespectsTheSilent | StoreLock::WritesWithoutLooking => {
                self.change_leased(deadline, mutate).await
            }
            StoreLock::Unfenced => self.change_unfenced(mutate).await,
            StoreLock::InProcess => self.change_in_process(mutate).await,
        }
    }

    /// What the store says now, and the bytes that say so; none when there is no store.
    fn snapshot(&self) -> Result<(Vec<u8>, Sessions), StateError> {
        let Some(bytes) = self.files.read(&self.path)? else { return Ok(Default::default()) };
        let sessions = self.look_at(bytes.clone(), Sessions::clone)?;
        Ok((bytes, sessions))
    }

    /// Looks at what the store says now.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Sessions) -> T) -> Result<T, StateError> {
        match self.files.read(&self.path)? {
            Some(bytes) => self.look_at(bytes, look),
            None => Ok(look(&Sessions::new())),
        }
    }

    fn look_at<T>(&self, bytes: Vec<u8>, look: impl FnOnce(&Sessions) -> T) -> Result<T, StateError> {
        let mut parsed = self.parsed.borrow_mut();
        let known = match parsed.take().filter(|known| known.bytes == bytes) {
            Some(known) => known,
            None => {
                let sessions = self.parse(&self.path, &bytes)?;
                // Somebody else put it there, and may have died before that was durable.
                self.is_unconfirmed.set(true);
                Parsed { sessions, bytes }
            }
        };
        Ok(look(&parsed.insert(known).sessions))
    }

    fn parse(&self, path: &Path, bytes: &[u8]) -> Result<Sessions, StateError> {
        match (serde_json::from_slice(bytes), self.unreadable) {
            (Ok(sessions), _) => Ok(sessions),
            // As history did: openclaw/openclaw#77783.
            (Err(_), UnreadableStore::TreatAsEmpty) => Ok(Sessions::new()),
            (Err(error), UnreadableStore::RestoreLastGood) => Err(StateError::Unreadable {
                path: path.to_path_buf(),
                line: error.line(),
                why: error.to_string(),
            }),
        }
    }
}
