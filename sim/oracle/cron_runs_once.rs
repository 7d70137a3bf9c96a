//! A scheduled run is neither skipped silently nor made twice, and late ones do not come all at once.
//!
//! Which times are due follows from the scenario. What was made is what the model answered; what was left out must
//! stand in the gateway's books by the end, as skipped or as failed. A time counts once some life has served for long
//! enough after it to do the one or the other. Made twice is asked again after an answer; only a record of an
//! interruption excuses that, since the answer may have been lost on its way into the books. Where the clock is set
//! forward, what it passes over is due at that moment; where it is set back, a time that was answered stays answered.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::env::WallTime;

use super::life::{Interval, Life, end_of};
use super::terms::CronTerm;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{capital, counted, moment};
use crate::timeline::{CronRecord, Fact};

/// How many late runs may begin at the same time, and what counts as that.
const LATE_AT_ONCE: usize = 2;
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long a gateway that serves for the first time may take to learn of its jobs.
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
        let (seen, wall) = (Seen::of(run), Wall::of(run));
        let mut found = Vec::new();
        for job in &run.terms.cron_jobs {
            let due = due_times(run, &wall, job);
            found.extend(due.filter_map(|due| self.skipped(run, &seen, &wall, job, due)));
        }
        let twice = seen.requests.iter();
        found.extend(twice.filter_map(|(of, requests)| self.made_twice(run, &seen, &wall, of, requests)));
        found.extend(run.lives.iter().filter_map(|life| self.all_at_once(&seen, &wall, life)));
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
    books: Vec<CronRecord>,
}

