//! A container engine's care for one container: restart policies with a growing pause, and a stop that is not
//! waited for long.
//!
//! The settings bear their meanings in `docker run`, the pauses are those of the engine's source: 100 ms, doubled
//! for each restart up to a minute, and 100 ms again after a run of 10 s. That pid 1 is special, and that its end is
//! the end of every process in the container, is the kernel's doing and happens in the process table.

use std::time::Duration;

use gateway::env::{ServiceState, Signal};

use super::policy::{
    Action, Input, Starts, Supervisor, TimerToken, Timers, is_endless, is_exit_zero, stays_down,
};
use crate::timeline::{DeathCause, Fact};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A run of this length is a success, after which the pauses begin anew.
const LONG_RUN: Duration = Duration::from_secs(10);

/// The settings of a container. [`ContainerSettings::default`] has the engine's own defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSettings {
    /// `--restart`: after which ends the container is started again.
    pub restart: ContainerRestart,
    /// `--restart on-failure:N`: how often at most; 0: any number of times.
    pub max_retries: u32,
    /// `--stop-timeout`: from SIGTERM to SIGKILL. [`Duration::MAX`]: for ever.
    pub stop_timeout: Duration,
}

/// The restart policy of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerRestart {
    /// Never.
    No,
    /// After an exit status other than 0; not after a boot.
    OnFailure,
    /// Whatever the end; after a boot, even if it had been stopped.
    Always,
    /// Whatever the end; after a boot, unless it had been stopped.
    UnlessStopped,
}

impl Default for ContainerSettings {
    fn default() -> Self {
        Self { restart: ContainerRestart::No, max_retries: 0, stop_timeout: Duration::from_secs(10) }
    }
}

impl ContainerSettings {
    /// The container of OpenClaw's compose file.
    pub fn openclaw() -> Self {
        Self { restart: ContainerRestart::UnlessStopped, ..Self::default() }
    }
}

/// The engine of one machine, minding one container.
#[derive(Clone, Debug)]
pub struct Container {
    settings: ContainerSettings,
    state: State,
    /// Somebody stopped it, and nobody has started it since. Written down: a power loss leaves it.
    stopped_by_hand: bool,
    started_at: Duration,
    /// The pause before the last automatic restart.
    pause: Duration,
    restarts: u32,
    starts: Starts,
    timers: Timers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The machine has no power.
    Off,
    Exited,
    Running,
    /// Asked to stop, and killed when `timer` fires; `then_start` when a start is to follow.
    Stopping {
        timer: Option<TimerToken>,
        then_start: bool,
    },
    /// Started again when `timer` fires.
    Restarting {
        timer: TimerToken,
    },
}

impl Container {
    /// An engine on a machine that is up, with the container created and not started yet.
    pub fn new(settings: ContainerSettings) -> Self {
        Self {
            settings,
            state: State::Exited,
            stopped_by_hand: false,
            started_at: Duration::ZERO,
            pause: Duration::ZERO,
            restarts: 0,
            starts: Starts::default(),
            timers: Timers::default(),
        }
    }

