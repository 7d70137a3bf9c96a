//! A command: another program that a process runs, feeds, and waits for.
//!
//! Plain types. A command runs beside its process and among the processes of its service; whoever has waited long
//! enough lets go of it, which kills it with everything it has started in its own group. Who runs one and why is not
//! known here.

use std::fmt;

/// How many bytes of each output of a command are kept; the rest is read and thrown away, so that no program waits for
/// room to write.
pub const KEPT_OUTPUT: usize = 64 * 1024;

/// A program to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Its name, searched for as the machine does, or its path. No shell has a look at it.
    pub program: String,
    /// Its arguments, without its name.
    pub arguments: Vec<String>,
    /// What it finds in its environment besides that of its process.
    pub environment: Vec<(String, String)>,
    /// What it can read from its standard input, which ends there. Nobody minds when it does not.
    pub input: Vec<u8>,
}

/// What came of a command that has run to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutput {
    /// How it ended.
    pub end: CommandEnd,
    /// What it wrote to its standard output, at most [`KEPT_OUTPUT`] bytes: the first ones.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error, at most [`KEPT_OUTPUT`] bytes: the first ones.
    pub stderr: Vec<u8>,
    /// Whether it wrote more than was kept.
    pub is_cut: bool,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// By itself, with an exit status.
    Exited(u8),
    /// By a signal, by its Linux number.
    Signalled(u8),
}

impl CommandEnd {
    /// Whether it did what it was for, as far as its exit status says.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Exited(0))
    }
}

impl fmt::Display for CommandEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Signalled(1) => f.write_str("killed by SIGHUP"),
            Self::Signalled(2) => f.write_str("killed by SIGINT"),
            Self::Signalled(9) => f.write_str("killed by SIGKILL"),
            Self::Signalled(15) => f.write_str("killed by SIGTERM"),
            Self::Signalled(number) => write!(f, "killed by signal {number}"),
        }
    }
}
