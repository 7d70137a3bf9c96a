//! A restart waits only while there is work in hand.
//!
//! Work in hand is what an outsider knows of: a message that was accepted and not settled, whatever the model was asked
//! for, what came of a subagent and was not told yet, a program that a turn runs. Records that nobody will ever finish are no work (openclaw/openclaw#76923), nor is what an earlier life
//! began (openclaw/openclaw#143420): for these a restart used to wait as long as it may, or for ever. Nobody outside knows
//! whether an edit of the configuration wants a restart; but when one followed, and nobody else wanted it, it was for that.

use std::collections::BTreeSet;
use std::time::Duration;

use super::life::end_of;
use super::restarts::{
    ALLOWANCE, RestartRequest, asker_stood_still, edits, left_for_an_edit, served_between,
};
use super::work_in_flight::requests;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::Entry;
use crate::timeline::words::{moment, span};

/// A restart waits only while there is work in hand.
pub(super) struct RestartWaitsOnlyForWork;

impl Oracle for RestartWaitsOnlyForWork {
    fn invariant(&self) -> &'static str {
        "restart-waits-only-for-work"
    }

    fn sentence(&self) -> &'static str {
        "A restart that was asked for waits only while there is work in hand."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let answered = |request: &&RestartRequest| request.answer.as_ref().is_some_and(|answer| answer.ok);
        let asked = run.restarts.iter().filter(answered).filter_map(|request| self.idle_wait(run, request));
        asked.chain(edits(run).filter_map(|edited| self.idle_wait_of_an_edit(run, edited))).collect()
    }
}

impl RestartWaitsOnlyForWork {
    fn idle_wait(&self, run: &Evidence<'_>, request: &RestartRequest) -> Option<Violation> {
        let over = [request.restarted_at, request.ended_at()].into_iter().flatten().min();
        let until = over.unwrap_or_else(|| end_of(run));
        // Whoever asked may have stood still on the way.
        let asked_at = request.asked_at + asker_stood_still(run, request, until);
        let (since, idle_until) = idle_stretches(run, asked_at.min(until), until)
            .into_iter()
            .find(|(from, to)| served_between(run, *from, *to) > ALLOWANCE)?;
        let idle = span(served_between(run, since, idle_until));
        let message = format!("The restart of request {} waited {idle} for nothing", request.number);
        let explanation = format!(
            "{}. From {} to {} no message and no scheduled run was at work, and it had neither come nor been given up.",
            request.words(),
            moment(since),
            moment(idle_until),
        );
        Some(breach(self, message, explanation))
    }
}

impl RestartWaitsOnlyForWork {
    fn idle_wait_of_an_edit(&self, run: &Evidence<'_>, edited: Duration) -> Option<Violation> {
        let (life, left) = left_for_an_edit(run, edited)?;
        let (since, until) = idle_stretches(run, edited, left)
            .into_iter()
            .find(|(from, to)| served_between(run, *from, *to) > ALLOWANCE)?;
        let idle = span(served_between(run, since, until));
        let message = format!("The restart for an edit of the configuration waited {idle} for nothing");
        let explanation = format!(
            "The configuration was edited at {}, and nobody asked for anything else until {} left at {}. From {} to {} no \
             message and no scheduled run was at work.",
            moment(edited),
            life.name(),
            moment(left),
            moment(since),
            moment(until),
        );
        Some(breach(self, message, explanation))
    }
}

/// The stretches between two moments in which nothing was at work.
fn idle_stretches(run: &Evidence<'_>, from: Duration, until: Duration) -> Vec<(Duration, Duration)> {
    let mut busy: Vec<(Duration, Duration)> = run
        .ledger
        .entries()
        .iter()
        .filter_map(|entry| Some((at_work_since(entry)?, entry.settled_at.unwrap_or(until))))
        .collect();
    // A message may be at work of which its sender never learned that it was accepted.
    busy.extend(requests(run).into_iter().map(|work| (work.from, work.until.unwrap_or(until))));
    let mut bounds: BTreeSet<Duration> = [from, until].into();
    bounds.extend(busy.iter().flat_map(|(a, b)| [*a, *b]).filter(|at| (from..=until).contains(at)));
    let bounds: Vec<_> = bounds.into_iter().collect();
    let is_idle = |a: Duration, b: Duration| !busy.iter().any(|(from, to)| *from < b && *to > a);
    let mut idle: Vec<(Duration, Duration)> = Vec::new();
    for pair in bounds.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        match idle.last_mut() {
            _ if !is_idle(a, b) => {}
            Some(last) if last.1 == a && !busy.iter().any(|(from, to)| *from <= a && *to >= a) => last.1 = b,
            _ => idle.push((a, b)),
        }
    }
    idle
}

