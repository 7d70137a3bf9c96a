//! The process: its id and start time, its neighbours, signals, tasks and the end.
//!
//! A process id alone proves nothing, since ids are reused; on Linux the start time from `/proc` makes it unique.
//! Elsewhere there is none, and the liveness of a living id stays unknown.

use std::env;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::process;
use std::task::Poll;

use gateway::env::{
    Command, CommandOutput, Detached, EndSignal, ExitCode, Liveness, LocalBoxFuture, Pid, Process,
    ProcessEntry, ProcessId, Signal, SignalStream, StartTime, TaskControl,
};
use rustix::io::Errno;
use rustix::process::test_kill_process;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_local};

use crate::{command, neighbours, service};

/// The door to this process of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsProcess;

impl Process for OsProcess {
    fn pid(&self) -> Pid {
        Pid(process::id())
    }

    fn start_time(&self) -> Option<StartTime> {
        stat(self.pid()).map(|stat| stat.start)
    }

    fn liveness(&self, pid: Pid, start: Option<StartTime>) -> Liveness {
        match (stat(pid), start) {
            (Some(seen), _) if seen.is_corpse => Liveness::Dead,
            (Some(seen), Some(meant)) if seen.start == meant => Liveness::Alive,
            (Some(_), Some(_)) => Liveness::Dead,
            _ if has_process(pid) => Liveness::Unknown,
            _ => Liveness::Dead,
        }
    }

    fn look_up(&self, pid: Pid) -> Option<ProcessEntry> {
        neighbours::look_up(pid)
    }

    fn end_process(&self, process: ProcessId, signal: EndSignal) -> io::Result<()> {
        neighbours::end(process, signal)
    }

    fn signal_process(&self, process: ProcessId, signal: Signal) -> io::Result<()> {
        neighbours::signal(process, signal)
    }

    /// Signals that arrive between two turns of the runtime are delivered in the order of their numbers, and
    /// repeats of one signal merge, as they do in the kernel. The handlers stay when the stream is dropped: from
    /// the first call on, none of `signals` kills the process any more.
    ///
    /// # Panics
    ///
    /// When the operating system refuses a handler, which it does for none of [`Signal`].
    fn handle_signals(&self, signals: &[Signal]) -> SignalStream {
        let mut handled: Vec<_> = signals
            .iter()
            .map(|&name| (name, signal(kind(name)).expect("the signal can be handled")))
            .collect();
        handled.sort_by_key(|(name, _)| name.number());
        let (send, receive) = mpsc::unbounded_channel();
        // One task for all of them: a task each could overtake one another.
        spawn_local(poll_fn(move |cx| {
            for (name, arrivals) in &mut handled {
                while let Poll::Ready(Some(())) = arrivals.poll_recv(cx) {
                    if send.send(*name).is_err() {
                        return Poll::Ready(());
                    }
                }
            }
            Poll::Pending
        }));
        SignalStream::new(receive)
    }

    fn env_var(&self, name: &str) -> Option<String> {
        env::var(name).ok()
    }

    fn ask_service_manager_to_restart(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        Box::pin(service::ask_for_restart())
    }

    fn spawn_detached(&self, what: Detached) -> io::Result<Pid> {
        match what {
            Detached::Successor => service::spawn_successor(),
            Detached::StartScript => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn run_command(&self, command: Command) -> LocalBoxFuture<'static, io::Result<CommandOutput>> {
        Box::pin(command::run(command))
    }

    fn exit(&self, code: ExitCode) {
        // Logs go to standard error, which keeps nothing back.
        process::exit(i32::from(code.0));
    }

    fn spawn(&self, _name: &'static str, task: LocalBoxFuture<'static, ()>) -> Box<dyn TaskControl> {
        Box::new(OsTask(spawn_local(task).abort_handle()))
    }
}

struct OsTask(AbortHandle);

impl TaskControl for OsTask {
    fn abort(&self) {
        self.0.abort();
    }
}

const fn kind(signal: Signal) -> SignalKind {
    match signal {
        Signal::Hangup => SignalKind::hangup(),
        Signal::Interrupt => SignalKind::interrupt(),
        Signal::Quit => SignalKind::quit(),
        Signal::Terminate => SignalKind::terminate(),
        Signal::User1 => SignalKind::user_defined1(),
        Signal::User2 => SignalKind::user_defined2(),
    }
}

/// Whether some process has this id, be it one that we may not signal.
fn has_process(pid: Pid) -> bool {
    let Some(pid) = i32::try_from(pid.0).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    !matches!(test_kill_process(pid), Err(Errno::SRCH))
}

/// The part of `/proc/PID/stat` that matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) parent: Pid,
    pub(crate) start: StartTime,
    /// Dead, and only waiting for its parent to notice: it holds no file and no port.
    pub(crate) is_corpse: bool,
    /// Stopped by a signal or by a tracer.
    pub(crate) is_stopped: bool,
}

/// `None` where there is no `/proc`, or it does not show that process.
pub(crate) fn stat(pid: Pid) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads fields 3 (state), 4 (parent) and 22 (start time). Field 2, the command in parentheses, may hold anything, spaces and
/// parentheses and broken UTF-8 included; no later field holds a parenthesis.
fn parse_stat(line: &[u8]) -> Option<Stat> {
    let command_end = line.iter().rposition(|&byte| byte == b')')?;
    let mut fields = str::from_utf8(&line[command_end + 1..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some(Stat {
        parent: Pid(parent),
        start: StartTime(start),
        is_corpse: matches!(state, "Z" | "X" | "x"),
        is_stopped: matches!(state, "T" | "t"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &[u8] = b" S 1 77 77 0 -1 4194560 900 0 1 0 3 2 0 0 20 0 4 0 8675309 1000000 250 0";

    #[test]
    fn a_hostile_command_name_does_not_move_the_start_time() {
        for command in ["gateway", "a b c", "x) R 1 2 (y", ")", ""] {
            let line = [b"77 (", command.as_bytes(), b")", REST].concat();
            assert_eq!(
                parse_stat(&line),
                Some(Stat {
                    parent: Pid(1),
                    start: StartTime(8_675_309),
                    is_corpse: false,
                    is_stopped: false
                }),
                "{command}"
            );
        }
        let broken_utf8 = [b"77 (\xff\xfe)", REST].concat();
        assert_eq!(parse_stat(&broken_utf8).map(|stat| stat.start), Some(StartTime(8_675_309)));
    }

    #[test]
    fn what_is_no_stat_line_is_none() {
        for line in ["", "77", "77 (x)", "77 (x) S 1 2 3"] {
            assert_eq!(parse_stat(line.as_bytes()), None, "{line}");
        }
    }
}
