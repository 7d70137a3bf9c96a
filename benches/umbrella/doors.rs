//! The gateway's five doors on turmoil: clock, network, disk, process, randomness.
//!
//! Thin: what a door needs to remember is the business of [`Process`] and of the sockets.

use std::io;
use std::rc::Rc;

use super::process::Process;
use super::sockets;
use gateway::env::{
    Clock, Detached, EndSignal, Env, ExitCode, Listener, Listening, Liveness, LocalBoxFuture, Net, Pid,
    ProcessEntry, ProcessId, Random, Signal, SignalStream, StartTime, Stream, TaskControl, WallTime,
};

/// Opens the doors of a process.
pub(super) fn open(process: Rc<Process>) -> Env {
    let disk = Rc::new(process.machine().disk().clone());
    let doors = Rc::new(Doors(process));
    Env::new(doors.clone(), doors.clone(), disk, doors.clone(), doors)
}

struct Doors(Rc<Process>);

impl Clock for Doors {
    fn wall(&self) -> WallTime {
        self.0.machine().wall()
    }
}

impl Net for Doors {
    fn listen(&self, port: u16) -> LocalBoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(sockets::listen(port))
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> LocalBoxFuture<'a, io::Result<Stream>> {
        Box::pin(sockets::connect(host, port))
    }

    fn listeners(&self) -> Option<Vec<Listening>> {
        None
    }
}

impl gateway::env::Process for Doors {
    fn pid(&self) -> Pid {
        self.0.pid()
    }

    fn start_time(&self) -> Option<StartTime> {
        Some(StartTime(u64::from(self.0.pid().0)))
    }

    /// A machine of the umbrella runs one process at a time and never gives a process id twice.
    fn liveness(&self, pid: Pid, _: Option<StartTime>) -> Liveness {
        if pid == self.0.pid() { Liveness::Alive } else { Liveness::Dead }
    }

    /// Other signals than those handled do not occur here.
    fn look_up(&self, _pid: Pid) -> Option<ProcessEntry> {
        None
    }

    fn end_process(&self, _process: ProcessId, _signal: EndSignal) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn handle_signals(&self, _: &[Signal]) -> SignalStream {
        self.0.handle_signals()
    }

    /// What systemd and OpenClaw's installers tell a service: without it the gateway would restart in place.
    fn env_var(&self, name: &str) -> Option<String> {
        let value = match name {
            "INVOCATION_ID" => "0f6a2d3b9c184e57a1d0c3b2e4f58697",
            "OPENCLAW_SERVICE_MARKER" => "openclaw",
            _ => return None,
        };
        Some(value.to_string())
    }

    fn ask_service_manager_to_restart(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn spawn_detached(&self, _what: Detached) -> io::Result<Pid> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn exit(&self, code: ExitCode) {
        self.0.exit(code);
    }

    fn spawn(&self, _: &'static str, task: LocalBoxFuture<'static, ()>) -> Box<dyn TaskControl> {
        self.0.spawn(task)
    }
}

impl Random for Doors {
    fn next_u64(&self, label: &'static str) -> u64 {
        self.0.random(label)
    }
}
