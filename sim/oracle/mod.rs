//! The oracles: what must hold in every run, one invariant per file.
//!
//! An oracle reads the timeline, the ledger folded from it and the terms of the run, and nothing else. It asks
//! the gateway nothing; the gateway's log records may flesh out an explanation and never decide a verdict.

use std::cell::OnceCell;
use std::time::Duration;

use crate::timeline::{DeathCause, Event, Fact, Ledger, MessageId, RestartMode};
use crate::verdict::Violation;

mod admission_has_an_owner;
mod buffers_are_bounded;
mod cancelled_is_never_resumed;
mod cron_runs_once;
mod drains_wait_for_turns;
mod expected_fates;
mod hooks_bounded_and_ordered;
mod life;
mod lifecycle_death_is_no_failure;
mod lock_has_a_live_owner;
mod mishaps;
mod never_two_writers;
mod no_duplicate;
mod no_ghost_connection;
mod no_restart_loop;
mod no_silent_drop;
mod nothing_without_authentication;
mod one_instance_serves;
mod one_notice_per_interruption;
mod only_the_stuck_are_ended;
mod ordered;
mod port_is_released;
mod promised_restart_happens;
mod readiness_tells_the_truth;
mod refusals_are_final;
mod replies_in_order;
mod requester_is_told;
mod requests_share_a_restart;
mod restart_requests_end;
mod restart_waits_only_for_work;
mod restarts;
mod resumes_are_bounded;
mod safe_restart_interrupts_nothing;
mod sessions_come_to_rest;
mod shutdown_within_stop_timeout;
mod stale_work_is_not_resumed;
mod state_never_goes_back;
mod stays_down_after_a_stop;
mod subagent_results_once;
mod subagents;
mod terms;
mod tracking_points_at_the_live_run;
mod up_at_the_end;
mod wall_clock;
mod work_in_flight;

pub use terms::{CronTerm, HookTerm, RestartLoopLimit, Terms};

/// How long a turn may take: ten minutes, and what its end takes.
const LONGEST_TURN: Duration = Duration::from_secs(11 * 60);

/// A gateway that has just begun again serves for so long at least before it does so for another request.
const PACE: Duration = Duration::from_secs(20);
/// How soon a gateway writes down what the model said.
const AT_ONCE: Duration = Duration::from_secs(1);

/// One invariant.
pub trait Oracle {
    /// Its name, as verdicts and scenario files use it, such as `port-is-released`.
    fn invariant(&self) -> &'static str;
    /// The sentence it enforces.
    fn sentence(&self) -> &'static str;
    /// Every breach of it in a run, in the order in which they happened.
    fn check(&self, run: &Evidence<'_>) -> Vec<Violation>;
}

/// All that an oracle may look at.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// Everything that happened.
    pub events: &'a [Event],
    /// What became of every message; the fold over `events`.
    pub ledger: &'a Ledger<'a>,
    /// The numbers the run is judged by.
    pub terms: &'a Terms,
    /// The lives of the service's processes; a fold over `events` that most oracles need.
    lives: Vec<life::Life>,
    /// Every restart that the operator asked for; another fold.
    restarts: Vec<restarts::RestartRequest>,
    /// What befell the world, and whoever wanted a gateway to go; a third one.
    mishaps: mishaps::Mishaps,
    /// What was at work; a fourth one, for those who ask.
    work: OnceCell<work_in_flight::Work<'a>>,
}

impl<'a> Evidence<'a> {
    /// Gathers what oracles look at.
    pub fn new(events: &'a [Event], ledger: &'a Ledger<'a>, terms: &'a Terms) -> Self {
        let mut restarts = restarts::restart_requests(events, terms);
        let mut lives = life::lives(events, terms);
        ordered::add_ordered(&mut lives, &restarts, events);
        let mishaps = mishaps::Mishaps::of(events, terms, &lives, &restarts);
        restarts::add_drains(&mut restarts, &lives, &mishaps, terms);
        Self { events, ledger, terms, lives, restarts, mishaps, work: OnceCell::new() }
    }

