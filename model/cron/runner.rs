//! The runner: what is due is begun, what an earlier life left behind is brought to its end.
//!
//! Each turn of the clockwork is one synchronous look at every job, so nothing comes in between a decision and its
//! record. A run that an earlier life began is judged from three witnesses: the marker in the journal (whose is it,
//! and does its owner live), the inbox (how far did the message come) and the transcript (is there a reply).

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::journal::{Outcome, Run, Stage};
use super::schedule::{Due, LATE_JOB_DELAY, MOST_LATE_JOBS, Missed, Slot, due, next_after};
use super::{Cron, end, run_id};
use crate::channels::Route;
use crate::config::CronJob;
use crate::gateway::Gateway;
use crate::messages::inbox::{self, Accepted, Settlement};
use crate::messages::{Receipt, SendRefused};
use crate::policy::{CronInterruption, CronMissed};
use crate::sessions;

/// How long the clockwork sleeps at most, so that it notices when the wall clock jumps (OpenClaw: 60 s).
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// When something that the disk refused is tried again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Why slots pass without a run.
const PASSED: &str = "its time passed before the gateway could run it";
const SET_BACK: &str = "the clock was set back";
const OVERLAP: &str = "the run before was still at work";
const TOO_MANY: &str = "too many jobs were late";

/// Something that could not be done now and is tried again soon.
struct NotNow;

/// Runs the jobs for as long as the life serves.
pub(super) async fn keep_time(gateway: Rc<Gateway>) {
    let Some(cron) = &gateway.cron else { return };
    arrange_late_jobs(cron);
    loop {
        let pause = look_at_all(&gateway, cron);
        sleep(pause).await;
    }
}

/// After a start, jobs that are late take turns, and not all of them: whoever sleeps long must not be woken by a
/// crowd.
fn arrange_late_jobs(cron: &Cron) {
    if cron.missed == CronMissed::AllAtOnce {
        return;
    }
    let (now, started) = (cron.now_ms(), Instant::now());
    let (mut turn, mut late_jobs) = (0, 0);
    for job in &cron.jobs {
        let Some(book) = cron.journal.book(&job.id) else { continue };
        let is_open = book.open_run().is_some();
        let late = due(job.every_ms, book.accounted, now);
        if let (false, Due::Now { slot, missed }) = (is_open, late) {
            late_jobs += 1;
            if late_jobs > MOST_LATE_JOBS {
                let first = missed.map_or(slot, |missed| missed.first);
                let count = missed.map_or(0, |missed| missed.count) + 1;
                cron.skip(job, Missed { first, last: slot, count }, TOO_MANY);
                continue;
            }
        }
        if is_open || matches!(late, Due::Now { .. }) {
            cron.held.borrow_mut().insert(job.id.clone(), started + LATE_JOB_DELAY * turn);
            turn += 1;
        }
    }
}

/// Does what is to do now. Returns how long there is nothing to do.
fn look_at_all(gateway: &Rc<Gateway>, cron: &Cron) -> Duration {
    let mut pause = LONGEST_SLEEP;
    // What is owed is tried again with the next look; until then it holds in memory.
    if cron.journal.pay().is_err() {
        pause = RETRY_DELAY;
    }
    for job in &cron.jobs {
        let turn = turn_of(cron, job);
        if let Some(left) = turn.and_then(|turn| turn.checked_duration_since(Instant::now()))
            && !left.is_zero()
        {
            pause = pause.min(left);
            continue;
        }
        pause = pause.min(match look_at(gateway, cron, job) {
            Ok(()) => {
                if turn.is_some() {
                    cron.held.borrow_mut().remove(&job.id);
                    cron.last_turn.set(Some(Instant::now()));
                }
                until_next(cron, job)
            }
            Err(NotNow) => RETRY_DELAY,
        });
    }
    pause
}

/// When a late job may begin that has not begun: in its turn, and not right after another whose turn the disk held up.
fn turn_of(cron: &Cron, job: &CronJob) -> Option<Instant> {
    let turn = *cron.held.borrow().get(&job.id)?;
    Some(cron.last_turn.get().map_or(turn, |last| turn.max(last + LATE_JOB_DELAY)))
}

fn until_next(cron: &Cron, job: &CronJob) -> Duration {
    let now = cron.now_ms();
    let accounted = cron.journal.look(&job.id, |book| book.accounted).unwrap_or(now);
    Duration::from_millis(next_after(job.every_ms, now.max(accounted)).0 - now)
}

fn look_at(gateway: &Rc<Gateway>, cron: &Cron, job: &CronJob) -> Result<(), NotNow> {
    let now = cron.now_ms();
    let Some(book) = cron.journal.book(&job.id) else { return declare(cron, job, now) };
    if let Some((slot, run)) = book.open_run()
        && !cron.at_work.borrow().contains(&job.id)
    {
        bring_to_an_end(gateway, cron, job, slot, run)?;
    }
    let Some(book) = cron.journal.book(&job.id) else { return Ok(()) };
    match due(job.every_ms, book.accounted, now) {
        Due::NotYet => Ok(()),
        Due::ClockWentBack => {
            tracing::warn!(name: "cron.clock-went-back", job = job.id, "its times are counted from now on");
            declare(cron, job, now)?;
            // It is noticed at a wake-up, and a time may have passed since the clock was set.
            let slot = Slot(now - now % job.every_ms);
            if !book.runs.contains_key(&slot) {
                cron.skip(job, Missed { first: slot, last: slot, count: 1 }, SET_BACK);
            }
            Ok(())
        }
        Due::Now { slot, missed } => {
            if let Some(missed) = missed {
                cron.skip(job, missed, PASSED);
            }
            if book.runs.contains_key(&slot) {
                // The clock was set back: this time was there before.
                cron.journal.pass_over(&job.id, slot);
                return Ok(());
            }
            if book.open_run().is_some() {
                cron.skip(job, Missed { first: slot, last: slot, count: 1 }, OVERLAP);
                return Ok(());
            }
            begin(gateway, cron, job, slot)
        }
    }
}

