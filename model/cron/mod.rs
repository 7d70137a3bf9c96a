//! Scheduled jobs: at its times each hands a message of its own to the road that senders' messages take.
//!
//! A run is an ordinary turn with a name of its own, `cron:JOB:SLOT:ATTEMPT`, which is its idempotency key; so it is
//! as durable as any message, and recovery knows it. What the message road cannot know stands in a journal: that a
//! slot was begun, before anything else, and what came of it. A crash between the two is judged from both, by
//! `runner`. So each slot ends in exactly one record: done, failed, or skipped and why; a run that a restart
//! interrupted is tried again, or skipped with a record, as its job says.
//!
//! The built-in job that looks after the session store is apart (`poller`): it repairs what the message road needs,
//! so it must not depend on it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::agents::notice::NoticeCause;
use crate::config::{Config, CronJob, OnInterruption};
use crate::env::{Env, Task};
use crate::gateway::Gateway;
use crate::messages::inbox::Settlement;
use crate::policy::{CronInterruption, CronMissed, CronOutcome, Policies};
use crate::sessions::{StateError, StateFiles};

mod journal;
mod poller;
mod runner;
mod schedule;

use journal::{Journal, Outcome, Owner, Stage};
use schedule::{Missed, Slot, next_after};

pub(crate) use poller::POLLER;

/// How the ids of scheduled runs begin. No client may use it for a message of its own.
const RUN_PREFIX: &str = "cron:";
/// How often a slot is begun at most, when restarts interrupt it.
const MOST_ATTEMPTS: u32 = 3;
/// For how much longer than a turn may take a marker holds.
const LEASE_MARGIN: Duration = Duration::from_secs(60);
/// How long after a run history recorded its outcome (OpenClaw 2026.3.2: the floor of its timer).
const LATE_OUTCOME: Duration = Duration::from_secs(2);

/// The scheduled jobs of a life.
pub(crate) struct Cron {
    env: Env,
    jobs: Vec<CronJob>,
    journal: Journal,
    /// This life, as the journal's markers name it.
    owner: Owner,
    lease: Duration,
    interruption: CronInterruption,
    outcome: CronOutcome,
    missed: CronMissed,
    /// The jobs whose open run is on the message road in this life.
    at_work: RefCell<BTreeSet<String>>,
    /// Jobs that have to wait for their turn after the start.
    held: RefCell<BTreeMap<String, Instant>>,
    /// When one of them had its turn, last.
    last_turn: Cell<Option<Instant>>,
}

/// Whether a run or an idempotency key is that of a scheduled job.
pub(crate) fn is_run(run_id: &str) -> bool {
    run_id.starts_with(RUN_PREFIX)
}

fn run_id(job: &str, slot: Slot, attempt: u32) -> String {
    format!("{RUN_PREFIX}{job}:{}:{attempt}", slot.0)
}

/// The job and the slot of a run.
fn parse_run(run_id: &str) -> Option<(&str, Slot)> {
    let mut parts = run_id.strip_prefix(RUN_PREFIX)?.split(':');
    let (job, slot) = (parts.next()?, parts.next()?);
    Some((job, Slot(slot.parse().ok()?)))
}

impl Cron {
    /// Reads what earlier lives did. `None`: there are no jobs, and nothing is touched.
    pub(crate) fn open(
        env: &Env,
        files: &StateFiles,
        config: &Config,
        policies: &Policies,
    ) -> Result<Option<Self>, StateError> {
        if config.cron.jobs.is_empty() {
            return Ok(None);
        }
        let dir = config.gateway.state_dir.join("cron");
        files.create_dir(&dir)?;
        Ok(Some(Self {
            env: env.clone(),
            jobs: config.cron.jobs.clone(),
            journal: Journal::open(files.clone(), &dir)?,
            owner: Owner::new(env),
            lease: config.run_timeout().saturating_add(LEASE_MARGIN),
            interruption: policies.cron_interruption,
            outcome: policies.cron_outcome,
            missed: policies.cron_missed,
            at_work: RefCell::default(),
            held: RefCell::default(),
            last_turn: Cell::default(),
        }))
    }

    fn now_ms(&self) -> u64 {
        self.env.wall_clock().epoch_ms()
    }

    fn job(&self, id: &str) -> Option<&CronJob> {
        self.jobs.iter().find(|job| job.id == id)
    }

    /// Slots passed without a run. History said nothing of them.
    fn skip(&self, job: &CronJob, missed: Missed, why: &'static str) {
        if self.missed == CronMissed::AllAtOnce {
            return self.journal.pass_over(&job.id, missed.last);
        }
        tracing::warn!(
            name: "cron.skipped",
            job = job.id,
            from = %missed.first,
            until = %missed.last,
            count = missed.count,
            why,
            "scheduled times pass without a run"
        );
        self.journal.skip(&job.id, missed, why);
    }

    /// The slot is over, and is recorded as such.
    fn finish(&self, job: &str, slot: Slot, outcome: Outcome, detail: &str) {
        match outcome {
            Outcome::Ok => tracing::info!(name: "cron.finished", job, %slot, "a scheduled run is done"),
            Outcome::Error | Outcome::Skipped => tracing::warn!(
                name: "cron.not-done",
                job,
                %slot,
                outcome = outcome.name(),
                detail,
                "a scheduled run is not done"
            ),
        }
        self.journal.finish(job, slot, outcome, detail);
        self.at_work.borrow_mut().remove(job);
    }

    /// Whether the slot is begun and nothing is recorded of its end.
    fn is_begun(&self, job: &str, slot: Slot) -> bool {
        let begun = self.journal.look(job, |book| {
            book.runs.get(&slot).is_some_and(|run| matches!(run.stage, Stage::Started { .. }))
        });
        begun.unwrap_or(false)
    }

