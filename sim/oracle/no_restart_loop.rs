//! The service never starts again and again without coming up.
//!
//! A failed start is a life that ended by its own doing before it ever held the port: with an error, or without
//! anybody having asked for its end. A few of them in a row are bad luck; more within the window, or a supervisor that gives up, are a loop.

use gateway::env::ExitCode;

use super::life::Life;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{capital, moment, span};
use crate::timeline::{DeathCause, Event, Fact};

/// The service never starts again and again without coming up.
pub(super) struct NoRestartLoop;

impl Oracle for NoRestartLoop {
    fn invariant(&self) -> &'static str {
        "no-restart-loop"
    }

    fn sentence(&self) -> &'static str {
        "The service never starts again and again without coming up."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let lives = &run.lives;
        // Who finds a store that nothing can restore refuses to start, as often as it is started.
        let may_refuse = |at| run.mishaps.store_is_beyond_repair(at);
        // Whoever asks a process to begin again that has not come up yet gets a process that has not come up yet.
        let began_again = |life: &Life| {
            let asked = run.mishaps.restart_signals().any(|(to, at)| {
                to == life.pid && life.started_at <= at && life.ended_at().is_some_and(|end| at <= end)
            });
            asked && matches!(life.ended, Some((_, DeathCause::Exited(ExitCode::RESTART))))
        };
        // Whoever has it started again and again by the supervisor is no loop either.
        let was_ordered = |life: &Life| run.mishaps.was_ordered(life.started_at, life.started_at);
        let is_failure = |life: &&Life| {
            failed_to_start(life) && !may_refuse(life.started_at) && !began_again(life) && !was_ordered(life)
        };
        let failed: Vec<_> = lives.iter().filter(is_failure).collect();
        let is_limit = |event: &&Event| {
            event.fact == Fact::StartLimitHit && !may_refuse(event.at) && !run.was_worn_out(event.at)
        };
        let gave_up = run.events.iter().find(is_limit);
        if let Some(event) = gave_up {
            let starts = lives.iter().filter(|life| life.started_at <= event.at).count();
            let message = "The supervisor gave up: too many starts in too short a time".to_string();
            let last = failed.iter().rev().find(|life| life.started_at <= event.at);
            let failures = last.map_or_else(String::new, |life| format!(" {}", describe(life)));
            let explanation =
                format!("The start limit was hit at {} after {starts} starts.{failures}", moment(event.at));
            return vec![breach(self, message, explanation)];
        }
        let limit = run.terms.restart_loop_limit;
        let too_many = failed.windows(limit.failed_starts + 1).find(|starts| {
            let [first, .., last] = starts else { return !starts.is_empty() };
            last.started_at.saturating_sub(first.started_at) <= limit.within
        });
        let Some(starts) = too_many else { return Vec::new() };
        let (first, last) = (starts[0], starts[starts.len() - 1]);
        let message = format!(
            "{} starts failed within {} (limit {} in {})",
            starts.len(),
            span(last.started_at.saturating_sub(first.started_at)),
            limit.failed_starts,
            span(limit.within),
        );
        let explanation = format!(
            "From {} on the service was started {} times and ended each time before it held the port; {} starts \
             failed in the whole run. {}",
            moment(first.started_at),
            starts.len(),
            failed.len(),
            describe(last),
        );
        vec![breach(self, message, explanation)]
    }
}

fn failed_to_start(life: &Life) -> bool {
    let failed = match life.ended {
        // A polite status is no better: a supervisor that keeps it alive starts it again (openclaw/openclaw#89784).
        Some((_, DeathCause::Exited(code))) => code.0 != 0 || life.ending_signals.is_empty(),
        Some((_, cause)) => cause == DeathCause::Panicked,
        None => false,
    };
    // Whoever starts one by hand beside the service, and again, is no loop.
    failed && life.holds.is_empty() && !life.by_hand
}

