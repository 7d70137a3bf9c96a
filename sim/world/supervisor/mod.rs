//! Supervisors: pure policies that decide, from what happened and when, what becomes of the service; and the
//! driver that lets such a policy act on the world.
//!
//! The driver owns no decision. It turns ends of the main process, power, timers and the operator's wishes into
//! the policy's inputs and carries out what the policy answers, in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use gateway::env::{Env, ExitCode, LocalBoxFuture, Pid};

use super::World;
use crate::timeline::{DeathCause, Fact, Source};
use systemd::{Action, Input, Systemd, Unit};

pub mod systemd;
#[cfg(test)]
mod tests;

/// The main function of a process.
pub type Main = Box<dyn FnOnce(Env) -> LocalBoxFuture<'static, ExitCode>>;

/// What systemd reports when a program cannot be executed.
const EXIT_EXEC: ExitCode = ExitCode(203);

/// A service under systemd on one machine. Clones are handles on the same one.
#[derive(Clone)]
pub struct Service(Rc<Inner>);

struct Inner {
    world: World,
    machine: String,
    program: String,
    make_main: Box<dyn Fn() -> Main>,
    systemd: RefCell<Systemd>,
    main_pid: RefCell<Option<Pid>>,
}

impl Service {
    /// Loads `unit` on `machine`; [`Service::start`] starts it, and so does every boot from now on. Each start
    /// runs a fresh `make_main()` as a process of `program`.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn load(
        world: &World,
        machine: &str,
        unit: Unit,
        program: &str,
        make_main: impl Fn() -> Main + 'static,
    ) -> io::Result<Self> {
        let mut power = world.watch_power(machine)?;
        let service = Self(Rc::new(Inner {
            world: world.clone(),
            machine: machine.to_string(),
            program: program.to_string(),
            make_main: Box::new(make_main),
            systemd: RefCell::new(Systemd::new(unit)),
            main_pid: RefCell::new(None),
        }));
        let watcher = service.clone();
        world.spawn(async move {
            while power.changed().await.is_ok() {
                // Whatever the power is now, it was gone in between.
                let is_on = *power.borrow_and_update();
                watcher.feed(Input::PowerLost);
                if is_on {
                    watcher.feed(Input::Booted);
                }
            }
        });
        Ok(service)
    }

    /// `systemctl start`
    pub fn start(&self) {
        self.feed(Input::StartRequested);
    }

    /// `systemctl stop`, without waiting for the end.
    pub fn stop(&self) {
        self.feed(Input::StopRequested);
    }

    /// `systemctl restart`, without waiting for the end.
    pub fn restart(&self) {
        self.feed(Input::RestartRequested);
    }

    /// The living main process.
    pub fn main_pid(&self) -> Option<Pid> {
        *self.0.main_pid.borrow()
    }

    /// Whether the service runs or is about to, as far as the manager knows.
    pub fn is_up_expected(&self) -> bool {
        self.0.systemd.borrow().is_up_expected()
    }

    /// The state as `systemctl status` calls it.
    pub fn state_name(&self) -> &'static str {
        self.0.systemd.borrow().state_name()
    }

    /// Lets the policy see one input and does what it says.
    fn feed(&self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.0.world.recorder().now();
            let actions = self.0.systemd.borrow_mut().handle(now, input);
            inputs.extend(actions.into_iter().filter_map(|action| self.act(action)));
        }
    }

    /// Carries out one action; what came of it at once, if that is news to the policy.
    fn act(&self, action: Action) -> Option<Input> {
        let world = &self.0.world;
        match action {
            Action::Record(fact) => world.record(Source::Supervisor, fact),
            Action::Start => return self.start_main(),
            // A main process that is already gone is about to be reported.
            Action::Signal(signal) => {
                self.main_pid().into_iter().for_each(|pid| drop(world.signal(pid, signal)))
            }
            Action::Kill => self.main_pid().into_iter().for_each(|pid| drop(world.kill(pid))),
            Action::SetTimer { token, after } => {
                let service = self.clone();
                world.spawn(async move {
                    tokio::time::sleep(after).await;
                    service.feed(Input::TimerFired(token));
                });
            }
        }
        None
    }

    fn start_main(&self) -> Option<Input> {
        let Inner { world, machine, program, make_main, main_pid, .. } = &*self.0;
        match world.start_process(machine, program, make_main()) {
            Ok(pid) => {
                *main_pid.borrow_mut() = Some(pid);
                let service = self.clone();
                let end = world.wait_exit(pid);
                world.spawn(async move {
                    let Ok(cause) = end.await else { return };
                    // After a boot there may be another main process before this one's end is heard of.
                    let was_main = service.0.main_pid.borrow_mut().take_if(|main| *main == pid).is_some();
                    if was_main {
                        service.feed(Input::MainExited(cause));
                    }
                });
                None
            }
            Err(error) => {
                let what = format!("the world cannot start {program}: {error}");
                world.record(Source::Supervisor, Fact::Injected { what });
                Some(Input::MainExited(DeathCause::Exited(EXIT_EXEC)))
            }
        }
    }
}
