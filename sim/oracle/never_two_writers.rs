//! Never two writers: who changes a file holds its lock, or nobody does; and nobody writes over what it never read.
//!
//! Judged on the disk's own operation log. A file `X` is locked from the moment a process creates `X.lock` until the
//! file is removed, by whomever; a lock taken over is thus removed by the thief and created by the thief, and from
//! then on the former holder must not write. What a process knows of a file it knows from its last read or write of
//! it: replacing the whole file after somebody else changed it is a lost update, with or without locks. All
//! generations of one process are one writer, the locks of the dead bind nobody, and a power loss forgets
//! everything.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use gateway::env::{FsOp, Pid};

use super::{Evidence, Oracle, Violation, breach, file_name};
use crate::timeline::words::{capital, moment, span};
use crate::timeline::{Fact, STORE_FILE};

/// Nobody changes a file whose lock somebody else holds, and nobody writes over a change that it has not read.
pub(super) struct NeverTwoWriters;

impl Oracle for NeverTwoWriters {
    fn invariant(&self) -> &'static str {
        "never-two-writers"
    }

    fn sentence(&self) -> &'static str {
        "Nobody changes a file whose lock somebody else holds, and nobody writes over a change that it has not read."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let mut log = OperationLog::default();
        let mut found = Vec::new();
        for event in run.events {
            let at = event.at;
            match &event.fact {
                Fact::ProcessStarted { pid, machine, program } if *machine == run.terms.machine => {
                    let writer = Writer { pid: *pid, program: program.clone(), born: at };
                    log.living.insert(*pid, Rc::new(writer));
                }
                Fact::ProcessExited { pid, machine, .. } if *machine == run.terms.machine => {
                    log.living.remove(pid);
                }
                Fact::PowerLost { .. } => log.files.clear(),
                Fact::Disk { pid, op, path, bytes: _, error } => {
                    let Some(deed) = Deed::of(*op, error.as_deref()) else { continue };
                    if !inside(path, &run.terms.state_dir) {
                        continue;
                    }
                    let Some(writer) = log.living.get(pid).cloned() else { continue };
                    let crimes = log.take(&writer, deed, path, at);
                    found.extend(crimes.into_iter().map(|crime| self.violation(&crime, at)));
                }
                _ => {}
            }
        }
        found
    }
}

impl NeverTwoWriters {
    fn violation(&self, crime: &Crime, at: Duration) -> Violation {
        let Crime { writer, path, kind } = crime;
        let name = file_name(path);
        let writer_name = writer.name();
        let (message, explanation) = match kind {
            Kind::AgainstLock { holder, since, lost } => (
                format!("{} changed {name}, whose lock {} held", capital(&writer_name), holder.name()),
                format!(
                    "{} created {path}.lock at {} and lives. {}At {}, {} later, {writer_name} changed {path}.",
                    capital(&holder.name()),
                    moment(*since),
                    lost.as_ref().map_or(String::new(), |lost| lost.sentence(&writer_name)),
                    moment(at),
                    span(at.saturating_sub(*since)),
                ),
            ),
            Kind::LostUpdate { other, changed, knew } => (
                format!("{} wrote over what {} had changed in {name}", capital(&writer_name), other.name()),
                format!(
                    "{} changed {path} at {}. At {} {writer_name} replaced it, and {}: the change is lost.",
                    capital(&other.name()),
                    moment(*changed),
                    moment(at),
                    match knew {
                        Some(knew) => format!("knew it only as it was at {}", moment(*knew)),
                        None => "had not read it".to_string(),
                    },
                ),
            ),
        };
        breach(self, message, explanation)
    }
}

fn inside(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

/// One process life: a reused pid is another writer, another generation in the same process is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Writer {
    pid: Pid,
    program: String,
    born: Duration,
}

impl Writer {
    /// `tool pid 231`
    fn name(&self) -> String {
        format!("{} pid {}", self.program, self.pid)
    }
}

/// What an operation means for who knows and who writes what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Reads,
    /// It brings the file into being, as its own.
    Creates,
    /// It puts new content in the place of all that was there.
    Replaces,
    /// It changes a part, and keeps the rest whatever that is.
    Changes,
    Removes,
}

