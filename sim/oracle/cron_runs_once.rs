//! A scheduled run is neither skipped silently nor made twice, and late ones do not come all at once.
//!
//! Which times are due follows from the scenario. What was made is what the model answered; what was left out must
//! stand in the gateway's books by the end, as skipped or as failed. A time counts once some life has served for long
//! enough after it to do the one or the other; a run that writes in somebody's conversation waits there for its
//! turn, and what others keep the model busy with does not count, nor does a store that nothing can restore. A clock that is set back lets a time come again, which is then due when
//! it comes for the last time. Made twice is asked again after an answer; only a record of an interruption excuses
//! that, since the answer may have been lost on its way into the books.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway::env::FsOp;

use super::life::{Interval, Life, end_of};
use super::terms::CronTerm;
use super::wall_clock::WallClock;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{counted, moment};
use crate::timeline::{CronRecord, Fact, SubagentSeen};

/// The books.
const BOOKS: &str = "cron/runs.jsonl";
/// How many late runs may begin at the same time, and what counts as that.
const LATE_AT_ONCE: usize = 2;
const AT_ONCE: Duration = Duration::from_secs(1);
/// The machine that the model runs on.
const PROVIDER: &str = "provider";
/// How long a gateway must serve until it has learned of its jobs: one that dies before has declared nothing.
const FIRST_START: Duration = Duration::from_secs(1);

/// A scheduled run is neither skipped silently nor made twice, and late ones do not come all at once.
pub(super) struct CronRunsOnce;

impl Oracle for CronRunsOnce {
    fn invariant(&self) -> &'static str {
        "cron-runs-once"
    }

    fn sentence(&self) -> &'static str {
        "A scheduled run is neither skipped silently nor made twice, and late ones do not come all at once."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        if run.terms.cron_jobs.is_empty() {
            return Vec::new();
        }
        let seen = Seen::of(run);
        let clock = WallClock::of(run);
        let mut found = Vec::new();
        for job in &run.terms.cron_jobs {
            let due = due_times(run, &clock, job).into_iter();
            found.extend(due.filter_map(|(slot_ms, due)| self.skipped(run, &seen, job, slot_ms, due)));
        }
        let twice = seen
            .requests
            .iter()
            .filter_map(|(of, requests)| self.made_twice(run, &seen, &clock, of, requests));
        found.extend(twice);
        found.extend(run.lives.iter().filter_map(|life| self.all_at_once(run, &seen, &clock, life)));
        found
    }
}

/// A job and one of its times, in milliseconds of the machine's wall clock.
type Of = (String, u64);

/// One request to the model on behalf of a scheduled run.
struct Request {
    at: Duration,
    number: u32,
    answered_at: Option<Duration>,
}

/// What was seen of scheduled runs.
struct Seen {
    requests: BTreeMap<Of, Vec<Request>>,
    /// What stood in the books at any look: they may forget what is old.
    books: BTreeSet<CronRecord>,
    /// What the books said was begun, and when that was seen first.
    begun: BTreeMap<Of, Duration>,
    /// When somebody looked into them.
    looks: Vec<Duration>,
    /// When they were written anew.
    rewrites: Vec<Duration>,
}

impl Seen {
    fn of(run: &Evidence<'_>) -> Self {
        let mut seen = Self {
            requests: BTreeMap::new(),
            books: BTreeSet::new(),
            begun: BTreeMap::new(),
            looks: Vec::new(),
            rewrites: Vec::new(),
        };
        for event in run.events {
            match &event.fact {
                Fact::CronRunRequested { job, slot_ms, request } => {
                    let request = Request { at: event.at, number: *request, answered_at: None };
                    seen.requests.entry((job.clone(), *slot_ms)).or_default().push(request);
                }
                Fact::CronRunAnswered { job, slot_ms, request } => {
                    let requests = seen.requests.entry((job.clone(), *slot_ms)).or_default();
                    requests
                        .iter_mut()
                        .filter(|known| known.number == *request)
                        .for_each(|known| known.answered_at = Some(event.at));
                }
                Fact::Disk { op: FsOp::Rename, path, error: None, .. } if path.ends_with(BOOKS) => {
                    seen.rewrites.push(event.at);
                }
                Fact::State(state) => {
                    seen.looks.push(event.at);
                    seen.books.extend(state.cron.iter().cloned());
                    for record in state.cron.iter().filter(|record| record.status == "started") {
                        seen.begun.entry((record.job.clone(), record.slot_ms)).or_insert(event.at);
                    }
                }
                _ => {}
            }
        }
        seen
    }

