//! The gateway's five doors, opened onto the simulated world for one process.
//!
//! Each door is a few lines: it asks whether the process still lives and hands the call to the machine, the
//! wires or the process itself. A dead process's calls do nothing.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gateway::env::{
    Clock, Command, CommandOutput, Detached, EndSignal, Env, ExitCode, FileStat, Fs, FsOp, KernelLock,
    Listener, Listening, Liveness, LocalBoxFuture, Net, Pid, ProcessEntry, ProcessId, Random, ServiceOrder,
    ServiceState, Signal, SignalStream, StartTime, Stream, TaskControl, WallTime,
};

use super::command;
use super::crash::{CrashDeath, CrashMoment};
use super::process::Process;
use crate::determinism::{Step, note};
use crate::timeline::{DeathCause, Fact, Injection, Source};

/// The doors of `process`, bundled.
pub(super) fn open_doors(process: &Rc<Process>) -> Env {
    let doors = Rc::new(Doors(process.clone()));
    Env::new(doors.clone(), doors.clone(), doors.clone(), doors.clone(), doors)
}

struct Doors(Rc<Process>);

impl Clock for Doors {
    fn wall(&self) -> WallTime {
        self.0.world.wall_clock_of(&self.0.machine)
    }
}

impl Net for Doors {
    fn listen(&self, port: u16) -> LocalBoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(self.0.listen(port))
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> LocalBoxFuture<'a, io::Result<Stream>> {
        Box::pin(self.0.connect(host, port))
    }

    fn listeners(&self) -> Option<Vec<Listening>> {
        Some(self.0.machine.listeners())
    }
}

impl gateway::env::Process for Doors {
    fn pid(&self) -> Pid {
        self.0.pid
    }

    fn start_time(&self) -> Option<StartTime> {
        Some(self.0.start)
    }

    fn liveness(&self, pid: Pid, start: Option<StartTime>) -> Liveness {
        self.0.machine.liveness(pid, start)
    }

    fn look_up(&self, pid: Pid) -> Option<ProcessEntry> {
        self.0.machine.process(pid).map(|process| process.entry())
    }

    fn end_process(&self, process: ProcessId, signal: EndSignal) -> io::Result<()> {
        if self.0.is_dead() {
            return Err(ended());
        }
        let target = self.0.machine.process(process.pid).filter(|target| target.id() == process);
        let target = target.ok_or(io::ErrorKind::NotFound)?;
        self.0.record(Fact::ProcessStruck { pid: process.pid, by: self.0.pid, signal });
        match signal {
            EndSignal::Terminate => target.signal(Signal::Terminate),
            EndSignal::Kill => target.die(DeathCause::Killed),
        }
        Ok(())
    }

    fn signal_process(&self, process: ProcessId, signal: Signal) -> io::Result<()> {
        if self.0.is_dead() {
            return Err(ended());
        }
        let target = self.0.machine.process(process.pid).filter(|target| target.id() == process);
        target.ok_or(io::ErrorKind::NotFound)?.signal(signal);
        Ok(())
    }

    fn handle_signals(&self, signals: &[Signal]) -> SignalStream {
        self.0.handle_signals(signals)
    }