/// When a message may have been at work for the first time. What a platform has may be confirmed long after that.
fn at_work_since(entry: &Entry<'_>) -> Option<Duration> {
    entry.platform.map(|_| entry.sent_at()).or(entry.accepted_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::story::Story;
    use crate::timeline::{Fact, RestartEnding, RestartMode};

    const ORACLE: RestartWaitsOnlyForWork = RestartWaitsOnlyForWork;

    fn deferred(story: Story) -> Story {
        let story = story.at(2_000).asks_for_restart(1, RestartMode::Safe);
        story.at(2_300).answers_restart(1, true, Some("deferred"), "it will come")
    }

    fn serving() -> Story {
        Story::new().at(0).serves(214)
    }

    #[test]
    fn waiting_for_nothing_is_a_breach() {
        let waits = |until| deferred(serving()).at(until).ended();
        assert_eq!(complaints(&ORACLE, waits(92_000)), [""; 0]);
        assert_eq!(
            complaints(&ORACLE, waits(302_000)),
            ["The restart of request 1 waited 300.0 s for nothing"]
        );
    }

    #[test]
    fn waiting_for_work_is_not() {
        let busy = serving().at(1_000).sent(1).accepted(1).asked(1, 1);
        let story = deferred(busy).at(290_000).answered(1, 1).replied(1, "Hi").at(291_000).exits(75);
        assert_eq!(complaints(&ORACLE, story.at(292_000).serves(215).at(900_000).ended()), [""; 0]);
        let unheard = serving().at(1_000).sent(1).asked(1, 1).unacknowledged(1);
        let story = deferred(unheard).at(290_000).answered(1, 1).at(291_000).exits(75);
        assert_eq!(complaints(&ORACLE, story.at(292_000).serves(215).at(900_000).ended()), [""; 0]);
        let cron = serving().at(1_000).cron_asked("report", 0, 1);
        let story = deferred(cron).at(290_000).cron_answered("report", 0, 1).at(292_000).exits(75);
        assert_eq!(complaints(&ORACLE, story.at(293_000).serves(215).at(900_000).ended()), [""; 0]);
    }

    #[test]
    fn what_came_of_a_subagent_and_was_not_told_is_work() {
        use crate::timeline::{SubagentSeen, Via};
        let waits = |heard: bool| {
            let done = serving().at(1_000).subagent(1, SubagentSeen::Requested { request: 1 }).at(1_500);
            let done = deferred(done.subagent(1, SubagentSeen::Answered { request: 1 }));
            let told = SubagentSeen::Heard { text: "Done".into(), notice: true, via: Via::Live };
            let story = if heard { done.at(3_000).subagent(1, told) } else { done };
            complaints(&ORACLE, story.at(290_000).exits(75).at(292_000).serves(215).at(900_000).ended())
        };
        assert_eq!(waits(false), [""; 0]);
        assert_eq!(waits(true), ["The restart of request 1 waited 287.0 s for nothing"]);
    }

    #[test]
    fn a_request_whose_command_stood_still_may_not_have_arrived() {
        let waits = |stands_still: bool| {
            let asks = serving().at(2_000).asks_for_restart(1, RestartMode::Plain);
            let asks = asks.program(crate::timeline::TOOL_PROGRAM, 300).starts();
            let asks = if stands_still { asks.frozen().at(200_000).thawed() } else { asks.at(200_000) };
            let story = asks.at(200_100).answers_restart(1, true, Some("scheduled"), "it comes").gateway(214);
            let story = story.exits(75).at(201_000).serves(215).at(900_000).ended();
            complaints(&ORACLE, story)
        };
        assert_eq!(waits(true), [""; 0]);
        assert_eq!(waits(false), ["The restart of request 1 waited 198.1 s for nothing"]);
    }

    #[test]
    fn a_restart_for_an_edit_waits_only_for_work_and_has_no_other_reason() {
        let edit = |story: Story| {
            let edited = Fact::ConfigEdited { what: "a setting".into() };
            story.at(5_000).fact(crate::timeline::Source::Operator, edited)
        };
        let left = |story: Story| {
            complaints(&ORACLE, story.at(305_000).exits(75).at(306_000).serves(215).at(900_000).ended())
        };
        assert_eq!(
            left(edit(serving())),
            ["The restart for an edit of the configuration waited 300.0 s for nothing"]
        );
        assert_eq!(complaints(&ORACLE, edit(serving()).at(900_000).ended()), [""; 0], "it wanted none");
        let busy = edit(serving().at(1_000).sent(1).accepted(1).asked(1, 1));
        assert_eq!(left(busy.at(290_000).answered(1, 1).replied(1, "Hi")), [""; 0]);
        assert_eq!(left(edit(serving()).at(304_000).signal(gateway::env::Signal::User1)), [""; 0]);
    }

    #[test]
    fn what_is_given_up_waits_no_more() {
        let story = deferred(serving()).at(60_000).reports_restart(1, RestartEnding::Refused);
        assert_eq!(complaints(&ORACLE, story.at(900_000).ended()), [""; 0]);
        let refused = serving().at(2_000).asks_for_restart(1, RestartMode::Plain);
        let refused = refused.answers_restart(1, false, None, "no").at(900_000).ended();
        assert_eq!(complaints(&ORACLE, refused), [""; 0]);
    }
}
