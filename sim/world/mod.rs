//! The simulated world behind the gateway's doors.
//!
//! A [`World`] is machines with processes, joined by wires, on a virtual clock that jumps over idle time.
//! [`World::run`] makes one on the calling thread, runs a body in it and takes it down again; everything that
//! differs between two runs comes from the seed in [`WorldSettings`]. The world records what happens in it and
//! judges nothing: it knows no scenario, no oracle and no gateway beyond the doors.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use gateway::env::watch;
use gateway::env::{Env, ExitCode, LocalBoxFuture, Pid, Signal, StartTime, WallTime};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::instant;
use crate::timeline::{DeathCause, Fact, Recorder, Source};

pub mod disk;
pub mod supervisor;

mod absence;
mod command;
mod crash;
mod current;
mod doors;
mod executable;
mod flow;
mod lines;
mod log;
mod machine;
mod network;
mod process;
mod random;
mod run;
mod settings;
mod slots;
mod sockets;
#[cfg(test)]
mod tests;

pub use command::ModelledProgram;
pub use crash::{CrashDeath, CrashGuard, CrashMoment, CrashPoint};
pub use current::{CurrentProcess, current_process};
pub use executable::{Executable, Main};
pub use random::RandomStream;
pub(crate) use random::RandomStreams;
pub use settings::WorldSettings;

use disk::{Disk, FaultyDisk};
use executable::{Family, Origin, ServiceManager};
use machine::{Machine, PidSpace};
use network::{MachineId, Network};
use process::{Birth, Process};

/// A handle on the world. Clones are handles on the same one.
#[derive(Clone)]
pub struct World(Rc<Inner>);

struct Inner {
    settings: WorldSettings,
    epoch: Instant,
    recorder: Recorder,
    random: RandomStreams,
    network: Rc<Network>,
    machines: RefCell<Vec<Rc<Machine>>>,
    wall_offsets: RefCell<BTreeMap<String, Rc<Cell<i64>>>>,
    deaths: RefCell<BTreeMap<Pid, DeathCause>>,
    families: Cell<u64>,
    /// The kernel that the last accepted connection comes from.
    accepted_from: Cell<Option<IpAddr>>,
    is_over: Cell<bool>,
}

#[cfg(test)]
thread_local!(static NEWEST: RefCell<std::rc::Weak<Inner>> = RefCell::default());

/// The first machine's first process id, about what a small Linux host gives its services.
const FIRST_PID: u32 = 200;

/// A process id from before the world began: nobody has it, and nobody ever will.
pub const PID_OF_NOBODY: Pid = Pid(FIRST_PID - 1);

impl World {
    /// Makes a world on this thread, runs `body` in it and takes it down, also when `body` panics. Tasks of
    /// processes that still live then are dropped unrecorded.
    ///
    /// # Panics
    /// When another world already runs on this thread, or with `body`'s own panic.
    pub fn run<R>(settings: WorldSettings, body: impl AsyncFnOnce(Self) -> R) -> R {
        run::run(settings, body)
    }

    /// What the world was made with.
    pub fn settings(&self) -> &WorldSettings {
        &self.0.settings
    }

    /// The event stream.
    pub fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    /// The random stream called `label`: the same one every time, independent of all others.
    pub fn rng(&self, label: &str) -> RandomStream {
        self.0.random.stream(label)
    }

    /// Runs a task that belongs to the world and to no process: a script's step, a supervisor.
    pub fn spawn<T: 'static>(&self, task: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        tokio::task::spawn_local(task)
    }

    /// Packets sent so far, and how often every task was idle: what the run cost.
    pub fn work_done(&self) -> (u64, u64) {
        self.0.network.work_done()
    }
}

