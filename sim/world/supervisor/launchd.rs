//! launchd's care for one agent: `KeepAlive`, the throttle, and a `bootout` that does not wait.
//!
//! The keys bear their meanings in launchd.plist(5), the orders theirs in launchctl(1), for a job with `RunAtLoad`
//! whose file stays where every boot finds it. Starting is `bootstrap`, stopping is `bootout`, which deregisters the
//! job and returns before its process is gone; until then a `bootstrap` fails (openclaw/openclaw#133647).
//! Restarting is `kickstart -k`, which sends SIGKILL at once, as people found out.

use std::time::Duration;

use gateway::env::{ServiceState, Signal};

use super::policy::{
    Action, Input, Starts, Supervisor, TimerToken, Timers, is_endless, is_exit_zero, stays_down,
};
use crate::timeline::{DeathCause, Fact};

/// The keys of a job. [`Job::default`] has launchd's own defaults, with the exit timeout of its manual of old; newer
/// systems have been seen to wait no longer than 5 s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// `KeepAlive`: after which ends the job is started again.
    pub keep_alive: KeepAlive,
    /// `ThrottleInterval`: the job is not started again sooner than this after its last start.
    pub throttle: Duration,
    /// `ExitTimeOut`: how long the job may take to end on SIGTERM before it gets SIGKILL. Zero: for ever.
    pub exit_timeout: Duration,
}

/// `KeepAlive` of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// `false`: never.
    Never,
    /// `{ SuccessfulExit = false }`: after every end but exit status 0.
    UnlessSuccessful,
    /// `true`: whatever the end.
    Always,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            keep_alive: KeepAlive::Never,
            throttle: Duration::from_secs(10),
            exit_timeout: Duration::from_secs(20),
        }
    }
}

impl Job {
    /// The agent that OpenClaw installs: kept alive whatever its end.
    pub fn openclaw() -> Self {
        Self { keep_alive: KeepAlive::Always, ..Self::default() }
    }
}

/// launchd of one machine, minding one job.
#[derive(Clone, Debug)]
pub struct Launchd {
    job: Job,
    state: State,
    last_start: Duration,
    starts: Starts,
    timers: Timers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The machine has no power.
    Off,
    /// Nobody has bootstrapped the job, or it has been booted out.
    NotLoaded,
    /// Loaded, and neither running nor about to.
    Waiting,
    Running,
    /// Killed by `kickstart -k`.
    Kickstarted,
    /// Booted out and still there; killed when `timer` fires.
    Draining {
        timer: Option<TimerToken>,
    },
    /// Started when `timer` fires.
    Throttled {
        timer: TimerToken,
    },
}

impl Launchd {
    /// launchd on a machine that is up, with the job known and not loaded yet.
    pub fn new(job: Job) -> Self {
        Self {
            job,
            state: State::NotLoaded,
            last_start: Duration::ZERO,
            starts: Starts::default(),
            timers: Timers::default(),
        }
    }

    fn bootstrap(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match self.state {
            State::NotLoaded => self.start(now, actions),
            State::Draining { .. } => actions.push(Action::Refuse {
                order: "bootstrap",
                why: "5: Input/output error, since the job that was booted out is still running",
            }),
            State::Waiting | State::Running | State::Kickstarted | State::Throttled { .. } => {
                actions.push(Action::Refuse {
                    order: "bootstrap",
                    why: "37: Operation already in progress, since the job is loaded",
                });
            }
            State::Off => {}
        }
    }

    fn bootout(&mut self, actions: &mut Vec<Action>) {
        match self.state {
            State::Running | State::Kickstarted => {
                let stop_timeout = self.job.exit_timeout;
                actions.push(Action::Record(Fact::ServiceStopping { stop_timeout }));
                actions.push(Action::Signal(Signal::Terminate));
                let timer = (!is_endless(stop_timeout)).then(|| self.timers.set(stop_timeout, actions));
                self.state = State::Draining { timer };
            }
            State::Waiting | State::Throttled { .. } => {
                self.state = State::NotLoaded;
                actions.push(stays_down("booted out while it was not running"));
            }
            State::NotLoaded | State::Draining { .. } => actions.push(Action::Refuse {
                order: "bootout",
                why: "3: No such process, since the job is not loaded",
            }),
            State::Off => {}
        }
    }

