//! systemd's care for one service.
//!
//! The unit's settings bear their meanings in systemd.service(5), systemd.kill(5) and systemd.unit(5), for
//! `Type=exec` and an enabled unit. A job asked for from inside the service (`systemctl restart`) is the manager's
//! and outlives who asked: the asking process gets the stop signal like the rest of the service.

use std::time::Duration;

use gateway::env::{ExitCode, ServiceState, Signal};

use super::policy::{Action, Input, Starts, Supervisor, TimerToken, Timers, is_endless, stays_down};
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
    /// `KillMode=`: what becomes of the main process's descendants.
    pub kill_mode: KillMode,
    /// `SuccessExitStatus=`: exit statuses that count as clean besides 0.
    pub success_exit_status: Vec<u8>,
    /// `RestartPreventExitStatus=`: exit statuses that rule out an automatic restart, whatever `Restart=` says.
    pub prevent_restart_exit_status: Vec<u8>,
    /// `RestartForceExitStatus=`: exit statuses that are followed by a restart, whatever `Restart=` says.
    pub force_restart_exit_status: Vec<u8>,
    /// `StartLimitBurst=`: how many starts, manual ones included, are allowed in an interval. Zero: any number.
    pub start_limit_burst: u32,
    /// `StartLimitIntervalSec=`: the length of that interval. It begins with the first start and does not slide: the
    /// first start after its end begins the next one. Zero: no limit.
    pub start_limit_interval: Duration,
    /// The unit starts the program through something that empties its environment (`env -i`, a wrapper): it cannot know
    /// who minds it.
    pub clears_environment: bool,
}

/// `Restart=` of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Never.
    No,
    /// After a clean exit status or signal.
    OnSuccess,
    /// After an unclean exit status or signal.
    OnFailure,
    /// After an unclean signal; it would be after a timeout or a watchdog, too, which a unit of this kind has none of.
    OnAbnormal,
    /// After an unclean signal.
    OnAbort,
    /// After every end that nobody asked systemd for.
    Always,
}

/// `KillMode=` of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillMode {
    /// The stop signal goes to all processes of the service; who is left when the stop timeout passes gets SIGKILL.
    ControlGroup,
    /// The stop signal goes to the main process, and when that has ended, SIGKILL to the others.
    Mixed,
    /// Only the main process is ever signalled; the others live on.
    Process,
}

impl Default for Unit {
    fn default() -> Self {
        Self {
            restart: RestartPolicy::No,
            restart_delay: Duration::from_millis(100),
            stop_timeout: Duration::from_secs(90),
            stop_signal: Signal::Terminate,
            kill_mode: KillMode::ControlGroup,
            success_exit_status: Vec::new(),
            prevent_restart_exit_status: Vec::new(),
            force_restart_exit_status: Vec::new(),
            start_limit_burst: 5,
            start_limit_interval: Duration::from_secs(10),
            clears_environment: false,
        }
    }
}

impl Unit {
    /// The unit that OpenClaw 2026.9.6 installs, but for its stop timeout of 330 s, which stays systemd's: always
    /// restarted after 5 s, ten times in 300 s; 143 is clean, 78 is final; descendants are killed after the end.
    pub fn openclaw() -> Self {
        Self {
            restart: RestartPolicy::Always,
            restart_delay: Duration::from_secs(5),
            kill_mode: KillMode::Mixed,
            success_exit_status: vec![128 + Signal::Terminate.number()],
            prevent_restart_exit_status: vec![ExitCode::CONFIG.0],
            start_limit_burst: 10,
            start_limit_interval: Duration::from_secs(300),
            ..Self::default()
        }
    }

    /// What a plain supervisor amounts to that systemd's words can describe: it starts again whatever ends, without
    /// counting, and knows one process.
    pub fn plain(restart_delay: Duration, stop_timeout: Duration) -> Self {
        Self {
            restart: RestartPolicy::Always,
            restart_delay,
            stop_timeout,
            kill_mode: KillMode::Process,
            start_limit_burst: 0,
            ..Self::default()
        }
    }
}

/// The service manager of one machine, minding one unit.
#[derive(Clone, Debug)]
pub struct Systemd {
    unit: Unit,
    state: State,
    start_limit: StartLimit,
    starts: Starts,
    timers: Timers,
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
    /// The main process is gone, by `cause`; its descendants were asked to go, too, and are killed when `timer`
    /// fires. What comes then is what would have come without them.
    Sweeping {
        cause: DeathCause,
        timer: Option<TimerToken>,
        after: After,
    },
    /// Waiting until `timer` fires to start again.
    AutoRestart {
        timer: TimerToken,
    },
}

