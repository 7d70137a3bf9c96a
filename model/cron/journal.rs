//! The journal of scheduled runs, `cron/runs.jsonl`: what was begun, what came of it, what was passed over.
//!
//! `started` stands there before a run can have an effect, and whatever ends a slot stands there before the job
//! counts as done with it; so no crash leaves a slot that nobody knows of. A `started` is a marker with an owner and
//! a lease: whether its owner still is at work is judged, never assumed. A record that the disk refuses after the
//! fact is owed: it holds in memory and is written as soon as that works.
//! Knows nothing of messages.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::schedule::{Missed, Slot};
use crate::env::{Env, Liveness, Pid, StartTime};
use crate::sessions::{StateError, StateFiles, json_line};

/// How many slots of a job that are over a rewritten journal remembers, so that a clock that is set back runs none
/// of them again.
const KEPT_RUNS: usize = 100;
/// A journal shorter than this is not worth rewriting.
const COMPACT_FROM_LINES: usize = 1_000;

/// What came of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The run has its reply.
    Ok,
    /// The run failed.
    Error,
    /// There was no run, or it was given up.
    Skipped,
}

impl Outcome {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }
}

/// The life that began a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Owner {
    pub(crate) pid: Pid,
    pub(crate) start_time: Option<StartTime>,
    /// Tells lives of one process apart.
    pub(crate) generation: String,
}

impl Owner {
    /// This life.
    pub(super) fn new(env: &Env) -> Self {
        let process = env.process();
        let generation = env.random_id("cron-generation");
        Self { pid: process.pid(), start_time: process.start_time(), generation }
    }

    /// Whether the owner of a marker that is not ours may still be at work. `age` of the marker and `lease` in
    /// milliseconds. A process that has our pid is gone: either the pid was reused, or it is an earlier life of this
    /// very process, which ended before this one began.
    pub(super) fn may_be_at_work(&self, own: Pid, liveness: Liveness, age: u64, lease: u64) -> bool {
        self.pid != own && liveness != Liveness::Dead && age < lease
    }
}

/// Where the run of a slot stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It was begun, by this life or an earlier one.
    Started { owner: Owner, at: u64, lease_ms: u64 },
    /// The end of a life interrupted it, and it is to be tried again.
    Interrupted,
    /// It is not marked as begun any more, and nothing says what came of it: only history had that.
    Released,
    /// It is over.
    Over { outcome: Outcome, detail: String },
}

/// The run of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// How often it was begun.
    pub(crate) attempts: u32,
    pub(crate) stage: Stage,
}

/// What is known of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Book {
    /// Up to this moment, in milliseconds since the epoch, every slot is accounted for.
    pub(crate) accounted: u64,
    /// The slots that were begun.
    pub(crate) runs: BTreeMap<Slot, Run>,
    /// The slot that came to an end last, and how.
    pub(crate) last: Option<(Slot, Outcome, String)>,
}

impl Book {
    /// The run that is not over; a job has one at most.
    pub(crate) fn open_run(&self) -> Option<(Slot, &Run)> {
        let open = |(_, run): &(&Slot, &Run)| !matches!(run.stage, Stage::Over { .. });
        self.runs.iter().rev().find(open).map(|(slot, run)| (*slot, run))
    }

    fn account_for(&mut self, until: Slot) {
        self.accounted = self.accounted.max(until.0);
    }
}

type Books = BTreeMap<String, Book>;

#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum Record {
    /// The job is known from this moment on, or its clock was set back to it.
    Declared {
        job: String,
        at: u64,
    },
    Started {
        job: String,
        slot: Slot,
        attempt: u32,
        at: u64,
        owner: Owner,
        lease_ms: u64,
    },
    Interrupted {
        job: String,
        slot: Slot,
        attempt: u32,
    },
    Released {
        job: String,
        slot: Slot,
    },
    Finished {
        job: String,
        slot: Slot,
        outcome: Outcome,
        detail: String,
    },
    /// Slots that passed without a run, from `slot` to `until`.
    Skipped {
        job: String,
        slot: Slot,
        until: Slot,
        count: u64,
        detail: String,
    },
    /// What a rewritten journal keeps of a slot that is over.
    Remembered {
        job: String,
        slot: Slot,
        attempts: u32,
        outcome: Outcome,
        detail: String,
    },
}

