//! Supervisors: pure policies that decide, from what happened and when, what becomes of the service; and the
//! driver that lets such a policy act on the world.
//!
//! The driver owns no decision. It turns ends of processes, power, timers, the operator's wishes and the service's
//! own into the policy's inputs and carries out what the policy answers, in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use gateway::env::{ExitCode, Pid, ServiceOrder, ServiceState};

use super::executable::{Family, ServiceManager};
use super::{Executable, World};
use crate::timeline::{DeathCause, Fact, Source};
use container::{Container, ContainerSettings};
use launchd::{Job, Launchd};
pub use policy::{Action, Input, Supervisor, TimerToken};
use systemd::{Systemd, Unit};
use task_scheduler::{Task, TaskScheduler};

pub mod container;
pub mod launchd;
mod policy;
#[cfg(test)]
mod rows;
pub mod systemd;
pub mod task_scheduler;
#[cfg(test)]
mod tests;

/// What systemd reports when a program cannot be executed.
const EXIT_EXEC: ExitCode = ExitCode(203);

/// The manager of a service, with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manager {
    /// systemd.
    Systemd(Unit),
    /// launchd.
    Launchd(Job),
    /// The Windows Task Scheduler.
    TaskScheduler(Task),
    /// A container engine; the machine is the container.
    Container(ContainerSettings),
    /// Some manager that behaves as systemd does, and whom the service neither knows nor can ask.
    Unknown(Unit),
}

impl Manager {
    fn supervisor(&self) -> Box<dyn Supervisor> {
        match self.clone() {
            Self::Systemd(unit) | Self::Unknown(unit) => Box::new(Systemd::new(unit)),
            Self::Launchd(job) => Box::new(Launchd::new(job)),
            Self::TaskScheduler(task) => Box::new(TaskScheduler::new(task)),
            Self::Container(settings) => Box::new(Container::new(settings)),
        }
    }

    /// What the service finds in its environment: the manager's own marks, and those of OpenClaw's installers.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let marker = ("OPENCLAW_SERVICE_MARKER", "openclaw".to_string());
        match self {
            Self::Systemd(unit) if unit.clears_environment => Vec::new(),
            Self::Systemd(_) => {
                vec![("INVOCATION_ID", "0f6a2d3b9c184e57a1d0c3b2e4f58697".to_string()), marker]
            }
            Self::Launchd(_) => vec![("XPC_SERVICE_NAME", "ai.openclaw.gateway".to_string()), marker],
            Self::TaskScheduler(_) => {
                vec![("OPENCLAW_WINDOWS_TASK_NAME", "OpenClaw Gateway".to_string()), marker]
            }
            Self::Container(_) => Vec::new(),
            Self::Unknown(_) => vec![marker],
        }
    }

    /// Whether a process of the service can ask it for anything.
    fn can_be_asked(&self) -> bool {
        matches!(self, Self::Systemd(_) | Self::Launchd(_) | Self::TaskScheduler(_))
    }
}

/// A service on one machine, with its manager. Clones are handles on the same one.
#[derive(Clone)]
pub struct Service(Rc<Inner>);

struct Inner {
    world: World,
    machine: String,
    manager: Manager,
    executable: Executable,
    supervisor: RefCell<Box<dyn Supervisor>>,
    main: RefCell<Option<MainProcess>>,
}

#[derive(Clone, Copy)]
struct MainProcess {
    /// `None` once it has ended.
    pid: Option<Pid>,
    family: Family,
}