    /// `docker start`
    fn start_requested(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Exited | State::Restarting { .. } => {
                self.stopped_by_hand = false;
                (self.restarts, self.pause) = (0, Duration::ZERO);
                self.start(now, actions);
            }
            State::Stopping { then_start, .. } => {
                // As in a restart: whoever wants it to run again has taken the stop back, whatever happens in between.
                *then_start = true;
                self.stopped_by_hand = false;
            }
            State::Running | State::Off => {}
        }
    }

    /// `docker stop`, or the first half of `docker restart`.
    fn stop_requested(&mut self, then_start: bool, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Running => {
                let stop_timeout = self.settings.stop_timeout;
                actions.push(Action::Record(Fact::ServiceStopping { stop_timeout }));
                actions.push(Action::Signal(Signal::Terminate));
                let timer = (!is_endless(stop_timeout)).then(|| self.timers.set(stop_timeout, actions));
                self.state = State::Stopping { timer, then_start };
            }
            State::Stopping { then_start: planned, .. } => *planned = then_start,
            State::Restarting { .. } => {
                self.state = State::Exited;
                actions.push(stays_down("stopped while it waited for its restart"));
            }
            State::Exited | State::Off => {}
        }
        self.stopped_by_hand = !then_start;
    }

    /// `docker restart`
    fn restart_requested(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match self.state {
            State::Running | State::Stopping { .. } => self.stop_requested(true, actions),
            State::Exited | State::Restarting { .. } => self.start_requested(now, actions),
            State::Off => {}
        }
    }

    fn boot(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let why = match self.settings.restart {
            ContainerRestart::UnlessStopped if self.stopped_by_hand => "it had been stopped before the boot",
            ContainerRestart::Always | ContainerRestart::UnlessStopped => {
                return self.start(now, actions);
            }
            ContainerRestart::OnFailure => "a boot is no failure, with restart on-failure",
            ContainerRestart::No => "with restart no",
        };
        self.state = State::Exited;
        actions.push(stays_down(why));
    }

    fn main_exited(&mut self, now: Duration, cause: DeathCause, actions: &mut Vec<Action>) {
        match self.state {
            State::Running => match self.no_restart_after(cause) {
                None => self.restart_later(now, actions),
                Some(why) => {
                    self.state = State::Exited;
                    actions.push(stays_down(format!("{cause}, {why}")));
                }
            },
            State::Stopping { then_start: true, .. } => self.start(now, actions),
            State::Stopping { .. } => {
                self.state = State::Exited;
                actions.push(stays_down(format!("stopped on request: {cause}")));
            }
            State::Off | State::Exited | State::Restarting { .. } => {}
        }
    }

    fn restart_later(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let ran_long = now.saturating_sub(self.started_at) >= LONG_RUN;
        self.pause = match self.pause.is_zero() || ran_long {
            true => FIRST_PAUSE,
            false => (self.pause * 2).min(LONGEST_PAUSE),
        };
        self.restarts += 1;
        actions.push(Action::Record(Fact::RestartScheduled { after: self.pause }));
        self.state = State::Restarting { timer: self.timers.set(self.pause, actions) };
    }

    /// Why an end that nobody asked for is not followed by a restart; `None` when it is.
    fn no_restart_after(&self, cause: DeathCause) -> Option<&'static str> {
        match self.settings.restart {
            ContainerRestart::Always | ContainerRestart::UnlessStopped => None,
            ContainerRestart::No => Some("with restart no"),
            ContainerRestart::OnFailure if is_exit_zero(cause) => Some("no failure, with restart on-failure"),
            ContainerRestart::OnFailure => {
                let most = self.settings.max_retries;
                (most > 0 && self.restarts >= most).then_some("after the last of its retries")
            }
        }
    }

    fn timer_fired(&mut self, now: Duration, token: TimerToken, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Restarting { timer } if *timer == token => self.start(now, actions),
            State::Stopping { timer, .. } if *timer == Some(token) => {
                *timer = None;
                actions.push(Action::Record(Fact::StopTimedOut));
                actions.push(Action::Kill);
            }
            _ => {}
        }
    }

    fn start(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.state = State::Running;
        self.started_at = now;
        self.starts.start(actions);
    }
}

impl Supervisor for Container {
    fn handle(&mut self, now: Duration, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::PowerLost | Input::MainExited(DeathCause::PowerLoss) => self.state = State::Off,
            Input::Booted => self.boot(now, &mut actions),
            _ if self.state == State::Off => {}
            Input::StartRequested => self.start_requested(now, &mut actions),
            Input::StopRequested => self.stop_requested(false, &mut actions),
            Input::RestartRequested => self.restart_requested(now, &mut actions),
            // The kernel has killed the others.
            Input::MainExited(cause) | Input::MainExitedLeaving(cause) => {
                self.main_exited(now, cause, &mut actions);
            }
            Input::TimerFired(token) => self.timer_fired(now, token, &mut actions),
            Input::GroupEmptied => {}
        }
        actions
    }

    fn is_up_expected(&self) -> bool {
        match self.state {
            State::Running | State::Restarting { .. } => true,
            State::Stopping { then_start, .. } => then_start,
            State::Off | State::Exited => false,
        }
    }

    /// As `docker inspect` has it.
    fn answer(&self) -> ServiceState {
        match self.state {
            State::Running | State::Stopping { .. } => ServiceState::Running,
            State::Exited if self.stopped_by_hand => ServiceState::Stopped,
            State::Off | State::Exited | State::Restarting { .. } => ServiceState::Idle,
        }
    }

    /// As `docker ps` would call it.
    fn state_name(&self) -> &'static str {
        match self.state {
            State::Off => "off",
            State::Exited => "exited",
            State::Running | State::Stopping { .. } => "running",
            State::Restarting { .. } => "restarting",
        }
    }
}

#[cfg(test)]
mod tests;
