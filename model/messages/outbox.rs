//! The outbox: a durable journal of every text that a platform has to take, from the moment that it is owed to the
//! moment that the platform has it, or never will.
//!
//! A text is queued before the message that it answers is settled, so that a crash in between repeats the queueing and
//! not the turn: a text has a name of its own, and what is known by its name is not queued again. An attempt is
//! recorded before it is made and its outcome after it, so the next life knows what was sent, what was not, and of what
//! nobody can tell. Knows neither platforms nor conversations.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::channels::{Account, Chat, Delivery};
use crate::env::{Env, WallTime};
use crate::sessions::{StateError, StateFiles, json_line, json_lines};

/// How long the end of a text is remembered for its name, and how many of them at most.
const TOMBSTONE_AGE: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_TOMBSTONES: usize = 20_000;
/// A journal shorter than this is not worth rewriting.
const COMPACT_FROM_LINES: usize = 1_000;

/// How far a text has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It was not sent, after so many attempts that the platform did not take.
    Queued { attempts: u32 },
    /// So many attempts were begun, and what came of one of them is not known: of the last, and of one before that
    /// where it says so.
    Unknown { attempts: u32, earlier: bool },
    /// The platform has it.
    Sent,
    /// It will never be sent.
    Failed,
}

impl Progress {
    const fn is_over(self) -> bool {
        matches!(self, Self::Sent | Self::Failed)
    }

    pub(crate) const fn attempts(self) -> u32 {
        match self {
            Self::Queued { attempts } | Self::Unknown { attempts, .. } => attempts,
            Self::Sent | Self::Failed => 0,
        }
    }

    /// With another attempt begun. Nobody knows what came of it until that is recorded, or ever.
    pub(crate) const fn begun(self) -> Self {
        Self::Unknown { attempts: self.attempts() + 1, earlier: matches!(self, Self::Unknown { .. }) }
    }

    /// With the last attempt not taken, which says nothing of those before it.
    pub(crate) const fn not_taken(self) -> Self {
        match self {
            Self::Unknown { attempts, earlier: false } => Self::Queued { attempts },
            other => other,
        }
    }
}

/// Whom a text is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct About {
    pub(crate) run_id: String,
    pub(crate) session_key: String,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Kept until the text is over.
    owed: Option<Owed>,
    progress: Progress,
    at: WallTime,
    order: u64,
}

#[derive(Clone, Debug)]
struct Owed {
    about: About,
    chat: Chat,
    text: String,
}

type Entries = BTreeMap<String, Entry>;

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum Record {
    Queued {
        id: String,
        about: About,
        chat: Chat,
        text: String,
        at: u64,
    },
    /// It is about to be sent.
    Attempt {
        id: String,
    },
    /// The platform did not take it.
    NotTaken {
        id: String,
        why: String,
    },
    Sent {
        id: String,
        message: String,
    },
    Failed {
        id: String,
        why: String,
    },
    /// What a rewritten journal keeps of a text that is over.
    Tombstone {
        id: String,
        at: u64,
        sent: bool,
    },
}

/// What people find of a text that will never be sent.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum DeadLetter<'a> {
    DeadLetter { id: &'a str, about: &'a About, chat: &'a Chat, text: &'a str, why: &'a str, at: u64 },
}

/// One text that is owed.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) delivery: Delivery,
    pub(crate) about: About,
    pub(crate) progress: Progress,
    pub(crate) at: WallTime,
    /// It was queued in this life.
    pub(crate) is_new: bool,
}

/// The journal and what it says.
pub(crate) struct Outbox {
    env: Env,
    files: StateFiles,
    path: PathBuf,
    entries: RefCell<Entries>,
    next_order: Cell<u64>,
    /// Where the orders of this life begin.
    first_order: u64,
    dead_letters: PathBuf,
    journal_lines: Cell<usize>,
    /// Something was queued, or is over.
    changed: Notify,
}

impl Outbox {
    /// Reads the journal in `dir`, whoever is configured now: what is owed is kept for a while, and shown.
    pub(crate) fn open(env: Env, files: StateFiles, dir: &Path) -> Result<Self, StateError> {
        let path = dir.join("outbox.jsonl");
        let records: Vec<Record> = files.read_records(&path)?;
        let (next_order, journal_lines) = (records.len() as u64, records.len());
        let outbox = Self {
            env,
            files,
            path,
            entries: RefCell::new(replay(records)),
            next_order: Cell::new(next_order),
            first_order: next_order,
            dead_letters: dir.join("dead-letters.jsonl"),
            journal_lines: Cell::new(journal_lines),
            changed: Notify::new(),
        };
        forget_old(&mut outbox.entries.borrow_mut(), outbox.env.wall_clock());
        Ok(outbox)
    }