/// Machines.
impl World {
    /// Adds a machine with an empty disk. It has power from the start.
    ///
    /// # Errors
    /// `AlreadyExists` when a machine has that name.
    pub fn add_machine(&self, name: &str) -> io::Result<()> {
        if self.machine(name).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("machine {name} exists")));
        }
        let number = u16::try_from(self.machines().len() + 1).map_err(io::Error::other)?;
        let space = self.0.settings.pid_space.max(1);
        // Ranges do not overlap, so that a process id names one living process of the whole world.
        let first = FIRST_PID + (u32::from(number) - 1) * space;
        let next = self.rng(&format!("{name}/first pid")).below(u64::from(space) / 4 + 1) as u32;
        let disk = Disk::new(Rc::new(self.wall_clock(name)));
        let pids = PidSpace { first, space, next };
        let sync_draw = self.rng(&format!("{name}/disk sync"));
        let machine = Machine::new(name, MachineId(number), disk, sync_draw, self.wall_offset(name), pids);
        self.0.machines.borrow_mut().push(Rc::new(machine));
        Ok(())
    }

    /// The disk of a machine, for its first content and for outside observers.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn disk(&self, name: &str) -> io::Result<Disk> {
        Ok(self.machine(name)?.disk.clone())
    }

    /// The layer through which a machine's processes see their disk: where disk faults are injected.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn disk_faults(&self, name: &str) -> io::Result<FaultyDisk> {
        Ok(self.machine(name)?.seen_disk.clone())
    }

    /// The wall clock of the machine called `name`, which need not exist yet.
    pub fn wall_clock(&self, name: &str) -> impl Fn() -> WallTime + use<> {
        let (offset_ms, epoch, wall_epoch) =
            (self.wall_offset(name), self.0.epoch, self.0.settings.wall_epoch);
        move || Machine::wall(wall_epoch, (instant::now() - epoch).as_millis() as u64, offset_ms.get())
    }

    /// Moves the wall clock of the machine called `name` by so many milliseconds; monotonic time goes on.
    pub fn jump_wall_clock(&self, name: &str, by_ms: i64) {
        let offset_ms = self.wall_offset(name);
        offset_ms.set(offset_ms.get() + by_ms);
        let machine = name.to_string();
        self.record(Source::Machine(machine.clone()), Fact::ClockJumped { machine, by_ms });
    }

    /// The machine loses power: nothing leaves it any more, its processes end, what was not synced is lost, and
    /// its peers hear nothing. Without effect when it has none.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn power_off(&self, name: &str) -> io::Result<()> {
        let machine = self.machine(name)?;
        if machine.has_power() {
            self.lose_power(&machine);
        }
        Ok(())
    }

    /// Sets a point of a program's work on a machine at which it dies.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn crash_at(&self, name: &str, point: CrashPoint) -> io::Result<CrashGuard> {
        Ok(self.machine(name)?.crash_points.set(point))
    }

    /// The machine has power again. Nothing runs on it until somebody starts something.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn power_on(&self, name: &str) -> io::Result<()> {
        let machine = self.machine(name)?;
        if !machine.has_power() {
            self.0.network.light_up(machine.id);
            self.record(Source::Machine(machine.name.clone()), Fact::PowerRestored);
            machine.set_power(true);
        }
        Ok(())
    }

    /// Follows the power of a machine.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn watch_power(&self, name: &str) -> io::Result<watch::Receiver<bool>> {
        Ok(self.machine(name)?.watch_power())
    }

    /// Cuts the link between two machines. Packets wait and arrive in order after [`World::heal`]; one that
    /// waits longer than the TCP user timeout resets its connection at both ends.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn partition(&self, a: &str, b: &str) -> io::Result<()> {
        let (a, b) = (self.machine(a)?, self.machine(b)?);
        if a.id != b.id && !self.0.network.is_cut(a.id, b.id) {
            self.0.network.cut(a.id, b.id);
            let fact = Fact::LinkPartitioned { a: a.name.clone(), b: b.name.clone() };
            self.record(Source::World, fact);
        }
        Ok(())
    }

    /// Mends the link between two machines.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn heal(&self, a: &str, b: &str) -> io::Result<()> {
        let (a, b) = (self.machine(a)?, self.machine(b)?);
        if self.0.network.is_cut(a.id, b.id) {
            self.record(Source::World, Fact::LinkHealed { a: a.name.clone(), b: b.name.clone() });
            self.0.network.mend(a.id, b.id);
        }
        Ok(())
    }

    /// Sets the delay of packets between two machines from now on; what is in flight keeps its time.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn set_latency(&self, a: &str, b: &str, latency: RangeInclusive<Duration>) -> io::Result<()> {
        let (a, b) = (self.machine(a)?, self.machine(b)?);
        self.0.network.set_latency(a.id, b.id, latency);
        Ok(())
    }
}

