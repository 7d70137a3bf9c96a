//! A restart that was promised happens: within the time for which work may be waited for, and what a drain, a close and
//! a start take.
//!
//! A promise is an answer of the command line that does not say no. Only who learns that there will be no restart is
//! not owed one.

use std::time::Duration;

use super::life::end_of;
use super::restarts::{
    ALLOWANCE, RestartRequest, asker_stood_still, edits, left_for_an_edit, served_between,
};
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{moment, span};

/// A restart that was promised happens in time.
pub(super) struct PromisedRestartHappens;

impl Oracle for PromisedRestartHappens {
    fn invariant(&self) -> &'static str {
        "promised-restart-happens"
    }

    fn sentence(&self) -> &'static str {
        "A restart that was promised happens within its limit, a drain, a close and a start."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let asked = run.restarts.iter().filter_map(|request| self.broken(run, request));
        asked.chain(edits(run).filter_map(|edited| self.late_for_an_edit(run, edited))).collect()
    }
}

impl PromisedRestartHappens {
    fn late_for_an_edit(&self, run: &Evidence<'_>, edited: Duration) -> Option<Violation> {
        let (life, left) = left_for_an_edit(run, edited)?;
        let bound = run.terms.deferral_limit? + ALLOWANCE;
        let took = served_between(run, edited, left);
        if took <= bound {
            return None;
        }
        let message =
            format!("The restart for an edit of the configuration came after {} of serving", span(took));
        let explanation = format!(
            "The configuration was edited at {}, and {} left for that at {}; it was due {} after the edit.",
            moment(edited),
            life.name(),
            moment(left),
            span(bound),
        );
        Some(breach(self, message, explanation))
    }

