//! Every request for a restart ends, and whoever asked learns how: done, merged, refused or timed out.
//!
//! Being told that it waits is no end. The time for it is that for which work may be waited for, and what a restart takes
//! besides. Whoever is told "done" must have got a restart.

use std::time::Duration;

use super::life::{Interval, end_of};
use super::restarts::{RestartRequest, asker_stood_still, served_between};
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::RestartMode;
use crate::timeline::words::{moment, span};

/// The machine from which people look after what they asked for.
const CLIENTS_MACHINE: &str = "clients";

/// How long after its end a request may be reported.
const TELLING: Duration = Duration::from_secs(15);

/// Every request for a restart ends, and whoever asked is told how.
pub(super) struct RestartRequestsEnd;

impl Oracle for RestartRequestsEnd {
    fn invariant(&self) -> &'static str {
        "restart-requests-end"
    }

    fn sentence(&self) -> &'static str {
        "Every request for a restart ends as done, merged, refused or timed out, and whoever asked is told so in time."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let late = run.restarts.iter().filter_map(|request| self.never_told(run, request));
        late.chain(run.restarts.iter().filter_map(|request| self.told_a_lie(request))).collect()
    }
}

impl RestartRequestsEnd {
    fn never_told(&self, run: &Evidence<'_>, request: &RestartRequest) -> Option<Violation> {
        let told_at = request.ended_at();
        let until = told_at.unwrap_or_else(|| end_of(run));
        let took = served_between(run, request.asked_at, until);
        // Whoever waits without limit is told when the restart has come.
        let (since, bound) = match (request.bound(run.terms), request.restarted_at) {
            (Some(bound), _) => (request.asked_at, bound),
            (None, Some(restarted_at)) => (restarted_at, Duration::ZERO),
            (None, None) => return None,
        };
        let deaf = asker_stood_still(run, request, until) + asker_was_cut_off(run, since, until);
        let heard = served_between(run, since, until).saturating_sub(deaf);
        if heard <= bound + TELLING {
            return None;
        }
        let message = match told_at {
            Some(_) => format!(
                "Request {} for a restart was reported after {} (limit {})",
                request.number,
                span(took),
                span(bound)
            ),
            None => format!("Nobody said what came of request {} for a restart", request.number),
        };
        let then = match (request.restarted_at, request.mode) {
            (Some(at), _) => format!("A gateway took the port at {}, and nobody was told.", moment(at)),
            (None, RestartMode::Safe) => {
                "No gateway began after it, and nobody was told that none will.".into()
            }
            (None, _) => "No gateway began after it.".to_string(),
        };
        let explanation =
            format!("{}. {} of serving went by until {}. {then}", request.words(), span(took), moment(until));
        Some(breach(self, message, explanation))
    }

    fn told_a_lie(&self, request: &RestartRequest) -> Option<Violation> {
        let report = request.report.as_ref().filter(|report| report.ending.restarted())?;
        if request.restarted_at.is_some_and(|at| at <= report.at) {
            return None;
        }
        let message = format!("Request {} was reported done without a restart", request.number);
        let explanation = format!(
            "{}. At {} it was reported {:?}, and no gateway had taken the port since.",
            request.words(),
            moment(report.at),
            report.ending.word(),
        );
        Some(breach(self, message, explanation))
    }
}