impl Deed {
    fn of(op: FsOp, error: Option<&str>) -> Option<Self> {
        match (op, error) {
            (FsOp::Read, None) => Some(Self::Reads),
            // Who looks for a file that is not there knows as much as one who reads it.
            (FsOp::Read, Some(error)) if error.starts_with("NotFound") => Some(Self::Reads),
            (_, Some(_)) => None,
            (FsOp::CreateNew, None) => Some(Self::Creates),
            (FsOp::Write | FsOp::Rename, None) => Some(Self::Replaces),
            (FsOp::Append | FsOp::Truncate, None) => Some(Self::Changes),
            (FsOp::Remove, None) => Some(Self::Removes),
            _ => None,
        }
    }
}

/// The fold over the operations.
#[derive(Default)]
struct OperationLog {
    living: BTreeMap<Pid, Rc<Writer>>,
    /// The files that can lose an update, since they are read, changed and written back: the store, and whatever has
    /// had a lock.
    files: BTreeMap<String, File>,
    /// What has been found: the same two over the same file are reported once.
    reported: BTreeSet<(String, Rc<Writer>, Rc<Writer>, bool)>,
}

/// What the log says of one file.
#[derive(Default)]
struct File {
    /// Its lock file exists: who created it and when.
    lock: Option<(Rc<Writer>, Duration)>,
    /// Locks that somebody else removed from under their holder.
    lost: BTreeMap<Rc<Writer>, Lost>,
    /// Every change counts up; the last one's author and time.
    version: u64,
    changed: Option<(Rc<Writer>, Duration)>,
    /// The version that each process knows, and since when.
    known: BTreeMap<Rc<Writer>, (u64, Duration)>,
}

/// How somebody lost a lock.
#[derive(Clone, Debug)]
struct Lost {
    taken: Duration,
    by: Rc<Writer>,
    at: Duration,
}

impl Lost {
    fn sentence(&self, former_holder: &str) -> String {
        let Self { taken, by, at } = self;
        let (taken, by, at) = (moment(*taken), by.name(), moment(*at));
        format!("{} had taken it at {taken}, until {by} removed it at {at}. ", capital(former_holder))
    }
}

struct Crime {
    writer: Rc<Writer>,
    path: String,
    kind: Kind,
}

enum Kind {
    AgainstLock { holder: Rc<Writer>, since: Duration, lost: Option<Lost> },
    LostUpdate { other: Rc<Writer>, changed: Duration, knew: Option<Duration> },
}

impl OperationLog {
    fn take(&mut self, writer: &Rc<Writer>, deed: Deed, path: &str, at: Duration) -> Vec<Crime> {
        if let Some(target) = path.strip_suffix(".lock") {
            self.files.entry(target.to_string()).or_default().lock_deed(writer, deed, at);
            return Vec::new();
        }
        let Self { living, files, reported } = self;
        if file_name(path) == STORE_FILE && !files.contains_key(path) {
            files.insert(path.to_string(), File::default());
        }
        let Some(file) = files.get_mut(path) else { return Vec::new() };
        let mut crimes = Vec::new();
        if deed != Deed::Reads {
            crimes.extend(file.against_lock(writer, living));
        }
        if deed == Deed::Replaces {
            crimes.extend(file.lost_update(writer));
        }
        file.content_deed(writer, deed, at);
        let mut found = Vec::new();
        for kind in crimes {
            let key = match &kind {
                Kind::AgainstLock { holder, .. } => (path.to_string(), writer.clone(), holder.clone(), true),
                Kind::LostUpdate { other, .. } => (path.to_string(), writer.clone(), other.clone(), false),
            };
            if reported.insert(key) {
                found.push(Crime { writer: writer.clone(), path: path.to_string(), kind });
            }
        }
        found
    }
}

impl File {
    /// Something happened to the lock file.
    fn lock_deed(&mut self, by: &Rc<Writer>, deed: Deed, at: Duration) {
        match deed {
            Deed::Reads => {}
            Deed::Removes => {
                self.take_from_holder(by, at);
                self.lock = None;
            }
            Deed::Creates | Deed::Replaces | Deed::Changes => {
                // Writing its name into one's own lock, or renewing it, does not make it a new one.
                if deed == Deed::Creates || self.lock.as_ref().is_none_or(|(holder, _)| holder != by) {
                    self.take_from_holder(by, at);
                    self.lost.remove(by);
                    self.lock = Some((by.clone(), at));
                }
            }
        }
    }

