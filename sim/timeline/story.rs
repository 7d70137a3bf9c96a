//! Hand-made event lists for tests, told like a story: `Story::new().at(1_000).sender("ann").sent(1)`.
//!
//! `at` sets the time of what follows; `sender` and `gateway` set who does it. Knows nothing of what the events
//! prove.

use std::collections::BTreeSet;
use std::time::Duration;

use gateway::env::{EndSignal, ExitCode, FsOp, Pid, Signal};

use super::{
    CronRecord, DeathCause, Event, Fact, GATEWAY_PROGRAM, Injection, LEFT_FOR_GOOD, Level, LogRecord,
    MessageId, Platform, RestartEnding, RestartMode, Source, StateSeen, SubagentId, SubagentRow,
    SubagentSeen, Via,
};

/// The machine that every gateway of a story runs on, and the port it listens on.
pub(crate) const MACHINE: &str = "gateway";
pub(crate) const PORT: u16 = 18789;

pub(crate) struct Story {
    now: Duration,
    sender: String,
    program: String,
    pid: Pid,
    events: Vec<Event>,
}

/// `id("ann#1")`: the message of that name.
pub(crate) fn id(name: &str) -> MessageId {
    MessageId::marked_in(&format!("[{name}]")).pop().expect("a message name such as ann#1")
}

/// The idempotency key of the message of that name.
pub(crate) fn key(name: &str) -> String {
    format!("key-of-{}", name.replace('#', "-"))
}

fn ids(names: &[&str]) -> BTreeSet<MessageId> {
    names.iter().map(|name| id(name)).collect()
}

impl Story {
    pub(crate) fn new() -> Self {
        let program = GATEWAY_PROGRAM.to_string();
        Self { now: Duration::ZERO, sender: "ann".into(), program, pid: Pid(214), events: Vec::new() }
    }

    pub(crate) fn events(self) -> Vec<Event> {
        self.events
    }

    pub(crate) fn at(mut self, ms: u64) -> Self {
        self.now = Duration::from_millis(ms);
        self
    }

    pub(crate) fn fact(mut self, source: Source, fact: Fact) -> Self {
        self.events.push(Event { at: self.now, source, fact });
        self
    }

    /// The gateway's machine gets another wall clock.
    pub(crate) fn clock_jumps(self, by_ms: i64) -> Self {
        let machine = MACHINE.to_string();
        self.fact(Source::Machine(machine.clone()), Fact::ClockJumped { machine, by_ms })
    }

    // -- a sender

    pub(crate) fn sender(mut self, name: &str) -> Self {
        self.sender = name.into();
        self
    }

    pub(crate) fn by_sender(self, fact: Fact) -> Self {
        let source = Source::Sender(self.sender.clone());
        self.fact(source, fact)
    }

    fn message(&self, number: u32) -> MessageId {
        MessageId { sender: self.sender.clone(), number }
    }

    pub(crate) fn connected(self) -> Self {
        self.by_sender(Fact::SenderConnected)
    }

    pub(crate) fn disconnected(self, how: &str) -> Self {
        self.by_sender(Fact::SenderDisconnected { how: how.into() })
    }

    pub(crate) fn deaf(self) -> Self {
        self.by_sender(Fact::SenderStoppedListening)
    }

    pub(crate) fn asks_to_stop(self, number: u32) -> Self {
        let message = self.message(number);
        self.by_sender(Fact::MessageStopRequested { message })
    }

    pub(crate) fn left(self) -> Self {
        self.disconnected(LEFT_FOR_GOOD)
    }

    pub(crate) fn sent(self, number: u32) -> Self {
        self.sent_again(number, 1)
    }

    pub(crate) fn sent_again(self, number: u32, attempt: u32) -> Self {
        let message = self.message(number);
        let text = format!("hello {}", message.mark());
        let key = key(&message.to_string());
        self.by_sender(Fact::MessageSent { message, text, key, attempt })
    }

    pub(crate) fn accepted(self, number: u32) -> Self {
        let message = self.message(number);
        self.by_sender(Fact::MessageAccepted { message })
    }

