//! The inbox: a durable journal of every accepted message, from acceptance to its settlement.
//!
//! A message is in exactly one stage. Each step is appended to the journal before the world can see its effect:
//! `accepted` before the sender's acknowledgement, `started` before the model is asked, `settled` before the
//! final event goes out. What a crash leaves unsettled is what the next life must recover. Settled messages
//! stay for a while as tombstones, so that a repeated idempotency key is recognised across restarts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::env::{Env, WallTime};
use crate::policy::Acknowledgement;
use crate::sessions::{StateError, StateFiles};

/// How long a settled message is remembered for its idempotency key.
const TOMBSTONE_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Settlement {
    /// The reply is in the transcript.
    Answered,
    /// A notice is in the transcript: it failed or was interrupted.
    Told,
    /// Its sender stopped it.
    Cancelled,
}

/// Where a message is on its road.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Accepted; nothing has been done with it.
    Accepted,
    /// A run works, or worked, on it.
    Started,
    /// Over.
    Settled(Settlement),
}

/// One accepted message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The idempotency key, which is also the run's id.
    pub(crate) run_id: String,
    /// The conversation.
    pub(crate) session_key: String,
    /// What the sender wrote.
    pub(crate) text: String,
}

#[derive(Clone, Debug)]
struct Entry {
    message: Accepted,
    stage: Stage,
    at: WallTime,
    order: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum Record {
    Accepted { run_id: String, session_key: String, text: String, at: u64 },
    Started { run_id: String },
    Settled { run_id: String, how: Settlement },
}

/// The journal and what it says.
pub(crate) struct Inbox {
    files: StateFiles,
    path: PathBuf,
    policy: Acknowledgement,
    entries: RefCell<BTreeMap<String, Entry>>,
}

impl Inbox {
    /// Reads the journal in `dir` and drops what is no longer worth remembering.
    pub(crate) fn open(
        env: &Env,
        files: StateFiles,
        dir: &Path,
        policy: Acknowledgement,
    ) -> Result<Self, StateError> {
        let path = dir.join("inbox.jsonl");
        let lines = files.read_lines(&path)?;
        let records: Vec<Record> = crate::sessions::parse_lines(&path, &lines)?;
        let inbox = Self { files, path, policy, entries: RefCell::new(replay(records)) };
        inbox.forget_old(env.wall_clock(), lines.len())?;
        Ok(inbox)
    }

    /// Makes a message durable; when this returns it may be acknowledged.
    pub(crate) fn accept(&self, message: &Accepted, at: WallTime) -> Result<(), StateError> {
        self.journal(&Record::Accepted {
            run_id: message.run_id.clone(),
            session_key: message.session_key.clone(),
            text: message.text.clone(),
            at: at.epoch_ms(),
        })?;
        let mut entries = self.entries.borrow_mut();
        let order = entries.len() as u64;
        let entry = Entry { message: message.clone(), stage: Stage::Accepted, at, order };
        entries.insert(message.run_id.clone(), entry);
        Ok(())
    }

    /// Records that a run is about to work on the message.
    pub(crate) fn start(&self, run_id: &str) -> Result<(), StateError> {
        self.journal(&Record::Started { run_id: run_id.to_string() })?;
        self.set_stage(run_id, Stage::Started);
        Ok(())
    }

    /// Records that the message is over.
    pub(crate) fn settle(&self, run_id: &str, how: Settlement) -> Result<(), StateError> {
        self.journal(&Record::Settled { run_id: run_id.to_string(), how })?;
        self.set_stage(run_id, Stage::Settled(how));
        Ok(())
    }

    /// Forgets that a message has begun or ended, in memory only: it can be worked on again.
    pub(crate) fn reopen(&self, run_id: &str) {
        self.set_stage(run_id, Stage::Accepted);
    }

    /// The message accepted under this key and its stage.
    pub(crate) fn find(&self, run_id: &str) -> Option<(Accepted, Stage)> {
        let entries = self.entries.borrow();
        entries.get(run_id).map(|entry| (entry.message.clone(), entry.stage))
    }

    /// Every message with its stage, in the order of acceptance.
    pub(crate) fn in_order(&self) -> Vec<(Accepted, Stage)> {
        let entries = self.entries.borrow();
        let mut entries: Vec<_> = entries.values().collect();
        entries.sort_by_key(|entry| entry.order);
        entries.into_iter().map(|entry| (entry.message.clone(), entry.stage)).collect()
    }

