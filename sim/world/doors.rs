//! The gateway's five doors, opened onto the simulated world for one process.
//!
//! Each door is a few lines: it asks whether the process still lives and hands the call to the machine, the
//! wires or the process itself. A dead process's calls do nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gateway::env::{
    Clock, Detached, Env, ExitCode, FileStat, Fs, FsOp, KernelLock, Listener, Liveness, LocalBoxFuture, Net,
    Pid, Random, Signal, SignalStream, StartTime, Stream, TaskControl, WallTime,
};

use super::process::Process;
use crate::timeline::{DeathCause, Fact};

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

    fn handle_signals(&self, signals: &[Signal]) -> SignalStream {
        self.0.handle_signals(signals)
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
    /// One disk operation of this process, recorded with the number of bytes it moved.
    fn operate<T>(
        &self,
        op: FsOp,
        path: &Path,
        moved: impl FnOnce(&T) -> usize,
        operation: impl FnOnce(&dyn Fs) -> io::Result<T>,
    ) -> io::Result<T> {
        let process = &self.0;
        if process.is_dead() {
            return Err(io::Error::other("the process has ended"));
        }
        let result = operation(&process.machine.seen_disk);
        if !process.is_actor {
            let bytes = result.as_ref().map_or(0, |value| moved(value) as u64);
            let error = result.as_ref().err().map(in_portable_words);
            let path = path.to_str().map_or_else(|| path.display().to_string(), str::to_owned);
            process.record(Fact::Disk { pid: process.pid, op, path, bytes, error });
        }
        if matches!(op, FsOp::SyncFile | FsOp::SyncDir) {
            process.wait_for_disk(process.world.draw_disk_sync(&process.machine));
        }
        result
    }
}

/// An error without the C library's words for it, which differ from system to system.
fn in_portable_words(error: &io::Error) -> String {
    match error.raw_os_error() {
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
        self.operate(FsOp::Read, path, Vec::len, |fs| fs.read(path))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.operate(FsOp::Write, path, |_| bytes.len(), |fs| fs.write(path, bytes))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.operate(FsOp::Append, path, |_| bytes.len(), |fs| fs.append(path, bytes))
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::CreateNew, path, none, |fs| fs.create_new(path))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.operate(FsOp::Truncate, path, none, |fs| fs.truncate(path, len))
    }

    /// Recorded under the name that is written to.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(FsOp::Rename, to, none, |fs| fs.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::Remove, path, none, |fs| fs.remove(path))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::SyncFile, path, none, |fs| fs.sync_file(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::SyncDir, path, none, |fs| fs.sync_dir(path))
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.operate(FsOp::Stat, path, none, |fs| fs.stat(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.operate(FsOp::List, path, none, |fs| fs.list(path))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::CreateDir, path, none, |fs| fs.create_dir_all(path))
    }

    fn try_lock(&self, path: &Path) -> io::Result<KernelLock> {
        let lock = self.operate(FsOp::Lock, path, none, |fs| fs.try_lock(path))?;
        Ok(self.0.hold(lock))
    }
}