    /// The gateway answers that it knows the message, and that it is over.
    pub(crate) fn over(self, number: u32) -> Self {
        let message = self.message(number);
        self.by_sender(Fact::MessageOver { message })
    }

    pub(crate) fn refused(self, number: u32, reason: &str) -> Self {
        let message = self.message(number);
        self.by_sender(Fact::MessageRefused { message, reason: reason.into() })
    }

    pub(crate) fn unacknowledged(self, number: u32) -> Self {
        let message = self.message(number);
        self.by_sender(Fact::MessageUnacknowledged { message })
    }

    pub(crate) fn cancelled(self, number: u32) -> Self {
        let message = self.message(number);
        self.by_sender(Fact::MessageCancelled { message })
    }

    pub(crate) fn replied(self, number: u32, text: &str) -> Self {
        let message = self.message(number);
        self.by_sender(Fact::ReplyReceived { message, text: text.into(), via: Via::Live })
    }

    pub(crate) fn found_reply(self, number: u32, text: &str) -> Self {
        let message = self.message(number);
        self.by_sender(Fact::ReplyReceived { message, text: text.into(), via: Via::History })
    }

    pub(crate) fn told(self, number: u32, text: &str) -> Self {
        let message = Some(self.message(number));
        self.by_sender(Fact::NoticeReceived { message, text: text.into(), via: Via::Live })
    }

    pub(crate) fn told_all(self, text: &str) -> Self {
        self.by_sender(Fact::NoticeReceived { message: None, text: text.into(), via: Via::Live })
    }

    // -- a platform, on which the current sender talks to the bot `main`

    /// The platform takes what the current process sends, without an answer yet.
    pub(crate) fn takes(self, platform: Platform, send: u32, key: Option<&str>) -> Self {
        self.takes_after(0, platform, send, key)
    }

    /// As [`Self::takes`]; the platform had it for so long.
    pub(crate) fn takes_after(self, ms: u64, platform: Platform, send: u32, key: Option<&str>) -> Self {
        let (pid, to) = (Some(self.pid), self.sender.clone());
        let (account, text, key) = ("main".to_string(), String::new(), key.map(str::to_string));
        let taken = Fact::SendTaken {
            account,
            send,
            key,
            pid,
            to,
            text,
            again: false,
            under_way: Duration::from_millis(ms),
        };
        self.fact(Source::Platform(platform), taken)
    }

    pub(crate) fn answers_send(self, send: u32) -> Self {
        self.fact(Source::Platform(Platform::Telegram), Fact::SendAnswered { send })
    }

    pub(crate) fn loses_send(self, send: u32, cut: bool) -> Self {
        self.fact(Source::Platform(Platform::Telegram), Fact::SendUnanswered { send, cut })
    }

    /// The sender writes on telegram.
    pub(crate) fn writes(self, number: u32) -> Self {
        let message = self.message(number);
        let text = format!("hello {}", message.mark());
        let key = Platform::Telegram.key("main", &number.to_string());
        self.by_sender(Fact::MessageSent { message, text, key, attempt: 1 })
    }

    /// The platform hands it out.
    pub(crate) fn handed_out(self, number: u32, times: u32) -> Self {
        let message = self.message(number);
        let key = Platform::Telegram.key("main", &number.to_string());
        self.fact(Source::Platform(Platform::Telegram), Fact::UpdateHandedOut { message, key, times })
    }

    /// The platform takes a reply, as the `send`th thing it takes.
    pub(crate) fn posts_reply(self, number: u32, send: u32, text: &str) -> Self {
        let story = self.takes(Platform::Telegram, send, None);
        let (message, via) = (story.message(number), Via::Platform { send });
        story.by_sender(Fact::ReplyReceived { message, text: text.into(), via })
    }

    /// The platform takes a notice about these messages.
    pub(crate) fn posts_notice(self, numbers: &[u32], send: u32, text: &str) -> Self {
        let story = self.takes(Platform::Telegram, send, None);
        numbers.iter().fold(story, |story, number| {
            let (message, via) = (Some(story.message(*number)), Via::Platform { send });
            story.by_sender(Fact::NoticeReceived { message, text: text.into(), via })
        })
    }

