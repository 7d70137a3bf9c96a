//! What steps can do to the disk, the locks and the clock of the gateway's machine, as plain values.
//!
//! The words are those of the file format; what they come to in the world is the business of the run. Operations
//! and errors go by the names that the doors and the disk give them.

use std::time::Duration;

use gateway::env::FsOp;
use rand_chacha::rand_core::Rng;

use super::{Choice, DurationRange};
pub use crate::actors::provider::Outage as ProviderOutage;
use crate::world::disk::Errno;

/// Calls of the filesystem that a step is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCalls {
    /// The operation; `None`: every one.
    pub operation: Option<FsOp>,
    /// A path pattern, see [`crate::world::disk::path_matches`].
    pub file: String,
    /// The first matching call that counts, from 1 on since the step was done.
    pub from_call: CountRange,
}

/// A whole number, or a range of them from which the seed draws. Both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountRange {
    /// The smallest.
    pub min: u32,
    /// The largest; never smaller than `min`.
    pub max: u32,
}

impl CountRange {
    /// Draws a number. A range of one number draws nothing from `rng`.
    pub fn draw(&self, rng: &mut impl Rng) -> u32 {
        let width = self.max.saturating_sub(self.min);
        if width == 0 {
            return self.min;
        }
        // Multiply and shift, as for durations.
        let offset = (u128::from(rng.next_u64()) * (u128::from(width) + 1)) >> 64;
        self.min + u32::try_from(offset).unwrap_or(0)
    }
}

/// A disk that fails for a while, or for a few calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskTrouble {
    /// Which calls fail.
    pub calls: DiskCalls,
    /// The error they fail with.
    pub error: Errno,
    /// How many fail; `None`: all until the end.
    pub count: Option<u32>,
    /// So many leading bytes still reach the file.
    pub torn: Option<usize>,
    /// For so long; `None`: until `count` calls have failed.
    pub lasting: Option<DurationRange>,
}

/// A death in the middle of the gateway's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The call at which it dies.
    pub calls: DiskCalls,
    /// Whether that call has its effect.
    pub moment: CrashMoment,
    /// So many bytes reach the file before the death, whatever `moment` says.
    pub torn: Option<usize>,
    /// How it dies.
    pub death: CrashDeath,
    /// After a power loss: off for so long.
    pub off_for: DurationRange,
}

/// What a step does to the model provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderTrouble {
    /// It is not there for a while.
    Down {
        /// How.
        how: ProviderOutage,
        /// For so long.
        lasting: DurationRange,
    },
    /// It takes longer to begin its answers.
    Slow {
        /// So much longer.
        by: Duration,
        /// For so long.
        lasting: DurationRange,
    },
}

impl ProviderTrouble {
    /// How long it lasts.
    pub const fn lasting(&self) -> &DurationRange {
        match self {
            Self::Down { lasting, .. } | Self::Slow { lasting, .. } => lasting,
        }
    }

    /// In a few words.
    pub fn label(&self) -> String {
        match self {
            Self::Down { how, .. } => format!("the model provider is down: {}", how.word()),
            Self::Slow { by, .. } => {
                format!("the model provider is {} slower", humantime::format_duration(*by))
            }
        }
    }
}

impl Choice for ProviderOutage {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("refuses", Self::Refuses, "it listens no more, and all its connections are reset"),
        ("fails", Self::Fails, "it answers every request with status 503 at once"),
        ("limits", Self::Limits, "it answers every request with status 429 at once: too many requests"),
        ("hangs", Self::Hangs, "it takes requests and never says a word to those that came meanwhile"),
        ("cuts-line", Self::CutsLine, "it begins its answers, and resets the line in the middle of each"),
    ];
}

/// Whether the operation at which a process dies has its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMoment {
    /// It has not.
    Before,
    /// It has.
    After,
}

impl Choice for CrashMoment {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("before", Self::Before, "the operation never happens"),
        ("after", Self::After, "the operation has its effect, and the gateway never learns of it"),
    ];
}

/// What a process dies of in the middle of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashDeath {
    /// SIGKILL.
    Kill,
    /// Its machine loses power.
    PowerLoss,
}

impl Choice for CrashDeath {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("kill", Self::Kill, "SIGKILL: memory is gone, files are not"),
        ("power-loss", Self::PowerLoss, "the machine loses power, and what was not synced may be lost"),
    ];
}

/// Where a clock jumps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the future.
    Forward,
    /// Into the past.
    Back,
}

