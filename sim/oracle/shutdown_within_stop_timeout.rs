//! A shutdown ends within the supervisor's stop timeout, so that the supervisor never has to kill; a restart that was
//! asked for directly, for which nobody's timer runs, ends soon after the last work in flight is done.
//!
//! It counts from the first signal that asked the process to end, whoever sent it. Time in which the process
//! was frozen is not its own and does not count, nor does a signal that came before the program had begun.

use std::time::Duration;

use super::life::{Cause, Life, Request, end_of};
use super::work_in_flight::work_done;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{capital, moment, span};
use crate::timeline::{DeathCause, Fact};

/// A shutdown ends within the supervisor's stop timeout, a restart soon after the last work is done.
pub(super) struct ShutdownWithinStopTimeout;

impl Oracle for ShutdownWithinStopTimeout {
    fn invariant(&self) -> &'static str {
        "shutdown-within-stop-timeout"
    }

    fn sentence(&self) -> &'static str {
        "A shutdown ends within the supervisor's stop timeout, a restart soon after the last work is done."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let lives = &run.lives;
        let timeouts: Vec<_> = timeouts(run);
        let mut found: Vec<_> = timeouts.iter().filter_map(|timeout| self.killed(lives, *timeout)).collect();
        found.extend(lives.iter().flat_map(|life| {
            let too_long = |request| self.too_long(run, life, request, &timeouts);
            life.requests.iter().filter_map(too_long)
        }));
        found
    }
}

/// What a restart may take beyond its drain.
const CLOSING: Duration = Duration::from_secs(15);

/// A stop timeout that passed: when, and how long it was.
type Timeout = (Duration, Duration);

fn timeouts(run: &Evidence<'_>) -> Vec<Timeout> {
    let mut allowed = run.terms.stop_timeout;
    let mut found = Vec::new();
    for event in run.events {
        match &event.fact {
            Fact::ServiceStopping { stop_timeout } => allowed = *stop_timeout,
            Fact::StopTimedOut => found.push((event.at, allowed)),
            _ => {}
        }
    }
    found
}

impl ShutdownWithinStopTimeout {
    /// The supervisor ran out of patience.
    fn killed(&self, lives: &[Life], (at, allowed): Timeout) -> Option<Violation> {
        let lived = |life: &&Life| life.started_at <= at && life.ended_at().is_none_or(|ended| ended >= at);
        // Somebody may have started another one by hand, which no supervisor's patience is about.
        let was_killed = |life: &&Life| life.ended == Some((at, DeathCause::Killed));
        // In a container, whoever is started beside it goes along.
        let of_service = |life: &&Life| was_killed(life) && !life.by_hand;
        let life = lives
            .iter()
            .filter(lived)
            .find(of_service)
            .or_else(|| lives.iter().filter(lived).find(was_killed))
            .or_else(|| lives.iter().find(lived));
        let asked_at = at.saturating_sub(allowed);
        if life.is_some_and(|life| life.could_not_hear_between(asked_at, at)) {
            return None;
        }
        if life.is_some_and(|life| !life.frozen_between(asked_at, at).is_zero()) {
            return None;
        }
        let name = life.map_or_else(|| "the service".to_string(), Life::name);
        let message = format!("The supervisor had to kill {name} after {}", span(allowed));
        let asked = match life.and_then(|life| life.request_at(at)) {
            Some(Request { at: asked, by, .. }) => format!("{by} reached it at {}", moment(asked)),
            None => "it handled no stop signal".to_string(),
        };
        let explanation = format!(
            "{} was asked to stop and had {} to do it; {asked}. It was still there at {}, when the stop timeout passed.",
            capital(&name),
            span(allowed),
            moment(at),
        );
        Some(breach(self, message, explanation))
    }