/// For how long nobody who waits for the end of a request could be reached where people are.
fn asker_was_cut_off(run: &Evidence<'_>, since: Duration, until: Duration) -> Duration {
    let cut = |time: Interval| {
        let (from, until) = (time.from.max(since), time.until.unwrap_or(until).min(until));
        until.saturating_sub(from)
    };
    run.mishaps.cuts_of(CLIENTS_MACHINE).map(cut).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::{complaints, verdict};
    use crate::timeline::RestartEnding::{Done, Refused, TimedOut};
    use crate::timeline::story::Story;
    use crate::timeline::{Fact, Source};

    const ORACLE: RestartRequestsEnd = RestartRequestsEnd;
    const NOBODY: &str = "Nobody said what came of request 1 for a restart";

    fn asked(mode: RestartMode) -> Story {
        Story::new().at(0).serves(214).at(2_000).asks_for_restart(1, mode)
    }

    fn deferred(mode: RestartMode) -> Story {
        asked(mode).at(2_300).answers_restart(1, true, Some("deferred"), "it will come")
    }

    #[test]
    fn a_request_that_is_done_and_reported_is_fine() {
        let story = deferred(RestartMode::Plain).at(60_000).exits(75).at(61_000).serves(215);
        assert_eq!(
            complaints(&ORACLE, story.at(63_000).reports_restart(1, Done).at(900_000).ended()),
            [""; 0]
        );
    }

    #[test]
    fn waiting_is_no_end() {
        let story = |until| deferred(RestartMode::Safe).at(until).ended();
        assert_eq!(complaints(&ORACLE, story(407_000)), [""; 0], "300 s, 90 s and 15 s");
        assert_eq!(complaints(&ORACLE, story(407_001)), [NOBODY]);
        let forced = deferred(RestartMode::Force).at(107_001).ended();
        assert_eq!(complaints(&ORACLE, forced), [NOBODY]);
        let told = deferred(RestartMode::Safe).at(320_000).reports_restart(1, TimedOut).at(900_000).ended();
        assert_eq!(complaints(&ORACLE, told), [""; 0]);
    }

    #[test]
    fn who_cannot_be_reached_is_told_afterwards() {
        let link = || ("clients".to_string(), "gateway".to_string());
        let told = |healed_at: u64, reported_at: u64| {
            let ((a, b), (c, d)) = (link(), link());
            let done = deferred(RestartMode::Plain).at(60_000).exits(75).at(61_000).serves(215);
            let cut = done.at(62_000).fact(Source::World, Fact::LinkPartitioned { a, b });
            let healed = cut.at(healed_at).fact(Source::World, Fact::LinkHealed { a: c, b: d });
            let reported = healed.at(reported_at).reports_restart(1, Done).at(2_000_000).ended();
            complaints(&ORACLE, reported).len()
        };
        assert_eq!(told(600_000, 605_000), 0);
        assert_eq!(told(63_000, 605_000), 1, "for a second only");
    }

    #[test]
    fn a_restart_that_nobody_reports_leaves_whoever_asked_in_doubt() {
        let story =
            deferred(RestartMode::Plain).at(3_000).exits(75).at(4_000).serves(215).at(900_000).ended();
        assert_eq!(complaints(&ORACLE, story), [NOBODY]);
    }

    #[test]
    fn whoever_is_turned_away_knows() {
        let story = asked(RestartMode::Plain).at(2_300).answers_restart(1, false, None, "nobody is there");
        assert_eq!(complaints(&ORACLE, story.at(900_000).ended()), [""; 0]);
        let refused = deferred(RestartMode::Plain).at(9_000).reports_restart(1, Refused).at(900_000).ended();
        assert_eq!(complaints(&ORACLE, refused), [""; 0]);
    }

    #[test]
    fn a_service_that_is_down_tells_nobody() {
        let story = deferred(RestartMode::Plain).at(3_000).exits(0).inactive("stopped").at(900_000).ended();
        assert_eq!(complaints(&ORACLE, story), [""; 0]);
    }

    #[test]
    fn a_wait_without_limit_ends_when_the_work_does() {
        let waits = || deferred(RestartMode::Wait(None));
        assert_eq!(complaints(&ORACLE, waits().at(900_000).ended()), [""; 0]);
        let restarted = |until| waits().at(800_000).exits(75).at(801_000).serves(215).at(until).ended();
        assert_eq!(complaints(&ORACLE, restarted(816_000)), [""; 0]);
        assert_eq!(complaints(&ORACLE, restarted(816_001)), [NOBODY]);
        let unlimited = Terms { deferral_limit: None, ..Terms::default() };
        assert_eq!(verdict(&ORACLE, deferred(RestartMode::Plain).at(900_000).ended(), &unlimited), []);
    }

    #[test]
    fn done_without_a_restart_is_a_lie() {
        let story = deferred(RestartMode::Plain).at(3_000).reports_restart(1, Done).at(9_000).ended();
        assert_eq!(complaints(&ORACLE, story), ["Request 1 was reported done without a restart"]);
    }

    #[test]
    fn a_command_line_that_stands_still_hears_nothing() {
        let answered = |begins: u64| {
            let story = asked(RestartMode::Plain).program("gateway-tool", 300).starts();
            let story = story.at(begins).frozen().at(600_000).thawed();
            complaints(&ORACLE, story.answers_restart(1, false, None, "nobody listens").at(900_000).ended())
        };
        assert_eq!(answered(2_100), [""; 0]);
        assert_eq!(answered(599_999).len(), 1, "it had all the time to say so");
    }
}