/// The journal and what it says.
pub(super) struct Journal {
    files: StateFiles,
    path: PathBuf,
    books: RefCell<Books>,
    lines: Cell<usize>,
    owed: RefCell<Vec<u8>>,
}

impl Journal {
    /// Reads the journal in `dir`, which must exist.
    pub(super) fn open(files: StateFiles, dir: &Path) -> Result<Self, StateError> {
        let path = dir.join("runs.jsonl");
        let records: Vec<Record> = files.read_records(&path)?;
        let lines = Cell::new(records.len());
        let mut books = Books::new();
        records.into_iter().for_each(|record| apply(&mut books, record));
        Ok(Self { files, path, books: RefCell::new(books), lines, owed: RefCell::default() })
    }

    /// What is known of the job; nothing before it is declared.
    pub(super) fn book(&self, job: &str) -> Option<Book> {
        self.books.borrow().get(job).cloned()
    }

    /// Looks at the book of a job without a copy.
    pub(super) fn look<T>(&self, job: &str, look: impl FnOnce(&Book) -> T) -> Option<T> {
        self.books.borrow().get(job).map(look)
    }

    /// From `at` on, in milliseconds since the epoch, the job's slots count.
    pub(super) fn declare(&self, job: &str, at: u64) -> Result<(), StateError> {
        self.write(Record::Declared { job: job.to_string(), at })
    }

    /// Marks the slot as begun by `owner`. Nothing of it may be done before this has returned.
    pub(super) fn start(
        &self,
        job: &str,
        slot: Slot,
        owner: &Owner,
        at: u64,
        lease_ms: u64,
    ) -> Result<(), StateError> {
        let attempt = 1 + self.attempts(job, slot);
        self.write(Record::Started {
            job: job.to_string(),
            slot,
            attempt,
            at,
            owner: owner.clone(),
            lease_ms,
        })
    }

    /// How often the slot was begun.
    pub(super) fn attempts(&self, job: &str, slot: Slot) -> u32 {
        self.look(job, |book| book.runs.get(&slot).map_or(0, |run| run.attempts)).unwrap_or(0)
    }

    /// The run was interrupted and is to be tried again.
    pub(super) fn interrupted(&self, job: &str, slot: Slot) {
        let attempt = self.attempts(job, slot);
        self.write_or_owe(Record::Interrupted { job: job.to_string(), slot, attempt });
    }

    /// The slot is over.
    pub(super) fn finish(&self, job: &str, slot: Slot, outcome: Outcome, detail: &str) {
        let (job, detail) = (job.to_string(), detail.to_string());
        self.write_or_owe(Record::Finished { job, slot, outcome, detail });
    }

    /// The slot is not marked as begun any more, and what came of it will be said later.
    pub(super) fn release(&self, job: &str, slot: Slot) {
        self.write_or_owe(Record::Released { job: job.to_string(), slot });
    }

    /// These slots passed without a run.
    pub(super) fn skip(&self, job: &str, missed: Missed, detail: &str) {
        let Missed { first: slot, last: until, count } = missed;
        let (job, detail) = (job.to_string(), detail.to_string());
        self.write_or_owe(Record::Skipped { job, slot, until, count, detail });
    }

    /// Forgets the job's open run, in memory only, and accounts for everything up to `now`: what history did.
    pub(super) fn forget_open_run(&self, job: &str, now: u64) {
        if let Some(book) = self.books.borrow_mut().get_mut(job)
            && let Some((slot, _)) = book.open_run()
        {
            book.runs.remove(&slot);
            book.account_for(Slot(now));
        }
    }

    /// Accounts for slots without a word: what history did.
    pub(super) fn pass_over(&self, job: &str, until: Slot) {
        if let Some(book) = self.books.borrow_mut().get_mut(job) {
            book.account_for(until);
        }
    }

    /// Writes what is owed.
    pub(super) fn pay(&self) -> Result<(), StateError> {
        let owed = self.owed.borrow().clone();
        if owed.is_empty() {
            return Ok(());
        }
        self.append(&owed)?;
        self.owed.borrow_mut().clear();
        Ok(())
    }

    fn write(&self, record: Record) -> Result<(), StateError> {
        // In order: a record must not stand in front of an older one that is still owed.
        self.pay()?;
        self.append(&json_line(&record))?;
        apply(&mut self.books.borrow_mut(), record);
        self.compact_if_worth_it();
        Ok(())
    }