fn describe(life: &Life) -> String {
    format!("{} started at {}; {}.", capital(&life.name()), moment(life.started_at), life.end_words())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::story::Story;
    use crate::timeline::{Injection, OperatorOrder, Source};
    use gateway::env::Signal;

    #[test]
    fn starts_that_somebody_ordered_are_no_loop() {
        let told = |ordered: u32| {
            let starts = (0..6_u32).fold(Story::new(), |story, n| {
                let order = Fact::Ordered { order: OperatorOrder::Start };
                let story = story.at(u64::from(n) * 1_000);
                let story = if n < ordered { story.fact(Source::Operator, order) } else { story };
                story.gateway(100 + n).starts().exits(78)
            });
            complaints(&NoRestartLoop, starts.ended()).len()
        };
        assert_eq!((told(0), told(1), told(2)), (1, 1, 0), "four may fail");
    }

    #[test]
    fn who_refuses_a_store_that_nothing_can_restore_is_no_loop() {
        let what = "agents/main/sessions/sessions.json in the state directory is overwritten";
        let refuses = |talks: bool| {
            let first = Story::new().at(0).serves(100);
            let first = if talks { first.sent(1).asked(1, 1) } else { first };
            let spoilt = first.exits(0).at(500).injected(Injection::CorruptState, what);
            let starts = (1..=6_u32)
                .fold(spoilt, |story, n| story.at(u64::from(n) * 1_000).gateway(100 + n).starts().exits(78));
            complaints(&NoRestartLoop, starts.ended()).len()
        };
        assert_eq!((refuses(false), refuses(true)), (0, 1));
    }

    /// `count` starts, one each `every_ms`, that all end with status 1 before they serve.
    fn failing(count: u32, every_ms: u64) -> Story {
        (0..count).fold(Story::new(), |story, n| {
            let at = u64::from(n) * every_ms;
            story.at(at).gateway(300 + n).starts().at(at + 5).exits(1)
        })
    }

    #[test]
    fn four_failed_starts_are_bad_luck_and_five_are_a_loop() {
        assert_eq!(complaints(&NoRestartLoop, failing(4, 1_000)), [""; 0]);
        assert_eq!(
            complaints(&NoRestartLoop, failing(5, 1_000)),
            ["5 starts failed within 4.0 s (limit 4 in 60.0 s)"]
        );
    }

    #[test]
    fn a_polite_exit_status_makes_it_no_better_unless_somebody_asked_for_the_end() {
        let polite = |asked: bool| {
            (0..5).fold(Story::new(), |story, n| {
                let starts = story.at(n * 1_000).gateway(300 + n as u32).starts();
                let asked = if asked { starts.signal(Signal::Terminate) } else { starts };
                asked.at(n * 1_000 + 5).exits(0)
            })
        };
        assert_eq!(complaints(&NoRestartLoop, polite(false)).len(), 1);
        assert_eq!(complaints(&NoRestartLoop, polite(true)), [""; 0]);
    }

    #[test]
    fn who_is_asked_to_begin_again_before_it_came_up_is_no_loop_when_it_does_so() {
        let asked = |signal: Option<Signal>, status: u8| {
            let all = (0..5).fold(Story::new(), |story, n| {
                let starts = story.at(n * 1_000).gateway(300 + n as u32).starts().at(n * 1_000 + 5);
                let asked = signal.into_iter().fold(starts, Story::signal);
                asked.at(n * 1_000 + 10).exits(status)
            });
            complaints(&NoRestartLoop, all).len()
        };
        assert_eq!(asked(Some(Signal::User1), 75), 0);
        assert_eq!([asked(None, 75), asked(Some(Signal::User1), 1)], [1, 1]);
    }

    #[test]
    fn what_an_operator_starts_again_and_again_is_no_loop() {
        let by_hand = crate::timeline::OperatorOrder::StartByHand;
        let all = (0..5).fold(Story::new(), |story, n| {
            let ordered = Fact::Ordered { order: by_hand };
            let story = story.at(n * 1_000).fact(crate::timeline::Source::Operator, ordered);
            story.gateway(300 + n as u32).starts().at(n * 1_000 + 5).exits(78)
        });
        assert_eq!(complaints(&NoRestartLoop, all), [""; 0]);
    }

    #[test]
    fn slow_failures_are_not_a_loop() {
        assert_eq!(complaints(&NoRestartLoop, failing(5, 15_000)).len(), 1);
        assert_eq!(complaints(&NoRestartLoop, failing(9, 15_001)), [""; 0]);
    }

    #[test]
    fn starts_that_served_or_were_killed_do_not_count() {
        let served =
            (0..9).fold(Story::new(), |story, n| story.at(u64::from(n) * 100).serves(300 + n).exits(1));
        assert_eq!(complaints(&NoRestartLoop, served), [""; 0]);
        let killed = (0..9).fold(Story::new(), |story, n| {
            story.at(u64::from(n) * 100).gateway(300 + n).starts().dies(DeathCause::Killed)
        });
        assert_eq!(complaints(&NoRestartLoop, killed), [""; 0]);
    }

    #[test]
    fn who_forces_restart_after_restart_wears_the_supervisor_out() {
        let forced = |mode, times: u32| {
            let all = (0..6).fold(Story::new(), |story, n| {
                let story = story.at(u64::from(n) * 1_000).serves(300 + n);
                let asked = |story: Story| {
                    let story = story.asks_for_restart(n, mode);
                    story.answers_restart(n, true, Some("scheduled"), "it comes")
                };
                let story = if n < times { asked(story) } else { story };
                story.at(u64::from(n) * 1_000 + 5).exits(75)
            });
            complaints(&NoRestartLoop, all.supervisor(Fact::StartLimitHit)).len()
        };
        use crate::timeline::RestartMode::{Force, Plain};
        assert_eq!([forced(Force, 6), forced(Force, 5), forced(Force, 4), forced(Plain, 6)], [0, 0, 1, 1]);
    }

    #[test]
    fn who_is_asked_to_restart_again_and_again_and_takes_its_time_is_no_loop() {
        let asked = |asks: bool, pace_ms: u64| {
            let all = (0..6).fold(Story::new(), |story, n| {
                let story = story.at(u64::from(n) * pace_ms).serves(300 + n);
                let story = match asks {
                    true => story.at(u64::from(n + 1) * pace_ms - 20).gateway(300 + n).signal(Signal::User1),
                    false => story,
                };
                story.gateway(300 + n).at(u64::from(n + 1) * pace_ms - 10).exits(75)
            });
            complaints(&NoRestartLoop, all.supervisor(Fact::StartLimitHit)).len()
        };
        assert_eq!([asked(true, 20_020), asked(true, 20_000), asked(false, 20_020)], [0, 1, 1]);
    }

    #[test]
    fn who_orders_restart_after_restart_of_the_supervisor_wears_it_out() {
        let ordered = |times: u32| {
            let all = (0..6).fold(Story::new(), |story, n| {
                let story = story.at(u64::from(n) * 1_000).serves(300 + n).at(u64::from(n) * 1_000 + 10);
                let order = Fact::Ordered { order: crate::timeline::OperatorOrder::Restart };
                let by_operator = crate::timeline::Source::Operator;
                let story = if n < times { story.fact(by_operator, order) } else { story };
                story.gateway(300 + n).at(u64::from(n) * 1_000 + 20).exits(0)
            });
            complaints(&NoRestartLoop, all.supervisor(Fact::StartLimitHit)).len()
        };
        assert_eq!([ordered(5), ordered(4)], [0, 1]);
    }

    #[test]
    fn what_is_killed_again_and_again_from_outside_wears_the_supervisor_out() {
        // Four starts end by themselves, the others as they are told to.
        let worn_out = |deaths: u32, struck: bool| {
            let own = (0..4).fold(Story::new(), |story, n| {
                story.at(u64::from(n) * 1_000).serves(300 + n).at(u64::from(n) * 1_000 + 5).exits(75)
            });
            let all = (0..deaths).fold(own, |story, n| {
                let story = story.at(10_000 + u64::from(n) * 1_000).gateway(400 + n).starts();
                let story = story.at(10_005 + u64::from(n) * 1_000);
                let story = match struck {
                    true => story.strikes(400 + n, gateway::env::EndSignal::Kill),
                    false => story,
                };
                story.dies(DeathCause::Killed)
            });
            complaints(&NoRestartLoop, all.supervisor(Fact::StartLimitHit)).len()
        };
        assert_eq!([worn_out(5, false), worn_out(4, false), worn_out(5, true)], [0, 1, 1]);
    }

    #[test]
    fn a_supervisor_that_gives_up_is_always_a_violation() {
        let story = failing(3, 1_000).supervisor(Fact::StartLimitHit);
        assert_eq!(
            complaints(&NoRestartLoop, story),
            ["The supervisor gave up: too many starts in too short a time"]
        );
    }
}
