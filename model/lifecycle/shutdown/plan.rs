//! The plan of a shutdown: its steps as data, each with a name, its work, a limit, and what it means to exceed it.
//!
//! Pure. The steps of the hardened plan share the budget of the close, whatever that is, and leave a part of it over;
//! so the forced exit that stands behind them is nothing that a peer could bring about. History's plans are what its
//! code was: fixed limits or none.

use std::time::Duration;

use crate::policy::PeerClose;
use crate::wire::{Idle, LIBRARY_PATIENCE, Which};

/// One step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) work: Work,
    /// How long it may take; `None`: for ever.
    pub(super) limit: Option<Duration>,
    pub(super) if_late: IfLate,
}

/// What is done in a step. Each can be begun again when it was broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Ends of messages that the disk refused are written once more.
    Settlements,
    /// The connections to platforms are closed.
    Channels,
    /// The port is closed.
    Listener,
    /// These are told and asked to close, as far as they speak WebSocket.
    Goodbye(Which),
    /// HTTP connections with nothing to wait for leave, the others after their answer.
    Dismiss(Idle),
    /// Waits until none of these is left.
    Gone(Which),
    /// These are reset.
    Reset(Which),
}

/// What it means that a step is not done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfLate {
    GoOn,
    /// The whole shutdown has failed.
    Fails,
}

/// How long closing the port may take: the end of one task of ours.
const LISTENER: Duration = Duration::from_millis(250);
/// How long platforms get for it.
const CHANNELS: Duration = Duration::from_secs(1);
/// How long peers get for the closing handshake (OpenClaw 2026.5.3-1: 1 s).
const GRACE: Duration = Duration::from_secs(1);
/// How long connections may take to end once they were reset (OpenClaw 2026.5.3-1: 250 ms).
const AFTER_RESET: Duration = Duration::from_millis(250);
/// How long OpenClaw 2026.5.3-1 waits for HTTP connections once it has ended them.
const HTTP_AFTER_RESET: Duration = Duration::from_secs(5);

/// The steps of a shutdown; `budget` is what all of them may take together.
pub(super) fn plan(policy: PeerClose, budget: Option<Duration>) -> Vec<Step> {
    let mut steps = vec![at_once("settlements", Work::Settlements)];
    steps.extend(match policy {
        PeerClose::GraceThenReset => grace_then_reset(),
        PeerClose::GraceUnbounded => {
            let unbounded = |step: Step| match step.work {
                Work::Gone(_) => Step { limit: None, ..step },
                _ => step,
            };
            grace_then_reset().into_iter().map(unbounded).collect()
        }
        PeerClose::HttpForgotten => http_forgotten(),
        PeerClose::WaitForPeers => return [steps, openclaw_2026_3_2()].concat(),
        PeerClose::StepByStep => return [steps, openclaw_2026_5_3()].concat(),
    });
    match budget {
        Some(budget) => shared(steps, budget),
        None => steps,
    }
}

/// Whether the port is the first thing that such a shutdown gives back.
pub(crate) const fn frees_port_first(policy: PeerClose) -> bool {
    matches!(policy, PeerClose::GraceThenReset | PeerClose::GraceUnbounded)
}

fn grace_then_reset() -> Vec<Step> {
    vec![
        within(LISTENER, "listener", Work::Listener),
        within(CHANNELS, "channels", Work::Channels),
        at_once("goodbye", Work::Goodbye(Which::All)),
        at_once("idle connections", Work::Dismiss(Idle::BetweenRequests)),
        within(GRACE, "connections", Work::Gone(Which::All)),
        at_once("reset", Work::Reset(Which::All)),
        within(AFTER_RESET, "reset connections", Work::Gone(Which::All)),
    ]
}

fn http_forgotten() -> Vec<Step> {
    vec![
        at_once("goodbye", Work::Goodbye(Which::All)),
        within(GRACE, "websocket clients", Work::Gone(Which::WebSockets)),
        at_once("reset", Work::Reset(Which::WebSockets)),
        within(AFTER_RESET, "reset websocket clients", Work::Gone(Which::WebSockets)),
        for_ever("http connections", Work::Gone(Which::Http)),
        within(LISTENER, "listener", Work::Listener),
    ]
}