    /// What has happened holds, whatever the disk says.
    fn write_or_owe(&self, record: Record) {
        self.owed.borrow_mut().extend(json_line(&record));
        apply(&mut self.books.borrow_mut(), record);
        match self.pay() {
            Ok(()) => self.compact_if_worth_it(),
            Err(error) => tracing::error!(name: "cron.record-not-durable", %error, "trying again"),
        }
    }

    fn append(&self, lines: &[u8]) -> Result<(), StateError> {
        self.files.append(&self.path, lines)?;
        self.lines.set(self.lines.get() + lines.iter().filter(|&&byte| byte == b'\n').count());
        Ok(())
    }

    /// Rewrites a journal of which most says nothing any more. It is as good as before when that fails.
    fn compact_if_worth_it(&self) {
        let mut books = self.books.borrow_mut();
        let worth = books.values().map(|book| book.runs.len() + 1).sum::<usize>();
        if self.lines.get() < COMPACT_FROM_LINES.max(2 * worth.min(KEPT_RUNS * books.len())) {
            return;
        }
        books.values_mut().for_each(forget_old);
        let records: Vec<Vec<u8>> = books.iter().flat_map(digest).map(|record| json_line(&record)).collect();
        match self.files.replace(&self.path, &records.concat()) {
            // What was owed is part of what was written.
            Ok(()) => {
                self.lines.set(records.len());
                self.owed.borrow_mut().clear();
            }
            Err(error) => {
                // Not again at the next run.
                self.lines.set(0);
                tracing::warn!(name: "cron.not-compacted", %error, "the journal stays as long as it is");
            }
        }
    }
}

/// Drops the oldest of too many slots that are over.
fn forget_old(book: &mut Book) {
    let excess = book.runs.len().saturating_sub(KEPT_RUNS);
    let is_over = |run: &Run| matches!(run.stage, Stage::Over { .. });
    let old: Vec<Slot> =
        book.runs.iter().filter(|(_, run)| is_over(run)).map(|(slot, _)| *slot).take(excess).collect();
    for slot in old {
        book.runs.remove(&slot);
    }
}

/// The fewest records that say the same about a job.
fn digest((job, book): (&String, &Book)) -> Vec<Record> {
    let mut records = Vec::new();
    for (&slot, run) in &book.runs {
        let (job, attempts) = (job.clone(), run.attempts);
        match run.stage.clone() {
            Stage::Over { outcome, detail } => {
                records.push(Record::Remembered { job, slot, attempts, outcome, detail });
            }
            Stage::Started { owner, at, lease_ms } => {
                records.push(Record::Started { job, slot, attempt: attempts, at, owner, lease_ms });
            }
            Stage::Interrupted => records.push(Record::Interrupted { job, slot, attempt: attempts }),
            Stage::Released => records.push(Record::Released { job, slot }),
        }
    }
    // Last, since it overrules what the others say about the time.
    records.push(Record::Declared { job: job.clone(), at: book.accounted });
    records
}