    fn work(&self) -> &work_in_flight::Work<'a> {
        self.work.get_or_init(|| work_in_flight::Work::of(self))
    }

    /// Whether so many of the last lives of the service before a moment came up and went because somebody had forced or ordered a
    /// restart, or had asked for one of a gateway that took its time, or were killed from outside, that the others make no
    /// loop: a supervisor that has enough of that has it of people, or of the world.
    fn was_worn_out(&self, at: Duration) -> bool {
        let was_forced = |life: &&life::Life| {
            let ended = life.ended_at().unwrap_or(at);
            let forced = self.restarts.iter().filter(|request| request.mode == RestartMode::Force);
            let served = !life.holds.is_empty();
            let heard = |asked: &restarts::RestartRequest| {
                !asked.was_turned_away() && (life.started_at..=ended).contains(&asked.asked_at)
            };
            served && forced.into_iter().any(heard)
        };
        let few = self.terms.restart_loop_limit.failed_starts;
        let of_service = || self.lives.iter().rev().filter(|life| !life.by_hand && life.started_at <= at);
        // Who is asked again and again, and takes its time, does as it is asked.
        let was_asked = |life: &life::Life| {
            let ended = life.ended_at().unwrap_or(at);
            let requested = life.requests.iter().any(|request| request.by.is_restart());
            requested && life.served_between(life.started_at, ended) >= PACE
        };
        let ordered =
            |life: &life::Life| self.mishaps.was_ordered(life.started_at, life.ended_at().unwrap_or(at));
        let of_others = |life: &&life::Life| {
            was_forced(life) || self.was_killed_from_outside(life) || was_asked(life) || ordered(life)
        };
        of_service().take(2 * few + 1).filter(of_others).count() > few
    }

    /// Whether the model was done with a message by then, and the disk refused what it had said: its turn ends at once,
    /// without an answer.
    fn was_refused_by_the_disk(&self, of: &MessageId, by: Duration) -> bool {
        let before = self.events.iter().rev().skip_while(|event| event.at > by);
        let mut said = before.filter_map(|event| match &event.fact {
            Fact::ProviderRequested { message, .. } | Fact::ProviderStopped { message, .. } => {
                (message == of).then_some(None)
            }
            Fact::ProviderAnswered { message, .. } | Fact::ProviderWantedTools { message, .. } => {
                (message == of).then_some(Some(event.at))
            }
            _ => None,
        });
        let said = said.next().flatten();
        said.is_some_and(|said| self.mishaps.disk_failed(said, by.min(said + AT_ONCE)))
    }

    /// Whether a gateway died by no doing of its own, of the supervisor's patience or of another gateway.
    fn was_killed_from_outside(&self, life: &life::Life) -> bool {
        let Some((ended, DeathCause::Killed | DeathCause::PowerLoss)) = life.ended else { return false };
        !self.events.iter().filter(|event| event.at == ended).any(|event| match event.fact {
            Fact::StopTimedOut => true,
            Fact::ProcessStruck { pid, .. } => pid == life.pid,
            _ => false,
        })
    }
}

/// Every oracle, in the order in which reports name them.
pub fn all() -> Vec<Box<dyn Oracle>> {
    vec![
        Box::new(no_silent_drop::NoSilentDrop),
        Box::new(no_duplicate::NoDuplicate),
        Box::new(replies_in_order::RepliesInOrder),
        Box::new(cancelled_is_never_resumed::CancelledIsNeverResumed),
        Box::new(one_notice_per_interruption::OneNoticePerInterruption),
        Box::new(no_ghost_connection::NoGhostConnection),
        Box::new(refusals_are_final::RefusalsAreFinal),
        Box::new(one_instance_serves::OneInstanceServes),
        Box::new(only_the_stuck_are_ended::OnlyTheStuckAreEnded),
        Box::new(port_is_released::PortIsReleased),
        Box::new(shutdown_within_stop_timeout::ShutdownWithinStopTimeout),
        Box::new(no_restart_loop::NoRestartLoop),
        Box::new(up_at_the_end::UpAtTheEnd),
        Box::new(stays_down_after_a_stop::StaysDownAfterAStop),
        Box::new(state_never_goes_back::StateNeverGoesBack),
        Box::new(never_two_writers::NeverTwoWriters),
        Box::new(lock_has_a_live_owner::LockHasALiveOwner),
        Box::new(sessions_come_to_rest::SessionsComeToRest),
        Box::new(resumes_are_bounded::ResumesAreBounded),
        Box::new(stale_work_is_not_resumed::StaleWorkIsNotResumed),
        Box::new(drains_wait_for_turns::DrainsWaitForTurns),
        Box::new(cron_runs_once::CronRunsOnce),
        Box::new(subagent_results_once::SubagentResultsOnce),
        Box::new(tracking_points_at_the_live_run::TrackingPointsAtTheLiveRun),
        Box::new(readiness_tells_the_truth::ReadinessTellsTheTruth),
        Box::new(admission_has_an_owner::AdmissionHasAnOwner),
        Box::new(restart_requests_end::RestartRequestsEnd),
        Box::new(requests_share_a_restart::RequestsShareARestart),
        Box::new(requester_is_told::RequesterIsTold),
        Box::new(promised_restart_happens::PromisedRestartHappens),
        Box::new(restart_waits_only_for_work::RestartWaitsOnlyForWork),
        Box::new(safe_restart_interrupts_nothing::SafeRestartInterruptsNothing),
        Box::new(nothing_without_authentication::NothingWithoutAuthentication),
        Box::new(buffers_are_bounded::BuffersAreBounded),
        Box::new(lifecycle_death_is_no_failure::LifecycleDeathIsNoFailure),
        Box::new(hooks_bounded_and_ordered::HooksBoundedAndOrdered),
        Box::new(expected_fates::ExpectedFates),
    ]
}

