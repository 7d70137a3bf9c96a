//! A process: a thread with a tokio runtime of its own, whose doors all lead to the shared machine.
//!
//! The runtime's time is paused and jumps to its next timer by itself whenever the process has nothing to do.
//! [`Paced`] makes the thread wait there until the machine's time has got that far; after each operation the
//! runtime's time follows the machine's. So `tokio::time` in the process is the machine's time.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{Instant, timeout};

use super::machine::{Claim, Died, Machine};
use crate::env::*;

/// A process that wants nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(100_000);

/// The doors of one process.
pub(super) struct Doors {
    machine: Arc<Machine>,
    pub(super) claim: Claim,
    /// When the process started, by its own runtime.
    began: Cell<Option<Instant>>,
}

/// Runs one life in `place`: `live` is everything it does.
pub(super) fn live<F: Future<Output = ()>>(
    machine: &Arc<Machine>,
    place: usize,
    wanted_pid: u32,
    live: impl FnOnce(Rc<Doors>) -> F,
) {
    let claim = machine.begin(place, wanted_pid);
    let doors = Rc::new(Doors { machine: machine.clone(), claim, began: Cell::new(None) });
    let life = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O");
        let life = live(doors.clone());
        let tasks = LocalSet::new();
        let life = tasks.run_until(async { timeout(PATIENCE, life).await.is_err() });
        runtime.block_on(Paced { doors: doors.clone(), life: Box::pin(life) })
    };
    match catch_unwind(AssertUnwindSafe(life)) {
        Ok(Some(true)) => machine.world().promises.breach("a process is stuck".into()),
        Ok(_) => {}
        Err(why) if why.is::<Died>() => {}
        Err(why) => {
            let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
            machine.world().promises.breach(format!("a process panicked: {why}"));
        }
    }
    machine.end(&claim);
}

/// Everything a process does, at the machine's pace. `None` when it died.
struct Paced<F> {
    doors: Rc<Doors>,
    life: Pin<Box<F>>,
}

impl<F: Future> Future for Paced<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.doors.wait_for_machine();
        if !self.doors.lives() {
            return Poll::Ready(None);
        }
        let polled = self.life.as_mut().poll(cx);
        if self.doors.lives() { polled.map(Some) } else { Poll::Ready(None) }
    }
}

impl Doors {
    pub(super) fn env(self: &Rc<Self>) -> Env {
        Env::new(self.clone(), self.clone(), Rc::new(Disk(self.clone())), self.clone(), self.clone())
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(super) fn lives(&self) -> bool {
        self.machine.world().lives_still(&self.claim)
    }

    /// The machine's time, by this process's runtime.
    fn own_time(&self) -> Duration {
        let began = self.began.get().unwrap_or_else(Instant::now);
        self.began.set(Some(began));
        self.claim.born + began.elapsed()
    }

    /// Stands still while the runtime's time is ahead.
    fn wait_for_machine(&self) {
        let own = self.own_time();
        let machine = self.machine.world().now;
        if own > machine {
            self.machine.sleep(&self.claim, own);
        }
        self.follow_machine();
    }

    /// Moves the runtime's time to the machine's.
    fn follow_machine(&self) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let behind = self.machine.world().now.saturating_sub(self.own_time());
        if !behind.is_zero() {
            // The first poll moves the time; what is left is a turn for other tasks, and they get theirs anyway.
            let _ = pin!(tokio::time::advance(behind)).poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn then_follow<T>(&self, result: T) -> T {
        self.follow_machine();
        result
    }
}

/// The door to the disk. Locks that it hands out keep the doors.
struct Disk(Rc<Doors>);

impl Fs for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.then_follow(self.0.machine.read(&self.0.claim, path))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.0.then_follow(self.0.machine.write(&self.0.claim, path, bytes))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.0.then_follow(self.0.machine.append(&self.0.claim, path, bytes))
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        self.0.then_follow(self.0.machine.create(&self.0.claim, path))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).expect("files here are small");
        self.0.then_follow(self.0.machine.truncate(&self.0.claim, path, len))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.then_follow(self.0.machine.rename(&self.0.claim, from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.then_follow(self.0.machine.remove(&self.0.claim, path))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.0.then_follow(self.0.machine.sync_file(&self.0.claim, path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.then_follow(self.0.machine.sync_dir(&self.0.claim, path))
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.0.then_follow(self.0.machine.stat(&self.0.claim, path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.then_follow(self.0.machine.list(&self.0.claim, path))
    }

    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self, path: &Path) -> io::Result<KernelLock> {
        let file = self.0.then_follow(self.0.machine.lock(&self.0.claim, path))?;
        let doors = self.0.clone();
        Ok(KernelLock::new(move || {
            doors.machine.unlock(&doors.claim, file);
            doors.follow_machine();
        }))
    }
}

impl Clock for Doors {
    fn wall(&self) -> WallTime {
        self.machine.world().wall()
    }
}

impl Random for Doors {
    fn next_u64(&self, _label: &'static str) -> u64 {
        self.machine.world().random()
    }
}

impl Process for Doors {
    fn pid(&self) -> Pid {
        self.claim.pid
    }

    fn start_time(&self) -> Option<StartTime> {
        Some(self.claim.start)
    }

    fn liveness(&self, pid: Pid, start: Option<StartTime>) -> Liveness {
        self.machine.world().liveness(pid, start)
    }

    fn look_up(&self, _pid: Pid) -> Option<ProcessEntry> {
        None
    }

    fn end_process(&self, _process: ProcessId, _signal: EndSignal) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn handle_signals(&self, _signals: &[Signal]) -> SignalStream {
        unreachable!("nothing here waits for signals");
    }

    fn exit(&self, _code: ExitCode) {
        unreachable!("nothing here ends its process");
    }

    fn env_var(&self, _name: &str) -> Option<String> {
        None
    }

    fn ask_service_manager_to_restart(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        unreachable!("nothing here restarts");
    }

    fn spawn_detached(&self, _what: Detached) -> io::Result<Pid> {
        unreachable!("nothing here has a successor");
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn spawn(&self, _name: &'static str, task: LocalBoxFuture<'static, ()>) -> Box<dyn TaskControl> {
        Box::new(Spawned(tokio::task::spawn_local(task).abort_handle()))
    }
}

struct Spawned(tokio::task::AbortHandle);

impl TaskControl for Spawned {
    fn abort(&self) {
        self.0.abort();
    }
}

impl Net for Doors {
    fn listen(&self, _port: u16) -> LocalBoxFuture<'_, io::Result<Box<dyn Listener>>> {
        unreachable!("nothing here has a network");
    }

    fn connect<'a>(&'a self, _host: &'a str, _port: u16) -> LocalBoxFuture<'a, io::Result<Stream>> {
        unreachable!("nothing here has a network");
    }

    fn listeners(&self) -> Option<Vec<Listening>> {
        None
    }
}