impl Service {
    /// Makes `manager` mind `executable` on `machine`; [`Service::start`] starts it, and so may every boot from now
    /// on.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn load(world: &World, machine: &str, manager: Manager, executable: &Executable) -> io::Result<Self> {
        let mut power = world.watch_power(machine)?;
        let own_pid = match &manager {
            Manager::Systemd(unit) if !unit.clears_environment => Some("SYSTEMD_EXEC_PID"),
            _ => None,
        };
        let service = Self(Rc::new(Inner {
            world: world.clone(),
            machine: machine.to_string(),
            executable: executable.in_environment(manager.environment(), own_pid),
            supervisor: RefCell::new(manager.supervisor()),
            manager,
            main: RefCell::new(None),
        }));
        world.install_manager(machine, Rc::new(service.clone()))?;
        let watcher = service.clone();
        world.spawn(async move {
            while power.changed().await.is_ok() {
                // Whatever the power is now, it was gone in between.
                let is_on = *power.borrow_and_update();
                watcher.tell(Input::PowerLost);
                if is_on {
                    watcher.tell(Input::Booted);
                }
            }
        });
        Ok(service)
    }

    /// Asks for a start: `systemctl start`, `launchctl bootstrap`, `schtasks /Run`, `docker start`.
    pub fn start(&self) {
        self.tell(Input::StartRequested);
    }

    /// Asks for a stop, without waiting for the end: `systemctl stop`, `launchctl bootout`, `schtasks /End`,
    /// `docker stop`.
    pub fn stop(&self) {
        self.tell(Input::StopRequested);
    }

    /// Asks for a restart, without waiting for it: `systemctl restart`, `launchctl kickstart -k`, `schtasks /End` and
    /// `/Run`, `docker restart`.
    pub fn restart(&self) {
        self.tell(Input::RestartRequested);
    }

    /// The living main process.
    pub fn main_pid(&self) -> Option<Pid> {
        self.0.main.borrow().and_then(|main| main.pid)
    }

    /// Whether the service runs or is about to, as far as the manager knows.
    pub fn is_up_expected(&self) -> bool {
        self.0.supervisor.borrow().is_up_expected()
    }

    /// The state in the manager's word.
    pub fn state_name(&self) -> &'static str {
        self.0.supervisor.borrow().state_name()
    }

    /// As [`Service::feed`], for those who do not hear a refusal: it is on the timeline.
    fn tell(&self, input: Input) {
        drop(self.feed(input));
    }

    /// Lets the policy see one input and does what it says.
    ///
    /// # Errors
    /// When the manager refuses, with its words.
    fn feed(&self, input: Input) -> io::Result<()> {
        let mut inputs = VecDeque::from([input]);
        let mut answer = Ok(());
        while let Some(input) = inputs.pop_front() {
            let now = self.0.world.recorder().now();
            let actions = self.0.supervisor.borrow_mut().handle(now, input);
            for action in actions {
                if let Action::Refuse { why, .. } = action {
                    answer = Err(io::Error::other(why));
                }
                inputs.extend(self.act(action));
            }
        }
        answer
    }

    /// Carries out one action; what came of it at once, if that is news to the policy.
    fn act(&self, action: Action) -> Option<Input> {
        let world = &self.0.world;
        match action {
            Action::Record(fact) => world.record(Source::Supervisor, fact),
            Action::Refuse { order, why } | Action::Ignore { order, why } => {
                let fact = Fact::ServiceOrderRefused { order: order.to_string(), why: why.to_string() };
                world.record(Source::Supervisor, fact);
            }
            Action::Start => return self.start_main(),
            // Processes that are already gone are about to be reported.
            Action::Signal(signal) => {
                self.main_pid().into_iter().for_each(|pid| drop(world.signal(pid, signal)))
            }
            Action::SignalGroup(signal) => {
                self.group().into_iter().for_each(|pid| drop(world.signal(pid, signal)));
            }
            Action::Kill => self.main_pid().into_iter().for_each(|pid| drop(world.kill(pid))),
            Action::KillGroup => self.group().into_iter().for_each(|pid| drop(world.kill(pid))),
            Action::SetTimer { token, after } => {
                let service = self.clone();
                world.spawn(async move {
                    tokio::time::sleep(after).await;
                    service.tell(Input::TimerFired(token));
                });
            }
        }
        None
    }

    /// Every living process of the service.
    fn group(&self) -> Vec<Pid> {
        let main = *self.0.main.borrow();
        main.map_or_else(Vec::new, |main| self.0.world.members(&self.0.machine, main.family))
    }

    fn start_main(&self) -> Option<Input> {
        let Inner { world, machine, executable, main, manager, .. } = &*self.0;
        if matches!(manager, Manager::Container(_)) {
            world.enter_container(machine);
        }
        let started = world.exec(machine, executable);
        match started.map(|pid| (pid, world.family_of(pid))) {
            Ok((pid, Some(family))) => {
                *main.borrow_mut() = Some(MainProcess { pid: Some(pid), family });
                self.watch_main(pid, family);
                None
            }
            Ok((_, None)) => Some(Input::MainExited(DeathCause::Killed)),
            Err(error) => {
                let what = format!("the world cannot start {}: {error}", executable.program());
                world.record(Source::Supervisor, Fact::Remarked { what });
                Some(Input::MainExited(DeathCause::Exited(EXIT_EXEC)))
            }
        }
    }

    /// Reports the end of a main process, and then that of all it has left behind.
    fn watch_main(&self, pid: Pid, family: Family) {
        let (service, end) = (self.clone(), self.0.world.wait_exit(pid));
        self.0.world.spawn(async move {
            let Ok(cause) = end.await else { return };
            // After a boot there may be another main process before this one's end is heard of.
            let was_main =
                service.0.main.borrow_mut().as_mut().is_some_and(|main| {
                    main.family == family && main.pid.take_if(|main| *main == pid).is_some()
                });
            let world = &service.0.world;
            let left: Vec<_> = service.group().into_iter().map(|pid| world.wait_exit(pid)).collect();
            match (was_main, left.is_empty()) {
                (false, _) => return,
                (true, true) => return service.tell(Input::MainExited(cause)),
                (true, false) => service.tell(Input::MainExitedLeaving(cause)),
            }
            for end in left {
                // What it leaves behind cannot end without having lived.
                drop(end.await);
            }
            service.tell(Input::GroupEmptied);
        });
    }
}

impl ServiceManager for Service {
    fn restart(&self) -> io::Result<()> {
        match self.0.manager.can_be_asked() {
            true => self.feed(Input::RestartRequested),
            false => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn order(&self, order: ServiceOrder) -> io::Result<()> {
        if !self.0.manager.can_be_asked() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.feed(match order {
            ServiceOrder::Start => Input::StartRequested,
            ServiceOrder::Stop => Input::StopRequested,
        })
    }

    fn answer(&self) -> io::Result<ServiceState> {
        match self.0.manager.can_be_asked() {
            true => Ok(self.0.supervisor.borrow().answer()),
            false => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn runs_scripts(&self) -> bool {
        matches!(self.0.manager, Manager::TaskScheduler(_))
    }
}
