//! The scheduler: one thread, one paused clock, and the order in which a world is put up and taken down.
//!
//! Tokio's paused clock jumps to the next timer whenever every task is idle, so idle time is free. Just before
//! that the wires collect what was written. Nothing here knows what a world contains.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use super::network::{Pump, on_thread_park};
use super::settings::WorldSettings;
use super::{World, current, log};

/// Runs `body` in a world of its own.
pub(super) fn run<R>(settings: WorldSettings, body: impl AsyncFnOnce(World) -> R) -> R {
    current::capture_panics();
    let _log = log::record_on_this_thread();
    let runtime = paused_runtime();
    let outcome = {
        let _inside = runtime.enter();
        let tasks = LocalSet::new();
        let world = World::new(settings);
        let pump = Pump::new(world.network().clone());
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(tasks.run_until(async {
                tokio::task::spawn_local(pump);
                body(world.clone()).await
            }))
        }));
        // Processes first, in order, while their sockets still have kernels to close in; then the world's own
        // tasks; then the kernels, and then what machines and their supervisors know of each other.
        world.end();
        drop(tasks);
        world.network().close();
        world.dissolve();
        outcome
    };
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

fn paused_runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true).on_thread_park(on_thread_park);
    builder.build().expect("a runtime without I/O needs nothing from the operating system")
}
