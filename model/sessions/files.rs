//! Durable files: the one place that decides how bytes of the state directory reach the disk.
//!
//! Appending syncs the file (and the directory the first time) and leaves no trace when it fails; replacing goes
//! through a temporary file, sync, rename and directory sync, so that a reader sees the old content or the new and
//! never a mixture.
//! Knows nothing of what the bytes mean.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Locks, Watches};
use crate::env::{Env, Fs};
use crate::policy::{StateWrite, TornLine};

/// Why state on disk could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The filesystem refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the filesystem said.
        source: io::Error,
    },
    /// The content is not what this program writes. It is left as it is, never overwritten.
    #[error("{path}:{line}: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Line, counting from 1.
        line: usize,
        /// What is wrong there.
        why: String,
    },
    /// A change is in place and seen by everybody; the disk did not confirm that it stays.
    #[error("{path} is changed, but that may not survive a power loss: {source}")]
    Unconfirmed {
        /// The file that was changed.
        path: PathBuf,
        /// What the filesystem said.
        source: io::Error,
    },
    /// The lock that protects the file could not be had in time.
    #[error(transparent)]
    Lock(#[from] super::LockError),
    /// A lock of history's kind could not be had.
    #[error(transparent)]
    Unfenced(#[from] super::unfenced::UnfencedError),
}

impl StateError {
    /// What somebody has to do about it, to go behind the error itself; empty where time may help.
    pub(crate) const fn advice(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "; the file is left untouched: repair it or move it away",
            _ => "",
        }
    }

    /// Whether a lock was in the way.
    pub(crate) const fn is_about_a_lock(&self) -> bool {
        matches!(self, Self::Lock(_) | Self::Unfenced(_))
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }
}

/// How every record of a JSONL file begins: the tag of its kind. What does not begin like this was never ours.
const RECORD_START: &[u8] = br#"{"type":"#;

/// Writes and reads files of the state directory, by policy. Clones share what they know of the files, and the
/// locks on them.
#[derive(Clone)]
pub(crate) struct StateFiles {
    env: Env,
    policy: StateWrite,
    torn_line: TornLine,
    locks: Locks,
    known: Rc<RefCell<Known>>,
}

/// What was read of a file of records: its complete lines, each a record.
pub(crate) struct Reading<T> {
    bytes: Vec<u8>,
    records: Vec<T>,
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self { bytes: Vec::new(), records: Vec::new() }
    }
}

impl<T> Reading<T> {
    /// What the file says.
    pub(crate) fn records(&self) -> &[T] {
        &self.records
    }

    /// Takes note of lines that were appended. Whether they stand where they should is seen at the next look.
    pub(crate) fn follow(&mut self, lines: &[u8], records: impl IntoIterator<Item = T>) {
        // Of a file that nobody has looked at the beginning is not known.
        if !self.bytes.is_empty() {
            self.bytes.extend_from_slice(lines);
            self.records.extend(records);
        }
    }
}

/// What this life knows of files it appends to.
#[derive(Default)]
struct Known {
    /// Files whose names survive a power loss. What an earlier life created may not have got that far.
    named: BTreeSet<OsString>,
    /// Files of records whose content this life knows to survive a power loss. What an earlier life appended and was
    /// killed before it synced is there to read, and not there to stay.
    settled: BTreeSet<OsString>,
    /// Files that a failed append may have left with bytes that must go, and their length before it.
    damaged: BTreeMap<PathBuf, u64>,
    /// Directories below this one may be there and not survive a power loss.
    doubtful_below: Option<PathBuf>,
}

impl StateFiles {
    /// The files of one life. What it holds and knows ends with it.
    pub(crate) fn new(env: Env, policy: StateWrite) -> Self {
        Self::of_process(env, policy, Watches::default())
    }

    /// The same, in a process that has watched others' locks before.
    pub(crate) fn of_process(env: Env, policy: StateWrite, watches: Watches) -> Self {
        let locks = Locks::new(env.clone(), watches);
        Self { env, policy, torn_line: TornLine::default(), locks, known: Rc::default() }
    }

    /// What becomes of a last line that a crash cut short.
    pub(crate) fn with_torn_line(self, torn_line: TornLine) -> Self {
        Self { torn_line, ..self }
    }

    /// The locks of this life.
    pub(crate) fn locks(&self) -> &Locks {
        &self.locks
    }

    fn fs(&self) -> &dyn Fs {
        self.env.fs()
    }

