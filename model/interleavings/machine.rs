//! The machine: one turn that threads hand to each other, one time, one disk, one process table.
//!
//! Exactly one thread runs at any time. Before every file operation it gives the turn back, and the schedule says
//! whose it is; so any two operations of different processes can happen in either order, and nothing depends on
//! real time. Time moves by a fixed step per operation, and jumps when everybody sleeps.
//! Knows nothing of tokio and of what processes do.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::disk::{Disk, File, FileId, LifeId, Stamp};
use super::promises::{LOCK, Promises, short};
use super::schedule::{Disturbance, Schedule, seconds};
use crate::env::{FsOp, Liveness, Pid, StartTime, WallTime};

/// What an operation takes.
const STEP: Duration = Duration::from_micros(100);
/// Who stands still for longer than this is not waited for by the last process.
const LONG: Duration = Duration::from_secs(300);
/// More steps than any honest run needs.
const MOST_STEPS: u32 = 20_000;
const BOOT_MS: i64 = 1_772_000_000_000;

pub(super) struct Machine {
    world: Mutex<World>,
    /// One for each place: "it is your turn".
    bells: Vec<Condvar>,
}

/// A process's claim to be alive. A dead one's calls do nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Claim {
    pub(super) place: usize,
    pub(super) life: LifeId,
    pub(super) pid: Pid,
    pub(super) start: StartTime,
    /// When it started.
    pub(super) born: Duration,
}

/// The process is dead: what unwinds its thread.
pub(super) struct Died;

/// How much of a write arrives.
#[derive(Clone, Copy)]
enum Extent {
    Whole,
    Part(u8),
}

#[derive(Default)]
struct Place {
    alive: Option<Claim>,
    /// It does not run before.
    ready_at: Duration,
    done: bool,
}

pub(super) struct World {
    pub(super) disk: Disk,
    pub(super) promises: Promises,
    pub(super) now: Duration,
    pub(super) steps: u32,
    /// The last place waits until nobody else is about to do anything.
    closing: bool,
    wall_ms: i64,
    places: Vec<Place>,
    running: usize,
    switches: std::vec::IntoIter<(u8, u8)>,
    next_switch: Option<(u8, u8)>,
    disturbances: BTreeMap<u32, Disturbance>,
    lives: LifeId,
    starts: u64,
    random: u64,
    log: Vec<String>,
}

