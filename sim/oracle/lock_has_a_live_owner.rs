//! Every lock has a live owner or is broken in time.
//!
//! Who owns a lock file is who created it, by the disk's operation log. When that process dies, the lock is an
//! orphan, and a gateway that serves has to break it: only the time counts during which one did. What a gateway
//! itself holds it lets go in time, or a restart within the process has left it behind (openclaw/openclaw#77721); while
//! the disk refuses what it does about its locks, nobody can, so its time begins again with each refusal; the lock on the whole state directory lasts as long as its owner. A command-line tool that stands still is no live
//! owner either: it promises to renew its locks, and can be fenced (openclaw/openclaw#89673). What any other process
//! holds while it lives is its own business. A lock file that nobody created through a door (a scenario planted it,
//! or a power loss brought it back) is an orphan from the moment it was found, and is judged at the last look.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::env::{FsOp, Pid};

use super::life::{INSTANCE_LOCK, Interval, end_of};
use super::{Evidence, Oracle, Terms, Violation, breach};
use crate::timeline::words::{capital, moment, span};
use crate::timeline::{DeathCause, Fact, StateSeen, TOOL_PROGRAM};

/// Every lock has a live owner or is broken in time.
pub(super) struct LockHasALiveOwner;

impl Oracle for LockHasALiveOwner {
    fn invariant(&self) -> &'static str {
        "lock-has-a-live-owner"
    }

    fn sentence(&self) -> &'static str {
        "Every lock has a live owner or is broken in time."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let mut locks = Locks::default();
        let mut found = Vec::new();
        for event in run.events {
            let over = locks.take(run.terms, event.at, &event.fact);
            found.extend(over.into_iter().filter_map(|over| self.judge(run, &over)));
        }
        let end = end_of(run);
        let left = locks.left(end);
        found.extend(left.iter().filter_map(|over| self.judge(run, over)));
        let planted =
            locks.unowned.iter().filter_map(|(name, unowned)| self.unowned(run, name, *unowned, end));
        found.extend(planted);
        found
    }
}

impl LockHasALiveOwner {
    /// Judges a lock that has gone, or is still there when the run ends.
    fn judge(&self, run: &Evidence<'_>, over: &Over) -> Option<Violation> {
        let Over { name, lock, until, removed } = over;
        let owner = lock.owner();
        let fate = fate_words(*until, *removed);
        if let Some((died, cause)) = lock.orphaned {
            let served = served(run, died, *until);
            return (served > run.terms.orphan_lock_grace).then(|| {
                let message =
                    format!("{name} stayed for {} of service after its owner had died", span(served));
                let explanation = format!(
                    "{} created it at {} and ended at {} ({cause}). A gateway served for {} since, {} are allowed; \
                     {fate}.",
                    capital(&owner),
                    moment(lock.created),
                    moment(died),
                    span(served),
                    span(run.terms.orphan_lock_grace),
                );
                breach(self, message, explanation)
            });
        }
        if lock.program == TOOL_PROGRAM {
            return self.silent(run, over, &fate);
        }
        let is_its_own_business = lock.program != run.terms.program || name == INSTANCE_LOCK;
        let since = lock.refused.unwrap_or(lock.created);
        let held = until.saturating_sub(since).saturating_sub(frozen(run, lock, *until));
        (!is_its_own_business && held > run.terms.longest_lock_hold).then(|| {
            let message = format!("{} held {name} for {}", capital(&owner), span(held));
            let explanation = format!(
                "It created it at {}, and {fate}. {} are allowed, not counting time in which it was frozen.",
                moment(lock.created),
                span(run.terms.longest_lock_hold),
            );
            breach(self, message, explanation)
        })
    }

    /// Judges the lock of a tool that lives, and may have stood still.
    fn silent(&self, run: &Evidence<'_>, over: &Over, fate: &str) -> Option<Violation> {
        let Over { name, lock, until, .. } = over;
        let served_beside = |silence: &Interval| {
            let ended = silence.until.unwrap_or(*until).min(*until);
            (silence.from, longest_served(run, silence.from, ended))
        };
        let (from, served) = lock.silences.iter().map(served_beside).max_by_key(|(_, served)| *served)?;
        (served > run.terms.orphan_lock_grace).then(|| {
            let owner = lock.owner();
            let message = format!("{name} stayed for {} of service with {owner}, which stood still", span(served));
            let explanation = format!(
                "{} created it at {} and was frozen from {} on. A gateway served for {} meanwhile, {} are allowed; \
                 {fate}.",
                capital(&owner),
                moment(lock.created),
                moment(from),
                span(served),
                span(run.terms.orphan_lock_grace),
            );
            breach(self, message, explanation)
        })
    }

