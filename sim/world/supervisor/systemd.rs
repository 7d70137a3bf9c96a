//! systemd's care for one service, as a pure policy: what happened and when goes in, what to do comes out.
//!
//! The unit's settings bear their meanings in systemd.service(5) and systemd.unit(5), for `Type=exec` and one main
//! process. Time is given with every call and timers are asked for by token, so this file knows no clock, no
//! process and no world.

use std::time::Duration;

use gateway::env::{ExitCode, Signal};

use crate::timeline::{DeathCause, Fact};

/// The settings of a service unit. [`Unit::default`] has systemd's own defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// `Restart=`: after which ends the service is started again.
    pub restart: RestartPolicy,
    /// `RestartSec=`: the pause before that.
    pub restart_delay: Duration,
    /// `TimeoutStopSec=`: how long the service may take to stop before it is killed. Zero means for ever, as it
    /// does in a unit file, and so does [`Duration::MAX`].
    pub stop_timeout: Duration,
    /// `KillSignal=`: the signal that asks the service to stop.
    pub stop_signal: Signal,
    /// `SuccessExitStatus=`: exit statuses that count as clean besides 0.
    pub success_exit_status: Vec<u8>,
    /// `RestartPreventExitStatus=`: exit statuses that rule out an automatic restart, whatever `Restart=` says.
    pub prevent_restart_exit_status: Vec<u8>,
    /// `StartLimitBurst=`: how many starts, manual ones included, are allowed in an interval. Zero: any number.
    pub start_limit_burst: u32,
    /// `StartLimitIntervalSec=`: the length of that interval. It begins with the first start and does not slide: the
    /// first start after its end begins the next one. Zero: no limit.
    pub start_limit_interval: Duration,
}

/// `Restart=` of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Never.
    No,
    /// After an unclean exit status or signal.
    OnFailure,
    /// After every end that nobody asked systemd for.
    Always,
}

impl Default for Unit {
    fn default() -> Self {
        Self {
            restart: RestartPolicy::No,
            restart_delay: Duration::from_millis(100),
            stop_timeout: Duration::from_secs(90),
            stop_signal: Signal::Terminate,
            success_exit_status: Vec::new(),
            prevent_restart_exit_status: Vec::new(),
            start_limit_burst: 5,
            start_limit_interval: Duration::from_secs(10),
        }
    }
}

impl Unit {
    /// The unit that OpenClaw installs: always restarted after 5 s, 143 is clean, 78 is final. Everything else is
    /// systemd's default.
    pub fn openclaw() -> Self {
        Self {
            restart: RestartPolicy::Always,
            restart_delay: Duration::from_secs(5),
            success_exit_status: vec![128 + Signal::Terminate.number()],
            prevent_restart_exit_status: vec![ExitCode::CONFIG.0],
            ..Self::default()
        }
    }
}

/// What happens to the service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// `systemctl start`
    StartRequested,
    /// `systemctl stop`
    StopRequested,
    /// `systemctl restart`: a stop, then a start.
    RestartRequested,
    /// The service's main process ended.
    MainExited(DeathCause),
    /// A timer that was asked for has run out.
    TimerFired(TimerToken),
    /// The machine lost power, and the manager with it.
    PowerLost,
    /// The machine came up; the unit is enabled, so it starts.
    Booted,
}

/// What the world has to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start the main process.
    Start,
    /// Send a signal to the main process.
    Signal(Signal),
    /// Send SIGKILL to the main process.
    Kill,
    /// Answer with [`Input::TimerFired`] when so much time has passed.
    SetTimer {
        /// What the answer carries.
        token: TimerToken,
        /// From now on.
        after: Duration,
    },
    /// Put this on the timeline.
    Record(Fact),
}

/// Names one timer. A token that is not awaited any more is ignored, so timers need no cancelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerToken(u64);

