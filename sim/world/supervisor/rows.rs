//! One row per rule: what happens at which second, what the supervisor does about it, and the state it is in then.

use std::time::Duration;

use gateway::env::{ExitCode, Signal};

use super::policy::{Action, Input, Supervisor, TimerToken};
use crate::timeline::{DeathCause, Fact};

pub(super) type Row = (u64, Input, &'static str, &'static str);

pub(super) const KILLED: Input = Input::MainExited(DeathCause::Killed);
pub(super) const TERMINATED: Input = Input::MainExited(DeathCause::Signal(Signal::Terminate));

/// Plays `rows` of (second, input, actions, state) and compares.
pub(super) fn check(what: &str, mut supervisor: impl Supervisor, rows: &[Row]) {
    for (at, input, actions, state) in rows {
        let done = supervisor.handle(Duration::from_secs(*at), *input);
        let done: Vec<_> = done.iter().map(in_short).collect();
        assert_eq!(done.join(", "), *actions, "{what}: {input:?} at {at} s");
        assert_eq!(supervisor.state_name(), *state, "{what}: {input:?} at {at} s");
    }
}

/// Plays `rows` of (input, whether the service should be up then).
pub(super) fn check_up_expected(mut supervisor: impl Supervisor, rows: &[(Input, bool)]) {
    for (input, expected) in rows {
        supervisor.handle(Duration::ZERO, *input);
        assert_eq!(supervisor.is_up_expected(), *expected, "after {input:?}");
    }
}

pub(super) fn exited(code: u8) -> Input {
    Input::MainExited(DeathCause::Exited(ExitCode(code)))
}

pub(super) fn timer(token: u64) -> Input {
    Input::TimerFired(TimerToken(token))
}

fn in_short(action: &Action) -> String {
    match action {
        Action::Start => "start".into(),
        Action::Signal(signal) => signal.to_string(),
        Action::SignalGroup(signal) => format!("{signal} to all"),
        Action::Kill => "kill".into(),
        Action::KillGroup => "kill all".into(),
        Action::SetTimer { token, after } => format!("timer {} in {after:?}", token.0),
        Action::Refuse { order, why } => format!("no {order}: {why}"),
        Action::Ignore { order, why } => format!("{order} ignored: {why}"),
        Action::Record(Fact::ServiceStarting { attempt }) => format!("starting {attempt}"),
        Action::Record(Fact::ServiceStopping { stop_timeout }) => format!("stopping within {stop_timeout:?}"),
        Action::Record(Fact::StopTimedOut) => "timed out".into(),
        Action::Record(Fact::ServiceInactive { why }) => format!("inactive: {why}"),
        Action::Record(Fact::RestartScheduled { after }) => format!("restart after {after:?}"),
        Action::Record(Fact::StartLimitHit) => "start limit hit".into(),
        Action::Record(fact) => panic!("not a supervisor's fact: {fact:?}"),
    }
}
