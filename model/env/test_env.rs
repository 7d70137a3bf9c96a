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
use tokio::time::Instant;
use tracing::Instrument;

use super::*;

/// Bytes that a pipe holds before its writer has to wait.
const PIPE_BYTES: usize = 16 * 1024;

/// One machine: a disk, a network and its processes.
#[derive(Clone, Default)]
pub(crate) struct World(Rc<Inner>);

#[derive(Default)]
struct Inner {
    files: RefCell<BTreeMap<PathBuf, (Vec<u8>, WallTime)>>,
    faults: RefCell<Vec<Fault>>,
    listeners: RefCell<BTreeMap<u16, mpsc::UnboundedSender<Stream>>>,
    booted: Cell<Option<Instant>>,
    /// Processes that live, besides those of the tests' own lives.
    neighbours: RefCell<Vec<Pid>>,
    random: Cell<u64>,
    kernel_locks: RefCell<BTreeSet<PathBuf>>,
    environment: RefCell<BTreeMap<&'static str, String>>,
    manager: Cell<TestManager>,
    left_behind: RefCell<Vec<Detached>>,
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
    tasks: Rc<RefCell<Vec<tokio::task::AbortHandle>>>,
}

impl TestProcess {
    /// Ends every task, as SIGKILL does.
    pub(crate) fn kill(&self) {
        self.tasks.borrow().iter().for_each(tokio::task::AbortHandle::abort);
    }
}

impl World {
    /// A process that has just started.
    pub(crate) fn process(&self, pid: u32) -> TestProcess {
        let (signals, receiver) = mpsc::unbounded_channel();
        let tasks = Rc::<RefCell<Vec<_>>>::default();
        let doors = Rc::new(Doors {
            world: self.clone(),
            pid: Pid(pid),
            signals: RefCell::new(Some(receiver)),
            tasks: tasks.clone(),
        });
        let env = Env::new(doors.clone(), doors.clone(), doors.clone(), doors.clone(), doors);
        TestProcess { env, signals, tasks }
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
        self.0.neighbours.borrow_mut().push(Pid(pid));
    }

    pub(crate) fn put(&self, path: &str, text: &str) {
        self.0.files.borrow_mut().insert(path.into(), (text.into(), self.now()));
    }

