//! A world for unit tests: a disk in memory whose operations can be made to fail, pipes for a network, processes
//! that are tasks. Time is tokio's, paused by the tests.
//!
//! No simulator: nothing is delayed, reordered or lost, and there is no seed. It serves tests that put one thing in
//! the way of one gateway and look at what that gateway does.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;
use tracing::Instrument;

pub(crate) use commands::{Ran, TestProgram};

use super::*;

mod commands;
mod disk;
mod pipes;

/// Bytes that a pipe holds before its writer has to wait.
const PIPE_BYTES: usize = 16 * 1024;

/// Runs a test on paused time, with room for local tasks.
pub(crate) fn on_paused_time<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O").block_on(LocalSet::new().run_until(test))
}

/// One machine: a disk, a network and its processes.
#[derive(Clone, Default)]
pub(crate) struct World(Rc<Inner>);

#[derive(Default)]
struct Inner {
    clock_offset_ms: Cell<i64>,
    files: RefCell<BTreeMap<PathBuf, (Vec<u8>, WallTime)>>,
    faults: RefCell<Vec<Fault>>,
    /// The files that were written, each time.
    writes: RefCell<Vec<PathBuf>>,
    listeners: RefCell<BTreeMap<u16, (Pid, mpsc::UnboundedSender<Stream>)>>,
    /// How often a port was bound.
    binds: Cell<usize>,
    booted: Cell<Option<Instant>>,
    /// The processes that live.
    living: RefCell<BTreeMap<Pid, Neighbour>>,
    /// How each process is signalled.
    signals: RefCell<BTreeMap<Pid, mpsc::UnboundedSender<Signal>>>,
    /// Who was sent which signal by another process, in order.
    struck: RefCell<Vec<(u32, EndSignal)>>,
    /// Who starts processes from now on.
    parent: Cell<Option<u32>>,
    /// Ports stay taken when their listener is killed.
    ports_linger: Cell<bool>,
    /// What comes of every attempt to connect.
    connect_error: Cell<Option<io::ErrorKind>>,
    random: Cell<u64>,
    kernel_locks: RefCell<BTreeSet<PathBuf>>,
    environment: RefCell<BTreeMap<&'static str, String>>,
    manager: Cell<TestManager>,
    left_behind: RefCell<Vec<Detached>>,
    commands: commands::Commands,
    /// Where the next process that comes by is stopped: after this operation on this file.
    stop_sign: Cell<Option<(FsOp, &'static str)>>,
    /// How many more changes of the disk come before the process that makes the last of them is dead.
    changes_left: Cell<Option<usize>>,
    /// How many more changes of the disk come before some that are refused, and how many are.
    refused: Cell<Option<(usize, usize)>>,
    /// What an unseen hand writes into which file after which operation on it.
    replacement: RefCell<Option<(FsOp, &'static str, Vec<u8>)>>,
}

/// A process as its neighbours see it.
#[derive(Clone)]
pub(crate) struct Neighbour {
    pub(crate) program: &'static str,
    pub(crate) parent: Option<u32>,
    pub(crate) start: u64,
    pub(crate) running_for: Duration,
    pub(crate) is_stopped: bool,
    pub(crate) sees_our_network: bool,
}

impl Default for Neighbour {
    fn default() -> Self {
        Self {
            program: "gateway",
            parent: None,
            start: 1,
            running_for: Duration::ZERO,
            is_stopped: false,
            sees_our_network: true,
        }
    }
}

/// What comes of asking the service manager.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum TestManager {
    #[default]
    Missing,
    Takes,
    Refuses,
    NeverAnswers,
}

/// Calls of one operation, on files whose path ends in `file`, that fail.
struct Fault {
    op: FsOp,
    file: &'static str,
    kind: io::ErrorKind,
    /// How many bytes of a failing write or append still arrive.
    torn: usize,
    left: usize,
}

/// A process of the world.
pub(crate) struct TestProcess {
    pub(crate) env: Env,
    pub(crate) signals: mpsc::UnboundedSender<Signal>,
    state: Rc<ProcessState>,
    world: World,
}

#[derive(Default)]
struct ProcessState {
    pid: Cell<u32>,
    tasks: RefCell<Vec<tokio::task::AbortHandle>>,
    is_dead: Cell<bool>,
    is_frozen: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl TestProcess {
    /// How many of its tasks are not over.
    pub(crate) fn tasks_alive(&self) -> usize {
        self.state.tasks.borrow().iter().filter(|task| !task.is_finished()).count()
    }

    /// Ends every task, as SIGKILL does: nothing they still try reaches the world.
    pub(crate) fn kill(&self) {
        self.state.is_dead.set(true);
        self.world.0.living.borrow_mut().remove(&Pid(self.state.pid.get()));
        self.state.tasks.borrow().iter().for_each(tokio::task::AbortHandle::abort);
        self.thaw();
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.state.is_frozen.get()
    }

    /// Lets a stopped process go on.
    pub(crate) fn thaw(&self) {
        self.state.is_frozen.set(false);
        self.state.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// A task that does not run while its process is stopped.
struct Stoppable {
    process: Rc<ProcessState>,
    task: LocalBoxFuture<'static, ()>,
}

impl Future for Stoppable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.process.is_frozen.get() {
            self.process.waiting.borrow_mut().push(cx.waker().clone());
            return Poll::Pending;
        }
        self.task.as_mut().poll(cx)
    }
}

impl World {
    /// A process that has just started.
    pub(crate) fn process(&self, pid: u32) -> TestProcess {
        let (signals, receiver) = mpsc::unbounded_channel();
        self.0.signals.borrow_mut().insert(Pid(pid), signals.clone());
        let state = Rc::new(ProcessState { pid: Cell::new(pid), ..ProcessState::default() });
        let doors = Rc::new(Doors {
            world: self.clone(),
            pid: Pid(pid),
            signals: RefCell::new(Some(receiver)),
            state: state.clone(),
        });
        self.neighbour_who(pid, Neighbour { parent: self.0.parent.get(), ..Neighbour::default() });
        let env = Env::new(doors.clone(), doors.clone(), doors.clone(), doors.clone(), doors);
        TestProcess { env, signals, state, world: self.clone() }
    }