    fn take_from_holder(&mut self, by: &Rc<Writer>, at: Duration) {
        if let Some((holder, taken)) = self.lock.take()
            && holder != *by
        {
            self.lost.insert(holder, Lost { taken, by: by.clone(), at });
        }
    }

    fn content_deed(&mut self, by: &Rc<Writer>, deed: Deed, at: Duration) {
        if deed != Deed::Reads {
            self.version += 1;
            self.changed = Some((by.clone(), at));
        }
        // Who changes a part does not learn what the rest is.
        if deed != Deed::Changes {
            self.known.insert(by.clone(), (self.version, at));
        }
    }

    /// Somebody who lives holds the lock, and it is not `writer`.
    fn against_lock(&self, writer: &Rc<Writer>, living: &BTreeMap<Pid, Rc<Writer>>) -> Option<Kind> {
        let (holder, since) = self.lock.as_ref()?;
        let lives = living.get(&holder.pid) == Some(holder);
        let lost = self.lost.get(writer).cloned();
        (lives && holder != writer).then(|| Kind::AgainstLock { holder: holder.clone(), since: *since, lost })
    }

    /// The last change is another's, and `writer` has not seen it.
    fn lost_update(&self, writer: &Rc<Writer>) -> Option<Kind> {
        let (other, changed) = self.changed.as_ref()?;
        let known = self.known.get(writer);
        let is_unseen = known.is_none_or(|(version, _)| *version < self.version);
        (other != writer && is_unseen).then(|| Kind::LostUpdate {
            other: other.clone(),
            changed: *changed,
            knew: known.map(|(_, at)| *at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::{complaints, verdict};
    use crate::timeline::DeathCause;
    use crate::timeline::story::Story;

    const STORE: &str = "/state/sessions.json";
    const LOCK: &str = "/state/sessions.json.lock";

    /// A gateway (214) and a tool (300) live.
    fn two() -> Story {
        Story::new().serves(214).at(100).program("tool", 300).starts()
    }

    fn gateway(story: Story) -> Story {
        story.program("gateway", 214)
    }

    fn tool(story: Story) -> Story {
        story.program("tool", 300)
    }

    fn takes_lock(story: Story) -> Story {
        story.disk(FsOp::CreateNew, LOCK).disk(FsOp::Write, LOCK)
    }

    fn changes_store(story: Story) -> Story {
        story.disk(FsOp::Read, STORE).disk(FsOp::Write, "/state/sessions.json.tmp").disk(FsOp::Rename, STORE)
    }

    fn whole_change(story: Story) -> Story {
        changes_store(takes_lock(story)).disk(FsOp::Remove, LOCK)
    }

    #[test]
    fn taking_turns_is_fine() {
        let story = whole_change(tool(whole_change(gateway(two().at(1_000))).at(2_000)));
        let story = whole_change(gateway(story.at(3_000)));
        assert_eq!(complaints(&NeverTwoWriters, story), [""; 0]);
    }

    #[test]
    fn who_lost_the_lock_and_writes_all_the_same_is_found() {
        let frozen = takes_lock(tool(two().at(1_000))).disk(FsOp::Read, STORE).at(1_001).frozen();
        let thief = takes_lock(gateway(frozen.at(60_000)).disk(FsOp::Remove, LOCK)).disk(FsOp::Read, STORE);
        let thawed = tool(thief.at(60_001)).thawed().disk(FsOp::Rename, STORE);
        let found = verdict(&NeverTwoWriters, thawed, &Terms::default());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].message, "Tool pid 300 changed sessions.json, whose lock gateway pid 214 held");
        assert_eq!(
            found[0].explanation,
            "Gateway pid 214 created /state/sessions.json.lock at 60.000 s and lives. Tool pid 300 had taken it at \
             1.000 s, until gateway pid 214 removed it at 60.000 s. At 60.001 s, 0.0 s later, tool pid 300 changed \
             /state/sessions.json."
        );
    }

    #[test]
    fn who_lost_the_lock_and_writes_after_the_thief_let_go_loses_its_update() {
        let frozen = takes_lock(tool(two().at(1_000))).disk(FsOp::Read, STORE);
        let thief = whole_change(gateway(frozen.at(60_000)).disk(FsOp::Remove, LOCK));
        let found =
            verdict(&NeverTwoWriters, tool(thief.at(90_000)).disk(FsOp::Rename, STORE), &Terms::default());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            found[0].message,
            "Tool pid 300 wrote over what gateway pid 214 had changed in sessions.json"
        );
        assert_eq!(
            found[0].explanation,
            "Gateway pid 214 changed /state/sessions.json at 60.000 s. At 90.000 s tool pid 300 replaced it, and \
             knew it only as it was at 1.000 s: the change is lost."
        );
    }

    #[test]
    fn a_lock_that_is_respected_only_by_one_side_is_found() {
        let story = changes_store(gateway(takes_lock(tool(two().at(1_000))).at(1_001)));
        assert_eq!(
            complaints(&NeverTwoWriters, story),
            ["Gateway pid 214 changed sessions.json, whose lock tool pid 300 held"]
        );
    }

    #[test]
    fn a_cached_copy_loses_updates_without_any_lock() {
        let cached = changes_store(gateway(two().at(1_000)));
        let story = gateway(changes_store(tool(cached.at(2_000))).at(3_000)).disk(FsOp::Rename, STORE);
        let story = story.at(4_000).disk(FsOp::Rename, STORE);
        assert_eq!(
            complaints(&NeverTwoWriters, story),
            ["Gateway pid 214 wrote over what tool pid 300 had changed in sessions.json"]
        );
        let blind = tool(changes_store(gateway(two()))).disk(FsOp::Write, STORE);
        let found = verdict(&NeverTwoWriters, blind, &Terms::default());
        assert!(found[0].explanation.contains("had not read it"), "{found:?}");
    }

    #[test]
    fn who_looked_before_there_was_a_store_has_not_seen_it() {
        let both = gateway(two().at(1_000)).disk_fails(FsOp::Read, STORE, "NotFound (os error 2)");
        let both = tool(both).disk_fails(FsOp::Read, STORE, "NotFound (os error 2)");
        let first = gateway(both.at(2_000)).disk(FsOp::Rename, STORE);
        assert_eq!(complaints(&NeverTwoWriters, tool(first.at(3_000)).disk(FsOp::Rename, STORE)).len(), 1);
    }

    #[test]
    fn two_generations_in_one_process_are_one_writer() {
        let old = takes_lock(gateway(two().at(1_000))).disk(FsOp::Read, STORE);
        let new = old.at(5_000).disk(FsOp::Remove, LOCK);
        let story = whole_change(new).at(6_000).disk(FsOp::Rename, STORE);
        assert_eq!(complaints(&NeverTwoWriters, story), [""; 0]);
    }

    #[test]
    fn the_locks_of_the_dead_bind_nobody_and_a_reused_pid_is_another_process() {
        let dead = takes_lock(tool(two().at(1_000))).at(1_500).dies(DeathCause::Killed);
        let dead = dead.at(1_600).starts();
        assert_eq!(complaints(&NeverTwoWriters, changes_store(gateway(dead.at(2_000)))), [""; 0]);
    }

    #[test]
    fn a_power_loss_forgets_what_was_locked_and_known() {
        let dark = takes_lock(tool(changes_store(gateway(two().at(1_000))))).at(2_000).power_lost();
        let story = dark.at(3_000).serves(214).disk(FsOp::Rename, STORE);
        assert_eq!(complaints(&NeverTwoWriters, story), [""; 0]);
    }

    #[test]
    fn appends_of_one_process_and_files_that_nobody_shares_are_fine() {
        let transcript =
            gateway(two()).disk(FsOp::Append, "/state/1.jsonl").at(5).disk(FsOp::Append, "/state/1.jsonl");
        let copies = transcript.disk(FsOp::Rename, "/state/sessions.json.bak");
        let copies = tool(copies)
            .disk(FsOp::Rename, "/state/sessions.json.bak")
            .disk(FsOp::Write, "/tmp/sessions.json");
        assert_eq!(complaints(&NeverTwoWriters, copies), [""; 0]);
    }

    #[test]
    fn a_renewed_lock_is_still_the_same_one() {
        let held = takes_lock(tool(two().at(1_000))).at(2_000).disk(FsOp::Rename, LOCK);
        let found = verdict(&NeverTwoWriters, changes_store(gateway(held.at(3_000))), &Terms::default());
        assert!(found[0].explanation.contains("created /state/sessions.json.lock at 1.000 s"), "{found:?}");
        assert_eq!(complaints(&NeverTwoWriters, changes_store(takes_lock(tool(two())).at(9))), [""; 0]);
    }
}
