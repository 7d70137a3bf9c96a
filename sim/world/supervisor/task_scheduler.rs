//! The Windows Task Scheduler's care for one task, which is less than a service manager's.
//!
//! The settings bear their meanings in the task's XML. A task is run at boot and on demand (`schtasks /Run`); while
//! it runs, another run is ignored (`MultipleInstancesPolicy` `IgnoreNew`, openclaw/openclaw#138833). Its end, whatever
//! the status, is followed by nothing, unless `RestartOnFailure` says so. `schtasks /Run` says SUCCESS either way: who
//! asks cannot tell a run from none. `schtasks /End` terminates the process, which gets no signal and no time, and is
//! refused when there is none. A `/Run` right after an `/End` still finds the old instance there (openclaw/openclaw#43134).

use std::time::Duration;

use gateway::env::ServiceState;

use super::policy::{Action, Input, Starts, Supervisor, TimerToken, Timers, is_exit_zero, stays_down};
use crate::timeline::{DeathCause, Fact};

/// The settings of a task. [`Task::default`] has the Task Scheduler's own defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// `RestartOnFailure` `Count`: how often a run that failed is tried again. 0: never.
    pub restart_count: u32,
    /// `RestartOnFailure` `Interval`: how long after the failure. Windows accepts no less than a minute.
    pub restart_interval: Duration,
    /// How long the task counts as running after its process has ended: OpenClaw's task runs a script that runs a
    /// script that runs the gateway, and the scheduler hears of ends late (openclaw/openclaw#149921).
    pub lingers: Duration,
}

impl Default for Task {
    fn default() -> Self {
        Self { restart_count: 0, restart_interval: Duration::from_secs(60), lingers: Duration::ZERO }
    }
}

/// The Task Scheduler of one machine, minding one task.
#[derive(Clone, Debug)]
pub struct TaskScheduler {
    task: Task,
    state: State,
    /// The last run was ended on request, as its result 0x41306 says.
    was_terminated: bool,
    /// How often the present run has been tried again.
    tried_again: u32,
    starts: Starts,
    timers: Timers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The machine has no power.
    Off,
    Ready,
    Running,
    /// Terminated, and not gone yet.
    Ending {
        then_run: bool,
    },
    /// Its process has ended, and it counts as running until `timer` fires. `then_run` when somebody asked for an end.
    Lingering {
        timer: TimerToken,
        cause: DeathCause,
        then_run: Option<bool>,
    },
    /// Tried again when `timer` fires.
    Queued {
        timer: TimerToken,
    },
}

impl TaskScheduler {
    /// A scheduler on a machine that is up, with the task registered and not run yet.
    pub fn new(task: Task) -> Self {
        Self {
            task,
            state: State::Ready,
            was_terminated: false,
            tried_again: 0,
            starts: Starts::default(),
            timers: Timers::default(),
        }
    }

    /// A trigger or `schtasks /Run`.
    fn run(&mut self, actions: &mut Vec<Action>) {
        match self.state {
            State::Ready | State::Queued { .. } => {
                self.tried_again = 0;
                self.start(actions);
            }
            State::Running | State::Ending { .. } | State::Lingering { .. } => actions.push(Action::Ignore {
                order: "/Run",
                why: "an instance of this task is running, and a new one is ignored",
            }),
            State::Off => {}
        }
    }

