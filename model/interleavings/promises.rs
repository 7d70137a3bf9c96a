//! What must hold, whatever the schedule: judged on the disk's own operations, at every one of them.
//!
//! Nothing here asks the code under test for anything but whether a call
//! returned `Ok`. Knows the name of the store and of its lock, and that a lock says a pid; not how locking works.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::disk::{Disk, File, LifeId, Stamp};

pub(super) const FOLDER: &str = "/state";
pub(super) const STORE: &str = "/state/sessions.json";
pub(super) const LOCK: &str = "/state/sessions.json.lock";
/// The session that collects notes.
pub(super) const NOTED: &str = "agent:main:main";
/// The field of it that counts them.
pub(super) const COUNT: &str = "count";
/// A holder that lives keeps its lock at least this long without a sign of life.
const SILENCE: Duration = Duration::from_secs(30);

/// What every process was promised, and whether it was kept.
#[derive(Default)]
pub(super) struct Promises {
    broken: Vec<String>,
    /// Notes whose addition was acknowledged.
    acknowledged: BTreeSet<String>,
    /// Notes whose addition failed before the store was replaced.
    refused: BTreeSet<String>,
    /// Sessions that have stood in the store while somebody was told of them, with their ids.
    told: BTreeMap<String, String>,
    /// When each life last read the store, and who replaced it when. In steps.
    last_read: BTreeMap<LifeId, u32>,
    last_replaced: BTreeMap<LifeId, u32>,
    /// What each life last read in the lock file, and when; nothing when it could not.
    judged: BTreeMap<LifeId, (Duration, Option<Vec<u8>>)>,
    /// Lives that behave as old programs do, now and at some time. They promise nothing.
    as_old_programs: BTreeSet<LifeId>,
    were_old_programs: BTreeSet<LifeId>,
}

impl Promises {
    /// The promises that were broken so far, in order.
    pub(super) fn broken(&self) -> &[String] {
        &self.broken
    }

    pub(super) fn breach(&mut self, what: String) {
        if !self.broken.contains(&what) {
            self.broken.push(what);
        }
    }

    /// All processes are gone, and with them what they had read and written without a sync.
    pub(super) fn lost_power(&mut self, disk: &Disk) {
        self.last_replaced.clear();
        self.changed(None, Path::new(STORE), disk, 0);
    }

    /// `life` looks at no lock but its own, until it says that this is over.
    pub(super) fn behaves_as_old_programs(&mut self, life: LifeId, it_does: bool) {
        if it_does {
            self.as_old_programs.insert(life);
            self.were_old_programs.insert(life);
        } else {
            self.as_old_programs.remove(&life);
        }
    }

    /// Whether the lock is that of an old program, which nobody may break while it lives.
    pub(super) fn is_old_programs(&self, lock: &File) -> bool {
        self.as_old_programs.contains(&lock.written.by)
    }

    /// `life` read a file, or could not.
    pub(super) fn saw(&mut self, by: Stamp, path: &Path, bytes: Option<&[u8]>, step: u32) {
        if path == Path::new(STORE) && bytes.is_some() {
            self.last_read.insert(by.by, step);
        }
        if path == Path::new(LOCK) {
            self.judged.insert(by.by, (by.at, bytes.map(<[u8]>::to_vec)));
        }
    }

    /// A lock that `life` could not know of when it last looked: old programs create and remove locks at any moment,
    /// and no file system can remove a file only if it is still the one that was read.
    fn came_unforeseeably(&self, lock: &File, life: LifeId) -> bool {
        let looked = self.judged.get(&life).map(|(when, _)| *when);
        self.were_old_programs.contains(&lock.written.by) && looked.is_some_and(|when| when < lock.written.at)
    }

    /// Nobody touches a lock that is not its own unless it has seen that very lock, and not while its holder lives
    /// and has not been silent for long.
    pub(super) fn will_change(
        &mut self,
        by: Stamp,
        path: &Path,
        disk: &Disk,
        lives: impl Fn(LifeId) -> bool,
    ) {
        if self.as_old_programs.contains(&by.by) {
            return;
        }
        if path == Path::new(STORE) {
            self.will_replace_store(by, disk, lives);
        } else if path == Path::new(LOCK)
            && let Some(lock) = disk.find(path).filter(|lock| lock.written.by != by.by)
            && !self.came_unforeseeably(lock, by.by)
        {
            if self.judged.get(&by.by).and_then(|(_, bytes)| bytes.as_ref()) != Some(&lock.bytes) {
                self.breach("a lock was removed or overwritten that was not the one that was judged".into());
            }
            if is_held(lock, by.at, lives) {
                self.breach("a lock was broken whose holder lives and was not silent for long".into());
            }
        }
    }

