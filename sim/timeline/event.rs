//! What can happen: the vocabulary of the timeline.
//!
//! Facts are observations from outside the gateway (senders, provider, operator, supervisor, sockets, disk,
//! process table), plus the gateway's own log records, which are marked as such ([`Fact::Log`]) and which no
//! oracle may use to decide a fate.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use gateway::env::{EndSignal, ExitCode, FsOp, Pid, Signal};
use serde::Serialize;

use super::injection::Injection;
use super::platforms::Platform;
use super::restarts::{RestartEnding, RestartMode};
use super::subagents::{SubagentId, SubagentRow, SubagentSeen};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Event {
    /// Virtual time since the world began, in whole milliseconds.
    pub at: Duration,
    /// Who did it, or where it was seen.
    pub source: Source,
    /// What happened.
    pub fact: Fact,
}

/// Who an event belongs to: the column it is shown in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The world itself: phases of the run.
    World,
    /// The person or script that sends signals and pulls plugs.
    Operator,
    /// The service manager of a machine.
    Supervisor,
    /// The model provider.
    Provider,
    /// A machine, by name: power, links, disk.
    Machine(String),
    /// A process.
    Process(Pid),
    /// A sender, by name.
    Sender(String),
    /// The readiness prober.
    Prober,
    /// Rude peers, by the name of their group.
    Peers(String),
    /// A chat platform.
    Platform(Platform),
}

/// A message as its sender counts it: `ann#1` is the first message that `ann` handed over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The sender's name.
    pub sender: String,
    /// Counting from 1.
    pub number: u32,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.sender, self.number)
    }
}

impl MessageId {
    /// The mark that a message's text carries, so that outside observers recognise it anywhere: `[ann#1]`.
    pub fn mark(&self) -> String {
        format!("[{self}]")
    }

    /// Every message id marked in `text`, in order.
    pub fn marked_in(text: &str) -> Vec<Self> {
        Self::marks_in(text).map(|(_, message)| message).collect()
    }

    /// Every mark in `text`, in order: where it begins, and the id in it. Looks for the number sign, of which a text
    /// has few.
    pub(crate) fn marks_in(text: &str) -> impl Iterator<Item = (usize, Self)> {
        text.match_indices('#').filter_map(|(sign, _)| {
            // Byte by byte, since what is looked for is near.
            let before = text[..sign].bytes().rposition(|byte| matches!(byte, b'[' | b']' | b'#'));
            let open = before.filter(|&at| text[at..].starts_with('['))?;
            let sender = &text[open + 1..sign];
            let number = text[sign + 1..].bytes().position(|byte| byte == b']')?;
            let number = &text[sign + 1..sign + 1 + number];
            let number = number.parse().ok().filter(|_| !sender.is_empty())?;
            Some((open, Self { sender: sender.to_string(), number }))
        })
    }
}

/// How something reached a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// Pushed over the open connection.
    Live,
    /// Read from `chat.history` after a reconnect.
    History,
    /// Taken by a chat platform, which shows it to the sender; the `send`th message that platforms took.
    Platform {
        /// See [`Fact::SendTaken`].
        send: u32,
    },
    /// Said in the answer to the message itself, which had been handed over once more.
    Repeated,
}

impl Via {
    /// How a report shows it.
    pub(crate) const fn arrow(self) -> &'static str {
        match self {
            Self::Live | Self::Platform { .. } => "<-",
            Self::History => "<- history",
            Self::Repeated => "<- repeated",
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeathCause {
    /// It ended by itself.
    Exited(ExitCode),
    /// The default action of a signal it had not (yet) handled.
    Signal(Signal),
    /// SIGKILL.
    Killed,
    /// Its machine lost power.
    PowerLoss,
    /// It panicked (exit code 101).
    Panicked,
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit {code}"),
            Self::Signal(signal) => write!(f, "killed by {signal}"),
            Self::Killed => f.write_str("killed by SIGKILL"),
            Self::PowerLoss => f.write_str("power lost"),
            Self::Panicked => f.write_str("panicked, exit 101"),
        }
    }
}

/// The severity of a gateway log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the levels of tracing")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// One log record of a gateway process.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct LogRecord {
    /// The event name given in the source, such as `run.started`.
    pub name: String,
    /// Severity.
    pub level: Level,
    /// Field names and values in the order of the source.
    pub fields: Vec<(String, String)>,
}

impl LogRecord {
    /// The value of the field called `name`.
    pub fn field(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(field, _)| field == name)?;
        Some(value)
    }
}