    fn broken(&self, run: &Evidence<'_>, request: &RestartRequest) -> Option<Violation> {
        if request.answer.as_ref().is_none_or(|answer| !answer.ok) || request.was_given_up() {
            return None;
        }
        let bound = request.bound(run.terms)?;
        let until = request.restarted_at.unwrap_or_else(|| end_of(run));
        let took = served_between(run, request.asked_at, until);
        if took.saturating_sub(asker_stood_still(run, request, until)) <= bound {
            return None;
        }
        let message = match request.restarted_at {
            Some(_) => {
                format!("The restart of request {} came after {} of serving", request.number, span(took))
            }
            None => format!("The restart of request {} never came", request.number),
        };
        let then = match request.restarted_at {
            Some(at) => format!("A gateway took the port only at {}", moment(at)),
            None => format!("No gateway had taken the port anew by {}", moment(until)),
        };
        let explanation =
            format!("{}. {then}; it was due {} after it was asked for.", request.words(), span(bound));
        Some(breach(self, message, explanation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::RestartEnding::{Refused, TimedOut};
    use crate::timeline::story::Story;
    use crate::timeline::{Fact, RestartMode, Source};
    use gateway::env::Signal;

    const ORACLE: PromisedRestartHappens = PromisedRestartHappens;

    fn promised(mode: RestartMode) -> Story {
        let story = Story::new().at(0).serves(214).at(2_000).asks_for_restart(1, mode);
        story.at(2_300).answers_restart(1, true, Some("coalesced"), "it joins another")
    }

    #[test]
    fn a_promise_has_its_time() {
        let came = |at| promised(RestartMode::Plain).at(at).exits(75).at(at + 9_000).serves(215).ended();
        assert_eq!(
            complaints(&ORACLE, came(392_000)),
            [""; 0],
            "300 s and 90 s, and nobody serves meanwhile"
        );
        assert_eq!(
            complaints(&ORACLE, came(393_000)),
            ["The restart of request 1 came after 391.0 s of serving"]
        );
        assert_eq!(
            complaints(&ORACLE, promised(RestartMode::Force).at(93_000).ended()),
            ["The restart of request 1 never came"]
        );
    }

    #[test]
    fn time_in_which_the_command_stood_still_does_not_count() {
        let came = |stands_still: bool| {
            let asks = Story::new().at(0).serves(214).at(2_000).asks_for_restart(1, RestartMode::Force);
            let asks = asks.program(crate::timeline::TOOL_PROGRAM, 300).starts();
            let asks = if stands_still { asks.frozen().at(102_000).thawed() } else { asks.at(102_000) };
            let told = asks.at(102_100).answers_restart(1, true, Some("scheduled"), "it comes").gateway(214);
            complaints(&ORACLE, told.exits(75).at(103_000).serves(215).ended()).len()
        };
        assert_eq!((came(true), came(false)), (0, 1));
    }

    #[test]
    fn an_edit_that_led_to_a_restart_had_the_same_time() {
        let edited = Fact::ConfigEdited { what: "a setting".into() };
        let story = || Story::new().at(0).serves(214).at(5_000).fact(Source::Operator, edited.clone());
        let left = |at| complaints(&ORACLE, story().at(at).exits(75).at(at + 1_000).serves(215).ended());
        assert_eq!(left(395_000), [""; 0]);
        assert_eq!(
            left(395_001),
            ["The restart for an edit of the configuration came after 390.0 s of serving"]
        );
        assert_eq!(complaints(&ORACLE, story().at(900_000).ended()), [""; 0]);
    }

    #[test]
    fn who_asks_while_a_restart_by_signal_drains_waits_for_that_drain_too() {
        let terms = crate::oracle::Terms { restarts_in_place: true, ..Default::default() };
        let asked = |signal: Option<Signal>, was_followed: bool, went_at: u64| {
            let story = Story::new().at(0).serves(214).at(1_000);
            let story = signal.into_iter().fold(story, Story::signal);
            let story = if was_followed { story.at(1_500).releases().binds() } else { story };
            let story = story.at(2_000).asks_for_restart(1, RestartMode::Force).at(2_100);
            let story = story.answers_restart(1, true, Some("coalesced"), "it joins another").gateway(214);
            let story = story.at(went_at).releases().at(went_at + 100).binds().at(900_000).ended();
            crate::oracle::tests::verdict(&ORACLE, story, &terms).len()
        };
        let by_signal = Some(Signal::User1);
        assert_eq!(
            [asked(by_signal, false, 177_000), asked(by_signal, false, 177_001)],
            [0, 1],
            "90 s and 85 s"
        );
        assert_eq!(
            [asked(None, false, 177_000), asked(by_signal, true, 177_000)],
            [1, 1],
            "there was no drain"
        );
        assert_eq!(asked(Some(Signal::Terminate), false, 177_000), 1, "that is no restart");
    }

    #[test]
    fn in_place_it_happens_when_the_port_is_taken_again() {
        let story = promised(RestartMode::Plain).at(30_000).releases().at(30_010).binds().at(900_000).ended();
        assert_eq!(complaints(&ORACLE, story), [""; 0]);
    }

    #[test]
    fn what_is_given_up_and_reported_is_no_promise_any_more() {
        for ending in [Refused, TimedOut] {
            let story =
                promised(RestartMode::Safe).at(320_000).reports_restart(1, ending).at(900_000).ended();
            assert_eq!(complaints(&ORACLE, story), [""; 0]);
        }
        let turned_away = Story::new().at(0).serves(214).asks_for_restart(1, RestartMode::Plain);
        let turned_away = turned_away.answers_restart(1, false, None, "stopping").at(900_000).ended();
        assert_eq!(complaints(&ORACLE, turned_away), [""; 0]);
    }

    #[test]
    fn time_in_which_nobody_can_do_it_does_not_count() {
        let frozen =
            promised(RestartMode::Plain).at(3_000).frozen().at(600_000).thawed().at(650_000).exits(75);
        assert_eq!(complaints(&ORACLE, frozen.at(651_000).serves(215).ended()), [""; 0]);
        let killed = promised(RestartMode::Plain).at(3_000).exits(0).at(900_000).ended();
        assert_eq!(complaints(&ORACLE, killed), [""; 0]);
    }
}
