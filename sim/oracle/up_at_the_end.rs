//! The service is up when the run ends, unless its operator stopped it.
//!
//! Up means that a living process holds the port. A stop through the supervisor excuses its absence, and so does
//! a SIGTERM, SIGINT or SIGQUIT sent by hand that was obeyed; an exit status that forbids a restart does not, unless it
//! left the service to a process that an operator had started, whose end is then the operator's affair.

use std::time::Duration;

use gateway::env::{ExitCode, Signal};

use super::life::{Life, end_of};
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{capital, moment};
use crate::timeline::{DeathCause, Event, Fact, OperatorOrder};

/// With what launchd is asked to stop a service, and a tool begins to load it anew.
const FIRST_OF_RELOAD: &str = "bootout";

/// The service is up when the run ends, unless its operator stopped it.
pub(super) struct UpAtTheEnd;

impl Oracle for UpAtTheEnd {
    fn invariant(&self) -> &'static str {
        "up-at-the-end"
    }

    fn sentence(&self) -> &'static str {
        "The service is up when the run ends, unless its operator stopped it."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let Some(end) = run.events.iter().find(|event| event.fact == Fact::RunEnded) else {
            return Vec::new();
        };
        let lives = &run.lives;
        let up = lives.iter().any(|life| life.ended.is_none() && life.holds_port_at(end.at));
        if !run.terms.expected_up_at_end || up || stopped(run, lives) {
            return Vec::new();
        }
        let message = format!("The service was down when the run ended at {}", moment(end.at));
        vec![breach(self, message, explain(run, lives))]
    }
}

/// Whether it is down because somebody wanted it down. A stop that was the first half of a restart is no such wish:
/// then some life must have come after it.
fn stopped(run: &Evidence<'_>, lives: &[Life]) -> bool {
    let last = last_of(lives, run.terms.supervised);
    // A gateway refuses to start on a store that nothing can restore.
    if run.mishaps.store_is_beyond_repair(end_of(run)) {
        return true;
    }
    let gave_up = run.events.iter().rev().find(|event| event.fact == Fact::StartLimitHit);
    if gave_up.is_some_and(|event| run.was_worn_out(event.at) && !starts_after(run, event.at)) {
        return true;
    }
    // Nor does anybody start what a tool had stopped that was to start it, and was killed.
    let of_service = lives.iter().rev().find(|life| !life.by_hand);
    let was_stopped = |life: &Life| stopped_by_hand(life, true) || ended_by_supervisor(run, life);
    if run.mishaps.reload_was_killed() && of_service.is_some_and(was_stopped) {
        return true;
    }
    if nobody_came_after_the_last_wish(run) {
        return false;
    }
    let ordered = |event: &Event| {
        matches!(
            event.fact,
            Fact::ServiceStarting { .. } | Fact::ServiceStopping { .. } | Fact::RestartScheduled { .. }
        )
    };
    let last_order = run.events.iter().rposition(ordered);
    // A service that waits for its restart goes down only when somebody stops it then.
    let by_supervisor = last_order.is_some_and(|index| {
        let inactive = |event: &Event| matches!(event.fact, Fact::ServiceInactive { .. });
        !matches!(run.events[index].fact, Fact::ServiceStarting { .. })
            && run.events[index..].iter().any(inactive)
    });
    let supervised = run.terms.supervised;
    by_supervisor
        || of_service.is_some_and(|life| is_left_dead(run, lives, life))
        || of_service.is_some_and(|life| ended_last(lives, life) && stopped_by_hand(life, supervised))
        || last.is_some_and(|life| stopped_by_hand(life, supervised))
        || left_to(run, lives).is_some_and(|life| stopped_by_hand(life, false))
}

/// Whether the supervisor was stopping this life when it ended: some ask nobody first.
fn ended_by_supervisor(run: &Evidence<'_>, life: &Life) -> bool {
    let Some(ended) = life.ended_at() else { return false };
    let mut before = run.events.iter().rev().skip_while(|event| event.at > ended);
    let last = before
        .find(|event| matches!(event.fact, Fact::ServiceStarting { .. } | Fact::ServiceStopping { .. }));
    last.is_some_and(|event| {
        matches!(event.fact, Fact::ServiceStopping { .. }) && event.at >= life.started_at
    })
}

