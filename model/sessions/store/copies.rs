//! Copies: what a store that cannot be read is restored from, and what becomes of it.
//!
//! `sessions.json.last-good` is the store as it last parsed at a start, at a repair or after a tool's change. What it
//! does not list yet is found in the transcripts, which name their conversation. The broken file is kept beside the
//! store under a name of its own. Where neither a copy nor a transcript says anything, the start is refused, unless the
//! file has no byte in it: then nothing says that there ever was a session.

use std::path::{Path, PathBuf};

use super::{LOCK_DEADLINE, SessionEntry, SessionStore, Sessions};
use crate::policy::UnreadableStore;
use crate::sessions::StateError;
use crate::sessions::files::with_suffix;
use crate::sessions::transcript::session_key_of;

const TRANSCRIPT: &str = "jsonl";

/// What mending the store came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mended {
    /// There was nothing to do.
    Sound,
    /// It was restored with so many sessions.
    Restored {
        /// From the copy and from the transcripts.
        sessions: usize,
    },
}

/// How the store is found.
enum Condition {
    /// It parses.
    Good(Vec<u8>),
    /// There is none, and nothing says that there was.
    Absent,
    /// The same, but for a file without a byte in it.
    Blank,
    /// It is not what was written there.
    Damaged { bytes: Vec<u8>, why: StateError },
}

impl SessionStore {
    /// Looks whether the store can be read, and restores it when it cannot; keeps the last good copy up to date, and
    /// removes what interrupted changes left. Needs the lock only for writing the store.
    pub(crate) async fn mend(&self) -> Result<Mended, StateError> {
        if self.unreadable == UnreadableStore::TreatAsEmpty {
            return Ok(Mended::Sound);
        }
        let mended = match self.condition()? {
            Condition::Damaged { why, .. } => {
                let mended = self.restore(why).await?;
                self.keep_copy();
                mended
            }
            Condition::Good(bytes) => {
                self.store_copy(&bytes);
                Mended::Sound
            }
            Condition::Absent => Mended::Sound,
            Condition::Blank => self.begin_anew().await?,
        };
        self.sweep_temporary();
        Ok(mended)
    }

    /// Removes temporary files of changes that nobody is at any more: all but the lock holder's.
    fn sweep_temporary(&self) {
        let Ok(files) = self.env.fs().list(self.dir()) else { return };
        let mut left: Vec<(PathBuf, String)> = Vec::new();
        for file in files {
            if let Some(owner) = owner_of_temporary(&self.path, &file) {
                left.push((file, owner));
            }
        }
        if left.is_empty() {
            return;
        }
        self.files.locks().undisturbed(&self.lock_path(), |holder| {
            left.retain(|(_, owner)| holder != Some(owner));
            for (file, _) in &left {
                tracing::info!(name: "store.leftover-removed", file = %file.display(), "of an interrupted change");
                self.files.discard(file);
            }
        });
    }

    fn condition(&self) -> Result<Condition, StateError> {
        let bytes = self.files.read(&self.path)?;
        let unreadable = match &bytes {
            Some(bytes) => match self.parse(&self.path, bytes) {
                Ok(_) => return Ok(Condition::Good(bytes.clone())),
                Err(error) => error,
            },
            None => StateError::Unreadable {
                path: self.path.clone(),
                line: 0,
                why: "it is gone, and a copy of it is there".to_string(),
            },
        };
        let is_blank = bytes.as_ref().is_none_or(Vec::is_empty);
        let traces = match (&bytes, is_blank) {
            (None, _) => self.last_good()?.is_some(),
            (Some(_), true) => self.last_good()?.is_some() || !self.transcripts()?.is_empty(),
            (Some(_), false) => true,
        };
        Ok(match traces {
            true => Condition::Damaged { bytes: bytes.unwrap_or_default(), why: unreadable },
            false if bytes.is_some() => Condition::Blank,
            false => Condition::Absent,
        })
    }

    /// Puts a store without sessions in the place of an empty file, which would be in the way of every session to come.
    async fn begin_anew(&self) -> Result<Mended, StateError> {
        let lock = self.lock(LOCK_DEADLINE).await?;
        if let Condition::Blank = self.condition()? {
            self.replace(&lock, &[], Sessions::new()).await?;
            tracing::warn!(name: "store.restored", from_copy = 0, from_transcripts = 0, "the session store was an empty file");
        }
        Ok(Mended::Sound)
    }

