//! A machine: power, disk, wall clock, process table and ports.
//!
//! The port table is the machine's own and not the socket kernels': only a live listener blocks a port, as on
//! Linux, whatever old connections linger. What it means for a process to die is `process`; how packets travel
//! is `network`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use gateway::env::watch;
use gateway::env::{Listening, Liveness, Pid, StartTime, WallTime};

use super::command::ModelledProgram;
use super::crash::CrashPoints;
use super::disk::{Disk, FaultyDisk};
use super::executable::ServiceManager;
use super::network::MachineId;
use super::process::Process;
use super::random::RandomStream;

/// One machine of the world.
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) id: MachineId,
    pub(super) disk: Disk,
    /// The disk as its processes see it: with faults, when there are any.
    pub(super) seen_disk: FaultyDisk,
    /// Where processes die in the middle of their work.
    pub(super) crash_points: CrashPoints,
    /// How long each sync takes.
    pub(super) sync_draw: RandomStream,
    pub(super) wall_offset_ms: Rc<Cell<i64>>,
    power: watch::Sender<bool>,
    processes: RefCell<BTreeMap<Pid, Rc<Process>>>,
    ports: RefCell<BTreeMap<u16, PortOwner>>,
    pids: Cell<PidSpace>,
    /// It is a container: its process 1 is special.
    is_container: Cell<bool>,
    service_manager: RefCell<Option<Rc<dyn ServiceManager>>>,
    /// What its processes can run, by name.
    programs: RefCell<BTreeMap<String, ModelledProgram>>,
    /// How long the ports of a process that is killed stay taken.
    port_linger: Cell<Duration>,
    /// Nobody can look its name up.
    is_unknown: Cell<bool>,
    /// Nothing runs on it, and whatever is started waits.
    is_asleep: Cell<bool>,
}

/// The process ids of a machine: `space` of them from `first` on, handed out in turn.
#[derive(Clone, Copy)]
pub(super) struct PidSpace {
    pub(super) first: u32,
    pub(super) space: u32,
    /// The next one, counted from `first`.
    pub(super) next: u32,
}

/// Who listens on a port.
#[derive(Clone, Copy)]
pub(super) struct PortOwner {
    pub(super) pid: Pid,
    /// Where the listener really listens, in the kernel of its process.
    pub(super) kernel: SocketAddr,
    /// Its process is gone, and the kernel has not taken its socket down yet.
    pub(super) lingers: bool,
}

/// The first process of a container.
const INIT: Pid = Pid(1);
/// How many process ids a container has before it uses them again; below those of every other machine.
const CONTAINER_PIDS: u32 = 32;

/// The first port handed out for "any port".
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

impl Machine {
    pub(super) fn new(
        name: &str,
        id: MachineId,
        disk: Disk,
        sync_draw: RandomStream,
        wall_offset_ms: Rc<Cell<i64>>,
        pids: PidSpace,
    ) -> Self {
        Self {
            name: name.to_string(),
            id,
            seen_disk: FaultyDisk::new(Rc::new(disk.clone())),
            disk,
            crash_points: CrashPoints::default(),
            sync_draw,
            wall_offset_ms,
            power: watch::Sender::new(true),
            processes: RefCell::default(),
            ports: RefCell::default(),
            pids: Cell::new(pids),
            is_container: Cell::new(false),
            service_manager: RefCell::default(),
            programs: RefCell::default(),
            port_linger: Cell::default(),
            is_unknown: Cell::default(),
            is_asleep: Cell::default(),
        }
    }

    pub(super) fn set_unknown(&self, is_unknown: bool) {
        self.is_unknown.set(is_unknown);
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.is_unknown.get()
    }

    /// Whether that changed anything.
    pub(super) fn set_asleep(&self, is_asleep: bool) -> bool {
        self.is_asleep.replace(is_asleep) != is_asleep
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.is_asleep.get()
    }

    pub(super) fn install_manager(&self, manager: Rc<dyn ServiceManager>) {
        *self.service_manager.borrow_mut() = Some(manager);
    }

    /// Lets go of everybody, at the end of the world.
    pub(super) fn dissolve(&self) {
        self.service_manager.take();
        self.processes.take();
    }

    /// Who minds the service that runs here.
    pub(super) fn service_manager(&self) -> Option<Rc<dyn ServiceManager>> {
        self.service_manager.borrow().clone()
    }

    pub(super) fn install_program(&self, name: &str, program: ModelledProgram) {
        self.programs.borrow_mut().insert(name.to_string(), program);
    }

    pub(super) fn program(&self, name: &str) -> Option<ModelledProgram> {
        self.programs.borrow().get(name).cloned()
    }

    /// Whether this is the first process of a container: its end is that of all others, and signals without a
    /// handler do not reach it.
    pub(super) fn is_init(&self, pid: Pid) -> bool {
        self.is_container.get() && pid == INIT
    }

    /// The next process is the first of a new container.
    pub(super) fn enter_container(&self) {
        self.is_container.set(true);
        self.pids.set(PidSpace { first: INIT.0, space: CONTAINER_PIDS, next: 0 });
    }

    /// The address that peers see.
    pub(super) fn address(&self) -> Ipv4Addr {
        let [high, low] = self.id.0.to_be_bytes();
        Ipv4Addr::new(10, 0, high, low)
    }

    pub(super) fn has_power(&self) -> bool {
        *self.power.borrow()
    }

    pub(super) fn set_power(&self, on: bool) {
        self.power.send_replace(on);
    }