    /// Whether the books say `status` of this time.
    fn says(&self, (job, slot_ms): &Of, status: &str) -> bool {
        self.books.iter().any(|record| {
            record.job == *job
                && (record.slot_ms..=record.until_ms).contains(slot_ms)
                && record.status == status
        })
    }
}

/// The job's times that came once a gateway served, and when each came for the last time, in the order of the times.
fn due_times(run: &Evidence<'_>, clock: &WallClock, job: &CronTerm) -> Vec<(u64, Duration)> {
    let end = end_of(run);
    let Some((served, from)) = run.lives.iter().filter_map(|life| knows_its_jobs(life, end)).min() else {
        return Vec::new();
    };
    let every_ms = (job.every.as_millis() as u64).max(1);
    // What the clock showed when the job was declared is accounted for, also when it shows it again; and who died
    // soon may have declared it before.
    let first = run.lives.iter().filter_map(|life| life.holds.first().map(|hold| hold.from)).min();
    let after = clock.most_shown(first.unwrap_or(served).min(served), from);
    let slots = (after / every_ms + 1..).map(|n| n * every_ms).take_while(|slot| *slot < clock.shows_at(end));
    slots
        .filter_map(|slot| Some((slot, clock.last_came(slot, end)?)))
        .filter(|(_, due)| *due > from)
        .collect()
}

/// Since when a life served, and by when it must have learned of its jobs, if it lived to see that.
fn knows_its_jobs(life: &Life, end: Duration) -> Option<(Duration, Duration)> {
    let awake = |from: Duration, until: Duration| {
        until.saturating_sub(from).saturating_sub(life.frozen_between(from, until))
    };
    life.holds.iter().find_map(|hold| {
        let until = hold.until.unwrap_or(end);
        let mut learned = hold.from + FIRST_START;
        // Standing still puts it off, for as long as that lasts.
        while learned <= until && awake(hold.from, learned) < FIRST_START {
            learned += FIRST_START - awake(hold.from, learned);
        }
        (learned <= until).then_some((hold.from, learned))
    })
}

/// When the model was at work on something else in the conversation in which a job writes, in order.
fn others_at_work(run: &Evidence<'_>, job: &CronTerm, slot_ms: u64) -> Vec<Interval> {
    let Some(host) = job.session_of.as_deref() else { return Vec::new() };
    let conversation = run.mishaps.conversation_of(host);
    let is_here = |sender: &str| run.mishaps.conversation_of(sender) == conversation;
    let writes_here = |other: &str, other_ms: u64| {
        let term = run.terms.cron_jobs.iter().find(|term| term.job == other);
        let host = term.and_then(|term| term.session_of.as_deref());
        host.is_some_and(is_here) && (other, other_ms) != (job.job.as_str(), slot_ms)
    };
    let mut open: BTreeMap<u32, usize> = BTreeMap::new();
    let mut found: Vec<Interval> = Vec::new();
    for event in run.events {
        match &event.fact {
            Fact::ProviderRequested { message, request } if is_here(&message.sender) => {
                open.insert(*request, found.len());
                found.push(Interval { from: event.at, until: None });
            }
            Fact::CronRunRequested { job, slot_ms, request } if writes_here(job, *slot_ms) => {
                open.insert(*request, found.len());
                found.push(Interval { from: event.at, until: None });
            }
            // What came of a subagent is told where it was asked for.
            Fact::Subagent { subagent, seen: SubagentSeen::AnnouncementRequested { request } }
                if is_here(&subagent.message.sender) =>
            {
                open.insert(*request, found.len());
                found.push(Interval { from: event.at, until: None });
            }
            Fact::Subagent {
                seen:
                    SubagentSeen::AnnouncementAnswered { request }
                    | SubagentSeen::AnnouncementStopped { request, .. },
                ..
            }
            | Fact::ProviderAnswered { request, .. }
            | Fact::ProviderStopped { request, .. }
            | Fact::ProviderWantedTools { request, .. }
            | Fact::CronRunAnswered { request, .. }
            | Fact::CronRunStopped { request, .. } => {
                if let Some(place) = open.remove(request) {
                    found[place].until = Some(event.at);
                }
            }
            _ => {}
        }
    }
    found
}