fn starts_after(run: &Evidence<'_>, at: Duration) -> bool {
    run.lives.iter().any(|life| life.started_at >= at)
}

/// Whom an operator started, and to whom the last that a supervisor started left the service, since it gave way or somebody
/// had stopped it by hand: nobody minds it from then on.
fn left_to<'l>(run: &Evidence<'_>, lives: &'l [Life]) -> Option<&'l Life> {
    let of_service = lives.iter().rev().find(|life| !life.by_hand)?;
    let (at, cause) = of_service.ended?;
    if cause == DeathCause::Exited(ExitCode::CONFIG) {
        return lives.iter().find(|life| life.by_hand && life.holds_port_at(at));
    }
    let stays_down = || {
        let mut after = run.events.iter().filter(|event| event.at >= at).map(|event| &event.fact);
        after.any(|fact| matches!(fact, Fact::ServiceInactive { .. }))
    };
    let is_left = stopped_by_hand(of_service, run.terms.supervised) && stays_down();
    let later = lives.iter().filter(|life| is_left && life.by_hand && life.started_at >= at);
    later.max_by_key(|life| life.ended_at())
}

/// Whether somebody wanted it to go down and to come up again, nothing else since, and no life began. What began at the
/// very moment of the order came after it; a wish that is refused at once is none.
fn nobody_came_after_the_last_wish(run: &Evidence<'_>) -> bool {
    let starts = |event: &Event| match &event.fact {
        Fact::ProcessStarted { machine, program, .. } => {
            *machine == run.terms.machine && *program == run.terms.program
        }
        _ => false,
    };
    // Whoever has it loaded anew by a tool learns only from that, some time later, that nothing was done.
    let is_refused = |index: usize| {
        let by_tool = matches!(run.events[index].fact, Fact::Ordered { order: OperatorOrder::Reload });
        let later = run.events[index + 1..].iter().map(|event| &event.fact);
        let mut answers = later.take_while(|fact| !matches!(fact, Fact::Ordered { .. }));
        let is_no = |fact: &Fact| matches!(fact, Fact::ServiceOrderRefused { order, .. } if !by_tool || order == FIRST_OF_RELOAD);
        if by_tool { answers.any(is_no) } else { answers.next().is_some_and(is_no) }
    };
    let is_wish =
        |index: &usize| matches!(run.events[*index].fact, Fact::Ordered { .. }) && !is_refused(*index);
    let last = (0..run.events.len()).rev().find(is_wish);
    last.is_some_and(|index| {
        let wish = &run.events[index].fact;
        matches!(wish, Fact::Ordered { order: OperatorOrder::Restart | OperatorOrder::Reload })
            && !run.events[index..].iter().any(starts)
    })
}

/// Whether no other life ended after this one. Who was started by hand and never came to serve left things as they were.
fn ended_last(lives: &[Life], life: &Life) -> bool {
    let mut others = lives.iter().filter(|other| !other.by_hand || !other.holds.is_empty());
    others.all(|other| other.ended.is_some() && other.ended_at() <= life.ended_at())
}

/// Whether the supervisor left the service down after the death of this life, which was none of its own doing.
fn is_left_dead(run: &Evidence<'_>, lives: &[Life], life: &Life) -> bool {
    let Some((died, cause)) = life.ended else { return false };
    // A container takes along whoever is left in it when its first process ends.
    let went_along =
        lives.iter().any(|other| matches!(other.ended, Some((at, DeathCause::Exited(_))) if at == died));
    let is_a_blow = match cause {
        DeathCause::Killed => !went_along,
        DeathCause::Signal(_) => life.could_not_hear_between(life.started_at, died),
        DeathCause::Exited(_) | DeathCause::Panicked | DeathCause::PowerLoss => false,
    };
    let mut after = run.events.iter().filter(|event| event.at >= died).map(|event| &event.fact);
    is_a_blow && after.any(|fact| matches!(fact, Fact::ServiceInactive { .. }))
}

/// The life after which somebody was missing. Where nobody supervises, those may outlive who was started after them
/// and gave way.
fn last_of(lives: &[Life], supervised: bool) -> Option<&Life> {
    if supervised { lives.last() } else { lives.iter().max_by_key(|life| life.ended_at()) }
}