    pub(super) fn watch_power(&self) -> watch::Receiver<bool> {
        self.power.subscribe()
    }

    /// A process id that nobody has, in turn; `WouldBlock` (EAGAIN, as from `fork`) when there is none.
    pub(super) fn next_free_pid(&self) -> io::Result<Pid> {
        let processes = self.processes.borrow();
        let mut pids = self.pids.get();
        for _ in 0..pids.space {
            let pid = Pid(pids.first + pids.next);
            pids.next = (pids.next + 1) % pids.space;
            if !processes.contains_key(&pid) {
                self.pids.set(pids);
                return Ok(pid);
            }
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{} has no free process id", self.name)))
    }

    pub(super) fn admit(&self, process: &Rc<Process>) {
        self.processes.borrow_mut().insert(process.pid, process.clone());
    }

    /// Strikes the process from the table; its ports are free at once, and are returned.
    pub(super) fn dismiss(&self, pid: Pid) -> Vec<u16> {
        self.processes.borrow_mut().remove(&pid);
        let mut released = Vec::new();
        self.ports.borrow_mut().retain(|port, owner| {
            let is_others = owner.pid != pid || owner.lingers;
            if !is_others {
                released.push(*port);
            }
            is_others
        });
        released
    }

    pub(super) fn process(&self, pid: Pid) -> Option<Rc<Process>> {
        self.processes.borrow().get(&pid).cloned()
    }

    pub(super) fn processes(&self) -> Vec<Rc<Process>> {
        self.processes.borrow().values().cloned().collect()
    }

    /// The living process of `program` that was started last.
    pub(super) fn newest_process(&self, program: &str) -> Option<Rc<Process>> {
        let processes = self.processes.borrow();
        let of_program = processes.values().filter(|process| process.program == program);
        of_program.max_by_key(|process| process.start.0).cloned()
    }

    /// The living process of `program` that was started last, `but` one.
    pub(super) fn newest_process_but(&self, program: &str, but: Option<Pid>) -> Option<Rc<Process>> {
        let processes = self.processes.borrow();
        let others =
            processes.values().filter(|process| process.program == program && Some(process.pid) != but);
        others.max_by_key(|process| process.start.0).cloned()
    }

    /// What this machine can say of a process that somebody names.
    pub(super) fn liveness(&self, pid: Pid, start: Option<StartTime>) -> Liveness {
        match (self.processes.borrow().get(&pid), start) {
            (None, _) => Liveness::Dead,
            (Some(_), None) => Liveness::Unknown,
            (Some(process), Some(start)) if process.start == start => Liveness::Alive,
            (Some(_), Some(_)) => Liveness::Dead,
        }
    }

    /// How long the ports of a process that is killed stay taken, from now on.
    pub(super) fn linger_ports(&self, lasting: Duration) {
        self.port_linger.set(lasting);
    }

    pub(super) fn port_linger(&self) -> Duration {
        self.port_linger.get()
    }

    /// The ports of a process stay taken although it will be gone.
    pub(super) fn leave_ports(&self, pid: Pid) -> Vec<(u16, SocketAddr)> {
        let mut ports = self.ports.borrow_mut();
        let left = ports.iter_mut().filter(|(_, owner)| owner.pid == pid);
        left.map(|(port, owner)| {
            owner.lingers = true;
            (*port, owner.kernel)
        })
        .collect()
    }

    /// Who listens where; a port is one on all of the machine's addresses.
    pub(super) fn listeners(&self) -> Vec<Listening> {
        let ports = self.ports.borrow();
        let listening = |(port, owner): (&u16, &PortOwner)| Listening {
            address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port)),
            pid: owner.pid,
        };
        ports.iter().map(listening).collect()
    }

    pub(super) fn port_owner(&self, port: u16) -> Option<PortOwner> {
        self.ports.borrow().get(&port).copied()
    }

    /// A port nobody listens on, for callers that do not care which.
    pub(super) fn any_free_port(&self) -> Option<u16> {
        let ports = self.ports.borrow();
        (FIRST_EPHEMERAL_PORT..=u16::MAX).find(|port| !ports.contains_key(port))
    }

    pub(super) fn bind_port(&self, port: u16, owner: PortOwner) {
        self.ports.borrow_mut().insert(port, owner);
    }

    /// Frees the port if it still belongs to the listener at `kernel`; whether it did.
    pub(super) fn release_port(&self, port: u16, kernel: SocketAddr) -> bool {
        let mut ports = self.ports.borrow_mut();
        let is_mine = ports.get(&port).is_some_and(|owner| owner.kernel == kernel && !owner.lingers);
        if is_mine {
            ports.remove(&port);
        }
        is_mine
    }

    /// Frees the port of a process that is gone, if nobody has it by now; whether it did.
    pub(super) fn take_down(&self, port: u16, kernel: SocketAddr) -> bool {
        let owner = |owner: &PortOwner| owner.kernel == kernel && owner.lingers;
        let is_left = self.ports.borrow().get(&port).is_some_and(owner);
        if is_left {
            self.ports.borrow_mut().remove(&port);
        }
        is_left
    }

    /// The machine's wall clock, `since_epoch_ms` of true time after the world's wall epoch.
    pub(super) fn wall(wall_epoch: WallTime, since_epoch_ms: u64, offset_ms: i64) -> WallTime {
        WallTime::from_epoch_ms((wall_epoch.epoch_ms() + since_epoch_ms).saturating_add_signed(offset_ms))
    }
}
