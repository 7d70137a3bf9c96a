//! A supervised service: the thin driver between systemd's policy and the world.
//!
//! It feeds the policy what happens (exits, power, requests, timers) and carries out what it decides. It decides
//! nothing itself.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use gateway::env::{Env, ExitCode, LocalBoxFuture, Pid};
use tokio::time::sleep;

use super::systemd::{Action, Input, Systemd, Unit};
use crate::timeline::{DeathCause, Fact, Source};
use crate::world::World;

/// A program's main function, as the world starts it.
type Main = Box<dyn FnOnce(Env) -> LocalBoxFuture<'static, ExitCode>>;

/// A handle on a supervised service. Clones are handles on the same one.
#[derive(Clone)]
pub struct Service(Rc<Inner>);

struct Inner {
    world: World,
    machine: String,
    program: String,
    make_main: Box<dyn Fn() -> Main>,
    policy: RefCell<Systemd>,
    main_pid: Cell<Option<Pid>>,
}

impl Service {
    /// Enables and starts a service: now, and again at every boot of its machine.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn start<M>(
        world: &World,
        machine: &str,
        program: &str,
        unit: Unit,
        make_main: impl Fn() -> M + 'static,
    ) -> io::Result<Self>
    where
        M: FnOnce(Env) -> LocalBoxFuture<'static, ExitCode> + 'static,
    {
        let mut power = world.watch_power(machine)?;
        let service = Self(Rc::new(Inner {
            world: world.clone(),
            machine: machine.to_string(),
            program: program.to_string(),
            make_main: Box::new(move || Box::new(make_main())),
            policy: RefCell::new(Systemd::new(unit)),
            main_pid: Cell::new(None),
        }));
        service.feed(Input::Booted);
        let follower = service.clone();
        world.spawn(async move {
            while power.changed().await.is_ok() {
                let has_power = *power.borrow_and_update();
                follower.feed(if has_power { Input::Booted } else { Input::PowerLost });
            }
        });
        Ok(service)
    }

    /// `systemctl stop`
    pub fn request_stop(&self) {
        self.feed(Input::StopRequested);
    }

    /// `systemctl start`
    pub fn request_start(&self) {
        self.feed(Input::StartRequested);
    }

    /// `systemctl restart`
    pub fn request_restart(&self) {
        self.feed(Input::RestartRequested);
    }

    /// The service's main process, while it lives.
    pub fn main_pid(&self) -> Option<Pid> {
        self.0.main_pid.get().filter(|pid| self.0.world.is_alive(*pid))
    }

    fn feed(&self, input: Input) {
        let now = self.0.world.recorder().now();
        let actions = self.0.policy.borrow_mut().handle(now, input);
        for action in actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&self, action: Action) {
        match action {
            Action::Start => self.start_main(),
            Action::Signal(signal) => {
                if let Some(pid) = self.0.main_pid.get() {
                    // It may have died at this very moment; its exit is on its way here.
                    let _ = self.0.world.signal(pid, signal);
                }
            }
            Action::Kill => {
                if let Some(pid) = self.0.main_pid.get() {
                    let _ = self.0.world.kill(pid);
                }
            }
            Action::SetTimer { token, after } => {
                let service = self.clone();
                self.0.world.spawn(async move {
                    sleep(after).await;
                    service.feed(Input::TimerFired(token));
                });
            }
            Action::Record(fact) => self.0.world.recorder().record(Source::Supervisor, fact),
        }
    }

    fn start_main(&self) {
        let main = (self.0.make_main)();
        let pid = match self.0.world.start_process(&self.0.machine, &self.0.program, main) {
            Ok(pid) => pid,
            Err(error) => {
                let what = format!("{} could not be started: {error}", self.0.program);
                self.0.world.recorder().record(Source::Supervisor, Fact::Injected { what });
                self.feed(Input::MainExited(DeathCause::Exited(ExitCode::FAILURE)));
                return;
            }
        };
        self.0.main_pid.set(Some(pid));
        let service = self.clone();
        self.0.world.spawn(async move {
            // A power loss is fed by the power watch, once for the whole machine.
            if let Ok(cause) = service.0.world.wait_exit(pid).await
                && cause != DeathCause::PowerLoss
            {
                service.feed(Input::MainExited(cause));
            }
        });
    }
}
