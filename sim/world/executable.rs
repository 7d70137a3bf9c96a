//! A program on a machine's disk: what it takes to run it, and to run it once more.
//!
//! A process that was made from one can start others, detached, with the same environment. Which processes belong
//! together is known by family: a child is of its parent's, however detached, as with control groups.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use gateway::Predecessor;
use gateway::env::{Detached, Env, ExitCode, LocalBoxFuture, Pid, ProcessId, ServiceOrder, ServiceState};

use super::World;
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
    make_start_script: Option<MakeStartScript>,
}

/// What a start script does that comes after some process.
type MakeStartScript = Rc<dyn Fn(Predecessor) -> Main>;

/// What a start script is called.
const START_SCRIPT: &str = "start-script";

/// All processes that descend from one that was started from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family(pub(super) u64);

/// What the processes of a machine can ask of whoever minds its service.
pub(super) trait ServiceManager {
    /// A restart, asked for from inside the service.
    fn restart(&self) -> io::Result<()>;

    /// A start or a stop, asked for by a program of that machine.
    fn order(&self, order: ServiceOrder) -> io::Result<()>;

    /// How the service is.
    fn answer(&self) -> io::Result<ServiceState>;

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
            make_start_script: None,
        }
    }

    /// The same program; what it leaves behind as a start script runs a fresh `make_start_script(process)`.
    #[must_use]
    pub fn with_start_script(&self, make_start_script: impl Fn(Predecessor) -> Main + 'static) -> Self {
        Self { make_start_script: Some(Rc::new(make_start_script)), ..self.clone() }
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
            Detached::StartScript => leave_script(self, executable),
        }
    }
}

/// Starts the script that comes after a process, where the service manager needs one.
fn leave_script(parent: &Process, executable: &Executable) -> io::Result<Pid> {
    let manager = parent.machine.service_manager().filter(|manager| manager.runs_scripts());
    let (Some(make_script), Some(_)) = (&executable.make_start_script, manager) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let script = make_script(Predecessor { pid: parent.pid, start: Some(parent.start) });
    let origin = Origin {
        executable: Some(executable.clone()),
        family: Some(parent.family),
        parent: Some(parent.id()),
        ..Origin::default()
    };
    parent.world.start(&parent.machine.name, START_SCRIPT, origin, script)
}
