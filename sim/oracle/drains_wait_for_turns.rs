//! Who is asked to end and has time waits for the turns of its conversations.
//!
//! Looked at are processes that got one signal and ended by themselves long before their drain had to be over: the model
//! was at work on a message that had been accepted before the signal, and its answer was given up. A sender is asked to
//! send again what a few more seconds would have answered. How much longer is for the gateway to divide; here half of
//! what it may take counts as time enough.

use std::time::Duration;

use gateway::env::ExitCode;

use super::life::{Interval, Life};
use super::restarts::edits;
use super::{Evidence, Oracle, Violation, breach};
use crate::actors::provider::CLIENT_LEFT;
use crate::timeline::words::{moment, span};
use crate::timeline::{DeathCause, Entry, Fact, MessageId};

/// Who is asked to end and has time waits for the turns of its conversations.
pub(super) struct DrainsWaitForTurns;

impl Oracle for DrainsWaitForTurns {
    fn invariant(&self) -> &'static str {
        "drains-wait-for-turns"
    }

    fn sentence(&self) -> &'static str {
        "A gateway that is asked to end and has time gives up no answer that the model is working on."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let half = run.terms.drain_budget.min(run.terms.stop_timeout) / 2;
        let allowed = half - for_hook(run, half);
        let early = run.lives.iter().filter_map(|life| Some((life, early_end(life, allowed)?)));
        // A drain may have begun before, for a restart, and nobody outside knows when; and who asks for one during it may be
        // in a hurry. It takes its shortest time all the same, unless no drain is to take as long.
        let shortest = SHORTEST_DRAIN.min(run.terms.drain_budget);
        let was_asked = |at: Duration, ended: Duration| {
            let may_drain = run.restarts.iter().any(|request| {
                let took_its_time = request.asked_at + shortest <= ended;
                took_its_time && !request.was_turned_away() && !request.ended_before(at)
            });
            // Who has edited the configuration is told nothing: its drain is over when all its time has passed.
            let longest = run.terms.deferral_limit.map(|limit| NOTICING + limit + run.terms.drain_budget);
            let mut edits = edits(run).filter(|edited| *edited <= at && *edited + shortest <= ended);
            may_drain || edits.any(|edited| longest.is_none_or(|longest| at <= edited + longest))
        };
        early
            .filter(|(_, (asked, ended))| !was_asked(*asked, *ended))
            .flat_map(|(life, (asked, ended))| {
                let given_up = run.ledger.entries().iter().filter(move |entry| {
                    let was_open = entry.open_at(asked);
                    was_open
                        && !was_stopped(run, entry)
                        && is_given_up(run, life, entry.message, asked, ended)
                });
                given_up.map(move |entry| self.given_up(entry.message, asked, ended, allowed))
            })
            .collect()
    }
}

/// What a stop may keep back of `both` for its `pre-stop` hook, whether that can be run or not: its limit, and no more than
/// a third.
fn for_hook(run: &Evidence<'_>, both: Duration) -> Duration {
    let hook = run.terms.hooks.iter().find(|hook| hook.event == "pre-stop");
    hook.map_or(Duration::ZERO, |hook| hook.limit.min(both / 3))
}

/// How long after an edit of the configuration a gateway may act on it.
const NOTICING: Duration = Duration::from_secs(5);

/// However much of a hurry somebody is in, work in hand is waited for so long.
const SHORTEST_DRAIN: Duration = Duration::from_secs(15);

impl DrainsWaitForTurns {
    fn given_up(&self, id: &MessageId, asked: Duration, ended: Duration, allowed: Duration) -> Violation {
        let explanation = format!(
            "The model was answering it when a signal came at {}; the gateway was gone {} later, and it could have waited \
             for {} at least.",
            moment(asked),
            span(ended.saturating_sub(asked)),
            span(allowed)
        );
        breach(self, format!("a drain did not wait for {id}"), explanation)
    }
}

/// When a life was asked to end and when it ended, if it was asked once and did so by itself, and early.
fn early_end(life: &Life, allowed: Duration) -> Option<(Duration, Duration)> {
    let (ended, DeathCause::Exited(code)) = life.ended? else { return None };
    let [(asked, _)] = life.ending_signals[..] else { return None };
    // Who does not serve has nobody's turns.
    let served = |hold: &Interval| hold.from <= asked && hold.until.is_none_or(|until| until >= asked);
    if !life.holds.iter().any(served) {
        return None;
    }
    let is_early = ended.saturating_sub(asked) < allowed;
    (is_early && code != ExitCode::FORCED).then_some((asked, ended))
}