    /// The current process opens a connection of the bot `main`.
    pub(crate) fn bot_connects(self, connection: u32) -> Self {
        let (account, pid) = ("main".to_string(), Some(self.pid));
        self.fact(Source::Platform(Platform::Feishu), Fact::BotConnected { account, connection, pid })
    }

    pub(crate) fn bot_leaves(self, connection: u32) -> Self {
        let (account, how) = ("main".to_string(), "closed".to_string());
        self.fact(Source::Platform(Platform::Feishu), Fact::BotDisconnected { account, connection, how })
    }

    /// A poll of the process `by` ends one of the process `ended`.
    pub(crate) fn polls_conflict(self, ended: u32, by: u32) -> Self {
        let (account, ended, by) = ("main".to_string(), Some(Pid(ended)), Some(Pid(by)));
        self.fact(Source::Platform(Platform::Telegram), Fact::PollConflict { account, ended, by })
    }

    // -- the model, about messages of the current sender

    pub(crate) fn asked(self, number: u32, request: u32) -> Self {
        let message = self.message(number);
        self.fact(Source::Provider, Fact::ProviderRequested { message, request })
    }

    pub(crate) fn answered(self, number: u32, request: u32) -> Self {
        let message = self.message(number);
        self.fact(Source::Provider, Fact::ProviderAnswered { message, request, tokens: 20 })
    }

    pub(crate) fn stopped(self, number: u32, request: u32, how: &str) -> Self {
        let message = self.message(number);
        self.fact(Source::Provider, Fact::ProviderStopped { message, request, how: how.into() })
    }

    // -- scheduled runs

    pub(crate) fn cron_asked(self, job: &str, slot_ms: u64, request: u32) -> Self {
        self.fact(Source::Provider, Fact::CronRunRequested { job: job.into(), slot_ms, request })
    }

    pub(crate) fn cron_answered(self, job: &str, slot_ms: u64, request: u32) -> Self {
        self.fact(Source::Provider, Fact::CronRunAnswered { job: job.into(), slot_ms, request })
    }

    pub(crate) fn cron_stopped(self, job: &str, slot_ms: u64, request: u32) -> Self {
        let how = "client went away".to_string();
        self.fact(Source::Provider, Fact::CronRunStopped { job: job.into(), slot_ms, request, how })
    }

    /// A look into the state directory that found these records: job, first and last time, status.
    pub(crate) fn books(self, records: &[(&str, u64, u64, &str)]) -> Self {
        let record = |(job, slot_ms, until_ms, status): &(&str, u64, u64, &str)| CronRecord {
            job: (*job).into(),
            slot_ms: *slot_ms,
            until_ms: *until_ms,
            status: (*status).into(),
        };
        let seen = StateSeen { cron: records.iter().map(record).collect(), ..StateSeen::default() };
        self.fact(Source::Machine(MACHINE.into()), Fact::State(Box::new(seen)))
    }

    // -- subagents of the current sender's first message, by their numbers

    pub(crate) fn subagent(self, number: u32, seen: SubagentSeen) -> Self {
        let subagent = SubagentId { message: self.message(1), number };
        match seen {
            SubagentSeen::Heard { .. } => self.by_sender(Fact::Subagent { subagent, seen }),
            _ => self.fact(Source::Provider, Fact::Subagent { subagent, seen }),
        }
    }

    pub(crate) fn subagents_stopped(self) -> Self {
        self.by_sender(Fact::SubagentsStopRequested).by_sender(Fact::SubagentsCancelled { runs: 1 })
    }

