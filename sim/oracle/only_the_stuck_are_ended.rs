//! A starting gateway ends nobody but a gateway that is stuck.
//!
//! Seen from outside, a gateway is stuck when it has stood still for long, and, if it never held the port, is too old
//! to be still on its way; or when it was asked to end and has not, long after its supervisor would have lost
//! patience. Whoever is ended otherwise was healthy, or busy starting, or not the starter's to end.

use std::collections::BTreeSet;
use std::time::Duration;

use gateway::env::Pid;

use super::life::Life;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::Fact;
use crate::timeline::words::{capital, moment, span};

/// A starting gateway ends nobody but a gateway that is stuck.
pub(super) struct OnlyTheStuckAreEnded;

impl Oracle for OnlyTheStuckAreEnded {
    fn invariant(&self) -> &'static str {
        "only-the-stuck-are-ended"
    }

    fn sentence(&self) -> &'static str {
        "A starting gateway ends nobody but a gateway that is stuck."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let mut found = Vec::new();
        // Several signals to one victim are one deed.
        let mut seen = BTreeSet::new();
        for event in run.events {
            let Fact::ProcessStruck { pid, by, signal } = &event.fact else { continue };
            let victim = run.lives.iter().rev().find(|life| is_at(life, *pid, event.at));
            let Some(why) = wrong(run, victim, event.at) else { continue };
            if !seen.insert((*pid, victim.map(|life| life.started_at))) {
                continue;
            }
            let name = victim.map_or_else(|| format!("process {pid}"), Life::name);
            let message = format!("Gateway pid {by} ended {name}, which was {why}");
            let explanation = format!(
                "{} sent {} to {name} at {}. {}",
                capital(&format!("gateway pid {by}")),
                signal.name(),
                moment(event.at),
                victim.map_or_else(|| "No gateway had this id.".to_string(), |life| describe(life, event.at)),
            );
            found.push(breach(self, message, explanation));
        }
        found
    }
}

/// Whether it lived then. What ends it may come at the very moment of its end.
fn is_at(life: &Life, pid: Pid, at: Duration) -> bool {
    life.pid == pid && life.started_at <= at && life.ended_at().is_none_or(|ended| ended >= at)
}

/// How long it takes from a look at who is in the way to the signal that ends it.
const LOOKING: Duration = Duration::from_secs(1);

