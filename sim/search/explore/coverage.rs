//! Lifecycle coverage: what befell the gateway in which phase of its life, while its clients were in which state, under
//! which supervisor; and which events came to pass at all. A fold over timelines, which asks nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use gateway::env::Pid;
use serde::{Deserialize, Serialize};

use crate::scenario::{EVENTS, Scenario, Supervisor};
use crate::timeline::{
    DeathCause, Event, Fact, GATEWAY_PROGRAM, Injection, MessageId, OperatorOrder, Source, TOOL_PROGRAM,
};
use crate::world::disk::Errno;

/// What befell the gateway, and when in its life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// The phase of its life; one of [`PHASES`].
    pub phase: String,
    /// What befell it; one of [`HAPPENINGS`].
    pub fault: String,
    /// How its clients stood; one of [`CLIENTS`].
    pub client: String,
    /// The supervisor's kind.
    pub supervisor: String,
}

/// The phases of a life, and of what is between lives.
pub const PHASES: [&str; 8] =
    ["off", "down", "booting", "starting", "idle", "working", "draining", "closing"];

/// How the clients stand: the one who has most to lose decides.
pub const CLIENTS: [&str; 5] = ["nobody", "gone", "idle", "waiting", "unacknowledged"];

/// What befalls a gateway, as far as a timeline shows it.
pub const HAPPENINGS: [&str; 36] = [
    "SIGTERM",
    "SIGINT",
    "SIGQUIT",
    "SIGUSR1",
    "SIGHUP",
    "kill",
    "freeze",
    "power-loss",
    "crash-at",
    "port-lingers",
    "suspend",
    "partition",
    "name-unknown",
    "disk-fault",
    "clock-jump",
    "squat-lock",
    "squat-port",
    "leave-lock",
    "service-restart",
    "service-stop",
    "service-start",
    "reload-service",
    "start-second-instance",
    "run-tool",
    "ask-for-restart",
    "write-config",
    "abort",
    "corrupt-state",
    "provider-down",
    "provider-slow",
    "platform-down",
    "platform-slow",
    "platform-limits",
    "platform-blocks",
    "platform-cuts-line",
    "platform-acknowledges-late",
];

/// The kinds of supervisors.
pub const SUPERVISORS: [&str; 6] =
    ["systemd", "launchd", "task-scheduler", "container", "none", "unsupported"];

/// What some runs reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// In how many runs each cell was reached.
    pub cells: BTreeMap<Cell, u64>,
    /// In how many runs each event came to pass.
    pub events: BTreeMap<String, u64>,
}

impl Coverage {
    /// What one run reached.
    pub fn of(scenario: &Scenario, timeline: &[Event]) -> Self {
        let supervisor = kind_of(&scenario.gateway.supervisor);
        let mut life = Life::default();
        let mut coverage = Self::default();
        for event in timeline {
            if matches!(event.fact, Fact::SettleBegan) {
                life.storm_is_over = true;
            }
            if let Some(fault) = happening(event)
                && !life.storm_is_over
                && life.concerns(event)
            {
                let cell = Cell {
                    phase: life.phase().into(),
                    fault: fault.into(),
                    client: life.clients().into(),
                    supervisor: supervisor.into(),
                };
                coverage.cells.insert(cell, 1);
            }
            coverage.events.insert(event.fact.name().to_string(), 1);
            life.learn(event);
        }
        coverage
    }

    /// Adds what other runs reached.
    pub fn add(&mut self, other: &Self) {
        for (cell, times) in &other.cells {
            *self.cells.entry(cell.clone()).or_default() += times;
        }
        for (event, times) in &other.events {
            *self.events.entry(event.clone()).or_default() += times;
        }
    }

    /// How many pairs of a phase and something that befalls there were reached, and how many there are.
    pub fn pairs(&self) -> (usize, usize) {
        let reached: BTreeSet<_> = self.cells.keys().map(|cell| (&cell.phase, &cell.fault)).collect();
        (reached.len(), PHASES.len() * HAPPENINGS.len())
    }

