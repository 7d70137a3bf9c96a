//! The doors: the only way the gateway sees the world.
//!
//! [`Env`] is a cheap-to-clone handle on five doors: the wall clock, the network, the filesystem, the process
//! and randomness. Behind them stands either the simulator or the operating system; nothing in this crate can
//! tell which. Sleeping, timeouts and the monotonic clock are `tokio::time` in both worlds.
//!
//! Everything here is single-threaded (`Rc`, local futures). Interfaces and plain types only: no behaviour
//! lives in this module beyond what every implementation would have to repeat.

use std::future::Future;
use std::rc::Rc;

use futures_util::FutureExt;

mod clock;
mod command;
mod fs;
mod net;
mod process;
mod random;
#[cfg(test)]
pub(crate) mod test_env;
pub mod watch;

pub use clock::{Clock, WallTime};
pub use command::{Command, CommandEnd, CommandOutput, KEPT_OUTPUT};
pub use fs::{FileStat, Fs, FsOp, KernelLock};
pub use net::{AbortHandle, Connection, ConnectionControl, Listener, Listening, Net, Stream};
pub use process::{
    Detached, EndSignal, ExitCode, Liveness, Pid, Process, ProcessEntry, ProcessId, ServiceOrder,
    ServiceState, Signal, SignalStream, StartTime, Task, TaskControl,
};
pub use random::Random;

/// A boxed future that stays on its thread.
pub type LocalBoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + 'a>>;

/// The gateway's handle on the world. Clone it freely; all clones are the same doors.
#[derive(Clone)]
pub struct Env {
    clock: Rc<dyn Clock>,
    net: Rc<dyn Net>,
    fs: Rc<dyn Fs>,
    process: Rc<dyn Process>,
    random: Rc<dyn Random>,
}

impl Env {
    /// Bundles five doors into one handle.
    pub fn new(
        clock: Rc<dyn Clock>,
        net: Rc<dyn Net>,
        fs: Rc<dyn Fs>,
        process: Rc<dyn Process>,
        random: Rc<dyn Random>,
    ) -> Self {
        Self { clock, net, fs, process, random }
    }

    /// The same doors but for the process's, which `wrap` makes of the present one.
    pub(crate) fn with_process(&self, wrap: impl FnOnce(Rc<dyn Process>) -> Rc<dyn Process>) -> Self {
        Self { process: wrap(self.process.clone()), ..self.clone() }
    }

    /// Wall-clock time. It may jump; measure durations with `tokio::time::Instant`.
    pub fn wall_clock(&self) -> WallTime {
        self.clock.wall()
    }

    /// The network.
    pub fn net(&self) -> &dyn Net {
        &*self.net
    }

    /// The filesystem.
    pub fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    /// This process and its neighbours.
    pub fn process(&self) -> &dyn Process {
        &*self.process
    }

    /// The next number of the random stream named `label`. One stream per concern: a draw in one place moves
    /// nothing elsewhere.
    pub fn random(&self, label: &'static str) -> u64 {
        self.random.next_u64(label)
    }

    /// A fresh identifier of 16 hexadecimal digits from the stream named `label`.
    pub fn random_id(&self, label: &'static str) -> String {
        format!("{:016x}", self.random(label))
    }

    /// Runs `task` as part of this process. It ends with the process, whatever way that dies. `name` says in
    /// diagnoses what the task is for.
    pub fn spawn<T: 'static>(&self, name: &'static str, task: impl Future<Output = T> + 'static) -> Task<T> {
        let (send, receive) = tokio::sync::oneshot::channel();
        let control = self.process.spawn(
            name,
            // An async block would keep the task twice, where it was captured and where it is awaited.
            Box::pin(task.map(move |outcome| {
                // A dropped receiver only means that nobody waits for the result.
                let _ = send.send(outcome);
            })),
        );
        Task::new(receive, control)
    }

    /// Ends this process now with `code`; nothing after the call runs.
    pub async fn exit(&self, code: ExitCode) -> ! {
        self.process.exit(code);
        // The process is gone; its tasks are never polled again.
        std::future::pending().await
    }
}