impl Seen {
    fn of(run: &Evidence<'_>) -> Self {
        let mut seen = Self { requests: BTreeMap::new(), books: Vec::new() };
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
                Fact::State(state) => seen.books.extend(state.cron.iter().cloned()),
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

/// What the machine's clock showed when: it may have been set during the run.
struct Wall {
    /// Since when which time of the clock, in milliseconds, stands at the run's beginning. Never empty.
    settings: Vec<(Duration, i64)>,
}

/// A time of a job: when it came, and what the clock showed then.
#[derive(Clone, Copy)]
struct Due {
    at: Duration,
    slot_ms: u64,
}

impl Wall {
    fn of(run: &Evidence<'_>) -> Self {
        let mut began_at = i64::try_from(run.terms.wall_epoch_ms).unwrap_or(i64::MAX);
        let mut settings = vec![(Duration::ZERO, began_at)];
        for event in run.events {
            if let Fact::ClockJumped { machine, by_ms } = &event.fact
                && *machine == run.terms.machine
            {
                began_at = began_at.saturating_add(*by_ms);
                settings.push((event.at, began_at));
            }
        }
        Self { settings }
    }

    /// What the clock showed at `at`, in milliseconds since the Unix epoch.
    fn at(&self, at: Duration) -> u64 {
        let setting = self.settings.iter().rev().find(|(since, _)| *since <= at);
        shown(setting.map_or(0, |(_, began_at)| *began_at), at)
    }

    /// The multiples of `every_ms` that the clock passes until `end`, by itself or because it is set forward. One that
    /// it comes to for the second time has been there.
    fn passes(&self, every_ms: u64, end: Duration) -> impl Iterator<Item = Due> {
        let ends = self.settings.iter().skip(1).map(|(since, _)| *since).chain([end]);
        let mut before = self.at(Duration::ZERO).saturating_sub(1);
        let mut passed: Vec<(u64, u64)> = Vec::new();
        self.settings.iter().zip(ends).flat_map(move |((since, began_at), until)| {
            let began_at = *began_at;
            let from = before.min(shown(began_at, *since));
            let last = shown(began_at, until);
            before = last;
            let since = *since;
            let first = from / every_ms + 1;
            let earlier = passed.clone();
            passed.push((from, last));
            let is_new = move |n: &u64| {
                !earlier.iter().any(|(from, last)| (from + 1..=*last).contains(&(n * every_ms)))
            };
            (first..=last / every_ms).filter(is_new).map(move |n| {
                let slot_ms = n * every_ms;
                let at = i64::try_from(slot_ms).unwrap_or(i64::MAX).saturating_sub(began_at);
                Due { at: Duration::from_millis(u64::try_from(at).unwrap_or(0)).max(since), slot_ms }
            })
        })
    }

    /// A time of a job in words: by the world's clock, which people count in, as long as the two go together.
    fn words(&self, slot_ms: u64) -> String {
        match self.settings.as_slice() {
            [(_, began_at)] => {
                let since = slot_ms.saturating_sub(u64::try_from(*began_at).unwrap_or(0));
                format!("due at {}", moment(Duration::from_millis(since)))
            }
            _ => format!("due when the clock showed {}", WallTime::from_epoch_ms(slot_ms)),
        }
    }
}

/// What a clock shows at `at` that showed `began_at` when the run began.
fn shown(began_at: i64, at: Duration) -> u64 {
    let since = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    u64::try_from(began_at.saturating_add(since)).unwrap_or(0)
}

/// The job's times at which it was due while or after a gateway served.
fn due_times(run: &Evidence<'_>, wall: &Wall, job: &CronTerm) -> impl Iterator<Item = Due> {
    let first = run.lives.iter().flat_map(|life| &life.holds).map(|hold| hold.from).min();
    let end = end_of(run);
    let from = first.unwrap_or(end) + FIRST_START;
    let every_ms = (job.every.as_millis() as u64).max(1);
    wall.passes(every_ms, end).filter(move |due| due.at > from && due.at < end)
}

/// Whether some life served for so long after `due` that the run must have come to an end.
fn had_its_time(run: &Evidence<'_>, due: Duration) -> bool {
    let enough = |life: &Life, hold: &Interval| {
        let (from, until) = (hold.from.max(due), hold.until.unwrap_or(end_of(run)));
        let awake = until.saturating_sub(from).saturating_sub(life.frozen_between(from, until));
        awake >= run.terms.cron_grace
    };
    run.lives.iter().any(|life| life.holds.iter().any(|hold| enough(life, hold)))
}

impl CronRunsOnce {
    fn skipped(
        &self,
        run: &Evidence<'_>,
        seen: &Seen,
        wall: &Wall,
        job: &CronTerm,
        due: Due,
    ) -> Option<Violation> {
        let of = (job.job.clone(), due.slot_ms);
        let requests = seen.requests.get(&of).map_or(&[][..], Vec::as_slice);
        let answered = requests.iter().any(|request| request.answered_at.is_some());
        if answered || seen.says(&of, "skipped") || seen.says(&of, "error") || !had_its_time(run, due.at) {
            return None;
        }
        let what = format!("The run of {} that was {}", of.0, wall.words(due.slot_ms));
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
        Some(breach(self, message, format!("{asked}. {}", ends_after(run, due.at))))
    }

    fn made_twice(
        &self,
        run: &Evidence<'_>,
        seen: &Seen,
        wall: &Wall,
        of: &Of,
        requests: &[Request],
    ) -> Option<Violation> {
        let first = requests.iter().find(|request| request.answered_at.is_some())?;
        let answered_at = first.answered_at?;
        let again = requests.iter().find(|request| request.at > answered_at)?;
        if seen.says(of, "interrupted") {
            return None;
        }
        let message = format!("The run of {} that was {} was made twice", of.0, wall.words(of.1));
        let explanation = format!(
            "The model had answered it at {} and was asked for it again at {}. {}",
            moment(answered_at),
            moment(again.at),
            ends_after(run, answered_at)
        );
        Some(breach(self, message, explanation))
    }

    /// Whether a life began too many runs at once whose time had passed before it served.
    fn all_at_once(&self, seen: &Seen, wall: &Wall, life: &Life) -> Option<Violation> {
        let served_from = life.holds.first()?.from;
        let in_life = |at: Duration| at >= served_from && life.ended_at().is_none_or(|end| at < end);
        let is_late = |slot_ms: u64| slot_ms < wall.at(served_from);
        let mut late: Vec<Duration> = seen
            .requests
            .iter()
            .filter(|((_, slot_ms), _)| is_late(*slot_ms))
            .filter_map(|(_, requests)| requests.iter().map(|request| request.at).find(|at| in_life(*at)))
            .collect();
        late.sort_unstable();
        let crowd = late.windows(LATE_AT_ONCE + 1).find(|runs| runs[LATE_AT_ONCE] - runs[0] < AT_ONCE)?;
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
        Some(life) => format!("{}: {}.", capital(&life.name()), life.end_words()),
        None => "No gateway ended in between.".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::verdict;
    use crate::timeline::story::Story;

    const MINUTE: u64 = 60_000;

    fn terms() -> Terms {
        let job = |job: &str| CronTerm { job: job.into(), every: Duration::from_secs(300) };
        let cron_grace = Duration::from_secs(600);
        Terms { cron_jobs: vec![job("report")], cron_grace, wall_epoch_ms: 3_000_000, ..Terms::default() }
    }

    fn check(story: Story, expected: &[&str]) {
        let found = verdict(&CronRunsOnce, story, &terms());
        assert_eq!(found.iter().map(|violation| violation.message.as_str()).collect::<Vec<_>>(), expected);
    }

    /// A gateway that serves from the beginning, with the slot of five minutes answered.
    fn serving() -> Story {
        Story::new().at(100).serves(214)
    }

    /// The slot of five minutes, on the wall clock.
    const FIVE: u64 = 3_300_000;

    #[test]
    fn a_run_that_the_model_answered_is_made() {
        let story = serving().at(5 * MINUTE).cron_asked("report", FIVE, 1).cron_answered("report", FIVE, 1);
        check(story.at(19 * MINUTE).ended(), &[]);
    }

    #[test]
    fn a_run_that_never_came_needs_a_record() {
        let missing =
            ["The run of report that was due at 300.000 s was never made, and nothing says that it was \
                        skipped"];
        check(serving().at(19 * MINUTE).ended(), &missing);
        check(serving().at(19 * MINUTE).books(&[("report", FIVE, FIVE, "skipped")]).ended(), &[]);
        let range = [("report", 3_000_000, 4_000_000, "skipped")];
        check(serving().at(19 * MINUTE).books(&range).ended(), &[]);
        check(serving().at(19 * MINUTE).books(&[("other", FIVE, FIVE, "skipped")]).ended(), &missing);
        check(serving().at(14 * MINUTE).ended(), &[]);
    }

    #[test]
    fn a_run_that_was_interrupted_needs_an_end() {
        let story = serving().at(5 * MINUTE).cron_asked("report", FIVE, 1).at(5 * MINUTE + 500).exits(0);
        let again = story.at(5 * MINUTE + 900).serves(215);
        let forgotten = again.at(19 * MINUTE).books(&[("report", FIVE, FIVE, "started")]).ended();
        check(
            forgotten,
            &[
                "The run of report that was due at 300.000 s was begun and never finished, and nothing says that it \
               was skipped",
            ],
        );
    }

    #[test]
    fn nothing_is_asked_of_a_gateway_that_has_no_time() {
        let story = serving().at(5 * MINUTE).cron_asked("report", FIVE, 1).at(5 * MINUTE + 500).exits(0);
        check(story.at(60 * MINUTE).ended(), &[]);
        let frozen = serving().at(4 * MINUTE).frozen().at(19 * MINUTE).thawed().ended();
        check(frozen, &[]);
    }

    fn asked_again() -> Story {
        let first = serving().at(5 * MINUTE).cron_asked("report", FIVE, 1).cron_answered("report", FIVE, 1);
        let again = first.at(5 * MINUTE + 500).exits(0).at(5 * MINUTE + 900).serves(215);
        again.at(5 * MINUTE + 950).cron_asked("report", FIVE, 2).cron_answered("report", FIVE, 2)
    }

    #[test]
    fn a_run_is_made_twice_when_it_is_asked_for_after_its_answer() {
        check(asked_again(), &["The run of report that was due at 300.000 s was made twice"]);
        check(asked_again().books(&[("report", FIVE, FIVE, "interrupted")]), &[]);
    }

    #[test]
    fn asking_again_after_a_failure_is_no_second_run() {
        let story = serving().at(5 * MINUTE).cron_asked("report", FIVE, 1);
        let again = story.at(5 * MINUTE + 900).cron_asked("report", FIVE, 2).cron_answered("report", FIVE, 2);
        check(again, &[]);
    }

    #[test]
    fn booked_as_done_without_an_answer_is_a_lie() {
        let story = serving().at(19 * MINUTE).books(&[("report", FIVE, FIVE, "ok")]).ended();
        check(
            story,
            &[
                "The run of report that was due at 300.000 s is booked as done, and the model never answered it",
            ],
        );
    }

    #[test]
    fn a_clock_that_is_set_changes_what_is_due() {
        let jump = |story: Story, by_ms: i64| {
            let machine = crate::timeline::story::MACHINE.to_string();
            story.fact(crate::timeline::Source::Operator, Fact::ClockJumped { machine, by_ms })
        };
        // Set back, the clock comes to an earlier multiple next, and that one is due.
        let back = jump(serving().at(4 * MINUTE), -30 * 60_000).at(6 * MINUTE);
        let slot = FIVE - 30 * MINUTE;
        check(
            back.cron_asked("report", slot, 1).cron_answered("report", slot, 1).at(19 * MINUTE).ended(),
            &[],
        );
        // Set forward over a multiple: that one is due, too.
        let forward = || jump(serving().at(4 * MINUTE), 2 * 60_000);
        let silent = "The run of report that was due when the clock showed 1970-01-01T00:55:00.000Z was never made, and \
                      nothing says that it was skipped";
        check(forward().at(15 * MINUTE).ended(), &[silent]);
        check(forward().at(15 * MINUTE).books(&[("report", FIVE, FIVE, "skipped")]).ended(), &[]);
    }

    #[test]
    fn late_runs_must_not_come_as_a_crowd() {
        let late = |jobs: &[&str], apart: u64| {
            let served = Story::new().at(100).serves(214).at(200).exits(0).at(6 * MINUTE).serves(215);
            jobs.iter().zip(0..).fold(served, |story, (job, turn)| {
                story.at(6 * MINUTE + turn * apart).cron_asked(job, FIVE, turn as u32)
            })
        };
        check(late(&["a", "b"], 1), &[]);
        check(late(&["a", "b", "c", "d"], 1), &["4 scheduled runs that were late began all at once"]);
        check(late(&["a", "b", "c", "d"], 5_000), &[]);
    }
}
