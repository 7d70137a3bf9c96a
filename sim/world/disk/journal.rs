//! The directory operations that a power loss may still undo, in the order they were made.
//!
//! An operation becomes durable when every directory it touches has been synced. It takes along each earlier
//! operation on a name of its own, since a disk never keeps a later change of a name and loses an earlier one.
//! Knows nothing of file contents.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;

/// The number of a file or directory, whatever its name.
pub(super) type Ino = u64;

/// A directory entry: the directory it is in, and its name there.
pub(super) type Name = (Ino, OsString);

/// A change of directory entries that happens as a whole or not at all.
pub(super) struct DirOp {
    /// The entry that goes away: a removal, or the old name of a rename.
    pub(super) gone: Option<Name>,
    /// The entry that appears, with what it leads to: a creation, or the new name of a rename.
    pub(super) appeared: Option<(Name, Ino)>,
    /// Whether it gives a directory a new place. Operations do not cross such a move, so that no order of
    /// survival can hang a directory into itself.
    pub(super) moves_directory: bool,
}

impl DirOp {
    fn names(&self) -> impl Iterator<Item = &Name> {
        self.gone.iter().chain(self.appeared.iter().map(|(name, _)| name))
    }
}

/// The pending operations.
#[derive(Default)]
pub(super) struct Journal(VecDeque<Pending>);

struct Pending {
    op: DirOp,
    /// The touched directories that have not been synced since.
    unsynced: BTreeSet<Ino>,
}

impl Journal {
    /// The journal commits by itself sooner or later (ext4: every 5 s), so this many operations at most can hang
    /// in the air. It also bounds the memory of a gateway that never syncs a directory.
    const CAPACITY: usize = 512;

    /// Notes an operation; returns the oldest one when the journal had no room for another.
    pub(super) fn push(&mut self, op: DirOp) -> Option<DirOp> {
        let oldest = if self.0.len() < Self::CAPACITY { None } else { self.0.pop_front() };
        let unsynced = op.names().map(|(dir, _)| *dir).collect();
        self.0.push_back(Pending { op, unsynced });
        oldest.map(|pending| pending.op)
    }

    /// Marks a directory as synced and takes out, in order, the operations that are durable now.
    pub(super) fn sync(&mut self, dir: Ino) -> Vec<DirOp> {
        for pending in &mut self.0 {
            pending.unsynced.remove(&dir);
        }
        let durable = self.durable();
        let mut committed = Vec::new();
        let pending = std::mem::take(&mut self.0);
        for (pending, durable) in pending.into_iter().zip(durable) {
            if durable {
                committed.push(pending.op);
            } else {
                self.0.push_back(pending);
            }
        }
        committed
    }

    /// For each pending operation, whether it is durable: synced, or taken along by a later one that is.
    fn durable(&self) -> Vec<bool> {
        let mut names = BTreeSet::new();
        let mut everything_before = false;
        let mut durable = vec![false; self.0.len()];
        for (index, Pending { op, unsynced }) in self.0.iter().enumerate().rev() {
            if everything_before || unsynced.is_empty() || op.names().any(|name| names.contains(name)) {
                durable[index] = true;
                everything_before |= op.moves_directory;
                names.extend(op.names());
            }
        }
        durable
    }

    /// How many operations are pending.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes out every operation, in order.
    pub(super) fn take(&mut self) -> impl Iterator<Item = DirOp> + use<> {
        std::mem::take(&mut self.0).into_iter().map(|pending| pending.op)
    }

    /// The files and directories that pending operations speak of.
    pub(super) fn mentioned(&self) -> impl Iterator<Item = Ino> {
        self.0.iter().flat_map(|Pending { op, .. }| {
            op.names().map(|(dir, _)| *dir).chain(op.appeared.iter().map(|(_, ino)| *ino))
        })
    }
}