    /// Judges a lock file that nobody is known to have created and that is still there at the last look.
    fn unowned(&self, run: &Evidence<'_>, name: &str, unowned: Unowned, end: Duration) -> Option<Violation> {
        let served = served(run, unowned.since, end);
        (served > run.terms.orphan_lock_grace).then(|| {
            let message = format!("{name} has no live owner and stayed for {} of service", span(served));
            let origin = if unowned.planted { "It was planted" } else { "It was found" };
            let explanation = format!(
                "{origin} at {}, and no process is known to have created it. A gateway served for {} since, {} are \
                 allowed; {}.",
                moment(unowned.since),
                span(served),
                span(run.terms.orphan_lock_grace),
                fate_words(end, false),
            );
            breach(self, message, explanation)
        })
    }
}

fn fate_words(until: Duration, removed: bool) -> String {
    match removed {
        true => format!("it was removed at {}", moment(until)),
        false => format!("it was still there when the run ended at {}", moment(until)),
    }
}

/// For how long a gateway served between two moments.
fn served(run: &Evidence<'_>, from: Duration, until: Duration) -> Duration {
    run.lives.iter().map(|life| life.served_between(from, until)).sum()
}

/// For how long one gateway served between two moments, the one that served longest. Whoever begins has to look for as long
/// as its predecessor had before it can tell that somebody stands still.
fn longest_served(run: &Evidence<'_>, from: Duration, until: Duration) -> Duration {
    run.lives.iter().map(|life| life.served_between(from, until)).max().unwrap_or_default()
}

/// For how long the lock's living owner was frozen while it held it.
fn frozen(run: &Evidence<'_>, lock: &Lock, until: Duration) -> Duration {
    let is_owner = |life: &&super::life::Life| {
        life.pid == lock.pid
            && life.started_at <= lock.created
            && life.ended_at().is_none_or(|end| end >= lock.created)
    };
    let owner = run.lives.iter().rev().find(is_owner);
    owner.map_or(Duration::ZERO, |life| life.frozen_between(lock.created, until))
}

/// Whether the disk refused, rather than said what is there.
pub(super) fn is_trouble(op: FsOp, error: &str) -> bool {
    let is_held = op == FsOp::Lock && error.starts_with("WouldBlock");
    !is_held && !["NotFound", "AlreadyExists"].iter().any(|answer| error.starts_with(answer))
}

/// A lock file of which the operation log knows who created it.
#[derive(Clone, Debug)]
struct Lock {
    pid: Pid,
    program: String,
    created: Duration,
    /// When its owner stood still.
    silences: Vec<Interval>,
    /// Its owner's end.
    orphaned: Option<(Duration, DeathCause)>,
    /// When the disk last refused something that its owner did in the lock's folder.
    refused: Option<Duration>,
}

impl Lock {
    /// `tool pid 231`
    fn owner(&self) -> String {
        format!("{} pid {}", self.program, self.pid)
    }
}

/// A lock file of which the log does not know who created it.
#[derive(Clone, Copy, Debug)]
struct Unowned {
    since: Duration,
    /// Whether the scenario is known to have put it there.
    planted: bool,
}

/// A lock whose time has ended.
struct Over {
    name: String,
    lock: Lock,
    until: Duration,
    removed: bool,
}

/// The lock files of the state directory, by their paths inside it, as the log goes on.
#[derive(Default)]
struct Locks {
    /// The programs of the processes that live.
    living: BTreeMap<Pid, String>,
    owned: BTreeMap<String, Lock>,
    unowned: BTreeMap<String, Unowned>,
    /// What the scenario did behind the gateway's back, in words that name the file.
    injected: Vec<(Duration, String)>,
}

