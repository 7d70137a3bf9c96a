//! Requests that are made close to each other share a restart (openclaw/openclaw#33459).
//!
//! Whoever does not see the gateway restart asks again. Each time it begins again because somebody asked for that counts;
//! two of these within a short time are one too many, unless somebody forced it, or something else made it end.

use std::time::Duration;

use gateway::env::ExitCode;

use super::restarts::RestartRequest;
use super::wall_clock::WallClock;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{moment, span};
use crate::timeline::{DeathCause, RestartMode};

/// A gateway that has begun again on request runs for so long at least before it does so for the next one. It pauses for
/// 30 s, which count from a moment that nobody outside knows exactly.
const PAUSE: Duration = Duration::from_secs(20);

/// Requests that are made close to each other share a restart.
pub(super) struct RequestsShareARestart;

impl Oracle for RequestsShareARestart {
    fn invariant(&self) -> &'static str {
        "requests-share-a-restart"
    }

    fn sentence(&self) -> &'static str {
        "A gateway that has just begun again on request is not restarted for the next one at once, unless by force."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let restarts = restarts(run);
        // A pause that reaches over the end of a process is taken by the machine's clock, which may jump.
        let clock = WallClock::of(run);
        let pause = |first: &Restarted<'_>, second: &Restarted<'_>| {
            let shown = clock.shows_at(second.at).saturating_sub(clock.shows_at(first.due_at));
            second.at.saturating_sub(first.due_at).max(Duration::from_millis(shown))
        };
        let follows_closely = |pair: &[Restarted<'_>]| {
            pause(&pair[0], &pair[1]) < PAUSE && pair[0].is_on_request && !pair[1].is_excused
        };
        let mut found = Vec::new();
        let mut rest = &restarts[..];
        while let Some(first) = rest.windows(2).position(follows_closely) {
            let more = rest[first..].windows(2).take_while(|pair| follows_closely(pair)).count();
            found.push(self.breach_of(&rest[first..=first + more]));
            rest = &rest[first + more..];
        }
        found
    }
}

impl RequestsShareARestart {
    fn breach_of(&self, burst: &[Restarted<'_>]) -> Violation {
        let took = burst[burst.len() - 1].at.saturating_sub(burst[0].at);
        let message = format!("The gateway restarted {} times within {}", burst.len(), span(took));
        let each = burst.iter().map(|restarted| {
            let request = restarted.request;
            format!(
                "It took the port at {} for request {}: {}.",
                moment(restarted.at),
                request.number,
                request.words()
            )
        });
        breach(self, message, each.collect::<Vec<_>>().join(" "))
    }
}

/// A gateway has taken the port because somebody asked for a restart.
struct Restarted<'r> {
    at: Duration,
    /// When it would have, if the one before had not stood still on its way out.
    due_at: Duration,
    request: &'r RestartRequest,
    /// Whether nothing else may have been the reason.
    is_on_request: bool,
    /// Whether it was forced, or may have had another reason.
    is_excused: bool,
}

fn restarts<'r>(run: &'r Evidence<'_>) -> Vec<Restarted<'r>> {
    let mut begins: Vec<Duration> =
        run.lives.iter().flat_map(|life| life.holds.iter().map(|hold| hold.from)).collect();
    begins.sort_unstable();
    let restarted = |pair: &[Duration]| {
        let (before, at) = (pair[0], pair[1]);
        let mut served = run.restarts.iter().filter(|request| was_asked_between(request, before, at));
        let request = served.next()?;
        let forced =
            request.mode == RestartMode::Force || served.any(|other| other.mode == RestartMode::Force);
        let is_on_request = !had_other_reasons(run, before, at);
        let due_at = at.saturating_sub(stood_still(run, before, request.asked_at.max(before), at));
        Some(Restarted { at, due_at, request, is_on_request, is_excused: forced || !is_on_request })
    };
    begins.windows(2).filter_map(restarted).collect()
}

/// For how long the gateway that took the port at `before` stood still between two moments.
fn stood_still(run: &Evidence<'_>, before: Duration, from: Duration, until: Duration) -> Duration {
    let lives = run.lives.iter().filter(|life| life.holds.iter().any(|hold| hold.from == before));
    lives.map(|life| life.frozen_between(from, until)).sum()
}

/// Whether a gateway that took the port at `at` may have done so for `request`: it reached the one before, and nobody
/// had been told by then what came of it.
fn was_asked_between(request: &RestartRequest, before: Duration, at: Duration) -> bool {
    let reached = request.answer.as_ref().filter(|answer| answer.ok).map(|answer| answer.at);
    request.asked_at < at && reached.is_some_and(|reached| reached >= before && !request.ended_before(at))
}

/// Whether anything but a request for a restart may have ended the gateway that took the port at `before`.
fn had_other_reasons(run: &Evidence<'_>, before: Duration, at: Duration) -> bool {
    let lives = run.lives.iter().filter(|life| life.holds.iter().any(|hold| hold.from == before));
    let mut reasons = lives.map(|life| {
        let died = life.ended.is_some_and(|(_, cause)| !matches!(cause, DeathCause::Exited(ExitCode(_))));
        // A signal that comes between two gateways in one process is the next one's.
        let released = life.holds.iter().filter_map(|hold| hold.until).filter(|until| *until <= before);
        died || run.mishaps.was_signalled(life.pid, released.max().unwrap_or(before), at)
    });
    reasons.any(|reason| reason) || run.mishaps.was_ordered(before, at) || run.mishaps.was_edited(before, at)
}