    /// The next `times` calls of `op` on files called `file` fail; of the bytes to write `torn` arrive.
    pub(crate) fn fail(&self, op: FsOp, file: &'static str, times: usize, torn: usize) {
        let fault = Fault { op, file, kind: io::ErrorKind::StorageFull, torn, left: times };
        self.0.faults.borrow_mut().push(fault);
    }

    /// From now on the disk does as it is told.
    pub(crate) fn heal(&self) {
        self.0.faults.borrow_mut().clear();
    }

    /// Every process finds this in its environment.
    pub(crate) fn set_env_var(&self, name: &'static str, value: &str) {
        self.0.environment.borrow_mut().insert(name, value.to_string());
    }

    pub(crate) fn set_manager(&self, manager: TestManager) {
        self.0.manager.set(manager);
    }

    /// What processes have left behind.
    pub(crate) fn left_behind(&self) -> Vec<Detached> {
        self.0.left_behind.borrow().clone()
    }

    /// Another process lives on the machine.
    pub(crate) fn neighbour(&self, pid: u32) {
        self.neighbour_who(pid, Neighbour { program: "bystander", ..Neighbour::default() });
    }

    /// Another process lives on the machine, of which more is known.
    pub(crate) fn neighbour_who(&self, pid: u32, neighbour: Neighbour) {
        self.0.living.borrow_mut().insert(Pid(pid), neighbour);
    }

    /// Another process listens on a port and answers nobody.
    pub(crate) fn squat_port(&self, port: u16, pid: u32) -> mpsc::UnboundedReceiver<Stream> {
        let (sender, backlog) = mpsc::unbounded_channel();
        self.0.listeners.borrow_mut().insert(port, (Pid(pid), sender));
        backlog
    }

    /// Processes that are started from now on have this parent.
    pub(crate) fn adopt(&self, parent: u32) {
        self.0.parent.set(Some(parent));
    }

