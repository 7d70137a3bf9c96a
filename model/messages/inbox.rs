//! The inbox: a durable journal of every accepted message, from acceptance to its settlement.
//!
//! A message is in exactly one stage. Each step is appended to the journal before the world can see its effect:
//! `accepted` before the sender's acknowledgement, `started` before the model is asked, `settled` before the
//! final event goes out. What a crash leaves unsettled is what the next life must recover; what it does about it is
//! recorded before it is done, so that it is not done for ever. Settled messages
//! stay for a while as tombstones, without their text, so that a repeated idempotency key is recognised across
//! restarts. A settlement that the disk refuses is owed: it holds in memory and is written as soon as that works.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channels::Route;
use crate::env::Env;
use crate::policy::{Acknowledgement, FollowUps, KeyMemory};
use crate::sessions::{Outcome, StateError, StateFiles, json_line, json_lines};

mod journal;

pub(crate) use journal::fingerprint;
use journal::{Entries, Entry, Record, digest, forget_old, in_order, likeness, replay};

/// A journal shorter than this is not worth rewriting.
const COMPACT_FROM_LINES: usize = 1_000;

/// After how long history forgot the key of a message that was over: `chat.send` kept results for five minutes.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5 * 60);

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

impl Settlement {
    /// The settlement's name in the answer to `chat.send`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Told => "told",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<&Outcome> for Settlement {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Reply(_) => Self::Answered,
            Outcome::Notice(_) => Self::Told,
        }
    }
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
    /// Where it came from, and where its answer goes.
    pub(crate) route: Route,
}

/// What the inbox knows of an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing, or nothing any more.
    No,
    /// It was used for another message.
    AsAnother,
    /// It is this very message.
    AsThis(Stage),
}

/// The journal and what it says.
pub(crate) struct Inbox {
    env: Env,
    files: StateFiles,
    path: PathBuf,
    policy: Acknowledgement,
    key_memory: KeyMemory,
    entries: RefCell<Entries>,
    next_order: Cell<u64>,
    /// The first that is not of an earlier life.
    first_order: u64,
    journal_lines: Cell<usize>,
    /// Settlements that the disk has refused so far, in their order.
    owed: RefCell<Vec<Record>>,
    /// Messages that are over in memory only.
    presumed: RefCell<BTreeSet<String>>,
}

impl Inbox {
    /// Reads the journal in `dir`.
    pub(crate) fn open(
        env: Env,
        files: StateFiles,
        dir: &Path,
        policy: Acknowledgement,
        key_memory: KeyMemory,
    ) -> Result<Self, StateError> {
        let path = dir.join("inbox.jsonl");
        let records: Vec<Record> = files.read_records(&path)?;
        let (next_order, journal_lines) = (records.len() as u64, records.len());
        let inbox = Self {
            env,
            files,
            path,
            policy,
            key_memory,
            entries: RefCell::new(replay(records)),
            next_order: Cell::new(next_order),
            first_order: next_order,
            journal_lines: Cell::new(journal_lines),
            owed: RefCell::default(),
            presumed: RefCell::default(),
        };
        forget_old(&mut inbox.entries.borrow_mut(), inbox.env.wall_clock());
        Ok(inbox)
    }

    /// Makes a message durable; when this returns it may be acknowledged. History `kept` some in memory until their
    /// turn began.
    pub(crate) fn accept(&self, message: &Accepted, kept: FollowUps) -> Result<(), StateError> {
        let at = self.env.wall_clock();
        let Accepted { run_id, session_key, text, route } = message.clone();
        let entry = Entry {
            session_key: session_key.clone(),
            text: Some(text.clone()),
            route: route.clone(),
            fingerprint: fingerprint(&text),
            likeness: likeness(&route, &text),
            stage: Stage::Accepted,
            at,
            order: self.next_order.get(),
            generation: 0,
            resumed: 0,
            in_memory: kept == FollowUps::InMemory,
        };
        if kept == FollowUps::Durable {
            let at = at.epoch_ms();
            self.journal(&Record::Accepted { run_id: run_id.clone(), session_key, text, at, route })?;
        }
        self.next_order.set(entry.order + 1);
        self.entries.borrow_mut().insert(run_id, entry);
        self.compact_if_worth_it();
        Ok(())
    }

