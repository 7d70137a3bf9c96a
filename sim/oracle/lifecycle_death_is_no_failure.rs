//! A program that the end of its service kills has not failed: the model that waits for it is told of no failure.
//!
//! Supervisors may signal all processes of a service at once, and the children die first. What the model was told, and
//! when the signals came, is seen from outside.

use std::time::Duration;

use gateway::env::Pid;

use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{capital, moment, quoted};
use crate::timeline::{DeathCause, Fact};

/// How far apart the signal to a child and that to its gateway may be.
const TOGETHER: Duration = Duration::from_secs(1);

/// A program that the end of its service kills has not failed.
pub(super) struct LifecycleDeathIsNoFailure;

impl Oracle for LifecycleDeathIsNoFailure {
    fn invariant(&self) -> &'static str {
        "lifecycle-death-is-no-failure"
    }

    fn sentence(&self) -> &'static str {
        "A program that dies with its service interrupts the run that waits for it, and is no failure to answer to."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        deaths(run).iter().filter_map(|death| self.blamed(run, death)).collect()
    }
}

/// A program that was killed by a signal while its gateway was being ended.
struct Death {
    at: Duration,
    by: Pid,
}

fn deaths(run: &Evidence<'_>) -> Vec<Death> {
    let mut at_work: Vec<(Pid, Pid)> = Vec::new();
    let mut deaths = Vec::new();
    for event in run.events {
        match &event.fact {
            Fact::CommandBegan { pid, by, .. } => at_work.push((*pid, *by)),
            Fact::ProcessExited { pid, cause, .. } => {
                let Some(place) = at_work.iter().position(|(child, _)| child == pid) else { continue };
                let (_, by) = at_work.swap_remove(place);
                if matches!(cause, DeathCause::Signal(_)) && is_asked_around(run, by, event.at) {
                    deaths.push(Death { at: event.at, by });
                }
            }
            _ => {}
        }
    }
    deaths
}

/// Whether the gateway was asked to end at about this moment.
fn is_asked_around(run: &Evidence<'_>, gateway: Pid, moment: Duration) -> bool {
    let lives = run.lives.iter().filter(|life| life.pid == gateway);
    lives.flat_map(|life| &life.ending_signals).any(|(at, _)| at.abs_diff(moment) <= TOGETHER)
}

impl LifecycleDeathIsNoFailure {
    fn blamed(&self, run: &Evidence<'_>, death: &Death) -> Option<Violation> {
        let until = run.lives.iter().find_map(|life| {
            let ended = life.ended_at()?;
            (life.pid == death.by && life.started_at <= death.at && ended >= death.at).then_some(ended)
        });
        let told = run.events.iter().find_map(|event| match &event.fact {
            Fact::ProgramTold { message, said }
                if event.at >= death.at
                    && until.is_none_or(|until| event.at <= until)
                    && said.contains("killed by") =>
            {
                Some((event.at, message, said))
            }
            _ => None,
        });
        let (at, message, said) = told?;
        let title =
            format!("A program of {message} died with its service, and the model was told that it failed");
        let explanation = format!(
            "{} was being ended when it died at {}. At {} the model was told: {}.",
            capital(&format!("gateway pid {}", death.by)),
            moment(death.at),
            moment(at),
            quoted(said),
        );
        Some(breach(self, title, explanation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::Source;
    use crate::timeline::story::{MACHINE, Story, id};
    use gateway::env::Signal;

    const ORACLE: LifecycleDeathIsNoFailure = LifecycleDeathIsNoFailure;
    const CHILD: Pid = Pid(300);

    fn at_work() -> Story {
        let began =
            Fact::CommandBegan { pid: CHILD, by: Pid(214), arguments: Vec::new(), input: String::new() };
        Story::new().at(0).serves(214).at(1_000).fact(Source::Process(CHILD), began).at(5_000)
    }

    fn child_dies(story: Story) -> Story {
        let cause = DeathCause::Signal(Signal::Terminate);
        let fact =
            Fact::ProcessExited { pid: CHILD, machine: MACHINE.into(), program: "build".into(), cause };
        story.fact(Source::Process(CHILD), fact)
    }

    fn told(story: Story) -> Story {
        let fact = Fact::ProgramTold { message: id("ann#1"), said: "killed by SIGTERM".into() };
        story.fact(Source::Provider, fact)
    }

    #[test]
    fn a_program_that_dies_with_its_service_is_not_to_blame() {
        let stopped = || child_dies(at_work().signal(Signal::Terminate));
        assert_eq!(complaints(&ORACLE, stopped().at(6_000).exits(0)), [""; 0]);
        assert_eq!(
            complaints(&ORACLE, told(stopped().at(5_010)).at(6_000).exits(0)),
            ["A program of ann#1 died with its service, and the model was told that it failed"]
        );
    }

    #[test]
    fn one_that_somebody_kills_has_failed() {
        assert_eq!(complaints(&ORACLE, told(child_dies(at_work()).at(5_010)).at(60_000).ended()), [""; 0]);
    }
}
