//! A sender's side of its conversation: what it still has to say, what it waits for, what it learned.
//!
//! A synchronous state machine over (state, now, frame): every frame, break and deadline turns into the facts to
//! record and the requests to make. It knows no connection and no clock; times are virtual time since the world
//! began.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::json;

use super::heard::Heard;
use super::history::Transcript;
use super::{SenderKind, session_key};
use crate::actors::backoff;
use crate::actors::frames::{self, Frame, Refusal};
use crate::actors::lenient::Lenient;
use crate::actors::socket::Hello;
use crate::timeline::{Errand, Fact, MessageId, SUBAGENT_RUN, Via, is_about_a_restart};

/// A request without a response for so long counts as a break.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a message may stay open before the sender looks for it in the history, and again each time.
const HISTORY_POLL: Duration = Duration::from_secs(60);
/// How many entries of the history are asked for.
const HISTORY_LIMIT: u32 = 200;
/// How often a retrying sender hands over the same message.
const MAX_ATTEMPTS: u32 = 20;
/// How the ids of runs begin that a gateway schedules for itself.
const SCHEDULED: &str = "cron:";
/// The interval of tick events, unless the gateway names another.
const TICK_INTERVAL: Duration = Duration::from_secs(30);
/// What is allowed on top of two missed ticks.
const TICK_SLACK: Duration = Duration::from_secs(5);

/// The state of one conversation. See the module's head.
pub(super) struct Conversation {
    name: String,
    kind: SenderKind,
    session_key: String,
    /// Whose conversation it is, when several senders share it.
    shared_with: Option<String>,
    messages: Vec<Message>,
    outgoing: VecDeque<Ask>,
    pending: BTreeMap<String, Pending>,
    requests: u64,
    was_connected: bool,
    last_tick: Duration,
    tick_silence: Duration,
    history_asked_at: Duration,
    /// The gateway could not read it then.
    history_was_refused: bool,
    transcript: Transcript,
    jitter: Box<dyn Fn() -> u64>,
}

/// Something to ask the gateway. Messages are named by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Send(usize),
    Abort,
    History,
}

/// A request on its way to the connection.
pub(super) struct Request {
    id: String,
    ask: Ask,
    /// The frame to send.
    pub(super) frame: String,
}

struct Pending {
    ask: Ask,
    deadline: Duration,
}

struct Message {
    id: MessageId,
    /// With its mark.
    text: String,
    /// The idempotency key, which is the run's id.
    key: String,
    attempts: u32,
    standing: Standing,
    asked_to_stop: bool,
    cancelled: bool,
}

/// Where a message stands, as far as its sender can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Waits to be handed over.
    Held,
    /// Will be handed over again at this time.
    RetryAt(Duration),
    /// Handed over, not yet acknowledged.
    InFlight,
    /// Accepted, or in doubt, since then.
    Open(Duration),
    /// There is nothing more to wait for.
    Settled,
}