/// The last life got a stop signal and obeyed. Without a supervisor any violent end is the operator's too, since
/// nobody was there to start it again.
fn stopped_by_hand(life: &Life, supervised: bool) -> bool {
    let Some((_, cause)) = life.ended else { return false };
    // Any of them: a stop overtakes a restart that is already on its way.
    let is_stop = |signal: &Signal| matches!(signal, Signal::Terminate | Signal::Interrupt | Signal::Quit);
    let stop = life.ending_signals.iter().any(|(_, signal)| is_stop(signal));
    match cause {
        // Forced or not: whoever stops by hand what nobody starts again on that status will start it again himself.
        DeathCause::Exited(ExitCode::CLEAN | ExitCode::FORCED) => stop,
        DeathCause::Exited(_) | DeathCause::Panicked => false,
        // It had no handler yet, or history's had none for it.
        DeathCause::Signal(signal) if is_stop(&signal) => true,
        DeathCause::Signal(_) | DeathCause::Killed | DeathCause::PowerLoss => !supervised,
    }
}

fn explain(run: &Evidence<'_>, lives: &[Life]) -> String {
    let Some(last) = lives.last() else { return "No process of the service was ever started.".to_string() };
    let mut text = format!("{} was the last to start; {}", capital(&last.name()), last.end_words());
    match last.holds.last() {
        None => text.push_str(" and never held the port."),
        Some(hold) => match hold.until {
            Some(until) if last.ended.is_none() => {
                text.push_str(&format!(" but gave the port back at {}.", moment(until)));
            }
            _ => text.push('.'),
        },
    }
    if let Some(said) = run.events.iter().rev().find_map(supervisor_said) {
        text.push_str(&format!(" {said}"));
    }
    text
}

