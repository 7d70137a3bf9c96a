//! The vocabulary of scenario files: every key with its shape, its default and a line of meaning.
//!
//! This is the one place where a key is named for good. The reader refuses what is not listed here and takes
//! its defaults from here; the published JSON Schema is made from it.

use gateway::env::Signal;

use super::peers_keys::{PEERS, PEERS_ARRIVE, PEERS_LEAVE, PEERS_RESET};
use super::platforms_keys::{
    PLATFORM_BLOCKS, PLATFORM_CUTS_LINE, PLATFORM_DOWN, PLATFORM_LIMITS, PLATFORM_SLOW,
    PLATFORM_TAKES_ITS_TIME, PLATFORMS, SENDER_ACCOUNT,
};
use super::programs::PROGRAM;
use super::restart_keys::{ASK_FOR_RESTART, REVERT_CONFIG, WRITE_CONFIG};
use super::subagent_keys::{CHILD_TAKES, SPAWNS};
use super::trouble_keys::{
    CLOCK_JUMP, CRASH_AT, DISK_FAULT, LEAVE_LOCK, NAME_UNKNOWN, PROCESS, PROVIDER_DOWN, PROVIDER_SLOW,
    SQUAT_LOCK, SQUAT_PORT, SUSPEND,
};
use super::{Channel, Choice, Machine, ProviderBehaviour, SenderKind};
use gateway::config::OnInterruption;

/// One key of a table.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) need: Need,
    pub(super) doc: &'static str,
}

impl Key {
    /// The first clause of its line of meaning, for hints.
    pub(super) fn gist(&self) -> String {
        let gist = self.doc.split_once("; ").map_or(self.doc, |(gist, _)| gist);
        // Links are for the reference; a terminal shows their words only.
        let links = gist.split("](").enumerate();
        let words: String = links
            .map(|(n, part)| if n == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) })
            .collect();
        words.replace('[', "")
    }

    /// What its value can look like, in TOML: the default, or an example.
    pub(super) fn sample(&self) -> String {
        match (self.need, self.shape) {
            (Default(default), Shape::Whole(..) | Shape::WholeRange(..) | Shape::Statuses) => default.into(),
            (Default(default), _) => format!("{default:?}"),
            (_, shape) => shape.sample(),
        }
    }
}

/// Whether a key may be left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
    /// What holds when it is left out, written as in the file but without quotes.
    Default(&'static str),
}