/// What all oracles find in a run, oracle by oracle.
pub fn judge(run: &Evidence<'_>) -> Vec<Violation> {
    all().iter().flat_map(|oracle| oracle.check(run)).collect()
}

/// A breach of `oracle` that is not about one message in particular.
fn breach(oracle: &dyn Oracle, message: String, explanation: String) -> Violation {
    Violation { invariant: oracle.invariant().to_string(), message, explanation, last_seen: None }
}

/// The last part of a path. Names are short, and the standard search for a character is made for long texts.
fn file_name(path: &str) -> &str {
    path.bytes().rposition(|byte| byte == b'/').map_or(path, |slash| &path[slash + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::story::Story;
    use gateway::env::Signal;
    use std::collections::BTreeSet;

    /// What `oracle` says about a story under `terms`.
    pub(super) fn verdict(oracle: &dyn Oracle, story: Story, terms: &Terms) -> Vec<Violation> {
        let events = story.events();
        let ledger = Ledger::of(&events);
        let found = oracle.check(&Evidence::new(&events, &ledger, terms));
        for violation in &found {
            assert_eq!(violation.invariant, oracle.invariant());
            assert!(!violation.message.contains('\n'), "one line: {}", violation.message);
            assert!(violation.explanation.ends_with('.'), "sentences: {}", violation.explanation);
        }
        found
    }

    /// The one-line messages of [`verdict`] under the default terms.
    pub(super) fn complaints(oracle: &dyn Oracle, story: Story) -> Vec<String> {
        verdict(oracle, story, &Terms::default()).into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn names_are_unique_and_sentences_are_sentences() {
        let oracles = all();
        let names: BTreeSet<_> = oracles.iter().map(|oracle| oracle.invariant()).collect();
        assert_eq!(names.len(), oracles.len());
        for oracle in &oracles {
            assert!(oracle.sentence().ends_with('.'), "{}", oracle.invariant());
            assert!(oracle.invariant().chars().all(|c| c.is_ascii_lowercase() || c == '-'));
        }
    }

    #[test]
    fn scenario_files_may_name_every_oracle_and_every_fate_and_nothing_else() {
        let oracles: BTreeSet<_> = all().iter().map(|oracle| oracle.invariant()).collect();
        assert_eq!(oracles, crate::scenario::INVARIANTS.iter().copied().collect());
        let fates = crate::timeline::Fate::ALL.map(crate::timeline::Fate::name);
        assert_eq!(fates.as_slice(), crate::scenario::FATES);
    }

    #[test]
    fn an_ordinary_restart_under_load_breaks_nothing() {
        let first = Story::new().at(0).serves(214).at(1_000).sent(1).at(1_001).accepted(1).asked(1, 1);
        let drained =
            first.at(1_650).signal(Signal::Terminate).at(2_950).answered(1, 1).at(2_951).replied(1, "Hi");
        let gone =
            drained.at(2_952).releases().at(2_958).exits(75).state(Some(Ok(())), &["ann#1"], &["ann#1"]);
        let second = gone.at(3_000).serves(215).at(4_000).ready(3_999, Some(true)).at(9_000).ended();
        let events = second.events();
        let ledger = Ledger::of(&events);
        let found = judge(&Evidence::new(&events, &ledger, &Terms::default()));
        assert_eq!(found, []);
    }

    #[test]
    fn an_empty_run_breaks_nothing() {
        let ledger = Ledger::default();
        assert_eq!(judge(&Evidence::new(&[], &ledger, &Terms::default())), []);
    }
}