/// No limit of a step: the one that there is stands in the library. The port is free once nothing but HTTP
/// connections is left, since Node.js stops listening first and waits then.
fn openclaw_2026_3_2() -> Vec<Step> {
    vec![
        at_once("goodbye", Work::Goodbye(Which::Clients)),
        within(LIBRARY_PATIENCE, "websocket clients", Work::Gone(Which::Clients)),
        at_once("clients that never answered", Work::Reset(Which::Clients)),
        for_ever("websocket server", Work::Gone(Which::WebSockets)),
        for_ever("listener", Work::Listener),
        at_once("idle connections", Work::Dismiss(Idle::AfterARequest)),
        for_ever("http server", Work::Gone(Which::All)),
    ]
}

fn openclaw_2026_5_3() -> Vec<Step> {
    let failing = |step: Step| Step { if_late: IfLate::Fails, ..step };
    vec![
        at_once("goodbye", Work::Goodbye(Which::Clients)),
        within(GRACE, "websocket server", Work::Gone(Which::WebSockets)),
        at_once("terminated websockets", Work::Reset(Which::WebSockets)),
        within(AFTER_RESET, "terminated websocket server", Work::Gone(Which::WebSockets)),
        for_ever("listener", Work::Listener),
        at_once("idle connections", Work::Dismiss(Idle::AfterARequest)),
        within(GRACE, "http server", Work::Gone(Which::All)),
        at_once("closed connections", Work::Reset(Which::All)),
        failing(within(HTTP_AFTER_RESET, "closed http server", Work::Gone(Which::All))),
    ]
}

const fn within(limit: Duration, name: &'static str, work: Work) -> Step {
    Step { name, work, limit: Some(limit), if_late: IfLate::GoOn }
}

const fn at_once(name: &'static str, work: Work) -> Step {
    within(Duration::ZERO, name, work)
}

const fn for_ever(name: &'static str, work: Work) -> Step {
    Step { name, work, limit: None, if_late: IfLate::GoOn }
}

/// Shortens the limits, in proportion, to three quarters of the budget if they are longer together.
fn shared(mut steps: Vec<Step>, budget: Duration) -> Vec<Step> {
    let together: Duration = steps.iter().filter_map(|step| step.limit).sum();
    let share = budget / 4 * 3;
    if together > share {
        for limit in steps.iter_mut().filter_map(|step| step.limit.as_mut()) {
            let nanos = limit.as_nanos() * share.as_nanos() / together.as_nanos();
            *limit = Duration::from_nanos(u64::try_from(nanos).expect("it was shortened"));
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(policy: PeerClose) -> Vec<&'static str> {
        plan(policy, None).iter().map(|step| step.name).collect()
    }

    fn together(policy: PeerClose, budget: Option<Duration>) -> Option<Duration> {
        plan(policy, budget).iter().map(|step| step.limit).sum()
    }

    #[test]
    fn the_hardened_steps_leave_a_part_of_any_budget_over() {
        for budget_ms in (0..200).chain((200..20_000).step_by(37)) {
            let budget = Duration::from_millis(budget_ms);
            let together = together(PeerClose::GraceThenReset, Some(budget)).expect("all are limited");
            assert!(together <= budget / 4 * 3, "{together:?} of {budget:?}");
        }
        let normal = together(PeerClose::GraceThenReset, Some(Duration::from_secs(5)));
        assert_eq!(normal, Some(Duration::from_millis(2_500)));
    }

    #[test]
    fn the_port_is_closed_before_anybody_is_told_and_history_told_first() {
        assert_eq!(names(PeerClose::GraceThenReset)[..3], ["settlements", "listener", "channels"]);
        for policy in [PeerClose::WaitForPeers, PeerClose::StepByStep] {
            let names = names(policy);
            let place = |name| names.iter().position(|known| *known == name);
            assert!(place("listener") > place("goodbye"), "{names:?}");
        }
    }

    #[test]
    fn every_hardened_step_is_limited_and_no_name_is_used_twice() {
        assert!(together(PeerClose::GraceThenReset, None).is_some());
        assert_eq!(together(PeerClose::GraceUnbounded, None), None);
        assert_eq!(together(PeerClose::WaitForPeers, Some(Duration::from_secs(5))), None);
        for policy in [PeerClose::GraceThenReset, PeerClose::WaitForPeers, PeerClose::StepByStep] {
            let mut names = names(policy);
            names.sort_unstable();
            assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        }
    }
}
