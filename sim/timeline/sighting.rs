//! Where each message was last seen.
//!
//! One idea: whatever names a message is a sighting of it. Gateway log records count here, and only here. A
//! record may carry the message's mark; one that does not is followed by the gateway's own ids in it (`run`,
//! `message_id`), and an id that is new in a sender's session belongs to the sender's next message without one.
//! Nothing in this file decides a fate.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gateway::env::Pid;

use super::words::cut;
use super::{Event, Fact, LogRecord, MessageId, Sighting, Via};

/// The fields by which a gateway's log records name a message. Their values outlive a process: recovery goes on
/// under the same ids. (`message` is taken: tracing calls the text of a record so.)
const ID_FIELDS: [&str; 2] = ["run", "message_id"];

/// Follows all messages of a run through its events.
#[derive(Default)]
pub(super) struct Sightings {
    last: BTreeMap<MessageId, Sighting>,
    by_gateway_id: BTreeMap<(&'static str, String), MessageId>,
    /// By sender: messages that no id of the gateway stands for yet, in the order of sending.
    without_id: BTreeMap<String, VecDeque<MessageId>>,
    run_of: BTreeMap<MessageId, RunPlace>,
}

/// The process, and the run in it, that works or worked last for a message.
#[derive(Clone)]
struct RunPlace {
    pid: Pid,
    run: Option<String>,
}

impl RunPlace {
    fn words(&self) -> String {
        match &self.run {
            Some(run) => format!("run {} on gateway pid {}", cut(run, 9), self.pid),
            None => format!("gateway pid {}", self.pid),
        }
    }
}

impl Sightings {
    /// Takes note of one event.
    pub(super) fn see(&mut self, event: &Event) {
        if let Fact::Log { pid, record } = &event.fact {
            return self.see_record(event.at, *pid, record);
        }
        let Some(message) = event.fact.message() else { return };
        let waiting = self.without_id.entry(message.sender.clone()).or_default();
        match event.fact {
            Fact::MessageSent { attempt: 1, .. } => waiting.push_back(message.clone()),
            Fact::MessageRefused { .. } => waiting.retain(|other| other != message),
            _ => {}
        }
        if let Some(place) = self.place(message, &event.fact) {
            self.note(message.clone(), event.at, place);
        }
    }

    /// Where `message` was last seen, if ever.
    pub(super) fn last(&self, message: &MessageId) -> Option<&Sighting> {
        self.last.get(message)
    }

    fn note(&mut self, message: MessageId, at: Duration, place: String) {
        let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.last.insert(message, Sighting { at_ms, place });
    }

    /// The place that an outside observation puts its message in.
    fn place(&self, message: &MessageId, fact: &Fact) -> Option<String> {
        let sender = &message.sender;
        let run = self.run_of.get(message).map_or_else(|| "the gateway".to_string(), RunPlace::words);
        Some(match fact {
            Fact::MessageSent { attempt: 1, .. } => format!("{sender} had handed it over"),
            Fact::MessageSent { attempt, .. } => format!("{sender} had handed it over, attempt {attempt}"),
            Fact::MessageAccepted { .. } => format!("the gateway had acknowledged it to {sender}"),
            Fact::MessageRefused { reason, .. } => format!("{sender} was refused: {reason}"),
            Fact::MessageUnacknowledged { .. } => {
                format!("the connection of {sender} broke before the acknowledgement")
            }
            Fact::MessageCancelled { .. } => format!("{sender} had stopped it"),
            Fact::ReplyReceived { via: Via::Live, .. } => format!("{sender} had the reply"),
            Fact::ReplyReceived { via: Via::History, .. } => {
                format!("{sender} had found the reply in the history")
            }
            Fact::NoticeReceived { .. } => format!("{sender} had a notice about it"),
            Fact::ProviderRequested { .. } => format!("{run} was waiting for the model's answer"),
            Fact::ProviderAnswered { .. } => format!("{run} had the model's whole answer"),
            Fact::ProviderStopped { how, .. } => {
                format!("{run} was reading the model's answer when it broke off: {how}")
            }
            _ => return None,
        })
    }

    fn see_record(&mut self, at: Duration, pid: Pid, record: &LogRecord) {
        for message in self.messages_of(record) {
            for field in ID_FIELDS {
                if let Some(id) = record.field(field) {
                    self.by_gateway_id.insert((field, id.to_string()), message.clone());
                }
            }
            if let Some(waiting) = self.without_id.get_mut(&message.sender) {
                waiting.retain(|other| *other != message);
            }
            let known = self.run_of.get(&message).and_then(|place| place.run.clone());
            let place = RunPlace { pid, run: record.field("run").map(str::to_string).or(known) };
            let words = format!("{} logged {}", place.words(), record.name);
            self.run_of.insert(message.clone(), place);
            self.note(message, at, words);
        }
    }

    /// The messages a record is about: those it names itself, else the one its ids stand for.
    fn messages_of(&self, record: &LogRecord) -> Vec<MessageId> {
        let mut found = Vec::new();
        for (_, value) in &record.fields {
            let marked = MessageId::marked_in(value).into_iter();
            let named = MessageId::marked_in(&format!("[{value}]")).into_iter();
            for message in marked.chain(named) {
                if self.last.contains_key(&message) && !found.contains(&message) {
                    found.push(message);
                }
            }
        }
        if found.is_empty() {
            found.extend(self.message_by_id(record));
        }
        found
    }

    fn message_by_id(&self, record: &LogRecord) -> Option<MessageId> {
        let ids = || ID_FIELDS.iter().filter_map(|field| Some((*field, record.field(field)?.to_string())));
        if let Some(known) = ids().find_map(|id| self.by_gateway_id.get(&id)) {
            return Some(known.clone());
        }
        ids().next()?;
        // A session key ends with its peer: `agent:main:webchat:direct:ann`.
        let (_, sender) = record.field("session")?.rsplit_once(':')?;
        self.without_id.get(sender)?.front().cloned()
    }
}
