//! The steps of a scenario: when something is done, and what.
//!
//! Load, signals, faults and operator actions are entries of one list. A step fires at an instant or when an
//! event has happened; instants that are ranges are drawn from the seed when the world is made.

use std::time::Duration;

use gateway::env::Signal;

use super::{
    Choice, ConfigEdit, Crash, Direction, DiskTrouble, DurationRange, LeftLock, PlatformTrouble,
    ProviderTrouble, RestartAsk, Squat, Target,
};

/// One entry of the script.
#[derive(Clone, Debug)]
pub struct Step {
    /// The step's name in reports: its own, or what it does.
    pub label: String,
    /// When it is done.
    pub when: When,
    /// What is done.
    pub verb: Verb,
    /// The line of its `[[steps]]` in the file, from 1.
    pub line: usize,
    /// It is one of several times, and not the first: the run is evidence without it.
    pub is_repeat: bool,
}

impl Step {
    /// The same at a later event of its kind, so many further on.
    pub(super) fn again(&self, further: u32) -> Self {
        let mut again = Self { is_repeat: further > 0, ..self.clone() };
        if let When::On(anchor) = &mut again.when {
            anchor.nth = anchor.nth.saturating_add(further);
        }
        again
    }
}

/// When a step is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// At this time since the world began.
    At(DurationRange),
    /// After an event.
    On(Anchor),
}

/// An event that a step waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The event's name.
    pub event: String,
    /// Its how manyth occurrence counts, from 1.
    pub nth: u32,
    /// Only events of this sender, or about one of its messages, count.
    pub of: Option<String>,
    /// Of disk operations only those on files that match this pattern count.
    pub path: Option<String>,
    /// So long after the event.
    pub after: DurationRange,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A sender hands over messages.
    Send {
        /// The sender.
        from: String,
        /// What it says; the message's mark is added.
        text: String,
        /// How many messages.
        count: u32,
        /// From one message to the next.
        every: Duration,
        /// For how many subagents each makes the model ask.
        spawns: u32,
        /// How long each of these takes.
        child_takes: DurationRange,
    },
    /// A sender cancels its last message.
    Abort {
        /// The sender.
        from: String,
    },
    /// The operator sends a process a signal.
    Signal {
        /// Which one.
        signal: Signal,
        /// Who gets it.
        process: Target,
    },
    /// SIGKILL.
    Kill {
        /// Who gets it.
        process: Target,
    },
    /// A process is not scheduled for a while (SIGSTOP, a long pause).
    Freeze {
        /// Which one.
        process: Target,
        /// For so long.
        lasting: DurationRange,
    },
    /// From now on, the port of a process that is killed stays taken for a while.
    PortLingers {
        /// For so long.
        lasting: DurationRange,
    },
    /// The gateway's machine loses power, and gets it back.
    PowerLoss {
        /// Off for so long.
        off_for: DurationRange,
    },
    /// Two machines cannot reach each other for a while.
    Partition {
        /// The two.
        between: (Machine, Machine),
        /// For so long.
        lasting: DurationRange,
    },
    /// The gateway's machine sleeps for a while.
    Suspend {
        /// For so long.
        lasting: DurationRange,
    },
    /// The name of a machine cannot be looked up for a while.
    NameUnknown {
        /// Whose.
        machine: Machine,
        /// For so long.
        lasting: DurationRange,
    },
    /// The operator asks the supervisor to stop the service.
    ServiceStop,
    /// The operator asks the supervisor to start the service.
    ServiceStart,
    /// The operator asks the supervisor to restart the service.
    ServiceRestart,
    /// Somebody runs the gateway's command-line tool to load the service anew.
    ReloadService,
    /// Somebody starts a second gateway by hand on the same machine, with the same configuration.
    StartSecondInstance,
    /// Somebody runs the gateway's command-line tool, which labels a conversation.
    RunTool {
        /// Whose conversation.
        session_of: String,
        /// The label; a mark is added.
        label: String,
        /// How many tools.
        count: u32,
        /// From one start to the next.
        every: Duration,
    },
    /// Somebody asks the gateway to restart, with its command line.
    AskForRestart(RestartAsk),
    /// Somebody edits the gateway's configuration file.
    EditConfig(ConfigEdit),
    /// A file of the gateway's state is overwritten behind its back.
    CorruptState {
        /// Path inside the state folder.
        file: String,
        /// The new contents.
        text: String,
    },
    /// The disk of the gateway's machine fails.
    DiskFault(DiskTrouble),
    /// The gateway dies in the middle of its work.
    CrashAt(Crash),
    /// The wall clock of the gateway's machine jumps.
    ClockJump {
        /// So far.
        by: DurationRange,
        /// Where to.
        direction: Direction,
    },
    /// Somebody takes a lock of the gateway's and keeps it.
    SquatLock(Squat),
    /// Somebody listens on the gateway's port.
    SquatPort {
        /// Kept for so long.
        lasting: DurationRange,
        /// How long the squatter tries to get it.
        patience: DurationRange,
    },
    /// A lock is there that nobody holds.
    LeaveLock(LeftLock),
    /// The model provider does not behave as it should.
    ProviderTrouble(ProviderTrouble),
    /// A chat platform does not behave as it should.
    PlatformTrouble(PlatformTrouble),
    /// Rude peers are let in.
    PeersArrive {
        /// Their group.
        peers: String,
    },
    /// Rude peers close their connections for good.
    PeersLeave {
        /// Their group.
        peers: String,
    },
    /// Rude peers reset their connections.
    PeersReset {
        /// Their group.
        peers: String,
    },
}

/// A machine of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Machine {
    /// Where the gateway and its supervisor run.
    Gateway,
    /// Where all senders, the prober and the intruder are.
    Clients,
    /// Where the model provider is.
    Provider,
    /// Where the chat platforms are.
    Platforms,
}

impl Choice for Machine {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("gateway", Self::Gateway, "the gateway's, with its supervisor and its disk"),
        ("clients", Self::Clients, "the one of all senders, the prober and the intruder"),
        ("provider", Self::Provider, "the model provider's"),
        ("platforms", Self::Platforms, "the chat platforms'; there when somebody talks on one"),
    ];
}

impl Choice for Signal {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (Self::Terminate.name(), Self::Terminate, "stop: finish what was accepted, then end"),
        (Self::Interrupt.name(), Self::Interrupt, "the same; during a stop it forces the exit"),
        (Self::Quit.name(), Self::Quit, "force the exit, whatever is under way"),
        (Self::User1.name(), Self::User1, "restart: the same, and ask the supervisor for a successor"),
        (Self::Hangup.name(), Self::Hangup, "not handled by the gateway: it dies at once"),
        (Self::User2.name(), Self::User2, "not handled by the gateway: it dies at once"),
    ];
}