fn apply(books: &mut Books, record: Record) {
    match record {
        Record::Declared { job, at } => books.entry(job).or_default().accounted = at,
        Record::Started { job, slot, attempt, at, owner, lease_ms } => {
            let book = books.entry(job).or_default();
            book.account_for(slot);
            book.runs.insert(slot, Run { attempts: attempt, stage: Stage::Started { owner, at, lease_ms } });
        }
        Record::Interrupted { job, slot, attempt } => {
            let book = books.entry(job).or_default();
            book.account_for(slot);
            book.runs.insert(slot, Run { attempts: attempt, stage: Stage::Interrupted });
        }
        Record::Released { job, slot } => {
            let runs = &mut books.entry(job).or_default().runs;
            runs.entry(slot).or_insert(Run { attempts: 1, stage: Stage::Released }).stage = Stage::Released;
        }
        Record::Finished { job, slot, outcome, detail } => {
            let book = books.entry(job).or_default();
            book.account_for(slot);
            book.last = Some((slot, outcome, detail.clone()));
            let run = book.runs.entry(slot).or_insert(Run { attempts: 0, stage: Stage::Released });
            run.stage = Stage::Over { outcome, detail };
        }
        Record::Skipped { job, until, detail, .. } => {
            let book = books.entry(job).or_default();
            book.account_for(until);
            book.last = Some((until, Outcome::Skipped, detail));
        }
        Record::Remembered { job, slot, attempts, outcome, detail } => {
            let book = books.entry(job).or_default();
            book.account_for(slot);
            book.last = Some((slot, outcome, detail.clone()));
            book.runs.insert(slot, Run { attempts, stage: Stage::Over { outcome, detail } });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(pid: u32) -> Owner {
        Owner { pid: Pid(pid), start_time: Some(StartTime(7)), generation: "g".into() }
    }

    fn started(slot: u64, attempt: u32) -> Record {
        let job = "report".into();
        Record::Started { job, slot: Slot(slot), attempt, at: slot, owner: owner(9), lease_ms: 600 }
    }

    fn finished(slot: u64, outcome: Outcome) -> Record {
        Record::Finished { job: "report".into(), slot: Slot(slot), outcome, detail: String::new() }
    }

    fn read(records: Vec<Record>) -> Books {
        let mut books = Books::new();
        records.into_iter().for_each(|record| apply(&mut books, record));
        books
    }

    #[test]
    fn a_run_is_open_until_its_end_is_recorded() {
        let books = read(vec![started(10, 1), finished(10, Outcome::Ok), started(20, 1)]);
        let (slot, run) = books["report"].open_run().expect("is open");
        assert_eq!((slot, run.attempts), (Slot(20), 1));
        let books = read(vec![started(20, 1), finished(20, Outcome::Error)]);
        assert_eq!(books["report"].open_run(), None);
    }

    #[test]
    fn what_was_begun_or_skipped_is_accounted_for_and_a_clock_set_back_overrules_it() {
        let skipped = Record::Skipped {
            job: "report".into(),
            slot: Slot(20),
            until: Slot(40),
            count: 3,
            detail: String::new(),
        };
        let declared = Record::Declared { job: "report".into(), at: 15 };
        assert_eq!(read(vec![started(10, 1), skipped.clone()])["report"].accounted, 40);
        assert_eq!(read(vec![started(10, 1), skipped, declared])["report"].accounted, 15);
    }

    #[test]
    fn a_digest_says_what_the_whole_journal_said() {
        let interrupted = Record::Interrupted { job: "report".into(), slot: Slot(20), attempt: 2 };
        let declared = Record::Declared { job: "report".into(), at: 15 };
        let records = vec![started(10, 1), finished(10, Outcome::Ok), started(20, 2), interrupted, declared];
        let whole = read(records);
        let lines = whole.iter().flat_map(digest).map(|record| json_line(&record));
        let again = read(lines.map(|line| serde_json::from_slice(&line).expect("is a record")).collect());
        assert_eq!(again, whole);
        let open = read(vec![started(20, 3)]);
        assert_eq!(read(open.iter().flat_map(digest).collect()), open);
    }

    #[test]
    fn only_old_slots_that_are_over_are_forgotten() {
        let mut records = vec![started(1, 1)];
        for slot in 2..=KEPT_RUNS as u64 + 3 {
            records.extend([started(slot, 1), finished(slot, Outcome::Ok)]);
        }
        let mut books = read(records);
        let book = books.get_mut("report").expect("exists");
        forget_old(book);
        assert_eq!(book.runs.len(), KEPT_RUNS);
        assert!(book.runs.contains_key(&Slot(1)) && !book.runs.contains_key(&Slot(2)));
    }

    #[test]
    fn a_marker_holds_for_a_living_owner_within_its_lease() {
        let marker = owner(9);
        assert!(marker.may_be_at_work(Pid(8), Liveness::Alive, 599, 600));
        assert!(marker.may_be_at_work(Pid(8), Liveness::Unknown, 599, 600));
        assert!(!marker.may_be_at_work(Pid(8), Liveness::Alive, 600, 600), "the lease is over");
        assert!(!marker.may_be_at_work(Pid(8), Liveness::Dead, 1, 600), "its owner is gone");
        assert!(!marker.may_be_at_work(Pid(9), Liveness::Alive, 1, 600), "an earlier life of ours");
    }

    #[test]
    fn the_journal_reads_as_documented() {
        let line = String::from_utf8(json_line(&started(10, 1))).expect("is UTF-8");
        assert_eq!(
            line,
            "{\"type\":\"started\",\"job\":\"report\",\"slot\":10,\"attempt\":1,\"at\":10,\"owner\":{\"pid\":9,\
             \"startTime\":7,\"generation\":\"g\"},\"leaseMs\":600}\n"
        );
    }
}