    /// Nobody killed it, yet it took longer than a supervisor would have waited.
    fn too_long(
        &self,
        run: &Evidence<'_>,
        life: &Life,
        request: &Request,
        timeouts: &[Timeout],
    ) -> Option<Violation> {
        let ended = request.followed.or(life.ended_at()).unwrap_or_else(|| end_of(run));
        if timeouts.iter().any(|(at, _)| (request.at..=ended).contains(at)) {
            return None;
        }
        // Nobody's stop timeout runs for a restart that was asked for directly: it has the drain's own budget, as long
        // as there is work, and then what closing takes. For a stop that overtakes it, one does.
        let stop_timeout = run.terms.stop_timeout;
        // Who stands in line behind another gateway has nothing to end, and begins again in line.
        let is_in_the_way = |other: &&Life| other.holds_port_at(request.at) || other.has_lock_at(request.at);
        let is_in_line = life.in_place
            && run.lives.iter().filter(|other| other.pid != life.pid).any(|other| is_in_the_way(&other));
        // Who finds its port taken has begun again, and stands in line from then on.
        let refused = run.events.iter().find_map(|event| match event.fact {
            Fact::BindRefused { pid, .. } if pid == life.pid && event.at >= request.at => Some(event.at),
            _ => None,
        });
        let began_again = refused.filter(|_| life.in_place).map_or(ended, |refused| refused.min(ended));
        let restart = Some((request.at, request.by)).filter(|(_, by)| by.is_restart() && !is_in_line);
        let restart = restart.map(|asked| {
            let work = work_done(run, asked.0, ended).saturating_sub(asked.0);
            (asked, work.max(disk_trouble(run, life, asked.0, ended)) + CLOSING)
        });
        let stop = request.stop.map(|(at, signal)| ((at, Cause::Signal(signal)), stop_timeout));
        let ((asked, by), allowed, took) = stop.into_iter().chain(restart).find_map(|(asked, allowed)| {
            let (from, by) = asked;
            let ended = if by.is_restart() { began_again } else { ended };
            let took = ended.saturating_sub(from).saturating_sub(life.frozen_between(from, ended));
            (took > allowed).then_some((asked, allowed, took))
        })?;
        let message = format!(
            "{} took {} to end after {by} (limit {})",
            capital(&life.name()),
            span(took),
            span(allowed)
        );
        let explanation = format!("{}; {}.", by.words(&life.name(), asked), life.end_words());
        Some(breach(self, message, explanation))
    }
}