/// The supervisor's last word on a service that is down.
fn supervisor_said(event: &Event) -> Option<String> {
    let at = moment(event.at);
    match &event.fact {
        Fact::ServiceInactive { why } => Some(format!("The supervisor left it down at {at}: {why}.")),
        Fact::StartLimitHit => Some(format!("The supervisor gave up on it at {at}.")),
        Fact::PowerLost { .. } => Some(format!("Its machine lost power at {at}.")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::{complaints, verdict};
    use crate::timeline::Injection;
    use crate::timeline::story::Story;
    use gateway::env::Pid;

    const DOWN: [&str; 1] = ["The service was down when the run ended at 9.000 s"];

    fn served() -> Story {
        Story::new().at(0).serves(214).at(1_000)
    }

    #[test]
    fn a_process_that_holds_the_port_is_up() {
        assert_eq!(complaints(&UpAtTheEnd, served().at(9_000).ended()), [""; 0]);
        let hung = served().signal(Signal::User1).at(2_000).releases().at(9_000).ended();
        assert_eq!(complaints(&UpAtTheEnd, hung), DOWN);
    }

    #[test]
    fn a_stop_through_the_supervisor_excuses_it_and_a_restart_does_not() {
        let stopped = || served().stopping(90_000).signal(Signal::Terminate).at(2_000).exits(0);
        assert_eq!(complaints(&UpAtTheEnd, stopped().inactive("stopped").at(9_000).ended()), [""; 0]);
        let restarted = stopped().at(3_000).starting(2).gateway(215).starts().at(3_100).exits(78);
        let story = restarted.inactive("exit status 78 forbids a restart").at(9_000).ended();
        let found = verdict(&UpAtTheEnd, story, &Terms::default());
        assert_eq!(
            found[0].explanation,
            "Gateway pid 215 was the last to start; it ended at 3.100 s (exit 78) and never held the port. \
             The supervisor left it down at 3.100 s: exit status 78 forbids a restart."
        );
    }

    #[test]
    fn who_left_the_service_to_a_process_of_the_operators_own_does_not_come_back_for_it() {
        let by_hand = Fact::Ordered { order: OperatorOrder::StartByHand };
        let beside = || {
            let story = Story::new().at(0).starting(1).gateway(214).starts();
            story
                .fact(crate::timeline::Source::Operator, by_hand.clone())
                .gateway(215)
                .starts()
                .at(100)
                .binds()
        };
        let gave_way = |code| {
            let story =
                beside().at(5_000).gateway(214).exits(code).inactive("exit status 78 forbids a restart");
            story.at(6_000).gateway(215)
        };
        let killed = gave_way(78).dies(DeathCause::Killed).at(9_000).ended();
        assert_eq!(complaints(&UpAtTheEnd, killed), [""; 0]);
        let crashed = gave_way(78).dies(DeathCause::Panicked).at(9_000).ended();
        assert_eq!(complaints(&UpAtTheEnd, crashed), DOWN);
        assert_eq!(complaints(&UpAtTheEnd, gave_way(1).dies(DeathCause::Killed).at(9_000).ended()), DOWN);
        let nobody = beside().dies(DeathCause::Killed).at(5_000).gateway(214).exits(78);
        assert_eq!(complaints(&UpAtTheEnd, nobody.inactive("exit status 78").at(9_000).ended()), DOWN);
    }

    #[test]
    fn who_is_killed_stays_down_where_the_supervisor_was_told_to_leave_it() {
        let left = |story: Story| story.inactive("and nobody runs the task again").at(9_000).ended();
        assert_eq!(complaints(&UpAtTheEnd, left(served().dies(DeathCause::Killed))), [""; 0]);
        let with_the_first = served().gateway(215).starts().gateway(214).exits(0).gateway(215);
        assert_eq!(complaints(&UpAtTheEnd, left(with_the_first.dies(DeathCause::Killed))), DOWN);
        assert_eq!(complaints(&UpAtTheEnd, left(served().dies(DeathCause::Panicked))), DOWN);
        assert_eq!(complaints(&UpAtTheEnd, left(served().exits(1))), DOWN);
        let missed = Fact::SignalDelivered { pid: Pid(214), signal: Signal::User1, handled: false };
        let signalled = |story: Story| {
            let story = story.fact(crate::timeline::Source::Operator, missed.clone());
            left(story.dies(DeathCause::Signal(Signal::User1)))
        };
        assert_eq!(complaints(&UpAtTheEnd, signalled(Story::new().at(0).gateway(214).starts())), [""; 0]);
        assert_eq!(
            complaints(&UpAtTheEnd, signalled(served())),
            DOWN,
            "a program that runs has its handlers"
        );
    }

    #[test]
    fn who_was_started_by_hand_after_the_service_was_stopped_by_hand_is_its_operators_affair() {
        let killed = |signalled: bool, stays_down: bool, cause: DeathCause| {
            let story = if signalled { served().signal(Signal::Terminate) } else { served() };
            let story = story.at(1_000).exits(0);
            let story = if stays_down { story.inactive("a clean end") } else { story };
            let by_hand = Fact::Ordered { order: OperatorOrder::StartByHand };
            let story = story.at(2_000).fact(crate::timeline::Source::Operator, by_hand);
            let story = story.gateway(215).starts().binds().at(3_000).dies(cause);
            complaints(&UpAtTheEnd, story.at(9_000).ended()).len()
        };
        assert_eq!(killed(true, true, DeathCause::Killed), 0);
        assert_eq!(killed(true, true, DeathCause::Panicked), 1, "it died of itself");
        assert_eq!(killed(false, true, DeathCause::Killed), 1, "nobody had stopped the service");
        assert_eq!(killed(true, false, DeathCause::Killed), 1, "the supervisor owes a start");
    }

    #[test]
    fn who_gave_way_to_one_that_was_killed_is_no_reason_for_it_to_be_up() {
        let by_hand = Fact::Ordered { order: OperatorOrder::StartByHand };
        let beside = served().fact(crate::timeline::Source::Operator, by_hand).gateway(215).starts();
        let gave_way = beside.at(2_000).exits(78).at(2_100).gateway(214).dies(DeathCause::Killed);
        assert_eq!(complaints(&UpAtTheEnd, gave_way.inactive("it is left").at(9_000).ended()), [""; 0]);
    }

    #[test]
    fn who_was_started_beside_it_and_gave_way_does_not_count_when_it_is_stopped() {
        let order = Fact::Ordered { order: OperatorOrder::StartByHand };
        let beside = || served().fact(crate::timeline::Source::Operator, order.clone()).gateway(215).starts();
        let gave_way = || beside().at(2_000).exits(78).gateway(214).at(3_000).signal(Signal::Interrupt);
        let ended = |story: Story| complaints(&UpAtTheEnd, story.inactive("is left").at(9_000).ended());
        assert_eq!(ended(gave_way().exits(0)), [""; 0]);
        assert_eq!(ended(gave_way().exits(1)), DOWN);
    }

    #[test]
    fn nobody_starts_what_a_tool_had_stopped_that_was_killed() {
        let ended = |cause| {
            let order = Fact::Ordered { order: OperatorOrder::Reload };
            let tool = served().fact(crate::timeline::Source::Operator, order).program("tool", 300).starts();
            let stopped = tool.gateway(214).signal(Signal::Terminate).exits(0).inactive("stopped");
            let story = stopped.program("tool", 300).at(2_000).dies(cause).at(9_000).ended();
            complaints(&UpAtTheEnd, story).len()
        };
        let done = DeathCause::Exited(ExitCode::CLEAN);
        assert_eq!((ended(DeathCause::Killed), ended(done)), (0, 1));
        let without_a_signal = |stopping: bool, killed: bool| {
            let order = Fact::Ordered { order: OperatorOrder::Reload };
            let tool = served().fact(crate::timeline::Source::Operator, order).program("tool", 300).starts();
            let story = if stopping { tool.stopping(0) } else { tool }.gateway(214).dies(DeathCause::Killed);
            let story = story.inactive("ended on request").program("tool", 300).at(2_000);
            let story = if killed { story.dies(DeathCause::Killed) } else { story.exits(0) };
            complaints(&UpAtTheEnd, story.at(9_000).ended()).len()
        };
        assert_eq!(without_a_signal(true, true), 0, "some supervisors ask nobody first");
        assert_eq!([without_a_signal(false, true), without_a_signal(true, false)], [1, 1]);
    }

    #[test]
    fn who_was_started_by_hand_and_died_before_it_served_left_things_as_they_were() {
        let ended = |signalled: bool, serves: bool| {
            let story = if signalled { served().signal(Signal::Terminate) } else { served() };
            let by_hand = Fact::Ordered { order: OperatorOrder::StartByHand };
            let story = story.at(2_000).fact(crate::timeline::Source::Operator, by_hand);
            let story = story.gateway(215).starts().gateway(214).at(2_500).exits(0).inactive("a clean end");
            let story = if serves { story.gateway(215).binds() } else { story.gateway(215) };
            complaints(&UpAtTheEnd, story.at(3_000).dies(DeathCause::Killed).at(9_000).ended()).len()
        };
        assert_eq!([ended(true, false), ended(true, true), ended(false, false)], [0, 1, 1]);
    }

    #[test]
    fn a_tool_that_finds_it_stopped_already_wanted_nothing() {
        let ended = |refused: &str| {
            let order =
                |story: Story, order| story.fact(crate::timeline::Source::Operator, Fact::Ordered { order });
            let stopping = order(served(), OperatorOrder::Stop).stopping(20_000).signal(Signal::Terminate);
            let tool = order(stopping.at(2_000), OperatorOrder::Reload).program("tool", 300).starts();
            let refusal = Fact::ServiceOrderRefused { order: refused.into(), why: "not loaded".into() };
            let tool = tool.at(2_100).supervisor(refusal).exits(1).gateway(214).at(3_000).exits(0);
            complaints(&UpAtTheEnd, tool.inactive("booted out: exit 0").at(9_000).ended()).len()
        };
        assert_eq!((ended("bootout"), ended("bootstrap")), (0, 1));
    }

    #[test]
    fn a_store_that_nothing_can_restore_keeps_it_down() {
        let what = "agents/main/sessions/sessions.json in the state directory is overwritten";
        let refused = |story: Story| {
            let story = story
                .at(2_000)
                .exits(0)
                .at(3_000)
                .injected(Injection::CorruptState, what)
                .at(4_000)
                .gateway(215)
                .starts();
            complaints(&UpAtTheEnd, story.at(4_100).exits(78).inactive("exit status 78").at(9_000).ended())
        };
        assert_eq!(refused(served()), [""; 0]);
        assert_eq!(refused(served().sent(1).asked(1, 1)), DOWN, "there is a conversation to restore it from");
    }

    #[test]
    fn a_stop_while_it_waits_for_its_restart_excuses_it_too() {
        let after = std::time::Duration::from_secs(5);
        let waiting = || served().exits(1).supervisor(Fact::RestartScheduled { after });
        assert_eq!(
            complaints(&UpAtTheEnd, waiting().at(2_000).inactive("stopped").at(9_000).ended()),
            [""; 0]
        );
        let gave_up = waiting().at(6_000).supervisor(Fact::StartLimitHit);
        assert_eq!(complaints(&UpAtTheEnd, gave_up.at(9_000).ended()), DOWN);
    }

    #[test]
    fn a_stop_by_hand_of_who_was_started_at_the_moment_of_a_restart_is_a_stop() {
        let order = Fact::Ordered { order: OperatorOrder::Restart };
        let ordered = || served().fact(crate::timeline::Source::Operator, order.clone());
        let kicked = ordered().dies(DeathCause::Killed).gateway(215).starts().binds();
        let stopped = kicked.at(2_000).signal(Signal::Terminate).exits(0);
        assert_eq!(complaints(&UpAtTheEnd, stopped.at(9_000).ended()), [""; 0]);
        let never_came = ordered().signal(Signal::Terminate).at(2_000).exits(0);
        assert_eq!(complaints(&UpAtTheEnd, never_came.at(9_000).ended()), DOWN);
    }

    #[test]
    fn a_restart_that_is_refused_takes_back_no_stop() {
        let order =
            |story: Story, order| story.fact(crate::timeline::Source::Operator, Fact::Ordered { order });
        let stopping = || order(served(), OperatorOrder::Stop).stopping(20_000).signal(Signal::Terminate);
        let stopped = || stopping().at(2_000).exits(0).inactive("booted out").at(3_000);
        let refusal = Fact::ServiceOrderRefused { order: "kickstart".into(), why: "not loaded".into() };
        let refused = order(stopped(), OperatorOrder::Restart).supervisor(refusal);
        assert_eq!(complaints(&UpAtTheEnd, refused.at(9_000).ended()), [""; 0]);
        assert_eq!(complaints(&UpAtTheEnd, order(stopped(), OperatorOrder::Restart).at(9_000).ended()), DOWN);
    }

    #[test]
    fn a_restart_signal_answered_with_a_status_that_forbids_restarts_is_caught() {
        let story = served().signal(Signal::User1).exits(78).inactive("exit status 78 forbids a restart");
        assert_eq!(complaints(&UpAtTheEnd, story.at(9_000).ended()), DOWN);
    }

    #[test]
    fn a_stop_signal_by_hand_excuses_a_clean_end_only() {
        let signalled = || served().signal(Signal::Terminate).at(2_000);
        assert_eq!(complaints(&UpAtTheEnd, signalled().exits(0).at(9_000).ended()), [""; 0]);
        assert_eq!(complaints(&UpAtTheEnd, signalled().exits(1).at(9_000).ended()), DOWN);
        assert_eq!(complaints(&UpAtTheEnd, served().dies(DeathCause::Killed).at(9_000).ended()), DOWN);
    }

    #[test]
    fn without_a_supervisor_nobody_starts_a_killed_gateway_again() {
        let terms = Terms { supervised: false, ..Terms::default() };
        let killed = served().dies(DeathCause::Killed).at(9_000).ended();
        assert_eq!(verdict(&UpAtTheEnd, killed, &terms), []);
        let crashed = served().dies(DeathCause::Panicked).at(9_000).ended();
        assert_eq!(verdict(&UpAtTheEnd, crashed, &terms).len(), 1);
    }

    #[test]
    fn without_a_supervisor_a_restart_is_no_stop_and_who_gave_way_does_not_count() {
        let terms = Terms { supervised: false, ..Terms::default() };
        let restarted = served().signal(Signal::User1).exits(75).at(9_000).ended();
        assert_eq!(verdict(&UpAtTheEnd, restarted, &terms).len(), 1);
        let beside = served().gateway(215).starts().at(2_000).exits(78).at(3_000).gateway(214);
        assert_eq!(verdict(&UpAtTheEnd, beside.dies(DeathCause::Killed).at(9_000).ended(), &terms), []);
    }

    #[test]
    fn a_scenario_may_expect_it_down() {
        let terms = Terms { expected_up_at_end: false, ..Terms::default() };
        assert_eq!(verdict(&UpAtTheEnd, served().exits(1).at(9_000).ended(), &terms), []);
    }
}