    fn kickstart(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match self.state {
            State::Running => {
                self.state = State::Kickstarted;
                actions.push(Action::Record(Fact::ServiceStopping { stop_timeout: Duration::ZERO }));
                actions.push(Action::Kill);
            }
            State::Waiting | State::Throttled { .. } => self.start(now, actions),
            State::NotLoaded | State::Draining { .. } => actions.push(Action::Refuse {
                order: "kickstart",
                why: "113: Could not find the service, since the job is not loaded",
            }),
            State::Kickstarted | State::Off => {}
        }
    }

    fn main_exited(&mut self, now: Duration, cause: DeathCause, actions: &mut Vec<Action>) {
        match self.state {
            State::Running if self.job.keeps_alive_after(cause) => {
                let after = (self.last_start + self.job.throttle).saturating_sub(now);
                actions.push(Action::Record(Fact::RestartScheduled { after }));
                match after.is_zero() {
                    true => self.start(now, actions),
                    false => self.state = State::Throttled { timer: self.timers.set(after, actions) },
                }
            }
            State::Running => {
                self.state = State::Waiting;
                actions.push(stays_down(format!("{cause}, and KeepAlive does not ask for it")));
            }
            State::Kickstarted => self.start(now, actions),
            State::Draining { .. } => {
                self.state = State::NotLoaded;
                actions.push(stays_down(format!("booted out: {cause}")));
            }
            State::Off | State::NotLoaded | State::Waiting | State::Throttled { .. } => {}
        }
    }

    fn timer_fired(&mut self, now: Duration, token: TimerToken, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Throttled { timer } if *timer == token => self.start(now, actions),
            State::Draining { timer } if *timer == Some(token) => {
                *timer = None;
                actions.push(Action::Record(Fact::StopTimedOut));
                actions.push(Action::Kill);
            }
            _ => {}
        }
    }

    fn start(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.state = State::Running;
        self.last_start = now;
        self.starts.start(actions);
    }
}

impl Supervisor for Launchd {
    fn handle(&mut self, now: Duration, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::PowerLost | Input::MainExited(DeathCause::PowerLoss) => self.state = State::Off,
            // A boot loads every job whose file is there, booted out before or not.
            Input::Booted => self.start(now, &mut actions),
            _ if self.state == State::Off => {}
            Input::StartRequested => self.bootstrap(now, &mut actions),
            Input::StopRequested => self.bootout(&mut actions),
            Input::RestartRequested => self.kickstart(now, &mut actions),
            Input::MainExited(cause) => self.main_exited(now, cause, &mut actions),
            // `AbandonProcessGroup` is not set: what is left of the job's process group is killed with it.
            Input::MainExitedLeaving(cause) => {
                actions.push(Action::KillGroup);
                self.main_exited(now, cause, &mut actions);
            }
            Input::GroupEmptied => {}
            Input::TimerFired(token) => self.timer_fired(now, token, &mut actions),
        }
        actions
    }

    fn is_up_expected(&self) -> bool {
        matches!(self.state, State::Running | State::Kickstarted | State::Throttled { .. })
    }

    /// As `launchctl print` has it: a job that was booted out is shown until its process is gone, and then no more.
    fn answer(&self) -> ServiceState {
        match self.state {
            State::Running | State::Kickstarted | State::Draining { .. } => ServiceState::Running,
            State::NotLoaded => ServiceState::Stopped,
            State::Off | State::Waiting | State::Throttled { .. } => ServiceState::Idle,
        }
    }

    /// As `launchctl print` would call it.
    fn state_name(&self) -> &'static str {
        match self.state {
            State::Off => "off",
            State::NotLoaded => "not loaded",
            State::Waiting => "not running",
            State::Running => "running",
            State::Kickstarted => "SIGKILLed",
            State::Draining { .. } => "SIGTERMed",
            State::Throttled { .. } => "spawn scheduled",
        }
    }
}

impl Job {
    fn keeps_alive_after(&self, cause: DeathCause) -> bool {
        match self.keep_alive {
            KeepAlive::Never => false,
            KeepAlive::UnlessSuccessful => !is_exit_zero(cause),
            KeepAlive::Always => true,
        }
    }
}

#[cfg(test)]
mod tests;
