//! Who was stopped stays down until somebody asks for a start.
//!
//! A stop is an order to the supervisor that it does not refuse; where nobody supervises, a stop signal to the only
//! gateway there is. From then on no process of the service starts, whoever would start it, until the operator wants
//! one again or the machine boots where a boot starts what had been stopped. Where a restart had left nobody but the
//! program that starts the successor, nobody could be told of the stop: what that program starts came before it. Nor is
//! the tool told that is at work to load the service anew: it starts what it ends, until it is done.

use std::collections::BTreeSet;
use std::time::Duration;

use gateway::env::{Pid, Signal};

use super::life::Life;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{moment, span};
use crate::timeline::{Event, Fact, OperatorOrder};

/// The program that starts a successor where the service manager does not.
const START_SCRIPT: &str = "start-script";

/// How long after its predecessor a successor may start.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Who was stopped stays down until somebody asks for a start.
pub(super) struct StaysDownAfterAStop;

impl Oracle for StaysDownAfterAStop {
    fn invariant(&self) -> &'static str {
        "stays-down-after-a-stop"
    }

    fn sentence(&self) -> &'static str {
        "Who was stopped stays down until somebody asks for a start."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut has_power = true;
        let mut stop: Option<(Duration, String)> = None;
        // When those began that succeed a gateway by hand, one after the other.
        let mut heirs: Vec<Duration> = Vec::new();
        for (index, event) in run.events.iter().enumerate() {
            match &event.fact {
                Fact::PowerLost { .. } if is_of_machine(run, event) => has_power = false,
                Fact::PowerRestored if is_of_machine(run, event) => {
                    has_power = true;
                    stop.take_if(|_| run.terms.boot_starts_what_was_stopped);
                }
                Fact::Ordered { order } if has_power && !is_refused(run.events, index) => {
                    let is_stop = *order == OperatorOrder::Stop
                        && !is_left_to_a_script(run, index)
                        && !run.mishaps.is_being_loaded_anew(event.at);
                    stop = is_stop.then(|| (event.at, "through its supervisor".to_string()));
                }
                Fact::SignalDelivered { pid, signal, handled: true }
                    if is_stop_by_hand(run, event, *pid, *signal) =>
                {
                    stop = Some((event.at, format!("with {signal}, and nobody supervises it")));
                }
                Fact::ProcessStarted { pid, machine, program }
                    if *machine == run.terms.machine && *program == run.terms.program =>
                {
                    if follows_one_by_hand(run, event.at, &heirs) {
                        heirs.push(event.at);
                        continue;
                    }
                    // Once is enough: what follows from it is no news.
                    let Some((at, how)) = stop.take() else { continue };
                    let message =
                        format!("Gateway pid {pid} started after a stop that nobody had taken back");
                    let explanation = format!(
                        "The service was stopped at {} {how}. Gateway pid {pid} started at {}, {} later, and nobody \
                         had asked for a start.",
                        moment(at),
                        moment(event.at),
                        span(event.at.saturating_sub(at)),
                    );
                    found.push(breach(self, message, explanation));
                }
                _ => {}
            }
        }
        found
    }
}

fn is_of_machine(run: &Evidence<'_>, event: &Event) -> bool {
    event.source == crate::timeline::Source::Machine(run.terms.machine.clone())
}

/// Whether nobody of the service lives but a program that a gateway left behind to start its successor.
fn is_left_to_a_script(run: &Evidence<'_>, stop: usize) -> bool {
    let mut living = BTreeSet::new();
    let mut scripts = BTreeSet::new();
    for event in &run.events[..stop] {
        match &event.fact {
            Fact::ProcessStarted { pid, program, .. } if *program == run.terms.program => {
                living.insert(*pid);
            }
            Fact::ProcessStarted { pid, program, .. } if program == START_SCRIPT => {
                scripts.insert(*pid);
            }
            Fact::ProcessExited { pid, .. } => {
                living.remove(pid);
                scripts.remove(pid);
            }
            _ => {}
        }
    }
    living.is_empty() && !scripts.is_empty()
}