#[cfg(test)]
mod tests {
    use gateway::env::Signal;

    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::RestartEnding;
    use crate::timeline::story::Story;

    const ORACLE: RequestsShareARestart = RequestsShareARestart;

    /// Somebody asks at each of these seconds, and the gateway that is asked has a successor a second later.
    fn burst(mode: RestartMode, seconds: &[u64]) -> Story {
        let first = Story::new().at(0).serves(1);
        (1_u32..).zip(seconds).fold(first, |story, (number, second)| {
            let story = story.at(second * 1_000).gateway(number).asks_for_restart(number, mode);
            let story =
                story.at(second * 1_000 + 100).answers_restart(number, true, Some("scheduled"), "it comes");
            story.gateway(number).exits(75).at(second * 1_000 + 1_000).serves(number + 1)
        })
    }

    #[test]
    fn a_burst_of_requests_has_one_restart() {
        let found = complaints(&ORACLE, burst(RestartMode::Plain, &[5, 9, 13, 60]).ended());
        assert_eq!(found, ["The gateway restarted 3 times within 8.0 s"]);
        assert_eq!(complaints(&ORACLE, burst(RestartMode::Safe, &[5, 25]).ended()), [""; 0]);
    }

    #[test]
    fn who_stood_still_on_its_way_out_had_begun_to_pause_before() {
        let second = |still: bool, asks_at: u64| {
            let story = Story::new().at(0).serves(1).at(5_000).asks_for_restart(1, RestartMode::Plain);
            let story = story.at(5_100).answers_restart(1, true, Some("scheduled"), "it comes");
            let story = if still { story.at(5_200).frozen().at(17_200).thawed() } else { story };
            let story = story.at(17_500).exits(75).at(18_000).serves(2).at(asks_at);
            let story = story.asks_for_restart(2, RestartMode::Plain).at(asks_at + 100);
            let story = story.answers_restart(2, true, Some("scheduled"), "it comes").at(asks_at + 200);
            complaints(&ORACLE, story.exits(75).at(asks_at + 1_000).serves(3).ended()).len()
        };
        assert_eq!([second(true, 30_000), second(false, 30_000)], [0, 1]);
        assert_eq!(second(true, 20_000), 1, "it has to pause all the same");
    }

    #[test]
    fn a_clock_that_jumps_shortens_the_pause() {
        let second = |by_ms: i64| {
            let story = Story::new().at(0).serves(1).at(5_000).asks_for_restart(1, RestartMode::Plain);
            let story = story.at(5_100).answers_restart(1, true, Some("scheduled"), "it comes");
            let story = story.at(5_500).exits(75).at(6_000).serves(2).at(7_000).clock_jumps(by_ms);
            let story = story.at(8_000).asks_for_restart(2, RestartMode::Plain);
            let story = story.at(8_100).answers_restart(2, true, Some("scheduled"), "it comes").gateway(2);
            complaints(&ORACLE, story.at(8_500).exits(75).at(9_000).serves(3).ended()).len()
        };
        assert_eq!([second(20_000), second(10_000), second(-20_000)], [0, 1, 1]);
    }

    #[test]
    fn whoever_is_served_by_one_restart_is_one() {
        let story = Story::new().at(0).serves(1).at(5_000).asks_for_restart(1, RestartMode::Plain);
        let story =
            story.at(5_100).answers_restart(1, true, None, "").asks_for_restart(2, RestartMode::Plain);
        let story =
            story.at(5_200).answers_restart(2, true, None, "").gateway(1).exits(75).at(6_000).serves(2);
        assert_eq!(complaints(&ORACLE, story.at(900_000).ended()), [""; 0]);
    }

    #[test]
    fn what_was_refused_brought_no_restart() {
        let first = |ending: RestartEnding| {
            let story = Story::new().at(0).serves(1).at(5_000).asks_for_restart(1, RestartMode::Plain);
            let story = story.at(5_100).answers_restart(1, true, None, "").at(5_900).gateway(1).exits(75);
            let story = story.reports_restart(1, ending).at(6_000).serves(2);
            let story = story.at(8_000).asks_for_restart(2, RestartMode::Plain).at(8_200);
            let story = story.answers_restart(2, true, None, "").gateway(2).at(8_300).exits(75);
            complaints(&ORACLE, story.at(9_000).serves(3).ended()).len()
        };
        assert_eq!(first(RestartEnding::Refused), 0);
        let asked_twice = burst(RestartMode::Plain, &[5, 8]).reports_restart(1, RestartEnding::Done);
        assert_eq!(complaints(&ORACLE, asked_twice.ended()).len(), 1);
    }

    #[test]
    fn force_and_whatever_else_ends_a_gateway_excuse_it() {
        assert_eq!(complaints(&ORACLE, burst(RestartMode::Force, &[5, 9]).ended()), [""; 0]);
        let again = |reason: fn(Story) -> Story| {
            let story = burst(RestartMode::Plain, &[5]).at(8_000).asks_for_restart(2, RestartMode::Plain);
            let story = reason(story.at(8_200).answers_restart(2, true, None, "").gateway(2).at(8_300));
            complaints(&ORACLE, story.at(9_000).serves(3).ended()).len()
        };
        assert_eq!(again(|story| story.exits(75)), 1);
        assert_eq!(again(|story| story.signal(Signal::User1).exits(75)), 0);
        assert_eq!(again(|story| story.dies(DeathCause::Killed)), 0);
    }
}