/// The service manager of one machine, minding one unit.
#[derive(Clone, Debug)]
pub struct Systemd {
    unit: Unit,
    state: State,
    start_limit: StartLimit,
    /// Starts since the world began, for reports.
    starts: u32,
    timers: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The machine has no power.
    Off,
    Inactive,
    Failed,
    Active,
    /// Asked to stop, and killed when `timer` fires; `then_start` when a start is to follow.
    Stopping {
        timer: Option<TimerToken>,
        then_start: bool,
        timed_out: bool,
    },
    /// Waiting until `timer` fires to start again.
    AutoRestart {
        timer: TimerToken,
    },
}

impl Systemd {
    /// A manager on a machine that is up, with the unit loaded and not started yet.
    pub fn new(unit: Unit) -> Self {
        Self { unit, state: State::Inactive, start_limit: StartLimit::default(), starts: 0, timers: 0 }
    }

    /// Takes note of what happened at `now` (virtual time since the world began) and says what to do about it.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::PowerLost | Input::MainExited(DeathCause::PowerLoss) => self.state = State::Off,
            Input::Booted => self.boot(now, &mut actions),
            _ if self.state == State::Off => {}
            Input::StartRequested => self.start_requested(now, &mut actions),
            Input::StopRequested => self.stop_requested(false, &mut actions),
            Input::RestartRequested => self.restart_requested(now, &mut actions),
            Input::MainExited(cause) => self.main_exited(now, cause, &mut actions),
            Input::TimerFired(token) => self.timer_fired(now, token, &mut actions),
        }
        actions
    }

    /// Whether the service runs or is about to, as far as the manager knows: it has been started, nobody asked for a
    /// stop, and it has not been given up.
    pub fn is_up_expected(&self) -> bool {
        match self.state {
            State::Active | State::AutoRestart { .. } => true,
            State::Stopping { then_start, .. } => then_start,
            State::Off | State::Inactive | State::Failed => false,
        }
    }

    /// The state as `systemctl status` would call it; `off` while the machine has no power.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Off => "off",
            State::Inactive => "inactive",
            State::Failed => "failed",
            State::Active => "active",
            State::Stopping { .. } => "deactivating",
            State::AutoRestart { .. } => "auto-restart",
        }
    }

    /// The unit's settings.
    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    fn boot(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if matches!(self.state, State::Off | State::Inactive | State::Failed) {
            self.start_limit = StartLimit::default();
            self.start(now, actions);
        }
    }

    fn start_requested(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Inactive | State::Failed => self.start(now, actions),
            State::Stopping { then_start, .. } => *then_start = true,
            // A start job cannot cut the pause short; it waits for the automatic restart and is done with it.
            State::Active | State::AutoRestart { .. } | State::Off => {}
        }
    }

    fn stop_requested(&mut self, restart: bool, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Active => {
                actions.push(Action::Record(Fact::ServiceStopping { stop_timeout: self.unit.stop_timeout }));
                actions.push(Action::Signal(self.unit.stop_signal));
                let endless = self.unit.stop_timeout.is_zero() || self.unit.stop_timeout == Duration::MAX;
                let timer = (!endless).then(|| self.set_timer(self.unit.stop_timeout, actions));
                self.state = State::Stopping { timer, then_start: restart, timed_out: false };
            }
            State::Stopping { then_start, .. } => *then_start = restart,
            State::AutoRestart { .. } => {
                self.rest(State::Inactive, "stopped while it waited for its restart".to_string(), actions);
            }
            State::Inactive | State::Failed | State::Off => {}
        }
    }

    fn restart_requested(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match self.state {
            State::Active | State::Stopping { .. } => self.stop_requested(true, actions),
            State::Inactive | State::Failed | State::AutoRestart { .. } => self.start(now, actions),
            State::Off => {}
        }
    }

    fn main_exited(&mut self, now: Duration, cause: DeathCause, actions: &mut Vec<Action>) {
        match self.state {
            State::Active => self.ended_unasked(cause, actions),
            State::Stopping { then_start: true, .. } => self.start(now, actions),
            State::Stopping { timed_out, .. } => {
                let clean = self.unit.is_clean(cause) && !timed_out;
                let state = if clean { State::Inactive } else { State::Failed };
                self.rest(state, format!("stopped on request: {cause}"), actions);
            }
            State::Off | State::Inactive | State::Failed | State::AutoRestart { .. } => {}
        }
    }

    fn ended_unasked(&mut self, cause: DeathCause, actions: &mut Vec<Action>) {
        match self.unit.no_restart_after(cause) {
            None => {
                let after = self.unit.restart_delay;
                actions.push(Action::Record(Fact::RestartScheduled { after }));
                self.state = State::AutoRestart { timer: self.set_timer(after, actions) };
            }
            Some(why) => {
                let state = if self.unit.is_clean(cause) { State::Inactive } else { State::Failed };
                self.rest(state, format!("{cause}, {why}"), actions);
            }
        }
    }

    fn timer_fired(&mut self, now: Duration, token: TimerToken, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::AutoRestart { timer } if *timer == token => self.start(now, actions),
            State::Stopping { timer, timed_out, .. } if *timer == Some(token) => {
                *timer = None;
                *timed_out = true;
                actions.push(Action::Record(Fact::StopTimedOut));
                actions.push(Action::Kill);
            }
            _ => {}
        }
    }

    /// Starts the service, unless it has been started too often.
    fn start(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if !self.start_limit.allows(now, &self.unit) {
            self.state = State::Failed;
            actions.push(Action::Record(Fact::StartLimitHit));
            return;
        }
        self.starts += 1;
        self.state = State::Active;
        actions.push(Action::Record(Fact::ServiceStarting { attempt: self.starts }));
        actions.push(Action::Start);
    }

    fn rest(&mut self, state: State, why: String, actions: &mut Vec<Action>) {
        self.state = state;
        actions.push(Action::Record(Fact::ServiceInactive { why }));
    }

    fn set_timer(&mut self, after: Duration, actions: &mut Vec<Action>) -> TimerToken {
        self.timers += 1;
        let token = TimerToken(self.timers);
        actions.push(Action::SetTimer { token, after });
        token
    }
}