/// When a run could not get on: others were at work in its conversation, or its owner had to look after the store.
fn waits(run: &Evidence<'_>, job: &CronTerm, slot_ms: u64) -> Vec<Interval> {
    let mut waits = others_at_work(run, job, slot_ms);
    waits.extend(run.mishaps.stores_beyond_repair());
    waits.sort_by_key(|wait| wait.from);
    waits
}

/// How much of a time is covered by stretches that come in order and may overlap.
fn covered(stretches: &[Interval], from: Duration, until: Duration) -> Duration {
    let mut seen = from;
    let mut covered = Duration::ZERO;
    for stretch in stretches {
        let ended = stretch.until.unwrap_or(until).min(until);
        covered += ended.saturating_sub(stretch.from.max(seen));
        seen = seen.max(ended);
    }
    covered
}

/// Whether some life served for so long after `due`, and before `end`, that the run must have come to an end, `waits` aside.
fn had_its_time(run: &Evidence<'_>, due: Duration, end: Duration, waits: &[Interval]) -> bool {
    let enough = |life: &Life, hold: &Interval| {
        let (from, until) = (hold.from.max(due), hold.until.unwrap_or(end).min(end));
        let awake = until.saturating_sub(from).saturating_sub(life.frozen_between(from, until));
        awake.saturating_sub(covered(waits, from, until)) >= run.terms.cron_grace
    };
    run.lives.iter().any(|life| life.holds.iter().any(|hold| enough(life, hold)))
}

impl CronRunsOnce {
    fn skipped(
        &self,
        run: &Evidence<'_>,
        seen: &Seen,
        job: &CronTerm,
        slot_ms: u64,
        due: Duration,
    ) -> Option<Violation> {
        let of = (job.job.clone(), slot_ms);
        let requests = seen.requests.get(&of).map_or(&[][..], Vec::as_slice);
        let answered = requests.iter().any(|request| request.answered_at.is_some());
        // Books that are written anew need not say what was skipped long ago: they had to be read before.
        let is_rewritten = |look: Duration| seen.rewrites.iter().any(|at| (due..=look).contains(at));
        let waits = waits(run, job, slot_ms);
        let told = |look: &Duration| !is_rewritten(*look) && had_its_time(run, due, *look, &waits);
        let is_known = !is_rewritten(end_of(run)) || seen.looks.iter().any(told);
        let is_over = answered || seen.says(&of, "skipped") || seen.says(&of, "error");
        if is_over || !is_known || !had_its_time(run, due, end_of(run), &waits) {
            return None;
        }
        let what = format!("The run of {} that was due at {}", of.0, moment(due));
        let message = match requests.len() {
            _ if seen.says(&of, "ok") => format!("{what} is booked as done, and the model never answered it"),
            0 => format!("{what} was never made, and nothing says that it was skipped"),
            _ => format!("{what} was begun and never finished, and nothing says that it was skipped"),
        };
        let asked: Vec<_> = requests.iter().map(|request| moment(request.at)).collect();
        let asked = match asked.as_slice() {
            [] => "The model was never asked for it".to_string(),
            times => format!("The model was asked for it at {} and did not finish", times.join(" and ")),
        };
        Some(breach(self, message, format!("{asked}. {}", ends_after(run, due))))
    }