    /// How many messages are accepted and not settled.
    pub(crate) fn open_count(&self) -> usize {
        let entries = self.entries.borrow();
        entries.values().filter(|entry| !matches!(entry.stage, Stage::Settled(_))).count()
    }

    fn set_stage(&self, run_id: &str, stage: Stage) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(run_id) {
            entry.stage = stage;
        }
    }

    fn journal(&self, record: &Record) -> Result<(), StateError> {
        match self.policy {
            Acknowledgement::AfterDurable => {
                self.files.append(&self.path, &crate::sessions::json_line(record))
            }
            // History kept accepted messages in memory only.
            Acknowledgement::BeforeDurable => Ok(()),
        }
    }

    /// Rewrites the journal without settled messages older than [`TOMBSTONE_AGE`], once they are the bulk of it.
    fn forget_old(&self, now: WallTime, journal_lines: usize) -> Result<(), StateError> {
        let worth_it = {
            let mut entries = self.entries.borrow_mut();
            let before = entries.len();
            entries.retain(|_, entry| {
                !matches!(entry.stage, Stage::Settled(_)) || now.since(entry.at) < TOMBSTONE_AGE
            });
            (before - entries.len()) * 2 > before && journal_lines > 0
        };
        if !worth_it {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for (message, stage) in self.in_order() {
            let at = self.entries.borrow()[&message.run_id].at.epoch_ms();
            let Accepted { run_id, session_key, text } = message;
            let accepted = Record::Accepted { run_id: run_id.clone(), session_key, text, at };
            bytes.extend(crate::sessions::json_line(&accepted));
            if stage != Stage::Accepted {
                bytes.extend(crate::sessions::json_line(&Record::Started { run_id: run_id.clone() }));
            }
            if let Stage::Settled(how) = stage {
                bytes.extend(crate::sessions::json_line(&Record::Settled { run_id, how }));
            }
        }
        self.files.replace(&self.path, &bytes)
    }
}

/// Folds the journal. A step of an unknown message is ignored: its acceptance was forgotten with its age.
fn replay(records: Vec<Record>) -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::new();
    for (order, record) in records.into_iter().enumerate() {
        match record {
            Record::Accepted { run_id, session_key, text, at } => {
                let message = Accepted { run_id: run_id.clone(), session_key, text };
                let at = WallTime::from_epoch_ms(at);
                let entry = Entry { message, stage: Stage::Accepted, at, order: order as u64 };
                entries.entry(run_id).or_insert(entry);
            }
            Record::Started { run_id } => advance(&mut entries, &run_id, Stage::Started),
            Record::Settled { run_id, how } => advance(&mut entries, &run_id, Stage::Settled(how)),
        }
    }
    entries
}

fn advance(entries: &mut BTreeMap<String, Entry>, run_id: &str, stage: Stage) {
    if let Some(entry) = entries.get_mut(run_id) {
        entry.stage = stage;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(run_id: &str) -> Record {
        Record::Accepted { run_id: run_id.into(), session_key: "s".into(), text: "hi".into(), at: 0 }
    }

    #[test]
    fn a_message_is_in_the_stage_of_its_last_record() {
        let records = vec![
            accepted("a"),
            accepted("b"),
            accepted("c"),
            Record::Started { run_id: "a".into() },
            Record::Started { run_id: "b".into() },
            Record::Settled { run_id: "b".into(), how: Settlement::Answered },
        ];
        let entries = replay(records);
        assert_eq!(entries["a"].stage, Stage::Started);
        assert_eq!(entries["b"].stage, Stage::Settled(Settlement::Answered));
        assert_eq!(entries["c"].stage, Stage::Accepted);
    }

    #[test]
    fn steps_of_forgotten_messages_are_ignored() {
        let records = vec![Record::Settled { run_id: "gone".into(), how: Settlement::Told }];
        assert!(replay(records).is_empty());
    }

    #[test]
    fn the_journal_reads_as_documented() {
        let line = String::from_utf8(crate::sessions::json_line(&accepted("a"))).expect("is UTF-8");
        assert_eq!(
            line,
            "{\"type\":\"accepted\",\"runId\":\"a\",\"sessionKey\":\"s\",\"text\":\"hi\",\"at\":0}\n"
        );
    }
}
