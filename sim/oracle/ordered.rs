//! Restarts that no signal announced: a gateway that was asked in words, or whose configuration was edited, leaves by itself.
//!
//! Nobody outside knows when such a restart is ordered, since it may wait for work. It has begun at the latest when the
//! port is given back, when a client is told to go, or when a restart by force was answered with yes.

use std::time::Duration;

use super::life::{Cause, Interval, Life, Request};
use super::restarts::RestartRequest;
use crate::timeline::{DeathCause, Event, Fact, RestartMode};

/// What clients are told when a gateway goes: close 1012.
const GOING: &str = "1012";

/// Adds to each life the restarts that it began without a signal.
pub(super) fn add_ordered(lives: &mut [Life], restarts: &[RestartRequest], events: &[Event]) {
    for life in lives {
        let holds: Vec<_> = life.holds.clone();
        let next = holds.iter().skip(1).map(|hold| Some(hold.from)).chain([None]);
        let ordered: Vec<_> = holds
            .iter()
            .zip(next)
            .filter_map(|(hold, next)| Some((hold.until?, ordered(life, *hold, next, restarts, events)?)))
            .collect();
        ordered.iter().for_each(|(released, request)| life.pauses(*released, request.followed));
        life.requests.extend(ordered.into_iter().map(|(_, request)| request));
        life.requests.sort_by_key(|request| request.at);
    }
}

/// The restart with which a life gave back the port that it held; `followed` is when it took it again.
fn ordered(
    life: &Life,
    hold: Interval,
    followed: Option<Duration>,
    restarts: &[RestartRequest],
    events: &[Event],
) -> Option<Request> {
    let released = hold.until?;
    let signalled = life.requests.iter().any(|request| {
        request.followed.is_none_or(|over| over > released) && followed.is_none_or(|again| request.at < again)
    });
    let died = life.ended.is_some_and(|(_, cause)| !matches!(cause, DeathCause::Exited(_)));
    if signalled || (died && followed.is_none()) {
        return None;
    }
    let wants_it = |request: &&RestartRequest| {
        let may_be_due = request.asked_at < released && !request.ended_before(hold.from);
        may_be_due && !request.was_turned_away() && request.restarted_at.is_none_or(|at| at >= released)
    };
    let forced = |request: &RestartRequest| {
        let answered = request.answer.as_ref().filter(|answer| answer.ok)?.at;
        let same = hold.contains(request.asked_at) && hold.contains(answered);
        (request.mode == RestartMode::Force && same).then_some(answered)
    };
    let mut wanted = restarts.iter().filter(wants_it).peekable();
    let edited = events.iter().any(|event| {
        matches!(event.fact, Fact::ConfigEdited { .. }) && (hold.from..=released).contains(&event.at)
    });
    if wanted.peek().is_none() && !edited {
        return None;
    }
    let at = wanted.filter_map(forced).chain(told_to_go(hold, events)).fold(released, Duration::min);
    Some(Request { at, by: Cause::Order, followed, stop: None })
}

/// When a client that had connected since the port was taken was told to go.
fn told_to_go(hold: Interval, events: &[Event]) -> Option<Duration> {
    events.iter().enumerate().find_map(|(index, event)| {
        let Fact::SenderDisconnected { how } = &event.fact else { return None };
        let connected = events[..index].iter().rev().find(|earlier| {
            earlier.source == event.source && matches!(earlier.fact, Fact::SenderConnected)
        })?;
        let is_of_this = hold.contains(connected.at) && hold.contains(event.at);
        (is_of_this && how.contains(GOING)).then_some(event.at)
    })
}

#[cfg(test)]
mod tests {
    use gateway::env::Signal;

    use super::*;
    use crate::oracle::tests::complaints;
    use crate::oracle::{
        Evidence, Terms, port_is_released, readiness_tells_the_truth, shutdown_within_stop_timeout,
    };
    use crate::timeline::Ledger;
    use crate::timeline::story::Story;

    /// Of each request of the first life: when it began and whether it was an order.
    fn requests(story: Story) -> Vec<(u64, bool)> {
        let events = story.events();
        let (ledger, terms) = (Ledger::of(&events), Terms::default());
        let run = Evidence::new(&events, &ledger, &terms);
        let request = |request: &Request| (request.at.as_millis() as u64, request.by == Cause::Order);
        run.lives[0].requests.iter().map(request).collect()
    }

    fn asked(mode: RestartMode) -> Story {
        let story = Story::new().at(0).serves(214).at(1_000).connected().at(2_000).asks_for_restart(1, mode);
        story.at(2_200).answers_restart(1, true, Some("scheduled"), "it comes")
    }

    #[test]
    fn it_has_begun_when_the_port_is_given_back_or_a_client_is_told_or_force_is_granted() {
        let leaves =
            |story: Story| requests(story.at(9_000).releases().at(9_500).exits(75).at(12_000).serves(215));
        assert_eq!(leaves(asked(RestartMode::Plain)), [(9_000, true)]);
        let told = asked(RestartMode::Plain).at(8_000).disconnected("closed 1012 service restart");
        assert_eq!(leaves(told), [(8_000, true)]);
        assert_eq!(leaves(asked(RestartMode::Force)), [(2_200, true)]);
        assert_eq!(leaves(asked(RestartMode::Force).at(3_000).signal(Signal::User1)), [(3_000, false)]);
        assert_eq!(leaves(Story::new().at(0).serves(214)), [], "nobody had asked");
    }

    #[test]
    fn what_is_told_of_an_earlier_gateway_says_nothing_of_this_one() {
        let first =
            Story::new().at(0).serves(214).at(1_000).connected().at(2_000).exits(75).at(3_000).serves(215);
        let late = first
            .at(4_000)
            .disconnected("closed 1012 service restart")
            .asks_for_restart(1, RestartMode::Plain);
        let events = late.at(9_000).gateway(215).exits(75).events();
        let (ledger, terms) = (Ledger::of(&events), Terms::default());
        assert_eq!(Evidence::new(&events, &ledger, &terms).lives[1].requests[0].at, Duration::from_secs(9));
    }

    #[test]
    fn the_oracles_of_lives_hold_it_to_what_they_hold_a_signal_to() {
        let forced = || asked(RestartMode::Force);
        let lie =
            forced().at(3_000).ready(2_999, Some(true)).at(4_000).releases().exits(75).at(5_000).serves(215);
        assert_eq!(
            complaints(&readiness_tells_the_truth::ReadinessTellsTheTruth, lie),
            ["Gateway pid 214 said ready although it was ending"]
        );
        let holds = forced().at(5_000).releases().exits(75).at(6_000).serves(215);
        assert_eq!(
            complaints(&port_is_released::PortIsReleased, holds),
            ["The port 18789 was still bound 2.8 s after an order to restart (budget 2.0 s)"]
        );
        let slow = asked(RestartMode::Plain).at(5_000).releases().at(30_000).exits(75).at(31_000).serves(215);
        assert_eq!(
            complaints(&shutdown_within_stop_timeout::ShutdownWithinStopTimeout, slow),
            ["Gateway pid 214 took 25.0 s to end after an order to restart (limit 15.0 s)"]
        );
    }
}