    /// A look into the state directory that found these rows: number and status.
    pub(crate) fn subagent_books(self, rows: &[(u32, &str)]) -> Self {
        let row = |(number, status): &(u32, &str)| SubagentRow {
            run: format!("subagent:{number}:1"),
            subagent: Some(SubagentId { message: self.message(1), number: *number }),
            generation: "g".into(),
            status: (*status).into(),
            announcement: "pending".into(),
        };
        let seen = StateSeen { subagents: rows.iter().map(row).collect(), ..StateSeen::default() };
        self.fact(Source::Machine(MACHINE.into()), Fact::State(Box::new(seen)))
    }

    // -- a process, mostly a gateway's

    pub(crate) fn gateway(self, pid: u32) -> Self {
        self.program(GATEWAY_PROGRAM, pid)
    }

    pub(crate) fn program(mut self, program: &str, pid: u32) -> Self {
        self.program = program.into();
        self.pid = Pid(pid);
        self
    }

    fn by_process(self, fact: Fact) -> Self {
        let source = Source::Process(self.pid);
        self.fact(source, fact)
    }

    pub(crate) fn starts(self) -> Self {
        let pid = self.pid;
        let program = self.program.clone();
        self.by_process(Fact::ProcessStarted { pid, machine: MACHINE.into(), program })
    }

    pub(crate) fn binds(self) -> Self {
        let pid = self.pid;
        self.by_process(Fact::PortBound { pid, machine: MACHINE.into(), port: PORT })
    }

    pub(crate) fn releases(self) -> Self {
        let pid = self.pid;
        self.by_process(Fact::PortReleased { pid, machine: MACHINE.into(), port: PORT })
    }

    /// The gateway sends the process `pid` a signal that ends it.
    pub(crate) fn strikes(self, pid: u32, signal: EndSignal) -> Self {
        let by = self.pid;
        self.by_process(Fact::ProcessStruck { pid: Pid(pid), by, signal })
    }

    pub(crate) fn bind_refused(self) -> Self {
        let pid = self.pid;
        self.by_process(Fact::BindRefused { pid, machine: MACHINE.into(), port: PORT })
    }

    pub(crate) fn dies(self, cause: DeathCause) -> Self {
        let pid = self.pid;
        let program = self.program.clone();
        self.by_process(Fact::ProcessExited { pid, machine: MACHINE.into(), program, cause })
    }

    pub(crate) fn exits(self, code: u8) -> Self {
        self.dies(DeathCause::Exited(ExitCode(code)))
    }

    pub(crate) fn frozen(self) -> Self {
        let pid = self.pid;
        self.by_process(Fact::ProcessFrozen { pid })
    }

    pub(crate) fn thawed(self) -> Self {
        let pid = self.pid;
        self.by_process(Fact::ProcessThawed { pid })
    }

    pub(crate) fn signal(self, signal: Signal) -> Self {
        let pid = self.pid;
        self.fact(Source::Operator, Fact::SignalDelivered { pid, signal, handled: true })
    }

    pub(crate) fn disk(self, op: FsOp, path: &str) -> Self {
        let pid = self.pid;
        let disk = Fact::Disk { pid, op, path: path.into(), bytes: 40, error: None };
        self.fact(Source::Machine(MACHINE.into()), disk)
    }

    pub(crate) fn disk_fails(self, op: FsOp, path: &str, error: &str) -> Self {
        let pid = self.pid;
        let disk = Fact::Disk { pid, op, path: path.into(), bytes: 0, error: Some(error.into()) };
        self.fact(Source::Machine(MACHINE.into()), disk)
    }

    pub(crate) fn log(self, name: &str, fields: &[(&str, &str)]) -> Self {
        let pid = self.pid;
        let fields = fields.iter().map(|(field, value)| ((*field).into(), (*value).into())).collect();
        self.by_process(Fact::Log {
            pid,
            record: LogRecord { name: name.into(), level: Level::Info, fields },
        })
    }

    /// The tool that is to leave `mark` ends and says that it did.
    pub(crate) fn tool_done(self, mark: &str) -> Self {
        let (message, said) = (Some(id(mark)), "labelled".to_string());
        self.by_process(Fact::ToolFinished { tool: "tool".into(), message, done: true, said })
    }

    // -- the operator's restarts

