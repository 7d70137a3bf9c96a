//! What all supervisors have in common: what they hear, what they can have done, and the facts they leave behind.
//!
//! A supervisor is a state machine: what happened and when goes in, what to do comes out. Time is given with every
//! call and timers are asked for by token, so no policy knows a clock, a process or a world. Each input is named
//! for its meaning; what the words of a platform for it are (`systemctl`, `launchctl`, `schtasks`, `docker`) is
//! said in the policy's own file.

use std::time::Duration;

use gateway::env::{ServiceState, Signal};

use crate::timeline::{DeathCause, Fact};

/// A service manager minding one service.
pub trait Supervisor {
    /// Takes note of what happened at `now` (virtual time since the world began) and says what to do about it.
    fn handle(&mut self, now: Duration, input: Input) -> Vec<Action>;

    /// Whether the service runs or is about to, as far as the manager knows: it has been started, nobody asked for a
    /// stop, and it has not been given up.
    fn is_up_expected(&self) -> bool;

    /// What the manager answers who asks how the service is.
    fn answer(&self) -> ServiceState;

    /// The state in the manager's own word; `off` while the machine has no power.
    fn state_name(&self) -> &'static str;
}

/// What happens to a service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody asks it to start the service.
    StartRequested,
    /// Somebody asks it to stop the service, for good.
    StopRequested,
    /// Somebody, perhaps the service itself, asks it to stop the service and to start it again.
    RestartRequested,
    /// The service's main process ended, and none of its descendants lives.
    MainExited(DeathCause),
    /// The service's main process ended and has left descendants behind.
    MainExitedLeaving(DeathCause),
    /// The last of the descendants that a main process left behind has ended.
    GroupEmptied,
    /// A timer that was asked for has run out.
    TimerFired(TimerToken),
    /// The machine lost power, and the manager with it.
    PowerLost,
    /// The machine came up.
    Booted,
}

/// What the world has to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start the main process.
    Start,
    /// Send a signal to the main process.
    Signal(Signal),
    /// Send a signal to every process of the service, the main process among them.
    SignalGroup(Signal),
    /// Send SIGKILL to the main process, or end it as abruptly.
    Kill,
    /// Send SIGKILL to every process of the service.
    KillGroup,
    /// Answer with [`Input::TimerFired`] when so much time has passed.
    SetTimer {
        /// What the answer carries.
        token: TimerToken,
        /// From now on.
        after: Duration,
    },
    /// Tell who asked that nothing will be done, and why. It is put on the timeline, too.
    Refuse {
        /// What was asked, in the manager's words.
        order: &'static str,
        /// Why not, in the manager's words.
        why: &'static str,
    },
    /// Tell who asked that it is done, and do nothing. It is put on the timeline, too.
    Ignore {
        /// What was asked, in the manager's words.
        order: &'static str,
        /// Why it is ignored, in the manager's words.
        why: &'static str,
    },
    /// Put this on the timeline.
    Record(Fact),
}

/// Names one timer. A token that is not awaited any more is ignored, so timers need no cancelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerToken(pub(super) u64);

/// Numbers the timers of one manager.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timers(u64);

impl Timers {
    pub(super) fn set(&mut self, after: Duration, actions: &mut Vec<Action>) -> TimerToken {
        self.0 += 1;
        let token = TimerToken(self.0);
        actions.push(Action::SetTimer { token, after });
        token
    }
}

/// Counts the starts of one service since the world began, for reports.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Starts(u32);

impl Starts {
    /// Starts the main process.
    pub(super) fn start(&mut self, actions: &mut Vec<Action>) {
        self.0 += 1;
        actions.push(Action::Record(Fact::ServiceStarting { attempt: self.0 }));
        actions.push(Action::Start);
    }
}

/// The service is down, and stays down until somebody does something about it.
pub(super) fn stays_down(why: impl Into<String>) -> Action {
    Action::Record(Fact::ServiceInactive { why: why.into() })
}

/// Whether an end is the plain success that every manager knows: exit status 0.
pub(super) fn is_exit_zero(cause: DeathCause) -> bool {
    matches!(cause, DeathCause::Exited(code) if code.0 == 0)
}

/// Whether a stop may take for ever: zero says so in unit files, and [`Duration::MAX`] everywhere.
pub(super) fn is_endless(timeout: Duration) -> bool {
    timeout.is_zero() || timeout == Duration::MAX
}
