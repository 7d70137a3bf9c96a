//! Where each message was last seen.
//!
//! One idea: whatever names a message is a sighting of it. Gateway log records count here, and only here: a record
//! names a message by its mark, or by the idempotency key that its sender gave it, which is the id of its run and
//! outlives every process. Nothing in this file decides a fate.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::env::Pid;

use super::words::cut;
use super::{Event, Fact, LogRecord, MessageId, Sighting, Via};

/// Follows all messages of a run through its events.
#[derive(Default)]
pub(super) struct Sightings {
    last: BTreeMap<MessageId, Sighting>,
    by_key: BTreeMap<String, MessageId>,
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
        if let Fact::MessageSent { key, .. } = &event.fact {
            self.by_key.insert(key.clone(), message.clone());
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
            Fact::MessageStopRequested { .. } => format!("{sender} had asked {run} to stop it"),
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
            let known = self.run_of.get(&message).and_then(|place| place.run.clone());
            let place = RunPlace { pid, run: record.field("run").map(str::to_string).or(known) };
            let words = format!("{} logged {}", place.words(), record.name);
            self.run_of.insert(message.clone(), place);
            self.note(message, at, words);
        }
    }

    /// The messages whose mark stands in `value`, or whose name it is.
    fn named_in(value: &str) -> Vec<MessageId> {
        let mut named = MessageId::marked_in(value);
        named.extend(MessageId::marked_in(&format!("[{value}]")));
        named
    }

    /// The messages that a record names, each once.
    fn messages_of(&self, record: &LogRecord) -> Vec<MessageId> {
        let mut found = Vec::new();
        for (_, value) in &record.fields {
            // Most values name nothing; looking closely at each was a fortieth of a run's time.
            let named = if value.contains('#') { Self::named_in(value) } else { Vec::new() };
            for message in named.into_iter().chain(self.by_key.get(value).cloned()) {
                if self.last.contains_key(&message) && !found.contains(&message) {
                    found.push(message);
                }
            }
        }
        found
    }
}