    /// From now on nobody can connect to anybody.
    pub(crate) fn refuse_connections(&self, kind: io::ErrorKind) {
        self.0.connect_error.set(Some(kind));
    }

    /// From now on the port of a process that is killed stays taken.
    pub(crate) fn linger_ports(&self) {
        self.0.ports_linger.set(true);
    }

    /// Who was sent which signal by another process, in order.
    pub(crate) fn struck(&self) -> Vec<(u32, EndSignal)> {
        self.0.struck.borrow().clone()
    }

    /// The process with this id is gone.
    pub(crate) fn bury(&self, pid: u32) {
        self.0.living.borrow_mut().remove(&Pid(pid));
    }

    /// The next process that does `op` on a file called `file` is stopped right after it.
    pub(crate) fn stop_after(&self, op: FsOp, file: &'static str) {
        self.0.stop_sign.set(Some((op, file)));
    }

    /// The process that makes the disk's next change but `changes` is dead right after it: nothing it still tries reaches
    /// the world, and it waits to be buried.
    pub(crate) fn crash_after(&self, changes: usize) {
        self.0.changes_left.set(Some(changes));
    }

    /// After the disk's next `changes` changes, so many are refused.
    pub(crate) fn refuse_after(&self, changes: usize, times: usize) {
        self.0.refused.set(Some((changes, times)));
    }

    /// Nobody dies any more.
    pub(crate) fn spare(&self) {
        self.0.changes_left.set(None);
    }

    /// Right after the next `op` on a file called `file` that file has another text.
    pub(crate) fn replace_after(&self, op: FsOp, file: &'static str, text: &str) {
        self.0.replacement.replace(Some((op, file, text.into())));
    }

    fn replace_if_due(&self, op: FsOp, path: &Path) {
        let is_due = |due: &mut (FsOp, &str, _)| due.0 == op && path.to_string_lossy().ends_with(due.1);
        if let Some((.., bytes)) = self.0.replacement.borrow_mut().take_if(|due| is_due(due)) {
            self.0.files.borrow_mut().insert(path.to_path_buf(), (bytes, self.now()));
        }
    }

    /// The names of the files in `dir`, sorted.
    pub(crate) fn names_in(&self, dir: &str) -> Vec<String> {
        let files = self.0.files.borrow();
        let inside = files.keys().filter_map(|path| path.strip_prefix(dir).ok());
        inside.map(|path| path.display().to_string()).collect()
    }

    /// The next `times` calls of `op` on files called `file` fail with an error of this kind.
    pub(crate) fn fail_with(&self, kind: io::ErrorKind, op: FsOp, file: &'static str, times: usize) {
        self.0.faults.borrow_mut().push(Fault { op, file, kind, torn: 0, left: times });
    }

    pub(crate) fn put(&self, path: &str, text: &str) {
        self.0.files.borrow_mut().insert(path.into(), (text.into(), self.now()));
    }

    /// A file written while the clock was a day ahead.
    pub(crate) fn put_from_the_future(&self, path: &str, text: &str) {
        let tomorrow = WallTime::from_epoch_ms(self.now().epoch_ms() + 86_400_000);
        self.0.files.borrow_mut().insert(path.into(), (text.into(), tomorrow));
    }

    /// Sets the wall clock forward or back.
    pub(crate) fn jump_clock(&self, by: i64) {
        self.0.clock_offset_ms.set(self.0.clock_offset_ms.get() + by);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.0.files.borrow_mut().remove(Path::new(path));
    }

    /// The file's text; empty when there is none.
    pub(crate) fn text(&self, path: &str) -> String {
        let files = self.0.files.borrow();
        files
            .get(Path::new(path))
            .map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned())
            .unwrap_or_default()
    }

    /// How often the file was written anew.
    pub(crate) fn writes_of(&self, name: &str) -> usize {
        self.0.writes.borrow().iter().filter(|path| path.ends_with(name)).count()
    }

    pub(crate) fn listens(&self, port: u16) -> bool {
        self.0.listeners.borrow().get(&port).is_some_and(|(_, listener)| !listener.is_closed())
    }