impl Locks {
    /// Follows one event; gives the lock whose time ended with it.
    fn take(&mut self, terms: &Terms, at: Duration, fact: &Fact) -> Option<Over> {
        match fact {
            Fact::ProcessStarted { pid, machine, program } if *machine == terms.machine => {
                self.living.insert(*pid, program.clone());
            }
            Fact::ProcessExited { pid, machine, cause, .. } if *machine == terms.machine => {
                self.living.remove(pid);
                self.held_by(*pid).for_each(|lock| lock.orphaned = Some((at, *cause)));
            }
            Fact::ProcessFrozen { pid } => {
                self.held_by(*pid).for_each(|lock| lock.silences.push(Interval { from: at, until: None }));
            }
            Fact::ProcessThawed { pid } => {
                let silences = self.held_by(*pid).filter_map(|lock| lock.silences.last_mut());
                silences.for_each(|silence| silence.until = silence.until.or(Some(at)));
            }
            Fact::Injected { what, .. } if what.contains(".lock") => self.injected.push((at, what.clone())),
            Fact::State(seen) => self.look(at, seen),
            Fact::Disk { pid, op, path, error: Some(error), .. } if is_trouble(*op, error) => {
                let inside = path.strip_prefix(&terms.state_dir)?.trim_start_matches('/').to_string();
                let folder = |name: &str| name.rsplit_once('/').map_or("", |(folder, _)| folder).to_string();
                let is_near = |name: &str| folder(name) == folder(&inside) || folder(name) == inside;
                let near = self.owned.iter_mut().filter(|(name, lock)| lock.pid == *pid && is_near(name));
                near.for_each(|(_, lock)| lock.refused = Some(at));
            }
            Fact::Disk { pid, op, path, error: None, .. } if path.ends_with(".lock") => {
                let inside = path.strip_prefix(&terms.state_dir)?.strip_prefix('/')?;
                return self.operate(*pid, *op, inside, at);
            }
            _ => {}
        }
        None
    }

    /// The locks of the process that has this id now.
    fn held_by(&mut self, pid: Pid) -> impl Iterator<Item = &mut Lock> {
        self.owned.values_mut().filter(move |lock| lock.pid == pid && lock.orphaned.is_none())
    }

    fn operate(&mut self, pid: Pid, op: FsOp, name: &str, at: Duration) -> Option<Over> {
        match op {
            FsOp::Remove => {
                self.unowned.remove(name);
                let lock = self.owned.remove(name)?;
                Some(Over { name: name.to_string(), lock, until: at, removed: true })
            }
            FsOp::CreateNew | FsOp::Write | FsOp::Rename => {
                let is_renewed = |lock: &Lock| lock.pid == pid && lock.orphaned.is_none();
                if op != FsOp::CreateNew && self.owned.get(name).is_some_and(is_renewed) {
                    return None;
                }
                self.unowned.remove(name);
                let program = self.living.get(&pid)?.clone();
                let lock =
                    Lock { pid, program, created: at, silences: Vec::new(), orphaned: None, refused: None };
                let lock = self.owned.insert(name.to_string(), lock)?;
                Some(Over { name: name.to_string(), lock, until: at, removed: true })
            }
            _ => None,
        }
    }

    /// What is on the disk counts, whatever the log makes one think: a power loss takes files away and brings
    /// removed ones back.
    fn look(&mut self, at: Duration, seen: &StateSeen) {
        self.owned.retain(|name, _| seen.locks.contains(name));
        self.unowned.retain(|name, _| seen.locks.contains(name));
        for name in seen.locks.iter().filter(|name| !self.owned.contains_key(*name)) {
            let planted = self.injected.iter().rev().find(|(_, what)| what.contains(name.as_str()));
            let since = planted.map_or(at, |(at, _)| *at);
            let unowned = Unowned { since, planted: planted.is_some() };
            self.unowned.entry(name.clone()).or_insert(unowned);
        }
    }

