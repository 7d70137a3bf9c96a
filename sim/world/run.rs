//! The scheduler: one thread, one paused clock, and the order in which a world is put up and taken down.
//!
//! Tokio's paused clock jumps to the next timer whenever the runtime has nothing to do and parks its thread. All tasks
//! run in the hook just before that: a task that a timer wakes is no news to the runtime, which would otherwise look
//! around once more before it lets the clock go on. When they are idle the wires collect what was written. Nothing
//! here knows what a world contains.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use super::network::{Network, Pump};
use super::settings::WorldSettings;
use super::{World, current, log};
use crate::instant;

thread_local! {
    /// The world that runs on this thread, for the runtime's park hook, which cannot own it.
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Runs `body` in a world of its own.
pub(super) fn run<R>(settings: WorldSettings, body: impl AsyncFnOnce(World) -> R) -> R {
    current::capture_panics();
    let _log = log::record_on_this_thread();
    let runtime = paused_runtime();
    let outcome = {
        let _inside = runtime.enter();
        let tasks = LocalSet::new();
        let _entered = tasks.enter();
        let world = World::new(settings);
        tokio::task::spawn_local(Pump::new(world.network().clone()));
        RUNNING.set(Some(Running::new(tasks, world.network().clone())));
        let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(body(world.clone()))));
        // Processes first, in order, while their sockets still have kernels to close in; then the world's own
        // tasks; then the kernels, and then what machines and their supervisors know of each other.
        world.end();
        drop(RUNNING.take());
        world.network().close();
        world.dissolve();
        outcome
    };
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

fn paused_runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true).on_thread_park(|| {
        RUNNING.with_borrow_mut(|running| {
            if let Some(running) = running {
                instant::hold(|| running.work_until_idle());
            }
        });
    });
    builder.build().expect("a runtime without I/O needs nothing from the operating system")
}

/// The tasks and the wires of a world.
struct Running {
    tasks: LocalSet,
    stirred: Arc<Stirred>,
    waker: Waker,
    network: Rc<Network>,
}

/// Whether a task has something to do.
struct Stirred(AtomicBool);

impl Wake for Stirred {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Running {
    fn new(tasks: LocalSet, network: Rc<Network>) -> Self {
        // Those that are there already have never been looked at.
        let stirred = Arc::new(Stirred(AtomicBool::new(true)));
        Self { tasks, waker: Waker::from(stirred.clone()), stirred, network }
    }

    /// Runs tasks until none of them has anything to do at this instant and everything that was written has left.
    fn work_until_idle(&mut self) {
        loop {
            if self.stirred.0.swap(false, Ordering::Relaxed) {
                // It is never done: the pump is one of them.
                let _ = Pin::new(&mut self.tasks).poll(&mut Context::from_waker(&self.waker));
                continue;
            }
            self.network.flush_when_idle();
            if !self.stirred.0.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}