    /// How often a port was bound, by anybody.
    pub(crate) fn binds(&self) -> usize {
        self.0.binds.get()
    }

    fn now(&self) -> WallTime {
        let booted = self.0.booted.get().unwrap_or_else(Instant::now);
        self.0.booted.set(Some(booted));
        let ms = (Duration::from_secs(1_772_000_000) + booted.elapsed()).as_millis();
        let ms = u64::try_from(ms).expect("tests are short");
        WallTime::from_epoch_ms(ms.saturating_add_signed(self.0.clock_offset_ms.get()))
    }

    /// Counts a call of `op`; the error it fails with and how many bytes still arrive.
    fn fault(&self, op: FsOp, path: &Path) -> Option<(io::Error, usize)> {
        let mut faults = self.0.faults.borrow_mut();
        let hits = |fault: &&mut Fault| {
            fault.op == op && fault.left > 0 && path.to_string_lossy().ends_with(fault.file)
        };
        let fault = faults.iter_mut().find(hits)?;
        fault.left -= 1;
        Some((fault.kind.into(), fault.torn))
    }

    /// Counts a change of the disk: whether it is one of those that are refused.
    fn refuses(&self) -> bool {
        let (refuses, next) = match self.0.refused.get() {
            Some((0, 0)) | None => (false, None),
            Some((0, times)) => (true, Some((0, times - 1))),
            Some((changes, times)) => (false, Some((changes - 1, times))),
        };
        self.0.refused.set(next);
        refuses
    }

    fn check(&self, op: FsOp, path: &Path) -> io::Result<()> {
        self.fault(op, path).map_or(Ok(()), |(error, _)| Err(error))
    }

    /// Writes `bytes` at the end of what `keep` leaves of the file.
    fn write_at(&self, op: FsOp, path: &Path, keep: usize, bytes: &[u8]) -> io::Result<()> {
        self.0.writes.borrow_mut().push(path.to_path_buf());
        let fault = self.fault(op, path);
        let arriving = fault.as_ref().map_or(bytes.len(), |(_, torn)| *torn);
        let mut files = self.0.files.borrow_mut();
        let (content, modified) = files.entry(path.to_path_buf()).or_insert((Vec::new(), self.now()));
        content.truncate(keep);
        content.extend_from_slice(&bytes[..arriving]);
        *modified = self.now();
        fault.map_or(Ok(()), |(error, _)| Err(error))
    }

    fn with_file<T>(&self, op: FsOp, path: &Path, use_it: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        self.check(op, path)?;
        let mut files = self.0.files.borrow_mut();
        files.get_mut(path).map(|(content, _)| use_it(content)).ok_or(io::ErrorKind::NotFound.into())
    }
}

/// The doors of one process.
struct Doors {
    world: World,
    pid: Pid,
    signals: RefCell<Option<mpsc::UnboundedReceiver<Signal>>>,
    state: Rc<ProcessState>,
}

impl Doors {
    /// What `operation` does, if the process lives. A stop sign there stops the process.
    fn operate<T>(&self, op: FsOp, path: &Path, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.state.is_dead.get() {
            return Err(io::Error::other("the process has ended"));
        }
        let sign = self.world.0.stop_sign.get();
        if sign.is_some_and(|(at, file)| at == op && path.to_string_lossy().ends_with(file)) {
            self.world.0.stop_sign.set(None);
            self.state.is_frozen.set(true);
        }
        let is_change = !matches!(op, FsOp::Read | FsOp::Stat | FsOp::List);
        if is_change && self.world.refuses() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let done = operation();
        self.world.replace_if_due(op, path);
        if is_change {
            let left = self.world.0.changes_left.take();
            if left == Some(0) {
                self.state.is_dead.set(true);
                self.state.is_frozen.set(true);
            }
            self.world.0.changes_left.set(left.and_then(|left| left.checked_sub(1)));
        }
        done
    }
}

impl Clock for Doors {
    fn wall(&self) -> WallTime {
        self.world.now()
    }
}

impl Random for Doors {
    fn next_u64(&self, _label: &'static str) -> u64 {
        let next = self.world.0.random.get() + 1;
        self.world.0.random.set(next);
        next
    }
}

impl Process for Doors {
    fn pid(&self) -> Pid {
        self.pid
    }