/// How a connection ends ([`Fact::SenderDisconnected`]) whose sender will never look again. A reply or notice
/// kept for such a sender counts as delivered.
pub const LEFT_FOR_GOOD: &str = "left for good";

/// The file that keeps the sessions, inside the state directory: the one file of the gateway's that outside observers
/// know by name.
pub(crate) const STORE_FILE: &str = "sessions.json";

/// What an outside observer finds in a machine's state directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StateSeen {
    /// `None`: there is no session store. `Some(Err(why))`: there is one and it does not parse.
    pub store: Option<Result<(), String>>,
    /// Every message whose mark stands somewhere in the state directory.
    pub mentioned: BTreeSet<MessageId>,
    /// Every message whose *reply* stands somewhere in the state directory.
    pub answered: BTreeSet<MessageId>,
    /// Every message about which a *notice* to its sender stands somewhere in the state directory.
    pub noticed: BTreeSet<MessageId>,
    /// Every message that the next start will find to tell of, whatever befalls the machine: it is open in the journal
    /// of accepted messages, a text that names it waits for its platform, or a reply or a notice stands in a transcript, as
    /// far as the disk's content is durable.
    pub kept: BTreeSet<MessageId>,
    /// The keys of the session store, when it parses.
    pub sessions: BTreeSet<String>,
    /// Those of them that the store calls running.
    pub running: BTreeSet<String>,
    /// Every lock file, by its path inside the state directory.
    pub locks: BTreeSet<String>,
    /// Every record of a scheduled run, in the order in which they stand there.
    pub cron: Vec<CronRecord>,
    /// The gateway's books of subagents.
    pub subagents: Vec<SubagentRow>,
}

/// What the gateway's own books say of one scheduled run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CronRecord {
    /// The job.
    pub job: String,
    /// The time it was scheduled for, in milliseconds of the machine's wall clock.
    pub slot_ms: u64,
    /// The last of the times that the record is about; the same unless many were skipped together.
    pub until_ms: u64,
    /// What became of it, in the gateway's word: `started`, `interrupted`, `ok`, `error`, `skipped`.
    pub status: String,
}

/// What an operator can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Hash)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorOrder {
    /// A start, of the supervisor.
    Start,
    /// A stop, of the supervisor.
    Stop,
    /// A restart, of the supervisor.
    Restart,
    /// None: the gateway's own tool asks the supervisor for a stop, and for a start.
    Reload,
    /// None: another gateway is started by hand.
    StartByHand,
}

impl OperatorOrder {
    /// In words, of the service: `asked to stop`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Start => "asked to start",
            Self::Stop => "asked to stop",
            Self::Restart => "asked to restart",
            Self::Reload => "loaded anew by its tool",
            Self::StartByHand => "started by hand",
        }
    }
}

/// The facts. Names (`Fact::name`) are what a scenario's `on = "..."` anchors to.
#[derive(Clone, Debug, PartialEq, Hash)]
#[allow(missing_docs, reason = "fields are named for what they hold")]
pub enum Fact {
    // -- senders: what was handed over and what came back
    /// A sender opened its connection and finished the handshake.
    SenderConnected,
    /// A sender's connection ended; `how` in words.
    SenderDisconnected { how: String },
    /// A sender will never look at what the gateway sends, by its own choice: what is kept for it counts as
    /// delivered.
    SenderStoppedListening,
    /// The sender talks in the conversation of another one.
    SenderJoined { whose: String },
    /// A sender could not connect.
    SenderConnectFailed { how: String },
    /// A message was handed over; `attempt` counts from 1 for retries of the same message. `key` is its
    /// idempotency key, by which the gateway's log records call it.
    MessageSent { message: MessageId, text: String, key: String, attempt: u32 },
    /// The gateway acknowledged the message.
    MessageAccepted { message: MessageId },
    /// The gateway answered that it had the message before, and that it is over. What it came to, if that is new to the
    /// sender, follows.
    MessageOver { message: MessageId },
    /// The sender knows at once that this attempt was not accepted.
    MessageRefused { message: MessageId, reason: String },
    /// The sender cannot know: the connection broke after sending and before the acknowledgement.
    MessageUnacknowledged { message: MessageId },
    /// The sender stopped its message (`chat.abort`) and the gateway confirmed.
    MessageCancelled { message: MessageId },
    /// The sender asked the gateway to stop the message, and does not know yet whether it did.
    MessageStopRequested { message: MessageId },
    /// The sender asked for everything to be stopped in a conversation that several share.
    ConversationStopRequested { whose: String },
    /// A reply that answers `message` reached the sender.
    ReplyReceived { message: MessageId, text: String, via: Via },
    /// An explicit error or notice reached the sender; about one message, or about its whole conversation.
    NoticeReceived { message: Option<MessageId>, text: String, via: Via },

