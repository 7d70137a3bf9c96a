//! Machines and processes on the umbrella: a disk, process ids, signals, and tasks that end with their process.
//!
//! No more than a clean exit needs. Turmoil knows hosts, not processes, so a life is a group of tasks on its
//! host's runtime, aborted in spawn order when its main function returns.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use gatesim::timeline::{Fact, Recorder, Source};
use gatesim::world::disk::Disk;
use gateway::env::{Env, ExitCode, LocalBoxFuture, Pid, Signal, SignalStream, TaskControl, WallTime};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::doors;

/// 2026-03-02T00:00:00Z, when the world's first instant is.
const WALL_EPOCH_MS: u64 = 1_772_409_600_000;

/// What outlives a process: the disk, the count of process ids, and whoever receives signals now.
pub(super) struct Machine {
    name: String,
    seed: u64,
    recorder: Recorder,
    disk: Disk,
    last_pid: Cell<u32>,
    signals: RefCell<Option<mpsc::UnboundedSender<Signal>>>,
}

impl Machine {
    /// A machine with an empty disk.
    pub(super) fn new(name: &str, seed: u64, recorder: Recorder) -> Rc<Self> {
        let clock = recorder.clone();
        Rc::new(Self {
            name: name.to_string(),
            seed,
            disk: Disk::new(Rc::new(move || wall(&clock))),
            recorder,
            last_pid: Cell::new(200),
            signals: RefCell::default(),
        })
    }

    /// Starts a process, which has nothing to do yet.
    pub(super) fn new_process(self: &Rc<Self>, program: &str) -> Rc<Process> {
        let pid = self.last_pid.get() + 1;
        self.last_pid.set(pid);
        let (machine, program) = (self.name.clone(), program.to_string());
        let fact = Fact::ProcessStarted { pid: Pid(pid), machine, program };
        self.recorder.record(Source::Process(Pid(pid)), fact);
        self.signals.replace(None);
        Rc::new(Process {
            machine: self.clone(),
            pid: Pid(pid),
            tasks: RefCell::default(),
            drawn: RefCell::default(),
            exit: Cell::new(None),
            exited: Notify::new(),
        })
    }

    /// Sends a signal to the process that handles signals now, if there is one.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(signals) = &*self.signals.borrow() {
            // A process on its way out listens no more.
            let _ = signals.send(signal);
        }
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn wall(&self) -> WallTime {
        wall(&self.recorder)
    }
}

fn wall(recorder: &Recorder) -> WallTime {
    WallTime::from_epoch_ms(WALL_EPOCH_MS + recorder.now().as_millis() as u64)
}

/// One process life.
pub(super) struct Process {
    machine: Rc<Machine>,
    pid: Pid,
    tasks: RefCell<Vec<AbortHandle>>,
    /// How many random numbers were drawn, by label.
    drawn: RefCell<BTreeMap<&'static str, u64>>,
    exit: Cell<Option<ExitCode>>,
    exited: Notify,
}

impl Process {
    /// The doors as this process sees them.
    pub(super) fn env(self: &Rc<Self>) -> Env {
        doors::open(self.clone())
    }

    /// Runs the main function to its end, or to [`Process::exit`], and takes the rest of the process with it.
    pub(super) async fn live(self: &Rc<Self>, main: impl Future<Output = ExitCode>) -> ExitCode {
        let code = tokio::select! {
            biased;
            () = self.exited.notified() => self.exit.get().unwrap_or(ExitCode::CLEAN),
            code = main => code,
        };
        for task in self.tasks.take() {
            task.abort();
        }
        code
    }

    /// Ends the process.
    pub(super) fn exit(&self, code: ExitCode) {
        self.exit.set(Some(code));
        self.exited.notify_one();
    }

    /// Runs a task until it or the process ends.
    pub(super) fn spawn(&self, task: LocalBoxFuture<'static, ()>) -> Box<dyn TaskControl> {
        let handle = tokio::task::spawn_local(task).abort_handle();
        self.tasks.borrow_mut().push(handle.clone());
        Box::new(Spawned(handle))
    }

    /// Takes the machine's signals from now on.
    pub(super) fn handle_signals(&self) -> SignalStream {
        let (send, receive) = mpsc::unbounded_channel();
        self.machine.signals.replace(Some(send));
        SignalStream::new(receive)
    }

    /// The next random number by that label: a hash of who draws and how often it has drawn.
    pub(super) fn random(&self, label: &'static str) -> u64 {
        let mut drawn = self.drawn.borrow_mut();
        let drawn = drawn.entry(label).or_default();
        *drawn += 1;
        let key = format!("{}/{}/{label}/{drawn}", self.machine.name, self.pid);
        xxh3_64_with_seed(key.as_bytes(), self.machine.seed)
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }
}

struct Spawned(AbortHandle);

impl TaskControl for Spawned {
    fn abort(&self) {
        self.0.abort();
    }
}
