//! The trace of a run: every poll of a task, draw, packet and event, in order. Far finer than the timeline, so it is only
//! kept when somebody asks for it; else each of these costs a look at one flag.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway::env::{FsOp, Pid};
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3Default;

use crate::timeline::Event;

/// A trace is kept up to so many steps: some hundred megabytes. What differs later is not found.
const MOST_STEPS: usize = 4_000_000;

thread_local! {
    static IS_ON: Cell<bool> = const { Cell::new(false) };
    static RUNNING: RefCell<Running> = const { RefCell::new(Running { trace: Trace { steps: Vec::new() }, task: None }) };
}

/// What is written at present on this thread.
struct Running {
    trace: Trace,
    task: Option<TaskName>,
}

/// A task of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskName {
    /// Its process.
    pub pid: Pid,
    /// What it was called when it was spawned.
    pub name: &'static str,
    /// How many its process had spawned before it.
    pub number: u64,
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task `{}` (number {} of process {})", self.name, self.number, self.pid)
    }
}

/// One thing that a world did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A task was polled.
    Poll,
    /// A number was drawn.
    Draw {
        /// From the stream of this name.
        stream: Arc<str>,
        /// The number.
        value: u64,
    },
    /// A disk operation is about to be made.
    Disk {
        /// By a process of this program.
        program: String,
        /// Which.
        op: FsOp,
        /// On this file; of a rename, the new name.
        path: String,
    },
    /// A packet left.
    Packet {
        /// From here.
        from: SocketAddr,
        /// To there.
        to: SocketAddr,
        /// With so much in it. What is in it does not count: WebSocket masks are no part of what a seed decides.
        bytes: usize,
    },
    /// Something was written into the timeline.
    Event {
        /// Its hash.
        content: u64,
        /// What kind of thing.
        name: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poll => f.write_str("is polled"),
            Self::Draw { stream, value } => write!(f, "draws {value:#x} from `{stream}`"),
            Self::Disk { op, path, .. } => write!(f, "does {op} on {path}"),
            Self::Packet { from, to, bytes } => {
                write!(f, "sends a packet of {bytes} bytes from {from} to {to}")
            }
            Self::Event { name, .. } => write!(f, "brings about the event `{name}`"),
        }
    }
}

/// A step, when and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedStep {
    /// Virtual time on the clock of the runtime.
    pub at: Duration,
    /// The task that was being polled; `None` for what the world does itself, such as its wires and its script.
    pub by: Option<TaskName>,
    /// What.
    pub step: Step,
}

/// Everything that a world did, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The steps.
    pub steps: Vec<TracedStep>,
}

/// Does `body`, and writes down every step of the world in it.
pub fn recording<R>(body: impl FnOnce() -> R) -> (R, Trace) {
    IS_ON.set(true);
    let result = body();
    IS_ON.set(false);
    (result, RUNNING.with_borrow_mut(|running| std::mem::take(&mut running.trace)))
}

/// Notes a step, if there is anybody who wants to know: only then is `step` asked for it.
#[inline]
pub fn note(step: impl FnOnce() -> Step) {
    if IS_ON.get() {
        add(step());
    }
}

/// Does `body` as the poll of `task`.
#[inline]
pub fn polling<R>(task: impl FnOnce() -> TaskName, body: impl FnOnce() -> R) -> R {
    if !IS_ON.get() {
        return body();
    }
    let before = RUNNING.with_borrow_mut(|running| running.task.replace(task()));
    add(Step::Poll);
    let result = body();
    RUNNING.with_borrow_mut(|running| running.task = before);
    result
}

fn add(step: Step) {
    RUNNING.with_borrow_mut(|Running { trace, task }| {
        if trace.steps.len() < MOST_STEPS {
            trace.steps.push(TracedStep { at: clock(), by: *task, step });
        }
    });
}

/// Time since this thread first asked, on the runtime's clock.
fn clock() -> Duration {
    thread_local!(static FIRST: Instant = Instant::now());
    FIRST.with(|first| Instant::now() - *first)
}

impl Step {
    /// An event's step.
    pub fn event(event: &Event) -> Self {
        let mut hasher = Xxh3Default::new();
        event.hash(&mut hasher);
        Self::Event { content: hasher.finish(), name: event.fact.name().to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(value: u64) -> Step {
        Step::Draw { stream: "x".into(), value }
    }

    #[tokio::test(start_paused = true)]
    async fn steps_are_kept_while_somebody_wants_them_with_their_task() {
        let task = TaskName { pid: Pid(7), name: "lane", number: 3 };
        note(|| unreachable!("nobody asked"));
        let (result, trace) = recording(|| {
            note(|| draw(1));
            polling(
                || task,
                || {
                    note(|| draw(2));
                    5
                },
            )
        });
        note(|| unreachable!("nobody asks any more"));
        assert_eq!(result, 5);
        let steps: Vec<_> = trace.steps.iter().map(|step| (step.by, step.step.clone())).collect();
        assert_eq!(steps, [(None, draw(1)), (Some(task), Step::Poll), (Some(task), draw(2))]);
        assert_eq!(recording(|| ()).1, Trace::default());
    }
}