    // -- rude peers, by their number in their group, counted from 1
    /// A peer has come as far as its kind goes; `place` says how far that is.
    PeerConnected { peer: u32, place: &'static str },
    /// A peer did not come that far; `how` in words.
    PeerTurnedAway { peer: u32, how: String },
    /// A connection that had come that far ended; `how` in words.
    PeerEnded { peer: u32, place: &'static str, how: String },
    /// Somebody who follows a sender's conversation and reads everything at once has been sent so many bytes of its
    /// events since the world began. Told in steps, so the truth may be a little more.
    ConversationHeard { sender: String, bytes: u64 },

    // -- chat platforms
    /// A bot opened a connection on which it asks for updates, or is pushed events. Connections are counted from 1.
    /// `pid` is whose it is, where that can be seen.
    BotConnected { account: String, connection: u32, pid: Option<Pid> },
    /// Such a connection ended, as the platform sees it; `how` in words.
    BotDisconnected { account: String, connection: u32, how: String },
    /// A poll of a bot ended another one's: two of them are asking at a time.
    PollConflict { account: String, ended: Option<Pid>, by: Option<Pid> },
    /// The platform handed a message out to its bot; for the `times`th time, under the name `key`.
    UpdateHandedOut { message: MessageId, key: String, times: u32 },
    /// The platform took a bot's message; sends are counted from 1 over all platforms. `key`: the one by which the
    /// platform would recognise it if it came once more; `again`: it did, and nothing more was shown to anybody.
    /// `under_way`: for how long the platform had had it by then.
    SendTaken {
        account: String,
        send: u32,
        key: Option<String>,
        pid: Option<Pid>,
        to: String,
        text: String,
        again: bool,
        under_way: Duration,
    },
    /// The bot has been answered that its message was taken.
    SendAnswered { send: u32 },
    /// The bot can not know that its message was taken: the line ended before the answer, or right after it, while it was
    /// on its way. `cut`: the platform ended it.
    SendUnanswered { send: u32, cut: bool },
    /// The platform did not take a bot's message; `why` in words.
    SendRefused { account: String, to: String, why: String },

    // -- model provider
    /// The provider received a request whose last user message is `message`.
    ProviderRequested { message: MessageId, request: u32 },
    /// The provider finished its answer.
    ProviderAnswered { message: MessageId, request: u32, tokens: u32 },
    /// The provider did not finish; `how` in words.
    ProviderStopped { message: MessageId, request: u32, how: String },
    /// The provider's answer was that it wants tools to be used first.
    ProviderWantedTools { message: MessageId, request: u32 },

    // -- subagents
    /// Something was seen of a subagent, by the provider or by the sender.
    Subagent { subagent: SubagentId, seen: SubagentSeen },
    /// A sender that may have subagents asked for everything in its conversation to be stopped.
    SubagentsStopRequested,
    /// The gateway confirmed a stop, and that it stopped so many runs of subagents, or about them.
    SubagentsCancelled { runs: u32 },

    /// The provider was told what came of the program that it had wanted run for `message`.
    ProgramTold { message: MessageId, said: String },
    /// The provider received the request of a scheduled run.
    CronRunRequested { job: String, slot_ms: u64, request: u32 },
    /// The provider finished its answer to a scheduled run.
    CronRunAnswered { job: String, slot_ms: u64, request: u32 },
    /// The provider did not finish its answer to a scheduled run; `how` in words.
    CronRunStopped { job: String, slot_ms: u64, request: u32, how: String },

    // -- command-line tools
    /// A command-line tool ended. `message` is the mark that it was to leave in the state, `done` whether it says
    /// that it did.
    ToolFinished { tool: String, message: Option<MessageId>, done: bool, said: String },
    /// The operator asks the gateway to restart, with its command line; requests are counted from 1.
    RestartAsked { request: u32, mode: RestartMode },
    /// That request is made from a sender's conversation, as a tool of the model makes it, and with words that are to be
    /// said there when it is over.
    RestartAskedFrom { request: u32, sender: String, note: String },
    /// That command line ended. `ok`: the restart is done or under way, by its exit status. `result` is the word of its
    /// answer for what becomes of the request, if it had one; `said` is the answer.
    RestartAnswered { request: u32, ok: bool, result: Option<String>, said: String },
    /// The operator learned what came of a request.
    RestartReported { request: u32, ending: RestartEnding, said: String },

    // -- processes
    /// A process of `program` started on `machine`.
    ProcessStarted { pid: Pid, machine: String, program: String },
    /// A process ended.
    ProcessExited { pid: Pid, machine: String, program: String, cause: DeathCause },
    /// The process that has just started runs a command of another one, which has given it this to read.
    CommandBegan { pid: Pid, by: Pid, arguments: Vec<String>, input: String },
    /// A process is no longer scheduled.
    ProcessFrozen { pid: Pid },
    /// A frozen process runs again.
    ProcessThawed { pid: Pid },
    /// A signal was sent; `handled` is false when its default action applied.
    SignalDelivered { pid: Pid, signal: Signal, handled: bool },
    /// A process sends another one a signal that ends it; what comes of it follows.
    ProcessStruck { pid: Pid, by: Pid, signal: EndSignal },
    /// A process listens on a port.
    PortBound { pid: Pid, machine: String, port: u16 },
    /// A process does not listen on a port any more.
    PortReleased { pid: Pid, machine: String, port: u16 },
    /// A process could not listen: `AddrInUse`.
    BindRefused { pid: Pid, machine: String, port: u16 },

    // -- supervisor
    /// The operator wants something of the service.
    Ordered { order: OperatorOrder },
    /// The supervisor starts the service; `attempt` counts starts of this run from 1.
    ServiceStarting { attempt: u32 },
    /// The supervisor was asked to stop the service and sends its stop signal.
    ServiceStopping { stop_timeout: Duration },
    /// The stop timeout passed; SIGKILL follows.
    StopTimedOut,
    /// The service is down and stays down: it was stopped, or its exit status forbids a restart.
    ServiceInactive { why: String },
    /// The service ended and will be started again after `after`.
    RestartScheduled { after: Duration },
    /// Too many starts in the interval: the supervisor gives up.
    StartLimitHit,
    /// The supervisor was asked for something and does not do it; both in its own words.
    ServiceOrderRefused { order: String, why: String },

    // -- machines
    /// The machine lost power; so many pending disk operations were lost with it.
    PowerLost { lost_operations: u32 },
    /// The machine is up again.
    PowerRestored,
    /// Packets between two machines stop (`held` later arrive, in order).
    LinkPartitioned { a: String, b: String },
    /// The link works again.
    LinkHealed { a: String, b: String },
    /// The wall clock of a machine was set forward, or back where `by_ms` is negative. It stays there.
    ClockJumped { machine: String, by_ms: i64 },
    /// A disk operation of a process. `bytes` for writes and reads.
    Disk { pid: Pid, op: FsOp, path: String, bytes: u64, error: Option<String> },
    /// The state directory as found by an outside observer: after a process died, and at the end.
    State(Box<StateSeen>),

    // -- prober
    /// `/readyz` answered; `None`: no answer. `asked_at` is when the probe was sent.
    ReadySeen { ready: Option<bool>, asked_at: Duration },
    /// An unauthenticated or malformed request was refused as it should be (`refused`), or not.
    IntruderAnswered { request: String, refused: bool },

    // -- the run itself
    /// The storm phase is over: faults end, links heal.
    SettleBegan,
    /// The run is over.
    RunEnded,
    /// A fault was injected; `what` in words.
    Injected { fault: Injection, what: String },
    /// Something that is worth showing and has no fact of its own, in words.
    Remarked { what: String },
    /// Somebody edits the gateway's configuration file; `what` in words.
    ConfigEdited { what: String },

    // -- the gateway's own words
    /// A log record of a gateway process. Evidence for people and anchors, never for a fate.
    Log { pid: Pid, record: LogRecord },
}

/// The name of an event, as scenario anchors use it.
pub type EventName = str;

/// Where and when a message was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Hash)]
pub struct Sighting {
    /// Virtual milliseconds since the world began.
    pub at_ms: u64,
    /// The place, in words.
    #[serde(rename = "where")]
    pub place: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_anywhere_in_a_text() {
        let found = MessageId::marked_in(r#"{"a":"hello [ann#1]"} [x] [bob#12] [#3] [c#] [ann#1"#);
        let names: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["ann#1", "bob#12"]);
        assert_eq!(
            MessageId::marked_in(r#""labels": ["of ann#2", "note [ann#3]"]"#).len(),
            1,
            "brackets of others"
        );
    }

    #[test]
    fn a_mark_names_its_message() {
        let id = MessageId { sender: "ann".into(), number: 7 };
        assert_eq!(MessageId::marked_in(&id.mark()), [id]);
    }
}