    /// A file written while the clock was a day ahead.
    pub(crate) fn put_from_the_future(&self, path: &str, text: &str) {
        let tomorrow = WallTime::from_epoch_ms(self.now().epoch_ms() + 86_400_000);
        self.0.files.borrow_mut().insert(path.into(), (text.into(), tomorrow));
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

    pub(crate) fn listens(&self, port: u16) -> bool {
        self.0.listeners.borrow().get(&port).is_some_and(|listener| !listener.is_closed())
    }

    fn now(&self) -> WallTime {
        let booted = self.0.booted.get().unwrap_or_else(Instant::now);
        self.0.booted.set(Some(booted));
        let ms = (Duration::from_secs(1_772_000_000) + booted.elapsed()).as_millis();
        WallTime::from_epoch_ms(u64::try_from(ms).expect("tests are short"))
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

    fn check(&self, op: FsOp, path: &Path) -> io::Result<()> {
        self.fault(op, path).map_or(Ok(()), |(error, _)| Err(error))
    }

    /// Writes `bytes` at the end of what `keep` leaves of the file.
    fn write_at(&self, op: FsOp, path: &Path, keep: usize, bytes: &[u8]) -> io::Result<()> {
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
    tasks: Rc<RefCell<Vec<tokio::task::AbortHandle>>>,
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

    fn liveness(&self, pid: Pid, _start: Option<StartTime>) -> Liveness {
        if pid == self.pid || self.world.0.neighbours.borrow().contains(&pid) {
            Liveness::Alive
        } else {
            Liveness::Dead
        }
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

    fn exit(&self, _code: ExitCode) {
        unreachable!("a life returns its exit status");
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn spawn(&self, _name: &'static str, task: LocalBoxFuture<'static, ()>) -> Box<dyn TaskControl> {
        // Log records of the task belong to the test that started it.
        let handle = tokio::task::spawn_local(task.in_current_span()).abort_handle();
        self.tasks.borrow_mut().push(handle.clone());
        Box::new(TestTask(handle))
    }
}

struct TestTask(tokio::task::AbortHandle);

impl TaskControl for TestTask {
    fn abort(&self) {
        self.0.abort();
    }
}

impl Fs for Doors {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.world.with_file(FsOp::Read, path, |content| content.clone())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.world.write_at(FsOp::Write, path, 0, bytes)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.world.write_at(FsOp::Append, path, usize::MAX, bytes)
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        if self.world.0.files.borrow().contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.world.check(FsOp::CreateNew, path)?;
        self.world.0.files.borrow_mut().insert(path.to_path_buf(), (Vec::new(), self.world.now()));
        Ok(())
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).expect("test files are small");
        self.world.with_file(FsOp::Truncate, path, |content| content.truncate(len))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.world.check(FsOp::Rename, to)?;
        let mut files = self.world.0.files.borrow_mut();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_path_buf(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.world.check(FsOp::Remove, path)?;
        let removed = self.world.0.files.borrow_mut().remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.world.with_file(FsOp::SyncFile, path, |_| ())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.world.check(FsOp::SyncDir, path)
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let files = self.world.0.files.borrow();
        let (content, modified) = files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(FileStat { size: content.len() as u64, modified: *modified })
    }

    fn list(&self, _path: &Path) -> io::Result<Vec<PathBuf>> {
        unreachable!("the gateway lists no directory");
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.world.check(FsOp::CreateDir, path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<KernelLock> {
        self.world.check(FsOp::Lock, path)?;
        if !self.world.0.kernel_locks.borrow_mut().insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (world, path) = (self.world.clone(), path.to_path_buf());
        Ok(KernelLock::new(move || {
            world.0.kernel_locks.borrow_mut().remove(&path);
        }))
    }
}

impl Net for Doors {
    fn listen(&self, port: u16) -> LocalBoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            if self.world.listens(port) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let (sender, backlog) = mpsc::unbounded_channel();
            self.world.0.listeners.borrow_mut().insert(port, sender);
            Ok(Box::new(TestListener { backlog, port }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, _host: &'a str, port: u16) -> LocalBoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            let (ours, theirs) = duplex(PIPE_BYTES);
            let listeners = self.world.0.listeners.borrow();
            let listener = listeners.get(&port).ok_or(io::ErrorKind::ConnectionRefused)?;
            listener.send(pipe(theirs)).map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(pipe(ours))
        })
    }
}

struct TestListener {
    backlog: mpsc::UnboundedReceiver<Stream>,
    port: u16,
}

impl Listener for TestListener {
    fn accept(&mut self) -> LocalBoxFuture<'_, io::Result<Stream>> {
        Box::pin(async { Ok(self.backlog.recv().await.expect("the world holds the other end")) })
    }

    fn port(&self) -> u16 {
        self.port
    }
}

fn pipe(io: DuplexStream) -> Stream {
    let end = Rc::new(End { io: RefCell::new(Some(io)), waiting: Cell::new(None) });
    Stream::new(Box::new(Pipe(end.clone())), SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1), end)
}

/// One end of a pipe; `None` once it was aborted. At most one task waits on it.
struct End {
    io: RefCell<Option<DuplexStream>>,
    waiting: Cell<Option<Waker>>,
}

impl End {
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(Pin<&mut DuplexStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.waiting.set(Some(cx.waker().clone()));
        match &mut *self.io.borrow_mut() {
            Some(io) => attempt(Pin::new(io), cx),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl ConnectionControl for End {
    fn abort(&self) {
        drop(self.io.take());
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

struct Pipe(Rc<End>);

impl Drop for Pipe {
    fn drop(&mut self) {
        drop(self.0.io.take());
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, |io, cx| io.poll_read(cx, buf))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll(cx, |io, cx| io.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, |io, cx| io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, |io, cx| io.poll_shutdown(cx))
    }
}
