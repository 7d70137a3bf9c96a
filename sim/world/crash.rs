//! Crashes at a point of a program's work: before, in the middle of, or right after a disk operation.
//!
//! An anchored kill comes when a process has done all it does at one go; a crash point lies inside that, where
//! one system call has returned and the next was never made. The doors ask here before each operation.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use gateway::env::FsOp;
use gateway::env::watch;

use super::disk::path_matches;

/// Where in its work a process dies, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    /// Only operations of processes of this program count.
    pub program: String,
    /// The operation; `None` means every one.
    pub op: Option<FsOp>,
    /// A path pattern, see [`path_matches`]. A rename matches by either path.
    pub path: String,
    /// The matching call that is the point, counted from 1 since the point was set.
    pub from_call: u32,
    /// How far that call comes.
    pub moment: CrashMoment,
    /// What strikes.
    pub death: CrashDeath,
}

/// How far the operation comes at which a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMoment {
    /// It has no effect.
    Before,
    /// Of what is written, so many leading bytes reach the file. Other operations happen as a whole.
    Torn(usize),
    /// It has its whole effect, and the process never learns of it.
    After,
}

/// What strikes at a crash point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashDeath {
    /// SIGKILL, to this process alone.
    Killed,
    /// The machine loses power.
    PowerLoss,
}

impl fmt::Display for CrashMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before => f.write_str("just before"),
            Self::Torn(bytes) => write!(f, "{bytes} bytes into"),
            Self::After => f.write_str("right after"),
        }
    }
}

impl fmt::Display for CrashDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Killed => "SIGKILL",
            Self::PowerLoss => "power loss",
        })
    }
}

/// The crash points of a machine.
#[derive(Default)]
pub(super) struct CrashPoints(Rc<RefCell<Vec<Armed>>>);

struct Armed {
    id: u64,
    point: CrashPoint,
    matched: u32,
    struck: watch::Sender<bool>,
}

/// Keeps a crash point set; it is taken back when this is dropped.
#[must_use = "the crash point is taken back when its guard is dropped"]
pub struct CrashGuard {
    points: Rc<RefCell<Vec<Armed>>>,
    id: u64,
    struck: watch::Receiver<bool>,
}

impl CrashPoints {
    pub(super) fn set(&self, point: CrashPoint) -> CrashGuard {
        let (struck, seen) = watch::channel(false);
        let mut points = self.0.borrow_mut();
        // Ids only need to differ among the points that are set.
        let id = points.last().map_or(0, |last| last.id + 1);
        points.push(Armed { id, point, matched: 0, struck });
        CrashGuard { points: self.0.clone(), id, struck: seen }
    }

    /// Whether a process of `program` dies at this operation, and how. A point strikes once.
    pub(super) fn meet(&self, program: &str, op: FsOp, paths: &[&Path]) -> Option<(CrashMoment, CrashDeath)> {
        let mut points = self.0.borrow_mut();
        let mut due = None;
        for (index, Armed { point, matched, .. }) in points.iter_mut().enumerate() {
            if point.program == program && point.matches(op, paths) {
                *matched = matched.saturating_add(1);
                if *matched >= point.from_call && due.is_none() {
                    due = Some(index);
                }
            }
        }
        let Armed { point, struck, .. } = points.remove(due?);
        struck.send_replace(true);
        Some((point.moment, point.death))
    }
}

impl CrashPoint {
    fn matches(&self, op: FsOp, paths: &[&Path]) -> bool {
        self.op.is_none_or(|wanted| wanted == op)
            && paths.iter().any(|path| path_matches(&self.path, &path.to_string_lossy()))
    }
}

impl CrashGuard {
    /// Turns `true` when the point strikes, and closes when it is taken back before.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.struck.clone()
    }
}

impl Drop for CrashGuard {
    fn drop(&mut self) {
        self.points.borrow_mut().retain(|armed| armed.id != self.id);
    }
}