/// Processes.
impl World {
    /// Starts a process of `program` on a machine; it ends when `main` returns its exit code, if nothing ends
    /// it sooner.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine, `HostUnreachable` when it has no power, `WouldBlock` when the
    /// machine has no free process id or the world no free address.
    pub fn start_process(
        &self,
        machine: &str,
        program: &str,
        main: impl FnOnce(Env) -> LocalBoxFuture<'static, ExitCode> + 'static,
    ) -> io::Result<Pid> {
        self.start(machine, program, Origin::default(), main)
    }

    /// As [`World::start_process`], for the world's own people (senders, the provider): their disk operations
    /// are not recorded.
    ///
    /// # Errors
    /// As [`World::start_process`].
    pub fn start_actor(
        &self,
        machine: &str,
        name: &str,
        main: impl FnOnce(Env) -> LocalBoxFuture<'static, ExitCode> + 'static,
    ) -> io::Result<Pid> {
        self.start(machine, name, Origin { is_actor: true, ..Origin::default() }, main)
    }

    /// Sends a signal: to the process's handler, or with its default action, which is death.
    ///
    /// # Errors
    /// `NotFound` when no living process has that id.
    pub fn signal(&self, pid: Pid, signal: Signal) -> io::Result<()> {
        self.process(pid)?.signal(signal);
        Ok(())
    }

    /// SIGKILL: the process ends where it stands.
    ///
    /// # Errors
    /// `NotFound` when no living process has that id.
    pub fn kill(&self, pid: Pid) -> io::Result<()> {
        self.process(pid)?.die(DeathCause::Killed);
        Ok(())
    }

    /// SIGSTOP: the process is not scheduled any more. Its kernel goes on, its locks and ports stay held.
    ///
    /// # Errors
    /// `NotFound` when no living process has that id.
    pub fn freeze(&self, pid: Pid) -> io::Result<()> {
        self.process(pid)?.freeze();
        Ok(())
    }

    /// SIGCONT: the process runs again, and every overdue timer of it fires.
    ///
    /// # Errors
    /// `NotFound` when no living process has that id.
    pub fn thaw(&self, pid: Pid) -> io::Result<()> {
        self.process(pid)?.thaw();
        Ok(())
    }

    /// Waits for the process's end; at once when it has ended and nobody has its id by now.
    ///
    /// # Errors
    /// `NotFound` when no process ever had that id.
    pub fn wait_exit(&self, pid: Pid) -> impl Future<Output = io::Result<DeathCause>> + use<> {
        // The process is looked up now, so that a later one with the same id is not mistaken for it.
        let process = self.process(pid).map(|process| process.death());
        let known = self.0.deaths.borrow().get(&pid).copied();
        async move {
            match process {
                Ok(death) => Ok(death.wait().await),
                Err(not_found) => known.ok_or(not_found),
            }
        }
    }

    /// Whether a living process has that id.
    pub fn is_alive(&self, pid: Pid) -> bool {
        self.process(pid).is_ok()
    }

    /// The living process that listens on a port of a machine.
    pub fn listening_on(&self, machine: &str, port: u16) -> Option<Pid> {
        self.machine(machine).ok()?.port_owner(port).map(|owner| owner.pid)
    }

    /// Whose the connection is that was accepted last, anywhere in the world, if that process still lives. To be asked
    /// right after accepting: peers only see the address of the machine.
    pub fn last_accepted_from(&self) -> Option<Pid> {
        let kernel = self.0.accepted_from.get()?;
        let of_kernel = |process: &Rc<Process>| self.0.network.address(process.slot) == kernel;
        let processes = self.machines().into_iter().flat_map(|machine| machine.processes());
        processes.into_iter().find(of_kernel).map(|process| process.pid)
    }