impl Conversation {
    /// An empty conversation of the sender called `name`, as it knows it; it is `whose`. `jitter` gives numbers for the
    /// waits between retries.
    pub(super) fn new(name: &str, whose: &str, kind: SenderKind, jitter: Box<dyn Fn() -> u64>) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            session_key: session_key(whose),
            shared_with: None,
            messages: Vec::new(),
            outgoing: VecDeque::new(),
            pending: BTreeMap::new(),
            requests: 0,
            was_connected: false,
            last_tick: Duration::ZERO,
            tick_silence: Duration::MAX,
            history_asked_at: Duration::ZERO,
            history_was_refused: false,
            transcript: Transcript::new(name),
            jitter,
        }
    }

    /// Several senders talk in it, and it is `whose`.
    pub(super) fn is_shared_with(&mut self, whose: &str) {
        self.shared_with = Some(whose.to_owned());
    }

    /// Takes a new message; it waits until the connection can have it. `key` is its idempotency key.
    pub(super) fn compose(&mut self, text: &str, key: String) {
        let number = u32::try_from(self.messages.len() + 1).unwrap_or(u32::MAX);
        let id = MessageId { sender: self.name.clone(), number };
        self.outgoing.push_back(Ask::Send(self.messages.len()));
        self.messages.push(Message {
            text: format!("{text} {}", id.mark()),
            id,
            key,
            attempts: 0,
            standing: Standing::Held,
            asked_to_stop: false,
            cancelled: false,
        });
    }

    /// Takes the wish to stop everything that runs in this conversation.
    pub(super) fn stop(&mut self) {
        self.outgoing.push_back(Ask::Abort);
    }

    /// A connection is open and the gateway said `hello`.
    pub(super) fn connected(&mut self, hello: &Hello, now: Duration) {
        let tick = hello.tick_interval().map_or(TICK_INTERVAL, |tick| tick.max(Duration::from_secs(1)));
        self.tick_silence = tick.saturating_mul(2).saturating_add(TICK_SLACK);
        self.last_tick = now;
        if self.was_connected && self.reads() {
            self.outgoing.push_front(Ask::History);
        }
        self.was_connected = true;
    }

    /// The connection ended. What was asked and not answered will never be answered.
    pub(super) fn disconnected(&mut self, now: Duration) -> Vec<Fact> {
        let mut facts = Vec::new();
        self.outgoing.retain(|ask| *ask != Ask::History);
        for pending in std::mem::take(&mut self.pending).into_values() {
            match pending.ask {
                Ask::Send(index) => facts.extend(self.lost_sight(index, now)),
                // Nobody confirmed the stop: as long as there is something to stop, ask again.
                Ask::Abort => {
                    if self.messages.iter().any(|m| m.asked_to_stop && m.standing != Standing::Settled) {
                        self.outgoing.push_front(Ask::Abort);
                    }
                }
                Ask::History => {}
            }
        }
        facts
    }

    /// The next request to send, if there is one. Follow up with [`Self::handed_over`] or [`Self::take_back`].
    pub(super) fn next_request(&mut self, now: Duration) -> Option<Request> {
        self.queue_due_retries(now);
        loop {
            let ask = self.outgoing.pop_front()?;
            let id = format!("{}-{}", self.name, self.requests + 1);
            let session_key = self.session_key.as_str();
            let frame = match ask {
                Ask::Send(index) => {
                    let message = &self.messages[index];
                    if message.standing != Standing::Held {
                        // Its fate arrived while it waited to be sent again.
                        continue;
                    }
                    let (text, key) = (&message.text, &message.key);
                    let params = frames::SendParams { session_key, message: text, idempotency_key: key };
                    frames::request(&id, "chat.send", params)
                }
                Ask::Abort => frames::request(&id, "chat.abort", json!({ "sessionKey": session_key })),
                Ask::History => {
                    let params = json!({ "sessionKey": session_key, "limit": HISTORY_LIMIT });
                    frames::request(&id, "chat.history", params)
                }
            };
            self.requests += 1;
            return Some(Request { id, ask, frame });
        }
    }

    /// The connection has all of the request.
    pub(super) fn handed_over(&mut self, request: Request, now: Duration) -> Vec<Fact> {
        let mut facts = Vec::new();
        match request.ask {
            Ask::Send(index) => {
                let message = &mut self.messages[index];
                message.attempts += 1;
                message.standing = Standing::InFlight;
                facts.push(Fact::MessageSent {
                    message: message.id.clone(),
                    text: message.text.clone(),
                    key: message.key.clone(),
                    attempt: message.attempts,
                });
            }
            Ask::Abort => {
                let shared = self.shared_with.clone();
                facts.extend(shared.map(|whose| Fact::ConversationStopRequested { whose }));
                if self.messages.iter().any(|message| Errand::in_text(&message.text).is_some()) {
                    facts.push(Fact::SubagentsStopRequested);
                }
                for message in &mut self.messages {
                    match message.standing {
                        Standing::RetryAt(_) => message.standing = Standing::Open(now),
                        Standing::Held | Standing::Settled => continue,
                        Standing::InFlight | Standing::Open(_) => {}
                    }
                    if !std::mem::replace(&mut message.asked_to_stop, true) {
                        facts.push(Fact::MessageStopRequested { message: message.id.clone() });
                    }
                }
            }
            Ask::History => self.history_asked_at = now,
        }
        if self.reads() {
            let deadline = now + REQUEST_TIMEOUT;
            self.pending.insert(request.id, Pending { ask: request.ask, deadline });
        } else if let Ask::Send(index) = request.ask {
            // Who never reads never learns whether the message was accepted.
            facts.extend(self.lost_sight(index, now));
        }
        facts
    }

    /// The connection did not take the request: it waits for the next one.
    pub(super) fn take_back(&mut self, request: Request) {
        if request.ask != Ask::History {
            self.outgoing.push_front(request.ask);
        }
    }

    /// A frame arrived.
    pub(super) fn heard(&mut self, frame: Frame<Lenient<Heard>>, now: Duration) -> Vec<Fact> {
        match frame {
            Frame::Response { id, answer } => match self.pending.remove(&id).map(|pending| pending.ask) {
                Some(Ask::Send(index)) => {
                    self.send_answered(index, answer.map(|heard| heard.0.unwrap_or_default()), now)
                }
                Some(Ask::Abort) => self.abort_answered(&heard_in(answer)),
                Some(Ask::History) => {
                    self.history_was_refused = answer.is_err();
                    self.history_read(&heard_in(answer))
                }
                None => Vec::new(),
            },
            Frame::Event { name, payload } => match name.as_str() {
                "chat" => self.chat_event(&payload.0.unwrap_or_default()),
                "tick" => {
                    self.last_tick = now;
                    Vec::new()
                }
                _ => Vec::new(),
            },
        }
    }

    /// Does what is due by now. `Err` says, in words, why the connection must be given up.
    pub(super) fn look_at_clock(&mut self, now: Duration) -> Result<(), String> {
        if !self.reads() {
            return Ok(());
        }
        if self.pending.values().any(|pending| pending.deadline <= now) {
            return Err(format!("no response within {} s", REQUEST_TIMEOUT.as_secs()));
        }
        if now >= self.tick_deadline() {
            return Err(format!("no tick for {} s", self.tick_silence.as_secs()));
        }
        if self.poll_deadline().is_some_and(|due| due <= now) {
            self.outgoing.push_back(Ask::History);
        }
        Ok(())
    }

    /// When [`Self::look_at_clock`] or [`Self::next_request`] has something to do, if nothing else happens.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let retries = self.messages.iter().filter_map(|message| match message.standing {
            Standing::RetryAt(due) => Some(due),
            _ => None,
        });
        let requests = self.pending.values().map(|pending| pending.deadline);
        let watched = self.reads().then(|| self.tick_deadline());
        retries.chain(requests).chain(watched).chain(self.poll_deadline()).min()
    }

    /// Whether every message was handed over and acknowledged, or will never be.
    pub(super) fn has_said_everything(&self) -> bool {
        let waits = |message: &Message| match message.standing {
            Standing::Held | Standing::RetryAt(_) | Standing::InFlight => true,
            // Who asked for it to be stopped wants to know whether it was.
            Standing::Open(_) => message.asked_to_stop && !message.cancelled,
            Standing::Settled => false,
        };
        self.outgoing.is_empty() && !self.messages.iter().any(waits)
    }

    fn reads(&self) -> bool {
        self.kind != SenderKind::NeverReads
    }

    fn retries(&self, index: usize) -> bool {
        let message = &self.messages[index];
        self.kind == SenderKind::Retrying && message.attempts < MAX_ATTEMPTS && !message.asked_to_stop
    }

    fn tick_deadline(&self) -> Duration {
        self.last_tick.saturating_add(self.tick_silence)
    }

    /// When to look into the history for messages that stay open, or because it could not be read the last time.
    fn poll_deadline(&self) -> Option<Duration> {
        let is_history = |ask: &Ask| *ask == Ask::History;
        if !self.reads()
            || self.outgoing.iter().any(is_history)
            || self.pending.values().any(|pending| is_history(&pending.ask))
        {
            return None;
        }
        let open_since = self.messages.iter().filter_map(|message| match message.standing {
            Standing::Open(since) => Some(since),
            _ => None,
        });
        let again = self.history_was_refused.then_some(self.history_asked_at);
        Some(open_since.min().or(again)?.max(self.history_asked_at) + HISTORY_POLL)
    }

    fn queue_due_retries(&mut self, now: Duration) {
        for (index, message) in self.messages.iter_mut().enumerate() {
            if matches!(message.standing, Standing::RetryAt(due) if due <= now) {
                message.standing = Standing::Held;
                self.outgoing.push_back(Ask::Send(index));
            }
        }
    }

    /// When to hand the message over again after a failed attempt.
    fn retry_at(&self, index: usize, now: Duration, at_least: Duration) -> Standing {
        let wait = backoff(self.messages[index].attempts, (self.jitter)());
        Standing::RetryAt(now.saturating_add(wait.max(at_least)))
    }

    /// The message was handed over, and whether it was accepted cannot be known any more.
    fn lost_sight(&mut self, index: usize, now: Duration) -> Option<Fact> {
        if self.messages[index].standing != Standing::InFlight {
            return None;
        }
        let retried = self.retries(index);
        let standing = if retried { self.retry_at(index, now, Duration::ZERO) } else { Standing::Open(now) };
        let message = &mut self.messages[index];
        message.standing = standing;
        Some(Fact::MessageUnacknowledged { message: message.id.clone() })
    }

    fn send_answered(&mut self, index: usize, answer: Result<Heard, Refusal>, now: Duration) -> Vec<Fact> {
        let message = self.messages[index].id.clone();
        let still_waiting = self.messages[index].standing == Standing::InFlight;
        match answer {
            Ok(heard) if heard.outcome.0.is_some() => {
                let mut facts = vec![Fact::MessageOver { message }];
                facts.extend(self.outcome_repeated(index, &heard, now));
                facts
            }
            Ok(heard) => {
                if still_waiting {
                    self.messages[index].standing = Standing::Open(now);
                    // The run has ended already, so what came of it stands in the history.
                    if heard.status.text() == Some("ok") {
                        self.outgoing.push_back(Ask::History);
                    }
                }
                vec![Fact::MessageAccepted { message }]
            }
            Err(Refusal { reason, retryable, retry_after }) => {
                if still_waiting {
                    let retried = retryable && self.retries(index);
                    self.messages[index].standing =
                        if retried { self.retry_at(index, now, retry_after) } else { Standing::Settled };
                }
                vec![Fact::MessageRefused { message, reason }]
            }
        }
    }

    /// The gateway knows the message and how it ended; its answer says so. What it does not say stands in the history.
    fn outcome_repeated(&mut self, index: usize, heard: &Heard, now: Duration) -> Vec<Fact> {
        let key = self.messages[index].key.clone();
        let (reply, notice) = (heard.message.0.as_ref(), heard.error_message.text());
        let told = match (heard.outcome.text(), reply, notice) {
            (Some("answered"), Some(said), _) => self.transcript.reply_repeated(said.text()),
            (Some("told"), _, Some(text)) => {
                let news = self.transcript.notice_repeated(&key, text);
                Some(news.then(|| self.notice(Some(&key), text, Via::Repeated)).into_iter().collect())
            }
            (Some("cancelled"), ..) => Some(self.stopped(&key, Via::Repeated).into_iter().collect()),
            _ => None,
        };
        self.settle_replied(told.as_deref().unwrap_or_default());
        let message = &mut self.messages[index];
        match told {
            Some(_) => message.standing = Standing::Settled,
            None if message.standing == Standing::InFlight => {
                message.standing = Standing::Open(now);
                self.outgoing.push_back(Ask::History);
            }
            None => {}
        }
        told.unwrap_or_default()
    }

    fn abort_answered(&mut self, heard: &Heard) -> Vec<Fact> {
        // What an earlier request stopped, whose answer was lost, is confirmed as well.
        let run_ids = heard.run_ids.items().chain(heard.already_stopped.items());
        let (subagents, run_ids): (Vec<_>, Vec<_>) =
            run_ids.partition(|run_id| run_id.starts_with(SUBAGENT_RUN));
        let mut facts: Vec<_> = run_ids
            .into_iter()
            .filter_map(|run_id| Self::cancel(self.messages.iter_mut().find(|m| m.key == *run_id)?))
            .collect();
        if !subagents.is_empty() {
            let runs = u32::try_from(subagents.len()).unwrap_or(u32::MAX);
            facts.push(Fact::SubagentsCancelled { runs });
        }
        facts
    }

    /// Settles a message whose stop the gateway confirmed; the first confirmation counts.
    fn cancel(message: &mut Message) -> Option<Fact> {
        if std::mem::replace(&mut message.cancelled, true) {
            return None;
        }
        message.standing = Standing::Settled;
        Some(Fact::MessageCancelled { message: message.id.clone() })
    }

    fn chat_event(&mut self, heard: &Heard) -> Vec<Fact> {
        // Events of other conversations reach every client; they are none of this sender's business.
        if heard.session_key.text().is_some_and(|key| key != self.session_key) {
            return Vec::new();
        }
        let run_id = heard.run_id.text();
        if run_id.is_some_and(|run_id| run_id.starts_with(SCHEDULED)) {
            // The gateway's own, whatever comes of it.
            return Vec::new();
        }
        if run_id.is_some_and(|run_id| run_id.starts_with(SUBAGENT_RUN)) {
            return self.subagent_event(heard);
        }
        match heard.state.text() {
            Some("final") => {
                let replies = self.transcript.reply_arrived(heard.message_text());
                self.settle_replied(&replies);
                replies
            }
            Some("error") => {
                let text = heard.error_message.text().unwrap_or("error");
                vec![self.notice(run_id, text, Via::Live)]
            }
            Some("aborted") => {
                let stopped = self.by_run(run_id).filter(|message| message.asked_to_stop);
                if let Some(message) = stopped {
                    return Self::cancel(message).into_iter().collect();
                }
                let text = match heard.stop_reason.text() {
                    Some(why) => format!("aborted: {why}"),
                    None => "aborted".to_owned(),
                };
                vec![self.notice(run_id, &text, Via::Live)]
            }
            _ => Vec::new(),
        }
    }

    /// What came of a subagent, in a turn of this conversation.
    fn subagent_event(&mut self, heard: &Heard) -> Vec<Fact> {
        match heard.state.text() {
            Some("final") => self.transcript.subagent_heard(heard.message_text(), false),
            Some("error") => {
                let text = heard.error_message.text().unwrap_or("error");
                self.transcript.subagent_heard(text, true)
            }
            _ => Vec::new(),
        }
    }

    fn history_read(&mut self, heard: &Heard) -> Vec<Fact> {
        let findings = self.transcript.history_arrived(heard);
        self.settle_replied(&findings.replies);
        let mut facts = findings.replies;
        for (run_id, text) in findings.notices {
            facts.push(self.notice(run_id.as_deref(), &text, Via::History));
        }
        facts.extend(findings.subagents);
        facts.extend(self.stopped_by_others(heard));
        facts
    }

    /// The history names what was stopped; a message that is still open was so by another who takes part.
    fn stopped_by_others(&mut self, heard: &Heard) -> Vec<Fact> {
        heard.stopped.items().filter_map(|run_id| self.stopped(run_id, Via::History)).collect()
    }

    /// The message of that run was stopped, by whomever, and this sender waited for it.
    fn stopped(&mut self, run_id: &str, via: Via) -> Option<Fact> {
        let waits = |message: &&mut Message| match message.standing {
            Standing::Open(_) | Standing::RetryAt(_) => true,
            Standing::InFlight => via == Via::Repeated,
            Standing::Held | Standing::Settled => false,
        };
        let message = self.by_run(Some(run_id)).filter(waits)?;
        match message.asked_to_stop {
            true => Self::cancel(message),
            false => Some(self.notice(Some(run_id), "aborted", via)),
        }
    }

    /// A notice about the message of that run, or about the whole conversation.
    fn notice(&mut self, run_id: Option<&str>, text: &str, via: Via) -> Fact {
        if via != Via::History {
            self.transcript.notice_arrived(run_id, text);
        }
        let message = self.by_run(run_id).map(|message| {
            message.standing = Standing::Settled;
            message.id.clone()
        });
        if message.is_none() && !is_about_a_restart(text) {
            for message in &mut self.messages {
                if matches!(message.standing, Standing::Open(_)) {
                    message.standing = Standing::Settled;
                }
            }
        }
        Fact::NoticeReceived { message, text: text.to_owned(), via }
    }

    fn settle_replied(&mut self, replies: &[Fact]) {
        for id in replies.iter().filter_map(Fact::message) {
            if let Some(message) = self.messages.iter_mut().find(|message| message.id == *id) {
                message.standing = Standing::Settled;
            }
        }
    }

    fn by_run(&mut self, run_id: Option<&str>) -> Option<&mut Message> {
        let run_id = run_id?;
        self.messages.iter_mut().find(|message| message.key == run_id)
    }
}

/// What was answered; nothing when it was refused.
fn heard_in(answer: Result<Lenient<Heard>, Refusal>) -> Heard {
    answer.ok().and_then(|heard| heard.0).unwrap_or_default()
}

#[cfg(test)]
mod tests;
