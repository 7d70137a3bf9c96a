//! A failing disk: a layer of faults around any filesystem.
//!
//! A fault says which operations on which paths fail, from the how manieth on, how often, and with what error. It
//! ends when its guard is dropped. A fault that does not hit leaves no trace; the disk below knows none of this.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gateway::env::watch;
use gateway::env::{FileStat, Fs, FsOp, KernelLock};

use super::{Errno, path_matches};

/// Which calls fail, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFault {
    /// The operation; `None` means every one that can meet the error: a full disk can be read.
    pub op: Option<FsOp>,
    /// A path pattern, see [`path_matches`]. A rename matches by either path.
    pub path: String,
    /// The first matching call that fails, counted from 1 since the fault was injected; `None` means the first.
    pub nth: Option<u32>,
    /// How many matching calls fail from there on; `None` means all until the fault ends.
    pub count: Option<u32>,
    /// The error they fail with.
    pub error: Errno,
    /// For `write` and `append`: how many leading bytes still reach the file. `None`: the call fails before it
    /// touches the file. A disk that fills up gives `Some`, since the file is cut or created before it is found full.
    pub torn: Option<usize>,
}

impl DiskFault {
    /// Every call on every path fails with `error`. Narrow it down with struct update syntax.
    pub fn everywhere(error: Errno) -> Self {
        Self { op: None, path: "*".to_string(), nth: None, count: None, error, torn: None }
    }

    fn matches(&self, op: FsOp, paths: &[&Path]) -> bool {
        self.op.map_or_else(|| self.error.befalls(op), |wanted| wanted == op)
            && paths.iter().any(|path| path_matches(&self.path, &path.to_string_lossy()))
    }
}

/// A filesystem that fails as its faults say and otherwise does what the one inside does. Clones share the faults.
#[derive(Clone)]
pub struct FaultyDisk {
    inner: Rc<dyn Fs>,
    faults: Faults,
}

type Faults = Rc<RefCell<Vec<Active>>>;

struct Active {
    id: u64,
    fault: DiskFault,
    matched: u32,
    hits: watch::Sender<u32>,
}

impl FaultyDisk {
    /// A layer without faults around `inner`.
    pub fn new(inner: Rc<dyn Fs>) -> Self {
        Self { inner, faults: Faults::default() }
    }

    /// Lets a fault begin. Where several match a call, the one injected first decides.
    pub fn inject(&self, fault: DiskFault) -> DiskFaultGuard {
        let mut faults = self.faults.borrow_mut();
        // Ids only need to differ among the faults that still stand.
        let id = faults.last().map_or(0, |last| last.id + 1);
        faults.push(Active { id, fault, matched: 0, hits: watch::Sender::new(0) });
        DiskFaultGuard { faults: Rc::clone(&self.faults), id }
    }

    fn check(&self, op: FsOp, paths: &[&Path]) -> io::Result<()> {
        self.hit(op, paths).map_or(Ok(()), |(error, _)| Err(error.into()))
    }

    /// The error that this call meets, and what still reaches the file.
    fn hit(&self, op: FsOp, paths: &[&Path]) -> Option<(Errno, Option<usize>)> {
        let mut hit = None;
        for active in self.faults.borrow_mut().iter_mut().filter(|active| active.fault.matches(op, paths)) {
            active.matched = active.matched.saturating_add(1);
            let Active { fault, matched, hits, .. } = active;
            let so_far = *hits.borrow();
            let due = *matched >= fault.nth.unwrap_or(1) && fault.count.is_none_or(|count| so_far < count);
            if due && hit.is_none() {
                hits.send_replace(so_far.saturating_add(1));
                hit = Some((fault.error, fault.torn));
            }
        }
        hit
    }

    /// Passes `bytes` to `put`, or as much of them as a fault lets through.
    fn put(
        &self,
        op: FsOp,
        path: &Path,
        bytes: &[u8],
        put: impl Fn(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.hit(op, &[path]) {
            None => put(bytes),
            Some((error, torn)) => {
                if let Some(len) = torn {
                    put(&bytes[..len.min(bytes.len())])?;
                }
                Err(error.into())
            }
        }
    }
}

/// Keeps a fault going; the fault ends when this is dropped.
#[must_use = "the fault ends when its guard is dropped"]
pub struct DiskFaultGuard {
    faults: Faults,
    id: u64,
}

impl DiskFaultGuard {
    /// How many calls the fault has made fail so far. Zero means that a run proved nothing about it.
    pub fn hits(&self) -> u32 {
        *self.watch_hits().borrow()
    }

    /// Follows [`DiskFaultGuard::hits`], to the end of the fault.
    pub fn watch_hits(&self) -> watch::Receiver<u32> {
        let faults = self.faults.borrow();
        let active = faults.iter().find(|active| active.id == self.id);
        // A fault is in the list for as long as its guard lives.
        active.map_or_else(|| watch::channel(0).1, |active| active.hits.subscribe())
    }