    /// Records that a turn of this generation is about to work on the messages.
    pub(crate) fn start(&self, run_ids: &[&str], generation: u64) -> Result<(), StateError> {
        self.catch_up(run_ids)?;
        self.journal_all(run_ids, |run_id| Record::Started { run_id, generation })?;
        self.change_all(run_ids, |entry| (entry.stage, entry.generation) = (Stage::Started, generation));
        Ok(())
    }

    /// Writes down what was kept in memory until now.
    fn catch_up(&self, run_ids: &[&str]) -> Result<(), StateError> {
        for run_id in run_ids {
            let accepted = match self.entries.borrow().get(*run_id).filter(|entry| entry.in_memory) {
                Some(entry) => entry.accepted(run_id),
                None => continue,
            };
            self.journal(&accepted)?;
            self.change_all(&[run_id], |entry| entry.in_memory = false);
        }
        Ok(())
    }

    /// Forgets messages that were kept in memory, and returns which.
    pub(crate) fn forget_kept_in_memory(&self) -> Vec<String> {
        let mut forgotten = Vec::new();
        self.entries.borrow_mut().retain(|run_id, entry| {
            let is_kept = !entry.in_memory || entry.is_settled();
            forgotten.extend((!is_kept).then(|| run_id.clone()));
            is_kept
        });
        forgotten
    }

    /// A message is over in memory, and the journal says that it was interrupted: what history made of a stop
    /// ([`UserStop::AsInterruption`](crate::policy::UserStop::AsInterruption)).
    pub(crate) fn stop_as_interrupted(&self, run_id: &str, generation: u64) -> Result<(), StateError> {
        let (stopped, text) = (Stage::Settled(Settlement::Cancelled), None::<String>);
        self.change_all(&[run_id], |entry| (entry.stage, entry.text) = (stopped, text.clone()));
        self.interrupt(&[run_id], generation)
    }

    /// Records that this generation takes up what an earlier one left.
    pub(crate) fn resume(&self, run_ids: &[&str], generation: u64) -> Result<(), StateError> {
        self.journal_all(run_ids, |run_id| Record::Resumed { run_id, generation })?;
        self.change_all(run_ids, |entry| entry.resumed += 1);
        Ok(())
    }

    /// Records that this generation gives back what it took up: its end is none of the messages' doing.
    pub(crate) fn give_back(&self, run_ids: &[&str]) -> Result<(), StateError> {
        let resumed = |run_id: &&&str| self.times_resumed(run_id) > 0;
        let run_ids: Vec<&str> = run_ids.iter().filter(resumed).copied().collect();
        self.journal_all(&run_ids, |run_id| Record::Returned { run_id })?;
        self.change_all(&run_ids, |entry| entry.resumed -= 1);
        Ok(())
    }

    /// Records that the end of this generation interrupts work on the messages.
    pub(crate) fn interrupt(&self, run_ids: &[&str], generation: u64) -> Result<(), StateError> {
        self.journal_all(run_ids, |run_id| Record::Interrupted { run_id, generation })
    }

    /// Records that the messages are over, all at once. On an error they are over all the same, and the records are
    /// owed.
    pub(crate) fn settle(&self, run_ids: &[&str], how: Settlement) -> Result<(), StateError> {
        self.change_all(run_ids, |entry| (entry.stage, entry.text) = (Stage::Settled(how), None));
        self.presumed.borrow_mut().retain(|presumed| !run_ids.contains(&presumed.as_str()));
        let records = run_ids.iter().map(|run_id| Record::Settled { run_id: run_id.to_string(), how });
        self.owed.borrow_mut().extend(records);
        self.pay()
    }

    /// Writes the settlements that are owed.
    pub(crate) fn pay(&self) -> Result<(), StateError> {
        let lines = json_lines(&*self.owed.borrow());
        self.write(&lines)?;
        self.owed.borrow_mut().clear();
        Ok(())
    }

    /// Whether the journal says that the message is over, and not only this life.
    pub(crate) fn is_over_for_good(&self, run_id: &str) -> bool {
        let is_it =
            |record: &Record| matches!(record, Record::Settled { run_id: owed, .. } if owed == run_id);
        let is_settled = self.entries.borrow().get(run_id).is_some_and(Entry::is_settled);
        is_settled && !self.presumed.borrow().contains(run_id) && !self.owed.borrow().iter().any(is_it)
    }