    /// When a living process was started, as its machine counts.
    ///
    /// # Errors
    /// `NotFound` when no living process has that id.
    pub fn start_time_of(&self, pid: Pid) -> io::Result<StartTime> {
        Ok(self.process(pid)?.start)
    }

    /// The living process of `program` on a machine that was started last.
    pub fn newest_process(&self, machine: &str, program: &str) -> Option<Pid> {
        Some(self.machine(machine).ok()?.newest_process(program)?.pid)
    }

    /// The living process of `program` on a machine that was started last, `but` one.
    pub fn newest_process_but(&self, machine: &str, program: &str, but: Option<Pid>) -> Option<Pid> {
        Some(self.machine(machine).ok()?.newest_process_but(program, but)?.pid)
    }

    /// From now on, the ports of a process that is killed on a machine stay taken for so long.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn linger_ports(&self, machine: &str, lasting: Duration) -> io::Result<()> {
        self.machine(machine)?.linger_ports(lasting);
        Ok(())
    }

    /// The names of a process's tasks, in spawn order: where it is stuck when it is stuck.
    pub fn tasks_of(&self, pid: Pid) -> Vec<&'static str> {
        self.process(pid).map(|process| process.task_names()).unwrap_or_default()
    }

    /// Whether there is a machine of this name, and it has power.
    pub fn has_power(&self, machine: &str) -> bool {
        self.machine(machine).is_ok_and(|machine| machine.has_power())
    }

    fn start(
        &self,
        machine: &str,
        program: &str,
        origin: Origin,
        main: impl FnOnce(Env) -> LocalBoxFuture<'static, ExitCode> + 'static,
    ) -> io::Result<Pid> {
        let machine = self.machine(machine)?;
        if !machine.has_power() {
            let why = format!("{} has no power", machine.name);
            return Err(io::Error::new(io::ErrorKind::HostUnreachable, why));
        }
        let pid = machine.next_free_pid()?;
        let (slot, host) = self.0.network.claim_slot(machine.id).ok_or_else(|| {
            let why = format!("all {} process slots of the world are taken", self.0.settings.process_slots);
            io::Error::new(io::ErrorKind::WouldBlock, why)
        })?;
        let fact = Fact::ProcessStarted { pid, machine: machine.name.clone(), program: program.to_string() };
        let birth = Birth {
            pid,
            start: self.start_time(),
            program: program.to_string(),
            is_actor: origin.is_actor,
            executable: origin.executable.map(|executable| executable.started_as(pid)),
            family: origin.family.unwrap_or_else(|| self.new_family()),
            parent: origin.parent,
            machine: machine.clone(),
            world: self.clone(),
            slot,
            host,
        };
        let process = Process::new(birth);
        machine.admit(&process);
        process.record(fact);
        if machine.is_asleep() {
            process.freeze();
        }
        let life = process.clone();
        process.spawn(
            "main",
            Box::pin(async move {
                let code = main(doors::open_doors(&life)).await;
                life.die(DeathCause::Exited(code));
            }),
        );
        Ok(pid)
    }

    /// In clock ticks of 10 ms. The machines booted long ago, and a power loss does not set the count back, so
    /// that a process id with its start time stays unique.
    fn start_time(&self) -> StartTime {
        const TICKS_BEFORE: u64 = 100_000;
        StartTime(TICKS_BEFORE + (instant::now() - self.0.epoch).as_millis() as u64 / 10)
    }
}

/// For the world's own parts.
impl World {
    /// How long ago a process was started that was started then.
    fn since_start(&self, start: StartTime) -> Duration {
        Duration::from_millis((self.start_time().0 - start.0) * 10)
    }