/// What the end of a main process was the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// Nobody had asked for it.
    Unasked,
    /// A stop.
    Stop { then_start: bool, timed_out: bool },
}

impl Systemd {
    /// A manager on a machine that is up, with the unit loaded and not started yet.
    pub fn new(unit: Unit) -> Self {
        Self {
            unit,
            state: State::Inactive,
            start_limit: StartLimit::default(),
            starts: Starts::default(),
            timers: Timers::default(),
        }
    }
}

impl Supervisor for Systemd {
    fn handle(&mut self, now: Duration, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::PowerLost | Input::MainExited(DeathCause::PowerLoss) => self.state = State::Off,
            Input::Booted => self.boot(now, &mut actions),
            _ if self.state == State::Off => {}
            Input::StartRequested => self.start_requested(now, &mut actions),
            Input::StopRequested => self.stop_requested(false, &mut actions),
            Input::RestartRequested => self.restart_requested(now, &mut actions),
            Input::MainExited(cause) => self.main_exited(now, cause, &mut actions),
            Input::MainExitedLeaving(cause) => self.main_exited_leaving(now, cause, &mut actions),
            Input::GroupEmptied => self.group_emptied(now, &mut actions),
            Input::TimerFired(token) => self.timer_fired(now, token, &mut actions),
        }
        actions
    }

    fn is_up_expected(&self) -> bool {
        match self.state {
            State::Active | State::AutoRestart { .. } => true,
            State::Sweeping { after: After::Unasked, cause, .. } => {
                self.unit.no_restart_after(cause).is_none()
            }
            State::Stopping { then_start, .. }
            | State::Sweeping { after: After::Stop { then_start, .. }, .. } => then_start,
            State::Off | State::Inactive | State::Failed => false,
        }
    }

    /// As `systemctl show` has it. A unit that always restarts is inactive only when somebody stopped it.
    fn answer(&self) -> ServiceState {
        match self.state {
            State::Active | State::Stopping { .. } | State::Sweeping { .. } => ServiceState::Running,
            State::Inactive => ServiceState::Stopped,
            State::Off | State::Failed | State::AutoRestart { .. } => ServiceState::Idle,
        }
    }

    /// As `systemctl status` would call it.
    fn state_name(&self) -> &'static str {
        match self.state {
            State::Off => "off",
            State::Inactive => "inactive",
            State::Failed => "failed",
            State::Active => "active",
            State::Stopping { .. } | State::Sweeping { .. } => "deactivating",
            State::AutoRestart { .. } => "auto-restart",
        }
    }
}

/// What is asked of it.
impl Systemd {
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
            State::Sweeping { after, .. } => after.is_followed_by_start(true),
            // A start job cannot cut the pause short; it waits for the automatic restart and is done with it.
            State::Active | State::AutoRestart { .. } | State::Off => {}
        }
    }

    fn stop_requested(&mut self, restart: bool, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Active => {
                actions.push(Action::Record(Fact::ServiceStopping { stop_timeout: self.unit.stop_timeout }));
                actions.push(match self.unit.kill_mode {
                    KillMode::ControlGroup => Action::SignalGroup(self.unit.stop_signal),
                    KillMode::Mixed | KillMode::Process => Action::Signal(self.unit.stop_signal),
                });
                let timer = self.set_stop_timer(actions);
                self.state = State::Stopping { timer, then_start: restart, timed_out: false };
            }
            State::Stopping { then_start, .. } => *then_start = restart,
            State::Sweeping { after, .. } => after.is_followed_by_start(restart),
            State::AutoRestart { .. } => {
                self.rest(State::Inactive, "stopped while it waited for its restart".to_string(), actions);
            }
            State::Inactive | State::Failed | State::Off => {}
        }
    }

    fn restart_requested(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match self.state {
            State::Active | State::Stopping { .. } | State::Sweeping { .. } => {
                self.stop_requested(true, actions);
            }
            State::Inactive | State::Failed | State::AutoRestart { .. } => self.start(now, actions),
            State::Off => {}
        }
    }
}

