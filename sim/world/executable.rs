//! A program on a machine's disk: what it takes to run it, and to run it once more.
//!
//! A process that was made from one can start others, detached, with the same environment. Which processes belong
//! together is known by family: a child is of its parent's, however detached, as with control groups.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use gateway::env::{Detached, Env, ExitCode, LocalBoxFuture, Pid, ProcessId};
use tokio::time::sleep;

use super::World;
use super::machine::Machine;
use super::process::Process;

/// The main function of a process.
pub type Main = Box<dyn FnOnce(Env) -> LocalBoxFuture<'static, ExitCode>>;

/// A program with its environment. Clones are the same one.
#[derive(Clone)]
pub struct Executable {
    program: String,
    environment: BTreeMap<String, String>,
    /// Where whoever starts it writes the process's own id.
    own_pid_variable: Option<&'static str>,
    make_main: Rc<dyn Fn() -> Main>,
}

/// All processes that descend from one that was started from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family(pub(super) u64);

/// What the processes of a machine can ask of whoever minds its service.
pub(super) trait ServiceManager {
    /// A restart, asked for from inside the service.
    fn restart(&self) -> io::Result<()>;

    /// A start, asked for by a script that the service left behind.
    fn start(&self) -> io::Result<()>;

    /// Whether a script of the service can ask for a start here.
    fn runs_scripts(&self) -> bool;
}

/// Where a process comes from.
#[derive(Default)]
pub(super) struct Origin {
    /// An actor of the world.
    pub(super) is_actor: bool,
    pub(super) executable: Option<Executable>,
    /// Its parent's; a new one when it has none.
    pub(super) family: Option<Family>,
    pub(super) parent: Option<ProcessId>,
}

impl Executable {
    /// A program whose environment is empty; each process runs a fresh `make_main()`.
    pub fn new(program: &str, make_main: impl Fn() -> Main + 'static) -> Self {
        Self {
            program: program.to_string(),
            environment: BTreeMap::new(),
            own_pid_variable: None,
            make_main: Rc::new(make_main),
        }
    }

    /// The same program with other environment variables. In the variable `own_pid` each process finds its own id.
    #[must_use]
    pub fn in_environment(
        &self,
        variables: impl IntoIterator<Item = (&'static str, String)>,
        own_pid: Option<&'static str>,
    ) -> Self {
        let environment = variables.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        Self { environment, own_pid_variable: own_pid, ..self.clone() }
    }

    /// What its processes are called.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// As the process with that id sees it. What that starts inherits its id in place of their own.
    pub(super) fn started_as(mut self, pid: Pid) -> Self {
        if let Some(name) = self.own_pid_variable.take() {
            self.environment.insert(name.to_string(), pid.to_string());
        }
        self
    }

    /// The value of an environment variable.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }
}

impl World {
    /// Starts a process of `executable`.
    ///
    /// # Errors
    /// As [`World::start_process`].
    pub fn exec(&self, machine: &str, executable: &Executable) -> io::Result<Pid> {
        self.exec_in(machine, executable, None, None)
    }

    fn exec_in(
        &self,
        machine: &str,
        executable: &Executable,
        family: Option<Family>,
        parent: Option<ProcessId>,
    ) -> io::Result<Pid> {
        let main = (executable.make_main)();
        let origin = Origin { is_actor: false, executable: Some(executable.clone()), family, parent };
        self.start(machine, &executable.program, origin, main)
    }

    /// The family of a living process.
    pub(super) fn family_of(&self, pid: Pid) -> Option<Family> {
        self.process(pid).ok().map(|process| process.family)
    }

    /// Who lives of a family, in the order of process ids.
    pub(super) fn members(&self, machine: &str, family: Family) -> Vec<Pid> {
        let Ok(machine) = self.machine(machine) else { return Vec::new() };
        let members = machine.processes().into_iter().filter(|process| process.family == family);
        members.map(|process| process.pid).collect()
    }
}

impl Process {
    /// Starts another process that outlives this one.
    pub(super) fn spawn_detached(&self, what: Detached) -> io::Result<Pid> {
        let executable = self.executable.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        match what {
            Detached::Successor => {
                self.world.exec_in(&self.machine.name, executable, Some(self.family), Some(self.id()))
            }
            Detached::StartScript => leave_script(&self.world, &self.machine, executable, self.family),
        }
    }
}

/// How often the script asks, and how long it waits before each time (`schtasks /Run` in OpenClaw 2026.5.3-1).
const SCRIPT_ATTEMPTS: u32 = 12;
const SCRIPT_PAUSE: Duration = Duration::from_secs(1);

/// Starts a script that asks the service manager for a start until it is given one, and helps itself in the end.
fn leave_script(
    world: &World,
    machine: &Rc<Machine>,
    executable: &Executable,
    family: Family,
) -> io::Result<Pid> {
    let manager = machine.service_manager().filter(|manager| manager.runs_scripts());
    let manager = manager.ok_or(io::ErrorKind::Unsupported)?;
    let (world_of_script, machine_name, executable) =
        (world.clone(), machine.name.clone(), executable.clone());
    let origin = Origin { family: Some(family), ..Origin::default() };
    world.start(&machine.name, "start-script", origin, move |_| {
        Box::pin(async move {
            for _ in 0..SCRIPT_ATTEMPTS {
                sleep(SCRIPT_PAUSE).await;
                if manager.start().is_ok() {
                    return ExitCode::CLEAN;
                }
            }
            match world_of_script.exec_in(&machine_name, &executable, Some(family), None) {
                Ok(_) => ExitCode::CLEAN,
                Err(_) => ExitCode::FAILURE,
            }
        })
    })
}