    /// How many runs reached the cells that are like this, each run once for each cell.
    pub fn sum(&self, is_like_this: impl Fn(&Cell) -> bool) -> u64 {
        self.cells.iter().filter(|(cell, _)| is_like_this(cell)).map(|(_, runs)| runs).sum()
    }

    /// How many cells there are in all, whether they can be reached or not.
    pub const fn possible() -> usize {
        PHASES.len() * HAPPENINGS.len() * CLIENTS.len() * SUPERVISORS.len()
    }

    /// The known events that never came to pass.
    pub fn never(&self) -> Vec<&'static str> {
        let names = EVENTS.iter().map(|(name, ..)| *name);
        names.filter(|name| !self.events.contains_key(*name)).collect()
    }
}

/// What is known of the gateway and its clients at a moment.
#[derive(Default)]
struct Life {
    /// The gateways that live, and in which phase; the oldest first.
    alive: BTreeMap<Pid, &'static str>,
    is_off: bool,
    storm_is_over: bool,
    connected: BTreeSet<Source>,
    known: BTreeSet<Source>,
    unacknowledged: BTreeSet<MessageId>,
    waiting: BTreeSet<MessageId>,
    answering: BTreeSet<u32>,
}

impl Life {
    /// Signals and deaths of others than gateways do not count.
    fn concerns(&self, event: &Event) -> bool {
        match event.fact {
            Fact::SignalDelivered { pid, .. } | Fact::ProcessFrozen { pid } => self.alive.contains_key(&pid),
            _ => true,
        }
    }

    fn phase(&self) -> &'static str {
        match self.alive.values().next() {
            _ if self.is_off => "off",
            None => "down",
            Some(&"serving") if self.answering.is_empty() => "idle",
            Some(&"serving") => "working",
            Some(phase) => phase,
        }
    }

    fn clients(&self) -> &'static str {
        match () {
            () if !self.unacknowledged.is_empty() => "unacknowledged",
            () if !self.waiting.is_empty() => "waiting",
            () if !self.connected.is_empty() => "idle",
            () if !self.known.is_empty() => "gone",
            () => "nobody",
        }
    }

    fn learn(&mut self, event: &Event) {
        match &event.fact {
            Fact::ProcessStarted { pid, program, .. } if program == GATEWAY_PROGRAM => {
                self.alive.insert(*pid, "booting");
            }
            Fact::ProcessExited { pid, .. } => drop(self.alive.remove(pid)),
            Fact::PowerLost { .. } => self.is_off = true,
            Fact::PowerRestored => self.is_off = false,
            Fact::Log { pid, record } => {
                if let Some(phase) = phase_said(&record.name)
                    && let Some(known) = self.alive.get_mut(pid)
                {
                    *known = phase;
                }
            }
            Fact::SenderConnected => {
                self.known.insert(event.source.clone());
                self.connected.insert(event.source.clone());
            }
            Fact::SenderDisconnected { .. } => drop(self.connected.remove(&event.source)),
            Fact::ProviderRequested { request, .. } => drop(self.answering.insert(*request)),
            Fact::ProviderAnswered { request, .. } | Fact::ProviderStopped { request, .. } => {
                self.answering.remove(request);
            }
            _ => self.learn_of_messages(&event.fact),
        }
    }

    fn learn_of_messages(&mut self, fact: &Fact) {
        match fact {
            Fact::MessageSent { message, .. } => drop(self.unacknowledged.insert(message.clone())),
            Fact::MessageAccepted { message } if self.unacknowledged.remove(message) => {
                self.waiting.insert(message.clone());
            }
            Fact::MessageRefused { message, .. }
            | Fact::MessageUnacknowledged { message }
            | Fact::MessageOver { message }
            | Fact::MessageCancelled { message }
            | Fact::ReplyReceived { message, .. }
            | Fact::NoticeReceived { message: Some(message), .. } => {
                self.unacknowledged.remove(message);
                self.waiting.remove(message);
            }
            _ => {}
        }
    }
}