    fn run_command(&self, command: Command) -> LocalBoxFuture<'static, io::Result<CommandOutput>> {
        Box::pin(command::run(self.0.clone(), command))
    }

    fn exit(&self, code: ExitCode) {
        self.0.die(DeathCause::Exited(code));
    }

    fn env_var(&self, name: &str) -> Option<String> {
        self.0.executable.as_ref()?.variable(name)
    }

    fn ask_service_manager_to_restart(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        let asked = match self.0.machine.service_manager() {
            Some(manager) if !self.0.is_dead() => manager.restart(),
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
        Box::pin(async {
            // Whoever is killed by what it asked for never hears the answer.
            tokio::task::yield_now().await;
            asked
        })
    }

    fn order_service(&self, order: ServiceOrder) -> io::Result<()> {
        match self.0.machine.service_manager() {
            Some(manager) if !self.0.is_dead() => manager.order(order),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn service_state(&self) -> io::Result<ServiceState> {
        let manager = self.0.machine.service_manager().ok_or(io::ErrorKind::Unsupported)?;
        manager.answer()
    }

    fn spawn_detached(&self, what: Detached) -> io::Result<Pid> {
        if self.0.is_dead() {
            return Err(io::Error::other("the process has ended"));
        }
        self.0.spawn_detached(what)
    }

    fn spawn(&self, name: &'static str, task: LocalBoxFuture<'static, ()>) -> Box<dyn TaskControl> {
        Box::new(self.0.spawn(name, task))
    }
}

impl Random for Doors {
    fn next_u64(&self, label: &'static str) -> u64 {
        let process = &self.0;
        let mut streams = process.random.borrow_mut();
        let stream = streams.entry(label).or_insert_with(|| {
            // A successor continues where the last life stopped, as if both drew from the operating system.
            process.world.rng(&format!("{}/{}/{label}", process.machine.name, process.program))
        });
        stream.next_u64()
    }
}

impl Doors {
    /// One disk operation of this process, recorded with the number of bytes it moved, unless the process dies
    /// before it. `operation` is told how many bytes may reach the file at most.
    fn operate<T>(
        &self,
        op: FsOp,
        paths: &[&Path],
        moved: impl FnOnce(&T) -> usize,
        operation: impl FnOnce(&dyn Fs, usize) -> io::Result<T>,
    ) -> io::Result<T> {
        let process = &self.0;
        if process.is_dead() {
            return Err(ended());
        }
        let path = paths.last().map_or(Cow::Borrowed(""), |path| in_text(path));
        note(|| Step::Disk { program: process.program.clone(), op, path: path.to_string() });
        let crash = process.machine.crash_points.meet(&process.program, op, paths);
        if let Some((CrashMoment::Before, death)) = crash {
            return Err(self.crash(CrashMoment::Before, death, op, &path));
        }
        let most = match crash {
            Some((CrashMoment::Torn(bytes), _)) => bytes,
            _ => usize::MAX,
        };
        let result = operation(&process.machine.seen_disk, most);
        if !process.is_actor {
            let bytes = result.as_ref().map_or(0, |value| moved(value) as u64);
            let error = result.as_ref().err().map(in_portable_words);
            let path = path.to_string();
            process.record(Fact::Disk { pid: process.pid, op, path, bytes, error });
        }
        if let Some((moment, death)) = crash {
            return Err(self.crash(moment, death, op, &path));
        }
        if matches!(op, FsOp::SyncFile | FsOp::SyncDir) {
            process.wait_for_disk(process.world.draw_disk_sync(&process.machine));
        }
        result
    }

    /// Dies here, in the middle of the process's own work. What the program makes of the error is never seen.
    fn crash(&self, moment: CrashMoment, death: CrashDeath, op: FsOp, path: &str) -> io::Error {
        let process = &self.0;
        let what = format!("{death} {moment} {op} of {path}");
        process.world.record(Source::World, Fact::Injected { fault: Injection::CrashAt, what });
        match death {
            CrashDeath::Killed => process.die(DeathCause::Killed),
            CrashDeath::PowerLoss => process.world.lose_power(&process.machine),
        }
        ended()
    }

    /// Writes `bytes` with `put`, or as much of them as reach the file before a crash.
    fn put(
        &self,
        op: FsOp,
        path: &Path,
        bytes: &[u8],
        put: impl FnOnce(&dyn Fs, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let operation = |fs: &dyn Fs, most: usize| {
            let reaching = &bytes[..most.min(bytes.len())];
            put(fs, reaching).map(|()| reaching.len())
        };
        self.operate(op, &[path], |reached| *reached, operation).map(drop)
    }
}

fn ended() -> io::Error {
    io::Error::other("the process has ended")
}

/// Paths are text nearly always, and the lossy reading takes ten times as long.
fn in_text(path: &Path) -> Cow<'_, str> {
    path.to_str().map_or_else(|| path.to_string_lossy(), Cow::Borrowed)
}

/// An error without the C library's words for it, which differ from system to system.
fn in_portable_words(error: &io::Error) -> String {
    match error.raw_os_error() {
        // Nearly every error is that nothing is there.
        Some(2) if error.kind() == io::ErrorKind::NotFound => "NotFound (os error 2)".to_string(),
        Some(number) => format!("{:?} (os error {number})", error.kind()),
        None => error.to_string(),
    }
}

/// For operations that move no bytes.
fn none<T>(_: &T) -> usize {
    0
}

impl Fs for Doors {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.operate(FsOp::Read, &[path], Vec::len, |fs, _| fs.read(path))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.put(FsOp::Write, path, bytes, |fs, bytes| fs.write(path, bytes))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.put(FsOp::Append, path, bytes, |fs, bytes| fs.append(path, bytes))
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::CreateNew, &[path], none, |fs, _| fs.create_new(path))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.operate(FsOp::Truncate, &[path], none, |fs, _| fs.truncate(path, len))
    }

    /// Recorded under the name that is written to.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(FsOp::Rename, &[from, to], none, |fs, _| fs.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::Remove, &[path], none, |fs, _| fs.remove(path))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::SyncFile, &[path], none, |fs, _| fs.sync_file(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::SyncDir, &[path], none, |fs, _| fs.sync_dir(path))
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.operate(FsOp::Stat, &[path], none, |fs, _| fs.stat(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.operate(FsOp::List, &[path], none, |fs, _| fs.list(path))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::CreateDir, &[path], none, |fs, _| fs.create_dir_all(path))
    }

    fn try_lock(&self, path: &Path) -> io::Result<KernelLock> {
        let lock = self.operate(FsOp::Lock, &[path], none, |fs, _| fs.try_lock(path))?;
        Ok(self.0.hold(lock))
    }
}