/// What becomes of the service's processes.
impl Systemd {
    fn main_exited(&mut self, now: Duration, cause: DeathCause, actions: &mut Vec<Action>) {
        match self.state {
            State::Active => self.ended(now, cause, After::Unasked, actions),
            State::Stopping { then_start, timed_out, .. } => {
                self.ended(now, cause, After::Stop { then_start, timed_out }, actions);
            }
            State::Off
            | State::Inactive
            | State::Failed
            | State::Sweeping { .. }
            | State::AutoRestart { .. } => {}
        }
    }

    fn main_exited_leaving(&mut self, now: Duration, cause: DeathCause, actions: &mut Vec<Action>) {
        let after = match self.state {
            State::Active => After::Unasked,
            State::Stopping { then_start, timed_out, .. } => After::Stop { then_start, timed_out },
            _ => return,
        };
        match self.unit.kill_mode {
            KillMode::Process => self.main_exited(now, cause, actions),
            KillMode::Mixed => {
                actions.push(Action::KillGroup);
                self.main_exited(now, cause, actions);
            }
            // Asked once more if they were before, with all of the time again: systemd's `final-sigterm`.
            KillMode::ControlGroup => {
                actions.push(Action::SignalGroup(self.unit.stop_signal));
                let timer = self.set_stop_timer(actions);
                self.state = State::Sweeping { cause, timer, after };
            }
        }
    }

    fn group_emptied(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if let State::Sweeping { cause, after, .. } = self.state {
            self.ended(now, cause, after, actions);
        }
    }

    /// All of it has ended.
    fn ended(&mut self, now: Duration, cause: DeathCause, after: After, actions: &mut Vec<Action>) {
        match after {
            After::Unasked => self.ended_unasked(cause, actions),
            After::Stop { then_start: true, .. } => self.start(now, actions),
            After::Stop { timed_out, .. } => {
                let clean = self.unit.is_clean(cause) && !timed_out;
                let state = if clean { State::Inactive } else { State::Failed };
                self.rest(state, format!("stopped on request: {cause}"), actions);
            }
        }
    }

    fn ended_unasked(&mut self, cause: DeathCause, actions: &mut Vec<Action>) {
        match self.unit.no_restart_after(cause) {
            None => {
                let after = self.unit.restart_delay;
                actions.push(Action::Record(Fact::RestartScheduled { after }));
                self.state = State::AutoRestart { timer: self.timers.set(after, actions) };
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
                actions.push(match self.unit.kill_mode {
                    KillMode::Process => Action::Kill,
                    KillMode::Mixed | KillMode::ControlGroup => Action::KillGroup,
                });
            }
            // The main process has kept to its time; that others had to be killed makes the unit no failure.
            State::Sweeping { timer, .. } if *timer == Some(token) => {
                *timer = None;
                actions.push(Action::KillGroup);
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
        self.state = State::Active;
        self.starts.start(actions);
    }

    fn rest(&mut self, state: State, why: String, actions: &mut Vec<Action>) {
        self.state = state;
        actions.push(stays_down(why));
    }

    fn set_stop_timer(&mut self, actions: &mut Vec<Action>) -> Option<TimerToken> {
        let timeout = self.unit.stop_timeout;
        (!is_endless(timeout)).then(|| self.timers.set(timeout, actions))
    }
}

impl After {
    /// Somebody asks for a start, or for none, while what is left of the service ends.
    fn is_followed_by_start(&mut self, start: bool) {
        *self = match *self {
            Self::Stop { timed_out, .. } => Self::Stop { then_start: start, timed_out },
            Self::Unasked => Self::Stop { then_start: start, timed_out: false },
        };
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
        if exit_status(cause).is_some_and(|status| self.force_restart_exit_status.contains(&status)) {
            return None;
        }
        let is_clean = self.is_clean(cause);
        let by_signal = exit_status(cause).is_none();
        match self.restart {
            RestartPolicy::Always => None,
            RestartPolicy::OnSuccess if is_clean => None,
            RestartPolicy::OnFailure if !is_clean => None,
            RestartPolicy::OnAbnormal | RestartPolicy::OnAbort if !is_clean && by_signal => None,
            RestartPolicy::OnSuccess => Some("an unclean end, with Restart=on-success"),
            RestartPolicy::OnFailure => Some("a clean end, with Restart=on-failure"),
            RestartPolicy::OnAbnormal => Some("no unclean signal, with Restart=on-abnormal"),
            RestartPolicy::OnAbort => Some("no unclean signal, with Restart=on-abort"),
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