    /// Makes texts durable that are to be sent one after the other, all at once. One that is known is not queued again,
    /// whatever became of it.
    pub(crate) fn queue(&self, mut texts: Vec<Delivery>, about: &About) -> Result<(), StateError> {
        texts.retain(|delivery| !self.entries.borrow().contains_key(&delivery.id));
        if texts.is_empty() {
            return Ok(());
        }
        let at = self.env.wall_clock();
        let record = |Delivery { id, chat, text }: &Delivery| Record::Queued {
            id: id.clone(),
            about: about.clone(),
            chat: chat.clone(),
            text: text.clone(),
            at: at.epoch_ms(),
        };
        self.files.append(&self.path, &json_lines(texts.iter().map(record)))?;
        self.journal_lines.set(self.journal_lines.get() + texts.len());
        for Delivery { id, chat, text } in texts {
            let account = &chat.account;
            tracing::info!(name: "outbox.queued", run = about.run_id, text = id, %account, "a text is owed");
            let order = self.next_order.replace(self.next_order.get() + 1);
            let owed = Some(Owed { about: about.clone(), chat, text });
            let entry = Entry { owed, progress: Progress::Queued { attempts: 0 }, at, order };
            self.entries.borrow_mut().insert(id, entry);
        }
        self.changed.notify_waiters();
        self.compact_if_worth_it();
        Ok(())
    }

    /// Records that a text is about to be sent.
    pub(crate) fn attempt(&self, id: &str) -> Result<(), StateError> {
        self.advance(id, &Record::Attempt { id: id.to_string() }, Progress::begun)
    }

    /// Records that the platform did not take it.
    pub(crate) fn not_taken(&self, id: &str, why: &str) -> Result<(), StateError> {
        let record = Record::NotTaken { id: id.to_string(), why: why.to_string() };
        self.advance(id, &record, Progress::not_taken)
    }

    /// Records that the platform has it, under its own name for it.
    pub(crate) fn sent(&self, id: &str, message: &str) -> Result<(), StateError> {
        let record = Record::Sent { id: id.to_string(), message: message.to_string() };
        self.advance(id, &record, |_| Progress::Sent)
    }

    /// Records that it will never be sent, after it was put among the dead letters. A crash in between puts it there
    /// twice, under one name.
    pub(crate) fn fail(&self, pending: &Pending, why: &str) -> Result<(), StateError> {
        let (Pending { delivery, about, at, .. }, why) = (pending, why.to_string());
        let id = delivery.id.clone();
        let letter = DeadLetter::DeadLetter {
            id: &id,
            about,
            chat: &delivery.chat,
            text: &delivery.text,
            why: &why,
            at: at.epoch_ms(),
        };
        self.files.append(&self.dead_letters, &json_line(&letter))?;
        self.advance(&id, &Record::Failed { id: id.clone(), why }, |_| Progress::Failed)
    }

    /// What is owed to one chat of an account, or to all of them, oldest first.
    pub(crate) fn pending(&self, account: &Account, chat: Option<&str>) -> Vec<Pending> {
        let entries = self.entries.borrow();
        let mut pending: Vec<(u64, Pending)> = entries
            .iter()
            .filter(|(_, entry)| !entry.progress.is_over())
            .filter_map(|(id, entry)| {
                let Owed { about, chat, text } = entry.owed.clone()?;
                let delivery = Delivery { id: id.clone(), chat, text };
                let (progress, at) = (entry.progress, entry.at);
                let is_new = entry.order >= self.first_order;
                Some((entry.order, Pending { delivery, about, progress, at, is_new }))
            })
            .filter(|(_, pending)| {
                let to = &pending.delivery.chat;
                to.account == *account && chat.is_none_or(|chat| to.chat == chat)
            })
            .collect();
        pending.sort_by_key(|(order, _)| *order);
        pending.into_iter().map(|(_, pending)| pending).collect()
    }

    /// How many texts are owed through each account.
    pub(crate) fn owed(&self) -> BTreeMap<Account, usize> {
        let mut owed = BTreeMap::new();
        for Owed { chat, .. } in self.entries.borrow().values().filter_map(|entry| entry.owed.as_ref()) {
            *owed.entry(chat.account.clone()).or_default() += 1;
        }
        owed
    }

    /// How many texts are owed of those that count, by their chat and name.
    pub(crate) fn depth(&self, counts: impl Fn(&Chat, &str) -> bool) -> usize {
        let entries = self.entries.borrow();
        let owed = entries.iter().filter_map(|(id, entry)| Some((id, entry.owed.as_ref()?)));
        owed.filter(|(id, owed)| counts(&owed.chat, id)).count()
    }

    /// What counts may have changed.
    pub(crate) fn look_again(&self) {
        self.changed.notify_waiters();
    }

    /// Resolves when nothing is owed of what counts.
    pub(crate) async fn empty(&self, counts: impl Fn(&Chat, &str) -> bool) {
        loop {
            let changed = self.changed.notified();
            if self.depth(&counts) == 0 {
                return;
            }
            changed.await;
        }
    }