impl Machine {
    /// A machine with a place more than `schedule` has, whose process comes when the others are done.
    pub(super) fn new(schedule: &Schedule) -> Self {
        let places = schedule.places.len() + 1;
        let mut switches = schedule.switches.clone().into_iter();
        let disturbances = schedule.disturbances.iter().map(|(step, what)| (u32::from(*step), *what));
        let world = World {
            disk: Disk::default(),
            promises: Promises::default(),
            now: Duration::ZERO,
            steps: 0,
            closing: false,
            wall_ms: BOOT_MS,
            places: (0..places).map(|_| Place::default()).collect(),
            running: 0,
            next_switch: switches.next(),
            switches,
            disturbances: disturbances.collect(),
            lives: 0,
            starts: 0,
            random: 0,
            log: Vec::new(),
        };
        Self { world: Mutex::new(world), bells: (0..places).map(|_| Condvar::new()).collect() }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The promises that were broken, and what happened.
    pub(super) fn outcome(&self) -> (Vec<String>, Vec<String>) {
        let mut world = self.world();
        (world.promises.broken().to_vec(), std::mem::take(&mut world.log))
    }

    /// Gives the turn to whom the schedule names, and waits until it comes back.
    fn take_turn<'a>(&'a self, place: usize, mut world: MutexGuard<'a, World>) -> MutexGuard<'a, World> {
        world.hand_on();
        if world.running != place {
            self.bells[world.running].notify_one();
        }
        self.wait_for_turn(place, world)
    }

    fn wait_for_turn<'a>(&'a self, place: usize, mut world: MutexGuard<'a, World>) -> MutexGuard<'a, World> {
        while world.running != place {
            world = self.bells[place].wait(world).unwrap_or_else(PoisonError::into_inner);
        }
        world
    }

    /// Waits for the first turn of the place.
    pub(super) fn enter(&self, place: usize) {
        drop(self.wait_for_turn(place, self.world()));
    }

    /// Nothing happens in this place any more.
    pub(super) fn leave(&self, place: usize) {
        let mut world = self.world();
        world.places[place].done = true;
        world.hand_on();
        if let Some(bell) = self.bells.get(world.running) {
            bell.notify_one();
        }
    }

    /// A process starts, with the pid it would like or the next that is free.
    pub(super) fn begin(&self, place: usize, wanted_pid: u32) -> Claim {
        let mut world = self.world();
        let taken = |pid| world.alive().any(|claim| claim.pid == Pid(pid));
        let pid = (wanted_pid..).find(|pid| !taken(*pid)).expect("few processes live");
        world.lives += 1;
        world.starts += 1;
        let (life, start) = (world.lives, StartTime(world.starts));
        let claim = Claim { place, life, pid: Pid(pid), start, born: world.now };
        world.places[place].alive = Some(claim);
        world.note(&claim, format_args!("starts"));
        claim
    }

    /// The process ends by itself, unless it is dead already.
    pub(super) fn end(&self, claim: &Claim) {
        let mut world = self.world();
        if world.lives_still(claim) {
            world.note(claim, format_args!("ends"));
            world.kill(claim.place);
        }
    }

    /// The process does not run before `until`.
    pub(super) fn sleep(&self, claim: &Claim, until: Duration) {
        let mut world = self.world();
        if world.lives_still(claim) {
            world.places[claim.place].ready_at = until;
            drop(self.take_turn(claim.place, world));
        }
    }

    /// One operation of a process, when its turn has come and unless something goes wrong with it.
    fn step<T>(
        &self,
        claim: &Claim,
        op: FsOp,
        path: &Path,
        effect: impl FnOnce(&mut World, Extent) -> io::Result<T>,
    ) -> io::Result<T> {
        let world = self.world();
        if !world.lives_still(claim) {
            return Err(io::Error::other("this process is dead"));
        }
        let mut world = self.take_turn(claim.place, world);
        let mut disturbance = world.begin_step(claim, op, path);
        if let Some(Disturbance::Freeze(length)) = disturbance {
            let until = world.now + seconds(length);
            world.places[claim.place].ready_at = until;
            world = self.take_turn(claim.place, world);
            disturbance = None;
        }
        if !world.lives_still(claim) {
            return die(world);
        }
        let result = match disturbance {
            Some(Disturbance::CrashBefore | Disturbance::PowerLoss(_)) => {
                Err(io::ErrorKind::Interrupted.into())
            }
            Some(Disturbance::CrashAmid(part)) if op.writes() => effect(&mut world, Extent::Part(part)),
            Some(Disturbance::CrashAmid(_)) => Err(io::ErrorKind::Interrupted.into()),
            Some(Disturbance::Refused(why, part)) => {
                if op.writes() {
                    let _ = effect(&mut world, Extent::Part(part));
                }
                Err(why.into())
            }
            _ => effect(&mut world, Extent::Whole),
        };
        world.end_step(claim, op, path, disturbance, &result);
        if world.lives_still(claim) { result } else { die(world) }
    }
}

/// Unwinds the thread of a process that is dead.
fn die<T>(world: MutexGuard<'_, World>) -> io::Result<T> {
    drop(world);
    if std::thread::panicking() {
        return Err(io::Error::other("this process is dead"));
    }
    std::panic::resume_unwind(Box::new(Died))
}

impl FsOp {
    fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Append)
    }
}

/// The operations of the disk, as steps.
impl Machine {
    pub(super) fn read(&self, claim: &Claim, path: &Path) -> io::Result<Vec<u8>> {
        let read = self.step(claim, FsOp::Read, path, |world, _| world.disk.read(path));
        let mut world = self.world();
        let (step, stamp) = (world.steps, world.stamp(claim));
        world.promises.saw(stamp, path, read.as_deref().ok(), step);
        read
    }

    /// As the operating system does it: the file is emptied first, and then written.
    pub(super) fn write(&self, claim: &Claim, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.world().disk.find(path).is_none_or(|file| !file.bytes.is_empty()) {
            self.put(claim, FsOp::Truncate, path, |_| 0, &[])?;
        }
        self.put(claim, FsOp::Write, path, |_| 0, bytes)
    }

    pub(super) fn append(&self, claim: &Claim, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.put(claim, FsOp::Append, path, |len| len, bytes)
    }

    pub(super) fn truncate(&self, claim: &Claim, path: &Path, len: usize) -> io::Result<()> {
        self.put(claim, FsOp::Truncate, path, |now| len.min(now), &[])
    }

    fn put(
        &self,
        claim: &Claim,
        op: FsOp,
        path: &Path,
        keep: impl FnOnce(usize) -> usize,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.step(claim, op, path, |world, extent| {
            let part = match extent {
                Extent::Whole => bytes.len(),
                Extent::Part(part) => bytes.len() * usize::from(part) / 256,
            };
            let keep = keep(world.disk.find(path).map_or(0, |file| file.bytes.len()));
            world.change(claim, path, |disk, stamp| disk.write(path, keep, &bytes[..part], stamp))
        })
    }

    pub(super) fn create(&self, claim: &Claim, path: &Path) -> io::Result<()> {
        self.step(claim, FsOp::CreateNew, path, |world, _| {
            let stamp = world.stamp(claim);
            world.disk.create(path, stamp).map(drop)
        })
    }