    /// Whether the message of `run_id` was accepted before `message`. One that is forgotten was.
    pub(crate) fn is_before(&self, run_id: &str, message: &Accepted) -> bool {
        let entries = self.entries.borrow();
        let order = |run_id: &str| entries.get(run_id).map(|entry| entry.order);
        order(run_id).is_none_or(|order| Self::limit(&entries, message).is_some_and(|limit| order < limit))
    }

    fn limit(entries: &Entries, message: &Accepted) -> Option<u64> {
        entries.get(&message.run_id).map(|entry| entry.order)
    }

    /// Forgets that a message has begun or ended, in memory only: it can be worked on again.
    pub(crate) fn reopen(&self, run_id: &str) {
        self.change_all(&[run_id], |entry| entry.stage = Stage::Accepted);
    }

    /// How many lives that died had taken up a message of an earlier one.
    pub(crate) fn times_resumed(&self, run_id: &str) -> u32 {
        self.entries.borrow().get(run_id).map_or(0, |entry| entry.resumed)
    }

    /// How long ago a message was accepted.
    pub(crate) fn age(&self, run_id: &str) -> Duration {
        let at = self.entries.borrow().get(run_id).map(|entry| entry.at);
        at.map_or(Duration::ZERO, |at| self.env.wall_clock().since(at))
    }

    /// Whether a message was accepted by an earlier life.
    pub(crate) fn is_of_earlier_life(&self, run_id: &str) -> bool {
        self.entries.borrow().get(run_id).is_some_and(|entry| entry.order < self.first_order)
    }

    /// Records that a message is over that is still to be run, as history did
    /// ([`RecoveryDispatch::WhenQueued`](crate::policy::RecoveryDispatch::WhenQueued)).
    pub(crate) fn record_as_over(&self, run_id: &str, how: Settlement) {
        self.owed.borrow_mut().push(Record::Settled { run_id: run_id.to_string(), how });
        // What the disk refuses is written with the next record.
        let _ = self.pay();
    }

    /// Takes a message for over, in memory only: the record of it comes later, or a next life finds it open.
    pub(crate) fn presume_over(&self, run_id: &str, how: Settlement) {
        self.presumed.borrow_mut().insert(run_id.to_string());
        self.change_all(&[run_id], |entry| entry.stage = Stage::Settled(how));
    }

    /// The open messages of a message's conversation that were accepted before it, in that order.
    pub(crate) fn open_before(&self, message: &Accepted) -> Vec<Accepted> {
        let entries = self.entries.borrow();
        let Some(limit) = Self::limit(&entries, message) else { return Vec::new() };
        let is_it = |entry: &Entry| {
            entry.session_key == message.session_key && entry.order < limit && !entry.is_settled()
        };
        let open = in_order(&entries).into_iter().filter(|(_, entry)| is_it(entry));
        open.filter_map(|(run_id, entry)| entry.message(run_id)).collect()
    }

    /// Drops the texts of what earlier lives settled. Recovery is the last to read them.
    pub(crate) fn forget_settled_texts(&self) {
        let mut entries = self.entries.borrow_mut();
        entries.values_mut().filter(|entry| entry.is_settled()).for_each(|entry| entry.text = None);
    }

    /// What is known of a message that comes in.
    pub(crate) fn knows(&self, message: &Accepted) -> Known {
        let entries = self.entries.borrow();
        match entries.get(&message.run_id) {
            None => message
                .likeness()
                .and_then(|alike| entries.values().find(|entry| entry.likeness == Some(alike)))
                .map_or(Known::No, |entry| Known::AsThis(entry.stage)),
            Some(entry) if self.is_forgotten(message, entry) => Known::No,
            Some(entry)
                if entry.session_key == message.session_key
                    && entry.fingerprint == fingerprint(&message.text) =>
            {
                Known::AsThis(entry.stage)
            }
            Some(_) => Known::AsAnother,
        }
    }

    /// Whether history had forgotten the key under which a client asks again.
    fn is_forgotten(&self, message: &Accepted, entry: &Entry) -> bool {
        self.key_memory == KeyMemory::FiveMinutes
            && message.route.is_webchat()
            && entry.is_settled()
            && self.env.wall_clock().since(entry.at) > FORGOTTEN_AFTER
    }

    /// Where the message accepted under this key is; `None` when the key is not known, or not any more.
    pub(crate) fn stage_of(&self, run_id: &str) -> Option<Stage> {
        self.entries.borrow().get(run_id).map(|entry| entry.stage)
    }

