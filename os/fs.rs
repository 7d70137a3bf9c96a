//! The filesystem, by `std::fs`.
//!
//! State holds conversations, so what is created here belongs to its user alone: files 0600, directories 0700.
//! The calls block the only thread, on purpose: the state is small and their order is the order of the source.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use gateway::env::{FileStat, Fs, KernelLock};

use crate::clock::wall_time;

const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// The door to the filesystem of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

impl Fs for OsFs {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        creating().write(true).create(true).truncate(true).open(path)?.write_all(bytes)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        creating().append(true).create(true).open(path)?.write_all(bytes)
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        creating().write(true).create_new(true).open(path).map(drop)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let directory = File::open(path)?;
        if !directory.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        directory.sync_all()
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let metadata = fs::metadata(path)?;
        Ok(FileStat { size: metadata.len(), modified: wall_time(metadata.modified()?) })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut entries =
            fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        Ok(entries)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<KernelLock> {
        let file = creating().write(true).create(true).truncate(false).open(path)?;
        file.try_lock()?;
        // The lock goes with the open file.
        Ok(KernelLock::new(move || drop(file)))
    }
}

/// Options for a file that may be new.
fn creating() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(FILE_MODE);
    options
}