    /// Creates a file with its content at once, as by linking a prepared one.
    pub(super) fn create_with(&self, claim: &Claim, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(claim, FsOp::CreateNew, path, |world, _| {
            let stamp = world.stamp(claim);
            world.disk.create(path, stamp)?;
            world.disk.write(path, 0, bytes, stamp)
        })
    }

    pub(super) fn rename(&self, claim: &Claim, from: &Path, to: &Path) -> io::Result<()> {
        self.step(claim, FsOp::Rename, to, |world, _| {
            let stamp = world.stamp(claim);
            world.will_change(stamp, from);
            world.change(claim, to, |disk, _| disk.rename(from, to))?;
            world.promises.changed(Some(claim.life), from, &world.disk, world.steps);
            Ok(())
        })
    }

    pub(super) fn remove(&self, claim: &Claim, path: &Path) -> io::Result<()> {
        self.step(claim, FsOp::Remove, path, |world, _| {
            world.change(claim, path, |disk, _| disk.remove(path))
        })
    }

    pub(super) fn sync_file(&self, claim: &Claim, path: &Path) -> io::Result<()> {
        self.step(claim, FsOp::SyncFile, path, |world, _| world.disk.sync_file(path))
    }

    pub(super) fn sync_dir(&self, claim: &Claim, path: &Path) -> io::Result<()> {
        self.step(claim, FsOp::SyncDir, path, |world, _| {
            world.disk.sync_dir();
            Ok(())
        })
    }

    pub(super) fn stat(&self, claim: &Claim, path: &Path) -> io::Result<crate::env::FileStat> {
        self.step(claim, FsOp::Stat, path, |world, _| world.disk.stat(path))
    }

    pub(super) fn list(&self, claim: &Claim, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.step(claim, FsOp::List, path, |world, _| Ok(world.disk.list(path)))
    }

    pub(super) fn lock(&self, claim: &Claim, path: &Path) -> io::Result<FileId> {
        self.step(claim, FsOp::Lock, path, |world, _| {
            let stamp = world.stamp(claim);
            world.disk.lock(path, stamp)
        })
    }

    /// Frees a kernel lock. Others may go first, or the process die before: that is a step too.
    pub(super) fn unlock(&self, claim: &Claim, file: FileId) {
        if std::thread::panicking() {
            return;
        }
        // A refusal is not possible here, and a dead process's locks are free.
        let _ = self.step(claim, FsOp::Lock, Path::new("unlock"), |world, _| {
            world.disk.unlock(file);
            Ok(())
        });
        let mut world = self.world();
        if world.lives_still(claim) {
            world.disk.unlock(file);
        }
    }
}

impl World {
    pub(super) fn wall(&self) -> WallTime {
        let ms = self.wall_ms + i64::try_from(self.now.as_millis()).expect("runs are short");
        WallTime::from_epoch_ms(u64::try_from(ms).expect("clock jumps are short"))
    }

