//! The process: who we are, who else lives, signals, tasks and the end.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{Command, CommandOutput, LocalBoxFuture};

/// The door to this process and its neighbours on the machine.
pub trait Process {
    /// This process's id. Ids are reused; together with [`Process::start_time`] they are unique.
    fn pid(&self) -> Pid;
    /// When this process started, in a unit of the machine's own; `None` where it cannot be read.
    fn start_time(&self) -> Option<StartTime>;
    /// Whether a process with this id lives, and whether it is the one that started at `start`.
    fn liveness(&self, pid: Pid, start: Option<StartTime>) -> Liveness;
    /// What the process table says of a process; `None` when there is none with this id, or the table cannot be read
    /// here.
    fn look_up(&self, pid: Pid) -> Option<ProcessEntry>;
    /// Sends a process a signal that ends it, if it is still the one that was meant: never another one that got its
    /// id meanwhile.
    ///
    /// Errors: `NotFound` when it is gone, `PermissionDenied` when it is not ours to end, `Unsupported` where the
    /// two cannot be told apart.
    fn end_process(&self, process: ProcessId, signal: EndSignal) -> io::Result<()>;
    /// Sends a process a signal that it is known to handle, if it is still the one that was meant.
    ///
    /// Errors: as of [`Process::end_process`]; `Unsupported` also where there are no such signals.
    fn signal_process(&self, process: ProcessId, signal: Signal) -> io::Result<()> {
        let _ = (process, signal);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Installs handlers for `signals` and delivers them from now on. Until then, and for every other signal,
    /// the default action applies (for all of [`Signal`]: the process dies).
    fn handle_signals(&self, signals: &[Signal]) -> SignalStream;
    /// The value of an environment variable; `None` when there is none, or it is no text.
    fn env_var(&self, name: &str) -> Option<String>;
    /// Asks the service manager that started this process to restart its service. Resolves when the manager has
    /// taken the order, which may be never; this process is stopped like any other of the service.
    ///
    /// Errors: `Unsupported` when there is no manager that can be asked; others when it refuses.
    fn ask_service_manager_to_restart(&self) -> LocalBoxFuture<'_, io::Result<()>>;
    /// Starts another process that outlives this one.
    ///
    /// Errors: `Unsupported` where there is no such thing; others when the machine refuses.
    fn spawn_detached(&self, what: Detached) -> io::Result<Pid>;
    /// Gives the manager of the service that this program is of an order, also from a process beside it. Returns when
    /// the manager has taken the order, which says nothing about what comes of it.
    ///
    /// Errors: `Unsupported` when there is no manager that can be asked; others when it refuses.
    fn order_service(&self, order: ServiceOrder) -> io::Result<()> {
        let _ = order;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// What that manager says of the service.
    ///
    /// Errors: as of [`Process::order_service`].
    fn service_state(&self) -> io::Result<ServiceState> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Runs a command of this process's service and waits for its end; it begins when this is first polled. Letting go
    /// of it before its end kills it, with all that it has started in its group. It outlives a process that ends meanwhile.
    ///
    /// Errors: `NotFound` when there is no such program, `Unsupported` where none can be run, others when the machine
    /// refuses.
    fn run_command(&self, command: Command) -> LocalBoxFuture<'static, io::Result<CommandOutput>> {
        drop(command);
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
    /// Ends the process now.
    fn exit(&self, code: ExitCode);
    /// Runs a task as part of this process; use [`Env::spawn`](super::Env::spawn).
    fn spawn(&self, name: &'static str, task: LocalBoxFuture<'static, ()>) -> Box<dyn TaskControl>;
}

/// What a process can leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detached {
    /// This program once more, with the same arguments and environment.
    Successor,
    /// [`hand_off`](crate::hand_off) after this process: for managers that start nothing that has ended, and ignore a
    /// start while the service runs.
    StartScript,
}

/// What a service manager can be asked for from a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceOrder {
    /// `systemctl start`, `launchctl bootstrap`, `schtasks /Run`
    Start,
    /// `systemctl stop`, `launchctl bootout`, `schtasks /End`
    Stop,
}

impl fmt::Display for ServiceOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Stop => "stop",
        })
    }
}

/// What a service manager says of a service: `systemctl show`, `launchctl print`, `schtasks /Query`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// A process of it runs, be it on its way out.
    Running,
    /// None runs, and the manager knows of nobody who wanted that.
    Idle,
    /// None runs, since somebody stopped it.
    Stopped,
}

