//! The books of subagents, `subagents/runs.json`: who works on what for whom, and what came of it.
//!
//! One row for each subagent, under the name of its present run; the whole file is replaced at every change, so a run
//! takes the place of another in one step. A change that must be durable before anything follows is undone when the disk
//! refuses it; one that only says what has happened holds in memory and is owed until it is written.
//! Knows nothing of messages or of what a run does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sessions::{StateError, StateFiles};

const FORMAT_VERSION: u32 = 2;

/// Who asked for a subagent, and hears what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Requester {
    /// The conversation.
    pub(super) session_key: String,
    /// The message in whose turn it was asked for. Its route belongs here, too.
    pub(super) run_id: String,
}

/// Where the work stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    /// Its run is at work, or on its way to be.
    Running,
    /// The end of a life cut its run short, and no other has taken its place yet.
    Interrupted,
    /// It is over.
    Ended,
}

/// How the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OutcomeStatus {
    /// It is done.
    Ok,
    /// It failed.
    Error,
    /// Nobody will finish it.
    Lost,
    /// Whoever asked for it stopped it.
    Cancelled,
}

/// How the work ended, and its result or the reason why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) status: OutcomeStatus,
    pub(super) text: String,
}

/// Whether whoever asked has heard what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Announcement {
    /// Not yet.
    Pending,
    /// A reply or a notice about it stands in the conversation.
    Made,
    /// Nobody wants to hear of it any more.
    NotWanted,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// The subagent's name, which stays the same whatever run works on it.
    pub(super) id: String,
    /// Its conversation.
    pub(super) child_session_key: String,
    pub(super) requester: Requester,
    pub(super) label: Option<String>,
    pub(super) task: String,
    /// The life that works on it, or did last.
    pub(super) generation: String,
    /// These are in milliseconds since the epoch.
    pub(super) created_at: u64,
    pub(super) started_at: Option<u64>,
    pub(super) ended_at: Option<u64>,
    pub(super) status: Status,
    pub(super) outcome: Option<Outcome>,
    pub(super) announcement: Announcement,
    /// When it was resumed, each time.
    #[serde(default)]
    pub(super) resumed_at: Vec<u64>,
}

impl Entry {
    /// Whether nothing will be done about it any more.
    pub(super) fn is_over(&self) -> bool {
        self.status == Status::Ended && self.announcement != Announcement::Pending
    }
}

type Rows = BTreeMap<String, Entry>;

#[derive(Serialize, Deserialize)]
struct Book {
    version: u32,
    runs: Rows,
}

/// The books, and what they say.
pub(super) struct Registry {
    files: StateFiles,
    path: PathBuf,
    rows: RefCell<Rows>,
    /// Something in memory is not on the disk yet.
    is_owed: Cell<bool>,
    /// The directory is there, as far as this life knows.
    has_dir: Cell<bool>,
}

impl Registry {
    /// Reads the books in `state_dir`; nothing is written before there is a row. Books that do not parse are an error and
    /// stay as they are.
    pub(super) fn open(files: StateFiles, state_dir: &Path) -> Result<Self, StateError> {
        let path = state_dir.join("subagents/runs.json");
        let rows = match files.read(&path)? {
            None => Rows::new(),
            Some(bytes) => {
                let book: Result<Book, _> = serde_json::from_slice(&bytes);
                book.map(|book| book.runs).map_err(|error| StateError::Unreadable {
                    path: path.clone(),
                    line: error.line(),
                    why: error.to_string(),
                })?
            }
        };
        Ok(Self {
            files,
            path,
            rows: RefCell::new(rows),
            is_owed: Cell::new(false),
            has_dir: Cell::new(false),
        })
    }

    /// Whether there is no row.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.borrow().is_empty()
    }

    /// Every row with its run, by the names of the runs.
    pub(super) fn rows(&self) -> Vec<(String, Entry)> {
        self.rows.borrow().iter().map(|(run_id, entry)| (run_id.clone(), entry.clone())).collect()
    }

    /// The row of a run.
    pub(super) fn of_run(&self, run_id: &str) -> Option<Entry> {
        self.rows.borrow().get(run_id).cloned()
    }

    /// The row of a subagent, with its run.
    pub(super) fn of_subagent(&self, id: &str) -> Option<(String, Entry)> {
        let rows = self.rows.borrow();
        rows.iter().find(|(_, entry)| entry.id == id).map(|(run_id, entry)| (run_id.clone(), entry.clone()))
    }

    /// Changes the rows as `change` says, durably; when that fails they are as they were.
    pub(super) fn change(&self, change: impl FnOnce(&mut Rows)) -> Result<(), StateError> {
        let before = self.rows.borrow().clone();
        change(&mut self.rows.borrow_mut());
        let written = self.write();
        if written.is_err() {
            *self.rows.borrow_mut() = before;
            // What was written nevertheless must not be what the next life finds.
            self.is_owed.set(true);
        }
        written
    }

    /// Changes the rows; that holds, and is owed if the disk refuses it.
    pub(super) fn note(&self, change: impl FnOnce(&mut Rows)) -> Result<(), StateError> {
        change(&mut self.rows.borrow_mut());
        self.is_owed.set(true);
        self.pay()
    }

    /// Changes one row; as [`Self::note`].
    pub(super) fn note_of(&self, run_id: &str, change: impl FnOnce(&mut Entry)) -> Result<(), StateError> {
        self.note(|rows| {
            if let Some(entry) = rows.get_mut(run_id) {
                change(entry);
            }
        })
    }

    /// Writes what is owed.
    pub(super) fn pay(&self) -> Result<(), StateError> {
        match self.is_owed.get() {
            true => self.write(),
            false => Ok(()),
        }
    }

    fn write(&self) -> Result<(), StateError> {
        if !self.has_dir.get() {
            self.files.create_dir(self.path.parent().expect("the books are in a directory"))?;
            self.has_dir.set(true);
        }
        let rows = self.rows.borrow();
        let book = Book { version: FORMAT_VERSION, runs: rows.clone() };
        let bytes = serde_json::to_vec(&book).expect("rows have string keys");
        self.files.replace(&self.path, &bytes)?;
        self.is_owed.set(false);
        Ok(())
    }
}
