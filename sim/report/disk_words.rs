//! Many disk operations in a few words: `inbox.jsonl +2, synced`.
//!
//! Operations that follow each other closely are one cell. Each file is named once, with what happened to it in
//! order; repeated appends become a count. What is scaffolding says nothing: folders, temporary files, locks that
//! come and go. What was written and not synced says so.

use std::time::Duration;

use gateway::env::{FsOp, Pid};

use crate::timeline::{Event, Fact};

/// Operations further apart than this are not one deed.
const CLOSE: Duration = Duration::from_millis(100);

/// Disk operations of one process that follow each other.
pub(super) struct DiskWords {
    pid: Pid,
    /// The program, where it is not the gateway.
    by: Option<String>,
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
    /// Begins with a disk event; `None` when `event` is none, or one that `reads` leaves out. `by` names the
    /// program of a process that is not the gateway's.
    pub(super) fn begin(event: &Event, reads: bool, by: impl FnOnce(Pid) -> Option<String>) -> Option<Self> {
        let pid = shown(event, reads)?;
        let mut words = Self { pid, by: by(pid), last: event.at, files: Vec::new() };
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
        if matches!(op, FsOp::CreateDir | FsOp::SyncDir) && error.is_none() {
            return;
        }
        let name = path.rsplit('/').next().unwrap_or(path);
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

    /// The words; none when there is nothing worth telling.
    pub(super) fn words(&self) -> String {
        let told: Vec<_> = self.files.iter().filter_map(|file| self.file_words(file)).collect();
        let synced: Vec<_> = told.iter().filter_map(|(_, synced)| *synced).collect();
        // Said once at the end where it is the same for all, and of each where it is not.
        let same = synced.windows(2).all(|pair| pair[0] == pair[1]);
        let mut parts: Vec<String> = Vec::new();
        for (words, synced) in told {
            match synced.filter(|_| !same) {
                Some(synced) => parts.push(format!("{words}{}", sync_words(synced))),
                None => parts.push(words),
            }
        }
        let mut text = parts.join(", ");
        if let Some(&synced) = synced.first().filter(|_| same) {
            text.push_str(sync_words(synced));
        }
        match &self.by {
            Some(program) if !text.is_empty() => format!("{program}: {text}"),
            _ => text,
        }
    }

    /// What happened to a file, and whether that was synced, if it was changed.
    fn file_words(&self, file: &FileDeeds) -> Option<(String, Option<bool>)> {
        if file.is_lock() {
            return Some((file.lock_words()?, None));
        }
        let failed = file.deeds.iter().any(|deed| matches!(deed, Deed::Failed(..)));
        if file.name.ends_with(TEMPORARY) && !failed {
            return None;
        }
        // That a file was written as a whole goes without saying.
        let quiet =
            [FsOp::SyncFile, FsOp::Rename, FsOp::Write, FsOp::CreateNew].map(|op| Deed::Did(done(op)));
        let told = file.deeds.iter().filter(|deed| !quiet.contains(deed)).map(Deed::words);
        let mut words = vec![file.short_name().to_string()];
        words.extend(told);
        let synced = file.has(FsOp::SyncFile)
            || self.files.iter().any(|other| other.is_temporary_of(file) && other.has(FsOp::SyncFile));
        let changed = file.has(FsOp::Rename) || file.has(FsOp::Write) || file.has(FsOp::Append);
        Some((words.join(" "), changed.then_some(synced)))
    }
}

const fn sync_words(synced: bool) -> &'static str {
    if synced { "; synced" } else { "; NOT synced" }
}

/// How the names of lock files and of temporary files end.
const LOCK: &str = ".lock";
const TEMPORARY: &str = ".tmp";

impl FileDeeds {
    fn is_lock(&self) -> bool {
        self.name.ends_with(LOCK)
    }

    /// Whether this is a temporary file for the new content of `file`; it may be named after its writer as well.
    fn is_temporary_of(&self, file: &Self) -> bool {
        let rest = self.name.strip_prefix(&file.name);
        rest.is_some_and(|rest| rest.starts_with('.') && rest.ends_with(TEMPORARY))
    }

    fn has(&self, op: FsOp) -> bool {
        let deed = if op == FsOp::Append { Deed::Appended(1) } else { Deed::Did(done(op)) };
        self.deeds.iter().any(|known| known.is_like(&deed))
    }

    /// What became of a lock; `None` when it was taken and given back.
    fn lock_words(&self) -> Option<String> {
        let refused =
            self.deeds.iter().any(|deed| matches!(deed, Deed::Failed(op, _) if *op == "create-new"));
        let what = match (self.has(FsOp::CreateNew), self.has(FsOp::Remove)) {
            (true, true) => return None,
            (true, false) => "taken",
            (false, true) => "removed",
            (false, false) if refused => "is in the way",
            (false, false) => return None,
        };
        Some(format!("{} {what}", self.name))
    }

    /// The file's name without its ending; the name of a conversation's transcript says nothing to people.
    fn short_name(&self) -> &str {
        match self.name.split_once(".json") {
            Some((id, "l")) if id.len() == 16 && id.chars().all(|c| c.is_ascii_hexdigit()) => "transcript",
            Some((name, "" | "l")) => name,
            _ => &self.name,
        }
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
    let only_looks = matches!(op, FsOp::Read | FsOp::Stat | FsOp::List | FsOp::Lock);
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
        FsOp::Lock => "locked",
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
                _ => cells.extend(DiskWords::begin(&event, reads, |_| None)),
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
        assert_eq!(words(story, false), ["inbox +2; synced, sessions; NOT synced", "gateway.lock removed"]);
    }

    #[test]
    fn a_replacement_through_a_synced_temporary_file_is_durable() {
        let story = Story::new()
            .disk(FsOp::CreateNew, "/state/sessions.json.lock")
            .disk(FsOp::Write, "/state/sessions.json.tmp")
            .disk(FsOp::SyncFile, "/state/sessions.json.tmp")
            .disk(FsOp::Rename, "/state/sessions.json")
            .disk(FsOp::SyncDir, "/state")
            .disk(FsOp::Remove, "/state/sessions.json.lock")
            .disk(FsOp::Append, "/state/59f5096c96288e0b.jsonl");
        assert_eq!(words(story, false), ["sessions; synced, transcript +1; NOT synced"]);
    }

    #[test]
    fn a_lock_that_stays_is_told() {
        let taken = Story::new()
            .disk(FsOp::CreateNew, "/state/gateway.lock")
            .disk(FsOp::Write, "/state/gateway.lock");
        assert_eq!(words(taken, false), ["gateway.lock taken"]);
        let refused = Story::new().disk_fails(FsOp::CreateNew, "/state/gateway.lock", "File exists");
        assert_eq!(words(refused, false), ["gateway.lock is in the way"]);
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
        assert_eq!(words(story(), true), ["a read append FAILED: no space left looked up"]);
    }
}
