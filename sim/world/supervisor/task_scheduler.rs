//! The Windows Task Scheduler's care for one task, which is less than a service manager's.
//!
//! The settings bear their meanings in the task's XML. A task is run at boot and on demand (`schtasks /Run`); while
//! it runs, another run is ignored (`MultipleInstancesPolicy` `IgnoreNew`, openclaw/openclaw#138833). Its end, whatever
//! the status, is followed by nothing, unless `RestartOnFailure` says so. `schtasks /End` terminates the process:
//! it gets no signal and no time.

use std::time::Duration;

use super::policy::{Action, Input, Starts, Supervisor, TimerToken, Timers, is_exit_zero, stays_down};
use crate::timeline::{DeathCause, Fact};

/// The settings of a task. [`Task::default`] has the Task Scheduler's own defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// `RestartOnFailure` `Count`: how often a run that failed is tried again. 0: never.
    pub restart_count: u32,
    /// `RestartOnFailure` `Interval`: how long after the failure. Windows accepts no less than a minute.
    pub restart_interval: Duration,
}

impl Default for Task {
    fn default() -> Self {
        Self { restart_count: 0, restart_interval: Duration::from_secs(60) }
    }
}

/// The Task Scheduler of one machine, minding one task.
#[derive(Clone, Debug)]
pub struct TaskScheduler {
    task: Task,
    state: State,
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
            State::Running | State::Ending { .. } => actions.push(Action::Refuse {
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
            State::Queued { .. } if !then_run => {
                self.state = State::Ready;
                actions.push(stays_down("ended while it waited to be tried again"));
            }
            State::Ready | State::Queued { .. } if then_run => self.run(actions),
            State::Ready | State::Queued { .. } | State::Off => {}
        }
    }

    fn main_exited(&mut self, cause: DeathCause, actions: &mut Vec<Action>) {
        match self.state {
            State::Running if !is_exit_zero(cause) && self.tried_again < self.task.restart_count => {
                self.tried_again += 1;
                let after = self.task.restart_interval;
                actions.push(Action::Record(Fact::RestartScheduled { after }));
                self.state = State::Queued { timer: self.timers.set(after, actions) };
            }
            State::Running => {
                self.state = State::Ready;
                actions.push(stays_down(format!("{cause}, and nobody runs the task again")));
            }
            State::Ending { then_run: true } => {
                self.state = State::Ready;
                self.run(actions);
            }
            State::Ending { then_run: false } => {
                self.state = State::Ready;
                actions.push(stays_down(format!("ended on request: {cause}")));
            }
            State::Off | State::Ready | State::Queued { .. } => {}
        }
    }

    fn start(&mut self, actions: &mut Vec<Action>) {
        self.state = State::Running;
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
            Input::TimerFired(token) => {
                if self.state == (State::Queued { timer: token }) {
                    self.start(&mut actions);
                }
            }
            Input::GroupEmptied => {}
        }
        actions
    }

    fn is_up_expected(&self) -> bool {
        matches!(self.state, State::Running | State::Ending { then_run: true } | State::Queued { .. })
    }

    /// As the Task Scheduler shows it.
    fn state_name(&self) -> &'static str {
        match self.state {
            State::Off => "off",
            State::Ready => "Ready",
            State::Running | State::Ending { .. } => "Running",
            State::Queued { .. } => "Queued",
        }
    }
}

#[cfg(test)]
mod tests;