    pub(crate) fn asks_for_restart(self, request: u32, mode: RestartMode) -> Self {
        self.fact(Source::Operator, Fact::RestartAsked { request, mode })
    }

    pub(crate) fn answers_restart(self, request: u32, ok: bool, result: Option<&str>, said: &str) -> Self {
        let result = result.map(str::to_string);
        self.fact(Source::Operator, Fact::RestartAnswered { request, ok, result, said: said.into() })
    }

    pub(crate) fn reports_restart(self, request: u32, ending: RestartEnding) -> Self {
        self.fact(Source::Operator, Fact::RestartReported { request, ending, said: String::new() })
    }

    /// A whole start: the supervisor starts it, the process begins and binds.
    pub(crate) fn serves(self, pid: u32) -> Self {
        self.starting(1).gateway(pid).starts().binds()
    }

    // -- everybody else

    pub(crate) fn supervisor(self, fact: Fact) -> Self {
        self.fact(Source::Supervisor, fact)
    }

    pub(crate) fn starting(self, attempt: u32) -> Self {
        self.supervisor(Fact::ServiceStarting { attempt })
    }

    pub(crate) fn stopping(self, timeout_ms: u64) -> Self {
        self.supervisor(Fact::ServiceStopping { stop_timeout: Duration::from_millis(timeout_ms) })
    }

    pub(crate) fn inactive(self, why: &str) -> Self {
        self.supervisor(Fact::ServiceInactive { why: why.into() })
    }

    pub(crate) fn ready(self, asked_at_ms: u64, ready: Option<bool>) -> Self {
        let asked_at = Duration::from_millis(asked_at_ms);
        self.fact(Source::Prober, Fact::ReadySeen { ready, asked_at })
    }

    pub(crate) fn power_lost(self) -> Self {
        self.fact(Source::Machine(MACHINE.into()), Fact::PowerLost { lost_operations: 0 })
    }

    pub(crate) fn injected(self, fault: Injection, what: &str) -> Self {
        self.fact(Source::Operator, Fact::Injected { fault, what: what.into() })
    }

    /// A look into a state directory with a store that has these sessions.
    pub(crate) fn sessions(self, keys: &[&str]) -> Self {
        let sessions = keys.iter().map(|key| (*key).to_string()).collect();
        self.seen(StateSeen { store: Some(Ok(())), sessions, ..StateSeen::default() })
    }

    /// A look into a state directory with these lock files.
    pub(crate) fn locks(self, paths: &[&str]) -> Self {
        let locks = paths.iter().map(|path| (*path).to_string()).collect();
        self.seen(StateSeen { locks, ..StateSeen::default() })
    }

    fn seen(self, state: StateSeen) -> Self {
        self.fact(Source::Machine(MACHINE.into()), Fact::State(Box::new(state)))
    }

    pub(crate) fn state(
        self,
        store: Option<Result<(), String>>,
        mentioned: &[&str],
        answered: &[&str],
    ) -> Self {
        self.looked(store, mentioned, answered, &[])
    }

    /// A look into the state directory whose store calls these sessions running.
    pub(crate) fn running(self, sessions: &[&str]) -> Self {
        let running = sessions.iter().map(ToString::to_string).collect();
        self.seen(StateSeen { store: Some(Ok(())), running, ..StateSeen::default() })
    }

    /// A look into the state directory that found these to be owed, durably.
    pub(crate) fn keeps(self, kept: &[&str]) -> Self {
        self.seen(StateSeen { kept: ids(kept), ..StateSeen::default() })
    }

    /// A look into the state directory that found notices, too.
    pub(crate) fn looked(
        self,
        store: Option<Result<(), String>>,
        mentioned: &[&str],
        answered: &[&str],
        noticed: &[&str],
    ) -> Self {
        let [mentioned, answered, noticed] = [mentioned, answered, noticed].map(ids);
        self.seen(StateSeen { store, mentioned, answered, noticed, ..StateSeen::default() })
    }

    pub(crate) fn ended(self) -> Self {
        self.fact(Source::World, Fact::RunEnded)
    }
}
