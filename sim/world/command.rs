//! Commands: modelled programs of a machine that its processes run, feed and wait for.
//!
//! A program takes its time, ends as it is said to, and does nothing else; what it was given to read is on the
//! timeline, since that is all it would know. While it runs it is a process like any other: of the family of whoever
//! runs it, so that supervisors find it, and no signal is handled. It outlives a parent that dies, as children do.

use std::io;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use gateway::env::{Command, CommandEnd, CommandOutput, ExitCode, KEPT_OUTPUT, LocalBoxFuture};

use super::World;
use super::executable::Origin;
use super::process::Process;
use crate::timeline::{DeathCause, Fact, Source};

/// A program that can be run as a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelledProgram {
    /// From its start to its end, drawn for each run; `None`: it never ends by itself.
    pub lasting: Option<RangeInclusive<Duration>>,
    /// Its exit status.
    pub status: u8,
    /// How many bytes it writes to its standard output.
    pub output: u64,
}

impl World {
    /// Puts a program on a machine, under the name or path by which it is run.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub fn install_program(&self, machine: &str, name: &str, program: ModelledProgram) -> io::Result<()> {
        self.machine(machine)?.install_program(name, program);
        Ok(())
    }
}

/// A command on its way. Letting go of it kills it, unless its parent is gone.
struct Running {
    parent: Rc<Process>,
    child: Rc<Process>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.parent.is_dead() {
            self.child.die(DeathCause::Killed);
        }
    }
}

/// Runs a command of `parent` to its end.
pub(super) async fn run(parent: Rc<Process>, command: Command) -> io::Result<CommandOutput> {
    let running = start(parent, &command)?;
    let cause = running.child.death().wait().await;
    let written = running.child.machine.program(&command.program).map_or(0, |program| program.output);
    let kept = usize::try_from(written).unwrap_or(usize::MAX).min(KEPT_OUTPUT);
    // Whoever was killed had written what it did before.
    Ok(CommandOutput {
        end: end(cause),
        stdout: vec![b'x'; kept],
        stderr: Vec::new(),
        is_cut: written > kept as u64,
    })
}

fn start(parent: Rc<Process>, command: &Command) -> io::Result<Running> {
    if parent.is_dead() {
        return Err(io::Error::other("the process has ended"));
    }
    let program = parent.machine.program(&command.program).ok_or(io::ErrorKind::NotFound)?;
    let (world, machine) = (parent.world.clone(), parent.machine.clone());
    let draw = world.rng(&format!("{}/command {}", machine.name, command.program));
    let lasting = program.lasting.as_ref().map(|range| draw.duration_in(range));
    let status = ExitCode(program.status);
    let origin = Origin { family: Some(parent.family), parent: Some(parent.id()), ..Origin::default() };
    let main = move |_| -> LocalBoxFuture<'static, ExitCode> {
        Box::pin(async move {
            match lasting {
                Some(lasting) => tokio::time::sleep(lasting).await,
                None => std::future::pending().await,
            }
            status
        })
    };
    let pid = world.start(&machine.name, &command.program, origin, main)?;
    let fact = Fact::CommandBegan {
        pid,
        by: parent.pid,
        arguments: command.arguments.clone(),
        input: String::from_utf8_lossy(&command.input).into_owned(),
    };
    world.record(Source::Process(pid), fact);
    let child = world.process(pid)?;
    Ok(Running { parent, child })
}

fn end(cause: DeathCause) -> CommandEnd {
    match cause {
        DeathCause::Exited(code) => CommandEnd::Exited(code.0),
        DeathCause::Panicked => CommandEnd::Exited(101),
        DeathCause::Signal(signal) => CommandEnd::Signalled(signal.number()),
        DeathCause::Killed | DeathCause::PowerLoss => CommandEnd::Signalled(9),
    }
}