    fn made_twice(
        &self,
        run: &Evidence<'_>,
        seen: &Seen,
        clock: &WallClock,
        of: &Of,
        requests: &[Request],
    ) -> Option<Violation> {
        let first = requests.iter().find(|request| request.answered_at.is_some())?;
        let answered_at = first.answered_at?;
        let again = requests.iter().find(|request| request.at > answered_at)?;
        if seen.says(of, "interrupted") {
            return None;
        }
        let due = clock.last_came(of.1, again.at).unwrap_or_default();
        let message = format!("The run of {} that was due at {} was made twice", of.0, moment(due));
        let explanation = format!(
            "The model had answered it at {} and was asked for it again at {}. {}",
            moment(answered_at),
            moment(again.at),
            ends_after(run, answered_at)
        );
        Some(breach(self, message, explanation))
    }

    /// Whether a life began too many runs at once whose time had passed before it served. What an earlier life had begun
    /// in time goes on when it can.
    fn all_at_once(
        &self,
        run: &Evidence<'_>,
        seen: &Seen,
        clock: &WallClock,
        life: &Life,
    ) -> Option<Violation> {
        let served_from = life.holds.first()?.from;
        let in_life = |at: Duration| at >= served_from && life.ended_at().is_none_or(|end| at < end);
        let is_late = |of: &Of, at: Duration| {
            let goes_on = seen.begun.get(of).is_some_and(|begun| *begun < served_from);
            !goes_on && clock.last_came(of.1, at).is_some_and(|due| due < served_from)
        };
        let mut late: Vec<Duration> = seen
            .requests
            .iter()
            .filter_map(|(of, requests)| {
                let at = requests.iter().map(|request| request.at).find(|at| in_life(*at))?;
                is_late(of, at).then_some(at)
            })
            .collect();
        late.sort_unstable();
        // Each begun in its turn, they may have come to wait for a lock that somebody had, or for the line to the model:
        // whoever tries again to take a lock then waits for the disk.
        let waited = |runs: &[Duration]| {
            let healed = run.mishaps.cuts_of(PROVIDER).filter_map(|cut| cut.until);
            let mut freed = run.mishaps.locks_came_free().chain(healed);
            freed.any(|freed| {
                if freed > runs[LATE_AT_ONCE] {
                    return false;
                }
                let disk = run.mishaps.waited_for_disk(life.pid, freed, runs[0]);
                runs[0].saturating_sub(freed) <= AT_ONCE + disk
            })
        };
        let is_crowd = |runs: &&[Duration]| runs[LATE_AT_ONCE] - runs[0] < AT_ONCE && !waited(runs);
        let crowd = late.windows(LATE_AT_ONCE + 1).find(is_crowd)?;
        let size = late.iter().filter(|at| **at >= crowd[0] && **at - crowd[0] < AT_ONCE).count();
        let message = format!("{} that were late began all at once", counted(size, "scheduled run"));
        let explanation = format!(
            "{} served from {} on and began them within a second of {}; more than {LATE_AT_ONCE} at once are a \
             crowd.",
            life.name(),
            moment(served_from),
            moment(crowd[0])
        );
        Some(breach(self, message, explanation))
    }
}

/// What ended the gateway after `at`, if anything, for an explanation.
fn ends_after(run: &Evidence<'_>, at: Duration) -> String {
    let ended = run.lives.iter().find(|life| life.ended_at().is_some_and(|end| end >= at));
    match ended {
        Some(life) => format!("Of {}: {}.", life.name(), life.end_words()),
        None => "No gateway ended in between.".to_string(),
    }
}

#[cfg(test)]
mod tests;
