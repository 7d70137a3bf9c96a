//! Programs of the test world: each takes its time and ends as it is told, and what was run stays on record.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::World;
use crate::env::{Command, CommandEnd, CommandOutput};

/// How a program behaves.
#[derive(Clone, Debug)]
pub(crate) struct TestProgram {
    /// `None`: it never ends by itself.
    pub(crate) lasting: Option<Duration>,
    pub(crate) end: CommandEnd,
    pub(crate) stdout: &'static str,
    pub(crate) stderr: &'static str,
}

impl Default for TestProgram {
    fn default() -> Self {
        Self { lasting: Some(Duration::ZERO), end: CommandEnd::Exited(0), stdout: "", stderr: "" }
    }
}

/// A command that was run.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub(crate) command: Command,
    pub(crate) from: Instant,
    /// `None`: it still runs.
    pub(crate) until: Option<Instant>,
    /// Whether whoever ran it let go of it.
    pub(crate) was_killed: bool,
}

impl Ran {
    /// What it was given to read, as JSON.
    pub(crate) fn input(&self) -> serde_json::Value {
        serde_json::from_slice(&self.command.input).expect("it is JSON")
    }
}

#[derive(Default)]
pub(super) struct Commands {
    programs: RefCell<BTreeMap<&'static str, TestProgram>>,
    ran: RefCell<Vec<Ran>>,
    /// Ends whatever runs, like this.
    struck: Cell<Option<CommandEnd>>,
    strike: Notify,
}

impl World {
    /// The machine has this program.
    pub(crate) fn install(&self, name: &'static str, program: TestProgram) {
        self.0.commands.programs.borrow_mut().insert(name, program);
    }

    /// Somebody ends every program that runs.
    pub(crate) fn strike_commands(&self, end: CommandEnd) {
        self.0.commands.struck.set(Some(end));
        self.0.commands.strike.notify_waiters();
    }

    /// What was run, in order.
    pub(crate) fn ran(&self) -> Vec<Ran> {
        self.0.commands.ran.borrow().clone()
    }
}

struct Running {
    world: World,
    number: usize,
    is_over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let ran = &mut self.world.0.commands.ran.borrow_mut()[self.number];
        ran.until = Some(Instant::now());
        ran.was_killed = !self.is_over;
    }
}

pub(super) async fn run(world: World, command: Command) -> io::Result<CommandOutput> {
    let program = world.0.commands.programs.borrow().get(&*command.program).cloned();
    let program = program.ok_or(io::ErrorKind::NotFound)?;
    let number = world.0.commands.ran.borrow().len();
    let ran = Ran { command, from: Instant::now(), until: None, was_killed: false };
    world.0.commands.ran.borrow_mut().push(ran);
    let mut running = Running { world: world.clone(), number, is_over: false };
    let lasting = async {
        match program.lasting {
            Some(lasting) => sleep(lasting).await,
            None => std::future::pending().await,
        }
    };
    let struck = tokio::select! {
        biased;
        () = world.0.commands.strike.notified() => world.0.commands.struck.get(),
        () = lasting => None,
    };
    running.is_over = true;
    Ok(CommandOutput {
        end: struck.unwrap_or(program.end),
        stdout: program.stdout.into(),
        stderr: program.stderr.into(),
        is_cut: false,
    })
}