    /// The file's content; `None` when there is no such file.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StateError> {
        if_exists(self.fs().read(path)).map_err(StateError::io(path))
    }

    fn size(&self, path: &Path) -> Result<Option<u64>, StateError> {
        let stat = if_exists(self.fs().stat(path)).map_err(StateError::io(path))?;
        Ok(stat.map(|stat| stat.size))
    }

    /// Creates the directory with its parents and makes every new name durable.
    pub(crate) fn create_dir(&self, path: &Path) -> Result<(), StateError> {
        let is_doubtful = |dir: &Path| {
            let known = self.known.borrow();
            known.doubtful_below.as_ref().is_some_and(|top| dir.starts_with(top))
                || self.fs().stat(dir).is_err()
        };
        let unsynced: Vec<&Path> = path.ancestors().take_while(|dir| is_doubtful(dir)).collect();
        self.fs().create_dir_all(path).map_err(StateError::io(path))?;
        unsynced.into_iter().try_for_each(|created| self.make_name_durable(created))
    }

    /// Where whoever had `dir` before did not end in good order, `was_left`, a directory in it may be there and yet not survive
    /// a power loss. From now on [`create_dir`](Self::create_dir) makes their names durable as well, and now that of `dir`.
    pub(crate) fn doubt_names(&self, dir: &Path, was_left: bool) -> Result<(), StateError> {
        if !was_left {
            return Ok(());
        }
        self.known.borrow_mut().doubtful_below = Some(dir.to_path_buf());
        self.create_dir(dir)
    }

    /// Appends bytes; when this returns they survive whatever comes. When it fails the file is as it was: a
    /// record that was refused must not be found by the next life, nor half of one spoil the record after it.
    pub(crate) fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        self.append_headed(path, Vec::new, bytes)
    }

    /// [`append`](Self::append), with `header` before it where there is nothing in the file yet, or no file.
    pub(crate) fn append_headed(
        &self,
        path: &Path,
        header: impl FnOnce() -> Vec<u8>,
        bytes: &[u8],
    ) -> Result<(), StateError> {
        self.repair(path)?;
        let before = self.size(path)?.unwrap_or(0);
        let appended = match before {
            0 => self.append_durably(path, &[header().as_slice(), bytes].concat()),
            _ => self.append_durably(path, bytes),
        };
        if appended.is_err() {
            self.known.borrow_mut().damaged.insert(path.to_path_buf(), before);
            if let Err(error) = self.repair(path) {
                tracing::error!(name: "state.damaged", %error, "a failed append may have left bytes behind");
            }
        }
        appended
    }

    fn append_durably(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        self.fs().append(path, bytes).map_err(StateError::io(path))?;
        if self.policy == StateWrite::ReplacementsSynced {
            return Ok(());
        }
        self.make_content_durable(path)?;
        let is_settled = self.known.borrow().settled.contains(path.as_os_str());
        if !is_settled {
            self.known.borrow_mut().settled.insert(path.into());
        }
        let is_named = self.known.borrow().named.contains(path.as_os_str());
        if !is_named {
            self.make_name_durable(path)?;
            self.known.borrow_mut().named.insert(path.into());
        }
        Ok(())
    }

    /// Undoes a failed append; tried again before each use of the file until it succeeds.
    fn repair(&self, path: &Path) -> Result<(), StateError> {
        let Some(len) = self.known.borrow().damaged.get(path).copied() else { return Ok(()) };
        if self.size(path)?.is_some_and(|size| size > len) {
            self.fs().truncate(path, len).map_err(StateError::io(path))?;
            self.make_content_durable(path)?;
        }
        self.known.borrow_mut().damaged.remove(path);
        Ok(())
    }

    /// Replaces the whole content; a crash leaves the old content or the new.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        let temporary = with_suffix(path, ".tmp");
        self.stage(&temporary, bytes)?;
        self.put_in_place(&temporary, path, bytes)?;
        self.make_place_durable(path)
    }

    /// The first half of a replacement: a temporary file with the new content, durable. Leaves none when it fails.
    pub(crate) fn stage(&self, temporary: &Path, bytes: &[u8]) -> Result<(), StateError> {
        if self.policy == StateWrite::InPlace {
            return Ok(());
        }
        let written = self.fs().write(temporary, bytes).map_err(StateError::io(temporary));
        let staged = written.and_then(|()| self.make_content_durable(temporary));
        if staged.is_err() {
            self.discard(temporary);
        }
        staged
    }

    /// The second half: from now on readers see the new content.
    pub(crate) fn put_in_place(&self, temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        if self.policy == StateWrite::InPlace {
            return self.fs().write(path, bytes).map_err(StateError::io(path));
        }
        // Until the directory is synced, a power loss brings the old file back, with none of what follows.
        self.known.borrow_mut().named.remove(path.as_os_str());
        self.fs().rename(temporary, path).map_err(StateError::io(path))?;
        self.known.borrow_mut().damaged.remove(path);
        Ok(())
    }

    /// The end of a replacement: the new content survives a power loss.
    pub(crate) fn make_place_durable(&self, path: &Path) -> Result<(), StateError> {
        if self.policy == StateWrite::InPlace {
            return Ok(());
        }
        self.make_name_durable(path)?;
        self.known.borrow_mut().named.insert(path.into());
        Ok(())
    }

    /// Removes a temporary file that is not needed any more. One that stays is in nobody's way.
    pub(crate) fn discard(&self, temporary: &Path) {
        let _ = self.fs().remove(temporary);
    }

    fn make_content_durable(&self, path: &Path) -> Result<(), StateError> {
        match self.policy {
            StateWrite::Durable | StateWrite::ReplacementsSynced => {
                self.fs().sync_file(path).map_err(StateError::io(path))
            }
            StateWrite::Unsynced | StateWrite::InPlace => Ok(()),
        }
    }

    fn make_name_durable(&self, path: &Path) -> Result<(), StateError> {
        match (self.policy, path.parent()) {
            (StateWrite::Durable | StateWrite::ReplacementsSynced, Some(parent)) => {
                self.fs().sync_dir(parent).map_err(StateError::io(parent))
            }
            _ => Ok(()),
        }
    }

    /// The records of a JSONL file, one a line. The beginning of a record at the end of the file (a crash during
    /// an append that nobody was told had succeeded) is cut off on disk, so that the next append starts a line
    /// of its own. Whatever else is not a record is an error, and the file stays as it is. What this returns survives
    /// a power loss.
    pub(crate) fn read_records<T: DeserializeOwned>(&self, path: &Path) -> Result<Vec<T>, StateError> {
        let records = self.read_records_as_they_are(path)?;
        self.settle(path)?;
        Ok(records)
    }

    /// As [`Self::read_records`], for who only looks: a power loss may take away what an earlier life wrote last.
    fn read_records_as_they_are<T: DeserializeOwned>(&self, path: &Path) -> Result<Vec<T>, StateError> {
        let mut reading = Reading::default();
        self.read_on(path, &mut reading)?;
        Ok(reading.records)
    }

    /// Brings `reading` up to date with the file, as [`Self::read_records_as_they_are`] would read it. Whatever the file
    /// still begins with is not parsed again.
    pub(crate) fn read_on<T: DeserializeOwned>(
        &self,
        path: &Path,
        reading: &mut Reading<T>,
    ) -> Result<(), StateError> {
        let Reading { bytes: known, mut records } = std::mem::take(reading);
        self.repair(path)?;
        let Some(mut bytes) = self.read(path)? else { return Ok(()) };
        if self.torn_line == TornLine::PassedOver {
            reading.records = readable_lines(&bytes);
            return Ok(());
        }
        let complete = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let (lines, tail) = bytes.split_at(complete);
        let new_lines = lines.strip_prefix(known.as_slice()).unwrap_or_else(|| {
            records.clear();
            lines
        });
        records.reserve(new_lines.iter().filter(|&&byte| byte == b'\n').count());
        for line in new_lines.split_inclusive(|&byte| byte == b'\n') {
            let record = serde_json::from_slice(line).map_err(|error| StateError::Unreadable {
                path: path.to_path_buf(),
                line: records.len() + 1,
                why: error.to_string(),
            })?;
            records.push(record);
        }
        if !tail.is_empty() {
            self.cut_torn_line(path, complete, tail, records.len())?;
        }
        bytes.truncate(complete);
        *reading = Reading { bytes, records };
        Ok(())
    }

    /// Makes what can be read survive a power loss, before anything is made of it; once for each file in a life.
    pub(crate) fn settle(&self, path: &Path) -> Result<(), StateError> {
        let is_settled = self.known.borrow().settled.contains(path.as_os_str());
        if self.policy != StateWrite::Durable || is_settled || self.size(path)?.is_none() {
            return Ok(());
        }
        self.make_content_durable(path)?;
        self.make_place_durable(path)?;
        self.known.borrow_mut().settled.insert(path.into());
        Ok(())
    }

    fn cut_torn_line(&self, path: &Path, at: usize, tail: &[u8], lines: usize) -> Result<(), StateError> {
        if !is_torn_record(tail) {
            let why = "neither a record nor the beginning of one".to_string();
            return Err(StateError::Unreadable { path: path.to_path_buf(), line: lines + 1, why });
        }
        tracing::warn!(
            name: "state.torn-line-cut",
            file = %path.display(),
            bytes = tail.len(),
            "cut off a torn last line"
        );
        self.fs().truncate(path, at as u64).map_err(StateError::io(path))
    }
}

/// Nothing there is an answer, not an error.
fn if_exists<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an append that a crash cut short can have left this. Blocks that never reached the disk read as zeros.
fn is_torn_record(tail: &[u8]) -> bool {
    tail.starts_with(RECORD_START) || RECORD_START.starts_with(tail) || tail.iter().all(|&byte| byte == 0)
}

/// `path` with `suffix` after its whole name: `sessions.json` -> `sessions.json.lock`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// What history made of such a file: lines that cannot be read are skipped, and stay.
fn readable_lines<T: DeserializeOwned>(bytes: &[u8]) -> Vec<T> {
    bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// A value as one JSONL line.
pub(crate) fn json_line(value: &impl Serialize) -> Vec<u8> {
    json_lines([value])
}

/// Values as JSONL lines.
pub(crate) fn json_lines<T: Serialize>(values: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut lines = Vec::with_capacity(256);
    for value in values {
        serde_json::to_writer(&mut lines, &value)
            .expect("our own records have string keys and finite numbers");
        lines.push(b'\n');
    }
    lines
}
