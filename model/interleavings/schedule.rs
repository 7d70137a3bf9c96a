//! What is decided before anything runs: who lives, who goes next when, and what goes wrong at which step.
//!
//! A step is one file operation of one process. Without switches a process runs until it sleeps or ends; a schedule
//! that shrinks therefore ends with the few switches and disturbances that matter.

use std::fmt;
use std::io;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

/// Everything that a run depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    /// The processes that exist side by side; in each place one life follows the other.
    pub(super) places: Vec<Vec<Life>>,
    /// After so many steps, the so-manieth of the others goes on.
    pub(super) switches: Vec<(u8, u8)>,
    /// What goes wrong at which step of the machine, counting from 1.
    pub(super) disturbances: Vec<(u16, Disturbance)>,
}

/// One process, from its start to its end.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// The pid it would like: small numbers, so that they are used again.
    pub(super) pid: u32,
    pub(super) tasks: Vec<Task>,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Task {
    /// Adds a note of its own to a session.
    Note,
    /// Two notes at once, by two tasks of the process.
    TwoNotes,
    /// Adds a note, unless that takes longer than so many milliseconds.
    NoteWithin(u16),
    /// Creates one of a few sessions, or notes that it is in use.
    Touch(u8),
    /// Does nothing for so many milliseconds.
    Pause(u16),
    /// As programs of OpenClaw's era A: creates the lock, holds it for so many milliseconds without a word, and
    /// removes whatever lock is there.
    HoldAsOldPrograms(u16),
}

/// What goes wrong, for the process whose step it is unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Disturbance {
    /// It dies, and the operation has no effect.
    CrashBefore,
    /// It dies when the operation is done.
    CrashAfter,
    /// It dies in the middle: so many 255ths of the bytes are written.
    CrashAmid(u8),
    /// The operation fails; so many 255ths of the bytes are written all the same.
    Refused(Refusal, u8),
    /// It does not run for so many seconds.
    Freeze(u16),
    /// The wall clock jumps by so many minutes.
    ClockJump(i16),
    /// All processes die, and what was not synced is lost in part.
    PowerLoss(u8),
}

/// Why a disk refuses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Refusal {
    /// EAGAIN
    Again,
    /// EIO
    Broken,
    /// ENOSPC
    Full,
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::from_raw_os_error(match refusal {
            Refusal::Again => 11,
            Refusal::Broken => 5,
            Refusal::Full => 28,
        })
    }
}

impl Disturbance {
    pub(super) fn kills(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter | Self::CrashAmid(_) | Self::PowerLoss(_))
    }
}

/// The errors that a disk may give without a reason.
pub(super) const REFUSALS: [Refusal; 3] = [Refusal::Again, Refusal::Broken, Refusal::Full];

pub(super) fn schedule() -> impl Strategy<Value = Schedule> {
    let switches = vec((0..14_u8, 0..3_u8), 0..12);
    let disturbances = vec((1..120_u16, disturbance()), 0..5);
    let places = vec(vec(life(), 1..=3), 2..=3);
    (places, switches, disturbances).prop_map(|(places, switches, disturbances)| Schedule {
        places,
        switches,
        disturbances,
    })
}

fn life() -> impl Strategy<Value = Life> {
    (7..10_u32, vec(task(), 1..=3)).prop_map(|(pid, tasks)| Life { pid, tasks })
}

fn task() -> impl Strategy<Value = Task> {
    prop_oneof![
        8 => Just(Task::Note),
        2 => Just(Task::TwoNotes),
        2 => (1..2_000_u16).prop_map(Task::NoteWithin),
        3 => (0..2_u8).prop_map(Task::Touch),
        2 => (1..3_000_u16).prop_map(Task::Pause),
        2 => (1..25_000_u16).prop_map(Task::HoldAsOldPrograms),
    ]
}

fn disturbance() -> impl Strategy<Value = Disturbance> {
    let seconds = prop_oneof![Just(1_u16), Just(6), Just(12), Just(31), Just(70), Just(3_600)];
    let minutes = prop_oneof![Just(60_i16), Just(-60), Just(1_440), Just(-1_440)];
    prop_oneof![
        2 => Just(Disturbance::CrashBefore),
        3 => Just(Disturbance::CrashAfter),
        2 => any::<u8>().prop_map(Disturbance::CrashAmid),
        3 => (0..REFUSALS.len(), any::<u8>()).prop_map(|(kind, part)| Disturbance::Refused(REFUSALS[kind], part)),
        5 => seconds.prop_map(Disturbance::Freeze),
        2 => minutes.prop_map(Disturbance::ClockJump),
        1 => any::<u8>().prop_map(Disturbance::PowerLoss),
    ]
}

/// How long a frozen process stands still.
pub(super) const fn seconds(seconds: u16) -> Duration {
    Duration::from_secs(seconds as u64)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, lives) in self.places.iter().enumerate() {
            writeln!(f, "    place {place}: {lives:?}")?;
        }
        writeln!(f, "    switches: {:?}", self.switches)?;
        writeln!(f, "    disturbances: {:?}", self.disturbances)
    }
}