    pub(super) fn random(&mut self) -> u64 {
        self.random += 1;
        // splitmix64: enough for jitter and identifiers.
        let mut mixed = self.random.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn liveness(&self, pid: Pid, start: Option<StartTime>) -> Liveness {
        match (self.alive().find(|claim| claim.pid == pid), start) {
            (None, _) => Liveness::Dead,
            (Some(_), None) => Liveness::Unknown,
            (Some(claim), Some(start)) if claim.start == start => Liveness::Alive,
            (Some(_), Some(_)) => Liveness::Dead,
        }
    }

    fn alive(&self) -> impl Iterator<Item = &Claim> {
        self.places.iter().filter_map(|place| place.alive.as_ref())
    }

    pub(super) fn lives_still(&self, claim: &Claim) -> bool {
        self.places[claim.place].alive.as_ref() == Some(claim)
    }

    fn lives(&self, life: LifeId) -> bool {
        self.alive().any(|claim| claim.life == life)
    }

    fn stamp(&self, claim: &Claim) -> Stamp {
        Stamp { by: claim.life, at: self.now, wall: self.wall() }
    }

    fn will_change(&mut self, stamp: Stamp, path: &Path) {
        let places = &self.places;
        let lives = |life| places.iter().any(|place| place.alive.is_some_and(|claim| claim.life == life));
        self.promises.will_change(stamp, path, &self.disk, lives);
    }

    /// Does something to a name or a content, and judges it.
    fn change(
        &mut self,
        claim: &Claim,
        path: &Path,
        change: impl FnOnce(&mut Disk, Stamp) -> io::Result<()>,
    ) -> io::Result<()> {
        let stamp = self.stamp(claim);
        self.will_change(stamp, path);
        change(&mut self.disk, stamp)?;
        self.promises.changed(Some(claim.life), path, &self.disk, self.steps);
        Ok(())
    }

    /// If somebody who stands still has a lock that nobody may break, all who stand still go on.
    pub(super) fn thaw_who_bars_the_way(&mut self, claim: &Claim) -> bool {
        let old_programs = |lock: &File| self.promises.is_old_programs(lock) && self.lives(lock.written.by);
        let lock = self.disk.find(Path::new(LOCK));
        let bars = self.disk.is_locked_by_others(claim.life) || lock.is_some_and(old_programs);
        if bars {
            let now = self.now;
            let others = self.places.iter_mut().filter(|place| place.alive.as_ref() != Some(claim));
            others.for_each(|place| place.ready_at = place.ready_at.min(now));
        }
        bars
    }

    fn kill(&mut self, place: usize) {
        if let Some(claim) = self.places[place].alive.take() {
            self.disk.end_life(claim.life);
        }
        self.places[place].ready_at = Duration::ZERO;
    }

    /// Decides whose turn it is: whom the schedule names, else whoever runs while it can, else the first to wake.
    fn hand_on(&mut self) {
        let last = self.places.len() - 1;
        let soon = self.now + LONG;
        let about = |place: &Place| !place.done && place.ready_at < soon;
        let waits = |index: usize| index == last && !self.closing;
        let candidates: Vec<_> =
            (0..=last).filter(|&index| about(&self.places[index]) && !waits(index)).collect();
        if candidates.is_empty() {
            let closes = !self.closing;
            self.closing = true;
            let frozen = (0..last).filter(|&index| !self.places[index].done);
            let next =
                if closes { Some(last) } else { frozen.min_by_key(|&index| self.places[index].ready_at) };
            // Who sleeps for long in the last place would be a defect of this machine.
            self.running = next.unwrap_or(if self.places[last].done { usize::MAX } else { last });
        } else if let Some(next) = self.switch(&candidates) {
            self.running = next;
        } else {
            let ready_at = |&index: &usize| self.places[index].ready_at.max(self.now);
            let first =
                candidates.iter().copied().min_by_key(|index| (ready_at(index), *index != self.running));
            self.running = first.unwrap_or(last);
        }
        if let Some(place) = self.places.get(self.running) {
            self.now = self.now.max(place.ready_at);
        }
    }

    /// Whom the schedule names now, if it says anything.
    fn switch(&mut self, candidates: &[usize]) -> Option<usize> {
        let (after, whom) = self.next_switch.as_mut()?;
        if *after > 0 {
            *after -= 1;
            return None;
        }
        let others: Vec<_> = candidates.iter().copied().filter(|&index| index != self.running).collect();
        let whom = usize::from(*whom);
        self.next_switch = self.switches.next();
        (!others.is_empty()).then(|| others[whom % others.len()])
    }

    /// Counts the step, lets everybody die who must die now, and says what goes wrong with the step itself.
    fn begin_step(&mut self, claim: &Claim, op: FsOp, path: &Path) -> Option<Disturbance> {
        self.steps += 1;
        self.now += STEP;
        if self.steps >= MOST_STEPS {
            self.promises.breach(format!("still busy after {MOST_STEPS} steps"));
            (0..self.places.len()).for_each(|place| self.kill(place));
            return None;
        }
        if claim.place == self.places.len() - 1 {
            return None;
        }
        let disturbance = self.disturbances.remove(&self.steps)?;
        self.note(claim, format_args!("at {op} {}: {disturbance:?}", short(path).display()));
        match disturbance {
            Disturbance::ClockJump(minutes) => self.wall_ms += i64::from(minutes) * 60_000,
            Disturbance::PowerLoss(luck) => {
                (0..self.places.len()).for_each(|place| self.kill(place));
                self.disk.lose_power(luck);
                self.starts = 0;
                self.promises.lost_power(&self.disk);
            }
            _ => {}
        }
        Some(disturbance)
    }

    fn end_step<T>(
        &mut self,
        claim: &Claim,
        op: FsOp,
        path: &Path,
        disturbance: Option<Disturbance>,
        result: &io::Result<T>,
    ) {
        let outcome = result.as_ref().err().map_or(String::new(), |error| format!(": {error}"));
        self.note(claim, format_args!("{op} {}{outcome}", short(path).display()));
        if disturbance.is_some_and(Disturbance::kills) {
            self.kill(claim.place);
        }
    }

    pub(super) fn note(&mut self, claim: &Claim, what: std::fmt::Arguments<'_>) {
        let breach = if self.promises.broken().is_empty() { " " } else { "!" };
        let (step, seconds) = (self.steps, self.now.as_secs_f64());
        let who = format!("place {} pid {} life {}", claim.place, claim.pid, claim.life);
        self.log.push(format!("{breach}{step:4} {seconds:9.4} s  {who}  {what}"));
    }
}