    /// `schtasks /End`
    fn end(&mut self, then_run: bool, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Running => {
                self.state = State::Ending { then_run };
                actions.push(Action::Record(Fact::ServiceStopping { stop_timeout: Duration::ZERO }));
                actions.push(Action::KillGroup);
            }
            State::Ending { then_run: planned } => *planned = then_run,
            State::Lingering { then_run: planned, .. } => {
                if planned.replace(then_run).is_none() {
                    actions.push(Action::Record(Fact::ServiceStopping { stop_timeout: Duration::ZERO }));
                }
            }
            State::Queued { .. } if !then_run => {
                self.state = State::Ready;
                actions.push(stays_down("ended while it waited to be tried again"));
            }
            State::Ready | State::Queued { .. } if then_run => self.run(actions),
            State::Ready => actions
                .push(Action::Refuse { order: "/End", why: "there is no running instance of the task" }),
            State::Queued { .. } | State::Off => {}
        }
    }

    fn main_exited(&mut self, cause: DeathCause, actions: &mut Vec<Action>) {
        let then_run = match self.state {
            State::Running => None,
            State::Ending { then_run } => Some(then_run),
            State::Off | State::Ready | State::Lingering { .. } | State::Queued { .. } => return,
        };
        if self.task.lingers.is_zero() {
            return self.instance_over(cause, then_run, actions);
        }
        let timer = self.timers.set(self.task.lingers, actions);
        self.state = State::Lingering { timer, cause, then_run };
    }

    /// The task runs no more. `then_run` when somebody asked for its end.
    fn instance_over(&mut self, cause: DeathCause, then_run: Option<bool>, actions: &mut Vec<Action>) {
        match then_run {
            None if !is_exit_zero(cause) && self.tried_again < self.task.restart_count => {
                self.tried_again += 1;
                let after = self.task.restart_interval;
                actions.push(Action::Record(Fact::RestartScheduled { after }));
                self.state = State::Queued { timer: self.timers.set(after, actions) };
            }
            None => {
                self.state = State::Ready;
                actions.push(stays_down(format!("{cause}, and nobody runs the task again")));
            }
            Some(true) => {
                self.state = State::Ready;
                self.run(actions);
            }
            Some(false) => {
                self.state = State::Ready;
                self.was_terminated = true;
                actions.push(stays_down(format!("ended on request: {cause}")));
            }
        }
    }

    fn start(&mut self, actions: &mut Vec<Action>) {
        self.state = State::Running;
        self.was_terminated = false;
        self.starts.start(actions);
    }
}

impl Supervisor for TaskScheduler {
    fn handle(&mut self, _now: Duration, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::PowerLost | Input::MainExited(DeathCause::PowerLoss) => self.state = State::Off,
            Input::Booted => {
                self.state = State::Ready;
                self.run(&mut actions);
            }
            _ if self.state == State::Off => {}
            Input::StartRequested => self.run(&mut actions),
            Input::StopRequested => self.end(false, &mut actions),
            Input::RestartRequested => self.end(true, &mut actions),
            // What a task leaves behind is on its own.
            Input::MainExited(cause) | Input::MainExitedLeaving(cause) => {
                self.main_exited(cause, &mut actions);
            }
            Input::TimerFired(token) => match self.state {
                State::Queued { timer } if timer == token => self.start(&mut actions),
                State::Lingering { timer, cause, then_run } if timer == token => {
                    self.instance_over(cause, then_run, &mut actions);
                }
                _ => {}
            },
            Input::GroupEmptied => {}
        }
        actions
    }

    fn is_up_expected(&self) -> bool {
        match self.state {
            State::Running | State::Queued { .. } => true,
            State::Ending { then_run } | State::Lingering { then_run: Some(then_run), .. } => then_run,
            State::Off | State::Ready | State::Lingering { then_run: None, .. } => false,
        }
    }

    fn answer(&self) -> ServiceState {
        match self.state {
            State::Running | State::Ending { .. } | State::Lingering { .. } => ServiceState::Running,
            State::Ready if self.was_terminated => ServiceState::Stopped,
            State::Off | State::Ready | State::Queued { .. } => ServiceState::Idle,
        }
    }

    /// As the Task Scheduler shows it.
    fn state_name(&self) -> &'static str {
        match self.state {
            State::Off => "off",
            State::Ready => "Ready",
            State::Running | State::Ending { .. } | State::Lingering { .. } => "Running",
            State::Queued { .. } => "Queued",
        }
    }
}

#[cfg(test)]
mod tests;