    /// Leaves the fault in place for good.
    pub fn make_permanent(self) {
        std::mem::forget(self);
    }
}

impl Drop for DiskFaultGuard {
    fn drop(&mut self) {
        self.faults.borrow_mut().retain(|active| active.id != self.id);
    }
}

impl Fs for FaultyDisk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.check(FsOp::Read, &[path])?;
        self.inner.read(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.put(FsOp::Write, path, bytes, |bytes| self.inner.write(path, bytes))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.put(FsOp::Append, path, bytes, |bytes| self.inner.append(path, bytes))
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        self.check(FsOp::CreateNew, &[path])?;
        self.inner.create_new(path)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.check(FsOp::Truncate, &[path])?;
        self.inner.truncate(path, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(FsOp::Rename, &[from, to])?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(FsOp::Remove, &[path])?;
        self.inner.remove(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.check(FsOp::SyncFile, &[path])?;
        self.inner.sync_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check(FsOp::SyncDir, &[path])?;
        self.inner.sync_dir(path)
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.check(FsOp::Stat, &[path])?;
        self.inner.stat(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.check(FsOp::List, &[path])?;
        self.inner.list(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.check(FsOp::CreateDir, &[path])?;
        self.inner.create_dir_all(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<KernelLock> {
        self.check(FsOp::Lock, &[path])?;
        self.inner.try_lock(path)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use gateway::env::WallTime;

    use super::super::Disk;
    use super::*;

    fn path(text: &str) -> &Path {
        Path::new(text)
    }

    fn faulty() -> FaultyDisk {
        let disk = Disk::new(Rc::new(|| WallTime::from_epoch_ms(0)));
        disk.preload(path("/state/store.json"), b"old").unwrap();
        FaultyDisk::new(Rc::new(disk))
    }

    #[test]
    fn only_the_named_operation_and_path_fail() {
        let disk = faulty();
        let guard = disk.inject(DiskFault {
            op: Some(FsOp::Read),
            path: "store.json".into(),
            ..DiskFault::everywhere(Errno::Eacces)
        });
        let error = disk.read(path("/state/store.json")).unwrap_err();
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::PermissionDenied, Some(13)));
        disk.append(path("/state/store.json"), b"!").unwrap();
        disk.write(path("/state/other"), b"x").unwrap();
        assert_eq!(disk.read(path("/state/other")).unwrap(), b"x");
        assert_eq!(guard.hits(), 1);
    }

    #[test]
    fn nth_and_count_choose_the_calls() {
        let disk = faulty();
        let fault = DiskFault { nth: Some(2), count: Some(2), ..DiskFault::everywhere(Errno::Eagain) };
        let guard = disk.inject(fault);
        let results: Vec<_> =
            (0..5).map(|_| disk.stat(path("/state/store.json")).map(drop).map_err(|e| e.kind())).collect();
        let again = Err(ErrorKind::WouldBlock);
        assert_eq!(results, [Ok(()), again, again, Ok(()), Ok(())]);
        assert_eq!(guard.hits(), 2);
    }

    #[test]
    fn a_fault_ends_with_its_guard_unless_permanent() {
        let disk = faulty();
        let guard = disk.inject(DiskFault::everywhere(Errno::Eio));
        assert!(disk.clone().list(path("/")).is_err(), "clones share faults");
        drop(guard);
        assert!(disk.list(path("/")).is_ok());
        disk.inject(DiskFault::everywhere(Errno::Eio)).make_permanent();
        let other = disk.inject(DiskFault::everywhere(Errno::Eagain));
        assert_eq!(disk.list(path("/")).unwrap_err().raw_os_error(), Some(5), "the first one decides");
        drop(other);
        assert!(disk.list(path("/")).is_err());
    }

    #[test]
    fn a_full_disk_can_tear_what_is_written() {
        let disk = faulty();
        let full = |torn| DiskFault { torn, ..DiskFault::everywhere(Errno::Enospc) };
        let write_during = |fault: DiskFault, bytes: &[u8]| {
            let _guard = disk.inject(fault);
            disk.write(path("/state/store.json"), bytes).unwrap_err().kind()
        };
        assert_eq!(write_during(full(None), b"NEW"), ErrorKind::StorageFull);
        assert_eq!(disk.read(path("/state/store.json")).unwrap(), b"old");
        assert_eq!(write_during(full(Some(2)), b"NEW"), ErrorKind::StorageFull);
        assert_eq!(disk.read(path("/state/store.json")).unwrap(), b"NE");
        let guard = disk.inject(full(Some(100)));
        disk.append(path("/state/store.json"), b"+").unwrap_err();
        drop(guard);
        assert_eq!(disk.read(path("/state/store.json")).unwrap(), b"NE+");
    }

    #[test]
    fn a_full_disk_can_be_read_and_a_read_only_one_cannot_be_changed() {
        let disk = faulty();
        let store = path("/state/store.json");
        let full = disk.inject(DiskFault::everywhere(Errno::Enospc));
        assert!(disk.read(store).is_ok() && disk.stat(store).is_ok() && disk.sync_file(store).is_ok());
        assert!(disk.append(store, b"x").is_err() && disk.create_new(path("/state/new")).is_err());
        assert_eq!(full.hits(), 2);
        drop(full);
        let _read_only = disk.inject(DiskFault::everywhere(Errno::Erofs));
        assert!(disk.read(store).is_ok());
        assert_eq!(disk.remove(store).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    }

    #[test]
    fn whoever_follows_a_fault_learns_of_its_hits_and_of_its_end() {
        let disk = faulty();
        let guard = disk.inject(DiskFault::everywhere(Errno::Eio));
        let mut hits = guard.watch_hits();
        assert!(disk.list(path("/")).is_err() && hits.has_changed().unwrap());
        assert_eq!(*hits.borrow_and_update(), 1);
        drop(guard);
        assert!(hits.has_changed().is_err(), "nothing can come any more");
    }

    #[test]
    fn a_rename_is_hit_by_either_path() {
        let disk = faulty();
        let _guard = disk.inject(DiskFault { path: "new".into(), ..DiskFault::everywhere(Errno::Eio) });
        assert!(disk.rename(path("/state/store.json"), path("/state/new")).is_err());
        assert!(disk.rename(path("/state/store.json"), path("/state/fine")).is_ok());
    }
}