    /// The locks that are still there at the end.
    fn left(&self, end: Duration) -> Vec<Over> {
        let over = |(name, lock): (&String, &Lock)| Over {
            name: name.clone(),
            lock: lock.clone(),
            until: end,
            removed: false,
        };
        self.owned.iter().map(over).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::{complaints, verdict};
    use crate::timeline::Injection;
    use crate::timeline::story::Story;

    const LOCK: &str = "/state/sessions.json.lock";

    fn violations(story: Story) -> Vec<Violation> {
        verdict(&LockHasALiveOwner, story, &Terms::default())
    }

    /// A tool (300) took the lock at 1 s beside a gateway (214) that serves.
    fn tool_holds() -> Story {
        Story::new().serves(214).program("tool", 300).starts().at(1_000).disk(FsOp::CreateNew, LOCK)
    }

    #[test]
    fn a_lock_that_outlives_its_owner_is_found_and_one_that_is_broken_in_time_is_not() {
        let orphan = || tool_holds().at(2_000).dies(DeathCause::Killed).gateway(214);
        let broken = orphan().at(151_000).disk(FsOp::Remove, LOCK).at(900_000).ended();
        assert_eq!(complaints(&LockHasALiveOwner, broken), [""; 0]);
        let late = violations(orphan().at(177_000).disk(FsOp::Remove, LOCK).at(900_000).ended());
        assert_eq!(late.len(), 1);
        assert_eq!(
            late[0].message,
            "sessions.json.lock stayed for 175.0 s of service after its owner had died"
        );
        assert_eq!(
            late[0].explanation,
            "Tool pid 300 created it at 1.000 s and ended at 2.000 s (killed by SIGKILL). A gateway served for \
             175.0 s since, 150.0 s are allowed; it was removed at 177.000 s."
        );
        let never = violations(orphan().at(900_000).locks(&["sessions.json.lock"]).ended());
        assert!(
            never[0].explanation.ends_with("it was still there when the run ended at 900.000 s."),
            "{never:?}"
        );
        assert_eq!(never.len(), 1);
    }

    #[test]
    fn nobody_can_break_a_lock_while_no_gateway_serves() {
        let down = || tool_holds().gateway(214).at(1_500).exits(0).program("tool", 300).at(2_000).exits(1);
        assert_eq!(
            complaints(&LockHasALiveOwner, down().at(900_000).locks(&["sessions.json.lock"]).ended()),
            [""; 0]
        );
        let up = down().at(800_000).serves(215).at(850_000).disk(FsOp::Remove, LOCK).at(999_000).ended();
        assert_eq!(complaints(&LockHasALiveOwner, up), [""; 0]);
        let frozen = tool_holds().at(2_000).exits(1).gateway(214).frozen().at(600_000).thawed();
        let frozen = frozen.at(610_000).disk(FsOp::Remove, LOCK).ended();
        assert_eq!(complaints(&LockHasALiveOwner, frozen), [""; 0]);
    }

    #[test]
    fn the_lock_of_a_foreign_process_that_lives_is_its_own_business() {
        let story = tool_holds().at(900_000).locks(&["sessions.json.lock"]).ended();
        assert_eq!(complaints(&LockHasALiveOwner, story), [""; 0]);
    }

    #[test]
    fn a_tool_that_stands_still_is_no_live_owner() {
        let frozen = || tool_holds().at(1_001).frozen();
        let found = violations(frozen().at(10_800_000).thawed().disk(FsOp::Remove, LOCK).ended());
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].message,
            "sessions.json.lock stayed for 10799.0 s of service with tool pid 300, which stood still"
        );
        let broken = frozen().gateway(214).at(60_000).disk(FsOp::Remove, LOCK).disk(FsOp::CreateNew, LOCK);
        let broken = broken.disk(FsOp::Remove, LOCK).program("tool", 300).at(10_800_000).thawed().ended();
        assert_eq!(complaints(&LockHasALiveOwner, broken), [""; 0]);
        let others = Story::new().serves(214).program("squatter", 300).starts().disk(FsOp::CreateNew, LOCK);
        assert_eq!(complaints(&LockHasALiveOwner, others.frozen().at(900_000).ended()), [""; 0]);
    }

    #[test]
    fn whoever_begins_has_to_look_for_itself_whether_a_tool_stands_still() {
        let stays = |restarts: bool| {
            let story = tool_holds().at(1_001).frozen().at(100_000);
            let story = match restarts {
                true => story.gateway(214).exits(75).at(101_000).serves(215),
                false => story,
            };
            let story = story.at(200_000).program("tool", 300).thawed();
            complaints(&LockHasALiveOwner, story.disk(FsOp::Remove, LOCK).ended()).len()
        };
        assert_eq!((stays(true), stays(false)), (0, 1));
    }

    #[test]
    fn a_gateway_lets_go_of_its_own_locks_in_time() {
        let holds = |name: &str| {
            Story::new().serves(214).at(1_000).disk(FsOp::CreateNew, name).at(2_000).disk(FsOp::Write, name)
        };
        let held = holds(LOCK).at(76_000).disk(FsOp::Remove, LOCK).ended();
        let found = violations(held);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].message, "Gateway pid 214 held sessions.json.lock for 75.0 s");
        assert_eq!(complaints(&LockHasALiveOwner, holds(LOCK).at(900_000).ended()).len(), 1);
        let frozen = holds(LOCK).at(3_000).frozen().at(76_000).thawed().disk(FsOp::Remove, LOCK).ended();
        assert_eq!(complaints(&LockHasALiveOwner, frozen), [""; 0]);
        assert_eq!(complaints(&LockHasALiveOwner, holds("/state/gateway.lock").at(900_000).ended()), [""; 0]);
        assert_eq!(complaints(&LockHasALiveOwner, holds("/elsewhere/x.lock").at(900_000).ended()), [""; 0]);
    }

    #[test]
    fn a_lock_that_the_disk_does_not_let_go_is_nobodys_fault() {
        let stuck = |error: &str| {
            let held = Story::new().serves(214).at(1_000).disk(FsOp::CreateNew, LOCK);
            let refused = held.at(2_000).disk_fails(FsOp::Remove, LOCK, error);
            refused.at(60_000).disk_fails(FsOp::List, "/state", error)
        };
        let freed = |error: &str| stuck(error).at(110_000).disk(FsOp::Remove, LOCK).ended();
        assert_eq!(complaints(&LockHasALiveOwner, freed("ResourceBusy (os error 16)")), [""; 0]);
        assert_eq!(complaints(&LockHasALiveOwner, freed("NotFound (os error 2)")).len(), 1);
        let forgotten = stuck("ResourceBusy (os error 16)").at(130_000).ended();
        assert_eq!(complaints(&LockHasALiveOwner, forgotten).len(), 1, "not even tried again");
    }

    #[test]
    fn a_lock_that_was_taken_over_has_a_new_owner() {
        let thief = tool_holds().gateway(214).at(30_000).disk(FsOp::Remove, LOCK).disk(FsOp::CreateNew, LOCK);
        let story = thief.at(30_010).disk(FsOp::Remove, LOCK).program("tool", 300).at(40_000).exits(1);
        assert_eq!(complaints(&LockHasALiveOwner, story.at(900_000).ended()), [""; 0]);
    }

    #[test]
    fn a_planted_lock_is_judged_at_the_last_look() {
        let planted = || {
            Story::new()
                .serves(214)
                .at(5_000)
                .injected(Injection::CorruptState, "sessions.json.lock in the state directory")
        };
        let gone = planted().at(50_000).locks(&["sessions.json.lock"]).at(55_000).disk(FsOp::Remove, LOCK);
        assert_eq!(complaints(&LockHasALiveOwner, gone.at(900_000).locks(&[]).ended()), [""; 0]);
        let found = violations(planted().at(900_000).locks(&["sessions.json.lock"]).ended());
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].message,
            "sessions.json.lock has no live owner and stayed for 895.0 s of service"
        );
        assert!(
            found[0].explanation.starts_with("It was planted at 5.000 s, and no process is known"),
            "{found:?}"
        );
        let late =
            Story::new().serves(214).at(880_000).locks(&["a.lock"]).at(900_000).locks(&["a.lock"]).ended();
        assert_eq!(complaints(&LockHasALiveOwner, late), [""; 0]);
    }

    #[test]
    fn a_power_loss_takes_locks_away_and_brings_removed_ones_back() {
        let dark =
            || tool_holds().at(2_000).dies(DeathCause::PowerLoss).gateway(214).dies(DeathCause::PowerLoss);
        let gone = dark().locks(&[]).at(3_000).serves(215).at(900_000).locks(&[]).ended();
        assert_eq!(complaints(&LockHasALiveOwner, gone), [""; 0]);
        let removed = Story::new().serves(214).at(1).disk(FsOp::CreateNew, LOCK).disk(FsOp::Remove, LOCK);
        let back = removed
            .at(2_000)
            .dies(DeathCause::PowerLoss)
            .locks(&["sessions.json.lock"])
            .at(3_000)
            .serves(215);
        let found = violations(back.at(900_000).locks(&["sessions.json.lock"]).ended());
        assert!(found[0].explanation.starts_with("It was found at 2.000 s"), "{found:?}");
    }
}