fn declare(cron: &Cron, job: &CronJob, at: u64) -> Result<(), NotNow> {
    cron.journal.declare(&job.id, at).map_err(|error| {
        tracing::warn!(name: "cron.not-declared", job = job.id, %error, "trying again");
        NotNow
    })
}

/// Looks after a run that is begun and not on the message road in this life.
fn bring_to_an_end(
    gateway: &Rc<Gateway>,
    cron: &Cron,
    job: &CronJob,
    slot: Slot,
    run: &Run,
) -> Result<(), NotNow> {
    let (owner, at, lease_ms) = match &run.stage {
        Stage::Started { owner, at, lease_ms } => (owner, *at, *lease_ms),
        Stage::Interrupted | Stage::Released => return begin(gateway, cron, job, slot),
        Stage::Over { .. } => return Ok(()),
    };
    if cron.interruption == CronInterruption::Forgotten && *owner != cron.owner {
        cron.journal.forget_open_run(&job.id, cron.now_ms());
        return Ok(());
    }
    let process = cron.env.process();
    let liveness = process.liveness(owner.pid, owner.start_time);
    let age = cron.now_ms().saturating_sub(at);
    if owner.may_be_at_work(process.pid(), liveness, age, lease_ms) {
        return Ok(());
    }
    let run_id = run_id(&job.id, slot, run.attempts);
    let settlement = match gateway.inbox.stage_of(&run_id) {
        Some(inbox::Stage::Settled(how)) => how,
        Some(inbox::Stage::Accepted | inbox::Stage::Started) => {
            cron.at_work.borrow_mut().insert(job.id.clone());
            return Ok(());
        }
        // It was begun and never got as far as the inbox, or the inbox has forgotten it with its age.
        None if !has_reply(gateway, job, &run_id)? => {
            return hand_over(gateway, cron, job, slot, run.attempts);
        }
        None => Settlement::Answered,
    };
    match settlement {
        Settlement::Answered => end(gateway, cron, &job.id, slot, Outcome::Ok, ""),
        Settlement::Told => end(gateway, cron, &job.id, slot, Outcome::Error, "it ended without a reply"),
        Settlement::Cancelled => end(gateway, cron, &job.id, slot, Outcome::Skipped, "stopped by a client"),
    }
    Ok(())
}

fn has_reply(gateway: &Gateway, job: &CronJob, run_id: &str) -> Result<bool, NotNow> {
    let outcome = gateway
        .sessions
        .find_transcript(&job.session_key())
        .and_then(|transcript| transcript.map_or(Ok(None), |transcript| transcript.outcome(run_id)));
    match outcome {
        Ok(outcome) => Ok(matches!(outcome, Some(sessions::Outcome::Reply(_)))),
        Err(error) => {
            tracing::warn!(name: "cron.no-evidence", job = job.id, %error, "cannot tell what came of its run");
            Err(NotNow)
        }
    }
}

/// Marks the slot as begun, then hands its message over.
fn begin(gateway: &Rc<Gateway>, cron: &Cron, job: &CronJob, slot: Slot) -> Result<(), NotNow> {
    let lease_ms = cron.lease.as_millis() as u64;
    if let Err(error) = cron.journal.start(&job.id, slot, &cron.owner, cron.now_ms(), lease_ms) {
        tracing::warn!(name: "cron.start-not-durable", job = job.id, %slot, %error, "trying again");
        return Err(NotNow);
    }
    let attempt = cron.journal.attempts(&job.id, slot);
    tracing::info!(name: "cron.started", job = job.id, %slot, attempt, "a scheduled run begins");
    hand_over(gateway, cron, job, slot, attempt)
}

fn hand_over(
    gateway: &Rc<Gateway>,
    cron: &Cron,
    job: &CronJob,
    slot: Slot,
    attempt: u32,
) -> Result<(), NotNow> {
    let message = Accepted {
        run_id: run_id(&job.id, slot, attempt),
        session_key: job.session_key(),
        text: format!("[cron:{} {slot}] {}", job.id, job.message),
        route: Route::Webchat,
    };
    match gateway.accept(&message, None) {
        Ok(Receipt::Started | Receipt::InFlight) => {
            cron.at_work.borrow_mut().insert(job.id.clone());
            Ok(())
        }
        Ok(Receipt::Over(_))
        | Err(SendRefused::NotAdmitting | SendRefused::Busy | SendRefused::NotDurable(_)) => Err(NotNow),
        Err(SendRefused::KeyReused) => {
            cron.finish(&job.id, slot, Outcome::Error, "its key was used for another message");
            Ok(())
        }
    }
}
