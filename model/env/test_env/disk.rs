//! The disk of the test world: one tree of files in memory that never forgets, and the faults that a test plants.

use super::*;

impl Fs for Doors {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let read = || self.world.with_file(FsOp::Read, path, |content| content.clone());
        self.operate(FsOp::Read, path, read)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.operate(FsOp::Write, path, || self.world.write_at(FsOp::Write, path, 0, bytes))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.operate(FsOp::Append, path, || self.world.write_at(FsOp::Append, path, usize::MAX, bytes))
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::CreateNew, path, || {
            if self.world.0.files.borrow().contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            self.world.check(FsOp::CreateNew, path)?;
            let created = (Vec::new(), self.world.now());
            self.world.0.files.borrow_mut().insert(path.to_path_buf(), created);
            Ok(())
        })
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).expect("test files are small");
        let truncate = || self.world.with_file(FsOp::Truncate, path, |content| content.truncate(len));
        self.operate(FsOp::Truncate, path, truncate)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(FsOp::Rename, to, || {
            self.world.check(FsOp::Rename, to)?;
            let mut files = self.world.0.files.borrow_mut();
            let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            files.insert(to.to_path_buf(), file);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::Remove, path, || {
            self.world.check(FsOp::Remove, path)?;
            let removed = self.world.0.files.borrow_mut().remove(path);
            removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
        })
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::SyncFile, path, || self.world.with_file(FsOp::SyncFile, path, |_| ()))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::SyncDir, path, || self.world.check(FsOp::SyncDir, path))
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.operate(FsOp::Stat, path, || {
            let files = self.world.0.files.borrow();
            let (content, modified) = files.get(path).ok_or(io::ErrorKind::NotFound)?;
            Ok(FileStat { size: content.len() as u64, modified: *modified })
        })
    }

    /// Directories exist by being in the path of a file; any other is empty.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.operate(FsOp::List, path, || {
            self.world.check(FsOp::List, path)?;
            let files = self.world.0.files.borrow();
            if files.contains_key(path) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            let inside = files.keys().filter_map(|file| file.strip_prefix(path).ok()?.iter().next());
            let entries: BTreeSet<PathBuf> = inside.map(|name| path.join(name)).collect();
            Ok(entries.into_iter().collect())
        })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.operate(FsOp::CreateDir, path, || self.world.check(FsOp::CreateDir, path))
    }

    fn try_lock(&self, path: &Path) -> io::Result<KernelLock> {
        self.operate(FsOp::Lock, path, || {
            self.world.check(FsOp::Lock, path)?;
            if !self.world.0.kernel_locks.borrow_mut().insert(path.to_path_buf()) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let (world, path) = (self.world.clone(), path.to_path_buf());
            Ok(KernelLock::new(move || {
                world.0.kernel_locks.borrow_mut().remove(&path);
            }))
        })
    }
}