/// What the victim was that must not be ended; `None` when it was stuck.
fn wrong(run: &Evidence<'_>, victim: Option<&Life>, at: Duration) -> Option<&'static str> {
    let Some(life) = victim else { return Some("no gateway") };
    let overdue = life.ending_signals.iter().any(|(asked, _)| *asked + run.terms.stop_timeout < at);
    // Between the look and the signal it may go on.
    let looked_at = at.saturating_sub(LOOKING);
    let is_still = life.still_for(at).max(life.still_for(looked_at)) >= run.terms.stuck_after;
    let has_listened = life.holds.iter().any(|hold| hold.from <= at);
    let is_old = at.saturating_sub(life.started_at) >= run.terms.longest_boot;
    match (has_listened || is_old, is_still || overdue) {
        (_, false) if life.holds_port_at(at) => Some("healthy"),
        (_, false) => Some("at work"),
        (false, true) => Some("starting"),
        (true, true) => None,
    }
}

fn describe(life: &Life, at: Duration) -> String {
    let started = format!("It had been started at {}", moment(life.started_at));
    let port = if life.holds_port_at(at) { "held the port" } else { "did not hold the port" };
    match life.still_for(at) {
        Duration::ZERO => format!("{started}, {port}, and was not standing still."),
        still => format!("{started}, {port}, and had been standing still for {}.", span(still)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::{complaints, verdict};
    use crate::timeline::DeathCause;
    use crate::timeline::story::Story;
    use gateway::env::{EndSignal, Signal};

    const TERM: EndSignal = EndSignal::Terminate;

    fn beside(story: Story, at: u64) -> Story {
        story.at(at).gateway(215).starts()
    }

    #[test]
    fn a_healthy_gateway_that_is_ended_is_a_violation_and_one_only() {
        let story = beside(Story::new().at(0).serves(214), 5_000).strikes(214, TERM);
        let found = verdict(&OnlyTheStuckAreEnded, story.strikes(214, EndSignal::Kill), &Terms::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].message, "Gateway pid 215 ended gateway pid 214, which was healthy");
        assert_eq!(
            found[0].explanation,
            "Gateway pid 215 sent SIGTERM to gateway pid 214 at 5.000 s. It had been started at 0.000 s, held the \
             port, and was not standing still."
        );
    }

    #[test]
    fn who_stood_still_for_long_may_be_ended_and_not_a_moment_sooner() {
        let still = |struck| beside(Story::new().at(0).serves(214).at(10_000).frozen(), 20_000).at(struck);
        assert_eq!(complaints(&OnlyTheStuckAreEnded, still(70_000).strikes(214, TERM)), [""; 0]);
        assert_eq!(complaints(&OnlyTheStuckAreEnded, still(69_999).strikes(214, TERM)).len(), 1);
        let just_now = still(71_500).gateway(214).thawed().at(71_900).gateway(215).strikes(214, TERM);
        assert_eq!(complaints(&OnlyTheStuckAreEnded, just_now), [""; 0], "it went on while it was looked at");
        let again = still(60_000).gateway(214).thawed().at(80_000).gateway(215).strikes(214, TERM);
        assert_eq!(complaints(&OnlyTheStuckAreEnded, again).len(), 1);
    }

    #[test]
    fn who_wakes_and_follows_sigterm_may_not_be_killed_for_it() {
        let struck = || {
            let story = beside(Story::new().at(0).serves(214).at(10_000).frozen(), 20_000).at(80_000);
            story.strikes(214, TERM).at(81_000).gateway(214).thawed().signal(Signal::Terminate)
        };
        let killed = struck().at(90_000).gateway(215).strikes(214, EndSignal::Kill);
        assert_eq!(
            complaints(&OnlyTheStuckAreEnded, killed),
            ["Gateway pid 215 ended gateway pid 214, which was healthy"]
        );
        assert_eq!(complaints(&OnlyTheStuckAreEnded, struck().at(90_000).exits(0)), [""; 0]);
        let stays_still = beside(Story::new().at(0).serves(214).at(10_000).frozen(), 20_000).at(80_000);
        let killed = stays_still.strikes(214, TERM).at(90_000).strikes(214, EndSignal::Kill).gateway(214);
        assert_eq!(complaints(&OnlyTheStuckAreEnded, killed.dies(DeathCause::Killed)), [""; 0]);
    }

    #[test]
    fn who_never_listened_may_be_starting_however_still() {
        let still = |struck| beside(Story::new().at(0).gateway(214).starts().frozen(), 1_000).at(struck);
        let early = complaints(&OnlyTheStuckAreEnded, still(599_999).strikes(214, TERM));
        assert_eq!(early, ["Gateway pid 215 ended gateway pid 214, which was starting"]);
        assert_eq!(complaints(&OnlyTheStuckAreEnded, still(600_000).strikes(214, TERM)), [""; 0]);
    }

    #[test]
    fn who_was_asked_to_end_long_ago_may_be_ended() {
        let asked = |struck| beside(Story::new().at(0).serves(214).signal(Signal::User1), 1_000).at(struck);
        assert_eq!(complaints(&OnlyTheStuckAreEnded, asked(90_001).strikes(214, TERM)), [""; 0]);
        assert_eq!(complaints(&OnlyTheStuckAreEnded, asked(90_000).strikes(214, TERM)).len(), 1);
    }

    #[test]
    fn nobody_elses_process_may_be_ended_ever() {
        let story = beside(Story::new().at(0).serves(214).at(1).exits(0), 5_000).strikes(214, TERM);
        let found = complaints(&OnlyTheStuckAreEnded, story);
        assert_eq!(found, ["Gateway pid 215 ended process 214, which was no gateway"]);
    }
}
