//! The ledger of restarts on the disk, `restart-ledger.json`: what the next life must know of this one.
//!
//! It is written before anybody is answered, and at each start, since the number of a generation must never come twice:
//! what a dead one left in records would count as the work of the new one (openclaw/openclaw#143420). Like a message, a
//! request counts once it is durable. A disk that refuses keeps nobody from a restart that may mend it: a signal needs no
//! record, since nobody can be told what came of it.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::gateway::Gateway;
use crate::lifecycle::restart::{Carried, Ledger, RestartPause, RestartPolicy, Settings, Source};
use crate::lifecycle::task_records;
use crate::sessions::{StateError, StateFiles};

/// What stands in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(flatten)]
    pub(super) ledger: Ledger,
    /// When a restart was ordered last, or was over, in milliseconds since the Unix epoch: from then on the next one pauses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ordered_at_ms: Option<u64>,
}

/// The file, and what is known to stand in it.
#[derive(Default)]
pub(super) struct LedgerFile {
    written: RefCell<Option<Entry>>,
    /// It is there and could not be read, so it is not written over.
    unread: Cell<bool>,
}

fn path(config: &Config) -> PathBuf {
    config.gateway.state_dir.join("restart-ledger.json")
}

fn files(gateway: &Gateway) -> StateFiles {
    StateFiles::new(gateway.env.clone(), gateway.policies.state_write)
}

impl LedgerFile {
    /// What the last life left; by default nothing. The generation is none that any record of a task names: the ledger
    /// may be lost. What does not parse was left by nobody of ours.
    pub(super) fn read(&self, gateway: &Gateway) -> Entry {
        let path = path(&gateway.config);
        let read: Result<_, StateError> = files(gateway).read(&path);
        let bytes = read.unwrap_or_else(|error| {
            tracing::error!(name: "restart.ledger-not-read", %error, "who asked for this restart is not told");
            self.unread.set(true);
            None
        });
        let entry = bytes.and_then(|bytes| parse(&path, &bytes));
        self.written.borrow_mut().clone_from(&entry);
        let Entry { ledger, ordered_at_ms } = entry.unwrap_or_default();
        let tasks = task_records::read(gateway.env.fs(), &gateway.config.gateway.state_dir);
        let newest = tasks.iter().map(|task| task.owner).max().unwrap_or_default();
        Entry { ledger: ledger.not_before(newest), ordered_at_ms }
    }

    /// Whether it is there and could not be read so far.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.get()
    }

    /// What the last life left, once it can be read that could not be.
    pub(super) fn read_at_last(&self, gateway: &Gateway) -> Option<Ledger> {
        let path = path(&gateway.config);
        if !self.unread.get() {
            return None;
        }
        let bytes = files(gateway).read(&path).ok()?;
        self.unread.set(false);
        let entry = bytes.and_then(|bytes| parse(&path, &bytes));
        self.written.borrow_mut().clone_from(&entry);
        entry.map(|entry| entry.ledger)
    }

    /// Writes down what must outlive this process, if it does not stand there already. Returns whether it stands there
    /// now; a disk that refuses is tried again with the next change.
    pub(super) fn write(&self, gateway: &Gateway, entry: Entry) -> bool {
        let entry = Entry { ledger: without_signals(entry.ledger), ..entry };
        if self.unread.get() {
            return false;
        }
        if self.written.borrow().as_ref() == Some(&entry) {
            return true;
        }
        let bytes = serde_json::to_vec(&entry).expect("a ledger is a plain value");
        match files(gateway).replace(&path(&gateway.config), &bytes) {
            Ok(()) => {
                *self.written.borrow_mut() = Some(entry);
                true
            }
            Err(error) => {
                tracing::error!(name: "restart.ledger-not-written", %error, "the next life may not know who asked for it");
                false
            }
        }
    }
}

/// What does not parse was left by nobody of ours.
fn parse(path: &Path, bytes: &[u8]) -> Option<Entry> {
    let parsed = serde_json::from_slice(bytes);
    parsed
        .inspect_err(|error| {
            tracing::error!(name: "restart.ledger-not-read", %error, file = %path.display(), "who asked for this restart is not told");
        })
        .ok()
}

/// Nobody can be told what came of a signal.
fn without_signals(ledger: Ledger) -> Ledger {
    let has_requester = |of: &Carried| of.source != Source::Signal;
    let Ledger { generation, mut open, mut untold, mut told } = ledger;
    open.retain(has_requester);
    untold.retain(|outcome| has_requester(&outcome.of));
    told.retain(|outcome| has_requester(&outcome.of));
    Ledger { generation, open, untold, told }
}

/// What is left of the pause after the restart that an earlier process ordered, or came from, at `ordered_at_ms`. A wall clock that was
/// set back since makes it no longer than a whole one.
pub(super) fn pause_left(
    gateway: &Gateway,
    policy: RestartPolicy,
    settings: Settings,
    ordered_at_ms: Option<u64>,
) -> Duration {
    match (policy.pause, ordered_at_ms) {
        (RestartPause::AcrossProcesses, Some(ordered_at_ms)) => {
            let ago = gateway.env.wall_clock().epoch_ms().saturating_sub(ordered_at_ms);
            settings.cooldown.saturating_sub(Duration::from_millis(ago))
        }
        (RestartPause::AcrossProcesses, None)
        | (RestartPause::WithinProcess | RestartPause::Forgotten, _) => Duration::ZERO,
    }
}