/// A process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Pid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A process's start time in clock ticks since the machine booted (Linux: field 22 of `/proc/PID/stat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct StartTime(pub u64);

/// One process beyond doubt: ids are reused, and never together with a start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// Its id.
    pub pid: Pid,
    /// When it started.
    pub start: StartTime,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pid.fmt(f)
    }
}

/// An entry of the process table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEntry {
    /// Which process.
    pub id: ProcessId,
    /// Who started it, or has adopted it since.
    pub parent: Option<Pid>,
    /// What it runs: the file name of the program, as its command line says.
    pub program: String,
    /// How long ago it was started.
    pub running_for: Duration,
    /// Somebody has stopped it (SIGSTOP, a debugger): it runs nothing until it is continued.
    pub is_stopped: bool,
    /// It is known to see the same network as this process: where it listens, this process can ask.
    pub sees_our_network: bool,
}

/// The signals by which one process ends another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndSignal {
    /// SIGTERM, which it may handle.
    Terminate,
    /// SIGKILL, which nobody handles.
    Kill,
}

impl EndSignal {
    /// The usual name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Kill => "SIGKILL",
        }
    }
}

/// What the machine knows of a process that somebody named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// A process with that id lives, and its start time is the given one.
    Alive,
    /// No process has that id, or a different one has it by now.
    Dead,
    /// A process has that id, but whether it is the one that was meant cannot be told.
    Unknown,
}

/// The exit status of a process that ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExitCode(pub u8);

impl ExitCode {
    /// A clean stop.
    pub const CLEAN: Self = Self(0);
    /// A start-up failure.
    pub const FAILURE: Self = Self(1);
    /// A shutdown that had to be forced, by a second signal or because it took too long (`EX_SOFTWARE`). What it cut
    /// off is the next life's to tell, so it asks for one wherever failures are restarted.
    pub const FORCED: Self = Self(70);
    /// A clean end that asks the supervisor for a successor (`EX_TEMPFAIL`). Non-zero, so that it works under
    /// `Restart=on-failure` as well as `Restart=always`.
    pub const RESTART: Self = Self(75);
    /// A configuration error or a conflict with another instance (`EX_CONFIG`): starting again cannot help,
    /// supervisors must not loop on it.
    pub const CONFIG: Self = Self(78);
}

impl fmt::Display for ExitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The signals a gateway can handle. The others (SIGKILL, SIGSTOP) only the world can deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// SIGHUP
    Hangup,
    /// SIGINT
    Interrupt,
    /// SIGQUIT
    Quit,
    /// SIGTERM
    Terminate,
    /// SIGUSR1, the restart signal.
    User1,
    /// SIGUSR2
    User2,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Hangup, Self::Interrupt, Self::Quit, Self::Terminate, Self::User1, Self::User2];

    /// The usual name, such as `SIGTERM`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Terminate => "SIGTERM",
            Self::User1 => "SIGUSR1",
            Self::User2 => "SIGUSR2",
        }
    }

    /// The Linux number, for exit statuses of the form 128 + n.
    pub const fn number(self) -> u8 {
        match self {
            Self::Hangup => 1,
            Self::Interrupt => 2,
            Self::Quit => 3,
            Self::User1 => 10,
            Self::User2 => 12,
            Self::Terminate => 15,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The signals that reach this process, in order of arrival.
pub struct SignalStream(mpsc::UnboundedReceiver<Signal>);

impl SignalStream {
    /// A stream fed from the other end of `receiver`.
    pub fn new(receiver: mpsc::UnboundedReceiver<Signal>) -> Self {
        Self(receiver)
    }

    /// The next signal. Never ends while the process lives.
    pub async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// A signal that has already arrived, if any.
    pub fn try_next(&mut self) -> Option<Signal> {
        self.0.try_recv().ok()
    }
}

/// A world's grip on a spawned task.
pub trait TaskControl {
    /// Ends the task: it is dropped, its destructors run as part of the process.
    fn abort(&self);
}

/// A task of this process. Awaiting it gives its result, or `None` when it was aborted. Dropping the handle
/// leaves the task running.
pub struct Task<T> {
    result: oneshot::Receiver<T>,
    control: Box<dyn TaskControl>,
}

impl<T> Task<T> {
    pub(super) fn new(result: oneshot::Receiver<T>, control: Box<dyn TaskControl>) -> Self {
        Self { result, control }
    }

    /// Ends the task early.
    pub fn abort(&self) {
        self.control.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.result).poll(cx).map(Result::ok)
    }
}
