//! The disk that all processes share: names, contents, what of both would survive a power loss, kernel locks.
//!
//! Names and contents are separate, as on ext4: a rename that was not synced can be undone by a power loss, and a
//! kernel lock belongs to the file, not to its name. Every content knows which life wrote it and when.
//! Knows nothing of turns, crashes or promises.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::env::{FileStat, WallTime};

/// One process life. Never used twice.
pub(super) type LifeId = u32;
pub(super) type FileId = usize;

/// Who writes, and when.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    pub(super) by: LifeId,
    /// Since the machine was switched on.
    pub(super) at: Duration,
    pub(super) wall: WallTime,
}

/// A content, whatever name it has.
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    durable: Vec<u8>,
    pub(super) written: Stamp,
}

enum NameChange {
    Given(PathBuf, FileId),
    Taken(PathBuf),
    Moved(PathBuf, PathBuf),
}

#[derive(Default)]
pub(super) struct Disk {
    files: Vec<File>,
    names: BTreeMap<PathBuf, FileId>,
    durable_names: BTreeMap<PathBuf, FileId>,
    /// Changes of names since the directory was last synced, in order.
    unsynced: Vec<NameChange>,
    locked: BTreeMap<FileId, LifeId>,
}

impl Disk {
    pub(super) fn find(&self, path: &Path) -> Option<&File> {
        self.names.get(path).map(|&id| &self.files[id])
    }

    fn id(&self, path: &Path) -> io::Result<FileId> {
        self.names.get(path).copied().ok_or(io::ErrorKind::NotFound.into())
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.files[self.id(path)?].bytes.clone())
    }

    pub(super) fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let file = &self.files[self.id(path)?];
        Ok(FileStat { size: file.bytes.len() as u64, modified: file.written.wall })
    }

    /// Keeps the first `keep` bytes of the file and adds `bytes`; creates it when it is missing.
    pub(super) fn write(&mut self, path: &Path, keep: usize, bytes: &[u8], stamp: Stamp) -> io::Result<()> {
        let id = match self.id(path) {
            Ok(id) => id,
            Err(_) => self.create(path, stamp)?,
        };
        let file = &mut self.files[id];
        file.bytes.truncate(keep);
        file.bytes.extend_from_slice(bytes);
        file.written = stamp;
        Ok(())
    }

    pub(super) fn create(&mut self, path: &Path, stamp: Stamp) -> io::Result<FileId> {
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.files.push(File { bytes: Vec::new(), durable: Vec::new(), written: stamp });
        let id = self.files.len() - 1;
        self.change(NameChange::Given(path.to_path_buf(), id));
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.id(from)?;
        self.change(NameChange::Moved(from.to_path_buf(), to.to_path_buf()));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.id(path)?;
        self.change(NameChange::Taken(path.to_path_buf()));
        Ok(())
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }

    pub(super) fn list(&self, folder: &Path) -> Vec<PathBuf> {
        self.names.keys().filter(|path| path.parent() == Some(folder)).cloned().collect()
    }

    pub(super) fn sync_file(&mut self, path: &Path) -> io::Result<()> {
        let id = self.id(path)?;
        self.files[id].durable = self.files[id].bytes.clone();
        Ok(())
    }

    /// There is one directory.
    pub(super) fn sync_dir(&mut self) {
        self.unsynced.clear();
        self.durable_names = self.names.clone();
    }

    pub(super) fn lock(&mut self, path: &Path, stamp: Stamp) -> io::Result<FileId> {
        let id = match self.id(path) {
            Ok(id) => id,
            Err(_) => self.create(path, stamp)?,
        };
        if self.locked.contains_key(&id) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.locked.insert(id, stamp.by);
        Ok(id)
    }

    pub(super) fn unlock(&mut self, id: FileId) {
        self.locked.remove(&id);
    }

    pub(super) fn is_locked_by_others(&self, life: LifeId) -> bool {
        self.locked.values().any(|holder| *holder != life)
    }

    /// A process is gone; the kernel frees its locks.
    pub(super) fn end_life(&mut self, life: LifeId) {
        self.locked.retain(|_, holder| *holder != life);
    }

    /// What was not synced may be lost: of the names everything behind some point, of each content all of it.
    pub(super) fn lose_power(&mut self, luck: u8) {
        let kept = self.unsynced.len() * usize::from(luck) / 255;
        for change in self.unsynced.drain(..).take(kept) {
            change.apply(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
        for (id, file) in self.files.iter_mut().enumerate() {
            match luck >> (id % 8) & 1 {
                0 => file.bytes = file.durable.clone(),
                _ => file.durable = file.bytes.clone(),
            }
        }
        self.locked.clear();
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, FileId>) {
        match self {
            Self::Given(path, id) => {
                names.insert(path.clone(), *id);
            }
            Self::Taken(path) => {
                names.remove(path);
            }
            Self::Moved(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }
}