fn was_stopped(run: &Evidence<'_>, entry: &Entry<'_>) -> bool {
    let is_it =
        |fact: &Fact| matches!(fact, Fact::MessageStopRequested { message } if message == entry.message);
    let mut stops = run.mishaps.stops_of(&entry.message.sender);
    run.events.iter().any(|event| is_it(&event.fact)) || stops.any(|at| at >= entry.sent_at())
}

/// Whether this life asked the model for the message before `asked`, and for nothing else about it until `ended`, and the
/// model did not finish by then. It may still be at work for one that lost its power.
fn is_given_up(run: &Evidence<'_>, life: &Life, id: &MessageId, asked: Duration, ended: Duration) -> bool {
    let mut at_work = None;
    for event in run.events.iter().take_while(|event| event.at <= ended) {
        match &event.fact {
            Fact::ProviderRequested { message, request } if message == id => {
                at_work = Some((event.at, *request));
            }
            // Whether a tool can go on is another matter: it may die with its service.
            Fact::ProviderAnswered { message, request, .. }
            | Fact::ProviderWantedTools { message, request }
                if message == id =>
            {
                at_work = at_work.filter(|(_, at_work)| at_work != request);
            }
            // The model failed it, or the gateway left before the signal, which is another matter.
            Fact::ProviderStopped { message, request, how } if message == id => {
                let is_cut = how == CLIENT_LEFT && event.at >= asked;
                at_work = at_work.filter(|(_, at_work)| is_cut || at_work != request);
            }
            _ => {}
        }
    }
    at_work.is_some_and(|(at, _)| (life.started_at..=asked).contains(&at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::{complaints, verdict};
    use crate::oracle::{HookTerm, Terms};
    use crate::timeline::story::Story;
    use gateway::env::Signal;

    const ORACLE: DrainsWaitForTurns = DrainsWaitForTurns;

    fn signalled() -> Story {
        let begun = Story::new().at(0).serves(214).at(1_000).sent(1).accepted(1).asked(1, 1);
        begun.at(2_000).signal(Signal::Terminate)
    }

    #[test]
    fn an_answer_in_the_making_is_waited_for() {
        let gone = |story: Story| story.releases().exits(0).at(90_000);
        assert_eq!(complaints(&ORACLE, gone(signalled().at(2_100))), ["a drain did not wait for ann#1"]);
        let answered = signalled().at(4_000).answered(1, 1).replied(1, "Hi");
        assert_eq!(complaints(&ORACLE, gone(answered.at(4_100))), [""; 0]);
        let failed = signalled().at(4_000).stopped(1, 1, "failed with 500");
        assert_eq!(complaints(&ORACLE, gone(failed.at(4_100))), [""; 0]);
        assert_eq!(complaints(&ORACLE, gone(signalled().at(80_000))), [""; 0], "it took its time");
        let twice = signalled().signal(Signal::Interrupt).at(2_100);
        assert_eq!(complaints(&ORACLE, gone(twice)), [""; 0], "somebody is in a hurry");
        assert_eq!(complaints(&ORACLE, signalled().at(2_100).dies(DeathCause::Killed)), [""; 0]);
    }

    #[test]
    fn what_the_model_makes_for_a_life_that_lost_its_power_is_nobodys_answer() {
        let next = |asks: bool| {
            let begun = Story::new().at(0).serves(213).at(1_000).sent(1).accepted(1).asked(1, 1).at(1_200);
            let next = begun.dies(DeathCause::PowerLoss).at(1_500).serves(214);
            let next = if asks { next.asked(1, 2) } else { next };
            let gone = next.at(2_000).signal(Signal::Terminate).at(2_100).releases().exits(0);
            complaints(&ORACLE, gone.at(90_000).ended()).len()
        };
        assert_eq!((next(false), next(true)), (0, 1));
    }

    #[test]
    fn the_drain_of_a_restart_is_another_one_than_that_of_the_signal() {
        let stopped = |asked: bool, signal_at: u64, gone_at: u64| {
            let begun = Story::new().at(0).serves(214).at(900).sent(1).accepted(1).asked(1, 1);
            let ask = |story: Story| {
                let story = story.at(1_000).asks_for_restart(1, crate::timeline::RestartMode::Plain);
                story.at(1_100).answers_restart(1, true, None, "it comes").gateway(214)
            };
            let signalled = match (asked, signal_at < 1_000) {
                (true, true) => ask(begun.at(signal_at).signal(Signal::User1)),
                (true, false) => ask(begun).at(signal_at).signal(Signal::User1),
                (false, _) => begun.at(signal_at).signal(Signal::User1),
            };
            complaints(&ORACLE, signalled.at(gone_at).releases().exits(0).at(90_000).ended()).len()
        };
        assert_eq!((stopped(true, 14_000, 16_000), stopped(false, 14_000, 16_000)), (0, 1));
        assert_eq!(stopped(true, 950, 16_000), 0, "it came during the drain");
        assert_eq!(stopped(true, 14_000, 15_900), 1, "no drain is as short");
        let budget_of_eight = |ended| {
            let terms = Terms { drain_budget: Duration::from_secs(8), ..Terms::default() };
            let begun = Story::new().at(0).serves(214).at(900).sent(1).accepted(1).asked(1, 1);
            let story = begun.at(1_000).asks_for_restart(1, crate::timeline::RestartMode::Plain).at(1_100);
            let story = story.answers_restart(1, true, None, "it comes").gateway(214).at(7_000);
            let story = story.signal(Signal::User1).at(ended).releases().exits(75).at(90_000).ended();
            verdict(&ORACLE, story, &terms).len()
        };
        assert_eq!([budget_of_eight(9_000), budget_of_eight(8_999)], [0, 1], "but one of eight seconds");
    }

    #[test]
    fn an_edit_of_the_configuration_may_have_begun_a_drain_as_long_as_that_may_last() {
        let stopped = |edited: bool, signal_at: u64, gone_at: u64| {
            let begun = Story::new().at(0).serves(214).at(900).sent(1).accepted(1).asked(1, 1).at(1_000);
            let edit = Fact::ConfigEdited { what: "a setting".into() };
            let begun = if edited { begun.fact(crate::timeline::Source::Operator, edit) } else { begun };
            let signalled = begun.gateway(214).at(signal_at).signal(Signal::Terminate);
            let story = signalled.at(gone_at).releases().exits(0).at(200_000).ended();
            let terms = Terms {
                deferral_limit: Some(Duration::from_secs(10)),
                drain_budget: Duration::from_secs(30),
                ..Terms::default()
            };
            verdict(&ORACLE, story, &terms).len()
        };
        assert_eq!((stopped(true, 14_000, 16_000), stopped(false, 14_000, 16_000)), (0, 1));
        assert_eq!(stopped(true, 14_000, 15_900), 1, "no drain is as short");
        assert_eq!([stopped(true, 46_000, 48_000), stopped(true, 46_001, 48_000)], [0, 1], "it was over");
    }

    #[test]
    fn who_did_not_serve_has_nothing_to_wait_for() {
        let begun = || Story::new().at(0).serves(214).at(1_000).sent(1).accepted(1).asked(1, 1);
        let beside = begun().gateway(215).starts().at(2_000).signal(Signal::Terminate).at(2_100).exits(0);
        assert_eq!(complaints(&ORACLE, beside.at(90_000).ended()), [""; 0]);
        let who_serves = begun().gateway(215).starts().gateway(214).at(2_000).signal(Signal::Terminate);
        let found = complaints(&ORACLE, who_serves.at(2_100).releases().exits(0).at(90_000).ended());
        assert_eq!(found, ["a drain did not wait for ann#1"]);
    }

    #[test]
    fn what_somebody_stopped_who_shares_the_conversation_is_not_waited_for() {
        let source = |name: &str| crate::timeline::Source::Sender(name.into());
        let given_up = |whose: &str| {
            let joins = Fact::SenderJoined { whose: "ann".into() };
            let begun = Story::new().fact(source("bob"), joins).at(0).serves(214).at(1_000).sent(1);
            let stop = Fact::ConversationStopRequested { whose: whose.into() };
            let stopped = begun.accepted(1).asked(1, 1).at(1_900).fact(source("bob"), stop);
            let signalled = stopped.at(2_000).signal(Signal::Terminate);
            complaints(&ORACLE, signalled.at(2_100).releases().exits(0).at(90_000)).len()
        };
        assert_eq!((given_up("ann"), given_up("eve")), (0, 1));
    }

    #[test]
    fn a_hook_at_the_end_has_its_share_and_no_more() {
        let limit = Duration::from_secs(3_600);
        let hook = HookTerm { event: "pre-stop", limit, can_be_run: true };
        let short = Terms { stop_timeout: Duration::from_secs(30), ..Terms::default() };
        let terms = Terms { hooks: vec![hook], ..short.clone() };
        let gone = |at| signalled().at(at).releases().exits(0).at(90_000);
        assert_eq!(verdict(&ORACLE, gone(12_000), &terms), []);
        assert_eq!(verdict(&ORACLE, gone(11_999), &terms).len(), 1);
        assert_eq!(verdict(&ORACLE, gone(12_000), &short).len(), 1);
    }
}
