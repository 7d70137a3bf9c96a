//! The filesystem: synchronous, path-based, with the two syncs that durability needs.
//!
//! As on ext4, bytes survive a power loss only after [`Fs::sync_file`], and a new name, a rename or a removal
//! only after [`Fs::sync_dir`] of its directory.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::WallTime;

/// The door to the filesystem. Paths are absolute; every error keeps the true [`io::ErrorKind`].
pub trait Fs {
    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Creates the file or replaces its content, in place and not atomically.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Adds `bytes` at the end of the file, which is created when missing.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Creates an empty file; [`io::ErrorKind::AlreadyExists`] when the name is taken.
    fn create_new(&self, path: &Path) -> io::Result<()>;
    /// Shortens the file to `len` bytes.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;
    /// Atomically gives the file a new name, replacing whatever had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the file's content survive a power loss.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory survive a power loss.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Size and modification time.
    fn stat(&self, path: &Path) -> io::Result<FileStat>;
    /// The files and directories directly in `path`, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Creates a directory and its parents; fine when they exist.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Takes the kernel's advisory lock on a file (`flock`), which is created when missing; never waits. Whoever
    /// holds it, in this process or another, makes the call fail with [`io::ErrorKind::WouldBlock`]. The kernel
    /// frees it when the process ends, in whatever way.
    fn try_lock(&self, path: &Path) -> io::Result<KernelLock>;
}

/// A kernel lock that is held; dropping it frees it.
#[must_use = "the lock is free again when this is dropped"]
pub struct KernelLock(Option<Box<dyn FnOnce()>>);

impl KernelLock {
    /// A lock that `release` frees.
    pub fn new(release: impl FnOnce() + 'static) -> Self {
        Self(Some(Box::new(release)))
    }
}

impl Drop for KernelLock {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

impl fmt::Debug for KernelLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KernelLock")
    }
}

/// What a file's metadata says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Length in bytes.
    pub size: u64,
    /// Last modification, by the machine's wall clock.
    pub modified: WallTime,
}

/// The operations of [`Fs`], as names for faults, logs and disk records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each variant is the method of the same name, or its gist")]
pub enum FsOp {
    Read,
    Write,
    Append,
    CreateNew,
    Truncate,
    Rename,
    Remove,
    SyncFile,
    SyncDir,
    Stat,
    List,
    CreateDir,
    Lock,
}

impl FsOp {
    /// The name used in scenario files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Append => "append",
            Self::CreateNew => "create-new",
            Self::Truncate => "truncate",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::SyncFile => "sync-file",
            Self::SyncDir => "sync-dir",
            Self::Stat => "stat",
            Self::List => "list",
            Self::CreateDir => "create-dir",
            Self::Lock => "lock",
        }
    }
}

impl fmt::Display for FsOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