    /// For `health`.
    pub(crate) fn health(&self) -> Value {
        json!({"jobs": self.jobs.len(), "atWork": self.at_work.borrow().len()})
    }

    /// The answer to `cron.list`.
    fn list(&self) -> Vec<Value> {
        self.jobs.iter().map(|job| self.describe(job)).collect()
    }

    fn describe(&self, job: &CronJob) -> Value {
        let book = self.journal.book(&job.id).unwrap_or_default();
        let last = book.last.as_ref().map(
            |(slot, outcome, detail)| json!({"slotMs": slot.0, "outcome": outcome.name(), "detail": detail}),
        );
        let next = next_after(job.every_ms, self.now_ms().max(book.accounted));
        let open = book.open_run().map(|(slot, run)| json!({"slotMs": slot.0, "attempt": run.attempts}));
        json!({
            "id": job.id,
            "everyMs": job.every_ms,
            "sessionKey": job.session_key(),
            "onInterruption": job.on_interruption,
            "nextRunAtMs": next.0,
            "open": open,
            "last": last,
        })
    }
}

/// The clockwork of a life that serves; it stops when the life is asked to end.
pub(crate) struct Clockwork(Vec<Task<()>>);

impl Clockwork {
    /// From now on no scheduled run begins; what falls due is missed, and the next life's business.
    pub(crate) fn stop(self) {
        self.0.iter().for_each(Task::abort);
    }
}

/// Starts the clockwork.
pub(crate) fn start(gateway: &Rc<Gateway>) -> Clockwork {
    let mut tasks = Vec::new();
    if gateway.cron.is_some() {
        tasks.push(gateway.env.spawn("cron", runner::keep_time(gateway.clone())));
    }
    if let Some(every) = gateway.config.cron.sessions_rebuild_every() {
        tasks.push(gateway.env.spawn("sessions poller", poller::keep_looking(gateway.clone(), every)));
    }
    Clockwork(tasks)
}

/// The answer to `cron.list`.
pub(crate) fn list(gateway: &Gateway) -> Value {
    let mut jobs = gateway.cron.as_ref().map(Cron::list).unwrap_or_default();
    if let Some(every) = gateway.config.cron.sessions_rebuild_every() {
        let every_ms = every.as_millis() as u64;
        let next = next_after(every_ms, gateway.env.wall_clock().epoch_ms());
        jobs.push(json!({"id": POLLER, "everyMs": every_ms, "nextRunAtMs": next.0}));
    }
    json!({"jobs": jobs})
}

/// The message of a scheduled run is over, with a reply or because it was stopped.
pub(crate) fn settled(gateway: &Rc<Gateway>, run_id: &str, how: Settlement) {
    let (Some(cron), Some((job, slot))) = (&gateway.cron, parse_run(run_id)) else { return };
    if !cron.is_begun(job, slot) {
        return;
    }
    match how {
        Settlement::Answered => end(gateway, cron, job, slot, Outcome::Ok, ""),
        Settlement::Cancelled => end(gateway, cron, job, slot, Outcome::Skipped, "stopped by a client"),
        // Said by `ended_without_reply`, which knows why.
        Settlement::Told => {}
    }
}

/// A scheduled run ends without a reply. Recorded before its message is settled, so that a crash in between is seen.
pub(crate) fn ended_without_reply(gateway: &Rc<Gateway>, run_id: &str, cause: &NoticeCause) {
    let (Some(cron), Some((job, slot))) = (&gateway.cron, parse_run(run_id)) else { return };
    if !cron.is_begun(job, slot) {
        return;
    }
    match cause {
        NoticeCause::Failed(error) => end(gateway, cron, job, slot, Outcome::Error, &error.to_string()),
        NoticeCause::Interrupted if cron.interruption == CronInterruption::Forgotten => {}
        NoticeCause::Interrupted | NoticeCause::TriedTooOften(_) | NoticeCause::TooOld => {
            interrupted(cron, job, slot);
        }
    }
}

fn interrupted(cron: &Cron, job: &str, slot: Slot) {
    let again = cron.job(job).is_some_and(|job| job.on_interruption == OnInterruption::Retry);
    let attempts = cron.journal.attempts(job, slot);
    if again && attempts < MOST_ATTEMPTS {
        tracing::warn!(name: "cron.interrupted", job, %slot, attempts, "it will be tried again");
        cron.journal.interrupted(job, slot);
        cron.at_work.borrow_mut().remove(job);
    } else if again {
        cron.finish(job, slot, Outcome::Error, "interrupted by restarts too often");
    } else {
        cron.finish(job, slot, Outcome::Skipped, "interrupted by a restart");
    }
}

/// Records the end of a run; history did so some time later.
fn end(gateway: &Rc<Gateway>, cron: &Cron, job: &str, slot: Slot, outcome: Outcome, detail: &str) {
    match cron.outcome {
        CronOutcome::Durable => cron.finish(job, slot, outcome, detail),
        CronOutcome::Late => {
            cron.journal.release(job, slot);
            let (gateway, job, detail) = (gateway.clone(), job.to_string(), detail.to_string());
            drop(cron.env.spawn("late outcome", async move {
                tokio::time::sleep(LATE_OUTCOME).await;
                if let Some(cron) = &gateway.cron {
                    cron.finish(&job, slot, outcome, &detail);
                }
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_names_its_job_and_its_slot() {
        let name = run_id("daily-report", Slot(1_772_409_900_000), 2);
        assert_eq!(name, "cron:daily-report:1772409900000:2");
        assert_eq!(parse_run(&name), Some(("daily-report", Slot(1_772_409_900_000))));
        assert!(is_run(&name) && !is_run("ann-1"));
        assert_eq!(parse_run("cron:report"), None);
    }
}
