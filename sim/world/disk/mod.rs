//! The disk of one machine: an in-memory filesystem that knows what a power loss would leave of it.
//!
//! Processes see the live tree. Bytes become durable with `sync_file`, names with `sync_dir` of every directory
//! they were changed in, as careful software must assume of ext4. SIGKILL therefore loses nothing, and
//! [`Disk::power_loss`] loses what the seed chooses among everything unsynced. Faults are a layer around the
//! disk ([`FaultyDisk`]); the disk itself knows none.

use std::cell::RefCell;
#[cfg(test)]
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gateway::env::{FileStat, Fs, KernelLock, WallTime};
use rand_chacha::rand_core::Rng;

mod content;
mod errno;
mod faults;
mod journal;
mod pattern;
#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
mod tree;

pub use errno::Errno;
pub use faults::{DiskFault, DiskFaultGuard, FaultyDisk};
pub use pattern::path_matches;
pub use tree::FileSeen;
use tree::Tree;

/// No file grows beyond this by `truncate`, so that a wrong length is an error and not the end of the simulator.
const LARGEST_FILE: usize = 1 << 30;

/// The filesystem of one machine. Clones are handles on the same disk.
#[derive(Clone)]
pub struct Disk {
    tree: Rc<RefCell<Tree>>,
    kernel_locks: Rc<RefCell<BTreeSet<PathBuf>>>,
    clock: Rc<dyn Fn() -> WallTime>,
}

impl Disk {
    /// An empty disk. `clock` is the machine's wall clock, for modification times.
    pub fn new(clock: Rc<dyn Fn() -> WallTime>) -> Self {
        Self { tree: Rc::new(RefCell::new(Tree::new(clock()))), kernel_locks: Rc::default(), clock }
    }

    /// Puts a file there, parents included, live and durable: what was on the disk before the world began.
    ///
    /// # Errors
    /// As [`Fs::create_dir_all`] and [`Fs::write`]: a path that is not absolute, or something else in its way.
    pub fn preload(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            self.create_dir_all(parent)?;
        }
        self.write(path, bytes)?;
        self.sync_file(path)?;
        path.ancestors().skip(1).try_for_each(|dir| self.sync_dir(dir))
    }

    /// Gives a file another modification time, live and durable, as `touch -d` does.
    ///
    /// # Errors
    /// As [`Fs::stat`]: there is no such file.
    pub fn set_modified(&self, path: &Path, when: WallTime) -> io::Result<()> {
        self.tree.borrow_mut().file_mut(path).map(|file| file.set_modified(when))
    }

    /// The machine loses power. Of the pending directory operations the first so many survive, and of each file's
    /// unsynced content nothing, a torn part or all; `rng` decides. Afterwards the live tree is what survived.
    /// Returns how many pending operations were lost: directory operations, plus one for each file with lost
    /// content. Draws nothing when everything was synced.
    pub fn power_loss(&self, rng: &mut (impl Rng + ?Sized)) -> u32 {
        self.tree.borrow_mut().lose_power(rng)
    }

    /// Shows every file in and below `dir`, with its path from there: those that processes see in the order of names, and of each directory then
    /// those that only a power loss would bring back. None when there is no such directory.
    pub fn visit_under(&self, dir: &Path, visit: impl FnMut(&Path, FileSeen<'_>)) {
        self.tree.borrow().visit_under(dir, visit);
    }
}

#[cfg(test)]
impl Disk {
    fn read_all_under(&self, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        self.visit_under(dir, |path, seen| {
            files.extend(seen.live.map(|bytes| (dir.join(path), bytes.to_vec())));
        });
        files
    }

    fn durable_under(&self, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        self.visit_under(dir, |path, seen| {
            files.extend(seen.durable.map(|bytes| (dir.join(path), bytes.to_vec())));
        });
        files
    }
}

impl Fs for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.tree.borrow().file(path).map(|file| file.live().to_vec())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let now = (self.clock)();
        self.tree.borrow_mut().file_or_new(path, now).map(|file| file.write(bytes, now))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let now = (self.clock)();
        self.tree.borrow_mut().file_or_new(path, now).map(|file| file.append(bytes, now))
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        let now = (self.clock)();
        self.tree.borrow_mut().create_file(path, now).map(drop)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let now = (self.clock)();
        let len = usize::try_from(len).ok().filter(|len| *len <= LARGEST_FILE).ok_or(Errno::Efbig)?;
        self.tree.borrow_mut().file_mut(path).map(|file| file.truncate(len, now))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let now = (self.clock)();
        self.tree.borrow_mut().rename(from, to, now)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let now = (self.clock)();
        self.tree.borrow_mut().remove(path, now)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.tree.borrow_mut().file_mut(path).map(|file| file.sync())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.tree.borrow_mut().sync_dir(path)
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.tree.borrow().stat(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.tree.borrow().list(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let now = (self.clock)();
        self.tree.borrow_mut().create_dir_all(path, now)
    }

    /// Locks go by path: nobody renames or removes a file that is there to be locked.
    fn try_lock(&self, path: &Path) -> io::Result<KernelLock> {
        if self.kernel_locks.borrow().contains(path) {
            return Err(Errno::Eagain.into());
        }
        let now = (self.clock)();
        self.tree.borrow_mut().file_or_new(path, now)?;
        self.kernel_locks.borrow_mut().insert(path.to_path_buf());
        let (locks, path) = (self.kernel_locks.clone(), path.to_path_buf());
        Ok(KernelLock::new(move || {
            locks.borrow_mut().remove(&path);
        }))
    }
}
