//! Scenario files: one TOML file is the whole scenario; reading it gives a plain, validated [`Scenario`].
//!
//! Whatever is wrong with a file is one diagnostic with a place and a hint; nothing that comes out of here needs
//! to be checked again. The format is listed in `keys`, from which the published schema is made. This part knows
//! no world: it says what should happen, not how.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;

mod cell;
mod duration;
mod error;
mod events;
mod expect;
mod keys;
mod limits;
mod matrix;
mod other_words;
mod peers;
mod peers_keys;
mod placeholders;
mod platforms;
mod platforms_keys;
mod policies;
mod programs;
mod read;
mod read_cells;
mod read_expect;
mod read_peers;
mod read_platforms;
mod read_restarts;
mod read_steps;
mod read_supervisor;
mod read_trouble;
#[cfg(test)]
mod reference;
mod restart_keys;
mod restarts;
mod schema;
mod setup;
mod steps;
mod subagent_keys;
mod supervisor;
mod supervisor_keys;
mod table;
#[cfg(test)]
mod tests;
mod trouble;
mod trouble_keys;
mod written;

pub use cell::{Cell, CellChoice};
pub use duration::DurationRange;
pub use error::{ScenarioError, nearest};
pub use events::{About, EVENTS, is_quiet};
pub use expect::{Expectations, FATES, INVARIANTS};
pub use peers::{PeerKind, PeersSetup};
pub use platforms::{Hold, PlatformSetup, PlatformTrouble, PlatformsSetup};
pub use policies::meaning_of;
pub use programs::{ProgramEnd, ProgramSetup};
pub use restarts::{ConfigEdit, NewContents, RestartAsk};
pub use schema::{schema, schema_text};
pub use setup::{
    Channel, Choice, CronSetup, DiskSetup, GatewaySetup, NetworkSetup, PolicyOverrides, ProviderBehaviour,
    ProviderSetup, SenderKind, SenderSetup, differences,
};
pub use steps::{Anchor, Machine, Step, Verb, When};
pub use supervisor::{
    ContainerRestartWhen, ContainerSetup, KillWhom, LaunchdJob, PlainSupervisor, RestartWhen, ScheduledTask,
    Supervisor, SystemdUnit, UnitEnvironment, UnitRestart,
};
pub use trouble::{
    CountRange, Crash, CrashDeath, CrashMoment, Direction, DiskCalls, DiskTrouble, LeftLock, LockFile,
    LockOwner, ProviderOutage, ProviderTrouble, Squat, Target,
};
pub use written::{file_keys, is_named};

/// A scenario: what the world is, what happens in it, and what should come of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file, as it was given.
    pub path: PathBuf,
    /// Which cell of the file's matrix it is; `None`: the file has none.
    pub cell: Option<Cell>,
    /// What it shows, in a few words.
    pub name: String,
    /// Why it matters.
    pub about: Option<String>,
    /// The report it reproduces, such as `openclaw/openclaw#38836`.
    pub issue: Option<String>,
    /// How long the world may calm down after the storm.
    pub settle: Duration,
    /// Steps that have not fired by this time never fire.
    pub storm_limit: Duration,
    /// The gateway and its supervisor.
    pub gateway: GatewaySetup,
    /// The model provider.
    pub provider: ProviderSetup,
    /// Those who send messages, by name, in the order of the file.
    pub senders: IndexMap<String, SenderSetup>,
    /// The chat platforms.
    pub platforms: PlatformsSetup,
    /// Rude peers, by the name of their group, in the order of the file.
    pub peers: IndexMap<String, PeersSetup>,
    /// The gateway's scheduled jobs, by name, in the order of the file.
    pub cron: IndexMap<String, CronSetup>,
    /// Programs on the gateway's machine that it can run, by name, in the order of the file.
    pub programs: IndexMap<String, ProgramSetup>,
    /// The gateway's disk while nothing is broken.
    pub disk: DiskSetup,
    /// The network while nothing is broken.
    pub network: NetworkSetup,
    /// The interval at which somebody polls `/readyz`; `None`: nobody does.
    pub probe: Option<Duration>,
    /// The interval at which somebody sends unauthenticated requests; `None`: nobody does.
    pub intruder: Option<Duration>,
    /// The script, in the order of the file.
    pub steps: Vec<Step>,
    /// What should come of it.
    pub expect: Expectations,
}

impl Scenario {
    /// What it is called: its path as it was given, and its cell, `x.toml[signal=SIGTERM,supervisor=systemd]`.
    pub fn called(&self) -> String {
        match &self.cell {
            Some(cell) => format!("{}[{cell}]", self.path.display()),
            None => self.path.display().to_string(),
        }
    }

    /// Reads the scenario file at `path`: every cell of its matrix, or the one scenario that it is without.
    pub fn read(path: &Path) -> Result<Vec<Self>, ScenarioError> {
        Self::parse_all(path, &text_of(path)?)
    }

    /// Reads every scenario that `text` stands for; `path` is only its name.
    pub fn parse_all(path: &Path, text: &str) -> Result<Vec<Self>, ScenarioError> {
        matrix::scenarios(path, text).map_err(|problem| ScenarioError::in_file(path, text, *problem))
    }

    /// Reads the first scenario that `text` stands for, which is the only one without a matrix.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ScenarioError> {
        let all = Self::parse_all(path, text)?;
        Ok(all.into_iter().next().unwrap_or_else(|| unreachable!("a file stands for some scenario")))
    }

    /// This scenario with further steps, which `text` has in `[[steps]]` sections and nothing else: reading those is all
    /// that it takes, where many scenarios differ in a step. Lines are those of `text`.
    pub fn with_steps(&self, text: &str) -> Result<Self, ScenarioError> {
        let read = read::further_steps(text, self);
        let steps = read.map_err(|problem| ScenarioError::in_file(&self.path, text, *problem))?;
        Ok(Self { steps, ..self.clone() })
    }
}

/// The text of the file at `path`.
fn text_of(path: &Path) -> Result<String, ScenarioError> {
    let bytes = limits::read_file(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => ScenarioError::unreadable(path, "there is no such file", "check the path."),
        ErrorKind::PermissionDenied => {
            ScenarioError::unreadable(path, "permission denied", "give yourself the right to read it.")
        }
        _ => ScenarioError::unreadable(path, &error.to_string(), "a scenario is a readable TOML file."),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let why = format!("byte {at} is not UTF-8");
        ScenarioError::unreadable(path, &why, "a scenario is a TOML file; save it as UTF-8 text.")
    })
}

/// The document at `path`, or that of one cell of its matrix; the first cell, where none is named.
///
/// Errors: what the file would be refused for before its keys are looked at.
pub fn written_out(path: &Path, cell: Option<&Cell>) -> Result<toml::Table, ScenarioError> {
    let text = text_of(path)?;
    matrix::written_out(&text, cell).map_err(|problem| ScenarioError::in_file(path, &text, *problem))
}