    fn start_time(&self) -> Option<StartTime> {
        Some(StartTime(1))
    }

    fn liveness(&self, pid: Pid, start: Option<StartTime>) -> Liveness {
        let living = self.world.0.living.borrow();
        match (living.get(&pid), start) {
            (Some(neighbour), Some(start)) if start.0 != neighbour.start => Liveness::Dead,
            (Some(_), _) => Liveness::Alive,
            (None, _) => Liveness::Dead,
        }
    }

    fn look_up(&self, pid: Pid) -> Option<ProcessEntry> {
        let living = self.world.0.living.borrow();
        let neighbour = living.get(&pid)?;
        Some(ProcessEntry {
            id: ProcessId { pid, start: StartTime(neighbour.start) },
            parent: neighbour.parent.map(Pid),
            program: neighbour.program.to_string(),
            running_for: neighbour.running_for,
            is_stopped: neighbour.is_stopped,
            sees_our_network: neighbour.sees_our_network,
        })
    }

    /// SIGTERM is for nobody here; SIGKILL ends everybody, listeners included.
    fn end_process(&self, process: ProcessId, signal: EndSignal) -> io::Result<()> {
        let entry = self.look_up(process.pid).filter(|entry| entry.id == process);
        entry.ok_or(io::ErrorKind::NotFound)?;
        self.world.0.struck.borrow_mut().push((process.pid.0, signal));
        if signal == EndSignal::Kill {
            self.world.bury(process.pid.0);
            if !self.world.0.ports_linger.get() {
                self.world.0.listeners.borrow_mut().retain(|_, (pid, _)| *pid != process.pid);
            }
        }
        Ok(())
    }

    fn signal_process(&self, process: ProcessId, signal: Signal) -> io::Result<()> {
        let entry = self.look_up(process.pid).filter(|entry| entry.id == process);
        entry.ok_or(io::ErrorKind::NotFound)?;
        let signals = self.world.0.signals.borrow().get(&process.pid).cloned();
        signals.ok_or(io::ErrorKind::NotFound)?.send(signal).map_err(|_| io::ErrorKind::NotFound.into())
    }

    fn handle_signals(&self, _signals: &[Signal]) -> SignalStream {
        SignalStream::new(self.signals.take().expect("handlers are installed once"))
    }

    fn env_var(&self, name: &str) -> Option<String> {
        self.world.0.environment.borrow().get(name).cloned()
    }

    fn ask_service_manager_to_restart(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        let manager = self.world.0.manager.get();
        Box::pin(async move {
            match manager {
                TestManager::Missing => Err(io::ErrorKind::Unsupported.into()),
                TestManager::Takes => Ok(()),
                TestManager::Refuses => Err(io::Error::other("no")),
                TestManager::NeverAnswers => std::future::pending().await,
            }
        })
    }

    /// Where nobody can be asked, nothing can be left behind either.
    fn spawn_detached(&self, what: Detached) -> io::Result<Pid> {
        if let TestManager::Missing = self.world.0.manager.get() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.world.0.left_behind.borrow_mut().push(what);
        Ok(Pid(self.pid.0 + 1))
    }

    fn run_command(&self, command: Command) -> LocalBoxFuture<'static, io::Result<CommandOutput>> {
        Box::pin(commands::run(self.world.clone(), command))
    }

    fn exit(&self, _code: ExitCode) {
        unreachable!("a life returns its exit status");
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn spawn(&self, _name: &'static str, task: LocalBoxFuture<'static, ()>) -> Box<dyn TaskControl> {
        // Log records of the task belong to the test that started it.
        let task = Stoppable { process: self.state.clone(), task };
        let handle = tokio::task::spawn_local(task.in_current_span()).abort_handle();
        self.state.tasks.borrow_mut().push(handle.clone());
        Box::new(TestTask(handle))
    }
}

struct TestTask(tokio::task::AbortHandle);

impl TaskControl for TestTask {
    fn abort(&self) {
        self.0.abort();
    }
}