impl Unit {
    /// Whether systemd counts such an end as success. Of the clean signals, SIGPIPE never ends a gateway.
    fn is_clean(&self, cause: DeathCause) -> bool {
        match cause {
            DeathCause::Signal(signal) => {
                matches!(signal, Signal::Hangup | Signal::Interrupt | Signal::Terminate)
            }
            DeathCause::Exited(_) | DeathCause::Panicked => exit_status(cause)
                .is_some_and(|status| status == 0 || self.success_exit_status.contains(&status)),
            DeathCause::Killed | DeathCause::PowerLoss => false,
        }
    }

    /// Why an end that nobody asked for is not followed by a restart; `None` when it is.
    fn no_restart_after(&self, cause: DeathCause) -> Option<&'static str> {
        if exit_status(cause).is_some_and(|status| self.prevent_restart_exit_status.contains(&status)) {
            return Some("an exit status in RestartPreventExitStatus");
        }
        match self.restart {
            RestartPolicy::Always => None,
            RestartPolicy::OnFailure if !self.is_clean(cause) => None,
            RestartPolicy::OnFailure => Some("a clean end, with Restart=on-failure"),
            RestartPolicy::No => Some("with Restart=no"),
        }
    }
}

/// The exit status, if the process ended with one.
fn exit_status(cause: DeathCause) -> Option<u8> {
    match cause {
        DeathCause::Exited(code) => Some(code.0),
        DeathCause::Panicked => Some(101),
        DeathCause::Signal(_) | DeathCause::Killed | DeathCause::PowerLoss => None,
    }
}

/// Counts starts since the interval began.
#[derive(Clone, Copy, Debug, Default)]
struct StartLimit {
    began: Option<Duration>,
    starts: u32,
}

impl StartLimit {
    fn allows(&mut self, now: Duration, unit: &Unit) -> bool {
        if unit.start_limit_burst == 0 || unit.start_limit_interval.is_zero() {
            return true;
        }
        match self.began {
            Some(began) if now.saturating_sub(began) <= unit.start_limit_interval => {
                self.starts = self.starts.saturating_add(1);
                self.starts <= unit.start_limit_burst
            }
            _ => {
                *self = Self { began: Some(now), starts: 1 };
                true
            }
        }
    }
}

#[cfg(test)]
mod tests;