    async fn restore(&self, why: StateError) -> Result<Mended, StateError> {
        tracing::error!(name: "store.damaged", error = %why, "trying to restore the session store");
        let lock = self.lock(LOCK_DEADLINE).await?;
        // Somebody may have done it while we waited.
        let Condition::Damaged { bytes, why } = self.condition()? else { return Ok(Mended::Sound) };
        let last_good = self.last_good()?;
        let has_copy = last_good.is_some();
        let mut sessions = last_good.unwrap_or_default();
        let listed = sessions.len();
        self.add_unlisted(&mut sessions)?;
        if !has_copy && sessions.is_empty() {
            return Err(why);
        }
        if !bytes.is_empty() {
            let aside = with_suffix(&self.path, &format!(".broken-{}", self.env.wall_clock().epoch_ms()));
            self.files.replace(&aside, &bytes)?;
            tracing::warn!(name: "store.kept-aside", file = %aside.display(), "the broken file stays");
        }
        let count = sessions.len();
        self.replace(&lock, &bytes, sessions).await?;
        self.restored.set(true);
        tracing::warn!(
            name: "store.restored",
            from_copy = listed,
            from_transcripts = count - listed,
            "the session store is back"
        );
        Ok(Mended::Restored { sessions: count })
    }

    /// Adds the sessions whose transcripts say what they are, and which `sessions` does not know.
    fn add_unlisted(&self, sessions: &mut Sessions) -> Result<(), StateError> {
        let mut found = Vec::new();
        for path in self.transcripts()? {
            let name = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
            let (Some(session_file), Some(session_id)) = (name(path.file_name()), name(path.file_stem()))
            else {
                continue;
            };
            let modified = self.env.fs().stat(&path).map_err(StateError::io(&path))?.modified;
            match session_key_of(&self.files, &path)? {
                Some(key) => found.push((modified.epoch_ms(), key, session_id, session_file)),
                None => {
                    tracing::warn!(name: "store.transcript-unlisted", file = %path.display(), "says no session");
                }
            }
        }
        // Of two that claim a session the one that was used last is it.
        found.sort();
        for (updated_at, key, session_id, session_file) in found.into_iter().rev() {
            let entry = SessionEntry::new(session_id, session_file, updated_at);
            sessions.entry(key).or_insert(entry);
        }
        Ok(())
    }

    fn transcripts(&self) -> Result<Vec<PathBuf>, StateError> {
        let mut files = self.env.fs().list(self.dir()).map_err(StateError::io(self.dir()))?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == TRANSCRIPT));
        Ok(files)
    }

    fn last_good_path(&self) -> PathBuf {
        with_suffix(&self.path, ".last-good")
    }

    /// What the last good copy says; a copy that is broken itself is none.
    fn last_good(&self) -> Result<Option<Sessions>, StateError> {
        let path = self.last_good_path();
        let Some(bytes) = self.files.read(&path)? else { return Ok(None) };
        Ok(self.parse(&path, &bytes).ok())
    }

    /// Makes the last good copy the same as the store, if that parses. Needs no lock: whichever content it becomes,
    /// it was a good one.
    pub(crate) fn keep_copy(&self) {
        match self.condition() {
            Ok(Condition::Good(bytes)) => self.store_copy(&bytes),
            Ok(Condition::Absent | Condition::Blank | Condition::Damaged { .. }) => {}
            Err(error) => self.copy_failed(&error),
        }
    }

    fn store_copy(&self, bytes: &[u8]) {
        if self.unreadable == UnreadableStore::TreatAsEmpty {
            return;
        }
        if let Err(error) = self.try_store_copy(bytes) {
            self.copy_failed(&error);
        }
    }

    fn copy_failed(&self, error: &StateError) {
        tracing::warn!(name: "store.copy-failed", %error, "the last good copy stays as it was");
    }

    fn try_store_copy(&self, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.last_good_path();
        if self.files.read(&path)?.is_some_and(|copy| copy == bytes) {
            return Ok(());
        }
        // A name of its own: a tool may be doing the same.
        let temporary = with_suffix(&path, &format!(".{}.tmp", self.env.random_id("store-copy")));
        self.files.stage(&temporary, bytes)?;
        self.files.put_in_place(&temporary, &path, bytes)?;
        self.files.make_place_durable(&path)
    }
}

/// Whose temporary file of a change of the store at `store` this is, if it is one.
fn owner_of_temporary(store: &Path, file: &Path) -> Option<String> {
    let (store, file) = (store.file_name()?.to_str()?, file.file_name()?.to_str()?);
    Some(file.strip_prefix(store)?.strip_prefix('.')?.strip_suffix(".tmp")?.to_string())
}