/// How long a disk kept a gateway from beginning again in place. Whoever is refused tries again at growing intervals: the
/// next try comes when as much time again has gone by.
fn disk_trouble(run: &Evidence<'_>, life: &Life, asked: Duration, ended: Duration) -> Duration {
    let refused = run.mishaps.last_refusal(life.pid, asked, ended).filter(|_| life.in_place);
    refused.map_or(Duration::ZERO, |last| 2 * last.saturating_sub(asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::{complaints, verdict};
    use crate::timeline::story::Story;
    use gateway::env::{FsOp, Pid, Signal};

    fn signalled() -> Story {
        Story::new().at(0).serves(214).at(10_000).signal(Signal::Terminate)
    }

    #[test]
    fn the_limit_itself_is_in_time() {
        assert_eq!(complaints(&ShutdownWithinStopTimeout, signalled().at(100_000).exits(0)), [""; 0]);
        assert_eq!(
            complaints(&ShutdownWithinStopTimeout, signalled().at(100_100).exits(0)),
            ["Gateway pid 214 took 90.1 s to end after SIGTERM (limit 90.0 s)"]
        );
        assert_eq!(complaints(&ShutdownWithinStopTimeout, signalled().at(200_000).ended()).len(), 1);
    }

    #[test]
    fn a_restart_asked_for_directly_has_the_budget_of_its_drain() {
        let busy = || Story::new().at(0).serves(214).at(9_000).sent(1).accepted(1);
        let restarted = || busy().at(10_000).signal(Signal::User1);
        assert_eq!(complaints(&ShutdownWithinStopTimeout, restarted().at(110_000).exits(75)), [""; 0]);
        assert_eq!(
            complaints(&ShutdownWithinStopTimeout, restarted().at(110_100).exits(75)),
            ["Gateway pid 214 took 100.1 s to end after SIGUSR1 (limit 100.0 s)"]
        );
    }

    #[test]
    fn who_begins_again_in_place_and_finds_its_port_taken_stands_in_line() {
        let terms = Terms { restarts_in_place: true, ..Terms::default() };
        let left = |signal| Story::new().at(0).serves(214).at(10_000).signal(signal).at(12_000).releases();
        let exits =
            |story: Story, at| verdict(&ShutdownWithinStopTimeout, story.at(at).exits(78), &terms).len();
        assert_eq!(exits(left(Signal::User1).bind_refused(), 45_000), 0);
        assert_eq!(exits(left(Signal::User1), 45_000), 1, "nobody was in its way");
        assert_eq!(exits(left(Signal::User1).at(30_000).bind_refused(), 45_000), 1, "it was late by then");
        assert_eq!(exits(left(Signal::Terminate).bind_refused(), 145_000), 1, "it was to end");
    }

    #[test]
    fn a_restart_without_work_has_no_drain_to_hide_behind() {
        let idle = |ended| {
            let story = Story::new().at(0).serves(214).at(10_000).signal(Signal::User1).at(12_000).releases();
            complaints(&ShutdownWithinStopTimeout, story.at(ended).exits(0))
        };
        assert_eq!(idle(25_000), [""; 0]);
        assert_eq!(idle(45_000), ["Gateway pid 214 took 35.0 s to end after SIGUSR1 (limit 15.0 s)"]);
    }

    #[test]
    fn who_cannot_begin_again_because_of_the_disk_tries_until_it_can() {
        let terms = Terms { restarts_in_place: true, ..Terms::default() };
        let begins = |failing: bool, at| {
            let story = Story::new().at(0).serves(214).at(10_000).signal(Signal::User1).at(11_000).releases();
            let lock = "/state/gateway.lock";
            let story = match failing {
                true => story.at(30_000).disk_fails(FsOp::CreateNew, lock, "no space left"),
                false => story,
            };
            verdict(&ShutdownWithinStopTimeout, story.at(at).binds().at(900_000).ended(), &terms).len()
        };
        assert_eq!((begins(true, 65_000), begins(true, 65_001), begins(false, 65_000)), (0, 1, 1));
    }

    #[test]
    fn who_stands_in_line_begins_again_in_line() {
        let terms = Terms { restarts_in_place: true, ..Terms::default() };
        let in_line = |there: bool| {
            let story = if there { Story::new().at(0).serves(213) } else { Story::new() };
            let story = story.at(100).gateway(214).starts().disk(FsOp::Read, "/state/gateway.lock");
            let story = story.at(9_000).signal(Signal::User1).at(900_000).ended();
            verdict(&ShutdownWithinStopTimeout, story, &terms).len()
        };
        assert_eq!((in_line(true), in_line(false)), (0, 1));
        let behind_a_lock = |gives_it_back: bool| {
            let first = Story::new().at(0).gateway(213).starts().disk(FsOp::CreateNew, "/state/gateway.lock");
            let first = if gives_it_back { first.disk(FsOp::Remove, "/state/gateway.lock") } else { first };
            let story = first.at(100).gateway(214).starts().disk(FsOp::Read, "/state/gateway.lock");
            let story = story.at(9_000).signal(Signal::User1).at(900_000).ended();
            verdict(&ShutdownWithinStopTimeout, story, &terms).len()
        };
        assert_eq!((behind_a_lock(false), behind_a_lock(true)), (0, 1));
    }

    #[test]
    fn a_stop_that_overtakes_a_restart_has_its_own_limit() {
        let terms = Terms { drain_budget: Duration::from_secs(300), ..Terms::default() };
        let overtaken = |ended| {
            let busy = Story::new().at(0).serves(214).at(9_000).sent(1).accepted(1);
            let story = busy.at(10_000).signal(Signal::User1).at(20_000);
            verdict(&ShutdownWithinStopTimeout, story.signal(Signal::Terminate).at(ended).exits(0), &terms)
        };
        assert_eq!(overtaken(110_000), []);
        assert_eq!(
            overtaken(110_100)[0].message,
            "Gateway pid 214 took 90.1 s to end after SIGTERM (limit 90.0 s)"
        );
    }

    #[test]
    fn who_restarts_in_place_need_not_end_but_has_to_begin_again_in_time() {
        let terms = Terms { restarts_in_place: true, ..Terms::default() };
        let begins = |at| {
            let story = Story::new().at(0).serves(214).at(10_000).signal(Signal::User1);
            let story = story.at(at).releases();
            verdict(&ShutdownWithinStopTimeout, story.binds().at(900_000).ended(), &terms).len()
        };
        assert_eq!((begins(25_000), begins(25_100)), (0, 1));
        let stopped =
            Story::new().at(0).serves(214).at(10_000).signal(Signal::Terminate).at(11_000).releases();
        let found = verdict(&ShutdownWithinStopTimeout, stopped.binds().at(900_000).ended(), &terms);
        assert_eq!(found.len(), 1, "a stop is a stop");
    }

    #[test]
    fn a_kill_by_the_supervisor_is_one_violation() {
        let story = Story::new().at(0).serves(214).at(10_000).stopping(5_000).signal(Signal::Terminate);
        let story = story.at(15_000).supervisor(Fact::StopTimedOut).dies(DeathCause::Killed);
        let found = verdict(&ShutdownWithinStopTimeout, story, &Terms::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].message, "The supervisor had to kill gateway pid 214 after 5.0 s");
    }

    #[test]
    fn the_first_process_of_a_container_cannot_hear_before_it_has_begun() {
        let unheard = |story: Story| {
            let missed = Fact::SignalDelivered { pid: Pid(1), signal: Signal::Terminate, handled: false };
            story.stopping(5_000).fact(crate::timeline::Source::Supervisor, missed)
        };
        let killed = |story: Story| {
            let story = story.at(20_000).supervisor(Fact::StopTimedOut).dies(DeathCause::Killed);
            complaints(&ShutdownWithinStopTimeout, story).len()
        };
        let starts = || Story::new().at(14_000).gateway(1).starts().at(15_000);
        let begins = |story: Story| story.at(16_000).disk(FsOp::Read, "/state/inbox.jsonl").binds();
        assert_eq!(killed(begins(unheard(starts()))), 0);
        assert_eq!(killed(unheard(begins(starts()))), 1, "a program that runs has its handlers");
    }

    #[test]
    fn a_frozen_process_is_not_to_blame() {
        let story = signalled().at(11_000).frozen().at(99_000).thawed().at(101_000).exits(0);
        assert_eq!(complaints(&ShutdownWithinStopTimeout, story), [""; 0]);
        let story = signalled().stopping(90_000).frozen().at(100_000).supervisor(Fact::StopTimedOut);
        assert_eq!(complaints(&ShutdownWithinStopTimeout, story.dies(DeathCause::Killed)), [""; 0]);
    }

    #[test]
    fn who_was_started_by_hand_is_not_the_one_whose_time_is_over() {
        let killed = |is_frozen: bool| {
            let both = Story::new().at(0).serves(214).at(5_000).releases().gateway(215).starts();
            let asked = both.at(10_000).stopping(5_000);
            let asked = if is_frozen { asked.frozen() } else { asked.signal(Signal::Terminate) };
            let story = asked.at(15_000).supervisor(Fact::StopTimedOut).dies(DeathCause::Killed);
            verdict(&ShutdownWithinStopTimeout, story, &Terms::default())
        };
        assert_eq!(killed(true), []);
        let found = killed(false);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].message, "The supervisor had to kill gateway pid 215 after 5.0 s");
    }

    #[test]
    fn who_goes_along_when_a_container_is_killed_is_not_the_one_whose_time_is_over() {
        let killed = |is_heard: bool| {
            let order = Fact::Ordered { order: crate::timeline::OperatorOrder::StartByHand };
            let by_hand = Story::new().at(0).fact(crate::timeline::Source::Operator, order).serves(3);
            let asked = by_hand.at(9_000).gateway(1).starts().at(10_000).stopping(5_000);
            let asked = match is_heard {
                true => asked.signal(Signal::Terminate),
                false => {
                    let missed =
                        Fact::SignalDelivered { pid: Pid(1), signal: Signal::Terminate, handled: false };
                    asked.fact(crate::timeline::Source::Supervisor, missed)
                }
            };
            let asked = asked.at(10_100).disk(FsOp::Read, "/state/inbox.jsonl");
            let over = asked.at(15_000).supervisor(Fact::StopTimedOut).dies(DeathCause::Killed);
            complaints(&ShutdownWithinStopTimeout, over.gateway(3).dies(DeathCause::Killed))
        };
        assert_eq!(killed(false), [""; 0]);
        assert_eq!(killed(true), ["The supervisor had to kill gateway pid 1 after 5.0 s"]);
    }
}