    /// Whoever replaces the store has read it since somebody else last replaced it, and nobody else holds the lock.
    fn will_replace_store(&mut self, by: Stamp, disk: &Disk, lives: impl Fn(LifeId) -> bool) {
        let read = self.last_read.get(&by.by);
        let others = self.last_replaced.iter().filter(|(life, _)| **life != by.by);
        if others.map(|(_, step)| step).max() > read {
            self.breach("the store was replaced by somebody who had not read what another wrote".into());
        }
        if let Some(lock) = disk.find(Path::new(LOCK))
            && lock.written.by != by.by
            && !self.came_unforeseeably(lock, by.by)
            && is_held(lock, by.at, lives)
        {
            self.breach("the store was written while somebody else who lives held its lock".into());
        }
    }

    /// The store has changed, or may have.
    pub(super) fn changed(&mut self, by: Option<LifeId>, path: &Path, disk: &Disk, step: u32) {
        if path != Path::new(STORE) {
            return;
        }
        if let Some(by) = by {
            self.last_replaced.insert(by, step);
        }
        if let Err(breach) = self.check_store(disk) {
            self.breach(breach);
        }
    }

    /// The store parses, holds all that was acknowledged and nothing that was refused, and each note once.
    fn check_store(&self, disk: &Disk) -> Result<(), String> {
        let Some(file) = disk.find(Path::new(STORE)) else {
            let nothing = self.acknowledged.is_empty() && self.told.is_empty();
            return if nothing { Ok(()) } else { Err("the store is gone".into()) };
        };
        let store: Value = serde_json::from_slice(&file.bytes)
            .map_err(|error| format!("the store does not parse: {error}"))?;
        for (key, id) in &self.told {
            if store[key]["sessionId"] != **id {
                return Err(format!("{key} was told to have id {id} and is now {}", store[key]));
            }
        }
        let none = serde_json::Map::new();
        let notes = store[NOTED].as_object().unwrap_or(&none);
        if let Some(lost) = self.acknowledged.iter().find(|note| !notes.contains_key(*note)) {
            return Err(format!("the acknowledged note {lost} is lost"));
        }
        if let Some(refused) = self.refused.iter().find(|note| notes.contains_key(*note)) {
            return Err(format!("the note {refused} was refused and is there all the same"));
        }
        let counted = notes.values().filter(|value| value.is_boolean()).count();
        match notes.get(COUNT).map_or(0, |count| count.as_u64().unwrap_or(0)) {
            count if count == counted as u64 => Ok(()),
            count => Err(format!("{counted} notes were counted as {count}")),
        }
    }

    pub(super) fn acknowledge(&mut self, note: &str, disk: &Disk) {
        self.acknowledged.insert(note.to_string());
        if let Err(breach) = self.check_store(disk) {
            self.breach(breach);
        }
    }

    /// Adding `note` failed; `began` is the step at which that was tried.
    pub(super) fn refuse(&mut self, life: LifeId, note: &str, began: u32, disk: &Disk) {
        if self.last_replaced.get(&life).is_none_or(|step| *step < began) {
            self.refused.insert(note.to_string());
        }
        if let Err(breach) = self.check_store(disk) {
            self.breach(breach);
        }
    }

    /// Somebody was told that the session exists.
    pub(super) fn tell_of(&mut self, key: &str, disk: &Disk) {
        let store = disk.find(Path::new(STORE)).and_then(|file| serde_json::from_slice(&file.bytes).ok());
        match store.as_ref().and_then(|store: &Value| store[key]["sessionId"].as_str()) {
            Some(id) => drop(self.told.entry(key.to_string()).or_insert_with(|| id.to_string())),
            None => self.breach(format!("{key} was told of and is not in the store")),
        }
    }
}

/// Whether a lock in the way is held by somebody who lives and has not been silent for long. Nobody is asked to
/// respect a lock that does not say whose it is.
fn is_held(lock: &File, now: Duration, lives: impl Fn(LifeId) -> bool) -> bool {
    let says_who = serde_json::from_slice(&lock.bytes).is_ok_and(|lock: Value| lock["pid"].is_u64());
    says_who && lives(lock.written.by) && now.saturating_sub(lock.written.at) < SILENCE
}

/// The name of a file without its folder.
pub(super) fn short(path: &Path) -> PathBuf {
    path.strip_prefix(FOLDER).unwrap_or(path).to_path_buf()
}