    fn advance(
        &self,
        id: &str,
        record: &Record,
        step: impl FnOnce(Progress) -> Progress,
    ) -> Result<(), StateError> {
        self.write(record)?;
        if let Some(entry) = self.entries.borrow_mut().get_mut(id) {
            entry.take(step(entry.progress));
        }
        self.changed.notify_waiters();
        Ok(())
    }

    fn write(&self, record: &Record) -> Result<(), StateError> {
        self.files.append(&self.path, &json_line(record))?;
        self.journal_lines.set(self.journal_lines.get() + 1);
        Ok(())
    }

    /// Rewrites a journal of which most says nothing any more. It is as good as before when that fails.
    fn compact_if_worth_it(&self) {
        let lines = self.journal_lines.get();
        if lines < COMPACT_FROM_LINES || lines < 2 * self.entries.borrow().len() {
            return;
        }
        let mut entries = self.entries.borrow_mut();
        forget_old(&mut entries, self.env.wall_clock());
        let records: Vec<Vec<u8>> = in_order(&entries).into_iter().flat_map(digest).collect();
        match self.files.replace(&self.path, &records.concat()) {
            Ok(()) => self.journal_lines.set(records.len()),
            Err(error) => {
                // Not again at the next text.
                self.journal_lines.set(0);
                tracing::warn!(name: "outbox.not-compacted", %error, "the journal stays as long as it is");
            }
        }
    }
}

impl Entry {
    fn take(&mut self, progress: Progress) {
        self.progress = progress;
        if progress.is_over() {
            self.owed = None;
        }
    }
}

fn in_order(entries: &Entries) -> Vec<(&String, &Entry)> {
    let mut in_order: Vec<_> = entries.iter().collect();
    in_order.sort_by_key(|(_, entry)| entry.order);
    in_order
}

/// The fewest lines that say the same about a text.
fn digest((id, entry): (&String, &Entry)) -> Vec<Vec<u8>> {
    let (id, at) = (id.clone(), entry.at.epoch_ms());
    let Some(Owed { about, chat, text }) = entry.owed.clone() else {
        return vec![json_line(&Record::Tombstone { id, at, sent: entry.progress == Progress::Sent })];
    };
    let mut lines = vec![json_line(&Record::Queued { id: id.clone(), about, chat, text, at })];
    let not_taken = match entry.progress {
        Progress::Unknown { earlier: true, .. } => 0,
        Progress::Unknown { attempts, earlier: false } => attempts.saturating_sub(1),
        other => other.attempts(),
    };
    for number in 0..entry.progress.attempts() {
        lines.push(json_line(&Record::Attempt { id: id.clone() }));
        if number < not_taken {
            lines.push(json_line(&Record::NotTaken { id: id.clone(), why: "rewritten".to_string() }));
        }
    }
    lines
}

/// Drops tombstones that are too old, and the oldest of too many.
fn forget_old(entries: &mut Entries, now: WallTime) {
    let mut over: Vec<u64> =
        entries.values().filter(|entry| entry.progress.is_over()).map(|entry| entry.order).collect();
    over.sort_unstable();
    let first_kept = over.len().checked_sub(MAX_TOMBSTONES).map_or(0, |excess| over[excess]);
    entries.retain(|_, entry| {
        !entry.progress.is_over() || (entry.order >= first_kept && now.since(entry.at) < TOMBSTONE_AGE)
    });
}

/// Folds the journal. A step of an unknown text is ignored: it was forgotten with its age.
fn replay(records: Vec<Record>) -> Entries {
    let mut entries = Entries::new();
    let step = |entries: &mut Entries, id: &str, step: &dyn Fn(Progress) -> Progress| {
        if let Some(entry) = entries.get_mut(id) {
            entry.take(step(entry.progress));
        }
    };
    for (order, record) in records.into_iter().enumerate() {
        let order = order as u64;
        match record {
            Record::Queued { id, about, chat, text, at } => {
                let owed = Some(Owed { about, chat, text });
                let (progress, at) = (Progress::Queued { attempts: 0 }, WallTime::from_epoch_ms(at));
                entries.entry(id).or_insert(Entry { owed, progress, at, order });
            }
            Record::Attempt { id } => {
                step(&mut entries, &id, &Progress::begun);
            }
            Record::NotTaken { id, .. } => step(&mut entries, &id, &Progress::not_taken),
            Record::Sent { id, .. } => step(&mut entries, &id, &|_| Progress::Sent),
            Record::Failed { id, .. } => step(&mut entries, &id, &|_| Progress::Failed),
            Record::Tombstone { id, at, sent } => {
                let progress = if sent { Progress::Sent } else { Progress::Failed };
                entries.insert(id, Entry { owed: None, progress, at: WallTime::from_epoch_ms(at), order });
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests;