    /// The conversation in which this key was used.
    pub(crate) fn session_of(&self, run_id: &str) -> Option<String> {
        self.entries.borrow().get(run_id).map(|entry| entry.session_key.clone())
    }

    /// The conversation's latest messages that their sender stopped, durably, newest last, at most `limit`.
    pub(crate) fn cancelled_in(&self, session_key: &str, limit: usize) -> Vec<String> {
        let entries = self.entries.borrow();
        let is_it = |(_, entry): &(&String, &Entry)| {
            entry.session_key == session_key && entry.stage == Stage::Settled(Settlement::Cancelled)
        };
        let newest_first = in_order(&entries).into_iter().rev().filter(is_it);
        let recorded = newest_first.filter(|(run_id, _)| self.is_over_for_good(run_id));
        let mut run_ids: Vec<String> = recorded.take(limit).map(|(run_id, _)| run_id.clone()).collect();
        run_ids.reverse();
        run_ids
    }

    /// The message accepted under this key, if it is not over.
    pub(crate) fn find_open(&self, run_id: &str) -> Option<(Accepted, Stage)> {
        let entries = self.entries.borrow();
        let entry = entries.get(run_id).filter(|entry| !entry.is_settled())?;
        Some((entry.message(run_id)?, entry.stage))
    }

    /// Every message whose text is still known, with its stage, in the order of acceptance.
    pub(crate) fn in_order(&self) -> Vec<(Accepted, Stage)> {
        let entries = self.entries.borrow();
        let in_order = in_order(&entries).into_iter();
        in_order.filter_map(|(run_id, entry)| Some((entry.message(run_id)?, entry.stage))).collect()
    }

    /// Every message that is accepted and not settled, in the order of acceptance.
    pub(crate) fn open_messages(&self) -> Vec<(Accepted, Stage)> {
        let mut messages = self.in_order();
        messages.retain(|(_, stage)| !matches!(stage, Stage::Settled(_)));
        messages
    }

    /// How many messages are accepted and not settled.
    pub(crate) fn open_count(&self) -> usize {
        self.entries.borrow().values().filter(|entry| !entry.is_settled()).count()
    }

    fn change_all(&self, run_ids: &[&str], change: impl Fn(&mut Entry)) {
        let mut entries = self.entries.borrow_mut();
        for run_id in run_ids {
            if let Some(entry) = entries.get_mut(*run_id) {
                change(entry);
            }
        }
    }

    fn journal(&self, record: &Record) -> Result<(), StateError> {
        // In order: a step must not stand in front of an older one that is still owed.
        self.pay()?;
        self.write(&json_line(record))
    }

    fn journal_all(&self, run_ids: &[&str], record: impl Fn(String) -> Record) -> Result<(), StateError> {
        self.pay()?;
        self.write(&json_lines(run_ids.iter().map(|run_id| record(run_id.to_string()))))
    }

    fn write(&self, lines: &[u8]) -> Result<(), StateError> {
        match self.policy {
            Acknowledgement::AfterDurable if !lines.is_empty() => {
                self.files.append(&self.path, lines)?;
                let count = lines.iter().filter(|&&byte| byte == b'\n').count();
                self.journal_lines.set(self.journal_lines.get() + count);
                Ok(())
            }
            // History kept accepted messages in memory only.
            Acknowledgement::AfterDurable | Acknowledgement::BeforeDurable => Ok(()),
        }
    }

    /// Rewrites a journal of which most says nothing any more. It is as good as before when that fails.
    fn compact_if_worth_it(&self) {
        let lines = self.journal_lines.get();
        let is_worth_it = lines >= COMPACT_FROM_LINES && lines >= 2 * self.entries.borrow().len();
        if !is_worth_it || !self.presumed.borrow().is_empty() {
            return;
        }
        let mut entries = self.entries.borrow_mut();
        forget_old(&mut entries, self.env.wall_clock());
        let records: Vec<Vec<u8>> = in_order(&entries).into_iter().flat_map(digest).collect();
        match self.files.replace(&self.path, &records.concat()) {
            // What was owed is part of what was written.
            Ok(()) => {
                self.journal_lines.set(records.len());
                self.owed.borrow_mut().clear();
            }
            Err(error) => {
                // Not again at the next message.
                self.journal_lines.set(0);
                tracing::warn!(name: "inbox.not-compacted", %error, "the journal stays as long as it is");
            }
        }
    }
}