    fn new(settings: WorldSettings) -> Self {
        let random = RandomStreams::new(settings.seed);
        let network = Network::enter(&settings, &random);
        let world = Self(Rc::new(Inner {
            settings,
            epoch: Instant::now(),
            recorder: Recorder::new(),
            random,
            network,
            machines: RefCell::default(),
            wall_offsets: RefCell::default(),
            deaths: RefCell::default(),
            families: Cell::new(0),
            accepted_from: Cell::new(None),
            is_over: Cell::new(false),
        }));
        #[cfg(test)]
        NEWEST.set(Rc::downgrade(&world.0));
        world
    }

    /// Whether anything is left of the world that was made last on this thread.
    #[cfg(test)]
    pub(crate) fn is_newest_gone() -> bool {
        NEWEST.with_borrow(|newest| newest.strong_count() == 0)
    }

    /// Ends every process, unrecorded, and removes the socket stack from the thread.
    fn end(&self) {
        self.0.is_over.set(true);
        for machine in self.machines() {
            for process in machine.processes() {
                machine.dismiss(process.pid);
                process.vanish();
            }
        }
    }

    /// Lets go of what holds this world and is held by it: a campaign makes worlds by the hundred thousand.
    fn dissolve(self) {
        for machine in self.0.machines.take() {
            machine.dissolve();
        }
    }

    /// Takes the power of a machine that has it; may be called in the middle of a poll of one of its processes,
    /// which is then buried when that poll returns.
    fn lose_power(&self, machine: &Machine) {
        self.0.network.go_dark(machine.id);
        machine.processes().iter().for_each(|process| process.die(DeathCause::PowerLoss));
        self.0.network.forget_sockets(machine.id);
        let lost_operations = self.rng("power loss").with(|draw| machine.disk.power_loss(draw));
        self.record(Source::Machine(machine.name.clone()), Fact::PowerLost { lost_operations });
        machine.set_power(false);
    }

    fn record(&self, source: Source, fact: Fact) {
        if !self.0.is_over.get() {
            self.0.recorder.record(source, fact);
        }
    }

    fn network(&self) -> &Rc<Network> {
        &self.0.network
    }

    fn machines(&self) -> Vec<Rc<Machine>> {
        self.0.machines.borrow().clone()
    }

    fn machine(&self, name: &str) -> io::Result<Rc<Machine>> {
        let found = self.0.machines.borrow().iter().find(|machine| machine.name == name).cloned();
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no machine is called {name}")))
    }

    fn machine_by_id(&self, id: MachineId) -> Option<Rc<Machine>> {
        self.0.machines.borrow().iter().find(|machine| machine.id == id).cloned()
    }

    fn note_accepted_from(&self, kernel: IpAddr) {
        self.0.accepted_from.set(Some(kernel));
    }

    fn process(&self, pid: Pid) -> io::Result<Rc<Process>> {
        let found = self.0.machines.borrow().iter().find_map(|machine| machine.process(pid));
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no process {pid}")))
    }

    fn new_family(&self) -> Family {
        self.0.families.set(self.0.families.get() + 1);
        Family(self.0.families.get())
    }

    /// From now on, processes of the machine can ask `manager`.
    fn install_manager(&self, machine: &str, manager: Rc<dyn ServiceManager>) -> io::Result<()> {
        self.machine(machine)?.install_manager(manager);
        Ok(())
    }

    /// The next process of the machine is the first of a new container: it gets process id 1.
    fn enter_container(&self, machine: &str) {
        if let Ok(machine) = self.machine(machine) {
            machine.enter_container();
        }
    }

    fn note_death(&self, pid: Pid, cause: DeathCause) {
        self.0.deaths.borrow_mut().insert(pid, cause);
    }

    fn wall_offset(&self, name: &str) -> Rc<Cell<i64>> {
        self.0.wall_offsets.borrow_mut().entry(name.to_string()).or_default().clone()
    }

    fn draw_disk_sync(&self, machine: &Machine) -> Duration {
        machine.sync_draw.duration_in(&self.0.settings.disk_sync)
    }

    fn wall_clock_of(&self, machine: &Machine) -> WallTime {
        let since_epoch_ms = (instant::now() - self.0.epoch).as_millis() as u64;
        Machine::wall(self.0.settings.wall_epoch, since_epoch_ms, machine.wall_offset_ms.get())
    }
}