/// Whether a process that starts then succeeds a gateway that somebody had started by hand beside the service, and asked to
/// restart: that is none of the supervisor's, and nobody told it to stop.
fn follows_one_by_hand(run: &Evidence<'_>, at: Duration, heirs: &[Duration]) -> bool {
    let has_just_gone = |life: &Life| {
        let left = life.holds.last().and_then(|hold| hold.until).is_some_and(|left| left <= at);
        left && life.ended_at().is_none_or(|ended| ended + AT_ONCE >= at)
    };
    let was_asked = |life: &Life| {
        run.restarts.iter().any(|request| {
            let is_its = life.started_at <= request.asked_at && request.asked_at <= at;
            is_its && !request.was_turned_away() && request.restarted_at.is_none_or(|again| again >= at)
        })
    };
    let mut theirs = run.lives.iter().filter(|life| life.by_hand || heirs.contains(&life.started_at));
    theirs.any(|life| life.started_at < at && has_just_gone(life) && was_asked(life))
}

/// A manager refuses at once.
fn is_refused(events: &[Event], order: usize) -> bool {
    events.get(order + 1).is_some_and(|event| matches!(event.fact, Fact::ServiceOrderRefused { .. }))
}

/// Whether a signal leaves nobody who should serve: nobody supervises, and no other gateway lives.
fn is_stop_by_hand(run: &Evidence<'_>, event: &Event, pid: Pid, signal: Signal) -> bool {
    let lives_now = |life: &&super::life::Life| {
        life.started_at <= event.at && life.ended_at().is_none_or(|ended| ended > event.at)
    };
    let mut living = run.lives.iter().filter(lives_now);
    let is_the_only_one = living.next().is_some_and(|life| life.pid == pid) && living.next().is_none();
    !run.terms.supervised && matches!(signal, Signal::Terminate | Signal::Interrupt) && is_the_only_one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::{complaints, verdict};
    use crate::timeline::story::Story;
    use crate::timeline::{RestartMode, Source, TOOL_PROGRAM};

    const AGAIN: [&str; 1] = ["Gateway pid 215 started after a stop that nobody had taken back"];

    fn served() -> Story {
        Story::new().at(0).serves(214).at(1_000)
    }

    fn ordered(story: Story, order: OperatorOrder) -> Story {
        story.fact(Source::Operator, Fact::Ordered { order })
    }

    fn stopped() -> Story {
        ordered(served(), OperatorOrder::Stop).signal(Signal::Terminate).at(2_000).exits(0)
    }

    fn another(story: Story) -> Story {
        story.at(3_000).gateway(215).starts()
    }

    #[test]
    fn a_start_that_nobody_asked_for_is_caught_and_one_that_was_asked_for_is_not() {
        assert_eq!(complaints(&StaysDownAfterAStop, stopped()), [""; 0]);
        assert_eq!(complaints(&StaysDownAfterAStop, another(stopped().starting(2))), AGAIN);
        for order in [OperatorOrder::Start, OperatorOrder::Restart, OperatorOrder::StartByHand] {
            assert_eq!(complaints(&StaysDownAfterAStop, another(ordered(stopped(), order))), [""; 0]);
        }
    }

    #[test]
    fn a_successor_that_starts_before_the_stopped_one_has_ended_is_one_too_many() {
        let story = ordered(served(), OperatorOrder::Stop).gateway(215).starts().gateway(214).exits(0);
        assert_eq!(complaints(&StaysDownAfterAStop, story), AGAIN);
    }

    #[test]
    fn what_a_program_starts_that_a_restart_left_alone_came_before_the_stop() {
        let left = |alone: bool| {
            let script = served().program(START_SCRIPT, 300).starts().gateway(214);
            let script = if alone { script.exits(75) } else { script };
            let stopped = ordered(script.at(1_500), OperatorOrder::Stop);
            another(if alone { stopped } else { stopped.exits(75) })
        };
        assert_eq!(complaints(&StaysDownAfterAStop, left(true)), [""; 0]);
        assert_eq!(complaints(&StaysDownAfterAStop, left(false)), AGAIN, "it was there to be told");
        let done = served().program(START_SCRIPT, 300).starts().exits(0).gateway(214).exits(75);
        assert_eq!(complaints(&StaysDownAfterAStop, another(ordered(done, OperatorOrder::Stop))), AGAIN);
    }

    #[test]
    fn who_is_being_loaded_anew_comes_up_again_and_who_was_does_not() {
        let loading = || ordered(served(), OperatorOrder::Reload).program(TOOL_PROGRAM, 300).starts();
        let stopped = |story: Story| {
            another(ordered(story.gateway(214).at(1_500), OperatorOrder::Stop).at(2_000).exits(0))
        };
        assert_eq!(complaints(&StaysDownAfterAStop, stopped(loading())), [""; 0]);
        let done = loading().at(1_200).exits(0).at(1_300);
        assert_eq!(complaints(&StaysDownAfterAStop, stopped(done)), AGAIN);
    }

    #[test]
    fn who_was_started_by_hand_is_asked_to_restart_and_wanted() {
        let restarted = |by_hand: bool, ok: bool| {
            let first = Story::new().at(0);
            let first = if by_hand { ordered(first, OperatorOrder::StartByHand) } else { first };
            let first = first.gateway(214).starts().binds().at(1_000);
            let asked = ordered(first, OperatorOrder::Stop).asks_for_restart(1, RestartMode::Plain);
            let asked = asked.at(1_200).answers_restart(1, ok, None, "it comes");
            complaints(&StaysDownAfterAStop, another(asked.gateway(214).at(2_000).exits(0)))
        };
        assert_eq!(restarted(true, true), [""; 0]);
        assert_eq!([restarted(false, true), restarted(true, false)], [AGAIN, AGAIN]);
        let twice = |asked_again: bool| {
            let first = ordered(Story::new().at(0), OperatorOrder::StartByHand).gateway(214).starts().binds();
            let asked = ordered(first.at(1_000), OperatorOrder::Stop).asks_for_restart(1, RestartMode::Plain);
            let asked = asked.at(1_200).answers_restart(1, true, None, "it comes").gateway(214).at(2_000);
            let heir = asked.exits(0).at(2_500).gateway(215).starts().binds().at(3_000);
            let heir = match asked_again {
                true => {
                    heir.asks_for_restart(2, RestartMode::Plain).answers_restart(2, true, None, "it comes")
                }
                false => heir,
            };
            let next = heir.gateway(215).at(4_000).exits(0).at(4_500).gateway(216).starts();
            complaints(&StaysDownAfterAStop, next).len()
        };
        assert_eq!([twice(true), twice(false)], [0, 1]);
    }

    #[test]
    fn an_order_that_is_refused_changes_nothing() {
        let refused = |story: Story| {
            story.supervisor(Fact::ServiceOrderRefused { order: "it".into(), why: "no".into() })
        };
        let stop = refused(ordered(served(), OperatorOrder::Stop)).at(2_000).exits(1);
        assert_eq!(complaints(&StaysDownAfterAStop, another(stop)), [""; 0]);
        let start = refused(ordered(stopped(), OperatorOrder::Start));
        assert_eq!(complaints(&StaysDownAfterAStop, another(start)), AGAIN);
    }

    #[test]
    fn a_boot_starts_what_was_stopped_unless_the_manager_remembers() {
        let booted = || {
            let dark = stopped().power_lost();
            another(dark.fact(Source::Machine(Terms::default().machine), Fact::PowerRestored))
        };
        assert_eq!(complaints(&StaysDownAfterAStop, booted()), [""; 0]);
        let terms = Terms { boot_starts_what_was_stopped: false, ..Terms::default() };
        assert_eq!(verdict(&StaysDownAfterAStop, booted(), &terms).len(), 1);
    }

    #[test]
    fn a_stop_signal_counts_where_nobody_supervises_and_nobody_else_serves() {
        let terms = Terms { supervised: false, ..Terms::default() };
        let signalled = |signal| another(served().signal(signal).at(2_000).exits(0));
        assert_eq!(verdict(&StaysDownAfterAStop, signalled(Signal::Terminate), &terms).len(), 1);
        assert_eq!(verdict(&StaysDownAfterAStop, signalled(Signal::User1), &terms), []);
        assert_eq!(complaints(&StaysDownAfterAStop, signalled(Signal::Terminate)), [""; 0], "Restart=always");
        let beside = served().gateway(99).starts().gateway(214).signal(Signal::Terminate).at(2_000).exits(0);
        assert_eq!(verdict(&StaysDownAfterAStop, another(beside), &terms), []);
    }
}
