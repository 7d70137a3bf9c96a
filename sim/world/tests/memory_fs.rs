//! The least filesystem that tests of the world need: names and bytes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use gateway::env::{FileStat, Fs, WallTime};

#[derive(Default)]
pub(super) struct MemoryFs(RefCell<BTreeMap<PathBuf, Vec<u8>>>);

impl Fs for MemoryFs {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.borrow().get(path).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().insert(path.to_path_buf(), bytes.to_vec());
        Ok(())
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().entry(path.to_path_buf()).or_default().extend_from_slice(bytes);
        Ok(())
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        match self.0.borrow_mut().try_insert_new(path) {
            true => Ok(()),
            false => Err(ErrorKind::AlreadyExists.into()),
        }
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut files = self.0.borrow_mut();
        let file = files.get_mut(path).ok_or(ErrorKind::NotFound)?;
        file.truncate(usize::try_from(len).map_err(io::Error::other)?);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.borrow_mut();
        let bytes = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_path_buf(), bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.borrow_mut().remove(path).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.read(path).map(drop)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let size = self.read(path)?.len() as u64;
        Ok(FileStat { size, modified: WallTime::from_epoch_ms(0) })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.0.borrow().keys().filter(|file| file.parent() == Some(path)).cloned().collect())
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// What `BTreeMap::try_insert` will do once it is stable.
trait InsertNew {
    fn try_insert_new(&mut self, path: &Path) -> bool;
}

impl InsertNew for BTreeMap<PathBuf, Vec<u8>> {
    fn try_insert_new(&mut self, path: &Path) -> bool {
        let is_new = !self.contains_key(path);
        if is_new {
            self.insert(path.to_path_buf(), Vec::new());
        }
        is_new
    }
}