impl Choice for Direction {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("forward", Self::Forward, "into the future"),
        ("back", Self::Back, "into the past: what was written later seems to come from the future"),
    ];
}

/// A lock file of the gateway's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockFile {
    /// By its path inside the state folder.
    At(String),
    /// That of a sender's transcript, whose name the gateway draws.
    OfTranscript(String),
}

/// Somebody who takes a lock and keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Squat {
    /// The lock.
    pub lock: LockFile,
    /// Kept for so long.
    pub lasting: DurationRange,
    /// How long the squatter tries to get it.
    pub patience: DurationRange,
}

/// A lock file that nobody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftLock {
    /// The lock.
    pub lock: LockFile,
    /// Whom it names.
    pub owner: LockOwner,
    /// How long ago it was written, by its own words and by the file's time.
    pub age: DurationRange,
}

/// Whom a lock file names that nobody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOwner {
    /// A process that is gone.
    Dead,
    /// A process whose id somebody else has by now.
    Reused,
    /// The same, in a file that does not say when its owner was started.
    ReusedUndated,
    /// The gateway that runs now, which does not hold it.
    Gateway,
    /// Nobody: the file is empty.
    Nobody,
    /// Nobody knows: the file cannot be read.
    Garbage,
}

impl Choice for LockOwner {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("dead", Self::Dead, "a process that is gone; nobody has its id"),
        ("reused", Self::Reused, "a process that is gone; another one has its id, with another start time"),
        (
            "reused-undated",
            Self::ReusedUndated,
            "the same, in a file that says nothing of its owner's start, as where a process cannot know",
        ),
        ("gateway", Self::Gateway, "the gateway that runs at that moment, which does not hold this lock"),
        ("nobody", Self::Nobody, "the file is empty: a crash between creating it and writing it"),
        ("garbage", Self::Garbage, "the file holds text that says nothing"),
    ];
}

/// A process of the gateway's machine that a step acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The gateway.
    Gateway,
    /// A gateway beside the service's.
    OtherGateway,
    /// Whoever squats a lock.
    Squatter,
    /// A command-line tool.
    Tool,
}

impl Choice for Target {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (
            "gateway",
            Self::Gateway,
            "the service's main process; without a supervisor, whoever holds the port",
        ),
        (
            "other-gateway",
            Self::OtherGateway,
            "the youngest gateway that is not the service's main process, such as one that was started by hand",
        ),
        ("squatter", Self::Squatter, "the youngest process that `squat-lock` or `squat-port` started"),
        ("tool", Self::Tool, "the youngest command-line tool"),
    ];
}

impl Choice for FsOp {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (Self::Append.name(), Self::Append, "adding to the end of a file"),
        (Self::Write.name(), Self::Write, "writing a file as a whole, in place"),
        (Self::CreateNew.name(), Self::CreateNew, "creating a file that must not exist: how locks are taken"),
        (Self::Rename.name(), Self::Rename, "giving a file another name"),
        (Self::Remove.name(), Self::Remove, "removing a file: how locks are given back"),
        (Self::SyncFile.name(), Self::SyncFile, "making a file's contents durable"),
        (Self::SyncDir.name(), Self::SyncDir, "making a folder's names durable"),
        (Self::Truncate.name(), Self::Truncate, "cutting a file"),
        (Self::Read.name(), Self::Read, "reading a file"),
        (Self::Stat.name(), Self::Stat, "asking for a file's size and time"),
        (Self::List.name(), Self::List, "listing a folder"),
        (Self::CreateDir.name(), Self::CreateDir, "creating a folder"),
        (Self::Lock.name(), Self::Lock, "taking the kernel's lock on a file"),
    ];
}

impl Choice for Errno {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (Self::Eio.name(), Self::Eio, "the device failed"),
        (
            Self::Enospc.name(),
            Self::Enospc,
            "the disk is full; without `operation`, what needs no room works",
        ),
        (
            Self::Erofs.name(),
            Self::Erofs,
            "the disk is read-only; without `operation`, what changes nothing works",
        ),
        (Self::Eacces.name(), Self::Eacces, "permission denied"),
        (Self::Eagain.name(), Self::Eagain, "not now; another attempt may work"),
        (Self::Ebusy.name(), Self::Ebusy, "somebody else is at it"),
        (Self::Efbig.name(), Self::Efbig, "the file would be too large"),
        (Self::Enoent.name(), Self::Enoent, "there is no such file"),
    ];
}