/// The word of a supervisor's kind.
const fn kind_of(supervisor: &Supervisor) -> &'static str {
    match supervisor {
        Supervisor::Systemd(_) => "systemd",
        Supervisor::Launchd(_) => "launchd",
        Supervisor::TaskScheduler(_) => "task-scheduler",
        Supervisor::Container(_) => "container",
        Supervisor::None => "none",
        Supervisor::Unsupported(_) => "unsupported",
    }
}

/// The phase that begins when the gateway says this.
fn phase_said(name: &str) -> Option<&'static str> {
    match name {
        "gateway.starting" | "generation.over" => Some("starting"),
        "gateway.ready" => Some("serving"),
        "drain.started" => Some("draining"),
        "shutdown.started" => Some("closing"),
        _ => None,
    }
}

/// What befalls the gateway by this event, in the word of the fault that does it.
fn happening(event: &Event) -> Option<&'static str> {
    let known = |word: &str| HAPPENINGS.into_iter().find(|known| *known == word);
    match &event.fact {
        Fact::SignalDelivered { signal, .. } => known(&signal.to_string()),
        Fact::ProcessExited { program, cause: DeathCause::Killed, .. } if program == GATEWAY_PROGRAM => {
            Some("kill")
        }
        Fact::ProcessFrozen { .. } => Some("freeze"),
        Fact::ProcessExited { program, cause: DeathCause::PowerLoss, .. } if program == GATEWAY_PROGRAM => {
            Some("power-loss")
        }
        Fact::LinkPartitioned { .. } => Some("partition"),
        Fact::ClockJumped { .. } => Some("clock-jump"),
        Fact::Disk { error: Some(error), .. } if is_trouble(error) => Some("disk-fault"),
        Fact::ConfigEdited { .. } => Some("write-config"),
        Fact::RestartAsked { .. } => Some("ask-for-restart"),
        Fact::MessageStopRequested { .. } | Fact::SubagentsStopRequested => Some("abort"),
        Fact::ProcessStarted { program, .. } if program == TOOL_PROGRAM => Some("run-tool"),
        Fact::Ordered { order } => Some(match order {
            OperatorOrder::Start => "service-start",
            OperatorOrder::Stop => "service-stop",
            OperatorOrder::Restart => "service-restart",
            OperatorOrder::Reload => "reload-service",
            OperatorOrder::StartByHand => "start-second-instance",
        }),
        Fact::Injected { fault: Injection::DiskFault, .. } => None,
        Fact::Injected { fault, .. } => Some(fault.word()),
        _ => None,
    }
}

/// Whether a disk in order would not have said so: it also refuses what is there already, or is not there.
fn is_trouble(error: &str) -> bool {
    let numbers = [Errno::Eio, Errno::Enospc, Errno::Eacces, Errno::Erofs, Errno::Ebusy];
    let said = |errno| io::Error::from(errno).raw_os_error();
    numbers.into_iter().filter_map(said).any(|number| error.ends_with(&format!("(os error {number})")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::search::{Draft, KILLED_MID_ANSWER};

    #[test]
    fn a_kill_at_work_is_one_cell_and_what_the_gateway_says_is_counted() {
        let draft = Draft::new(KILLED_MID_ANSWER.parse().expect("is TOML"));
        let scenario = draft.scenario(Path::new("x.toml")).expect("is a scenario");
        let coverage = Coverage::of(&scenario, &crate::run(&scenario, "hardened", 1).timeline);
        let cells: Vec<_> =
            coverage.cells.keys().map(|cell| [&*cell.phase, &*cell.fault, &*cell.client]).collect();
        assert_eq!(cells, [["working", "kill", "waiting"]]);
        assert!(!coverage.never().contains(&"gateway.ready") && coverage.never().contains(&"store.damaged"));
    }

    #[test]
    fn every_fault_that_can_be_drawn_is_one_that_a_timeline_shows() {
        for fault in super::super::faults::FAULTS {
            let several = ["peers-reset", "hold-tool", "task-records", "crash-on-the-road", "down-for-hours"];
            let is_several = several.contains(&fault.word);
            assert!(is_several || HAPPENINGS.contains(&fault.word), "{}", fault.word);
        }
    }
}
