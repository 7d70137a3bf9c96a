//! Many disk operations in a few words: `inbox.jsonl +2, synced`.
//!
//! Operations that follow each other closely are one cell. Each file is named once, with what happened to it in
//! order; repeated appends become a count.

use std::time::Duration;

use gateway::env::{FsOp, Pid};

use crate::timeline::{Event, Fact};

/// Operations further apart than this are not one deed.
const CLOSE: Duration = Duration::from_millis(100);

/// Disk operations of one process that follow each other.
pub(super) struct DiskWords {
    pid: Pid,
    last: Duration,
    files: Vec<FileDeeds>,
}

/// What happened to one file, in order.
struct FileDeeds {
    name: String,
    deeds: Vec<Deed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    Appended(u32),
    Did(&'static str),
    Failed(&'static str, String),
}

impl DiskWords {
    /// Begins with a disk event; `None` when `event` is none, or one that `reads` leaves out.
    pub(super) fn begin(event: &Event, reads: bool) -> Option<Self> {
        let pid = shown(event, reads)?;
        let mut words = Self { pid, last: event.at, files: Vec::new() };
        words.add(event);
        Some(words)
    }

    /// Whether `event` continues what these words tell.
    pub(super) fn takes(&self, event: &Event, reads: bool) -> bool {
        shown(event, reads) == Some(self.pid) && event.at.saturating_sub(self.last) <= CLOSE
    }

    /// Adds an event that [`DiskWords::takes`] said yes to.
    pub(super) fn add(&mut self, event: &Event) {
        let Fact::Disk { op, path, error, .. } = &event.fact else { return };
        self.last = event.at;
        let name = match op {
            // The names of a directory are what is synced, not a file in it.
            FsOp::SyncDir => "names",
            _ => path.rsplit('/').next().unwrap_or(path),
        };
        let deed = match (op, error) {
            (op, Some(error)) => Deed::Failed(op.name(), error.clone()),
            (FsOp::Append, None) => Deed::Appended(1),
            (op, None) => Deed::Did(done(*op)),
        };
        let deeds = match self.files.iter_mut().find(|file| file.name == name) {
            Some(file) => &mut file.deeds,
            None => {
                self.files.push(FileDeeds { name: name.to_string(), deeds: Vec::new() });
                &mut self.files.last_mut().expect("just pushed").deeds
            }
        };
        match deeds.iter_mut().find(|known| known.is_like(&deed)) {
            Some(Deed::Appended(times)) => *times += 1,
            Some(_) => {}
            None => deeds.push(deed),
        }
    }

    /// The process that did it.
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// The words.
    pub(super) fn words(&self) -> String {
        let files: Vec<_> = self.files.iter().map(FileDeeds::words).collect();
        files.join("; ")
    }
}

impl FileDeeds {
    fn words(&self) -> String {
        let deeds: Vec<_> = self.deeds.iter().map(Deed::words).collect();
        format!("{} {}", self.name, deeds.join(", "))
    }
}

impl Deed {
    /// Whether telling both would tell nothing more.
    fn is_like(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Appended(_), Self::Appended(_))) || self == other
    }

    fn words(&self) -> String {
        match self {
            Self::Appended(times) => format!("+{times}"),
            Self::Did(what) => (*what).to_string(),
            Self::Failed(op, error) => format!("{op} FAILED: {error}"),
        }
    }
}

/// The process of a disk event that is to be shown. A failed look is still only a look: files may be missing.
fn shown(event: &Event, reads: bool) -> Option<Pid> {
    let Fact::Disk { pid, op, .. } = &event.fact else { return None };
    let only_looks = matches!(op, FsOp::Read | FsOp::Stat | FsOp::List);
    (reads || !only_looks).then_some(*pid)
}

const fn done(op: FsOp) -> &'static str {
    match op {
        FsOp::Read => "read",
        FsOp::Write => "written",
        FsOp::Append => "appended",
        FsOp::CreateNew | FsOp::CreateDir => "created",
        FsOp::Truncate => "shortened",
        FsOp::Rename => "replaced",
        FsOp::Remove => "removed",
        FsOp::SyncFile | FsOp::SyncDir => "synced",
        FsOp::Stat => "looked up",
        FsOp::List => "listed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::story::Story;

    fn words(story: Story, reads: bool) -> Vec<String> {
        let mut cells: Vec<DiskWords> = Vec::new();
        for event in story.events() {
            match cells.last_mut() {
                Some(cell) if cell.takes(&event, reads) => cell.add(&event),
                _ => cells.extend(DiskWords::begin(&event, reads)),
            }
        }
        cells.iter().map(DiskWords::words).collect()
    }

    #[test]
    fn appends_and_syncs_fold_into_one_cell() {
        let story = Story::new()
            .disk(FsOp::Append, "/state/inbox.jsonl")
            .disk(FsOp::SyncFile, "/state/inbox.jsonl")
            .at(2)
            .disk(FsOp::Append, "/state/inbox.jsonl")
            .disk(FsOp::SyncFile, "/state/inbox.jsonl")
            .disk(FsOp::Write, "/state/sessions.json.tmp")
            .disk(FsOp::Rename, "/state/sessions.json")
            .disk(FsOp::SyncDir, "/state")
            .at(103)
            .disk(FsOp::Remove, "/state/gateway.lock");
        assert_eq!(
            words(story, false),
            [
                "inbox.jsonl +2, synced; sessions.json.tmp written; sessions.json replaced; names synced",
                "gateway.lock removed"
            ]
        );
    }

    #[test]
    fn looks_are_hidden_unless_asked_for_and_failures_shout() {
        let story = || {
            Story::new()
                .disk(FsOp::Read, "/state/a")
                .disk_fails(FsOp::Append, "/state/a", "no space left")
                .disk(FsOp::Stat, "/state/a")
        };
        assert_eq!(words(story(), false), ["a append FAILED: no space left"]);
        assert_eq!(words(story(), true), ["a read, append FAILED: no space left, looked up"]);
    }
}