/// What a key's value looks like.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Text,
    /// A whole number within bounds, both included.
    Whole(u64, u64),
    /// A whole number within bounds, or a range of two in quotes.
    WholeRange(u64, u64),
    Duration,
    /// A duration longer than zero.
    Period,
    Range,
    /// One of a few words, each with its meaning.
    Choice(fn() -> Vec<(&'static str, &'static str)>),
    /// Exit statuses.
    Statuses,
    /// Two different machines.
    TwoMachines,
    /// An event's name.
    Event,
    /// A sender's name.
    Sender,
    /// The name of a group of peers.
    Peers,
    Table(&'static [Key]),
    /// A table of tables under names of the author's choice.
    Named(&'static [Key]),
    Steps,
    Supervisor,
    Policies,
    /// Settings of the gateway's configuration, by their dotted paths.
    Settings,
    Outcomes,
    Fates,
    /// The axes of a matrix, by name.
    Axes,
    /// Some values of some axes.
    Places,
    /// What is different in some cells.
    Cells,
}

impl Shape {
    fn sample(self) -> String {
        match self {
            Self::Text => r#""...""#.into(),
            Self::Whole(min, _) | Self::WholeRange(min, _) => min.to_string(),
            Self::Duration | Self::Period => r#""5s""#.into(),
            Self::Range => r#""1s..5s""#.into(),
            Self::Choice(words) => format!("{:?}", words().first().map_or("", |(word, _)| word)),
            Self::Statuses => "[78]".into(),
            Self::TwoMachines => r#"["clients", "gateway"]"#.into(),
            Self::Event => r#""run.started""#.into(),
            Self::Sender => r#""ann""#.into(),
            Self::Peers => r#""tabs""#.into(),
            Self::Supervisor => r#"{ kind = "systemd" }"#.into(),
            Self::Policies => r#"{ stop-drain = "skip" }"#.into(),
            Self::Table(_) | Self::Named(_) => "{ ... }".into(),
            Self::Settings => r#"{ "gateway.drainBudgetMs" = 1000 }"#.into(),
            Self::Steps => "[{ ... }]".into(),
            Self::Outcomes => r#"{ hardened = "pass" }"#.into(),
            Self::Fates => r#"{ "ann#1" = "replied" }"#.into(),
            Self::Axes => r#"{ signal = ["SIGTERM", "SIGINT"] }"#.into(),
            Self::Places => r#"{ signal = "SIGTERM" }"#.into(),
            Self::Cells => "[{ ... }]".into(),
        }
    }
}

pub(super) const fn key(name: &'static str, shape: Shape, need: Need, doc: &'static str) -> Key {
    Key { name, shape, need, doc }
}

use Need::{Default, Optional, Required};

/// The most messages that a scenario may send, all steps together.
pub(super) const MOST_MESSAGES: u64 = 10_000;

/// The most often that one step may be done.
const MOST_TIMES: u64 = 100;

/// The most command-line tools that a scenario may start, all steps together: each is a process.
pub(super) const MOST_TOOLS: u64 = 100;

pub(super) const FILE: &[Key] = &[
    key("name", Shape::Text, Required, "What the scenario shows, in a few words"),
    key("about", Shape::Text, Optional, "Why it matters, in sentences"),
    key("issue", Shape::Text, Optional, "The report it reproduces, such as \"openclaw/openclaw#38836\""),
    key(
        "settle",
        Shape::Duration,
        Default("20m"),
        "How long the world may calm down after the last step; it has to be enough for all the work that is left, \
         since what is unanswered then counts as dropped",
    ),
    key(
        "storm-limit",
        Shape::Period,
        Default("10m"),
        "Steps that have not fired by then never fire, and the run is inconclusive",
    ),
    key("gateway", Shape::Table(GATEWAY), Optional, "How the gateway is set up and supervised"),
    key("provider", Shape::Table(PROVIDER), Optional, "How the model provider behaves"),
    key("senders", Shape::Named(SENDER), Optional, "Those who send messages, by name"),
    key(
        "platforms",
        Shape::Table(PLATFORMS),
        Optional,
        "How the chat platforms behave while nothing is broken",
    ),
    key(
        "peers",
        Shape::Named(PEERS),
        Optional,
        "Those who connect and do not do their part, by name of their group",
    ),
    key("cron", Shape::Named(CRON), Optional, "The gateway's scheduled jobs, by name"),
    key(
        "programs",
        Shape::Named(PROGRAM),
        Optional,
        "Programs on the gateway's machine that it can run, as its hooks do, by name",
    ),
    key("network", Shape::Table(NETWORK), Optional, "How the network behaves while nothing is broken"),
    key("disk", Shape::Table(DISK), Optional, "How the gateway's disk behaves while nothing is broken"),
    key(
        "probe",
        Shape::Table(PROBE),
        Optional,
        "Somebody who polls /readyz; without it nobody judges readiness",
    ),
    key(
        "intruder",
        Shape::Table(INTRUDER),
        Optional,
        "Somebody who sends unauthenticated and malformed requests; without it nobody judges authentication",
    ),
    key("steps", Shape::Steps, Optional, "The script: load, signals, faults, operator actions"),
    key("expect", Shape::Table(EXPECT), Optional, "What the runs should come to"),
    key(
        "matrix",
        Shape::Axes,
        Optional,
        "The [axes](#matrix) of the many scenarios that the file stands for",
    ),
    key("cells", Shape::Cells, Optional, "What is different in some cells of the matrix"),
];

/// The keys of an entry of `[[cells]]`.
pub(super) const CELLS: &[Key] = &[
    key(
        "when",
        Shape::Places,
        Required,
        "The cells it is about: a value, or a list of them, for each axis that matters",
    ),
    key("skip", Shape::Text, Optional, "Why these cells are not run"),
    key(
        "outcomes",
        Shape::Outcomes,
        Optional,
        "As in `[expect]`; replaces what is said there of these profiles",
    ),
    key("fates", Shape::Fates, Optional, "As in `[expect]`; replaces what is said there of these messages"),
];

pub(super) const GATEWAY: &[Key] = &[
    key("port", Shape::Whole(1, 65_535), Default("18789"), "The port it listens on"),
    key("token", Shape::Text, Default("sim-token"), "The token that clients have to present"),
    key(
        "drain-budget",
        Shape::Duration,
        Default("300s"),
        "How long it may go on working on accepted messages before it ends; for a stop, the supervisor's stop \
         timeout cuts this short",
    ),
    key(
        "deferral-limit",
        Shape::Duration,
        Optional,
        "How long a restart waits for work in hand before it goes ahead; `\"0s\"` is without limit. By default what \
         the gateway's own default is, 300 s",
    ),
    key(
        "max-buffered",
        Shape::Whole(1_024, 1 << 30),
        Default("4194304"),
        "How many bytes may wait for a client that does not read fast enough",
    ),
    key(
        "startup",
        Shape::Range,
        Default("50ms..150ms"),
        "From exec to the program's first own step, such as handling signals; drawn for each start",
    ),
    key("supervisor", Shape::Supervisor, Optional, "Who starts it again"),
    key(
        "settings",
        Shape::Settings,
        Optional,
        "Other settings of its configuration, by their dotted paths, as in `{ \"gateway.reload.mode\" = \"restart\" }`",
    ),
    key(
        "policies",
        Shape::Policies,
        Optional,
        "Single policies that differ from the profile's, as in `{ stop-drain = \"skip\" }`",
    ),
];

pub(super) const PROVIDER: &[Key] = &[
    key(
        "first-token",
        Shape::Range,
        Default("800ms"),
        "From a request to the first token of its answer; drawn for each request",
    ),
    key("tokens", Shape::Whole(1, 10_000), Default("20"), "How many tokens an answer has"),
    key("token-interval", Shape::Duration, Default("50ms"), "From one token to the next"),
    key(
        "behaviour",
        Shape::Choice(ProviderBehaviour::meanings),
        Default("answers"),
        "What becomes of a request",
    ),
    key(
        "fail-first",
        Shape::Whole(0, 1_000_000),
        Default("0"),
        "So many requests, counted over the whole run, fail before `behaviour` sets in",
    ),
];

pub(super) const SENDER: &[Key] = &[
    key(
        "channel",
        Shape::Choice(Channel::meanings),
        Default("webchat"),
        "Where the sender talks to the gateway",
    ),
    SENDER_ACCOUNT,
    key(
        "kind",
        Shape::Choice(SenderKind::meanings),
        Default("patient"),
        "How the sender behaves as a peer, and when something breaks",
    ),
    key("token", Shape::Text, Optional, "The token it presents, if not the gateway's"),
    key(
        "joins",
        Shape::Sender,
        Optional,
        "The sender in whose conversation it takes part; without it, it has one of its own",
    ),
];

pub(super) const CRON: &[Key] = &[
    key(
        "every",
        Shape::Period,
        Required,
        "From one run to the next, at least a second; the wall clock shows midnight when the world begins, so the first \
         run of a job that divides a day is due after this time",
    ),
    key("text", Shape::Text, Default("report"), "What the model is asked"),
    key(
        "on-interruption",
        Shape::Choice(OnInterruption::meanings),
        Default("retry"),
        "What becomes of a run that a restart interrupts",
    ),
    key(
        "session-of",
        Shape::Sender,
        Optional,
        "The sender in whose conversation it is asked; by default in one of the job's own",
    ),
];

pub(super) const NETWORK: &[Key] = &[key(
    "latency",
    Shape::Range,
    Default("1ms..3ms"),
    "One way, from machine to machine; drawn for each packet, without overtaking",
)];

pub(super) const DISK: &[Key] = &[key(
    "sync",
    Shape::Range,
    Default("0ms..2ms"),
    "How long it takes to make a file or a name durable, during which the process stands still; drawn for each",
)];

pub(super) const PROBE: &[Key] = &[key("every", Shape::Period, Required, "From one probe to the next")];

pub(super) const INTRUDER: &[Key] = &[key("every", Shape::Period, Required, "From one request to the next")];

pub(super) const EXPECT: &[Key] = &[
    key(
        "outcomes",
        Shape::Outcomes,
        Optional,
        "The profiles to run under, each with its outcome: \"pass\", \"fail: INVARIANT, ...\" or \
         \"inconclusive\"; without it, `{ hardened = \"pass\" }`",
    ),
    key(
        "fates",
        Shape::Fates,
        Optional,
        "By message, such as \"ann#1\": the fate or fates that are all right, under every profile that is to pass",
    ),
];

/// The keys that every step has.
pub(super) const STEP: &[Key] = &[
    key("name", Shape::Text, Optional, "The step's name in reports; by default, what it does"),
    key("at", Shape::Range, Optional, "When, since the world began"),
    key("on", Shape::Event, Optional, "Instead of `at`: the event to wait for"),
    key("nth", Shape::Whole(1, 1_000_000), Default("1"), "With `on`: which of these events, counted from 1"),
    key(
        "of",
        Shape::Sender,
        Optional,
        "With `on`: only events of this sender, or about its messages, or of this group of peers, count",
    ),
    key(
        "path",
        Shape::Text,
        Optional,
        "With `on = \"disk. ...\"`: only files that match this [pattern](#files-and-patterns) count",
    ),
    key("after", Shape::Range, Default("0s"), "With `on`: so long after the event"),
    key(
        "times",
        Shape::Whole(1, MOST_TIMES),
        Default("1"),
        "With `on`: how often it is done at most: at that event, and at those like it that follow. Once is enough for the \
         run to be evidence; the storm lasts until all are done, or until `storm-limit`",
    ),
    key("do", Shape::Choice(verbs), Required, "What is done"),
];

/// A word for `do`, with the keys that it brings.
pub(super) struct VerbKeys {
    pub(super) word: &'static str,
    pub(super) keys: &'static [Key],
    pub(super) doc: &'static str,
}

pub(super) const fn verb(word: &'static str, keys: &'static [Key], doc: &'static str) -> VerbKeys {
    VerbKeys { word, keys, doc }
}

pub(super) const VERBS: &[VerbKeys] = &[
    verb(
        "send",
        &[
            key("from", Shape::Sender, Required, "The sender"),
            key(
                "text",
                Shape::Text,
                Required,
                "What it says; the message's mark, as in `[ann#1]`, is added to it",
            ),
            key("count", Shape::Whole(1, MOST_MESSAGES), Default("1"), "How many messages"),
            key("every", Shape::Duration, Default("0ms"), "From one message to the next"),
            SPAWNS,
            CHILD_TAKES,
        ],
        "A sender hands over messages, as soon as it has a connection; on a platform, at once",
    ),
    verb(
        "abort",
        &[key("from", Shape::Sender, Required, "The sender")],
        "A sender stops whatever runs or waits in its conversation (`chat.abort`; on a platform it writes `/stop`)",
    ),
    verb(
        "signal",
        &[key("signal", Shape::Choice(Signal::meanings), Required, "Which signal"), PROCESS],
        "The gateway's process gets a signal, past its supervisor",
    ),
    verb("kill", &[PROCESS], "The gateway's process gets SIGKILL: its memory is gone, its files are not"),
    verb(
        "freeze",
        &[key("for", Shape::Range, Required, "How long it stands still"), PROCESS],
        "The gateway's process is not scheduled for a while: SIGSTOP, a long pause, a blocked loop",
    ),
    verb(
        "port-lingers",
        &[key("for", Shape::Range, Required, "How long it stays taken; drawn once")],
        "From now on, and until the storm ends, the port of a gateway that is killed stays taken for a while after \
         its end: its kernel takes its time",
    ),
    verb(
        "power-loss",
        &[key("off-for", Shape::Range, Default("5s"), "How long until the power is back")],
        "The gateway's machine loses power: nothing is sent, and what was not synced may be lost. When power is \
         back, the supervisor starts the gateway",
    ),
    verb(
        "partition",
        &[
            key("between", Shape::TwoMachines, Required, "The two machines"),
            key("for", Shape::Range, Required, "How long they are cut off from each other"),
        ],
        "Two machines cannot reach each other for a while; packets wait, and arrive in order when the link heals",
    ),
    SUSPEND,
    NAME_UNKNOWN,
    verb("service-stop", &[], "The supervisor is asked to stop the gateway: SIGTERM, and it stays down"),
    verb("service-start", &[], "The supervisor is asked to start the gateway"),
    verb("service-restart", &[], "The supervisor is asked to restart the gateway: SIGTERM, then a start"),
    verb(
        "reload-service",
        &[],
        "Somebody runs the gateway's command-line tool on its machine, `gateway service reload`, under the same \
         policies: it asks the service manager for a stop and for a start, as after a change of the service's own \
         definition. What it waits for and looks at is the policy `reload`. Not where no program can ask the supervisor",
    ),
    verb(
        "start-second-instance",
        &[],
        "A second gateway is started by hand on the same machine, with the same configuration and state folder",
    ),
    verb(
        "run-tool",
        &[
            key("session-of", Shape::Sender, Required, "Whose conversation it labels"),
            key(
                "label",
                Shape::Text,
                Required,
                "The label; a mark is added to it, as in `[tool#1]`, by which observers find it in the state",
            ),
            key("count", Shape::Whole(1, MOST_TOOLS), Default("1"), "How many tools, one process each"),
            key("every", Shape::Duration, Default("0ms"), "From one start to the next"),
        ],
        "Somebody runs the gateway's command-line tool on its machine, `gateway sessions label`, beside the gateway \
         and under the same policies: the second writer of the session store. A tool that has not ended when the \
         run does makes it inconclusive",
    ),
    ASK_FOR_RESTART,
    WRITE_CONFIG,
    REVERT_CONFIG,
    verb(
        "corrupt-state",
        &[
            key("file", Shape::Text, Required, "Path inside the state folder"),
            key("text", Shape::Text, Required, "The new contents"),
        ],
        "A file of the gateway's state is overwritten behind its back",
    ),
    DISK_FAULT,
    CRASH_AT,
    CLOCK_JUMP,
    SQUAT_LOCK,
    SQUAT_PORT,
    LEAVE_LOCK,
    PROVIDER_DOWN,
    PROVIDER_SLOW,
    PEERS_ARRIVE,
    PEERS_LEAVE,
    PEERS_RESET,
    PLATFORM_DOWN,
    PLATFORM_SLOW,
    PLATFORM_LIMITS,
    PLATFORM_BLOCKS,
    PLATFORM_CUTS_LINE,
    PLATFORM_TAKES_ITS_TIME,
];

fn verbs() -> Vec<(&'static str, &'static str)> {
    VERBS.iter().map(|verb| (verb.word, verb.doc)).collect()
}

/// The words for `do`.
pub(super) fn verb_words() -> Vec<&'static str> {
    VERBS.iter().map(|verb| verb.word).collect()
}

/// What the machines are called.
pub(super) fn machine_words() -> Vec<&'static str> {
    Machine::words()
}
